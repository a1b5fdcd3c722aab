"""Labelled trees as a fit takes them: what can be used, what is left out, and the arrays of the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.fit_facts import Costs
from safetyanalyst.pipelines.corpus import UNLABELLED, failures_of, read_corpus
from safetyanalyst.pipelines.dataset import read_trees
from safetyanalyst.pipelines.parquet import columns_of, is_parquet
from safetyanalyst.projection import project
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.weights import Floats, Ints

Fields = Mapping[str, str | int | float | bool | None]
"""The scalar keys of a row beside its trees."""

Watch = Callable[[str, int], AbstractContextManager[Callable[[], object]]]


def unwatched(description: str, total: int) -> AbstractContextManager[Callable[[], object]]:
    """Shows no progress."""
    del description, total
    return nullcontext(lambda: None)


@dataclass(frozen=True)
class LabelledTrees:
    """Labelled trees ready for a fit, and what was left out of it.

    Attributes:
        matrix: n labelled rows with nothing missing.
        labels: (n,) 1 harmful, 0 harmless.
        ids: n ids.
        fields: n times the other scalar keys of the row.
        unlabelled: Rows without label.
        incomplete: Labelled rows in which something is missing: a fit would have to guess what.
        failures: Rows that could not be read.
    """

    matrix: FeatureMatrix
    labels: Ints
    ids: tuple[str, ...]
    fields: tuple[Fields, ...]
    unlabelled: int
    incomplete: int
    failures: tuple[ReadFailure, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left_out(self) -> int:
        """Rows that are not used."""
        return self.unlabelled + self.incomplete + len(self.failures)


class LabelledRows(NamedTuple):
    """Arrays of n labelled rows.

    Attributes:
        matrix: n complete rows.
        labels: (n,) of 0 and 1.
        weights: (n,) weight of each row: its own times the cost of an error on its class.
        groups: (n,) what belongs together, or `None`.
    """

    matrix: FeatureMatrix
    labels: Floats
    weights: Floats
    groups: tuple[str, ...] | None

    def select(self, rows: npt.NDArray[np.int64]) -> LabelledRows:
        """Some of the rows, by index."""
        groups = None if self.groups is None else tuple(self.groups[i] for i in rows)
        return LabelledRows(self.matrix.select(rows), self.labels[rows], self.weights[rows], groups)


def read_labelled(path: Path, space: FeatureSpace) -> LabelledTrees:
    """Reads labelled trees and sets aside what a fit cannot use.

    Args:
        path: JSON lines, or a feature dataset, which is counted without an object per effect.
        space: Which cells to count.
    """
    if is_parquet(path):
        return _from_corpus(path, space)
    rows: list[Any] = [space.featurize([]).counts]
    labels: list[int] = []
    ids: list[str] = []
    fields: list[Fields] = []
    failures: list[ReadFailure] = []
    unlabelled = incomplete = 0
    for item in read_trees(path, space.taxonomy):
        if isinstance(item, ReadFailure):
            failures.append(item)
        elif item.label is None:
            unlabelled += 1
        elif not (row := space.featurize([item.trees])).is_complete:
            incomplete += 1
        else:
            rows.append(row.counts)
            labels.append(item.label)
            ids.append(item.id)
            fields.append(item.fields)
    return LabelledTrees(
        matrix=_whole(space, sparse.vstack(rows, format="csr")), labels=np.array(labels, np.int64), ids=tuple(ids),
        fields=tuple(fields), unlabelled=unlabelled, incomplete=incomplete, failures=tuple(failures),
    )  # fmt: skip


def _from_corpus(path: Path, space: FeatureSpace) -> LabelledTrees:
    corpus = read_corpus([path], space.taxonomy)
    matrix = project(corpus.matrix, space)
    is_labelled = corpus.labels != UNLABELLED
    is_complete = matrix.complete_rows
    rows = np.flatnonzero(is_labelled & is_complete)
    beside = columns_of(path)
    return LabelledTrees(
        matrix=_whole(space, matrix.counts[rows]), labels=corpus.labels[rows], ids=tuple(corpus.ids[i] for i in rows),
        fields=tuple(beside[line - 1] for line in corpus.line[rows].tolist()), unlabelled=int((~is_labelled).sum()),
        incomplete=int((is_labelled & ~is_complete).sum()), failures=failures_of(corpus),
    )  # fmt: skip


def _whole(space: FeatureSpace, counts: Any) -> FeatureMatrix:
    """Rows in which nothing is missing."""
    counts.sum_duplicates()
    n = counts.shape[0]
    return FeatureMatrix(space, counts, sparse.csr_array((n, 0)), (), np.zeros((n, 2), np.int64))


def labelled_rows(
    data: LabelledTrees, space: FeatureSpace, *, costs: Costs, weight_column: str | None, group_column: str | None
) -> LabelledRows:
    """The arrays that a fit takes.

    Args:
        data: Labelled trees.
        space: Which cells to count: the space the data was read in, or a coarser one.
        costs: Of the two errors.
        weight_column: Column with a weight for each row, or `None` for all alike.
        group_column: Column whose equal values belong together; a row without a value stands alone.

    Raises:
        FitError: A weight is missing, no number, negative, or too large; or no row has a value in the group column.
    """
    labels = data.labels.astype(np.float64)
    pairs = zip(data.ids, data.fields, strict=True)
    own = np.array([1.0 if weight_column is None else _weight(id, row, weight_column) for id, row in pairs])
    by_class = np.where(labels > 0, costs.missed, costs.false_alarm)
    groups = None if group_column is None else _groups(data.fields, group_column)
    with np.errstate(over="ignore"):
        weights = own * by_class
        if not np.isfinite(weights.sum()):
            raise FitError("costs and weights of the rows are so large that their sum is infinite")
    return LabelledRows(project(data.matrix, space), labels, weights, groups)


def _weight(id: str, row: Fields, column: str) -> float:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise FitError(f"row {id!r}: the weight in column {column!r} is {value!r}, expected a number of at least 0")
    return float(value)


def _groups(rows: Sequence[Fields], column: str) -> tuple[str, ...]:
    if rows and not any(row.get(column) is not None for row in rows):
        raise FitError(f"no row has a value in column {column!r}, by which rows were to be kept together")
    return tuple(f"alone/{i}" if (value := row.get(column)) is None else f"value/{value}" for i, row in enumerate(rows))
