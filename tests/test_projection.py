from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.errors import ConfigError
from safetyanalyst.features import FeatureMatrix, FeatureSpace, FeatureSpaceSpec
from safetyanalyst.projection import FINEST, NOWHERE, columns, finest_space, is_finer, lift, lifted, project
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.strategies import pairs
from tests.test_features import SPECS, TAXONOMY

FINE = finest_space(TAXONOMY)
SPACES = {spec: FeatureSpace(TAXONOMY, spec) for spec in SPECS}
LIFTED = {spec: lift(FINE, space) for spec, space in SPACES.items()}


def contents(matrix: FeatureMatrix) -> list[tuple[Counter[int], Counter[tuple[int, ...]], list[int]]]:
    """What the rows say, whatever the patterns are numbered."""
    partial = matrix.partial.toarray()
    return [
        (
            Counter({int(c): int(n) for c, n in enumerate(matrix.dense[i]) if n}),
            Counter({tuple(map(int, cells)): int(n) for cells, n in zip(matrix.patterns, partial[i], strict=True) if n}),
            matrix.lost[i].tolist(),
        )
        for i in range(len(matrix))
    ]


@given(st.lists(pairs(), max_size=4), st.sampled_from(SPECS))
def test_projecting_is_featurizing_in_the_coarse_space(trees: list[HarmBenefitTree], spec: FeatureSpaceSpec) -> None:
    space = SPACES[spec]
    found = project(FINE.featurize(trees), space)
    assert contents(found) == contents(space.featurize(trees))
    assert found.space is space


@given(st.lists(pairs(), min_size=1, max_size=4), st.sampled_from(SPECS), st.sampled_from(SPECS))
def test_projecting_twice_is_projecting_once(
    trees: list[HarmBenefitTree], middle: FeatureSpaceSpec, spec: FeatureSpaceSpec
) -> None:
    if not is_finer(middle, spec):
        with pytest.raises(ConfigError, match="is not finer"):
            columns(SPACES[middle], SPACES[spec])
        return
    fine = FINE.featurize(trees)
    assert contents(project(project(fine, SPACES[middle]), SPACES[spec])) == contents(project(fine, SPACES[spec]))


@given(st.lists(pairs(), min_size=1, max_size=4), st.sampled_from(SPECS), st.integers(0, 99))
def test_lifted_weights_score_as_the_coarse_space_does(trees: list[HarmBenefitTree], spec: FeatureSpaceSpec, seed: int) -> None:
    space = SPACES[spec]
    levels = np.random.default_rng(seed).choice([0.0, 0.3, 1.0], len(space.levels.names))
    here = harmfulness_interval(lifted(FINE.featurize(trees), LIFTED[spec]), levels)
    there = harmfulness_interval(space.featurize(trees), levels)
    np.testing.assert_allclose(here.low, there.low, atol=1e-12)
    np.testing.assert_allclose(here.high, there.high, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_coarse_cell_is_made_of_fine_ones_and_worth_the_same(spec: FeatureSpaceSpec) -> None:
    space = SPACES[spec]
    into = columns(FINE, space)
    assert len(into) == FINE.n_cells == 45 * 7 * 24 + 7 * 24
    assert set(into[into != NOWHERE].tolist()) == set(range(space.n_cells))
    assert (NOWHERE in into) == (spec.analysis != "both")
    for fine, coarse, products in (
        (LIFTED[spec].levels, space.levels, "levels"),
        (LIFTED[spec].ratios, space.ratios, "ratios"),
    ):
        weights = np.random.default_rng(3).uniform(size=len(coarse.names))
        expected = np.where(into == NOWHERE, 0.0, coarse.values(weights)[into])
        np.testing.assert_array_equal(fine.values(weights), expected, err_msg=products)
    levels = np.random.default_rng(4).uniform(size=len(space.levels.names))
    np.testing.assert_array_equal(LIFTED[spec].ratios_from_levels(levels), space.ratios_from_levels(levels))


def test_the_finest_space_is_finer_than_any_and_none_else_is_finer_than_it() -> None:
    assert all(is_finer(FINEST, spec) for spec in SPECS)
    finer = [spec for spec in SPECS if is_finer(spec, FINEST)]
    assert all((spec.analysis, spec.action, spec.effect) == ("both", "leaf", "group") for spec in finer)


def test_an_empty_corpus_projects() -> None:
    found = project(FINE.featurize([]), FeatureSpace(TAXONOMY))
    assert (found.counts.shape, found.partial.shape, found.lost.shape) == ((0, 408), (0, 0), (0, 2))


def test_spaces_of_two_taxonomies_are_told_apart() -> None:
    with pytest.raises(ConfigError, match="are no cells of"):
        columns(finest_space(load_taxonomy("agents-v1")), FeatureSpace(TAXONOMY))


def test_agents_project_too() -> None:
    agents = load_taxonomy("agents-v1")
    into = columns(finest_space(agents), FeatureSpace(agents))
    assert len(into) == 55 * 7 * 24 + 7 * 24
    assert set(into.tolist()) == set(range(408))
