from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safetyanalyst import resources, taxonomy
from safetyanalyst.errors import ConfigError, TaxonomyError
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy

V1 = load_taxonomy("safetyanalyst-v1")
AGENTS = load_taxonomy("agents-v1")

SMALL: dict[str, Any] = {
    "format": "safetyanalyst-taxonomy/1",
    "name": "small",
    "version": "1",
    "description": "The least that is a taxonomy.",
    "domains": [
        {
            "key": "d",
            "name": "Domain",
            "definition": "A domain.",
            "groups": [
                {
                    "key": "g",
                    "name": "Group",
                    "definition": "A group.",
                    "actions": [
                        {"number": 1, "name": "Push", "definition": "Pushing."},
                        {"number": 2, "name": "Pull", "definition": "Pulling."},
                    ],
                },
                {
                    "key": "h",
                    "name": "Other group",
                    "definition": "Another.",
                    "actions": [{"number": 3, "name": "Twist", "definition": "Twisting."}],
                },
            ],
        }
    ],
    "benefit_actions": [
        {"number": 1, "name": "Help", "definition": "Helping."},
        {"number": 2, "name": "Push", "definition": "On."},
    ],
    "effects": [
        {
            "key": "e",
            "name": "Effects",
            "definition": "All.",
            "effects": [
                {
                    "number": 1,
                    "harm": {"name": "Loss", "definition": "Losing."},
                    "benefit": {"name": "Gain", "definition": "Gaining."},
                },
                {
                    "number": 2,
                    "harm": {"name": "Mood", "definition": "Worse."},
                    "benefit": {"name": "Mood", "definition": "Better."},
                },
            ],
        }
    ],
    "extents": [{"name": "minor", "definition": "Little."}, {"name": "major", "definition": "Much."}],
    "likelihoods": [
        {"name": "low", "definition": "Rarely.", "range": [0.0, 0.5]},
        {"name": "high", "definition": "Often.", "range": [0.5, 1.0]},
    ],
    "immediacies": [{"name": "downstream", "definition": "Later."}, {"name": "immediate", "definition": "Now."}],
    "stakeholders": ["User", "Bystanders"],
}
MORE: dict[str, Any] = {
    "format": "safetyanalyst-taxonomy/1",
    "name": "more",
    "version": "2",
    "description": "More of it.",
    "extends": "small.yaml",
    "domains": [
        {"key": "d", "groups": [{"key": "g", "actions": [{"number": 10, "name": "Shove", "definition": "Shoving."}]}]},
        {
            "key": "d2",
            "name": "Second domain",
            "definition": "New.",
            "groups": [
                {
                    "key": "n",
                    "name": "New",
                    "definition": "New.",
                    "actions": [{"number": 11, "name": "Spin", "definition": "S."}],
                }
            ],
        },
    ],
    "benefit_actions": [{"number": 3, "name": "Cheer", "definition": "Cheering."}],
    "effects": [
        {
            "key": "e",
            "effects": [
                {"number": 3, "harm": {"name": "Noise", "definition": "N."}, "benefit": {"name": "Quiet", "definition": "Q."}}
            ],
        }
    ],
    "stakeholders": ["Neighbours"],
}

Change = Callable[[dict[str, Any]], object]


def written(folder: Path, content: dict[str, Any], name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False), encoding="utf-8")
    return path


def changed(content: dict[str, Any], change: Change) -> dict[str, Any]:
    content = copy.deepcopy(content)
    change(content)
    return content


# --- what ships


def test_v1_has_the_published_structure() -> None:
    assert [len(part) for part in (V1.domains, V1.action_groups, V1.harm_actions, V1.effect_groups)] == [3, 16, 45, 7]
    assert [len(part) for part in (V1.benefit_actions, V1.harm_effects, V1.benefit_effects, V1.stakeholders)] == [
        22,
        15,
        15,
        85,
    ]
    assert [action.number for action in V1.harm_actions] == list(range(1, 46))
    assert [action.number for action in V1.benefit_actions] == list(range(1, 23))
    assert [level.name for level in V1.extents] == ["minor", "significant", "substantial", "major"]
    assert [(level.name, level.low, level.high) for level in V1.likelihoods] == [
        ("low", 0.0, 0.3),
        ("medium", 0.3, 0.7),
        ("high", 0.7, 1.0),
    ]
    assert [level.name for level in V1.immediacies] == ["downstream", "immediate"]
    assert all(level.low is None and level.high is None for level in (*V1.extents, *V1.immediacies))


def test_v1_groups_hold_the_published_numbers() -> None:
    last = {group.key: 0 for group in V1.action_groups}
    last |= {action.group: action.number for action in V1.harm_actions}
    assert last == {
        "security_risks": 3,
        "operational_misuses": 6,
        "violence_extremism": 12,
        "hate_toxicity": 16,
        "sexual_content": 20,
        "child_harm": 22,
        "self_harm": 23,
        "political_usage": 27,
        "economic_harm": 31,
        "deception": 34,
        "manipulation": 36,
        "defamation": 37,
        "fundamental_rights": 38,
        "discrimination_bias": 40,
        "privacy": 42,
        "criminal_activities": 45,
    }
    last = {effect.group: effect.number for effect in V1.harm_effects}
    assert last == {
        "physical": 2,
        "psychological": 4,
        "social": 5,
        "property": 8,
        "liberty": 10,
        "collective": 13,
        "ecological": 15,
    }


def test_effects_are_mirrored() -> None:
    for harm, benefit in zip(V1.harm_effects, V1.benefit_effects, strict=True):
        assert (harm.number, harm.group) == (benefit.number, benefit.group)


@pytest.mark.parametrize(
    ("number", "wire"),
    [
        (1, "##System and Operational Risks## #Security Risks# 1. Confidentiality"),
        (14, "##Content Safety Risks## #Hate/Toxicity# 14. Hate Speech, Inciting/Promoting/Expressing hatred"),
        (34, "##Content Safety Risks## #Deception# 34. Mis/disinformation"),
        (43, "##Legal and Rights-Related Risks## #Criminal Activities# 43. Illegal/Regulated Substances"),
    ],
)
def test_published_form_of_an_action(number: int, wire: str) -> None:
    action = V1.action_numbered("harm", number)
    assert action is not None
    assert V1.published_action(action) == wire


def test_published_form_of_benefits_and_effects() -> None:
    assert V1.published_action(V1.benefit_actions[0]) == "Education and explanation"
    assert V1.harm_effects[6].numbered == "7. Financial property loss"


@pytest.mark.parametrize("shipped", [V1, AGENTS], ids=["v1", "agents"])
def test_definitions_are_sentences_and_tell_categories_apart(shipped: Taxonomy) -> None:
    parts = (
        *shipped.domains,
        *shipped.action_groups,
        *shipped.harm_actions,
        *shipped.benefit_actions,
        *shipped.effect_groups,
        *shipped.harm_effects,
        *shipped.benefit_effects,
        *shipped.extents,
        *shipped.likelihoods,
        *shipped.immediacies,
    )
    definitions = [part.definition for part in parts]
    assert len(set(definitions)) == len(definitions)
    for text in definitions:
        assert text.endswith(".")
        assert text[0].isupper()
        assert 20 < len(text) < 400


def test_neighbours_named_in_definitions_exist() -> None:
    for shipped in (V1, AGENTS):
        for action in shipped.harm_actions:
            words = action.definition.replace("under 18", "").translate(str.maketrans(",;.()", "     ")).split()
            for number in (int(word) for word in words if word.isdigit()):
                assert shipped.action_numbered("harm", number) is not None
                assert number != action.number


def test_agents_add_leaves_to_the_groups_of_v1() -> None:
    assert AGENTS.harm_actions[:45] == V1.harm_actions
    added = AGENTS.harm_actions[45:]
    assert [action.number for action in added] == list(range(46, 46 + len(added)))
    assert 6 <= len(added) <= 10
    assert AGENTS.action_groups == V1.action_groups
    assert AGENTS.harm_effects == V1.harm_effects
    assert AGENTS.extents == V1.extents
    assert AGENTS.stakeholders[:85] == V1.stakeholders
    assert len(AGENTS.stakeholders) > 85
    assert AGENTS.hash != V1.hash


def test_shipped_files_are_plain_to_read() -> None:
    for name in resources.names("taxonomies"):
        path = resources.find("taxonomies", name)
        assert max(len(line) for line in path.read_text(encoding="utf-8").splitlines()) <= 128
        assert path.stem == f"{load_taxonomy(name).name}-v{load_taxonomy(name).version}"


# --- lookups


def test_every_category_is_found_by_name_and_number() -> None:
    for kind in ("harm", "benefit"):
        for action in AGENTS.actions(kind):
            assert AGENTS.action_named(kind, action.name) is action
            assert AGENTS.action_numbered(kind, action.number) is action
        for effect in AGENTS.effects(kind):
            assert AGENTS.effect_named(kind, effect.name) is effect
            assert AGENTS.effect_numbered(kind, effect.number) is effect


@given(st.text(), st.integers())
def test_what_is_not_there_is_none(name: str, number: int) -> None:
    names = {action.name for action in V1.harm_actions}
    assert (V1.action_named("harm", name) is not None) == (name in names)
    assert (V1.group_of_action(name) is not None) == (name in names)
    assert (V1.action_numbered("harm", number) is not None) == (1 <= number <= 45)
    assert (V1.effect_numbered("benefit", number) is not None) == (1 <= number <= 15)


def test_kinds_are_kept_apart() -> None:
    assert V1.action_named("benefit", "Fraud") is None
    assert V1.effect_named("harm", "Social gains") is None
    assert V1.effect_named("benefit", "Social gains") is not None
    group = V1.group_of_action("Fraud")
    assert group is not None
    assert (group.key, group.domain) == ("deception", "content_safety")
    assert V1.group_of_action("Creative expression") is None


def test_label_and_hash() -> None:
    assert V1.label == f"safetyanalyst@1:{V1.hash[:12]}"
    assert V1.hash == resources.canonical_hash(V1.model_dump(mode="json", exclude={"hash"}))


def test_a_taxonomy_is_frozen() -> None:
    with pytest.raises(ValidationError):
        V1.name = "other"  # type: ignore[misc]


# --- files of one's own


def test_a_users_own_file_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, SMALL)
    own = load_taxonomy(path)
    assert own.label.startswith("small@1:")
    assert [(action.name, action.group) for action in own.harm_actions] == [("Push", "g"), ("Pull", "g"), ("Twist", "h")]
    monkeypatch.chdir(tmp_path)
    assert load_taxonomy("small.yaml") is own
    assert load_taxonomy("./small.yaml") is own


def test_a_taxonomy_is_read_again_when_the_file_or_its_parent_changes(tmp_path: Path) -> None:
    parent, child = written(tmp_path, SMALL), written(tmp_path, MORE, "more.yaml")
    first = load_taxonomy(child)
    assert load_taxonomy(child) is first
    written(tmp_path, changed(SMALL, lambda c: c.update(stakeholders=["User", "Passers-by"])))
    os.utime(parent, ns=(1, 1))
    second = load_taxonomy(child)
    assert "Passers-by" in second.stakeholders
    assert second.hash != first.hash
    parent.unlink()
    with pytest.raises(TaxonomyError, match="extends"):
        load_taxonomy(child)


def test_the_hash_ignores_layout(tmp_path: Path) -> None:
    plain = load_taxonomy(written(tmp_path, SMALL))
    text = yaml.safe_dump(SMALL, sort_keys=True, indent=6, width=20)  # other order of keys, other line breaks
    text = text.replace("Pushing.", "'Pushing.'   # a comment").replace("definition: All.", 'definition: "  All.\\n"')
    other = tmp_path / "other.yml"
    other.write_text("# a comment\r\n" + text.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    assert load_taxonomy(other).hash == plain.hash


def _nodes(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [leaf for key, inner in items for leaf in _nodes(inner, (*place, key))]
    return below or [place]


@pytest.mark.parametrize(
    "place", [p for p in _nodes(SMALL) if p[0] not in ("format", "immediacies") and "range" not in p], ids=str
)
def test_the_hash_follows_every_value(tmp_path: Path, place: tuple[Any, ...]) -> None:
    def change(content: dict[str, Any]) -> None:
        for part in place[:-1]:
            content = content[part]
        value = content[place[-1]]
        content[place[-1]] = f"{value}x" if isinstance(value, str) else value + 70

    first, second = written(tmp_path, SMALL), written(tmp_path, changed(SMALL, change), "changed.yaml")
    assert load_taxonomy(first).hash != load_taxonomy(second).hash


def test_the_hash_follows_ranges(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["likelihoods"][0]["range"] = [0, 0.4]
        content["likelihoods"][1]["range"] = [0.4, 1]

    second = written(tmp_path, changed(SMALL, change), "changed.yaml")
    assert load_taxonomy(written(tmp_path, SMALL)).hash != load_taxonomy(second).hash


# --- extends


def test_extending_appends_and_keeps_what_was_there(tmp_path: Path) -> None:
    parent, child = load_taxonomy(written(tmp_path, SMALL)), load_taxonomy(written(tmp_path, MORE, "more.yaml"))
    assert child.label.startswith("more@2:")
    assert child.description == "More of it."
    assert child.harm_actions[:3] == parent.harm_actions
    assert [(action.number, action.group) for action in child.harm_actions[3:]] == [(10, "g"), (11, "n")]
    assert child.published_action(child.harm_actions[3]) == "##Domain## #Group# 10. Shove"
    assert [group.key for group in child.action_groups] == ["g", "h", "n"]
    assert [domain.key for domain in child.domains] == ["d", "d2"]
    assert [effect.name for effect in child.benefit_effects] == ["Gain", "Mood", "Quiet"]
    assert child.stakeholders == ("User", "Bystanders", "Neighbours")
    assert (child.extents, child.likelihoods, child.immediacies) == (parent.extents, parent.likelihoods, parent.immediacies)


def test_extending_a_shipped_taxonomy_and_an_extension(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["extends"] = "agents-v1"
        content["domains"] = [
            {
                "key": "content_safety",
                "groups": [{"key": "deception", "actions": [{"number": 90, "name": "Bluff", "definition": "Bluffing."}]}],
            }
        ]
        content["benefit_actions"][0]["number"] = 90
        content["effects"] = []

    own = load_taxonomy(written(tmp_path, changed(MORE, change)))
    assert own.harm_actions[:-1] == AGENTS.harm_actions
    group = own.group_of_action("Bluff")
    assert group is not None
    assert group.key == "deception"


def test_a_child_that_only_has_a_name_extends_to_the_same_content(tmp_path: Path) -> None:
    head = {key: MORE[key] for key in ("format", "name", "version", "description", "extends")}
    parent, child = load_taxonomy(written(tmp_path, SMALL)), load_taxonomy(written(tmp_path, head, "head.yaml"))
    assert child.harm_actions == parent.harm_actions
    assert child.hash != parent.hash


def test_paths_of_parents_are_relative_to_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    written(tmp_path, SMALL)
    child = written(tmp_path / "sub", MORE | {"extends": "../small.yaml"}, "more.yaml")
    monkeypatch.chdir(tmp_path / "sub")
    assert load_taxonomy("more.yaml") is load_taxonomy(child)


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a.yaml": "a.yaml"}, "a.yaml -> a.yaml"),
        ({"a.yaml": "./b.yaml", "b.yaml": "c.yaml", "c.yaml": "b.yaml"}, "a.yaml -> b.yaml -> c.yaml -> b.yaml"),
    ],
)
def test_circles_are_refused(tmp_path: Path, files: dict[str, str], circle: str) -> None:
    for name, parent in files.items():
        written(tmp_path, MORE | {"extends": parent}, name)
    with pytest.raises(TaxonomyError, match=f"extend each other: {circle}") as caught:
        load_taxonomy(tmp_path / "a.yaml")
    assert caught.value.key == "extends"
    assert caught.value.file == str(tmp_path / circle.split(" -> ")[-2])


@pytest.mark.parametrize("parent", ["none.yaml", "safetyanalist-v1", "."])
def test_a_parent_that_is_not_there(tmp_path: Path, parent: str) -> None:
    path = written(tmp_path, MORE | {"extends": parent})
    with pytest.raises(TaxonomyError, match="there is no") as caught:
        load_taxonomy(path)
    assert (caught.value.file, caught.value.key) == (str(path), "extends")


# --- every error names file and key


def domain(content: dict[str, Any]) -> Any:
    return content["domains"][0]


def group(content: dict[str, Any], number: int = 0) -> Any:
    return content["domains"][0]["groups"][number]


BROKEN: list[tuple[Change, str, str]] = [
    (lambda c: c.update(format="safetyanalyst-taxonomy/2"), "format", "'safetyanalyst-taxonomy/1'"),
    (lambda c: c.pop("format"), "format", "the key is missing"),
    (lambda c: c.update(version=1), "version", "valid string"),
    (lambda c: c.update(name="a@b"), "name", "match pattern"),
    (lambda c: c.update(description="  "), "description", "the text is empty"),
    (lambda c: c.update(stakeholder=["A"]), "stakeholder", "did you mean 'stakeholders'?"),
    (lambda c: domain(c).update(groups=[]), "domains[0].groups", "what stands here is empty"),
    (lambda c: domain(c).pop("groups"), "domains[0].groups", "the key is missing"),
    (lambda c: domain(c).pop("name"), "domains[0].name", "there is no domain 'd' to add to"),
    (lambda c: domain(c).update(key="Not A Slug"), "domains[0].key", "match pattern"),
    (lambda c: group(c).update(actions=[]), "domains[0].groups[0].actions", "what stands here is empty"),
    (lambda c: group(c).update(action=1), "domains[0].groups[0].action", "did you mean 'actions'?"),
    (lambda c: group(c).pop("definition"), "domains[0].groups[0].definition", "there is no action group 'g' to add to"),
    (lambda c: group(c).update(key="h"), "domains[0].groups[1].key", "'h' is taken by domains[0].groups[0].key"),
    (lambda c: group(c, 1).update(name="GROUP"), "domains[0].groups[1].name", "'GROUP' is taken by domains[0].groups[0].name"),
    (lambda c: group(c)["actions"][1].update(number=1), "domains[0].groups[0].actions[1].number", "1 is taken by"),
    (lambda c: group(c, 1)["actions"][0].update(number=2), "domains[0].groups[1].actions[0].number", "2 is taken by"),
    (lambda c: group(c, 1)["actions"][0].update(name="push!"), "domains[0].groups[1].actions[0].name", "'push!' is taken by"),
    (lambda c: group(c)["actions"][0].update(number=0), "domains[0].groups[0].actions[0].number", "greater than or equal to 1"),
    (lambda c: group(c)["actions"][0].update(number=True), "domains[0].groups[0].actions[0].number", "valid integer"),
    (lambda c: group(c)["actions"][0].update(number="1"), "domains[0].groups[0].actions[0].number", "valid integer"),
    (lambda c: group(c)["actions"][0].update(definition=""), "domains[0].groups[0].actions[0].definition", "the text is empty"),
    (lambda c: group(c)["actions"][0].pop("definition"), "domains[0].groups[0].actions[0].definition", "the key is missing"),
    (
        lambda c: group(c)["actions"][0].update(name="a | b"),
        "domains[0].groups[0].actions[0].name",
        "cannot be written in a tree",
    ),
    (
        lambda c: group(c)["actions"][0].update(name="a\nb"),
        "domains[0].groups[0].actions[0].name",
        "cannot be written in a tree",
    ),
    (lambda c: group(c)["actions"][0].update(name=" a"), "domains[0].groups[0].actions[0].name", "cannot be written in a tree"),
    (lambda c: group(c)["actions"][0].update(name="..."), "domains[0].groups[0].actions[0].name", "needs a letter or a digit"),
    (
        lambda c: c["benefit_actions"][1].update(name="Help"),
        "benefit_actions[1].name",
        "'Help' is taken by benefit_actions[0].name",
    ),
    (
        lambda c: c["benefit_actions"][1].update(number=1),
        "benefit_actions[1].number",
        "1 is taken by benefit_actions[0].number",
    ),
    (lambda c: c["effects"][0]["effects"][1].pop("benefit"), "effects[0].effects[1].benefit", "the key is missing"),
    (lambda c: c["effects"][0]["effects"][1].pop("harm"), "effects[0].effects[1].harm", "the key is missing"),
    (lambda c: c["effects"][0]["effects"][1].update(number=1), "effects[0].effects[1].number", "1 is taken by"),
    (
        lambda c: c["effects"][0]["effects"][1]["harm"].update(name="loss"),
        "effects[0].effects[1].harm.name",
        "'loss' is taken by",
    ),
    (
        lambda c: c["effects"][0]["effects"][1]["benefit"].update(name="Gain"),
        "effects[0].effects[1].benefit.name",
        "'Gain' is taken",
    ),
    (lambda c: c["effects"][0].update(effects=[]), "effects[0].effects", "what stands here is empty"),
    (lambda c: c["effects"].append(dict(c["effects"][0])), "effects[1].key", "'e' is taken by effects[0].key"),
    (lambda c: c["extents"][1].update(name="minor"), "extents[1].name", "'minor' is taken by extents[0].name"),
    (lambda c: c["extents"][1].update(range=[0, 1]), "extents[1].range", "there is no key 'range' here"),
    (lambda c: c["likelihoods"][1].pop("range"), "likelihoods[1].range", "the key is missing"),
    (lambda c: c["likelihoods"][1].update(range=[0.5, 1.5]), "likelihoods[1].range[1]", "less than or equal to 1"),
    (lambda c: c["likelihoods"][1].update(range=[0.6, 1]), "likelihoods", "the range of high has to start at 0.5"),
    (lambda c: c["likelihoods"][1].update(range=[0.5, 0.5]), "likelihoods", "the range of high has to start at 0.5"),
    (lambda c: c["likelihoods"][1].update(range=[0.5, 0.9]), "likelihoods", "has to end at 1.0"),
    (lambda c: c["likelihoods"][0].update(range=[0.1, 0.5]), "likelihoods", "the range of low has to start at 0.0"),
    (lambda c: c["likelihoods"].reverse(), "likelihoods", "the range of high has to start at 0.0"),
    (lambda c: c["immediacies"].reverse(), "immediacies", "trees know exactly the levels downstream and immediate"),
    (lambda c: c["immediacies"].pop(), "immediacies", "trees know exactly the levels downstream and immediate"),
    (lambda c: c["stakeholders"].append("user"), "stakeholders[2]", "'user' is taken by stakeholders[0]"),
    (lambda c: c["stakeholders"].append(""), "stakeholders[2]", "needs a letter or a digit"),
    *(
        (lambda c, key=key: c.pop(key), key, "the key is missing or empty")
        for key in ("domains", "benefit_actions", "effects", "extents", "likelihoods", "immediacies", "stakeholders")
    ),
    *(
        (lambda c, key=key: c.update({key: []}), key, "the key is missing or empty")
        for key in ("domains", "benefit_actions", "effects", "extents", "likelihoods", "immediacies", "stakeholders")
    ),
]


@pytest.mark.parametrize(("change", "key", "problem"), BROKEN, ids=[f"{key}: {problem}" for _, key, problem in BROKEN])
def test_a_broken_file_is_refused_by_file_and_key(tmp_path: Path, change: Change, key: str, problem: str) -> None:
    path = written(tmp_path, changed(SMALL, change))
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(path)
    assert (caught.value.file, caught.value.key) == (str(path), key)
    assert problem in str(caught.value)


BROKEN_CHILDREN: list[tuple[Change, str, str]] = [
    (lambda c: domain(c).update(name="Domain"), "domains[0].name", "the domain 'd' cannot be redefined"),
    (lambda c: domain(c).update(definition="Other."), "domains[0].definition", "the domain 'd' cannot be redefined"),
    (lambda c: group(c).update(definition="Other."), "domains[0].groups[0].definition", "'g' cannot be redefined"),
    (lambda c: group(c).update(key="gg"), "domains[0].groups[0].name", "there is no action group 'gg' to add to"),
    (lambda c: c["domains"][1]["groups"].append(dict(group(c), key="h")), "domains[1].groups[1].key", "another domain"),
    (
        lambda c: group(c)["actions"][0].update(number=3),
        "domains[0].groups[0].actions[0].number",
        "actions[0].number in small.yaml",
    ),
    (lambda c: group(c)["actions"][0].update(name="Twist"), "domains[0].groups[0].actions[0].name", "'Twist' is taken"),
    (lambda c: c["domains"][1].update(name="Domain"), "domains[1].name", "'Domain' is taken by domains[0].name in small.yaml"),
    (lambda c: c["effects"][0].update(name="Effects"), "effects[0].name", "the effect group 'e' cannot be redefined"),
    (lambda c: c["effects"][0]["effects"][0].update(number=2), "effects[0].effects[0].number", "2 is taken by"),
    (lambda c: c.update(extents=SMALL["extents"]), "extents", "the scale cannot be redefined"),
    (lambda c: c.update(likelihoods=SMALL["likelihoods"]), "likelihoods", "the scale cannot be redefined"),
    (lambda c: c.update(immediacies=SMALL["immediacies"]), "immediacies", "the scale cannot be redefined"),
    (
        lambda c: c["stakeholders"].append("Bystanders"),
        "stakeholders[1]",
        "'Bystanders' is taken by stakeholders[1] in small.yaml",
    ),
]


@pytest.mark.parametrize(("change", "key", "problem"), BROKEN_CHILDREN, ids=[f"{key}: {p}" for _, key, p in BROKEN_CHILDREN])
def test_a_child_that_redefines_is_refused(tmp_path: Path, change: Change, key: str, problem: str) -> None:
    written(tmp_path, SMALL)
    path = written(tmp_path, changed(MORE, change), "more.yaml")
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(path)
    assert (caught.value.file, caught.value.key) == (str(path), key)
    assert problem in str(caught.value)


def test_an_error_in_the_parent_names_the_parent(tmp_path: Path) -> None:
    parent = written(tmp_path, changed(SMALL, lambda c: c["extents"][0].update(definition="")))
    child = written(tmp_path, MORE, "more.yaml")
    with pytest.raises(TaxonomyError) as caught:
        load_taxonomy(child)
    assert (caught.value.file, caught.value.key) == (str(parent), "extents[0].definition")


def test_duplicate_yaml_keys_and_broken_yaml_are_taxonomy_errors(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    path.write_text(path.read_text() + "name: twice\n")
    with pytest.raises(TaxonomyError, match="the key appears twice, first on line 2") as caught:
        load_taxonomy(path)
    assert (caught.value.file, caught.value.key) == (str(path), "name")
    path.write_text("a: [\n")
    with pytest.raises(TaxonomyError, match=r"small\.yaml: line"):
        load_taxonomy(path)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(TaxonomyError, match=r"no taxonomy named 'agent-v1'.*agents-v1, safetyanalyst-v1.*mean 'agents-v1'\?"):
        load_taxonomy("agent-v1")


@given(data=st.data())
def test_no_mutation_of_a_file_leads_to_anything_but_a_taxonomy_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(_nodes(SMALL)))
    place = place[: data.draw(st.integers(1, len(place)))]
    value = data.draw(
        st.sampled_from([None, 0, -1.5, True, "", "x", [], ["x"], {}, {"x": 1}, float("nan"), [[]], "User", "a#b"])
    )
    content: Any = copy.deepcopy(SMALL)
    inner = content
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content))))
    taxonomy._loaded.pop(path.resolve(), None)
    try:
        loaded = load_taxonomy(path)
    except ConfigError as exc:
        refused = exc
    else:
        assert len(loaded.harm_effects) == len(loaded.benefit_effects) > 0
        return
    assert refused.key or "mapping" in str(refused)
    assert refused.file == str(path)
