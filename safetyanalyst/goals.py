"""What a score must do for a wanted decision, and how far other weights can bring it.

A decision is a condition on the two ends of the score (`BoundPolicy.decide`); each part of it, a goal, says that one end must
come to lie above a cut, or not above it. A weight that stands in harm cells alone raises both ends, one in benefit cells alone
lowers both, whatever the other weights are. So the best that a set of weights can do for a goal is known without a search:
each goes as far as range, bounds and order let it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Literal, NamedTuple

import numpy as np

from safetyanalyst.flips import Margin
from safetyanalyst.policy import Decision
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.score import End, without_bound
from safetyanalyst.trees import TreeKind
from safetyanalyst.weights import Floats, Ints


class Goal(NamedTuple):
    """Where one end of the score must lie.

    Attributes:
        end: Which end.
        side: Of the cut: "above" it, or "not above" it.
        cut: The number.
    """

    end: End
    side: Literal["above", "not above"]
    cut: float

    @property
    def direction(self) -> float:
        """+1 to raise the score, -1 to lower it."""
        return 1.0 if self.side == "above" else -1.0

    def lead(self, value: Floats | float) -> Floats:
        """How far beyond the cut a value lies on the wanted side; negative where the goal is missed."""
        return np.asarray(self.direction * (np.asarray(value) - self.cut))

    def is_met(self, value: float) -> bool:
        """Exactly."""
        return value > self.cut if self.side == "above" else value <= self.cut


def ways_to(case: Reweighing, target: Decision) -> tuple[tuple[Goal, ...], ...]:
    """What must hold for a decision, given where the score comes from: all goals of one way; each way is enough.

    Where doubt blocks there may be two ways to "block": to lie above the upper cut, or to leave open on which side of the lower
    cut it is. Every score on the way to a decision meets the goals of one of the ways.
    """
    lower, upper = case.lower_cut, case.upper_cut
    if target == "allow":
        return ((Goal("high", "not above", lower),),)
    doubt = case.bound.policy.on_missing
    if target == "review":
        if doubt == "review":
            return ((Goal("low", "not above", upper), Goal("high", "above", lower)),)
        return ((Goal("low", "above", lower), Goal("high", "not above", upper)),)
    if doubt == "block" and case.function.is_range:  # doubt blocks as well
        above_lower = Goal("high", "above", lower)
        if case.interval.low <= lower:  # both ways lead across the lower cut
            return ((above_lower,),)
        return (Goal("high", "above", upper),), (Goal("low", "not above", lower), above_lower)
    return ((Goal("low", "above", upper),),)


def is_contradictory(case: Reweighing, goals: Sequence[Goal]) -> bool:
    """Whether goals cannot hold together, whatever the score: to lie above one number and not above a lesser one."""
    is_point = not case.function.is_range
    return any(
        one.side == "above" and other.side == "not above" and one.cut >= other.cut
        and (is_point or one.end == other.end or one.end == "low")
        for one in goals for other in goals
    )  # fmt: skip


def unmet(case: Reweighing, goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """The goals that the present weights miss."""
    return tuple(goal for goal in goals if not goal.is_met(getattr(case.interval, goal.end)))


def next_decision(case: Reweighing, margin: Margin | None) -> Decision:
    """The decision next to the present one: from "review" the one behind the nearest cut, else "review" where it is between."""
    if case.decision == "review":
        return margin.decision if margin is not None else "allow"
    band = case.bound.policy.review_band
    doubt = case.bound.policy.on_missing
    has_review = doubt == "review" if case.function.is_range else band.below + band.above > 0
    if has_review:
        return "review"
    return "allow" if case.decision == "block" else "block"


def signs(case: Reweighing) -> Ints:
    """(K,) what raising a weight does to this score: +1 raises it, -1 lowers it, 0 nothing, 2 depends on the others.

    A level that the score does not use counts as its scale does, because it may have to make way for one that is used.
    """
    uses, sign = case.function.uses, case.function.products.sign
    harms, benefits = uses[sign > 0].any(axis=0), uses[sign < 0].any(axis=0)
    found: Ints = np.where(harms & benefits, 2, harms.astype(int) - benefits.astype(int)).astype(np.int64)
    for chain in case.chains:
        used = found[chain][found[chain] != 0]
        if len(used):  # all levels of a scale stand in cells of one kind
            found[chain] = used[0]
    return found


def farthest(case: Reweighing, moves: Ints) -> Floats:
    """Weights moved as far as range, bounds and order allow while the others stay.

    Args:
        case: The scenario.
        moves: (N, K) of +1 (up), -1 (down) and 0 (stays).

    Returns:
        (N, K) weights.
    """
    levels = np.where(moves > 0, case.ceiling, np.where(moves < 0, case.floor, case.levels))
    for chain in case.chains:
        for below, above in pairwise(chain):
            levels[:, above] = np.where(moves[:, above] < 0, np.maximum(levels[:, above], levels[:, below]), levels[:, above])
        for above, below in pairwise(chain[::-1]):
            levels[:, below] = np.where(moves[:, below] > 0, np.minimum(levels[:, below], levels[:, above]), levels[:, below])
    return levels


def is_out_of_reach(case: Reweighing, goal: Goal) -> bool:
    """Whether no weights at all can meet a goal: a proof, by the best value of each cell taken by itself.

    Without weights that stand in harms and benefits alike (effect groups), the bound is attained: then this is exact.
    """
    sign = signs(case)
    helpful = np.where(sign == 2, 0, np.sign(sign) * goal.direction).astype(np.int64)
    mixed = (sign == 2).astype(np.int64) * int(goal.direction)
    for_harms, for_benefits = farthest(case, np.stack([helpful + mixed, helpful - mixed]))
    if not mixed.any():
        return not goal.is_met(getattr(case.function.interval(for_harms), goal.end))
    products = case.function.products
    cells = np.where(products.sign > 0, products.values(for_harms), products.values(for_benefits))
    more = without_bound(case.function.missing, cells)
    ends = case.function.ends_of(cells[None])
    best = {"low": float(ends.low[0]) + more.low, "high": float(ends.high[0]) + more.high}[goal.end]
    slack = 1e-9 * (1.0 + abs(goal.cut))  # these ends are rounded plainly
    return bool(goal.lead(best) < -slack)


def silencings(case: Reweighing, goals: Sequence[Goal]) -> tuple[Ints, ...]:
    """Sets of weights of which one must be 0 before goals can be met, because a missing subtree has no bound otherwise.

    Returns:
        Indices of each set, the smallest first; one empty set when the ends that the goals are about have bounds.
    """
    open_ends = {goal.end for goal in goals if not math.isfinite(getattr(case.interval, goal.end))}
    ways = [_silencing("harm" if end == "high" else "benefit", case) for end in sorted(open_ends)]
    sets = {tuple(sorted({k for way in chosen for k in way})) for chosen in product(*ways)}
    return tuple(np.array(it, np.int64) for it in sorted(sets, key=lambda it: (len(it), it)))


def _silencing(side: TreeKind, case: Reweighing) -> list[list[int]]:
    """The weights above 0 that make a side worth nothing when they are 0: all of its actions, or all effects."""
    actions = [k for k, name in enumerate(case.names) if name.startswith((f"{side}/action/", f"{side}/relative_weight"))]
    effects = [k for k, name in enumerate(case.names) if name.startswith("effect/")]
    ways = [[k for k in way if case.levels[k] > 0] for way in (actions, effects) if way]
    return [way for way in ways if not case.floor[way].any()]
