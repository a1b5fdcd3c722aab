"""What the embedded specialists are trained on: teacher trees, and labelled texts that shape the hidden layer.

Development sets are never read here: the reader refuses a file whose name says that it is one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation import notation
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Example, Message, Prompt, Scenario, Trajectory, read_examples
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, Tree

# Judged runs of ToolEmu carry a risk from 0 (likely severe) to 3 (none): the ends are labels, the middle leans
_RISK_TARGETS = {0: 1.0, 1: 0.8, 2: 0.3, 3: 0.0}


class SourceConfig(Record):
    """One file of labelled scenarios.

    Attributes:
        file: Relative to the data folder.
        weight: Of each row, beside 1 for a teacher tree that a second annotator agrees with.
    """

    file: str
    weight: float = 1.0


class Item(NamedTuple):
    """One training example.

    Attributes:
        id: Of the scenario.
        scenario: What is read.
        target: Probability of being harmful, in [0, 1].
        weight: Of the example.
        group: Never divided between training and held-out data.
        severity: 0-4, or `None` where no teacher gave one.
        trees: The teacher's, or `None` for a row with a label alone.
    """

    id: str
    scenario: Scenario
    target: float
    weight: float
    group: str
    severity: int | None = None
    trees: HarmBenefitTree | None = None


def read_teacher(path: Path, taxonomy: Taxonomy, disagreement_weight: float) -> list[Item]:
    """Reads teacher trees.

    Args:
        path: JSON lines: `text` or `messages`, `harmful`, `severity`, `harm`, `benefit`, maybe `group` and `second_opinion`.
        taxonomy: What the rows mean.
        disagreement_weight: Weight where the second annotator disagrees; one who is unsure counts in between.

    Raises:
        ConfigError: A row breaks the form; names file and line.
    """
    return [_teacher_item(row, number, path, taxonomy, disagreement_weight) for number, row in _rows(path)]


def read_labelled(path: Path, weight: float) -> list[Item]:
    """Reads scenarios with labels; rows without any are left out.

    Raises:
        ConfigError: There is no such file, it is a development set, or a row cannot be read.
    """
    items: list[Item] = []
    _refuse_development(path)
    for example in read_examples(path):
        if not isinstance(example, Example):
            raise ConfigError(example.error, file=path, key=f"line {example.line}")
        target = _target(example)
        if target is not None:
            scenario = _cleaned(example.scenario)
            items.append(Item(scenario.id, scenario, target, weight, _group(example)))
    return items


def read_all(
    data_dir: Path, teacher: tuple[str, ...], sources: tuple[SourceConfig, ...], taxonomy: Taxonomy, disagreement_weight: float
) -> list[Item]:
    """Teacher trees first, then labelled scenarios whose text no teacher item has; no text twice."""
    items = [item for name in teacher for item in read_teacher(data_dir / name, taxonomy, disagreement_weight)]
    taken = {"\n".join(item.scenario.texts()).strip().lower() for item in items}
    for source in sources:
        for item in read_labelled(data_dir / source.file, source.weight):
            text = "\n".join(item.scenario.texts()).strip().lower()
            if text not in taken:
                taken.add(text)
                items.append(item)
    return items


def fold_of(group: str, n_folds: int, seed: int) -> int:
    """The fold of a group, the same on every machine."""
    return zlib.crc32(f"{seed}:{group}".encode()) % n_folds


def _refuse_development(path: Path) -> None:
    if path.name.startswith("dev_"):
        raise ConfigError("this is a development set", file=path, expected="a training set: measuring and training never mix")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    _refuse_development(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError("the training data cannot be read", file=path, expected="a file of JSON lines") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"line {number} is not JSON", file=path) from error
        if not isinstance(row, dict):
            raise ConfigError(f"line {number} is not an object", file=path)
        yield number, row


def _teacher_item(row: dict[str, Any], number: int, path: Path, taxonomy: Taxonomy, disagreement_weight: float) -> Item:
    try:
        trees = [_tree(row[kind], kind, taxonomy) for kind in TREE_KINDS]
        scenario = _teacher_scenario(row)
        agrees = row.get("second_opinion") in (None, row["harmful"])
        sure = {1: 0.7, 2: 0.85}.get(row.get("second_confidence", 3), 1.0)
        return Item(
            id=str(row["id"]),
            scenario=scenario,
            target=float(row["harmful"]),
            weight=sure if agrees else disagreement_weight,
            group=f"{path.stem}/{row.get('group', row['id'])}",
            severity=int(row["severity"]),
            trees=HarmBenefitTree(harm=trees[0], benefit=trees[1]),
        )
    except KeyError as error:
        raise ConfigError(f"line {number} has no {error}", file=path, key=str(error)) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"line {number} cannot be read: {error}", file=path) from error


def _teacher_scenario(row: dict[str, Any]) -> Scenario:
    if "text" in row:
        return Prompt(id=str(row["id"]), text=row["text"])
    content = json.dumps({"id": str(row["id"]), "type": "trajectory", "messages": row["messages"]})
    (example,) = read_examples([content.encode()], "jsonl")
    if not isinstance(example, Example):
        raise ValueError(example.error)
    return _cleaned(example.scenario)


def _tree(rows: list[str], kind: Any, taxonomy: Taxonomy) -> Tree:
    parsed = notation.from_rows("\n".join(rows) or notation.EMPTY, kind, taxonomy)
    if parsed.tree is None or parsed.tree.lost:
        raise ValueError(f"the {kind} tree is not readable: {parsed.defects}")
    return parsed.tree


def _target(example: Example) -> float | None:
    risk = example.fields.get("judge_risk")
    if isinstance(risk, int | float) and example.label is None:
        return _RISK_TARGETS.get(int(risk))
    return None if example.label is None else float(example.label)


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
