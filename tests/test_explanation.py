from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.explanation import explain
from safetyanalyst.policy import BoundPolicy, load_policy, weights_by_name
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Effect, HarmBenefitTree, Stakeholder, Tree
from tests.strategies import completions, pairs

TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
EXTENTS = [level.name for level in TAXONOMY.extents]
LIKELIHOODS = [level.name for level in TAXONOMY.likelihoods]
complete_effects = st.builds(
    Effect,
    effect=st.sampled_from([category.name for category in TAXONOMY.harm_effects]),
    immediacy=st.sampled_from(["immediate", "downstream"]),
    extent=st.sampled_from(EXTENTS),
    likelihood=st.sampled_from(LIKELIHOODS),
)
harm_actions = st.sampled_from([category.name for category in TAXONOMY.harm_actions])


def policies(seed: int) -> BoundPolicy:
    """A policy with random weights in order."""
    space = BASE.bind(TAXONOMY).space
    rng = np.random.default_rng(seed)
    ratios = np.where(rng.random(29) < 0.1, 0.0, rng.random(29))
    levels = space.levels_from_ratios(ratios)
    return BASE.model_copy(update={"weights": weights_by_name(space, levels)}).bind(TAXONOMY)


seeds = st.integers(0, 10_000).map(policies)


def one_more(pair: HarmBenefitTree, kind: str, action: str | None, effect: Effect) -> HarmBenefitTree:
    tree = getattr(pair, kind) or Tree(kind=kind, stakeholders=())  # type: ignore[arg-type]
    added = Stakeholder(name="someone", actions=(Action(action=action, effects=(effect,)),))
    return pair.model_copy(update={kind: tree.model_copy(update={"stakeholders": (*tree.stakeholders, added)})})


@given(pairs(), seeds)
def test_contributions_add_up_to_the_score(pair: HarmBenefitTree, bound: BoundPolicy) -> None:
    explanation = explain(pair, bound)
    matrix = harmfulness_interval(bound.space.featurize([pair]), bound.levels)
    assert explanation.interval.low == pytest.approx(matrix.low[0], abs=1e-12)
    assert explanation.interval.high == pytest.approx(matrix.high[0], abs=1e-12)
    if explanation.score is not None and math.isfinite(explanation.score):
        assert math.fsum(c.interval.low for c in explanation.contributions) == explanation.score


@given(pairs(), seeds, st.sampled_from(["kind", "stakeholder", "action", "action_group", "effect", "step"]))
def test_groups_add_up_too(pair: HarmBenefitTree, bound: BoundPolicy, by: str) -> None:
    explanation = explain(pair, bound)
    totals = explanation.totals(by)  # type: ignore[arg-type]
    read = math.fsum(c.interval.high for c in explanation.contributions)
    assert math.fsum(total.high for total in totals.values()) == pytest.approx(read, abs=1e-12)


@given(pairs(), seeds, st.randoms())
def test_the_order_of_stakeholders_is_irrelevant(pair: HarmBenefitTree, bound: BoundPolicy, random: object) -> None:
    shuffled = {}
    for kind in ("harm", "benefit"):
        tree = getattr(pair, kind)
        if tree is not None:
            holders = list(tree.stakeholders)
            random.shuffle(holders)  # type: ignore[attr-defined]
            shuffled[kind] = tree.model_copy(update={"stakeholders": tuple(holders)})
    assert explain(pair.model_copy(update=shuffled), bound).interval == explain(pair, bound).interval


@given(pairs(), seeds, harm_actions | st.none(), complete_effects)
def test_adding_a_harm_never_lowers_the_score(
    pair: HarmBenefitTree, bound: BoundPolicy, action: str | None, effect: Effect
) -> None:
    before, after = explain(pair, bound).interval, explain(one_more(pair, "harm", action, effect), bound).interval
    assert after.low >= before.low
    if pair.harm is not None:
        assert after.high >= before.high


@given(pairs(), seeds, st.data())
def test_adding_a_benefit_never_raises_the_score(pair: HarmBenefitTree, bound: BoundPolicy, data: st.DataObject) -> None:
    effect = data.draw(complete_effects)
    before, after = explain(pair, bound).interval, explain(one_more(pair, "benefit", None, effect), bound).interval
    assert after.high <= before.high
    if pair.benefit is not None:
        assert after.low <= before.low


@given(pairs(), seeds, harm_actions, complete_effects, st.data())
def test_a_graver_harm_never_lowers_the_score(
    pair: HarmBenefitTree, bound: BoundPolicy, action: str, effect: Effect, data: st.DataObject
) -> None:
    graver = Effect(
        effect=effect.effect,
        immediacy=data.draw(st.sampled_from([effect.immediacy, "immediate"])),
        extent=data.draw(st.sampled_from(EXTENTS[EXTENTS.index(effect.extent or "") :])),
        likelihood=data.draw(st.sampled_from(LIKELIHOODS[LIKELIHOODS.index(effect.likelihood or "") :])),
    )
    lighter = explain(one_more(pair, "harm", action, effect), bound).interval
    heavier = explain(one_more(pair, "harm", action, graver), bound).interval
    assert heavier.low >= lighter.low
    assert heavier.high >= lighter.high


@given(pairs(), seeds, st.data())
def test_no_completion_leaves_the_interval(pair: HarmBenefitTree, bound: BoundPolicy, data: st.DataObject) -> None:
    interval = explain(pair, bound).interval
    score = explain(data.draw(completions(pair)), bound).interval
    assert interval.low - 1e-9 <= score.low
    assert score.high <= interval.high + 1e-9


def test_a_missing_tree_is_said_and_unbounded() -> None:
    explanation = explain(HarmBenefitTree(harm=None, benefit=None), BASE.bind(TAXONOMY))
    assert explanation.interval == (-math.inf, math.inf)
    assert explanation.score is None
    assert explanation.lost == ("harm tree", "benefit tree")


def test_steps_share_a_contribution() -> None:
    effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    action = Action(action="Violent Acts", evidence=(1, 3), effects=(effect,))
    tree = Tree(kind="harm", stakeholders=(Stakeholder(name="Someone", actions=(action,)),))
    explanation = explain(HarmBenefitTree(harm=tree, benefit=Tree(kind="benefit", stakeholders=())), BASE.bind(TAXONOMY))
    assert set(explanation.totals("step")) == {"1", "3"}
    (strongest,) = explanation.strongest()
    assert strongest.path == "harm.stakeholders[0].actions[0].effects[0]"
    assert strongest.action_group == "violence_extremism"
