"""From a finer feature space to a coarser one of the same taxonomy, exactly.

Trees are featurized once, in the finest space (leaf action x effect group, both kinds). Every cell of it lies in one cell of
any coarser space, or in none when that space does not count its kind. With P the 0-or-1 matrix that says which,

    X_coarse = X_fine @ P        and        X_coarse @ cell(w) = X_fine @ (P @ cell(w))

The left form is `project`: it makes the matrix that featurizing in the coarse space would have made. The right form is `lift`:
it leaves the counts where they are and multiplies the coarse weights into the fine cells, which costs nothing per scenario.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy import sparse

from safetyanalyst.errors import ConfigError
from safetyanalyst.features import FeatureMatrix, FeatureSpace, FeatureSpaceSpec, slug
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind
from safetyanalyst.weights import Ints, WeightProducts

FINEST = FeatureSpaceSpec(analysis="both", action="leaf", effect="group")
"""Every distinction that any policy's weights can make."""
NOWHERE = -1
_BLOCK = 1 << 18  # numbers that fit into the processor's cache


def is_finer(fine: FeatureSpaceSpec, coarse: FeatureSpaceSpec) -> bool:
    """Whether every cell of `coarse` is made of whole cells of `fine`."""
    return (
        set(coarse.kinds) <= set(fine.kinds)
        and (fine.action == "leaf" or coarse.action == "group")
        and (fine.effect == "group" or coarse.effect == "none")
    )


def columns(fine: FeatureSpace, coarse: FeatureSpace) -> Ints:
    """For every cell of the fine space the cell of the coarse one that it lies in.

    Returns:
        (fine cells,) indices; `NOWHERE` for the cells of a kind that the coarse space does not count.

    Raises:
        ConfigError: The spaces are of two taxonomies, or the second makes a distinction that the first does not.
    """
    if fine.taxonomy.hash != coarse.taxonomy.hash:
        labels = fine.taxonomy.label, coarse.taxonomy.label
        raise ConfigError(f"cells of {labels[0]} are no cells of {labels[1]}", expected="one taxonomy")
    if not is_finer(fine.spec, coarse.spec):
        raise ConfigError(f"a space of ({fine.spec}) is not finer than one of ({coarse.spec})", key="space")
    return np.concatenate([_columns_of(kind, fine, coarse) for kind in fine.spec.kinds])


def project(matrix: FeatureMatrix, space: FeatureSpace) -> FeatureMatrix:
    """The matrix that featurizing the same trees in a coarser space gives.

    An effect that could stand in several fine cells may stand in one coarse cell only: then it is counted there. Two patterns
    of fine cells may be one pattern of coarse cells.

    Args:
        matrix: n rows in a finer space.
        space: The coarser space, of the same taxonomy.

    Returns:
        n rows; the order of the patterns is that of the fine ones.

    Raises:
        ConfigError: The space is not coarser.
    """
    into = columns(matrix.space, space)
    if np.array_equal(into, np.arange(space.n_cells)):
        return FeatureMatrix(space, matrix.counts, matrix.partial, matrix.patterns, matrix.lost)
    counts = _fold(matrix.counts, into, space.n_cells)
    patterns: dict[bytes, int] = {}
    cells: list[Ints] = []
    single = np.full(len(matrix.patterns), NOWHERE)
    several = np.full(len(matrix.patterns), NOWHERE)
    for i, fine_cells in enumerate(matrix.patterns):
        found = np.unique(into[fine_cells])
        found = found[found != NOWHERE]
        if len(found) == 1:
            single[i] = found[0]
        elif len(found):
            several[i] = patterns.setdefault(found.tobytes(), len(patterns))
            if several[i] == len(cells):
                cells.append(found)
    partial = _fold(matrix.partial, several, len(cells))
    if (single != NOWHERE).any():
        counts = counts + _fold(matrix.partial, single, space.n_cells)
    counted = np.array([kind in space.spec.kinds for kind in TREE_KINDS])
    return FeatureMatrix(space, sparse.csr_array(counts), sparse.csr_array(partial), tuple(cells), matrix.lost * counted)


def lift(fine: FeatureSpace, coarse: FeatureSpace) -> FeatureSpace:
    """The cells of the fine space with the weights of the coarse one.

    A matrix over fine cells is scored with the weights of a coarse policy by `lifted(matrix, lift(...))`. A cell of a kind that
    the coarse space does not count is worth 0.

    Raises:
        ConfigError: The second space is not coarser than the first.
    """
    into = columns(fine, coarse)
    lifted = copy.copy(fine)
    lifted.spec = coarse.spec
    lifted.levels = _lifted(coarse.levels, into)
    lifted.ratios = _lifted(coarse.ratios, into)
    return lifted


def lifted(matrix: FeatureMatrix, space: FeatureSpace) -> FeatureMatrix:
    """The same counts under the weights of a lifted space."""
    return FeatureMatrix(space, matrix.counts, matrix.partial, matrix.patterns, matrix.lost)


def finest_space(taxonomy: Taxonomy) -> FeatureSpace:
    """The space of every distinction that a policy over this taxonomy can make; the same object again for the same content."""
    if taxonomy.hash not in _finest:
        _finest[taxonomy.hash] = FeatureSpace(taxonomy, FINEST)
    return _finest[taxonomy.hash]


_finest: dict[str, FeatureSpace] = {}  # thousands of cells: a seventh of a second each


def _columns_of(kind: TreeKind, fine: FeatureSpace, coarse: FeatureSpace) -> Ints:
    n_actions, n_effects = fine.ids(kind).shape[:2]
    if kind not in coarse.spec.kinds:
        return np.full(fine.ids(kind).size, NOWHERE)
    actions = np.array(_actions(fine, coarse)) if kind == "harm" else np.zeros(n_actions, np.int64)
    is_same_effect = fine.spec.effect == coarse.spec.effect
    effects = np.arange(n_effects) if is_same_effect else np.zeros(n_effects, np.int64)
    into: Ints = coarse.ids(kind)[np.ix_(actions, effects)].ravel()
    return into


def _actions(fine: FeatureSpace, coarse: FeatureSpace) -> list[int]:
    position = {key: i for i, key in enumerate(coarse.action_keys)}
    if fine.spec.action == coarse.spec.action:
        return [position[key] for key in fine.action_keys]
    group = {slug(category.name): category.group for category in fine.taxonomy.harm_actions}
    return [position[group[key]] for key in fine.action_keys]


def _fold(counts: Any, into: Ints, n_columns: int) -> Any:
    """Counts @ P, where row i of P has a 1 in column into[i], and none for `NOWHERE`.

    Adding up into dense blocks takes one pass over the counts; a product of sparse matrices takes several times as long.
    """
    n = counts.shape[0]
    blocks = []
    width = n_columns + 1  # the last column takes what goes nowhere
    height = max(1, _BLOCK // width)
    target = np.where(into == NOWHERE, n_columns, into)
    for first in range(0, n, height):
        start, end = counts.indptr[[first, min(first + height, n)]]
        lengths = np.diff(counts.indptr[first : min(first + height, n) + 1])
        at = np.repeat(np.arange(len(lengths)) * width, lengths) + target[counts.indices[start:end]]
        block = np.bincount(at, counts.data[start:end], minlength=len(lengths) * width).reshape(-1, width)
        blocks.append(sparse.csr_array(block[:, :n_columns]))
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_array((0, n_columns))


def _lifted(products: WeightProducts, into: Ints) -> WeightProducts:
    factors = np.vstack((products.factors, np.full(products.factors.shape[1], len(products.names))))  # the last for NOWHERE
    return WeightProducts(products.names, factors[into], np.append(products.sign, 0.0)[into])
