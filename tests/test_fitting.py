from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, check_grad, minimize

from safetyanalyst import descent
from safetyanalyst.constraints import Constraints, LevelRegion
from safetyanalyst.descent import descend
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.fitting import MergedRows, Objective, cheapest_cut
from safetyanalyst.links import HALF, information, log_loss, probability, slope
from safetyanalyst.taxonomy import load_taxonomy
from tests.simulation import draw_labels, random_counts

TAXONOMY = load_taxonomy()
SPACE = FeatureSpace(TAXONOMY)
KINKED = Constraints(
    floors={"harm/extent/minor": 0.1, "harm/action/*": 0.2},
    ceilings={"harm/extent/minor": 0.4, "harm/extent/significant": 0.6, "benefit/likelihood/low": 0.3},
    frozen={"benefit/relative_weight": 0.7},
)


def objective_of(space: FeatureSpace, *, seed: int = 0, constraints: Constraints | None = None, **options: Any) -> Objective:
    rng = np.random.default_rng(seed)
    matrix = random_counts(space, rng, 120)
    labels = draw_labels(matrix, space.levels_from_ratios(rng.uniform(0.2, 0.9, len(space.ratios.names))), rng)
    labels[:2] = (0.0, 1.0)
    rows = MergedRows(matrix, labels)
    weights = rng.uniform(0.5, 2.0, len(labels))
    region = (constraints or Constraints()).region(space)
    return Objective(rows, rows.weights(weights / weights.sum()), region, space.levels, space.spec.analysis, **options)


@pytest.mark.parametrize(
    "spec", [{}, {"analysis": "harms"}, {"analysis": "benefits"}, {"discount": "shared", "effect": "group"}]
)
@pytest.mark.parametrize("constraints", [Constraints(), KINKED])
@pytest.mark.parametrize("pulls", [{}, {"ridge": 0.3}, {"prior": 0.4, "pull": 0.7}, {"ridge": 0.1, "has_threshold": True}])
def test_the_gradient_is_that_of_differences(spec: dict[str, Any], constraints: Constraints, pulls: dict[str, Any]) -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(**spec))
    known = {key: {name: v for name, v in pairs.items() if "*" in name or name in space.levels.names}
             for key, pairs in constraints.model_dump().items()}  # fmt: skip
    if spec.get("analysis") == "benefits":
        known["floors"] = {}
    if space.spec.analysis != "both":
        pulls = pulls | {"has_threshold": False}  # one-sided links have no intercept
    if "prior" in pulls:
        values = np.full(len(space.ratios.names), pulls["prior"])
        values[1] = np.nan
        pulls = pulls | {"prior": values}
    objective = objective_of(space, constraints=Constraints.model_validate(known), **pulls)
    rng = np.random.default_rng(1)
    for _ in range(3):
        whole = objective.region
        piece = whole.piece(whole.values(rng.uniform(size=len(whole))))
        smooth = replace(objective, region=piece)
        x = np.append(rng.uniform(0.1, 0.9, len(piece)), [0.3] if objective.has_threshold else [])
        assert check_grad(lambda x, f=smooth: f(x)[0], lambda x, f=smooth: f(x)[1], x, epsilon=1e-7) < 2e-5


def test_the_gradient_is_exact_where_weights_are_zero_and_one() -> None:
    objective = objective_of(SPACE, ridge=0.1)
    x = np.random.default_rng(2).choice([0.0, 1.0, 0.5], size=len(objective.region))
    found = objective(x)[1]
    for k in range(len(x)):
        inward = x.copy()
        inward[k] += 1e-7 if x[k] < 1 else -1e-7
        by_difference = (objective(inward)[0] - objective(x)[0]) / (inward[k] - x[k])
        assert found[k] == pytest.approx(by_difference, abs=1e-5)


@pytest.mark.parametrize("link", ["both", "harms", "benefits"])
def test_links_agree_with_their_definitions(link: Any) -> None:
    scores = {"both": 1.0, "harms": 1.0, "benefits": -1.0}[link] * np.linspace(0.05, 6.0, 30)
    for label in (0.0, 1.0):
        labels = np.full(30, label)
        step = 1e-6
        by_difference = (log_loss(scores + step, labels, link) - log_loss(scores - step, labels, link)) / (2 * step)
        np.testing.assert_allclose(slope(scores, labels, link), by_difference, atol=1e-6)
    p = probability(scores, link)
    expected = p * slope(scores, np.ones(30), link) ** 2 + (1 - p) * slope(scores, np.zeros(30), link) ** 2
    np.testing.assert_allclose(information(scores, link), expected, rtol=1e-9)
    assert probability(np.array([HALF[link]]), link)[0] == pytest.approx(0.5)


def test_merging_rows_changes_no_loss() -> None:
    rng = np.random.default_rng(3)
    matrix = random_counts(SPACE, rng, 40, effects=2)
    twice = matrix.select(np.concatenate((np.arange(40), np.arange(40))))
    labels = (rng.random(80) < 0.5).astype(float)
    rows = MergedRows(twice, labels)
    assert len(rows.labels) < 80
    weights = rng.uniform(size=80)
    objective = Objective(rows, rows.weights(weights), LevelRegion.of(SPACE), SPACE.levels, "both")
    values = rng.uniform(size=29)
    scores = twice.counts @ SPACE.levels.values(values[objective.region.own])
    assert objective.loss(values) == pytest.approx(float(weights @ log_loss(scores, labels)), abs=1e-12)


def test_curvature_is_the_information_of_the_scores() -> None:
    objective = objective_of(SPACE, has_threshold=True, ridge=0.2, prior=np.full(29, 0.3), pull=0.4)
    x = np.append(np.random.default_rng(4).uniform(0.1, 0.9, 29), 0.2)

    def margins(x: np.ndarray) -> np.ndarray:
        return objective.scores(objective.region.values(x[:-1])) - x[-1]

    step = 1e-6
    jacobian = np.stack([(margins(x + step * e) - margins(x - step * e)) / (2 * step) for e in np.eye(30)], axis=1)
    moved = np.stack([(objective.region.values(x[:-1] + step * e) - objective.region.values(x[:-1] - step * e)) / (2 * step)
                      for e in np.eye(29)], axis=1)  # fmt: skip
    expected = jacobian.T @ (jacobian * (objective.weights * information(margins(x)))[:, None])
    expected[:29, :29] += 0.8 * moved.T @ moved + 0.4 * np.eye(29)
    expected[29, 29] += 0.8
    np.testing.assert_allclose(objective.curvature(x), expected, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"ridge": 0.01}, {"has_threshold": True}])
def test_both_searches_end_at_the_same_best_loss(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    objective = objective_of(SPACE, constraints=KINKED, **options)
    starts = [objective.region.values(t) for t in np.random.default_rng(0).uniform(size=(6, 29))]
    by_lbfgs = [descend(objective, start, 0.0, 1000) for start in starts]
    monkeypatch.setattr(descent, "_LARGE", 0)
    by_fisher = [descend(objective, start, 0.0, 1000) for start in starts]
    best = min(it.objective for it in by_lbfgs)
    assert min(it.objective for it in by_fisher) == pytest.approx(best, abs=1e-7)
    assert all(it.is_converged for it in (*by_lbfgs, *by_fisher))


@pytest.mark.parametrize("seed", range(5))
def test_a_search_over_the_levels_themselves_finds_nothing_lower_from_where_a_descent_ends(seed: int) -> None:
    """SLSQP searches the same region by another method: levels with linear order constraints."""
    objective = objective_of(SPACE, seed=seed, constraints=KINKED)
    region = objective.region
    ours = descend(objective, region.values(np.full(29, 0.5)), 0.0, 1000)
    pairs = np.flatnonzero(region.above >= 0)
    ordered = np.zeros((len(pairs), 29))
    ordered[np.arange(len(pairs)), region.above[pairs]] = 1.0
    ordered[np.arange(len(pairs)), pairs] = -1.0
    theirs = minimize(
        objective.loss, ours.values, method="SLSQP", bounds=list(zip(region.lo, region.hi, strict=True)),
        constraints=[LinearConstraint(ordered, 0.0, np.inf)], options={"maxiter": 100, "ftol": 1e-12},
    )  # fmt: skip
    assert ours.objective <= theirs.fun + 1e-7
    np.testing.assert_array_equal(ours.values, region.nearest(ours.values))


def test_a_descent_does_not_stop_at_a_kink() -> None:
    """The best minor level lies on its ceiling, and significant passes from below that ceiling to above it, or back."""
    ceiling = Constraints(ceilings={"harm/extent/minor": 0.4})
    objective = objective_of(SPACE, constraints=ceiling)
    region = objective.region
    k, a = region.parameter("harm/extent/minor"), region.parameter("harm/extent/significant")
    ends = set()
    for significant in (0.05, 0.4, 0.95):
        start = region.values(np.full(29, 0.5))
        start[[region.parameter("harm/extent/substantial"), a, k]] = (0.97, significant, min(0.4, significant))
        found = descend(objective, start, 0.0, 1000)
        ends.add(round(found.objective, 6))
        assert found.values[k] <= min(0.4, found.values[a])
    assert len(ends) == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from(["both", "harms", "benefits"]))
def test_no_cut_costs_less_than_the_cheapest(seed: int, link: Any) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice([-1.5, -0.2, 0.0, 0.3, 0.3, 2.0], size=int(rng.integers(2, 12)))
    labels = rng.integers(0, 2, len(scores)).astype(float)
    weights = rng.uniform(0.1, 3.0, len(scores))

    def cost(cut: float) -> float:
        return float(weights @ np.where(scores > cut, 1 - labels, labels))

    found = cheapest_cut(scores, labels, weights, link)
    assert cost(found) <= min(cost(cut) for cut in [-9.0, *scores.tolist()]) + 1e-9
