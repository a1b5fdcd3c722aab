"""Teacher trees and labels -> what the network behind the embedded specialists is asked to predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.pipelines.train_data import Labelled, Taught
from safetyanalyst.pipelines.train_network import SEVERITIES
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, Tree, TreeKind

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_UNKNOWN = 0.2  # weight of "not there" where a label names only what is


class TreeTargets(NamedTuple):
    """Rows and leaves of one tree, as indices.

    Attributes:
        rows: (rows, 2) stakeholder, action; each pair once.
        effects: (rows, effects) which effects a row has.
        leaves: (leaves, 3) stakeholder, action, effect.
        levels: (leaves, levels) cumulative: extent above its lowest, second ... level, likelihood likewise, immediate.
    """

    rows: Ints
    effects: Floats
    leaves: Ints
    levels: Floats


class Targets(NamedTuple):
    """What is to be predicted of one scenario.

    Attributes:
        judgements: (j,) of 0 and 1, or in between.
        known: (j,) weight of each; 0 for what nobody has said.
        trees: By kind; none where there is only a label.
        weight: Of the scenario.
    """

    judgements: Floats
    known: Floats
    trees: dict[TreeKind, TreeTargets] | None
    weight: float


class Judgements:
    """What is judged of a whole scenario: harmful; severity at least 1 to 4; each action grave; each present; each benefit.

    Args:
        taxonomy: Of the trees.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.action = {category.name: i for i, category in enumerate(taxonomy.harm_actions)}
        self.benefit = {category.name: i for i, category in enumerate(taxonomy.benefit_actions)}
        self.grave = 1 + SEVERITIES
        self.present = self.grave + len(self.action)
        self.benefits = self.present + len(self.action)
        self.n = self.benefits + len(self.benefit)

    @property
    def importance(self) -> Floats:
        """(n,) of each judgement in the loss."""
        weights = np.full(self.n, 0.1, np.float32)
        weights[0], weights[1 : self.grave] = 1.0, 0.25
        return weights

    def of_taught(self, it: Taught) -> Floats:
        """(n,) judgements that a teacher's trees and label imply."""
        y = np.zeros(self.n, np.float32)
        y[0] = it.label
        y[1 : self.grave] = [it.severity >= level for level in range(1, SEVERITIES + 1)]
        lowest = (self.taxonomy.extents[0].name, self.taxonomy.likelihoods[0].name)
        for leaf in it.trees.harm.leaves() if it.trees.harm else ():
            action = self.action[leaf.action.action or ""]
            y[self.present + action] = 1.0
            if leaf.effect.extent != lowest[0] and leaf.effect.likelihood != lowest[1]:
                y[self.grave + action] = 1.0
        for leaf in it.trees.benefit.leaves() if it.trees.benefit else ():
            y[self.benefits + self.benefit[leaf.action.action or ""]] = 1.0
        return y

    def of_labelled(self, it: Labelled) -> tuple[Floats, Floats]:
        """(n,) judgements that a label implies, and how far each is known."""
        y, known = np.zeros(self.n, np.float32), np.zeros(self.n, np.float32)
        y[0], known[0] = it.label, 1.0
        if it.severity is not None:
            y[1 : self.grave] = [it.severity >= level for level in range(1, SEVERITIES + 1)]
            known[1 : self.grave] = 1.0
        elif it.label == 0:
            known[2 : self.grave] = 1.0  # harmless is at most minor
        if it.label == 0:
            known[self.grave : self.present] = 1.0
        for start, names, index in ((self.grave, it.grave, self.action), (self.benefits, it.benefits, self.benefit)):
            if names:
                span = slice(start, start + len(index))
                known[span] = np.maximum(known[span], _UNKNOWN)
                at = [start + index[name] for name in names]
                y[at], known[at] = 1.0, 1.0
        return y, known


def targets_of(items: Sequence[Taught | Labelled], judgements: Judgements) -> list[Targets]:
    """What is to be predicted of every item."""
    found = []
    for it in items:
        if isinstance(it, Taught):
            trees = {kind: tree_targets(_side(it, kind), kind, judgements.taxonomy) for kind in TREE_KINDS}
            y = judgements.of_taught(it)
            found.append(Targets(y, np.ones_like(y), trees, it.weight))
        else:
            y, known = judgements.of_labelled(it)
            found.append(Targets(y, known, None, it.weight))
    return found


def tree_targets(tree: Tree | None, kind: TreeKind, taxonomy: Taxonomy) -> TreeTargets:
    """One teacher tree as indices; rows whose stakeholder the taxonomy does not list are left out."""
    stakeholders = {name: i for i, name in enumerate(taxonomy.stakeholders)}
    actions = {category.name: i for i, category in enumerate(taxonomy.actions(kind))}
    effects = {category.name: i for i, category in enumerate(taxonomy.effects(kind))}
    extents = {level.name: i for i, level in enumerate(taxonomy.extents)}
    likelihoods = {level.name: i for i, level in enumerate(taxonomy.likelihoods)}
    rows: dict[tuple[int, int], Floats] = {}
    leaves: list[tuple[int, int, int]] = []
    levels: list[list[bool]] = []
    for leaf in tree.leaves() if tree is not None else ():
        if leaf.stakeholder.name not in stakeholders:
            continue
        s, a, e = stakeholders[leaf.stakeholder.name], actions[leaf.action.action or ""], effects[leaf.effect.effect or ""]
        rows.setdefault((s, a), np.zeros(len(effects), np.float32))[e] = 1.0
        leaves.append((s, a, e))
        extent, likelihood = extents[leaf.effect.extent or ""], likelihoods[leaf.effect.likelihood or ""]
        above = [extent > level for level in range(len(extents) - 1)]
        above += [likelihood > level for level in range(len(likelihoods) - 1)]
        levels.append([*above, leaf.effect.immediacy == "immediate"])
    return TreeTargets(
        np.array(list(rows), np.int64).reshape(-1, 2),
        np.array(list(rows.values()), np.float32).reshape(-1, len(effects)),
        np.array(leaves, np.int64).reshape(-1, 3),
        np.array(levels, np.float32).reshape(-1, len(extents) + len(likelihoods) - 1),
    )


def unlisted_stakeholders(items: Sequence[Taught], taxonomy: Taxonomy) -> int:
    """Rows of teacher trees that are left out."""
    listed = set(taxonomy.stakeholders)
    sides = (_side(it, kind) for it in items for kind in TREE_KINDS)
    return sum(s.name not in listed for tree in sides if tree for s in tree.stakeholders for _ in s.actions)


def _side(it: Taught, kind: TreeKind) -> Tree | None:
    return it.trees.harm if kind == "harm" else it.trees.benefit
