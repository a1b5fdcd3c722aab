"""What a score is worth at the cut that finds a given share of one set's unsafe scenarios, there and on other sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.intervals import N_BOOTSTRAP, estimate
from safetyanalyst.pipelines.evaluate import Estimate, Outcome

Array = npt.NDArray[np.float64]


class AtRecall(NamedTuple):
    """A cut and what it does.

    Attributes:
        cut: Scores that reach it are flagged.
        recall: On the set that it was chosen on: at least what was asked for.
        false_positive_rate: There too.
        recalls: On other sets, by their names.
    """

    cut: float
    recall: float
    false_positive_rate: Estimate
    recalls: dict[str, Estimate]


def at_recall(chosen_on: Sequence[Outcome], others: Mapping[str, Sequence[Outcome]], recall: float) -> AtRecall:
    """The highest cut at which recall is at least so much; in the intervals the cut is chosen anew on every resample.

    Args:
        chosen_on: Safe and unsafe scenarios.
        others: Further sets; only their unsafe scenarios count.
        recall: Above 0, at most 1.
    """
    unsafe, safe = (_ranks(chosen_on, label) for label in (1, 0))
    theirs = {name: _ranks(outcomes, 1) for name, outcomes in others.items()}
    cut = cut_at(unsafe, recall)
    rng = np.random.default_rng(0)
    rates: list[float] = []
    recalls: dict[str, list[float]] = {name: [] for name in theirs}
    for _ in range(N_BOOTSTRAP):
        moved = cut_at(rng.choice(unsafe, len(unsafe)), recall)
        rates.append(_reaching(rng.choice(safe, len(safe)) if len(safe) else safe, moved))
        for name, ranks in theirs.items():
            recalls[name].append(_reaching(rng.choice(ranks, len(ranks)), moved))
    return AtRecall(
        cut,
        _reaching(unsafe, cut),
        estimate(_reaching(safe, cut), rates),
        {name: estimate(_reaching(ranks, cut), recalls[name]) for name, ranks in theirs.items()},
    )


def cut_at(unsafe: Array, recall: float) -> float:
    """The highest score that at least this share of the unsafe scenarios reaches."""
    falling = np.sort(unsafe)[::-1]
    return float(falling[math.ceil(recall * len(falling) - 1e-9) - 1])


def _ranks(outcomes: Sequence[Outcome], label: int) -> Array:
    return np.array([it.rank for it in outcomes if it.label == label], dtype=np.float64)


def _reaching(ranks: Array, cut: float) -> float:
    return float((ranks >= cut).mean()) if len(ranks) else math.nan
