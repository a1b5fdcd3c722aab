from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.errors import ConfigError
from safetyanalyst.explanation import explain
from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.generation import notation
from safetyanalyst.pipelines.diff import Flip, PolicyDiff, diff
from safetyanalyst.pipelines.movement import LOST, MISSING, NO_HARM, SETTINGS, UNREAD
from safetyanalyst.pipelines.rescoring import DECISIONS
from safetyanalyst.policy import BoundPolicy, Policy, ReviewBand, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree, Tree
from tests.pipelines.test_corpus import corpus_of
from tests.strategies import complete_pairs, pairs
from tests.test_comparison import assessor_of, random_policy
from tests.test_features import SPECS, TAXONOMY

BALANCED = load_policy("balanced").model_copy(update={"review_band": ReviewBand(below=0.1, above=0.1)})


def changed(policy: Policy = BALANCED, **changes: Any) -> BoundPolicy:
    weights = policy.weights | changes.pop("weights", {})
    return policy.model_copy(update={"weights": weights} | changes).bind(TAXONOMY)


def tree(kind: str, *rows: str) -> Tree:
    parsed = notation.from_row_list(rows, kind, TAXONOMY)  # type: ignore[arg-type]
    assert parsed.tree is not None
    assert {it.code for it in parsed.defects} <= {"missing_value"}
    return parsed.tree


def pair(harm: list[str] | None, benefit: list[str] | None) -> HarmBenefitTree:
    return HarmBenefitTree(
        harm=None if harm is None else tree("harm", *harm), benefit=None if benefit is None else tree("benefit", *benefit)
    )


def one(found: PolicyDiff) -> Flip:
    (flip,) = found.shown()
    return flip


@st.composite
def policies(draw: st.DrawFn) -> BoundPolicy:
    band = st.sampled_from([0.0, 0.05, 0.4])
    return random_policy(
        draw(st.sampled_from(SPECS)), draw(st.integers(0, 2)),
        threshold=draw(st.sampled_from([-0.3, 0.0, 0.1, 0.6])), on_missing=draw(st.sampled_from(["review", "block"])),
        review_band=ReviewBand(below=draw(band), above=draw(band)),
    )  # fmt: skip


def is_alike(found: float | None, expected: float) -> bool:
    return found is not None and (found == expected or math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12))


@given(st.lists(pairs() | complete_pairs(), min_size=1, max_size=6), policies(), policies())
@settings(max_examples=60)
def test_everything_against_a_plain_loop(trees: list[HarmBenefitTree], a: BoundPolicy, b: BoundPolicy) -> None:
    found = diff(corpus_of(trees, [i % 3 if i % 3 < 2 else None for i in range(len(trees))]), a, b)
    first, second = ([assessor_of(bound).assess(it) for it in trees] for bound in (a, b))
    flips = {flip.id: flip for flip in found.shown()}
    decided = Counter((x.decision, y.decision) for x, y in zip(first, second, strict=True))
    table = found.table()
    assert {(x, y): table[i, j] for i, x in enumerate(DECISIONS) for j, y in enumerate(DECISIONS) if table[i, j]} == decided
    assert set(flips) == {f"s{i}" for i in range(len(trees)) if first[i].decision != second[i].decision}
    for i, (x, y) in enumerate(zip(first, second, strict=True)):
        if f"s{i}" in flips:
            check_flip(flips[f"s{i}"], x, y, a, b)
    assert found.harsher + found.milder == len(found) == len(flips)
    json.dumps(found.to_json(), allow_nan=False)


def check_flip(flip: Flip, x: Any, y: Any, a: BoundPolicy, b: BoundPolicy) -> None:
    assert (flip.a.decision, flip.a.ground, flip.b.decision, flip.b.ground) == (x.decision, x.ground, y.decision, y.ground)
    if flip.cut is None:
        assert x.ground == y.ground == "something_is_missing"
        assert a.policy.on_missing != b.policy.on_missing
        assert (flip.distance_a, flip.distance_b, flip.margin, flip.parts) == (None, None, None, ())
        return

    def distance(analysis: Any, bound: BoundPolicy) -> float:
        policy, low, high = bound.policy, *analysis.interval
        cut = policy.threshold + policy.review_band.above
        if flip.cut == "lower":
            cut = policy.threshold - policy.review_band.below
        return (low if flip.end == "low" else high) - cut

    assert flip.distance_a is not None
    assert flip.distance_b is not None
    assert is_alike(flip.distance_a, distance(x, a))
    assert is_alike(flip.distance_b, distance(y, b))
    assert (flip.distance_a > 0) != (flip.distance_b > 0)
    assert is_alike(math.fsum(part.value for part in flip.parts), flip.distance_b - flip.distance_a)
    if y.ground == "something_is_missing":
        assert flip.margin is None
    else:
        assert flip.margin == abs(flip.distance_b)


@given(st.lists(complete_pairs(), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=12)
def test_parts_are_the_average_over_all_orders_of_changing_the_weights(trees: list[HarmBenefitTree], seed: int) -> None:
    """Brute force: each order changes one weight of the policy after the other and scores anew."""
    a = random_policy(FeatureSpaceSpec(effect="group"), seed, threshold=0.0)
    rng = np.random.default_rng(seed)
    names = rng.choice([n for n in a.space.levels.names if "/extent/" not in n and "/likelihood/" not in n], 4, replace=False)
    new = {name: float(rng.choice([0.0, 0.5, 1.0])) for name in (*names.tolist(), "harm/immediacy/downstream")}
    new = {name: value for name, value in new.items() if a.policy.weights[name] != value}
    b = changed(a.policy, weights=new)
    matrix = a.space.featurize(trees)
    expected = {name: np.zeros(len(trees)) for name in new}
    orders = list(itertools.permutations(new))
    for order in orders:
        levels = a.levels.copy()
        for name in order:
            before = harmfulness_interval(matrix, levels).low
            levels[a.space.levels.names.index(name)] = new[name]
            expected[name] += (harmfulness_interval(matrix, levels).low - before) / len(orders)
    scores = harmfulness_interval(matrix, a.levels).low, harmfulness_interval(matrix, b.levels).low
    for i, (x, y) in enumerate(zip(*scores, strict=True)):
        if abs(x - y) > 1e-9:  # put the threshold between the two, so that there is a flip to look at
            at = {"threshold": float(x + y) / 2.0}
            found = diff(corpus_of([trees[i]]), changed(a.policy, **at), changed(b.policy, **at))
            parts = {part.name: part.value for part in one(found).parts}
            for name, values in expected.items():
                assert parts.get(name, 0.0) == pytest.approx(values[i], abs=1e-12)


@given(st.lists(pairs(), min_size=1, max_size=3), policies(), policies())
@settings(max_examples=30)
def test_groups_and_stakeholders_are_those_whose_contributions_moved(
    trees: list[HarmBenefitTree], a: BoundPolicy, b: BoundPolicy
) -> None:
    found = diff(corpus_of(trees), a, b)
    moved: dict[str, Counter[str]] = {"group": Counter(), "stakeholder": Counter()}
    for flip in found.shown():
        if flip.cut is None or flip.distance_b is None:
            continue
        both = [explain(trees[int(flip.id[1:])], bound).contributions for bound in (a, b)]
        toward = 1.0 if flip.distance_b > 0 else -1.0
        totals: dict[str, dict[str, float]] = {"group": {}, "stakeholder": {}}
        for sign, contributions in zip((-1.0, 1.0), both, strict=True):
            for it in contributions:
                group = "(benefits)" if it.kind == "benefit" else it.action_group or "(unread)"
                holder = " ".join(it.stakeholder.casefold().split())
                value = sign * (it.interval.low if flip.end == "low" else it.interval.high)
                for key, name in (("group", group), ("stakeholder", holder)):
                    totals[key][name] = totals[key].get(name, 0.0) + value
        for key, values in totals.items():
            if any(0 < abs(value) < 1e-9 for value in values.values()):
                return  # a difference of rounding
            moved[key].update(name for name, value in values.items() if value * toward > 0)
    groups = {it.name: it.moved for it in found.by_group if it.name not in (LOST, SETTINGS) and it.moved}
    holders = {" ".join(it.name.casefold().split()): it.moved for it in found.by_stakeholder[:] if it.moved}
    assert {k: v for k, v in groups.items()} == dict(moved["group"])
    assert {k: v for k, v in holders.items() if k not in (LOST, SETTINGS)} == dict(moved["stakeholder"])
    for tallies in (found.by_group, found.by_stakeholder, found.by_weight):
        assert sum(it.harsher for it in tallies) == found.harsher
        assert sum(it.milder for it in tallies) == found.milder


@given(st.lists(pairs(), min_size=1, max_size=3), policies(), policies())
@settings(max_examples=30)
def test_the_way_back_is_the_way_there_with_the_signs_turned(
    trees: list[HarmBenefitTree], a: BoundPolicy, b: BoundPolicy
) -> None:
    there, back = ({flip.id: flip for flip in diff(corpus_of(trees), *pair_).shown()} for pair_ in ((a, b), (b, a)))
    assert there.keys() == back.keys()
    for id, flip in there.items():
        if (flip.cut, flip.end) == (back[id].cut, back[id].end):
            parts = {part.name: part.value for part in back[id].parts}
            for part in flip.parts:
                assert is_alike(part.value, -parts.get(part.name, 0.0))


def test_a_flip_is_told_with_the_weight_that_did_it() -> None:
    trees = pair(["Customers | 41 | 7i4h"], ["User | B6: how | 7i1h"])
    a, b = changed(weights={"harm/action/privacy": 0.1}), changed(weights={"harm/action/privacy": 0.9}, threshold=0.05)
    flip = one(diff(corpus_of([trees], [1]), a, b))
    benefit = BALANCED.weights["benefit/relative_weight"] * BALANCED.weights["benefit/extent/minor"]
    score = [bound.policy.weights["harm/action/privacy"] - benefit for bound in (a, b)]
    assert (flip.a.decision, flip.b.decision, flip.cut, flip.label) == ("review", "block", "upper", 1)
    assert flip.a.interval == pytest.approx((score[0], score[0]))
    assert flip.margin == pytest.approx(score[1] - 0.15)
    assert [part.name for part in flip.parts] == ["harm/action/privacy", "threshold"]
    assert [part.value for part in flip.parts] == pytest.approx([0.8, -0.05])


@given(complete_pairs(), policies(), policies())
@settings(max_examples=40)
def test_a_flip_is_about_where_most_of_its_harm_is(trees: HarmBenefitTree, a: BoundPolicy, b: BoundPolicy) -> None:
    found = diff(corpus_of([trees]), a, b)
    totals: dict[str, Counter[str]] = {"group": Counter(), "stakeholder": Counter()}
    for bound in (a, b):
        for it in explain(trees, bound).contributions:
            if it.kind == "harm":
                totals["group"][str(it.action_group)] += it.interval.high / 2
                totals["stakeholder"][it.stakeholder] += it.interval.high / 2
    for heaviest, key in ((found.heaviest_groups, "group"), (found.heaviest_stakeholders, "stakeholder")):
        assert sum(it.harsher for it in heaviest) == found.harsher
        assert sum(it.milder for it in heaviest) == found.milder
        for row in heaviest:
            most = max(totals[key].values(), default=0.0)
            assert row.name == NO_HARM if most == 0 else totals[key][row.name] == pytest.approx(most, abs=1e-9)


def test_a_threshold_alone_flips_what_is_about_something() -> None:
    trees = [pair(["Customers | 41 | 7i4h", "Bystanders | 9 | 2i1l"], []), pair(["Bystanders | 9 | 2i4h"], []), pair([], [])]
    found = diff(corpus_of(trees), changed(threshold=5.0), changed(threshold=-1.0))
    assert [it.name for it in found.by_group] == [SETTINGS]
    assert found.heaviest_groups == [("violence_extremism", 1, 0), ("privacy", 1, 0), (NO_HARM, 1, 0)]
    assert {it.name for it in found.heaviest_stakeholders} == {"Customers", "Bystanders", NO_HARM}


def test_harm_that_was_not_read_is_not_called_none() -> None:
    trees = [pair(["Customers | 41 | 7i?h"], []), pair(["Customers | ? | 7i4h"], []), pair(["? x2"], [])]
    found = diff(corpus_of(trees), changed(threshold=5.0), changed(threshold=-5.0))
    assert {it.name for it in found.heaviest_groups} == {"privacy", UNREAD, LOST}
    assert {it.name for it in found.heaviest_stakeholders} == {"Customers", LOST}


def test_only_on_missing_differs() -> None:
    found = diff(corpus_of([pair(None, [])]), changed(), changed(on_missing="block"))
    flip = one(found)
    assert (flip.a.decision, flip.b.decision, flip.cut, flip.parts) == ("review", "block", None, ())
    assert [it.name for it in found.by_weight] == ["on_missing"]
    assert [it.name for it in found.by_group] == [SETTINGS] == [it.name for it in found.by_stakeholder]
    assert found.to_json()["flipped"][0]["a"]["interval"] == [0.0, None]


def test_a_bound_that_vanishes_is_put_down_to_what_is_missing() -> None:
    """Benefits have no lower bound while a benefit subtree is lost; a policy that does not count benefits has one."""
    harms = Policy.model_validate(
        {
            "name": "harms", "space": {"analysis": "harms"}, "threshold": 0.5,
            "weights": {name: value for name, value in BALANCED.weights.items() if name.startswith("harm/")},
        }
    ).bind(TAXONOMY)  # fmt: skip
    found = diff(corpus_of([pair(["x | 45 | 7i4h 7i4h"], ["?"])]), changed(), harms)
    flip = one(found)
    assert (flip.a.decision, flip.b.decision, flip.distance_a) == ("review", "block", -math.inf)
    assert (flip.parts[0].name, flip.parts[0].value) == (MISSING, math.inf)
    assert [it.name for it in found.by_group if it.harsher] == [LOST]
    assert found.to_json()["flipped"][0]["parts"][0] == {"name": MISSING, "value": None}


def test_flips_are_ranked_by_margin_and_undecided_ones_come_last() -> None:
    trees = [pair([f"x | 41 | 7i4{'hml'[i]}"], []) for i in range(3)] + [pair(["x | 41 | 7i4?"], [])]
    low = {"harm/likelihood/low": 0.4}
    none, half = (changed(weights=low | {"harm/action/privacy": value}) for value in (0.0, 0.5))
    found = diff(corpus_of(trees), none, half)
    margins = [flip.margin for flip in found.shown()]
    assert [flip.id for flip in found.shown()] == ["s0", "s1", "s2", "s3"]
    assert margins[:3] == sorted(margins[:3], reverse=True)  # type: ignore[type-var]
    assert [flip.id for flip in found.shown(2)] == ["s0", "s1"]
    assert len(found.to_json(1)["flipped"]) == 1


def test_labels_sources_and_unread_records_are_told() -> None:
    trees = [pair(["x | 41 | 7i4h"], []), pair(["x | 41 | 7i4m"], []), pair(["x | 32 | 7i4h"], []), pair([], [])]
    corpus = corpus_of(trees, [1, 0, 1, None])
    found = diff(corpus, changed(weights={"harm/action/privacy": 0.0}), changed())
    assert found.table("harmful").tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]] or found.table("harmful").sum() == 2
    before, after = found.rates("a"), found.rates("b")
    assert (before.recall, after.recall) == (1.0, 1.0)  # a score of 0 lies in the review band
    assert (before.blocked_recall, after.blocked_recall) == (0.5, 1.0)
    assert (before.blocked_false_positive_rate, after.blocked_false_positive_rate) == (0.0, 1.0)
    assert [(it.name, it.n, it.harsher, it.milder) for it in found.by_source] == [("source-0", 2, 1, 0), ("source-1", 2, 1, 0)]
    unlabelled = diff(corpus_of(trees), changed(), changed())
    assert unlabelled.rates("a").recall is None
    assert unlabelled.table("unlabelled").sum() == 4


def test_nothing_differs_and_nothing_is_there() -> None:
    for trees in ([], [pair(["x | 41 | 7i4h"], [])]):
        found = diff(corpus_of(trees), changed(), changed())
        data = found.to_json()
        assert (data["weights"], data["settings"], data["flipped"], data["flips"]["total"]) == ([], [], [], 0)
        assert (data["by_weight"], data["by_action_group"], data["by_stakeholder"]) == ([], [], [])
    found = diff(corpus_of([]), changed(), changed(weights={"harm/action/privacy": 0.9}))
    assert found.table().sum() == 0
    assert list(found.shown()) == []


def test_an_agents_corpus_needs_agents_policies() -> None:
    agents = load_taxonomy("agents-v1")
    with pytest.raises(ConfigError):
        diff(corpus_of([]), changed(), BALANCED.bind(agents))
    with pytest.raises(ConfigError, match="are no cells of"):
        diff(corpus_of([]), BALANCED.bind(agents), BALANCED.bind(agents))
