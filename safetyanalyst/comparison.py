"""Two policies side by side: what differs between them, and which weight moved a score by how much.

Policies of different feature spaces (one weights action groups, the other leaf actions; one counts harms alone) are first
written over one space that makes the distinctions of both. A weight that a policy does not have counts as 1 there, and a kind
of tree that it does not count has an action or relative weight of 0: neither changes any score.

The change of a score is shared among the weights by their Shapley values: the average, over all orders in which the weights
could be changed one after another, of what each one moves when its turn comes. No order is preferred, a weight that does not
differ gets nothing, and the shares add up to the change. A score is linear in every single weight, so the Shapley values are
the integral of the gradient along the straight line from one policy to the other (G. Owen, Multilinear extensions of games,
Management Science 18, 1972, theorem 5): a polynomial of low degree, which Gauss-Legendre nodes integrate exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec, slug
from safetyanalyst.policy import BoundPolicy
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats, WeightProducts

Value = float | str


class Change(Record):
    """One thing in which two policies differ.

    Attributes:
        name: A weight (`harm/action/privacy`) or a setting (`threshold`, `review_band.above`, `on_missing`, `space.action`).
        a: Under the first policy.
        b: Under the second.
    """

    name: str
    a: Value
    b: Value


@dataclass(frozen=True)
class Comparison:
    """Two policies over one feature space.

    Attributes:
        a, b: The policies.
        space: Makes the distinctions of both.
        levels_a, levels_b: (K,) their weights in the order of `space.levels.names`.
        weights: The weights that differ, in that order.
        settings: The other differences that decisions depend on.
    """

    a: BoundPolicy
    b: BoundPolicy
    space: FeatureSpace
    levels_a: Floats
    levels_b: Floats
    weights: tuple[Change, ...]
    settings: tuple[Change, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the weights that differ, in the order of `space.levels.names`."""
        return tuple(change.name for change in self.weights)

    def shares(self, products: WeightProducts) -> Any:
        """What each weight that differs adds to the change of every cell.

        Args:
            products: `space.levels`, or the same lifted to finer cells.

        Returns:
            Sparse (cells, len(names)); the rows add up to `values(levels_b) - values(levels_a)`.
        """
        every = shapley(products, self.levels_a, self.levels_b)
        return every[:, np.flatnonzero(self.levels_a != self.levels_b)]


def compare(a: BoundPolicy, b: BoundPolicy) -> Comparison:
    """Puts two policies over one feature space.

    Raises:
        PolicyError: They are bound to two taxonomies.
    """
    taxonomy = a.space.taxonomy
    if taxonomy.hash != b.space.taxonomy.hash:
        expected = f"{taxonomy.label}, as for {a.policy.name}"
        raise PolicyError(
            f"policy {b.policy.name} is bound to {b.space.taxonomy.label}", key="taxonomy", expected=expected
        )  # fmt: skip
    spec = common_spec(a.space.spec, b.space.spec)
    space = next((it.space for it in (a, b) if it.space.spec == spec), None) or FeatureSpace(taxonomy, spec)
    levels_a, levels_b = _levels(a, b, space), _levels(b, a, space)
    weights = tuple(
        Change(name=name, a=float(before), b=float(after))
        for name, before, after in zip(space.levels.names, levels_a, levels_b, strict=True)
        if before != after
    )
    return Comparison(a, b, space, levels_a, levels_b, weights, _settings(a, b))


def common_spec(a: FeatureSpaceSpec, b: FeatureSpaceSpec) -> FeatureSpaceSpec:
    """The coarsest spec that makes every distinction of both."""
    action: Literal["group", "leaf"] = "leaf" if "leaf" in (a.action, b.action) else "group"
    effect: Literal["none", "group"] = "group" if "group" in (a.effect, b.effect) else "none"
    return FeatureSpaceSpec(
        analysis=a.analysis if a.analysis == b.analysis else "both", action=action, effect=effect, discount=a.discount
    )


def shapley(products: WeightProducts, before: Floats, after: Floats) -> Any:
    """Shapley values of the weights in the change of every cell.

    Args:
        products: Cells as products of K weights, none twice in a cell.
        before: (K,) weights.
        after: (K,) weights.

    Returns:
        Sparse (cells, K); each row adds up to the change of its cell.
    """
    at = products.factors.T
    start = np.append(before, 1.0)[at]  # (m, cells)
    step = np.append(after - before, 0.0)[at]
    m, n_cells = start.shape
    nodes, node_weights = np.polynomial.legendre.leggauss(m // 2 + 1)  # exact up to degree m + 1 at least
    gradient = np.zeros_like(start)
    for node, weight in zip((nodes + 1.0) / 2.0, node_weights / 2.0, strict=True):
        gradient += weight * _all_others(start + node * step)
    values = products.sign * gradient * step
    cells = np.broadcast_to(np.arange(n_cells), values.shape)
    moving = step != 0.0
    shape = n_cells, len(products.names)
    return sparse.csr_array((values[moving], (cells[moving], at[moving])), shape=shape)


def _all_others(factors: Floats) -> Floats:
    """For every factor the product of the others: (m, cells), exact where factors are 0."""
    before, after = np.ones_like(factors), np.ones_like(factors)
    before[1:] = np.multiply.accumulate(factors[:-1], axis=0)
    after[:-1] = np.multiply.accumulate(factors[:0:-1], axis=0)[::-1]
    return before * after


def _levels(mine: BoundPolicy, other: BoundPolicy, space: FeatureSpace) -> Floats:
    """The weights of a policy over a space that makes more distinctions."""
    given = mine.policy.weights
    kinds = mine.space.spec.kinds
    group = {slug(it.name): it.group for it in space.taxonomy.harm_actions}
    is_split = space.spec.action != mine.space.spec.action

    def value(name: str) -> float:
        kind, scale, *rest = name.split("/")
        if kind == "effect" and mine.space.spec.effect == "none":
            return 1.0
        if kind in ("harm", "benefit") and kind not in kinds:
            return 0.0 if scale in ("action", "relative_weight") else other.policy.weights[name]
        return given[f"harm/action/{group[rest[0]]}"] if scale == "action" and is_split else given[name]

    return np.array([value(name) for name in space.levels.names])


def _settings(a: BoundPolicy, b: BoundPolicy) -> tuple[Change, ...]:
    names = ["threshold", "review_band.below", "review_band.above", "on_missing"]
    names += [f"space.{name}" for name in ("analysis", "action", "effect")]
    return tuple(
        Change(name=name, a=before, b=after)
        for name, before, after in zip(names, _setting_values(a), _setting_values(b), strict=True)
        if before != after
    )


def _setting_values(bound: BoundPolicy) -> list[Value]:
    policy, spec = bound.policy, bound.space.spec
    band = policy.review_band
    return [policy.threshold, band.below, band.above, policy.on_missing, spec.analysis, spec.action, spec.effect]
