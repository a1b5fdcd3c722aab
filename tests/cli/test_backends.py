from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from safetyanalyst.cli import app
from safetyanalyst.errors import BackendError
from safetyanalyst.generation import load_generator
from safetyanalyst.generation.table import BACKENDS, NEEDED
from safetyanalyst.taxonomy import load_taxonomy
from tests import scripted

TAXONOMY = load_taxonomy()


def listed() -> dict[str, Any]:
    result = CliRunner().invoke(app, ["backends", "--json"])
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}


def test_every_backend_is_listed_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openai" else there(name))
    found = listed()
    assert set(BACKENDS) <= set(found)
    assert found["openai"]["missing"] == ["openai"]
    assert found["openai"]["install"] == 'pip install "safetyanalyst[openai]"'
    assert found["embedded"]["missing"] == []
    said = CliRunner().invoke(app, ["backends"]).stdout
    assert 'missing openai: pip install "safetyanalyst[openai]"' in said
    assert "ready" in said


def test_backends_of_other_packages_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(scripted.install(tmp_path))
    assert listed()["rules"]["about"].startswith("of the package ")


@pytest.mark.parametrize("backend", sorted(NEEDED))
def test_a_backend_whose_library_is_missing_says_how_to_install_it(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {NEEDED[backend][0]!r}", name=f"{NEEDED[backend][0]}.inner")

    monkeypatch.setattr("importlib.import_module", lacks)
    with pytest.raises(BackendError, match=rf"{backend}. needs {NEEDED[backend][0]}.*safetyanalyst\[{backend}\]"):
        load_generator(backend, "harm", TAXONOMY, {"model": "m"})
