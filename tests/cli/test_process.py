"""What only a process of its own shows: pipes, signals, terminals, encodings."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import scripted

Start = Callable[..., subprocess.Popen[bytes]]


def finished(process: subprocess.Popen[bytes], stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out, err


def test_a_reader_that_has_seen_enough_is_no_failure(process: Start, config: str, prompts: Any) -> None:
    path = prompts(*["arson"] * 300)
    for extra in (["--json"], ["--quiet"], []):
        running = process("analyze", "--file", path, "--config", config, *extra)
        assert running.stdout is not None
        assert running.stdout.readline()
        running.stdout.close()
        assert running.wait(60) == 0
        assert running.stderr is not None
        assert running.stderr.read() == b""
        running.stderr.close()


def test_bytes_that_are_no_text_on_the_command_line(process: Start, config: str) -> None:
    status, out, _ = finished(process("analyze", b"arson \xff\xfe", "--config", config, "--json"))
    assert status == 0
    line = json.loads(out)
    assert line["decision"] == "block"
    assert [defect["code"] for defect in line["defects"]] == ["invalid_characters"]


def test_a_terminal_without_unicode_gets_numbers_instead(process: Start, config: str, prompts: Any) -> None:
    env = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    path = prompts("arson über 東京 " + "x" * 300)
    for arguments in (["analyze", "--file", path, "--config", config], ["policy", "show"], ["taxonomy", "show"]):
        status, out, err = finished(process(*arguments, env=env))
        assert (status, err) == (0, b"")
        assert out.isascii()
        assert out


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_colours_only_on_a_terminal(process: Start, config: str) -> None:
    import pty

    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {
        "TERM": "xterm-256color",
        "COLUMNS": "100",
    }
    shown = {}
    for name in ("pipe", "terminal"):
        ours, theirs = pty.openpty() if name == "terminal" else os.pipe()
        running = process("analyze", "mallory arson", "--config", config, stdout=theirs, env=env)
        os.close(theirs)
        chunks = []
        try:
            while chunk := os.read(ours, 4096):
                chunks.append(chunk)
        except OSError:  # a terminal ends so
            pass
        os.close(ours)
        assert finished(running)[0] == 0
        shown[name] = b"".join(chunks)
    assert b"\x1b" not in shown["pipe"]
    assert b"\x1b[" in shown["terminal"]
    assert b"\x1b[31mMallory" not in shown["terminal"]
    assert b"\x07" not in shown["terminal"]


def test_a_run_killed_again_and_again_loses_and_doubles_nothing(
    process: Start, tmp_path: Path, config: str, prompts: Any
) -> None:
    texts = ["arson", "bread", "crash", "unsure"] * 60
    path = prompts(*texts)
    lines = path.read_text().splitlines()
    lines[7:7] = ["rubbish", '{"id": "x"}']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = tmp_path / "whole.jsonl"
    assert finished(process("analyze", "--file", path, "--config", config, "--out", whole))[0] == 3

    slow = str(scripted.write_config(tmp_path, "{delay: 0.004}"))
    rng = random.Random(0)
    out = tmp_path / "out.jsonl"
    command = ["analyze", "--file", path, "--config", slow, "--out", out]
    sizes = []
    for _ in range(3):
        running = process(*command)
        deadline = time.monotonic() + 30
        before = out.stat().st_size if out.exists() else 0
        wanted = before + rng.randrange(1, 30_000)
        while running.poll() is None and time.monotonic() < deadline and not (out.exists() and out.stat().st_size >= wanted):
            time.sleep(0.002)
        running.kill()
        finished(running)
        sizes.append(out.stat().st_size)
        with out.open("ab") as file:
            file.write(b'{"id": "torn')
    assert sizes[0] > 0
    assert sizes[-1] < whole.stat().st_size
    status, printed, err = finished(process(*command))
    assert (status, printed) == (3, b"")
    assert b"going on after" in err
    assert b"242 scenarios: 60 allow, 122 review, 60 block (62 of them could not be analysed)" in err
    assert out.read_bytes() == whole.read_bytes()


def test_an_interrupt_from_the_keyboard_ends_it_quietly(process: Start, tmp_path: Path, config: str, prompts: Any) -> None:
    slow = str(scripted.write_config(tmp_path, "{delay: 0.05}"))
    out = tmp_path / "out.jsonl"
    running = process("analyze", "--file", prompts(*["arson"] * 1000), "--config", slow, "--out", out)
    deadline = time.monotonic() + 30
    while not (out.exists() and out.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    status, _, err = finished(running)
    assert status == 130
    assert b"Traceback" not in err
    assert out.read_bytes().endswith(b"\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_an_error_and_not_a_traceback(process: Start, config: str) -> None:
    with Path("/dev/full").open("wb") as full:
        status, _, err = finished(process("analyze", "arson", "--config", config, "--json", stdout=full))
    assert status not in (0, 3)
    assert b"Traceback" not in err
    assert b"No space left" in err
