"""Training items -> batches of numbers: tokenised anew every epoch, packed by length, in an order that the seed fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.generation.backends.embedded_steps import step_rows, step_summary
from safetyanalyst.generation.backends.embedded_text import chunks_of
from safetyanalyst.pipelines.train_augment import Augmenter
from safetyanalyst.pipelines.train_network import Batch, Padded
from safetyanalyst.pipelines.train_targets import Targets
from safetyanalyst.scenarios import Prompt, Scenario

_LENGTHS = (32, 64, 112)  # chunks of a batch are padded in groups that end here
_POOL = 24  # batches' worth of items that are sorted by length together


class Item(NamedTuple):
    """A scenario with what is to be predicted of it."""

    scenario: Scenario
    targets: Targets


class Limits(NamedTuple):
    """How large a batch may be.

    Attributes:
        items: At most so many scenarios.
        tokens: At most so many tokens, padding included.
        chunks: Of a scenario that a training step reads: the first, the latest deeds, and others by chance.
    """

    items: int
    tokens: int
    chunks: int


class Encoded(NamedTuple):
    """A scenario as the network reads it.

    Attributes:
        ids: Token ids of every chunk.
        steps: (chunks, step features).
        relations: (scenario features,).
        deeds: The chunk of every step that holds the deed and the beginning of its results.
        at: Index of the item.
    """

    ids: list[list[int]]
    steps: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    relations: np.ndarray[tuple[int], np.dtype[np.float32]]
    deeds: list[int]
    at: int


class Packed(NamedTuple):
    """A batch, and which items it holds."""

    batch: Batch
    items: list[int]


def encode(scenario: Scenario, vocabulary: Vocabulary, at: int) -> Encoded:
    """Reads a scenario as it is read at run time."""
    chunks = chunks_of(scenario, vocabulary.tokenize)
    rows = step_rows(scenario)
    of_chunks = np.zeros((len(chunks), rows.shape[1]), np.float32)
    for i, chunk in enumerate(chunks):
        if 0 <= chunk.step < len(rows):
            of_chunks[i] = rows[chunk.step]
    first: dict[int, int] = {}
    for i, chunk in enumerate(chunks):
        first.setdefault(chunk.step, i)
    deeds = [i for step, i in first.items() if step >= 0 and i > 0]
    return Encoded([vocabulary.joined(chunk.parts) for chunk in chunks], of_chunks, step_summary(scenario, rows), deeds, at)


class Reader:
    """Makes the batches of an epoch.

    Args:
        items: What is learned from.
        vocabulary: Of the encoder.
        limits: Of a batch.
        augment: Share of prompts that are changed, differently in every epoch.
        seed: Of order and changes.
    """

    def __init__(self, items: Sequence[Item], vocabulary: Vocabulary, limits: Limits, augment: float, seed: int) -> None:
        self.items, self.vocabulary, self.limits, self.augment, self.seed = items, vocabulary, limits, augment, seed
        prompts = ((it.scenario, it.targets) for it in items if isinstance(it.scenario, Prompt))
        self._harmless = [scenario.text for scenario, targets in prompts if targets.judgements[0] == 0]
        self._unchanged: dict[int, Encoded] = {}  # trajectories are long, and never changed

    def epoch(self, number: int) -> Iterator[Packed]:
        """The batches of one epoch."""
        rng = np.random.default_rng((self.seed, number))
        augmenter = Augmenter(self.augment, rng, self._harmless)
        order = rng.permutation(len(self.items))
        size = self.limits.items * _POOL
        for start in range(0, len(order), size):
            pool = [self._sampled(self._read(int(i), augmenter), rng) for i in order[start : start + size]]
            batches = list(packed(pool, self.limits))
            for b in rng.permutation(len(batches)):
                yield batches[b]

    def measure(self, i: int) -> Encoded:
        """An item unchanged, as long as it is at most in training."""
        it = encode(self.items[i].scenario, self.vocabulary, i)
        return it._replace(ids=it.ids[: self.limits.chunks], steps=it.steps[: self.limits.chunks])

    def _read(self, i: int, augmenter: Augmenter) -> Encoded:
        scenario = self.items[i].scenario
        if isinstance(scenario, Prompt):
            text = augmenter(scenario.text)
            return encode(scenario.model_copy(update={"text": text}), self.vocabulary, i)
        if i not in self._unchanged:
            self._unchanged[i] = encode(scenario, self.vocabulary, i)
        return self._unchanged[i]

    def _sampled(self, it: Encoded, rng: np.random.Generator) -> Encoded:
        if len(it.ids) <= self.limits.chunks:
            return it
        room = self.limits.chunks - 1
        deeds = it.deeds[max(0, len(it.deeds) - room) :]
        others = np.setdiff1d(np.arange(1, len(it.ids)), deeds)
        more = rng.choice(others, min(len(others), room - len(deeds)), replace=False)
        kept = [0, *sorted([*deeds, *map(int, more)])]
        return it._replace(ids=[it.ids[k] for k in kept], steps=it.steps[kept])


def packed(pool: Sequence[Encoded], limits: Limits) -> Iterator[Packed]:
    """Batches of items of like length."""
    held: list[Encoded] = []
    longest = chunks = 0
    for it in sorted(pool, key=lambda it: (max(map(len, it.ids)), len(it.ids))):
        width, n = max(longest, *map(len, it.ids)), chunks + len(it.ids)
        if held and (len(held) == limits.items or width * n > limits.tokens):
            yield batch_of(held)
            held, width, n = [], max(map(len, it.ids)), len(it.ids)
        held.append(it)
        longest, chunks = width, n
    if held:
        yield batch_of(held)


def batch_of(held: Sequence[Encoded]) -> Packed:
    """Pads and stacks."""
    chunks = [ids for it in held for ids in it.ids]
    counts = [len(it.ids) for it in held]
    groups: dict[int, list[int]] = {}
    for i, ids in enumerate(chunks):
        groups.setdefault(sum(len(ids) > length for length in _LENGTHS), []).append(i)
    batch = Batch(
        tuple(_padded(chunks, groups[k]) for k in sorted(groups)),
        torch.repeat_interleave(torch.arange(len(held)), torch.tensor(counts)),
        torch.tensor(np.cumsum([0, *counts[:-1]])),
        torch.from_numpy(np.concatenate([it.steps for it in held])),
        torch.from_numpy(np.stack([it.relations for it in held])),
    )
    return Packed(batch, [it.at for it in held])


def _padded(chunks: Sequence[list[int]], at: list[int]) -> Padded:
    ids = np.zeros((len(at), max(len(chunks[i]) for i in at)), np.int64)
    mask = np.zeros_like(ids)
    for row, i in enumerate(at):
        ids[row, : len(chunks[i])] = chunks[i]
        mask[row, : len(chunks[i])] = 1
    return Padded(torch.from_numpy(ids), torch.from_numpy(mask), torch.tensor(at))
