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
    assert alike(read_corpus([path], TAXONOMY), corpus_by_records(path))


@settings(max_examples=10)
@given(st.lists(strategies.complete_pairs(), max_size=3))
def test_clean_trees_are_never_made_into_objects(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[HarmBenefitTree]
) -> None:
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


def corpus_by_records(path: Path) -> Corpus:
    builder = CorpusBuilder(TAXONOMY)
    for line, item in enumerate(read_parquet(path, TAXONOMY), start=1):
        builder.add(item, file="trees", line=line)
    return builder.corpus()


ODD_ROWS: dict[str, dict[str, Any]] = {
    "an error": {"fields": '{"error": "no answer"}'},
    "trees twice": {"fields": '{"tree": []}'},
    "a label beside the column": {"fields": '{"label": 1}'},
    "a label by another name": {"fields": '{"harmful": true}'},
    "a source beside the column": {"fields": '{"source": "elsewhere"}'},
    "no source at all": {"source": None},
    "fields that are no object": {"fields": "[1]"},
    "fields that are no JSON": {"fields": "{"},
    "no fields": {"fields": None},
    "no id": {"id": None},
    "a type that is none": {"type": "novel"},
    "no type": {"type": None},
    "a label that is none": {"label": 2},
    "a defect that is none": {"defects": [{"code": "no such code", "path": "harm", "found": ""}]},
    "a defect without a code": {"defects": [{"code": None, "path": "harm", "found": ""}]},
    "a defect twice": {"defects": [{"code": "truncated", "path": "harm", "found": ""}] * 2},
    "a good defect": {"defects": [{"code": "truncated", "path": "harm", "found": ""}]},
    "no list of defects": {"defects": None},
}


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=list(ODD_ROWS))
def test_rows_that_others_wrote_are_read_alike(tmp_path: Path, odd: dict[str, Any]) -> None:
    """The short cut never sees less than the ordinary reader does."""
    from pyarrow import parquet as files

    path = tmp_path / "trees.parquet"
    write_parquet(
        path, stored([HarmBenefitTree(harm=NOBODY.model_copy(update={"kind": "harm"}), benefit=NOBODY)] * 3), TAXONOMY
    )
    table = files.read_table(path)
    rows = table.to_pylist()
    rows[1] |= odd
    files.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)
    assert alike(read_corpus([path], TAXONOMY), corpus_by_records(path))


def test_trees_that_stood_there_as_text_are_not_written_twice(tmp_path: Path) -> None:
    tree = [{"stakeholder": "a", "harms": []}]
    lines = [json.dumps({"id": "x", "harm-benefit tree": json.dumps(tree), "harmful": 1}).encode()]
    (item,) = read_trees(lines, TAXONOMY)
    assert isinstance(item, StoredTrees)
    write_parquet(tmp_path / "trees.parquet", [item], TAXONOMY)
    (found,) = read_parquet(tmp_path / "trees.parquet", TAXONOMY)
    assert isinstance(found, StoredTrees)
    assert (found.trees, found.label) == (item.trees, 1)


def test_the_columns_beside_the_trees_come_without_them(tmp_path: Path) -> None:
    pair = HarmBenefitTree(harm=None, benefit=None)
    items = [
        StoredTrees(id="a", trees=pair, label=1, fields={"label": 1, "source": "s", "weight": 0.5, "who": "ä", "none": False}),
        StoredTrees(id="b", trees=pair),
    ]
    path = tmp_path / "trees.parquet"
    write_parquet(path, items, TAXONOMY)
    assert parquet.columns_of(path) == [it.fields for it in read_trees(path, TAXONOMY) if isinstance(it, StoredTrees)]
    assert parquet.columns_of(path)[0]["weight"] == 0.5


def test_chosen_rows_come_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 2)
    path = tmp_path / "trees.parquet"
    items = stored([HarmBenefitTree(harm=None, benefit=NOBODY)] * 5, fields={"note": "x"})
    write_parquet(path, items, TAXONOMY)
    lines = dict(parquet.lines_of(path, {2, 5}))
    assert sorted(lines) == [2, 5]
    every = list(read_parquet(path, TAXONOMY))
    assert list(read_trees(list(lines.values()), TAXONOMY)) == [every[1], every[4]]


def test_a_dataset_says_what_it_speaks_of(tmp_path: Path) -> None:
    path = tmp_path / "trees.parquet"
    write_parquet(path, [], TAXONOMY)
    assert parquet.taxonomy_label(path) == TAXONOMY.label
    assert len(read_corpus([path], TAXONOMY)) == 0
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="not readable as Parquet"):
        parquet.taxonomy_label(tmp_path / "other.parquet")


def test_the_published_shape_is_what_the_ordinary_reader_reads(tmp_path: Path) -> None:
    from benchmarks.published_shape import write_published_shape

    path = tmp_path / "trees.parquet"
    write_published_shape(path, TAXONOMY, n_trees=12)
    corpus = read_corpus([path], TAXONOMY)
    assert alike(corpus, corpus_by_records(path))
    assert 500 < corpus.n_effects.mean() < 1500


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
