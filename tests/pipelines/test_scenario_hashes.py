from __future__ import annotations

import hashlib
import hmac
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.pipelines.scenario_hashes import HashedScenarios, ScenarioStore, content_hash, key_fingerprint
from safetyanalyst.scenarios import Example, Exchange, Message, Prompt, ReadFailure, ToolCall, Trajectory, read_examples

CHAT = Trajectory(
    id="t",
    messages=(
        Message(role="user", content="a"),
        Message(role="assistant", tool_calls=(ToolCall(name="rm", arguments={"path": "/"}),)),
    ),
)


def test_the_hash_can_be_had_without_this_package() -> None:
    expected = hashlib.sha256(b'{"text":"How?","type":"prompt"}').hexdigest()
    assert content_hash(Prompt(id="1", text="How?")) == content_hash(Prompt(id="2", text="How?")) == expected
    key = b"0123456789abcdef"
    keyed = hmac.new(key, b'{"text":"How?","type":"prompt"}', "sha256").hexdigest()
    assert content_hash(Prompt(id="1", text="How?"), key) == keyed
    assert len(key_fingerprint(key)) == 16


def test_whatever_differs_in_content_differs_in_hash() -> None:
    kinds = [Prompt(id="a", text="x"), Prompt(id="a", text="x "), Exchange(id="a", prompt="x", response=""), CHAT]
    assert len({content_hash(it) for it in kinds}) == len(kinds)


@given(st.text(alphabet=st.characters(codec=None, categories=None), max_size=20), st.text(max_size=5))
def test_any_text_has_a_hash_and_a_line_that_reads_back(text: str, other: str) -> None:
    items = [Example(scenario=Prompt(id="p", text=text)), Example(scenario=Exchange(id="e", prompt=text, response=other))]
    with ScenarioStore(items, None, Path(tempfile.gettempdir())) as store:
        for item in items:
            known = store.find(item.scenario.id)
            assert known is not None
            (again,) = read_examples([store.text(known)], "jsonl")
            assert isinstance(again, Example)
            assert again.scenario == item.scenario
            assert known.hash == content_hash(again.scenario)


def test_an_id_of_several_different_scenarios_stands_for_none(tmp_path: Path) -> None:
    items = [
        Example(scenario=Prompt(id=id, text=text)) for id, text in (("a", "1"), ("b", "2"), ("a", "3"), ("b", "2"), ("a", "1"))
    ]
    failure = ReadFailure(id="c", error="x")
    with ScenarioStore([*items, failure], None, tmp_path) as store:
        found = store.find("b")
        assert (store.find("a"), store.find("c")) == (None, None)
        assert found is not None
        assert found.hash == content_hash(items[1].scenario)
    hashed = HashedScenarios([*items, failure], None)
    assert ("a" in hashed, hashed["a"], "c" in hashed) == (True, None, False)
    assert hashed["b"] == content_hash(items[1].scenario)


def test_the_store_leaves_nothing(tmp_path: Path) -> None:
    with ScenarioStore([Example(scenario=CHAT)], None, tmp_path):
        assert list(tmp_path.iterdir()) == [] or pytest.skip("this system cannot hide a file")
    assert list(tmp_path.iterdir()) == []
