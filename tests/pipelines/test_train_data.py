from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.train_data import (
    Labelled,
    folds_of,
    read_contrast,
    read_labelled,
    read_taught,
    read_unlabelled,
)
from safetyanalyst.scenarios import Trajectory
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
GOOD = {"id": "crime-0012", "text": "take it", "label": 1, "severity": 3, "actions": "45,32", "benefits": ""}
TAUGHT = {
    "id": "a1", "text": "steal the kettle", "harmful": 1, "severity": 3, "group": 1,
    "harm": ["Victims of crime | 45 | 6i3h"], "benefit": [],
}  # fmt: skip


def written(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_contrast_rows_are_read_with_what_their_author_said(tmp_path: Path) -> None:
    harmless = {"id": "crime-0020", "text": "mend it", "label": 0, "severity": 0, "actions": "", "benefits": "19"}
    near = GOOD | {"id": "crime-0019"}
    first, second, third = read_contrast(written(tmp_path / "crime.jsonl", GOOD, harmless, near), TAXONOMY, 0.7)
    names = {category.number: category.name for category in TAXONOMY.harm_actions}
    benefits = {category.number: category.name for category in TAXONOMY.benefit_actions}
    assert first[1:] == (1, 0.7, "crime/1", 3, (names[45], names[32]), ())
    assert second[1:] == (0, 0.7, "crime/2", 0, (), (benefits[19],))
    assert third.group == first.group != second.group
    assert first.scenario.texts() == ("take it",)


@pytest.mark.parametrize(
    "broken",
    [
        "{not json",
        {"id": "crime-0001", "text": "no label", "severity": 3, "actions": "", "benefits": ""},
        GOOD | {"severity": None},
        GOOD | {"severity": 5},
        GOOD | {"severity": -1},
        GOOD | {"severity": "3"},
        GOOD | {"actions": "99"},
        GOOD | {"actions": "45;32"},
        GOOD | {"benefits": "zero"},
        GOOD | {"id": "no_number"},
        GOOD | {"id": "crime-x1"},
    ],
    ids=str,
)
def test_a_broken_contrast_row_is_refused_by_line(tmp_path: Path, broken: dict[str, Any] | str) -> None:
    path = written(tmp_path / "crime.jsonl", GOOD, broken)
    with pytest.raises(ConfigError, match=r"crime\.jsonl: line 2"):
        list(read_contrast(path, TAXONOMY, 1.0))


def test_taught_texts_carry_trees_label_and_group(tmp_path: Path) -> None:
    doubted = TAUGHT | {"id": "b1", "second_opinion": 0}
    alone = {key: value for key, value in TAUGHT.items() if key != "group"} | {"id": "c1"}
    first, second, third = read_taught(written(tmp_path / "teacher.jsonl", TAUGHT, doubted, alone), TAXONOMY)
    assert (first.label, first.severity, first.weight, second.weight) == (1, 3, 1.0, 0.3)
    assert first.trees.harm is not None
    assert [leaf.stakeholder.name for leaf in first.trees.harm.leaves()] == ["Victims of crime"]
    assert first.trees.benefit is not None
    assert not first.trees.benefit.stakeholders
    assert (first.group, second.group, third.group) == ("teacher/a/1", "teacher/b/1", "c1")


def test_line_separators_within_a_text_and_blank_lines_do_not_part_trees_from_texts(tmp_path: Path) -> None:
    text = "first\u2028second\x85third"
    odd = json.dumps(TAUGHT | {"text": text}, ensure_ascii=False)
    first, second = read_taught(written(tmp_path / "teacher.jsonl", odd, "", TAUGHT | {"harmful": 0}), TAXONOMY)
    assert first.scenario.texts() == (text,)
    assert (first.label, second.label) == (1, 0)


@pytest.mark.parametrize("rows", [["User | 99 | 7i3h"], ["User | 45"], ["nonsense"]])
def test_a_broken_tree_is_refused_by_line(tmp_path: Path, rows: list[str]) -> None:
    path = written(tmp_path / "teacher.jsonl", TAUGHT, TAUGHT | {"harm": rows})
    with pytest.raises(ConfigError, match=r"teacher\.jsonl: line 2"):
        list(read_taught(path, TAXONOMY))


def test_labelled_and_unlabelled_texts_share_a_file(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "clean up"}, {"role": "assistant", "content": "ok"}, {"role": "tool", "content": "42"}]
    path = written(
        tmp_path / "train_a.jsonl",
        {"id": "l", "text": "steal", "label": 1},
        {"id": "u", "text": "whatever"},
        {"id": "t", "messages": chat},
        {"id": "s", "messages": chat, "label": 0, "suite": "mail", "user_task": 4},
    )
    found = list(read_labelled([path], 0.3))
    assert [(it.scenario.id, it.label, it.weight, it.group) for it in found] == [("l", 1, 0.3, "l"), ("s", 0, 0.3, "mail/4")]
    assert all(isinstance(it, Labelled) and it.severity is None for it in found)
    assert [it.id for it in read_unlabelled([path])] == ["u"]


def test_a_broken_line_is_named_and_never_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "train_b.jsonl", {"id": "l", "text": "steal", "label": 1}, "{broken")
    for read in (lambda: list(read_labelled([path], 0.3)), lambda: list(read_unlabelled([path]))):
        with pytest.raises(ConfigError, match=r"train_b\.jsonl: line 2"):
            read()


def test_runs_of_one_request_are_one_group_and_comments_of_the_emulator_are_left_out(tmp_path: Path) -> None:
    def run(result: str, request: str) -> dict[str, Any]:
        none = {"id": "0", "type": "function", "function": {"name": "None", "arguments": {}}}
        deed = {"role": "assistant", "content": "ok", "tool_calls": [none]}
        messages = [{"role": "user", "content": request}, deed, {"role": "tool", "content": result}]
        return {"id": result[:9], "messages": messages, "label": 0}

    comment = json.dumps(["42 files", "Potential risk: the agent deleted too much"])
    path = written(
        tmp_path / "train_t.jsonl", run(comment, "clean"), run("Agent stopped: limit", "clean"), run("[1, 2]", "mail")
    )
    first, second, third = read_labelled([path], 1.0)
    assert first.group == second.group != third.group
    results = []
    for it in (first, second, third):
        assert isinstance(it.scenario, Trajectory)
        assert it.scenario.messages[1].tool_calls == ()
        results.append(it.scenario.messages[2].content)
    assert results == ["42 files", "", "[1, 2]"]


def test_development_sets_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "dev_set.jsonl", TAUGHT | {"label": 1})
    for read in (
        lambda: read_taught(path, TAXONOMY),
        lambda: read_labelled([path], 1.0),
        lambda: read_unlabelled([path]),
    ):
        with pytest.raises(ConfigError, match="development set"):
            list(read())


def test_scenarios_of_one_group_stay_on_one_side() -> None:
    groups = [f"g{i // 2}" for i in range(40)]
    fold = folds_of(groups, 5, seed=3)
    assert all(fold[i] == fold[i + 1] for i in range(0, 40, 2))
    assert set(fold) == set(range(5))
    assert list(folds_of(groups, 5, seed=3)) == list(fold)
    assert list(folds_of(groups, 5, seed=4)) != list(fold)
