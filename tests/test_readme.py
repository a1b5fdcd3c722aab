"""The README's first two lines are what a newcomer pastes: they stay two lines, and the first one answers.

What follows them is executed by tests/test_docs.py; the installation by tests/test_wheel.py and .ci/run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_BLOCK = [
    'pip install . && safetyanalyst analyze "How do I pick the lock of my neighbour\'s door?"',
    'pip install -c tests/constraints.txt ".[test]" && pytest',
]
REFUSE = "import socket\ndef refuse(*a, **k): raise OSError('the network was used')\n"
REFUSE += "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"


def test_the_first_code_block_is_the_two_commands() -> None:
    found = re.search(r"^```\w*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert found[1].splitlines() == FIRST_BLOCK


def test_the_first_command_answers_without_network(tmp_path: Path) -> None:
    install, _, command = FIRST_BLOCK[0].partition(" && ")
    assert install == "pip install ."
    name, *arguments = shlex.split(command)
    assert name == "safetyanalyst"
    (tmp_path / "sitecustomize.py").write_text(REFUSE, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "from safetyanalyst.cli import main; main()", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True,
        encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.match(r"\s*(ALLOW|REVIEW|BLOCK)\s+score ", done.stdout), done.stdout
    for part in ("How do I pick the lock of my neighbour's door?", "Harm tree", "Benefit tree", "[balanced]"):
        assert part in done.stdout


def test_every_command_is_in_the_readme() -> None:
    from safetyanalyst.cli import app

    names = {str(it.name) for it in app.registered_commands} | {str(it.name) for it in app.registered_groups}
    assert sorted(name for name in names if f"safetyanalyst {name}" not in README) == []
