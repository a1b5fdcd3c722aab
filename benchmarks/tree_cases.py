"""Held-out scenarios with two trees each, the teacher's and the predicted one, and what a tree holds in one view or another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.tfidf_judge import text_of
from benchmarks.tree_baselines import Items
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import HarmBenefitTree, Leaf, Tree, TreeKind

VIEWS = ("stakeholder and action", "action", "action and effect")


class EffectKey(NamedTuple):
    """Which effect of a tree; two trees hold the same one when all three agree."""

    stakeholder: str
    action: str
    effect: str


class Levels(NamedTuple):
    """Indices of an effect's extent and likelihood."""

    extent: int
    likelihood: int


class Case(NamedTuple):
    """A scenario that was held out.

    Attributes:
        id: Of the scenario.
        text: All of it.
        teacher: Trees.
        ours: Predicted by a model that has not seen its group.
        severity: By the teacher, 0 to 4.
        fold: That it was held out in.
        group: Never on both sides.
        label: 1 harmful, 0 harmless.
    """

    id: str
    text: str
    teacher: HarmBenefitTree
    ours: HarmBenefitTree
    severity: int
    fold: int
    group: str
    label: int


class Cases(NamedTuple):
    """Held-out scenarios, and how many the teacher saw."""

    taught: int
    cases: list[Case]


def cases(data: Path, out_of_fold: Path, training: str, taxonomy: Taxonomy) -> Cases:
    """The scenarios that both the teacher and the models of the folds have trees for, in the teacher's order."""
    from safetyanalyst.pipelines.train_config import load_train_config
    from safetyanalyst.pipelines.train_data import folds_of, read_taught

    config = load_train_config(training)
    taught = [it for name in config.teacher for it in read_taught(data / name, taxonomy)]
    fold = folds_of([it.group for it in taught], config.folds, config.seed)
    stored = {it.id: it.trees for it in read_trees(out_of_fold, taxonomy) if isinstance(it, StoredTrees)}
    held_out = [
        Case(
            it.scenario.id, text_of(it.scenario), it.trees, stored[it.scenario.id], it.severity, int(f), it.group, it.label
        )
        for it, f in zip(taught, fold, strict=True) if it.scenario.id in stored
    ]  # fmt: skip
    return Cases(len(taught), held_out)


def items(trees: HarmBenefitTree, kind: TreeKind, view: str) -> Items:
    """What a tree holds, in one view."""
    return frozenset(_item(leaf, view) for leaf in _leaves(trees, kind))


def levels(trees: HarmBenefitTree, kind: TreeKind, taxonomy: Taxonomy) -> dict[EffectKey, Levels]:
    """Levels of every effect that was read whole; of one that stands in a tree twice, the graver."""
    extents = {level.name: i for i, level in enumerate(taxonomy.extents)}
    likelihoods = {level.name: i for i, level in enumerate(taxonomy.likelihoods)}
    found: dict[EffectKey, Levels] = {}
    for leaf in _leaves(trees, kind):
        effect = leaf.effect
        if leaf.action.action is None or effect.effect is None or effect.extent is None or effect.likelihood is None:
            continue
        key = EffectKey(leaf.stakeholder.name, leaf.action.action, effect.effect)
        here = Levels(extents[effect.extent], likelihoods[effect.likelihood])
        found[key] = max(found.get(key, here), here)
    return found


def _leaves(trees: HarmBenefitTree, kind: TreeKind) -> Sequence[Leaf]:
    tree: Tree | None = trees.harm if kind == "harm" else trees.benefit
    return () if tree is None else tuple(tree.leaves())


def _item(leaf: Leaf, view: str) -> Hashable:
    action = leaf.action.action or ""
    if view == "action":
        return action
    return (leaf.stakeholder.name, action) if view == "stakeholder and action" else (action, leaf.effect.effect or "")
