from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.policy import load_policy
from safetyanalyst.soft_counts import expected_counts
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Effect, HarmBenefitTree, SoftEffect, Stakeholder, Tree, TreeKind

TAXONOMY = load_taxonomy()
EXTENTS, LIKELIHOODS = (tuple(level.name for level in scale) for scale in (TAXONOMY.extents, TAXONOMY.likelihoods))
SPACE = FeatureSpace(TAXONOMY, FeatureSpaceSpec(action="leaf", effect="group"))


def shares(n: int) -> st.SearchStrategy[tuple[float, ...]]:
    parts = st.lists(st.integers(0, 20), min_size=n, max_size=n).filter(any)
    return parts.map(lambda it: tuple(part / sum(it) for part in it))


@st.composite
def soft_effects(draw: st.DrawFn) -> SoftEffect:
    kind = draw(st.sampled_from(TREE_KINDS))
    action = draw(st.sampled_from(TAXONOMY.actions(kind))).name
    effect = draw(st.sampled_from(TAXONOMY.effects(kind))).name
    extent, likelihood = draw(shares(len(EXTENTS))), draw(shares(len(LIKELIHOODS)))
    unit = st.floats(0, 1)
    return SoftEffect(kind, "User", action, effect, draw(unit), extent, likelihood, draw(unit))


def sure(kind: TreeKind, leaf: Effect, action: str) -> SoftEffect:
    assert leaf.effect is not None
    extent, likelihood = (
        tuple(float(name == mine) for name in names) for names, mine in ((EXTENTS, leaf.extent), (LIKELIHOODS, leaf.likelihood))
    )
    return SoftEffect(kind, "User", action, leaf.effect, 1.0, extent, likelihood, float(leaf.immediacy == "immediate"))


@given(st.lists(st.lists(soft_effects(), max_size=4), max_size=3))
def test_each_effect_adds_its_probability(scenarios: list[list[SoftEffect]]) -> None:
    matrix = expected_counts(SPACE, scenarios)
    assert len(matrix) == len(scenarios)
    assert matrix.is_complete
    assert np.allclose(matrix.dense.sum(axis=1), [sum(it.probability for it in effects) for effects in scenarios])


@given(st.lists(soft_effects(), min_size=1, max_size=4))
def test_the_score_of_expected_counts_is_the_expected_score(effects: list[SoftEffect]) -> None:
    bound = load_policy("balanced").bind(TAXONOMY)
    mixed = harmfulness(expected_counts(bound.space, [effects]), bound.levels)[0]
    expected = 0.0
    for it in effects:
        for i, extent in enumerate(EXTENTS):
            for j, likelihood in enumerate(LIKELIHOODS):
                for immediacy, share in (("immediate", it.immediate), ("downstream", 1 - it.immediate)):
                    leaf = Effect(effect=it.effect, immediacy=immediacy, extent=extent, likelihood=likelihood)  # type: ignore[arg-type]
                    score = harmfulness(expected_counts(bound.space, [[sure(it.kind, leaf, it.action)]]), bound.levels)[0]
                    expected += it.probability * it.extent[i] * it.likelihood[j] * share * score
    assert mixed == pytest.approx(expected, abs=1e-9)


@given(soft_effects(), st.sampled_from(EXTENTS), st.sampled_from(LIKELIHOODS), st.sampled_from(("immediate", "downstream")))
def test_a_sure_effect_counts_as_in_a_tree(it: SoftEffect, extent: str, likelihood: str, immediacy: str) -> None:
    leaf = Effect(effect=it.effect, immediacy=immediacy, extent=extent, likelihood=likelihood)  # type: ignore[arg-type]
    action = Action(action=it.action, effects=(leaf,))
    tree = Tree(kind=it.kind, stakeholders=(Stakeholder(name="User", actions=(action,)),))
    empty = {kind: Tree(kind=kind, stakeholders=()) for kind in TREE_KINDS}
    counted = SPACE.featurize([HarmBenefitTree(**(empty | {it.kind: tree}))])
    soft = expected_counts(SPACE, [[sure(it.kind, leaf, it.action)]])
    assert np.array_equal(soft.dense, counted.dense)


def test_kinds_that_the_space_does_not_count_add_nothing() -> None:
    space = FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis="harms"))
    benefit = TAXONOMY.benefit_actions[0].name, TAXONOMY.effects("benefit")[0].name
    even = tuple(1 / 4 for _ in EXTENTS), tuple(1 / 3 for _ in LIKELIHOODS)
    assert not expected_counts(space, [[SoftEffect("benefit", "User", *benefit, 1.0, *even, 0.5)]]).dense.any()


def test_names_and_levels_of_another_taxonomy_are_refused() -> None:
    harm = TAXONOMY.harm_actions[0].name, TAXONOMY.effects("harm")[0].name
    even = (1 / 4,) * 4, (1 / 3,) * 3
    with pytest.raises(ValueError, match="nothing like it"):
        expected_counts(SPACE, [[SoftEffect("harm", "User", "nothing like it", harm[1], 1.0, *even, 0.5)]])
    space = FeatureSpace(TAXONOMY)  # which has no weights per effect
    with pytest.raises(ValueError, match="nothing like it"):
        expected_counts(space, [[SoftEffect("harm", "User", harm[0], "nothing like it", 1.0, *even, 0.5)]])
    for wrong in (float("nan"), 1.5, -0.1):
        with pytest.raises(ValueError, match="outside"):
            expected_counts(SPACE, [[SoftEffect("harm", "User", *harm, wrong, *even, 0.5)]])
    with pytest.raises(ValueError, match="extents and likelihoods"):
        expected_counts(SPACE, [[SoftEffect("harm", "User", *harm, 1.0, even[1], even[1], 0.5)]])
