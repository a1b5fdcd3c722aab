"""Floors, ceilings and frozen values of levels, and the region of ordered levels that they leave to a fit.

A fit searches *positions* in [0, 1], one for each parameter. A level v_k below a level v_a of its scale is

    v_k = lo_k + t_k (cap_k - lo_k),    cap_k = min(hi_k, v_a)

Without constraints (lo = 0, hi = 1) that is v_k = t_k v_a: the positions are the ratios of `features`. With them, every
position is still free in [0, 1] and every result obeys floors, ceilings and order exactly, not within a tolerance.

The `min` has a kink where v_a = hi_k. A *piece* of the region decides beforehand on which side of it v_a lies, which makes the
map smooth; the pieces together are the whole region (`LevelRegion.piece`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

import numpy as np
from pydantic import Field

from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.records import Record
from safetyanalyst.weights import Bools, Floats, Ints, Weight


class Constraints(Record):
    """What a fit must not do to levels. Keys are level names or patterns (`harm/action/*`).

    Attributes:
        floors: A level is at least this; of several that match, the highest counts.
        ceilings: A level is at most this; of several that match, the lowest counts.
        frozen: A level is exactly this; `None` stands for its value in the base policy.
    """

    floors: dict[str, Weight] = Field(default_factory=dict)
    ceilings: dict[str, Weight] = Field(default_factory=dict)
    frozen: dict[str, Weight | None] = Field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.floors or self.ceilings or self.frozen)

    def region(self, space: FeatureSpace, base: Mapping[str, float] | None = None) -> LevelRegion:
        """The levels of a space that obey.

        Args:
            space: Whose levels.
            base: Level values by name, for what is frozen at them.

        Raises:
            PolicyError: A name or pattern matches no level, or the constraints contradict each other; both are named.
        """
        free = LevelRegion.of(space)
        bounds = _Bounds(free)
        for pattern, value in self.floors.items():
            for name in _matching(pattern, value, space, "floor"):
                bounds.raise_floor(free.parameter(name), value, f"the floor {value:g} of {name}")
        for pattern, value in self.ceilings.items():
            for name in _matching(pattern, value, space, "ceiling"):
                bounds.lower_ceiling(free.parameter(name), value, f"the ceiling {value:g} of {name}")
        for pattern, given in self.frozen.items():
            for name in _matching(pattern, given, space, "frozen value"):
                held = (base or {}).get(name) if given is None else given
                if held is None:
                    raise PolicyError(f"{name} is frozen, but the base has no value for it", expected=f"{name}=NUMBER")
                source = f"the value {held:g} at which {name} is frozen"
                bounds.raise_floor(free.parameter(name), held, source)
                bounds.lower_ceiling(free.parameter(name), held, source)
        return bounds.region()


@dataclass(frozen=True)
class LevelRegion:
    """Ordered levels within bounds. P parameters: one for each level, or for two levels that share one discount.

    Attributes:
        names: Level names of each parameter.
        own: (K,) the parameter of each level of `space.levels.names`.
        above: (P,) the parameter next above on the same scale, -1 at the top.
        lo: (P,) least value; ascends along a scale.
        hi: (P,) greatest value; ascends along a scale.
    """

    names: tuple[tuple[str, ...], ...]
    own: Ints
    above: Ints
    lo: Floats
    hi: Floats

    @classmethod
    def of(cls, space: FeatureSpace) -> LevelRegion:
        """All ordered levels of a space; parameters in the order of `space.ratios.names`."""
        chains = [space.ratio_chain(name) for name in space.levels.names]
        position = {name: i for i, name in enumerate(space.ratios.names)}
        own = np.array([position[chain[0]] for chain in chains])
        above = np.full(len(position), -1)
        names: list[list[str]] = [[] for _ in position]
        for name, chain, k in zip(space.levels.names, chains, own, strict=True):
            names[k].append(name)
            above[k] = position[chain[1]] if len(chain) > 1 else -1
        n = len(position)
        return cls(tuple(map(tuple, names)), own, above, np.zeros(n), np.ones(n))

    def __len__(self) -> int:
        return len(self.lo)

    def parameter(self, name: str) -> int:
        """The parameter of a level."""
        return next(k for k, names in enumerate(self.names) if name in names)

    @property
    def is_frozen(self) -> Bools:
        """(P,) whether a parameter has one possible value only."""
        frozen: Bools = self.lo == self.hi
        return frozen

    @property
    def has_kinks(self) -> bool:
        """Whether a ceiling lies between the floor and the ceiling of a level above it on its scale."""
        return bool(((self.above >= 0) & (self.hi < self.hi[self.above]) & (self.lo[self.above] < self.hi)).any())

    def values(self, positions: Floats) -> Floats:
        """Parameter values (P,) at positions (P,) in [0, 1]."""
        v = np.empty(len(self))
        for members in self._layers:
            a, lo = self.above[members], self.lo[members]
            cap = np.where(a < 0, self.hi[members], np.minimum(self.hi[members], v[a]))
            v[members] = np.minimum(lo + positions[members] * (cap - lo), cap)
        return v

    def positions(self, values: Floats) -> Floats:
        """Positions of parameter values, which are moved into the region first; 1/2 where any position gives the value."""
        v = self.nearest(values)
        cap = np.where(self.above < 0, self.hi, np.minimum(self.hi, v[self.above]))
        room = cap - self.lo
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(room > 0, np.clip((v - self.lo) / room, 0.0, 1.0), 0.5)

    def nearest(self, values: Floats) -> Floats:
        """Values moved into the bounds and, from the top of each scale down, below the level above."""
        v = np.clip(values, self.lo, self.hi)
        for members in self._layers[1:]:
            v[members] = np.minimum(v[members], v[self.above[members]])
        return v

    def pull_back(self, positions: Floats, values: Floats, by_value: Floats) -> Floats:
        """Derivative by the positions from the derivative by the values, (P,). Only on a piece without kink."""
        total, by_position = by_value.copy(), np.empty(len(self))
        for members in reversed(self._layers):
            a = self.above[members]
            linked = self.is_linked[members]
            cap = np.where(linked, values[a], self.hi[members])
            by_position[members] = total[members] * (cap - self.lo[members])
            total[a[linked]] += (total[members] * positions[members])[linked]  # one level below each: no index twice
        return by_position

    def released(self, positions: Floats, values: Floats, by_value: Floats) -> Floats:
        """Positions of the same values; those without room are put where the derivative by the values would have them.

        Args:
            positions: (P,) on a piece without kink.
            values: (P,) at these positions.
            by_value: (P,) derivative of what is made least.
        """
        total, found = by_value.copy(), positions.copy()
        for members in reversed(self._layers):
            a = self.above[members]
            linked = self.is_linked[members]
            cap = np.where(linked, values[a], self.hi[members])
            stuck = linked & (cap <= self.lo[members])
            found[members] = np.where(stuck, np.where(total[members] > 0, 0.0, 1.0), positions[members])
            total[a[linked]] += (total[members] * found[members])[linked]
        return found

    @cached_property
    def is_linked(self) -> Bools:
        """(P,) whether the level above is what caps a parameter, on a piece without kink."""
        linked: Bools = (self.above >= 0) & (self.hi[self.above] <= self.hi)
        return linked

    def piece(self, values: Floats, below: frozenset[int] = frozenset()) -> LevelRegion:
        """A piece of the region that contains the values and has no kink.

        Args:
            values: (P,) in the region.
            below: Parameters that stand exactly on a kink and are to be taken from below it.
        """
        lo, hi = self.lo.copy(), self.hi.copy()
        while (kinked := (self.above >= 0) & (hi < hi[self.above]) & (lo[self.above] < hi)).any():
            k = int(np.flatnonzero(kinked)[0])
            a = int(self.above[k])
            if values[a] > hi[k] or (values[a] == hi[k] and a not in below):
                while a >= 0:
                    lo[a] = max(lo[a], hi[k])
                    a = int(self.above[a])
            else:
                hi[a] = hi[k]
        return replace(self, lo=lo, hi=hi)

    def on_kinks(self, values: Floats) -> tuple[int, ...]:
        """Parameters that stand exactly on a kink: the ceiling of a level below them, and they could go either way."""
        found: set[int] = set()
        for k in range(len(self)):
            a = int(self.above[k])
            while a >= 0:
                if values[a] == self.hi[k] and self.lo[a] < self.hi[k] < self.hi[a]:
                    found.add(a)
                a = int(self.above[a])
        return tuple(sorted(found))

    @cached_property
    def _layers(self) -> tuple[Ints, ...]:
        """Parameters by their distance from the top of their scale, tops first."""
        depth = np.zeros(len(self), np.int64)
        for k in range(len(self)):
            a = int(self.above[k])
            while a >= 0:
                depth[k] += 1
                a = int(self.above[a])
        return tuple(np.flatnonzero(depth == d) for d in range(int(depth.max()) + 1))


class _Bound(NamedTuple):
    value: float
    source: str


class _Bounds:
    """Collects bounds, each with the words for where it came from, and hands them up and down the scales."""

    def __init__(self, free: LevelRegion) -> None:
        self.free = free
        self.floors = [_Bound(0.0, "the floor 0")] * len(free)
        self.ceilings = [_Bound(1.0, "the ceiling 1")] * len(free)

    def raise_floor(self, k: int, value: float, source: str) -> None:
        while k >= 0:
            if value > self.floors[k].value:
                self.floors[k] = _Bound(value, source)
            k = int(self.free.above[k])

    def lower_ceiling(self, k: int, value: float, source: str) -> None:
        below = {k}
        for _ in range(len(self.free)):  # the scale downwards
            below |= {j for j, a in enumerate(self.free.above) if int(a) in below}
        for j in below:
            if value < self.ceilings[j].value:
                self.ceilings[j] = _Bound(value, source)

    def region(self) -> LevelRegion:
        for low, high in zip(self.floors, self.ceilings, strict=True):
            if low.value > high.value:
                raise PolicyError(f"constraints that contradict each other: {low.source} is above {high.source}")
        lo, hi = (np.array([bound.value for bound in side]) for side in (self.floors, self.ceilings))
        return replace(self.free, lo=lo, hi=hi)


def _matching(pattern: str, value: float | None, space: FeatureSpace, what: str) -> list[str]:
    """Level names that a pattern means, without the tops of scales, which are 1 whatever one asks."""
    tops = space.tops()
    if pattern in tops:
        if value not in (None, 1.0) and not (what == "floor" and value is not None and value <= 1.0):
            raise PolicyError(f"{pattern} is the top of its scale and fixed at 1: no {what} {value:g} can hold")
        return []
    found = [name for name in space.levels.names if fnmatchcase(name, pattern)]
    if not found and not any(fnmatchcase(name, pattern) for name in tops):
        near = difflib.get_close_matches(pattern, [*space.levels.names, *tops], n=1, cutoff=0.0)
        raise PolicyError(
            f"a {what} for {pattern!r}, which is no weight here", expected=f"a name such as {near[0]}, or a pattern"
        )
    return found
