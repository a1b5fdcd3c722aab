from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst import resources
from safetyanalyst.bootstrap import Bootstrap, bootstrap_path, load_bootstrap, save_bootstrap
from safetyanalyst.policy import FORMAT, BootstrapFacts, dump_policy, load_policy

Run = Callable[..., Any]
PRIVACY = "harm/action/privacy"


BALANCED = load_policy("balanced")


def steer(sa: Run, policy: str | Path, out: Path, *settings: str, **options: str) -> Any:
    sets = [part for setting in settings for part in ("--set", setting)]
    more = [part for key, value in options.items() for part in (f"--{key}", value)]
    reason = [] if "reason" in options else ["--reason", "for a test"]
    return sa("policy", "steer", policy, *sets, *reason, *more, "--out", out)


def test_a_shipped_policy_is_steered_into_a_file_of_ones_own(sa: Run, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    done = steer(sa, "balanced", out, f"{PRIVACY}=0.4", "harm/extent/* = x0.5", author="Ada", date="2026-03-04")
    assert (done.status, done.err) == (0, "")
    policy = load_policy(out)
    assert f"{PRIVACY}      {BALANCED.weights[PRIVACY]:.6g} -> 0.4\n" in done.out
    assert done.out.endswith(f"mine: 4 new edits, hash {policy.hash}\n")
    assert policy.weights[PRIVACY] == 0.4
    assert {(edit.author, edit.date, edit.reason) for edit in policy.edits} == {
        ("Ada", datetime.date(2026, 3, 4), "for a test")
    }
    assert policy.name == "mine"
    assert sa("policy", "check", out).status == 0


def test_ones_own_file_is_steered_in_place_and_keeps_its_mode_name_and_link(sa: Run, tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    assert steer(sa, "balanced", real, f"{PRIVACY}=0.4", name="house").status == 0
    real.chmod(0o640)
    link.symlink_to(real)
    before = load_policy(real)
    done = sa("policy", "steer", link, "--set", "threshold=-0.5", "--reason", "r", "--out", link, "--json")
    (facts,) = done.lines
    after = load_policy(real)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert (facts["policy"], facts["hash"], facts["from_hash"]) == ("house", after.hash, before.hash)
    assert [(it["weight"], it["from"], it["to"]) for it in facts["edits"]] == [("threshold", 0.0, -0.5)]
    assert after.edits[:-1] == before.edits
    assert after.edits[-1].date == datetime.datetime.now().date()
    assert sorted(it.name for it in tmp_path.iterdir()) == ["link.yaml", "real.bootstrap.json", "real.yaml"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([f"{PRIVACY}=1.2"], [PRIVACY, "1.2", "less than or equal to 1"]),
        ([f"{PRIVACY}=-0.1"], [PRIVACY, "-0.1"]),
        (["harm/action/*=x2"], ["harm/action/security_risks", "scaled by 2.0"]),
        (["harm/action/privcy=0.4"], ["harm/action/privcy", "such as harm/action/privacy"]),
        (["harm/acton/*=0.4"], ["harm/acton/*", "such as harm/action/*"]),
        (["harm/extent/minor=0.9"], ["harm/extent/minor = 0.9", "harm/extent/significant = 0."]),
        (["harm/extent/major=0.9"], ["harm/extent/major", "fixed"]),
        ([f"{PRIVACY}=nan"], [PRIVACY, "neither a number"]),
        ([f"{PRIVACY}=\x1b[31m"], [PRIVACY, "neither a number"]),
        ([f"{PRIVACY}={BALANCED.weights[PRIVACY]!r}"], ["changes nothing"]),
        ([PRIVACY], ["NAME=VALUE"]),
        (["=0.4"], ["NAME=VALUE"]),
        ([f"{PRIVACY}=0.4", f"{PRIVACY}=0.5"], ["set twice"]),
        (["on_missing=block"], ["on_missing is no number"]),
    ],
)
def test_what_would_break_the_policy_is_refused_and_nothing_is_written(
    sa: Run, tmp_path: Path, settings: list[str], says: list[str]
) -> None:
    done = steer(sa, "balanced", tmp_path / "mine.yaml", *settings)
    assert (done.status, done.out) == (2, "")
    assert all(it in " ".join(done.err.replace("│", " ").split()) for it in says), done.err
    assert "\x1b" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_reason_is_not_blank(sa: Run, tmp_path: Path) -> None:
    done = steer(sa, "balanced", tmp_path / "mine.yaml", f"{PRIVACY}=0.4", reason="  ")
    assert done.status == 2
    assert "reason" in done.err


def test_nothing_but_ones_own_policy_is_overwritten(sa: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text("mine: true\n", encoding="utf-8")
    assert steer(sa, "balanced", notes, f"{PRIVACY}=0.4").status == 2
    assert notes.read_text(encoding="utf-8") == "mine: true\n"
    shipped = resources.find("policies", "strict")
    content = shipped.read_bytes()
    for out in (shipped, tmp_path / "link.yaml"):
        if out != shipped:
            out.symlink_to(shipped)
        done = steer(sa, "balanced", out, f"{PRIVACY}=0.4")
        assert (done.status, shipped.read_bytes()) == (2, content)
        assert "ships with the package" in done.err
    monkeypatch.chdir(tmp_path)
    assert "expected a folder" in steer(sa, "balanced", Path("no/such.yaml"), f"{PRIVACY}=0.4").err
    assert steer(sa, "balanced", tmp_path, f"{PRIVACY}=0.4").status == 2


def test_a_deployment_is_steered_shown_and_checked(sa: Run, tmp_path: Path) -> None:
    house = {
        "format": FORMAT, "name": "house\x1b[31m", "extends": "balanced", "weights": {"harm/action/*": "x0.5"},
        "pins": {"threshold": {"ceiling": 0.0, "reason": "[b]agreed\x1b"}},
    }  # fmt: skip
    kids = {"format": FORMAT, "name": "kids", "extends": {"policy": "house.yaml"}, "on_missing": "block"}
    for name, data in (("house", house), ("kids", kids)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    path = tmp_path / "kids.yaml"
    assert "above the ceiling 0.0" in steer(sa, path, path, "threshold=0.1").err
    assert steer(sa, path, path, f"{PRIVACY}=0.4").status == 0
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["extends"] == "house.yaml"
    checked = sa("policy", "check", path)
    assert checked.status == 0
    assert r"balanced > house\u001b[31m > kids, the parent followed, 1 values within pins" in checked.out
    shown = sa("policy", "show", path)
    words = " ".join(shown.out.split())
    assert "\x1b" not in shown.out
    assert f"{PRIVACY} 0.4000 ███ kids: edit of" in words
    assert f"harm/action/*: x0.5 (from {BALANCED.weights['harm/action/defamation']:.4g})" in words
    assert "[b]agreed" in words
    (data,) = sa("policy", "show", path, "--json").lines
    balanced = load_policy("balanced")
    assert data["origins"]["harm/extent/minor"]["policy"] == "balanced"
    assert data["origins"]["harm/extent/minor"]["hash"] == balanced.hash
    assert data["origins"][PRIVACY]["hash"] == data["hash"] == load_policy(path).hash
    assert data["extends"] == {"policy": "house.yaml", "hash": None}
    assert [pin["weight"] for pin in data["pins_in_force"]] == ["threshold"]
    (tmp_path / "house.yaml").write_text(yaml.safe_dump(house | {"weights": {}}), encoding="utf-8")
    stale = sa("policy", "check", path)
    assert (stale.status, stale.err.count("\n")) == (0, 1)
    assert f"the edit of {PRIVACY}" in stale.err
    assert f"which is now {BALANCED.weights[PRIVACY]!r}" in stale.err


def test_a_deployment_decides_like_any_policy(sa: Run, tmp_path: Path) -> None:
    row = '{"id": "1", "harm": ["Customers | 29 | 7i4h"], "benefit": []}\n'
    (tmp_path / "trees.jsonl").write_text(row, encoding="utf-8")
    mine = {"format": FORMAT, "name": "mine", "extends": "balanced", "weights": {"harm/action/*": "x0.5"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(mine), encoding="utf-8")
    before, after = (
        sa("assess", tmp_path / "trees.jsonl", "--policy", it, "--json").lines[0] for it in ("balanced", path)
    )  # fmt: skip
    assert after["score"] == pytest.approx(before["score"] * 0.5, rel=1e-15)
    assert after["policy"] == {"name": "mine", "hash": load_policy(path).hash}


def test_replicates_of_a_fit_go_with_the_policy(sa: Run, tmp_path: Path) -> None:
    replicates = Bootstrap(weights={PRIVACY: (0.1, 0.2)}, rows=3, seed=0)
    policy = load_policy("balanced")
    assert policy.fit is not None
    facts = BootstrapFacts(replicates=2, seed=0, intervals={}, hash=replicates.hash)
    fit = policy.fit.model_copy(update={"bootstrap": facts})
    path, out = tmp_path / "aligned.yaml", tmp_path / "mine.yaml"
    path.write_text(dump_policy(policy.model_copy(update={"fit": fit, "name": "aligned"})), encoding="utf-8")
    save_bootstrap(replicates, path)
    assert steer(sa, path, out, f"{PRIVACY}=0.4").status == 0
    assert load_bootstrap(out, load_policy(out)) == replicates
    bootstrap_path(path).write_text("{}", encoding="utf-8")
    assert "unknown format" in steer(sa, path, tmp_path / "more.yaml", f"{PRIVACY}=0.4").err
    assert not (tmp_path / "more.yaml").exists()
    os.unlink(bootstrap_path(path))  # the policy was handed on alone
    done = steer(sa, path, tmp_path / "more.yaml", f"{PRIVACY}=0.4")
    assert done.status == 0
    assert "without its bootstrap replicates" in done.err
    assert not bootstrap_path(tmp_path / "more.yaml").exists()


def test_fingerprints_tell_policies_that_decide_alike(sa: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    policy = load_policy("balanced")
    copy.write_text(dump_policy(policy.model_copy(update={"name": "copy", "fit": None})), encoding="utf-8")
    lines = sa("policy", "fingerprint", "balanced", "strict", copy, "--json").lines
    assert [it["policy"] for it in lines] == ["balanced", "strict", str(copy)]
    assert lines[0]["hash"] == policy.hash != lines[2]["hash"]
    assert lines[0]["decides"] == lines[2]["decides"] != lines[1]["decides"]
    out = sa("policy", "fingerprint", "balanced", "strict", copy).out
    assert all(it["hash"] in out and it["decides"] in out for it in lines)
    assert out.endswith(f"decide alike: balanced, {copy}\n")
    assert "alike" not in sa("policy", "fingerprint", "balanced", "strict").out
    broken = sa("policy", "fingerprint", "balanced", tmp_path / "no.yaml")
    assert broken.status == 2


def test_what_a_base_pins_holds_for_what_is_aligned_from_it(sa: Run, tmp_path: Path) -> None:
    rows = [
        '{"id": "1", "label": 1, "harm": ["Customers | 29 | 7i4h"], "benefit": []}',
        '{"id": "2", "label": 0, "harm": ["Customers | 32 | 7i4h"], "benefit": []}',
    ]
    (tmp_path / "labelled.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    base = {"format": FORMAT, "name": "base", "extends": "balanced", "pins": {"harm/action/*": {"floor": 0.05}}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    out = tmp_path / "out.yaml"
    command = ("align", tmp_path / "labelled.jsonl", "--out", out, "--starts", "1")
    assert sa(*command).status == 0
    assert min(v for name, v in load_policy(out).weights.items() if name.startswith("harm/action/")) < 0.05
    assert sa(*command, "--base", tmp_path / "base.yaml").status == 0
    aligned = load_policy(out)
    assert min(v for name, v in aligned.weights.items() if name.startswith("harm/action/")) >= 0.05
    assert aligned.fit is not None
    assert aligned.fit.constraints is not None
    assert aligned.fit.constraints.floors["harm/action/privacy"] == 0.05
    refused = sa(*command, "--base", tmp_path / "base.yaml", "--ceiling", "harm/action/privacy=0.01")
    assert (refused.status, load_policy(out).hash) == (2, aligned.hash)


def test_a_deployment_is_begun_by_steering(sa: Run, tmp_path: Path) -> None:
    out = tmp_path / "kids.yaml"
    done = sa("policy", "steer", "balanced", "--set", f"{PRIVACY}=0.9", "--reason", "r", "--extend", "--out", out)
    assert (done.status, done.err) == (0, "")
    data = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert data.keys() == {"format", "name", "version", "extends", "edits"}
    assert data["extends"] == {"policy": "balanced", "hash": load_policy("balanced").hash}
    assert "balanced > kids, the parent pinned by hash" in sa("policy", "check", out).out
    again = sa("policy", "steer", out, "--set", f"{PRIVACY}=0.8", "--reason", "r", "--extend", "--out", out)
    assert again.status == 2
    assert "cannot replace it" in again.err


def test_a_file_name_that_is_no_text_gives_a_policy_that_can_be_read(sa: Run, tmp_path: Path) -> None:
    out = tmp_path / "mine\udcff.yaml"
    for more in ([], ["--extend"]):
        done = sa("policy", "steer", "balanced", "--set", f"{PRIVACY}=0.4", "--reason", "r", "--out", out, *more)
        assert (done.status, done.err) == (0, "")
        assert load_policy(out).name == "mine\\udcff"
        assert load_policy(out).hash in done.out
