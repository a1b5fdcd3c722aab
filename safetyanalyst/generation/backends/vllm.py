"""Specialists on vLLM, in this process: both in one engine, each prompt with its own adapter, one shared prefix cache.

The engine is made once for both specialists. Prompts go in as token ids that we made (see `lm_chats`), so no text of a scenario
becomes a control token; what is written is held to the grammar by the engine.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.lm_adapters import LocalOptions, fingerprint_of
from safetyanalyst.generation.backends.lm_chats import count_tokens, encoded
from safetyanalyst.generation.chats import Chat, Completion, Constraint, Finish, Sampling, constraint_of, failed
from safetyanalyst.generation.grammar import Grammar
from safetyanalyst.generation.specialist import Specialist, read_options
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

_HONOURED: tuple[Constraint, ...] = ("lark", "json_schema", "regex")
# llguidance: it was right in every case where the other engine let broken JSON through; free white space runs away
_STRUCTURED = {"backend": "guidance", "disable_any_whitespace": True}


class VLLMOptions(LocalOptions):
    """Options of the backend in a run configuration, beside those of every specialist.

    Attributes:
        engine: Further arguments of `vllm.LLM`, such as `max_model_len`, `gpu_memory_utilization`, `tensor_parallel_size`.
    """

    engine: dict[str, JsonValue] = Field(default_factory=dict)


class VLLMBackend:
    """A `TextBackend` over `vllm.LLM`.

    Args:
        engine: The engine, with prefix caching.
        name_of_model: For provenance.
        adapters: Name -> folder.
        fingerprint: Of what else decides its answers.
    """

    name = "vllm"
    constraints: frozenset[Constraint] = frozenset(_HONOURED)

    def __init__(self, engine: Any, name_of_model: str, adapters: Mapping[str, str], fingerprint: str = "") -> None:
        self.model, self.fingerprint = name_of_model, fingerprint
        self._engine = engine
        self._tokenizer = engine.get_tokenizer()
        self._window = int(engine.llm_engine.model_config.max_model_len)
        self._adapters = dict(adapters)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return count_tokens(self._tokenizer, text)

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat in one batch; see `TextBackend`.

        The same seed gives the same text only as far as the engine promises it: how it orders sums depends on the batch.
        """
        how = sampling or Sampling()
        parameters = self._parameters(grammar, how)
        asked, found = encoded(self._tokenizer, chats, self._window, how.max_tokens)
        for i in [i for i in asked if chats[i].adapter not in ("", *self._adapters)]:
            del asked[i]
            found[i] = failed(f"the model has no adapter {chats[i].adapter!r}")
        start = time.monotonic()
        prompts = [{"prompt_token_ids": ids} for ids in asked.values()]
        adapters = [self._request(chats[i].adapter) for i in asked] if self._adapters else None
        try:
            with _writing:
                written = self._engine.generate(prompts, parameters, lora_request=adapters, use_tqdm=False) if prompts else []
        except Exception as error:  # an engine that has stopped answers nobody; each of them is told
            return [found.get(i) or failed(error) for i in range(len(chats))]
        seconds = time.monotonic() - start
        found |= {i: _completion(it, seconds) for i, it in zip(asked, written, strict=True)}
        return [found[i] for i in range(len(chats))]

    def _parameters(self, grammar: Grammar | None, how: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        held = None
        if grammar is not None:
            kind = constraint_of(grammar, _HONOURED)
            if kind == "lark":
                held = StructuredOutputsParams(grammar=grammar.lark)
            elif kind == "json_schema":
                held = StructuredOutputsParams(json=json.loads(grammar.json_schema or ""))
            elif kind == "regex":
                held = StructuredOutputsParams(regex=grammar.regex)
            else:
                raise BackendError(f"the form {grammar.form!r} has no grammar that vLLM takes")
        return SamplingParams(
            max_tokens=how.max_tokens, temperature=how.temperature, top_p=how.top_p, seed=how.seed, structured_outputs=held
        )

    def _request(self, adapter: str) -> Any:
        from vllm.lora.request import LoRARequest

        if not adapter:
            return None
        folder = self._adapters[adapter]
        # an engine knows an adapter by its number and its name: both stand for the folder, whoever asks for it
        number = _numbers.setdefault(str(Path(folder).resolve()), len(_numbers) + 1)
        return LoRARequest(f"{adapter}-{number}", number, folder)


_numbers: dict[str, int] = {}
_writing = threading.Lock()  # specialists share an engine


def _completion(output: Any, seconds: float) -> Completion:
    said = output.outputs[0]
    finish: Finish = "stop" if said.finish_reason == "stop" else "length" if said.finish_reason == "length" else "error"
    return Completion(
        text=said.text,
        finish=finish,
        error="" if finish != "error" else f"finish_reason {said.finish_reason!r}",
        prompt_tokens=len(output.prompt_token_ids or ()),
        cached_tokens=output.num_cached_tokens or 0,
        completion_tokens=len(said.token_ids),
        seconds=seconds,
    )


@lru_cache(maxsize=1)
def _engine(model: str, n_adapters: int, engine: str) -> Any:
    from vllm import LLM

    lora = {"enable_lora": True, "max_loras": n_adapters} if n_adapters else {}
    settings = {"enable_prefix_caching": True, "structured_outputs_config": _STRUCTURED, **lora, **json.loads(engine)}
    return LLM(model=model, trust_remote_code=False, **settings)


def load(kind: TreeKind, taxonomy: Taxonomy, **options: JsonValue) -> Specialist:
    """A specialist on vLLM, as the backend table asks for it.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What its trees may say.
        options: Of `VLLMOptions`.

    Raises:
        BackendError: An option is missing, unknown or wrong, or the engine cannot be started.
    """
    read = read_options(VLLMOptions, "vllm", options)
    settings = json.dumps(read.engine, sort_keys=True)
    fingerprint = fingerprint_of(read.adapters, settings)
    with _writing:
        engine = _engine(read.model, len(read.adapters), settings)
    return Specialist(kind, taxonomy, VLLMBackend(engine, read.model, read.adapters, fingerprint), read)
