"""Specialists on a model of transformers, in this process: batched, held to the grammar, an adapter for each kind of tree.

The base model is loaded once, however many specialists use it; adapters (PEFT, safetensors) are put on it by name. No code of a
model repository is ever run, and no pickle is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, JsonValue
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessorList

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.lm_adapters import LocalOptions, fingerprint_of
from safetyanalyst.generation.backends.lm_chats import count_tokens, encoded
from safetyanalyst.generation.backends.lm_grammar import HONOURED, GrammarProcessor, compiled, tokenizer_of
from safetyanalyst.generation.chats import Chat, Completion, Constraint, Finish, Sampling, failed
from safetyanalyst.generation.grammar import Grammar
from safetyanalyst.generation.specialist import Specialist, read_options
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class HFOptions(LocalOptions):
    """Options of the backend in a run configuration, beside those of every specialist.

    Attributes:
        revision: Of the hub.
        device: Where it runs.
        precision: Of the weights; "auto" as they are stored.
        batch_size: Chats at once.
    """

    revision: str = "main"
    device: Device = "auto"
    precision: Precision = "auto"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8


class LoadedModel(NamedTuple):
    """A model in memory, which several backends share.

    Attributes:
        network: A causal language model, in evaluation mode, adapters and all.
        tokenizer: Its fast tokenizer.
        lock: Held by whoever makes it write: adapters are switched on the one model.
    """

    network: Any
    tokenizer: Any
    lock: threading.Lock


class HFBackend:
    """A `TextBackend` over `generate` of transformers.

    Args:
        loaded: The model.
        name_of_model: For provenance.
        fingerprint: Of what else decides its answers.
        batch_size: Chats at once.
    """

    name = "hf"
    constraints: frozenset[Constraint] = frozenset(HONOURED)

    def __init__(self, loaded: LoadedModel, name_of_model: str, fingerprint: str = "", batch_size: int = 8) -> None:
        self.model, self.fingerprint = name_of_model, fingerprint
        self._network, self._tokenizer, self._lock = loaded
        self._batch_size = batch_size
        self._eos = _eos_of(self._network, self._tokenizer)
        self._pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._eos[0]
        self._window = int(getattr(self._network.config, "max_position_embeddings", 0) or 0)
        self._guide: Any = None
        self._compiled: dict[Grammar, str] = {}

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return count_tokens(self._tokenizer, text)

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat, `batch_size` of one adapter at a time; see `TextBackend`.

        At temperature 0 the same chat gets the same text; above it, the same list of chats gets the same texts.
        """
        how = sampling or Sampling()
        language = None if grammar is None else self._language(grammar)
        asked, found = encoded(self._tokenizer, chats, self._window, how.max_tokens)
        for adapter in dict.fromkeys(chat.adapter for chat in chats):
            mine = sorted((i for i in asked if chats[i].adapter == adapter), key=lambda i: len(asked[i]))
            for start in range(0, len(mine), self._batch_size):
                at = mine[start : start + self._batch_size]
                found |= zip(at, self._batch([asked[i] for i in at], adapter, language, how), strict=True)
        return [found[i] for i in range(len(chats))]

    def _language(self, grammar: Grammar) -> str:
        if self._guide is None:
            self._guide = tokenizer_of(self._tokenizer, int(self._network.get_input_embeddings().weight.shape[0]), self._eos)
        if grammar not in self._compiled:
            self._compiled[grammar] = compiled(grammar, self._guide)
        return self._compiled[grammar]

    def _batch(self, asked: list[list[int]], adapter: str, language: str | None, how: Sampling) -> list[Completion]:
        try:
            with self._lock:
                return self._written(asked, adapter, language, how)
        except Exception as error:  # out of memory, mostly: the batch is tried again by halves
            if len(asked) == 1:
                return [failed(error)]
        middle = len(asked) // 2
        return [it for half in (asked[:middle], asked[middle:]) for it in self._batch(half, adapter, language, how)]

    @torch.inference_mode()
    def _written(self, asked: list[list[int]], adapter: str, language: str | None, how: Sampling) -> list[Completion]:
        start = time.monotonic()
        _switch(self._network, adapter)
        width = max(map(len, asked))
        ids = torch.tensor([[self._pad] * (width - len(it)) + it for it in asked])
        mask = torch.tensor([[0] * (width - len(it)) + [1] * len(it) for it in asked])
        device = self._network.device
        torch.manual_seed(how.seed)
        guard = None if language is None else GrammarProcessor(self._guide, language, len(asked))
        written = self._network.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            logits_processor=LogitsProcessorList([] if guard is None else [guard]),
            generation_config=self._settings(how),
        )
        seconds = time.monotonic() - start
        rows = written[:, width:].tolist()
        found = [self._completion(row, len(ids), seconds) for row, ids in zip(rows, asked, strict=True)]
        problems = [""] * len(asked) if guard is None else guard.problems()
        return [
            it if not problem else it.model_copy(update={"finish": "error", "error": problem})
            for it, problem in zip(found, problems, strict=True)
        ]

    def _settings(self, how: Sampling) -> Any:
        """Ours alone: what a model's own file sets, such as a penalty for repetition, would bend the choice of words."""
        chance: dict[str, Any] = {"do_sample": how.temperature > 0}
        if how.temperature > 0:
            chance |= {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        chance |= {"max_new_tokens": how.max_tokens, "eos_token_id": self._eos, "pad_token_id": self._pad}
        settings: Any = GenerationConfig
        return settings(**chance)

    def _completion(self, row: list[int], prompt_tokens: int, seconds: float) -> Completion:
        end = next((i for i, token in enumerate(row) if token in self._eos), None)
        finish: Finish = "length" if end is None else "stop"
        said = row if end is None else row[:end]
        text = self._tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        tokens = len(said) + (end is not None)
        return Completion(text=text, finish=finish, prompt_tokens=prompt_tokens, completion_tokens=tokens, seconds=seconds)


def _eos_of(model: Any, tokenizer: Any) -> list[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    found = list(dict.fromkeys(it for it in ids if isinstance(it, int)))
    if not found:
        raise BackendError("the model has no token that ends a text")
    return found


def _switch(model: Any, adapter: str) -> None:
    """Makes one adapter answer, or none."""
    if not hasattr(model, "peft_config"):
        if adapter:
            raise ValueError(f"the model has no adapter {adapter!r}")
        return
    if not adapter:
        model.base_model.disable_adapter_layers()
        return
    if adapter not in model.peft_config:
        raise ValueError(f"the model has no adapter {adapter!r}; it has {', '.join(model.peft_config)}")
    model.base_model.enable_adapter_layers()
    model.set_adapter(adapter)


@lru_cache(maxsize=2)
def _loaded(
    model: str, revision: str, device: Device, precision: Precision, adapters: tuple[tuple[str, str], ...]
) -> LoadedModel:
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    kind: Any = "auto" if precision == "auto" else getattr(torch, precision)
    safe: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(model, **safe)
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=kind, use_safetensors=True, **safe)
    for i, (name, folder) in enumerate(adapters):
        from peft import PeftModel

        if i == 0:
            network = PeftModel.from_pretrained(network, folder, adapter_name=name)
        else:
            network.load_adapter(folder, adapter_name=name)
    return LoadedModel(network.to(place).eval(), tokenizer, threading.Lock())


_loading = threading.Lock()  # two specialists that ask at the same time share one model


def load(kind: TreeKind, taxonomy: Taxonomy, **options: JsonValue) -> Specialist:
    """A specialist on a local model, as the backend table asks for it.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What its trees may say.
        options: Of `HFOptions`.

    Raises:
        BackendError: An option is missing, unknown or wrong, or the model cannot be loaded.
    """
    read = read_options(HFOptions, "hf", options)
    fingerprint = fingerprint_of(read.adapters, read.revision, read.precision)
    with _loading:
        loaded = _loaded(read.model, read.revision, read.device, read.precision, tuple(sorted(read.adapters.items())))
    return Specialist(kind, taxonomy, HFBackend(loaded, read.model, fingerprint, read.batch_size), read)
