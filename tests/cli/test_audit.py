from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safetyanalyst.policy import load_policy

Run = Callable[..., Any]


@pytest.fixture
def stored(sa: Run, config: str, prompts: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Analyses of three prompts, one of which could not be read, and the prompts."""
    path = prompts("arson", "mallory gossip", "unsure")
    path.write_text(path.read_text() + "rubbish\n")
    analyses = tmp_path / "analyses.jsonl"
    done = sa("analyze", "--file", path, "--config", config, "--with-raw", "--json")
    analyses.write_text(done.out)
    return analyses, path


@pytest.fixture
def packed(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> Path:
    analyses, prompts = stored
    out = tmp_path / "bundle.zip"
    assert sa("audit", "pack", analyses, "--policy", "wildjailbreak-v1", "--scenarios", prompts, "--out", out).status == 3
    return out


def test_a_day_of_an_auditor(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> None:
    analyses, prompts = stored
    out = tmp_path / "bundle.zip"
    done = sa(
        "audit", "pack", analyses, "--policy", "wildjailbreak-v1", "--scenarios", prompts, "--out", out, "--date", "2026-11-24"
    )
    assert done.status == 3
    root = done.out.strip()
    assert len(root) == 64
    assert "3 analyses, 3 with the hash of their scenario, 1 items not packed" in done.err
    assert "could not be read" in done.err
    good = sa("audit", "verify", out, "--root", root, "--policy", "wildjailbreak-v1", "--scenarios", prompts)
    assert (good.status, good.err) == (0, "")
    assert "verifies. 3 analyses recomputed" in good.out
    assert "scenarios: 3 " in good.out
    assert f"root {root}, as given" in good.out
    assert "without --root" not in good.out
    data = out.read_bytes()
    score = re.search(rb'"id":"p0".*?"score":([0-9.]+),', data)
    assert score is not None
    was, forged = score[1].decode(), score[1][:-1] + (b"1" if score[1][-1:] != b"1" else b"2")
    out.write_bytes(data[: score.start(1)] + forged + data[score.end(1) :])
    now = forged.decode()
    bad = sa("audit", "verify", out, "--root", root)
    assert (bad.status, bad.err) == (1, "")
    assert "DOES NOT VERIFY" in bad.out
    assert f"analyses.jsonl: p0: score: differs from what is recomputed (stored {now}, recomputed {was})" in bad.out
    (line,) = sa("audit", "verify", out, "--json").lines
    assert line["verified"] is False
    assert {"file": "analyses.jsonl", "id": "p0", "field": "score", "problem": "differs from what is recomputed",
            "stored": now, "recomputed": was} in line["differences"]  # fmt: skip


def test_pack_as_json_and_by_id(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> None:
    done = sa(
        "audit",
        "pack",
        stored[0],
        "--policy",
        "wildjailbreak-v1",
        "--id",
        "p1",
        "--id",
        "p2",
        "--out",
        tmp_path / "b",
        "--json",
    )
    assert done.status == 0
    (line,) = done.lines
    assert set(line) == {"path", "root", "analyses", "hashed", "failures"}
    assert (line["analyses"], line["failures"]) == (2, [])
    assert sa("audit", "verify", tmp_path / "b", "--root", line["root"]).status == 0
    files = sorted(it.name for it in (tmp_path / "b").iterdir())
    assert files == [
        "SHA256SUMS", "analyses.jsonl", "bundle.json", "failures.jsonl", "policy.source.yaml", "policy.yaml", "taxonomy.json",
    ]  # fmt: skip
    assert sa("assess", tmp_path / "b" / "analyses.jsonl", "--policy", tmp_path / "b" / "policy.yaml", "--quiet").status == 0


def test_texts_and_raw_only_on_request(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> None:
    analyses, prompts = stored
    rows = [json.loads(line) for line in analyses.read_text().splitlines()]
    assert rows[0]["generations"]["harm"]["text"] is None  # the scripted generator writes no text, and says so
    pack = ("audit", "pack", analyses, "--policy", "wildjailbreak-v1", "--scenarios", prompts)
    for name, options, is_in in (("a", [], False), ("b", ["--with-text"], True)):
        assert sa(*pack, "--out", tmp_path / name, *options).status == 3
        whole = b"".join(it.read_bytes() for it in (tmp_path / name).iterdir())
        assert (b"mallory gossip" in whole) == is_in
        assert b'"generations":{' in whole
    assert sa(*pack, "--out", tmp_path / "c", "--without-raw").status == 3
    assert b'"generations":{' not in (tmp_path / "c" / "analyses.jsonl").read_bytes()
    assert "whoever guesses" in sa(*pack, "--out", tmp_path / "d").err
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    assert "whoever guesses" not in sa(*pack, "--out", tmp_path / "e", "--key", key).err
    assert "3 not at hand" in sa("audit", "verify", tmp_path / "e").out
    assert sa("audit", "verify", tmp_path / "e", "--scenarios", prompts, "--key", key).status == 0
    key.write_bytes(bytes(32))
    assert sa("audit", "verify", tmp_path / "e", "--scenarios", prompts, "--key", key).status == 1


def test_raw_is_kept_only_when_asked_for_and_passed_on(sa: Run, config: str, stored: tuple[Path, Path], tmp_path: Path) -> None:
    (plain,) = sa("analyze", "gossip", "--config", config, "--json").lines
    (kept,) = sa("analyze", "gossip", "--config", config, "--json", "--with-raw").lines
    written = {"text": None, "attempts": 1, "prompt_tokens": 0, "completion_tokens": 0}
    assert kept == plain | {"generations": {"harm": written, "benefit": written}}
    assert sa("assess", stored[0], "--policy", "balanced", "--json").lines[0]["generations"] == kept["generations"]
    (embedded,) = sa("analyze", "gossip", "--json", "--with-raw").lines
    assert embedded["generations"]["harm"]["text"] is None
    out = tmp_path / "out.jsonl"
    assert sa("analyze", "--file", stored[1], "--config", config, "--out", out).status == 3
    assert sa("analyze", "--file", stored[1], "--config", config, "--out", out, "--with-raw").status == 2  # another run


def test_what_cannot_be_meant(sa: Run, stored: tuple[Path, Path], packed: Path, tmp_path: Path) -> None:
    analyses, prompts = stored
    (tmp_path / "large").write_bytes(b"x" * 5000)
    (tmp_path / "zip.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    before = packed.read_bytes()
    pack = ("audit", "pack", analyses, "--policy", "wildjailbreak-v1", "--out")
    for arguments in (
        ("audit", "pack", analyses, "--out", tmp_path / "x"),
        (*pack, packed),
        (*pack, tmp_path / "no" / "folder"),
        (*pack, tmp_path / "x", "--with-text"),
        (*pack, tmp_path / "x", "--id", "nobody"),
        (*pack, tmp_path / "x", "--date", "yesterday"),
        (*pack, tmp_path / "x", "--scenarios", prompts, "--key", tmp_path / "large"),
        (*pack, tmp_path / "x", "--scenarios", tmp_path / "none"),
        (*pack, tmp_path / "x", "--with-bootstrap", "--policy", "no-such-policy"),
        ("audit", "pack", tmp_path / "none", "--policy", "balanced", "--out", tmp_path / "x"),
        ("audit", "verify", tmp_path / "none"),
        ("audit", "verify", prompts),
        ("audit", "verify", tmp_path),
        ("audit", "verify", tmp_path / "zip.zip"),
        ("audit", "verify", packed, "--root", "12"),
        ("audit", "verify", packed, "--policy", "no-such-policy"),
        ("audit", "verify", packed, "--key", tmp_path / "none"),
    ):
        done = sa(*arguments)
        assert done.status == 2, (arguments, done)
        assert done.out == ""
        assert done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "x").exists()
    assert packed.read_bytes() == before


def test_analyses_of_another_policy_are_not_packed(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> None:
    done = sa("audit", "pack", stored[0], "--policy", "balanced", "--out", tmp_path / "b")
    assert done.status == 3
    assert "p0: decided by another policy; `assess` it under this one first (decided by 'wildjailbreak-v1'" in done.err
    assert "0 analyses recomputed" in sa("audit", "verify", tmp_path / "b").out
    again = sa("assess", stored[0], "--policy", "balanced", "--json")
    stored[0].write_text(again.out)
    assert sa("audit", "pack", stored[0], "--policy", "balanced", "--out", tmp_path / "c").status == 3
    report = sa("audit", "verify", tmp_path / "c", "--policy", "balanced")
    assert (report.status, "3 analyses recomputed" in report.out) == (0, True)
    other = sa("audit", "verify", tmp_path / "c", "--policy", "strict")
    assert other.status == 1
    assert load_policy("strict").hash in other.out


def test_a_deployment_is_packed_resolved(sa: Run, stored: tuple[Path, Path], tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("format: safetyanalyst-policy/1\nname: child\nextends: balanced\nthreshold: -0.5\n")
    analyses = tmp_path / "child.jsonl"
    analyses.write_text("".join(sa("assess", stored[0], "--policy", child, "--json").out.splitlines(keepends=True)[:3]))
    assert sa("audit", "pack", analyses, "--policy", child, "--out", tmp_path / "b").status == 0
    assert (tmp_path / "b" / "policy.source.yaml").read_bytes() == child.read_bytes()
    done = sa("audit", "verify", tmp_path / "b", "--policy", child)
    assert (done.status, "extends another policy" in done.out) == (0, True)
    child.unlink()  # the bundle stands on its own
    assert sa("audit", "verify", tmp_path / "b").status == 0
    assert sa("policy", "check", tmp_path / "b" / "policy.yaml").status == 0


def test_hostile_names_cannot_steer_the_terminal(sa: Run, packed: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    folder = tmp_path / "folder"
    with ZipFile(packed) as file:
        file.extractall(folder)
    (folder / "\x1b[31mred").write_text("x")
    path = folder / "analyses.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id":"p1"', b'"id":"\\u001b[2J\\u202e"'))
    done = sa("audit", "verify", folder)
    assert done.status == 1
    assert not set("\x1b\u202e") & set(done.out)
    assert "\\x1b[31mred" in done.out or "\\u001b[31mred" in done.out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.data())
def test_any_changed_byte_is_exit_status_1(sa: Run, packed: Path, data: st.DataObject) -> None:
    whole = packed.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 60) | st.integers(len(whole) - 60, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    path = packed.with_name("changed.zip")
    for changed in (whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :], whole[:at] + whole[at + 1 :]):
        path.write_bytes(changed)
        done = sa("audit", "verify", path)
        assert done.status == 1
        assert "DOES NOT VERIFY" in done.out
        assert done.err == ""


def test_the_policy_in_a_bundle_is_usable_with_its_replicates(sa: Run, tmp_path: Path) -> None:
    trees, analyses, out = tmp_path / "trees.jsonl", tmp_path / "analyses.jsonl", tmp_path / "bundle"
    row = {"id": "fence", "harm": ["Landlords | 45: climbing over | 6i1m"], "benefit": ["User | B19: a ball back | 9i1h"]}
    trees.write_text(json.dumps(row) + "\n", encoding="utf-8")
    analyses.write_text(sa("assess", trees, "--json").out, encoding="utf-8")
    assert sa("audit", "pack", analyses, "--policy", "balanced", "--with-bootstrap", "--out", out).status == 0
    assert sa("audit", "verify", out).status == 0
    done = sa("explain", out / "analyses.jsonl", "--policy", out / "policy.yaml", "--json")
    assert (done.status, done.lines[0]["stability"]["replicates"]) == (0, 200)
    analyses.write_text(sa("assess", trees, "--policy", "wildjailbreak-v1", "--json").out, encoding="utf-8")
    done = sa("audit", "pack", analyses, "--policy", "wildjailbreak-v1", "--with-bootstrap", "--out", tmp_path / "none")
    assert (done.status, "none are packed" in done.err) == (0, True)
