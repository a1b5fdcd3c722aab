from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn import metrics as reference

from safetyanalyst.policy import load_policy
from tests.pipelines.test_align import labelled_rows

Run = Callable[..., Any]


def written(tmp_path: Path, rows: list[Any], name: str = "labelled.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_align_writes_a_policy_that_assess_can_use(sa: Run, tmp_path: Path) -> None:
    rows = labelled_rows(80)
    path, out = written(tmp_path, rows), tmp_path / "mine.yaml"
    done = sa("align", path, "--out", out, "--base", "wildjailbreak-v1", "--starts", "2", "--json")
    assert (done.status, done.err) == (0, "")
    (report,) = done.lines
    policy = load_policy(out)
    assert report == {"policy": "mine", "hash": policy.hash, "fit": json.loads(policy.model_dump_json())["fit"]}
    assert report["fit"]["rows"] == 80
    assessed = sa("assess", path, "--policy", out, "--json")
    assert assessed.status == 0
    assert assessed.lines[0]["policy"] == {"name": "mine", "hash": policy.hash}
    decided = [int(line["decision"] == "block") for line in assessed.lines]
    assert reference.accuracy_score([row["label"] for row in rows], decided) > 0.8
    losses = [
        reference.log_loss([row["label"]], [1 / (1 + 2.718281828459045 ** -line["score"])], labels=[0, 1])
        for row, line in zip(rows, assessed.lines, strict=True)
    ]
    assert sum(losses) / len(losses) == pytest.approx(report["fit"]["loss"], abs=1e-9)
    assert sa("policy", "check", out).status == 0
    again = sa("align", path, "--out", tmp_path / "more.yaml", "--base", out, "--name", "better", "--starts", "1")
    assert again.status == 0
    assert "better" in again.out
    assert "aligned to 80 rows of labelled.jsonl" in " ".join(again.out.split())


def test_align_takes_our_own_analyses_with_a_label(sa: Run, config: str, prompts: Any, tmp_path: Path) -> None:
    analyses = sa("analyze", "--file", prompts(*["arson", "bread"] * 5, "unsure"), "--config", config, "--json").lines
    rows = [line | {"label": int(line["decision"] != "allow")} for line in analyses]
    done = sa("align", written(tmp_path, rows), "--out", tmp_path / "p.yaml", "--starts", "1", "--json")
    assert done.status == 0
    assert (done.lines[0]["fit"]["rows"], done.lines[0]["fit"]["rows_left_out"]) == (10, 1)


def test_align_names_the_lines_it_could_not_read(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [*labelled_rows(20), "rubbish", {"tree": [], "label": "\x1b[31myes"}])
    done = sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "1")
    assert done.status == 3
    assert f"{path}:21: " in done.err
    assert f"{path}:22: label is" in done.err
    assert "\x1b" not in done.err
    assert load_policy(tmp_path / "p.yaml").fit is not None


@pytest.mark.parametrize(
    ("rows", "arguments", "says"),
    [
        ([], [], "no labelled rows"),
        (["rubbish"], [], "no labelled rows"),
        ("one class", [], "both classes"),
        ("good", ["--base", "no-such"], "no policy named 'no-such'"),
        ("good", ["--starts", "0"], "--starts"),
        ("good", ["--out", "{folder}/no/such/folder.yaml"], "No such file or directory"),
        ("good", ["--out", "{folder}"], "Is a directory"),
    ],
)
def test_mistakes_of_the_caller_of_align(sa: Run, tmp_path: Path, rows: Any, arguments: list[str], says: str) -> None:
    known = {"good": labelled_rows(12), "one class": [row | {"label": 1} for row in labelled_rows(4)]}
    path = written(tmp_path, known[rows] if isinstance(rows, str) else rows)
    out = tmp_path / "p.yaml"
    given = ["--out", str(out), "--starts", "1", *(it.format(folder=tmp_path) for it in arguments)]
    done = sa("align", path, *given)
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.replace("│", " ").split())
    assert not out.exists()


def test_align_replaces_a_policy_and_nothing_else(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(40))
    before = path.read_bytes()
    refused = sa("align", path, "--out", path, "--starts", 1)
    assert (refused.status, path.read_bytes()) == (2, before)
    other = tmp_path / "notes.yaml"
    other.write_text("mine: true\n", encoding="utf-8")
    assert sa("align", path, "--out", other, "--starts", 1).status == 2
    assert other.read_text(encoding="utf-8") == "mine: true\n"
    out = tmp_path / "policy.yaml"
    assert [sa("align", path, "--out", out, "--starts", 1).status for _ in range(2)] == [0, 0]
