from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from safetyanalyst.aggregation import AggregationModel, harmfulness
from safetyanalyst.constraints import Constraints, LevelRegion
from safetyanalyst.features import FeatureMatrix, FeatureSpace, FeatureSpaceSpec
from safetyanalyst.fitting import Objective
from safetyanalyst.identification import flatness, jacobian
from safetyanalyst.taxonomy import load_taxonomy
from tests.simulation import draw_labels, matrix_of, random_counts

TAXONOMY = load_taxonomy()
SPACE = FeatureSpace(TAXONOMY)
TRUTH = SPACE.levels_from_ratios(np.full(29, 0.7))
BENEFIT = SPACE.levels.sign < 0


def without(matrix: FeatureMatrix, *names: str) -> FeatureMatrix:
    """The counts without the cells of some levels."""
    counts = matrix.counts.toarray()
    for name in names:
        counts[:, (SPACE.levels.factors == SPACE.levels.names.index(name)).any(axis=1)] = 0.0
    return matrix_of(SPACE, counts)


def fitted(matrix: FeatureMatrix, **options: object) -> AggregationModel:
    labels = draw_labels(matrix, TRUTH, np.random.default_rng(1))
    return AggregationModel(SPACE, n_starts=6, **options).fit(matrix, labels)  # type: ignore[arg-type]


def test_the_jacobian_is_that_of_differences() -> None:
    for spec in (FeatureSpaceSpec(), FeatureSpaceSpec(discount="shared", effect="group")):
        space = FeatureSpace(TAXONOMY, spec)
        region = LevelRegion.of(space)
        matrix = random_counts(space, np.random.default_rng(0), 5)
        values = np.random.default_rng(1).uniform(0.2, 0.8, len(region))
        expected = approx_fprime(values, lambda v, r=region, m=matrix: harmfulness(m, v[r.own]), 1e-7)
        np.testing.assert_allclose(jacobian(matrix, region, values), expected, atol=1e-4)


def test_enough_varied_rows_determine_every_level() -> None:
    found = fitted(random_counts(SPACE, np.random.default_rng(0), 600)).identification_
    assert found.undetermined == found.confounded == ()
    assert found.not_identified == frozenset()


def test_a_category_that_never_occurs_is_named() -> None:
    matrix = without(random_counts(SPACE, np.random.default_rng(0), 400), "harm/action/privacy", "benefit/extent/minor")
    assert fitted(matrix).identification_.undetermined == ("harm/action/privacy", "benefit/extent/minor")


def test_benefits_of_one_extent_do_not_tell_the_extent_from_the_relative_weight() -> None:
    counts = random_counts(SPACE, np.random.default_rng(0), 400).counts.toarray()
    minor = (SPACE.levels.factors == SPACE.levels.names.index("benefit/extent/minor")).any(axis=1)
    counts[:, BENEFIT & ~minor] = 0.0
    matrix = matrix_of(SPACE, counts)
    found = fitted(matrix).identification_
    assert found.confounded == (("benefit/extent/minor", "benefit/relative_weight"),)
    assert set(found.undetermined) == {"benefit/extent/significant", "benefit/extent/substantial"}
    freed = Constraints(frozen={"benefit/relative_weight": 0.7}).region(SPACE)
    held = fitted(matrix, region=freed).identification_
    assert held.confounded == ()
    assert held.frozen == ("benefit/relative_weight",)


def test_what_stands_behind_a_zero_is_named() -> None:
    region = Constraints(frozen={"benefit/relative_weight": 0.0}).region(SPACE)
    found = fitted(random_counts(SPACE, np.random.default_rng(0), 300), region=region).identification_
    assert set(found.undetermined) == {name for name in SPACE.levels.names if name.startswith("benefit/")} - {
        "benefit/relative_weight"
    }


def test_a_rare_category_is_not_taken_for_an_absent_one() -> None:
    matrix = without(random_counts(SPACE, np.random.default_rng(0), 600), "harm/action/privacy")
    counts = matrix.counts.toarray()
    counts[7, np.flatnonzero((SPACE.levels.factors == SPACE.levels.names.index("harm/action/privacy")).any(axis=1))[-1]] = 1.0
    found = fitted(matrix_of(SPACE, counts)).identification_
    assert "harm/action/privacy" not in found.not_identified
    assert "harm/action/privacy" in found.vague


def test_starts_that_fit_alike_and_differ_are_reported() -> None:
    """One harm, one benefit: only their difference counts, and every start finds another pair."""
    counts = np.zeros((40, SPACE.n_cells))
    harm, benefit = int(np.flatnonzero(~BENEFIT)[-1]), int(np.flatnonzero(BENEFIT)[-1])
    counts[:, harm] = counts[:, benefit] = 1.0
    labels = np.tile([0.0, 1.0], 20)
    model = AggregationModel(SPACE, n_starts=8).fit(matrix_of(SPACE, counts), labels)
    assert len(model.identification_.confounded) == 1
    assert model.identification_.tied_starts == 8
    assert model.identification_.disagreeing == {}  # those that differ are already named as confounded
    separate = counts.copy()
    separate[0, harm] += 1e-7  # told apart in principle, not in practice
    found = AggregationModel(SPACE, n_starts=8).fit(matrix_of(SPACE, separate), labels).identification_
    assert found.tied_starts == 8
    assert {*found.disagreeing, *found.not_identified} >= {"benefit/relative_weight"}


def test_floors_and_ceilings_that_hold_are_named() -> None:
    constraints = Constraints(floors={"harm/action/privacy": 0.95}, ceilings={"harm/action/child_harm": 0.05})
    found = fitted(random_counts(SPACE, np.random.default_rng(0), 600), region=constraints.region(SPACE)).identification_
    assert found.at_floor == ("harm/action/privacy",)
    assert found.at_ceiling == ("harm/action/child_harm",)


def test_standard_errors_are_those_of_the_inverse_information() -> None:
    matrix = random_counts(SPACE, np.random.default_rng(0), 300)
    rng = np.random.default_rng(2)
    rows, of_row = jacobian(matrix, LevelRegion.of(SPACE), rng.uniform(0.3, 0.8, 29)), rng.uniform(0.1, 0.3, 300)
    found = flatness(rows, LevelRegion.of(SPACE), np.ones(300), of_row)
    expected = np.sqrt(np.diag(np.linalg.inv(rows.T @ (rows * of_row[:, None]))))
    np.testing.assert_allclose(found.errors, expected, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_rows_of_weight_zero_say_nothing(weight: float) -> None:
    matrix = without(random_counts(SPACE, np.random.default_rng(0), 300), "harm/action/privacy")
    counts = matrix.counts.toarray()
    counts[0, 0:384] = 1.0  # the only row with privacy
    weights = np.ones(300)
    weights[0] = weight
    matrix = matrix_of(SPACE, counts)
    labels = draw_labels(matrix, TRUTH, np.random.default_rng(1))
    model = AggregationModel(SPACE, n_starts=2).fit(matrix, labels, weights)
    assert ("harm/action/privacy" in model.identification_.undetermined) == (weight == 0.0)


def test_the_objective_and_the_report_speak_of_the_same_scores() -> None:
    matrix = random_counts(SPACE, np.random.default_rng(0), 50)
    model = fitted(matrix)
    assert isinstance(model.region, LevelRegion)
    assert Objective.__call__ is not None
    np.testing.assert_allclose(
        harmfulness(matrix, model.levels_), matrix.counts @ SPACE.ratios.values(model.ratios_), atol=1e-12
    )
