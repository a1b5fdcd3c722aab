"""What the embedded specialists are trained from: teacher trees, and texts that carry only a label."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation import notation
from safetyanalyst.scenarios import Example, Message, Prompt, ReadFailure, Scenario, Trajectory, read_examples
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import HarmBenefitTree, Tree


class Taught(NamedTuple):
    """A scenario with the teacher's trees.

    Attributes:
        scenario: What was judged.
        trees: The teacher's.
        label: 1 harmful, 0 harmless.
        severity: 0 to 4.
        weight: Less than 1 where a second annotator disagreed.
        group: Scenarios of one group are never on both sides of a split.
    """

    scenario: Scenario
    trees: HarmBenefitTree
    label: int
    severity: int
    weight: float
    group: str


class Labelled(NamedTuple):
    """A scenario with a label, and no trees.

    Attributes:
        scenario: What was judged.
        label: 1 harmful, 0 harmless; in between for one that only a model has judged.
        weight: Beside a teacher's.
        group: Scenarios of one group are never on both sides of a split.
        severity: 0 to 4, where somebody has said it.
        grave: Canonical names of the actions that make it harmful, where somebody has named them.
        benefits: Canonical names of beneficial actions, likewise.
    """

    scenario: Scenario
    label: float
    weight: float
    group: str
    severity: int | None = None
    grave: tuple[str, ...] = ()
    benefits: tuple[str, ...] = ()


def read_taught(path: Path, taxonomy: Taxonomy) -> Iterator[Taught]:
    """Reads teacher trees (JSON lines in the teacher's format).

    Raises:
        ConfigError: A line is broken: training data is not to be guessed at.
    """
    _refuse_development(path)
    rows = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    for number, (line, item) in enumerate(zip(rows, read_examples(path), strict=True), start=1):
        if isinstance(item, ReadFailure):
            raise ConfigError(item.error, file=path, key=f"line {number}", expected="a teacher tree")
        row: dict[str, Any] = json.loads(line)
        missing = [key for key in ("id", "harmful", "severity", "harm", "benefit") if key not in row]
        if missing or row["harmful"] not in (0, 1) or row["severity"] not in range(5):
            expected = "id, harmful 0 or 1, severity 0 to 4, harm and benefit"
            raise ConfigError("broken row", file=path, key=f"line {number}", expected=expected)
        trees = {kind: _tree(row, kind, taxonomy, path, number) for kind in ("harm", "benefit")}
        agrees = row.get("second_opinion") in (None, row["harmful"])
        yield Taught(
            _cleaned(item.scenario),
            HarmBenefitTree(**trees),
            int(row["harmful"]),
            int(row["severity"]),
            1.0 if agrees else 0.3,
            f"{path.stem}/{row['id'][0]}/{row['group']}" if "group" in row else _group(item),
        )


def read_labelled(paths: list[Path], weight: float) -> Iterator[Labelled]:
    """Reads scenarios that carry a label; those without one are passed over.

    Raises:
        ConfigError: A line is broken.
    """
    for path in paths:
        for item in _examples(path):
            if item.label is not None:
                yield Labelled(_cleaned(item.scenario), item.label, weight, _group(item))


def read_unlabelled(paths: list[Path]) -> Iterator[Scenario]:
    """Reads the prompts that carry no label.

    Raises:
        ConfigError: A line is broken.
    """
    for path in paths:
        for item in _examples(path):
            if item.label is None and isinstance(item.scenario, Prompt):
                yield item.scenario


def read_contrast(path: Path, taxonomy: Taxonomy, weight: float) -> Iterator[Labelled]:
    """Reads prompts written for training: JSON lines of `id`, `text`, `label`, `severity`, `actions`, `benefits`.

    `actions` and `benefits` hold numbers of the taxonomy, comma separated. The letters of an id before its dash name the
    author's sheet, the digits behind it count; ten neighbours are one group.

    Raises:
        ConfigError: A line is broken: training data is not to be guessed at.
    """
    _refuse_development(path)
    action = {str(category.number): category.name for category in taxonomy.harm_actions}
    benefit = {str(category.number): category.name for category in taxonomy.benefit_actions}
    for number, item in enumerate(read_examples(path), start=1):
        place: dict[str, Any] = {"file": path, "key": f"line {number}"}
        if isinstance(item, ReadFailure) or item.label is None:
            raise ConfigError(getattr(item, "error", "no label"), **place, expected="a labelled prompt")
        severity = item.fields.get("severity")
        numbers = {key: [n for n in str(item.fields.get(key, "")).split(",") if n] for key in ("actions", "benefits")}
        sheet, _, count = item.scenario.id.partition("-")
        if not isinstance(severity, int) or severity not in range(5) or not count.isdecimal():
            raise ConfigError("broken row", **place, expected="severity 0 to 4, an id such as crime-0123")
        if set(numbers["actions"]) - set(action) or set(numbers["benefits"]) - set(benefit):
            raise ConfigError("broken row", **place, expected="actions and benefits as numbers of the taxonomy")
        yield Labelled(
            item.scenario, item.label, weight, f"{sheet}/{int(count) // 10}", severity,
            tuple(action[n] for n in numbers["actions"]), tuple(benefit[n] for n in numbers["benefits"]),
        )  # fmt: skip


def folds_of(groups: list[str], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,) fold of every row; rows of one group share theirs. With fewer groups than folds some folds are empty."""
    names = sorted(set(groups))
    assigned = np.random.default_rng(seed).permutation(len(names)) % n_folds
    fold = dict(zip(names, assigned, strict=True))
    return np.array([fold[group] for group in groups])


def _examples(path: Path) -> Iterator[Example]:
    _refuse_development(path)
    for number, item in enumerate(read_examples(path), start=1):
        if isinstance(item, ReadFailure):
            raise ConfigError(item.error, file=path, key=f"line {number}", expected="a scenario")
        yield item


def _tree(row: dict[str, Any], kind: Any, taxonomy: Taxonomy, path: Path, number: int) -> Tree:
    parsed = notation.from_row_list(row[kind], kind, taxonomy)
    if parsed.tree is None or parsed.defects:
        problem = parsed.defects[0].code if parsed.defects else "unreadable"
        raise ConfigError(f"{kind} tree: {problem}", file=path, key=f"line {number}", expected="rows of the notation")
    return parsed.tree


def _group(example: Example) -> str:
    """What belongs together: runs of one task."""
    task = [example.fields[key] for key in ("suite", "user_task") if key in example.fields]
    if task:
        return "/".join(map(str, task))
    if isinstance(example.scenario, Trajectory):
        request = next((m.content for m in example.scenario.messages if m.role == "user"), "")
        return f"task/{zlib.crc32(request.encode('utf-8', 'replace'))}"
    return example.scenario.id


def _cleaned(scenario: Scenario) -> Scenario:
    """Leaves out what only an emulated run has: the emulator's comment on the risk, and calls to no tool at all."""
    if not isinstance(scenario, Trajectory):
        return scenario
    return scenario.model_copy(update={"messages": tuple(_cleaned_message(message) for message in scenario.messages)})


def _cleaned_message(message: Message) -> Message:
    calls = tuple(call for call in message.tool_calls if call.name not in ("", "None"))
    content = message.content
    if message.role == "tool" and content.startswith("["):
        try:
            parts = json.loads(content)
        except ValueError:
            parts = None
        if isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts):
            content = parts[0]
    if content.startswith("Agent stopped:"):
        content = ""
    return message.model_copy(update={"content": content, "tool_calls": calls})


def _refuse_development(path: Path) -> None:
    if path.name.startswith("dev_"):
        raise ConfigError("this is a development set", file=path, expected="a training set: measuring and training never mix")
