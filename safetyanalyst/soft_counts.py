"""Soft effects -> expected counts per cell: a feature matrix that keeps what a model was unsure of.

With p the probability that a tree holds an effect, and q those of its extent, likelihood and immediacy, the expected count of a
cell is the sum of p q_extent q_likelihood q_immediacy over the effects that may stand there. The kernel is linear, so scores of
expected counts are expected scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.taxonomy import Category, Taxonomy
from safetyanalyst.trees import TREE_KINDS, SoftEffect
from safetyanalyst.weights import Floats


def expected_counts(space: FeatureSpace, scenarios: Iterable[Sequence[SoftEffect]]) -> FeatureMatrix:
    """Expected counts of the soft effects of every scenario.

    Args:
        space: What the columns mean.
        scenarios: n of them, each with the soft effects of both kinds.

    Returns:
        A matrix of n rows; nothing in it is missing.

    Raises:
        ValueError: An effect's names or levels are not of the taxonomy, or something in it is no probability.
    """
    taxonomy = space.taxonomy
    names = {kind: _Names(_of(taxonomy.actions(kind)), _of(taxonomy.effects(kind))) for kind in TREE_KINDS}
    indptr, columns, values = [0], [np.empty(0, np.int64)], [np.empty(0)]
    for effects in scenarios:
        for it in effects:
            _check(taxonomy, names[it.kind], it)
        row = _row(space, effects)
        columns.append(np.flatnonzero(row))
        values.append(row[columns[-1]])
        indptr.append(indptr[-1] + len(columns[-1]))
    n = len(indptr) - 1
    counts = sparse.csr_array((np.concatenate(values), np.concatenate(columns), np.array(indptr)), shape=(n, space.n_cells))
    return FeatureMatrix(space, counts, sparse.csr_array((n, 0)), (), np.zeros((n, 2), np.int64))


def _row(space: FeatureSpace, effects: Sequence[SoftEffect]) -> Floats:
    row = np.zeros(space.n_cells)
    immediate = np.array([level.name == "immediate" for level in space.taxonomy.immediacies])
    for it in effects:
        if it.kind not in space.spec.kinds:
            continue
        positions = space.positions(it.kind)
        cells = space.ids(it.kind)[positions["action"].get(it.action), positions["effect"].get(it.effect)]
        now = np.where(immediate, it.immediate, 1.0 - it.immediate)
        row[cells] += it.probability * np.einsum("i,j,k->ijk", it.extent, it.likelihood, now)
    return row


class _Names(NamedTuple):
    actions: frozenset[str]
    effects: frozenset[str]


def _of(categories: Iterable[Category]) -> frozenset[str]:
    return frozenset(it.name for it in categories)


def _check(taxonomy: Taxonomy, names: _Names, it: SoftEffect) -> None:
    if it.action not in names.actions:
        raise ValueError(f"{it.action!r} is no {it.kind} action of {taxonomy.label}")
    if it.effect not in names.effects:
        raise ValueError(f"{it.effect!r} is no {it.kind} effect of {taxonomy.label}")
    found, expected = (len(it.extent), len(it.likelihood)), (len(taxonomy.extents), len(taxonomy.likelihoods))
    if found != expected:
        raise ValueError(f"{found} extents and likelihoods where {taxonomy.label} has {expected}")
    if not all(0.0 <= p <= 1.0 for p in (it.probability, it.immediate, *it.extent, *it.likelihood)):
        raise ValueError(f"{it.action}, {it.effect}: a probability lies outside [0, 1]")
