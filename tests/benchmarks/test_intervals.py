from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import intervals


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_share_lies_in_its_interval(flags: list[bool]) -> None:
    found = intervals.share(flags)
    assert found.value == pytest.approx(np.mean(flags))
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    found = intervals.share([True] * 50 + [False] * 50)
    assert found.low == pytest.approx(0.4, abs=0.02)
    assert found.high == pytest.approx(0.6, abs=0.02)


def test_what_nothing_can_be_said_of_has_no_value() -> None:
    assert intervals.share([]).value is None
    assert intervals.ratio([0, 0], [0, 0]).value is None
    assert intervals.of_rows(3, lambda rows: float("nan")).value is None
    assert intervals.shown(intervals.share([])) == "-"


def test_both_ways_of_resampling_agree() -> None:
    values = np.random.default_rng(0).normal(size=300)
    by_rows = intervals.of_rows(300, lambda rows: float(values[rows].mean()))
    by_sums = intervals.of_sums(np.column_stack((values, np.ones(300))), lambda sums: sums[..., 0] / sums[..., 1])
    assert by_rows.value == pytest.approx(by_sums.value)
    assert by_rows.low == pytest.approx(by_sums.low, abs=0.02)
    assert by_rows.high == pytest.approx(by_sums.high, abs=0.02)


def test_a_table_has_as_many_cells_in_every_row() -> None:
    lines = intervals.markdown(("a", "b"), [("1", "2"), ("3", "4")]).splitlines()
    assert lines == ["| a | b |", "|---|---|", "| 1 | 2 |", "| 3 | 4 |"]
