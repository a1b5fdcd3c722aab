from __future__ import annotations

import numpy as np
from hypothesis import given

from safetyanalyst.pipelines.train_data import Labelled, Taught
from safetyanalyst.pipelines.train_network import SEVERITIES
from safetyanalyst.pipelines.train_targets import Judgements, targets_of, tree_targets, unlisted_stakeholders
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Effect, HarmBenefitTree, Stakeholder, Tree
from tests.strategies import complete_trees

TAXONOMY = load_taxonomy()
JUDGEMENTS = Judgements(TAXONOMY)
HARMS = [category.name for category in TAXONOMY.harm_actions]
BENEFITS = [category.name for category in TAXONOMY.benefit_actions]
EFFECTS = [category.name for category in TAXONOMY.harm_effects]
EXTENTS = [level.name for level in TAXONOMY.extents]
LIKELIHOODS = [level.name for level in TAXONOMY.likelihoods]
USER = TAXONOMY.stakeholders[0]
PROMPT = Prompt(id="p", text="words")


def effect(e: int, extent: int, likelihood: int, immediacy: str = "immediate") -> Effect:
    names = {"effect": EFFECTS[e], "extent": EXTENTS[extent], "likelihood": LIKELIHOODS[likelihood], "immediacy": immediacy}
    return Effect.model_validate(names)


def tree(*actions: Action, name: str = USER) -> Tree:
    return Tree(kind="harm", stakeholders=(Stakeholder(name=name, actions=actions),))


def taught(harm: Tree | None, *, label: int = 1, severity: int = 3, weight: float = 1.0) -> Taught:
    benefit = Tree(kind="benefit", stakeholders=())
    return Taught(PROMPT, HarmBenefitTree(harm=harm, benefit=benefit), label, severity, weight, "g")


def labelled(label: float, **more: object) -> Labelled:
    return Labelled(PROMPT, label, 0.5, "g", **more)  # type: ignore[arg-type]


def test_a_tree_becomes_its_rows_leaves_and_cumulative_levels() -> None:
    harm = tree(
        Action(action=HARMS[4], effects=(effect(1, 0, 0), effect(2, 3, 1, "downstream"))),
        Action(action=HARMS[0], effects=(effect(2, 1, 2),)),
    )
    it = tree_targets(harm, "harm", TAXONOMY)
    assert it.rows.tolist() == [[0, 4], [0, 0]]
    assert [np.flatnonzero(row).tolist() for row in it.effects] == [[1, 2], [2]]
    assert it.leaves.tolist() == [[0, 4, 1], [0, 4, 2], [0, 0, 2]]
    assert it.levels.tolist() == [[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 1, 1, 1]]


def test_a_missing_or_empty_tree_has_no_rows_but_the_same_widths() -> None:
    full = tree_targets(tree(Action(action=HARMS[0], effects=(effect(0, 0, 0),))), "harm", TAXONOMY)
    for nothing in (None, Tree(kind="harm", stakeholders=())):
        it = tree_targets(nothing, "harm", TAXONOMY)
        assert [len(part) for part in it] == [0, 0, 0, 0]
        assert [part.shape[1] for part in it] == [part.shape[1] for part in full]
        assert [part.dtype for part in it] == [part.dtype for part in full]


@given(complete_trees("harm"))
def test_rows_are_unique_and_leaves_are_those_of_the_tree(harm: Tree) -> None:
    it = tree_targets(harm, "harm", TAXONOMY)
    rows = [tuple(row) for row in it.rows.tolist()]
    assert len(set(rows)) == len(rows)
    assert {tuple(leaf[:2]) for leaf in it.leaves.tolist()} == set(rows)
    assert len(it.leaves) == len(it.levels) == len(list(harm.leaves()))
    named = {(TAXONOMY.stakeholders[s], HARMS[a], EFFECTS[e]) for s, a, e in it.leaves.tolist()}
    assert named == {(leaf.stakeholder.name, leaf.action.action, leaf.effect.effect) for leaf in harm.leaves()}
    marked = {(*row, int(e)) for row, has in zip(rows, it.effects, strict=True) for e in np.flatnonzero(has)}
    assert marked == {tuple(leaf) for leaf in it.leaves.tolist()}
    n = len(EXTENTS) - 1
    for levels in (it.levels[:, :n], it.levels[:, n:-1]):
        assert (np.diff(levels, axis=1) <= 0).all()  # who is above a level is above those below it


def test_rows_of_unlisted_stakeholders_are_left_out_and_counted() -> None:
    actions = tuple(Action(action=HARMS[i], effects=(effect(0, 1, 1), effect(1, 1, 1))) for i in (0, 1))
    odd = tree(*actions, name="The moon")
    assert len(tree_targets(odd, "harm", TAXONOMY).rows) == 0
    assert unlisted_stakeholders([taught(odd), taught(tree(*actions)), taught(None)], TAXONOMY) == 2


def test_judgements_of_a_taught_text_come_from_its_trees() -> None:
    harm = tree(
        Action(action=HARMS[1], effects=(effect(0, 0, 2),)),
        Action(action=HARMS[2], effects=(effect(0, 1, 0), effect(1, 2, 1))),
    )
    y = JUDGEMENTS.of_taught(taught(harm, severity=2))
    assert y[: JUDGEMENTS.grave].tolist() == [1, 1, 1, 0, 0]
    assert np.flatnonzero(y[JUDGEMENTS.grave : JUDGEMENTS.present]).tolist() == [2]  # minor or improbable is not grave
    assert np.flatnonzero(y[JUDGEMENTS.present : JUDGEMENTS.benefits]).tolist() == [1, 2]
    assert not y[JUDGEMENTS.benefits :].any()
    assert len(y) == JUDGEMENTS.n == len(JUDGEMENTS.importance)


def test_what_nobody_has_said_is_unknown() -> None:
    y, known = JUDGEMENTS.of_labelled(labelled(1))
    assert np.flatnonzero(known).tolist() == [0]
    assert y[0] == 1
    y, known = JUDGEMENTS.of_labelled(labelled(0))
    assert not y.any()
    assert np.flatnonzero(known).tolist() == [0, *range(2, JUDGEMENTS.present)]  # at most minor; nothing grave
    y, known = JUDGEMENTS.of_labelled(labelled(0.9))
    assert (y[0], np.flatnonzero(known).tolist()) == (np.float32(0.9), [0])


def test_named_actions_are_known_and_others_nearly_unknown() -> None:
    y, known = JUDGEMENTS.of_labelled(labelled(1, severity=3, grave=(HARMS[5],), benefits=(BENEFITS[2],)))
    assert y[: 1 + SEVERITIES].tolist() == [1, 1, 1, 1, 0]
    assert known[: 1 + SEVERITIES].tolist() == [1] * 5
    grave = slice(JUDGEMENTS.grave, JUDGEMENTS.present)
    assert np.flatnonzero(y[grave]).tolist() == np.flatnonzero(known[grave] == 1).tolist() == [5]
    assert 0 < known[grave].min() < 0.5
    assert not known[JUDGEMENTS.present : JUDGEMENTS.benefits].any()
    assert np.flatnonzero(y[JUDGEMENTS.benefits :]).tolist() == [2]


def test_items_keep_their_order_weights_and_trees() -> None:
    harm = tree(Action(action=HARMS[0], effects=(effect(0, 0, 0),)))
    first, second = targets_of([taught(harm, weight=0.3), labelled(1)], JUDGEMENTS)
    assert (first.weight, second.weight) == (0.3, 0.5)
    assert first.trees is not None
    assert set(first.trees) == set(TREE_KINDS)
    assert [len(first.trees[kind].rows) for kind in TREE_KINDS] == [kind == "harm" for kind in TREE_KINDS]
    assert second.trees is None
    assert first.known.all()
