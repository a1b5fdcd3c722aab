from __future__ import annotations

import json
import re
from collections import Counter
from itertools import chain, count

from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.generation.backends.embedded_text import (
    CONTEXT,
    MAX_CHUNKS,
    WINDOW,
    Chunk,
    chunks_of,
    cleaned,
    unescaped,
    words_of,
)
from safetyanalyst.scenarios import Exchange, Message, Prompt, Scenario, ToolCall, Trajectory

HEAD = 40
ENCODER_WINDOW = 512  # tokens, separators included


def numbers(text: str) -> list[int]:
    """A tokenizer of a word per number; nothing else is a word."""
    return [int(word) for word in re.findall(r"\d+", text)]


def body(chunk: Chunk) -> list[int]:
    """What a chunk holds beside the repeated head of the request."""
    parts = chunk.parts[1:] if len(chunk.parts) > 1 else chunk.parts
    return list(chain.from_iterable(parts))


def words_in(scenario: Scenario) -> list[int]:
    return [word for text in scenario.texts() for word in numbers(text)]


class Writer:
    """Makes texts of numbers that were never used before."""

    def __init__(self) -> None:
        self._next = count(1)

    def text(self, n: int) -> str:
        return " ".join(str(next(self._next)) for _ in range(n))

    def message(self, role: str, n: int) -> Message:
        return Message(role=role, content=self.text(n))  # type: ignore[arg-type]

    def deed(self, spoken: int, called: int) -> Message:
        words = self.text(spoken)
        calls = (ToolCall(name="send_mail", arguments={"what": self.text(called)}),) if called else ()
        return Message(role="assistant", content=words, tool_calls=calls)


lengths = st.integers(0, 5) | st.integers(30, 50) | st.integers(90, 350)
turns = st.tuples(lengths, lengths, st.lists(lengths, max_size=3), st.none() | st.integers(1, 300))


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """A system message, the request, steps of a deed and its results; the user, a system message or a stray result between."""
    writer = Writer()
    messages = [writer.message("system", draw(lengths)), writer.message("user", draw(st.integers(1, 300)))]
    for spoken, called, results, again in draw(st.lists(turns, max_size=4)):
        messages.append(writer.deed(spoken, called))
        messages += [writer.message("tool", n) for n in results]
        if again is not None:
            messages.append(writer.message(draw(st.sampled_from(("user", "system"))), again))
            messages += [writer.message("tool", n) for n in results[:1]]  # belongs to no step
    return Trajectory(id="t", messages=tuple(messages))


@given(trajectories())
def test_every_word_of_a_trajectory_is_read_exactly_once_beside_the_heads(trajectory: Trajectory) -> None:
    read = [word for chunk in chunks_of(trajectory, numbers) for word in body(chunk)]
    assert Counter(read) == Counter(words_in(trajectory))


@given(trajectories())
def test_the_head_is_of_the_request_in_force_and_a_step_holds_its_own_words(trajectory: Trajectory) -> None:
    asked = [numbers(message.content) for message in trajectory.messages if message.role == "user"]
    of_step = [set(numbers(" ".join(map(str, (it.action.content, *it.action.tool_calls))))) for it in trajectory.steps()]
    for known, step in zip(of_step, trajectory.steps(), strict=True):
        known |= {word for result in step.results for word in numbers(result.content)}
    chunks = chunks_of(trajectory, numbers)
    assert numbers(trajectory.messages[1].content)[:WINDOW] == chunks[0].parts[0]
    for chunk in chunks:
        if len(chunk.parts) > 1:
            assert chunk.parts[0] in [request[:HEAD] for request in asked]
        if chunk.step != CONTEXT:
            assert set(body(chunk)) <= of_step[chunk.step]
    assert [k for k, _ in Counter(it.step for it in chunks if it.step >= 0).items()] == list(range(len(of_step)))


@given(trajectories())
def test_a_chunk_fits_the_encoder(trajectory: Trajectory) -> None:
    for chunk in chunks_of(trajectory, numbers):
        assert len(body(chunk)) <= WINDOW
        assert sum(map(len, chunk.parts)) + len(chunk.parts) + 1 <= ENCODER_WINDOW


def test_a_deed_stands_beside_what_came_of_it() -> None:
    asked, deed, result = (Writer(), Writer(), Writer())
    trajectory = Trajectory(
        id="t", messages=(asked.message("user", 3), deed.deed(2, 4), result.message("tool", 5), result.message("tool", 1))
    )
    request, step = chunks_of(trajectory, numbers)
    assert request == Chunk(CONTEXT, ([1, 2, 3],))
    assert step == Chunk(0, ([1, 2, 3], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_prompts_and_exchanges_are_read_in_windows_whole(n: int, m: int) -> None:
    writer = Writer()
    question, answer = writer.text(n), writer.text(m)
    alone = chunks_of(Prompt(id="p", text=question), numbers)
    assert [word for chunk in alone for word in body(chunk)] == numbers(question)
    assert {chunk.step for chunk in alone} == {CONTEXT}
    both = chunks_of(Exchange(id="x", prompt=question, response=answer), numbers)
    assert [word for chunk in both for word in body(chunk)] == numbers(question) + numbers(answer)
    for chunk in both:
        if chunk.step == 0:
            assert set(body(chunk)) <= set(numbers(answer))
            assert n == 0 or chunk.parts[0] == numbers(question)[:HEAD]


def test_there_is_always_a_chunk_and_never_more_than_one_beyond_the_bound() -> None:
    assert chunks_of(Prompt(id="p", text=""), numbers) == [Chunk(CONTEXT, ([],))]
    assert chunks_of(Trajectory(id="t", messages=(Message(role="user", content=""),)), numbers) == [Chunk(CONTEXT, ([],))]
    whole = chunks_of(Prompt(id="p", text=" ".join(map(str, range(MAX_CHUNKS * WINDOW)))), numbers)
    more = chunks_of(Prompt(id="p", text=" ".join(map(str, range(MAX_CHUNKS * WINDOW + 1)))), numbers)
    far_more = chunks_of(Prompt(id="p", text=" ".join(map(str, range(3 * MAX_CHUNKS * WINDOW)))), numbers)
    assert (len(whole), len(more), len(far_more)) == (MAX_CHUNKS, MAX_CHUNKS + 1, MAX_CHUNKS + 1)


def test_formulas_of_agent_frameworks_are_no_words() -> None:
    assert cleaned("Final Answer: 12").strip() == "12"
    assert words_of("[Action]: Send_mail <answer>It\u2019s done</answer>") == ["send", "mail", "it's", "done"]
    assert words_of("the answer is final") == ["the", "answer", "is", "final"]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4))
def test_a_prompt_that_is_said_several_times_reads_as_said_once(numbers_said: list[int], times: int) -> None:
    text = " ".join(map(str, numbers_said))
    once, often = (chunks_of(Prompt(id="p", text=it), numbers) for it in (text, "\n\n".join([text] * times)))
    assert once == often
    unit = body(once[0])
    assert numbers_said == unit * (len(numbers_said) // len(unit))  # nothing but repetition was left out


def test_line_breaks_that_json_spells_do_not_stick_to_words() -> None:
    heard: list[str] = []

    def hear(text: str) -> list[int]:
        heard.extend(text.split())
        return []

    deed = Message(role="assistant", tool_calls=(ToolCall(name="mail", arguments={"body": "Dear all,\nplease\twait"}),))
    told = Message(role="tool", content='{"said": "one\\r\\ntwo"}')
    chunks_of(Trajectory(id="t", messages=(Message(role="user", content="keep \\next"), deed, told)), hear)
    assert {"all,", "please", "wait"} <= {word.strip('"})') for word in heard}
    assert {"one", "two"} <= {word.strip('"}') for word in heard}
    assert "\\next" in heard  # what a user types is no JSON


@given(st.text(alphabet="\\\n\r\tnrta ", max_size=40))
def test_only_white_space_is_unescaped(text: str) -> None:
    assert unescaped(json.dumps(text)) == '"' + re.sub(r"[\r\t]", "\n", text.replace("\\", "\\\\")) + '"'
