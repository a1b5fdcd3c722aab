from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn import metrics as reference
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from safetyanalyst.calibration import (
    FITS,
    Calibration,
    IsotonicCurve,
    PlattCurve,
    Reliability,
    fit_isotonic,
    fit_platt,
    out_of_fold,
    reliability,
    reliability_bins,
    stratified_folds,
)
from safetyanalyst.errors import FitError

METHODS = ("platt", "isotonic")


def simulated(n: int = 400, seed: int = 0, slope: float = 1.7, intercept: float = -0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    margins = rng.normal(scale=1.5, size=n)
    return margins, (rng.random(n) < 1 / (1 + np.exp(-(slope * margins + intercept)))).astype(int)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Margins with many ties, of any size, and labels of both classes."""
    margins = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 0.25 + 1e-9, 2.0]) | st.floats(-1e3, 1e3).map(lambda x: round(x, 6))
    found = draw(st.lists(st.tuples(margins, st.integers(0, 1)), min_size=2, max_size=40))
    values = np.array([margin for margin, _ in found])
    labels = np.array([label for _, label in found])
    labels[:2] = 0, 1
    return values, labels


def calibration(curve: PlattCurve | IsotonicCurve, threshold: float = 0.0) -> Calibration:
    figures = Reliability(brier=0.1, log_loss=0.1, ece=0.1)
    return Calibration(
        curve=curve, threshold=threshold, data="x", data_hash="0", rows=4, rows_left_out=0, harmful=2, folds=2, seed=0,
        before=figures, after=figures, made_for="0", taxonomy="t", code="c",
    )  # fmt: skip


def test_platt_is_the_logistic_regression_on_platts_targets() -> None:
    for seed, (slope, intercept) in enumerate([(1.7, -0.4), (0.2, 2.0), (6.0, 0.0), (0.9, -3.0)]):
        margins, labels = simulated(300, seed, slope, intercept)
        n1, n0 = labels.sum(), (1 - labels).sum()
        target = np.where(labels == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
        twice = np.concatenate([margins, margins])[:, None]  # a soft target is a row of each label, weighted
        reference_fit = LogisticRegression(C=1e9, tol=1e-12, max_iter=10_000).fit(
            twice, np.repeat([1, 0], 300), np.concatenate([target, 1 - target])
        )
        curve = fit_platt(margins, labels)
        assert curve.slope == pytest.approx(reference_fit.coef_[0, 0], rel=1e-4)
        assert curve.intercept == pytest.approx(reference_fit.intercept_[0], rel=1e-4, abs=1e-4)


def test_platt_is_the_sigmoid_calibration_of_scikit_learn() -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Margins(LogisticRegression):
        def decision_function(self, X: np.ndarray) -> np.ndarray:
            return X[:, 0]

    margins, labels = simulated()
    frozen = FrozenEstimator(Margins().fit(margins[:, None], labels))
    found = CalibratedClassifierCV(frozen, method="sigmoid").fit(margins[:, None], labels).predict_proba(margins[:, None])
    np.testing.assert_allclose(fit_platt(margins, labels)(margins), found[:, 1], atol=1e-4)


def test_platt_finds_the_curve_that_made_the_labels() -> None:
    curve = fit_platt(*simulated(20_000))
    assert curve.slope == pytest.approx(1.7, rel=0.05)
    assert curve.intercept == pytest.approx(-0.4, abs=0.06)


@given(labelled())
def test_isotonic_is_pool_adjacent_violators_between_platts_targets(data: tuple[np.ndarray, np.ndarray]) -> None:
    margins, labels = data
    n1, n0 = labels.sum(), (1 - labels).sum()
    found = fit_isotonic(margins, labels)(margins)
    pooled = IsotonicRegression(out_of_bounds="clip").fit(margins, labels).predict(margins)
    np.testing.assert_allclose(found, np.clip(pooled, 1 / (n0 + 2), (n1 + 1) / (n1 + 2)), atol=1e-6)


@given(labelled(), st.sampled_from(METHODS), st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=20))
def test_a_curve_never_falls_and_is_a_probability(data: tuple[np.ndarray, np.ndarray], method: str, more: list[float]) -> None:
    curve = FITS[method](*data)  # type: ignore[index]
    p = curve(np.sort(np.array([*more, *data[0]])))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


@given(labelled(), st.sampled_from(METHODS))
def test_the_order_of_rows_does_not_matter(data: tuple[np.ndarray, np.ndarray], method: str) -> None:
    margins, labels = data
    one, other = FITS[method](margins, labels), FITS[method](margins[::-1].copy(), labels[::-1])  # type: ignore[index]
    np.testing.assert_allclose(one(margins), other(margins), atol=1e-6)


def test_margins_that_differ_by_rounding_are_one() -> None:
    same = np.array([0.1 + 0.2, 0.3, 0.3, -1.0, 1.0])
    curve = fit_isotonic(same, [1, 0, 0, 0, 1])
    assert len(curve.margins) == 3
    assert curve(same[:2]) == pytest.approx([1 / 3, 1 / 3], abs=1e-6)


def test_separated_labels_do_not_make_certainty() -> None:
    margins, labels = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0]), np.array([0, 0, 0, 1, 1, 1])
    for method in METHODS:
        curve = FITS[method](margins, labels)  # type: ignore[index]
        p = curve(margins)
        assert p[0] >= 0.05
        assert p[-1] <= 0.95
        assert p[0] < 0.25 < 0.75 < p[-1]
    assert np.isfinite(fit_platt(margins, labels).slope)


def test_labels_that_fall_with_the_margin_make_a_flat_curve() -> None:
    margins = np.linspace(-1, 1, 10)
    labels = (margins < 0).astype(int)
    curve = fit_platt(margins, labels)
    assert curve.slope == 0
    assert curve(np.array([-5.0, 5.0])) == pytest.approx([0.5, 0.5])
    assert fit_isotonic(margins, labels)(margins) == pytest.approx(np.full(10, 0.5))


def test_constant_margins_have_one_probability() -> None:
    labels = np.array([1, 1, 1, 0])
    for constant in (0.0, 1e9, -3.25):
        margins = np.full(4, constant)
        curve = fit_platt(margins, labels)
        assert curve.slope == 0
        assert curve(margins)[0] == pytest.approx((3 * 4 / 5 + 1 / 3) / 4)
        assert fit_isotonic(margins, labels)(margins) == pytest.approx(np.full(4, 0.75))


@pytest.mark.parametrize(
    ("margins", "labels", "says"),
    [
        ([1.0, 2.0], [1, 1], "both classes"),
        ([], [], "found none"),
        ([1.0, np.inf], [1, 0], "missing"),
        ([1.0, np.nan], [1, 0], "missing"),
        ([1.0, 2.0], [1, 2], "0 (harmless) or 1"),
        ([1.0, 2.0, 3.0], [1, 0], "shape"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(margins: list[float], labels: list[int], says: str) -> None:
    for method in METHODS:
        with pytest.raises(FitError) as refused:
            FITS[method](np.array(margins), labels)  # type: ignore[index]
        assert says in str(refused.value)


def test_unbounded_scores_are_certain_of_nothing() -> None:
    for curve in (PlattCurve(slope=0.0, intercept=0.3), PlattCurve(slope=2.0, intercept=0.0), fit_isotonic(*simulated())):
        made = calibration(curve, threshold=0.5)
        assert made.interval(-np.inf, np.inf) == (0.0, 1.0)
        low, high = made.interval(0.2, np.inf)
        assert 0 < low < 1 == high
        point = made.interval(0.2, 0.2)
        assert point.low == point.high == low == curve(np.array([0.2 - 0.5]))[0]


def test_a_curve_of_the_file_is_checked() -> None:
    for wrong in (
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "isotonic", "margins": [0.0, 0.0], "probabilities": [0.1, 0.2]},
        {"method": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.3, 0.2]},
        {"method": "isotonic", "margins": [0.0], "probabilities": [0.3, 0.4]},
        {"method": "isotonic", "margins": [], "probabilities": []},
        {"method": "spline"},
    ):
        good = calibration(PlattCurve(slope=1.0, intercept=0.0)).model_dump()
        with pytest.raises(ValidationError):
            Calibration.model_validate(good | {"curve": wrong})
    assert Calibration.model_validate(good) == calibration(PlattCurve(slope=1.0, intercept=0.0))


def test_reliability_is_that_of_scikit_learn() -> None:
    margins, labels = simulated()
    p = 1 / (1 + np.exp(-margins))
    found = reliability(p, labels)
    assert found.brier == pytest.approx(reference.brier_score_loss(labels, p))
    assert found.log_loss == pytest.approx(reference.log_loss(labels, p))
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(labels, p, n_bins=10, strategy="quantile")
    bins = reliability_bins(p, labels)
    assert [it.rows for it in bins] == [40] * 10
    assert [it.harmful for it in bins] == pytest.approx(share.tolist())
    assert [it.probability for it in bins] == pytest.approx(mean.tolist())
    assert found.ece == pytest.approx(np.abs(share - mean).mean())
    assert np.isfinite(reliability(np.array([0.0, 1.0]), [1, 0]).log_loss)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.2, 0.7, 1.0]), st.integers(0, 1)), min_size=1, max_size=50))
def test_bins_keep_equal_probabilities_together_and_lose_no_row(rows: list[tuple[float, int]]) -> None:
    p, labels = np.array([it[0] for it in rows]), np.array([it[1] for it in rows])
    bins = reliability_bins(p, labels)
    assert sum(it.rows for it in bins) == len(rows)
    assert sum(it.rows * it.harmful for it in bins) == pytest.approx(labels.sum())
    assert [it.probability for it in bins] == sorted(it.probability for it in bins)
    assert 0 <= reliability(p, labels).ece <= 1
    ends = [0, *np.cumsum([it.rows for it in bins])]
    assert all(np.sort(p)[ends[i] - 1] < np.sort(p)[ends[i]] for i in range(1, len(bins)))


def test_out_of_fold_probabilities_never_saw_their_label() -> None:
    margins, labels = simulated(100)
    folds = stratified_folds(labels, 5, seed=3)
    assert np.array_equal(folds, stratified_folds(labels, 5, seed=3))
    assert not np.array_equal(folds, stratified_folds(labels, 5, seed=4))
    for fold in range(5):
        assert abs(labels[folds == fold].sum() - labels.sum() / 5) < 1
    for method in METHODS:
        p = out_of_fold(method, margins, labels, folds)  # type: ignore[arg-type]
        held = folds == 2
        flipped = np.where(held, 1 - labels, labels)
        again = out_of_fold(method, margins, flipped, folds)  # type: ignore[arg-type]
        assert np.array_equal(p[held], again[held])
        assert not np.array_equal(p[~held], again[~held])


def test_folds_need_two_rows_of_each_class() -> None:
    assert set(stratified_folds([1, 1, 0, 0, 0], 5, seed=0)) == {0, 1}
    with pytest.raises(FitError, match="two rows of each class"):
        stratified_folds([1, 0, 0, 0], 5, seed=0)


def test_isotonic_labels_of_noise_are_worse_out_of_fold_than_they_look() -> None:
    rng = np.random.default_rng(0)
    margins, labels = rng.normal(size=60), rng.integers(0, 2, 60)
    held_out = reliability(out_of_fold("isotonic", margins, labels, stratified_folds(labels, 5, 0)), labels)
    assert held_out.log_loss > reliability(fit_isotonic(margins, labels)(margins), labels).log_loss + 0.05


@given(
    st.floats(0, 1e3), st.floats(-50, 50), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=6)
)
def test_one_margin_is_rounded_once_and_never_falls(slope: float, intercept: float, margins: list[float]) -> None:
    curve = PlattCurve(slope=slope, intercept=intercept)
    ascending = sorted(margins)
    found = [curve.at(margin) for margin in ascending]
    assert found == sorted(found)
    assert all(0 <= p <= 1 for p in found)
    near = [margin for margin in ascending if abs(margin) < 1e9]
    assert [curve.at(margin) for margin in near] == pytest.approx(curve(np.array(near)).tolist(), abs=1e-12)


def test_a_rounded_sigmoid_is_the_nearest_number() -> None:
    """Against Taylor's series in whole numbers of 120 digits."""
    one = 10**120

    def exp(x: Fraction) -> Fraction:
        small = int(x / 2**12 * one)
        total = term = one
        for n in range(1, 60):
            term = term * small // (n * one)
            total += term
        for _ in range(12):
            total = total * total // one
        return Fraction(total, one)

    rng = np.random.default_rng(0)
    for slope, intercept, margin in zip(
        rng.uniform(0, 4, 300).tolist(), rng.normal(0, 3, 300).tolist(), rng.normal(0, 6, 300).tolist(), strict=True
    ):
        line = Fraction(slope) * Fraction(margin) + Fraction(intercept)
        assert PlattCurve(slope=slope, intercept=intercept).at(margin) == float(1 / (1 + exp(-line)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6, unique=True), st.data())
def test_one_margin_between_knots_is_rounded_once_and_never_falls(knots: list[float], data: st.DataObject) -> None:
    p = sorted(data.draw(st.lists(st.floats(0, 1), min_size=len(knots), max_size=len(knots))))
    curve = IsotonicCurve(margins=tuple(sorted(knots)), probabilities=tuple(p))
    ascending = sorted([*knots, *data.draw(st.lists(st.floats(-2e6, 2e6), max_size=6))])
    found = [curve.at(margin) for margin in ascending]
    assert found == sorted(found)
    assert [curve.at(margin) for margin in curve.margins] == p
    for margin, value in zip(ascending, found, strict=True):
        k = max(1, min(len(knots) - 1, int(np.searchsorted(curve.margins, margin))))
        if len(knots) == 1 or not curve.margins[0] < margin < curve.margins[-1]:
            assert value in (p[0], p[-1])
        else:
            (left, right), (low, high) = curve.margins[k - 1 : k + 1], p[k - 1 : k + 1]
            exact = Fraction(low) + (Fraction(high) - Fraction(low)) * (Fraction(margin) - Fraction(left)) / (
                Fraction(right) - Fraction(left)
            )
            assert value == float(exact)
