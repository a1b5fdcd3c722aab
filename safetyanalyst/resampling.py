"""Refits on resampled rows: how far another sample of the same people's labels would move the weights.

Each replicate draws as many rows as there are, with replacement, within each class, and descends from a random start. A descent
from the fitted weights would leave what the rows hardly determine where it found it, and an interval around that claims
knowledge nobody has (decision 12 holds the coverage of both).

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.aggregation import AggregationModel
from safetyanalyst.descent import descend
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix
from safetyanalyst.fitting import MergedRows
from safetyanalyst.weights import Floats, Ints


class Replicates(NamedTuple):
    """Refits on resampled rows.

    Attributes:
        levels: (B, K) level weights.
        thresholds: (B,) fitted thresholds, 0 where none is fitted.
    """

    levels: Floats
    thresholds: Floats


class Sampler:
    """Draws how often each row counts.

    Args:
        labels: (n,) of 0 and 1.
        groups: (n,) names of what belongs together (contrast pairs); whole groups are drawn, within groups of like labels.
        seed: Of the draws.
    """

    def __init__(self, labels: Floats, groups: Sequence[str] | None, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        _, self._group_of = np.unique(np.arange(len(labels)) if groups is None else np.asarray(groups), return_inverse=True)
        n_groups = int(self._group_of.max()) + 1
        harmful = np.bincount(self._group_of, labels, minlength=n_groups)
        size = np.bincount(self._group_of, minlength=n_groups)
        kind = np.where(harmful == size, 2, np.where(harmful > 0, 1, 0))  # all harmful, mixed, all harmless
        self._strata: list[Ints] = [found for k in range(3) if len(found := np.flatnonzero(kind == k))]

    def draw(self) -> Floats:
        """(n,) how often each row was drawn."""
        times = np.zeros(int(self._group_of.max()) + 1)
        for stratum in self._strata:
            drawn = stratum[self._rng.integers(0, len(stratum), len(stratum))]
            times += np.bincount(drawn, minlength=len(times))
        return times[self._group_of]


def refits(
    model: AggregationModel, matrix: FeatureMatrix, labels: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *,
    groups: Sequence[str] | None = None, n: int = 200, seed: int = 0, tick: Callable[[], object] = lambda: None,
) -> Replicates:  # fmt: skip
    """Refits a fitted model on resampled rows.

    Args:
        model: Fitted to these rows.
        matrix: n rows.
        labels: (n,) of 0 and 1.
        sample_weight: (n,) as in the fit.
        groups: What belongs together.
        n: Number of replicates.
        seed: Of the draws.
        tick: Called after every replicate.

    Raises:
        FitError: No replicate is asked for.
    """
    if n < 1:
        raise FitError(f"a bootstrap needs at least one replicate, not {n}")
    y = np.asarray(labels, dtype=np.float64)
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    sampler = Sampler(y, groups, seed)
    refit = Refit(model, matrix, y, seed)
    levels, thresholds = np.empty((n, len(model.levels_))), np.zeros(n)
    for b in range(n):
        drawn = weights * sampler.draw()
        while not (drawn[y == 1].any() and drawn[y == 0].any()):  # only rows of weight 0 were drawn of a class
            drawn = weights * sampler.draw()
        levels[b], thresholds[b] = refit(drawn)
        tick()
    return Replicates(levels, thresholds)


class Refit:
    """Fits the settings of a model to the same rows with other weights, from random starts."""

    def __init__(self, model: AggregationModel, matrix: FeatureMatrix, labels: Floats, seed: int) -> None:
        self.model = model
        self.rows = MergedRows(matrix, labels)
        self._rng = np.random.default_rng([seed, 1])

    def __call__(self, weights: Floats) -> tuple[Floats, float]:
        """Level weights (K,) and threshold for rows with weights (n,), at least one row of each class above 0."""
        region = self.model.region
        objective = self.model.objective(self.rows, weights / weights.sum())
        start = region.values(self._rng.uniform(size=len(region)))
        found = descend(objective, start, self.model.solution_.threshold, self.model.max_iterations)
        return found.values[region.own], self.model.cut(found, objective)
