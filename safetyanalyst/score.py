"""The score of one scenario as a function: of cell values, and through them of the weights.

`explanation.explain` says what a score is made of; what would change it (`flips`, `counterfactual`, `stability`) asks for the
same sum at other weights, thousands of times. Both take it from here:

    low(w)  = fsum over effects of min over the cells the effect may stand in of cell(w)      (high: max)

so that a score found at other weights is, to the last bit, the score that a policy with those weights gives.

Source of the sum: SafetyAnalyst (arXiv 2410.16665), section 2.3; of its interval, docs/decisions/0001.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from safetyanalyst.features import SIGN, FeatureSpace
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, TreeKind
from safetyanalyst.weights import Floats, Ints, WeightProducts

End = Literal["low", "high"]
_AT_ONCE = 1_000_000  # numbers held at a time when many vectors of weights are scored


class Interval(NamedTuple):
    """Least and greatest possible value; the two are equal when nothing is missing."""

    low: float
    high: float


class Batch(NamedTuple):
    """Ends of the score at N vectors of weights, each (N,)."""

    low: Floats
    high: Floats


def add_up(intervals: Iterable[Interval]) -> Interval:
    """Sum of intervals, rounded once."""
    parts = list(intervals)
    return Interval(math.fsum(part.low for part in parts), math.fsum(part.high for part in parts))


def missing_trees(trees: HarmBenefitTree, space: FeatureSpace) -> tuple[TreeKind, ...]:
    """The counted kinds in which a tree or a subtree is missing: their side of the score has no bound."""
    sides = {"harm": trees.harm, "benefit": trees.benefit}
    return tuple(kind for kind in TREE_KINDS if kind in space.spec.kinds and ((it := sides[kind]) is None or it.lost))


def without_bound(missing: Iterable[TreeKind], cells: Floats) -> Interval:
    """What missing subtrees could add: any amount on their side, and nothing where all its weights are 0."""
    sides = set(missing)
    high = math.inf if "harm" in sides and cells.max(initial=0.0) > 0 else 0.0
    low = -math.inf if "benefit" in sides and cells.min(initial=0.0) < 0 else 0.0
    return Interval(low, high)


class ScoreFunction:
    """The score of one scenario at any weights.

    Args:
        trees: Of the scenario.
        space: What the weights distinguish.

    Attributes:
        space: As given.
        missing: Kinds of trees in which something is missing that has no bound.
        products: The cells in use alone, (U,) of them, as products of all K weights.
        uses: (U, K) whether a weight belongs to a cell in use.
        known: Cell, in 0..U-1, of each effect that was read.
        ranges: Cells that each effect may stand in that was not read.
    """

    def __init__(self, trees: HarmBenefitTree, space: FeatureSpace) -> None:
        self.space = space
        self.missing = missing_trees(trees, space)
        effects = [
            space.cells_of(tree.kind, leaf.action.action, leaf.effect)
            for tree in (trees.harm, trees.benefit)
            if tree is not None and tree.kind in space.spec.kinds
            for leaf in tree.leaves()
        ]
        whole = space.levels
        wanted = [np.flatnonzero(whole.sign == SIGN[kind]) for kind in self.missing]
        used = np.unique(np.concatenate([*effects, *wanted, np.empty(0, np.int64)]))
        self.products = WeightProducts(whole.names, whole.factors[used], whole.sign[used])
        self.uses = self.products.incidence.astype(bool)
        local = [np.searchsorted(used, cells) for cells in effects]
        self.known: Ints = np.array([cells[0] for cells in local if len(cells) == 1], np.int64)
        self.ranges = tuple(cells for cells in local if len(cells) > 1)
        self._counts = np.bincount(self.known, minlength=len(used)).astype(np.float64)

    @property
    def is_range(self) -> bool:
        """Whether something is missing, so that the two ends may differ."""
        return bool(self.ranges or self.missing)

    def interval(self, levels: Floats) -> Interval:
        """Least and greatest score at level weights (K,), rounded once: what `explain` finds under such a policy."""
        cells = self.products.values(levels)
        read = cells[self.known].tolist()
        if not self.is_range:
            score = math.fsum(read)
            return Interval(score, score)
        low = math.fsum([*read, *(float(cells[it].min()) for it in self.ranges)])
        high = math.fsum([*read, *(float(cells[it].max()) for it in self.ranges)])
        more = without_bound(self.missing, cells)
        return Interval(low + more.low, high + more.high)

    def ends(self, levels: Floats) -> Batch:
        """The ends at N vectors of weights at once, with plain rounding and without what has no bound: for searching.

        Args:
            levels: (N, K).
        """
        factors = self.products.factors
        parts = []
        for rows in np.array_split(levels, 1 + len(levels) * factors.size // _AT_ONCE):
            extended = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
            parts.append(self.ends_of(np.multiply.reduce(extended[:, factors], axis=2) * self.products.sign))
        return Batch(np.concatenate([it.low for it in parts]), np.concatenate([it.high for it in parts]))

    def ends_of(self, cells: Floats) -> Batch:
        """`ends` at N vectors of values of the cells in use, (N, U)."""
        low = cells @ self._counts
        high = low.copy()
        for it in self.ranges:
            low += cells[:, it].min(axis=1)
            high += cells[:, it].max(axis=1)
        return Batch(low, high)

    def gradient(self, levels: Floats, end: End) -> Floats:
        """(K,) derivative of one end by the weights; at a kink (another cell becomes the least), that of one side."""
        upstream = self._counts
        if self.ranges:
            cells = self.products.values(levels)
            upstream = upstream.copy()
            for it in self.ranges:
                upstream[it[cells[it].argmin() if end == "low" else cells[it].argmax()]] += 1.0
        return self.products.gradient(levels, upstream)
