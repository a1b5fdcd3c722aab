"""The heads that write the rows: who is affected by an action, by which effects, how far, how likely, how soon, by which steps.

Each is a logistic regression on risk, severity and the hidden layers, with a table per action, stakeholder and effect: convex,
so that L-BFGS finds the one answer. An ordinal head has one slope and a threshold per level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize

from safetyanalyst.generation.backends.embedded_model import Vocabulary, sigmoid
from safetyanalyst.pipelines.train_data import Item
from safetyanalyst.pipelines.train_encoding import Floats
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


class HeadsConfig(Record):
    """Penalties of the heads: half of these times the squared weights, beside the summed log loss.

    Attributes:
        hidden_penalty: On the weights of hidden units.
        driver_penalty: On the weights of risk and severity.
        table_penalty: On the tables.
        iterations: Of L-BFGS, at most.
        min_stakeholder_count: Scenarios that must name a stakeholder before it can be written.
    """

    hidden_penalty: float = 10.0
    driver_penalty: float = 0.1
    table_penalty: float = 1.0
    iterations: int = 80
    min_stakeholder_count: int = 5


class Examples(NamedTuple):
    """What a head learns from.

    Attributes:
        inputs: (n, f).
        tables: Per table the row that applies to each example, (n,).
        sizes: Rows of each table.
        targets: (n, m) of 0 and 1.
        weights: (n,).
    """

    inputs: Floats
    tables: tuple[Ids, ...]
    sizes: tuple[int, ...]
    targets: Floats
    weights: Floats


def fit_head(
    name: str, data: Examples, penalties: Doubles, table_penalty: float, iterations: int, *, ordinal: bool
) -> dict[str, Floats]:
    """Fits one head.

    Args:
        name: Prefix of its arrays.
        data: Examples.
        penalties: (f,) on the weights of the inputs.
        table_penalty: On all tables.
        iterations: At most.
        ordinal: One slope for all outputs, which are "above level j".

    Returns:
        Arrays `weight` (f, m or 1), `table<i>` (size, m or 1) and `bias` (m,).
    """
    problem = _Problem(data, penalties, table_penalty, 1 if ordinal else data.targets.shape[1])
    found = minimize(
        problem.value_and_gradient, problem.start(), jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 10}
    )
    return {f"{name}/{part}": array.astype(np.float32) for part, array in problem.unpacked(found.x).items()}


class _Problem:
    """The penalised loss of a head as a function of one vector."""

    def __init__(self, data: Examples, penalties: Doubles, table_penalty: float, width: int) -> None:
        self._data = data
        self._width = width
        self._x = data.inputs.astype(np.float64)
        self._penalties = penalties[:, None]
        self._table_penalty = table_penalty
        n = len(self._x)
        self._one_hot = [
            sparse.csr_matrix((np.ones(n), ids, np.arange(n + 1)), shape=(n, size))
            for ids, size in zip(data.tables, data.sizes, strict=True)
        ]

    def start(self) -> Doubles:
        """All zero but the biases, which start at the base rates."""
        data = self._data
        share = np.clip(np.average(data.targets, axis=0, weights=data.weights), 1e-3, 1 - 1e-3)
        rest = (self._x.shape[1] + sum(data.sizes)) * self._width
        return np.concatenate([np.zeros(rest), np.log(share / (1 - share))])

    def unpacked(self, vector: Doubles) -> dict[str, Doubles]:
        parts = {}
        at = 0
        for name, rows in [("weight", self._x.shape[1]), *((f"table{i}", size) for i, size in enumerate(self._data.sizes))]:
            parts[name] = vector[at : at + rows * self._width].reshape(rows, self._width)
            at += rows * self._width
        return parts | {"bias": vector[at:]}

    def value_and_gradient(self, vector: Doubles) -> tuple[float, Doubles]:
        parts = self.unpacked(vector)
        tables = [parts[f"table{i}"] for i in range(len(self._one_hot))]
        out = (
            self._x @ parts["weight"]
            + sum(hot @ table for hot, table in zip(self._one_hot, tables, strict=True))
            + parts["bias"]
        )
        y, w = self._data.targets, self._data.weights[:, None]
        value = float((w * (np.logaddexp(0.0, out) - y * out)).sum())
        value += 0.5 * float((self._penalties * parts["weight"] ** 2).sum())
        value += 0.5 * self._table_penalty * sum(float((table**2).sum()) for table in tables)
        d_out = w * (sigmoid(out) - y)
        d_shared = d_out if self._width == d_out.shape[1] else d_out.sum(axis=1, keepdims=True)
        gradient = [self._x.T @ d_shared + self._penalties * parts["weight"]]
        gradient += [hot.T @ d_shared + self._table_penalty * t for hot, t in zip(self._one_hot, tables, strict=True)]
        return value, np.concatenate([*(part.ravel() for part in gradient), d_out.sum(axis=0)])


class _Leaves(NamedTuple):
    """Every effect of the teacher's trees of one kind: item, action, stakeholder, effect, extent, likelihood, is immediate."""

    rows: Ids


def fit_kind(
    kind: TreeKind,
    items: Sequence[Item],
    inputs: Floats,
    steps: Sequence[Floats],
    vocabulary: Vocabulary,
    taxonomy: Taxonomy,
    config: HeadsConfig,
) -> dict[str, Floats]:
    """Fits all heads of one kind of tree.

    Args:
        kind: Which.
        items: With trees.
        inputs: (n, 2 + hidden) drivers and hidden layers of each item.
        steps: Step features of each item.
        vocabulary: What the heads' outputs mean.
        taxonomy: What the trees mean.
        config: Penalties.
    """
    leaves = _leaves(kind, items, vocabulary, taxonomy)
    weights = np.array([item.weight for item in items], np.float32)
    penalties = np.full(inputs.shape[1], config.hidden_penalty)
    penalties[:2] = config.driver_penalty
    sizes = (len(vocabulary.actions), len(vocabulary.stakeholders), len(vocabulary.effects))

    def fitted(name: str, data: Examples, *, ordinal: bool = False) -> dict[str, Floats]:
        return fit_head(f"{kind}/{name}", data, penalties, config.table_penalty, config.iterations, ordinal=ordinal)

    pairs, who = _grouped(leaves[:, :2], leaves[:, 2], sizes[1])
    arrays = fitted("who", Examples(inputs[pairs[:, 0]], (pairs[:, 1],), sizes[:1], who, weights[pairs[:, 0]]))
    triples, effects = _grouped(leaves[:, :3], leaves[:, 3], sizes[2])
    at = triples[:, 0]
    arrays |= fitted("effect", Examples(inputs[at], (triples[:, 1], triples[:, 2]), sizes[:2], effects, weights[at]))
    at = leaves[:, 0]
    tables = leaves[:, 1], leaves[:, 2], leaves[:, 3]
    for name, column, n_levels in (
        ("extent", 4, len(taxonomy.extents)), ("likelihood", 5, len(taxonomy.likelihoods)), ("immediacy", 6, 2),
    ):  # fmt: skip
        above = (leaves[:, column, None] > np.arange(n_levels - 1)).astype(np.float32)
        arrays |= fitted(name, Examples(inputs[at], tables, sizes, above, weights[at]), ordinal=True)
    return arrays | _fit_steps(kind, items, steps, vocabulary, taxonomy, config)


def _leaves(kind: TreeKind, items: Sequence[Item], vocabulary: Vocabulary, taxonomy: Taxonomy) -> Ids:
    """(n, 7): item, action, stakeholder, effect, extent, likelihood, is immediate. Rare stakeholders are left out."""
    actions = {number: i for i, number in enumerate(vocabulary.actions)}
    effects = {number: i for i, number in enumerate(vocabulary.effects)}
    stakeholders = {name: i for i, name in enumerate(vocabulary.stakeholders)}
    extents = {level.name: i for i, level in enumerate(taxonomy.extents)}
    likelihoods = {level.name: i for i, level in enumerate(taxonomy.likelihoods)}
    rows = []
    for i, item in enumerate(items):
        assert item.trees is not None
        tree = getattr(item.trees, kind)
        for leaf in tree.leaves():
            action = taxonomy.action_named(kind, leaf.action.action or "")
            effect = taxonomy.effect_named(kind, leaf.effect.effect or "")
            if action is None or effect is None or not leaf.effect.is_complete or leaf.stakeholder.name not in stakeholders:
                continue
            rows.append((
                i, actions[action.number], stakeholders[leaf.stakeholder.name], effects[effect.number],
                extents[leaf.effect.extent], likelihoods[leaf.effect.likelihood], leaf.effect.immediacy == "immediate",
            ))  # fmt: skip
    return np.array(rows, np.int64).reshape(len(rows), 7)


class _Grouped(NamedTuple):
    keys: Ids
    marks: Floats


def _grouped(keys: Ids, values: Ids, size: int) -> _Grouped:
    """For each different key, which values occur with it."""
    different, inverse = np.unique(keys, axis=0, return_inverse=True)
    marks = np.zeros((len(different), size), np.float32)
    marks[inverse.ravel(), values] = 1.0
    return _Grouped(different, marks)


def _fit_steps(
    kind: TreeKind,
    items: Sequence[Item],
    steps: Sequence[Floats],
    vocabulary: Vocabulary,
    taxonomy: Taxonomy,
    config: HeadsConfig,
) -> dict[str, Floats]:
    actions = {number: i for i, number in enumerate(vocabulary.actions)}
    inputs, tables, marks, weights = [], [], [], []
    for item, rows in zip(items, steps, strict=True):
        if not len(rows):
            continue
        tree = getattr(item.trees, kind)
        for action in (it for stakeholder in tree.stakeholders for it in stakeholder.actions if it.evidence):
            category = taxonomy.action_named(kind, action.action or "")
            if category is not None:
                inputs.append(rows)
                tables.append(np.full(len(rows), actions[category.number]))
                marks.append(np.isin(np.arange(len(rows)), action.evidence))
                weights.append(np.full(len(rows), item.weight))
    n_features = steps[0].shape[1] if len(steps) else 0
    if not inputs:
        zeros = {"weight": np.zeros((n_features, 1)), "table0": np.zeros((len(actions), 1)), "bias": np.zeros(1)}
        return {f"{kind}/step/{part}": array.astype(np.float32) for part, array in zeros.items()}
    data = Examples(
        np.concatenate(inputs), (np.concatenate(tables),), (len(actions),),
        np.concatenate(marks)[:, None].astype(np.float32), np.concatenate(weights).astype(np.float32),
    )  # fmt: skip
    return fit_head(f"{kind}/step", data, np.ones(n_features), config.table_penalty, config.iterations, ordinal=True)
