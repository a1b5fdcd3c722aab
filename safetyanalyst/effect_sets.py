"""The smallest set of effects without which the decision would be another.

Contributions add up, so leaving an effect out takes its contribution away and changes nothing else. What a decision asks of the
score is that one end lie above a cut or not above it (`goals`): then the set that takes the most away from that end with the
fewest effects is the greatest contributions to it, in order of size, and no set of fewer effects can do what they cannot. That
is exact. Where two conditions must hold at once, small sets are tried one after the other, and no answer is then no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, islice
from typing import Literal

from safetyanalyst.explanation import Contribution, Explanation, add_up
from safetyanalyst.goals import Goal, unmet, ways_to
from safetyanalyst.policy import Decision
from safetyanalyst.records import Record
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.score import Interval, without_bound

_MOST_TRIED = 5_000
_ORDER: tuple[Decision, ...] = ("allow", "review", "block")


class EffectSet(Record):
    """Effects whose absence changes the decision.

    Attributes:
        status: "found"; "impossible": proven that no set does it; "none_found": none was found, without proof; "already".
        effects: The set, the greatest contribution first.
        decision: Without them: the wanted one, or one past it, for effects are left out whole.
        interval: Of the score without them.
        is_fewest: Whether it is proven that fewer effects cannot do it.
    """

    status: Literal["found", "impossible", "none_found", "already"]
    effects: tuple[Contribution, ...] = ()
    decision: Decision | None = None
    interval: Interval | None = None
    is_fewest: bool = False


def smallest_effect_set(case: Reweighing, explanation: Explanation, target: Decision) -> EffectSet:
    """The fewest effects without which the decision is the wanted one, or past it.

    Args:
        case: The scenario and the policy.
        explanation: Its contributions.
        target: The wanted decision.
    """
    if case.decision == target:
        return EffectSet(status="already")
    parts = explanation.contributions
    missed = [unmet(case, goals) for goals in ways_to(case, target)]
    if any(len(goals) > 1 for goals in missed):
        return _tried(case, parts, target)
    ways = (_greatest_first(case, parts, goal) for (goal,) in missed)
    sets = sorted((it for it in ways if it is not None), key=len)
    if not sets:
        return EffectSet(status="impossible")
    if _is_far_enough(case, parts, sets[0], target):  # no way needs fewer
        return _record(case, parts, sets[0], is_fewest=True)
    tried = _tried(case, parts, target)
    rest = (it for it in sets[1:] if tried.status == "none_found" and _is_far_enough(case, parts, it, target))
    found = next(rest, None)
    return tried if found is None else _record(case, parts, found, is_fewest=False)


def _greatest_first(case: Reweighing, parts: Sequence[Contribution], goal: Goal) -> list[int] | None:
    """As few contributions as suffice for one goal, `None` if all that help do not."""
    helps = [(goal.direction * getattr(part.interval, goal.end), i) for i, part in enumerate(parts)]
    order = [i for size, i in sorted(helps) if size < 0]
    if not goal.is_met(getattr(_without(case, parts, order), goal.end)):
        return None
    few, many = 0, len(order)
    while many - few > 1:  # the more are left out, the farther it leads
        middle = (few + many) // 2
        if goal.is_met(getattr(_without(case, parts, order[:middle]), goal.end)):
            many = middle
        else:
            few = middle
    return order[:many]


def _tried(case: Reweighing, parts: Sequence[Contribution], target: Decision) -> EffectSet:
    tried = 0
    for size in range(1, len(parts) + 1):
        for chosen in islice(combinations(range(len(parts)), size), _MOST_TRIED - tried):
            tried += 1
            if case.decide(_without(case, parts, chosen)) == target:
                return _record(case, parts, chosen, is_fewest=True)
        if tried >= _MOST_TRIED:
            return EffectSet(status="none_found")
    return EffectSet(status="impossible")


def _without(case: Reweighing, parts: Sequence[Contribution], left_out: Sequence[int]) -> Interval:
    """The score without some of the effects; what is missing stays missing."""
    gone = set(left_out)
    read = add_up(part.interval for i, part in enumerate(parts) if i not in gone)
    more = without_bound(case.function.missing, case.bound.cells)
    return Interval(read.low + more.low, read.high + more.high)


def _is_far_enough(case: Reweighing, parts: Sequence[Contribution], left_out: Sequence[int], target: Decision) -> bool:
    decision = case.decide(_without(case, parts, left_out))
    return decision == target or _is_past(case.decision, target, decision)


def _is_past(here: Decision, target: Decision, decision: Decision) -> bool:
    way = _ORDER.index(target) - _ORDER.index(here)
    return (_ORDER.index(decision) - _ORDER.index(target)) * way > 0


def _record(case: Reweighing, parts: Sequence[Contribution], chosen: Sequence[int], *, is_fewest: bool) -> EffectSet:
    interval = _without(case, parts, chosen)
    effects = sorted((parts[i] for i in chosen), key=lambda c: -max(abs(c.interval.low), abs(c.interval.high)))
    return EffectSet(
        status="found", effects=tuple(effects), decision=case.decide(interval), interval=interval, is_fewest=is_fewest
    )
