from __future__ import annotations

import networkx
import pytest
from hypothesis import given
from pydantic import ValidationError

from safetyanalyst.trees import Action, Effect, HarmBenefitTree, Provenance, Stakeholder, Tree
from tests.strategies import any_trees, pairs

LOSS = Effect(effect="Financial property loss", immediacy="immediate", extent="major", likelihood="high")
FEAR = Effect(effect="Transient emotional changes", immediacy="downstream", extent="minor", likelihood=None)
RELIEF = Effect(effect="Transient emotional changes", immediacy="immediate", extent="minor", likelihood="low")
FRAUD = Action(action="Fraud", description="a false invoice", evidence=(2, 4), effects=(LOSS, FEAR))
HELP = Action(action=None, description="explains the invoice", effects=(RELIEF,))
HARM = Tree(
    kind="harm", stakeholders=(Stakeholder(name="Customers", actions=(FRAUD,)), Stakeholder(name="User", actions=())), lost=1
)
BENEFIT = Tree(kind="benefit", stakeholders=(Stakeholder(name="Customers", actions=(HELP,)),))


def test_leaves_come_in_order_with_the_nodes_above_them() -> None:
    leaves = list(HARM.leaves())
    assert [leaf.effect for leaf in leaves] == [LOSS, FEAR]
    assert all(leaf.action == FRAUD and leaf.stakeholder.name == "Customers" for leaf in leaves)


def test_an_effect_is_complete_when_every_feature_was_read() -> None:
    assert LOSS.is_complete
    assert not FEAR.is_complete


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (FRAUD, {"effects": ()}),
        (HARM, {"lost": -1}),
        (HARM, {"kind": "harms"}),
        (LOSS, {"immediacy": "later"}),
        (LOSS, {"severity": "high"}),
        (HARM, {"stakeholders": None}),
    ],
    ids=str,
)
def test_what_is_no_tree_is_refused(record: Action | Effect | Tree, change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        type(record).model_validate(record.model_dump() | change)


def test_trees_are_frozen() -> None:
    with pytest.raises(ValidationError):
        HARM.lost = 0


def test_the_graph_carries_what_the_tree_says() -> None:
    graph = HarmBenefitTree(harm=HARM, benefit=BENEFIT).graph()
    assert list(graph.successors("scenario")) == ["harm/0", "harm/1", "benefit/0"]
    assert graph.nodes["harm/0"] == {"level": "stakeholder", "kind": "harm", "label": "Customers"}
    assert graph.nodes["harm/0/0"] == {
        "level": "action", "kind": "harm", "label": "Fraud", "description": "a false invoice", "evidence": (2, 4),
    }  # fmt: skip
    assert graph.nodes["benefit/0/0"]["label"] == "explains the invoice"
    assert graph.nodes["harm/0/0/1"] == {
        "level": "effect", "kind": "harm", "label": "Transient emotional changes", "immediacy": "downstream",
        "extent": "minor", "likelihood": None,
    }  # fmt: skip
    assert "benefit/0" not in HARM.graph()


@given(pairs())
def test_the_graph_is_a_tree_with_one_node_for_everything(pair: HarmBenefitTree) -> None:
    graph = pair.graph()
    trees = [tree for tree in (pair.harm, pair.benefit) if tree is not None]
    n_actions = sum(len(stakeholder.actions) for tree in trees for stakeholder in tree.stakeholders)
    n_effects = sum(len(list(tree.leaves())) for tree in trees)
    assert networkx.is_arborescence(graph)
    assert len(graph) == 1 + sum(len(tree.stakeholders) for tree in trees) + n_actions + n_effects


def test_merging_brings_both_sides_of_a_stakeholder_together() -> None:
    customers, user = HarmBenefitTree(harm=HARM, benefit=BENEFIT).merged()
    assert (customers.name, customers.harms, customers.benefits) == ("Customers", (FRAUD,), (HELP,))
    assert (user.name, user.harms, user.benefits) == ("User", (), ())
    assert HarmBenefitTree(harm=None, benefit=None).merged() == ()


@given(pairs())
def test_merging_loses_no_action_and_no_stakeholder(pair: HarmBenefitTree) -> None:
    merged = pair.merged()
    for tree, side in ((pair.harm, "harms"), (pair.benefit, "benefits")):
        written = [] if tree is None else [(s.name, action) for s in tree.stakeholders for action in s.actions]
        shown = [(m.name, action) for m in merged for action in getattr(m, side)]
        assert sorted(map(repr, written)) == sorted(map(repr, shown))
    assert len({m.name for m in merged}) == len(merged)


@given(any_trees())
def test_a_tree_survives_pydantic_json(tree: Tree) -> None:
    assert Tree.model_validate_json(tree.model_dump_json()) == tree


def test_a_provenance_names_its_stage_only_where_there_was_a_cascade() -> None:
    plain = Provenance(generator="g", model="m", taxonomy="t", code="1")
    assert list(plain.model_dump()) == ["generator", "model", "model_hash", "taxonomy", "code"]
    staged = plain.model_copy(update={"stage": "second"})
    assert staged.model_dump() == plain.model_dump() | {"stage": "second"}
    for it in (plain, staged):
        assert Provenance.model_validate(it.model_dump()) == Provenance.model_validate_json(it.model_dump_json()) == it
    with pytest.raises(ValueError, match="first"):
        Provenance.model_validate(plain.model_dump() | {"stage": "third"})
