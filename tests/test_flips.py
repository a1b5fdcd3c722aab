"""Flips along one weight against brute force: a grid over the weight, each point scored as a whole policy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safetyanalyst.analyst import Assessor
from safetyanalyst.explanation import explain
from safetyanalyst.flips import Flip, margin, threshold_flips, weight_flips
from safetyanalyst.policy import ReviewBand, dump_policy, load_policy
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.trees import Effect, HarmBenefitTree, Tree
from tests.reweighings import BASE, TAXONOMY, cases, complete_cases
from tests.scripted import tree_of

indices = st.integers(0, 10_000)


def decided(case: Reweighing, k: int, value: float) -> str:
    """What the cells say when one level has any value, lawful or not: scored by `explain` under a policy made by hand."""
    bound = case.with_threshold(case.bound.policy.threshold)
    levels = case.levels.copy()
    levels[k] = value
    bound.levels, bound.cells = levels, bound.space.levels.values(levels)
    return bound.decide(*explain(case.trees, bound).interval)[0]


def along(case: Reweighing, k: int, flips: tuple[Flip, ...], value: float) -> str:
    """The decision at a value as the flips tell it."""
    here = float(case.levels[k])
    passed = [it for it in flips if (here < it.value <= value) or (value <= it.value < here)]
    return max(passed, key=lambda it: abs(it.value - here)).decision if passed else case.decision


@given(cases(), indices)
def test_flips_tell_the_decision_at_every_value(case: Reweighing, index: int) -> None:
    active = np.flatnonzero(case.function.uses.any(axis=0))
    assume(len(active))
    k = int(active[index % len(active)])
    found = weight_flips(case)[k]
    assert found.weight == case.names[k]
    for value in (*np.linspace(0.0, 1.0, 41), 1.3, 2.0, 7.0):
        if all(abs(value - it.value) > 1e-9 for it in found.flips):
            assert decided(case, k, float(value)) == along(case, k, found.flips, float(value)), (value, found)


@settings(max_examples=20)
@given(cases())
def test_the_value_is_exact(case: Reweighing) -> None:
    for k, found in enumerate(weight_flips(case)):
        before = {1.0: case.decision, -1.0: case.decision}
        for flip in found.flips:
            side = math.copysign(1.0, flip.value - found.value)
            assert decided(case, k, flip.value) == flip.decision != before[side]
            assert decided(case, k, math.nextafter(flip.value, found.value)) == before[side]
            assert decided(case, k, flip.rounded) == flip.decision
            before[side] = flip.decision


@settings(max_examples=30)
@given(cases())
def test_weights_without_flip_do_not_flip(case: Reweighing) -> None:
    for k, found in enumerate(weight_flips(case)):
        if not found.flips:
            assert {case.decide_with(k, value) for value in np.linspace(0.0, 1.0, 11)} == {case.decision}


@settings(max_examples=30)
@given(cases())
def test_what_is_allowed_is_a_policy_and_what_is_not_is_none(case: Reweighing) -> None:
    for k, found in enumerate(weight_flips(case)):
        for flip in found.flips:
            levels = case.levels.copy()
            levels[k] = flip.value
            assert case.is_lawful(levels) == (flip.hindrance == "none")
            if flip.hindrance == "order":
                below, above = case.neighbours(k)
                assert not below <= flip.value <= above


@settings(max_examples=30)
@given(cases())
def test_a_chain_that_moves_together_flips_and_keeps_its_order(case: Reweighing) -> None:
    for k, found in enumerate(weight_flips(case)):
        for moved in found.chain:
            levels = case.levels.copy()
            levels[[case.names.index(name) for name in moved.weights]] = moved.value
            assert case.is_lawful(levels)
            assert case.decide_at(levels) == moved.decision != case.decision
            assert found.weight in moved.weights
            levels[[case.names.index(name) for name in moved.weights]] = math.nextafter(moved.value, found.value)
            levels = np.where(np.abs(levels - case.levels) < 1e-15, case.levels, levels)
            assert case.decide_at(levels) == case.decision or len(moved.weights) > 1
            assert k == case.names.index(found.weight)


def test_a_flip_survives_the_file(tmp_path: Path) -> None:
    found = 0

    @settings(max_examples=25)
    @given(complete_cases(specs=1))
    def check(case: Reweighing) -> None:
        nonlocal found
        for k, flips in enumerate(weight_flips(case)):
            for flip in flips.allowed[:1]:
                levels = case.levels.copy()
                levels[k] = flip.value
                path = tmp_path / "other.yaml"
                path.write_text(dump_policy(case.with_levels(levels).policy), encoding="utf-8")
                assert Assessor(load_policy(path), TAXONOMY).assess(case.trees).decision == flip.decision
                found += 1

    check()
    assert found > 20


@given(cases())
def test_threshold_flips_and_the_margin(case: Reweighing) -> None:
    here = case.bound.policy.threshold
    flips = threshold_flips(case)
    before = {1.0: case.decision, -1.0: case.decision}
    for flip in flips:
        side = math.copysign(1.0, flip.value - here)
        decide = [case.with_threshold(t).decide(*case.interval)[0] for t in (flip.value, math.nextafter(flip.value, here))]
        assert decide == [flip.decision, before[side]]
        before[side] = flip.decision
    nearest = margin(case)
    assert (nearest is None) == (not flips)
    if nearest is not None:
        assert nearest.distance == pytest.approx(abs(flips[0].value - here), abs=1e-9)
        assert nearest.distance == abs(getattr(case.interval, nearest.end) - nearest.value)
        assert nearest.decision == flips[0].decision != case.decision


def test_a_missing_benefit_tree_stops_to_matter_at_a_weight_of_zero() -> None:
    effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    case = Reweighing(HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), effect), benefit=None), BASE.bind(TAXONOMY))
    (flip,) = weight_flips(case)[case.names.index("benefit/relative_weight")].flips
    assert (case.decision, flip.decision, flip.rounded, flip.hindrance) == ("review", "block", 0.0, "none")
    assert flip.value < 1e-300
    assert case.decide_with(case.names.index("benefit/relative_weight"), 0.0) == "block"


def test_a_band_is_two_flips() -> None:
    effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    trees = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), effect), benefit=Tree(kind="benefit", stakeholders=()))
    policy = load_policy("balanced").model_copy(update={"review_band": ReviewBand(below=0.1, above=0.1)})
    case = Reweighing(trees, policy.bind(TAXONOMY))
    score = policy.weights["harm/action/deception"]
    flips = threshold_flips(case)
    assert [it.decision for it in flips] == ["review", "allow"]
    assert [it.value for it in flips] == pytest.approx([score - 0.1, score + 0.1], abs=1e-15)
    (own,) = (it for it in weight_flips(case) if it.weight == "harm/action/deception")
    assert [(it.value, it.decision) for it in own.flips] == [(0.1, "review")]
