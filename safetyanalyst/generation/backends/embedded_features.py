"""Scenario -> hashed text features of the embedded specialists: word and character n-grams, tagged by who said them.

A feature is a bucket of a hash (crc32, the same everywhere), its value a damped count. Each field (what the user asked, what
the agent wrote, called, got back) is scaled to unit length on its own, so that a long tool result cannot drown a short request.
Words of a tool call are tagged by where they come from: the user, an earlier tool result, or the agent itself. Behind the
n-grams stand a few numbers on how an agent's steps relate to request and results (see `embedded_steps`). Nothing depends on the
number of messages, and texts are read in full.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_steps import SCENARIO_FEATURES, step_features
from safetyanalyst.scenarios import Message, Scenario, Trajectory, messages_of

WORD_BITS, CHAR_BITS = 15, 14
N_GRAMS = (1 << WORD_BITS) + (1 << CHAR_BITS)
N_BUCKETS = N_GRAMS + len(SCENARIO_FEATURES)  # behind the n-grams: how an agent's steps relate to request and results
_STEP_WEIGHT = 2.0  # beside fields of unit length
_CHAR_LENGTHS = (3, 4, 5)
_MAX_WORD = 24  # characters of a word that character n-grams are taken from
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
# a closing formula of one agent framework: it tells which program wrote the log, not what the agent did
FORMULAS = re.compile(r"\bfinal answer\b:?|\[(?:thought|action|environment)\]:?|</?(?:thinking|answer|result)>", re.IGNORECASE)
_FIELD_WEIGHTS = {"user": 1.0, "answer": 0.7, "call": 1.0, "result": 0.5, "system": 0.3}


class TextFeatures(NamedTuple):
    """A sparse row.

    Attributes:
        buckets: (n,) ascending bucket numbers.
        values: (n,) their values, none of them 0.
    """

    buckets: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def features_of(scenario: Scenario) -> TextFeatures:
    """Features of a whole scenario."""
    text = _features(_fields(messages_of(scenario), is_agent=isinstance(scenario, Trajectory)))
    steps = step_features(scenario)
    present = np.flatnonzero(steps)
    return TextFeatures(
        np.concatenate((text.buckets, N_GRAMS + present)),
        np.concatenate((text.values, _STEP_WEIGHT * steps[present].astype(np.float64))),
    )


def features_of_steps(trajectory: Trajectory) -> Iterator[TextFeatures]:
    """Features of every step alone, with the origin of its words as in the whole trajectory; in one pass."""
    seen = _Seen()
    for step in trajectory.steps():
        for message in step.context:
            seen.note(message)
        yield _features(_fields((step.action, *step.results), is_agent=True, seen=seen))


class _Seen:
    """Words that the user and the tools have said so far."""

    def __init__(self) -> None:
        self.user: set[str] = set()
        self.tools: set[str] = set()

    def note(self, message: Message) -> None:
        if message.role == "user":
            self.user.update(words_of(message.content))
        elif message.role == "tool":
            self.tools.update(words_of(message.content))

    def origin(self, word: str) -> str:
        return "u" if word in self.user else "t" if word in self.tools else "n"


def words_of(text: str) -> list[str]:
    """Lower-case words."""
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(FORMULAS.sub(" ", text))]


def _fields(messages: Iterable[Message], *, is_agent: bool, seen: _Seen | None = None) -> dict[str, Counter[str]]:
    """Counts of n-grams per field; a key is the tagged n-gram."""
    seen = seen or _Seen()
    fields: dict[str, Counter[str]] = {name: Counter() for name in _FIELD_WEIGHTS}
    for message in messages:
        if message.role in ("user", "system"):
            _count(fields[message.role], message.content, "u")
        elif message.role == "tool":
            _count(fields["result"], message.content, "t")
        else:
            _count(fields["answer"], message.content, "a" if is_agent else "r")
            for call in message.tool_calls:
                _count_call(fields["call"], str(call), seen)
        seen.note(message)
    return fields


def _count(counts: Counter[str], text: str, tag: str) -> None:
    words = words_of(text)
    counts.update(tag + word for word in words)
    counts.update(f"{tag}{a} {b}" for a, b in itertools.pairwise(words))


def _count_call(counts: Counter[str], call: str, seen: _Seen) -> None:
    """A tool call: its name split into words, and its arguments with the origin of every word."""
    words = words_of(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", call))
    counts.update("c" + word for word in words)
    counts.update(f"c{a} {b}" for a, b in itertools.pairwise(words))
    counts.update(f"o{seen.origin(word)}" for word in words)
    counts.update(f"o{seen.origin(word)}{word}" for word in words)


def _features(fields: dict[str, Counter[str]]) -> TextFeatures:
    total: dict[int, float] = {}
    for name, counts in fields.items():
        if not counts:
            continue
        for block in (_hash_words(counts), _hash_characters(counts)):
            scale = _FIELD_WEIGHTS[name] / math.sqrt(sum(v * v for v in block.values()) or 1.0)
            for bucket, value in block.items():
                total[bucket] = total.get(bucket, 0.0) + scale * value
    buckets = np.array(sorted(total), np.int64)
    return TextFeatures(buckets, np.array([total[int(b)] for b in buckets]))


def _hash_words(counts: Counter[str]) -> dict[int, float]:
    block: dict[int, float] = {}
    mask = (1 << WORD_BITS) - 1
    for gram, n in counts.items():
        bucket = zlib.crc32(gram.encode("utf-8", "surrogatepass")) & mask
        block[bucket] = block.get(bucket, 0.0) + 1.0 + math.log(n)
    return block


def _hash_characters(counts: Counter[str]) -> dict[int, float]:
    """Character n-grams inside words: what is left of a misspelt or unseen word."""
    block: dict[int, float] = {}
    mask, offset = (1 << CHAR_BITS) - 1, 1 << WORD_BITS
    for gram, n in counts.items():
        if " " in gram or gram[0] == "o":
            continue
        word = f"<{gram[1 : _MAX_WORD + 1]}>"
        for length in _CHAR_LENGTHS:
            for i in range(len(word) - length + 1):
                part = word[i : i + length].encode("utf-8", "surrogatepass")
                bucket = offset + (zlib.crc32(part) & mask)
                block[bucket] = block.get(bucket, 0.0) + 1.0 + math.log(n)
    return block
