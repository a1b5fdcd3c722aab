"""Benchmarks of agents in their own schemas: R-Judge's records and SODA's tasks, as trajectories."""

from __future__ import annotations

import re

from pydantic import JsonValue

from safetyanalyst.scenario_formats.chat import read_chat
from safetyanalyst.scenario_formats.grammar import shown
from safetyanalyst.scenario_formats.keys import ReadRow, Row, json_list, optional_text, text_at
from safetyanalyst.scenarios import Message, ToolCall, Trajectory, UnreadableError

LEAKS = ("goal", "risk_description")
"""What R-Judge's annotators wrote about the outcome: whoever saw it would know the label, so it is read nowhere."""


def read_r_judge(row: Row, id: str) -> ReadRow:
    """R-Judge (arXiv 2401.10019): sessions of turns by user, agent (thought and action) and environment."""
    profile = optional_text(row, "profile", "record")
    messages = [Message(role="system", content=profile)] if profile else []
    sessions = row.get("contents")
    if not isinstance(sessions, list) or not all(isinstance(session, list) for session in sessions):
        raise UnreadableError(f"contents is {shown(sessions)}", "a list of sessions, each a list of turns")
    for i, session in enumerate(sessions):
        assert isinstance(session, list)
        messages += [_turn(turn, f"contents[{i}][{j}]") for j, turn in enumerate(session)]
    if len(messages) == bool(profile):
        raise UnreadableError("contents holds no turn", "at least one")
    return ReadRow(Trajectory(id=id, messages=tuple(messages)), ("contents", "profile", *LEAKS))


def _turn(turn: JsonValue, path: str) -> Message:
    if not isinstance(turn, dict):
        raise UnreadableError(f"{path} is {shown(turn)}", "an object with role")
    role = turn.get("role")
    if role == "agent":
        return _agent_turn(turn, path)
    if role == "user" or role == "environment":
        if "content" not in turn:
            raise UnreadableError(f"{path}.content is missing", "text or null")
        return Message(role="user" if role == "user" else "tool", content=optional_text(turn, "content", path) or "")
    raise UnreadableError(f"{path}.role is {shown(role)}", "user, agent or environment")


# the three ways in which R-Judge's agents write a call: `Tool{...}`, `Tool: {...}`, `Tool\nAction Input: {...}`
_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*+)(?:[ \t]*+:|[ \t]*+\n[ \t]*+Action Input:)?[ \t]*+(?=\{)")


def _agent_turn(turn: Row, path: str) -> Message:
    if "thought" not in turn and "action" not in turn:
        raise UnreadableError(f"{path} has neither thought nor action", "at least one of them")
    thought = optional_text(turn, "thought", path) or ""
    action = optional_text(turn, "action", path) or ""
    stripped = action.strip()
    call = _CALL.match(stripped) if stripped.endswith("}") else None
    if call:
        made = ToolCall(name=call.group(1), arguments=stripped[call.end() :])
        return Message(role="assistant", content=thought, tool_calls=(made,))
    return Message(role="assistant", content="\n".join(part for part in (thought, action) if part))


def read_soda(row: Row, id: str) -> ReadRow:
    """SODA (arXiv 2606.07867): what an agent was told so far, then the turns that a user will take, in one environment."""
    environment = _environment(row)
    turns = json_list(row, "user_turns")
    if not all(isinstance(turn, str) for turn in turns):
        raise UnreadableError("user_turns holds something else than text", "a list of texts")
    before = json_list(row, "prefilled_messages") if row.get("prefilled_messages") is not None else []
    messages: list[JsonValue] = [*before, *({"role": "user", "content": turn} for turn in turns)]
    chat = read_chat(messages, tools=environment.get("tools"), environment=text_at(environment, "name"))
    used = ("user_turns", "prefilled_messages", "tools", "parameters")
    return ReadRow(Trajectory(id=id, messages=chat.messages, defects=chat.defects), used)


def _environment(row: Row) -> Row:
    """Name and tools, from flat keys or from the one entry of `environments`."""
    several = row.get("environments")
    if several is None:
        if not isinstance(row.get("env_name"), str):
            raise UnreadableError(f"env_name is {shown(row.get('env_name'))}", "the name of the environment")
        return {"name": row["env_name"], "tools": json_list(row, "tools") if row.get("tools") is not None else []}
    if not isinstance(several, list) or len(several) != 1 or not isinstance(several[0], dict):
        raise UnreadableError(f"environments is {shown(several)}", "a list of one object with name and tools")
    return several[0]
