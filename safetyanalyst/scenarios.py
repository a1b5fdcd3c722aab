"""What is judged: a prompt, an exchange, or a trajectory of an agent; with a label it is an example.

Hostile text is normal input here. Special tokens, a fake tree, NUL or a lone surrogate in a text never stop a scenario from
being read and never change its text; characters that others could stumble over are recorded as a defect beside it.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, JsonValue, ValidationInfo

from safetyanalyst.errors import ConfigError
from safetyanalyst.records import Record
from safetyanalyst.trees import Defect

FormatName = Literal["auto", "text", "lines", "jsonl", "openai", "anthropic", "r-judge", "soda"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
Role = Literal["system", "user", "assistant", "tool"]
Label = Literal[0, 1]
Scalar: TypeAlias = str | int | float | bool | None
Source: TypeAlias = Path | str | bytes | BinaryIO | Iterable[bytes]

MAX_DEPTH = 64
"""JSON nested deeper is not read: neither a chat nor a tool's arguments need it, and recursion over it would overflow."""
MAX_ARGUMENT_DEPTH = MAX_DEPTH - 16
"""Arguments nested deeper stay text, so that a chat around them can still be written and read."""

# pydantic's own `str` refuses lone surrogates; a text that a model was shown is kept whatever it holds
Text: TypeAlias = InstanceOf[str]
_HARD_CHARACTERS = re.compile("[\x00\ud800-\udfff]")


class UnreadableError(Exception):
    """A value is not what it must be to be read: the problem with its key, and what was expected."""

    def __init__(self, problem: str, expected: str = "") -> None:
        super().__init__(f"{problem} (expected {expected})" if expected else problem)


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
        raise UnreadableError("the JSON is nested too deep", f"at most {MAX_DEPTH} levels") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UnreadableError(f"a number cannot be read: {str(error).partition(';')[0]}") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and not _is_shallow(value, MAX_DEPTH):
        raise UnreadableError("the JSON is nested too deep", f"at most {MAX_DEPTH} levels")
    return value


def _is_shallow(value: JsonValue, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        inner = (it.values() if isinstance(it, dict) else it for it in level if isinstance(it, dict | list))
        level = [item for items in inner for item in items]
        if not level:
            return True
    return False


def _no_conflict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        for key, found in pairs:
            # repr, since 1 == True == 1.0 although they are different things to write
            if found is not value[key] and repr(found) != repr(value[key]):
                raise UnreadableError(f"key {key[:60]!a} is given twice with different values", "one value")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableError(f"the number {text[:40]} is not JSON, or too large", "a finite number")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_no_conflict, parse_constant=_finite, parse_float=_finite)


def _canonical_arguments(value: object) -> object:
    """One form for each meaning: the text of a JSON object becomes the object, an object nested too deep becomes text."""
    if isinstance(value, dict):
        return value if _is_shallow(value, MAX_ARGUMENT_DEPTH) else json.dumps(value)
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        read = strict_json(value)
    except UnreadableError:
        return value
    return read if _is_shallow(read, MAX_ARGUMENT_DEPTH) else value


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


def _note_characters(defects: tuple[Defect, ...], info: ValidationInfo) -> tuple[Defect, ...]:
    """Adds the characters that are hard to handle, however the scenario is made; `defects` comes last in every record."""
    known = {defect.path for defect in defects if defect.code == "invalid_characters"}
    texts: list[tuple[str, str]] = [(key, info.data[key]) for key in ("text", "prompt", "response") if key in info.data]
    texts += [(f"messages[{i}]", text_of(message)) for i, message in enumerate(info.data.get("messages", ()))]
    found = [(path, _HARD_CHARACTERS.search(text)) for path, text in texts if path not in known]
    made = (Defect(code="invalid_characters", path=path, found=ascii(match.group())) for path, match in found if match)
    return (*defects, *made)


Defects: TypeAlias = Annotated[tuple[Defect, ...], AfterValidator(_note_characters), Field(validate_default=True)]


class Prompt(Record):
    """A request that nobody has answered.

    Attributes:
        id: Unique in its file; everything is keyed by it.
        text: The request.
        defects: What reading had to change or could not read, and characters that are hard to handle.
    """

    id: str
    type: Literal["prompt"] = "prompt"
    text: Text
    defects: Defects = ()

    def texts(self) -> tuple[str, ...]:
        """All texts in order."""
        return (self.text,)


class Exchange(Record):
    """A request and its answer.

    Attributes:
        id: Unique in its file.
        prompt: The request.
        response: The answer.
        defects: As for `Prompt`.
    """

    id: str
    type: Literal["exchange"] = "exchange"
    prompt: Text
    response: Text
    defects: Defects = ()

    def texts(self) -> tuple[str, ...]:
        """All texts in order."""
        return (self.prompt, self.response)


class Trajectory(Record):
    """What an agent was asked, did and got back.

    Attributes:
        id: Unique in its file.
        messages: In order, at least one.
        defects: As for `Prompt`.
    """

    id: str
    type: Literal["trajectory"] = "trajectory"
    messages: tuple[Message, ...] = Field(min_length=1)
    defects: Defects = ()

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
    read: Iterator[Example | ReadFailure] = _reader().read(source, check_format(format), name)
    return read


def detect_format(source: Source) -> FormatName:
    """The format that "auto" takes an input for, judged by its first records; else as `read_examples`."""
    found: FormatName = _reader().detect_format(source)
    return found


def _reader() -> Any:
    """The readers stand on this module, a floor up: like backends they are loaded by name, when first asked for."""
    return importlib.import_module("safetyanalyst.scenario_formats.reader")


def _dump_message(message: Message) -> dict[str, Any]:
    dumped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        functions = ((call.id, {"name": call.name, "arguments": call.arguments}) for call in message.tool_calls)
        dumped["tool_calls"] = [{"id": id, "type": "function", "function": function} for id, function in functions]
    optional = {"tool_call_id": message.tool_call_id, "name": message.name}
    return dumped | {key: value for key, value in optional.items() if value is not None}


def _message_index(defect: Defect) -> int | None:
    match = re.match(r"messages\[(\d+)\]", defect.path)
    return int(match.group(1)) if match else None
