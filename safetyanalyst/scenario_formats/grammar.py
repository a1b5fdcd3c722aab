"""What little of JSON's grammar is needed to tell files apart and to find a way through a broken one.

Everything here is linear in the length of the text, whatever the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple


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
