"""One scenario under one policy, ready to be asked what other weights would decide.

What other weights may be: every level in [0, 1], within the floors and ceilings that are given, with its scale in order. What
they decide: the score at them (`score.ScoreFunction`), put to `BoundPolicy.decide`. Nothing here scores or
decides by itself.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from safetyanalyst.errors import PolicyError
from safetyanalyst.policy import BoundPolicy, Decision, weights_by_name
from safetyanalyst.score import Interval, ScoreFunction
from safetyanalyst.trees import HarmBenefitTree
from safetyanalyst.weights import Floats, Ints

Bounds = Mapping[str, tuple[float, float]]


class Reweighing:
    """A scenario, a policy, and the weights that the policy might have instead.

    Args:
        trees: Of the scenario.
        bound: The policy.
        bounds: Floor and ceiling of weights that are held within less than [0, 1].

    Attributes:
        function: The score at any weights.
        names: Of the K weights.
        levels: (K,) the policy's weights.
        floor: (K,) least allowed values.
        ceiling: (K,) greatest allowed values.
        chains: Indices of the levels that must ascend, lowest first.
        decision: Of the policy as it is.
        lower_cut: A score at most this is allowed.
        upper_cut: A score above this is blocked.

    Raises:
        PolicyError: Bounds of no weight, in the wrong order, or broken by the policy itself.
    """

    def __init__(self, trees: HarmBenefitTree, bound: BoundPolicy, bounds: Bounds | None = None) -> None:
        self.bound = bound
        self.trees = trees
        self.function = ScoreFunction(trees, bound.space)
        self.names = bound.space.levels.names
        self.levels = bound.levels
        position = {name: k for k, name in enumerate(self.names)}
        self.chains: tuple[Ints, ...] = tuple(np.array([position[it] for it in chain]) for chain in bound.space.order())
        self.floor, self.ceiling = _arrays(bounds or {}, position, self.levels)
        self.interval = self.function.interval(self.levels)
        self.decision = self.decide(self.interval)
        band = bound.policy.review_band
        self.lower_cut = bound.policy.threshold - band.below
        self.upper_cut = bound.policy.threshold + band.above

    def decide(self, interval: Interval) -> Decision:
        """The policy's decision on a score interval."""
        return self.bound.decide(*interval)[0]

    def decide_at(self, levels: Floats) -> Decision:
        """The decision with other weights (K,)."""
        return self.decide(self.function.interval(levels))

    def decide_with(self, k: int, value: float) -> Decision:
        """The decision with one other weight."""
        levels = self.levels.copy()
        levels[k] = value
        return self.decide_at(levels)

    def neighbours(self, k: int) -> Interval:
        """What the order of its scale leaves to a level while the others stay: from the level below to the one above."""
        for chain in self.chains:
            at = np.flatnonzero(chain == k)
            if len(at):
                i = int(at[0])
                below = float(self.levels[chain[i - 1]]) if i else 0.0
                return Interval(below, float(self.levels[chain[i + 1]]) if i + 1 < len(chain) else 1.0)
        return Interval(0.0, 1.0)

    def is_lawful(self, levels: Floats) -> bool:
        """Whether weights (K,) keep to [0, 1], to floors and ceilings, and to the order of the scales."""
        inside = bool((levels >= self.floor).all() and (levels <= self.ceiling).all())
        return inside and all(bool((np.diff(levels[chain]) >= 0).all()) for chain in self.chains)

    def with_levels(self, levels: Floats) -> BoundPolicy:
        """A whole policy with these weights, checked as every policy is; its edits are left out, they led elsewhere.

        Raises:
            PolicyError: The weights break a rule of policies.
        """
        policy = self.bound.policy
        weights = policy.weights | weights_by_name(self.bound.space, levels)
        return policy.model_copy(update={"weights": weights, "edits": ()}).bind(self.bound.space.taxonomy)

    def with_fixed(self, levels: Floats, fixed: Ints) -> Reweighing:
        """The same scenario from other weights on, some of which must stay as they are there."""
        other = copy.copy(self)
        other.levels, other.floor, other.ceiling = levels, self.floor.copy(), self.ceiling.copy()
        other.floor[fixed] = other.ceiling[fixed] = levels[fixed]
        other.interval = self.function.interval(levels)
        other.decision = self.decide(other.interval)
        return other

    def with_threshold(self, threshold: float) -> BoundPolicy:
        """The policy with another threshold."""
        other = copy.copy(self.bound)
        other.policy = self.bound.policy.model_copy(update={"threshold": threshold})
        return other


class Change(NamedTuple):
    """Where a decision changes: the first number with it."""

    value: float
    decision: Decision


def changes(decide: Callable[[float], Decision], here: float, guesses: Iterable[float], end: float) -> Iterator[Change]:
    """Every change of a decision on the way from one number to another, in order.

    Args:
        decide: Decision at a number.
        here: Where to start.
        guesses: Close to every change on the way, as a formula gives them; those that lie elsewhere are left out.
        end: Where to end.
    """
    low, high = min(here, end), max(here, end)
    stops = [here, *sorted((it for it in guesses if low <= it <= high), key=lambda it: abs(it - here))]
    probes = [*((a + b) / 2 for a, b in pairwise(stops)), end]
    inner, before = here, decide(here)
    for guess, probe in zip(stops, probes, strict=True):
        beyond = decide(probe)
        while before != beyond:
            value = first_change(decide, inner, probe, guess)
            inner, before = value, decide(value)
            yield Change(value, before)
        inner = probe


def first_change(decide: Callable[[float], Decision], inner: float, outer: float, guess: float) -> float:
    """The number nearest to `inner`, on the way to `outer`, where the decision is another than at `inner`.

    Exact to the last bit: between `inner` and what is returned the decision changes once, and there is no float in between. The
    two ends must decide differently; of several changes between them one is found.

    Args:
        decide: Decision at a number.
        inner: Where to start.
        outer: Where to end; decides differently.
        guess: Close to the change, as a formula gives it; any number will do.
    """
    before = decide(inner)
    same, other = _rank(inner), _rank(outer)
    step = 1 if other > same else -1
    center = min(max(_rank(guess), min(same, other)), max(same, other))
    for reach in (1, 8, 64, 4096):  # a formula is off by a few units in the last place
        near, far = center - step * reach, center + step * reach
        if (near - same) * step > 0 and decide(_ranked(near)) == before:
            same = near
            if (other - far) * step > 0 and decide(_ranked(far)) != before:
                other = far
            break
        if (near - same) * step > 0:
            other = near
    while abs(other - same) > 1:
        middle = (same + other) // 2
        if decide(_ranked(middle)) == before:
            same = middle
        else:
            other = middle
    return _ranked(other)


def short_number(value: float, start: float, is_good: Callable[[float], bool]) -> float:
    """A number with few decimals, no closer to `start` than `value` and as good; `value` itself where there is none."""
    away = math.ceil if value > start else math.floor
    for digits in range(2, 13):
        rounded = float(away(value * 10**digits) / 10**digits)
        if (rounded - value) * (value - start) >= 0 and is_good(rounded):
            return rounded
    return value


def _arrays(bounds: Bounds, position: Mapping[str, int], levels: Floats) -> tuple[Floats, Floats]:
    floor, ceiling = np.zeros(len(levels)), np.ones(len(levels))
    for name, (low, high) in bounds.items():
        if name not in position:
            raise PolicyError("bounds of a weight that there is not", key=name, expected=f"one of {len(position)} names")
        k = position[name]
        if not 0.0 <= low <= levels[k] <= high <= 1.0:
            expected = f"floor <= {levels[k]} <= ceiling, both in [0, 1]"
            raise PolicyError(f"bounds [{low}, {high}] that the policy itself breaks", key=name, expected=expected)
        floor[k], ceiling[k] = low, high
    return floor, ceiling


def _rank(value: float) -> int:
    """Floats as whole numbers in the same order, neighbours differing by 1."""
    bits = int(struct.unpack("<q", struct.pack("<d", value + 0.0))[0])
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _ranked(rank: int) -> float:
    (size,) = struct.unpack("<d", struct.pack("<q", abs(rank)))
    return math.copysign(float(size), rank)
