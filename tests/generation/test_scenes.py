from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.generation.scenes import Passage, fitted, passages_of
from safetyanalyst.scenarios import Exchange, Message, Prompt, ToolCall, Trajectory

texts = st.lists(st.text("ab ", max_size=600), min_size=1, max_size=30)


def words(text: str) -> int:
    return len(text) // 4 + 1


def passages(said: list[str]) -> list[Passage]:
    return [Passage(f"Step {i}:", text, f"messages[{i}]") for i, text in enumerate(said)]


@given(texts, st.integers(64, 4000))
def test_what_is_shown_is_within_the_budget_and_what_is_not_is_recorded(said: list[str], budget: int) -> None:
    whole = passages(said)
    kept = fitted(whole, budget, words)
    assert sum(words(it.text) for it in kept.passages) <= budget
    shown = {it.path: it.text for it in kept.passages}
    recorded = {it.path for it in kept.defects}
    assert {it.code for it in kept.defects} <= {"elided_input"}
    for it in whole:
        assert (shown.get(it.path) == it.text) == (it.path not in recorded)
    assert kept.passages[0].path == "messages[0]"
    assert [it.path for it in kept.passages if it.path] == [it.path for it in whole if it.path in shown]


@given(texts)
def test_what_fits_is_shown_as_it_is(said: list[str]) -> None:
    whole = passages(said)
    assert fitted(whole, 10**9, words) == (tuple(whole), ())


def test_a_long_text_keeps_its_ends_and_says_how_much_is_gone() -> None:
    text = "begin " + "x" * 5000 + " end"
    kept = fitted([Passage("The user:", text, "text")], 200, words)
    (shown,) = kept.passages
    assert shown.text.startswith("begin ")
    assert shown.text.endswith(" end")
    (defect,) = kept.defects
    gone = int(shown.text.partition("[")[2].split()[0])
    assert gone == 5010 - (len(shown.text) - len(f" [{gone} characters left out] "))
    assert "of 5010 characters" in defect.found


def test_the_request_and_the_last_steps_stay_of_a_long_run() -> None:
    kept = fitted(passages(["do it", *["y" * 400] * 60, "done"]), 600, words)
    titles = [it.title for it in kept.passages]
    assert titles[0] == "Step 0:"
    assert titles[1] == "(steps are left out here)"
    assert titles[-1] == "Step 61:"
    assert len(kept.defects) == 60


def test_a_trajectory_is_shown_in_order_with_its_steps_numbered() -> None:
    call = ToolCall(name="read_mail", arguments={"n": 1})
    run = Trajectory(
        id="t",
        messages=(
            Message(role="system", content="You tidy mailboxes."),
            Message(role="user", content="Tidy up"),
            Message(role="assistant", content="I look.", tool_calls=(call,)),
            Message(role="tool", content="spam"),
            Message(role="tool", content="more spam"),
            Message(role="assistant", content="Done."),
            Message(role="user", content="Thanks"),
        ),
    )
    found = passages_of(run)
    assert [it.title for it in found] == [
        "Setting of the agent:", "The user:", "Step 0, the agent:", "Step 0, result:", "Step 0, result:", "Step 1, the agent:",
        "The user:",
    ]  # fmt: skip
    assert found[2].text == 'I look.\nread_mail({"n": 1})'
    assert [it.path for it in found] == [f"messages[{i}]" for i in range(7)]


def test_equal_messages_keep_their_own_places() -> None:
    again = Message(role="assistant", content="Again.")
    run = Trajectory(id="t", messages=(Message(role="user", content="Go"), again, again))
    assert [it.path for it in passages_of(run)] == ["messages[0]", "messages[1]", "messages[2]"]


def test_prompts_and_exchanges_name_who_speaks() -> None:
    assert passages_of(Prompt(id="p", text="hi")) == (Passage("The user:", "hi", "text"),)
    assert [it.path for it in passages_of(Exchange(id="x", prompt="hi", response="ho"))] == ["prompt", "response"]
