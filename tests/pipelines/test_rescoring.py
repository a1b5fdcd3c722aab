from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.errors import ConfigError
from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.pipelines.rescoring import DECISIONS, GROUNDS, Rescored, rescore
from safetyanalyst.policy import BoundPolicy, ReviewBand
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.pipelines.test_corpus import corpus_of, read_corpus_of_many
from tests.strategies import complete_pairs, pairs
from tests.test_comparison import assessor_of, random_policy
from tests.test_features import SPECS, TAXONOMY


def check(trees: list[HarmBenefitTree], bound: BoundPolicy, found: Rescored) -> None:
    """The plain loop: every tree by itself, through `assess`."""
    assessor = assessor_of(bound)
    for i, pair in enumerate(trees):
        analysis = assessor.assess(pair)
        assert (found.low[i], found.high[i]) == (pytest.approx(analysis.interval.low), pytest.approx(analysis.interval.high))
        assert (DECISIONS[found.decisions[i]], GROUNDS[found.grounds[i]]) == (analysis.decision, analysis.ground)


@given(st.lists(pairs(), max_size=5), st.sampled_from(SPECS), st.integers(0, 5), st.sampled_from(["review", "block"]))
@settings(max_examples=40)
def test_every_decision_is_that_of_assess(
    trees: list[HarmBenefitTree], spec: FeatureSpaceSpec, seed: int, on_missing: str
) -> None:
    threshold = (-0.2, 0.0, 0.1)[seed % 3]
    bound = random_policy(spec, seed, threshold=threshold, review_band=ReviewBand(below=0.1, above=0.05), on_missing=on_missing)
    check(trees, bound, rescore(corpus_of(trees), bound))


@given(complete_pairs(), st.sampled_from([-1, 0, 1]), st.integers(0, 20), st.sampled_from(["below", "above"]))
def test_a_score_on_the_cut_by_one_digit_is_decided_as_assess_decides(
    pair: HarmBenefitTree, digit: int, seed: int, side: str
) -> None:
    bound = random_policy(FeatureSpaceSpec(), seed)
    score = assessor_of(bound).assess(pair).score
    assert score is not None
    near = score if digit == 0 else float(np.nextafter(score, digit * np.inf))
    for threshold, band in ((near, ReviewBand()), (near + 0.25, ReviewBand(below=0.25)), (near - 0.25, ReviewBand(above=0.25))):
        policy = bound.policy.model_copy(update={"threshold": threshold, "review_band": band})
        there = policy.bind(TAXONOMY)
        check([pair], there, rescore(corpus_of([pair]), there))


def test_a_synthetic_corpus_decided_at_its_own_scores() -> None:
    corpus = read_corpus_of_many()
    bound = random_policy(FeatureSpaceSpec(), 1)
    scores = rescore(corpus, bound).low
    for score in scores[:10].tolist():
        there = bound.policy.model_copy(update={"threshold": score}).bind(TAXONOMY)
        found = rescore(corpus, there)
        assert found.decisions.tolist() == np.where(found.low > score, 2, 0).tolist()


def test_a_policy_of_another_taxonomy_is_refused() -> None:
    bound = random_policy(FeatureSpaceSpec(), 1).policy.bind(load_taxonomy("agents-v1"))
    with pytest.raises(ConfigError, match="are no cells of"):
        rescore(corpus_of([]), bound)
