"""Score -> probability of "harmful": a curve fitted to labels, and the figures that say whether it can be believed.

A curve maps the *margin* (score - threshold of the policy it was made for) to a probability and never falls, so that an
interval of scores becomes an interval of probabilities by its two ends. Two curves:

- `platt`: p = sigmoid(slope * margin + intercept), a temperature and a bias. Platt (1999), with his corrected targets, fitted
  by the safeguarded Newton steps of Lin, Lin and Weng (2007).
- `isotonic`: any rising curve, by pool-adjacent-violators (Zadrozny and Elkan 2002), straight lines between its knots. No value
  lies further out than Platt's targets for the same labels: n rows can never show that something is certain.

An analysis publishes the probability of its score by `at`, which rounds once, so that every machine gives the same last digit
and an audit can compute it again bit for bit; arrays go through the libraries, which may differ in it.

What a curve is worth is measured out of fold: each row's probability comes from a curve that did not see its label.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy.special import expit, logit

from safetyanalyst.errors import FitError
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats, Ints

Method = Literal["platt", "isotonic"]
N_BINS = 10
LOG_LOSS_CLIP = 1e-6  # no probability counts as surer than this, so that one zero does not make a loss infinite
_DECIMALS = 9
_WIDE = Context(prec=50, traps=[])  # digits to spare, and infinities instead of errors
_CONSTANT = 1e-12  # margins that differ by less, for their size, are one margin

Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False, strict=True)]


class PlattCurve(Record):
    """p = sigmoid(slope * margin + intercept).

    Attributes:
        slope: Never negative; 0 where the labels do not rise with the margin: then every margin has the same probability.
        intercept: Logit of the probability at the threshold.
    """

    method: Literal["platt"] = "platt"
    slope: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)]
    intercept: Finite

    def __call__(self, margins: Floats) -> Floats:
        """Probabilities of finite margins."""
        p: Floats = expit(self.slope * margins + self.intercept)
        return p

    def at(self, margin: float) -> float:
        """Probability of one finite margin, rounded once; every step rises with the margin, so the result does too."""
        line = _WIDE.fma(Decimal(self.slope), Decimal(margin), Decimal(self.intercept))
        return float(_WIDE.divide(1, _WIDE.add(1, _WIDE.exp(-line))))


class IsotonicCurve(Record):
    """Straight lines between knots, flat beyond the outer ones.

    Attributes:
        margins: Of the knots, ascending.
        probabilities: At the knots, never falling.
    """

    method: Literal["isotonic"] = "isotonic"
    margins: Annotated[tuple[Finite, ...], Field(min_length=1)]
    probabilities: tuple[Probability, ...]

    @model_validator(mode="after")
    def _rises(self) -> IsotonicCurve:
        if len(self.margins) != len(self.probabilities):
            raise ValueError(f"{len(self.margins)} margins, but {len(self.probabilities)} probabilities")
        if (np.diff(self.margins) <= 0).any() or (np.diff(self.probabilities) < 0).any():
            raise ValueError("margins must ascend from knot to knot, and probabilities must not fall")
        return self

    def __call__(self, margins: Floats) -> Floats:
        """Probabilities of finite margins."""
        return np.interp(margins, self.margins, self.probabilities)

    def at(self, margin: float) -> float:
        """Probability of one finite margin, rounded once."""
        k = bisect_right(self.margins, margin)
        if k in (0, len(self.margins)):
            return self.probabilities[min(k, len(self.margins) - 1)]
        (left, right), (low, high) = (map(Fraction, it[k - 1 : k + 1]) for it in (self.margins, self.probabilities))
        return float(low + (high - low) * (Fraction(margin) - left) / (right - left))


Curve = PlattCurve | IsotonicCurve


class Reliability(Record):
    """How far probabilities are from labels.

    Attributes:
        brier: Mean squared difference.
        log_loss: Mean negative log likelihood, probabilities clipped to [1e-6, 1 - 1e-6].
        ece: Expected calibration error over at most `N_BINS` bins of as equal counts as ties allow: the mean, over rows, of the
            gap between the mean probability of a row's bin and the share of harmful rows in it.
    """

    brier: float
    log_loss: float
    ece: float


class ReliabilityBin(Record):
    """Rows of about the same probability: their number, their mean probability, and the share that is harmful."""

    rows: int
    probability: float
    harmful: float


class ProbabilityInterval(NamedTuple):
    """Least and greatest probability; equal for a score that is one number."""

    low: float
    high: float


class Calibration(Record):
    """A curve with what it was made from and for, as a policy holds it.

    Attributes:
        curve: Margin -> probability.
        threshold: That margins were counted from; moving the policy's own threshold later changes no probability.
        data: What the labels came from, in words.
        data_hash: sha256 of the labelled file, hex.
        rows: Rows that were used.
        rows_left_out: Rows that were not, because something was missing or unlabelled.
        harmful: Rows labelled harmful among those used.
        folds: Of the out-of-fold measurement.
        seed: Of the folds.
        before: Reliability of the uncalibrated link (`aggregation.probability`) on the same rows.
        after: Reliability of the curve, out of fold.
        has_labels_of_fit: The weights were aligned to the same file: probabilities are surer than they should be.
        made_for: `BoundPolicy.scoring_fingerprint` at the time; with other weights the curve means nothing.
        taxonomy: `name@version:hash` at the time.
        code: Version of this package at the time.
    """

    curve: Annotated[Curve, Field(discriminator="method")]
    threshold: Finite
    data: str
    data_hash: str
    rows: int
    rows_left_out: int
    harmful: int
    folds: int
    seed: int
    before: Reliability
    after: Reliability
    has_labels_of_fit: bool = False
    made_for: str
    taxonomy: str
    code: str

    def probabilities(self, scores: npt.ArrayLike) -> Floats:
        """Probability of each score, (n,); -inf is 0 and +inf is 1: what is unbounded could be anything."""
        scores = np.asarray(scores, dtype=np.float64)
        is_finite = np.isfinite(scores)
        inside = self.curve(np.where(is_finite, scores, self.threshold) - self.threshold)
        return np.where(is_finite, inside, np.where(scores > 0, 1.0, 0.0))

    def interval(self, low: float, high: float) -> ProbabilityInterval:
        """The probabilities that a score interval spans."""
        return ProbabilityInterval(self._at(low), self._at(high))

    def _at(self, score: float) -> float:
        margin = score - self.threshold
        return self.curve.at(margin) if math.isfinite(margin) else float(margin > 0)


def fit_platt(margins: Floats, labels: npt.ArrayLike) -> PlattCurve:
    """The sigmoid of greatest likelihood under Platt's targets, with a slope that is not negative.

    Args:
        margins: (n,) finite.
        labels: (n,) of 0 and 1, 1 = harmful.

    Raises:
        FitError: Lengths that disagree, margins that are not finite, labels other than 0 and 1, or one class only.
    """
    y = checked(margins, labels)
    target = np.where(y > 0, *reversed(_targets(y)))
    level = float(logit(target.mean()))
    spread = float(margins.std())
    flat = PlattCurve(slope=0.0, intercept=level)
    if spread <= _CONSTANT * max(1.0, float(np.abs(margins).max())):
        return flat
    centre = float(margins.mean())
    slope, intercept = _newton((margins - centre) / spread, target, level)
    if slope <= 0:  # convex, so the best slope that is not negative is 0
        return flat
    return PlattCurve(slope=slope / spread, intercept=intercept - slope * centre / spread)


def fit_isotonic(margins: Floats, labels: npt.ArrayLike) -> IsotonicCurve:
    """The rising curve of least squared error; rows of one margin, to nine decimals, count together.

    The same effects summed in another order differ in the last digits: that must not make two margins of one.

    Args:
        margins: (n,) finite.
        labels: (n,) of 0 and 1, 1 = harmful.

    Raises:
        FitError: As `fit_platt`.
    """
    from scipy.optimize import isotonic_regression

    y = checked(margins, labels)
    knots, group = np.unique(np.round(margins, _DECIMALS), return_inverse=True)
    counts = np.bincount(group)
    pooled = isotonic_regression(np.bincount(group, y) / counts, weights=counts).x
    values = np.clip(pooled, *_targets(y))
    inner = np.zeros(len(values), bool)  # a knot between two of the same value says nothing
    inner[1:-1] = (values[1:-1] == values[:-2]) & (values[1:-1] == values[2:])
    return IsotonicCurve(margins=tuple(knots[~inner].tolist()), probabilities=tuple(values[~inner].tolist()))


FITS: dict[Method, Callable[[Floats, npt.ArrayLike], Curve]] = {"platt": fit_platt, "isotonic": fit_isotonic}


def out_of_fold(method: Method, margins: Floats, labels: npt.ArrayLike, folds: Ints) -> Floats:
    """Each row's probability by a curve fitted without the row's fold, (n,)."""
    y = checked(margins, labels)
    p = np.empty(len(y))
    for fold in np.unique(folds):
        held = folds == fold
        p[held] = FITS[method](margins[~held], y[~held])(margins[held])
    return p


def stratified_folds(labels: npt.ArrayLike, n_folds: int, seed: int) -> Ints:
    """Fold of each row, (n,): each class is dealt out evenly, in seeded order; fewer folds where a class has fewer rows.

    Raises:
        FitError: A class has fewer than two rows, so that nothing can be held out.
    """
    y = np.asarray(labels)
    smaller = min(int((y == 1).sum()), int((y == 0).sum()))
    if smaller < 2:
        raise FitError(f"a calibration needs at least two rows of each class, found {smaller} of one")
    rng = np.random.default_rng(seed)
    folds = np.empty(len(y), np.int64)
    for value in (0, 1):
        rows = rng.permutation(np.flatnonzero(y == value))
        folds[rows] = np.arange(len(rows)) % min(n_folds, smaller)
    return folds


def reliability(probabilities: Floats, labels: npt.ArrayLike) -> Reliability:
    """Brier score, log loss and expected calibration error."""
    y = np.asarray(labels, dtype=np.float64)
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    gaps = [it.rows * abs(it.probability - it.harmful) for it in reliability_bins(probabilities, y)]
    return Reliability(
        brier=float(np.mean((probabilities - y) ** 2)),
        log_loss=float(-np.mean(np.log(np.where(y > 0, clipped, 1.0 - clipped)))),
        ece=math.fsum(gaps) / len(y),
    )


def reliability_bins(probabilities: Floats, labels: npt.ArrayLike) -> list[ReliabilityBin]:
    """Rows by probability, in at most `N_BINS` bins of as equal counts as ties allow: equal probabilities stay together."""
    y = np.asarray(labels, dtype=np.float64)
    _, group, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    bins = np.minimum((N_BINS * middle / len(y)).astype(np.int64), N_BINS - 1)[group]
    return [
        ReliabilityBin(rows=int(inside.sum()), probability=float(probabilities[inside].mean()), harmful=float(y[inside].mean()))
        for inside in (bins == number for number in np.unique(bins))
    ]


def checked(margins: Floats, labels: npt.ArrayLike) -> Floats:
    """The labels as numbers, once they fit the margins.

    Raises:
        FitError: As `fit_platt`.
    """
    y = np.asarray(labels, dtype=np.float64)
    if y.ndim != 1 or margins.shape != y.shape:
        raise FitError(f"margins have shape {margins.shape} and labels {y.shape}, expected one of each per row")
    if not np.isfinite(margins).all():
        raise FitError("a calibration needs margins that are numbers; leave out rows in which something is missing")
    if not np.isin(y, (0.0, 1.0)).all():
        raise FitError("labels must be 0 (harmless) or 1 (harmful)")
    if not len(y) or y.min() == y.max():
        raise FitError("a calibration needs both classes" if len(y) else "a calibration needs rows, found none")
    return y


class _Targets(NamedTuple):
    safe: float
    harmful: float


def _targets(y: Floats) -> _Targets:
    """Platt's targets: what a uniform prior over the probability leaves of a label of 0 or 1."""
    harmful = float(y.sum())
    return _Targets(safe=1.0 / (len(y) - harmful + 2.0), harmful=(harmful + 1.0) / (harmful + 2.0))


class _Line(NamedTuple):
    slope: float
    intercept: float


def _newton(z: Floats, target: Floats, level: float) -> _Line:
    """Least cross-entropy of sigmoid(slope * z + intercept) against soft targets; z has mean 0 and spread 1."""
    design = np.column_stack((z, np.ones(len(z))))
    theta = np.array([0.0, level])

    def loss(at: Floats) -> float:
        f = design @ at
        return float(np.sum(np.logaddexp(0.0, f) - target * f))

    for _ in range(100):
        p = expit(design @ theta)
        slope = design.T @ (p - target)
        if np.abs(slope).max() < 1e-10 * len(z):
            break
        curvature = (design.T * (p * (1.0 - p))) @ design + 1e-12 * np.eye(2)
        step = -np.linalg.solve(curvature, slope)
        size = 1.0
        while loss(theta + size * step) > loss(theta) + 1e-4 * size * float(slope @ step) and size > 1e-10:
            size /= 2
        theta = theta + size * step
    return _Line(float(theta[0]), float(theta[1]))
