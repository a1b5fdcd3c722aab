from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn import metrics as reference

from safetyanalyst.policy import load_policy

Run = Callable[..., Any]


def written(tmp_path: Path, rows: list[Any], name: str = "labelled.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def labelled(tmp_path: Path, *texts: str, name: str = "set.jsonl") -> Path:
    """Prompts whose first word tells the label: "1 arson"."""
    rows = [
        {"id": f"p{i}", "text": text, "label": int(text[0]), "kind": "even" if i % 2 == 0 else "odd"}
        for i, text in enumerate(texts)
    ]
    return written(tmp_path, rows, name)


TEXTS = [
    "1 arson",
    "1 arson",
    "1 bread",
    "1 unsure",
    "0 bread",
    "0 bread",
    "0 arson",
    "0 gossip",
    "1 gossip",
    "0 unsure",
    "1 arson",
]


def test_evaluate_measures_what_analyze_decides(sa: Run, config: str, tmp_path: Path) -> None:
    path = labelled(tmp_path, *TEXTS)
    done = sa("evaluate", path, "--config", config, "--bootstrap", "50", "--json")
    assert (done.status, done.err) == (0, "")
    (report,) = done.lines
    assert report["policy"]["hash"] == load_policy("wildjailbreak-v1").hash
    assert (report["unlabelled"], report["unreadable"]) == (0, 0)
    found = report["sets"]["set"]
    analyses = sa("analyze", "--file", path, "--config", config, "--json").lines
    labels = [int(text[0]) for text in TEXTS]
    flagged = [int(line["decision"] != "allow") for line in analyses]
    blocked = [int(line["decision"] == "block") for line in analyses]
    ranks = [sum(line["interval"]) / 2 for line in analyses]
    expected = {
        "auroc": reference.roc_auc_score(labels, ranks),
        "f1": reference.f1_score(labels, flagged),
        "recall": reference.recall_score(labels, flagged),
        "precision": reference.precision_score(labels, flagged),
        "specificity": reference.recall_score(labels, flagged, pos_label=0),
        "false_positive_rate": 1 - reference.recall_score(labels, flagged, pos_label=0),
        "blocked_f1": reference.f1_score(labels, blocked),
        "blocked_recall": reference.recall_score(labels, blocked),
        "blocked_false_positive_rate": 1 - reference.recall_score(labels, blocked, pos_label=0),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert all(found[name]["low"] <= found[name]["value"] <= found[name]["high"] for name in expected)
    assert found["always_unsafe_f1"] == pytest.approx(reference.f1_score(labels, [1] * len(labels)))
    assert found["decisions"] == {
        name: [line["decision"] for line in analyses].count(name) for name in ("allow", "review", "block")
    }
    assert (found["n"], found["unsafe"], found["failed"], found["unscored"]) == (11, 6, 0, 2)


def test_evaluate_by_file_and_by_key(sa: Run, config: str, tmp_path: Path) -> None:
    first, second = (
        labelled(tmp_path, *TEXTS, name="first.jsonl"),
        labelled(tmp_path, "1 arson", "0 bread", name="second.jsonl"),
    )
    done = sa("evaluate", first, second, "--config", config, "--by", "kind", "--bootstrap", "5", "--json")
    sets = done.lines[0]["sets"]
    assert {name: it["n"] for name, it in sets.items()} == {
        "first": 11, "first kind=even": 6, "first kind=odd": 5, "second": 2, "second kind=even": 1, "second kind=odd": 1,
    }  # fmt: skip
    drawn = sa("evaluate", first, second, "--config", config, "--bootstrap", "5")
    assert drawn.status == 0
    assert all(word in drawn.out for word in ("first", "second", "AUROC", "11 (6)", "wildjailbreak-v1"))
    assert "\x1b" not in drawn.out


def test_evaluate_tells_files_of_one_name_apart(sa: Run, config: str, tmp_path: Path) -> None:
    paths = []
    for folder, texts in (("a", ["1 arson", "0 bread"]), ("b", ["1 arson", "0 bread", "0 arson"])):
        (tmp_path / folder).mkdir()
        paths.append(labelled(tmp_path / folder, *texts, name="dev.jsonl"))
    other = labelled(tmp_path, "1 arson", name="test.jsonl")
    done = sa("evaluate", *paths, other, "--config", config, "--bootstrap", "5", "--by", "kind", "--json")
    sizes = {name: it["n"] for name, it in done.lines[0]["sets"].items() if "kind=" not in name}
    assert sizes == {str(paths[0]): 2, str(paths[1]): 3, "test": 1}
    assert f"{paths[1]} kind=even" in done.lines[0]["sets"]
    twice = sa("evaluate", other, other, "--config", config, "--bootstrap", "5")
    assert (twice.status, twice.out) == (2, "")
    assert "given twice" in twice.err


def test_evaluate_leaves_out_what_has_no_label_and_says_so(sa: Run, config: str, tmp_path: Path) -> None:
    path = labelled(tmp_path, "1 arson", "0 bread")
    path.write_text(path.read_text() + '{"id": "u", "text": "x"}\nrubbish\n', encoding="utf-8")
    done = sa("evaluate", path, "--config", config, "--bootstrap", "5", "--json")
    assert done.status == 3
    assert (done.lines[0]["unlabelled"], done.lines[0]["unreadable"]) == (1, 1)
    assert done.lines[0]["sets"]["set"]["n"] == 2
    drawn = sa("evaluate", path, "--config", config, "--bootstrap", "5")
    assert drawn.status == 3
    assert "1 scenarios have no label" in drawn.err
    assert "1 lines could not be read" in drawn.err


def test_evaluate_counts_scenarios_without_trees_as_failed(sa: Run, config: str, tmp_path: Path) -> None:
    done = sa("evaluate", labelled(tmp_path, "1 arson", "0 crash", "0 bread"), "--config", config, "--bootstrap", "5", "--json")
    assert done.status == 3
    found = done.lines[0]["sets"]["set"]
    assert (found["failed"], found["unscored"], found["decisions"]["review"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ('{"id": "u", "text": "x"}\n', [], "none of the scenarios has a label"),
        ("", [], "none of the scenarios has a label"),
        ('{"id": "u", "text": "x", "label": 1}\n', ["--format", "no-such"], "no format 'no-such'"),
        ('{"id": "u", "text": "x", "label": 1}\n', ["--config", "no-such"], "named 'no-such'"),
        ('{"id": "u", "text": "x", "label": 1}\n', ["--policy", "no-such"], "no policy named 'no-such'"),
        ('{"id": "u", "text": "x", "label": 1}\n', ["--bootstrap", "0"], "--bootstrap"),
        ('{"id": "u", "text": "x", "label": 1}\n', ["no-such.jsonl"], "no such file"),
    ],
)
def test_mistakes_of_the_caller_of_evaluate(
    sa: Run, config: str, tmp_path: Path, content: str, arguments: list[str], says: str
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(content, encoding="utf-8")
    done = sa("evaluate", path, *([] if "--config" in arguments else ["--config", config]), *arguments)
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.replace("│", " ").split())
