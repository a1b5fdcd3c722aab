from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from safetyanalyst import resources
from safetyanalyst.bootstrap import Bootstrap, save_bootstrap
from safetyanalyst.policy import BootstrapFacts, ReviewBand, dump_policy, load_policy
from tests.scripted import HOSTILE_NAME

Run = Callable[..., Any]
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "explanation.schema.json").read_text(encoding="utf-8"))
CHECKER = jsonschema.Draft202012Validator(SCHEMA)
ROWS: list[dict[str, Any]] = [
    {"id": "fence", "harm": ["Landlords | 45: climbing over | 6i1m"], "benefit": ["User | B19: a ball back | 9i1h"]},
    {"id": "torn", "harm": ["Landlords | 45 | 6i?m", "? x2"], "benefit": []},
    {"id": "fraud", "harm": ["Customers | 32 | 7i4m 3i2h", "Companies | 41 | 7d3m 5i2l"], "benefit": ["User | B2 | 2i3h"]},
    {"id": "empty", "harm": [], "benefit": []},
    {"id": "bare", "harm": None, "benefit": None},
]  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "stored.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_every_line_fits_the_schema_and_says_what_assess_says(sa: Run, stored: Path) -> None:
    stored.write_text(stored.read_text(encoding="utf-8") + "rubbish\n", encoding="utf-8")
    done, assessed = sa("explain", stored, "--json"), sa("assess", stored, "--json")
    assert done.status == assessed.status == 3
    for mine, other in zip(done.lines, assessed.lines, strict=True):
        CHECKER.validate(mine)
        assert (mine["id"], mine["decision"]) == (other["id"], other["decision"])
        assert mine.get("contributions") == other.get("contributions")
    assert all(line["stability"]["replicates"] == 200 for line in done.lines[:-1])  # those of the shipped policy
    without = sa("explain", stored, "--policy", "wildjailbreak-v1", "--json")
    assert all(line["stability"] is None for line in without.lines[:-1])


def test_analyses_of_our_own_are_read(sa: Run, config: str, prompts: Any, tmp_path: Path) -> None:
    first = sa(
        "analyze", "--file", prompts("arson", "bread", "unsure", "mallory arson", "gossip"), "--config", config, "--json"
    )
    path = tmp_path / "analyses.jsonl"
    path.write_text(first.out, encoding="utf-8")
    done = sa("explain", path, "--policy", "wildjailbreak-v1", "--json")
    assert done.status == 0
    assert [line["decision"] for line in done.lines] == [line["decision"] for line in first.lines]
    shown = sa("explain", path)
    assert HOSTILE_NAME not in shown.out
    assert "\x1b" not in shown.out + sa("explain", path, "--quiet").out


def test_only_the_ids_that_are_asked_for(sa: Run, stored: Path) -> None:
    done = sa("explain", stored, "--id", "fraud", "--id", "fence", "--json")
    assert (done.status, [line["id"] for line in done.lines]) == (0, ["fence", "fraud"])
    wrong = sa("explain", stored, "--id", "frau", "--id", "fence", "--json")
    assert (wrong.status, wrong.out) == (2, "")
    assert "no scenario 'frau'" in wrong.err
    assert "'fraud'" in wrong.err


def test_the_wanted_decision(sa: Run, stored: Path) -> None:
    done = sa("explain", stored, "--id", "fraud", "--to", "allow", "--json")
    assert [line["target"] for line in done.lines] == ["allow"]
    assert done.lines[0]["change"]["sparse"]["decision"] == "allow"
    wrong = sa("explain", stored, "--to", "perhaps")
    assert wrong.status == 2
    assert "perhaps" in wrong.err
    assert "review" in wrong.err


def test_a_proposed_change_written_down_flips(sa: Run, stored: Path, tmp_path: Path) -> None:
    (line,) = sa("explain", stored, "--id", "fraud", "--json").lines
    policy = load_policy("balanced")
    for way in ("sparse", "least_squares"):
        for value in ("after", "rounded"):
            changed = {it["weight"]: it[value] for it in line["change"][way]["changes"]}
            path = tmp_path / "other.yaml"
            path.write_text(dump_policy(policy.model_copy(update={"weights": policy.weights | changed})), encoding="utf-8")
            done = sa("assess", stored, "--policy", path, "--json")
            assert [it["decision"] for it in done.lines if it["id"] == "fraud"] == [line["target"]]


def test_the_bootstrap_of_a_policy(sa: Run, stored: Path, tmp_path: Path) -> None:
    policy = load_policy("balanced")
    halved = [name for name in policy.weights if name.startswith("harm/action") or name == "benefit/relative_weight"]
    replicates = {name: (value, value / (1 + (name in halved)), 0.0) for name, value in policy.weights.items()}
    bootstrap = Bootstrap(weights=replicates, rows=10, seed=0)
    assert policy.fit is not None
    facts = BootstrapFacts(replicates=3, seed=0, intervals={}, hash=bootstrap.hash)
    fit = policy.fit.model_copy(update={"bootstrap": facts})
    mine = policy.model_copy(update={"fit": fit, "review_band": ReviewBand(below=0.1, above=0.1)})
    path = tmp_path / "mine.yaml"
    path.write_text(dump_policy(mine), encoding="utf-8")
    save_bootstrap(bootstrap, path)
    done = sa("explain", stored, "--policy", path, "--id", "fraud", "--json")
    assert done.lines[0]["stability"]["replicates"] == 3
    assert done.lines[0]["stability"]["agreement"] == pytest.approx(2 / 3)
    assert "3 bootstrap replicates of the policy: 33% review, 67% block" in sa("explain", stored, "--policy", path).out


def test_a_deployment_uses_the_replicates_of_the_policy_that_it_extends(sa: Run, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "child.yaml"
    path.write_text("format: safetyanalyst-policy/1\nname: child\nextends: balanced\n", encoding="utf-8")
    child, parent = (sa("explain", stored, "--policy", it, "--id", "fraud", "--json") for it in (path, "balanced"))
    assert child.lines[0]["stability"] == parent.lines[0]["stability"]
    assert child.lines[0]["stability"]["policy"] == "balanced"
    assert "200 bootstrap replicates of balanced, which the policy extends: " in sa("explain", stored, "--policy", path).out


def test_a_policy_that_travelled_without_its_replicates(sa: Run, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "alone.yaml"
    path.write_text(dump_policy(load_policy("balanced")), encoding="utf-8")
    done = sa("explain", stored, "--policy", path, "--id", "fraud", "--json")
    assert done.status == 0
    assert done.lines[0]["stability"] is None
    assert "alone.bootstrap.json is not there" in done.err


def test_a_taxonomy_beside_the_policy_is_found(sa: Run, stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "own.yaml").write_text(resources.find("taxonomies", "safetyanalyst-v1").read_text(encoding="utf-8"), "utf-8")
    policy = load_policy("wildjailbreak-v1").model_copy(update={"taxonomy": "own.yaml"})
    (folder / "policy.yaml").write_text(dump_policy(policy), encoding="utf-8")
    done = sa("explain", stored, "--policy", folder / "policy.yaml", "--id", "fraud", "--json")
    assert (done.status, len(done.lines)) == (0, 1)


def test_no_scenario_and_no_file(sa: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    assert sa("explain", empty).status == 2
    assert sa("explain", empty, "--id", "x").status == 2
    assert sa("explain", tmp_path / "none.jsonl").status == 2


def test_analyses_that_another_policy_decided_are_told_of(sa: Run, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "analyses.jsonl"
    path.write_text(sa("assess", stored, "--policy", "strict", "--json").out, encoding="utf-8")
    strict = load_policy("strict")
    for command in (["explain"], ["report", "--html", str(tmp_path / "r.html")]):
        told = sa(command[0], path, *command[1:]).err
        assert f"were decided under strict ({strict.hash[:8]}); what is shown is decided by balanced" in told
        assert "decided under" not in sa(command[0], path, *command[1:], "--policy", "strict").err


def test_what_is_shown(sa: Run, stored: Path) -> None:
    done = sa("explain", stored)
    assert done.status == 3
    words = [
        "Margin", "by stakeholder", "One weight alone", "harm/action/deception",
        "The smallest change of weights that makes it review",
        "least sum of squares", "The smallest set of effects", "200 bootstrap replicates of the policy: ",
        "[Reason] Blocked: the score is", "[Verdict] UNSAFE", "No weights within range, bounds and order lead there",
    ]  # fmt: skip
    assert [word for word in words if word not in done.out] == []
    assert "not known: there are no bootstrap replicates" in sa("explain", stored, "--policy", "wildjailbreak-v1").out
    quiet = sa("explain", stored, "--quiet")
    assert len(quiet.out.splitlines()) == len(ROWS)
