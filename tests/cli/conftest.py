"""The command line as a caller meets it: bytes in, bytes out, an exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from safetyanalyst.cli import main
from tests import scripted

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        assert self.out == "" or self.out.endswith("\n")
        return [json.loads(line) for line in self.out.split("\n")[:-1]]


Run = Callable[..., Done]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run configuration of the scripted plug-in, which is installed for this test."""
    site = scripted.install(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    return str(scripted.write_config(tmp_path))


@pytest.fixture
def sa(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Done:
        streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (stdin, b"", b"")]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["safetyanalyst", *map(str, arguments)])
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patched.setattr(sys, name, stream)
            status: Any = 0
            try:
                main()
            except SystemExit as leaving:
                status = leaving.code or 0
        for stream in streams:
            stream.flush()
        out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])  # type: ignore[attr-defined]
        return Done(status, out, err)

    return run


@pytest.fixture
def process(config: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the command as a process of its own; what still runs when the test is over, for it failed, is killed."""
    del config
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path | bytes, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from safetyanalyst.cli import main; main()", *arguments]
        piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        started.append(subprocess.Popen(command, **piped))
        return started[-1]

    yield start
    for it in started:
        if it.poll() is None:
            it.kill()
            it.communicate()


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Path]:
    """Writes texts as prompts in JSON lines."""

    def write(*texts: str, name: str = "prompts.jsonl") -> Path:
        path = tmp_path / name
        rows = ({"id": f"p{i}", "text": text} for i, text in enumerate(texts))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
