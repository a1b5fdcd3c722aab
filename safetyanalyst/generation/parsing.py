"""What a model wrote -> a tree and every defect. Lenient about what stands around the tree, never about what it says.

This is the door to all reading: the JSON forms (`json_form`, `json_pairs`) and the notation come through here as well.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from safetyanalyst.generation.dense import from_dense, is_dense
from safetyanalyst.generation.json_form import tree_from_json
from safetyanalyst.generation.json_pairs import pair_from_json, pair_from_text
from safetyanalyst.generation.json_text import Loaded, loads, span_end
from safetyanalyst.generation.notation import EMPTY, UNKNOWN, from_rows, is_row
from safetyanalyst.generation.parsed import Defects, Parsed, ParsedPair
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, DefectCode, Stakeholder, Tree, TreeKind

__all__ = [
    "Loaded",
    "Parsed",
    "ParsedPair",
    "check_evidence",
    "loads",
    "pair_from_json",
    "pair_from_text",
    "parse_tree",
    "tree_from_json",
]

# An opening bracket that may begin a tree, unlike "[1]" or "{name}" in prose.
_OPENING = re.compile(r'\[\s*+(?=[\[{\]"]|null|\Z)|\{\s*+(?=["}]|\Z)')
_FENCE = re.compile(r"\s*(?:```|~~~)\s*[\w-]*\s*")
_TREE_KEYS = frozenset({"stakeholders", "stakeholder", "harm", "benefit", "harms", "benefits", "actions", "effects"})


def parse_tree(text: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads the one tree that a text holds, as JSON (our form or the published one) or in the notation. Never raises.

    Words and code fences around the tree are recorded and looked past. Where a text holds more than one tree none is read,
    because which one is meant cannot be known. Where JSON breaks off, the complete stakeholders before the break are kept, and
    the rest is counted as lost.

    Args:
        text: What was written.
        kind: Which tree was asked for.
        taxonomy: What its words mean.
    """
    if not isinstance(text, str):
        return _no_tree("wrong_type", kind, text)
    if not text.strip():
        return _no_tree("empty_output", kind, "")
    lines = [line for line in text.split("\n") if line.strip()]
    first = lines[1] if _FENCE.fullmatch(lines[0]) and len(lines) > 1 else lines[0]
    if _is_notation(first):
        return _from_notation(text, kind, taxonomy)
    found = _search(text)
    has_rows = any(map(_is_line, found.around.split("\n")))
    if len(found.trees) > 1 or (found.trees and has_rows):
        return _no_tree("several_trees", kind, text.strip())
    if found.trees:
        return _from_loaded(found.trees[0], found.around, kind, taxonomy)
    if has_rows:
        return _from_notation(text, kind, taxonomy)
    return _no_tree("invalid_syntax", kind, text.strip())


def check_evidence(tree: Tree, n_steps: int) -> Parsed:
    """Drops steps that the trajectory does not have.

    Args:
        tree: A tree of a trajectory.
        n_steps: How many steps the trajectory has; they are counted from 0.

    Returns:
        The tree, and a defect for every step dropped.
    """
    defects = Defects()

    def checked(action: Action, path: str) -> Action:
        kept = tuple(step for step in action.evidence if 0 <= step < n_steps)
        for step in action.evidence if len(kept) < len(action.evidence) else ():
            if not 0 <= step < n_steps:
                defects.add("unknown_step", f"{path}.evidence", step)
        return action if len(kept) == len(action.evidence) else action.model_copy(update={"evidence": kept})

    stakeholders = tuple(
        Stakeholder(
            name=stakeholder.name,
            actions=tuple(checked(action, f"{tree.kind}[{i}].actions[{j}]") for j, action in enumerate(stakeholder.actions)),
        )
        for i, stakeholder in enumerate(tree.stakeholders)
    )
    return Parsed(tree=tree.model_copy(update={"stakeholders": stakeholders}), defects=defects.listed())


def _no_tree(code: DefectCode, kind: TreeKind, found: object) -> Parsed:
    defects = Defects()
    defects.add(code, kind, found)
    return Parsed(tree=None, defects=defects.listed())


class _Found(NamedTuple):
    """What a text holds: JSON that may be trees, and the rest of it."""

    trees: list[Loaded]
    around: str


def _search(text: str) -> _Found:
    """Finds JSON that may be a tree; every character is looked at a fixed number of times."""
    whole = loads(text)
    if isinstance(whole.value, list | dict) and not whole.is_broken:
        return _Found([whole], "")
    trees: list[Loaded] = []
    around: list[str] = []
    position = 0
    while len(trees) < 2 and (opening := _OPENING.search(text, position)) is not None:
        around.append(text[position : opening.start()])
        end = span_end(text, opening.start())
        piece = text[opening.start() : end]
        is_whole = end is None and not "".join(around).strip("\ufeff \t\r\n")
        loaded = whole if is_whole else loads(piece)
        if _may_be_tree(loaded):
            trees.append(loaded)
        else:
            around.append(piece)
        position = len(text) if end is None else end
    around.append(text[position:])
    return _Found(trees, "".join(around))


def _may_be_tree(loaded: Loaded) -> bool:
    value: Any = loaded.value
    if isinstance(value, dict):
        return bool(_TREE_KEYS & value.keys())
    if isinstance(value, list):
        return not value or not all(isinstance(item, str | int | float) for item in value)
    return bool(loaded.defects)


def _from_loaded(loaded: Loaded, around: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    defects = Defects()
    if around.strip("\ufeff \t\r\n"):
        defects.add("surrounding_text", kind, around.strip())
    if loaded.value is None and loaded.defects:
        return Parsed(tree=None, defects=(*loaded.defects, *defects.listed()))
    parsed = tree_from_json(loaded.value, kind, taxonomy)
    tree = _believed(parsed.tree, around, defects)
    return Parsed(tree=tree, defects=tuple(dict.fromkeys((*loaded.defects, *defects.listed(), *parsed.defects))))


def _believed(tree: Tree | None, around: str, defects: Defects) -> Tree | None:
    """The tree, unless it says nothing while there are words around it.

    An empty list in prose, in YAML or in broken JSON is a part of something else; alone it says that there is nothing to say.
    """
    if tree is None or tree.lost or any(True for _ in tree.leaves()):
        return tree
    if all(_FENCE.fullmatch(line) or not line.strip("\ufeff \t\r") for line in around.split("\n")):
        return tree
    defects.add("empty_list", tree.kind)
    return None


def _is_notation(line: str) -> bool:
    return line.strip() in (EMPTY, UNKNOWN) or _is_line(line)


def _is_line(line: str) -> bool:
    return is_row(line) or is_dense(line)


def _read_lines(text: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads either notation: the first line that is beyond doubt tells which."""
    certain = next((line for line in text.split("\n") if _is_line(line)), "")
    return from_dense(text, kind, taxonomy) if is_dense(certain) else from_rows(text, kind, taxonomy)


def _from_notation(text: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads rows, between code fences where there are any."""
    lines = text.split("\n")
    fences = [i for i, line in enumerate(lines) if _FENCE.fullmatch(line)]
    if not fences:
        return _read_lines(text, kind, taxonomy)
    first, last = fences[0], fences[1] if len(fences) > 1 else len(lines)
    around = [line for line in (*lines[:first], *lines[last + 1 :]) if line.strip()]
    if any(map(_is_line, around)):
        return _no_tree("several_trees", kind, text.strip())
    parsed = _read_lines("\n".join(lines[first + 1 : last]), kind, taxonomy)
    defects = Defects()
    defects.add("surrounding_text", kind, "\n".join(around) or lines[first])
    lost = sum("|" in line for line in around)  # rows that are broken, and outside: they belong to the tree, or they do not
    for line in around if lost else ():
        if "|" in line:
            defects.add("invalid_syntax", kind, line)
    if len(fences) == 1:
        defects.add("truncated", kind, lines[-1])
        lost += 1
    tree = None if parsed.tree is None else parsed.tree.model_copy(update={"lost": parsed.tree.lost + lost})
    tree = _believed(tree, "\n".join(around), defects)
    return Parsed(tree=tree, defects=(*defects.listed(), *parsed.defects))
