from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError, PolicyError
from safetyanalyst.pins import Pin
from safetyanalyst.policy import Policy, dump_policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import claimed

TAXONOMY = load_taxonomy()
TODAY = datetime.date(2026, 1, 2)
SHIPPED = resources.names("policies")


def written(tmp_path: Path, **changes: Any) -> Path:
    """A policy file with some keys changed; a dotted key reaches inside."""
    data = yaml.safe_load(dump_policy(load_policy("wildjailbreak-v1")))
    for key, value in changes.items():
        *folders, last = key.split("__")
        place = data
        for folder in folders:
            place = place[folder]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_fit_their_taxonomy_and_survive_writing(name: str, tmp_path: Path) -> None:
    policy = load_policy(name)
    assert policy.name == name
    policy.bind(load_taxonomy(policy.taxonomy))
    again = tmp_path / "again.yaml"
    again.write_text(dump_policy(policy), encoding="utf-8")
    assert load_policy(again) == policy
    assert load_policy(again).hash == policy.hash


def test_the_three_promised_policies_are_there() -> None:
    assert {"wildjailbreak-v1", "balanced", "strict"} <= set(SHIPPED)


def test_a_policy_for_the_base_taxonomy_fits_the_one_for_agents() -> None:
    load_policy("balanced").bind(load_taxonomy("agents-v1"))


def test_the_hash_tells_content_and_nothing_else(tmp_path: Path) -> None:
    before = load_policy(written(tmp_path)).hash
    path = written(tmp_path)
    path.write_text("# a remark\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_policy(path).hash == before
    assert load_policy(written(tmp_path, threshold=0.1)).hash != before


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"format": "x"}, "format", "safetyanalyst-policy/1"),
        ({"treshold": 1.0}, "treshold", "threshold"),
        ({"threshold": math.nan}, "threshold", "finite"),
        ({"threshold": 1e308, "review_band": {"below": 0.0, "above": 1e308}}, "", "no score could lie beyond"),
        ({"on_missing": "allow"}, "on_missing", "review"),
        ({"weights__harm__action__privacy": 1.5}, "weights", "less than or equal to 1"),
        ({"weights__harm__action__privacy": "much"}, "weights", "number"),
        ({"weights__harm__action__privacy": True}, "weights", "number"),
        ({"threshold": "0.5"}, "threshold", "number"),
        ({"weights__harm__action__privacyy": 0.5}, "weights.harm/action/privacyy", "harm/action/privacy"),
        ({"weights__harm__action__privacy": ...}, "weights.harm/action/privacy", "not given"),
        ({"weights__harm__extent__major": 0.5}, "weights.harm/extent/major", "fixed"),
        ({"weights__harm__likelihood__low": 0.9}, "weights.harm/likelihood/low", "harm/likelihood/medium"),
    ],
)
def test_a_broken_file_is_refused_by_file_key_and_expectation(
    tmp_path: Path, changes: dict[str, Any], key: str, says: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(PolicyError) as refusal:
        load_policy(path).bind(TAXONOMY)
    assert key in str(refusal.value)
    assert says in str(refusal.value)
    assert ("policy wildjailbreak-v1" if key.startswith("weights.harm/") else str(path)) in str(refusal.value)


def test_an_unknown_policy_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="balanced"):
        load_policy("balancd")


def test_steering_writes_the_edit_down() -> None:
    policy = load_policy("wildjailbreak-v1")
    steered = policy.steered("harm/action/privacy", 0.4, reason="a tenant of ours", date=TODAY, taxonomy=TAXONOMY)
    assert steered.weights["harm/action/privacy"] == 0.4
    (edit,) = steered.edits
    assert (edit.before, edit.after, edit.reason) == (policy.weights["harm/action/privacy"], 0.4, "a tenant of ours")
    assert steered.hash != policy.hash
    assert policy.edits == ()


@pytest.mark.parametrize(
    ("weight", "value", "says"),
    [
        ("harm/action/privcy", 0.4, "harm/action/privacy"),
        ("harm/action/privacy", 1.1, "less than or equal to 1"),
        ("harm/likelihood/low", 0.9, "harm/likelihood/medium"),
        ("harm/extent/major", 0.9, "fixed"),
    ],
)
def test_steering_refuses_what_would_break_the_policy(weight: str, value: float, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load_policy("wildjailbreak-v1").steered(weight, value, reason="why not", date=TODAY, taxonomy=TAXONOMY)


def test_an_edit_that_does_not_lead_to_the_weight_is_refused(tmp_path: Path) -> None:
    edit = {"weight": "harm/action/privacy", "from": 0.1, "to": 0.9, "reason": "r", "author": "", "date": "2026-01-02"}
    with pytest.raises(PolicyError, match="last edit"):
        load_policy(written(tmp_path, edits=[edit]))


def edit(before: float, after: float, day: int, weight: str = "harm/action/privacy") -> dict[str, Any]:
    return {"weight": weight, "from": before, "to": after, "reason": "r", "author": "", "date": f"2026-01-{day:02}"}


def test_every_edit_starts_where_the_one_before_it_ended(tmp_path: Path) -> None:
    weights = {"weights__harm__action__privacy": 0.4, "weights__harm__action__security_risks": 0.3}
    other = edit(0.1, 0.3, 2, "harm/action/security_risks")
    good = [edit(0.1, 0.9, 1), other, edit(0.9, 0.4, 2)]
    assert len(load_policy(written(tmp_path, **weights, edits=good)).edits) == 3
    says = r"edits\[2\] \(harm/action/privacy, 2026-01-02\) starts from 0.8, .* set 0.9"
    with pytest.raises(PolicyError, match=says) as refusal:
        load_policy(written(tmp_path, **weights, edits=[*good[:2], edit(0.8, 0.4, 2)]))
    assert "mine.yaml" in str(refusal.value)
    with pytest.raises(PolicyError, match=r"edits\[2\] \(harm/action/privacy, 2026-01-01\) is older"):
        load_policy(written(tmp_path, **weights, edits=[*good[:2], edit(0.9, 0.4, 1)]))


@pytest.mark.parametrize(
    ("update", "key"),
    [
        ({"on_missing": "allow"}, "on_missing"),
        ({"threshold": math.nan}, "threshold"),
        ({"review_band": {"below": -1.0}}, "review_band.below"),
        ({"weights": {"harm/action/privacy": 2.0}}, "weights"),
        ({"treshold": 1.0}, "treshold"),
        ({"edits": [3]}, "edits"),
    ],
)
def test_a_copy_that_breaks_the_rules_cannot_be_used(update: dict[str, Any], key: str) -> None:
    broken = load_policy("balanced").model_copy(update=update)
    with pytest.raises(PolicyError, match=f"policy balanced: {key}"):
        broken.bind(TAXONOMY)


def test_a_copy_with_a_plain_object_for_a_part_is_the_same_policy() -> None:
    bound = load_policy("balanced").model_copy(update={"review_band": {"below": 0.5, "above": 0.25}}).bind(TAXONOMY)
    assert (bound.policy.review_band.below, bound.policy.review_band.above) == (0.5, 0.25)
    assert bound.policy.hash == bound.policy.bind(TAXONOMY).policy.hash


bounds = st.floats(-5, 5) | st.sampled_from([-math.inf, math.inf, 0.0])


@given(bounds, bounds, st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.sampled_from(["review", "block"]))
def test_a_decision_needs_the_whole_interval(
    a: float, b: float, below: float, above: float, threshold: float, on_missing: str
) -> None:
    policy = Policy.model_validate(
        load_policy("wildjailbreak-v1").model_dump(by_alias=True)
        | {"threshold": threshold, "review_band": {"below": below, "above": above}, "on_missing": on_missing}
    )
    low, high = min(a, b), max(a, b)
    decision, ground = policy.bind(TAXONOMY).decide(low, high)
    if decision == "allow":
        assert high <= threshold - below
    if ground == "score_above_threshold":
        assert low > threshold + above
    if ground == "something_is_missing":
        assert decision == on_missing
    if high == math.inf:
        assert decision != "allow"


def test_a_score_on_the_threshold_is_not_harmful() -> None:
    bound = load_policy("wildjailbreak-v1").bind(TAXONOMY)
    assert bound.decide(0.0, 0.0) == ("allow", "score_not_above_threshold")
    assert bound.decide(1e-300, 1e-300) == ("block", "score_above_threshold")


def test_a_weight_given_nested_and_by_its_whole_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="harm/action/privacy is given twice"):
        load_policy(written(tmp_path, **{"weights__harm/action/privacy": 0.9}))


def test_a_hash_from_before_there_were_deployments_and_guarantees_still_holds() -> None:
    assert load_policy("wildjailbreak-v1").hash == "98e83bda8f7885ef6b68dc212e76b5e9b9ecda30eb0235025fc6b912d1e4aea8"


def test_several_changes_are_one_change() -> None:
    policy = load_policy("balanced")
    with pytest.raises(PolicyError, match=r"harm/extent/minor = 0\.9 is above harm/extent/significant = 0\."):
        policy.steered({"harm/extent/minor": 0.9}, reason="r", date=TODAY, taxonomy=TAXONOMY)
    changes = {"harm/extent/minor": 0.9, "harm/extent/significant": 0.95, "harm/extent/substantial": 0.95}
    steered = policy.steered(changes, reason="r", author="a", date=TODAY, taxonomy=TAXONOMY)
    assert [it.weight for it in steered.edits] == list(changes)
    assert {name: steered.weights[name] for name in changes} == changes


def test_groups_and_settings_are_steered_with_the_same_history() -> None:
    policy = load_policy("balanced")
    changes = {"harm/action/*": "x0.5", "harm/action/privacy": 0.4, "threshold": 0.25, "review_band/below": 0.0}
    steered = policy.steered(changes, reason="r", date=TODAY, taxonomy=TAXONOMY)
    assert len(steered.edits) == 16 + 2
    assert steered.weights["harm/action/defamation"] == policy.weights["harm/action/defamation"] * 0.5
    assert (steered.weights["harm/action/privacy"], steered.threshold) == (0.4, 0.25)
    assert (steered.review_band.below, steered.review_band.above) == (0.0, policy.review_band.above)
    assert steered.fit == policy.fit
    again = steered.steered("threshold", 0.1, reason="r", date=TODAY, taxonomy=TAXONOMY)
    assert (again.edits[-1].before, again.edits[-1].after) == (0.25, 0.1)
    assert steered.origins["threshold"].by == "edit"


@pytest.mark.parametrize(
    "changes", [{}, {"harm/extent/major": 1.0}, {"harm/action/*": "x1"}, {"harm/action/operational_misuses": 0.0}]
)
def test_what_changes_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="changes nothing"):
        load_policy("wildjailbreak-v1").steered(changes, reason="r", date=TODAY, taxonomy=TAXONOMY)


def test_a_reason_is_needed_and_time_does_not_run_backwards() -> None:
    policy = load_policy("balanced").steered("threshold", 0.1, reason="r", date=TODAY, taxonomy=TAXONOMY)
    with pytest.raises(PolicyError, match="older"):
        policy.steered("threshold", 0.2, reason="r", date=TODAY - datetime.timedelta(days=1), taxonomy=TAXONOMY)
    with pytest.raises(PolicyError, match="reason"):
        policy.steered("threshold", 0.2, reason="", date=TODAY, taxonomy=TAXONOMY)


NAMES = [name for name in load_policy("balanced").weights if not name.endswith(("/major", "/high", "/immediate"))]
SCALES = [["extent/minor", "extent/significant", "extent/substantial"], ["likelihood/low", "likelihood/medium"]]
one_change = st.dictionaries(
    st.sampled_from([*NAMES, "*", "harm/*", "harm/action/*", "benefit/extent/*", "threshold", "review_band/above"]),
    st.floats(0, 1) | st.floats(0, 1.2).map(lambda factor: f"x{factor:.6f}"),
    min_size=1,
    max_size=3,
)


@given(st.lists(one_change, min_size=1, max_size=6))
def test_whatever_is_accepted_is_in_range_in_order_and_a_chain(changes: list[dict[str, Any]]) -> None:
    start = policy = load_policy("balanced")
    for day, change in enumerate(changes, start=1):
        try:
            policy = policy.steered(change, reason="r", date=datetime.date(2026, 1, day), taxonomy=TAXONOMY)
        except PolicyError:
            continue
        assert all(0 <= value <= 1 for value in policy.weights.values())
        for kind in ("harm", "benefit"):
            for scale in SCALES:
                levels = [policy.weights[f"{kind}/{name}"] for name in scale]
                assert levels == sorted(levels)
    replayed = dict(start.weights) | {"threshold": start.threshold, "review_band/above": start.review_band.above}
    for it in policy.edits:
        assert replayed[it.weight] == it.before != it.after
        replayed[it.weight] = it.after
    assert replayed == policy.weights | {"threshold": policy.threshold, "review_band/above": policy.review_band.above}
    data = yaml.safe_load(dump_policy(policy))
    data.pop("format")
    assert Policy.model_validate(data).hash == policy.hash


@pytest.mark.parametrize(
    ("update", "is_alike"),
    [
        ({"name": "other", "description": "x", "version": "2", "fit": None}, True),
        ({"threshold": -0.0}, True),
        ({"space": {"discount": "shared"}}, True),  # matters to a fit alone
        ({"threshold": 0.1}, False),
        ({"on_missing": "block"}, False),
        ({"review_band": {"below": 0.1, "above": 0.2}}, False),
    ],
)
def test_a_fingerprint_tells_what_is_decided_by_and_nothing_else(update: dict[str, Any], is_alike: bool) -> None:
    policy = load_policy("balanced")
    bound = policy.model_copy(update=update).bind(TAXONOMY)
    assert (bound.fingerprint == policy.bind(TAXONOMY).fingerprint) == is_alike


def test_what_is_scored_by_is_a_part_of_what_is_decided_by() -> None:
    policy = load_policy("balanced")
    mine = policy.bind(TAXONOMY)
    moved = policy.model_copy(update={"threshold": 0.1, "on_missing": "block"}).bind(TAXONOMY)
    assert moved.scoring_fingerprint == mine.scoring_fingerprint
    assert moved.fingerprint != mine.fingerprint
    for other in (
        policy.bind(load_taxonomy("agents-v1")),
        policy.steered("harm/action/privacy", 0.4, reason="r", date=TODAY, taxonomy=TAXONOMY).bind(TAXONOMY),
    ):
        assert other.scoring_fingerprint != mine.scoring_fingerprint
        assert other.fingerprint != mine.fingerprint


def test_what_there_is_none_of_is_not_in_a_dump() -> None:
    policy = load_policy("balanced")
    assert not {"pins", "lineage", "calibration", "guarantee"} & policy.model_dump().keys()
    there = claimed(policy.model_copy(update={"pins": {"threshold": Pin(ceiling=1.0)}}))
    assert {"pins", "calibration", "guarantee"} <= there.model_dump().keys()
    assert Policy.model_validate(there.model_dump(by_alias=True)) == there


def test_a_fingerprint_knows_weights_and_taxonomy_and_not_the_tops_written_out() -> None:
    policy = load_policy("balanced")
    mine = policy.bind(TAXONOMY).fingerprint
    assert policy.bind(load_taxonomy("agents-v1")).fingerprint != mine
    without = {name: value for name, value in policy.weights.items() if name in NAMES}
    assert policy.model_copy(update={"weights": without}).bind(TAXONOMY).fingerprint == mine
    changed = policy.steered("harm/action/privacy", 0.4, reason="r", date=TODAY, taxonomy=TAXONOMY)
    assert changed.bind(TAXONOMY).fingerprint != mine
    back = changed.steered(
        "harm/action/privacy", policy.weights["harm/action/privacy"], reason="r", date=TODAY, taxonomy=TAXONOMY
    )
    assert back.bind(TAXONOMY).fingerprint == mine
    assert back.hash != policy.hash


@pytest.mark.parametrize(
    "space",
    [
        {"analysis": "harms"},
        {"analysis": "benefits"},
        {"action": "leaf", "effect": "group"},
        {"discount": "shared"},
    ],
)
def test_policies_over_every_space_are_steered_by_group(space: dict[str, Any]) -> None:
    from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
    from safetyanalyst.policy import weights_by_name

    found = FeatureSpace(TAXONOMY, FeatureSpaceSpec(**space))
    weights = weights_by_name(found, [0.5] * len(found.levels.names))  # type: ignore[arg-type]
    policy = Policy(name="p", space=found.spec, weights=weights)
    steered = policy.steered("*", "x0.5", reason="r", date=TODAY, taxonomy=TAXONOMY)
    assert len(steered.edits) == len(found.levels.names)
    assert set(steered.bind(TAXONOMY).levels) == {0.25}
