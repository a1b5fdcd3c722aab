from __future__ import annotations

import json
from pathlib import Path

import pytest

from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.parquet import write_parquet
from safetyanalyst.pipelines.summary import Summary, summarize
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
ROWS = [
    {"id": "a", "label": 1, "source": "forum", "harm": ["User | 41 | 5i3h 3d2m"], "benefit": []},
    {"id": "b", "label": 0, "source": "mail", "harm": ["user | 41 | 5i?h", "Club | 9 | 2d1l"], "benefit": []},
    {"id": "c", "harm": None, "benefit": ["?"]},
    {"id": "d", "harm": ["User | 41 | 5i3h", "?"], "benefit": []},
]  # fmt: skip


def lines(folder: Path) -> Path:
    path = folder / "trees.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "rubbish\n", encoding="utf-8")
    return path


def test_what_a_file_holds_is_counted(tmp_path: Path) -> None:
    found = summarize(lines(tmp_path), TAXONOMY)
    assert (found.form, found.taxonomy, found.rows) == ("lines", None, 4)
    assert found.labels == {"harmful": 1, "harmless": 1, "unlabelled": 2}
    assert found.sources == {"forum": 1, "mail": 1, "trees": 2}
    assert found.stakeholders == 2  # "user" is "User"
    assert (found.effects, found.effects_partial) == (5, 1)
    assert found.missing_trees == {"harm": 1, "benefit": 0}
    assert found.lost_subtrees == 2
    assert found.with_defects == 1
    assert [row.line for row in found.unread] == [5]


def test_a_feature_dataset_is_counted_alike(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
    by_lines = summarize(lines(tmp_path), TAXONOMY)
    path = tmp_path / "trees.parquet"
    write_parquet(path, [it for it in read_trees(lines(tmp_path), TAXONOMY) if isinstance(it, StoredTrees)], TAXONOMY)
    found = summarize(path, TAXONOMY)
    # nulls are named as defects when our JSON form is read
    own = {"file", "form", "bytes", "taxonomy", "unread", "defects", "with_defects"}
    assert found.model_dump(exclude=own) == by_lines.model_dump(exclude=own)
    assert (found.form, found.taxonomy, found.unread) == ("parquet", TAXONOMY.label, ())


def test_nothing_is_counted_in_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    found: Summary = summarize(tmp_path / "none.jsonl", TAXONOMY)
    assert (found.rows, found.effects, found.sources) == (0, 0, {})
