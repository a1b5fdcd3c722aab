"""Counts and labels drawn from known weights: small ones, without trees, where only the numbers matter."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from safetyanalyst.aggregation import harmfulness, probability
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.links import Link


def matrix_of(space: FeatureSpace, counts: np.ndarray) -> FeatureMatrix:
    """A complete matrix with these counts."""
    n = len(counts)
    return FeatureMatrix(
        space, sparse.csr_array(counts.astype(float)), sparse.csr_array((n, 0)), (), np.zeros((n, 2), np.int64)
    )


def random_counts(space: FeatureSpace, rng: np.random.Generator, n: int, effects: int = 8) -> FeatureMatrix:
    """About `effects` effects in every row, as many on each side as the space has sides."""
    counts = np.zeros((n, space.n_cells))
    sides = [np.flatnonzero(space.levels.sign == sign) for sign in (1.0, -1.0)]
    for side in (it for it in sides if len(it)):
        for row in counts:
            np.add.at(row, rng.choice(side, size=1 + rng.poisson(effects / 2)), 1.0)
    return matrix_of(space, counts)


def draw_labels(matrix: FeatureMatrix, levels: np.ndarray, rng: np.random.Generator, threshold: float = 0.0) -> np.ndarray:
    """Labels under the link of the space."""
    link: Link = matrix.space.spec.analysis
    p = probability(harmfulness(matrix, levels) - threshold, link)
    return (rng.random(len(matrix)) < p).astype(float)
