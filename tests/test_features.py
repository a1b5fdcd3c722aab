from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Effect, HarmBenefitTree
from tests.strategies import pairs

TAXONOMY = load_taxonomy()
SPECS = [
    FeatureSpaceSpec(analysis=analysis, action=action, effect=effect, discount=discount)
    for analysis, action, effect, discount in itertools.product(
        ("both", "harms", "benefits"), ("group", "leaf"), ("none", "group"), ("separate", "shared")
    )
]
NOTHING = Effect(effect=None, immediacy=None, extent=None, likelihood=None)


def random_ratios(space: FeatureSpace, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=len(space.ratios.names))


def test_the_published_fit_has_29_parameters_and_the_paper_counts_28() -> None:
    assert len(FeatureSpace(TAXONOMY).ratios.names) == 29
    assert len(FeatureSpace(TAXONOMY, FeatureSpaceSpec(discount="shared")).ratios.names) == 28
    assert len(FeatureSpace(TAXONOMY, FeatureSpaceSpec(effect="group")).ratios.names) == 36
    assert len(FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis="harms")).ratios.names) == 22
    assert FeatureSpace(TAXONOMY).n_cells == 384 + 24


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_levels_and_ratios_stand_for_the_same_cells(spec: FeatureSpaceSpec) -> None:
    space = FeatureSpace(TAXONOMY, spec)
    ratios = random_ratios(space, 1)
    levels = space.levels_from_ratios(ratios)
    np.testing.assert_allclose(space.levels.values(levels), space.ratios.values(ratios), atol=1e-15)
    np.testing.assert_allclose(space.levels_from_ratios(space.ratios_from_levels(levels)), levels, atol=1e-15)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_cells_are_the_products_that_the_incidence_matrix_says(spec: FeatureSpaceSpec) -> None:
    space = FeatureSpace(TAXONOMY, spec)
    for products in (space.levels, space.ratios):
        weights = np.random.default_rng(2).uniform(size=len(products.names))
        by_incidence = products.sign * np.prod(weights**products.incidence, axis=1)
        np.testing.assert_allclose(products.values(weights), by_incidence, atol=1e-15)


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=29, max_size=29), st.integers(0, 1000))
def test_the_gradient_is_exact_even_at_zero(weights: list[float], seed: int) -> None:
    space = FeatureSpace(TAXONOMY)
    at = np.array(weights)
    upstream = np.random.default_rng(seed).normal(size=space.n_cells)
    gradient = space.ratios.gradient(at, upstream)
    for k in range(0, 29, 4):
        low, high = at.copy(), at.copy()
        low[k], high[k] = 0.0, 1.0  # cells are linear in every single weight: the difference is the derivative
        difference = upstream @ (space.ratios.values(high) - space.ratios.values(low))
        assert gradient[k] == pytest.approx(difference, abs=1e-9)


def test_a_complete_effect_has_one_cell_and_an_unread_one_has_all_that_it_could_be() -> None:
    space = FeatureSpace(TAXONOMY)
    whole = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
    assert len(space.cells_of("harm", "Confidentiality", whole)) == 1
    assert len(space.cells_of("harm", None, whole)) == 16
    assert len(space.cells_of("harm", "Confidentiality", whole.model_copy(update={"extent": None}))) == 4
    assert len(space.cells_of("harm", None, NOTHING)) == 384
    assert len(space.cells_of("benefit", None, NOTHING)) == 24
    assert len(space.cells_of("harm", "No such action", whole)) == 16
    assert len(space.cells_of("harm", "Confidentiality", whole.model_copy(update={"extent": "Major"}))) == 4


def test_an_effect_without_a_weight_of_its_own_may_stay_unread() -> None:
    unread = Effect(effect=None, immediacy="immediate", extent="major", likelihood="high")
    assert len(FeatureSpace(TAXONOMY).cells_of("harm", "Confidentiality", unread)) == 1
    by_group = FeatureSpace(TAXONOMY, FeatureSpaceSpec(effect="group"))
    assert len(by_group.cells_of("harm", "Confidentiality", unread)) == 7


@given(st.lists(pairs(), max_size=6))
def test_every_effect_is_counted_once_or_noted_as_unread(trees: list[HarmBenefitTree]) -> None:
    space = FeatureSpace(TAXONOMY)
    matrix = space.featurize(trees)
    assert len(matrix) == len(trees)
    for i, pair in enumerate(trees):
        present = [tree for tree in (pair.harm, pair.benefit) if tree is not None]
        assert matrix.counts[[i]].sum() + matrix.partial[[i]].sum() == sum(len(list(tree.leaves())) for tree in present)
        assert matrix.lost[i].tolist() == [1 if tree is None else tree.lost for tree in (pair.harm, pair.benefit)]


@given(st.lists(pairs(), min_size=1, max_size=5))
def test_rows_can_be_selected(trees: list[HarmBenefitTree]) -> None:
    matrix = FeatureSpace(TAXONOMY).featurize(trees)
    chosen = matrix.select(np.array([len(trees) - 1]))
    assert len(chosen) == 1
    np.testing.assert_array_equal(chosen.counts.toarray(), matrix.dense[[-1]])


def test_levels_that_must_ascend_are_named() -> None:
    chains = FeatureSpace(TAXONOMY).order()
    assert ("harm/extent/minor", "harm/extent/significant", "harm/extent/substantial") in chains
    assert ("benefit/likelihood/low", "benefit/likelihood/medium") in chains
