"""Changes of values by hand: of one weight or of a group, set or scaled; and the record of each, an edit.

Where several changes speak of one name, the most specific counts: the name itself, then the group of the longer prefix.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from safetyanalyst import resources
from safetyanalyst.errors import PolicyError
from safetyanalyst.records import Record
from safetyanalyst.weight_names import SETTINGS, WeightNames, is_pattern, names_in

Weight = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False, strict=True)]  # strict: `true` is no weight of 1
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]

_FACTOR = re.compile(r"x\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_UNIT = "a number greater than or equal to 0 and less than or equal to 1"


class Edit(Record):
    """One change of one weight by hand.

    Attributes:
        weight: Name, for example `harm/action/privacy`; or one of `SETTINGS`.
        before: Value before (`from` in the file).
        after: Value after (`to` in the file).
        reason: Why, in words.
        author: Who.
        date: When, ISO 8601 day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    weight: str
    before: Finite = Field(alias="from")
    after: Finite = Field(alias="to")
    reason: str = Field(min_length=1)
    author: str = ""
    date: datetime.date

    @model_validator(mode="after")
    def _weights_lie_in_the_unit_interval(self) -> Edit:
        for value in (self.before, self.after):
            if self.weight not in SETTINGS and not 0.0 <= value <= 1.0:
                raise ValueError(f"{value} is no value of the weight {self.weight}: it lies outside [0, 1]")
        return self


class Change(NamedTuple):
    """What happens to a value: it is set to a number, or scaled by a factor."""

    op: Literal["set", "scale"]
    number: float


class Step(NamedTuple):
    """What a change does to one value.

    Attributes:
        rule: The change as it was written, `harm/action/*: x0.5`.
        before: Value before, `None` where there was none.
        after: Value after.
    """

    rule: str
    before: float | None
    after: float


def change_of(value: object) -> Change:
    """The change that is written as a number (0.4) or as a factor ("x0.5").

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return Change("set", float(value) + 0.0)  # + 0.0: there is one zero, so that equal policies have equal hashes
    if isinstance(value, str) and (found := _FACTOR.fullmatch(value.strip())) and math.isfinite(factor := float(found[1])):
        return Change("scale", factor)
    raise ValueError(f"{value!r} is neither a number nor a factor such as x0.5")


def expand(changes: Mapping[str, float | str], values: Mapping[str, float], names: WeightNames) -> dict[str, Step]:
    """What changes do to every single value, taken together.

    Args:
        changes: Name or group -> number or factor. One change: the order of the keys does not matter to the result.
        values: What is there, by name.
        names: Of the feature space.

    Returns:
        Name -> step, in the order of the changes.

    Raises:
        PolicyError: Unknown name or group, a fixed top, a value outside its range.
    """
    by_key: dict[str, tuple[str, ...]] = {}
    for key, value in changes.items():
        # a whole policy writes the tops out: saying that they are 1 changes nothing
        by_key[key] = () if key in names.fixed and _change(key, value) == ("set", 1.0) else names_in(key, names)
    chosen: dict[str, str] = {}
    for key in sorted(by_key, key=lambda key: (not is_pattern(key), len(key))):
        chosen |= dict.fromkeys(by_key[key], key)
    return {
        name: _step(name, key, changes[key], values.get(name))
        for key, group in by_key.items()
        for name in group
        if chosen[name] == key
    }


def edits_of(steps: Mapping[str, Step], *, reason: str, author: str, date: datetime.date) -> tuple[Edit, ...]:
    """One edit for every step that changes something.

    Raises:
        PolicyError: There is no reason, or nothing that an edit could start from.
    """
    for name, it in steps.items():
        if it.before is None:
            raise PolicyError("this weight is not given: there is nothing to change", key=_key(name), expected=_UNIT)
    common = {"reason": reason, "author": author, "date": date}
    return tuple(
        resources.validate(Edit, {"weight": name, "from": it.before, "to": it.after} | common, file=None, error=PolicyError)
        for name, it in steps.items()
        if it.before != it.after
    )


def chain_faults(edits: Iterable[Edit], values: Mapping[str, float]) -> list[str]:
    """What is wrong with a list of edits: it must chain, ascend in time, and lead to the values."""
    faults: list[str] = []
    last: dict[str, float] = {}
    day: datetime.date | None = None
    for i, edit in enumerate(edits):
        which = f"edits[{i}] ({edit.weight}, {edit.date})"
        if edit.before != last.get(edit.weight, edit.before):
            faults.append(f"{which} starts from {edit.before}, but the edit before it set {last[edit.weight]}")
        if day is not None and edit.date < day:
            faults.append(f"{which} is older than the edit before it ({day})")
        last[edit.weight], day = edit.after, edit.date
    for name, after in last.items():
        if values.get(name) != after:
            faults.append(f"the last edit of {name} set it to {after}, but the weight is {values.get(name)}")
    return faults


def _step(name: str, key: str, value: float | str, before: float | None) -> Step:
    change = _change(name, value)
    rule = f"{key}: {value if isinstance(value, str) else format(float(value), '.12g')}"
    if change.op == "set":
        after = change.number
    elif before is None:
        raise PolicyError("there is nothing to scale: this weight is not given", key=_key(name), expected=_UNIT)
    else:
        after = before * change.number
    least, most = (-math.inf if name == "threshold" else 0.0), (math.inf if name in SETTINGS else 1.0)
    if not (least <= after <= most and math.isfinite(after)):
        how = f" ({before} scaled by {change.number})" if change.op == "scale" else ""
        expected = _UNIT if most == 1.0 else "a finite number" if least else "a number greater than or equal to 0"
        raise PolicyError(f"{name} would be {after}{how}", key=_key(name), expected=expected)
    return Step(rule, before, after)


def _change(name: str, value: float | str) -> Change:
    try:
        return change_of(value)
    except ValueError as error:
        raise PolicyError(str(error), key=_key(name), expected="a number, or x and a factor") from error


def _key(name: str) -> str:
    return name.replace("/", ".") if name in SETTINGS else f"weights.{name}"
