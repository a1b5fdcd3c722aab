from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from safetyanalyst.conformal import band_above, band_below, rows_needed
from safetyanalyst.errors import GuaranteeError

scores = st.sampled_from([-1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 2.0]) | st.floats(-50, 50)
alphas = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.29, 0.5, 0.9]) | st.floats(0.02, 0.98)
thresholds = st.sampled_from([0.0, -1.0, 0.1])


def allowed(highs: np.ndarray, threshold: float, below: float) -> int:
    return int((highs <= threshold - below).sum())


def blocked(lows: np.ndarray, threshold: float, above: float) -> int:
    return int((lows > threshold + above).sum())


def holds(errors: int, n: int, alpha: float) -> bool:
    """The finite-sample bound n / (n + 1) * R + 1 / (n + 1) <= alpha, in exact numbers."""
    return Fraction(errors + 1, n + 1) <= Fraction(repr(alpha))


@given(st.lists(scores, min_size=1, max_size=60), alphas, thresholds)
def test_the_band_is_the_smallest_that_holds_the_bound(values: list[float], alpha: float, threshold: float) -> None:
    n = len(values)
    sides: list[tuple[Callable[..., float], Callable[..., int]]] = [(band_below, allowed), (band_above, blocked)]
    for band, wrong in sides:
        rows = np.array(values)
        if n < rows_needed(alpha):
            with pytest.raises(GuaranteeError):
                band(rows, n, threshold, alpha)
            continue
        found = band(rows, n, threshold, alpha)
        assert holds(wrong(rows, threshold, found), n, alpha)
        if found > 0:  # a step less, and a little for the rounding outwards
            assert not holds(wrong(rows, threshold, found - 2.1e-6), n, alpha)
        assert found == round(found, 6)


@given(st.lists(scores, min_size=20, max_size=60), alphas, alphas, thresholds)
def test_the_band_shrinks_as_the_bound_grows(values: list[float], one: float, other: float, threshold: float) -> None:
    rows, n = np.array(values), len(values)
    small, large = min(one, other), max(one, other)
    for band in (band_below, band_above):
        if n >= rows_needed(small):
            assert band(rows, n, threshold, small) >= band(rows, n, threshold, large)


@given(alphas)
def test_the_rows_needed_are_the_fewest_that_can_hold(alpha: float) -> None:
    n = rows_needed(alpha)
    assert holds(0, n, alpha)
    assert n == 1 or not holds(0, n - 1, alpha)


def test_too_few_rows_are_told_with_their_number() -> None:
    assert [rows_needed(alpha) for alpha in (0.5, 0.1, 0.05, 0.01, 0.07, 0.3, 0.001, 0.99)] == [1, 9, 19, 99, 14, 3, 999, 1]
    with pytest.raises(
        GuaranteeError, match=r"P\(allowed \| harmful\) <= 0.05 .* 18 rows labelled harmful: at least 19"
    ) as few:
        band_below(np.zeros(18), 18, 0.0, 0.05)
    assert (few.value.needed, few.value.found) == (19, 18)
    with pytest.raises(GuaranteeError, match=r"P\(safe and blocked\) <= 0.1 .* 8 labelled rows: at least 9"):
        band_above(np.zeros(3), 8, 0.0, 0.1, "all")
    assert band_below(np.full(19, 5.0), 19, 0.0, 0.05) == 0.0
    with pytest.raises(GuaranteeError):
        band_below(np.empty(0), 0, 0.0, 0.5)
    for alpha in (0.0, 1.0, -0.1, 1.5, math.nan):
        with pytest.raises(GuaranteeError, match="between 0 and 1"):
            band_below(np.zeros(50), 50, 0.0, alpha)


def test_a_score_on_the_cut_is_no_longer_decided_automatically() -> None:
    tied = np.full(40, -0.1)
    below = band_below(tied, 40, 0.0, 0.05)
    assert below == pytest.approx(0.100001)
    assert allowed(np.array([-0.1, -0.1 - 1e-13]), 0.0, below) == 0  # as it may come out of another order of sums
    at_threshold = band_below(np.zeros(40), 40, 0.0, 0.05)
    assert at_threshold == pytest.approx(1e-6)
    above = band_above(np.full(40, 0.1), 40, 0.0, 0.05)
    assert blocked(np.array([0.1, 0.1 + 1e-13]), 0.0, above) == 0
    assert band_above(np.zeros(40), 40, 0.0, 0.05) == 0.0


def test_unbounded_scores_are_never_automatic_errors() -> None:
    assert band_below(np.full(30, np.inf), 30, 0.0, 0.05) == 0.0
    assert band_above(np.full(30, -np.inf), 30, 0.0, 0.05) == 0.0
    with pytest.raises(GuaranteeError, match="of 30 rows, 2 safe ones are blocked because something is missing"):
        band_above(np.array([*[-1.0] * 28, np.inf, np.inf]), 30, 0.0, 0.05)
    assert band_above(np.array([*[-1.0] * 29, np.inf]), 30, 0.0, 0.1) == 0.0


def binomial_range(rate: float, n: int) -> tuple[float, float]:
    low, high = stats.binom.interval(1 - 1e-6, n, rate)
    return low / n, high / n


def draws(kind: str, rng: np.random.Generator, n: int) -> np.ndarray:
    found = rng.normal(0.3, 1.0, size=n)
    return np.round(found, 0 if kind == "ties" else 12)


@pytest.mark.parametrize("kind", ["continuous", "ties"])
@pytest.mark.parametrize(("n", "alpha"), [(19, 0.05), (50, 0.1), (137, 0.05), (200, 0.02)])
def test_coverage_holds_on_exchangeable_rows_and_the_bound_is_not_vacuous(kind: str, n: int, alpha: float) -> None:
    """A new row per repetition, so that the number of errors is binomial: at most alpha of them, and near it without ties."""
    repetitions = 6000
    rng = np.random.default_rng(int(1000 * alpha) + n)
    missed = false = 0
    for _ in range(repetitions):
        harmful, safe = draws(kind, rng, n + 1), -draws(kind, rng, n + 1)
        missed += allowed(harmful[-1:], 0.5, band_below(harmful[:-1], n, 0.5, alpha))
        false += blocked(safe[-1:], -0.5, band_above(safe[:-1], n, -0.5, alpha))
    exact = math.floor(Fraction(repr(alpha)) * (n + 1)) / (n + 1)  # what theory says without ties
    low, high = binomial_range(exact, repetitions)
    for rate in (missed / repetitions, false / repetitions):
        assert rate <= high
        if kind == "continuous":
            assert rate >= low
            assert exact > alpha - 1 / (n + 1)


@pytest.mark.parametrize("kind", ["continuous", "ties"])
def test_joint_coverage_holds_whatever_the_share_of_harmful_rows(kind: str) -> None:
    n, alpha, repetitions = 60, 0.1, 6000
    rng = np.random.default_rng(5)
    for share in (0.05, 0.5, 0.9):
        missed = 0
        for _ in range(repetitions // 3):
            labels, values = rng.random(n + 1) < share, draws(kind, rng, n + 1)
            below = band_below(values[:-1][labels[:-1]], n, 0.5, alpha, "all")
            missed += allowed(values[-1:], 0.5, below) if labels[-1] else 0
        low, high = binomial_range(6 / 61, repetitions // 3)
        assert missed / (repetitions // 3) <= high
        if kind == "continuous" and share == 0.9:
            assert missed / (repetitions // 3) >= low
        if share == 0.05:  # hardly any harmful row: no band is needed
            assert missed / (repetitions // 3) < 0.06


def test_without_the_correction_coverage_would_not_hold() -> None:
    """What the + 1 is for: the empirical quantile alone lets more through than alpha."""
    n, alpha, repetitions = 20, 0.05, 6000
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(repetitions):
        rows = rng.normal(size=n + 1)
        cut = np.sort(rows[:-1])[1]  # one of 20 rows below it: 5 % of them
        missed += int(rows[-1] < cut)
    assert missed / repetitions > binomial_range(alpha, repetitions)[1]


def test_the_rate_for_one_set_of_labels_is_beta_distributed() -> None:
    """The guarantee is an expectation over sets of labels: docs/calibration.md tells how far one set may be off."""
    n, alpha = 100, 0.05
    k = 5
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(3000):
        below = band_below(rng.normal(size=n), n, 10.0, alpha)
        rates.append(stats.norm.cdf(10.0 - below))
    assert stats.kstest(rates, stats.beta(k, n + 1 - k).cdf).pvalue > 1e-4
