from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.explanation import explain
from safetyanalyst.reweighing import Reweighing
from tests.reweighings import cases


@given(cases())
def test_the_function_is_the_score_to_the_last_bit(case: Reweighing) -> None:
    assert case.function.interval(case.levels) == explain(case.trees, case.bound).interval


@given(cases(), st.integers(0, 2**31))
def test_at_other_weights_too(case: Reweighing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratios = rng.random(len(case.bound.space.ratios.names))
    levels = case.bound.space.levels_from_ratios(ratios)
    assert case.function.interval(levels) == explain(case.trees, case.with_levels(levels)).interval
    ends = case.function.ends(levels[None])
    read = harmfulness_interval(case.bound.space.featurize([case.trees]), levels)
    for mine, other in ((ends.low[0], read.low[0]), (ends.high[0], read.high[0])):
        assert not np.isfinite(other) or mine == pytest.approx(other, abs=1e-12)


@given(cases(), st.integers(0, 2**31), st.sampled_from(["low", "high"]))
def test_the_gradient_is_the_slope(case: Reweighing, seed: int, end: str) -> None:
    levels = np.random.default_rng(seed).uniform(0.1, 0.9, len(case.names))
    step = 1e-7
    around = case.function.ends(np.concatenate([levels + step * np.eye(len(levels)), levels - step * np.eye(len(levels))]))
    up, down = np.split(getattr(around, end), 2)
    slope = case.function.gradient(levels, end)  # type: ignore[arg-type]
    assert slope == pytest.approx((up - down) / (2 * step), abs=1e-5)
