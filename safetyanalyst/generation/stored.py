"""A stored record -> the two trees in it, in any of the forms that files of trees have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetyanalyst.generation import notation
from safetyanalyst.generation.json_form import tree_from_json
from safetyanalyst.generation.json_pairs import pair_from_json
from safetyanalyst.generation.parsed import ParsedPair
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, Defect, HarmBenefitTree, Tree

_PUBLISHED_KEYS = ("tree", "harm-benefit tree")  # ours, and the column of the published dataset
TREE_COLUMNS = ("trees", *_PUBLISHED_KEYS, *TREE_KINDS)
"""Keys of a record that hold trees."""


def rival_columns(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that hold trees where there are too many: which one counts cannot be known. Empty for a record that is clear."""
    given = tuple(key for key in TREE_COLUMNS if key in value)
    return given if len(given) > 1 and given != TREE_KINDS else ()


def pair_of(value: Mapping[str, Any], taxonomy: Taxonomy) -> ParsedPair | None:
    """The trees of a record; `None` when it holds none.

    Args:
        value: With one of: `trees` (our analyses), `tree` or `harm-benefit tree` (published form, as JSON or as a string
            holding JSON), `harm` and `benefit` (lists of notation rows).
        taxonomy: What the trees speak of.
    """
    for key in ("trees", *_PUBLISHED_KEYS):
        if key in value:
            return pair_from_json(value[key], taxonomy)
    if any(kind in value for kind in TREE_KINDS):
        return _pair_from_rows(value, taxonomy)
    return None


def _pair_from_rows(value: Mapping[str, Any], taxonomy: Taxonomy) -> ParsedPair:
    trees: dict[str, Tree | None] = {"harm": None, "benefit": None}
    defects: list[Defect] = []
    for kind in TREE_KINDS:
        rows = value.get(kind)
        if rows is None:
            defects.append(Defect(code="missing_key", path=kind))
            continue
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            parsed = tree_from_json(rows, kind, taxonomy)
        else:
            parsed = notation.from_row_list(rows, kind, taxonomy)
        trees[kind] = parsed.tree
        defects += parsed.defects
    return ParsedPair(trees=HarmBenefitTree(harm=trees["harm"], benefit=trees["benefit"]), defects=tuple(defects))
