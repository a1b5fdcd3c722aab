"""What a fit makes least over a region of ordered levels, with its exact gradient and its Fisher information.

mean log loss + ridge * sum((ratio - 1/2)^2) + pull * sum((level - prior level)^2)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from safetyanalyst.constraints import LevelRegion
from safetyanalyst.features import FeatureMatrix
from safetyanalyst.links import HALF, Link, information, log_loss, slope
from safetyanalyst.weights import Bools, Floats, Ints, WeightProducts

_DENSE = 0.08  # share of counts above which a dense product is faster than a sparse one


class MergedRows:
    """Counts with labels; rows that are alike in both are held once, and only cells that occur: same sums, less to multiply.

    Args:
        matrix: n complete rows.
        labels: (n,) of 0 and 1.

    Attributes:
        counts: (m, c) counts, dense or sparse.
        labels: (m,).
        columns: (c,) the cells that occur.
        row_of: (n,) the merged row of each row.
    """

    def __init__(self, matrix: FeatureMatrix, labels: Floats) -> None:
        counts = matrix.counts.copy()
        counts.sort_indices()
        known: dict[tuple[bytes, bytes, float], int] = {}
        row_of = np.empty(len(labels), np.int64)
        for i, (start, end) in enumerate(itertools.pairwise(counts.indptr)):
            key = counts.indices[start:end].tobytes(), counts.data[start:end].tobytes(), float(labels[i])
            row_of[i] = known.setdefault(key, len(known))
        _, first = np.unique(row_of, return_index=True)
        self.row_of: Ints = row_of
        self.labels = labels[first]
        self.columns = np.flatnonzero(np.asarray(counts.sum(axis=0)).ravel() > 0)
        kept = counts[first][:, self.columns]
        is_dense = kept.nnz > _DENSE * kept.shape[0] * kept.shape[1]
        self.counts = kept.toarray() if is_dense else kept.tocsr()
        self.transposed = self.counts.T if is_dense else kept.T.tocsr()

    def weights(self, of_rows: Floats) -> Floats:
        """(m,) weights of the merged rows from weights (n,) of the rows."""
        return np.bincount(self.row_of, of_rows, minlength=len(self.labels)).astype(np.float64)


@dataclass(frozen=True)
class Prior:
    """A pull of every level towards a value it is expected to have.

    The pull acts on levels, not on ratios: levels are what a base policy says, they are what floors and reports speak of, and
    the pull has no pole where the level above is 0.

    Attributes:
        values: (P,) parameter values; NaN where the base has none, and nothing pulls.
        strength: In labelled rows: the loss of all rows together gains `strength * sum((level - prior level)^2)`. A Gaussian
            with standard deviation tau around the base is the strength 1 / (2 tau^2).
        threshold: Where a fitted threshold is pulled to.
    """

    values: Floats
    strength: float
    threshold: float = 0.0


@dataclass(frozen=True)
class Objective:
    """What a fit makes least, as a function of positions and threshold.

    Attributes:
        rows: Counts and labels.
        weights: (m,) of the merged rows, summing to 1.
        region: Where the levels may lie.
        levels: Products of the levels that make the cells.
        link: Of the analysis.
        ridge: Pull of every ratio towards one half.
        prior: Values (P,) to pull levels to; `pull` is its strength per row.
        pull: 0 without prior.
        has_threshold: Whether a threshold is fitted with the levels (link "both" only).
        prior_threshold: Where the threshold is pulled to.
    """

    rows: MergedRows
    weights: Floats
    region: LevelRegion
    levels: WeightProducts
    link: Link
    ridge: float = 0.0
    prior: Floats | None = None
    pull: float = 0.0
    has_threshold: bool = False
    prior_threshold: float = 0.0

    def loss(self, values: Floats, threshold: float = 0.0) -> float:
        """Weighted mean log loss without penalties."""
        return float(self.weights @ log_loss(self.scores(values) - threshold, self.rows.labels, self.link))

    def scores(self, values: Floats) -> Floats:
        """(m,) scores of the merged rows."""
        cells = self.levels.values(values[self.region.own])
        scores: Floats = self.rows.counts @ cells[self.rows.columns]
        return scores

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Objective and gradient at x = positions, then the threshold where one is fitted. On a piece without kink."""
        region, n = self.region, len(self.region)
        positions, threshold = x[:n], float(x[n]) if self.has_threshold else 0.0
        values = region.values(positions)
        loss, by_value, by_threshold = self._by_value(values, threshold)
        by_position = np.zeros(n)
        if self.ridge:
            loss += self._ridge(positions, values, by_value, by_position)
        gradient = by_position + region.pull_back(positions, values, by_value)
        if not self.has_threshold:
            return loss, gradient
        off_threshold = threshold - self.prior_threshold
        return loss + self.pull * off_threshold**2, np.append(gradient, by_threshold + 2.0 * self.pull * off_threshold)

    def released(self, positions: Floats, threshold: float) -> Floats:
        """Positions of the same values from which a descent can move what has collapsed onto its floor (often 0).

        Below a level that stands on the floor of the level under it, positions mean nothing and have no derivative. Where the
        lower level pulls upwards, or is indifferent, it is put at the level above, to rise with it; else at its floor, to stay.
        """
        values = self.region.values(positions)
        return self.region.released(positions, values, self._by_value(values, threshold)[1])

    def _by_value(self, values: Floats, threshold: float) -> tuple[float, Floats, float]:
        """Loss and prior, with derivatives by the parameter values and, without the prior, by the threshold."""
        scores = self.scores(values) - threshold
        loss = float(self.weights @ log_loss(scores, self.rows.labels, self.link))
        by_score = self.weights * slope(scores, self.rows.labels, self.link)
        upstream = np.zeros(len(self.levels.sign))
        upstream[self.rows.columns] = self.rows.transposed @ by_score
        by_level = self.levels.gradient(values[self.region.own], upstream)
        by_value: Floats = np.bincount(self.region.own, by_level, minlength=len(self.region)).astype(np.float64)
        if self.prior is not None:
            off = np.where(np.isnan(self.prior), 0.0, values - self.prior)
            loss += self.pull * float(off @ off)
            by_value += 2.0 * self.pull * off
        return loss, by_value, -float(by_score.sum())

    def curvature(self, x: Floats) -> Floats:
        """Fisher information plus the curvature of the penalties at x: positive semi-definite, and close to the Hessian."""
        region, n = self.region, len(self.region)
        positions, threshold = x[:n], float(x[n]) if self.has_threshold else 0.0
        values = region.values(positions)
        by_position = np.stack([region.pull_back(positions, values, row) for row in np.eye(n)])  # d values / d positions
        cells = cell_jacobian(self.levels, region, values)[self.rows.columns] @ by_position
        rows = self.rows.counts @ cells
        if self.has_threshold:
            rows = np.column_stack((rows, -np.ones(len(rows))))
        of_row = self.weights * information(self.scores(values) - threshold, self.link)
        total: Floats = rows.T @ (rows * of_row[:, None])
        inner = total[:n, :n]
        if self.prior is not None:
            pulled = by_position[~np.isnan(self.prior)]
            inner += 2.0 * self.pull * (pulled.T @ pulled)
        inner[np.diag_indices(n)] += 2.0 * self.ridge
        if self.has_threshold:
            total[n, n] += 2.0 * self.pull
        return total

    def _ridge(self, positions: Floats, values: Floats, by_value: Floats, by_position: Floats) -> float:
        """The ridge; adds its derivative to both. A ratio is a position where nothing but the level above bounds a level."""
        region = self.region
        over = np.where(region.above < 0, 1.0, values[region.above])
        others = ~self._is_ratio & ~region.is_frozen  # the level above these is never 0
        ratios = np.where(others, values / np.where(others, over, 1.0), positions)
        off = np.where(region.is_frozen, 0.0, ratios - 0.5)
        by_ratio = 2.0 * self.ridge * off
        by_position += np.where(self._is_ratio, by_ratio, 0.0)
        by_value += np.where(others, by_ratio / np.where(others, over, 1.0), 0.0)
        below = others & (region.above >= 0)
        by_value[region.above[below]] -= (by_ratio * ratios / np.where(below, over, 1.0))[below]
        return self.ridge * float(off @ off)

    @cached_property
    def _is_ratio(self) -> Bools:
        region = self.region
        capped_by_one = (region.above < 0) & (region.hi == 1.0)
        plain: Bools = (region.lo == 0.0) & (region.is_linked | capped_by_one) & ~region.is_frozen
        return plain


def cell_jacobian(levels: WeightProducts, region: LevelRegion, values: Floats) -> Floats:
    """Derivative of the cells by the parameters, (cells, P), exact: cells are linear in every single level."""
    weights = values[region.own]
    by_value = np.zeros((len(levels.sign), len(region)))
    for k, own in enumerate(region.own):
        on, off = weights.copy(), weights.copy()
        on[k], off[k] = 1.0, 0.0
        by_value[:, own] += levels.values(on) - levels.values(off)
    return by_value


def cheapest_cut(scores: Floats, labels: Floats, weights: Floats, link: Link) -> float:
    """The threshold at which the errors on labelled scores cost least; a score above it counts as harmful.

    Among cuts that cost the same, and within the gap between two scores, the one nearest to where the link says one half.

    Args:
        scores: (n,).
        labels: (n,) of 0 and 1.
        weights: (n,) cost of an error on each row.
        link: Of the scores.
    """
    order = np.argsort(scores, kind="stable")
    ordered, missed = scores[order], np.cumsum((weights * labels)[order])
    spared = np.cumsum((weights * (1.0 - labels))[order])
    ends = np.flatnonzero(np.append(ordered[1:] > ordered[:-1], True))  # the last row of each run of equal scores
    cost = np.concatenate(([spared[-1]], missed[ends] + spared[-1] - spared[ends]))  # cut below all, then after each run
    edges = np.concatenate(([-np.inf], ordered[ends], [np.inf]))
    half = HALF[link]
    best: tuple[float, float] | None = None
    for i in np.flatnonzero(cost <= cost.min() + 1e-12 * weights.sum()):
        low, high = edges[i], edges[i + 1]
        if low <= half < high:
            cut = half
        elif np.isinf(low):
            cut = float(high - 1e-9 * max(1.0, abs(high)))
        else:
            middle = float(low / 2 + high / 2)
            cut = middle if middle < high else float(low)
        if best is None or abs(cut - half) < best[0]:
            best = (abs(cut - half), cut)
    assert best is not None
    return best[1]
