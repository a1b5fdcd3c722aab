"""What a file of stored trees holds, counted: rows, labels, sources, effects, and what is missing in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from safetyanalyst.pipelines.corpus import UNLABELLED, Corpus, CorpusBuilder
from safetyanalyst.pipelines.dataset import StoredTrees, file_names, read_trees
from safetyanalyst.pipelines.parquet import batches, is_parquet, taxonomy_label
from safetyanalyst.pipelines.parquet_corpus import add_parquet
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind


class UnreadRow(Record):
    """A row that could not be read."""

    line: int | None
    error: str


class Summary(Record):
    """What a file of stored trees holds.

    Attributes:
        file: Its name.
        form: "parquet" for a feature dataset, "lines" for lines of JSON.
        bytes: Its size.
        taxonomy: What a feature dataset says it speaks of; `None` for lines of JSON, which do not say.
        rows: Scenarios that could be read.
        labels: How many of them are harmful, harmless, unlabelled.
        sources: Scenarios by source.
        stakeholders: Different names of stakeholders.
        effects: Leaves of all trees.
        effects_partial: Those of them in which something that could count could not be read.
        missing_trees: Scenarios without a harm tree, and without a benefit tree.
        lost_subtrees: Subtrees that were lost from the trees that are there.
        with_defects: Scenarios whose trees have defects.
        defects: All defects.
        unread: Rows that could not be read.
    """

    file: str
    form: Literal["parquet", "lines"]
    bytes: int
    taxonomy: str | None
    rows: int
    labels: dict[Literal["harmful", "harmless", "unlabelled"], int]
    sources: dict[str, int]
    stakeholders: int
    effects: int
    effects_partial: int
    missing_trees: dict[TreeKind, int]
    lost_subtrees: int
    with_defects: int
    defects: int
    unread: tuple[UnreadRow, ...]


def summarize(path: Path, taxonomy: Taxonomy, *, on_row: Callable[[], None] = lambda: None) -> Summary:
    """Counts what a file of stored trees holds, without keeping trees.

    Args:
        path: Lines of JSON in any form of `pipelines.dataset.read_trees`, or a feature dataset.
        taxonomy: What the trees speak of.
        on_row: Called after every row.

    Raises:
        ConfigError: The file is named like a feature dataset and is none, or pyarrow is not installed.
    """
    builder = CorpusBuilder(taxonomy)
    (name,) = file_names([path])
    missing = dict.fromkeys(TREE_KINDS, 0)
    if is_parquet(path):
        add_parquet(builder, path, name, on_row)
        for batch in batches(path, columns=[f"{kind}.lost" for kind in TREE_KINDS]):
            for kind in TREE_KINDS:
                missing[kind] += batch.column(kind).null_count
        return _counted(path, builder.corpus(), missing, form="parquet", taxonomy=taxonomy_label(path))
    for item in read_trees(path, taxonomy):
        builder.add(item, file=name)
        if isinstance(item, StoredTrees):
            for kind, tree in zip(TREE_KINDS, (item.trees.harm, item.trees.benefit), strict=True):
                missing[kind] += tree is None
        on_row()
    return _counted(path, builder.corpus(), missing, form="lines", taxonomy=None)


def _counted(path: Path, corpus: Corpus, missing: dict[TreeKind, int], **more: Any) -> Summary:
    labels = {"harmful": 1, "harmless": 0, "unlabelled": UNLABELLED}
    sizes = np.bincount(corpus.source, minlength=len(corpus.sources)).tolist()
    partial = int(corpus.parts.partial.sum())
    return Summary(
        file=path.name.encode("utf-8", "backslashreplace").decode(),
        bytes=path.stat().st_size,
        rows=len(corpus),
        labels={name: int((corpus.labels == value).sum()) for name, value in labels.items()},
        sources=dict(zip(corpus.sources, sizes, strict=True)),
        stakeholders=len(corpus.stakeholders),
        effects=int(corpus.parts.counts.sum()) + partial,
        effects_partial=partial,
        missing_trees=missing,
        lost_subtrees=int(corpus.lost.sum()) - sum(missing.values()),
        with_defects=int((corpus.defects > 0).sum()),
        defects=int(corpus.defects.sum()),
        unread=tuple(UnreadRow(line=it.line, error=it.error) for it in corpus.unread),
        **more,
    )
