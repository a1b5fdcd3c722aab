from __future__ import annotations

from typing import Any

import pytest

from safetyanalyst.generation import TreeGenerator, generate
from safetyanalyst.generation.chats import Chat, Completion, Sampling
from safetyanalyst.generation.grammar import Bounds
from safetyanalyst.generation.prompts import PromptStyle
from safetyanalyst.generation.specialist import Asking, Specialist
from safetyanalyst.scenarios import Message, Prompt, Trajectory
from safetyanalyst.taxonomy import load_taxonomy
from tests.generation.answering import Answer, Answering

TAXONOMY = load_taxonomy()
BRIEF = PromptStyle(detail="brief", bounds=Bounds(stakeholders=3))


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(id=f"p{i}", text=text) for i, text in enumerate(texts)]


def specialist(answer: Answer, kind: Any = "harm", constraints: Any = (), **asking: Any) -> tuple[Specialist, Answering]:
    backend = Answering(answer, constraints)
    return Specialist(kind, TAXONOMY, backend, Asking(**({"style": BRIEF} | asking))), backend


def shown(chat: Chat) -> str:
    """The quoted text of a chat about a prompt."""
    return next(line[2:] for line in chat.turns[1].content.splitlines() if line.startswith("> "))


def test_it_is_a_generator_that_answers_in_order() -> None:
    answers = {"a": "User|45:7i", "b": "-", "c": "Families|1:9a", "d": "User|45:7i"}
    it, backend = specialist(lambda chat, how: answers[shown(chat)])
    assert isinstance(it, TreeGenerator)
    found = generate(it, prompts("a", "b", "c", "a"))
    assert [g.scenario_id for g in found] == ["p0", "p1", "p2", "p3"]
    assert [[s.name for s in g.tree.stakeholders] if g.tree else None for g in found] == [["User"], [], ["Families"], ["User"]]
    assert not any(g.defects for g in found)
    assert [n for n, _, _ in backend.calls] == [4]
    assert it.generate([]) == []


def test_only_what_cannot_be_read_is_asked_for_again_and_then_recorded() -> None:
    def answer(chat: Chat, how: Sampling) -> str:
        text = shown(chat)
        late = "User|45:7i" if how.seed else "no"
        return {"good": "-", "late": late, "never": "I cannot help with that."}[text]

    it, backend = specialist(answer, retries=2)
    good, late, never = it.generate(prompts("good", "late", "never"))
    assert [n for n, _, _ in backend.calls] == [3, 2, 1]
    assert [how.seed for _, _, how in backend.calls] == [0, 1, 2]
    assert backend.calls[0][2].temperature == 0
    assert backend.calls[1][2].temperature > 0
    assert (good.attempts, late.attempts, never.attempts) == (1, 2, 3)
    assert (late.prompt_tokens, late.completion_tokens) == (20, 6)
    assert good.tree is not None
    assert late.tree is not None
    assert never.tree is None
    assert {d.code for d in never.defects} == {d.code for d in late.defects} == {"invalid_syntax"}
    assert never.raw == "I cannot help with that."


def test_a_failure_of_the_backend_is_a_record_and_is_not_asked_again() -> None:
    it, backend = specialist(lambda chat, how: Completion(text="", finish="error", error="no answer"), retries=3)
    (found,) = it.generate(prompts("a"))
    assert (found.tree, [d.code for d in found.defects], len(backend.calls)) == (None, ["generation_failed"], 1)
    assert found.defects[0].found == "no answer"


@pytest.mark.parametrize("text", ["User|45:7i", "User|45:7i7", "User|45:7i\nFam", "User|45:7i|4"])
def test_what_was_cut_off_keeps_its_complete_part_and_counts_as_lost(text: str) -> None:
    it, _ = specialist(lambda chat, how: Completion(text=text, finish="length"))
    (found,) = it.generate(prompts("a"))
    assert found.tree is not None
    assert found.tree.lost >= 1
    assert "truncated" in {d.code for d in found.defects}
    assert next(found.tree.leaves()).effect.extent == "substantial"


def test_an_answer_that_was_cut_off_at_once_is_missing() -> None:
    it, _ = specialist(lambda chat, how: Completion(text="", finish="length"), retries=0)
    (found,) = it.generate(prompts("a"))
    assert found.tree is None
    assert {d.code for d in found.defects} == {"empty_output", "truncated"}


def test_the_grammar_goes_to_backends_that_can_hold_to_it_and_runs_may_name_steps() -> None:
    run = Trajectory(id="t", messages=(Message(role="user", content="go"), Message(role="assistant", content="gone")))
    it, backend = specialist(lambda chat, how: "-", constraints=["regex"])
    it.generate([*prompts("a", "b"), run])
    assert [n for n, _, _ in backend.calls] == [2, 1]
    first, second = (grammar.regex for _, grammar, _ in backend.calls if grammar is not None and grammar.regex)
    assert "@" not in first
    assert "@" in second
    it, backend = specialist(lambda chat, how: "-", constraints=["json_schema"])
    it.generate(prompts("a"))
    assert backend.calls[0][1] is None  # the dense form has no schema: what comes is read with all its defects


def test_what_was_left_out_of_a_scenario_is_lost_harm() -> None:
    style = BRIEF.model_copy(update={"budget": 64})
    long = " ".join(["word"] * 500)
    for kind, lost in (("harm", 1), ("benefit", 0)):
        it, _ = specialist(lambda chat, how: "-", kind=kind, style=style)
        (found,) = it.generate(prompts(long))
        assert found.tree is not None
        assert found.tree.lost == lost
        assert [d.code for d in found.defects] == ["elided_input"]


def test_a_model_that_would_not_answer_is_not_believed_when_it_then_says_nothing() -> None:
    it, _ = specialist(lambda chat, how: "-" if how.seed else "I cannot help with that.", retries=1)
    (found,) = it.generate(prompts("a"))
    assert found.tree is None
    assert {d.code for d in found.defects} == {"invalid_syntax", "empty_list"}


@pytest.mark.parametrize("text", ["User|45:7i\n", "User|45:7i1", "User|45:7i\nFam", ""])
def test_an_engine_that_ends_a_text_in_its_middle_is_found_out(text: str) -> None:
    it, _ = specialist(lambda chat, how: text, constraints=["regex"], retries=0)
    (found,) = it.generate(prompts("a"))
    assert "truncated" in {d.code for d in found.defects}
    assert found.tree is None or found.tree.lost


def test_lone_surrogates_reach_no_backend() -> None:
    it, backend = specialist(lambda chat, how: "-")
    it.generate(prompts("a\ud800b"))
    assert shown(backend.asked[0]) == "a\ufffdb"


# by stakeholder


def by_parts(names: str, lines: dict[str, Completion | str]) -> Answer:
    def answer(chat: Chat, how: Sampling) -> Completion | str:
        *before, wanted = chat.turns[1].content.splitlines()
        if "only the names" in wanted:
            return names
        listed = before[before.index("The stakeholders:") + 1 :]
        return lines[listed[int(wanted.split("stakeholder ")[1].split()[0]) - 1].removeprefix("> ")]

    return answer


def test_by_stakeholder_the_lines_are_asked_for_at_once_and_make_the_same_tree() -> None:
    parts: dict[str, Completion | str] = {"User": "45:7i|1:9a", "Families": "41:9i1m"}
    it, backend = specialist(by_parts("User\nFamilies\nUser", parts), plan="by_stakeholder", constraints=["lark"])
    whole, _ = specialist(lambda chat, how: "User|45:7i|1:9a\nFamilies|41:9i1m")
    (one,), (other,) = it.generate(prompts("a")), whole.generate(prompts("a"))
    assert one.tree == other.tree
    assert one.raw == other.raw
    assert [n for n, _, _ in backend.calls] == [1, 2]
    assert (one.attempts, one.completion_tokens) == (3, 9)
    first, *others = [chat.turns for chat in backend.asked]
    shared = first[1].content.rpartition("\n\n")[0]
    for turns in others:  # all but the last paragraph is the same, and can come from a cache
        assert turns[0] == first[0]
        assert turns[1].content.startswith(shared)
    assert len({turns[1].content.rpartition("\n")[0] for turns in others}) == 1


def test_one_stakeholder_that_fails_is_a_lost_subtree() -> None:
    failed = Completion(text="", finish="error", error="gone")
    it, _ = specialist(by_parts("User\nFamilies", {"User": "User|45:7i", "Families": failed}), plan="by_stakeholder")
    (found,) = it.generate(prompts("a"))
    assert found.tree is not None
    assert ([s.name for s in found.tree.stakeholders], found.tree.lost) == (["User"], 1)
    assert "generation_failed" in {d.code for d in found.defects}


@pytest.mark.parametrize(
    ("names", "codes", "is_tree"),
    [
        ("-", set(), True),
        ("", {"empty_output"}, False),
        ("User|45:7i", {"invalid_syntax"}, False),
        ("I cannot help with that.", {"invalid_syntax"}, False),
        ("<think>who</think>", {"invalid_syntax"}, False),
        ("[]", {"invalid_syntax"}, False),
        ("a name that is far longer than the grammar would let it be", {"invalid_syntax"}, False),
        ("a\nb\nc\nd", {"truncated"}, True),
    ],
)
def test_lists_of_stakeholders(names: str, codes: set[str], is_tree: bool) -> None:
    lines: dict[str, Completion | str] = dict.fromkeys("abcd", "45:7i")
    it, _ = specialist(by_parts(names, lines), plan="by_stakeholder", retries=0)
    (found,) = it.generate(prompts("x"))
    assert {d.code for d in found.defects} == codes
    assert (found.tree is not None) == is_tree
    if names.startswith("a\n"):
        assert found.tree is not None
        assert (len(found.tree.stakeholders), found.tree.lost) == (3, 1)


@pytest.mark.parametrize("line", ["-", "I cannot.", ""])
def test_nothing_said_of_those_who_were_named_is_never_nothing(line: str) -> None:
    it, _ = specialist(by_parts("User", {"User": line}), plan="by_stakeholder", retries=0)
    (found,) = it.generate(prompts("a"))
    assert found.tree is None or found.tree.lost
    assert found.defects


def test_a_refusal_that_reads_like_a_name_is_no_harmless_tree() -> None:
    it, _ = specialist(by_parts("I cannot help with that", {"I cannot help with that": "-"}), plan="by_stakeholder")
    (found,) = it.generate(prompts("a"))
    assert found.tree is None
