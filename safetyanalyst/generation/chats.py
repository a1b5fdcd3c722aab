"""What a specialist and a language model say to each other: chats, completions, and the protocol of text backends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field

from safetyanalyst.generation.grammar import Grammar
from safetyanalyst.generation.parsed import well_formed
from safetyanalyst.records import Record

Constraint = Literal["lark", "gbnf", "regex", "json_schema"]
Wrap = Literal["chat", "none"]
Finish = Literal["stop", "length", "error"]
_MAX_ERROR = 500  # characters


class Turn(Record):
    """One message of a chat.

    Attributes:
        role: Who speaks.
        content: What is said; text of a scenario in it is quoted and defused (see `quoting`).
    """

    role: Literal["system", "user", "assistant"]
    content: str


class Chat(Record):
    """What a model is asked.

    Attributes:
        turns: In order; the last one is the user's.
        adapter: Which adapter answers, where a backend has several on one base; none when empty.
        wrap: "chat" puts the turns into the chat template of the model; "none" gives it the contents as they stand.
    """

    turns: tuple[Turn, ...]
    adapter: str = ""
    wrap: Wrap = "chat"


class Sampling(Record):
    """How a model chooses its words.

    Attributes:
        max_tokens: Of a completion, at most.
        temperature: 0 takes the most probable token.
        top_p: Share of probability that is sampled from.
        seed: Of chance; the same seed gives the same text where a backend promises it.
    """

    max_tokens: Annotated[int, Field(ge=1)] = 1024
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0


class Completion(Record):
    """What a model wrote.

    Attributes:
        text: What there was of it before it failed, if it did.
        finish: "stop" when the model came to its end, "length" when it was cut off, "error" when it failed.
        error: Why it failed.
        prompt_tokens: Read, 0 when the backend does not count.
        cached_tokens: Of these, taken from a cache.
        completion_tokens: Written.
        attempts: How many times the model was asked; 0 when a cache remembered the answer.
        seconds: From asking to answer; of a batch, each has the time of the whole batch.
    """

    text: str
    finish: Finish = "stop"
    error: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 1
    seconds: float = 0.0


@runtime_checkable
class TextBackend(Protocol):
    """Turns chats into text.

    Attributes:
        name: Of the backend.
        model: Which model answers.
        constraints: The descriptions of a grammar that it holds the model to; with none of those a grammar is refused.
        fingerprint: Whatever else decides an answer: where the model is, its adapters, further settings.
    """

    name: str
    model: str
    constraints: frozenset[Constraint]
    fingerprint: str

    def count(self, text: str) -> int:
        """Tokens of a text; an estimate where the tokenizer is not at hand."""
        ...

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat, in order, one completion each.

        A chat that fails yields a completion that says so; it never raises for one, and never costs the others their answer.

        Raises:
            BackendError: The grammar has no description that this backend holds a model to.
        """
        ...


def failed(problem: Exception | str, *, attempts: int = 1, seconds: float = 0.0) -> Completion:
    """The completion of a chat that could not be answered, with what went wrong."""
    said = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
    return Completion(text="", finish="error", error=well_formed(said)[:_MAX_ERROR], attempts=attempts, seconds=seconds)


def constraint_of(grammar: Grammar, honoured: Iterable[Constraint]) -> Constraint | None:
    """The first of some descriptions, in order of preference, that a grammar has."""
    return next((it for it in honoured if getattr(grammar, it) is not None), None)
