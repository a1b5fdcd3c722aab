"""Where a decision flips along one weight, or along the threshold, with everything else as it is.

Every cell is either independent of a weight x or proportional to it, so the ends of the score are piecewise linear in x:

    end(x) = sum over effects of  c + b x,        or, for an effect that was not read,  min or max of (c, b x)

The pieces meet where c = b x. Within a piece the x at which an end meets a cut has a closed form; the last bits are settled by
scoring (`reweighing.first_change`), because a policy decides by the rounded score, and "above" differs from "not above" by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from safetyanalyst.policy import Decision
from safetyanalyst.records import Record
from safetyanalyst.reweighing import Reweighing, changes, short_number
from safetyanalyst.score import End
from safetyanalyst.weights import Floats, Ints

Hindrance = Literal["none", "range", "bounds", "order"]
_FARTHEST = 1e6  # nobody asks for a weight beyond


class Flip(Record):
    """A value of one weight at which the decision changes.

    Attributes:
        value: The first value, going away from the present one, with the new decision.
        rounded: A value with few decimals, a little farther, that decides the same.
        decision: From this value on, up to the next flip.
        hindrance: What forbids the value to this weight alone: nothing, the range [0, 1], a floor or ceiling, or the order of
            the levels of its scale.
    """

    value: float
    rounded: float
    decision: Decision
    hindrance: Hindrance


class ChainFlip(Record):
    """A level that can flip the decision only by pushing its neighbours along.

    Attributes:
        value: The first value with the new decision.
        rounded: As in `Flip`.
        decision: From there on.
        weights: All that take this value, lowest level first.
    """

    value: float
    rounded: float
    decision: Decision
    weights: tuple[str, ...]


class WeightFlips(Record):
    """All flips along one weight.

    Attributes:
        weight: Its name.
        value: Its value in the policy.
        flips: The nearest first; empty when no value of this weight changes the decision.
        chain: Moves together with its neighbours, for a level that cannot flip the decision alone.
    """

    weight: str
    value: float
    flips: tuple[Flip, ...]
    chain: tuple[ChainFlip, ...] = ()

    @property
    def allowed(self) -> tuple[Flip, ...]:
        """Those that the policy may make by this weight alone."""
        return tuple(flip for flip in self.flips if flip.hindrance == "none")


class ThresholdFlip(Record):
    """A threshold at which the decision changes: the first one, going away from the present threshold.

    Attributes:
        value: The threshold.
        decision: With it.
        hindrance: "bounds" where a pin of the policy forbids the value.
    """

    value: float
    decision: Decision
    hindrance: Literal["none", "bounds"] = "none"


class Margin(Record):
    """How far the score lies from the nearest cut that matters.

    Attributes:
        distance: What the score would have to move, as a whole interval where it is one; not negative.
        end: Which end of the interval decides.
        cut: "lower" (threshold - below) or "upper" (threshold + above).
        value: Of that cut.
        decision: Beyond it.
    """

    distance: float
    end: End
    cut: Literal["lower", "upper"]
    value: float
    decision: Decision


def weight_flips(case: Reweighing) -> tuple[WeightFlips, ...]:
    """Flips along every weight, in the order of the weights; weights of no cell in use have none."""
    return tuple(_along(case, k) for k in range(len(case.names)))


def threshold_flips(case: Reweighing) -> tuple[ThresholdFlip, ...]:
    """Flips along the threshold while the review band moves with it, the nearest first."""
    band = case.bound.policy.review_band
    here = case.bound.policy.threshold
    ends = [end for end in case.interval if math.isfinite(end)]
    meetings = [end - band.above for end in ends] + [end + band.below for end in ends]

    def decide(threshold: float) -> Decision:
        return case.with_threshold(threshold).decide(*case.interval)[0]

    pinned = case.bound.bounds.get("threshold")
    found: list[ThresholdFlip] = []
    for direction in (1.0, -1.0):
        last = max(direction * it for it in (here, *meetings))
        end = direction * (last + 1.0 + abs(last))
        for it in changes(decide, here, meetings, end):
            is_free = pinned is None or pinned.floor <= it.value <= pinned.ceiling
            found.append(ThresholdFlip(value=it.value, decision=it.decision, hindrance="none" if is_free else "bounds"))
    return tuple(sorted(found, key=lambda flip: abs(flip.value - here)))


def margin(case: Reweighing) -> Margin | None:
    """The distance of the score, or of the end that decides, to the nearest cut; `None` when no shift of it flips."""
    flips = threshold_flips(case)
    if not flips:
        return None
    nearest = flips[0]
    shift = case.bound.policy.threshold - nearest.value  # raising the score is lowering the threshold
    cuts: tuple[tuple[Literal["lower", "upper"], float], ...] = (("lower", case.lower_cut), ("upper", case.upper_cut))
    ends: tuple[tuple[End, float], ...] = (("low", case.interval.low), ("high", case.interval.high))
    pairs = [(abs(level - value - shift), cut, level, end, value) for cut, level in cuts for end, value in ends]
    _, cut, level, end, value = min(it for it in pairs if math.isfinite(it[4]))
    return Margin(distance=abs(value - level), end=end, cut=cut, value=level, decision=nearest.decision)


def _along(case: Reweighing, k: int) -> WeightFlips:
    here = float(case.levels[k])
    meetings = _meetings(case, k)
    found: list[Flip] = []
    if meetings:
        for end in (2.0 * max(here, *meetings) + 1.0, 0.0):
            along = changes(lambda x: case.decide_with(k, x), here, meetings, end)
            found += [_flip(case, k, it.value, it.decision) for it in along]
    found.sort(key=lambda flip: abs(flip.value - here))
    hindered = [d for d in (1, -1) if not any(it.hindrance == "none" and (it.value - here) * d > 0 for it in found)]
    chain = tuple(it for d in hindered if (it := _with_chain(case, k, d)) is not None) if meetings else ()
    return WeightFlips(weight=case.names[k], value=here, flips=tuple(found), chain=chain)


def _flip(case: Reweighing, k: int, value: float, decision: Decision) -> Flip:
    hindrance = _hindrance(case, k, value)

    def is_as_good(x: float) -> bool:
        return _hindrance(case, k, x) == hindrance and case.decide_with(k, x) == decision

    rounded = short_number(value, float(case.levels[k]), is_as_good)
    return Flip(value=value, rounded=rounded, decision=decision, hindrance=hindrance)


def _hindrance(case: Reweighing, k: int, value: float) -> Hindrance:
    if not 0.0 <= value <= 1.0:
        return "range"
    if not case.floor[k] <= value <= case.ceiling[k]:
        return "bounds"
    order = case.neighbours(k)
    return "none" if order.low <= value <= order.high else "order"


def _meetings(case: Reweighing, k: int) -> list[float]:
    """Where an end of the score, as a function of weight k >= 0, meets a cut: closely."""
    function = case.function
    uses = function.uses[:, k]
    if not uses.any():
        return []
    levels = case.levels.copy()
    levels[k] = 1.0
    cells = function.products.values(levels)
    knots = np.array(sorted({0.0, 1.0, *_kinks(function.ranges, uses, np.abs(cells))}))
    knots = np.append(knots, knots[-1] + 1.0)
    ends = function.ends_of(cells * np.where(uses, knots[:, None], 1.0))
    found = [0.0] if function.missing else []  # at 0 a side without bound may cease to be one
    for values in ends:
        for cut in {case.lower_cut, case.upper_cut}:
            found += _roots(knots, values - cut)
    return found


def _kinks(ranges: Sequence[Ints], uses: npt.NDArray[np.bool_], sizes: Floats) -> Iterator[float]:
    """Where another cell becomes the least or the greatest that an effect may stand in."""
    for cells in ranges:
        with_it, without = sizes[cells[uses[cells]]], sizes[cells[~uses[cells]]]
        if len(with_it) and len(without):
            for slope, constant in ((with_it.min(), without.min()), (with_it.max(), without.max())):
                if slope > 0 and constant / slope < _FARTHEST:
                    yield float(constant / slope)


def _roots(knots: Floats, values: Floats) -> Iterator[float]:
    """Zeros of a function that is linear between knots, and goes on beyond the last as it came."""
    last = len(knots) - 2
    for i, (x, y, left, right) in enumerate(zip(knots, knots[1:], values, values[1:], strict=False)):
        if left != right:
            root = float(x - left * ((y - x) / (right - left)))
            if x <= root <= (_FARTHEST if i == last else y):
                yield root


def _with_chain(case: Reweighing, k: int, direction: int) -> ChainFlip | None:
    """The first flip in a direction when a level pushes those in its way along."""
    here = float(case.levels[k])
    for chain in (it for it in case.chains if k in it):
        at = int(np.flatnonzero(chain == k)[0])
        ahead = chain[at:] if direction > 0 else chain[: at + 1]
        push = np.maximum if direction > 0 else np.minimum
        end = float(case.ceiling[ahead].min() if direction > 0 else case.floor[ahead].max())

        def moved(x: float, ahead: Ints = ahead, push: Any = push) -> Floats:
            levels = case.levels.copy()
            levels[ahead] = push(levels[ahead], x)
            return levels

        def decide(x: float, moved: Callable[[float], Floats] = moved) -> Decision:
            return case.decide_at(moved(x))

        steps = np.linspace(here, end, 8)[1:-1].tolist()
        first = next(changes(decide, here, steps, end), None)
        if first is not None:
            together = tuple(case.names[j] for j in ahead if moved(first.value)[j] != case.levels[j])
            rounded = _rounded_between(first.value, here, end, decide)
            return ChainFlip(value=first.value, rounded=rounded, decision=first.decision, weights=together)
    return None


def _rounded_between(value: float, here: float, end: float, decide: Callable[[float], Decision]) -> float:
    decision = decide(value)
    return short_number(value, here, lambda x: min(here, end) <= x <= max(here, end) and decide(x) == decision)
