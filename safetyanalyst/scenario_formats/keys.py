"""Values under keys, with errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from pydantic import JsonValue

from safetyanalyst.scenario_formats.grammar import shown
from safetyanalyst.scenarios import Scenario, UnreadableError, strict_json

Row: TypeAlias = dict[str, JsonValue]


class ReadRow(NamedTuple):
    """A scenario with the keys of its row that are in it, or must not be seen."""

    scenario: Scenario
    used: tuple[str, ...]


def text_at(value: Mapping[str, JsonValue], key: str, path: str = "") -> str:
    """The text under a key.

    Args:
        value: The object.
        key: The key.
        path: Where the object stands, for the error.

    Raises:
        UnreadableError: There is none.
    """
    found = value.get(key)
    if isinstance(found, str):
        return found
    raise UnreadableError(f"{_dotted(path, key)} is {shown(found) if key in value else 'missing'}", "text")


def optional_text(value: Mapping[str, JsonValue], key: str, path: str = "") -> str | None:
    """The text under a key, `None` when there is none or null.

    Raises:
        UnreadableError: Something else stands there.
    """
    found = value.get(key)
    if found is None or isinstance(found, str):
        return found
    raise UnreadableError(f"{_dotted(path, key)} is {shown(found)}", "text or null")


def json_list(value: Mapping[str, JsonValue], key: str) -> list[JsonValue]:
    """The list under a key, which may be written as the text of a JSON list.

    Raises:
        UnreadableError: There is none.
    """
    found = value.get(key)
    if isinstance(found, str):
        try:
            found = strict_json(found)
        except UnreadableError as error:
            raise UnreadableError(f"{key}: {error}", "a list, or the text of a JSON list") from error
    if isinstance(found, list):
        return found
    raise UnreadableError(f"{key} is {shown(found) if key in value else 'missing'}", "a list, or the text of a JSON list")


def printable(text: str) -> str:
    """A text for reports and keys, unlike one that is judged: a lone surrogate is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
