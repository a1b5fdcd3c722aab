"""`analyze --config` with a configuration that has a second stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from safetyanalyst.trees import TREE_KINDS
from tests.cli.test_schema import CHECKER
from tests.labels import written
from tests.test_cascade import HARMFUL, SAFE

Run = Callable[..., Any]
TEXTS = ("arson", "unsure", "bread", "silent", "unsure", "bread", "bread", "bread")
SHARE = "cascade: 3 of 8 scenarios passed on to the second stage (37.5%)"
KEPT = f"{SHARE}; 1 of them kept the first analysis, because the second stage failed"


@pytest.fixture
def cascade(config: str, tmp_path: Path) -> str:
    """The plug-in first, stored trees second: of the three scenarios in doubt they hold two."""
    strong = written(tmp_path / "strong.jsonl", [{"id": "p1"} | SAFE, {"id": "p3"} | HARMFUL, {"id": "p2"} | HARMFUL])
    data = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    pair = {kind: {"backend": "scripted", "options": {"trees": str(strong)}} for kind in TREE_KINDS}
    path = tmp_path / "cascade.yaml"
    path.write_text(yaml.safe_dump(data | {"cascade": {"generators": pair}}), encoding="utf-8")
    return str(path)


def test_the_share_is_told_on_standard_error(sa: Run, cascade: str, prompts: Any) -> None:
    done = sa("analyze", "--file", prompts(*TEXTS), "--config", cascade, "--json")
    assert (done.status, done.err) == (0, f"{KEPT}\n")
    decisions = ["block", "allow", "allow", "block", "review", "allow", "allow", "allow"]
    assert [line["decision"] for line in done.lines] == decisions
    stages = ["first", "second", "first", "second", "first", "first", "first", "first"]
    assert [line["provenance"]["harm"]["stage"] for line in done.lines] == stages
    assert [line["id"] for line in done.lines if any(it["path"] == "cascade" for it in line["defects"])] == ["p4"]
    for line in done.lines:
        CHECKER.validate(line)
    with pytest.raises(jsonschema.ValidationError):
        CHECKER.validate(line | {"provenance": {"harm": line["provenance"]["harm"] | {"stage": "third"}}})


def test_other_outputs_tell_it_too_and_quiet_ones_do_not(sa: Run, cascade: str, prompts: Any) -> None:
    path = prompts(*TEXTS)
    drawn = sa("analyze", "--file", path, "--config", cascade)
    assert (drawn.status, drawn.err) == (0, f"{KEPT}\n")
    assert "8 scenarios: 5 allow, 1 review, 2 block" in drawn.out
    assert sa("analyze", "--file", path, "--config", cascade, "--quiet").err == ""
    one = sa("analyze", "bread", "--config", cascade)
    assert one.err == "cascade: 0 of 1 scenarios passed on to the second stage (0.0%)\n"


def test_items_that_cannot_be_read_are_no_part_of_the_share(sa: Run, cascade: str, prompts: Any) -> None:
    path = prompts("bread", "silent")
    path.write_text(f"rubbish\n{path.read_text()}", encoding="utf-8")
    done = sa("analyze", "--file", path, "--config", cascade, "--json")
    assert (done.status, done.err.startswith("cascade: 1 of 2 scenarios")) == (3, True)


def test_a_long_run_states_the_share_in_its_manifest_however_often_it_stops(
    sa: Run, cascade: str, prompts: Any, tmp_path: Path
) -> None:
    out, manifest = tmp_path / "out.jsonl", tmp_path / "out.jsonl.run.json"
    command = ["analyze", "--file", prompts(*TEXTS), "--config", cascade, "--out", out]
    whole = sa(*command)
    assert (whole.status, whole.err.splitlines()[-1]) == (0, KEPT)
    expected = {"scenarios": 8, "passed_on": 3, "kept": 1, "share": 0.375}
    assert json.loads(manifest.read_text())["cascade"] == expected
    lines = out.read_bytes()
    for n_left in (0, 3, 8):
        out.write_bytes(b"".join(lines.splitlines(keepends=True)[:n_left]))
        again = sa(*command)
        assert (again.status, again.err.splitlines()[-1]) == (0, KEPT)
        assert out.read_bytes() == lines
        assert json.loads(manifest.read_text())["cascade"] == expected


def test_a_run_does_not_go_on_with_another_second_stage(sa: Run, cascade: str, prompts: Any, tmp_path: Path) -> None:
    command = ["analyze", "--file", prompts(*TEXTS), "--config", cascade, "--out", tmp_path / "out.jsonl"]
    assert sa(*command).status == 0
    written(tmp_path / "strong.jsonl", [{"id": "p1"} | HARMFUL])
    changed = sa(*command)
    assert (changed.status, "config differ" in changed.err) == (2, True)


def test_stored_analyses_of_a_cascade_are_assessed_and_packed_like_others(
    sa: Run, cascade: str, prompts: Any, tmp_path: Path
) -> None:
    first = sa("analyze", "--file", prompts(*TEXTS), "--config", cascade, "--json")
    stored = tmp_path / "stored.jsonl"
    stored.write_text(first.out, encoding="utf-8")
    again = sa("assess", stored, "--policy", "wildjailbreak-v1", "--json")
    assert again.lines == first.lines
    packed = sa("audit", "pack", stored, "--policy", "wildjailbreak-v1", "--out", tmp_path / "b.zip")
    assert packed.status == 0
    assert sa("audit", "verify", tmp_path / "b.zip", "--root", packed.out.strip()).status == 0


def test_the_shipped_configuration_asks_for_the_file_that_it_needs(
    sa: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetyanalyst.analyst import load_config

    shipped = load_config("cascade")
    assert shipped.cascade is not None
    assert shipped.cascade.band == "review"
    assert shipped.generators == load_config("embedded").generators
    named = {it.options["trees"] for it in shipped.cascade.generators.values()}
    assert named == {"strong-trees.jsonl"}
    monkeypatch.chdir(tmp_path)
    copied = tmp_path / "mine.yaml"  # the second stage alone, because this is about its error
    data = {"format": "safetyanalyst-config/1", "name": "mine"}
    pair = {kind: it.model_dump() for kind, it in shipped.cascade.generators.items()}
    copied.write_text(yaml.safe_dump(data | {"generators": pair}), encoding="utf-8")
    done = sa("analyze", "bread", "--config", copied)
    assert (done.status, done.out) == (2, "")
    assert "cannot read its `trees`: strong-trees.jsonl: No such file" in done.err
    written(tmp_path / "strong-trees.jsonl", [{"id": "text"} | SAFE])
    assert sa("analyze", "bread", "--config", copied, "--json").lines[0]["decision"] == "allow"


def test_the_shipped_configuration_passes_on_what_the_embedded_pair_cannot_read(
    sa: Run, prompts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "strong-trees.jsonl", [{"id": "p0"} | SAFE])
    done = sa("analyze", "--file", prompts("ᚠᛇᚻ ᛒᛦᚦ ᚠᚱᚩᚠᚢᚱ ᚠᛁᚱᚪ ᚷᛖᚻᚹᛦᛚᚳᚢᛗ"), "--config", "cascade", "--json")
    assert (done.status, done.lines[0]["provenance"]["harm"]["generator"]) == (0, "scripted")
    assert done.err == "cascade: 1 of 1 scenarios passed on to the second stage (100.0%)\n"
