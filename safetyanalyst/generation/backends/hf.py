"""Specialists on a model of transformers, in this process: batched, held to the grammar, an adapter for each kind of tree.

The base model is loaded once, however many specialists use it; adapters (PEFT, safetensors) are put on it by name. No code of a
model repository is ever run, and no pickle is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, JsonValue
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.lm_chats import chat_ids
from safetyanalyst.generation.backends.lm_grammar import HONOURED, GrammarProcessor, compiled, tokenizer_of
from safetyanalyst.generation.chats import Chat, Completion, Constraint, Finish, Sampling
from safetyanalyst.generation.grammar import Grammar
from safetyanalyst.generation.specialist import Asking, Specialist, read_options
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class HFOptions(Asking):
    """Options of the backend in a run configuration, beside those of every specialist.

    Attributes:
        model: Folder or hub name of the base model.
        revision: Of the hub.
        adapters: Name -> folder of a PEFT adapter; `adapter` says which of them answers.
        device: Where it runs.
        precision: Of the weights; "auto" as they are stored.
        batch_size: Chats at once.
    """

    model: str
    revision: str = "main"
    adapters: dict[str, str] = Field(default_factory=dict)
    device: Device = "auto"
    precision: Precision = "auto"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8


class HFBackend:
    """A `TextBackend` over `generate` of transformers.

    Args:
        model: A causal language model, in evaluation mode.
        tokenizer: Its fast tokenizer.
        name_of_model: For provenance.
        batch_size: Chats at once.
    """

    name = "hf"
    constraints: frozenset[Constraint] = frozenset(HONOURED)

    def __init__(self, model: Any, tokenizer: Any, name_of_model: str, batch_size: int = 8) -> None:
        self.model = name_of_model
        self._network, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._eos = _eos_of(model, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos[0]
        self._window = int(getattr(model.config, "max_position_embeddings", 0) or 0)
        self._guide: Any = None
        self._compiled: dict[Grammar, str] = {}
        self._lock = threading.Lock()  # adapters are switched on the one model

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat, `batch_size` of one adapter at a time; see `TextBackend`.

        At temperature 0 the same chat gets the same text; above it, the same list of chats gets the same texts.
        """
        how = sampling or Sampling()
        language = None if grammar is None else self._language(grammar)
        found: dict[int, Completion] = {}
        asked: dict[int, list[int]] = {}
        for i, chat in enumerate(chats):
            try:
                asked[i] = self._ids(chat, how)
            except BackendError as error:
                found[i] = Completion(text="", finish="error", error=str(error))
        for adapter in dict.fromkeys(chat.adapter for chat in chats):
            mine = sorted((i for i in asked if chats[i].adapter == adapter), key=lambda i: len(asked[i]))
            for start in range(0, len(mine), self._batch_size):
                at = mine[start : start + self._batch_size]
                found |= zip(at, self._batch([asked[i] for i in at], adapter, language, how), strict=True)
        return [found[i] for i in range(len(chats))]

    def _ids(self, chat: Chat, how: Sampling) -> list[int]:
        ids = chat_ids(self._tokenizer, chat)
        if self._window and len(ids) + how.max_tokens > self._window:
            raise BackendError(f"{len(ids)} tokens and {how.max_tokens} to be written are more than the model's {self._window}")
        return ids

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
        except (RuntimeError, ValueError) as error:  # out of memory, mostly: the batch is tried again by halves
            if len(asked) == 1:
                return [Completion(text="", finish="error", error=f"{type(error).__name__}: {error}"[:500])]
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
        chance = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        torch.manual_seed(how.seed)
        written = self._network.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=how.max_tokens,
            logits_processor=self._processors(language, len(asked)),
            eos_token_id=self._eos,
            pad_token_id=self._pad,
            **(chance if how.temperature > 0 else {"do_sample": False}),
        )
        seconds = time.monotonic() - start
        rows = written[:, width:].tolist()
        return [self._completion(row, len(ids), seconds) for row, ids in zip(rows, asked, strict=True)]

    def _processors(self, language: str | None, rows: int) -> LogitsProcessorList:
        return LogitsProcessorList([] if language is None else [GrammarProcessor(self._guide, language, rows)])

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
def _loaded(model: str, revision: str, device: Device, precision: Precision, adapters: tuple[tuple[str, str], ...]) -> Any:
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
    return network.to(place).eval(), tokenizer


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
    adapters = _named(read.adapters)
    network, tokenizer = _loaded(read.model, read.revision, read.device, read.precision, adapters)
    return Specialist(kind, taxonomy, HFBackend(network, tokenizer, read.model, read.batch_size), read)


def _named(adapters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(adapters.items()))
