"""Unlabelled trees under several policies: scores, disagreement and cells, read in pieces to spare the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.errors import ConfigError
from safetyanalyst.features import FeatureMatrix, FeatureSpaceSpec
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.parquet import is_parquet
from safetyanalyst.policy import BoundPolicy
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import HarmBenefitTree
from safetyanalyst.weights import Floats

_CHUNK = 512


class Row(NamedTuple):
    """Where a row stands: its id, its file and its line from 1."""

    id: str
    file: Path
    line: int


class FailedRow(NamedTuple):
    """A row that could not be read, and its file."""

    file: Path
    failure: ReadFailure


@dataclass(frozen=True)
class Pool:
    """Unlabelled rows under P policies.

    Attributes:
        rows: n rows.
        low: (P, n) least possible scores.
        high: (P, n) greatest possible scores.
        is_complete: (n,) whether nothing is missing in a row, in the feature space of any policy.
        members: Size of the committee: the policies when there are several, else the replicates of one; 1 is no committee.
        above: (n,) share of the committee that scores the row above its threshold.
        certainty: (n,) distance of the committee's mean margin from 0 in units of its spread; infinite where all agree exactly.
        counts: (n, cells) in the space of the first policy.
        labelled: (m, cells) of the rows that have a label already and nothing missing.
        n_labelled: Rows that have a label already, all of them.
        failures: Rows that could not be read.
    """

    rows: tuple[Row, ...]
    low: Floats
    high: Floats
    is_complete: npt.NDArray[np.bool_]
    members: int
    above: Floats
    certainty: Floats
    counts: Any
    labelled: Any
    n_labelled: int
    failures: tuple[FailedRow, ...]


def read_pool(
    files: Mapping[str, Path], taxonomy: Taxonomy, policies: Iterable[BoundPolicy], replicates: Floats | None = None
) -> Pool:
    """Reads stored trees and scores those without a label.

    Args:
        files: By the name that stands before the id of a row that has none of its own, where there are several files.
        taxonomy: What the trees speak of.
        policies: At least one; the first is the one whose weights are to learn.
        replicates: (B, K) level weights of the policy's bootstrap, when there is a single policy.
    """
    bound = list(policies)
    replicates = None if len(bound) > 1 else replicates
    rows: list[Row] = []
    failures: list[FailedRow] = []
    pieces: list[_Piece] = []
    labelled: list[Any] = []
    n_labelled = 0
    items = _items(files, taxonomy, failures)
    while chunk := list(islice(items, _CHUNK)):
        new = [it for it in chunk if it.stored.label is None]
        rows += [it.row for it in new]
        pieces.append(_scored([it.stored.trees for it in new], bound, replicates))
        known = bound[0].space.featurize(it.stored.trees for it in chunk if it.stored.label is not None)
        labelled.append(known.counts[known.complete_rows])
        n_labelled += len(known)
    pieces = pieces or [_scored([], bound, replicates)]
    labelled = labelled or [bound[0].space.featurize([]).counts]
    return Pool(
        rows=tuple(rows),
        low=np.concatenate([it.low for it in pieces], axis=1),
        high=np.concatenate([it.high for it in pieces], axis=1),
        is_complete=np.concatenate([it.is_complete for it in pieces]),
        members=len(bound) if replicates is None else len(replicates),
        above=np.concatenate([it.above for it in pieces]),
        certainty=np.concatenate([it.certainty for it in pieces]),
        counts=sparse.vstack([it.counts for it in pieces], format="csr"),
        labelled=sparse.vstack(labelled, format="csr"),
        n_labelled=n_labelled,
        failures=tuple(failures),
    )


class _Item(NamedTuple):
    row: Row
    stored: StoredTrees


class _Piece(NamedTuple):
    low: Floats
    high: Floats
    is_complete: npt.NDArray[np.bool_]
    above: Floats
    certainty: Floats
    counts: Any


def _items(files: Mapping[str, Path], taxonomy: Taxonomy, failures: list[FailedRow]) -> Iterator[_Item]:
    for name, path in files.items():
        at = [0]
        for item in _read(path, at, taxonomy):
            if isinstance(item, ReadFailure):
                failures.append(FailedRow(path, item))
                continue
            is_place = item.id == f"line-{at[0]}"
            id = f"{name}:{item.id}" if is_place and len(files) > 1 else item.id
            yield _Item(Row(id, path, at[0]), item)


def _read(path: Path, at: list[int], taxonomy: Taxonomy) -> Iterator[StoredTrees | ReadFailure]:
    if is_parquet(path):
        for at[0], item in enumerate(read_trees(path, taxonomy), start=1):
            yield item
        return
    with path.open("rb") as lines:
        yield from read_trees(_numbered(lines, at), taxonomy)


def _numbered(lines: Iterable[bytes], at: list[int]) -> Iterator[bytes]:
    """The lines, while `at` holds the number of the one that was taken last: the reader takes one per row."""
    for at[0], line in enumerate(lines, start=1):
        yield line


def _scored(trees: list[HarmBenefitTree], policies: list[BoundPolicy], replicates: Floats | None) -> _Piece:
    matrices: dict[FeatureSpaceSpec, FeatureMatrix] = {}
    for bound in policies:
        if bound.policy.space not in matrices:
            matrices[bound.policy.space] = bound.space.featurize(trees)
    first = matrices[policies[0].policy.space]
    intervals = [harmfulness_interval(matrices[bound.policy.space], bound.levels) for bound in policies]
    low, high = np.stack([it.low for it in intervals]), np.stack([it.high for it in intervals])
    if replicates is not None:
        cells = np.stack([first.space.levels.values(levels) for levels in replicates], axis=1)
        margins = (first.counts @ cells).T - policies[0].policy.threshold
    else:
        margins = low - np.array([[bound.policy.threshold] for bound in policies])
    complete = [matrix.complete_rows for matrix in matrices.values()]
    is_complete = np.logical_and.reduce(complete)
    margins = np.where(is_complete, margins, 0.0)  # nothing is asked of the others, and infinities would only disturb
    centre, spread = np.abs(margins.mean(axis=0)), margins.std(axis=0)
    certainty = np.divide(centre, spread, out=np.full(len(centre), np.inf), where=spread > 0)
    return _Piece(low, high, is_complete, (margins > 0).mean(axis=0), certainty, first.counts)


def one_taxonomy(policies: Iterable[BoundPolicy]) -> Taxonomy:
    """The taxonomy of all policies.

    Raises:
        ConfigError: They speak of different ones, so that the same trees cannot be read for all.
    """
    found = {bound.space.taxonomy.label: bound.space.taxonomy for bound in policies}
    if len(found) > 1:
        raise ConfigError(
            f"the policies speak of different taxonomies: {', '.join(found)}", expected="policies of one taxonomy"
        )
    (taxonomy,) = found.values()
    return taxonomy
