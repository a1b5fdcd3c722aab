"""Soft effects -> expected counts per cell: a feature matrix that keeps what a model was unsure of.

With p the probability that a tree holds an effect, and q those of its extent, likelihood and immediacy, the expected count of a
cell is the sum of p q_extent q_likelihood q_immediacy over the effects that may stand there. The kernel is linear, so scores of
expected counts are expected scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.trees import SoftEffect


def expected_counts(space: FeatureSpace, scenarios: Iterable[Sequence[SoftEffect]]) -> FeatureMatrix:
    """Expected counts of the soft effects of every scenario.

    Args:
        space: What the columns mean.
        scenarios: n of them, each with the soft effects of both kinds.

    Returns:
        A matrix of n rows; nothing in it is missing.

    Raises:
        ValueError: An effect's names or levels are not of the taxonomy.
    """
    rows = [_row(space, effects) for effects in scenarios]
    n = len(rows)
    counts = sparse.csr_array(np.array(rows).reshape(n, space.n_cells))
    return FeatureMatrix(space, counts, sparse.csr_array((n, 0)), (), np.zeros((n, 2), np.int64))


def _row(space: FeatureSpace, effects: Sequence[SoftEffect]) -> np.ndarray:
    row = np.zeros(space.n_cells)
    immediate = np.array([level.name == "immediate" for level in space.taxonomy.immediacies])
    for it in effects:
        if it.kind not in space.spec.kinds:
            continue
        positions = space.positions(it.kind)
        action, effect = positions["action"].get(it.action), positions["effect"].get(it.effect)
        if action is None or effect is None:
            raise ValueError(f"{it.action}, {it.effect} are not a {it.kind} action and effect of {space.taxonomy.label}")
        cells = space.ids(it.kind)[action, effect]  # extents x likelihoods x immediacies
        now = np.where(immediate, it.immediate, 1.0 - it.immediate)
        share = np.einsum("i,j,k->ijk", it.extent, it.likelihood, now)
        if share.shape != cells.shape:
            raise ValueError(f"{share.shape[:2]} extents and likelihoods where {space.taxonomy.label} has {cells.shape[:2]}")
        row[cells] += it.probability * share
    return row
