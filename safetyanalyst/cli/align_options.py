"""What is written behind the options of `align fit`, read into settings; and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetyanalyst.errors import ConfigError, PolicyError

if TYPE_CHECKING:
    from safetyanalyst.constraints import Constraints
    from safetyanalyst.features import FeatureSpace
    from safetyanalyst.policy import Policy


def constraints(floors: Iterable[str], ceilings: Iterable[str], frozen: Iterable[str]) -> Constraints:
    """Reads `NAME=VALUE` of floors and ceilings, `NAME` or `NAME=VALUE` of frozen weights.

    Raises:
        ConfigError: Something else stands there, or a pattern is given twice.
    """
    from safetyanalyst import resources
    from safetyanalyst.constraints import Constraints

    given = {
        "floors": _pairs(floors, "--floor"),
        "ceilings": _pairs(ceilings, "--ceiling"),
        "frozen": _pairs(frozen, "--freeze"),
    }
    return resources.validate(Constraints, given, file=None, error=PolicyError)


def threshold(text: str) -> str | float:
    """Reads `fit`, `base` or a number."""
    return text if text in ("fit", "base") else _number(text, "--threshold", "fit, base or a number")


def with_space(base: Policy, changes: Mapping[str, str | None]) -> Policy:
    """The base with another feature space, where one is asked for.

    Raises:
        ConfigError: A word that names none.
    """
    from safetyanalyst import resources
    from safetyanalyst.features import FeatureSpaceSpec

    wanted = {key: value for key, value in changes.items() if value is not None}
    space = resources.validate(FeatureSpaceSpec, base.space.model_dump() | wanted, file=None)
    return base.model_copy(update={"space": space})


def with_pins(constraints: Constraints, base: Policy, space: FeatureSpace) -> Constraints:
    """The constraints with what the base pins: a pin is a floor and a ceiling."""
    from safetyanalyst.deployment import pins_in_force
    from safetyanalyst.pins import bounds
    from safetyanalyst.weight_names import weight_names

    floors, ceilings = dict(constraints.floors), dict(constraints.ceilings)
    limits = bounds(pins_in_force(base), weight_names(space))
    for name in space.levels.names:
        if limits[name].floor_by is not None:
            floors[name] = max(limits[name].floor, floors.get(name, 0.0))
        if limits[name].ceiling_by is not None:
            ceilings[name] = min(limits[name].ceiling, ceilings.get(name, 1.0))
    return constraints.model_copy(update={"floors": floors, "ceilings": ceilings})


def refuse_beside(out: Path) -> None:
    """What lies beside a policy is replaced by the like of it, and nothing else is."""
    from safetyanalyst.bootstrap import bootstrap_path

    for beside, start in ((bootstrap_path(out), '{"format": "safetyanalyst-bootstrap/'), (report_path(out), '{"column": ')):
        if beside.exists() and not _starts_with(beside, start):
            raise ConfigError("something else lies here already", file=beside, key="--out", expected="another name")


def report_path(out: Path) -> Path:
    """Where the report on communities lies beside the pooled policy."""
    return out.with_name(out.stem + ".communities.json")


def write_together(files: Mapping[Path, str]) -> None:
    """Writes all files, or none when it is interrupted while writing: each is complete before the first takes its name."""
    ready: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            ready[path] = path.with_name(f".{path.name}.{os.getpid()}.part")
            ready[path].write_text(text, encoding="utf-8")
        for path, part in ready.items():
            part.replace(path)
    finally:
        for part in ready.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _pairs(items: Iterable[str], option: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or (not equals and option != "--freeze"):
            raise ConfigError(
                f"{item!r} is not readable", key=option, expected="WEIGHT=VALUE, such as harm/action/child_harm=0.5"
            )
        if name in found:
            raise ConfigError(f"{name} is given twice", key=option, expected="one value")
        found[name] = _number(value, f"{option} {name}", "a number in [0, 1]") if equals else None
    return found


def _number(text: str, key: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"found {text!r}", key=key, expected=expected) from None


def _starts_with(path: Path, start: str) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start.encode()
