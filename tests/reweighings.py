"""Scenarios under random policies: every feature space, band and way of doubt, weights of 0 and 1, anything missing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.policy import BoundPolicy, Policy, ReviewBand, load_policy, weights_by_name
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.taxonomy import load_taxonomy
from tests.strategies import complete_pairs, pairs

TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
SPECS = [
    {}, {"action": "leaf"}, {"effect": "group"}, {"discount": "shared"}, {"analysis": "harms"}, {"analysis": "benefits"},
]  # fmt: skip


@cache
def space_of(index: int) -> FeatureSpace:
    return FeatureSpace(TAXONOMY, FeatureSpaceSpec.model_validate(SPECS[index]))


def random_policy(space: FeatureSpace, seed: int, **settings: Any) -> Policy:
    """Random weights in order, some exactly 0 or 1."""
    rng = np.random.default_rng(seed)
    ratios = rng.random(len(space.ratios.names))
    ratios[rng.random(len(ratios)) < 0.05] = 0.0
    ratios[rng.random(len(ratios)) < 0.1] = 1.0
    weights = weights_by_name(space, space.levels_from_ratios(ratios))
    return BASE.model_copy(update={"weights": weights, "space": space.spec, "fit": None, **settings})


@st.composite
def policies(draw: st.DrawFn, *, specs: int = len(SPECS)) -> BoundPolicy:
    space = space_of(draw(st.integers(0, specs - 1)))
    widths = st.sampled_from([0.0, 0.02, 0.1, 0.5])
    policy = random_policy(
        space,
        draw(st.integers(0, 2**31)),
        threshold=draw(st.sampled_from([0.0, 0.0, 0.3, -0.2, 0.05])),
        review_band=ReviewBand(below=draw(widths), above=draw(widths)),
        on_missing=draw(st.sampled_from(["review", "block"])),
    )
    return policy.bind(TAXONOMY)


@st.composite
def cases(draw: st.DrawFn, *, specs: int = len(SPECS)) -> Reweighing:
    """Any scenario under any policy."""
    return Reweighing(draw(complete_pairs() | pairs()), draw(policies(specs=specs)))


@st.composite
def complete_cases(draw: st.DrawFn, *, specs: int = len(SPECS)) -> Reweighing:
    """Scenarios with nothing missing."""
    return Reweighing(draw(complete_pairs()), draw(policies(specs=specs)))
