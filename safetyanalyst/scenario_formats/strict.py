"""JSON with one meaning only, and what little of JSON's grammar is needed to find a way through a broken file.

Everything here is linear in the length of the text, whatever the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

MAX_DEPTH = 64
"""JSON nested deeper is not read: neither a chat nor a tool's arguments need it, and recursion over it would overflow."""


class UnreadableError(ValueError):
    """A value is not what it must be to be read. The message names the key, what stands there and what was expected.

    Args:
        problem: What is wrong, in words, with the key.
        expected: What should stand there.
    """

    def __init__(self, problem: str, expected: str = "") -> None:
        super().__init__(f"{problem} (expected {expected})" if expected else problem)


def shown(value: object) -> str:
    """A value for an error message: short, one line, ASCII only, so that it can be stored and printed anywhere."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def strict_json(text: str) -> JsonValue:
    """Reads JSON that no two readers can understand differently.

    Args:
        text: One JSON value; blanks around it are fine.

    Raises:
        UnreadableError: It is not JSON, holds NaN or an infinity, gives a key two different values, or is nested deeper than
            `MAX_DEPTH`.
    """
    try:
        value: JsonValue = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, character {error.colno}" if error.lineno > 1 else f"character {error.colno}"
        raise UnreadableError(f"not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except UnreadableError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise UnreadableError(f"a number cannot be read: {str(error).partition(';')[0]}") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and not is_shallow(value, MAX_DEPTH):
        raise _too_deep()
    return value


def is_shallow(value: JsonValue, depth: int) -> bool:
    """Whether a value has at most so many objects and lists inside one another."""
    level = [value]
    for _ in range(depth + 1):
        level = [item for it in level for item in _children(it)]
        if not level:
            return True
    return False


def _children(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> UnreadableError:
    return UnreadableError("the JSON is nested too deep", f"at most {MAX_DEPTH} levels")


def _no_conflict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        for key, found in pairs:
            # repr, since 1 == True == 1.0 although they are different things to write
            if found is not value[key] and repr(found) != repr(value[key]):
                raise UnreadableError(f"key {shown(key)} is given twice with different values", "one value")
    return value


def _no_constant(text: str) -> float:
    raise UnreadableError(f"{text} is not JSON", "a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableError(f"the number {text[:40]} is too large", "a finite number")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_no_conflict, parse_constant=_no_constant, parse_float=_finite)


JsonState = Literal["whole", "beginning", "more", "not"]


def json_state(text: str) -> JsonState:
    """How far a text is a JSON object or list, by syntax alone.

    Args:
        text: A text that is cut, if at all, at the end of a line: no JSON string goes beyond one.

    Returns:
        "whole": it is one; "beginning": only its end is missing; "more": something stands behind it; "not": anything else.
    """
    text = text.strip()
    if text[:1] not in ("{", "["):
        return "not"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return "more"
        return "beginning" if error.pos >= len(text) else "not"
    except (ValueError, RecursionError):  # a number too long, nested too deep: JSON, though not to be read
        return "whole"
    return "whole"


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: The part.
        line: How many line ends stand before it.
    """

    text: str
    line: int


# A string that is never closed runs to the end; every alternative is possessive, so nothing is ever scanned twice
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?+\Z)|[\[\]{},]', re.DOTALL)


def split_values(text: str) -> Iterator[Piece]:
    """Cuts a text into its top-level JSON objects and lists, by their brackets alone; what stands between is a piece too."""
    depth, start = 0, 0
    cuts = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in ("[", "{"):
            if depth == 0:
                cuts.append((start, match.start()))
                start = match.start()
            depth += 1
        elif token in ("]", "}") and depth:
            depth -= 1
            if depth == 0:
                cuts.append((start, match.end()))
                start = match.end()
    yield from _pieces(text, [*cuts, (start, len(text))])


def split_items(text: str) -> Iterator[Piece]:
    """Cuts the text of a JSON list into its items, by their brackets and commas alone."""
    depth, start = 0, 0
    cuts = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in ("[", "{"):
            depth += 1
            if depth == 1:
                start = match.end()
        elif depth == 1 and token in (",", "]", "}"):
            cuts.append((start, match.start()))
            start = match.end()
        if token in ("]", "}"):
            depth -= 1
    if depth > 0:
        cuts.append((start, len(text)))
    yield from _pieces(text, cuts)


def _pieces(text: str, cuts: list[tuple[int, int]]) -> Iterator[Piece]:
    """The parts that are not blank, each with its line."""
    line = at = 0
    for start, end in cuts:
        part = text[start:end]
        if part.strip():
            start += len(part) - len(part.lstrip())
            line += text.count("\n", at, start)
            at = start
            yield Piece(part.strip(), line)
