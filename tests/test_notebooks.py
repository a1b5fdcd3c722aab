"""The notebooks are executed from top to bottom, each in a fresh kernel without network, and say what they said when committed.

After a change that they show: `python notebooks/execute.py`, then read their prose again.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import ROOT, environment

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_ABSENT = [name for name in ("ipykernel", "matplotlib", "nbclient") if importlib.util.find_spec(name) is None]
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MACHINE = re.compile(r"(?:^|[\s\"'(=])/(?:tmp|home|root|Users|usr|var|opt|work)/|[A-Z]:\\", re.MULTILINE)

needs_a_kernel = pytest.mark.skipif(bool(_ABSENT), reason=f'not installed: {", ".join(_ABSENT)} (pip install ".[notebook]")')
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda it: it.stem)


def execute(notebook: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Executes a notebook; what comes of it lies in tmp_path/out."""
    (tmp_path / "out").mkdir()
    return subprocess.run(
        [sys.executable, str(FOLDER / "execute.py"), str(notebook), "--out", str(tmp_path / "out")],
        env=environment(tmp_path / "tools"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def text_of(cell: dict[str, Any]) -> str:
    """What a code cell says, in words; plots are counted."""
    parts: list[str] = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        parts += ["[plot]"] if "image/png" in data else ["".join(output.get("text", data.get("text/plain", "")))]
    return "\n".join(parts)


def is_alike(a: str, b: str) -> bool:
    """Whether two texts have the same words and nearly the same numbers: the last digit may be of another machine."""
    if _NUMBER.sub("#", a).split() != _NUMBER.sub("#", b).split():
        return False
    pairs = zip(map(float, _NUMBER.findall(a)), map(float, _NUMBER.findall(b)), strict=True)
    return all(abs(x - y) <= 0.0101 if x % 1 or y % 1 else x == y for x, y in pairs)


@needs_a_kernel
@each_notebook
def test_a_notebook_runs_and_says_what_it_said(notebook: Path, tmp_path: Path) -> None:
    done = execute(notebook, tmp_path)
    assert done.returncode == 0, done.stderr
    for i, (old, new) in enumerate(zip(cells_of(notebook), cells_of(tmp_path / "out" / notebook.name), strict=True)):
        assert old["source"] == new["source"]
        said, says = text_of(old), text_of(new)
        assert is_alike(said, says), f"cell {i}: committed\n{said}\nnow\n{says}"


@each_notebook
def test_what_is_committed_is_a_clean_run_from_top_to_bottom(notebook: Path) -> None:
    code = [cell for cell in cells_of(notebook) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output["name"] for output in outputs if "name" in output} <= {"stdout"}
    stored = json.loads(notebook.read_text(encoding="utf-8"))
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    assert not any(it["metadata"] for it in [*stored["cells"], *(out for out in outputs if "metadata" in out)])
    assert not _MACHINE.search("\n".join(text_of(cell) for cell in code))
    assert notebook.stat().st_size < 250_000


@each_notebook
def test_every_plot_is_told_in_words(notebook: Path) -> None:
    """At least two plots, and none comes after another without its words."""
    waiting = plots = 0
    for cell in cells_of(notebook):
        if cell["cell_type"] == "markdown" and "*In words: " in "".join(cell["source"]):
            assert waiting == 1
            waiting = 0
        found = text_of(cell).count("[plot]")
        waiting, plots = waiting + found, plots + found
        assert waiting <= 1
    assert waiting == 0
    assert plots >= 2


@each_notebook
def test_links_lead_somewhere(notebook: Path) -> None:
    prose = "\n".join("".join(cell["source"]) for cell in cells_of(notebook) if cell["cell_type"] == "markdown")
    assert [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if not (FOLDER / link).exists()] == []


@needs_a_kernel
def test_a_cell_that_asks_for_the_network_fails(tmp_path: Path) -> None:
    source = 'import socket\nsocket.create_connection(("127.0.0.1", 9), timeout=1)'
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    asking = tmp_path / "asking.ipynb"
    asking.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}), encoding="utf-8")
    done = execute(asking, tmp_path)
    assert done.returncode != 0
    assert "asked for the network" in done.stderr


def test_alike_means_the_same_words_and_whole_numbers() -> None:
    assert is_alike("3 of 8, 0.5012 to 0.6", "3 of 8,  0.5009 to 0.61")
    for other in ("4 of 8, 0.5012 to 0.6", "3 of 8, 0.52 to 0.6", "3 of 9, 0.5012 to 0.6", "3 by 8, 0.5012 to 0.6"):
        assert not is_alike("3 of 8, 0.5012 to 0.6", other)
    assert all(_MACHINE.search(text) for text in ("/tmp/x", "in '/home/me'", "C:\\Users"))
    assert not _MACHINE.search("harm/action/privacy and/or 1/2")
