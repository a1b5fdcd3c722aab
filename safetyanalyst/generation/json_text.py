"""Text -> JSON values, with everything kept visible that JSON readers usually swallow.

A key that is written twice with two values, NaN, and the part behind a break become `Unreadable` values in their place, which
the reader of the tree turns into missing features. Nothing is repaired. Nothing raises; time is linear in the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from safetyanalyst.generation.parsed import Defects
from safetyanalyst.records import Record
from safetyanalyst.trees import Defect, DefectCode

MAX_DIGITS = 4000  # of a number; Python refuses a little more

_BLANK = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z|(?=\\\Z))|[\[{]++|[\]}]++', re.DOTALL)
_STAKEHOLDERS = re.compile(r'\s*\{\s*"stakeholders"\s*:\s*(?=\[)')


class Unreadable:
    """Stands where a value stood that cannot be read."""

    def __init__(self, code: DefectCode, found: str) -> None:
        self.code: DefectCode = code
        self.found = found


class Object(dict[str, Any]):
    """A JSON object in which keys were repeated."""

    repeated: tuple[str, ...] = ()


class Loaded(Record):
    """What a text holds.

    Attributes:
        value: Parsed JSON, in which `Object` and `Unreadable` may stand; `None`, with defects, when it could not be read.
        defects: Of the text as a whole. Those inside the value show when a tree is read from it.
        is_broken: Whether the text is no JSON; the value, if any, is what was complete before the break.
    """

    value: Any
    defects: tuple[Defect, ...] = ()
    is_broken: bool = False


class _BrokenError(ValueError):
    """The text stops being JSON, at a position."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def loads(text: str) -> Loaded:
    """Reads a JSON text strictly; where a list of objects breaks off, what was complete before the break is kept.

    Args:
        text: JSON. Blanks may stand around it, nothing else.
    """
    defects = Defects()
    if not isinstance(text, str) or not text.strip():
        defects.add("empty_output" if isinstance(text, str) else "wrong_type", "", text)
        return Loaded(value=None, defects=defects.listed())
    start = 1 if text.startswith("\ufeff") else 0
    is_broken = False
    value: Any
    try:
        value, end = decoded(text, start, defects)
        if end < len(text):
            raise _BrokenError(end)
    except _BrokenError as error:
        is_broken = True
        code: DefectCode = "truncated" if _is_cut(text, _end(_BLANK, text, start)) else "invalid_syntax"
        value = salvaged(text, start, Unreadable(code, excerpt(text, error.position)), defects)
        if value is None:
            defects.add(code, "", excerpt(text, error.position))
    if isinstance(value, Object):
        for key in value.repeated:
            defects.add("duplicate_key", key, key)
    if isinstance(value, Unreadable):
        defects.add(value.code, "", value.found)
        value = None
    return Loaded(value=value, defects=defects.listed(), is_broken=is_broken)


def decoded(text: str, start: int, defects: Defects) -> tuple[Any, int]:
    """The JSON value at a position and where the next thing after it begins.

    Raises:
        _BrokenError: There is none.
    """
    start = _end(_BLANK, text, start)
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        if "control character" not in str(error):
            raise _BrokenError(getattr(error, "pos", start)) from error
        try:
            value, end = _LAX.raw_decode(text, start)
        except (ValueError, RecursionError) as again:
            raise _BrokenError(getattr(again, "pos", start)) from again
        defects.add("invalid_characters", "", excerpt(text, getattr(error, "pos", start)))
    return value, _end(_BLANK, text, end)


def salvaged(text: str, start: int, rest: Unreadable, defects: Defects) -> list[Any] | dict[str, Any] | None:
    """The complete leading items of a list that breaks off, and behind them what stands for the rest.

    Args:
        text: With `[` or `{"stakeholders": [` at `start`.
        start: Where to begin.
        rest: Stands for what cannot be read.
        defects: Takes what is found on the way.

    Returns:
        The list, in an object when it stood in one; `None` when not even one item was complete.
    """
    head = _STAKEHOLDERS.match(text, start)
    position = _end(_BLANK, text, start) if head is None else head.end()
    if text[position : position + 1] != "[":
        return None
    items: list[Any] = []
    try:
        while True:
            item, position = decoded(text, position + 1, defects)
            items.append(item)
            if text[position : position + 1] != ",":
                break
    except _BrokenError:
        pass
    if not items:
        return None
    items.append(rest)
    return items if head is None else {"stakeholders": items}


def span_end(text: str, start: int) -> int | None:
    """Where the bracket that opens at or behind `start` closes; `None` when it does not, that is when the text is cut."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark, length = text[token.start()], token.end() - token.start()
        if mark in "[{":
            depth += length
        elif mark in "]}":
            if depth <= length:
                return token.start() + max(depth, 1)
            depth -= length
    return None


def _is_cut(text: str, start: int) -> bool:
    return text[start : start + 1] in ("[", "{", '"') and span_end(text, start) is None


def excerpt(text: str, position: int) -> str:
    """What stands around a position, for a defect."""
    return text[max(0, position - 20) : position + 40]


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    merged = Object()
    repeated: dict[str, None] = {}
    for key, value in pairs:
        if key in merged:
            repeated[key] = None
            if not _is_same(merged[key], value):
                value = Unreadable("duplicate_key", key)
        merged[key] = value
    merged.repeated = tuple(repeated)
    return merged


def _is_same(a: Any, b: Any) -> bool:
    """Equality that tells `true` from 1; what is unreadable equals nothing."""
    if type(a) is not type(b) or isinstance(a, Unreadable):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(_is_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    return bool(a == b)


def _int(digits: str) -> int | Unreadable:
    return int(digits) if len(digits) <= MAX_DIGITS else Unreadable("wrong_type", digits)


def _float(digits: str) -> float | Unreadable:
    value = float(digits)
    return value if math.isfinite(value) else Unreadable("non_finite_number", digits)


def _constant(name: str) -> Unreadable:
    return Unreadable("non_finite_number", name)


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object, "parse_int": _int, "parse_float": _float, "parse_constant": _constant,
}  # fmt: skip
_STRICT = json.JSONDecoder(**_HOOKS)
_LAX = json.JSONDecoder(**_HOOKS, strict=False)  # line breaks and the like inside strings: unambiguous
