"""Counts x weights -> harmfulness, and the fit of the weights to labels.

    score = X @ cell(w)                                   (SafetyAnalyst, arXiv 2410.16665, section 2.3)
    loss  = -mean log sigmoid((2 y - 1) * score)          (its negative log-sigmoid alignment loss)

The fit searches a box in which ordered levels stay in order by construction (`constraints`). It is not convex: several seeded
starts, each with the exact gradient (`descent`), and the report keeps every start's loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.constraints import LevelRegion
from safetyanalyst.descent import Solution, descend
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.fitting import MergedRows, Objective, Prior, cheapest_cut
from safetyanalyst.identification import identify
from safetyanalyst.links import Link as Link
from safetyanalyst.links import log_loss as log_loss
from safetyanalyst.links import probability as probability
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats


class ScoreIntervals(NamedTuple):
    """Scores of n scenarios as intervals: what the missing features could make of them.

    Attributes:
        low: (n,) may be -inf.
        high: (n,) may be +inf.
    """

    low: Floats
    high: Floats


def harmfulness(matrix: FeatureMatrix, levels: Floats) -> Floats:
    """Harmfulness scores of complete rows: the product X @ cell(w) and nothing else.

    Args:
        matrix: n rows; what is missing in it is NOT counted, see `harmfulness_interval`.
        levels: (K,) level weights in the order of `matrix.space.levels.names`.

    Returns:
        (n,) scores.
    """
    scores: Floats = matrix.counts @ matrix.space.levels.values(levels)
    return scores


def harmfulness_interval(matrix: FeatureMatrix, levels: Floats) -> ScoreIntervals:
    """The least and the greatest score that any completion of the missing features could give.

    An effect with unreadable features lies between the least and the greatest cell it could stand in. A lost subtree, or a
    missing tree, could hold any number of effects: it has no bound, unless every weight on its side is 0.

    Args:
        matrix: n rows.
        levels: (K,) level weights.
    """
    cell = matrix.space.levels.values(levels)
    read = matrix.counts @ cell
    low, high = read.copy(), read
    if matrix.patterns:
        low += matrix.partial @ np.array([cell[cells].min() if len(cells) else 0.0 for cells in matrix.patterns])
        high = high + matrix.partial @ np.array([cell[cells].max() if len(cells) else 0.0 for cells in matrix.patterns])
    if matrix.lost.any():
        high = np.where((matrix.lost[:, 0] > 0) & (cell.max(initial=0.0) > 0), np.inf, high)
        low = np.where((matrix.lost[:, 1] > 0) & (cell.min(initial=0.0) < 0), -np.inf, low)
    return ScoreIntervals(low, high)


class Start(Record):
    """One start of the fit.

    Attributes:
        loss: Where it ended (mean log loss).
        converged: Whether the descent met its tolerance.
        iterations: How many it took.
    """

    loss: float
    converged: bool
    iterations: int


class AggregationModel:
    """The transparent model: harmfulness = counts times products of weights in [0, 1].

    Args:
        space: What the weights distinguish.
        n_starts: Number of starts of the fit.
        seed: Of the starts.
        max_iterations: Per start.
        ridge: Pull of every ratio towards one half: `ridge * sum((ratio - 1/2) ** 2)` is added to the loss that is minimised.
            With 0, as in the paper, a weight that few rows speak of may end anywhere, 0 and 1 included.
        region: Levels that the fit may choose from (`constraints.Constraints.region`); all ordered ones by default.
        prior: Pull towards levels that are expected.
        threshold: "zero", or "fit". With "fit" and both trees, the threshold is an intercept: the loss is that of
            `score - threshold`. With one tree the published link has no intercept; the weights are fitted first, and the
            threshold is where errors on the labelled rows cost least (`fitting.cheapest_cut`).

    Attributes:
        levels_: (K,) fitted level weights, in the order of `space.levels.names`.
        ratios_: (P,) fitted ratios; P is 29, or 28 with a shared discount, for "both" by action group.
        threshold_: Fitted threshold, or 0.
        loss_: Mean log loss at the best start, without the penalties.
        starts_: Every start, in order; their losses include ridge and prior.
        converged_: Whether the best start met its tolerance.
        at_bounds_: Names of ratios that ended on 0 or 1 though they are not frozen.
        unidentified_: Names of ratios that the data does not determine: moving them alone changes no score.
        identification_: What the data says about every level, combinations and disagreeing starts included.
    """

    def __init__(
        self, space: FeatureSpace, *, n_starts: int = 16, seed: int = 0, max_iterations: int = 1000, ridge: float = 0.0,
        region: LevelRegion | None = None, prior: Prior | None = None, threshold: Literal["zero", "fit"] = "zero",
    ) -> None:  # fmt: skip
        self.space = space
        self.n_starts = n_starts
        self.seed = seed
        self.max_iterations = max_iterations
        self.ridge = ridge
        self.region = region or LevelRegion.of(space)
        self.prior = prior
        self.threshold = threshold

    def fit(
        self, matrix: FeatureMatrix, labels: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *,
        tick: Callable[[], object] = lambda: None,
    ) -> AggregationModel:  # fmt: skip
        """Aligns the weights to labels.

        Args:
            matrix: n rows without anything missing.
            labels: (n,) of 0 and 1, 1 = harmful.
            sample_weight: (n,) non-negative, or `None` for all equal. Costs of errors are weights: ten for every harmful row
                make a missed harm cost ten false alarms.
            tick: Called after every start.

        Raises:
            FitError: No rows, lengths that disagree, labels other than 0 and 1, one class only, missing features, weights that
                are no numbers, no start, or counts of another feature space.
        """
        if self.n_starts < 1:
            raise FitError(f"a fit needs at least one start, not {self.n_starts}")
        y = _checked_labels(matrix, labels, self.space)
        weights = _normalised(sample_weight, y)
        objective = self.objective(MergedRows(matrix, y), weights)
        found: list[Solution] = []
        for start in self._starting_points():
            found.append(descend(objective, *start, self.max_iterations))
            tick()
        self.starts_ = [Start(loss=it.objective, converged=it.is_converged, iterations=it.iterations) for it in found]
        best = min(found, key=lambda it: it.objective)
        self._take(best, objective, matrix, y, weights)
        self.identification_ = identify(matrix, self.region, best, found, weights, objective.link)
        return self

    def unfitted(self, *, prior: Prior | None = None) -> AggregationModel:
        """A new model with the same settings, for other rows; with another prior where one is given."""
        return AggregationModel(
            self.space, n_starts=self.n_starts, seed=self.seed, max_iterations=self.max_iterations, ridge=self.ridge,
            region=self.region, prior=prior or self.prior, threshold=self.threshold,
        )  # fmt: skip

    def objective(self, rows: MergedRows, weights: Floats) -> Objective:
        """What the fit makes least on these rows.

        Args:
            rows: Counts with labels.
            weights: (n,) of the rows before they were merged, summing to 1.
        """
        pull = 0.0 if self.prior is None else self.prior.strength / len(rows.row_of)
        return Objective(
            rows, rows.weights(weights), self.region, self.space.levels, self.space.spec.analysis, self.ridge,
            prior=None if self.prior is None else self.prior.values,
            pull=pull,
            has_threshold=self.threshold == "fit" and self.space.spec.analysis == "both",
            prior_threshold=0.0 if self.prior is None else self.prior.threshold,
        )  # fmt: skip

    def cut(self, solution: Solution, objective: Objective) -> float:
        """The threshold that belongs to a solution."""
        if self.threshold == "zero" or objective.has_threshold:
            return solution.threshold
        return cheapest_cut(objective.scores(solution.values), objective.rows.labels, objective.weights, objective.link)

    def decision_function(self, matrix: FeatureMatrix) -> Floats:
        """(n,) harmfulness scores; NaN where something is missing, so that no threshold can be passed by accident."""
        interval = harmfulness_interval(matrix, self.levels_)
        return np.where(interval.low == interval.high, interval.high, np.nan)

    def predict_proba(self, matrix: FeatureMatrix) -> Floats:
        """(n, 2) probabilities of harmless and harmful; NaN where something is missing."""
        link = self.space.spec.analysis
        p = probability(self.decision_function(matrix) - (self.threshold_ if link == "both" else 0.0), link)
        return np.column_stack((1.0 - p, p))

    def predict(self, matrix: FeatureMatrix) -> Floats:
        """(n,) 1 for harmful (score above the threshold), 0 for harmless, NaN where what is missing could decide."""
        interval = harmfulness_interval(matrix, self.levels_)
        return np.where(interval.low > self.threshold_, 1.0, np.where(interval.high <= self.threshold_, 0.0, np.nan))

    def _starting_points(self) -> list[tuple[Floats, float]]:
        """Seeded starts: the middle of the box first, then what the prior expects, then uniform draws."""
        rng = np.random.default_rng(self.seed)
        middle = np.full(len(self.region), 0.5)
        draws = [self.region.values(t) for t in (middle, *rng.uniform(0.02, 0.98, size=(self.n_starts - 1, len(middle))))]
        threshold = 0.0 if self.prior is None else self.prior.threshold
        if self.prior is not None:
            expected = np.where(np.isnan(self.prior.values), draws[0], self.prior.values)
            draws.insert(1 if self.n_starts > 1 else 0, self.region.nearest(expected))
        return [(start, threshold) for start in draws[: self.n_starts]]

    def _take(self, best: Solution, objective: Objective, matrix: FeatureMatrix, labels: Floats, weights: Floats) -> None:
        """Sets the results from the best solution."""
        region = self.region
        over = np.where(region.above < 0, 1.0, best.values[region.above])
        self.converged_ = best.is_converged
        self.solution_ = best
        self.levels_ = best.values[region.own]
        self.ratios_ = np.where(over > 0, best.values / np.where(over > 0, over, 1.0), best.positions)
        self.loss_ = objective.loss(best.values, best.threshold)
        self.threshold_ = self.cut(best, objective)
        names = np.array(self.space.ratios.names)
        at_bounds = ((self.ratios_ <= 0.0) | (self.ratios_ >= 1.0)) & ~region.is_frozen
        self.at_bounds_ = tuple(names[at_bounds].tolist())
        self.unidentified_ = self._unidentified(matrix)

    def _unidentified(self, matrix: FeatureMatrix) -> tuple[str, ...]:
        """Ratios with no influence on any score at the fitted point: their category never occurs, or a factor above is 0."""
        seen = np.asarray(matrix.counts.sum(axis=0)).ravel() > 0
        free = np.flatnonzero(~self.region.is_frozen).tolist()
        return tuple(self.space.ratios.names[k] for k in free if not np.abs(self._cell_change(k)[seen]).sum())

    def _cell_change(self, k: int) -> Floats:
        """How every cell changes when ratio k goes from 0 to 1: the derivative, since cells are linear in each ratio."""
        low, high = self.ratios_.copy(), self.ratios_.copy()
        low[k], high[k] = 0.0, 1.0
        return self.space.ratios.values(high) - self.space.ratios.values(low)


def _check_space(matrix: FeatureMatrix, space: FeatureSpace) -> None:
    """The ratios of one space say nothing about the counts of another."""
    if (matrix.space.n_cells, matrix.space.ratios.names) != (space.n_cells, space.ratios.names):
        raise FitError(
            f"the matrix is of another feature space: {matrix.space.n_cells} cells, {len(matrix.space.ratios.names)} ratios, "
            f"expected {space.n_cells} and {len(space.ratios.names)}, or other names"
        )


def _checked_labels(matrix: FeatureMatrix, labels: npt.ArrayLike, space: FeatureSpace) -> Floats:
    _check_space(matrix, space)
    y = np.asarray(labels, dtype=np.float64)
    if len(matrix) == 0:
        raise FitError("a fit needs at least one row of each class, found no rows")
    if y.shape != (len(matrix),):
        raise FitError(f"labels have shape {y.shape}, expected ({len(matrix)},)")
    if not np.isin(y, (0.0, 1.0)).all():
        raise FitError("labels must be 0 (harmless) or 1 (harmful)")
    if y.min() == y.max():
        raise FitError(f"every label is {y[0]:.0f}: a fit needs both classes")
    if not matrix.is_complete:
        raise FitError("some rows have missing features; leave them out of the fit (their count belongs in the report)")
    return y


def _normalised(sample_weight: npt.ArrayLike | None, labels: Floats) -> Floats:
    """Weights (n,) that sum to 1."""
    n = len(labels)
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise FitError(f"sample_weight must be {n} non-negative numbers, not all 0")
    with np.errstate(over="ignore"):
        is_countable = np.isfinite(weights.sum())
    if not is_countable:
        raise FitError("sample_weight holds numbers so large that their sum is infinite")
    if weights[labels == 1].sum() <= 0 or weights[labels == 0].sum() <= 0:
        raise FitError("all rows of one class have the weight 0: a fit needs both classes")
    total: Floats = weights / weights.sum()
    return total
