from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from safetyanalyst.taxonomy import load_taxonomy
from tests.cli.conftest import Run

TAXONOMY = load_taxonomy()
GOOD = {"id": "a", "label": 1, "harm": ["User | 41 | 5i3h"], "benefit": []}
PLACED = {"label": 0, "source": "mail", "harm": [], "benefit": ["User | B19 | 9i2h"]}
needs_pyarrow = pytest.mark.skipif(
    "pyarrow" not in sys.modules and not __import__("importlib.util").util.find_spec("pyarrow"),
    reason="Parquet needs the extra `parquet`",
)


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


@needs_pyarrow
def test_trees_become_a_dataset_that_every_command_reads_alike(sa: Run, tmp_path: Path) -> None:
    trees, out = written(tmp_path / "trees.jsonl", GOOD, PLACED), tmp_path / "trees.parquet"
    done = sa("dataset", "write", trees, "--out", out, "--json")
    assert done.status == 0
    expected = {"file": str(out), "rows": 2, "failed": 0, "taxonomy": TAXONOMY.label, "bytes": out.stat().st_size}
    assert done.lines == [expected]
    for command in (["assess", "--json"], ["explain", "--json"]):
        assert sa(*command, out).lines == sa(*command, trees).lines
    diff = ["policy", "diff", "balanced", "strict", "--json", "--on"]
    by_lines, by_columns = sa(*diff, trees).lines, sa(*diff, out).lines
    for it in (*by_lines[0]["flipped"], *by_columns[0]["flipped"]):
        del it["place"]
    assert by_columns == by_lines


@needs_pyarrow
def test_rows_that_cannot_be_read_are_named_and_left_out(sa: Run, tmp_path: Path) -> None:
    trees, out = written(tmp_path / "trees.jsonl", GOOD, "rub\x1b[31mbish", PLACED), tmp_path / "trees.parquet"
    done = sa("dataset", "write", trees, "--out", out)
    assert done.status == 3
    assert f"{trees}:2: " in done.err
    assert "\x1b" not in done.err
    assert "2 rows" in done.out
    assert "1 could not be read" in done.out
    (found,) = sa("dataset", "show", "--json", out).lines
    assert (found["rows"], found["labels"]["harmful"], found["unread"]) == (2, 1, [])


@needs_pyarrow
def test_rows_of_several_files_keep_what_their_file_told(sa: Run, tmp_path: Path) -> None:
    first, second = (written(tmp_path / f"{name}.jsonl", {k: v for k, v in GOOD.items() if k != "id"}, PLACED) for name in "xy")
    out = tmp_path / "both.parquet"
    assert sa("dataset", "write", first, second, "--out", out).status == 0
    assert [it["id"] for it in sa("assess", "--json", out).lines] == ["x:line-1", "x:line-2", "y:line-1", "y:line-2"]
    (found,) = sa("dataset", "show", "--json", out).lines
    assert found["sources"] == {"x": 1, "mail": 2, "y": 1}


@needs_pyarrow
def test_a_dataset_replaces_a_dataset_and_nothing_else(sa: Run, tmp_path: Path) -> None:
    trees, out = written(tmp_path / "trees.jsonl", GOOD), tmp_path / "trees.parquet"
    assert sa("dataset", "write", trees, "--out", out).status == 0
    assert sa("dataset", "write", trees, "--out", out).status == 0
    kept = out.read_bytes()
    for refused, why in ((out, "this file is read"), (tmp_path, "folder"), (tmp_path / "no" / "x.parquet", "no such folder")):
        done = sa("dataset", "write", out, "--out", refused)
        assert done.status == 2
        assert why in done.err
    assert out.read_bytes() == kept
    other = tmp_path / "other.parquet"
    other.write_text("my own notes")
    done = sa("dataset", "write", trees, "--out", other)
    assert done.status == 2
    assert "would be lost" in done.err
    assert other.read_text() == "my own notes"
    done = sa("dataset", "write", trees, "--out", tmp_path / "x.jsonl")
    assert done.status == 2
    assert ".parquet" in done.err


@needs_pyarrow
@pytest.mark.parametrize("rows", [[], ["rubbish"]])
def test_nothing_makes_no_dataset(sa: Run, tmp_path: Path, rows: list[str]) -> None:
    out = tmp_path / "x.parquet"
    done = sa("dataset", "write", written(tmp_path / "trees.jsonl", *rows), "--out", out)
    assert done.status == 2
    assert "no scenario that can be read" in done.err
    assert not out.exists()


def test_without_pyarrow_the_extra_is_named(sa: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    trees = written(tmp_path / "trees.jsonl", GOOD)
    done = sa("dataset", "write", trees, "--out", tmp_path / "x.parquet")
    assert done.status == 2
    assert 'pip install "safetyanalyst[parquet]"' in done.err
    assert sa("dataset", "show", trees).status == 0  # lines of JSON need no extra


def test_show_counts_a_file_of_lines(sa: Run, tmp_path: Path) -> None:
    trees = written(tmp_path / "trees.jsonl", GOOD, "rubbish", PLACED | {"source": "\x1b[31mred"})
    done = sa("dataset", "show", trees)
    assert done.status == 3
    assert "1 harmful, 1 harmless, 0 unlabelled" in done.out
    assert "\x1b" not in done.out
    assert f"{trees}:2: " in done.err
    assert sa("dataset", "show", tmp_path / "none.jsonl").status == 2


@needs_pyarrow
def test_another_taxonomy_is_noted(sa: Run, tmp_path: Path) -> None:
    out = tmp_path / "trees.parquet"
    sa("dataset", "write", written(tmp_path / "trees.jsonl", GOOD), "--out", out, "--taxonomy", "agents-v1")
    done = sa("dataset", "show", out)
    assert "it speaks of" in done.err
    assert "agents" in done.err
    assert sa("dataset", "show", out, "--taxonomy", "agents-v1").err == ""


@needs_pyarrow
def test_suggestions_from_a_dataset_are_rows_ready_to_label(sa: Run, tmp_path: Path) -> None:
    rows = [{"id": f"u{i}", "harm": [f"User | {40 + i} | 5i{1 + i % 3}h"], "benefit": []} for i in range(5)]
    trees, out = written(tmp_path / "trees.jsonl", *rows), tmp_path / "trees.parquet"
    sa("dataset", "write", trees, "--out", out)
    ids = []
    for path in (trees, out):
        to_label = tmp_path / f"{path.suffix[1:]}-suggested.jsonl"
        done = sa("align", "suggest", path, "--n", "3", "--by", "margin", "--out", to_label, "--json")
        assert done.status == 0
        ids.append([it["id"] for it in done.lines[0]["suggestions"]])
        assert [json.loads(line)["id"] for line in to_label.read_text().splitlines()] == ids[-1]
        assert all(json.loads(line)["label"] is None for line in to_label.read_text().splitlines())
        assert sa("assess", "--json", to_label).status == 0
    assert ids[0] == ids[1]
