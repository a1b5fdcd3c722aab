"""Labelled trees as a fit takes them: what can be used, what is left out, and the arrays of the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.fit_facts import Costs
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.records import Record
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.weights import Floats

Watch = Callable[[str, int], AbstractContextManager[Callable[[], object]]]


def unwatched(description: str, total: int) -> AbstractContextManager[Callable[[], object]]:
    """Shows no progress."""
    del description, total
    return nullcontext(lambda: None)


class LabelledTrees(Record):
    """Labelled trees ready for a fit, and what was left out of it.

    Attributes:
        rows: Labelled, with nothing missing.
        unlabelled: Rows without label.
        incomplete: Labelled rows in which something is missing: a fit would have to guess what.
        failures: Rows that could not be read.
    """

    rows: tuple[StoredTrees, ...]
    unlabelled: int
    incomplete: int
    failures: tuple[ReadFailure, ...]

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
    """Reads labelled trees and sets aside what a fit cannot use."""
    rows: list[StoredTrees] = []
    failures: list[ReadFailure] = []
    unlabelled = incomplete = 0
    for item in read_trees(path, space.taxonomy):
        if isinstance(item, ReadFailure):
            failures.append(item)
        elif item.label is None:
            unlabelled += 1
        elif not space.featurize([item.trees]).is_complete:
            incomplete += 1
        else:
            rows.append(item)
    return LabelledTrees(rows=tuple(rows), unlabelled=unlabelled, incomplete=incomplete, failures=tuple(failures))


def labelled_rows(
    data: LabelledTrees, space: FeatureSpace, *, costs: Costs, weight_column: str | None, group_column: str | None
) -> LabelledRows:
    """The arrays that a fit takes.

    Args:
        data: Labelled trees.
        space: Which cells to count.
        costs: Of the two errors.
        weight_column: Column with a weight for each row, or `None` for all alike.
        group_column: Column whose equal values belong together; a row without a value stands alone.

    Raises:
        FitError: A weight is missing, no number, negative, or too large; or no row has a value in the group column.
    """
    labels = np.array([row.label for row in data.rows], dtype=np.float64)
    own = np.array([1.0 if weight_column is None else _weight(row, weight_column) for row in data.rows])
    by_class = np.where(labels > 0, costs.missed, costs.false_alarm)
    groups = None if group_column is None else _groups(data.rows, group_column)
    with np.errstate(over="ignore"):
        weights = own * by_class
        if not np.isfinite(weights.sum()):
            raise FitError("costs and weights of the rows are so large that their sum is infinite")
    return LabelledRows(space.featurize(row.trees for row in data.rows), labels, weights, groups)


def _weight(row: StoredTrees, column: str) -> float:
    value = row.fields.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise FitError(f"row {row.id!r}: the weight in column {column!r} is {value!r}, expected a number of at least 0")
    return float(value)


def _groups(rows: tuple[StoredTrees, ...], column: str) -> tuple[str, ...]:
    if rows and not any(row.fields.get(column) is not None for row in rows):
        raise FitError(f"no row has a value in column {column!r}, by which rows were to be kept together")
    return tuple(f"alone/{i}" if (value := row.fields.get(column)) is None else f"value/{value}" for i, row in enumerate(rows))
