from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.flips import margin
from safetyanalyst.goals import farthest, is_contradictory, next_decision, signs, unmet, ways_to
from safetyanalyst.policy import Decision
from safetyanalyst.reweighing import Reweighing
from tests.reweighings import cases

seeds = st.integers(0, 2**31)
targets = st.sampled_from(["allow", "review", "block"])


@given(cases(), targets, seeds)
def test_goals_are_missed_exactly_when_the_decision_is_another(case: Reweighing, target: Decision, seed: int) -> None:
    missed = [unmet(case, goals) for goals in ways_to(case, target)]
    if not all(missed):
        assert case.decision == target
    if case.decision == target and case.bound.policy.on_missing == "review":
        assert not all(missed)
    ratios = np.random.default_rng(seed).random(len(case.bound.space.ratios.names))
    there = case.with_fixed(case.bound.space.levels_from_ratios(ratios), np.empty(0, np.int64))
    met = [not unmet(there, goals) for goals in ways_to(case, target)]  # asked from here, they say what must hold there
    assert there.decision != target or any(met)
    assert not any(is_it and is_contradictory(case, goals) for is_it, goals in zip(met, ways_to(case, target), strict=True))


@given(cases(), seeds)
def test_the_farthest_weights_are_lawful_and_nothing_else_moves(case: Reweighing, seed: int) -> None:
    moves = np.random.default_rng(seed).choice([-1, 0, 0, 1], size=(1, len(case.names)))
    for chain in case.chains:  # a chain moves one way
        moves[:, chain] = np.abs(moves[:, chain]) * (1 if seed % 2 else -1)
    far = farthest(case, moves)[0]
    assert case.is_lawful(far)
    assert (far[moves[0] == 0] == case.levels[moves[0] == 0]).all()
    assert ((far - case.levels) * moves[0] >= 0).all()


@given(cases(), seeds)
def test_a_sign_holds_whatever_the_other_weights_are(case: Reweighing, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.random(len(case.names))
    for k, sign in enumerate(signs(case)):
        up = levels.copy()
        up[k] = levels[k] + rng.random() * (1 - levels[k])
        before, after = case.function.interval(levels), case.function.interval(up)
        if sign == 1:
            assert after.low >= before.low
            assert after.high >= before.high
        if sign == -1:
            assert after.low <= before.low
            assert after.high <= before.high
        if sign == 0:
            assert after == before


@given(cases())
def test_the_next_decision_is_another_one(case: Reweighing) -> None:
    assert next_decision(case, margin(case)) != case.decision
