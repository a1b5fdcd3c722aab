"""One row of a data set to one example: which format it has, which keys are judged, which only describe it."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue, TypeAdapter, ValidationError

from safetyanalyst.scenario_formats.agents import read_r_judge, read_soda
from safetyanalyst.scenario_formats.chat import Chat, read_chat
from safetyanalyst.scenario_formats.containers import is_chat
from safetyanalyst.scenario_formats.grammar import shown
from safetyanalyst.scenario_formats.keys import ReadRow, Row, printable, text_at
from safetyanalyst.scenarios import Example, Exchange, FormatName, Label, Prompt, Scalar, Scenario, Trajectory, UnreadableError
from safetyanalyst.trees import Defect

_TYPES = ("prompt", "exchange", "trajectory")
_CHAT_KEYS = ("messages", "system", "tools")
_LABEL_KEYS = ("label", "harmful")
_LABEL_WORDS: dict[str, Label] = {"safe": 0, "unsafe": 1}
_ANTHROPIC_PARTS = ("thinking", "redacted_thinking", "tool_use", "tool_result")
_defects: TypeAdapter[tuple[Defect, ...]] = TypeAdapter(tuple[Defect, ...])


def format_of(value: JsonValue) -> FormatName | None:
    """The format of one record, `None` when it is none."""
    if isinstance(value, list):
        return _chat_format(value) if is_chat(value) else None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("contents"), list):
        return "r-judge"
    if "user_turns" in value:
        return "soda"
    if value.get("type") in _TYPES:
        return "jsonl"
    if "messages" in value:
        return "anthropic" if "system" in value else _chat_format(value["messages"])
    return "jsonl" if "text" in value or "prompt" in value else None


def _chat_format(messages: JsonValue) -> FormatName:
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and part.get("type") in _ANTHROPIC_PARTS:
                return "anthropic"
    return "openai"


def read_row(value: JsonValue, format: FormatName, place: str) -> Example:
    """Reads one record.

    Args:
        value: The record: an object, or a bare list of chat messages.
        format: One that `format_of` gives; "auto" asks it.
        place: The id, when it has none of its own.

    Raises:
        UnreadableError: A key is missing or holds what it must not.
    """
    if format == "auto":
        found = format_of(value)
        if found is None:
            raise UnreadableError(f"no scenario in {_contents(value)}", "a key text, prompt, messages, contents or user_turns")
        format = found
    if isinstance(value, list) and is_chat(value) and format in ("jsonl", "openai", "anthropic"):
        return Example(scenario=_from_chat(read_chat(value), place))
    if not isinstance(value, dict):
        raise UnreadableError(f"the record is {shown(value)}", "an object")
    read = _READERS[format](value, id_of(value, place))
    label, label_key = _label(value)
    used = {"id", label_key, *read.used}
    fields = {printable(k): _field(v) for k, v in value.items() if k not in used and not isinstance(v, list | dict)}
    return Example(scenario=read.scenario, label=label, fields=fields)


def id_of(value: JsonValue, place: str) -> str:
    """The id of a record, or its place.

    Raises:
        UnreadableError: The id is neither text nor a whole number.
    """
    found = value.get("id") if isinstance(value, dict) else None
    if found is None or found == "":
        return place
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise UnreadableError(f"id is {shown(found)}", "text or a whole number")
    return printable(str(found))


def _contents(value: JsonValue) -> str:
    if not isinstance(value, dict):
        return shown(value)
    keys = [shown(key) for key in list(value)[:8]]
    return f"an object with the keys {', '.join(keys)}" if keys else "an empty object"


def _field(value: JsonValue) -> Scalar:
    assert not isinstance(value, list | dict)
    return printable(value) if isinstance(value, str) else value


def _label(row: Row) -> tuple[Label | None, str | None]:
    for key in _LABEL_KEYS:
        found = row.get(key)
        if found is None:
            continue
        if isinstance(found, str) and found.strip().lower() in _LABEL_WORDS:
            return _LABEL_WORDS[found.strip().lower()], key
        if isinstance(found, int | float) and found in (0, 1):
            return (1 if found else 0), key
        raise UnreadableError(f"{key} is {shown(found)}", "0, 1, true, false, safe, unsafe or null")
    return None, "label"


def _own(row: Row, id: str) -> ReadRow:
    """Our own form; a missing type is told from the keys."""
    used: tuple[str, ...] = _CHAT_KEYS
    defects = _stored_defects(row)
    match _own_type(row):
        case "trajectory":
            chat = _chat_of(row)
            read: Scenario = Trajectory(id=id, messages=chat.messages, defects=(*defects, *chat.defects))
        case "exchange":
            read = Exchange(id=id, prompt=text_at(row, "prompt"), response=text_at(row, "response"), defects=defects)
            used = ("prompt", "response")
        case "prompt":
            key = "prompt" if row.get("text") is None and row.get("prompt") is not None else "text"
            read = Prompt(id=id, text=text_at(row, key), defects=defects)
            used = (key,)
        case _:
            chat = _chat_of(row)
            read = _from_chat(chat._replace(defects=(*defects, *chat.defects)), id)
    _refuse_unjudged(row, used)
    return ReadRow(read, ("type", *used))


def _refuse_unjudged(row: Row, used: tuple[str, ...]) -> None:
    """No content may pass unjudged beside the one that is read."""
    for key in ("text", "prompt", "response", "messages", "system"):
        if key not in used and row.get(key):
            beside = " and ".join(it for it in used if row.get(it))
            raise UnreadableError(f"{key} stands beside {beside} and would not be judged", "the keys of one scenario")


def _own_type(row: Row) -> str:
    kind = row.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        return kind
    if kind is not None:
        raise UnreadableError(f"type is {shown(kind)}", f"one of {', '.join(_TYPES)}, or none")
    if row.get("text") is None and row.get("prompt") is None and row.get("messages") is not None:
        return "chat"
    return "exchange" if row.get("text") is None and row.get("response") is not None else "prompt"


def _stored_defects(row: Row) -> tuple[Defect, ...]:
    found = row.get("defects")
    if not isinstance(found, list):
        return ()
    try:
        return _defects.validate_python(found)
    except ValidationError as error:
        raise UnreadableError("defects is a list of something else", "objects with code, path and found") from error


def _chat(row: Row, id: str) -> ReadRow:
    return ReadRow(_from_chat(_chat_of(row), id), _CHAT_KEYS)


def _chat_of(row: Row) -> Chat:
    if "messages" not in row:
        raise UnreadableError("messages is missing", "a list of chat messages")
    return read_chat(row["messages"], system=row.get("system"), tools=row.get("tools"))


def _from_chat(chat: Chat, id: str) -> Scenario:
    """A chat that is no more than a request, or a request and its answer, is called what it is; nothing is lost by it."""
    roles = [message.role for message in chat.messages]
    is_plain = not any(it.tool_calls or it.name or it.tool_call_id for it in chat.messages)
    if roles == ["user"] and is_plain:
        return Prompt(id=id, text=chat.messages[0].content, defects=chat.defects)
    if roles == ["user", "assistant"] and is_plain:
        return Exchange(id=id, prompt=chat.messages[0].content, response=chat.messages[1].content, defects=chat.defects)
    return Trajectory(id=id, messages=chat.messages, defects=chat.defects)


_READERS: dict[FormatName, Callable[[Row, str], ReadRow]] = {
    "jsonl": _own,
    "openai": _chat,
    "anthropic": _chat,
    "r-judge": read_r_judge,
    "soda": read_soda,
}
