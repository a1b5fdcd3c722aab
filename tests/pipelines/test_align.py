from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import synthetic
from safetyanalyst.aggregation import AggregationModel, harmfulness, log_loss
from safetyanalyst.constraints import Constraints
from safetyanalyst.errors import FitError, PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec, slug
from safetyanalyst.fit_facts import FitFacts
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines.align import (
    AlignSettings,
    align,
    align_with,
    carried_levels,
    prior_towards,
    read_labelled,
)
from safetyanalyst.pipelines.dataset import file_hash
from safetyanalyst.policy import Policy, dump_policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import claimed

TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
SPACE = FeatureSpace(TAXONOMY, BASE.space)


def labelled_rows(n: int = 120, seed: int = 0) -> list[dict[str, Any]]:
    """Random trees, labelled by secret weights."""
    rng = np.random.default_rng(seed)
    trees = [synthetic.published_tree(rng, TAXONOMY, int(rng.integers(10, 90))) for _ in range(n)]
    matrix = SPACE.featurize(parsing.pair_from_json(tree, TAXONOMY).trees for tree in trees)
    scores = harmfulness(matrix, SPACE.levels_from_ratios(rng.uniform(size=29)))
    labels = (scores > np.median(scores)).astype(int)
    return [
        {"id": f"r{i}", "tree": tree, "label": int(label)} for i, (tree, label) in enumerate(zip(trees, labels, strict=True))
    ]


def written(tmp_path: Path, rows: list[Any], name: str = "labelled.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def aligned(path: Path, base: Policy = BASE, **options: Any) -> Policy:
    data = read_labelled(path, FeatureSpace(TAXONOMY, base.space))
    return align(data, base, TAXONOMY, name="mine", source=path, **({"n_starts": 2} | options))


ROWS = labelled_rows(40)


def test_what_a_fit_cannot_use_is_counted_and_left_out(tmp_path: Path) -> None:
    rows = labelled_rows(10)
    gap = [{"stakeholder": "a", "harms": [{"action": "no such thing", "effects": [{}]}]}]
    path = written(tmp_path, [*rows, {"tree": rows[0]["tree"]}, {"tree": gap, "label": 1}, {"tree": [], "label": 1}, "rubbish"])
    data = read_labelled(path, SPACE)
    assert data.ids == tuple(row["id"] for row in rows)
    assert (data.unlabelled, data.incomplete, len(data.failures), data.left_out) == (1, 2, 1, 4)
    assert data.failures[0].line == 14


def test_a_policy_is_aligned_with_the_facts_of_its_fit(tmp_path: Path) -> None:
    rows = labelled_rows()
    path = written(tmp_path, [*rows, {"tree": rows[0]["tree"]}])
    policy = aligned(path, seed=7)
    fit = policy.fit
    assert fit is not None
    assert (fit.data, fit.data_hash) == ("labelled.jsonl", file_hash(path))
    assert (fit.rows, fit.rows_left_out, fit.harmful, fit.parameters) == (120, 1, 60, 29)
    assert (fit.seed, len(fit.starts), fit.taxonomy) == (7, 2, TAXONOMY.label)
    assert fit.loss_at_zero_weights == pytest.approx(np.log(2))
    assert fit.loss < fit.loss_at_zero_weights - 0.1
    assert fit.loss == min(start.loss for start in fit.starts)
    matrix = SPACE.featurize(parsing.pair_from_json(row["tree"], TAXONOMY).trees for row in rows)
    labels = np.array([row["label"] for row in rows], dtype=float)
    scores = harmfulness(matrix, policy.bind(TAXONOMY).levels)
    assert log_loss(scores, labels).mean() == pytest.approx(fit.loss, abs=1e-12)
    assert ((scores > 0) == labels).mean() > 0.8


def test_what_is_not_weights_comes_from_the_base(tmp_path: Path) -> None:
    base = Policy.model_validate(
        BASE.model_dump(by_alias=True) | {"threshold": 0.25, "review_band": {"below": 0.1}, "on_missing": "block"}
    )
    policy = aligned(written(tmp_path, labelled_rows(60)), base)
    assert (policy.threshold, policy.review_band, policy.on_missing) == (0.25, base.review_band, "block")
    assert (policy.name, policy.edits, policy.space) == ("mine", (), base.space)
    assert policy.weights != base.weights
    assert list(policy.weights) != []
    assert set(policy.weights) == set(base.weights)


def test_new_weights_have_neither_calibration_nor_guarantee(tmp_path: Path) -> None:
    policy = aligned(written(tmp_path, labelled_rows(60)), claimed(BASE))
    assert (policy.calibration, policy.guarantee) == (None, None)


def test_the_same_data_and_seed_give_the_same_file(tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(60))
    assert dump_policy(aligned(path)) == dump_policy(aligned(path))
    assert aligned(path).hash != aligned(path, n_starts=1).hash


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpaceSpec(discount="shared"), FeatureSpaceSpec(analysis="harms"), FeatureSpaceSpec(analysis="benefits"),
        FeatureSpaceSpec(effect="group"), FeatureSpaceSpec(action="leaf"),
    ],
    ids=str,
)  # fmt: skip
def test_every_feature_space_can_be_aligned_and_read_back(tmp_path: Path, spec: FeatureSpaceSpec) -> None:
    space = FeatureSpace(TAXONOMY, spec)
    base = BASE.model_copy(update={"space": spec})
    rows = labelled_rows(60)
    policy = aligned(written(tmp_path, rows), base, n_starts=1)
    assert policy.fit is not None
    assert policy.fit.parameters == len(space.ratios.names)
    path = tmp_path / "mine.yaml"
    path.write_text(dump_policy(policy), encoding="utf-8")
    again = load_policy(path)
    assert again == policy
    assert again.hash == policy.hash
    matrix = space.featurize(parsing.pair_from_json(row["tree"], TAXONOMY).trees for row in rows)
    labels = np.array([row["label"] for row in rows], dtype=float)
    model = AggregationModel(space, n_starts=1).fit(matrix, labels)
    np.testing.assert_allclose(harmfulness(matrix, again.bind(TAXONOMY).levels), model.decision_function(matrix), atol=1e-12)


def test_labels_that_determine_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="both classes"):
        aligned(written(tmp_path, [row for row in labelled_rows(20) if row["label"]]))
    with pytest.raises(FitError, match=r"other.jsonl: no labelled rows .*1 rows left out"):
        aligned(written(tmp_path, ["rubbish"], "other.jsonl"))
    with pytest.raises(FitError, match="0 rows left out"):
        aligned(written(tmp_path, [], "empty.jsonl"))


def test_levels_are_carried_over_where_they_exist() -> None:
    leaves = FeatureSpace(TAXONOMY, FeatureSpaceSpec(action="leaf", effect="group"))
    carried = carried_levels(BASE.weights, leaves)
    groups = {slug(action.name): action.group for action in TAXONOMY.harm_actions}
    assert set(carried) == set(leaves.levels.names)
    for name, value in carried.items():
        if name.startswith("harm/action/"):
            assert value == BASE.weights[f"harm/action/{groups[name.removeprefix('harm/action/')]}"]
        else:
            assert value == (1.0 if name.startswith("effect/") else BASE.weights[name])
    back = carried_levels(carried, SPACE)
    assert back == pytest.approx({name: BASE.weights[name] for name in SPACE.levels.names}, abs=1e-15)


def test_what_a_base_of_harms_alone_does_not_say_is_left_open() -> None:
    harms = {name: value for name, value in BASE.weights.items() if name.startswith("harm/")}
    carried = carried_levels(harms, SPACE)
    assert set(carried) == {name for name in SPACE.levels.names if name.startswith("harm/")}
    policy = BASE.model_copy(update={"weights": harms, "space": FeatureSpaceSpec(analysis="harms")})
    prior = prior_towards(policy, SPACE, 5.0)
    assert np.isnan(prior.values).sum() == 7
    benefits = FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis="benefits"))
    with pytest.raises(PolicyError, match="no weight of this feature space"):
        prior_towards(policy, benefits, 5.0)


def test_a_shared_discount_is_pulled_to_the_mean_of_both() -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(discount="shared"))
    weights = BASE.weights | {"harm/immediacy/downstream": 0.2, "benefit/immediacy/downstream": 0.6}
    prior = prior_towards(BASE.model_copy(update={"weights": weights}), space, 1.0)
    assert prior.values[space.ratios.names.index("downstream_discount")] == pytest.approx(0.4)


def test_facts_that_were_not_asked_for_leave_no_trace() -> None:
    """So the hashes of older policies hold."""
    older = {
        "data", "data_hash", "rows", "rows_left_out", "harmful", "parameters", "loss", "loss_at_zero_weights", "ridge", "seed",
        "starts", "at_bounds", "unidentified", "taxonomy", "code", "bootstrap",
    }  # fmt: skip
    fit = load_policy("balanced").fit
    assert fit is not None
    facts = {key: value for key, value in fit.model_dump(mode="json").items() if key in older}
    written = json.loads(FitFacts.model_validate(facts).model_dump_json())
    assert written == facts
    assert set(written) == older


def test_folds_and_bootstrap_show_their_progress(tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(60))
    seen: dict[str, list[int]] = {}

    @contextmanager
    def watch(description: str, total: int) -> Iterator[Callable[[], object]]:
        seen[description] = [total, 0]

        def tick() -> None:
            seen[description][1] += 1

        yield tick

    chosen = AlignSettings(n_starts=3, n_folds=2, n_bootstrap=4)
    align_with(chosen, read_labelled(path, SPACE), BASE, TAXONOMY, name="mine", source=path, watch=watch)
    assert seen == {"starts": [3, 3], "folds": [2, 2], "bootstrap": [4, 4]}


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_constraints_hold_in_the_written_policy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = rng.choice(SPACE.levels.names, size=6, replace=False).tolist()
    floors = {name: float(rng.uniform(0, 0.4)) for name in names[:2]}
    ceilings = {name: float(rng.uniform(0.4, 1)) for name in names[2:4]}
    frozen = {name: 0.4 for name in names[4:]}
    constraints = Constraints(floors=floors, ceilings=ceilings, frozen=frozen)
    with TemporaryDirectory() as folder:
        path = written(Path(folder), ROWS)
        chosen = AlignSettings(n_starts=2, constraints=constraints, ridge=float(rng.choice([0.0, 0.01])))
        policy = align_with(chosen, read_labelled(path, SPACE), BASE, TAXONOMY, name="mine", source=path).policy
        (path.parent / "p.yaml").write_text(dump_policy(policy), encoding="utf-8")
        again = load_policy(path.parent / "p.yaml")
    assert again.hash == policy.hash
    again.bind(TAXONOMY)  # in order
    assert all(again.weights[name] >= value for name, value in floors.items())
    assert all(again.weights[name] <= value for name, value in ceilings.items())
    assert all(again.weights[name] == value for name, value in frozen.items())
