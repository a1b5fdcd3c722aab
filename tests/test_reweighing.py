from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safetyanalyst.errors import PolicyError
from safetyanalyst.reweighing import Reweighing, changes, first_change, short_number
from tests.reweighings import cases


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=4, unique=True), st.floats(-10, 10), st.floats(-20, 20))
def test_every_change_on_the_way_is_found(cuts: list[float], here: float, end: float) -> None:
    assume(min(abs(a - b) for a in [*cuts, here] for b in [*cuts, end] if a is not b) > 1e-6 if len(cuts) > 1 else True)
    names = ("allow", "review", "block")

    def decide(x: float) -> str:
        return names[sum(x > cut for cut in cuts) % 3]

    guesses = [cut * (1 + 1e-15) for cut in cuts]
    found = list(changes(decide, here, guesses, end))  # type: ignore[arg-type]
    crossed = sorted(cut for cut in cuts if min(here, end) <= cut < max(here, end))
    assert len(found) == len(crossed)
    for change, cut in zip(found, crossed if end > here else crossed[::-1], strict=True):
        assert change.value == (math.nextafter(cut, math.inf) if end > here else cut)


def test_short_numbers_lie_beyond() -> None:
    assert short_number(0.12345, 0.5, lambda x: x <= 0.12345) == 0.12
    assert short_number(0.12345, 0.0, lambda x: 0.12345 <= x < 0.1239) == 0.1235
    assert short_number(0.12345, 0.0, lambda x: False) == 0.12345


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1, 1), st.floats(1.5, 1e9))
def test_the_change_is_found_to_the_last_bit_whatever_the_guess(guess: float, cut: float, end: float) -> None:
    assert first_change(lambda x: "block" if x > cut else "allow", -1.5, end, guess) == math.nextafter(cut, math.inf)
    assert first_change(lambda x: "block" if x > cut else "allow", end, -1.5, guess) == cut


@given(cases(), st.integers(0, 2**31))
def test_what_is_lawful_is_what_a_policy_accepts(case: Reweighing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.where(rng.random(len(case.levels)) < 0.05, rng.uniform(-0.2, 1.2, len(case.levels)), case.levels)
    if case.is_lawful(levels):
        assert (case.with_levels(levels).levels == levels).all()
    else:
        with pytest.raises(PolicyError):
            case.with_levels(levels)


def test_bounds_that_say_nothing_sensible_are_refused() -> None:
    seen: list[Reweighing] = []

    @given(cases(specs=1))
    def look(case: Reweighing) -> None:
        seen.append(case)

    look()
    case = seen[0]
    for bounds in ({"harm/action/nothing": (0.0, 1.0)}, {case.names[0]: (0.9, 0.1)}, {case.names[0]: (-1.0, 1.0)}):
        with pytest.raises(PolicyError):
            Reweighing(case.trees, case.bound, bounds)
