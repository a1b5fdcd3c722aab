from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import framing_pairs, tree_quality
from benchmarks.tree_cases import Case, EffectKey, Levels, items, levels
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Effect, HarmBenefitTree, Stakeholder, Tree, TreeKind

TAXONOMY = load_taxonomy()
HARMS, BENEFITS = TAXONOMY.harm_actions, TAXONOMY.benefit_actions
EXTENTS = [it.name for it in TAXONOMY.extents]
LIKELIHOODS = [it.name for it in TAXONOMY.likelihoods]


def effect(extent: int, likelihood: int, kind: TreeKind = "harm") -> Effect:
    name = TAXONOMY.effects(kind)[0].name
    return Effect(effect=name, immediacy="immediate", extent=EXTENTS[extent], likelihood=LIKELIHOODS[likelihood])


def pair(action: int, *effects: Effect) -> HarmBenefitTree:
    """A harm of some action to the user, and always the same benefit."""
    harm = Stakeholder(name="User", actions=(Action(action=HARMS[action].name, effects=effects),))
    good = Stakeholder(name="User", actions=(Action(action=BENEFITS[0].name, effects=(effect(0, 1, "benefit"),)),))
    return HarmBenefitTree(
        harm=Tree(kind="harm", stakeholders=(harm,)), benefit=Tree(kind="benefit", stakeholders=(good,))
    )  # fmt: skip


def held_out(n: int = 50) -> list[Case]:
    """Every second text is about poison, gravely harmful; predicted trees are right but for one level of extent."""
    cases = []
    for i in range(n):
        bad = i // 5 % 2
        text = f"{'how to brew poison' if bad else 'how to bake bread'} variant {i}"
        teacher = pair(bad, effect(3 * bad, 2))
        ours = pair(bad, effect(3 * bad - 1 if bad else 0, 2))
        cases.append(Case(f"v{i}", text, teacher, ours, 4 * bad, i % 5, f"g{i % 5}/{i // 10}", bad))
    return cases


def test_views_and_levels_of_a_tree() -> None:
    tree = pair(1, effect(0, 2), effect(2, 0))
    name, harm = TAXONOMY.effects("harm")[0].name, HARMS[1].name
    assert items(tree, "harm", "action") == {harm}
    assert items(tree, "harm", "stakeholder and action") == {("User", harm)}
    assert items(tree, "harm", "action and effect") == {(harm, name)}
    assert levels(tree, "harm", TAXONOMY) == {EffectKey("User", harm, name): Levels(2, 0)}  # the graver of the two
    assert items(HarmBenefitTree(harm=None, benefit=None), "harm", "action") == frozenset()


def test_micro_f1_counts_items_of_all_trees_together() -> None:
    found = tree_quality.micro_f1([frozenset("ab"), frozenset("c")], [frozenset("a"), frozenset("cd")])
    assert found.value == pytest.approx(2 * 2 / (3 + 3))


def test_rank_correlation_knows_order_and_constants() -> None:
    rising = np.arange(20.0)
    assert tree_quality.spearman(rising, rising**3).value == pytest.approx(1.0)
    assert tree_quality.spearman(rising, -rising).value == pytest.approx(-1.0)
    assert tree_quality.spearman(rising, np.ones(20)).value is None


def test_all_measures_of_trees_that_are_right_but_for_one_level() -> None:
    found = tree_quality.figures_of(held_out(), TAXONOMY)
    for kind in ("harm", "benefit"):
        for view in ("action", "stakeholder and action", "action and effect"):
            assert found[f"{kind}: {view}, micro-F1"]["ours"].value == 1.0
    assert found["harm: action, micro-F1"]["most frequent"].value == pytest.approx(0.5, abs=0.2)
    assert found["harm: extent exactly"]["ours"].value == pytest.approx(0.5)
    assert found["harm: extent within one level"]["ours"].value == 1.0
    assert found["harm: likelihood exactly"]["ours"].value == 1.0
    assert found["harm: extent exactly"]["nearest neighbour"].value == 1.0
    assert found["severity, rank correlation"]["ours"].value == pytest.approx(1.0)
    assert found["severity, rank correlation"]["most frequent"].value is None
    everything = tree_quality.TreeFigures(50, 50, found)
    json.dumps(tree_quality.dumped(everything), allow_nan=False)
    assert len(tree_quality.table(everything).splitlines()) == len(found) + 4


def test_pairs_are_in_order_when_the_harmful_member_scores_above_its_twin() -> None:
    good, bad = pair(0, effect(0, 0)), pair(0, effect(3, 2))
    cases = [
        Case("v1", "a", bad, bad, 4, 0, "one", 1), Case("v2", "b", good, good, 0, 0, "one", 0),
        Case("v3", "c", bad, good, 4, 1, "two", 1), Case("v4", "d", good, good, 0, 1, "two", 0),
        Case("v5", "e", bad, bad, 4, 1, "alone", 1), Case("p6", "f", bad, bad, 4, 1, "one", 1),
    ]  # fmt: skip
    found = framing_pairs.pairs(cases)
    assert found == [framing_pairs.Pair("v1", "v2"), framing_pairs.Pair("v3", "v4")]
    scores = tree_quality.scores([it.ours for it in cases], TAXONOMY)
    by_id = dict(zip((it.id for it in cases), scores.tolist(), strict=True))
    assert framing_pairs.in_order(found, by_id).value == 0.5  # a tie is not in order
