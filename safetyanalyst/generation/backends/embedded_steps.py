"""What an agent's steps have to do with the request and with what its tools returned, in numbers.

Whether a step rests on the request or on something that a tool's result asked for is measured by shared words; what follows
from it is learned. An obeyed planted order shows as a call whose words come from a sentence in a result that asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_text import unescaped
from safetyanalyst.scenarios import Exchange, Message, Scenario, Trajectory

Floats = npt.NDArray[np.float32]

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
_SENTENCE = re.compile(r"[^.!?\n]+")
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|instructions?|please|must|important|urgent|could you|can you|you should|you need|before you|"
    r"do the following|need you to|note to|for the assistant|assistant:|agent:|as part of|also)\b",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")


def step_features(scenario: Scenario) -> Floats:
    """(len(SCENARIO_FEATURES),) how the steps of a trajectory relate to request and results; zeros for a prompt."""
    return step_summary(scenario, step_rows(scenario))


def step_rows(scenario: Scenario) -> Floats:
    """(steps, len(STEP_FEATURES)) how every step relates to what was said before it; no rows for a prompt."""
    if isinstance(scenario, Trajectory):
        return _step_features(scenario)
    return np.zeros((0, len(STEP_FEATURES)), np.float32)


def step_summary(scenario: Scenario, rows: Floats) -> Floats:
    """(len(SCENARIO_FEATURES),) what `step_rows` say of the whole; zeros for a prompt."""
    if isinstance(scenario, Trajectory):
        return _scenario_features(rows)
    features = np.zeros(len(SCENARIO_FEATURES), np.float32)
    features[1] = isinstance(scenario, Exchange)
    return features


def word_set(text: str) -> frozenset[str]:
    """The different words of more than two letters, endings cut: what two passages can have in common."""
    words = _WORD.findall(_CAMEL.sub(" ", unescaped(text)).replace("_", " ").lower().replace("\u2019", "'"))
    return frozenset(_stem(word) for word in words if len(word) > 2)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: len(word) - len(ending)]
    return word


def _stems(words: str) -> frozenset[str]:
    """As they stand in a word set."""
    return frozenset(map(_stem, words.split()))


_READING = _stems("get search list read find check view retrieve show look fetch query open summarize browse lookup scan")
_DECLINING = _stems(
    "cannot can't won't sorry unable suspicious ignore instead didn't decline refuse untrusted phishing unauthorized"
)
_FAILING = _stems("error exception fail invalid denied unauthorized notfound")


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
            words = word_set(message.content)
            if message.role == "user":
                self.user |= words
            elif message.role == "tool":
                self.results |= words
                for sentence in _SENTENCE.findall(unescaped(message.content)):
                    if _INSTRUCTION.search(sentence):
                        self.asked |= word_set(sentence)


def _step_features(trajectory: Trajectory) -> Floats:
    """(steps, step features)."""
    steps = trajectory.steps()
    seen = _Seen()
    rows = np.zeros((len(steps), len(STEP_FEATURES)), np.float32)
    for i, step in enumerate(steps):
        seen.add(step.context)
        rows[i] = _one_step(step.action, seen)
        rows[i, 9], rows[i, 10], rows[i, 13] = i == 0, i == len(steps) - 1, len(steps) == 1
        seen.add(step.results)
        failing = any(word_set(message.content[:300]) & _FAILING for message in step.results)
        rows[i, 12] = failing
    return rows


def _one_step(message: Message, seen: _Seen) -> Floats:
    spoken = word_set(message.content)
    name = word_set(" ".join(call.name for call in message.tool_calls))
    arguments = word_set("\n".join(_argument_text(call.arguments) for call in message.tool_calls))
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
