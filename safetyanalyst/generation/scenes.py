"""A scenario as titled passages, and within a budget of tokens: whatever does not fit is recorded, never lost in silence.

Long passages are cut in the middle first, the longest most, since how a text begins and ends says most of what it wants. If
even short pieces of all passages are too many, steps from the middle are left out; the request and the last steps stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from safetyanalyst.generation.quoting import quoted
from safetyanalyst.scenarios import Exchange, Message, Scenario, Step, Trajectory, text_of
from safetyanalyst.trees import Defect

_LEAST = 24  # tokens of a passage that is cut, before passages are left out
_TITLE = 8  # tokens that title and marks of a passage take, about
_HEAD = 0.6  # of what is kept of a passage


class Passage(NamedTuple):
    """A part of a scenario.

    Attributes:
        title: What it is, in our words.
        text: What it says, in somebody's.
        path: Where it stands in the scenario, for defects.
    """

    title: str
    text: str
    path: str


class Fitted(NamedTuple):
    """Passages within a budget, and what was left out."""

    passages: tuple[Passage, ...]
    defects: tuple[Defect, ...]


def passages_of(scenario: Scenario) -> tuple[Passage, ...]:
    """All of a scenario in order."""
    if isinstance(scenario, Trajectory):
        return tuple(_of_trajectory(scenario))
    if isinstance(scenario, Exchange):
        return (Passage("The user:", scenario.prompt, "prompt"), Passage("The assistant:", scenario.response, "response"))
    return (Passage("The user:", scenario.text, "text"),)


def fitted(passages: Sequence[Passage], budget: int, count: Callable[[str], int]) -> Fitted:
    """The passages within a budget.

    Args:
        passages: At least one.
        budget: Tokens of the passages as they are quoted.
        count: Tokens of a text.
    """
    lengths = [_tokens(it, count) for it in passages]
    if sum(lengths) <= budget:
        return Fitted(tuple(passages), ())
    kept = _kept(lengths, budget)
    cap = _cap([lengths[i] for i in kept], budget)
    shown: list[Passage] = []
    defects: list[Defect] = []
    for i, passage in enumerate(passages):
        if i not in kept:
            if not shown or shown[-1].path:
                shown.append(Passage("(steps are left out here)", "", ""))
            defects.append(Defect(code="elided_input", path=passage.path, found=f"left out, {len(passage.text)} characters"))
            continue
        cut = _cut(passage, cap, lengths[i], count)
        left_out = len(passage.text) - len(cut.text)
        if cut is not passage:
            defects.append(
                Defect(code="elided_input", path=passage.path, found=f"{left_out} of {len(passage.text)} characters")
            )
        shown.append(cut)
    return Fitted(tuple(shown), tuple(defects))


def _of_trajectory(trajectory: Trajectory) -> Iterator[Passage]:
    titled = (it for step in trajectory.steps() for it in _of_step(step))  # in the order of the messages
    for i, (title, text) in enumerate((*titled, *map(_of_message, trajectory.pending()))):
        yield Passage(title, text, f"messages[{i}]")


def _of_step(step: Step) -> Iterator[tuple[str, str]]:
    yield from map(_of_message, step.context)
    yield f"Step {step.index}, the agent:", text_of(step.action)
    for result in step.results:
        yield f"Step {step.index}, result:", result.content


def _of_message(message: Message) -> tuple[str, str]:
    titles = {"user": "The user:", "system": "Setting of the agent:", "tool": "Result of a tool:", "assistant": "The agent:"}
    return titles[message.role], text_of(message)


def _kept(lengths: Sequence[int], budget: int) -> frozenset[int]:
    """Which passages stay: the first, then from the last one backwards as long as a piece of each fits."""
    least = [min(length, _LEAST + _TITLE) for length in lengths]
    kept, spent = {0}, least[0]
    for i in range(len(lengths) - 1, 0, -1):
        if spent + least[i] > budget:
            break
        kept.add(i)
        spent += least[i]
    return frozenset(kept)


def _cap(lengths: Sequence[int], budget: int) -> int:
    """The greatest length that all may have so that their sum is within the budget."""
    low, high = _LEAST, max(lengths)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(length, middle) for length in lengths) <= budget else (low, middle - 1)
    return low


def _tokens(passage: Passage, count: Callable[[str], int]) -> int:
    return count(quoted(passage.text)) + _TITLE


def _cut(passage: Passage, cap: int, length: int, count: Callable[[str], int]) -> Passage:
    """The passage without its middle, so that at most `cap` of its `length` tokens are left."""
    if length <= cap:
        return passage
    room = int(len(passage.text) * max(cap - 2 * _TITLE, 1) / length)  # the note of what is left out takes tokens as well
    cut = _without_middle(passage, room)
    while room > 1 and _tokens(cut, count) > cap:  # its ends hold more tokens than its middle
        room //= 2
        cut = _without_middle(passage, room)
    return cut


def _without_middle(passage: Passage, room: int) -> Passage:
    head = int(room * _HEAD)
    tail = room - head
    gone = len(passage.text) - room
    text = f"{passage.text[:head]} [{gone} characters left out] {passage.text[len(passage.text) - tail :]}"
    return passage._replace(text=text)
