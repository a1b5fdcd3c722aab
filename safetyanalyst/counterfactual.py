"""The smallest change of several weights that leads to another decision.

Two answers to "smallest". *Sparse*: the fewest weights, and among those the least sum of |change|. *Least squares*: the least
sum of squared changes, spread over as many weights as it takes. Both keep to [0, 1], to floors and ceilings and to the order of
the scales, are scaled down to the very boundary (one percent less of the change does not flip), and are scored again as whole
policies by `explanation.explain`; what does not hold there is not shown.

The score is a sum of products, not convex in the weights together. How many weights it takes is found by trying every set of
that many as far as they go (`goals.farthest`), which is exact where each weight works in one direction only; how far each must
go is a local optimum, by sequential quadratic programming (Kraft 1988) from several starts. See docs/decisions/0014.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

import numpy as np

from safetyanalyst.errors import PolicyError
from safetyanalyst.explanation import explain
from safetyanalyst.flips import WeightFlips
from safetyanalyst.goals import Goal, farthest, is_contradictory, is_out_of_reach, signs, silencings, unmet, ways_to
from safetyanalyst.policy import Decision
from safetyanalyst.records import Record
from safetyanalyst.reweighing import Reweighing, changes
from safetyanalyst.score import Interval
from safetyanalyst.search import least_change
from safetyanalyst.weights import Floats, Ints

Status = Literal["found", "impossible", "none_found", "already"]
_MOST_SETS = 20_000  # sets of weights tried
_MOST_CELLS = 2_000_000  # cells evaluated for them
_REFINED = 6  # of the sets that suffice, how many are searched for their least change
_SMALLEST = 1e-300  # where any value but 0 flips, the change is the smallest float, and nothing is less
_NOTHING = 1e-7  # a change of a weight that is not worth naming


class Change(Record):
    """One weight of a change.

    Attributes:
        weight: Its name.
        before: In the policy.
        after: On the boundary: with these values the decision is the wanted one, with 1 % less of the change it is not.
        rounded: A little farther, with few decimals; the rounded values together decide the same.
    """

    weight: str
    before: float
    after: float
    rounded: float


class SmallestChange(Record):
    """Other weights with another decision, as close to the present ones as was found.

    Attributes:
        changes: Weights that move, greatest change first.
        decision: What a policy with these weights decides, by scoring.
        interval: Of the score then.
        l1: Sum of |change|.
        l2: Root of the sum of squared changes.
        is_fewest: Whether it is proven that fewer weights cannot do it.
    """

    changes: tuple[Change, ...]
    decision: Decision
    interval: Interval
    l1: float
    l2: float
    is_fewest: bool


class Counterfactual(Record):
    """Which other weights would have led to a decision.

    Attributes:
        target: The wanted decision.
        status: "found"; "impossible": proven that no weights do it; "none_found": none was found, without proof; "already".
        sparse: By the fewest weights.
        least_squares: By the least sum of squares.
    """

    target: Decision
    status: Status
    sparse: SmallestChange | None = None
    least_squares: SmallestChange | None = None


class _Sets(NamedTuple):
    """Sets of weights that suffice, with how far they must go, roughly."""

    moves: Ints
    rough: Floats


def counterfactual(case: Reweighing, target: Decision, singles: Iterable[WeightFlips]) -> Counterfactual:
    """The smallest changes of weights that lead to a decision.

    Args:
        case: The scenario and the policy.
        target: The wanted decision.
        singles: What each weight can do alone (`flips.weight_flips`).
    """
    if case.decision == target:
        return Counterfactual(target=target, status="already")
    ways = [goals for goals in ways_to(case, target) if not _is_closed(case, goals)]
    if not ways:
        return Counterfactual(target=target, status="impossible")
    found = [_along(case, goals, target, singles) for goals in ways]
    sparse = _fewest([it.sparse for it in found])
    squares = _least_squares(found)
    status: Status = "found" if sparse or squares else "none_found"
    return Counterfactual(target=target, status=status, sparse=sparse or squares, least_squares=squares)


def _is_closed(case: Reweighing, goals: Sequence[Goal]) -> bool:
    return is_contradictory(case, goals) or any(is_out_of_reach(case, goal) for goal in unmet(case, goals))


def _along(case: Reweighing, goals: Sequence[Goal], target: Decision, singles: Iterable[WeightFlips]) -> _Found:
    """The smallest changes that lead to a decision one way, whatever has to be silenced for it."""
    found: list[_Found] = []
    sets = silencings(case, unmet(case, goals))
    for silent in sets:
        start = case
        if len(silent):
            levels = case.levels.copy()
            levels[silent] = 0.0
            start = case.with_fixed(levels, silent)
        search = _Search(case, start, target, goals, is_least=len(silent) == len(sets[0]))
        sparse = search.sparse(singles)
        found.append(_Found(sparse, search.least_squares(sparse)))
    proven_first = sorted((it.sparse for it in found if it.sparse is not None), key=lambda it: (not it.is_fewest, *_size(it)))
    return _Found(next(iter(proven_first), None), _least_squares(found))


def _least_squares(found: Iterable[_Found]) -> SmallestChange | None:
    return min((it.squares for it in found if it.squares is not None), key=lambda it: it.l2, default=None)


def _size(change: SmallestChange) -> tuple[int, float]:
    return len(change.changes), change.l1


def _fewest(found: Sequence[SmallestChange | None]) -> SmallestChange | None:
    """The fewest weights of several ways; one weight is always the fewest, more are where it is proven for every way."""
    best = min((it for it in found if it is not None), key=_size, default=None)
    if best is None or len(best.changes) == 1:
        return best
    return best.model_copy(update={"is_fewest": all(it is not None and it.is_fewest for it in found)})


class _Found(NamedTuple):
    sparse: SmallestChange | None
    squares: SmallestChange | None


class _Search:
    """The search for one scenario and one wanted decision.

    Args:
        case: The scenario under the present weights.
        start: The same, with the weights at 0 that must be 0 in any case.
        target: The wanted decision.
        goals: That lead to it.
        is_least: Whether no fewer weights than those at 0 would do.
    """

    def __init__(self, case: Reweighing, start: Reweighing, target: Decision, goals: Sequence[Goal], *, is_least: bool) -> None:
        self.case, self.start, self.target, self.goals, self.is_least = case, start, target, goals, is_least
        self.missed = unmet(start, self.goals)
        self.sign = signs(start)

    def sparse(self, singles: Iterable[WeightFlips]) -> SmallestChange | None:
        """The fewest weights."""
        if self.start is self.case:
            alone = [
                (abs(flip.value - it.value), k, flip.value)
                for k, it in enumerate(singles)
                for flip in it.allowed
                if flip.decision == self.target
            ]
            found = (self._alone(k, value) for _, k, value in sorted(alone))
            if best := self.first_that_holds(found, is_fewest=True):
                return best
        if self.start.decision == self.target:
            return self.first_that_holds([self.start.levels], is_fewest=self.is_least)
        return self._by_size(self.missed[0]) if len(self.missed) == 1 else None

    def least_squares(self, other: SmallestChange | None) -> SmallestChange | None:
        """The least sum of squares, not above that of another change that is known."""
        if self.start.decision == self.target:
            return self.first_that_holds([self.start.levels], is_fewest=False)
        ways = [self._all_moves(goal) for goal in self.missed]
        free = np.flatnonzero(np.any([way != 0 for way in ways], axis=0) & (self.start.floor < self.start.ceiling))
        limit = farthest(self.start, ways[0][None])[0]
        found = [
            self.finished(least_change(self.start, self.goals, free, it, "squares"), limit) for it in (self.start.levels, limit)
        ]
        best = self.first_that_holds(self._sorted_by(found, 2), is_fewest=False)
        return other if other is not None and (best is None or other.l2 < best.l2) else best

    def finished(self, levels: Floats, limit: Floats) -> Floats | None:
        """A proposal brought to the exact boundary: pushed on towards a limit if it falls short, then scaled down."""
        near = self._tidied(levels)
        if (found := self._first_on_the_way(self.start.levels, near)) is not None:
            return found
        beyond = self._first_on_the_way(near, limit)
        return None if beyond is None else self._first_on_the_way(self.start.levels, beyond)

    def first_that_holds(self, found: Iterable[Floats], *, is_fewest: bool) -> SmallestChange | None:
        """The first of some changes that stands the test, as a record.

        The test: a whole policy with these weights is one, and decides so; with 1 % less of the change it does not.
        """
        case = self.case
        for levels in found:
            less = _on_the_way(case.levels, levels, 0.99)
            has_less = bool(np.abs(levels - case.levels).max() > _SMALLEST)
            if not case.is_lawful(levels) or (has_less and case.decide_at(less) == self.target):
                continue
            try:
                bound = case.with_levels(levels)
            except PolicyError:
                continue
            interval = explain(case.trees, bound).interval
            if bound.decide(*interval)[0] == self.target:
                return self._record(levels, interval, is_fewest=is_fewest)
        return None

    def _record(self, levels: Floats, interval: Interval, *, is_fewest: bool) -> SmallestChange:
        case = self.case
        off = levels - case.levels
        rounded = self._rounded(levels)
        named = (
            Change(weight=case.names[k], before=float(case.levels[k]), after=float(levels[k]), rounded=float(rounded[k]))
            for k in np.argsort(-np.abs(off), kind="stable")
            if off[k] != 0
        )
        return SmallestChange(
            changes=tuple(named), decision=self.target, interval=interval, l1=float(np.abs(off).sum()),
            l2=math.sqrt(float(off @ off)), is_fewest=is_fewest,
        )  # fmt: skip

    def _alone(self, k: int, value: float) -> Floats:
        levels = self.case.levels.copy()
        levels[k] = value
        return levels

    def _sorted_by(self, found: Iterable[Floats | None], norm: int) -> list[Floats]:
        """Fewest weights first for norm 1, then the least change in that norm."""

        def cost(levels: Floats) -> tuple[int, float]:
            off = levels - self.case.levels
            return (int((off != 0).sum()) if norm == 1 else 0, float(np.linalg.norm(off, norm)))

        return sorted((it for it in found if it is not None), key=cost)

    # -- sets of weights ----------------------------------------------------------------------------------------------

    def _by_size(self, goal: Goal) -> SmallestChange | None:
        """Tries all sets of two weights, of three, ...; past what is worth trying, the weights that lead farthest."""
        moves = self._single_moves(goal)
        left = min(_MOST_SETS, _MOST_CELLS // max(1, len(self.start.function.uses)))
        is_one_sided = not (self.sign == 2).any() or not self.start.function.is_range
        is_proven = is_one_sided and self.start is self.case
        for size in range(1 if self.start is not self.case else 2, len(moves) + 1):
            left -= math.comb(len(moves), size)
            if left < 0:
                return self._by_greed(goal, moves)
            sets = self._sufficient(goal, moves, size)
            if best := self.first_that_holds(self._sorted_by(self._refined(goal, sets), 1), is_fewest=is_proven):
                return best
            is_proven &= not len(sets.rough)  # these may do it after all, past what was tried
        return None

    def _refined(self, goal: Goal, sets: _Sets) -> Iterator[Floats | None]:
        for i in np.argsort(sets.rough, kind="stable")[:_REFINED]:
            limit = farthest(self.start, sets.moves[i : i + 1])[0]
            free = np.flatnonzero(sets.moves[i])
            yield self.finished(limit, limit)
            for first in (*self._corners(sets.moves[i]), self._first_on_the_way(self.start.levels, limit)):
                if first is not None:
                    yield self.finished(first, limit)
                    yield self.finished(least_change(self.start, (goal,), free, first, "sum"), limit)

    def _sufficient(self, goal: Goal, moves: Ints, size: int) -> _Sets:
        """The sets of a size that meet the goal at their farthest, with their least change along an edge, roughly."""
        chosen = np.array(list(combinations(range(len(moves)), size)))
        summed = moves[chosen].sum(axis=1)
        distinct = (summed != 0).sum(axis=1) == size  # up and down of one weight are no pair
        summed = summed[distinct]
        far = farthest(self.start, summed)
        lead = goal.lead(getattr(self.start.function.ends(far), goal.end))
        enough = lead >= -1e-12
        far, summed, lead = far[enough], summed[enough], lead[enough]
        rough = np.full(len(far), np.inf)
        cost = np.abs(far - self.start.levels).sum(axis=1)
        for j in range(len(moves)):
            with_j = np.flatnonzero((summed * moves[j]).sum(axis=1) > 0)
            without = farthest(self.start, summed[with_j] - moves[j])
            before = goal.lead(getattr(self.start.function.ends(without), goal.end))
            share = np.clip(-before / np.maximum(lead[with_j] - before, 1e-300), 0.0, 1.0)
            base = np.abs(without - self.start.levels).sum(axis=1)
            rough[with_j] = np.minimum(rough[with_j], base + share * (cost[with_j] - base))
        return _Sets(summed, rough)

    def _corners(self, moves: Ints) -> Iterator[Floats]:
        """Points of the boundary where all weights but one have gone as far as they can, or not at all."""
        limit = farthest(self.start, moves[None])[0]
        for k in np.flatnonzero(moves):
            rest = moves.copy()
            rest[k] = 0
            base = farthest(self.start, rest[None])[0]
            if (found := self._first_on_the_way(base, limit)) is not None:
                yield found

    def _by_greed(self, goal: Goal, moves: Ints) -> SmallestChange | None:
        """Adds the weight that leads farthest until they suffice, then leaves out what is not needed."""
        chosen: list[int] = []
        while len(chosen) < len(moves):
            rest = [j for j in range(len(moves)) if j not in chosen and not (moves[chosen] * moves[j]).any()]
            if not rest:
                return None
            tried = np.array([moves[[*chosen, j]].sum(axis=0) for j in rest])
            lead = goal.lead(getattr(self.start.function.ends(farthest(self.start, tried)), goal.end))
            chosen.append(rest[int(lead.argmax())])
            if lead.max() >= 0:
                break
        for j in list(chosen):
            fewer = moves[[i for i in chosen if i != j]].sum(axis=0)
            lead = goal.lead(getattr(self.start.function.ends(farthest(self.start, fewer[None])), goal.end))
            if lead[0] >= 0:
                chosen.remove(j)
        sets = _Sets(moves[chosen].sum(axis=0)[None], np.zeros(1))
        return self.first_that_holds(self._sorted_by(self._refined(goal, sets), 1), is_fewest=False)

    def _single_moves(self, goal: Goal) -> Ints:
        """(N, K): every weight that can do something for a goal, in the direction in which it can; mixed ones in both."""
        rows = []
        for k in np.flatnonzero((self.sign != 0) & (self.start.floor < self.start.ceiling)):
            for way in (1, -1) if self.sign[k] == 2 else (int(self.sign[k] * goal.direction),):
                room = self.start.ceiling[k] - self.start.levels[k] if way > 0 else self.start.levels[k] - self.start.floor[k]
                if room > 0:
                    rows.append(np.eye(1, len(self.sign), int(k), dtype=np.int64)[0] * way)
        return np.array(rows, np.int64).reshape(-1, len(self.sign))

    def _all_moves(self, goal: Goal) -> Ints:
        """Everything that helps a goal; mixed weights as their slope says."""
        slope = np.sign(self.start.function.gradient(self.start.levels, goal.end))
        ways = np.where(self.sign == 2, np.where(slope == 0, 1, slope), self.sign) * goal.direction
        return ways.astype(np.int64)

    # -- the way to the boundary --------------------------------------------------------------------------------------

    def _first_on_the_way(self, here: Floats, there: Floats) -> Floats | None:
        """The first weights with the wanted decision between two vectors of weights."""

        def decide(share: float) -> Decision:
            return self.start.decide_at(_on_the_way(here, there, share))

        if decide(0.0) == self.target:
            return here
        for change in changes(decide, 0.0, (0.2, 0.4, 0.6, 0.8), 1.0):
            if change.decision == self.target:
                return _on_the_way(here, there, change.value)
        return None

    def _tidied(self, levels: Floats) -> Floats:
        """Without changes that are nothing but the solver's noise, and within the law to the last bit."""
        start = self.start
        levels = np.clip(levels, start.floor, start.ceiling)
        for round_number in (start.floor, start.ceiling, start.levels):
            levels = np.where(np.abs(levels - round_number) < _NOTHING, round_number, levels)
        for chain in start.chains:
            for below, above in pairwise(chain):
                if levels[below] > levels[above]:  # by noise: the one that moves gives way
                    mover, other = (below, above) if levels[above] == start.levels[above] else (above, below)
                    levels[mover] = levels[other]
        return levels

    def _rounded(self, levels: Floats) -> Floats:
        off = levels - self.case.levels
        for digits in range(2, 13):
            scaled = levels * 10**digits
            away = np.where(off > 0, np.ceil(scaled), np.floor(scaled)) / 10**digits
            candidate = np.where(off == 0, levels, away)
            if self.case.is_lawful(candidate) and self.case.decide_at(candidate) == self.target:
                return candidate
        return levels


def _on_the_way(here: Floats, there: Floats, share: float) -> Floats:
    """Weights `here + share * (there - here)`, never outside what lies between them."""
    levels = np.clip(here + share * (there - here), np.minimum(here, there), np.maximum(here, there))
    return there.copy() if share == 1.0 else levels
