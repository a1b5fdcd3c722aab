from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.analyst import Assessor
from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.policy import weights_by_name
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.stability import Replicates, stability
from safetyanalyst.trees import Effect, HarmBenefitTree, Tree
from tests.reweighings import BASE, TAXONOMY, cases
from tests.scripted import tree_of


def resampled(case: Reweighing, seed: int, count: int) -> Bootstrap:
    space, rng = case.bound.space, np.random.default_rng(seed)
    levels = np.stack([space.levels_from_ratios(rng.random(len(space.ratios.names))) for _ in range(count)])
    return Bootstrap(weights=dict(zip(case.names, map(tuple, levels.T.tolist()), strict=True)), rows=9, seed=seed)


@settings(max_examples=20)
@given(cases(), st.integers(0, 2**31))
def test_the_shares_are_those_of_whole_policies(case: Reweighing, seed: int) -> None:
    bootstrap = resampled(case, seed, 8)
    found = stability(case, Replicates(bootstrap, case.bound))
    policy = case.bound.policy
    results = []
    for levels in np.array([bootstrap.weights[name] for name in case.names]).T:
        other = policy.model_copy(update={"weights": weights_by_name(case.bound.space, levels), "edits": ()})
        results.append(Assessor(other, TAXONOMY).assess(case.trees))
    counts = Counter(it.decision for it in results)
    assert found.replicates == 8
    assert found.decisions == {name: counts[name] / 8 for name in ("allow", "review", "block")}
    assert found.agreement == counts[case.decision] / 8
    assert found.interval == (min(it.interval.low for it in results), max(it.interval.high for it in results))


def test_an_interval_leaves_out_the_tails() -> None:
    effect = Effect(effect="Death", immediacy="downstream", extent="minor", likelihood="high")
    trees = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), effect), benefit=Tree(kind="benefit", stakeholders=()))
    case = Reweighing(trees, BASE.bind(TAXONOMY))
    bootstrap = resampled(case, 1, 400)
    scores = sorted(case.function.interval(np.array(levels)).low for levels in zip(*bootstrap.weights.values(), strict=True))
    found = stability(case, Replicates(bootstrap, case.bound))
    assert found.level == 0.95
    assert sum(found.interval.low <= score <= found.interval.high for score in scores) / 400 == pytest.approx(0.95, abs=0.01)
