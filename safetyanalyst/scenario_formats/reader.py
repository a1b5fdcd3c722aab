"""Files to examples: opens, tells the format, and turns every fault of an item into a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue, ValidationError

from safetyanalyst.errors import ConfigError
from safetyanalyst.scenario_formats.containers import (
    Input,
    Item,
    Line,
    decode,
    items_of_document,
    items_of_lines,
    lines_of,
    open_input,
    text_of_lines,
)
from safetyanalyst.scenario_formats.rows import format_of, id_of, read_row
from safetyanalyst.scenarios import Example, FormatName, Prompt, ReadFailure, Source, UnreadableError

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def read(source: Source, format: FormatName, name: str = "") -> Iterator[Example | ReadFailure]:
    """Reads scenarios one by one; JSON lines of any number take the memory of one.

    Args:
        source: A path, an open binary stream, or pieces of bytes that end where lines end.
        format: One of `FORMATS`.
        name: What errors call the source; a path's own name when empty.

    Raises:
        ConfigError: There is no such file.
    """
    path = _path_of(source)
    return _named(_read(source, format, _may_be_text(path, format)), name or ("" if path is None else str(path)))


def detect_format(source: Source) -> FormatName:
    """The format that "auto" takes an input for, judged by its first records.

    Args:
        source: A path, an open binary stream, or pieces of bytes; a stream is read from.

    Raises:
        ConfigError: There is no such file.
    """
    path = _path_of(source)
    with _opened(source) as pieces:
        found = open_input(pieces, _is_record, may_be_text=_may_be_text(path, "auto"))
        if found.container == "text":
            return "text"
        formats = (format_of(item.value) for item in _items(found) if not isinstance(item.value, UnreadableError))
        return next((format for format in formats if format is not None), "jsonl")


def _path_of(source: Source) -> Path | None:
    """The path of a source that is one, once it is known to open."""
    if not isinstance(source, str | Path):
        return None
    try:
        with Path(source).open("rb"):
            return Path(source)
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", file=source) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the file cannot be read: {reason}", file=ascii(str(source)[:200])) from error


def _may_be_text(path: Path | None, format: FormatName) -> bool:
    return format == "auto" and (path is None or path.suffix.lower() not in _JSON_SUFFIXES)


def _is_record(value: JsonValue) -> bool:
    return format_of(value) is not None


@contextmanager
def _opened(source: Source) -> Iterator[Iterable[bytes]]:
    if isinstance(source, bytes):
        yield (source,)
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            yield stream
    else:
        yield source


def _read(source: Source, format: FormatName, may_be_text: bool) -> Iterator[Example | ReadFailure]:
    with _opened(source) as pieces:
        if format == "text":
            yield _whole(lines_of(pieces))
        elif format == "lines":
            yield from (_line(line) for line in lines_of(pieces) if line.data.strip())
        else:
            found = open_input(pieces, _is_record, may_be_text=may_be_text)
            if format == "auto" and not found.window:
                yield ReadFailure(id="input", error="the input is empty (expected a text, or JSON)")
            elif found.container == "text":
                yield _whole(found.lines)
            else:
                yield from (_example(item, format) for item in _items(found))


def _items(found: Input) -> Iterator[Item]:
    return items_of_document(found.lines) if found.container == "document" else items_of_lines(found.lines)


def _whole(lines: Iterable[Line]) -> Example | ReadFailure:
    try:
        return Example(scenario=Prompt(id="text", text=text_of_lines(lines)))
    except UnreadableError as error:
        return ReadFailure(id="text", error=str(error))


def _line(line: Line) -> Example | ReadFailure:
    place = f"line-{line.number}"
    try:
        return Example(scenario=Prompt(id=place, text=decode(line.data.removesuffix(b"\r"))))
    except UnreadableError as error:
        return ReadFailure(id=place, line=line.number, error=str(error))


def _example(item: Item, format: FormatName) -> Example | ReadFailure:
    if isinstance(item.value, UnreadableError):
        return ReadFailure(id=item.id, line=item.line, error=str(item.value))
    try:
        return read_row(item.value, format, item.id)
    except UnreadableError as error:
        return ReadFailure(id=_id(item), line=item.line, error=str(error))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return ReadFailure(id=_id(item), line=item.line, error=f"{place}: {first['msg']}")


def _id(item: Item) -> str:
    try:
        return item.id if isinstance(item.value, UnreadableError) else id_of(item.value, item.id)
    except UnreadableError:
        return item.id


def _named(items: Iterator[Example | ReadFailure], name: str) -> Iterator[Example | ReadFailure]:
    for item in items:
        if isinstance(item, ReadFailure) and name:
            yield item.model_copy(update={"error": f"{name}: {item.error}"})
        else:
            yield item
