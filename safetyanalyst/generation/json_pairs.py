"""Both trees of a scenario in one JSON value -> two trees and every defect."""

from __future__ import annotations

from typing import Any

from safetyanalyst.generation.json_form import ABSENT, OTHER, PUBLISHED, TreeReader
from safetyanalyst.generation.json_text import Unreadable, loads
from safetyanalyst.generation.parsed import MAX_COUNT, Defects, ParsedPair
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, DefectCode, HarmBenefitTree, Stakeholder, Tree, TreeKind

_SIDES = frozenset(form.actions for form in PUBLISHED.values())


def pair_from_text(text: str, taxonomy: Taxonomy) -> ParsedPair:
    """Reads both trees of a scenario from a JSON text; see `pair_from_json` for its forms. Never raises."""
    loaded = loads(text)
    if loaded.value is None and loaded.defects:
        return ParsedPair(trees=HarmBenefitTree(harm=None, benefit=None), defects=loaded.defects)
    pair = pair_from_json(loaded.value, taxonomy)
    return ParsedPair(trees=pair.trees, defects=tuple(dict.fromkeys((*loaded.defects, *pair.defects))))


def pair_from_json(value: object, taxonomy: Taxonomy) -> ParsedPair:
    """Reads both trees of a scenario from parsed JSON. Never raises, whatever the value is.

    Three forms: `{"harm": tree | null, "benefit": tree | null}`; `{"harms": tree, "benefits": tree}`; and the published
    combined list of stakeholders, each with "harms", "benefits" or both. A string that holds one of them as JSON is read as
    well, because published files store it so.

    In a combined list, no "benefits" anywhere means that there are none, as in the published code; no "harms" anywhere means
    that the harm tree is missing, because nothing is called harmless for want of a key. An empty list says nothing at all.

    Where a name that only harms have stands among benefits, or the reverse, the side of that stakeholder is in doubt: it stays
    where it stands, and counts as lost on both sides. So does a subtree under an unknown key.
    """
    if isinstance(value, str):
        inner = loads(value).value
        return _no_pair("wrong_type", value) if isinstance(inner, str) else pair_from_text(value, taxonomy)
    if isinstance(value, list) and value:
        return _pair_from_list(value, taxonomy)
    if isinstance(value, list):
        return _no_pair("empty_list", value)
    if isinstance(value, dict):
        return _pair_from_object(value, taxonomy)
    if isinstance(value, Unreadable):
        return _no_pair(value.code, value.found)
    return _no_pair("missing_value" if value is None else "wrong_type", value)


def _no_pair(code: DefectCode, found: object) -> ParsedPair:
    defects = Defects()
    defects.add(code, "", found)
    return ParsedPair(trees=HarmBenefitTree(harm=None, benefit=None), defects=defects.listed())


def _pair_from_object(value: dict[Any, Any], taxonomy: Taxonomy) -> ParsedPair:
    defects = Defects()
    keys = {kind: PUBLISHED[kind].actions if _SIDES & value.keys() else str(kind) for kind in TREE_KINDS}
    if any(kind in value for kind in TREE_KINDS):
        keys = {kind: str(kind) for kind in TREE_KINDS}
    readers = {kind: TreeReader(kind, taxonomy, defects) for kind in TREE_KINDS}
    trees: dict[TreeKind, Tree | None] = {}
    n_lost = readers["harm"].check_keys(value, frozenset(keys.values()), "")
    for kind, reader in readers.items():
        reader.lost += n_lost
        content = reader.get(value, keys[kind], "")
        trees[kind] = None if content is ABSENT else reader.tree(content, kind)
    return _pair(trees, readers, defects)


def _pair_from_list(value: list[Any], taxonomy: Taxonomy) -> ParsedPair:
    defects = Defects()
    readers = {kind: TreeReader(kind, taxonomy, defects) for kind in TREE_KINDS}
    stakeholders: dict[TreeKind, list[Stakeholder]] = {kind: [] for kind in TREE_KINDS}
    seen: set[TreeKind] = set()
    for i, entry in enumerate(value):
        sides = [kind for kind in TREE_KINDS if isinstance(entry, dict) and PUBLISHED[kind].actions in entry]
        seen.update(sides)
        for kind in sides or TREE_KINDS:  # what is no object, or has neither key, may have been of either side
            form = PUBLISHED[kind] if len(sides) == 1 else PUBLISHED[kind]._replace(others=_SIDES)
            stakeholder = readers[kind].stakeholder(entry, f"{kind}[{i}]", form)
            if stakeholder is not None:
                stakeholders[kind].append(stakeholder)
    if "harm" not in seen:
        defects.add("missing_key", PUBLISHED["harm"].actions)
    trees: dict[TreeKind, Tree | None] = {k: Tree(kind=k, stakeholders=tuple(stakeholders[k])) for k in TREE_KINDS}
    if "harm" not in seen:
        trees["harm"] = None
    return _pair(trees, readers, defects)


def _pair(trees: dict[TreeKind, Tree | None], readers: dict[TreeKind, TreeReader], defects: Defects) -> ParsedPair:
    """Both trees, each with what was lost on its side, and with what was found on the other and may belong to it."""
    doubtful = sum(reader.doubtful for reader in readers.values())
    whole: dict[TreeKind, Tree | None] = {}
    for kind, tree in trees.items():
        lost = min(readers[kind].lost + readers[OTHER[kind]].strays + doubtful, MAX_COUNT)
        whole[kind] = None if tree is None else tree.model_copy(update={"lost": lost})
    doubts = [defect for reader in readers.values() for defect in reader.doubts.listed()]
    both = HarmBenefitTree(harm=whole["harm"], benefit=whole["benefit"])
    return ParsedPair(trees=both, defects=tuple(dict.fromkeys((*defects.listed(), *doubts))))
