"""Files of stored trees: our own analyses, the published form, the teacher's rows; one record per line.

A line that cannot be read is a `ReadFailure` with its number; the others go on. Nothing is held in memory but the line at hand.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from safetyanalyst.analyst import PolicyReference
from safetyanalyst.generation import WrittenText, parsing
from safetyanalyst.generation.parsed import well_formed
from safetyanalyst.generation.stored import TREE_COLUMNS as TREE_COLUMNS
from safetyanalyst.generation.stored import pair_of, rival_columns
from safetyanalyst.records import Record
from safetyanalyst.resources import readable
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, Defect, HarmBenefitTree, Provenance, TreeKind

PLACE = re.compile(r"line-\d+")
"""The ids of records that have none of their own."""
_LABEL_KEYS = ("label", "harmful")
_LABEL_WORDS: dict[str, Literal[0, 1]] = {"safe": 0, "unsafe": 1}  # labels are written as those of scenarios are
_TYPES = ("prompt", "exchange", "trajectory")
_NO_LOSS = frozenset({"spelling", "surrounding_text", "unknown_key", "unknown_step", "invalid_characters"})  # leave no null
_EFFECT = re.compile(r"(?P<effect>(?P<effects>.*\.effects)\[\d+\])(\.\w+)?")
stored_defects: TypeAdapter[tuple[Defect, ...]] = TypeAdapter(tuple[Defect, ...])
_writings: TypeAdapter[dict[TreeKind, WrittenText]] = TypeAdapter(dict[TreeKind, WrittenText])
_provenances: TypeAdapter[dict[TreeKind, Provenance]] = TypeAdapter(dict[TreeKind, Provenance])


class StoredTrees(Record):
    """The trees of one scenario as a file holds them.

    Attributes:
        id: Of the scenario, or the place in the file (`line-7`).
        type: Of the scenario; "tree" when the file does not say.
        trees: Harm and benefit tree, `None` for a missing one.
        defects: Those stored with the trees, and those found while reading.
        provenance: As stored, when it is of our form; nothing else of a record is passed on to what is made of it.
        generations: What the generators wrote, as stored, when it is of our form.
        decided_by: The policy of a stored analysis; its decision is not kept, because it is made anew from the trees.
        label: 1 harmful, 0 harmless, `None` unlabelled.
        fields: The other scalar keys of the row.
    """

    id: str
    type: Literal["prompt", "exchange", "trajectory", "tree"] = "tree"
    trees: HarmBenefitTree
    defects: tuple[Defect, ...] = ()
    provenance: dict[str, JsonValue] = Field(default_factory=dict)
    generations: dict[TreeKind, WrittenText] | None = None
    decided_by: PolicyReference | None = None
    label: Literal[0, 1] | None = None
    fields: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


_Item = TypeVar("_Item", StoredTrees, ReadFailure, StoredTrees | ReadFailure)


def read_trees(source: Path | BinaryIO | Iterable[bytes], taxonomy: Taxonomy) -> Iterator[StoredTrees | ReadFailure]:
    """Reads stored trees, line by line.

    A line is an object with one of: `trees` (our analyses), `tree` or `harm-benefit tree` (published form, as JSON or as a
    string holding JSON), `harm` and `benefit` (lists of notation rows, the teacher's form); or it is a published list itself.
    An analysis that failed when it was made (`error`) stays a failure.

    Args:
        source: A file, a stream or lines of bytes. A file `*.parquet` is a feature dataset (`pipelines.parquet`).
        taxonomy: What the trees speak of.
    """
    if isinstance(source, Path):
        if source.suffix == ".parquet":
            from safetyanalyst.pipelines.parquet import read_parquet  # needs an extra

            yield from read_parquet(source, taxonomy)
            return
        with source.open("rb") as lines:
            yield from read_trees(lines, taxonomy)
        return
    for number, line in enumerate(source, start=1):
        if line.strip():
            yield _read_line(line, number, taxonomy)


def file_hash(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_names(paths: Sequence[Path]) -> list[str]:
    """What to call files in results: by their stems, or by their paths where two stems are alike."""
    stems = Counter(path.stem for path in paths)
    names = (path.stem if stems[path.stem] == 1 else str(path) for path in paths)
    return [readable(name) for name in names]


def renamed(item: _Item, name: str) -> _Item:
    """The item with its file's name before an id that is its place there: the first line of one is not the other's."""
    return item.model_copy(update={"id": f"{name}:{item.id}"}) if PLACE.fullmatch(item.id) else item


def _read_line(line: bytes, number: int, taxonomy: Taxonomy) -> StoredTrees | ReadFailure:
    place = f"line-{number}"
    try:
        loaded = parsing.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return ReadFailure(id=place, line=number, error=f"not UTF-8: {error.reason} at byte {error.start}")
    value = loaded.value
    if isinstance(value, list):
        pair = parsing.pair_from_json(value, taxonomy)
        return StoredTrees(id=place, trees=pair.trees, defects=(*loaded.defects, *pair.defects))
    if not isinstance(value, dict):
        expected = "an object with 'trees' or 'tree', or a list of stakeholders"
        found = loaded.defects[0].found if loaded.defects else type(value).__name__
        return ReadFailure(id=place, line=number, error=f"not readable as JSON: {found!r} (expected {expected})")
    return read_record(value, number, taxonomy, loaded.defects)


def read_record(
    value: dict[str, Any], number: int, taxonomy: Taxonomy, defects: tuple[Defect, ...] = ()
) -> StoredTrees | ReadFailure:
    """Reads one record, whatever file it stood in.

    Args:
        value: As JSON has it.
        number: Its line or row, from 1.
        taxonomy: What the trees speak of.
        defects: Found on the way to it.
    """
    id = well_formed(str(value["id"])) if isinstance(value.get("id"), str | int) else f"line-{number}"
    if isinstance(value.get("error"), str):
        return ReadFailure(id=id, line=number, error=well_formed(value["error"]))
    return _read_record(id, number, value, defects, taxonomy)


def _read_record(
    id: str, number: int, value: dict[str, Any], defects: tuple[Defect, ...], taxonomy: Taxonomy
) -> StoredTrees | ReadFailure:
    if given := rival_columns(value):
        error = f"several trees in one record: {', '.join(given)} (expected one of them: which one counts cannot be known)"
        return ReadFailure(id=id, line=number, error=error)
    pair = pair_of(value, taxonomy)
    if pair is None:
        expected = "'trees', 'tree', 'harm-benefit tree', or 'harm' and 'benefit'"
        return ReadFailure(id=id, line=number, error=f"no trees in this record (expected a key {expected})")
    label = next((value[key] for key in _LABEL_KEYS if value.get(key) is not None), None)
    if isinstance(label, str):
        label = _LABEL_WORDS.get(label.strip().lower(), label)
    if label not in (0, 1, None):
        shown = label if isinstance(label, str | int | float | list | dict) else "not readable"
        expected = "0, 1, true, false, safe, unsafe or null"
        return ReadFailure(id=id, line=number, error=f"label is {shown!a:.60} (expected {expected})")
    try:
        stored = stored_defects.validate_python(value.get("defects", ()))
    except ValidationError:
        return ReadFailure(id=id, line=number, error="'defects' is not a list of {code, path, found}")
    found = _not_recorded(pair.defects, stored) if "trees" in value else pair.defects
    return StoredTrees(
        id=id,
        type=value["type"] if value.get("type") in _TYPES else "tree",
        trees=pair.trees,
        defects=tuple(dict.fromkeys((*stored, *defects, *found))),
        provenance=_provenance(value.get("provenance")),
        generations=_written(value.get("generations")),
        decided_by=_reference(value.get("policy")),
        label=None if label is None else 1 if label else 0,
        fields=scalars(value),
    )


def _not_recorded(fresh: Sequence[Defect], stored: Sequence[Defect]) -> list[Defect]:
    """The defects of our own form, without nulls that were recorded when something was lost.

    A null is recorded by a defect in its place. Places have other numbers where both kinds stood in one list, and in rows:
    there it is recorded by a defect about the same feature of the same kind of tree whose place holds no null, one by one.
    """
    nulls = [it for it in fresh if it.code == "missing_value"]
    losses = [it for it in stored if it.code not in _NO_LOSS]
    if any(it.path == "" and it.found.endswith("more like this") for it in losses):
        return [it for it in fresh if it not in nulls]  # they were too many to be listed
    recorded = {_place(it.path) for it in losses}
    told = {it for it in nulls if recorded.intersection(_around(it.path)) or _is_lost_whole(it.path, stored)}
    spare = Counter(map(_sort, recorded.difference(*map(_around, (it.path for it in nulls)))))
    effects: dict[str, list[Defect]] = {}
    for it in nulls:
        if it not in told:
            effects.setdefault(_around(it.path)[-1], []).append(it)
    for place, gaps in effects.items():
        sorts = {_sort(it) for it in (place, *(_place(gap.path) for gap in gaps)) if spare[_sort(it)] > 0}
        spare.subtract(sorts)
        told.update(gaps if sorts else ())
    return [it for it in fresh if it not in told]


def _place(path: str) -> str:
    """A path in the one spelling for all forms."""
    path = path.replace(".stakeholders[", "[")
    return re.sub(r"\.stakeholder$", ".name", re.sub(r"\.category$", ".action", path))


def _around(path: str) -> tuple[str, ...]:
    """The places where a defect tells of what is missing here: here, or for a feature its list of effects and its effect."""
    place = _place(path)
    found = _EFFECT.fullmatch(place)
    return (place,) if found is None else (place, found["effects"], found["effect"])


def _sort(place: str) -> tuple[str, str]:
    """Kind of tree and key, whatever the numbers."""
    return place[:1], place.rpartition(".")[2].partition("[")[0]


def _is_lost_whole(path: str, stored: Sequence[Defect]) -> bool:
    """Whether a tree or subtrees are missing here, and something stored tells how they were lost.

    A subtree in a list of both kinds may count as lost on both sides, though its defect names one of them.
    """
    kind, _, key = path.partition(".")
    other = next((it for it in TREE_KINDS if it != kind), "")
    may_lose = (it for it in stored if it.code not in _NO_LOSS or it.code == "unknown_key")
    if kind not in TREE_KINDS or key not in ("", "lost"):
        return False
    return any(key == "lost" or not it.path.startswith(other) for it in may_lose)


def _provenance(value: object) -> dict[str, JsonValue]:
    try:
        return {kind: it.model_dump() for kind, it in _provenances.validate_python(value).items()}
    except ValidationError:
        return {}


def _reference(value: object) -> PolicyReference | None:
    try:
        return PolicyReference.model_validate(value, strict=True)
    except ValidationError:
        return None


def _written(value: object) -> dict[TreeKind, WrittenText] | None:
    try:
        return None if value is None else _writings.validate_python(value)
    except ValidationError:
        return None


def scalars(value: dict[str, Any]) -> dict[str, str | int | float | bool | None]:
    """The scalar keys of a record; trees that stand there as text are not among them."""
    found = {well_formed(key): it for key, it in value.items() if key not in ("id", "type", *TREE_COLUMNS)}
    return {k: well_formed(v) if isinstance(v, str) else v for k, v in found.items() if isinstance(v, str | int | float)}
