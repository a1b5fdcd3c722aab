"""Counts x weights -> harmfulness, and the fit of the weights to labels.

    score = X @ cell(w)                                   (SafetyAnalyst, arXiv 2410.16665, section 2.3)
    loss  = -mean log sigmoid((2 y - 1) * score)          (its negative log-sigmoid alignment loss)

The fit searches ratios in [0, 1], so the ordered levels stay in order by construction. It is not convex: several seeded starts,
each by L-BFGS-B with the exact gradient, and the report keeps every start's loss.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit

from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats

Link = Literal["both", "harms", "benefits"]
_CLIP = 1e-6  # the published code clips probabilities here


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


def probability(scores: Floats, link: Link = "both") -> Floats:
    """Probability of "harmful" under the link of the analysis.

    "both": sigmoid(s). With harms alone s >= 0 and p = 2 sigmoid(s) - 1; with benefits alone s <= 0 and p = 2 sigmoid(s): the
    published code's links (`src/aggregation.py`).
    """
    p: Floats = expit(scores)
    if link == "harms":
        return 2.0 * p - 1.0
    return 2.0 * p if link == "benefits" else p


def log_loss(scores: Floats, labels: Floats, link: Link = "both") -> Floats:
    """Negative log likelihood of each row, (n,); probabilities clipped to [1e-6, 1 - 1e-6] for the one-sided links."""
    if link == "both":
        losses: Floats = -log_expit((2.0 * labels - 1.0) * scores)
        return losses
    p = np.clip(probability(scores, link), _CLIP, 1.0 - _CLIP)
    return -np.log(np.where(labels > 0, p, 1.0 - p))


class Start(Record):
    """One start of the fit.

    Attributes:
        loss: Where it ended (mean log loss).
        converged: Whether L-BFGS-B met its tolerance.
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

    Attributes:
        levels_: (K,) fitted level weights, in the order of `space.levels.names`.
        ratios_: (P,) fitted ratios; P is 29, or 28 with a shared discount, for "both" by action group.
        loss_: Mean log loss at the best start, without the ridge.
        starts_: Every start, in order; their losses include the ridge.
        converged_: Whether the best start met its tolerance.
        at_bounds_: Names of ratios that ended on 0 or 1.
        unidentified_: Names of ratios that the data does not determine: moving them alone changes no score.
    """

    def __init__(
        self, space: FeatureSpace, *, n_starts: int = 16, seed: int = 0, max_iterations: int = 1000, ridge: float = 0.0
    ) -> None:
        self.space = space
        self.n_starts = n_starts
        self.seed = seed
        self.max_iterations = max_iterations
        self.ridge = ridge

    def fit(self, matrix: FeatureMatrix, labels: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> AggregationModel:
        """Aligns the weights to labels.

        Args:
            matrix: n rows without anything missing.
            labels: (n,) of 0 and 1, 1 = harmful.
            sample_weight: (n,) non-negative, or `None` for all equal.

        Raises:
            FitError: No rows, lengths that disagree, labels other than 0 and 1, one class only, missing features, weights that
                are no numbers, no start, or counts of another feature space.
        """
        from scipy.optimize import minimize  # a tenth of a second that only a fit needs

        if self.n_starts < 1:
            raise FitError(f"a fit needs at least one start, not {self.n_starts}")
        _check_space(matrix, self.space)
        y = _checked_labels(matrix, labels)
        objective = _Objective(matrix, y, _normalised(sample_weight, len(y)), self.ridge)
        n_ratios = len(self.space.ratios.names)
        self.starts_: list[Start] = []
        best: Any = None
        for start in self._starting_points(n_ratios):
            found = minimize(
                objective, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * n_ratios,
                options={"maxiter": self.max_iterations, "maxfun": 10 * self.max_iterations, "ftol": 1e-13, "gtol": 1e-9},
            )  # fmt: skip
            self.starts_.append(Start(loss=float(found.fun), converged=bool(found.success), iterations=int(found.nit)))
            if best is None or found.fun < best.fun:
                best = found
        self.converged_ = bool(best.success)
        self.ratios_ = np.clip(best.x, 0.0, 1.0)
        self.loss_ = objective.log_loss(self.ratios_)
        self.levels_ = self.space.levels_from_ratios(self.ratios_)
        names = np.array(self.space.ratios.names)
        self.at_bounds_ = tuple(names[(self.ratios_ <= 0.0) | (self.ratios_ >= 1.0)].tolist())
        self.unidentified_ = self._unidentified(matrix)
        return self

    def decision_function(self, matrix: FeatureMatrix) -> Floats:
        """(n,) harmfulness scores; NaN where something is missing, so that no threshold can be passed by accident."""
        interval = harmfulness_interval(matrix, self.levels_)
        return np.where(interval.low == interval.high, interval.high, np.nan)

    def predict_proba(self, matrix: FeatureMatrix) -> Floats:
        """(n, 2) probabilities of harmless and harmful; NaN where something is missing."""
        p = probability(self.decision_function(matrix), self.space.spec.analysis)
        return np.column_stack((1.0 - p, p))

    def predict(self, matrix: FeatureMatrix) -> Floats:
        """(n,) 1 for harmful (score > 0), 0 for harmless, NaN where what is missing could decide."""
        interval = harmfulness_interval(matrix, self.levels_)
        return np.where(interval.low > 0, 1.0, np.where(interval.high <= 0, 0.0, np.nan))

    def _starting_points(self, n: int) -> list[Floats]:
        """Seeded starts: the middle of the box first, then uniform draws."""
        rng = np.random.default_rng(self.seed)
        return [np.full(n, 0.5), *rng.uniform(0.02, 0.98, size=(self.n_starts - 1, n))]

    def _unidentified(self, matrix: FeatureMatrix) -> tuple[str, ...]:
        """Ratios with no influence on any score at the fitted point: their category never occurs, or a factor above is 0."""
        seen = np.asarray(matrix.counts.sum(axis=0)).ravel() > 0
        influence = [
            np.abs(self._cell_change(k)[seen]).sum() for k in range(len(self.space.ratios.names))
        ]  # fmt: skip
        return tuple(name for name, size in zip(self.space.ratios.names, influence, strict=True) if size == 0)

    def _cell_change(self, k: int) -> Floats:
        """How every cell changes when ratio k goes from 0 to 1: the derivative, since cells are linear in each ratio."""
        low, high = self.ratios_.copy(), self.ratios_.copy()
        low[k], high[k] = 0.0, 1.0
        return self.space.ratios.values(high) - self.space.ratios.values(low)


class _Objective:
    """Weighted mean log loss plus ridge, and its gradient, as a function of the ratios.

    Rows that are alike in counts and label are merged first, and only cells that occur are kept: same sum, less to multiply.
    """

    def __init__(self, matrix: FeatureMatrix, labels: Floats, weights: Floats, ridge: float) -> None:
        self.products = matrix.space.ratios
        self.link: Link = matrix.space.spec.analysis
        seen = np.asarray(matrix.counts.sum(axis=0)).ravel() > 0
        self.columns = np.flatnonzero(seen)
        counts = matrix.counts[:, self.columns]
        filled = counts.nnz / max(1, counts.shape[0] * counts.shape[1])
        # a dense product is faster until most of it is zeros
        self.counts = counts.toarray() if filled > 0.08 else counts.tocsr()
        self.transposed = self.counts.T if filled > 0.08 else counts.T.tocsr()
        self.labels = labels
        self.sign = 2.0 * labels - 1.0
        self.weights = weights
        self.ridge = ridge

    def log_loss(self, ratios: Floats) -> float:
        """The loss without the ridge."""
        return float(self.weights @ log_loss(self._scores(ratios), self.labels, self.link))

    def __call__(self, ratios: Floats) -> tuple[float, Floats]:
        scores = self._scores(ratios)
        off = ratios - 0.5
        loss = float(self.weights @ log_loss(scores, self.labels, self.link)) + self.ridge * float(off @ off)
        upstream = np.zeros(len(self.products.sign))
        upstream[self.columns] = self.transposed @ (self.weights * self._slope(scores))
        return loss, self.products.gradient(ratios, upstream) + 2.0 * self.ridge * off

    def _scores(self, ratios: Floats) -> Floats:
        scores: Floats = self.counts @ self.products.values(ratios)[self.columns]
        return scores

    def _slope(self, scores: Floats) -> Floats:
        """Derivative of `log_loss` by the score, (n,)."""
        if self.link == "both":
            slope: Floats = -self.sign * expit(-self.sign * scores)
            return slope
        s = expit(scores)
        p = probability(scores, self.link)
        inside = (p > _CLIP) & (p < 1.0 - _CLIP)
        clipped = np.clip(p, _CLIP, 1.0 - _CLIP)
        by_p = np.where(self.labels > 0, -1.0 / clipped, 1.0 / (1.0 - clipped))
        return np.where(inside, by_p * 2.0 * s * (1.0 - s), 0.0)


def _check_space(matrix: FeatureMatrix, space: FeatureSpace) -> None:
    """The ratios of one space say nothing about the counts of another."""
    if (matrix.space.n_cells, matrix.space.ratios.names) != (space.n_cells, space.ratios.names):
        raise FitError(
            f"the matrix is of another feature space: {matrix.space.n_cells} cells, {len(matrix.space.ratios.names)} ratios, "
            f"expected {space.n_cells} and {len(space.ratios.names)}, or other names"
        )


def _checked_labels(matrix: FeatureMatrix, labels: npt.ArrayLike) -> Floats:
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


def _normalised(sample_weight: npt.ArrayLike | None, n: int) -> Floats:
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise FitError(f"sample_weight must be {n} non-negative numbers, not all 0")
    total: Floats = weights / weights.sum()
    return total
