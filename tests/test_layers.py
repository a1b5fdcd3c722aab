"""The house's floors: a module imports only from floors below its own, and the two wings never import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "safetyanalyst"
# whole numbers are the floors of the design; within a floor the later number may use the earlier
FLOORS = {
    "errors": 0, "version": 0, "records": 0.1, "resources": 0.1,
    "trees": 1, "taxonomy": 1.1, "scenarios": 1.2, "scenario_formats": 1.3,
    "weights": 1.9, "features": 2, "soft_counts": 2.05, "weight_names": 2.1, "projection": 2.1,
    "links": 3.0, "constraints": 3.1, "fitting": 3.2, "descent": 3.3, "identification": 3.4, "aggregation": 3.5,
    "resampling": 3.55, "fit_facts": 3.55, "calibration": 3.56, "conformal": 3.57, "edits": 3.6, "pins": 3.7, "deployment": 3.8,
    "policy": 4, "steering": 4.05, "bootstrap": 4.1, "comparison": 4.2,
    "score": 4.5, "explanation": 5, "reweighing": 5.1, "flips": 5.2, "goals": 5.25, "search": 5.26, "counterfactual": 5.3,
    "effect_sets": 5.3, "stability": 5.3, "wording": 5.3, "account": 5.6, "failures": 5.9,
    "generation": 2,
    "cascade": 6, "analyst": 6.1,
    "pipelines": 7, "report": 7.1,
    "cli": 8,
}  # fmt: skip
SCORING = {name for name, floor in FLOORS.items() if 1.9 <= floor < 6} - {"generation"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Top-level names inside the package that a module imports, wherever in the module it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "safetyanalyst":
            parts = node.module.split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("safetyanalyst.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    mine = top(path)
    for other in imported(path) - {mine}:
        assert other in FLOORS, f"{other} has no floor"
        assert FLOORS[other] < FLOORS[mine], f"{path} imports {other} from floor {FLOORS[other]}"


@pytest.mark.parametrize("path", [path for path in MODULES if top(path) in SCORING | {"generation"}], ids=lambda p: p.name)
def test_the_wings_do_not_know_each_other(path: Path) -> None:
    other_wing = SCORING if top(path) == "generation" else {"generation"}
    assert not imported(path) & other_wing


def test_every_module_has_a_floor() -> None:
    assert {top(path) for path in MODULES} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_functions_stay_short() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                length = (node.end_lineno or 0) - first.lineno + 1
                assert length <= 50, f"{path}:{node.lineno} {node.name} has {length} lines"
