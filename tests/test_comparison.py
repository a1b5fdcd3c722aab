from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.analyst import Assessor
from safetyanalyst.comparison import Comparison, common_spec, compare, shapley
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.policy import BoundPolicy, Policy, ReviewBand, load_policy, weights_by_name
from safetyanalyst.projection import finest_space, is_finer, lift
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from safetyanalyst.weights import WeightProducts
from tests.strategies import pairs
from tests.test_features import SPECS, TAXONOMY

BALANCED = load_policy("balanced")


@cache
def random_policy(spec: FeatureSpaceSpec, seed: int, **changes: object) -> BoundPolicy:
    """A policy of random weights, some of them exactly 0 or 1."""
    space = FeatureSpace(TAXONOMY, spec)
    rng = np.random.default_rng(seed)
    ratios = np.where(rng.random(len(space.ratios.names)) < 0.15, rng.integers(0, 2), rng.random(len(space.ratios.names)))
    weights = weights_by_name(space, space.levels_from_ratios(ratios))
    return Policy.model_validate({"name": f"p{seed}", "space": spec, "weights": weights} | changes).bind(TAXONOMY)


@cache
def assessor_of(bound: BoundPolicy) -> Assessor:
    """Binding a policy of thousands of cells takes a tenth of a second."""
    return Assessor(bound.policy, TAXONOMY)


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_shares_are_the_average_over_all_orders(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.choice([0.0, 0.25, 0.6, 1.0], (2, m))
    products = WeightProducts(tuple(map(str, range(m))), np.arange(m)[None, :], np.array([-1.0]))
    expected = np.zeros(m)
    orders = list(itertools.permutations(range(m)))
    for order in orders:
        weights = before.copy()
        for k in order:
            value = -weights.prod()
            weights[k] = after[k]
            expected[k] += (-weights.prod() - value) / len(orders)
    found = shapley(products, before, after).toarray()[0]
    np.testing.assert_allclose(found, expected, atol=1e-15)
    assert math.fsum(found) == pytest.approx(-after.prod() + before.prod(), abs=1e-15)
    assert not found[before == after].any()


@pytest.mark.parametrize(("first", "second"), [(SPECS[i], SPECS[-1 - 5 * i % 24]) for i in range(24)], ids=str)
def test_shares_of_any_two_spaces_add_up_in_fine_cells(first: FeatureSpaceSpec, second: FeatureSpaceSpec) -> None:
    a, b = random_policy(first, 1), random_policy(second, 2)
    comparison = compare(a, b)
    assert is_finer(comparison.space.spec, first)
    assert is_finer(comparison.space.spec, second)
    fine = finest_space(TAXONOMY)
    products = lift(fine, comparison.space).levels
    change = products.values(comparison.levels_b) - products.values(comparison.levels_a)
    shares = comparison.shares(products)
    assert shares.shape == (fine.n_cells, len(comparison.names))
    np.testing.assert_allclose(np.asarray(shares.sum(axis=1)).ravel(), change, atol=1e-15)


@given(st.lists(pairs(), min_size=1, max_size=3), st.sampled_from(SPECS), st.sampled_from(SPECS), st.integers(0, 3))
@settings(max_examples=30)
def test_policies_score_the_same_over_the_common_space(
    trees: list[HarmBenefitTree], first: FeatureSpaceSpec, second: FeatureSpaceSpec, seed: int
) -> None:
    a, b = random_policy(first, seed), random_policy(second, seed + 1)
    comparison = compare(a, b)
    matrix = comparison.space.featurize(trees)
    for bound, levels in ((a, comparison.levels_a), (b, comparison.levels_b)):
        here = harmfulness_interval(matrix, levels)
        there = harmfulness_interval(bound.space.featurize(trees), bound.levels)
        np.testing.assert_allclose(here.low, there.low, atol=1e-12)
        np.testing.assert_allclose(here.high, there.high, atol=1e-12)


def changed(**changes: object) -> Comparison:
    a = BALANCED.bind(TAXONOMY)
    return compare(a, BALANCED.model_copy(update=changes).bind(TAXONOMY))


def test_what_differs_is_named() -> None:
    same = changed()
    assert (same.weights, same.settings) == ((), ())
    weights = BALANCED.weights | {"harm/action/privacy": 0.25}
    found = changed(
        weights=weights, threshold=0.5, review_band=ReviewBand(below=BALANCED.review_band.below, above=0.3), on_missing="block"
    )
    assert found.names == ("harm/action/privacy",)
    assert (found.weights[0].a, found.weights[0].b) == (BALANCED.weights["harm/action/privacy"], 0.25)
    assert [(it.name, it.a, it.b) for it in found.settings] == [
        ("threshold", 0.0, 0.5), ("review_band.above", BALANCED.review_band.above, 0.3), ("on_missing", "review", "block")
    ]  # fmt: skip


def test_another_space_is_a_setting_and_its_weights_stand_by_leaf() -> None:
    spec = FeatureSpaceSpec(analysis="harms", action="leaf")
    b = random_policy(spec, 5)
    found = compare(BALANCED.bind(TAXONOMY), b)
    settings_ = {it.name: (it.a, it.b) for it in found.settings}
    assert settings_["space.analysis"] == ("both", "harms")
    assert settings_["space.action"] == ("group", "leaf")
    by_name = {it.name: it for it in found.weights}
    assert by_name["benefit/relative_weight"].b == 0.0
    assert not any(name.startswith(("benefit/extent", "benefit/likelihood", "effect/")) for name in by_name)
    leaf = by_name["harm/action/confidentiality"]
    assert (leaf.a, leaf.b) == (BALANCED.weights["harm/action/security_risks"], b.policy.weights["harm/action/confidentiality"])


def test_the_common_space_is_the_coarsest_that_will_do() -> None:
    assert common_spec(FeatureSpaceSpec(), FeatureSpaceSpec(discount="shared")) == FeatureSpaceSpec()
    harms, leaf = FeatureSpaceSpec(analysis="harms"), FeatureSpaceSpec(analysis="harms", action="leaf")
    assert common_spec(harms, leaf) == leaf
    assert common_spec(harms, FeatureSpaceSpec(analysis="benefits")).analysis == "both"


def test_two_taxonomies_are_refused() -> None:
    with pytest.raises(PolicyError, match="is bound to agents"):
        compare(BALANCED.bind(TAXONOMY), BALANCED.bind(load_taxonomy("agents-v1")))
