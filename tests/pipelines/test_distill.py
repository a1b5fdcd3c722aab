"""Teachers are asked over real HTTP on loopback: each answer once, whatever is interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from safetyanalyst.cli import app
from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.distill import DistillConfig, Distiller, load_distill_config
from safetyanalyst.scenarios import Example, Prompt
from safetyanalyst.taxonomy import load_taxonomy
from tests.generation.backends.misbehaving import Seen, completion, reply, serving

TAXONOMY = load_taxonomy()
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def respond(handler: Any, request: dict[str, Any], n: int) -> None:
    """A teacher: names people, then says what happens to them; it refuses to speak of secrets, and of benefits only to some."""
    system, user = (it["content"] for it in request["messages"])
    number = "B7" if "benefit trees" in system else "32"
    if "secret" in user:
        return reply(handler, completion("I cannot help with that."))
    if "only the names" in user:
        return reply(handler, completion("Users\nBystanders"))
    return reply(handler, completion(f"{number}:7i1a"))


@pytest.fixture
def server() -> Iterator[tuple[str, Seen]]:
    with serving(respond) as it:
        yield it


def teachers(url: str, *names: str) -> dict[str, Any]:
    options = {"model": "m", "base_url": url, "plan": "by_stakeholder", "style": {"detail": "brief"}, "retries": 0}
    one = {"backend": "openai", "options": options}
    return {
        "name": "two", "batch_size": 2,
        "teachers": [
            {
                "name": name,
                "generators": {kind: {**one, "options": {**options, "model": name}} for kind in ("harm", "benefit")},
                "price": {"prompt": 2.0, "completion": 10.0},
            }
            for name in names
        ],
    }  # fmt: skip


def write(folder: Path, url: str, *names: str) -> Path:
    path = folder / "teachers.yaml"
    content = {"format": "safetyanalyst-distill/1"} | teachers(url, *names)
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content))), encoding="utf-8")
    return path


def scenarios(folder: Path) -> Path:
    rows = [{"id": f"p{i}", "text": f"question {i}", "label": i % 2} for i in range(5)]
    lines = [json.dumps(row) for row in rows]
    lines[3] = "this line is broken"
    path = folder / "scenarios.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(folder: Path, config: Path, file: Path) -> Any:
    return CliRunner().invoke(app, ["distill", str(file), "--config", str(config), "--out", str(folder / "out.jsonl")])


def test_every_teacher_writes_a_row_of_every_scenario(tmp_path: Path, server: tuple[str, Seen]) -> None:
    url, seen = server
    result = run(tmp_path, write(tmp_path, url, "big", "small"), scenarios(tmp_path))
    assert result.exit_code == 3, result.output  # one line could not be read
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row.get("teacher")) for row in rows] == [
        ("p0", "big"), ("p0", "small"), ("p1", "big"), ("p1", "small"), ("p2", "big"), ("p2", "small"), ("line-4", None),
        ("p4", "big"), ("p4", "small"),
    ]  # fmt: skip
    assert rows[2]["harm"] == ["Users | 32 | 7i3h 1i1l", "Bystanders | 32 | 7i3h 1i1l"]
    assert rows[2]["benefit"] == ["Users | B7 | 7i3h 1i1l", "Bystanders | B7 | 7i3h 1i1l"]
    assert (rows[2]["text"], rows[2]["label"], rows[2]["model"]) == ("question 1", 1, "big")
    assert len(seen.requests) == 4 * 2 * 2 * 3  # scenarios, teachers, kinds; the names, and a line for each of two
    assert rows[2]["usage"] == {"prompt_tokens": 180, "completion_tokens": 42, "cost": pytest.approx((360 + 420) / 1e6)}
    manifest = json.loads((tmp_path / "out.jsonl.run.json").read_text())
    assert (manifest["big"]["scenarios"], manifest["big"]["missing"], manifest["big"]["prompt_tokens"]) == (4, 0, 720)


def test_the_rows_are_trees_to_align_on(tmp_path: Path, server: tuple[str, Seen]) -> None:
    run(tmp_path, write(tmp_path, server[0], "big"), scenarios(tmp_path))
    stored = list(read_trees(tmp_path / "out.jsonl", TAXONOMY))
    trees = [it for it in stored if isinstance(it, StoredTrees)]
    assert [it.id for it in trees] == ["p0", "p1", "p2", "p4"]
    assert all(it.trees.harm is not None and len(it.trees.harm.stakeholders) == 2 for it in trees)
    assert [it.label for it in trees] == [0, 1, 0, 0]


def test_a_run_that_was_stopped_goes_on_without_asking_again(tmp_path: Path, server: tuple[str, Seen]) -> None:
    url, seen = server
    config, file = write(tmp_path, url, "big"), scenarios(tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    run(whole, config, file)
    n_whole = len(seen.requests)
    run(tmp_path, config, file)
    lines = (tmp_path / "out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text("".join(lines[:2]) + lines[2][:20], encoding="utf-8")
    before = len(seen.requests)
    result = run(tmp_path, config, file)
    assert len(seen.requests) == before == 2 * n_whole
    assert result.exit_code == 3
    mine, other = (
        [{key: value for key, value in json.loads(line).items() if key != "usage"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "out.jsonl", whole / "out.jsonl")
    )
    assert mine == other


@pytest.mark.parametrize("n_kept", [0, 1, 2, 3, 5, 7, 8, 9])
def test_rows_that_are_there_are_not_asked_for_again_be_it_that_they_failed(tmp_path: Path, n_kept: int) -> None:
    def fails(handler: Any, request: dict[str, Any], n: int) -> None:
        return reply(handler, b"{}", 400)

    with serving(fails) as (url, seen):
        config, file = write(tmp_path, url, "big", "small"), scenarios(tmp_path)
        run(tmp_path, config, file)
        lines = (tmp_path / "out.jsonl").read_text().splitlines(keepends=True)
        assert len(lines) == 9
        (tmp_path / "out.jsonl").write_text("".join(lines[:n_kept]), encoding="utf-8")
        before = len(seen.requests)
        run(tmp_path, config, file)
        assert (tmp_path / "out.jsonl").read_text().splitlines(keepends=True) == lines
        n_scenarios_left = sum(end > n_kept for end in (2, 4, 6, 9))  # a scenario ends where its second teacher has written
        assert len(seen.requests) - before == n_scenarios_left * 2 * 2


def test_what_a_teacher_refuses_is_null_and_costs_the_others_nothing(tmp_path: Path, server: tuple[str, Seen]) -> None:
    config = DistillConfig.model_validate(teachers(server[0], "big"))
    examples = [Example(scenario=Prompt(id=text, text=text)) for text in ("one", "a secret", "two")]
    rows = [it.to_json() for it in Distiller(config, tmp_path / "cache.sqlite").rows(examples)]
    assert [row["harm"] is None for row in rows] == [False, True, False]
    assert {it["code"] for it in rows[1]["tree_defects"]} == {"invalid_syntax"}


def test_rows_come_a_batch_at_a_time(tmp_path: Path, server: tuple[str, Seen]) -> None:
    url, seen = server
    config = DistillConfig.model_validate(teachers(url, "big"))
    endless = (Example(scenario=Prompt(id=f"p{i}", text=f"question {i}")) for i in range(10**9))
    assert len(list(islice(Distiller(config, tmp_path / "cache.sqlite").rows(endless), 3))) == 3
    assert len(seen.requests) == 4 * 2 * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teachers": []}, "teachers"),
        ({"colour": "blue"}, "colour"),
        ({"teachers": [{"name": "a", "generators": {"harm": {"backend": "openai"}}}]}, "harm and benefit, each once"),
    ],
)
def test_a_broken_configuration_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "teachers.yaml"
    content = {"format": "safetyanalyst-distill/1"} | teachers("http://127.0.0.1:9/v1", "big") | change
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content))), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_distill_config(path)


def test_two_teachers_of_one_name_and_teachers_without_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same name"):
        DistillConfig.model_validate(teachers("http://127.0.0.1:9/v1", "big", "big"))
    embedded = {"name": "e", "generators": {kind: {"backend": "embedded"} for kind in ("harm", "benefit")}}
    with pytest.raises(ConfigError, match=r"teachers.e.harm.*language model"):
        Distiller(DistillConfig.model_validate({"name": "x", "teachers": [embedded]}), tmp_path / "cache.sqlite")
