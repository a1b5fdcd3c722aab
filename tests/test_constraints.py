from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.constraints import Constraints, LevelRegion
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
SPACE = FeatureSpace(TAXONOMY)
SPACES = [
    SPACE,
    FeatureSpace(TAXONOMY, FeatureSpaceSpec(discount="shared", effect="group")),
    FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis="harms", action="leaf")),
]
units = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0.0, 1.0)


@st.composite
def constrained(draw: st.DrawFn, space: FeatureSpace) -> Constraints:
    """Constraints around a point that obeys them, so that they do not contradict each other."""
    seed = draw(st.integers(0, 2**32 - 1))
    inside = space.levels_from_ratios(np.random.default_rng(seed).uniform(size=len(space.ratios.names)))
    value = dict(zip(space.levels.names, inside.tolist(), strict=True))
    names = st.lists(st.sampled_from(space.levels.names), max_size=6, unique=True)
    floors = {name: draw(units) * value[name] for name in draw(names)}
    ceilings = {name: min(1.0, value[name] + draw(units) * (1.0 - value[name])) for name in draw(names)}
    frozen = {name: value[name] for name in draw(names)}
    return Constraints(floors=floors, ceilings=ceilings, frozen=frozen)


def obeys(constraints: Constraints, space: FeatureSpace, levels: np.ndarray) -> bool:
    value = dict(zip(space.levels.names, levels.tolist(), strict=True))
    return (
        all(value[name] >= least for name, least in constraints.floors.items())
        and all(value[name] <= most for name, most in constraints.ceilings.items())
        and all(value[name] == held for name, held in constraints.frozen.items())
        and all(value[low] <= value[high] for chain in space.order() for low, high in pairwise(chain))
    )


@pytest.mark.parametrize("space", SPACES, ids=lambda space: str(space.spec))
@given(data=st.data())
def test_every_position_obeys_exactly(space: FeatureSpace, data: st.DataObject) -> None:
    constraints = data.draw(constrained(space))
    region = constraints.region(space)
    seed = data.draw(st.integers(0, 2**32 - 1))
    positions = np.random.default_rng(seed).choice([0.0, 1.0, 0.3, 0.9], size=len(region))
    values = region.values(positions)
    assert obeys(constraints, space, values[region.own])
    assert obeys(constraints, space, region.nearest(np.random.default_rng(seed).normal(size=len(region)))[region.own])
    np.testing.assert_allclose(region.values(region.positions(values)), values, rtol=0, atol=1e-12)


@given(data=st.data())
def test_a_piece_has_no_kink_holds_its_point_and_stays_inside(data: st.DataObject) -> None:
    region = data.draw(constrained(SPACE)).region(SPACE)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = region.values(rng.uniform(size=len(region)))
    piece = region.piece(values, frozenset(region.on_kinks(values)))
    assert not piece.has_kinks
    assert (piece.lo >= region.lo).all()
    assert (piece.hi <= region.hi).all()
    np.testing.assert_allclose(piece.values(piece.positions(values)), values, rtol=0, atol=1e-12)


@given(data=st.data())
def test_derivatives_through_a_piece_are_those_of_differences(data: st.DataObject) -> None:
    whole = data.draw(constrained(SPACE)).region(SPACE)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    region = whole.piece(whole.values(rng.uniform(size=len(whole))))
    positions, upstream = rng.uniform(0.1, 0.9, size=len(region)), rng.normal(size=len(region))
    found = region.pull_back(positions, region.values(positions), upstream)
    step = 1e-6
    for k in range(len(region)):
        high, low = positions.copy(), positions.copy()
        high[k] += step
        low[k] -= step
        by_difference = float(upstream @ (region.values(high) - region.values(low))) / (2 * step)
        assert found[k] == pytest.approx(by_difference, abs=1e-7)


def test_without_constraints_positions_are_ratios() -> None:
    ratios = np.random.default_rng(0).uniform(size=len(SPACE.ratios.names))
    region = LevelRegion.of(SPACE)
    np.testing.assert_allclose(region.values(ratios)[region.own], SPACE.levels_from_ratios(ratios), rtol=0, atol=1e-15)
    assert region.is_linked.sum() == 6
    assert not region.has_kinks


def test_the_strictest_of_several_patterns_counts() -> None:
    floors = {"harm/action/*": 0.2, "harm/action/child_harm": 0.5, "harm/*": 0.1}
    region = Constraints(floors=floors, ceilings={"*": 0.9, "harm/action/privacy": 0.4}).region(SPACE)
    lo = {names[0]: value for names, value in zip(region.names, region.lo, strict=True)}
    hi = {names[0]: value for names, value in zip(region.names, region.hi, strict=True)}
    assert (lo["harm/action/child_harm"], lo["harm/action/privacy"], lo["harm/extent/minor"]) == (0.5, 0.2, 0.1)
    assert (lo["benefit/relative_weight"], hi["harm/action/privacy"], hi["benefit/relative_weight"]) == (0.0, 0.4, 0.9)


def test_what_is_frozen_without_a_number_keeps_the_value_of_the_base() -> None:
    region = Constraints(frozen={"harm/extent/*": None}).region(
        SPACE, {"harm/extent/minor": 0.1, "harm/extent/significant": 0.2, "harm/extent/substantial": 0.3}
    )
    k = region.parameter("harm/extent/significant")
    assert region.lo[k] == region.hi[k] == 0.2
    assert int(region.is_frozen.sum()) == 3


@pytest.mark.parametrize(
    ("given_", "both"),
    [
        ({"floors": {"harm/action/privacy": 0.6}, "ceilings": {"harm/action/privacy": 0.5}}, ("floor 0.6", "ceiling 0.5")),
        (
            {"floors": {"harm/extent/minor": 0.6}, "ceilings": {"harm/extent/substantial": 0.5}},
            ("floor 0.6 of harm/extent/minor", "ceiling 0.5 of harm/extent/substantial"),
        ),
        (
            {"frozen": {"harm/extent/minor": 0.6, "harm/extent/substantial": 0.5}},
            ("harm/extent/minor is frozen", "harm/extent/substantial is frozen"),
        ),
        ({"floors": {"benefit/*": 0.5}, "frozen": {"benefit/relative_weight": 0.1}}, ("floor 0.5", "frozen")),
    ],
)
def test_contradictions_name_both_sides(given_: dict[str, dict[str, float | None]], both: tuple[str, str]) -> None:
    with pytest.raises(PolicyError, match="contradict") as caught:
        Constraints.model_validate(given_).region(SPACE)
    assert all(side in str(caught.value) for side in both)


def test_levels_that_share_a_discount_cannot_be_frozen_apart() -> None:
    shared = SPACES[1]
    frozen = {"harm/immediacy/downstream": 0.9, "benefit/immediacy/downstream": 0.4}
    with pytest.raises(PolicyError, match="contradict"):
        Constraints(frozen=frozen).region(shared)


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"floors": {"harm/action/privcy": 0.5}}, "harm/action/privacy"),
        ({"ceilings": {"harm/nothing/*": 0.5}}, "no weight here"),
        ({"ceilings": {"harm/extent/major": 0.5}}, "fixed at 1"),
        ({"frozen": {"benefit/immediacy/immediate": 0.5}}, "fixed at 1"),
        ({"frozen": {"harm/action/privacy": None}}, "no value for it"),
    ],
)
def test_names_that_cannot_be_constrained_are_refused(given_: dict[str, dict[str, float | None]], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        Constraints.model_validate(given_).region(SPACE)


def test_tops_of_scales_obey_what_they_can() -> None:
    Constraints(floors={"harm/extent/major": 0.7}, frozen={"harm/likelihood/high": 1.0}).region(SPACE)
