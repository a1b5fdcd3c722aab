"""Feature datasets: stored trees in Parquet, read as a stream, for corpora too large for JSON lines.

One row per scenario, in our own tree form, spelt out in nested columns, so that any Parquet reader can ask it questions:

    id, type, source, label, defects[], provenance, fields,
    harm, benefit: {lost, stakeholders[]: {name, actions[]: {action, description, evidence[], effects[]:
                                           {effect, immediacy, extent, likelihood}}}}

A null `harm` or `benefit` is a missing tree. Row groups are small, so that reading and writing take the memory of one group,
whatever the size of the file. Needs pyarrow (`pip install "safetyanalyst[parquet]"`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines.dataset import TREE_COLUMNS, read_record, scalars
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Tree

if TYPE_CHECKING:
    import pyarrow

    from safetyanalyst.pipelines.dataset import StoredTrees

FORMAT = "safetyanalyst-features/1"
SUFFIX = ".parquet"
ROWS_PER_GROUP = 512
"""At a thousand effects a scenario, about a megabyte on disk and a hundred in memory while trees are objects."""
_EXPECTED = "a file that `dataset write` wrote"
OWN_KEYS = frozenset({"source", "label", "harmful", "error", "defects", "provenance", "generations", *TREE_COLUMNS})
"""Keys that say something to the reader: they never stand in `fields`."""
_FORMAT_KEY, _TAXONOMY_KEY = b"format", b"taxonomy"


def is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet: by its name."""
    return path.suffix == SUFFIX


def write_parquet(path: Path, items: Iterable[StoredTrees], taxonomy: Taxonomy) -> int:
    """Writes a feature dataset. The file appears under its name only when it is whole.

    Args:
        path: The file, `*.parquet`.
        items: Trees, in any number: they are taken a group at a time.
        taxonomy: What the trees speak of; its label goes into the file.

    Returns:
        Rows written.

    Raises:
        ConfigError: pyarrow is not installed, or the name does not end in `.parquet`.
    """
    arrow, parquet = _pyarrow()
    if not is_parquet(path):
        raise ConfigError("a feature dataset is a Parquet file", file=path, expected=f"a name that ends in {SUFFIX}")
    columns = schema().with_metadata({_FORMAT_KEY: FORMAT, _TAXONOMY_KEY: taxonomy.label})
    rows = 0
    with whole(path) as draft, parquet.ParquetWriter(draft, columns, compression="zstd") as writer:
        for group in _groups(items):
            writer.write_batch(arrow.RecordBatch.from_pylist([_row(item) for item in group], schema=columns))
            rows += len(group)
    return rows


def read_parquet(path: Path, taxonomy: Taxonomy) -> Iterator[StoredTrees | ReadFailure]:
    """Reads the trees of a feature dataset, row by row, by the rules of JSON lines.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no feature dataset.
    """
    number = 0
    for batch in batches(path):
        for row in batch.to_pylist():
            number += 1
            yield read_record(record_of(row), number, taxonomy)


def batches(path: Path, *, dictionaries: Sequence[str] = (), columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The record batches of a feature dataset, a group at a time.

    Args:
        path: The file.
        dictionaries: Paths of columns that come as dictionary codes.
        columns: Which columns; all by default.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no feature dataset.
    """
    arrow, parquet = _pyarrow()
    try:
        # without buffering ahead: it holds the whole of a small file
        with parquet.ParquetFile(path, read_dictionary=list(dictionaries) or None, pre_buffer=False) as file:
            _check(file, path)
            yield from file.iter_batches(ROWS_PER_GROUP, columns=None if columns is None else list(columns))
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"not readable as Parquet: {error}", file=path, expected=_EXPECTED) from error


def taxonomy_label(path: Path) -> str:
    """The label of the taxonomy that a feature dataset says it speaks of.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no feature dataset.
    """
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            _check(file, path)
            return _told(file, _TAXONOMY_KEY)
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"not readable as Parquet: {error}", file=path, expected=_EXPECTED) from error


def columns_of(path: Path) -> list[dict[str, str | int | float | bool | None]]:
    """The scalar columns of every row, as `StoredTrees.fields` has them; the trees are not read."""
    rows = chain.from_iterable(it.to_pylist() for it in batches(path, columns=("label", "source", "fields")))
    return [scalars(beside_trees({"id": None, "type": None} | row)) for row in rows]


def lines_of(path: Path, numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Some rows, by number from 1, as the lines of JSON that would hold them."""
    at = 1
    for batch in batches(path):
        for i in range(at, at + len(batch)):
            if i in numbers:
                (row,) = batch.slice(i - at, 1).to_pylist()
                yield i, json.dumps(record_of(row)).encode()
        at += len(batch)


def schema() -> pyarrow.Schema:
    """The columns of a feature dataset."""
    arrow, _ = _pyarrow()
    text, number = arrow.string(), arrow.int32()
    effect = arrow.struct([(name, text) for name in ("effect", "immediacy", "extent", "likelihood")])
    action = arrow.struct(
        [("action", text), ("description", text), ("evidence", arrow.list_(number)), ("effects", arrow.list_(effect))]
    )
    stakeholder = arrow.struct([("name", text), ("actions", arrow.list_(action))])
    tree = arrow.struct([("lost", number), ("stakeholders", arrow.list_(stakeholder))])
    defect = arrow.struct([(name, text) for name in ("code", "path", "found")])
    return arrow.schema(
        [
            ("id", text), ("type", text), ("source", text), ("label", arrow.int8()), ("harm", tree), ("benefit", tree),
            ("defects", arrow.list_(defect)), ("provenance", text), ("fields", text),
        ]
    )  # fmt: skip


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the record that a line of JSON would hold."""
    record = beside_trees(row)
    record["trees"] = {kind: None if row[kind] is None else _compact(row[kind]) for kind in ("harm", "benefit")}
    return record | {"defects": row["defects"] or [], "provenance": fields_of(row["provenance"])}


def beside_trees(row: dict[str, Any]) -> dict[str, Any]:
    """What a record holds beside its trees, their defects and their provenance."""
    return fields_of(row["fields"]) | {key: row[key] for key in ("id", "type", "label", "source") if row[key] is not None}


def fields_of(text: str | None) -> dict[str, Any]:
    """An object that stands in a column as JSON text; an empty one for what is no such text."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _compact(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree without the keys that our JSON form leaves out when they say nothing."""
    for stakeholder in tree["stakeholders"] or ():
        for action in (stakeholder or {}).get("actions") or ():
            if action is not None and not action["description"]:
                del action["description"]
    return tree if tree["lost"] else {"stakeholders": tree["stakeholders"]}


def _row(item: StoredTrees) -> dict[str, Any]:
    fields = {key: value for key, value in item.fields.items() if key not in OWN_KEYS}
    return {
        "id": item.id,
        "type": item.type,
        "source": _text(item.fields.get("source")),
        "label": item.label,
        "harm": _tree(item.trees.harm),
        "benefit": _tree(item.trees.benefit),
        "defects": [defect.model_dump() for defect in item.defects],
        "provenance": json.dumps(item.provenance),
        "fields": json.dumps(fields),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _tree(tree: Tree | None) -> dict[str, Any] | None:
    return None if tree is None else {"lost": tree.lost} | to_json(tree)


def _check(file: Any, path: Path) -> None:
    found = _told(file, _FORMAT_KEY)
    if found != FORMAT:
        raise ConfigError(f"unknown format {found!r}", file=path, key="format", expected=f"{FORMAT}: {_EXPECTED}")
    missing = [name for name in schema().names if name not in file.schema_arrow.names]
    if missing:
        raise ConfigError("a column is missing", file=path, key=missing[0], expected=_EXPECTED)


def _told(file: Any, key: bytes) -> str:
    text: bytes = (file.schema_arrow.metadata or {}).get(key, b"")
    return text.decode("utf-8", "backslashreplace")


def _groups(items: Iterable[StoredTrees]) -> Iterator[list[StoredTrees]]:
    group: list[StoredTrees] = []
    for item in items:
        group.append(item)
        if len(group) == ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow", expected='pip install "safetyanalyst[parquet]"') from error
    return pyarrow, parquet
