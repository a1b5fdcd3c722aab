"""Teacher trees -> rows of numbers that the heads of the embedded specialists learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_heads import row_features
from safetyanalyst.pipelines.train_data import Taught
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class HeadData(NamedTuple):
    """What the heads of one kind of tree learn from: rows are (stakeholder, action) of a teacher tree, leaves its effects.

    Attributes:
        kind: Of the trees.
        present: (texts, stakeholders, actions) whether such a row stands in the tree.
        row_text: (rows,) text of each row.
        row_x: (rows, r) what the effect heads see.
        row_y: (rows, effects) which effects the row has.
        row_weight: (rows,).
        leaf_text: (leaves,) text of each leaf.
        leaf_x: (leaves, r + effects) what the level heads see.
        leaf_y: (leaves, n_extents + n_likelihoods + 1) cumulative: extent above its lowest, second... level, likelihood
            likewise, immediate.
        leaf_weight: (leaves,).
        n_extents: Columns of `leaf_y` that belong to extent.
        unlisted: Rows left out because the taxonomy does not list their stakeholder.
    """

    kind: TreeKind
    present: npt.NDArray[np.float32]
    row_text: Ints
    row_x: Floats
    row_y: Floats
    row_weight: Floats
    leaf_text: Ints
    leaf_x: Floats
    leaf_y: Floats
    leaf_weight: Floats
    n_extents: int
    unlisted: int


def head_data(kind: TreeKind, taught: Sequence[Taught], z: Floats, taxonomy: Taxonomy) -> HeadData:
    """Lays out the teacher's trees of one kind.

    Args:
        kind: "harm" or "benefit".
        taught: n texts with trees.
        z: (n, k) their projections.
        taxonomy: Of the trees.
    """
    stakeholders = {name: i for i, name in enumerate(taxonomy.stakeholders)}
    actions = {category.name: i for i, category in enumerate(taxonomy.actions(kind))}
    effects = {category.name: i for i, category in enumerate(taxonomy.effects(kind))}
    extents = {level.name: i for i, level in enumerate(taxonomy.extents)}
    likelihoods = {level.name: i for i, level in enumerate(taxonomy.likelihoods)}
    present = np.zeros((len(taught), len(stakeholders), len(actions)), np.float32)
    rows: list[tuple[int, Floats]] = []
    row_y: list[Floats] = []
    leaves: list[tuple[int, Floats]] = []
    leaf_y: list[list[bool]] = []
    unlisted = 0
    for i, it in enumerate(taught):
        tree = it.trees.harm if kind == "harm" else it.trees.benefit
        for stakeholder in tree.stakeholders if tree else ():
            if stakeholder.name not in stakeholders:
                unlisted += 1
                continue
            s = stakeholders[stakeholder.name]
            for action in stakeholder.actions:
                a = actions[action.action or ""]
                present[i, s, a] = 1.0
                x = row_features(z[i], s, a, len(stakeholders), len(actions))
                rows.append((i, x))
                named = [effects[effect.effect or ""] for effect in action.effects]
                row_y.append(np.eye(len(effects))[named].max(axis=0))
                for e, effect in zip(named, action.effects, strict=True):
                    leaves.append((i, np.concatenate((x, np.eye(len(effects))[e]))))
                    extent, likelihood = extents[effect.extent or ""], likelihoods[effect.likelihood or ""]
                    above = [extent > level for level in range(len(extents) - 1)]
                    above += [likelihood > level for level in range(len(likelihoods) - 1)]
                    leaf_y.append([*above, effect.immediacy == "immediate"])
    weight = np.array([it.weight for it in taught])
    row_text, leaf_text = np.array([i for i, _ in rows]), np.array([i for i, _ in leaves])
    return HeadData(
        kind, present,
        row_text, np.array([x for _, x in rows]), np.array(row_y), weight[row_text],
        leaf_text, np.array([x for _, x in leaves]), np.array(leaf_y, float), weight[leaf_text],
        len(extents) - 1, unlisted,
    )  # fmt: skip
