from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetyanalyst.bootstrap import Bootstrap, load_bootstrap, save_bootstrap
from safetyanalyst.features import FeatureSpace
from safetyanalyst.policy import BootstrapFacts, Policy, dump_policy, load_policy
from tests.labels import GAP, TAXONOMY, claimed, labelled_rows, written

Run = Callable[..., Any]
BASE = load_policy("balanced")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    return written(tmp_path / "labelled.jsonl", labelled_rows(BASE, 200, slope=1.5))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = [{"id": row["id"], "tree": row["tree"]} for row in labelled_rows(BASE, 40, seed=7)]
    return written(tmp_path / "pool.jsonl", rows)


# -- calibrate -------------------------------------------------------------------------------------------------------------


def test_calibrate_writes_a_policy_whose_analyses_have_probabilities(sa: Run, tmp_path: Path, labelled: Path) -> None:
    out = tmp_path / "mine.yaml"
    arguments = ("align", "calibrate", "balanced", "--on", labelled, "--out", out, "--missed", "0.05", "--false-block", "0.1")
    done = sa(*arguments, "--json")
    assert (done.status, done.err) == (0, "")
    (report,) = done.lines
    policy = load_policy(out)
    assert policy.calibration is not None
    assert policy.guarantee is not None
    assert policy.bind(TAXONOMY).lapsed == ()
    assert (report["policy"], report["hash"]) == ("balanced", policy.hash)
    assert report["calibration"] == policy.calibration.model_dump(mode="json")
    assert report["guarantee"] == policy.guarantee.model_dump(mode="json")
    assert report["review_band"] == policy.review_band.model_dump()
    assert [it["alpha"] for it in report["risks"]] == [0.05, 0.1]
    assert all(it["bound"] <= it["alpha"] for it in report["risks"])
    assert sum(it["rows"] for it in report["bins"]["after"]) == 200
    assert sum(report["shares"]["all"].values()) == pytest.approx(1)
    assert report["objections"] == []
    assessed = sa("assess", labelled, "--policy", out, "--json").lines
    expected = policy.calibration.probabilities([line["score"] for line in assessed])
    assert [line["probability"]["value"] for line in assessed] == pytest.approx(expected.tolist())
    drawn = sa(*arguments)
    text = " ".join(drawn.out.split())
    assert drawn.status == 0
    for words in ("probability of harmful: ", "after, 5 folds", "P(allowed | harmful) <= 0.05", "labelled rows", "review"):
        assert words in text
    shown = " ".join(sa("policy", "show", out).out.split())
    assert "guaranteed by conformal risk control on labelled.jsonl" in shown
    assert "no longer holds" not in shown
    assert "probability of harmful 0." in sa("assess", labelled, "--policy", out).out


def test_the_same_labels_and_seed_give_the_same_file(sa: Run, tmp_path: Path, labelled: Path) -> None:
    found = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert sa("align", "calibrate", "balanced", "--on", labelled, "--out", tmp_path / name, "--seed", seed).status == 0
        found.append((tmp_path / name).read_text())
    assert found[0] == found[1] != found[2]


def test_a_change_afterwards_is_told(sa: Run, tmp_path: Path, labelled: Path) -> None:
    out = tmp_path / "mine.yaml"
    assert sa("align", "calibrate", "balanced", "--on", labelled, "--out", out, "--missed", "0.1").status == 0
    assert sa("policy", "check", out).err == ""
    policy = load_policy(out)
    out.write_text(dump_policy(policy.model_copy(update={"weights": policy.weights | {"harm/action/privacy": 0.9}})))
    checked = sa("policy", "check", out)
    assert checked.status == 0
    assert checked.err.count("no longer holds") == 2
    shown = sa("policy", "show", out).out
    assert shown.count("no longer holds") == 2
    assert "probability" not in sa("assess", labelled, "--policy", out, "--json").lines[0]


@pytest.mark.parametrize(("options", "says"), [
    (("--missed", "0.001"), "at least 999 are needed"),
    (("--missed", "0"), "an error rate of 0 cannot be claimed"),
    (("--false-block", "1"), "cannot be claimed"),
    (("--method", "platts"), "did you mean 'platt'"),
    (("--method", "none"), "leaves nothing to do"),
    (("--of", "rows"), "one of class, all"),
])  # fmt: skip
def test_what_cannot_be_claimed_or_meant_is_refused(
    sa: Run, tmp_path: Path, labelled: Path, options: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "mine.yaml"
    done = sa("align", "calibrate", "balanced", "--on", labelled, "--out", out, *options)
    assert done.status == 2
    assert says in " ".join(done.err.replace("│", " ").split())
    assert not out.exists()


def test_labels_of_the_fit_set_a_band_and_guarantee_nothing(sa: Run, tmp_path: Path, labelled: Path) -> None:
    fitted, out = tmp_path / "fitted.yaml", tmp_path / "mine.yaml"
    assert sa("align", labelled, "--out", fitted, "--starts", "1", "--ridge", "0.01").status == 0
    refused = sa("align", "calibrate", fitted, "--on", labelled, "--out", out, "--missed", "0.1")
    assert refused.status == 2
    assert "aligned to this very file" in refused.err
    done = sa("align", "calibrate", fitted, "--on", labelled, "--out", out, "--missed", "0.1", "--no-guarantee", "--json")
    assert done.status == 0
    assert done.lines[0]["guarantee"] is None
    assert "aligned to this very file" in done.lines[0]["objections"][0]
    drawn = sa("align", "calibrate", fitted, "--on", labelled, "--out", out, "--missed", "0.1", "--no-guarantee")
    assert "nothing is guaranteed" in drawn.out
    assert "aligned to this very file" in drawn.err
    shown = " ".join(sa("policy", "show", out).out.split())
    assert "surer than they should be" in shown


def test_unreadable_rows_are_told_and_change_the_status(sa: Run, tmp_path: Path) -> None:
    rows = [*labelled_rows(BASE, 60), "rubbish", {"tree": GAP, "label": 1}]
    path, out = written(tmp_path / "some.jsonl", rows), tmp_path / "mine.yaml"
    done = sa("align", "calibrate", "balanced", "--on", path, "--out", out, "--method", "isotonic", "--json")
    assert done.status == 3
    assert "some.jsonl:61: not readable as JSON" in done.err
    assert done.lines[0]["calibration"]["rows_left_out"] == 2
    assert done.lines[0]["calibration"]["curve"]["method"] == "isotonic"
    assert done.lines[0]["risks"] is None


def test_only_a_policy_is_overwritten(sa: Run, tmp_path: Path, labelled: Path) -> None:
    before = labelled.read_bytes()
    assert sa("align", "calibrate", "balanced", "--on", labelled, "--out", labelled).status == 2
    assert labelled.read_bytes() == before
    mine = tmp_path / "mine.yaml"
    mine.write_text(dump_policy(BASE))
    assert sa("align", "calibrate", mine, "--on", labelled, "--out", mine, "--method", "none", "--missed", "0.2").status == 0
    policy = load_policy(mine)
    assert policy.calibration is None
    assert policy.guarantee is not None


def test_bootstrap_replicates_go_with_the_policy(sa: Run, tmp_path: Path, labelled: Path, pool: Path) -> None:
    assert BASE.fit is not None
    space = FeatureSpace(TAXONOMY, BASE.space)
    rng = np.random.default_rng(0)
    weights = {name: tuple(rng.uniform(size=6).tolist()) for name in space.levels.names}
    bootstrap = Bootstrap(weights=weights, rows=20, seed=0)
    facts = BootstrapFacts(replicates=6, seed=0, intervals={}, hash=bootstrap.hash)
    source, out = tmp_path / "source.yaml", tmp_path / "mine.yaml"
    source.write_text(dump_policy(BASE.model_copy(update={"fit": BASE.fit.model_copy(update={"bootstrap": facts})})))
    save_bootstrap(bootstrap, source)
    assert sa("align", "calibrate", source, "--on", labelled, "--out", out).status == 0
    assert load_bootstrap(out, load_policy(out)) == bootstrap
    asked = sa("align", "suggest", pool, "--policy", out, "--by", "disagreement", "--json")
    assert asked.status == 0
    votes = [it["harmful_votes"] for it in asked.lines[0]["suggestions"]]
    assert set(np.round(np.array(votes) * 6).tolist()) <= set(range(7))
    assert votes == sorted(votes, key=lambda share: round(abs(share - 0.5), 9))


# -- suggest ---------------------------------------------------------------------------------------------------------------


def test_suggest_names_rows_and_writes_them_ready_for_labels(sa: Run, tmp_path: Path, pool: Path) -> None:
    out = tmp_path / "todo.jsonl"
    done = sa("align", "suggest", pool, "--n", "5", "--by", "margin", "--out", out, "--json")
    assert (done.status, done.err) == (0, "")
    (report,) = done.lines
    assert report["policies"] == {"balanced": BASE.hash}
    assert (report["candidates"], report["labelled"], report["incomplete"], report["unreadable"]) == (40, 0, 0, 0)
    todo = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in todo] == [it["id"] for it in report["suggestions"]]
    stored = {row["id"]: row for row in map(json.loads, pool.read_text().splitlines())}
    assert [{key: row[key] for key in ("id", "tree")} for row in todo] == [stored[row["id"]] for row in todo]
    assert all(row["label"] is None and row["suggested"] == "near_threshold" for row in todo)
    assert sa("align", "suggest", pool, "--out", out).status == 2  # labels may stand in it by now
    done_labels = written(tmp_path / "done.jsonl", [row | {"label": i % 2} for i, row in enumerate(todo)])
    again = sa("align", "suggest", done_labels, pool, "--n", "3", "--json").lines[0]
    assert (again["labelled"], again["by"]) == (5, "information")
    refused = sa("align", "calibrate", "balanced", "--on", done_labels, "--out", tmp_path / "p.yaml", "--missed", "0.5")
    assert refused.status == 2
    assert "chosen by `align suggest`" in refused.err


def test_suggest_is_drawn_and_compares_policies(sa: Run, pool: Path) -> None:
    done = sa("align", "suggest", pool, "-p", "balanced", "-p", "strict", "--n", "4", "--diverse")
    assert done.status == 0
    text = " ".join(done.out.split())
    assert "4 of 40 unlabelled rows; 0 have a label already" in text
    assert "strict: block" in text
    assert "50 %" in text
    report = sa("align", "suggest", pool, "-p", "balanced", "-p", "strict", "--json").lines[0]
    assert report["by"] == "both"
    assert len(report["suggestions"]) == 20
    assert report["policies"].keys() == {"balanced", "strict"}


def test_suggest_counts_what_it_cannot_use(sa: Run, tmp_path: Path) -> None:
    lost = {"id": "lost\x1b[31m", "trees": {"harm": None, "benefit": {"stakeholders": []}}}
    path = written(tmp_path / "mixed.jsonl", [*labelled_rows(BASE, 3), lost, "rubbish"])
    done = sa("align", "suggest", path)
    assert done.status == 3
    assert "mixed.jsonl:5: not readable" in done.err
    assert "0 of 0 unlabelled rows; 3 have a label already" in done.out
    assert "so that they need reading: 1 (lost\\u001b[31m)" in done.out
    assert "\x1b" not in done.out
    assert sa("align", "suggest", path, "--json").lines[0]["to_read"][0]["decisions"] == {"balanced": "review"}


@pytest.mark.parametrize(("options", "says"), [
    (("--by", "disagreement", "-p", "wildjailbreak-v1"), "a single policy cannot disagree with itself"),
    (("--by", "random"), "one of margin, disagreement, both, information"),
    (("-p", "balanced", "-p", "balanced"), "given twice"),
    (("-p", "nobody"), "no policy named"),
    (("--n", "0"), "--n"),
])  # fmt: skip
def test_suggest_refuses_what_makes_no_sense(sa: Run, pool: Path, options: tuple[str, ...], says: str) -> None:
    done = sa("align", "suggest", pool, *options)
    assert done.status == 2
    assert says in " ".join(done.err.replace("│", " ").split())


def test_suggest_names_what_is_no_feature_dataset(sa: Run, tmp_path: Path) -> None:
    path = tmp_path / "pool.parquet"
    path.write_bytes(b"PAR1 and so on PAR1")
    done = sa("align", "suggest", path)
    assert (done.status, done.out) == (2, "")
    assert "not readable as Parquet" in done.err or "pyarrow" in done.err


def test_suggest_refuses_a_file_twice(sa: Run, pool: Path) -> None:
    assert "given twice" in sa("align", "suggest", pool, pool).err
    assert sa("align", "suggest", pool.with_name("none.jsonl")).status == 2


# -- beside the other commands ---------------------------------------------------------------------------------------------


def without_replicates(name: str) -> Policy:
    """The base as one that no file of replicates belongs to."""
    assert BASE.fit is not None
    return BASE.model_copy(update={"name": name, "fit": BASE.fit.model_copy(update={"bootstrap": None})})


def test_steering_keeps_the_records_and_tells_that_they_lapsed(sa: Run, tmp_path: Path) -> None:
    mine, child = tmp_path / "mine.yaml", tmp_path / "child.yaml"
    mine.write_text(dump_policy(claimed(without_replicates("mine"))))
    before = load_policy(mine)
    sets = ("--set", "harm/action/privacy=0.9", "--reason", "a test")
    assert sa("policy", "show", mine, "--json").lines[0]["lapsed"] == []
    assert sa("policy", "steer", mine, *sets, "--out", child, "--extend").status == 0
    checked = sa("policy", "check", child)
    assert (checked.status, checked.err.count("does not inherit")) == (0, 2)
    assert "does not inherit the guarantee of its parent" in sa("policy", "show", child).err
    shown = sa("policy", "show", child, "--json").lines[0]
    assert shown["lapsed"] == []
    assert not {"calibration", "guarantee"} & shown.keys()
    child.unlink()
    assert sa("policy", "steer", mine, *sets, "--out", mine).status == 0
    after = load_policy(mine)
    assert (after.calibration, after.guarantee) == (before.calibration, before.guarantee)
    assert sa("policy", "check", mine).err.count("no longer holds") == 2
    assert sa("policy", "show", mine).out.count("no longer holds") == 2
    assert sa("policy", "show", mine, "--json").lines[0]["lapsed"] == ["calibration", "guarantee"]
    old = str(before.weights["harm/action/privacy"])
    assert sa("policy", "steer", mine, "--set", f"harm/action/privacy={old}", "--reason", "back", "--out", mine).status == 0
    assert sa("policy", "check", mine).err == ""


def test_a_deployment_is_calibrated_into_a_file_of_its_own(sa: Run, tmp_path: Path, labelled: Path) -> None:
    from safetyanalyst import resources

    (tmp_path / "house").mkdir()
    taxonomy = tmp_path / "house" / "words.yaml"
    taxonomy.write_text(resources.find("taxonomies", "safetyanalyst-v1").read_text())
    root, child, out = tmp_path / "house" / "root.yaml", tmp_path / "house" / "child.yaml", tmp_path / "out.yaml"
    root.write_text(dump_policy(BASE.model_copy(update={"name": "root", "taxonomy": "words.yaml"})))
    child.write_text("format: safetyanalyst-policy/1\nname: child\nextends: root.yaml\nthreshold: 0.2\n")
    before = child.read_bytes(), root.read_bytes()
    done = sa("align", "calibrate", child, "--on", labelled, "--out", out, "--missed", "0.1")
    assert done.status == 0
    made = load_policy(out)
    assert (made.name, made.threshold, made.taxonomy) == ("child", 0.2, "house/words.yaml")
    assert made.lineage is not None
    assert sa("policy", "check", out).err == ""
    assert "probability" in sa("assess", labelled, "--policy", out, "--json").lines[0]
    for place, says in ((child, "extends another policy"), (root, "cannot replace it")):
        refused = sa("align", "calibrate", child, "--on", labelled, "--out", place)
        assert refused.status == 2
        assert says in refused.err
    assert (child.read_bytes(), root.read_bytes()) == before


def test_other_commands_take_calibrated_policies(sa: Run, tmp_path: Path, labelled: Path) -> None:
    mine, stored = tmp_path / "mine.yaml", tmp_path / "stored.jsonl"
    mine.write_text(dump_policy(claimed(without_replicates("mine"))))
    stored.write_text(sa("assess", labelled, "--policy", mine, "--json").out)
    assert json.loads(stored.read_text().splitlines()[0])["probability"]["value"] > 0
    for by in (labelled, stored):
        explained = sa("explain", by, "--policy", mine, "--json")
        assert (explained.status, len(explained.lines)) == (0, 200)
        changed = sa("policy", "diff", mine, "strict", "--on", by, "--json")
        assert (changed.status, changed.err) == (0, "")
        assert sa("report", by, "--policy", mine, "--against", "strict", "--html", tmp_path / f"{by.stem}.html").status == 0
        again = sa("assess", by, "--policy", "balanced", "--json").lines
        assert all("probability" not in line for line in again)
    bundle = tmp_path / "b.zip"
    assert sa("audit", "pack", stored, "--policy", mine, "--out", bundle).status == 0
    assert sa("audit", "verify", bundle).status == 0


def test_labels_in_a_file_whose_name_is_no_text(sa: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "labels\udcff.jsonl", labelled_rows(BASE, 60))
    made, fitted = tmp_path / "made.yaml", tmp_path / "fitted.yaml"
    assert sa("align", "calibrate", "balanced", "--on", path, "--missed", "0.2", "--out", made).status == 0
    assert load_policy(made).calibration is not None
    assert sa("align", path, "--starts", "1", "--out", fitted).status == 0
    assert load_policy(fitted).fit is not None
