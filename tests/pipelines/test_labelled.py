"""Labels read into arrays: from a feature dataset by columns, the same as from lines of JSON by records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import synthetic
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines.align import AlignSettings, align_with
from safetyanalyst.pipelines.align_communities import align_communities
from safetyanalyst.pipelines.calibrate import score_labelled
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.labelled import LabelledTrees, read_labelled
from safetyanalyst.pipelines.parquet import write_parquet
from safetyanalyst.policy import Policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests import strategies
from tests.labels import GAP

pytest.importorskip("pyarrow", reason="Parquet needs the extra `parquet`")
TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
SPACES = [
    FeatureSpaceSpec(),
    FeatureSpaceSpec(analysis="harms", discount="shared"),
    FeatureSpaceSpec(analysis="benefits"),
    FeatureSpaceSpec(action="leaf", effect="group"),
]


def both(folder: Path, rows: list[dict[str, Any]]) -> tuple[Path, Path]:
    """The same rows as lines of JSON and as a feature dataset."""
    lines, dataset = folder / "rows.jsonl", folder / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_parquet(dataset, [it for it in read_trees(lines, TAXONOMY) if isinstance(it, StoredTrees)], TAXONOMY)
    return lines, dataset


def published(n: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "id": f"r{i}", "tree": synthetic.published_tree(rng, TAXONOMY, int(rng.integers(5, 40))),
            "label": int(rng.integers(0, 2)), "weight": float(rng.uniform(0.5, 2)), "source": f"s{i % 3}", "pair": i // 2,
        }
        for i in range(n)
    ]  # fmt: skip


def assert_alike(a: LabelledTrees, b: LabelledTrees) -> None:
    assert (a.ids, a.fields, a.unlabelled, a.incomplete, a.failures) == (
        b.ids,
        b.fields,
        b.unlabelled,
        b.incomplete,
        b.failures,
    )
    assert a.labels.tolist() == b.labels.tolist()
    for name in ("data", "indices", "indptr"):  # the same floats in the same order: sums are the same to the last digit
        assert getattr(a.matrix.counts, name).tolist() == getattr(b.matrix.counts, name).tolist()
    assert a.matrix.is_complete
    assert b.matrix.is_complete


@settings(max_examples=30)
@given(st.lists(st.tuples(strategies.pairs() | strategies.complete_pairs(), st.sampled_from([0, 1, None])), max_size=5))
def test_both_ways_lead_to_the_same_arrays(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[HarmBenefitTree, int | None]]
) -> None:
    rows = []
    for i, (pair, label) in enumerate(given_rows):
        trees = {
            kind: None if tree is None else to_json(tree) for kind, tree in (("harm", pair.harm), ("benefit", pair.benefit))
        }
        rows.append({"id": f"r{i}", "trees": trees, "label": label, "weight": i})
    lines, dataset = both(tmp_path_factory.mktemp("rows"), rows)
    for spec in SPACES:
        space = FeatureSpace(TAXONOMY, spec)
        assert_alike(read_labelled(dataset, space), read_labelled(lines, space))


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_a_fit_to_a_dataset_is_the_fit_to_the_lines(tmp_path: Path, spec: FeatureSpaceSpec) -> None:
    lines, dataset = both(tmp_path, [*published(), {"tree": GAP, "label": 1, "weight": 1}, {"tree": [], "label": None}])
    chosen = AlignSettings(n_starts=2, ridge=0.01, weight_column="weight", group_column="pair", n_folds=3, n_bootstrap=3)
    base = BASE.model_copy(update={"space": spec})

    def fitted(path: Path) -> dict[str, Any]:
        data = read_labelled(path, FeatureSpace(TAXONOMY, spec))
        found = align_with(chosen, data, base, TAXONOMY, name="mine", source=path)
        policy: Policy = found.policy
        assert policy.fit is not None
        fit = policy.fit.model_copy(update={"data": "", "data_hash": ""})
        return policy.model_copy(update={"fit": fit}).model_dump()

    assert fitted(dataset) == fitted(lines)


def test_communities_of_a_dataset_are_those_of_the_lines(tmp_path: Path) -> None:
    paths = both(tmp_path, published())
    found = [
        align_communities(
            AlignSettings(n_starts=1, ridge=0.01), read_labelled(path, FeatureSpace(TAXONOMY, BASE.space)), BASE, TAXONOMY,
            name="mine", source=path, column="source", min_rows=5, strength=5.0,
        )
        for path in paths
    ]  # fmt: skip
    assert [it.name for it in found[0].report.communities] == ["s0", "s1", "s2"]
    assert found[0].report == found[1].report


def test_a_dataset_is_scored_for_calibration_as_the_lines_are(tmp_path: Path) -> None:
    rows = [*published(), {"tree": GAP, "label": 1, "suggested": "informative"}, {"tree": [], "label": None}]
    by_lines, by_columns = (score_labelled(path, BASE.bind(TAXONOMY)) for path in both(tmp_path, rows))
    assert by_columns.labels.tolist() == by_lines.labels.tolist()
    assert by_columns.suggested == by_lines.suggested == 1
    assert by_columns.unlabelled == by_lines.unlabelled == 1
    np.testing.assert_allclose(by_columns.low, by_lines.low, rtol=1e-13)
    np.testing.assert_allclose(by_columns.high, by_lines.high, rtol=1e-13)


def test_no_tree_of_a_dataset_becomes_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, dataset = both(tmp_path, published(10))
    monkeypatch.setattr("safetyanalyst.pipelines.parquet_corpus.read_record", None)
    monkeypatch.setattr("safetyanalyst.pipelines.parquet.read_record", None)
    assert len(read_labelled(dataset, FeatureSpace(TAXONOMY, BASE.space))) == 10
