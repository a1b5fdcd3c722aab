from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.cached import CachedBackend
from safetyanalyst.generation.chats import Chat, Completion, Sampling, TextBackend, Turn
from safetyanalyst.generation.grammar import Grammar
from tests.generation.answering import Answering


def chats(*texts: str) -> list[Chat]:
    return [Chat(turns=(Turn(role="user", content=text),)) for text in texts]


def upper() -> Answering:
    return Answering(lambda chat, how: Completion(text=chat.turns[0].content.upper(), prompt_tokens=5, seconds=1.5))


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), max_size=4))
def test_it_answers_like_the_backend_and_asks_for_each_chat_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]]
) -> None:
    backend = upper()
    cached = CachedBackend(backend, tmp_path_factory.mktemp("cache") / "answers.sqlite")
    for call in calls:
        found = cached.complete(chats(*call))
        assert [it.text for it in found] == [it.text for it in upper().complete(chats(*call))]
    assert sorted(chat.turns[0].content for chat in backend.asked) == sorted({text for call in calls for text in call})
    assert cached.n_asked + cached.n_remembered == sum(map(len, calls))
    cached.close()


def test_another_run_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    first, second = upper(), upper()
    CachedBackend(first, tmp_path / "a.sqlite").complete(chats("a", "b"))
    cached = CachedBackend(second, tmp_path / "a.sqlite")
    assert isinstance(cached, TextBackend)
    found = cached.complete(chats("b", "c", "a"))
    assert [it.text for it in found] == ["B", "C", "A"]
    assert [chat.turns[0].content for chat in second.asked] == ["c"]
    assert (cached.n_asked, cached.n_remembered) == (1, 2)
    assert [it.attempts for it in found] == [0, 1, 0]
    assert found[1] == upper().complete(chats("c"))[0]


def test_whatever_decides_an_answer_is_part_of_its_key(tmp_path: Path) -> None:
    backend = upper()
    cached = CachedBackend(backend, tmp_path / "a.sqlite")
    (chat,) = chats("a")
    asked = [
        (chat, None, None),
        (chat, Grammar(form="dense", regex="-"), None),
        (chat, None, Sampling(seed=1)),
        (chat.model_copy(update={"adapter": "harm"}), None, None),
        (chat.model_copy(update={"wrap": "none"}), None, None),
    ]
    for it, grammar, sampling in asked * 2:
        cached.complete([it], grammar, sampling)
    assert len(backend.asked) == len(asked)
    other = upper()
    other.model = "another"
    CachedBackend(other, tmp_path / "a.sqlite").complete([chat])
    elsewhere = upper()
    elsewhere.fingerprint = "another adapter"
    CachedBackend(elsewhere, tmp_path / "a.sqlite").complete([chat])
    assert len(other.asked) == len(elsewhere.asked) == 1


def test_a_failure_is_asked_again(tmp_path: Path) -> None:
    backend = Answering(lambda chat, how: Completion(text="", finish="error", error="down"))
    cached = CachedBackend(backend, tmp_path / "a.sqlite")
    for _ in range(2):
        assert [it.finish for it in cached.complete(chats("a"))] == ["error"]
    assert len(backend.asked) == 2


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are no answers " * 100, encoding="utf-8")
    with pytest.raises(BackendError, match=r"notes.txt: cannot hold answers"):
        CachedBackend(upper(), path)
