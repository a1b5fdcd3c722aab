from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst import resources
from safetyanalyst.errors import PolicyError
from safetyanalyst.policy import FORMAT, dump_policy, load_policy, read_policy
from safetyanalyst.steering import extend_file, steer_file
from safetyanalyst.taxonomy import load_taxonomy

DAY = datetime.date(2026, 1, 2)
PRIVACY = "harm/action/privacy"


@pytest.fixture
def org(tmp_path: Path) -> Path:
    """A root with a taxonomy of its own in `org/`, and a deployment of it in `apps/`."""
    for name in ("org", "apps", "out/deep"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(resources.find("taxonomies", "safetyanalyst-v1"), tmp_path / "org/ours.yaml")
    root = load_policy("balanced").model_copy(update={"name": "root", "taxonomy": "ours.yaml"})
    (tmp_path / "org/root.yaml").write_text(dump_policy(root), encoding="utf-8")
    kids = {"format": FORMAT, "name": "kids", "extends": "../org/root.yaml", "weights": {"harm/action/*": "x0.5"}}
    (tmp_path / "apps/kids.yaml").write_text(yaml.safe_dump(kids), encoding="utf-8")
    return tmp_path


def steer(path: Path, out: Path, changes: dict[str, Any], **more: Any) -> Any:
    steered = steer_file(read_policy(path), changes, reason="r", author="a", date=DAY, out=out, **more)
    out.write_text(steered.text, encoding="utf-8")
    assert load_policy(out) == steered.policy
    assert load_policy(out).hash == steered.policy.hash
    read_policy(out).bind()
    return steered


def test_a_deployment_stays_one_and_keeps_what_it_says(org: Path) -> None:
    path = org / "apps/kids.yaml"
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    steered = steer(path, path, {PRIVACY: 0.4, "threshold": -0.1})
    after = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert after.keys() - before.keys() == {"edits", "version"}
    assert after["extends"] == before["extends"]
    assert after["weights"] == {"harm": {"action": {"*": "x0.5"}}}
    assert [edit["weight"] for edit in after["edits"]] == [PRIVACY, "threshold"]
    assert steered.policy.origins[PRIVACY].by == "edit"
    more = steer(path, path, {PRIVACY: 0.3})
    assert [edit.before for edit in more.edits] == [0.4]
    assert len(more.policy.edits) == 3


@pytest.mark.parametrize("out", ["apps/new.yaml", "out/deep/new.yaml", "org/new.yaml", "new.yaml"])
@pytest.mark.parametrize("source", ["apps/kids.yaml", "org/root.yaml"])
def test_paths_in_a_file_still_lead_where_they_led(org: Path, source: str, out: str) -> None:
    steered = steer(org / source, org / out, {PRIVACY: 0.4}, name="new")
    assert steered.policy.name == "new"
    assert read_policy(org / out).taxonomy() == load_taxonomy()
    assert read_policy(org / out).line[-1].policy.name == ("root" if source.startswith("apps") else "new")


def test_absolute_paths_and_shipped_names_stay_as_they_are(org: Path) -> None:
    for extends in ("balanced", str(org / "org/root.yaml")):
        path = org / "apps/kids.yaml"
        path.write_text(yaml.safe_dump({"format": FORMAT, "name": "kids", "extends": extends}), encoding="utf-8")
        steered = steer(path, org / "out/deep/kids.yaml", {PRIVACY: 0.4})
        assert yaml.safe_load(steered.text)["extends"] == extends


def test_a_policy_never_replaces_one_that_it_extends(org: Path) -> None:
    with pytest.raises(PolicyError, match="what extends 'root' cannot replace it"):
        steer(org / "apps/kids.yaml", org / "org/root.yaml", {PRIVACY: 0.4})


def test_refusals_name_the_file(org: Path) -> None:
    path = org / "apps/kids.yaml"
    for change in ({PRIVACY: 2}, {"harm/extent/minor": 0.9}, {"nothing": 0.5}):
        with pytest.raises(PolicyError) as refusal:
            steer(path, path, change)
        assert refusal.value.file == str(path)


@pytest.mark.parametrize("parent", ["balanced", "apps/kids.yaml", "org/root.yaml"])
@pytest.mark.parametrize("out", ["apps/new.yaml", "out/deep/new.yaml"])
def test_a_new_deployment_holds_the_edits_and_its_parents_hash(org: Path, parent: str, out: str) -> None:
    file = read_policy(parent if parent == "balanced" else org / parent)
    made = extend_file(file, {PRIVACY: 0.4}, reason="r", date=DAY, out=org / out, name="new")
    (org / out).write_text(made.text, encoding="utf-8")
    read = read_policy(org / out)
    assert read.policy == made.policy
    assert read.deployment is not None
    assert read.deployment.extends.hash == file.policy.hash
    assert (read.deployment.weights, read.policy.edits, made.edits) == ({}, made.edits, read.deployment.edits)
    assert read.policy.weights == file.policy.weights | {PRIVACY: 0.4}
    assert read.line[1].path.samefile(file.path)
    assert (read.deployment.extends.policy == "balanced") == (parent == "balanced")


def test_a_new_deployment_neither_replaces_nor_is_called_like_its_parent(org: Path) -> None:
    path = org / "org/root.yaml"
    with pytest.raises(PolicyError, match="cannot replace it"):
        extend_file(read_policy(path), {PRIVACY: 0.4}, reason="r", date=DAY, out=path, name="new")
    with pytest.raises(PolicyError, match="called 'root' too"):
        extend_file(read_policy(path), {PRIVACY: 0.4}, reason="r", date=DAY, out=org / "new.yaml", name="root")
