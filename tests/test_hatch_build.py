"""The build hook: a package comes out of every build, with its compiled part or without."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import hatch_build
from safetyanalyst.pipelines.compiled import SOURCE


@pytest.mark.parametrize("value", ["1", "yes"])
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("SAFETYANALYST_NO_COMPILE", value)
    assert "SAFETYANALYST_NO_COMPILE" in hatch_build.compile_library(SOURCE, tmp_path / "library")
    assert list(tmp_path.iterdir()) == []


def test_no_compiler_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAFETYANALYST_NO_COMPILE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "surely-no-compiler -O2")
    monkeypatch.setattr(hatch_build.sysconfig, "get_config_var", {"CC": "nor-this"}.get)
    assert hatch_build.compile_library(SOURCE, tmp_path / "library") == "no C compiler was found"


@pytest.mark.skipif(sys.platform == "win32", reason="made of shell scripts")
@pytest.mark.parametrize("script", ["exit 1", "exit 0", "kill -9 $$"])
def test_a_compiler_that_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    compiler = tmp_path / "broken compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.delenv("SAFETYANALYST_NO_COMPILE", raising=False)
    monkeypatch.setattr(hatch_build, "compilers", lambda: iter([[str(compiler)]]))
    assert "broken compiler" in hatch_build.compile_library(SOURCE, tmp_path / "library")


def test_the_next_compiler_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = list(hatch_build.compilers())
    if not good:
        pytest.skip("no C compiler")
    monkeypatch.delenv("SAFETYANALYST_NO_COMPILE", raising=False)
    missing = [str(tmp_path / "missing")]
    monkeypatch.setattr(hatch_build, "compilers", lambda: iter([missing, *good]))
    assert hatch_build.compile_library(SOURCE, tmp_path / "library") == ""
    assert (tmp_path / "library").is_file()


def test_somebodys_choice_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    python = shutil.which(sys.executable)
    monkeypatch.setenv("CC", f"'{python}' -c pass")
    assert next(hatch_build.compilers()) == [python, "-c", "pass"]


def test_a_library_is_put_in_one_step(tmp_path: Path) -> None:
    library, place = tmp_path / "from", tmp_path / "to"
    library.write_bytes(b"new")
    place.write_bytes(b"old")
    hatch_build.put(library, place)
    assert place.read_bytes() == b"new"
    with pytest.raises(OSError, match="absent"):
        hatch_build.put(library, tmp_path / "absent" / "to")
    assert sorted(it.name for it in tmp_path.iterdir()) == ["from", "to"]
