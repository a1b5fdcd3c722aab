"""Sets of effects against all subsets of small trees, with the trees themselves cut and scored again."""

from __future__ import annotations

from itertools import combinations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safetyanalyst.effect_sets import smallest_effect_set
from safetyanalyst.explanation import explain
from safetyanalyst.flips import margin
from safetyanalyst.goals import next_decision
from safetyanalyst.policy import Decision, ReviewBand
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.trees import Effect, HarmBenefitTree, Tree
from tests.reweighings import BASE, TAXONOMY, cases, complete_cases
from tests.scripted import tree_of

ORDER = ["allow", "review", "block"]
targets = st.sampled_from(ORDER)


def without(trees: HarmBenefitTree, paths: set[str]) -> HarmBenefitTree:
    """The trees with some effects cut off, and what then leads to nothing."""
    cut = {}
    for kind in ("harm", "benefit"):
        tree: Tree | None = getattr(trees, kind)
        if tree is not None:
            holders = []
            for i, holder in enumerate(tree.stakeholders):
                actions = []
                for j, action in enumerate(holder.actions):
                    at = f"{kind}.stakeholders[{i}].actions[{j}]"
                    left = [it for k, it in enumerate(action.effects) if f"{at}.effects[{k}]" not in paths]
                    if left:
                        actions.append(action.model_copy(update={"effects": tuple(left)}))
                holders.append(holder.model_copy(update={"actions": tuple(actions)}))
            cut[kind] = tree.model_copy(update={"stakeholders": tuple(holders)})
    return trees.model_copy(update=cut)


def decided(case: Reweighing, paths: set[str]) -> str:
    return case.bound.decide(*explain(without(case.trees, paths), case.bound).interval)[0]


def suffices(case: Reweighing, target: str, decision: str) -> bool:
    here, wanted, found = map(ORDER.index, (case.decision, target, decision))
    return found == wanted or (found - wanted) * (wanted - here) > 0


@given(cases(), targets)
def test_without_the_set_it_is_otherwise(case: Reweighing, target: Decision) -> None:
    explanation = explain(case.trees, case.bound)
    found = smallest_effect_set(case, explanation, target)
    assert (found.status == "already") == (case.decision == target)
    if found.status == "found":
        paths = {it.path for it in found.effects}
        assert len(paths) == len(found.effects)
        cut = explain(without(case.trees, paths), case.bound)
        assert cut.interval == found.interval
        assert decided(case, paths) == found.decision
        assert suffices(case, target, str(found.decision))


@settings(max_examples=80)
@given(cases(), targets)
def test_no_smaller_set_does_it(case: Reweighing, target: Decision) -> None:
    explanation = explain(case.trees, case.bound)
    assume(len(explanation.contributions) <= 7)
    found = smallest_effect_set(case, explanation, target)
    assume(found.status != "already")
    most = len(found.effects) - 1 if found.status == "found" else len(explanation.contributions)
    for size in range(1, most + 1):
        for chosen in combinations(explanation.contributions, size):
            decision = decided(case, {it.path for it in chosen})
            assert decision != target or found.status == "none_found"


@given(complete_cases())
def test_the_next_decision_by_its_greatest_parts(case: Reweighing) -> None:
    explanation = explain(case.trees, case.bound)
    found = smallest_effect_set(case, explanation, next_decision(case, margin(case)))
    if found.status == "found":
        assert len({it.kind for it in found.effects}) == 1
        rest = [
            abs(it.interval.low)
            for it in explanation.contributions
            if it.kind == found.effects[0].kind and it not in found.effects
        ]
        assert max(rest, default=0.0) <= min(abs(it.interval.low) for it in found.effects)


def test_where_doubt_blocks_an_effect_less_may_block_by_doubt() -> None:
    full = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    tree = tree_of("harm", "x", "Fraud", (), full, full.model_copy(update={"extent": None}))
    threshold = BASE.weights["harm/action/deception"] / 2
    band = ReviewBand(above=5.0)
    policy = BASE.model_copy(update={"threshold": threshold, "review_band": band, "on_missing": "block"})
    case = Reweighing(HarmBenefitTree(harm=tree, benefit=Tree(kind="benefit", stakeholders=())), policy.bind(TAXONOMY))
    assert case.decision == "review"
    found = smallest_effect_set(case, explain(case.trees, case.bound), "block")
    assert (found.status, found.decision, found.is_fewest) == ("found", "block", True)
    assert [it.extent for it in found.effects] == ["major"]
