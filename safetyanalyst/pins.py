"""Pins: floors and ceilings that a policy sets for itself and for every policy that extends it.

Pins are checked and never applied: a value beyond one is an error, not moved to it. All pins of a line of policies are in force
at once; of several on one weight the tightest counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from safetyanalyst.edits import Finite
from safetyanalyst.errors import PolicyError
from safetyanalyst.records import Record
from safetyanalyst.weight_names import SETTINGS, WeightNames, flat, is_in, is_pattern, names_in

OnMissing = Literal["review", "block"]
Value = float | str
"""A number, or the word of `on_missing`."""
MISSING = "on_missing"
"""The one thing that can be pinned and is no number: `floor: block`."""

_RANK: dict[str, float] = {"review": 0.0, "block": 1.0}


class Pin(Record):
    """Bounds that neither this policy nor any that extends it may cross.

    Attributes:
        floor: Least value; for `on_missing` the word "block".
        ceiling: Greatest value.
        reason: Why, in words.
    """

    floor: Finite | Literal["block"] | None = None
    ceiling: Finite | None = None
    reason: str = ""


class PinInForce(Pin):
    """A pin with its place.

    Attributes:
        policy: Name of the policy that pins.
        weight: Name or group that is pinned.
    """

    policy: str
    weight: str


class Bounds(NamedTuple):
    """Between which values a weight or setting may lie, and who says so; `None` where nobody pinned."""

    floor: float
    ceiling: float
    floor_by: PinInForce | None = None
    ceiling_by: PinInForce | None = None


def bounds(pins: Iterable[PinInForce], names: WeightNames) -> dict[str, Bounds]:
    """Per weight and setting the tightest floor and ceiling; the words of `on_missing` count 0 and 1.

    Raises:
        PolicyError: A pin speaks of a name that does not exist.
    """
    found = {name: Bounds(0.0, 1.0) for name in names.free} | {name: Bounds(0.0, math.inf) for name in SETTINGS}
    found |= {"threshold": Bounds(-math.inf, math.inf), MISSING: Bounds(_RANK["review"], _RANK["block"])}
    for pin in pins:
        floor, ceiling = _rank(pin.floor), _rank(pin.ceiling)
        for name in (MISSING,) if pin.weight == MISSING else names_in(pin.weight, names, at="pins"):
            it = found[name]
            if floor is not None and (it.floor_by is None or floor > it.floor):
                it = it._replace(floor=floor, floor_by=pin)
            if ceiling is not None and (it.ceiling_by is None or ceiling < it.ceiling):
                it = it._replace(ceiling=ceiling, ceiling_by=pin)
            found[name] = it
    return found


def check_pins(values: Mapping[str, Value], limits: Mapping[str, Bounds]) -> None:
    """Refuses a value beyond a pin.

    Args:
        values: Weights and settings by name.
        limits: Of the same names.

    Raises:
        PolicyError: Names the weight, its value, the bound, and who pinned it.
    """
    for name, it in limits.items():
        value = _rank(values.get(name))
        if value is not None and it.floor_by is not None and value < it.floor:
            raise _crossed(name, values[name], "below the floor", it.floor_by.floor, it.floor_by)
        if value is not None and it.ceiling_by is not None and value > it.ceiling:
            raise _crossed(name, values[name], "above the ceiling", it.ceiling_by.ceiling, it.ceiling_by)


def pin_faults(own: Mapping[str, Pin], inherited: Iterable[PinInForce]) -> list[str]:
    """What is wrong with the pins of a policy, in words: they bound something, and only tighten what is pinned already.

    Args:
        own: By name or group.
        inherited: Of its ancestors.
    """
    faults: list[str] = []
    inherited = tuple(inherited)
    for key, pin in own.items():
        faults += [f"pins.{key} {fault}" for fault in _shape_faults(key, pin)]
        # what speaks of the same names and more is compared; where groups overlap in part, the tightest counts
        for it in (it for it in inherited if is_in(key, it.weight)):
            low, high = (_rank(pin.floor), _rank(it.floor)), (_rank(pin.ceiling), _rank(it.ceiling))
            by = f"which the policy {it.policy!r} pins on {it.weight}"
            if low[0] is not None and low[1] is not None and low[0] < low[1]:
                faults.append(f"pins.{key}: the floor {pin.floor} is looser than {it.floor}, {by}")
            if high[0] is not None and high[1] is not None and high[0] > high[1]:
                faults.append(f"pins.{key}: the ceiling {pin.ceiling} is looser than {it.ceiling}, {by}")
    return faults


def flat_pins(value: object) -> object:
    """Pins by name, as they may be nested like weights in a file."""
    if not isinstance(value, Mapping):
        return value
    return flat(value, lambda it: not any(isinstance(below, Mapping) for below in it.values()))


def _shape_faults(key: str, pin: Pin) -> list[str]:
    ends = [end for end in (pin.floor, pin.ceiling) if end is not None]
    if not ends:
        return ["has neither floor nor ceiling"]
    if key == MISSING:
        return [] if ends == ["block"] else ["has nothing to pin but `floor: block`"]
    bounds_ = [end for end in ends if not isinstance(end, str)]
    if len(bounds_) < len(ends):
        return ["is a number, and cannot be pinned to block"]
    faults = [f"has a floor {bounds_[0]} above its ceiling {bounds_[1]}"] if bounds_ != sorted(bounds_) else []
    if "*" in key and not is_pattern(key):
        faults.append("is no group: a group ends in /*")
    if key not in SETTINGS:
        faults += [f"has a bound {end} outside [0, 1]" for end in bounds_ if not 0.0 <= end <= 1.0]
    return faults


def _rank(value: Value | None) -> float | None:
    return _RANK[value] if isinstance(value, str) else value


def _crossed(name: str, value: Value, how: str, bound: Value | None, pin: PinInForce) -> PolicyError:
    why = f": {pin.reason}" if pin.reason else ""
    key = name.replace("/", ".") if name in (*SETTINGS, MISSING) else f"weights.{name}"
    problem = f"{name} = {value} is {how} {bound} that the policy {pin.policy!r} pins on {pin.weight}{why}"
    return PolicyError(problem, key=key, expected=f"at {'least' if 'floor' in how else 'most'} {bound}")
