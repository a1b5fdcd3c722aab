from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safetyanalyst.policy import load_policy
from tests.mutations import damaged_texts, damaged_trees, harmful_tree

Run = Callable[..., Any]
BOTH = ["balanced", "wildjailbreak-v1"]


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "trees.jsonl"
    path.write_text("".join(f"{it if isinstance(it, str) else json.dumps(it)}\n" for it in lines), encoding="utf-8")
    return path


def test_our_own_output_assessed_again_is_the_same_output(sa: Run, config: str, prompts: Any, tmp_path: Path) -> None:
    texts = ["arson", "bread", "unsure", "mallory arson", "silent", "crash", "gossip", "\x00 arson \ud800"]
    path = prompts(*texts)
    chat = {"id": "t", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "arson"}]}
    path.write_text(f"{path.read_text()}{json.dumps(chat)}\n", encoding="utf-8")
    first = sa("analyze", "--file", path, "--config", config, "--json")
    stored = written(tmp_path, first.out.rstrip("\n"))
    again = sa("assess", stored, "--policy", "wildjailbreak-v1", "--json")
    assert (again.status, again.out) == (first.status, first.out)
    other = sa("assess", stored, "--policy", "balanced", "--json")
    assert {line["policy"]["name"] for line in other.lines} == {"balanced"}
    assert [line["trees"] for line in other.lines] == [line["trees"] for line in first.lines]


def test_a_failed_item_stays_failed(sa: Run, config: str, tmp_path: Path) -> None:
    first = sa("analyze", "--file", written(tmp_path, "rubbish", {"id": "a", "text": "bread"}), "--config", config, "--json")
    again = sa("assess", written(tmp_path, first.out.rstrip("\n")), "--policy", "wildjailbreak-v1", "--json")
    assert again.status == first.status == 3
    assert again.lines[1] == first.lines[1]
    assert again.lines[0]["error"] == first.lines[0]["error"]
    assert again.lines[0]["decision"] == "review"


@pytest.mark.parametrize("policy", BOTH)
def test_the_published_form_in_every_wrapping(sa: Run, tmp_path: Path, policy: str) -> None:
    tree = harmful_tree()
    wrapped = [
        {"id": "a", "tree": tree},
        tree,
        {"id": "b", "tree": json.dumps(tree)},
        {"id": 4, "harm-benefit tree": json.dumps(tree, indent=1)},
    ]
    done = sa("assess", written(tmp_path, *wrapped), "--policy", policy, "--json")
    assert done.status == 0
    assert [line["id"] for line in done.lines] == ["a", "line-2", "b", "4"]
    assert len({json.dumps(line | {"id": ""}) for line in done.lines}) == 1
    (line, *_) = done.lines
    assert (line["type"], line["decision"], line["defects"], line["provenance"]) == ("tree", "block", [], {})
    assert line["score"] == pytest.approx(sum(it["value"] for it in line["contributions"]), abs=1e-12)
    assert line["policy"] == {"name": policy, "hash": load_policy(policy).hash}


def test_the_score_is_the_sum_of_the_definition(sa: Run, tmp_path: Path) -> None:
    done = sa("assess", written(tmp_path, harmful_tree()), "--policy", "wildjailbreak-v1", "--json")
    self_harm, criminal, benefit = 1.0, 0.6551856904980402, 0.13382644323515316
    assert done.lines[0]["score"] == pytest.approx(self_harm + criminal - benefit, abs=1e-12)


def test_several_files_drawn_and_quiet(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, {"id": "a", "tree": harmful_tree()}, "rubbish")
    drawn = sa("assess", path, path)
    assert drawn.status == 3
    assert drawn.out.count("BLOCK") == 2
    assert "4 scenarios: 0 allow, 2 review, 2 block (2 of them could not be analysed)" in drawn.out
    quiet = sa("assess", path, "--quiet")
    assert quiet.out.count("\n") == 2
    assert "line-2" in quiet.out


def test_what_cannot_be_read_has_its_line_number(sa: Run, tmp_path: Path) -> None:
    done = sa("assess", written(tmp_path, harmful_tree(), "", "{", {"id": "x"}, "3", '{"error": "old", "id": "y"}'), "--json")
    assert done.status == 3
    assert [(line["id"], line.get("line")) for line in done.lines] == [
        ("line-1", None),
        ("line-3", 3),
        ("x", 4),
        ("line-5", 5),
        ("y", 6),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such.jsonl"], "no such file"),
        ([], "Missing argument"),
        (["{trees}", "--policy", "no-such"], "no policy named 'no-such'"),
        (["{trees}", "--taxonomy", "no-such"], "no taxonomy named 'no-such'"),
        (["{empty}"], "no scenario"),
        (["{trees}", "--out", "{trees}"], "not an interrupted run"),
    ],
)
def test_mistakes_of_the_caller(sa: Run, tmp_path: Path, arguments: list[str], says: str) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    known = {"trees": str(written(tmp_path, harmful_tree())), "empty": str(empty)}
    done = sa("assess", *[argument.format(**known) for argument in arguments])
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.replace("│", " ").split())


def test_results_in_a_file_are_resumed_and_another_policy_or_input_refused(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, *[{"id": f"t{i}", "tree": harmful_tree()} for i in range(30)], "rubbish")
    out = tmp_path / "out.jsonl"
    direct = sa("assess", path, "--json")
    first = sa("assess", path, "--out", out)
    assert (first.status, first.out) == (3, "")
    assert "31 scenarios" in first.err
    assert out.read_text() == direct.out
    out.write_text(direct.out[: len(direct.out) // 2])
    resumed = sa("assess", path, "--out", out)
    assert resumed.status == 3
    assert "going on after" in resumed.err
    assert "31 scenarios: 0 allow, 1 review, 30 block (1 of them" in resumed.err
    assert out.read_text() == direct.out
    assert sa("assess", path, "--out", out).status == 3
    assert sa("assess", path, "--out", out, "--quiet").out == ""

    other_policy = sa("assess", path, "--out", out, "--policy", "wildjailbreak-v1")
    assert other_policy.status == 2
    assert "policy differ" in other_policy.err
    path.write_text(path.read_text() + "\n")
    other_input = sa("assess", path, "--out", out)
    assert other_input.status == 2
    assert "inputs differ" in other_input.err
    assert out.read_text() == direct.out


def test_hostile_words_in_trees_are_drawn_as_plain_text(sa: Run, tmp_path: Path) -> None:
    tree = harmful_tree()
    evil = "\x1b[31m[bold]x[/bold]\x07\u202e :smile:\r\n\ud800"
    tree[0]["stakeholder"] = evil
    tree[1]["benefits"][0]["action"] = evil
    tree[0]["harms"][0]["effects"][0] |= {"extent": evil, evil: evil}
    path = written(tmp_path, {"id": evil, "tree": tree, "policy": evil, "type": evil}, {"id": evil, "error": evil})
    for extra in ([], ["--quiet"]):
        done = sa("assess", path, *extra)
        assert done.status == 3
        assert not set(done.out + done.err) & {"\x1b", "\x07", "\u202e", "\ud800", "\r"}
        assert "[bold]x[/bold]" in done.out
        assert ":smile:" in done.out


# the fixture only builds a function: nothing is carried from one example to the next but the file it overwrites
fuzzed = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@fuzzed
@given(st.lists(st.one_of(damaged_trees(), damaged_texts()), min_size=1, max_size=8), st.sampled_from(BOTH))
def test_no_damaged_tree_is_ever_allowed(sa: Run, tmp_path: Path, trees: list[Any], policy: str) -> None:
    done = sa(
        "assess",
        written(tmp_path, *[{"id": f"t{i}", "tree": tree} for i, tree in enumerate(trees)]),
        "--policy",
        policy,
        "--json",
    )
    assert done.status in (0, 3)
    assert done.err == ""
    assert [line["id"] for line in done.lines] == [f"t{i}" for i in range(len(trees))]
    for line in done.lines:
        assert line["decision"] in ("review", "block")
        if line["decision"] == "review":
            assert line["defects"]
            assert line["score"] is None
            assert line["interval"] != [line["interval"][1]] * 2 or line["interval"] == [None, None]


@fuzzed
@given(damaged_texts())
def test_a_damaged_line_is_never_allowed(sa: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass").replace(b"\n", b" "))
    done = sa("assess", path, "--json")
    if done.status == 2:
        assert not text.strip()
        return
    assert done.status in (0, 3)
    assert all(line["decision"] != "allow" for line in done.lines)
    assert sa("assess", path).status == done.status
