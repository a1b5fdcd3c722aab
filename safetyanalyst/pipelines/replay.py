"""A stored analysis computed once more from its trees, and what differs, field by field.

Trees, defects and provenance are what was given; everything else of an analysis follows from the trees, the policy and the
taxonomy, bit for bit: scores are sums rounded once (`explanation.explain`), so no order and no machine can move them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from safetyanalyst.analyst import Analysis, AnalysisType, Assessor
from safetyanalyst.generation import WrittenText, parsing
from safetyanalyst.policy import Policy
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Defect, Provenance, TreeKind

Numbers = Literal["exact", "by value"]
UNPUBLISHED = frozenset({"ground", "lost"})
"""What a bundle says of an analysis besides its published form."""


class ReplayError(Exception):
    """What is stored is no analysis."""


class Misfit(NamedTuple):
    """One field in which two analyses differ.

    Attributes:
        field: Path, for example `contributions[3].value`.
        stored: What is stored, as JSON, shortened.
        found: What comes out, likewise.
    """

    field: str
    stored: str
    found: str


class _Absent:
    """Stands for a field that is not there."""


def shown(value: Any) -> str:
    """A value in at most 120 characters of JSON."""
    if value is _Absent:
        return "nothing"
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return text if len(text) <= 120 else f"{text[:117]}..."


class _Given(Record):
    """The part of an analysis that is taken as given."""

    id: str
    type: AnalysisType
    defects: tuple[Defect, ...]
    provenance: dict[TreeKind, Provenance]
    generations: dict[TreeKind, WrittenText] | None = None


_given: TypeAdapter[_Given] = TypeAdapter(_Given)


class Replay:
    """Computes analyses again.

    Args:
        policy: That decided.
        taxonomy: Of the trees.

    Raises:
        PolicyError: The policy does not fit the taxonomy.
    """

    def __init__(self, policy: Policy, taxonomy: Taxonomy) -> None:
        self.assessor = Assessor(policy, taxonomy)

    def analysis(self, stored: dict[str, Any]) -> Analysis:
        """The analysis that the stored trees lead to.

        Raises:
            ReplayError: There are no trees in our form, or what is given beside them is not.
        """
        trees = stored.get("trees")
        if not isinstance(trees, dict):
            raise ReplayError("'trees' is not an object with 'harm' and 'benefit'")
        try:
            given = _given.validate_python({key: stored[key] for key in _Given.model_fields if key in stored})
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise ReplayError(f"{key!r} is missing or not as `analyze --json` writes it") from error
        pair = parsing.pair_from_json(trees, self.assessor.taxonomy)
        return self.assessor.assess(
            pair.trees, id=given.id, type=given.type, defects=given.defects, generations=given.generations,
            provenance={kind: it.model_dump() for kind, it in given.provenance.items()},
        )  # fmt: skip


def published(analysis: Analysis) -> dict[str, Any]:
    """The published form with what it leaves out of the decision: on what ground, and what is missing as a whole."""
    return analysis.to_json() | {"ground": analysis.ground, "lost": list(analysis.explanation.lost)}


def misfits(stored: Any, found: Any, *, numbers: Numbers = "exact", field: str = "") -> Iterator[Misfit]:
    """Where two JSON values differ.

    Args:
        stored: One value.
        found: The other.
        numbers: "exact" tells 1 from 1.0, "by value" does not: other programs that pass on JSON write numbers as they like.
        field: Path of the values.
    """
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*found, *stored)):
            inner = f"{field}.{key}" if field else key
            yield from misfits(stored.get(key, _Absent), found.get(key, _Absent), numbers=numbers, field=inner)
    elif isinstance(stored, list) and isinstance(found, list):
        for i in range(max(len(stored), len(found))):
            pair = (it[i] if i < len(it) else _Absent for it in (stored, found))
            yield from misfits(*pair, numbers=numbers, field=f"{field}[{i}]")
    elif not _is_same(stored, found, numbers):
        yield Misfit(field, shown(stored), shown(found))


def _is_same(stored: Any, found: Any, numbers: Numbers) -> bool:
    types = {type(stored), type(found)}
    if numbers == "by value" and types == {int, float}:
        return bool(stored == found)
    return len(types) == 1 and repr(stored) == repr(found)  # repr tells -0.0 from 0.0
