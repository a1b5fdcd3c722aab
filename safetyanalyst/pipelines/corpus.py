"""A corpus: the stored trees of many scenarios as arrays, read once and asked many times.

Trees are counted in the finest feature space (`projection.FINEST`), one row per scenario and stakeholder, so that any policy
over the taxonomy can score them, and its score be told by stakeholder. No object per effect is kept: a scenario of a hundred
effects takes about a kilobyte.

The rows of the stakeholders of one scenario stand together, so the row of the scenario is their concatenation: both matrices
share the same memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.pipelines.dataset import StoredTrees, file_names, read_trees, renamed
from safetyanalyst.pipelines.parquet import is_parquet
from safetyanalyst.pipelines.parquet_corpus import Block, add_parquet
from safetyanalyst.projection import finest_space
from safetyanalyst.records import Record
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import HarmBenefitTree, Tree
from safetyanalyst.weights import Ints

UNLABELLED = -1


class Unread(Record):
    """A record that could not be read.

    Attributes:
        id: Its id, or its place in the file.
        source: Name of the file.
        line: Line number in the file, from 1.
        error: What is wrong with it.
    """

    id: str
    source: str
    line: int | None
    error: str


@dataclass(frozen=True)
class Corpus:
    """Stored trees of n scenarios.

    Attributes:
        taxonomy: What the trees speak of.
        ids: n ids, in the order of the files.
        sources: Names of the sources.
        source: (n,) indices into `sources`: the row's own `source`, else the name of its file.
        files: Names of the files.
        file: (n,) indices into `files`.
        line: (n,) line numbers in the file, from 1; 0 where there are no lines.
        labels: (n,) 1 harmful, 0 harmless, `UNLABELLED`.
        defects: (n,) number of defects of each scenario's trees.
        stakeholders: Names as they were first written; upper and lower case, and blanks, do not tell two names apart.
        stakeholder: (m,) indices into `stakeholders`, one for each row of `parts`.
        starts: (n + 1,) the rows of `parts` that belong to scenario i are `starts[i]` to `starts[i + 1]`.
        parts: m rows in the finest space, one per scenario and stakeholder. What was lost is told of scenarios alone.
        lost: (n, 2) lost subtrees of harm and benefit; a missing tree counts as one.
        unread: Records that could not be read.
    """

    taxonomy: Taxonomy
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    source: Ints
    files: tuple[str, ...]
    file: Ints
    line: Ints
    labels: Ints
    defects: Ints
    stakeholders: tuple[str, ...]
    stakeholder: Ints
    starts: Ints
    parts: FeatureMatrix
    lost: Ints
    unread: tuple[Unread, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def space(self) -> FeatureSpace:
        """The finest space."""
        return self.parts.space

    @cached_property
    def matrix(self) -> FeatureMatrix:
        """N rows in the finest space, one per scenario."""
        counts, partial = (_joined(rows, self.starts) for rows in (self.parts.counts, self.parts.partial))
        return FeatureMatrix(self.parts.space, counts, partial, self.parts.patterns, self.lost)

    @cached_property
    def n_effects(self) -> Ints:
        """(n,) effects of every scenario, read or not."""
        matrix = self.matrix
        found: Ints = (matrix.counts.sum(axis=1) + matrix.partial.sum(axis=1)).astype(np.int64)
        return found

    def place(self, i: int) -> str:
        """Where scenario i stands: `dev.jsonl:17`."""
        name = self.files[self.file[i]]
        return f"{name}:{self.line[i]}" if self.line[i] else name


def failures_of(corpus: Corpus) -> tuple[ReadFailure, ...]:
    """The records of a corpus that could not be read, as its reader met them."""
    return tuple(ReadFailure(id=it.id, line=it.line or 0, error=it.error) for it in corpus.unread)


def read_corpus(paths: Sequence[Path], taxonomy: Taxonomy, *, on_row: Callable[[], None] = lambda: None) -> Corpus:
    """Reads files of stored trees, in any of the forms of `pipelines.dataset.read_trees`, line by line.

    A record that cannot be read is kept as such; the others go on. Where several files are read, an id that is a place in its
    file (`line-7`) gets the file's name before it.

    Args:
        paths: Files of JSON lines, or feature datasets (`pipelines.parquet`), which are read without an object per effect.
        taxonomy: What the trees speak of.
        on_row: Called after every record, for showing progress.
    """
    builder = CorpusBuilder(taxonomy)
    for path, name in zip(paths, file_names(paths), strict=True):
        if is_parquet(path):
            add_parquet(builder, path, name, on_row)
            continue
        with path.open("rb") as stream:
            lines = _Counted(stream)
            for item in read_trees(lines, taxonomy):
                builder.add(renamed(item, name) if len(paths) > 1 else item, file=name, line=lines.number)
                on_row()
    return builder.corpus()


@dataclass
class CorpusBuilder:
    """Collects a corpus, scenario by scenario.

    Args:
        taxonomy: What the trees speak of.
    """

    taxonomy: Taxonomy
    ids: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sources, self._files, self._holders, self._patterns = _Names(), _Names(), _Names(), _Names()
        self._pattern_cells: list[Ints] = []
        self.space = finest_space(self.taxonomy)
        self._source, self._file, self._line, self._labels, self._defects = (array("q") for _ in range(5))
        self._stakeholder, self._lost = array("q"), array("q")
        self._starts = array("q", [0])
        self._cells, self._counts, self._cell_ends = array("i"), array("d"), array("q", [0])
        self._partial, self._partial_ends = array("i"), array("q", [0])

    def add(self, item: StoredTrees | ReadFailure, *, file: str, line: int = 0) -> None:
        """Adds one record.

        Args:
            item: As read.
            file: Name of its file; its source, unless the record names one.
            line: Its line.
        """
        if isinstance(item, ReadFailure):
            self.unread.append(Unread(id=item.id, source=file, line=line or item.line, error=item.error))
            return
        source = item.fields.get("source")
        self.add_trees(
            item.trees, id=item.id, label=item.label, defects=len(item.defects), file=file, line=line,
            source=source if isinstance(source, str) and source else file,
        )  # fmt: skip

    def add_trees(
        self, trees: HarmBenefitTree, *, id: str, label: int | None = None, defects: int = 0,
        source: str = "", file: str = "", line: int = 0,
    ) -> None:  # fmt: skip
        """Adds the trees of one scenario."""
        self.ids.append(id)
        self._source.append(self._sources.number(source, source))
        self._file.append(self._files.number(file, file))
        self._line.append(line)
        self._labels.append(UNLABELLED if label is None else label)
        self._defects.append(defects)
        self._lost.extend(1 if tree is None else tree.lost for tree in (trees.harm, trees.benefit))
        holders: dict[int, list[tuple[list[int], list[int]]]] = {}
        for tree in (trees.harm, trees.benefit):
            if tree is not None:
                self._add_tree(tree, holders)
        for holder, rows in holders.items():
            self._stakeholder.append(holder)
            counted = sorted(Counter(cell for cells, _ in rows for cell in cells).items())
            self._cells.extend(cell for cell, _ in counted)
            self._counts.extend(n for _, n in counted)
            for _, partial in rows:
                self._partial.extend(partial)
            self._cell_ends.append(len(self._cells))
            self._partial_ends.append(len(self._partial))
        self._starts.append(len(self._stakeholder))

    def add_block(self, block: Block, *, file: str, line: int) -> None:
        """Adds clean scenarios that are counted already.

        Args:
            block: The scenarios.
            file: Name of their file; their source, unless they name one.
            line: Line of the first.
        """
        n = len(block.ids)
        self.ids.extend(block.ids)
        self._source.extend(self._sources.number(name or file, name or file) for name in block.sources)
        self._file.extend([self._files.number(file, file)] * n)
        self._line.extend(range(line, line + n))
        self._labels.frombytes(block.labels.astype(np.int64).tobytes())
        self._defects.frombytes(block.defects.astype(np.int64).tobytes())
        self._lost.extend([0] * 2 * n)
        local: dict[str, int] = {}
        of_name = np.array([local.setdefault(_spelling(name), len(local)) for name in block.names], np.int64)
        n_names = max(1, len(local))
        key = block.row * n_names + of_name[block.holder]
        # where each stakeholder of each scenario first stands: of several writes to one place the last one stays
        first = np.full(n * n_names, -1, np.int32)
        first[key[::-1]] = np.arange(len(key) - 1, -1, -1)
        keys = np.flatnonzero(first >= 0)
        keys = keys[np.lexsort((first[keys], keys // n_names))]
        names, at = np.unique(keys % n_names, return_index=True)
        numbers = np.zeros(n_names, np.int64)
        for i in np.argsort(at).tolist():  # as they come in the scenarios, not in the dictionary
            numbers[names[i]] = self._holder(block.names[block.holder[first[keys[at[i]]]]])
        self._stakeholder.frombytes(numbers[keys % n_names].tobytes())
        first[keys] = np.arange(len(keys))
        self._add_counts(first[key], block.cell, len(keys))
        self._partial_ends.extend([self._partial_ends[-1]] * len(keys))
        parts = np.bincount(keys // n_names, minlength=n)
        self._starts.frombytes((self._starts[-1] + np.cumsum(parts)).astype(np.int64).tobytes())

    def corpus(self) -> Corpus:
        """What was collected. Nothing can be added any more: the counts are handed over, not copied."""
        counts = _csr(self._counts, self._cells, self._cell_ends, self.space.n_cells)
        partial = _csr(array("d", [1.0]) * len(self._partial), self._partial, self._partial_ends, len(self._pattern_cells))
        partial.sum_duplicates()
        lost = np.zeros((counts.shape[0], 2), np.int64)
        return Corpus(
            taxonomy=self.taxonomy,
            ids=tuple(self.ids),
            sources=self._sources.names(),
            source=_ints(self._source),
            files=self._files.names(),
            file=_ints(self._file),
            line=_ints(self._line),
            labels=_ints(self._labels),
            defects=_ints(self._defects),
            stakeholders=self._holders.names(),
            stakeholder=_ints(self._stakeholder),
            starts=_ints(self._starts),
            parts=FeatureMatrix(self.space, counts, partial, tuple(self._pattern_cells), lost),
            lost=_ints(self._lost).reshape(-1, 2),
            unread=tuple(self.unread),
        )

    def _add_tree(self, tree: Tree, holders: dict[int, list[tuple[list[int], list[int]]]]) -> None:
        for stakeholder in tree.stakeholders:
            number = self._holder(stakeholder.name)
            cells: list[int] = []
            partial: list[int] = []
            for action in stakeholder.actions:
                for effect in action.effects:
                    found = self.space.cells_of(tree.kind, action.action, effect)
                    if len(found) == 1:
                        cells.append(int(found[0]))
                    else:
                        partial.append(self._pattern(found))
            holders.setdefault(number, []).append((cells, partial))

    def _add_counts(self, part: npt.NDArray[np.int32], cell: npt.NDArray[np.int32], n_parts: int) -> None:
        """Adds n_parts rows of complete effects: (effects,) the row of each, and its cell."""
        width = self.space.n_cells
        key = part * (np.int32 if n_parts * width <= np.iinfo(np.int32).max else np.int64)(width) + cell
        found, counts = np.unique(key, return_counts=True)
        ends = np.searchsorted(found, np.arange(1, n_parts + 1) * width)
        self._cell_ends.frombytes((len(self._cells) + ends).astype(np.int64).tobytes())
        self._cells.frombytes((found % width).astype(np.int32).tobytes())
        self._counts.frombytes(counts.astype(np.float64).tobytes())

    def _holder(self, name: str) -> int:
        return self._holders.number(_spelling(name), name)

    def _pattern(self, cells: Ints) -> int:
        number = self._patterns.number(cells.tobytes(), "")
        if number == len(self._pattern_cells):
            self._pattern_cells.append(cells)
        return number


class _Names:
    """Numbers keys in the order in which they first come, and keeps a name for each."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._named: list[str] = []

    def number(self, key: object, name: str) -> int:
        found = self._numbers.setdefault(key, len(self._named))
        if found == len(self._named):
            self._named.append(name)
        return found

    def __len__(self) -> int:
        return len(self._named)

    def names(self) -> tuple[str, ...]:
        return tuple(self._named)


class _Counted:
    """Lines of a stream, with the number of the one handed out last."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.number += 1
            yield line


def _joined(rows: Any, starts: Ints) -> Any:
    """Rows that stand together as one; the memory is shared, and a column may come twice in a row, which counts twice."""
    return sparse.csr_array((rows.data, rows.indices, rows.indptr[starts]), shape=(len(starts) - 1, rows.shape[1]))


def _csr(data: array[float], columns: array[int], ends: array[int], n_columns: int) -> Any:
    """A matrix of one row for each end, in the memory of the arrays."""
    indptr = _ints(ends) if len(columns) > np.iinfo(np.int32).max else _ints(ends).astype(np.int32)
    values, indices = (np.frombuffer(it, kind) if it else np.empty(0, kind) for it, kind in ((data, "f8"), (columns, "i4")))
    return sparse.csr_array((values, indices, indptr), shape=(len(ends) - 1, n_columns))


def _spelling(name: str) -> str:
    """What tells two stakeholders apart."""
    return " ".join(name.casefold().split())


def _ints(values: array[int]) -> Ints:
    found: npt.NDArray[np.int64] = np.array(values, dtype=np.int64)
    return found
