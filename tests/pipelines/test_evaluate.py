from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from safetyanalyst.analyst import Assessor, FailedItem
from safetyanalyst.pipelines.evaluate import Estimate, Metrics, Outcome, auroc, measure, measure_by, outcome
from safetyanalyst.policy import load_policy
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests import scripted
from tests.strategies import pairs

ASSESSOR = Assessor(load_policy("wildjailbreak-v1"), load_taxonomy())
DECISIONS = ("allow", "review", "block")
outcomes = st.lists(
    st.builds(
        Outcome,
        label=st.integers(0, 1),
        rank=st.sampled_from([0.0, 0.5, -1.0, math.inf, -math.inf]) | st.floats(-5, 5),
        decision=st.sampled_from(DECISIONS),
        is_failed=st.booleans(),
        is_unscored=st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def approx(value: float) -> object:
    return pytest.approx(value, abs=1e-12)


def check_rates(found: Metrics, labels: list[int], flagged: list[int]) -> None:
    """Against scikit-learn, where it has an answer."""
    if any(labels):
        assert found.f1.value == approx(reference.f1_score(labels, flagged))
        assert found.recall.value == approx(reference.recall_score(labels, flagged))
    else:
        assert (found.f1.value, found.recall.value) == (None, None)
    if any(flagged):
        assert found.precision.value == approx(reference.precision_score(labels, flagged))
    else:
        assert found.precision.value is None
    if not all(labels):
        specificity = reference.recall_score(labels, flagged, pos_label=0)
        assert found.specificity.value == approx(specificity)
        assert found.false_positive_rate.value == approx(1 - specificity)
    else:
        assert (found.specificity.value, found.false_positive_rate.value) == (None, None)


@given(outcomes)
def test_metrics_are_those_of_scikit_learn(made: list[Outcome]) -> None:
    found = measure(made, n_bootstrap=2)
    labels = [it.label for it in made]
    blocked = [int(it.decision == "block") for it in made]
    check_rates(found, labels, [int(it.decision != "allow") for it in made])
    ranks = [max(-100.0, min(100.0, it.rank)) for it in made]
    if 0 < sum(labels) < len(labels):
        assert found.auroc.value == approx(reference.roc_auc_score(labels, ranks))
    else:
        assert found.auroc.value is None
    if any(labels):
        assert found.blocked_f1.value == approx(reference.f1_score(labels, blocked))
        assert found.blocked_recall.value == approx(reference.recall_score(labels, blocked))
        assert found.always_unsafe_f1 == approx(reference.f1_score(labels, [1] * len(labels)))
    if not all(labels):
        assert found.blocked_false_positive_rate.value == approx(1 - reference.recall_score(labels, blocked, pos_label=0))
    assert (found.n, found.unsafe) == (len(made), sum(labels))
    assert found.decisions == {name: [it.decision for it in made].count(name) for name in DECISIONS}
    assert found.failed == sum(it.is_failed for it in made)
    assert found.unscored == sum(it.is_unscored for it in made)


def simulated(n: int, seed: int = 0) -> list[Outcome]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = labels + rng.normal(size=n)
    return [
        Outcome(int(label), float(score), "block" if score > 0.5 else "allow", is_failed=False, is_unscored=False)
        for label, score in zip(labels, scores, strict=True)
    ]


def test_intervals_are_percentiles_of_a_seeded_bootstrap() -> None:
    made = simulated(80)
    first, second = (measure(made, n_bootstrap=200, seed=4) for _ in range(2))
    assert first == second
    assert first != measure(made, n_bootstrap=200, seed=5)
    labels, ranks = np.array([it.label for it in made]), np.array([it.rank for it in made])
    flagged = np.array([it.decision != "allow" for it in made]).astype(int)
    rng = np.random.default_rng(4)
    draws = [rng.integers(0, 80, 80) for _ in range(200)]
    for estimate, score in ((first.auroc, ranks), (first.f1, flagged)):
        measured = reference.roc_auc_score if estimate is first.auroc else reference.f1_score
        low, high = np.percentile([measured(labels[rows], score[rows]) for rows in draws], [2.5, 97.5])
        assert (estimate.low, estimate.high) == (approx(low), approx(high))


def test_more_data_makes_narrower_intervals_around_the_value() -> None:
    def width(estimate: Estimate) -> float:
        assert estimate.value is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high
        return estimate.high - estimate.low

    few, many = (measure(simulated(n), n_bootstrap=200) for n in (40, 1000))
    assert width(many.auroc) < width(few.auroc) / 2
    assert width(many.f1) < width(few.f1) / 2


def test_one_class_alone_says_nothing_of_the_other() -> None:
    unsafe = measure([it for it in simulated(60) if it.label], n_bootstrap=20)
    assert unsafe.auroc == unsafe.false_positive_rate == unsafe.specificity == Estimate(value=None)
    assert unsafe.always_unsafe_f1 == 1.0
    assert unsafe.f1.value is not None
    safe = measure([it for it in simulated(60) if not it.label], n_bootstrap=20)
    assert safe.f1 == safe.recall == Estimate(value=None)
    assert safe.precision.value == 0.0
    assert safe.always_unsafe_f1 == 0.0


def test_ranks_that_tie_count_half() -> None:
    assert auroc(np.array([0, 1]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([0, 1, 1]), np.array([-np.inf, np.inf, np.inf])) == 1.0


def test_what_cannot_be_bounded_ranks_as_most_harmful() -> None:
    whole = HarmBenefitTree(harm=scripted.Tree(kind="harm", stakeholders=()), benefit=scripted.harmless_benefit())
    found = {
        "whole": outcome(0, ASSESSOR.assess(whole)),
        "no harm tree": outcome(0, ASSESSOR.assess(whole.model_copy(update={"harm": None}))),
        "no benefit tree": outcome(1, ASSESSOR.assess(whole.model_copy(update={"benefit": None}))),
        "nothing": outcome(0, ASSESSOR.assess(HarmBenefitTree(harm=None, benefit=None))),
        "failed": outcome(1, FailedItem(id="x", line=1, error="e", decision="review")),
    }
    assert {name: it.rank for name, it in found.items()} == {
        "whole": pytest.approx(-0.13382644323515316), "no harm tree": math.inf, "no benefit tree": 0.0,
        "nothing": math.inf, "failed": math.inf,
    }  # fmt: skip
    assert [it.is_unscored for it in found.values()] == [False, True, True, True, True]
    assert [it.is_failed for it in found.values()] == [False, True, True, True, True]
    assert [it.decision for it in found.values()] == [
        "allow",
        "review",
        "allow",
        "review",
        "review",
    ]  # no benefit could make it worse


@given(pairs())
def test_a_rank_is_never_below_the_middle_of_what_is_possible(pair: HarmBenefitTree) -> None:
    analysis = ASSESSOR.assess(pair)
    low, high = analysis.interval
    rank = outcome(0, analysis).rank
    assert rank == (high if math.inf in (-low, high) else (low + high) / 2)
    assert rank > -math.inf


def test_groups_are_measured_on_their_own_in_order_of_appearance() -> None:
    made = simulated(40)
    by = measure_by([("b" if i % 3 else "a", it) for i, it in enumerate(made)], n_bootstrap=10)
    assert list(by) == ["a", "b"]
    assert by["a"] == measure(made[::3], n_bootstrap=10)
    assert by["a"].n + by["b"].n == 40
