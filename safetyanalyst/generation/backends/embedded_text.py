"""Scenario -> chunks of text that an encoder can read, whole: nothing is cut off at the encoder's window.

A prompt is read in windows. A trajectory is read step by step: every chunk holds the head of the request, what the agent did
and what came of it, so that one look sees whether the deed follows from the request or from something that a tool returned.
Long messages go on in further chunks of the same step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from safetyanalyst.scenarios import Exchange, Message, Scenario, Step, Trajectory, text_of

WINDOW = 160  # tokens of a chunk beside the head of the request
_HEAD = 40  # tokens of the request that every chunk of a step repeats
_DEED = 96  # tokens of the agent's own words and calls that stand together with their results
MAX_CHUNKS = 1000
"""About 150,000 tokens; what lies behind them is a defect."""
CONTEXT = -1
"""In place of a step number: the request, or whatever else belongs to no step."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
# a closing formula of one agent framework: it tells which program wrote the log, not what the agent did
FORMULAS = re.compile(r"\bfinal answer\b:?|\[(?:thought|action|environment)\]:?|</?(?:thinking|answer|result)>", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|_+")  # names of tools are words too
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\[nrt]")  # white space as JSON writes it, which would stick to the next word


class Tokenize(Protocol):
    """Text -> token ids, without special tokens."""

    def __call__(self, text: str) -> list[int]:
        """Token ids of the text."""


class Chunk(NamedTuple):
    """What the encoder reads at once.

    Attributes:
        step: The step it is of, or `CONTEXT`.
        parts: Token ids of its parts, in order; a separator goes between them.
    """

    step: int
    parts: tuple[list[int], ...]


def chunks_of(scenario: Scenario, tokenize: Tokenize) -> list[Chunk]:
    """All chunks of a scenario, the request first; at least one, at most `MAX_CHUNKS + 1`.

    One more than `MAX_CHUNKS` says that there were more.
    """
    found: list[Chunk] = []
    for chunk in _chunks(scenario, tokenize):
        found.append(chunk)
        if len(found) > MAX_CHUNKS:
            break
    return found or [Chunk(CONTEXT, ([],))]


def cleaned(text: str) -> str:
    """The text without the formulas of agent frameworks."""
    return FORMULAS.sub(" ", text)


def unescaped(text: str) -> str:
    """What agent and tools say to each other is often JSON: its line breaks and tabs as such."""
    return _ESCAPE.sub(r"\1\n", text)


def words_of(text: str) -> list[str]:
    """Lower-case words."""
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(FORMULAS.sub(" ", text))]


def _chunks(scenario: Scenario, tokenize: Tokenize) -> Iterator[Chunk]:
    if isinstance(scenario, Trajectory):
        yield from _chunks_of_steps(scenario, tokenize)
    elif isinstance(scenario, Exchange):
        asked = tokenize(cleaned(scenario.prompt))
        yield from _windows(CONTEXT, (), asked)
        yield from _windows(0, asked[:_HEAD], tokenize(cleaned(scenario.response)))
    else:
        yield from _windows(CONTEXT, (), _once(tokenize(cleaned(scenario.text))))


def _chunks_of_steps(trajectory: Trajectory, tokenize: Tokenize) -> Iterator[Chunk]:
    task: list[int] = []  # the request in force
    for step in (*trajectory.steps(), None):
        context = step.context if step else trajectory.pending()
        if asked := _tokens(context, ("user",), tokenize):
            task = asked
            yield from _windows(CONTEXT, (), task)
        yield from _windows(CONTEXT, task[:_HEAD], _tokens(context, ("system", "tool"), tokenize))
        if step:
            yield from _chunks_of_step(step, task[:_HEAD], tokenize)


def _chunks_of_step(step: Step, head: list[int], tokenize: Tokenize) -> Iterator[Chunk]:
    deed = tokenize(_CAMEL.sub(" ", cleaned(unescaped(text_of(step.action)))))
    results = _tokens(step.results, ("tool",), tokenize)
    room = WINDOW - min(len(deed), _DEED)
    yield Chunk(step.index, (head, deed[:_DEED], results[:room]))
    yield from _windows(step.index, head, deed[_DEED:])
    yield from _windows(step.index, head, results[room:])


def _tokens(messages: Iterable[Message], roles: Sequence[str], tokenize: Tokenize) -> list[int]:
    texts = [(message.role, cleaned(message.content)) for message in messages if message.role in roles and message.content]
    text = "\n".join(unescaped(said) if role == "tool" else said for role, said in texts)
    return tokenize(text) if text else []


def _once(tokens: list[int]) -> list[int]:
    """What is said several times over, once: repetition adds nothing to a request, and must not change the answer."""
    border = 0  # length of the longest prefix that is a suffix too (Knuth, Morris and Pratt, 1977)
    borders = [0] * len(tokens)
    for i in range(1, len(tokens)):
        while border and tokens[i] != tokens[border]:
            border = borders[border - 1]
        border += tokens[i] == tokens[border]
        borders[i] = border
    unit = len(tokens) - border
    return tokens[:unit] if unit and len(tokens) % unit == 0 else tokens


def _windows(step: int, head: Sequence[int], tokens: list[int]) -> Iterator[Chunk]:
    before = (list(head),) if head else ()
    for start in range(0, len(tokens), WINDOW):
        yield Chunk(step, (*before, tokens[start : start + WINDOW]))
