from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst import resources
from safetyanalyst.policy import dump_policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.version import __version__

Run = Callable[..., Any]


def changed(tmp_path: Path, source: Path, **changes: Any) -> Path:
    """A copy of a YAML file with some keys changed."""
    data = yaml.safe_load(source.read_text(encoding="utf-8")) | changes
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def test_version_and_help(sa: Run) -> None:
    assert sa("--version") == (0, f"safetyanalyst {__version__}\n", "")
    for arguments in ([], ["policy"], ["taxonomy"], *([name] for name in ("analyze", "assess", "align", "evaluate"))):
        done = sa(*arguments, "--help")
        assert done.status == 0
        assert "Usage: safetyanalyst" in done.out
        assert "\x1b" not in done.out
    assert "3 some items failed, 2 usage" in sa("--help").out
    assert sa("no-such-command").status == 2
    assert sa().status in (0, 2)


@pytest.mark.parametrize("name", resources.names("policies"))
def test_a_shipped_policy_is_shown_and_checked(sa: Run, name: str) -> None:
    policy = load_policy(name)
    shown = sa("policy", "show", name)
    assert (shown.status, shown.err) == (0, "")
    assert name in shown.out
    assert policy.hash in shown.out
    assert all(weight in shown.out for weight in policy.weights)
    (data,) = sa("policy", "show", name, "--json").lines
    assert data["hash"] == policy.hash
    assert data["weights"] == policy.weights
    checked = sa("policy", "check", name)
    assert (checked.status, checked.err) == (0, "")
    assert policy.hash in checked.out
    assert checked.out.count("\n") == 1


@pytest.mark.parametrize("name", resources.names("taxonomies"))
def test_a_shipped_taxonomy_is_shown_and_checked(sa: Run, name: str) -> None:
    taxonomy = load_taxonomy(name)
    shown = sa("taxonomy", "show", name)
    assert (shown.status, shown.err) == (0, "")
    words = " ".join(shown.out.replace("│", " ").split())
    assert taxonomy.label in words
    for category in (*taxonomy.harm_actions, *taxonomy.benefit_actions, *taxonomy.harm_effects, *taxonomy.benefit_effects):
        assert category.name in words
    (data,) = sa("taxonomy", "show", name, "--json").lines
    assert data["label"] == taxonomy.label
    assert [it["name"] for it in data["harm_actions"]] == [it.name for it in taxonomy.harm_actions]
    checked = sa("taxonomy", "check", name)
    assert (checked.status, checked.err) == (0, "")
    assert taxonomy.label in checked.out


def test_what_is_shown_by_default(sa: Run) -> None:
    assert "balanced" in sa("policy", "show").out
    assert load_taxonomy().label in sa("taxonomy", "show").out


def test_a_file_of_ones_own_is_shown_with_its_history(sa: Run, tmp_path: Path) -> None:
    edit = {
        "weight": "harm/action/privacy",
        "from": 0.1,
        "to": 0.5,
        "reason": "[b]ours\x1b[31m",
        "author": "Ada",
        "date": "2026-01-02",
    }
    data = yaml.safe_load(dump_policy(load_policy("wildjailbreak-v1")))
    data["weights"]["harm"]["action"]["privacy"] = 0.5
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data | {"name": "[red]mine", "edits": [edit]}), encoding="utf-8")
    shown = sa("policy", "show", path)
    assert shown.status == 0
    assert "[red]mine" in shown.out
    assert "\x1b" not in shown.out
    assert "2026-01-02 harm/action/privacy: 0.1 -> 0.5, [b]ours" in " ".join(shown.out.split())
    assert "Ada" in shown.out
    (as_json,) = sa("policy", "show", path, "--json").lines
    assert as_json["edits"] == [edit]
    assert as_json["hash"] == load_policy(path).hash


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"treshold": 1}, ["changed.yaml", "treshold", "did you mean 'threshold'"]),
        ({"format": "x"}, ["changed.yaml", "format", "safetyanalyst-policy/1"]),
        ({"threshold": "high"}, ["changed.yaml", "threshold", "number"]),
        ({"weights": {"harm": {"action": {"privcy": 1}}}}, ["changed.yaml", "privcy", "harm/action/privacy"]),
        ({"taxonomy": "no-such"}, ["no taxonomy named 'no-such'"]),
    ],
)
def test_a_broken_policy_is_refused_by_file_and_key(sa: Run, tmp_path: Path, changes: dict[str, Any], says: list[str]) -> None:
    path = changed(tmp_path, resources.find("policies", "wildjailbreak-v1"), **changes)
    done = sa("policy", "check", path)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert all(it in done.err for it in says), done.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"domians": []}, ["changed.yaml", "domians"]),
        ({"name": ""}, ["changed.yaml", "name"]),
        ({"extents": []}, ["changed.yaml", "extents"]),
    ],
)
def test_a_broken_taxonomy_is_refused_by_file_and_key(
    sa: Run, tmp_path: Path, changes: dict[str, Any], says: list[str]
) -> None:
    done = sa("taxonomy", "check", changed(tmp_path, resources.find("taxonomies", "safetyanalyst-v1"), **changes))
    assert (done.status, done.out) == (2, "")
    assert all(it in done.err for it in says), done.err


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize("what", ["policy", "taxonomy"])
@pytest.mark.parametrize("name", ["no-such", "no/such.yaml", "", "\x1b[31m.yaml", "x" * 5000, "broken.yaml"])
def test_what_is_not_there_is_refused(
    sa: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_bytes(b"\xff\xfe: [")
    done = sa(what, command, name)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err


def test_json_of_documents_is_one_ascii_line(sa: Run) -> None:
    for what in ("policy", "taxonomy"):
        out = sa(what, "show", "--json").out
        assert out.isascii()
        assert out.count("\n") == 1
        assert isinstance(json.loads(out), dict)
