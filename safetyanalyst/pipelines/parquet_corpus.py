"""Feature datasets -> corpora by array arithmetic: no object per effect, whatever the size of the file.

The short cut takes scenarios in which all is spelt canonically and nothing is missing below the trees. Any other scenario
is read by the ordinary reader, so both ways lead to the same corpus. Evidence is not looked at: a corpus has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines import parquet
from safetyanalyst.pipelines.dataset import read_record, stored_defects
from safetyanalyst.trees import TREE_KINDS, TreeKind
from safetyanalyst.weights import Ints

if TYPE_CHECKING:
    from safetyanalyst.pipelines.corpus import CorpusBuilder

_ACTIONS = "{kind}.stakeholders.list.element.actions.list.element"
_FEATURES = ("effect", "extent", "likelihood", "immediacy")
_DICTIONARIES = tuple(
    path
    for kind in TREE_KINDS
    for path in (
        f"{kind}.stakeholders.list.element.name",
        f"{_ACTIONS.format(kind=kind)}.action",
        *(f"{_ACTIONS.format(kind=kind)}.effects.list.element.{name}" for name in _FEATURES),
    )
)
_TYPES = frozenset({"prompt", "exchange", "trajectory", "tree"})

_NOT_THERE = -(1 << 28)  # whatever is added to it by other features, it stays below 0

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


class Block(NamedTuple):
    """Clean scenarios that follow each other in a file.

    Attributes:
        ids: n ids.
        sources: n names, `None` for rows that name none.
        labels: (n,) 1, 0, or -1 for none.
        defects: (n,) number of defects.
        names: Names of stakeholders.
        row: (effects,) scenario of every effect; those of one scenario in its order, those of several in any.
        holder: (effects,) its stakeholder, an index into `names`.
        cell: (effects,) its cell in the finest space.
    """

    ids: list[str]
    sources: list[str | None]
    labels: Ints
    defects: Ints
    names: list[str]
    row: Codes
    holder: Codes
    cell: Codes


class _Side(NamedTuple):
    """One kind of tree in a batch.

    Attributes:
        is_clean: (n,) whether a scenario's tree is there, whole, and has nothing unusual in it.
        row: (effects,) scenario of every effect.
        names: Names of stakeholders.
        holder: (effects,) indices into `names`.
        cell: (effects,) cells; negative where there is none.
    """

    is_clean: Bools
    row: Codes
    names: list[str]
    holder: Codes
    cell: Codes


def add_parquet(builder: CorpusBuilder, path: Path, file: str, on_row: Callable[[], None]) -> None:
    """Adds the scenarios of a feature dataset to a corpus, in order.

    Args:
        builder: Of the corpus.
        path: The feature dataset.
        file: What to call it.
        on_row: Called after every scenario.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no feature dataset.
    """
    number = 0
    for batch in parquet.batches(path, dictionaries=_DICTIONARIES):
        sides = [_side(batch.column(kind), kind, builder.space) for kind in TREE_KINDS]
        is_clean = _heads_are_clean(batch) & sides[0].is_clean & sides[1].is_clean
        for start, stop in _runs(is_clean):
            if is_clean[start]:
                builder.add_block(_block(batch, sides, start, stop), file=file, line=number + start + 1)
            else:
                for i, row in enumerate(batch.slice(start, stop - start).to_pylist(), start=number + start + 1):
                    builder.add(read_record(parquet.record_of(row), i, builder.taxonomy), file=file, line=i)
            for _ in range(start, stop):
                on_row()
        number += len(batch)


def _runs(flags: Bools) -> Iterator[tuple[int, int]]:
    """Stretches of equal flags, as (start, stop)."""
    at = 0
    for _, run in groupby(flags.tolist()):
        length = sum(1 for _ in run)
        yield at, at + length
        at += length


def _heads_are_clean(batch: Any) -> Bools:
    """Rows whose id, type, label, defects and fields are what we write."""
    ids, types, labels = (batch.column(name) for name in ("id", "type", "label"))
    known = np.array([it in _TYPES for it in types.to_pylist()], bool)
    label = np.array([it in (None, 0, 1) for it in labels.to_pylist()], bool)
    fields = _Coded.of(batch.column("fields"))
    plain = np.array([*(parquet.OWN_KEYS.isdisjoint(parquet.fields_of(text)) for text in fields.words), True], bool)
    clean: Bools = known & label & plain[fields.codes] & _numpy(ids.is_valid())
    defects = batch.column("defects")
    has_defects = _numpy(defects.value_lengths().fill_null(0)) > 0
    for i in np.flatnonzero(has_defects & clean).tolist():
        clean[i] = _are_defects(defects[i].as_py())
    return clean


def _are_defects(found: list[Any]) -> bool:
    try:
        read = stored_defects.validate_python(found)
    except ValidationError:
        return False
    return len(set(read)) == len(read)


def _block(batch: Any, sides: list[_Side], start: int, stop: int) -> Block:
    part = batch.slice(start, stop - start)
    labels = [-1 if it is None else it for it in part.column("label").to_pylist()]
    spans = [slice(*np.searchsorted(side.row, (start, stop))) for side in sides]
    shifts = (0, len(sides[0].names))
    return Block(
        ids=part.column("id").to_pylist(),
        sources=part.column("source").to_pylist(),
        labels=np.array(labels, np.int64),
        defects=_numpy(part.column("defects").value_lengths().fill_null(0)).astype(np.int64),
        names=sides[0].names + sides[1].names,
        row=np.concatenate([side.row[span] - np.int32(start) for side, span in zip(sides, spans, strict=True)]),
        holder=np.concatenate([s.holder[span] + np.int32(n) for s, span, n in zip(sides, spans, shifts, strict=True)]),
        cell=np.concatenate([side.cell[span] for side, span in zip(sides, spans, strict=True)]),
    )


def _side(trees: Any, kind: TreeKind, space: FeatureSpace) -> _Side:
    from pyarrow import compute

    n = len(trees)
    is_there = _numpy(trees.is_valid())
    is_clean: Bools = is_there & (_numpy(compute.struct_field(trees, "lost").fill_null(-1)) == 0)
    holders = _below(trees, "stakeholders", np.arange(n, dtype=np.int32), is_clean, is_there)
    actions = _below(holders.items, "actions", holders.row, is_clean, None)
    effects = _below(actions.items, "effects", actions.row, is_clean, None)

    name = _Coded.of(compute.struct_field(holders.items, "name"))
    is_clean[holders.row[name.codes < 0]] = False
    ids, positions = space.ids(kind), space.positions(kind)
    strides = dict(zip(("action", *_FEATURES), np.array(ids.strides) // ids.itemsize, strict=True))
    action = _actions(actions.items, kind, space, int(strides["action"]))
    is_clean[actions.row[action < 0]] = False
    at = action[effects.parent]
    for key in _FEATURES:
        at += _Coded.of(compute.struct_field(effects.items, key)).at(positions[key], int(strides[key]))
    is_clean[effects.row[at < 0]] = False
    cell = ids.ravel().astype(np.int32)[np.maximum(at, 0)]
    return _Side(is_clean, effects.row, name.words, name.codes[actions.parent[effects.parent]], cell)


def _actions(actions: Any, kind: TreeKind, space: FeatureSpace, stride: int) -> Codes:
    """(actions,) what each adds to the place of a cell; negative for one that is not known."""
    from pyarrow import compute

    category = _Coded.of(compute.struct_field(actions, "action"))
    if kind == "harm":
        return category.at(space.positions(kind)["action"], stride)
    # benefits are told by category or in free words; which of them counts nothing
    is_told = _numpy(compute.utf8_length(compute.struct_field(actions, "description").fill_null(""))) > 0
    known = category.at({it.name: 0 for it in space.taxonomy.actions(kind)}, stride)
    return np.where((category.codes < 0) & is_told, np.int32(0), known)


class _Below(NamedTuple):
    """The items of the lists of some nodes.

    Attributes:
        items: Arrow array of the items of all lists.
        parent: (items,) index of the node that each stands below.
        row: (items,) scenario of each.
    """

    items: Any
    parent: Codes
    row: Codes


def _below(nodes: Any, key: str, row: Codes, is_clean: Bools, may_lack: Bools | None) -> _Below:
    """Goes one level down; nodes that are null, and lists that are null or empty, make their scenario unclean.

    Args:
        nodes: Structs with a list under `key`.
        key: Of the list.
        row: (nodes,) scenario of each.
        is_clean: (n,) changed in place.
        may_lack: For trees, which may be missing and may be empty: (nodes,) whether there is one. `None` for what may not.
    """
    from pyarrow import compute

    lists = compute.struct_field(nodes, key)
    lengths = _numpy(compute.list_value_length(lists).fill_null(-1))
    is_odd = lengths < (1 if may_lack is None else 0)
    if may_lack is not None:
        is_odd &= may_lack
    is_clean[row[is_odd]] = False
    items = compute.list_flatten(lists)
    parent = np.repeat(np.arange(len(lengths), dtype=np.int32), np.maximum(lengths, 0))
    below = row[parent]
    if items.null_count:
        is_clean[below[_numpy(items.is_null())]] = False
    return _Below(items, parent, below)


class _Coded(NamedTuple):
    """Words as codes.

    Attributes:
        words: The dictionary.
        codes: (n,) indices into it; negative for null.
    """

    words: list[str]
    codes: Codes

    @classmethod
    def of(cls, column: Any) -> _Coded:
        """From an Arrow array of strings, plain or dictionary-coded."""
        coded = column if hasattr(column, "dictionary") else column.dictionary_encode()
        words = coded.dictionary.to_pylist()
        return cls(words, _numpy(coded.indices.fill_null(-1)).astype(np.int32, copy=False))

    def at(self, positions: Mapping[str, int] | Mapping[str | None, int], stride: int) -> Codes:
        """(n,) the position of every word times the stride; far below 0 for a word that has none."""
        known = {word: positions.get(word, -1) for word in self.words}
        of_word = [_NOT_THERE if known[word] < 0 else known[word] * stride for word in self.words]
        found: Codes = np.array([*of_word, _NOT_THERE], np.int32)[self.codes]
        return found


def _numpy(column: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array
