from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetyanalyst.errors import ConfigError
from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.pool import Pool, one_taxonomy, read_pool
from safetyanalyst.pipelines.suggest import rows_to_label, suggest
from safetyanalyst.policy import BoundPolicy, Policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import GAP, TAXONOMY, calibrated, labelled_rows, written

BASE = load_policy("balanced")
STRICT = load_policy("strict")
BOUND = {"balanced": BASE.bind(TAXONOMY)}
NOBODY: dict[str, Any] = {"stakeholders": []}
LOST = {"trees": {"harm": {"stakeholders": [], "lost": 1}, "benefit": {"stakeholders": []}}}


def unlabelled(n: int, seed: int = 0) -> list[dict[str, Any]]:
    return [{"id": row["id"], "tree": row["tree"]} for row in labelled_rows(BASE, n, seed)]


def pooled(tmp_path: Path, rows: list[Any], policies: dict[str, BoundPolicy] = BOUND, replicates: Any = None) -> Pool:
    path = written(tmp_path / "pool.jsonl", rows)
    return read_pool({"pool": path}, TAXONOMY, policies.values(), replicates)


def scores_of(rows: list[dict[str, Any]], bound: BoundPolicy = BOUND["balanced"]) -> np.ndarray:
    from safetyanalyst.aggregation import harmfulness
    from safetyanalyst.generation import parsing

    return harmfulness(bound.space.featurize(parsing.pair_from_json(row["tree"], TAXONOMY).trees for row in rows), bound.levels)


def test_the_nearest_to_the_threshold_come_first(tmp_path: Path) -> None:
    rows = unlabelled(700)  # more than one piece
    for threshold in (0.0, 0.9):
        bound = BASE.model_copy(update={"threshold": threshold}).bind(TAXONOMY)
        found = suggest(pooled(tmp_path, rows, {"p": bound}), {"p": bound}, 15).suggestions
        margins = np.abs(scores_of(rows) - threshold)
        assert [it.id for it in found] == [f"r{i}" for i in np.argsort(margins, kind="stable")[:15]]
        for it in found:
            assert it.margin == pytest.approx(it.score - threshold)
            assert (it.distance, it.line) == (abs(it.margin), int(it.id[1:]) + 1)
            assert (it.reason, it.probability, it.harmful_votes) == ("near_threshold", None, None)
            assert it.decisions["p"] == bound.decide(it.score, it.score)[0]


def test_nearness_is_measured_in_probability_where_the_policy_is_calibrated(tmp_path: Path) -> None:
    from safetyanalyst.calibration import IsotonicCurve

    rows = unlabelled(200)
    made = calibrated(BASE)
    assert made.calibration is not None
    curve = IsotonicCurve(margins=(-3.0, -0.1, 0.0, 2.0), probabilities=(0.1, 0.2, 0.8, 0.81))  # steep below the threshold
    policy = made.model_copy(update={"calibration": made.calibration.model_copy(update={"curve": curve})})
    bound = policy.bind(TAXONOMY)
    found = suggest(pooled(tmp_path, rows, {"p": bound}), {"p": bound}, 30).suggestions
    p = curve(scores_of(rows))
    assert [it.id for it in found] == [f"r{i}" for i in np.lexsort((np.abs(scores_of(rows)), np.abs(p - 0.8)))[:30]]
    assert all(it.probability == pytest.approx(p[int(it.id[1:])]) for it in found)
    assert all(it.distance == pytest.approx(abs(p[int(it.id[1:])] - 0.8)) for it in found)
    assert all(it.score > -0.1 for it in found)


def test_labelled_rows_are_skipped_and_others_counted(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 20)
    rows = [row | {"label": row["label"] if i % 2 else None} for i, row in enumerate(rows)]
    pool = pooled(tmp_path, [*rows, {"id": "gap", "tree": GAP}, LOST | {"id": "lost"}, "rubbish", LOST | {"label": 1}])
    found = suggest(pool, BOUND, 50)
    assert {it.id for it in found.suggestions} == {f"r{i}" for i in range(0, 20, 2)}
    assert (found.candidates, found.labelled, found.incomplete, found.unreadable) == (10, 11, 2, 1)
    assert pool.failures[0].failure.line == 23
    assert pool.labelled.shape[0] == 10


def test_rows_that_are_undecided_for_what_is_missing_need_reading(tmp_path: Path) -> None:
    harm = unlabelled(1)[0]["tree"][0]
    surely = {"id": "sure", "tree": [*[harm] * 9, GAP[0]]}
    pool = pooled(tmp_path, [LOST | {"id": "lost"}, surely, *unlabelled(3)])
    found = suggest(pool, BOUND, 50)
    assert [(it.id, it.line, it.decisions) for it in found.to_read] == [("lost", 1, {"balanced": "review"})]
    assert found.incomplete == 2
    assert "sure" not in {it.id for it in found.suggestions}


def test_policies_disagree_where_one_scores_above_its_threshold(tmp_path: Path) -> None:
    rows = unlabelled(200)
    policies = BOUND | {"strict": STRICT.bind(TAXONOMY)}
    pool = pooled(tmp_path, rows, policies)
    found = suggest(pool, policies, 200, by="disagreement").suggestions
    split = [it for it in found if it.harmful_votes == 0.5]
    scores = scores_of(rows)
    assert {it.id for it in split} == {f"r{i}" for i in np.flatnonzero((scores <= 0) & (scores > STRICT.threshold))}
    assert [it.id for it in found[: len(split)]] == [it.id for it in split]
    assert {it.reason for it in found} == {"policies_disagree"}
    assert found[0].decisions.keys() == {"balanced", "strict"}
    assert found[0].margin == pytest.approx(STRICT.threshold / 2, abs=0.05)  # as far from the one threshold as from the other
    both = suggest(pool, policies, 200, by="both").suggestions
    assert {it.reason for it in both} == {"policies_disagree", "near_threshold"}


def test_replicates_of_one_policy_are_a_committee(tmp_path: Path) -> None:
    rows = unlabelled(60)
    bound = BOUND["balanced"]
    rng = np.random.default_rng(0)
    replicates = np.clip(bound.levels + rng.normal(scale=0.2, size=(25, len(bound.levels))), 0, 1)
    pool = pooled(tmp_path, rows, BOUND, replicates)
    above = np.mean([scores_of(rows, _with_levels(bound, levels)) > 0 for levels in replicates], axis=0)
    np.testing.assert_allclose(pool.above, above)
    found = suggest(pool, BOUND, 10, by="disagreement").suggestions
    assert [min(it.harmful_votes, 1 - it.harmful_votes) for it in found if it.harmful_votes is not None] == pytest.approx(
        sorted(np.minimum(above, 1 - above), reverse=True)[:10]
    )
    with pytest.raises(ConfigError, match="cannot disagree with itself"):
        suggest(pooled(tmp_path, rows), BOUND, 10, by="both")


def _with_levels(bound: BoundPolicy, levels: np.ndarray) -> BoundPolicy:
    from copy import copy

    other = copy(bound)
    other.levels = levels
    return other


def test_duplicates_are_not_suggested_when_diverse(tmp_path: Path) -> None:
    near, *others = sorted(unlabelled(40), key=lambda row: abs(scores_of([row])[0]))
    copies = [near | {"id": f"copy{i}"} for i in range(20)]
    pool = pooled(tmp_path, [*copies, *others])
    plain = suggest(pool, BOUND, 10).suggestions
    diverse = suggest(pool, BOUND, 10, spread="diverse").suggestions
    assert all(it.id.startswith("copy") for it in plain)
    assert sum(it.id.startswith("copy") for it in diverse) == 1
    assert diverse[0].id == "copy0"
    everything = suggest(pool, BOUND, 59, spread="diverse").suggestions
    assert len({it.id for it in everything}) == 59
    assert sum(it.id.startswith("copy") for it in everything[-19:]) == 19
    labelled = pooled(tmp_path, [near | {"label": 1}, *copies, *others])  # one that has a label is not asked for again
    assert not any(it.id.startswith("copy") for it in suggest(labelled, BOUND, 10, spread="diverse").suggestions)


def test_trees_without_effects_are_alike(tmp_path: Path) -> None:
    empty = [{"id": f"e{i}", "harm": [], "benefit": []} for i in range(5)]
    found = suggest(pooled(tmp_path, [*empty, *unlabelled(20)]), BOUND, 12, spread="diverse").suggestions
    assert sum(it.id.startswith("e") for it in found) == 1


def test_information_prefers_what_no_label_has_told_yet(tmp_path: Path) -> None:
    def row(id: str, action: int, label: int | None = None) -> dict[str, Any]:
        return {"id": id, "harm": [f"A | {action} | 7i3h 9i3h"], "benefit": ["User | B6 | 7d3m 10i3h"], "label": label}

    known = [row(f"k{i}", 14, i % 2) for i in range(200)]
    policy = BASE.model_copy(update={"weights": BASE.weights | {name: 0.5 for name in BASE.weights if "action" in name}})
    bound = {"p": policy.bind(TAXONOMY)}
    pool = pooled(tmp_path, [*known, *(row(f"same{i}", 14) for i in range(5)), *(row(f"new{i}", 32) for i in range(5))], bound)
    found = suggest(pool, bound, 10, by="information").suggestions
    assert [it.id[:3] for it in found[:5]] == ["new"] * 5
    assert {it.reason for it in found} == {"informative"}


def test_information_is_the_brute_force_design(tmp_path: Path) -> None:
    """Against numerical derivatives and full inverses: each step takes the row that leaves the least mean variance."""
    rows = [*labelled_rows(BASE, 8), *unlabelled(12, seed=5)]
    for i, row in enumerate(rows):
        row["id"] = str(i)
    pool = pooled(tmp_path, rows)
    bound = BOUND["balanced"]
    space = bound.space
    ratios = np.clip(space.ratios_from_levels(bound.levels), 0.1, 0.9)
    from safetyanalyst.generation import parsing

    counts = space.featurize(parsing.pair_from_json(row["tree"], TAXONOMY).trees for row in rows).dense

    def moved(k: int, by: float) -> np.ndarray:
        at = ratios.copy()
        at[k] += by
        return counts @ space.ratios.values(at)

    J = np.stack([(moved(k, 1e-4) - moved(k, -1e-4)) / 2e-4 for k in range(len(ratios))], axis=1)
    p = 1 / (1 + np.exp(-counts @ space.ratios.values(ratios)))
    info = [p[i] * (1 - p[i]) * np.outer(J[i], J[i]) for i in range(20)]
    chosen: list[int] = []
    for _ in range(6):

        def left(i: int) -> float:
            C = np.linalg.inv(12 * np.eye(len(ratios)) + sum(info[j] for j in [*range(8), *chosen, i]))
            return sum(float(np.trace(C @ info[j])) for j in range(8, 20))

        chosen.append(min((i for i in range(8, 20) if i not in chosen), key=left))
    found = suggest(pool, BOUND, 6, by="information").suggestions
    assert [int(it.id) for it in found] == chosen


@pytest.mark.parametrize("spec", [
    FeatureSpaceSpec(analysis="harms"), FeatureSpaceSpec(analysis="benefits", effect="group"),
    FeatureSpaceSpec(action="leaf", discount="shared"),
], ids=str)  # fmt: skip
def test_every_feature_space_can_be_asked(tmp_path: Path, spec: FeatureSpaceSpec) -> None:
    from safetyanalyst.features import FeatureSpace
    from safetyanalyst.policy import weights_by_name

    space = FeatureSpace(TAXONOMY, spec)
    other = Policy(name="p", space=spec, weights=weights_by_name(space, np.full(len(space.levels.names), 0.5)))
    policies = {"p": other.bind(TAXONOMY)} | BOUND
    pool = pooled(tmp_path, [*unlabelled(30), *labelled_rows(BASE, 5)], policies)
    for by in ("margin", "disagreement", "both", "information"):
        found = suggest(pool, policies, 7, by=by, spread="diverse")  # type: ignore[arg-type]
        assert len({it.id for it in found.suggestions}) == 7


def test_an_empty_corpus_has_nothing_to_suggest(tmp_path: Path) -> None:
    for rows in ([], ["rubbish"], labelled_rows(BASE, 3)):
        pool = pooled(tmp_path, rows)
        for by in ("margin", "information"):
            found = suggest(pool, BOUND, 5, by=by, spread="diverse")  # type: ignore[arg-type]
            assert (found.suggestions, found.candidates) == ((), 0)


def test_rows_are_written_as_they_stand_with_room_for_a_label(tmp_path: Path) -> None:
    tree = unlabelled(1)[0]["tree"]
    strange = '{"id": "strange", "tree": ' + json.dumps(tree) + ', "text": "\\ud800 \u2028 ü", "n": 1.10, "label":null}'
    lines = [
        f"\ufeff  {json.dumps({'tree': tree, 'more': {'deep': [1]}})}  ",
        "",
        json.dumps(tree),
        strange,
        json.dumps({"id": "ours", "trees": {"harm": NOBODY, "benefit": NOBODY}, "provenance": {"x": 1}}),
        json.dumps({"id": "rows", "harm": ["A | 14 | 7i3h"], "benefit": [], "harmful": None}),
    ]
    path = written(tmp_path / "pool.jsonl", lines)
    found = suggest(read_pool({"a": path}, TAXONOMY, BOUND.values()), BOUND, 10)
    out = rows_to_label(found)
    assert [json.loads(line)["id"] for line in out] == [it.id for it in found.suggestions]
    by_id = {json.loads(line)["id"]: line for line in out}
    assert by_id.keys() == {"line-1", "line-3", "strange", "ours", "rows"}
    assert strange[1:] in by_id["strange"]  # byte for byte
    assert all(json.loads(line)["label"] is None for line in out)
    assert json.loads(by_id["line-1"])["more"] == {"deep": [1]}
    again = list(read_trees([line.replace('"label": null', '"label": 1').encode() for line in out], TAXONOMY))
    before = {it.line: it.id for it in found.suggestions}
    for item in read_trees(path, TAXONOMY):
        assert isinstance(item, StoredTrees)
    stored = {it.id: it for it in read_trees(path, TAXONOMY) if isinstance(it, StoredTrees)}
    assert len(again) == len(before) == 5
    for item in again:
        assert isinstance(item, StoredTrees)
        assert item.trees == stored[item.id].trees
        assert item.defects == stored[item.id].defects
        assert item.label == (None if item.id == "strange" else 1)
        assert item.fields["suggested"] == "near_threshold"


def test_rows_of_several_files_keep_their_places_apart(tmp_path: Path) -> None:
    tree = unlabelled(1)[0]["tree"]
    files = {name: written(tmp_path / f"{name}.jsonl", [{"tree": tree}, {"id": name, "tree": tree}]) for name in ("a", "b")}
    found = suggest(read_pool(files, TAXONOMY, BOUND.values()), BOUND, 10)
    assert [it.id for it in found.suggestions] == ["a:line-1", "a", "b:line-1", "b"]
    assert [json.loads(line)["id"] for line in rows_to_label(found)] == ["a:line-1", "a", "b:line-1", "b"]


def test_policies_of_two_taxonomies_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="different taxonomies"):
        one_taxonomy([BASE.bind(TAXONOMY), BASE.bind(load_taxonomy("agents-v1"))])
    assert one_taxonomy([BASE.bind(TAXONOMY), STRICT.bind(TAXONOMY)]) == TAXONOMY


def test_the_benchmark_asks_for_rows_without_a_label_and_measures_what_is_left() -> None:
    from benchmarks import labels

    world = labels.make(np.random.default_rng(0))
    known = np.arange(80)
    model = labels.fitted(world, known, 0.03)
    for by in ("margin", "information"):
        chosen = labels.suggested(world, known, model, [model.levels_], 20, by, "useful")
        assert len(set(chosen.tolist())) == 20
        assert chosen.min() >= 80
    truth = labels.left_by(world, labels.fitted(world, np.arange(labels.POOL), 0.0))
    assert 0 <= truth.loss < labels.left_by(world, model).loss
