"""What is judged: a prompt, an exchange, or a trajectory of an agent; with a label it is an example.

Hostile text is normal input here. Special tokens, a fake tree, NUL or a lone surrogate in a text never stop a scenario from
being read and never change its text; characters that others could stumble over are recorded as a defect beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, TypeAlias, get_args

from pydantic import BeforeValidator, Field, InstanceOf, JsonValue, ValidationInfo, field_validator

from safetyanalyst.errors import ConfigError
from safetyanalyst.records import Record
from safetyanalyst.scenario_formats.strict import MAX_DEPTH, UnreadableError, is_shallow, strict_json
from safetyanalyst.trees import Defect

FormatName = Literal["auto", "text", "lines", "jsonl", "openai", "anthropic", "r-judge", "soda"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
Role = Literal["system", "user", "assistant", "tool"]
Label = Literal[0, 1]
Scalar: TypeAlias = str | int | float | bool | None
Source: TypeAlias = Path | str | bytes | BinaryIO | Iterable[bytes]

MAX_ARGUMENT_DEPTH = MAX_DEPTH - 16
"""Arguments nested deeper stay text, so that a chat around them can still be written and read."""

# pydantic's own `str` refuses lone surrogates; a text that a model was shown is kept whatever it holds
Text: TypeAlias = InstanceOf[str]
_HARD_CHARACTERS = re.compile("[\x00\ud800-\udfff]")


def _canonical_arguments(value: object) -> object:
    """One form for each meaning: the text of a JSON object becomes the object, an object nested too deep becomes text."""
    if isinstance(value, dict):
        return value if is_shallow(value, MAX_ARGUMENT_DEPTH) else json.dumps(value)
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        read = strict_json(value)
    except UnreadableError:
        return value
    return read if is_shallow(read, MAX_ARGUMENT_DEPTH) else value


class ToolCall(Record):
    """A call that an agent asked for.

    Attributes:
        id: What results refer to.
        name: Of the tool; empty when the call could not be read.
        arguments: As an object; or the raw text when that is not one JSON object.
    """

    id: Text | None = None
    name: Text
    arguments: Annotated[dict[str, JsonValue] | Text, BeforeValidator(_canonical_arguments)]

    def __str__(self) -> str:
        arguments = self.arguments
        return f"{self.name}({arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)})"


class Message(Record):
    """One message of a chat.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        content: Its text; empty when there is none.
        tool_calls: Only an assistant has them.
        tool_call_id: The call that a tool's message answers.
        name: Of the speaker or the tool, where the source has one.
    """

    role: Role
    content: Text = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: Text | None = None
    name: Text | None = None


class Step(Record):
    """One assistant message with what came of it.

    Attributes:
        index: Counted from 0; `Action.evidence` refers to it.
        action: The assistant's message.
        results: The tools' messages that follow it directly.
        context: The messages before it that belong to no other step: system, user, stray results.
    """

    index: int
    action: Message
    results: tuple[Message, ...]
    context: tuple[Message, ...]


class _Base(Record):
    """What all scenarios share. The subclasses put `defects` last: its validator reads the texts before it."""

    id: str


class Prompt(_Base):
    """A request that nobody has answered.

    Attributes:
        id: Unique in its file; everything is keyed by it.
        text: The request.
        defects: What reading had to change or could not read, and characters that are hard to handle.
    """

    type: Literal["prompt"] = "prompt"
    text: Text
    defects: tuple[Defect, ...] = Field(default=(), validate_default=True)

    @field_validator("defects")
    @classmethod
    def _note_characters(cls, defects: tuple[Defect, ...], info: ValidationInfo) -> tuple[Defect, ...]:
        return _with_character_defects(defects, (("text", info.data.get("text", "")),))

    def texts(self) -> tuple[str, ...]:
        """All texts in order."""
        return (self.text,)


class Exchange(_Base):
    """A request and its answer.

    Attributes:
        id: Unique in its file.
        prompt: The request.
        response: The answer.
        defects: As for `Prompt`.
    """

    type: Literal["exchange"] = "exchange"
    prompt: Text
    response: Text
    defects: tuple[Defect, ...] = Field(default=(), validate_default=True)

    @field_validator("defects")
    @classmethod
    def _note_characters(cls, defects: tuple[Defect, ...], info: ValidationInfo) -> tuple[Defect, ...]:
        return _with_character_defects(defects, ((key, info.data.get(key, "")) for key in ("prompt", "response")))

    def texts(self) -> tuple[str, ...]:
        """All texts in order."""
        return (self.prompt, self.response)


class Trajectory(_Base):
    """What an agent was asked, did and got back.

    Attributes:
        id: Unique in its file.
        messages: In order, at least one.
        defects: As for `Prompt`.
    """

    type: Literal["trajectory"] = "trajectory"
    messages: tuple[Message, ...] = Field(min_length=1)
    defects: tuple[Defect, ...] = Field(default=(), validate_default=True)

    @field_validator("defects")
    @classmethod
    def _note_characters(cls, defects: tuple[Defect, ...], info: ValidationInfo) -> tuple[Defect, ...]:
        messages: tuple[Message, ...] = info.data.get("messages", ())
        return _with_character_defects(defects, ((f"messages[{i}]", text_of(it)) for i, it in enumerate(messages)))

    def texts(self) -> tuple[str, ...]:
        """The text of every message in order, tool calls included."""
        return tuple(text_of(message) for message in self.messages)

    def steps(self) -> tuple[Step, ...]:
        """The steps: an assistant message with the tool results directly behind it.

        Messages after the last step (a request that is not answered yet) are in none: see `pending`.
        """
        messages = self.messages
        return tuple(
            Step(index=i, action=messages[at], results=messages[at + 1 : end], context=messages[start:at])
            for i, (start, at, end) in enumerate(self._spans())
        )

    def pending(self) -> tuple[Message, ...]:
        """The messages after the last step."""
        spans = self._spans()
        return self.messages[spans[-1].end if spans else 0 :]

    def prefixes(self) -> Iterator[Trajectory]:
        """One trajectory per step, ending with that step; ids are `<id>#0`, `<id>#1` and so on.

        A defect of a message is carried by the prefixes that hold the message; any other defect by all.
        """
        for i, span in enumerate(self._spans()):
            defects = tuple(it for it in self.defects if (_message_index(it) or 0) < span.end)
            update = {"id": f"{self.id}#{i}", "messages": self.messages[: span.end], "defects": defects}
            yield self.model_copy(update=update)

    def _spans(self) -> list[_Span]:
        spans: list[_Span] = []
        for at, message in enumerate(self.messages):
            if message.role == "assistant":
                spans.append(_Span(spans[-1].end if spans else 0, at, at + 1))
            elif message.role == "tool" and spans and spans[-1].end == at:
                spans[-1] = spans[-1]._replace(end=at + 1)
        return spans


class _Span(NamedTuple):
    start: int
    action: int
    end: int


Scenario: TypeAlias = Annotated[Prompt | Exchange | Trajectory, Field(discriminator="type")]


class Example(Record):
    """A scenario with what its source says of it.

    Attributes:
        scenario: What is judged.
        label: 1 harmful, 0 harmless, `None` unlabelled.
        fields: The other scalar keys of its row, for reporting by group; never part of what is judged.
    """

    scenario: Scenario
    label: Label | None = None
    fields: dict[str, Scalar] = Field(default_factory=dict)


class ReadFailure(Record):
    """An item that could not be read.

    Attributes:
        id: Its id, or its place (`line-7`, `item-7`) when it has none.
        line: 1-based line it starts on; `None` where lines do not apply.
        error: What is wrong, with the key and what was expected.
    """

    id: str
    line: int | None = None
    error: str


def text_of(message: Message) -> str:
    """The text of a message: its content, then one line `name(arguments as JSON)` per tool call."""
    if not message.tool_calls:
        return message.content
    calls = (str(call) for call in message.tool_calls)
    return "\n".join((message.content, *calls) if message.content else calls)


def messages_of(scenario: Scenario) -> tuple[Message, ...]:
    """Any scenario as a chat."""
    if isinstance(scenario, Trajectory):
        return scenario.messages
    if isinstance(scenario, Exchange):
        return (Message(role="user", content=scenario.prompt), Message(role="assistant", content=scenario.response))
    return (Message(role="user", content=scenario.text),)


def dump_scenario(scenario: Scenario) -> dict[str, Any]:
    """The scenario in our JSON lines form; reading it gives the scenario back.

    Write it with `json.dumps` and its default `ensure_ascii`: only escaped do lone surrogates survive.
    """
    dumped: dict[str, Any] = {"id": scenario.id, "type": scenario.type}
    if isinstance(scenario, Trajectory):
        dumped["messages"] = [_dump_message(message) for message in scenario.messages]
    elif isinstance(scenario, Exchange):
        dumped |= {"prompt": scenario.prompt, "response": scenario.response}
    else:
        dumped["text"] = scenario.text
    if scenario.defects:
        dumped["defects"] = [defect.model_dump() for defect in scenario.defects]
    return dumped


def check_format(name: str) -> FormatName:
    """The name, once it is known to be a format.

    Raises:
        ConfigError: It is none; the error lists those there are.
    """
    for known in FORMATS:
        if name == known:
            return known
    raise ConfigError(f"there is no format {name!r}", key="format", expected=f"one of {', '.join(FORMATS)}")


def read_examples(source: Source, format: str = "auto", name: str = "") -> Iterator[Example | ReadFailure]:
    """Reads scenarios one by one; JSON lines of any number take the memory of one.

    An item that cannot be read is a `ReadFailure` in its place and the others go on. Formats: "text" (all of it is one prompt),
    "lines" (a prompt a line), "jsonl" (ours), "openai", "anthropic", "r-judge", "soda"; "auto" tells them apart, the last five
    record by record. A JSON format may come as JSON lines, as a list of records, as one record over several lines, or as one
    bare list of chat messages.

    Args:
        source: A path, an open binary stream, or pieces of bytes that end where lines end.
        format: One of `FORMATS`.
        name: What errors call the source; a path's own name when empty.

    Raises:
        ConfigError: There is no such format or no such file.
    """
    from safetyanalyst.scenario_formats import reader  # it builds on this module

    return reader.read(source, check_format(format), name)


def detect_format(source: Source) -> FormatName:
    """The format that "auto" takes an input for, judged by its first records.

    Args:
        source: As for `read_examples`; a stream is read from.

    Raises:
        ConfigError: There is no such file.
    """
    from safetyanalyst.scenario_formats import reader

    return reader.detect_format(source)


def _dump_message(message: Message) -> dict[str, Any]:
    dumped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        dumped["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    optional: Mapping[str, str | None] = {"tool_call_id": message.tool_call_id, "name": message.name}
    return dumped | {key: value for key, value in optional.items() if value is not None}


def _with_character_defects(defects: tuple[Defect, ...], texts: Iterable[tuple[str, str]]) -> tuple[Defect, ...]:
    known = {defect.path for defect in defects if defect.code == "invalid_characters"}
    found = []
    for path, text in texts:
        hard = None if path in known else _HARD_CHARACTERS.search(text)
        if hard:
            found.append(Defect(code="invalid_characters", path=path, found=ascii(hard.group())))
    return (*defects, *found)


def _message_index(defect: Defect) -> int | None:
    match = re.match(r"messages\[(\d+)\]", defect.path)
    return int(match.group(1)) if match else None
