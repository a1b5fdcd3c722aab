"""Proposed changes of several weights: they flip, 1 % less does not, and nothing smaller does the same."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safetyanalyst.analyst import Assessor
from safetyanalyst.counterfactual import Counterfactual, SmallestChange, counterfactual
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.flips import margin, weight_flips
from safetyanalyst.goals import farthest, is_out_of_reach, next_decision, signs, unmet, ways_to
from safetyanalyst.policy import Decision, ReviewBand, dump_policy, load_policy
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.trees import Effect, HarmBenefitTree, Tree
from safetyanalyst.weight_names import weight_names
from tests.reweighings import BASE, TAXONOMY, cases, complete_cases, policies
from tests.scripted import tree_of
from tests.strategies import complete_pairs

targets = st.sampled_from(["allow", "review", "block"])


def asked(case: Reweighing, target: Decision | None = None) -> Counterfactual:
    return counterfactual(case, target or next_decision(case, margin(case)), weight_flips(case))


def levels_of(case: Reweighing, change: SmallestChange, share: float = 1.0) -> np.ndarray:
    levels = case.levels.copy()
    for it in change.changes:
        k = case.names.index(it.weight)
        levels[k] = it.after if share == 1.0 else levels[k] + share * (it.after - levels[k])
    return levels


@settings(max_examples=40)
@given(cases(), targets)
def test_a_proposed_flip_flips_and_one_percent_less_does_not(case: Reweighing, target: Decision) -> None:
    found = asked(case, target)
    assert (found.status == "already") == (case.decision == target)
    assert (found.status == "found") == (found.sparse is not None) == (found.least_squares is not None)
    for change in (found.sparse, found.least_squares):
        if change is not None:
            levels = levels_of(case, change)
            bound = case.with_levels(levels)
            result = Assessor(bound.policy, TAXONOMY).assess(case.trees)
            assert result.decision == target == change.decision
            assert result.interval == change.interval
            assert change.l1 < 1e-300 or case.decide_at(levels_of(case, change, 0.99)) != target
            off = levels - case.levels
            assert change.l1 == pytest.approx(np.abs(off).sum())
            assert change.l2 == pytest.approx(np.sqrt(off @ off))
    if found.sparse is not None and found.least_squares is not None:
        assert len(found.sparse.changes) <= len(found.least_squares.changes)
        assert found.least_squares.l2 <= found.sparse.l2 * (1 + 1e-9)


@settings(max_examples=25)
@given(cases(), targets)
def test_rounded_values_are_a_policy_that_flips_too(case: Reweighing, target: Decision) -> None:
    found = asked(case, target)
    for change in (found.sparse, found.least_squares):
        if change is not None:
            levels = case.levels.copy()
            for it in change.changes:
                levels[case.names.index(it.weight)] = it.rounded
            assert case.with_levels(levels).decide(*case.function.interval(levels))[0] == target


@settings(max_examples=30)
@given(cases(), targets, st.integers(0, 2**31))
def test_impossible_is_impossible(case: Reweighing, target: Decision, seed: int) -> None:
    if asked(case, target).status == "impossible":
        rng = np.random.default_rng(seed)
        for _ in range(30):
            ratios = np.round(rng.random(len(case.bound.space.ratios.names)) * rng.integers(1, 4)).clip(0, 1)
            assert case.decide_at(case.bound.space.levels_from_ratios(ratios)) != target


@settings(max_examples=40)
@given(complete_cases(specs=1), targets)
def test_where_something_can_flip_something_is_found(case: Reweighing, target: Decision) -> None:
    band = case.bound.policy.review_band
    assume(target != "review" or band.below + band.above > 0)
    found = asked(case, target)
    assert found.status != "none_found"
    (way,) = ways_to(case, target)
    if found.status == "impossible":
        assert any(is_out_of_reach(case, goal) for goal in unmet(case, way))


def test_no_fewer_weights_can_do_it() -> None:
    seen = []

    @settings(max_examples=100)
    @given(complete_cases(specs=1))
    def look(case: Reweighing) -> None:
        found = asked(case)
        if len(seen) < 20 and found.sparse is not None and len(found.sparse.changes) > 1:
            seen.append((case, found.target, found.sparse))

    look()
    assert len(seen) >= 2
    for case, target, sparse in seen:
        assert sparse.is_fewest
        for chosen in combinations(np.flatnonzero(signs(case)), min(2, len(sparse.changes) - 1)):
            for way in product((1, -1), repeat=len(chosen)):
                moves = np.zeros((1, len(case.names)), np.int64)
                moves[0, list(chosen)] = way
                far = farthest(case, moves)[0]
                path = (case.levels + share * (far - case.levels) for share in (0.25, 0.5, 0.75, 1.0))
                assert target not in {case.decide_at(levels) for levels in path}


def test_the_least_sum_of_two_weights_is_that_of_a_dense_grid() -> None:
    seen = []

    @settings(max_examples=60)
    @given(complete_pairs(), policies(specs=1))
    def look(trees: HarmBenefitTree, bound: object) -> None:
        case = Reweighing(trees, bound)  # type: ignore[arg-type]
        found = asked(case)
        if len(seen) < 6 and found.sparse is not None and len(found.sparse.changes) == 2:
            seen.append((case, found))

    look()
    assert len(seen) >= 2
    for case, found in seen:
        best = np.inf
        for pair in combinations(np.flatnonzero(signs(case)), 2):
            grid = np.linspace(0.0, 1.0, 41)
            for a, b in product(grid, grid):
                levels = case.levels.copy()
                levels[list(pair)] = a, b
                cost = float(np.abs(levels - case.levels).sum())
                if cost < best and case.is_lawful(levels) and case.decide_at(levels) == found.target:
                    best = cost
        assert found.sparse is not None
        assert found.sparse.l1 <= best + 1e-9


@settings(max_examples=15)
@given(complete_cases(specs=1), st.integers(0, 2**31))
def test_no_weights_nearby_do_better_in_squares(case: Reweighing, seed: int) -> None:
    found = asked(case)
    assume(found.least_squares is not None)
    assert found.least_squares is not None
    rng = np.random.default_rng(seed)
    best = levels_of(case, found.least_squares)
    for _ in range(300):
        step = rng.normal(size=len(best)) * rng.choice([0.001, 0.01, 0.1]) * found.least_squares.l2
        other = np.clip(np.where(signs(case) != 0, best + step, best), 0.0, 1.0)
        if case.is_lawful(other) and case.decide_at(other) == found.target:
            assert np.linalg.norm(other - case.levels) >= found.least_squares.l2 * (1 - 1e-4)


def test_a_change_survives_the_file(tmp_path: Path) -> None:
    found = 0

    @settings(max_examples=30)
    @given(complete_cases(specs=1))
    def check(case: Reweighing) -> None:
        nonlocal found
        answer = asked(case)
        for change in (answer.sparse, answer.least_squares):
            if change is not None:
                path = tmp_path / "other.yaml"
                path.write_text(dump_policy(case.with_levels(levels_of(case, change)).policy), encoding="utf-8")
                assert Assessor(load_policy(path), TAXONOMY).assess(case.trees).decision == answer.target
                found += 1

    check()
    assert found > 20


@settings(max_examples=30)
@given(complete_cases(specs=1), st.integers(0, 2**31), targets)
def test_floors_and_ceilings_hold(case: Reweighing, seed: int, target: Decision) -> None:
    rng = np.random.default_rng(seed)
    room = {
        name: (float(level * rng.choice([1.0, 0.9, 0.0])), float(level + (1 - level) * rng.choice([0.0, 0.1, 1.0])))
        for name, level in zip(case.names, case.levels, strict=True)
        if rng.random() < 0.8
    }
    held = Reweighing(case.trees, case.bound, room)
    for it in weight_flips(held):
        low, high = room.get(it.weight, (0.0, 1.0))
        assert all(low <= flip.value <= high for flip in it.allowed)
    found = asked(held, target)
    for change in (found.sparse, found.least_squares):
        for it_ in change.changes if change is not None else ():
            low, high = room.get(it_.weight, (0.0, 1.0))
            assert low <= it_.after <= high


def test_frozen_weights_make_it_impossible() -> None:
    effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    trees = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), effect), benefit=Tree(kind="benefit", stakeholders=()))
    bound = BASE.bind(TAXONOMY)
    weight = BASE.weights["harm/action/deception"]
    assert asked(Reweighing(trees, bound)).sparse is not None
    assert asked(Reweighing(trees, bound, {"harm/action/deception": (weight / 2, 1.0)}), "allow").status == "impossible"


def test_a_missing_harm_tree_is_allowed_only_when_no_harm_counts() -> None:
    case = Reweighing(HarmBenefitTree(harm=None, benefit=Tree(kind="benefit", stakeholders=())), BASE.bind(TAXONOMY))
    found = asked(case, "allow")
    assert found.sparse is not None
    assert {it.weight for it in found.sparse.changes} == {
        name for name in case.names if name.startswith("harm/action/") and BASE.weights[name] > 0
    }
    assert {it.after for it in found.sparse.changes} == {0.0}
    assert asked(case, "block").status == "impossible"


def test_where_doubt_blocks_a_review_becomes_a_block_by_doubt_too() -> None:
    base = load_policy("balanced")
    least = base.weights["harm/action/deception"] * base.weights["harm/extent/minor"]
    policy = base.model_copy(update={"threshold": least / 2, "review_band": ReviewBand(above=5.0), "on_missing": "block"})
    unread = Effect(effect="Death", immediacy="immediate", extent=None, likelihood="high")
    trees = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), unread), benefit=Tree(kind="benefit", stakeholders=()))
    case = Reweighing(trees, policy.bind(TAXONOMY))
    assert case.decision == "review"
    found = asked(case, "block")  # no weights lift the score above the band
    assert found.sparse is not None
    assert found.sparse.is_fewest
    assert [it.weight for it in found.sparse.changes] == ["harm/extent/minor"]


def test_of_the_ways_to_silence_a_missing_tree_the_one_that_leads_there_is_taken() -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(effect="group"))
    weights = dict.fromkeys(weight_names(space).free, 0.5) | dict.fromkeys(weight_names(space).fixed, 1.0)
    settings_ = {"weights": weights, "space": space.spec, "fit": None, "threshold": -0.1}
    good = Effect(effect="Social status benefits", immediacy="immediate", extent="major", likelihood="high")
    benefit = tree_of("benefit", "x", TAXONOMY.actions("benefit")[0].name, (), good)
    case = Reweighing(HarmBenefitTree(harm=None, benefit=benefit), BASE.model_copy(update=settings_).bind(TAXONOMY))
    assert len(space.effect_keys) < len(space.action_keys)  # fewer weights, and without any effects the score is 0
    found = asked(case, "allow")
    assert found.sparse is not None
    assert {it.weight for it in found.sparse.changes} == {name for name in case.names if name.startswith("harm/action/")}


def test_a_review_that_has_no_room_is_impossible() -> None:
    bound = BASE.model_copy(update={"review_band": ReviewBand()}).bind(TAXONOMY)
    effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    trees = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), effect), benefit=Tree(kind="benefit", stakeholders=()))
    assert asked(Reweighing(trees, bound), "review").status == "impossible"
