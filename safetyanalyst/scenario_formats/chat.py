"""Chats as others write them: OpenAI's messages and Anthropic's content blocks, read by one reader.

A part that is not text (an image, a file, redacted reasoning) cannot be judged here: it becomes a defect, never silence. Errors
name the place in the source; defects name the message of the scenario, since a block may become a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from safetyanalyst.scenario_formats.grammar import shown
from safetyanalyst.scenario_formats.keys import optional_text, text_at
from safetyanalyst.scenarios import Message, Role, ToolCall, UnreadableError, strict_json
from safetyanalyst.trees import Defect, DefectCode

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
# kind of part -> the key that holds its text
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking"}
_ARGUMENT_KEYS = ("arguments", "input", "parameters", "args")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_MEDIA_KEYS = ("audio", "image", "images", "video", "videos", "documents", "files", "attachments")


class Chat(NamedTuple):
    """Messages with what could not be read of them."""

    messages: tuple[Message, ...]
    defects: tuple[Defect, ...]


def read_chat(value: JsonValue, *, system: JsonValue = None, tools: JsonValue = None, environment: str = "") -> Chat:
    """Reads a list of chat messages.

    Args:
        value: Messages with content as text, parts, blocks or null.
        system: Anthropic's system prompt, text or blocks; it goes first.
        tools: What the assistant could call, names or descriptions; they go before the messages, since they may
            hold orders too.
        environment: Name of the environment that the tools belong to.

    Raises:
        UnreadableError: It is no such list, or a message breaks its form.
    """
    if not isinstance(value, list) or not value:
        raise UnreadableError(f"messages is {shown(value)}", "a list of chat messages")
    reader = _Reader()
    if system is not None:
        _Turn(reader, "system").take_content(system, "system")
    if tools or environment:
        reader.messages.append(Message(role="system", content=_tools_text(tools, environment)))
    for i, message in enumerate(value):
        _read_message(reader, message, f"messages[{i}]")
    return Chat(tuple(reader.messages), tuple(reader.defects))


def _tools_text(tools: JsonValue, environment: str) -> str:
    several = tools if isinstance(tools, list) else [tools] if tools else []
    words = (tool if isinstance(tool, str) else json.dumps(tool, ensure_ascii=False) for tool in several)
    return "\n".join((f"[agent with {environment} tools]" if environment else "[agent with tools]", *words))


class _Reader:
    """What is read so far."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.defects: list[Defect] = []

    def note(self, code: DefectCode, key: str, found: object) -> None:
        path = f"messages[{len(self.messages)}].{key}"
        self.defects.append(Defect(code=code, path=path, found=shown(found)))


class _Turn:
    """One message of the source. It becomes several where it holds results of tools, which are messages of their own."""

    def __init__(self, reader: _Reader, role: Role, name: str | None = None, answers: str | None = None) -> None:
        self.reader = reader
        self.role = role
        self.name = name
        self.answers = answers
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []

    def take_content(self, content: JsonValue, path: str) -> None:
        """Reads the content and ends the turn."""
        first = len(self.reader.messages)
        if isinstance(content, str):
            self.texts += [content] if content else []
        elif isinstance(content, list):
            for i, block in enumerate(content):
                self._take_block(block, i, f"{path}[{i}]")
        elif content is not None:
            raise UnreadableError(f"{path} is {shown(content)}", "text, a list of parts, or null")
        if self.texts or self.calls or len(self.reader.messages) == first:
            self._end_message()

    def _take_block(self, block: JsonValue, i: int, path: str) -> None:
        if isinstance(block, str):
            self.texts.append(block)
            return
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise UnreadableError(f"{path} is {shown(block)}", "a part with its type, such as text")
        kind = str(block["type"])
        if kind in _TEXT_PARTS:
            self.texts.append(text_at(block, _TEXT_PARTS[kind], path))
        elif kind.endswith("tool_use"):
            self.calls.append(_call(block, path))
        elif kind.endswith("tool_result"):
            if self.texts or self.calls:
                self._end_message()
            content = block.get("content")
            if isinstance(content, dict):  # some tools answer with an object of their own
                content = json.dumps(content, ensure_ascii=False)
            answers = optional_text(block, "tool_use_id", path)
            _Turn(self.reader, "tool", answers=answers).take_content(content, f"{path}.content")
        else:
            self.reader.note("elided_input", f"content[{i}]", kind)

    def _end_message(self) -> None:
        self.reader.messages.append(
            Message(
                role=self.role,
                content="\n".join(self.texts),
                tool_calls=tuple(self.calls),
                tool_call_id=self.answers,
                name=self.name,
            )
        )
        self.texts, self.calls = [], []


def _read_message(reader: _Reader, message: JsonValue, path: str) -> None:
    if not isinstance(message, dict):
        raise UnreadableError(f"{path} is {shown(message)}", "an object with role and content")
    said = message.get("role")
    role = _ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        found = f"is {shown(said)}" if "role" in message else "is missing"
        raise UnreadableError(f"{path}.role {found}", f"one of {', '.join(_ROLES)}")
    turn = _Turn(reader, role, optional_text(message, "name", path), optional_text(message, "tool_call_id", path))
    for key in _REASONING_KEYS:
        if isinstance(thought := message.get(key), str):
            turn.texts.append(thought)
        elif thought:
            reader.note("elided_input", key, thought)
    turn.calls += _calls(reader, message, path)
    for key in _MEDIA_KEYS:
        if message.get(key):
            reader.note("elided_input", key, message[key])
    refusal = optional_text(message, "refusal", path)
    if "content" not in message and not (turn.texts or turn.calls or refusal):
        raise UnreadableError(f"{path}.content is missing", "text, a list of parts, or null")
    content = message.get("content")
    if refusal:
        content = [*(content if isinstance(content, list) else [content] if content else []), refusal]
    turn.take_content(content, f"{path}.content")


def _calls(reader: _Reader, message: Mapping[str, JsonValue], path: str) -> list[ToolCall]:
    calls: JsonValue = message.get("tool_calls")
    path = f"{path}.tool_calls"
    if isinstance(calls, str):
        try:
            calls = strict_json(calls)
        except UnreadableError:
            # cut off or mangled: what was called cannot be known, but all that is there is kept
            reader.note("invalid_syntax", "tool_calls", calls)
            return [ToolCall(name="", arguments=str(calls))]
    if message.get("function_call") is not None and not calls:  # the older form of the same
        calls = [{"function": message["function_call"]}]
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise UnreadableError(f"{path} is {shown(calls)}", "a list of calls")
    return [_openai_call(call, f"{path}[{i}]") for i, call in enumerate(calls)]


def _openai_call(call: JsonValue, path: str) -> ToolCall:
    if not isinstance(call, dict):
        raise UnreadableError(f"{path} is {shown(call)}", "an object with id and function")
    inner = call.get("function", call.get("custom"))
    if isinstance(inner, dict):
        return _call({"id": call.get("id"), **inner}, path)
    if isinstance(inner, str):  # {"function": name, "arguments": {...}}
        return _call({**call, "name": inner}, path)
    return _call(call, path)


def _call(call: Mapping[str, JsonValue], path: str) -> ToolCall:
    arguments = next((call[key] for key in _ARGUMENT_KEYS if key in call), None)
    if not isinstance(arguments, str | dict | None):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(
        id=optional_text(call, "id", path),
        name=text_at(call, "name", path),
        arguments={} if arguments is None else arguments,
    )
