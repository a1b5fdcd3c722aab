from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import plain_loop, synthetic
from safetyanalyst.aggregation import AggregationModel, harmfulness, harmfulness_interval, log_loss, probability
from safetyanalyst.constraints import Constraints, LevelRegion
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix, FeatureSpace, FeatureSpaceSpec
from safetyanalyst.fitting import Prior
from safetyanalyst.generation import parsing
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.strategies import completions, pairs

TAXONOMY = load_taxonomy()
SPACE = FeatureSpace(TAXONOMY)
OURS = Path(__file__).parent / "data" / "parity.json"
PUBLISHED = Path(__file__).parents[2] / "shared" / "golden" / "reference_parity.json"


def published_trees(trees: list[list[dict[str, object]]]) -> list[HarmBenefitTree]:
    return [parsing.pair_from_json(tree, TAXONOMY).trees for tree in trees]


def ratios(space: FeatureSpace, parameters: dict[str, float]) -> np.ndarray:
    """Published parameters, by name, in the order of the space."""
    renamed = {}
    for name, value in parameters.items():
        scope, _, rest = name.partition("/")
        group = next((g.key for g in TAXONOMY.action_groups if g.name == rest), None)
        renamed[f"harm/action/{group}" if scope == "action" else name] = value
    return np.array([renamed[name] for name in space.ratios.names])


def test_scores_equal_those_computed_by_the_plain_loop_over_our_own_trees() -> None:
    data = json.loads(OURS.read_text(encoding="utf-8"))
    trees = [parsing.pair_from_json(tree, TAXONOMY).trees for tree in data["trees"]]
    for one in data["sets"]:
        levels = SPACE.levels_from_ratios(ratios(SPACE, one["parameters"]))
        np.testing.assert_allclose(harmfulness(SPACE.featurize(trees), levels), one["scores"], rtol=0, atol=1e-12)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published vectors do not lie beside this checkout")
def test_scores_equal_those_of_the_published_code() -> None:
    data = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    trees = published_trees(data["trees"])
    labels = np.array(data["labels"], dtype=float)
    names = data["parameter_order_29"] + [f"effect/{g.key}" for g in TAXONOMY.effect_groups]
    for one in data["parameter_sets"]:
        spec = FeatureSpaceSpec(analysis=one["analysis"], effect="group" if one["effect_weights"] else "none")
        space = FeatureSpace(TAXONOMY, spec)
        parameters = dict(zip(names, one["parameters"], strict=False))
        matrix = space.featurize(trees)
        assert matrix.is_complete
        scores = harmfulness(matrix, space.levels_from_ratios(ratios(space, parameters)))
        np.testing.assert_allclose(scores, one["scores"], rtol=0, atol=1e-9)
        expected = one["negative_log_likelihood_sum"]
        if expected is not None:
            assert log_loss(scores, labels, one["analysis"]).sum() == pytest.approx(expected, abs=1e-8)


@given(pairs(), st.integers(0, 100), st.data())
def test_the_interval_holds_every_completion(pair: HarmBenefitTree, seed: int, data: st.DataObject) -> None:
    levels = SPACE.levels_from_ratios(np.random.default_rng(seed).uniform(size=29))
    interval = harmfulness_interval(SPACE.featurize([pair]), levels)
    completed = data.draw(completions(pair))
    score = harmfulness(SPACE.featurize([completed]), levels)[0]
    assert interval.low[0] - 1e-9 <= score <= interval.high[0] + 1e-9


def test_nothing_missing_gives_a_point_and_a_missing_tree_gives_no_bound() -> None:
    levels = SPACE.levels_from_ratios(np.full(29, 0.5))
    tree = parsing.pair_from_json(synthetic.published_tree(np.random.default_rng(0), TAXONOMY, 20), TAXONOMY).trees
    whole, no_harm, no_benefit = (
        harmfulness_interval(SPACE.featurize([tree.model_copy(update=gap)]), levels)
        for gap in ({}, {"harm": None}, {"benefit": None})
    )
    assert whole.low == whole.high
    assert no_harm.high == np.inf
    assert np.isfinite(no_harm.low)
    assert no_benefit.low == -np.inf
    assert np.isfinite(no_benefit.high)


def simulated(seed: int = 0, n: int = 300) -> tuple[FeatureMatrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    trees = [synthetic.published_tree(rng, TAXONOMY, int(rng.integers(4, 30))) for _ in range(n)]
    matrix = SPACE.featurize(published_trees(trees))
    scores = harmfulness(matrix, SPACE.levels_from_ratios(rng.uniform(size=29)))
    return matrix, (rng.random(n) < probability(scores - np.median(scores))).astype(float)


def test_a_fit_reports_every_start_and_the_best_wins() -> None:
    matrix, labels = simulated()
    model = AggregationModel(SPACE, n_starts=4, seed=3).fit(matrix, labels)
    assert len(model.starts_) == 4
    assert model.loss_ == min(start.loss for start in model.starts_)
    assert model.converged_
    assert log_loss(model.decision_function(matrix), labels).mean() == pytest.approx(model.loss_, abs=1e-12)
    assert ((model.ratios_ >= 0) & (model.ratios_ <= 1)).all()
    assert model.loss_ < np.log(2)


def test_a_fit_is_reproducible() -> None:
    matrix, labels = simulated()
    first, second = (AggregationModel(SPACE, n_starts=3, seed=5).fit(matrix, labels) for _ in range(2))
    np.testing.assert_array_equal(first.ratios_, second.ratios_)


def test_a_fit_finds_a_loss_no_worse_than_that_of_the_weights_the_labels_came_from() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=29)
    trees = published_trees([synthetic.published_tree(rng, TAXONOMY, int(rng.integers(1, 9))) for _ in range(400)])
    matrix = SPACE.featurize(trees)
    scores = harmfulness(matrix, SPACE.levels_from_ratios(truth))
    labels = (rng.random(400) < probability(scores)).astype(float)
    model = AggregationModel(SPACE, n_starts=6).fit(matrix, labels)
    assert model.loss_ <= log_loss(scores, labels).mean() + 1e-9


def test_weights_of_categories_that_never_occur_are_named_as_unidentified() -> None:
    matrix, labels = simulated()
    privacy = SPACE.levels.names.index("harm/action/privacy")
    uses = (SPACE.levels.factors == privacy).any(axis=1)
    rows = np.asarray(matrix.counts[:, uses].sum(axis=1)).ravel() == 0
    model = AggregationModel(SPACE, n_starts=2).fit(matrix.select(np.flatnonzero(rows)), labels[rows])
    assert "harm/action/privacy" in model.unidentified_


@pytest.mark.parametrize("analysis", ["harms", "benefits"])
def test_one_sided_analyses_have_their_own_links(analysis: str) -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis=analysis))
    rng = np.random.default_rng(2)
    trees = published_trees([synthetic.published_tree(rng, TAXONOMY, int(rng.integers(2, 20))) for _ in range(200)])
    matrix = space.featurize(trees)
    scores = harmfulness(matrix, space.levels_from_ratios(np.full(len(space.ratios.names), 0.6)))
    p = probability(scores, analysis)
    assert ((p >= 0) & (p <= 1)).all()
    labels = (rng.random(200) < p).astype(float)
    model = AggregationModel(space, n_starts=3).fit(matrix, labels)
    assert model.loss_ <= log_loss(scores, labels, analysis).mean() + 1e-9
    assert np.allclose(model.predict_proba(matrix).sum(axis=1), 1.0)


def test_a_row_with_something_missing_has_no_score_and_cannot_be_fitted() -> None:
    matrix, labels = simulated(n=40)
    model = AggregationModel(SPACE, n_starts=1).fit(matrix, labels)
    gap = SPACE.featurize([HarmBenefitTree(harm=None, benefit=None)] * 2)
    assert np.isnan(model.decision_function(gap)).all()
    assert np.isnan(model.predict(gap)).all()
    assert set(model.predict(matrix)) <= {0.0, 1.0}
    with pytest.raises(FitError, match="missing features"):
        AggregationModel(SPACE).fit(gap, [0, 1])


@pytest.mark.parametrize(
    ("labels", "problem"),
    [([1] * 40, "both classes"), ([0, 1], "shape"), ([0.5] * 40, "0 .harmless. or 1")],
)
def test_labels_that_determine_nothing_are_refused(labels: list[float], problem: str) -> None:
    matrix, _ = simulated(n=40)
    with pytest.raises(FitError, match=problem):
        AggregationModel(SPACE).fit(matrix, labels)


def test_weights_of_examples_count() -> None:
    matrix, labels = simulated(n=120)
    heavy = np.where(labels > 0, 10.0, 1.0)
    even = AggregationModel(SPACE, n_starts=2).fit(matrix, labels)
    tilted = AggregationModel(SPACE, n_starts=2).fit(matrix, labels, heavy)
    assert tilted.decision_function(matrix).mean() > even.decision_function(matrix).mean()
    with pytest.raises(FitError, match="non-negative"):
        AggregationModel(SPACE).fit(matrix, labels, -heavy)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_weights_that_are_no_weights_are_refused(value: float) -> None:
    matrix, labels = simulated(n=40)
    weights = np.ones(40)
    weights[3] = value
    with pytest.raises(FitError, match="sample_weight"):
        AggregationModel(SPACE, n_starts=1).fit(matrix, labels, weights)


@pytest.mark.parametrize("n_starts", [0, -1])
def test_a_fit_without_a_start_is_refused(n_starts: int) -> None:
    matrix, labels = simulated(n=40)
    with pytest.raises(FitError, match="at least one start"):
        AggregationModel(SPACE, n_starts=n_starts).fit(matrix, labels)


@pytest.mark.parametrize("spec", [{"analysis": "harms"}, {"action": "leaf"}, {"discount": "shared"}])
def test_counts_of_another_space_are_refused(spec: dict[str, Any]) -> None:
    matrix, labels = simulated(n=40)
    other = FeatureSpace(TAXONOMY, FeatureSpaceSpec(**spec))
    with pytest.raises(FitError, match="another feature space"):
        AggregationModel(other, n_starts=1).fit(matrix, labels)


def test_our_parity_figures_are_what_the_generator_and_the_loop_give() -> None:
    data = json.loads(OURS.read_text(encoding="utf-8"))
    rng = np.random.default_rng(data["seed"])
    assert [synthetic.published_tree(rng, TAXONOMY, n) for n in data["sizes"]] == data["trees"]
    names = [g.name for g in TAXONOMY.action_groups]
    for one in data["sets"]:
        weights = plain_loop.weights_of(names, list(one["parameters"].values()))
        scores = [plain_loop.score(tree, weights) for tree in data["trees"]]
        assert scores == pytest.approx(one["scores"], abs=1e-13)


def test_a_ridge_holds_weights_that_nothing_determines_in_the_middle() -> None:
    matrix, labels = simulated()
    privacy = SPACE.levels.names.index("harm/action/privacy")
    rows = np.asarray(matrix.counts[:, (SPACE.levels.factors == privacy).any(axis=1)].sum(axis=1)).ravel() == 0
    kept, y = matrix.select(np.flatnonzero(rows)), labels[rows]
    free = AggregationModel(SPACE, n_starts=2).fit(kept, y)
    held = AggregationModel(SPACE, n_starts=2, ridge=0.01).fit(kept, y)
    assert held.levels_[privacy] == pytest.approx(0.5, abs=1e-6)
    assert len(held.at_bounds_) < len(free.at_bounds_)
    assert held.loss_ >= free.loss_
    assert held.loss_ == pytest.approx(log_loss(held.decision_function(kept), y).mean(), abs=1e-12)


def base_levels() -> np.ndarray:
    return SPACE.levels_from_ratios(np.random.default_rng(9).uniform(0.2, 0.8, 29))


def prior(strength: float, threshold: float = 0.0) -> Prior:
    region = LevelRegion.of(SPACE)
    values = np.empty(29)
    values[region.own] = base_levels()
    return Prior(values, strength, threshold)


def test_a_prior_without_strength_changes_nothing_and_an_endless_one_gives_the_base() -> None:
    matrix, labels = simulated(n=150)
    plain = AggregationModel(SPACE, n_starts=3).fit(matrix, labels)
    weak = AggregationModel(SPACE, n_starts=4, prior=prior(0.0)).fit(matrix, labels)
    assert weak.loss_ == pytest.approx(plain.loss_, abs=1e-9)
    endless = AggregationModel(SPACE, n_starts=2, prior=prior(1e9, 0.7), threshold="fit").fit(matrix, labels)
    np.testing.assert_allclose(endless.levels_, base_levels(), atol=1e-5)
    assert endless.threshold_ == pytest.approx(0.7, abs=1e-5)


def test_a_stronger_prior_never_ends_farther_from_the_base() -> None:
    matrix, labels = simulated(n=150)
    models = [AggregationModel(SPACE, n_starts=4, prior=prior(s)).fit(matrix, labels) for s in (0.1, 1.0, 10.0, 100.0, 1e4)]
    away = [float(((model.levels_ - base_levels()) ** 2).sum()) for model in models]
    assert away == sorted(away, reverse=True)
    assert [model.loss_ for model in models] == sorted(model.loss_ for model in models)


def test_a_prior_is_projected_onto_the_floors() -> None:
    matrix, labels = simulated(n=150)
    region = Constraints(floors={"harm/action/privacy": 0.9}, ceilings={"harm/action/deception": 0.1}).region(SPACE)
    model = AggregationModel(SPACE, n_starts=2, prior=prior(1e9), region=region).fit(matrix, labels)
    expected = dict(zip(SPACE.levels.names, base_levels(), strict=True)) | {"harm/action/privacy": 0.9}
    expected |= {"harm/action/deception": min(0.1, expected["harm/action/deception"])}
    np.testing.assert_allclose(model.levels_, [expected[name] for name in SPACE.levels.names], atol=1e-5)


def test_a_fitted_threshold_is_the_intercept_of_the_loss() -> None:
    rng = np.random.default_rng(3)
    trees = published_trees([synthetic.published_tree(rng, TAXONOMY, int(rng.integers(4, 15))) for _ in range(400)])
    matrix = SPACE.featurize(trees)
    scores = harmfulness(matrix, SPACE.levels_from_ratios(np.full(29, 0.6)))
    labels = (rng.random(400) < probability(scores - 1.0)).astype(float)
    fixed = AggregationModel(SPACE, n_starts=3).fit(matrix, labels)
    fitted = AggregationModel(SPACE, n_starts=3, threshold="fit").fit(matrix, labels)
    assert fitted.loss_ < fixed.loss_
    assert fitted.threshold_ == pytest.approx(1.0, abs=0.8)
    shifted = fitted.decision_function(matrix) - fitted.threshold_
    assert log_loss(shifted, labels).mean() == pytest.approx(fitted.loss_, abs=1e-12)
    assert (fitted.predict(matrix) == (shifted > 0)).all()
    np.testing.assert_allclose(fitted.predict_proba(matrix)[:, 1], probability(shifted), atol=1e-12)
    assert probability(shifted).mean() == pytest.approx(labels.mean(), abs=1e-4)  # as an intercept must


@pytest.mark.parametrize("analysis", ["harms", "benefits"])
def test_the_threshold_of_one_tree_is_where_errors_cost_least(analysis: str) -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis=analysis))
    rng = np.random.default_rng(4)
    trees = published_trees([synthetic.published_tree(rng, TAXONOMY, int(rng.integers(2, 20))) for _ in range(200)])
    matrix = space.featurize(trees)
    scores = harmfulness(matrix, space.levels_from_ratios(np.full(len(space.ratios.names), 0.5)))
    labels = (rng.random(200) < probability(scores, analysis)).astype(float)
    costs = np.where(labels > 0, 3.0, 1.0)
    model = AggregationModel(space, n_starts=2, threshold="fit").fit(matrix, labels, costs)
    found = model.decision_function(matrix)

    def cost(cut: float) -> float:
        return float(costs @ ((found > cut) != (labels > 0)))

    assert cost(model.threshold_) == min(cost(cut) for cut in [*found, -99.0])


def test_costlier_misses_miss_less_and_alarm_more() -> None:
    matrix, labels = simulated(n=300)
    missed, alarms = [], []
    for ratio in (0.05, 0.3, 1.0, 3.0, 20.0):
        costs = np.where(labels > 0, ratio, 1.0)
        flagged = AggregationModel(SPACE, n_starts=2, threshold="fit").fit(matrix, labels, costs).predict(matrix) > 0
        missed.append(int((~flagged & (labels > 0)).sum()))
        alarms.append(int((flagged & (labels == 0)).sum()))
    assert missed == sorted(missed, reverse=True)
    assert alarms == sorted(alarms)
    assert missed[0] > missed[-1]
    assert alarms[0] < alarms[-1]


def test_a_class_without_weight_is_refused() -> None:
    matrix, labels = simulated(n=40)
    with pytest.raises(FitError, match="both classes"):
        AggregationModel(SPACE, n_starts=1).fit(matrix, labels, labels)


@pytest.mark.parametrize("seed", range(3))
def test_a_constrained_fit_obeys_exactly_and_costs_what_it_must(seed: int) -> None:
    matrix, labels = simulated(seed)
    free = AggregationModel(SPACE, n_starts=4).fit(matrix, labels)
    wanted = Constraints(
        floors={"harm/action/child_harm": 0.93, "harm/extent/minor": 0.2},
        ceilings={"harm/extent/significant": 0.6, "benefit/*": 0.8},
        frozen={"harm/likelihood/low": 1 / 3, "benefit/relative_weight": 0.7},
    )
    model = AggregationModel(SPACE, n_starts=4, region=wanted.region(SPACE)).fit(matrix, labels)
    value = dict(zip(SPACE.levels.names, model.levels_.tolist(), strict=True))
    assert value["harm/action/child_harm"] >= 0.93
    assert value["harm/extent/minor"] >= 0.2
    assert value["harm/extent/significant"] <= 0.6
    assert all(level <= 0.8 for name, level in value.items() if name.startswith("benefit/"))
    assert (value["harm/likelihood/low"], value["benefit/relative_weight"]) == (1 / 3, 0.7)
    assert value["harm/likelihood/low"] <= value["harm/likelihood/medium"]
    assert value["harm/extent/minor"] <= value["harm/extent/significant"] <= value["harm/extent/substantial"]
    assert model.loss_ >= free.loss_ - 1e-9
