from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn import metrics as reference

from safetyanalyst.bootstrap import load_bootstrap
from safetyanalyst.features import slug
from safetyanalyst.policy import load_policy
from safetyanalyst.taxonomy import load_taxonomy
from tests.pipelines.test_align import labelled_rows

Run = Callable[..., Any]


def written(tmp_path: Path, rows: list[Any], name: str = "labelled.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_align_writes_a_policy_that_assess_can_use(sa: Run, tmp_path: Path) -> None:
    rows = labelled_rows(80)
    path, out = written(tmp_path, rows), tmp_path / "mine.yaml"
    done = sa("align", path, "--out", out, "--base", "wildjailbreak-v1", "--starts", "2", "--json")
    assert (done.status, done.err) == (0, "")
    (report,) = done.lines
    policy = load_policy(out)
    assert report == {"policy": "mine", "hash": policy.hash, "fit": json.loads(policy.model_dump_json())["fit"]}
    assert report["fit"]["rows"] == 80
    assessed = sa("assess", path, "--policy", out, "--json")
    assert assessed.status == 0
    assert assessed.lines[0]["policy"] == {"name": "mine", "hash": policy.hash}
    decided = [int(line["decision"] == "block") for line in assessed.lines]
    assert reference.accuracy_score([row["label"] for row in rows], decided) > 0.8
    losses = [
        reference.log_loss([row["label"]], [1 / (1 + 2.718281828459045 ** -line["score"])], labels=[0, 1])
        for row, line in zip(rows, assessed.lines, strict=True)
    ]
    assert sum(losses) / len(losses) == pytest.approx(report["fit"]["loss"], abs=1e-9)
    assert sa("policy", "check", out).status == 0
    again = sa("align", path, "--out", tmp_path / "more.yaml", "--base", out, "--name", "better", "--starts", "1")
    assert again.status == 0
    assert "better" in again.out
    assert "aligned to 80 rows of labelled.jsonl" in " ".join(again.out.split())


def test_align_takes_our_own_analyses_with_a_label(sa: Run, config: str, prompts: Any, tmp_path: Path) -> None:
    analyses = sa("analyze", "--file", prompts(*["arson", "bread"] * 5, "unsure"), "--config", config, "--json").lines
    rows = [line | {"label": int(line["decision"] != "allow")} for line in analyses]
    done = sa("align", written(tmp_path, rows), "--out", tmp_path / "p.yaml", "--starts", "1", "--json")
    assert done.status == 0
    assert (done.lines[0]["fit"]["rows"], done.lines[0]["fit"]["rows_left_out"]) == (10, 1)


def test_align_names_the_lines_it_could_not_read(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [*labelled_rows(20), "rubbish", {"tree": [], "label": "\x1b[31myes"}])
    done = sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "1")
    assert done.status == 3
    assert f"{path}:21: " in done.err
    assert f"{path}:22: label is" in done.err
    assert "\x1b" not in done.err
    assert load_policy(tmp_path / "p.yaml").fit is not None


@pytest.mark.parametrize(
    ("rows", "arguments", "says"),
    [
        ([], [], "no labelled rows"),
        (["rubbish"], [], "no labelled rows"),
        ("one class", [], "both classes"),
        ("good", ["--base", "no-such"], "no policy named 'no-such'"),
        ("good", ["--starts", "0"], "--starts"),
        ("good", ["--out", "{folder}/no/such/folder.yaml"], "No such file or directory"),
        ("good", ["--out", "{folder}"], "Is a directory"),
    ],
)
def test_mistakes_of_the_caller_of_align(sa: Run, tmp_path: Path, rows: Any, arguments: list[str], says: str) -> None:
    known = {"good": labelled_rows(12), "one class": [row | {"label": 1} for row in labelled_rows(4)]}
    path = written(tmp_path, known[rows] if isinstance(rows, str) else rows)
    out = tmp_path / "p.yaml"
    given = ["--out", str(out), "--starts", "1", *(it.format(folder=tmp_path) for it in arguments)]
    done = sa("align", path, *given)
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.replace("│", " ").split())
    assert not out.exists()


def test_align_replaces_a_policy_and_nothing_else(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(40))
    before = path.read_bytes()
    refused = sa("align", path, "--out", path, "--starts", 1)
    assert (refused.status, path.read_bytes()) == (2, before)
    other = tmp_path / "notes.yaml"
    other.write_text("mine: true\n", encoding="utf-8")
    assert sa("align", path, "--out", other, "--starts", 1).status == 2
    assert other.read_text(encoding="utf-8") == "mine: true\n"
    out = tmp_path / "policy.yaml"
    assert [sa("align", path, "--out", out, "--starts", 1).status for _ in range(2)] == [0, 0]


def communities(n: int = 40) -> list[dict[str, Any]]:
    rows = labelled_rows(2 * n + 4)
    names = ["clinic"] * n + ["Open Lab"] * n + ["\x1b[31mfew"] * 4
    return [row | {"who": who, "pair": i // 2, "w": 1 + i % 3} for i, (row, who) in enumerate(zip(rows, names, strict=True))]


def test_align_takes_everything_at_once_and_the_policy_says_so(sa: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path, communities()), tmp_path / "mine.yaml"
    pulls = ["--prior", "base", "--strength", 2, "--freeze", "harm/likelihood/*", "--freeze", "benefit/relative_weight=0.25"]
    floors = ["--floor", "harm/action/*=0.2", "--floor", "harm/action/child_harm=0.5", "--ceiling", "harm/extent/minor=0.3"]
    costs = ["--cost-missed", 10, "--cost-false-alarm", 2, "--weight-column", "w", "--threshold", "fit"]
    repeats = ["--folds", 3, "--fold-group", "pair", "--bootstrap", 6, "--starts", 2, "--seed", 5]
    options = [*pulls, *floors, *costs, *repeats]
    done = sa("align", "fit", path, "--out", out, "--base", "balanced", *options, "--json")
    assert (done.status, done.err) == (0, "")
    policy, base = load_policy(out), load_policy("balanced")
    fit = done.lines[0]["fit"]
    assert policy.hash == done.lines[0]["hash"]
    for name, value in policy.weights.items():
        if name.startswith("harm/action/"):
            assert value >= (0.5 if name.endswith("child_harm") else 0.2)
        if name.startswith("harm/likelihood/"):
            assert value == base.weights[name]
    assert policy.weights["harm/extent/minor"] <= 0.3
    assert policy.weights["benefit/relative_weight"] == 0.25
    assert fit["constraints"]["frozen"]["harm/likelihood/low"] == base.weights["harm/likelihood/low"]
    assert fit["costs"] == {"missed": 10.0, "false_alarm": 2.0}
    assert (fit["prior"], fit["weight_column"]) == ({"policy": "balanced", "hash": base.hash, "strength": 2.0}, "w")
    assert fit["threshold"] == policy.threshold != base.threshold
    assert [fold["n"] for fold in fit["validation"]["folds"]] == [28, 28, 28]
    assert (fit["validation"]["grouped_by"], fit["validation"]["pooled"]["n"]) == ("pair", 84)
    replicates = load_bootstrap(out, policy)
    assert replicates is not None
    assert (replicates.replicates, replicates.rows, replicates.seed) == (6, 84, 5)
    assert set(fit["bootstrap"]["intervals"]) == set(replicates.weights)
    assert min(replicates.weights["harm/action/child_harm"]) >= 0.5
    shown = " ".join(sa("policy", "show", out).out.split())
    for words in ("out of fold, pair kept together", "95 % intervals of 6 refits", "a missed harm costs 10", "frozen:"):
        assert words in shown


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ("--discount shared", 28), ("--discount separate", 29), ("--action leaf", 13 + 45), ("--effect group", 36),
        ("--analysis harms", 22), ("--analysis benefits", 7),
    ],
)  # fmt: skip
def test_align_overrides_the_space_of_the_base(sa: Run, tmp_path: Path, options: str, parameters: int) -> None:
    path, out = written(tmp_path, communities(20)), tmp_path / "mine.yaml"
    frozen = ["--freeze", "benefit/extent/*" if "benefits" in options else "harm/action/*"]
    done = sa("align", path, "--out", out, "--starts", 1, *options.split(), *frozen, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.lines[0]["fit"]["parameters"] == parameters
    policy, base = load_policy(out), load_policy("balanced")
    if options == "--action leaf":  # a leaf has the value of its group
        groups = {slug(it.name): it.group for it in load_taxonomy().harm_actions}
        assert all(policy.weights[f"harm/action/{leaf}"] == base.weights[f"harm/action/{g}"] for leaf, g in groups.items())
    assert sa("assess", path, "--policy", out, "--quiet").status == 0


def test_costs_move_the_errors(sa: Run, tmp_path: Path) -> None:
    noisy = [row | {"label": row["label"] if i % 4 else 1 - row["label"]} for i, row in enumerate(labelled_rows(80))]
    path = written(tmp_path, noisy)
    errors = []
    for costs in (["--cost-missed", "10"], ["--cost-false-alarm", "10"]):
        done = sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "2", "--threshold", "fit", *costs, "--json")
        errors.append(done.lines[0]["fit"]["errors"])
    assert errors[0]["missed"] < errors[1]["missed"]
    assert errors[0]["false_alarms"] > errors[1]["false_alarms"]


def test_a_number_is_a_threshold(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(30))
    sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "1", "--threshold", "0.75")
    policy = load_policy(tmp_path / "p.yaml")
    assert policy.threshold == 0.75
    assert policy.fit is not None
    assert policy.fit.threshold is None


def test_align_by_community_writes_a_policy_for_each(sa: Run, tmp_path: Path) -> None:
    path, folder = written(tmp_path, communities()), tmp_path / "out"
    folder.mkdir()
    given = ["--out", folder / "mine.yaml", "--by", "who", "--starts", "2", "--bootstrap", "4", "--shrink", "5"]
    done = sa("align", path, *given, "--json")
    assert (done.status, done.err) == (0, "")
    report = done.lines[0]
    assert list(report["policies"]) == ["\x1b[31mfew", "Open Lab", "clinic"]
    for name, entry in report["policies"].items():
        policy = load_policy(folder / entry["file"])
        assert (policy.hash, policy.name) == (entry["hash"], f"mine/{name}")
        assert load_bootstrap(folder / entry["file"], policy) is not None
    assert report["policies"]["clinic"]["file"] == "mine.clinic.yaml"
    assert load_policy(folder / "mine.yaml").hash == report["hash"]
    assert json.loads((folder / "mine.communities.json").read_text(encoding="utf-8")) == report["communities"]
    assert report["communities"]["strength"] == 5.0
    assert len(list(folder.iterdir())) == 9
    drawn = sa("align", path, *given)
    assert drawn.status == 0
    assert "\x1b" not in drawn.out
    assert "the pooled weights: 4 rows, fewer than 30" in drawn.out
    assert "decided otherwise than by the pooled policy" in drawn.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--floor harm/extent/minor=0.9 --ceiling harm/extent/substantial=0.5", "the floor 0.9 of harm/extent/minor is above"),
        ("--floor harm/action/privcy=0.5", "such as harm/action/privacy"),
        ("--floor harm/action/privacy", "WEIGHT=VALUE"),
        ("--floor harm/action/privacy=much", "a number in [0, 1]"),
        ("--floor harm/action/privacy=1.5", "floors"),
        ("--ceiling harm/extent/major=0.5", "fixed at 1"),
        ("--freeze harm/action/privacy=0.5 --freeze harm/action/privacy=0.6", "given twice"),
        ("--analysis harms --freeze benefit/relative_weight", "no weight here"),
        ("--cost-missed 0", "costs.missed"),
        ("--cost-missed 1e308", "their sum is infinite"),
        ("--seed -1", "--seed"),
        ("--threshold high", "fit, base or a number"),
        ("--threshold nan", "threshold"),
        ("--action leaves", "'group' or 'leaf'"),
        ("--strength 3", "--prior"),
        ("--prior base", "--strength"),
        ("--prior no-such --strength 1", "no-such"),
        ("--weight-column nothing", "the weight in column 'nothing' is None"),
        ("--folds 1", "at least 2 folds"),
        ("--folds 30", "30 folds need at least 30 rows"),
        ("--folds 2 --fold-group nothing", "no row has a value in column 'nothing'"),
        ("--by nothing", "no labelled row has a value in column 'nothing'"),
    ],
)
def test_mistakes_in_the_options_of_align(sa: Run, tmp_path: Path, arguments: str, says: str) -> None:
    path = written(tmp_path, labelled_rows(20))
    done = sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "1", *arguments.split())
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.split())
    assert sorted(it.name for it in tmp_path.iterdir()) == ["labelled.jsonl"]


def test_a_fit_replaces_neither_the_deployment_it_starts_from_nor_its_parent(sa: Run, tmp_path: Path) -> None:
    path, root, child = written(tmp_path, labelled_rows(20)), tmp_path / "root.yaml", tmp_path / "child.yaml"
    root.write_text(
        "format: safetyanalyst-policy/1\nname: root\nextends: balanced\npins: {harm/action/deception: {ceiling: 0.9}}\n"
    )
    child.write_text("format: safetyanalyst-policy/1\nname: child\nextends: root.yaml\nthreshold: 0.2\n")
    before = root.read_text(), child.read_text()
    for place, says in ((child, "extends another policy"), (root, "cannot replace it")):
        done = sa("align", path, "--base", child, "--out", place, "--starts", "1")
        assert (done.status, done.out) == (2, "")
        assert says in done.err
    assert (root.read_text(), child.read_text()) == before
    assert sa("align", path, "--base", child, "--out", tmp_path / "new.yaml", "--starts", "1").status == 0


def test_what_lies_beside_a_policy_is_not_overwritten(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path, labelled_rows(20))
    (tmp_path / "p.bootstrap.json").write_text("my notes", encoding="utf-8")
    done = sa("align", path, "--out", tmp_path / "p.yaml", "--starts", "1", "--bootstrap", "2")
    assert (done.status, (tmp_path / "p.bootstrap.json").read_text()) == (2, "my notes")
    assert not (tmp_path / "p.yaml").exists()


def test_an_interrupted_bootstrap_leaves_nothing(process: Callable[..., Any], tmp_path: Path) -> None:
    path, out = written(tmp_path, labelled_rows(60)), tmp_path / "out"
    out.mkdir()
    running = process("align", str(path), "--out", str(out / "p.yaml"), "--starts", "1", "--bootstrap", "1000000")
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=6)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert list(out.iterdir()) == []
