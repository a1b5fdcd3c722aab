"""Stored trees as columns of numbers and one table of strings: what the report page carries.

A tree is told by counts (stakeholders of a scenario, actions of a stakeholder, effects of an action) over flat columns; every
text is a number in the table of strings. Each effect has its *unit*: the cell it stands in, or a pattern of cells where
something could not be read, or the one behind them all, which is worth 0, where the policy does not count its kind of tree.
With the values of the units a browser adds up the same sum as `explanation.explain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines.dataset import StoredTrees
from safetyanalyst.report.terminal import plain
from safetyanalyst.scenarios import Example, ReadFailure, Trajectory, messages_of, text_of
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, HarmBenefitTree, Tree, TreeKind
from safetyanalyst.weights import Ints

Column = npt.NDArray[np.integer]
Item = StoredTrees | ReadFailure
TYPES = ("prompt", "exchange", "trajectory", "tree", "unreadable")
NO_STEP = -1
NO_LABEL = 2
NO_TREE = -1  # in a column of lost subtrees: the whole tree is missing


def visible(text: str) -> str:
    """Text in which nothing is hidden: as `terminal.plain`, but lines stay lines."""
    if text.isprintable():  # most texts, at once
        return text
    return "\n".join(line if line.isprintable() else plain(line) for line in text.replace("\r\n", "\n").split("\n"))


class Strings:
    """Every text once, made visible, with its number."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of a text; a new one when it is not known yet."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = len(self.texts)
            self.texts.append(visible(text))
        return found


class Columns:
    """Columns under construction."""

    def __init__(self) -> None:
        self._lists: dict[str, list[int]] = {}

    def add(self, name: str, *values: int) -> None:
        """Appends values to a column."""
        self._lists.setdefault(name, []).extend(values)

    def arrays(self) -> dict[str, Column]:
        """Every column in the smallest type that holds it."""
        return {name: smallest(values) for name, values in self._lists.items()}


def smallest(values: Sequence[int] | Column) -> Column:
    """Integers in the smallest type of 8, 16 or 32 bits that holds them all."""
    array = np.asarray(values, np.int64)
    least, most = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
            return array.astype(kind)
    raise OverflowError(f"no type of 32 bits holds both {least} and {most}")


class Units(NamedTuple):
    """The units of every counted effect of n scenarios under one feature space.

    Attributes:
        of_effect: Unit of each effect, in the order of `effects_of`.
        counts: (n,) effects of each scenario.
        lost: (2 n,) lost subtrees of harm and benefit of each scenario, `NO_TREE` for a missing tree, 0 where the kind does not
            count.
        pattern_sizes: Number of cells of each pattern.
        pattern_cells: The cells of all patterns, one after the other.
    """

    of_effect: Column
    counts: Column
    lost: Column
    pattern_sizes: Column
    pattern_cells: Column


def units_of(items: Iterable[Item], space: FeatureSpace) -> Units:
    """Where each effect stands in a feature space.

    Args:
        items: Trees of n scenarios; one that could not be read has no effects.
        space: What the weights distinguish.
    """
    patterns: dict[bytes, Ints] = {}
    numbers: dict[bytes, int] = {}
    units: list[int] = []
    counts: list[int] = []
    lost: list[int] = []
    for item in items:
        before = len(units)
        for kind, tree in _sides(item):
            is_counted = kind in space.spec.kinds
            lost.append(0 if not is_counted else NO_TREE if tree is None else tree.lost)
            for leaf in () if tree is None else tree.leaves():
                cells = space.cells_of(kind, leaf.action.action, leaf.effect)
                if len(cells) > 1:
                    key = cells.tobytes()
                    patterns.setdefault(key, cells)
                    units.append(space.n_cells + numbers.setdefault(key, len(numbers)))
                else:
                    units.append(int(cells[0]) if is_counted else -1)
        counts.append(len(units) - before)
    of_effect = np.array(units, np.int64)
    of_effect[of_effect < 0] = space.n_cells + len(patterns)
    return Units(
        of_effect=smallest(of_effect),
        counts=smallest(counts),
        lost=smallest(lost),
        pattern_sizes=smallest([len(cells) for cells in patterns.values()]),
        pattern_cells=smallest([cell for cells in patterns.values() for cell in cells.tolist()]),
    )


def add_trees(items: Iterable[Item], columns: Columns, strings: Strings, taxonomy: Taxonomy) -> None:
    """The trees themselves, for reading."""
    for name in ("holders", "holder_name", "holder_actions", "action_name", "action_words", "action_effects"):
        columns.add(name)
    for name in ("action_steps", "steps", "effect_name", "effect_extent", "effect_likelihood", "effect_immediacy"):
        columns.add(name)
    levels = {
        "effect_extent": {level.name: i for i, level in enumerate(taxonomy.extents)},
        "effect_likelihood": {level.name: i for i, level in enumerate(taxonomy.likelihoods)},
        "effect_immediacy": {level.name: i for i, level in enumerate(taxonomy.immediacies)},
    }
    for item in items:
        for _, tree in _sides(item):
            stakeholders = () if tree is None else tree.stakeholders
            columns.add("holders", len(stakeholders))
            for holder in stakeholders:
                columns.add("holder_name", strings.number(holder.name))
                columns.add("holder_actions", len(holder.actions))
                for action in holder.actions:
                    _add_action(action, columns, strings, levels)


def _add_action(action: Action, columns: Columns, strings: Strings, levels: Mapping[str, Mapping[str, int]]) -> None:
    columns.add("action_name", strings.number(action.action or ""))
    columns.add("action_words", strings.number(action.description))
    columns.add("action_effects", len(action.effects))
    columns.add("action_steps", len(action.evidence))
    columns.add("steps", *action.evidence)
    for effect in action.effects:
        columns.add("effect_name", strings.number(effect.effect or ""))
        for name, numbers in levels.items():
            value = getattr(effect, name.removeprefix("effect_"))
            columns.add(name, numbers.get(value, len(numbers)))  # behind the last level: not read


def add_scenarios(
    items: Iterable[Item], examples: Mapping[str, Example], sources: Sequence[str], columns: Columns, strings: Strings
) -> None:
    """What is known of each scenario beside its trees: id, source, label, defects and, when joined, its text.

    Args:
        items: The trees.
        examples: Scenarios by id.
        sources: For each item where it comes from.
        columns: To add to.
        strings: To add to.
    """
    for name in ("id", "source", "error", "type", "label", "defects", "defect_code", "defect_place", "defect_found"):
        columns.add(name)
    for name in ("fields", "field", "messages", "message_role", "message_step", "message_text"):
        columns.add(name)
    for item, source in zip(items, sources, strict=True):
        example = examples.get(item.id)
        columns.add("id", strings.number(item.id))
        columns.add("source", strings.number(source))
        columns.add("error", strings.number(_where(item) if isinstance(item, ReadFailure) else ""))
        columns.add("type", TYPES.index(_type(item, example)))
        label = item.label if isinstance(item, StoredTrees) else None
        label = label if label is not None or example is None else example.label
        columns.add("label", NO_LABEL if label is None else label)
        defects = item.defects if isinstance(item, StoredTrees) else ()
        columns.add("defects", len(defects))
        for defect in defects:
            columns.add("defect_code", strings.number(defect.code))
            columns.add("defect_place", strings.number(defect.path))
            columns.add("defect_found", strings.number(defect.found))
        _add_conversation(example, columns, strings)


def _type(item: Item, example: Example | None) -> str:
    if isinstance(item, ReadFailure):
        return "unreadable"
    return item.type if item.type != "tree" or example is None else example.scenario.type


def _where(failure: ReadFailure) -> str:
    return failure.error if failure.line is None else f"line {failure.line}: {failure.error}"


def _add_conversation(example: Example | None, columns: Columns, strings: Strings) -> None:
    fields = {} if example is None else {key: value for key, value in example.fields.items() if value is not None}
    columns.add("fields", len(fields))
    for key, value in fields.items():
        columns.add("field", strings.number(key), strings.number(str(value)))
    if example is None:
        columns.add("messages", 0)
        return
    chat = Trajectory(id="chat", messages=messages_of(example.scenario))
    columns.add("messages", len(chat.messages))
    numbered = [(message, NO_STEP) for message in chat.pending()]
    for step in reversed(chat.steps()):
        mine = [(message, step.index) for message in (step.action, *step.results)]
        numbered = [*((message, NO_STEP) for message in step.context), *mine, *numbered]
    for message, number in numbered:
        columns.add("message_role", strings.number(message.role if message.name is None else f"{message.role}: {message.name}"))
        columns.add("message_step", number)
        columns.add("message_text", strings.number(text_of(message)))


def _sides(item: Item) -> tuple[tuple[TreeKind, Tree | None], ...]:
    """Both trees; of an item that could not be read both are missing."""
    trees = item.trees if isinstance(item, StoredTrees) else HarmBenefitTree(harm=None, benefit=None)
    return (TREE_KINDS[0], trees.harm), (TREE_KINDS[1], trees.benefit)
