from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.features import FeatureSpace
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines.corpus import UNLABELLED, Corpus, CorpusBuilder, read_corpus
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.projection import finest_space, project
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.strategies import pairs
from tests.test_projection import contents

TAXONOMY = load_taxonomy()
FINE = finest_space(TAXONOMY)


def corpus_of(trees: list[HarmBenefitTree], labels: list[int | None] | None = None) -> Corpus:
    builder = CorpusBuilder(TAXONOMY)
    for i, pair in enumerate(trees):
        builder.add_trees(pair, id=f"s{i}", label=None if labels is None else labels[i], source=f"source-{i % 2}", file="f")
    return builder.corpus()


def stored(pair: HarmBenefitTree) -> dict[str, Any]:
    return {"trees": {"harm": pair.harm and to_json(pair.harm), "benefit": pair.benefit and to_json(pair.benefit)}}


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{it if isinstance(it, str) else json.dumps(it)}\n" for it in lines), encoding="utf-8")
    return path


@given(st.lists(pairs(), max_size=5))
def test_rows_are_those_of_featurizing(trees: list[HarmBenefitTree]) -> None:
    corpus = corpus_of(trees)
    assert len(corpus) == len(trees)
    assert contents(corpus.matrix) == contents(FINE.featurize(trees))
    coarse = FeatureSpace(TAXONOMY)
    assert contents(project(corpus.matrix, coarse)) == contents(coarse.featurize(trees))


@given(st.lists(pairs(), max_size=4))
def test_parts_are_the_stakeholders_of_each_scenario(trees: list[HarmBenefitTree]) -> None:
    corpus = corpus_of(trees)
    for i, pair in enumerate(trees):
        both = [tree for tree in (pair.harm, pair.benefit) if tree is not None]
        expected: dict[str, int] = {}
        for tree in both:
            for holder in tree.stakeholders:
                key = " ".join(holder.name.casefold().split())
                expected[key] = expected.get(key, 0) + sum(len(action.effects) for action in holder.actions)
        rows = range(corpus.starts[i], corpus.starts[i + 1])
        found = {" ".join(corpus.stakeholders[corpus.stakeholder[r]].casefold().split()): r for r in rows}
        assert list(found) == list(expected)
        sizes = {key: corpus.parts.counts[[r]].sum() + corpus.parts.partial[[r]].sum() for key, r in found.items()}
        assert sizes == expected


@given(st.lists(pairs(), min_size=1, max_size=4))
@settings(max_examples=20)
def test_files_are_read_as_read_trees_reads_them(tmp_path_factory: Any, trees: list[HarmBenefitTree]) -> None:
    path = written(tmp_path_factory.mktemp("corpus") / "a.jsonl", *map(stored, trees))
    corpus = read_corpus([path], TAXONOMY)
    items = [it for it in read_trees(path, TAXONOMY) if isinstance(it, StoredTrees)]
    assert corpus.ids == tuple(it.id for it in items)
    assert corpus.defects.tolist() == [len(it.defects) for it in items]
    assert contents(corpus.matrix) == contents(FINE.featurize(it.trees for it in items))


def test_everything_about_a_row_and_every_failure_is_kept(tmp_path: Path) -> None:
    clean = {"harm": ["Customers | 32 | 7i4h", "customers  | 32 | 7i?h"], "benefit": []}
    first = written(
        tmp_path / "dev.jsonl", {"id": "a", "label": 1, "source": "forum"} | clean, "", "rubbish", clean | {"label": "safe"}
    )
    second = written(tmp_path / "more.jsonl", {"harm": ["x | 32 | 7i4z", "?"], "benefit": None}, {"id": "e", "error": "no"})
    seen: list[None] = []
    corpus = read_corpus([first, second], TAXONOMY, on_row=lambda: seen.append(None))
    assert len(seen) == 5
    assert corpus.ids == ("a", "dev:line-4", "more:line-1")
    assert [corpus.sources[i] for i in corpus.source] == ["forum", "dev", "more"]
    assert [corpus.place(i) for i in range(3)] == ["dev:1", "dev:4", "more:1"]
    assert corpus.labels.tolist() == [1, 0, UNLABELLED]
    assert corpus.lost.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert corpus.stakeholders == ("Customers", "x")
    assert corpus.stakeholder.tolist() == [0, 0, 1]
    assert corpus.defects.tolist()[:2] == [0, 0]
    assert corpus.defects[2] > 0
    assert [(it.id, it.source, it.line) for it in corpus.unread] == [("dev:line-3", "dev", 3), ("e", "more", 2)]


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    paths = [
        written(folder / "a.jsonl", {"harm": [], "benefit": []}) for folder in (tmp_path, tmp_path / "x")
    ]  # fmt: skip
    assert read_corpus(paths, TAXONOMY).files == tuple(map(str, paths))


def test_an_empty_corpus() -> None:
    corpus = corpus_of([])
    assert (len(corpus), len(corpus.matrix), corpus.matrix.counts.shape) == (0, 0, (0, 7728))


def test_both_matrices_share_their_memory() -> None:
    corpus = read_corpus_of_many()
    assert np.shares_memory(corpus.matrix.counts.data, corpus.parts.counts.data)


def read_corpus_of_many() -> Corpus:
    from benchmarks import synthetic
    from safetyanalyst.generation import parsing

    rng = np.random.default_rng(0)
    return corpus_of([parsing.pair_from_json(synthetic.published_tree(rng, TAXONOMY, 60), TAXONOMY).trees for _ in range(30)])
