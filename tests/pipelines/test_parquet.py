from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines import parquet
from safetyanalyst.pipelines.corpus import Corpus, CorpusBuilder, read_corpus
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.parquet import read_parquet, write_parquet
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Defect, HarmBenefitTree, Tree
from tests import strategies

pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
TAXONOMY = load_taxonomy()
NOBODY = Tree(kind="benefit", stakeholders=())


def stored(pairs: list[HarmBenefitTree], **more: Any) -> list[StoredTrees]:
    return [StoredTrees(id=f"s{i}", trees=pair, **more) for i, pair in enumerate(pairs)]


def by_json(items: list[StoredTrees], path: Path) -> list[StoredTrees | ReadFailure]:
    """The same trees by the way of JSON lines."""
    from safetyanalyst.generation.notation import to_json

    with path.open("w", encoding="utf-8") as file:
        for item in items:
            sides = (("harm", item.trees.harm), ("benefit", item.trees.benefit))
            trees = {kind: None if tree is None else to_json(tree) for kind, tree in sides}
            file.write(json.dumps({"id": item.id, "type": item.type, "trees": trees}) + "\n")
    return list(read_trees(path, TAXONOMY))


def alike(a: Corpus, b: Corpus) -> bool:
    arrays = ("source", "labels", "defects", "stakeholder", "starts", "lost", "file")
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    same &= (a.ids, a.sources, a.stakeholders, a.unread) == (b.ids, b.sources, b.stakeholders, b.unread)
    same &= len(a.parts.patterns) == len(b.parts.patterns)
    same &= all(np.array_equal(x, y) for x, y in zip(a.parts.patterns, b.parts.patterns, strict=True))
    parts = ((a.parts.counts, b.parts.counts), (a.parts.partial, b.parts.partial))
    return bool(same and all(x.shape == y.shape and (x != y).nnz == 0 for x, y in parts))


@given(st.lists(strategies.pairs(), max_size=3))
def test_trees_come_back_as_json_brings_them(tmp_path_factory: pytest.TempPathFactory, pairs: list[HarmBenefitTree]) -> None:
    folder = tmp_path_factory.mktemp("p")
    path = folder / "trees.parquet"
    assert write_parquet(path, stored(pairs), TAXONOMY) == len(pairs)
    assert list(read_parquet(path, TAXONOMY)) == by_json(stored(pairs), folder / "trees.jsonl")


@given(st.lists(strategies.pairs() | strategies.complete_pairs(), max_size=3))
def test_a_corpus_by_columns_is_the_corpus_by_records(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[HarmBenefitTree]
) -> None:
    path = tmp_path_factory.mktemp("p") / "trees.parquet"
    write_parquet(path, stored(pairs), TAXONOMY)
    builder = CorpusBuilder(TAXONOMY)
    for line, item in enumerate(read_parquet(path, TAXONOMY), start=1):
        builder.add(item, file="trees", line=line)
    assert alike(read_corpus([path], TAXONOMY), builder.corpus())


@settings(max_examples=10)
@given(st.lists(strategies.complete_pairs(), max_size=3))
def test_clean_trees_are_never_made_into_objects(tmp_path_factory: pytest.TempPathFactory, pairs: list[HarmBenefitTree]) -> None:
    path = tmp_path_factory.mktemp("p") / "trees.parquet"
    write_parquet(path, stored(pairs), TAXONOMY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("safetyanalyst.pipelines.parquet_corpus.read_record", None)
        assert len(read_corpus([path], TAXONOMY)) == len(pairs)


def test_everything_beside_the_trees_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "trees.parquet"
    defect = Defect(code="truncated", path="harm", found="…")
    provenance = {
        kind: {"generator": "g", "model": "m", "model_hash": "", "taxonomy": "t", "code": "1"} for kind in ("harm", "benefit")
    }
    fields = {"source": "traffic", "severity": 3, "note": "§ \u2028", "share": 0.1, "odd": True, "label": 1}
    item = StoredTrees(
        id="ä", type="trajectory", trees=HarmBenefitTree(harm=None, benefit=NOBODY), defects=(defect,), label=1, fields=fields,
        provenance=provenance,
    )  # fmt: skip
    write_parquet(path, [item], TAXONOMY)
    (found,) = read_trees(path, TAXONOMY)
    assert isinstance(found, StoredTrees)
    assert found == item
    corpus = read_corpus([path], TAXONOMY)
    assert (corpus.sources, corpus.labels.tolist(), corpus.lost.tolist()) == (("traffic",), [1], [[1, 0]])


def test_row_groups_bound_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 2)
    path = tmp_path / "trees.parquet"
    write_parquet(path, stored([HarmBenefitTree(harm=None, benefit=None)] * 5), TAXONOMY)
    assert [len(batch) for batch in parquet.batches(path)] == [2, 2, 1]
    assert [item.id for item in read_parquet(path, TAXONOMY)] == [f"s{i}" for i in range(5)]


def test_an_interrupted_file_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "trees.parquet"

    def torn() -> Any:
        yield from stored([HarmBenefitTree(harm=None, benefit=None)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(path, torn(), TAXONOMY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b'{"id": "x"}\n'])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trees.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"trees\.parquet.*not readable as Parquet"):
        list(read_parquet(path, TAXONOMY))


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    from pyarrow import parquet as files

    path = tmp_path / "other.parquet"
    files.write_table(pyarrow.table({"id": ["a"]}), path)
    with pytest.raises(ConfigError, match="unknown format"):
        list(read_parquet(path, TAXONOMY))
    table = pyarrow.table({"id": ["a"]}).replace_schema_metadata({"format": parquet.FORMAT})
    files.write_table(table, path)
    with pytest.raises(ConfigError, match="a column is missing"):
        list(read_parquet(path, TAXONOMY))


def test_a_dataset_needs_its_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        write_parquet(tmp_path / "trees.jsonl", [], TAXONOMY)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pyarrow"):
        write_parquet(tmp_path / "trees.parquet", [], TAXONOMY)
