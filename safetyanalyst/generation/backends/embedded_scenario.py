"""Scenario -> numbers, for the embedded specialists: its fields read apart, and what an agent's steps have to do with them.

A trajectory is read step by step and whole. Whether a step rests on the request or on something that a tool's result asked for
is measured by shared words; what follows from it is learned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from safetyanalyst.generation.backends.embedded_text import (
    Floats,
    Hashes,
    Ids,
    Sparse,
    Tokens,
    hashed_ngrams,
    tokenize,
    word_set,
)
from safetyanalyst.scenarios import Exchange, Message, Prompt, Scenario, Trajectory

FIELDS = ("user", "agent", "calls", "results", "system")  # a field's place is its salt; prompts have the first alone
STEP_FEATURES = (
    "has_call", "reads", "novel_tool", "novel_words", "from_results", "from_instruction", "instruction_before", "declines",
    "asks", "is_first", "is_last", "answers", "fails", "is_alone",
)  # fmt: skip
SCENARIO_FEATURES = (
    "is_trajectory", "is_exchange", "has_call",
    *(f"max_{name}" for name in STEP_FEATURES[1:9]),
    *(f"mean_{name}" for name in STEP_FEATURES[1:6]),
    "last_declines", "last_asks", "last_has_call", "last_novel", "obeys_instruction", "reports_instruction", "fails",
)  # fmt: skip
_SALT = {name: salt * 7919 for salt, name in enumerate(FIELDS)}
_READING = frozenset(
    [
        "get",
        "search",
        "list",
        "read",
        "find",
        "check",
        "view",
        "retriev",
        "show",
        "look",
        "fetch",
        "query",
        "open",
        "summariz",
        "browse",
        "lookup",
        "scan",
    ]
)
_DECLINING = frozenset(
    [
        "cannot",
        "can't",
        "won't",
        "sorry",
        "unable",
        "suspicious",
        "ignor",
        "instead",
        "didn't",
        "declin",
        "refus",
        "untrust",
        "phish",
        "unauthoriz",
    ]
)
_FAILING = frozenset(["error", "exception", "fail", "invalid", "denied", "unauthoriz", "notfound"])
_SENTENCE = re.compile(r"[^.!?\n]+")
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|instructions?|please|must|important|urgent|could you|can you|you should|you need|before you|"
    r"do the following|need you to|note to|for the assistant|assistant:|agent:|as part of|also)\b",
    re.IGNORECASE,
)


class Encoded(NamedTuple):
    """A scenario as the model sees it.

    Attributes:
        fields: Per field in the order of `FIELDS`, its hashed n-grams; an empty one for a field that is not there.
        features: (len(SCENARIO_FEATURES),) how the agent's steps relate to request and results; zeros for a prompt.
        steps: (n_steps, len(STEP_FEATURES)) the same step by step; no rows for prompts and exchanges.
        word_hashes: Hashes of all words, for judging whether the model knows the language.
        word_lengths: Their characters.
    """

    fields: tuple[Sparse, ...]
    features: Floats
    steps: Floats
    word_hashes: Hashes
    word_lengths: Ids


def encode(scenario: Scenario, n_buckets: int) -> Encoded:
    """Reads a whole scenario, in time linear in its length.

    Args:
        scenario: Any.
        n_buckets: Size of the hashed space.
    """
    steps = np.zeros((0, len(STEP_FEATURES)), np.float32)
    features = np.zeros(len(SCENARIO_FEATURES), np.float32)
    if isinstance(scenario, Prompt):
        texts = {"user": scenario.text}
    elif isinstance(scenario, Exchange):
        texts = {"user": scenario.prompt, "agent": scenario.response}
        features[1] = 1.0
    else:
        texts = _texts_by_field(scenario.messages)
        steps = _step_features(scenario)
        features = _scenario_features(steps)
    tokens = {name: tokenize(text) for name, text in texts.items()}
    empty = Sparse(np.empty(0, np.int64), np.empty(0, np.float32))
    fields = tuple(hashed_ngrams(tokens[name], _SALT[name], n_buckets) if name in tokens else empty for name in FIELDS)
    words = [it for it in tokens.values() if len(it.hashes)]
    hashes = np.concatenate([it.hashes for it in words]) if words else np.empty(0, np.uint64)
    lengths = np.concatenate([it.lengths for it in words]) if words else np.empty(0, np.int64)
    return Encoded(fields, features, steps, hashes, lengths)


def _texts_by_field(messages: Sequence[Message]) -> dict[str, str]:
    parts: dict[str, list[str]] = {name: [] for name in FIELDS}
    for message in messages:
        place = {"user": "user", "assistant": "agent", "tool": "results", "system": "system"}[message.role]
        parts[place].append(message.content)
        parts["calls"] += [f"{call.name} {_argument_text(call.arguments)}" for call in message.tool_calls]
    return {name: "\n".join(texts) for name, texts in parts.items() if texts}


def _argument_text(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


class _Seen:
    """What was said before a step: words of requests, of results, and of sentences in results that ask for something."""

    def __init__(self) -> None:
        self.user: set[str] = set()
        self.results: set[str] = set()
        self.asked: set[str] = set()

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            words = word_set(tokenize(message.content))
            if message.role == "user":
                self.user |= words
            elif message.role == "tool":
                self.results |= words
                for sentence in _SENTENCE.findall(message.content):
                    if _INSTRUCTION.search(sentence):
                        self.asked |= word_set(tokenize(sentence))


def _step_features(trajectory: Trajectory) -> Floats:
    steps = trajectory.steps()
    seen = _Seen()
    rows = np.zeros((len(steps), len(STEP_FEATURES)), np.float32)
    for i, step in enumerate(steps):
        seen.add(step.context)
        rows[i] = _one_step(step.action, seen)
        rows[i, 9], rows[i, 10], rows[i, 13] = i == 0, i == len(steps) - 1, len(steps) == 1
        seen.add(step.results)
        failing = any(word_set(_head(message.content)) & _FAILING for message in step.results)
        rows[i, 12] = failing
    return rows


def _head(text: str) -> Tokens:
    """A failure is reported where a result begins."""
    return tokenize(text[:300])


def _one_step(message: Message, seen: _Seen) -> Floats:
    spoken = word_set(tokenize(message.content))
    name = word_set(tokenize(" ".join(call.name for call in message.tool_calls)))
    arguments = word_set(tokenize("\n".join(_argument_text(call.arguments) for call in message.tool_calls)))
    called = name | arguments
    own = called - seen.user
    row = np.zeros(len(STEP_FEATURES), np.float32)
    row[0] = bool(message.tool_calls)
    row[1] = bool(name & _READING)
    row[2] = _share(name - seen.user - _READING, name)
    row[3] = _share(own - seen.results, called)
    row[4] = _share(own & seen.results, called)
    row[5] = _share(own & seen.asked, own)
    row[6] = bool(seen.asked)
    row[7] = bool(spoken & _DECLINING)
    row[8] = "?" in message.content[-200:]
    row[11] = not message.tool_calls
    return row


def _share(part: frozenset[str] | set[str], whole: frozenset[str] | set[str]) -> float:
    return len(part) / len(whole) if whole else 0.0


def _scenario_features(steps: Floats) -> Floats:
    if not len(steps):
        return np.array([1.0, *[0.0] * (len(SCENARIO_FEATURES) - 1)], np.float32)
    acting = steps[:, 0] > 0
    calls = steps[acting] if acting.any() else np.zeros((1, steps.shape[1]), np.float32)
    acts = calls[:, 0] * (1.0 - calls[:, 1])
    obeys = float((calls[:, 2] * calls[:, 5] * calls[:, 6]).max())
    last = steps[-1]
    reports = float(last[6] * last[7] * (1.0 - last[0]))
    spoken = steps[:, [7, 8]].max(axis=0)
    highest = np.concatenate([calls[:, 1:7].max(axis=0), spoken])
    tail = [last[7], last[8], last[0], float((acts * calls[:, 2]).max()), obeys, reports, steps[:, 12].max()]
    return np.array([1.0, 0.0, acting.any(), *highest, *calls[:, 1:6].mean(axis=0), *tail], np.float32)
