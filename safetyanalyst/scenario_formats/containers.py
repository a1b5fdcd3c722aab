"""From bytes to JSON values with their places: JSON lines, a list of records, one record over several lines.

JSON lines are read one at a time; only a file that is one JSON document is held as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from safetyanalyst.scenario_formats.grammar import Piece, json_state, split_items, split_values
from safetyanalyst.scenarios import UnreadableError, strict_json

ContainerName = Literal["lines", "document", "text"]
WINDOW_LINES = 64
WINDOW_BYTES = 2**20
"""What is looked at, at most, to tell the container."""


class Line(NamedTuple):
    """One line of the input, without its line feed.

    Attributes:
        number: 1-based.
        data: As it came.
    """

    number: int
    data: bytes


class Item(NamedTuple):
    """A JSON value that should be one scenario, or the reason why it cannot be read.

    Attributes:
        id: Its place, for when it has no id of its own.
        line: 1-based line it starts on.
        value: The value.
    """

    id: str
    line: int
    value: JsonValue | UnreadableError


class Input(NamedTuple):
    """An input whose container is known.

    Attributes:
        container: What it is.
        window: Its first lines that are not blank.
        lines: All lines, the window's included.
    """

    container: ContainerName
    window: list[Line]
    lines: Iterator[Line]


Source: TypeAlias = Iterable[bytes]
RecordTest: TypeAlias = Callable[[JsonValue], bool]


def lines_of(source: Source) -> Iterator[Line]:
    """Numbers the lines of a stream or of any pieces that end where lines end; a byte order mark is dropped."""
    number = 0
    for piece in source:
        data = piece.removeprefix(b"\xef\xbb\xbf") if number == 0 else piece
        for line in data.removesuffix(b"\n").split(b"\n"):
            number += 1
            yield Line(number, line)


def text_of_lines(lines: Iterable[Line]) -> str:
    """The lines as one text; the last line end, which ends the file rather than the text, is left out.

    Raises:
        UnreadableError: They are not UTF-8.
    """
    return decode(b"\n".join(line.data for line in lines)).removesuffix("\r")


def decode(data: bytes) -> str:
    """UTF-8 to text. A lone surrogate written as bytes is let through, as its escape in JSON is: it is hostile, not broken.

    Raises:
        UnreadableError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        place = f"byte {error.start + 1}" if line == 0 else f"line {line + 1}"
        raise UnreadableError(f"not UTF-8: {error.reason} at {place}", "UTF-8 text") from error


def open_input(source: Source, is_record: RecordTest, *, may_be_text: bool) -> Input:
    """Tells the container from the first lines.

    Args:
        source: The input.
        is_record: Whether a JSON value looks like a scenario; decides between JSON lines with faults and text.
        may_be_text: Whether the input can be something else than JSON.
    """
    lines = lines_of(source)
    head: list[Line] = []
    window: list[Line] = []
    size = 0
    for line in lines:
        head.append(line)
        if line.data.strip():
            window.append(line)
            size += len(line.data)
            if len(window) >= WINDOW_LINES or size >= WINDOW_BYTES:
                break
    return Input(_container(window, is_record, may_be_text), window, chain(head, lines))


def items_of_lines(lines: Iterable[Line]) -> Iterator[Item]:
    """One item per line; a line that holds a list of records gives one item for each of them."""
    count = 0
    for line in lines:
        if not line.data.strip():
            continue
        place = f"line-{line.number}"
        try:
            text = decode(line.data)
        except UnreadableError as error:
            yield Item(place, line.number, error)
            continue
        for item in _items(text, line.number, count):
            count += bool(item.id)
            yield item if item.id else item._replace(id=place)


def items_of_document(lines: Iterable[Line]) -> Iterator[Item]:
    """The records of one JSON document, or of several written one after the other."""
    try:
        text = text_of_lines(lines)
        pieces = [Piece(text, 0)] if json_state(text) == "whole" else list(split_values(text))
    except UnreadableError as error:
        yield Item("item-1", 1, error)
        return
    count = 0
    for piece in pieces:
        for item in _items(piece.text, piece.line + 1, count):
            count += 1
            yield item if item.id else item._replace(id=f"item-{count}")


def _items(text: str, line: int, count: int) -> Iterator[Item]:
    """The items of one JSON value: of a list of records each is one, named `item-<n>` and counted on from `count`."""
    try:
        value = strict_json(text)
    except UnreadableError as error:
        yield from _items_around_fault(text, line, count, error)
        return
    if not isinstance(value, list) or not value or is_chat(value):
        yield Item("", line, value)
        return
    # only a list over several lines needs the lines of its items
    starts = [piece.line for piece in split_items(text)] if "\n" in text.strip() else [0] * len(value)
    for i, (item, start) in enumerate(zip(value, starts, strict=True), start=count + 1):
        yield Item(f"item-{i}", line + start, item)


def _items_around_fault(text: str, line: int, count: int, error: UnreadableError) -> Iterator[Item]:
    """A list with a fault in some records still gives the others; a chat with a fault is one thing and gives nothing."""
    pieces = list(split_items(text)) if text.lstrip().startswith("[") else []
    values = [_try(piece.text) for piece in pieces]
    sound: list[JsonValue] = [value for value in values if isinstance(value, dict | list)]
    if not sound or is_chat(sound):
        yield Item("", line, error)
        return
    for i, (piece, value) in enumerate(zip(pieces, values, strict=True), start=count + 1):
        yield Item(f"item-{i}", line + piece.line, value)


def _try(text: str) -> JsonValue | UnreadableError:
    try:
        return strict_json(text)
    except UnreadableError as error:
        return error


def is_chat(value: JsonValue) -> bool:
    """Whether a JSON value is a bare list of chat messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(it, dict) and "role" in it for it in value)


def _container(window: list[Line], is_record: RecordTest, may_be_text: bool) -> ContainerName:
    texts = [line.data.decode("utf-8", "replace") for line in window]
    if not texts or json_state(texts[0]) == "whole":
        return "lines"
    if len(texts) > 1 and json_state(texts[0]) == "beginning" and _is_document(texts):
        return "document"
    if not may_be_text or (len(texts) == 1 and json_state(texts[0]) == "beginning"):
        return "lines"
    # one record is enough: a damaged file is likelier than a prompt that quotes a record on a line of its own, and taken for
    # one prompt none of its records would ever be judged alone
    return "lines" if any(_holds_record(text, is_record) for text in texts) else "text"


def _holds_record(text: str, is_record: RecordTest) -> bool:
    value = _try(text)
    if not isinstance(value, UnreadableError):
        return is_record(value)
    values = (_try(piece.text) for piece in split_items(text)) if text.startswith("[") else ()
    return any(not isinstance(value, UnreadableError) and is_record(value) for value in values)


def _is_document(texts: list[str]) -> bool:
    """Whether lines of which the first is left open make one document, rather than JSON lines of which the first is cut off."""
    if json_state("\n".join(texts)) != "not":
        return True
    # there is a fault further down; records of JSON lines would begin at the left
    return texts[0].strip() == "[" or not any(text.startswith(("{", "[")) for text in texts[1:])
