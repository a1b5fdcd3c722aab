"""Specialists on any OpenAI-compatible server, by the official client.

Every request has a deadline on its wall time, attempts and pauses included: a server that drips a byte a second cannot hold a
batch up. Refused connections, 429 and 5xx are retried with growing pauses, as the client does it. Whatever goes wrong for one
chat is the completion of that chat.

How the model is held to the grammar is a matter of the server, and has to be said: `json_schema` (`response_format`, which
OpenAI and most servers honour), `structured_outputs` (vLLM, any form), or `none`. A server that ignores what it is asked is
found out by reading: its answers have defects, or are missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Literal, Self, TypeVar

import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.chats import Chat, Completion, Constraint, Sampling, Turn, failed
from safetyanalyst.generation.grammar import Grammar
from safetyanalyst.generation.parsed import well_formed
from safetyanalyst.generation.specialist import Asking, Specialist, read_options
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Constrain = Literal["json_schema", "structured_outputs", "none"]
_T = TypeVar("_T")
_CHARACTERS = 3  # of a token, at least, in English; the tokenizer is the server's


class OpenAIOptions(Asking):
    """Options of the backend in a run configuration, beside those of every specialist.

    Attributes:
        model: Name of the model on the server.
        base_url: Of the server, with `/v1`; OpenAI's own when left out.
        key_variable: Environment variable that holds the key. Servers without keys need none.
        constrain: How the server is asked to hold the model to the grammar.
        concurrency: Requests at the same time.
        timeout: Seconds that a chat may take in all.
        transport_retries: How often a failed request is sent again.
        limit_field: What the server calls the bound on the tokens of an answer.
        omit: Fields of `sampling` that the server does not take.
        extra_body: Further fields of the request, as the server wants them.
    """

    model: str
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    constrain: Constrain = "none"
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 16
    timeout: Annotated[float, Field(gt=0)] = 120.0
    transport_retries: Annotated[int, Field(ge=0, le=20)] = 3
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: tuple[Literal["temperature", "top_p", "seed"], ...] = ()
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _schemas_are_objects(self) -> Self:
        if self.constrain == "json_schema" and self.style.form != "json":
            raise ValueError("constrain: json_schema goes with style.form: json")
        return self


class OpenAIBackend:
    """A `TextBackend` over chat completions.

    Args:
        options: Where the server is, and how it is asked.
    """

    name = "openai"

    def __init__(self, options: OpenAIOptions) -> None:
        self.model = options.model
        self._options = options
        told = options.model_dump(include={"base_url", "constrain", "limit_field", "omit", "extra_body"})
        self.fingerprint = json.dumps(told, sort_keys=True)
        honoured: dict[Constrain, tuple[Constraint, ...]] = {
            "json_schema": ("json_schema",),
            "structured_outputs": ("json_schema", "regex"),
            "none": (),
        }
        self.constraints: frozenset[Constraint] = frozenset(honoured[options.constrain])

    def count(self, text: str) -> int:
        """Tokens, estimated: every third byte; English has fewer, digits one by one have more."""
        return -(-len(text.encode("utf-8", "replace")) // _CHARACTERS)

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat, `concurrency` at a time; see `TextBackend`."""
        body = dict(self._options.extra_body)
        request: dict[str, Any] = {"extra_body": body}
        if grammar is not None:
            self._constrain(grammar, request, body)
        how = sampling or Sampling()
        chance = {"temperature": how.temperature, "top_p": how.top_p, "seed": how.seed}
        request |= {key: value for key, value in chance.items() if key not in self._options.omit}
        request[self._options.limit_field] = how.max_tokens
        return _awaited(self._all(chats, request)) if chats else []

    def _constrain(self, grammar: Grammar, request: dict[str, Any], body: dict[str, Any]) -> None:
        how = self._options.constrain
        if how == "json_schema" and grammar.json_schema is not None:
            schema = {"name": "tree", "strict": True, "schema": json.loads(grammar.json_schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif how == "structured_outputs" and grammar.json_schema is not None:
            body["structured_outputs"] = {"json": json.loads(grammar.json_schema)}
        elif how == "structured_outputs" and grammar.regex is not None:
            body["structured_outputs"] = {"regex": grammar.regex}
        else:
            raise BackendError(f"backend 'openai' with `constrain: {how}` cannot hold a model to the form {grammar.form!r}")

    async def _all(self, chats: Sequence[Chat], request: dict[str, Any]) -> list[Completion]:
        options = self._options
        places = asyncio.Semaphore(options.concurrency)
        transport = openai.DefaultAsyncHttpxClient(event_hooks={"request": [_count_try]}, timeout=options.timeout)
        client = openai.AsyncOpenAI(
            api_key=os.environ.get(options.key_variable) or "none",
            base_url=options.base_url,
            max_retries=options.transport_retries,
            http_client=transport,
            timeout=options.timeout,
        )

        async def one(chat: Chat) -> Completion:
            async with places:
                return await self._one(client, chat, request)

        async with client:
            return list(await asyncio.gather(*map(one, chats)))

    async def _one(self, client: openai.AsyncOpenAI, chat: Chat, request: dict[str, Any]) -> Completion:
        start = time.monotonic()
        _tries.set(tries := [0])
        try:
            reply = await asyncio.wait_for(self._reply(client, chat, request), self._options.timeout)
            return _completion(reply, tries[0], time.monotonic() - start)
        except TimeoutError:
            error = f"no answer within {self._options.timeout:g} s"
        except ValidationError as found:
            error = f"the server's answer is no completion: {found.errors()[0]['msg']}"
        except Exception as found:  # whatever it is, it is the failure of this chat
            error = f"{type(found).__name__}: {found}"
        return failed(error, attempts=max(1, tries[0]), seconds=time.monotonic() - start)

    async def _reply(self, client: openai.AsyncOpenAI, chat: Chat, request: dict[str, Any]) -> _Reply:
        model = chat.adapter or self.model
        if chat.wrap == "none":  # a prompt as it stands, which no template of the server wraps
            prompt = "\n\n".join(turn.content for turn in chat.turns)
            tokens = request.get("max_tokens") or request.get("max_completion_tokens")
            plain = {key: value for key, value in request.items() if key != "max_completion_tokens"} | {"max_tokens": tokens}
            raw = await client.completions.with_raw_response.create(model=model, prompt=prompt, **plain)
        else:
            messages = [_message(turn) for turn in chat.turns]
            raw = await client.chat.completions.with_raw_response.create(model=model, messages=messages, **request)
        return _Reply.model_validate_json(raw.http_response.content)


_tries: ContextVar[list[int]] = ContextVar("_tries")


async def _count_try(request: object) -> None:
    """Counts what is sent for the chat of this task, the client's own retries included."""
    _tries.get()[0] += 1


def _message(turn: Turn) -> ChatCompletionMessageParam:
    if turn.role == "system":
        return {"role": "system", "content": turn.content}
    if turn.role == "assistant":
        return {"role": "assistant", "content": turn.content}
    return {"role": "user", "content": turn.content}


class _Said(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    """Of a chat completion the message, of a plain one the text."""

    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.message is None and self.text is None:
            raise ValueError("a choice has a message or a text")
        return self


Count = Annotated[int, Field(ge=0)]


class _Details(BaseModel):
    cached_tokens: Count | None = None


class _Usage(BaseModel):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None


class _Reply(BaseModel):
    """What is needed of a completion; servers differ in the rest."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def _completion(reply: _Reply, attempts: int, seconds: float) -> Completion:
    choice, usage = reply.choices[0], reply.usage or _Usage()
    details = usage.prompt_tokens_details
    said = choice.message or _Said(content=choice.text)
    error = ""
    if said.refusal:
        error = f"refused: {well_formed(said.refusal)}"[:500]
    elif choice.finish_reason not in ("stop", "length"):  # cut short by a filter, or by what nobody said
        error = f"finish_reason {choice.finish_reason!r}"[:500]
    return Completion(
        text=said.content or "",
        finish="error" if error else "length" if choice.finish_reason == "length" else "stop",
        error=error,
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=0 if details is None else details.cached_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        attempts=attempts,
        seconds=seconds,
    )


def _awaited(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs to the end in a thread of its own, since the caller may have an event loop in this one."""
    found: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:  # it is raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def load(kind: TreeKind, taxonomy: Taxonomy, **options: JsonValue) -> Specialist:
    """A specialist on a server, as the backend table asks for it.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What its trees may say.
        options: Of `OpenAIOptions`.

    Raises:
        BackendError: An option is missing, unknown or wrong.
    """
    read = read_options(OpenAIOptions, "openai", options)
    try:
        openai.OpenAI(api_key="none", base_url=read.base_url).close()
    except Exception as error:  # an address that is none
        raise BackendError(f"backend 'openai': option `base_url`: {error}") from error
    return Specialist(kind, taxonomy, OpenAIBackend(read), read)
