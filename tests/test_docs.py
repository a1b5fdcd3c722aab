"""Documentation is executed: every code block of the README and of docs/ does here what a reader would do.

A page is one session in an empty folder, from top to bottom, without network:

- ```json file=NAME (or any other language) writes the block to that file;
- ```python runs the block, all of a page in one namespace; with `>>>` in it, as doctest;
- ```console runs what stands behind `$ ` (and `> ` on the lines below it) in a shell. Lines that follow are the output, where
  `...` stands for anything; with none of them, the output may be anything. The exit status has to be 0, or what a last
  line `[exit status 3]` says;
- anything else (```text, ```bash) is to be read only.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"bash", "console", "json", "python", "text", "toml", "yaml"}
NO_NETWORK = """\
import socket

def _refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise OSError(f"the documentation asked for the network: {address}")
    return _allowed[0](self, address, *rest)

_allowed = (socket.socket.connect,)
socket.socket.connect = socket.socket.connect_ex = _refuse
socket.getaddrinfo = lambda *a, **k: _refuse(socket.socket(), a)
"""
_BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STATUS = re.compile(r"\[exit status (\d+)\]\Z")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    file: str
    body: str
    line: int


class Command(NamedTuple):
    """One command of a console block with what has to come of it."""

    text: str
    output: str
    status: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start()) + 1)


def commands(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        end = next((i for i, line in enumerate(lines) if i and not line.startswith("> ")), len(lines))
        text = "\n".join([lines[0], *(line[2:] for line in lines[1:end])])
        output = "\n".join(lines[end:])
        status = _STATUS.search(output)
        yield Command(text, _STATUS.sub("", output), int(status[1]) if status else 0)


def environment(tools: Path) -> dict[str, str]:
    """An environment in which `safetyanalyst` is this source tree, and no network answers."""
    tools.mkdir(exist_ok=True)
    (tools / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    for name, run in (("safetyanalyst", "-c 'from safetyanalyst.cli import main; main()'"), ("python", "")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {run} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    paths = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{tools}{os.pathsep}{ROOT}"}
    plain = {"COLUMNS": "110", "TERM": "dumb", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **paths, **plain}


def run_console(block: Block, tools: Path) -> None:
    for command in commands(block.body):
        done = subprocess.run(
            ["/bin/sh", "-c", command.text],
            env=environment(tools),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
        )
        said = f"$ {command.text}\n{done.stdout}{done.stderr}"
        assert done.returncode == command.status, f"line {block.line}: exit status {done.returncode}\n{said}"
        if command.output.strip():
            assert is_alike(command.output, done.stdout), f"line {block.line}: expected\n{command.output}\nfound\n{said}"


def is_alike(wanted: str, found: str) -> bool:
    """Whether an output is as shown: `...` is anything, and how many blanks there are does not matter."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted.strip() + "\n", found.strip() + "\n", flags)


def run_python(block: Block, page: Path, namespace: dict[str, object]) -> None:
    if ">>> " in block.body:
        test = doctest.DocTestParser().get_doctest(block.body, {}, page.name, str(page), block.line)
        test.globs = namespace
        said = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=said.write, clear_globs=False)
        assert not runner.failures, said.getvalue()
        return
    tree = ast.increment_lineno(ast.parse(block.body), block.line)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(tree, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tmp_path / "session"
    (session / "docs").mkdir(parents=True)
    (session / "docs" / "data").symlink_to(ROOT / "docs" / "data")  # the clone that a page says it is read in
    monkeypatch.chdir(session)
    monkeypatch.syspath_prepend(str(session))
    namespace: dict[str, object] = {"__name__": "__main__"}
    run: dict[str, Callable[[Block], None]] = {
        "python": lambda block: run_python(block, page, namespace),
        "console": lambda block: run_console(block, tmp_path / "tools"),
    }
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}: {block.language!r} is not a language that this test knows"
        if block.file:
            Path(block.file).write_text(block.body, encoding="utf-8")
        elif block.language in run:
            run[block.language](block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_closed_and_read(page: Path) -> None:
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
    assert len(fences) == 2 * len(list(blocks(page)))


def test_the_runner_sees_a_wrong_output_and_a_wrong_status(tmp_path: Path) -> None:
    run_console(Block("console", "", "$ echo one; exit 3\none\n[exit status 3]\n", 1), tmp_path / "tools")
    for body in ("$ echo one\ntwo\n", "$ exit 3\n", "$ true\n[exit status 3]\n"):
        with pytest.raises(AssertionError):
            run_console(Block("console", "", body, 1), tmp_path / "tools")
    with pytest.raises(AssertionError):
        run_python(Block("python", "", ">>> 1 + 1\n3\n", 1), ROOT / "README.md", {})


def test_a_page_has_no_network(tmp_path: Path) -> None:
    connect = 'import socket; socket.create_connection(("127.0.0.1", 9), timeout=1)'
    done = subprocess.run(
        ["/bin/sh", "-c", f"python -c '{connect}'"], env=environment(tmp_path / "tools"), capture_output=True, text=True
    )
    assert "the documentation asked for the network" in done.stderr
