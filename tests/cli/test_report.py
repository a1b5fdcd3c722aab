"""`safetyanalyst report`: files in, one page out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.report.test_page import data_of

FENCE = {"id": "fence", "harm": ["Landlords | 45: climbing over @0 | 6i1m"], "benefit": ["User | B19 | 9i1h"], "label": 1}
SHED = {"id": "shed", "harm": [], "benefit": ["User | B19 | 9i1h"], "source": "garden"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def analyses(sa: Run, tmp_path: Path) -> Path:
    done = sa("assess", write(tmp_path / "trees.jsonl", FENCE, SHED), "--json")
    path = tmp_path / "analyses.jsonl"
    path.write_text(done.out, encoding="utf-8")
    return path


def test_analyses_become_a_page(sa: Run, analyses: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    done = sa("report", analyses, "--policy", "balanced", "--against", "strict", "--html", out, "--title", "Two <b>doors</b>")
    assert done.status == 0
    assert "2 scenarios (0 of them could not be analysed)" in done.err
    data = data_of(out.read_text(encoding="utf-8"))
    assert data["title"] == "Two <b>doors</b>"
    assert (data["policy"]["name"], data["against"]["name"]) == ("balanced", "strict")
    assert [data["strings"][i] for i in data["columns"]["id"]] == ["fence", "shed"]
    assert [data["strings"][i] for i in data["columns"]["source"]] == ["analyses", "analyses"]


def test_scenarios_are_joined_by_id(sa: Run, analyses: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "fence", "prompt": "May I?", "response": "No.", "label": 0, "source": "doors"},
        {"id": "shed", "text": "one"}, {"id": "shed", "text": "another"}, {"id": "stranger", "text": "x"}, {"id": "bad"},
    ]  # fmt: skip
    scenarios = write(tmp_path / "scenarios.jsonl", *rows)
    done = sa("report", analyses, "--scenarios", scenarios, "--html", tmp_path / "out.html")
    assert done.status == 0
    assert "1 ids stand for several scenarios, such as shed" in done.err
    assert "1 scenarios could not be read" in done.err
    assert "1 of 2 analyses have no scenario" in done.err
    data = data_of((tmp_path / "out.html").read_text(encoding="utf-8"))
    strings, columns = data["strings"], data["columns"]
    assert columns["messages"] == [2, 0]
    assert [strings[i] for i in columns["message_text"]] == ["May I?", "No."]
    assert columns["message_step"] == [-1, 0]
    assert columns["label"] == [0, 2]
    assert [data["types"][i] for i in columns["type"]] == ["exchange", "tree"]
    assert [strings[i] for i in columns["source"]] == ["doors", "analyses"]


def test_labels_and_sources_of_the_trees_own_rows_come_first(sa: Run, tmp_path: Path) -> None:
    trees = write(tmp_path / "trees.jsonl", FENCE, SHED)
    scenarios = write(tmp_path / "s.jsonl", {"id": "fence", "text": "x", "label": 0}, {"id": "shed", "text": "y", "kind": "z"})
    assert sa("report", trees, "--scenarios", scenarios, "--html", tmp_path / "out.html").status == 0
    data = data_of((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert data["columns"]["label"] == [1, 2]
    assert [data["strings"][i] for i in data["columns"]["source"]] == ["trees", "garden"]
    sa("report", trees, "--scenarios", scenarios, "--html", tmp_path / "out.html", "--source", "kind")
    data = data_of((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert [data["strings"][i] for i in data["columns"]["source"]] == ["trees", "z"]


def test_a_place_in_one_of_several_files_joins_to_no_text(sa: Run, tmp_path: Path) -> None:
    bare = {key: value for key, value in FENCE.items() if key != "id"}
    one, two = write(tmp_path / "one.jsonl", bare), write(tmp_path / "two.jsonl", bare)
    scenarios = write(tmp_path / "s.jsonl", {"text": "the first line"})
    html = tmp_path / "out.html"
    assert sa("report", one, "--scenarios", scenarios, "--html", html).status == 0
    assert data_of(html.read_text(encoding="utf-8"))["columns"]["messages"] == [1]
    assert sa("report", one, two, "--scenarios", scenarios, "--html", html).status == 0
    assert data_of(html.read_text(encoding="utf-8"))["columns"]["messages"] == [0, 0]


def test_unreadable_rows_are_in_the_page_and_in_the_status(sa: Run, tmp_path: Path) -> None:
    trees = write(tmp_path / "trees.jsonl", FENCE, "not json", {"id": "half", "harm": None, "benefit": []})
    done = sa("report", trees, "--html", tmp_path / "out.html")
    assert done.status == 3
    assert "3 scenarios (2 of them could not be analysed)" in done.err
    data = data_of((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert [data["types"][i] for i in data["columns"]["type"]] == ["tree", "unreadable", "tree"]
    assert "not readable as JSON" in data["strings"][data["columns"]["error"][1]]
    assert sa("report", trees, "--html", tmp_path / "out.html", "--quiet").err == ""


def test_a_policy_of_another_taxonomy_reads_the_trees_in_its_own_words(sa: Run, tmp_path: Path) -> None:
    policy = (Path(__file__).parents[2] / "configs/policies/balanced.yaml").read_text(encoding="utf-8")
    agents = write(tmp_path / "agents.yaml", policy.replace("taxonomy: safetyanalyst-v1", "taxonomy: agents-v1"))
    done = sa("taxonomy", "show", "agents-v1", "--json")
    action = json.loads(done.out)["harm_actions"][-1]
    trees = write(tmp_path / "trees.jsonl", {"id": "a", "harm": [f"User | {action['number']} | 6i4h"], "benefit": []})
    html = tmp_path / "out.html"
    assert sa("report", trees, "--policy", "balanced", "--against", agents, "--html", html).status == 0
    columns = data_of(html.read_text(encoding="utf-8"))["columns"]
    assert len(columns["p_pattern_sizes"]) == 1  # an action that the first taxonomy does not know
    assert len(columns["q_pattern_sizes"]) == 0


def test_mistakes_end_with_status_2(sa: Run, analyses: Path, tmp_path: Path) -> None:
    html = tmp_path / "out.html"
    assert sa("report", tmp_path / "none.jsonl", "--html", html).status == 2
    assert sa("report", analyses).status == 2
    assert sa("report", analyses, "--html", html, "--policy", "nobody").status == 2
    assert sa("report", analyses, "--html", html, "--format", "poem").status == 2
    assert sa("report", write(tmp_path / "empty.jsonl"), "--html", html).status == 2
    before = analyses.read_bytes()
    assert sa("report", analyses, "--html", analyses).status == 2
    assert analyses.read_bytes() == before
    assert not html.exists()
