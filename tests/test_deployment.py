from __future__ import annotations

import datetime
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from safetyanalyst import resources
from safetyanalyst.deployment import Deployment, Origin, stale_edits
from safetyanalyst.errors import PolicyError
from safetyanalyst.pins import Pin
from safetyanalyst.policy import FORMAT, MAX_ANCESTORS, Policy, dump_deployment, dump_policy, load_policy, read_policy, resolve
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import claimed

TAXONOMY = load_taxonomy()
BALANCED = load_policy("balanced")
DAY = datetime.date(2026, 1, 2)
PRIVACY, CHILD, MINOR = "harm/action/privacy", "harm/action/child_harm", "harm/extent/minor"


def write(folder: Path, stem: str, **content: Any) -> Path:
    path = folder / f"{stem}.yaml"
    data = {"format": FORMAT, "name": stem, "extends": "balanced"} | content
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def edit(weight: str, before: float, after: float, day: int = 2) -> dict[str, Any]:
    return {"weight": weight, "from": before, "to": after, "reason": "r", "author": "a", "date": f"2026-01-{day:02}"}


# --- what comes out


def test_a_deployment_that_says_nothing_is_its_parent_by_another_name(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, "mine"))
    assert (policy.weights, policy.threshold, policy.review_band) == (BALANCED.weights, 0.0, BALANCED.review_band)
    assert (policy.name, policy.fit, policy.edits) == ("mine", None, ())
    assert policy.hash != BALANCED.hash
    assert policy.bind(TAXONOMY).fingerprint == BALANCED.bind(TAXONOMY).fingerprint


def test_settings_are_overridden_one_by_one(tmp_path: Path) -> None:
    content = {"threshold": -0.5, "review_band": {"above": 0.3}, "on_missing": "block", "version": "7", "description": "d"}
    policy = load_policy(write(tmp_path, "mine", **content))
    assert (policy.threshold, policy.on_missing, policy.version, policy.description) == (-0.5, "block", "7", "d")
    assert (policy.review_band.below, policy.review_band.above) == (BALANCED.review_band.below, 0.3)


# Every row says one thing more than the row above; the last that speaks of the weight counts. This is docs/policies.md.
GROUPS = {"*": "x0.9", "harm/*": "x0.8", "harm/action/*": "x0.7"}
PRECEDENCE: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    ({}, {}, 0.6),
    ({"weights": {"*": "x0.9"}}, {}, 0.6 * 0.9),
    ({"weights": {"*": "x0.9", "harm/*": "x0.8"}}, {}, 0.6 * 0.8),
    ({"weights": GROUPS}, {}, 0.6 * 0.7),
    ({"weights": GROUPS | {PRIVACY: "x0.5"}}, {}, 0.6 * 0.5),
    ({"weights": GROUPS | {PRIVACY: "x0.5"}, "edits": [edit(PRIVACY, 0.3, 0.25)]}, {}, 0.25),
    ({"weights": GROUPS | {PRIVACY: "x0.5"}, "edits": [edit(PRIVACY, 0.3, 0.25)]}, {"weights": {"*": "x0.4"}}, 0.25 * 0.4),
    ({"edits": [edit(PRIVACY, 0.6, 0.25)]}, {"weights": {"*": "x0.4", PRIVACY: 0.9}}, 0.9),
    (
        {"edits": [edit(PRIVACY, 0.6, 0.25)]},
        {"weights": {PRIVACY: 0.9}, "edits": [edit(PRIVACY, 0.9, 0.8), edit(PRIVACY, 0.8, 0.7)]},
        0.7,
    ),
]


@pytest.mark.parametrize(("parent", "child", "value"), PRECEDENCE)
def test_precedence(tmp_path: Path, parent: dict[str, Any], child: dict[str, Any], value: float) -> None:
    root = BALANCED.model_copy(update={"name": "root", "weights": BALANCED.weights | {PRIVACY: 0.6}})
    (tmp_path / "root.yaml").write_text(dump_policy(root), encoding="utf-8")
    write(tmp_path, "parent", extends="root.yaml", **parent)
    assert load_policy(write(tmp_path, "child", extends="parent.yaml", **child)).weights[PRIVACY] == value


def test_the_order_of_keys_in_a_file_does_not_matter() -> None:
    overrides = {"*": "x0.9", "harm/*": "x0.8", "harm/action/*": 0.3, PRIVACY: "x0.5"}
    orders = itertools.permutations(overrides.items())
    found = {
        resolve(Deployment(name="d", extends="balanced", weights=dict(order)), BALANCED, TAXONOMY).hash  # type: ignore[arg-type]
        for order in orders
    }
    assert len(found) == 1


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path, "house", weights={"harm/action/*": "x0.5", CHILD: 0.9}, threshold=-0.1)
    before = load_policy(tmp_path / "house.yaml").weights[PRIVACY]
    path = write(tmp_path, "kids", extends="house.yaml", weights={MINOR: 0.1}, edits=[edit(PRIVACY, before, 0.8)])
    policy = load_policy(path)
    was = BALANCED.weights
    assert policy.lineage is not None
    assert [it.name for it in policy.lineage.ancestors] == ["balanced", "house"]
    assert [it.hash for it in policy.lineage.ancestors] == [BALANCED.hash, load_policy(tmp_path / "house.yaml").hash]
    origins = policy.origins
    assert origins["harm/extent/significant"] == Origin(
        policy="balanced", by="file", value=was["harm/extent/significant"]
    )  # fmt: skip
    assert origins["harm/action/defamation"] == Origin(
        policy="house", by="override", rule="harm/action/*: x0.5",
        before=was["harm/action/defamation"], value=was["harm/action/defamation"] * 0.5,
    )  # fmt: skip
    assert origins[CHILD] == Origin(policy="house", by="override", rule=f"{CHILD}: 0.9", before=was[CHILD], value=0.9)
    assert origins[MINOR] == Origin(policy="kids", by="override", rule=f"{MINOR}: 0.1", before=was[MINOR], value=0.1)
    assert origins[PRIVACY] == Origin(policy="kids", by="edit", rule="2026-01-02: r", before=before, value=0.8)
    assert origins["threshold"] == Origin(policy="house", by="override", rule="threshold: -0.1", before=0.0, value=-0.1)
    assert origins["on_missing"].policy == origins["review_band/above"].policy == "balanced"
    assert origins.keys() == policy.weights.keys() | {"threshold", "review_band/below", "review_band/above", "on_missing"}


def test_an_edit_of_an_ancestor_stays_its_own(tmp_path: Path) -> None:
    write(tmp_path, "house", edits=[edit(PRIVACY, BALANCED.weights[PRIVACY], 0.2)])
    origin = load_policy(write(tmp_path, "kids", extends="house.yaml")).origins[PRIVACY]
    assert (origin.policy, origin.by, origin.value) == ("house", "edit", 0.2)


def test_a_value_changed_in_a_copy_is_the_copys_own() -> None:
    policy = resolve(Deployment(name="d", extends="balanced", threshold=-0.2), BALANCED, TAXONOMY)  # type: ignore[arg-type]
    copy = policy.model_copy(update={"weights": policy.weights | {PRIVACY: 0.1}, "threshold": 0.3, "name": "copy"})
    copy.bind(TAXONOMY)
    assert copy.origins[PRIVACY] == Origin(policy="copy", by="file", value=0.1)
    assert copy.origins["threshold"] == Origin(policy="copy", by="file", value=0.3)
    assert copy.origins[CHILD].policy == "balanced"


# --- files


def test_a_resolved_policy_survives_writing_without_its_ancestors(tmp_path: Path) -> None:
    write(tmp_path, "house", weights={"harm/action/*": "x0.5"}, pins={PRIVACY: {"ceiling": 0.5, "reason": "r"}})
    path = write(tmp_path, "kids", extends="house.yaml", pins={"harm": {"action": {"privacy": {"floor": 0.1}}}})
    policy = load_policy(path)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "kids.yaml").write_text(dump_policy(policy), encoding="utf-8")
    again = read_policy(alone / "kids.yaml")
    assert (again.policy, again.policy.hash, again.deployment) == (policy, policy.hash, None)
    assert again.policy.origins == policy.origins
    assert again.bind().bounds == read_policy(path).bind().bounds
    with pytest.raises(PolicyError, match=r"above the ceiling 0.5 that the policy 'house' pins"):
        again.policy.steered(PRIVACY, 0.6, reason="r", date=DAY, taxonomy=TAXONOMY)
    grandchild = load_policy(write(alone, "grandchild", extends="kids.yaml"))  # what is written out can be extended
    assert grandchild.lineage is not None
    assert [it.name for it in grandchild.lineage.ancestors] == ["balanced", "house", "kids"]


def test_a_deployment_survives_writing(tmp_path: Path) -> None:
    content = {
        "extends": {"policy": "balanced", "hash": BALANCED.hash},
        "weights": {"harm": {"action": {"*": "x0.5", "privacy": 0.4}}, "benefit/relative_weight": 1},
        "pins": {"harm": {"action": {"*": {"ceiling": 0.9}}}, "on_missing": {"floor": "block"}},
        "on_missing": "block",
        "edits": [edit(PRIVACY, 0.4, 0.3)],
    }
    file = read_policy(write(tmp_path, "mine", **content))
    assert file.deployment is not None
    assert file.deployment.pins == {"harm/action/*": Pin(ceiling=0.9), "on_missing": Pin(floor="block")}
    (tmp_path / "again.yaml").write_text(dump_deployment(file.deployment), encoding="utf-8")
    again = read_policy(tmp_path / "again.yaml")
    assert again.deployment == file.deployment
    assert again.policy.hash == file.policy.hash
    assert "x0.5" in dump_deployment(file.deployment)


def test_parents_are_found_beside_the_child_and_never_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apps").mkdir()
    write(tmp_path, "house", threshold=-0.5)
    path = write(tmp_path / "apps", "kids", extends="../house.yaml")
    assert load_policy(path).threshold == -0.5
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError) as refusal:
        load_policy(write(tmp_path / "apps", "lost", extends="house.yaml"))
    assert (refusal.value.file, refusal.value.key) == (str(tmp_path / "apps/lost.yaml"), "extends")


def test_a_shipped_name_is_not_shadowed_by_a_file(tmp_path: Path) -> None:
    root = BALANCED.model_copy(update={"name": "other", "threshold": 0.7})
    (tmp_path / "balanced.yaml").write_text(dump_policy(root), encoding="utf-8")
    assert load_policy(write(tmp_path, "mine")).threshold == 0.0
    assert load_policy(write(tmp_path, "mine", extends="./balanced.yaml")).threshold == 0.7


def test_a_taxonomy_is_looked_for_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org").mkdir()
    shutil.copy(resources.find("taxonomies", "safetyanalyst-v1"), tmp_path / "org/ours.yaml")
    root = BALANCED.model_copy(update={"name": "root", "taxonomy": "ours.yaml"})
    (tmp_path / "org/root.yaml").write_text(dump_policy(root), encoding="utf-8")
    path = write(tmp_path, "mine", extends="org/root.yaml", weights={"harm/extent/*": "x0.5"})
    assert read_policy(path).taxonomy() == TAXONOMY
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/ours.yaml").write_text("broken", encoding="utf-8")
    assert read_policy(path).bind().fingerprint == read_policy(os.path.relpath(path)).bind().fingerprint
    (tmp_path / "org/ours.yaml").rename(tmp_path / "elsewhere/ours.yaml")  # then the working directory
    assert read_policy(path).taxonomy() == TAXONOMY


@pytest.mark.parametrize(
    ("content", "key", "says"),
    [
        ({"extends": "balancd"}, "extends", "did you mean 'balanced'"),
        ({"extends": "no/such.yaml"}, "extends", "no such policy file"),
        ({"extends": 3}, "extends", "found 3"),
        ({"extends": {"policy": "balanced", "hash": "ab"}}, "extends.hash", "ab"),
        ({"extends": {"policy": "balanced", "hash": "0" * 64}}, "extends.hash", "has changed since"),
        ({"name": "balanced"}, "name", "an ancestor is called 'balanced' too"),
        ({"space": {"analysis": "benefits"}}, "", "`space` is the parent's"),
        ({"taxonomy": "agents-v1"}, "", "`taxonomy` is the parent's"),
        ({"fit": None}, "", "`fit` is the parent's"),
        ({"guarantee": None}, "", "`guarantee` is the parent's"),
        ({"treshold": 1.0}, "treshold", "threshold"),
        ({"weights": {"harm": {"action": {"privcy": 0.5}}}}, "weights", "harm/action/privacy"),
        ({"weights": {"harm/acton/*": 0.5}}, "weights", "harm/action/*"),
        ({"weights": {PRIVACY: "0.5"}}, "weights", "neither a number nor a factor"),
        ({"weights": {PRIVACY: True}}, "weights", "neither a number nor a factor"),
        ({"weights": {PRIVACY: 1.5}}, f"weights.{PRIVACY}", "1.5"),
        ({"weights": {PRIVACY: "x2"}}, f"weights.{PRIVACY}", "scaled by 2.0"),
        ({"weights": {"threshold": 0.5}}, "weights", "key of its own"),
        ({"weights": {PRIVACY: 0.5, "harm": {"action": {"privacy": 0.5}}}}, "weights", "given twice"),
        ({"weights": {"harm/extent/major": 0.5}}, "weights.harm/extent/major", "fixed"),
        ({"weights": {MINOR: 0.7}}, f"weights.{MINOR}", "harm/extent/significant"),
        ({"edits": [edit("harm/action/privcy", 0.5, 0.6)]}, "weights.harm/action/privcy", "harm/action/privacy"),
        ({"edits": [edit("harm/extent/major", 1.0, 0.6)]}, "weights.harm/extent/major", "fixed"),
        ({"pins": {PRIVACY: {}}}, "", "neither floor nor ceiling"),
        ({"pins": {PRIVACY: {"floor": 0.9, "ceiling": 0.1}}}, "", "floor 0.9 above its ceiling 0.1"),
        ({"pins": {PRIVACY: {"floor": 1.5}}}, "", "outside [0, 1]"),
        ({"pins": {PRIVACY: {"floor": "block"}}}, "", "is a number"),
        ({"pins": {"on_missing": {"floor": 0.5}}}, "", "floor: block"),
        ({"pins": {"harm/action/p*": {"floor": 0.0}}}, "", "no group"),
        ({"pins": {"harm/action/privcy": {"floor": 0.0}}}, "pins", "harm/action/privacy"),
        ({"pins": {"harm/extent/major": {"floor": 0.0}}}, "pins.harm/extent/major", "fixed"),
        ({"pins": {PRIVACY: {"flor": 0.0}}}, f"pins.{PRIVACY}.flor", "did you mean 'floor'"),
        ({"pins": {PRIVACY: {"ceiling": 0.1}}}, f"weights.{PRIVACY}", "above the ceiling 0.1 that the policy 'mine' pins"),
    ],
)
def test_a_broken_deployment_is_refused_by_file_key_and_expectation(
    tmp_path: Path, content: dict[str, Any], key: str, says: str
) -> None:
    path = write(tmp_path, "mine", **content)
    with pytest.raises(PolicyError) as refusal:
        load_policy(path)
    assert refusal.value.file == str(path)
    assert (refusal.value.key or "").startswith(key)
    assert says in str(refusal.value)


def test_a_broken_parent_is_named_as_the_broken_file(tmp_path: Path) -> None:
    write(tmp_path, "house", weights={MINOR: 0.9})
    with pytest.raises(PolicyError) as refusal:
        load_policy(write(tmp_path, "kids", extends="house.yaml"))
    assert refusal.value.file == str(tmp_path / "house.yaml")


def test_policies_do_not_extend_each_other(tmp_path: Path) -> None:
    for name, parent in (("a", "b.yaml"), ("b", "./c.yaml"), ("c", "a.yaml"), ("me", "me.yaml")):
        write(tmp_path, name, extends=parent)
    with pytest.raises(PolicyError, match=r"extend each other: a.yaml -> b.yaml -> c.yaml -> a.yaml"):
        load_policy(tmp_path / "a.yaml")
    with pytest.raises(PolicyError, match=r"extend each other: me.yaml -> me.yaml"):
        load_policy(tmp_path / "me.yaml")


def test_a_line_has_an_end(tmp_path: Path) -> None:
    write(tmp_path, "p0")
    for i in range(1, MAX_ANCESTORS + 1):
        write(tmp_path, f"p{i}", extends=f"p{i - 1}.yaml")
    lineage = load_policy(tmp_path / f"p{MAX_ANCESTORS - 1}.yaml").lineage
    assert lineage is not None
    assert len(lineage.ancestors) == MAX_ANCESTORS
    with pytest.raises(PolicyError, match="too long"):
        load_policy(tmp_path / f"p{MAX_ANCESTORS}.yaml")


def test_a_changed_parent_is_refused_where_its_hash_is_written_and_followed_where_it_is_not(tmp_path: Path) -> None:
    house = write(tmp_path, "house", weights={PRIVACY: 0.4})
    pinned = write(tmp_path, "pinned", extends={"policy": "house.yaml", "hash": load_policy(house).hash})
    follows = write(tmp_path, "follows", extends="house.yaml", edits=[edit(PRIVACY, 0.4, 0.6), edit(PRIVACY, 0.6, 0.7)])
    assert load_policy(pinned).weights[PRIVACY] == 0.4
    before = load_policy(follows)
    assert stale_edits(before) == ()
    write(tmp_path, "house", weights={PRIVACY: 0.5})
    with pytest.raises(PolicyError, match=r"extends.hash: the policy 'house' has changed .* look at the change"):
        load_policy(pinned)
    after = load_policy(follows)
    assert after.weights[PRIVACY] == 0.7
    assert after.hash != before.hash
    assert stale_edits(after) == (f"the edit of {PRIVACY} on 2026-01-02 was made from 0.4, which is now 0.5",)


def test_the_hash_of_the_parent_in_the_file_is_no_part_of_the_resolved_hash(tmp_path: Path) -> None:
    follows = load_policy(write(tmp_path, "mine")).hash
    assert load_policy(write(tmp_path, "mine", extends={"policy": "balanced", "hash": BALANCED.hash})).hash == follows


def test_the_hash_covers_the_lineage(tmp_path: Path) -> None:
    for name, description in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "house", description=description)
    one, two = (load_policy(write(tmp_path / name, "kids", extends="house.yaml")) for name in ("one", "two"))
    assert one.weights == two.weights
    assert one.hash != two.hash
    assert one.bind(TAXONOMY).fingerprint == two.bind(TAXONOMY).fingerprint


# --- pins


def test_a_pin_holds_through_the_whole_line(tmp_path: Path) -> None:
    write(tmp_path, "house", weights={CHILD: 0.9}, pins={CHILD: {"floor": 0.8, "reason": "the law"}})
    write(tmp_path, "app", extends="house.yaml")
    path = write(tmp_path, "kids", extends="app.yaml", weights={"harm/action/*": "x0.5"})
    with pytest.raises(PolicyError) as refusal:
        load_policy(path)
    said = str(refusal.value)
    assert said.startswith(f"{path}: weights.{CHILD}: {CHILD} = 0.45 is below the floor 0.8 that the policy 'house' pins")
    assert "the law" in said
    assert "at least 0.8" in said


@pytest.mark.parametrize(
    ("pin", "content", "is_fine"),
    [
        ({"threshold": {"ceiling": 0.0}}, {"threshold": 0.0}, True),
        ({"threshold": {"ceiling": 0.0}}, {"threshold": 0.1}, False),
        ({"review_band/below": {"floor": 0.05}}, {"review_band": {"below": 0.05}}, True),
        ({"review_band/below": {"floor": 0.05}}, {"review_band": {"below": 0.0}}, False),
        ({"on_missing": {"floor": "block"}}, {"on_missing": "block"}, True),
        ({"on_missing": {"floor": "block"}}, {"on_missing": "review"}, False),
        ({"harm/extent/*": {"ceiling": 0.9}}, {"weights": {"harm/extent/*": "x0.9"}}, True),  # the top, 1, is no matter
        ({"harm/extent/*": {"ceiling": 0.9}}, {"weights": {"harm/extent/substantial": 0.95}}, False),
        ({"*": {"floor": 0.0}}, {"weights": {"*": 0}}, True),
    ],
)
def test_settings_and_groups_can_be_pinned(tmp_path: Path, pin: dict[str, Any], content: dict[str, Any], is_fine: bool) -> None:
    write(tmp_path, "house", on_missing="block", pins=pin)
    path = write(tmp_path, "kids", extends="house.yaml", **content)
    if is_fine:
        load_policy(path)
    else:
        with pytest.raises(PolicyError, match="that the policy 'house' pins"):
            load_policy(path)


@pytest.mark.parametrize(
    ("theirs", "ours", "is_fine"),
    [
        ({CHILD: {"floor": 0.1}}, {CHILD: {"floor": 0.1}}, True),
        ({CHILD: {"floor": 0.1}}, {CHILD: {"floor": 0.14}}, True),
        ({CHILD: {"floor": 0.1}}, {CHILD: {"floor": 0.05}}, False),
        ({CHILD: {"ceiling": 0.5}}, {CHILD: {"ceiling": 0.6}}, False),
        ({CHILD: {"ceiling": 0.5}}, {CHILD: {"floor": 0.1}}, True),
        ({"harm/action/*": {"floor": 0.02}}, {CHILD: {"floor": 0.01}}, False),
        ({"harm/extent/*": {"ceiling": 0.95}}, {"harm/extent/minor": {"ceiling": 0.96}}, False),
        ({CHILD: {"floor": 0.2}}, {"harm/action/*": {"floor": 0.01}}, True),  # looser in part: the tightest counts
    ],
)
def test_children_only_tighten(tmp_path: Path, theirs: dict[str, Any], ours: dict[str, Any], is_fine: bool) -> None:
    write(tmp_path, "house", pins=theirs)
    path = write(tmp_path, "kids", extends="house.yaml", pins=ours)
    if not is_fine:
        with pytest.raises(PolicyError, match=r"looser than .*, which the policy 'house' pins"):
            load_policy(path)
        return
    found = read_policy(path).bind().bounds[CHILD]
    floors = [pin["floor"] for pins in (theirs, ours) for pin in pins.values() if "floor" in pin]
    assert found.floor == max([0.0, *floors])


def test_a_root_keeps_its_own_pins() -> None:
    data = BALANCED.model_dump(by_alias=True)
    Policy.model_validate(data | {"pins": {PRIVACY: {"floor": 0.5}}}).bind(TAXONOMY)
    with pytest.raises(PolicyError, match=r"policy balanced: weights.harm/action/privacy: .* below the floor 0.6"):
        Policy.model_validate(data | {"pins": {PRIVACY: {"floor": 0.6}}}).bind(TAXONOMY)


# --- laws


FREE = [name for name in BALANCED.weights if not name.endswith(("/major", "/high", "/immediate"))]
CHAINS = [
    [f"{kind}/{scale}/{level}" for level in levels]
    for kind in ("harm", "benefit")
    for scale, levels in (
        ("extent", ("minor", "significant", "substantial", "major")),
        ("likelihood", ("low", "medium", "high")),
    )
]
keys = st.sampled_from([*FREE, "*", "harm/*", "harm/action/*", "benefit/*", "harm/extent/*", "benefit/likelihood/*"])
values = st.floats(0, 1) | st.floats(0, 1.3).map(lambda factor: f"x{factor:.6f}")
overrides = st.dictionaries(keys, values, max_size=4)
lows, highs = st.floats(0, 0.3), st.floats(0.7, 1)
ends = st.tuples(lows, highs) | st.tuples(lows, st.none()) | st.tuples(st.none(), highs)
pins = st.dictionaries(keys, ends.map(lambda it: {"floor": it[0], "ceiling": it[1]}), max_size=2)


def covers(key: str, name: str) -> bool:
    return key == name or (key.endswith("*") and name.startswith(key[:-1]))


def by_hand(overrides: dict[str, Any], weights: dict[str, float]) -> dict[str, float]:
    """The rule of the documentation, told once more: for every weight the longest key that covers it."""
    found = dict(weights)
    for name in FREE:
        if covering := [key for key in overrides if covers(key, name)]:
            rule = overrides[name] if name in covering else overrides[max(covering, key=len)]
            found[name] = weights[name] * float(rule[1:]) if isinstance(rule, str) else rule
    return found


@given(st.lists(st.tuples(overrides, pins), min_size=3, max_size=3))
def test_a_chain_of_three_is_what_the_rules_say_and_crosses_no_pin(levels: list[tuple[Any, Any]]) -> None:
    policy, weights, all_pins, n_resolved = BALANCED, dict(BALANCED.weights), [], 0
    for i, (changes, bounds) in enumerate(levels):
        weights = by_hand(changes, weights)
        all_pins += list(bounds.items())
        is_fine = all(0 <= value <= 1 for value in weights.values())
        is_fine &= all(weights[a] <= weights[b] for chain in CHAINS for a, b in itertools.pairwise(chain))
        is_within = all(
            (pin["floor"] is None or weights[name] >= pin["floor"])
            and (pin["ceiling"] is None or weights[name] <= pin["ceiling"])
            for key, pin in all_pins
            for name in FREE
            if covers(key, name)
        )
        deployment = Deployment.model_validate({"name": f"p{i}", "extends": "x", "weights": changes, "pins": bounds})
        try:
            policy = resolve(deployment, policy, TAXONOMY)
        except PolicyError as error:
            assert not (is_fine and is_within) or "looser" in error.problem  # noqa: PT017
            break
        n_resolved += 1
        assert is_fine
        assert is_within
        assert policy.weights == weights
        assert all(policy.origins[name].value == value for name, value in weights.items())
    assume(n_resolved)
    parsed = yaml.safe_load(dump_policy(policy))
    assert parsed.pop("format") == FORMAT
    assert Policy.model_validate(parsed).hash == policy.hash


# --- what the parent claims


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ({}, ("calibration", "guarantee")),
        ({"weights": {"*": "x1", PRIVACY: "x1"}, "pins": {CHILD: {"floor": 0.1}}}, ("calibration", "guarantee")),
        ({"threshold": 0.25}, ("calibration",)),
        ({"review_band": {"above": 7.0}}, ("calibration",)),
        ({"on_missing": "block"}, ("calibration",)),
        ({"weights": {PRIVACY: "x0.5"}}, ()),
        ({"edits": [edit(PRIVACY, BALANCED.weights[PRIVACY], 0.25)]}, ()),
    ],
    ids=str,
)  # fmt: skip
def test_a_deployment_has_what_its_parent_claims_only_as_far_as_it_holds(
    tmp_path: Path, content: dict[str, Any], kept: tuple[str, ...]
) -> None:
    parent = claimed(BALANCED.model_copy(update={"name": "root"}))
    (tmp_path / "root.yaml").write_text(dump_policy(parent), encoding="utf-8")
    assert load_policy(tmp_path / "root.yaml") == parent
    file = read_policy(write(tmp_path, "mine", extends="root.yaml", **content))
    policy = file.policy
    for claim in ("calibration", "guarantee"):
        assert getattr(policy, claim) == (getattr(parent, claim) if claim in kept else None)
    assert file.bind().lapsed == ()
    assert set(file.not_inherited) == {"calibration", "guarantee"} - set(kept)
    assert (file.bind().calibration is not None) == ("calibration" in kept)
    again = read_policy(write(tmp_path, "again", extends="mine.yaml"))
    assert (again.policy.calibration, again.policy.guarantee) == (policy.calibration, policy.guarantee)
    whole = tmp_path / "whole.yaml"
    whole.write_text(dump_policy(policy), encoding="utf-8")
    assert load_policy(whole) == policy
    assert load_policy(whole).hash == policy.hash


def test_what_lapsed_in_the_parent_is_not_inherited_and_holds_where_the_change_is_undone(tmp_path: Path) -> None:
    was = BALANCED.weights[PRIVACY]
    steered = claimed(BALANCED.model_copy(update={"name": "root"})).steered(
        PRIVACY, 0.25, reason="r", date=DAY, taxonomy=TAXONOMY
    )  # fmt: skip
    assert steered.bind(TAXONOMY).lapsed == ("calibration", "guarantee")
    (tmp_path / "root.yaml").write_text(dump_policy(steered), encoding="utf-8")
    child = load_policy(write(tmp_path, "child", extends="root.yaml"))
    assert (child.calibration, child.guarantee) == (None, None)
    undone = load_policy(write(tmp_path, "undone", extends="root.yaml", weights={PRIVACY: was}))
    assert (undone.calibration, undone.guarantee) == (steered.calibration, steered.guarantee)
