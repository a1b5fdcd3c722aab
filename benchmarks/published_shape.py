"""A feature dataset of the published size and shape, made by us: 19,188 trees, 18.5 million effects, no data set involved.

Ten to twenty stakeholders a side, three to ten actions each, three to seven effects an action: about 970 effects a tree. It is
written with array arithmetic; trees as objects would take half an hour.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from safetyanalyst.pipelines.parquet import FORMAT, ROWS_PER_GROUP, schema
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind
from safetyanalyst.weights import Ints

N_TREES = 19_188
_SOURCES = ("traffic", "red team", "jailbreaks")


def write_published_shape(path: Path, taxonomy: Taxonomy, n_trees: int = N_TREES, seed: int = 0) -> None:
    """Writes the dataset.

    Args:
        path: The file, `*.parquet`.
        taxonomy: What the trees speak of.
        n_trees: Number of scenarios.
        seed: Of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    with_format = schema().with_metadata({"format": FORMAT, "taxonomy": taxonomy.label})
    with parquet.ParquetWriter(path, with_format, compression="zstd") as writer:
        for start in range(0, n_trees, ROWS_PER_GROUP):
            n = min(ROWS_PER_GROUP, n_trees - start)
            columns: dict[str, Any] = {
                name: pyarrow.nulls(n, it.type) for name, it in zip(with_format.names, with_format, strict=True)
            }
            columns |= {
                "id": pyarrow.array([f"tree-{start + i}" for i in range(n)]),
                "type": pyarrow.array(["prompt"] * n),
                "source": _words(_SOURCES, rng.integers(0, len(_SOURCES), n)),
                "label": pyarrow.array(rng.integers(0, 2, n), pyarrow.int8()),
                "provenance": pyarrow.array(["{}"] * n),
                "fields": pyarrow.array([json.dumps({})] * n),
            }
            columns |= {kind: _trees(rng, taxonomy, kind, n) for kind in TREE_KINDS}
            writer.write_batch(pyarrow.RecordBatch.from_arrays([columns[it] for it in with_format.names], schema=with_format))


def _trees(rng: np.random.Generator, taxonomy: Taxonomy, kind: TreeKind, n: int) -> Any:
    holders = rng.integers(10, 21, n)
    actions = rng.integers(3, 11, int(holders.sum()))
    effects = rng.integers(3, 8, int(actions.sum()))
    n_actions, n_effects = int(actions.sum()), int(effects.sum())
    categories = [it.name for it in taxonomy.actions(kind)]
    # a scenario is about a few things: half of its actions are of one of three categories
    themes = np.repeat(rng.integers(0, len(categories), (n, 3)), _per_scenario(holders, actions), axis=0)
    own = themes[np.arange(n_actions), rng.integers(0, 3, n_actions)]
    category = np.where(rng.random(n_actions) < 0.5, own, rng.integers(0, len(categories), n_actions))
    features = {
        "effect": ([it.name for it in taxonomy.effects(kind)], None),
        "immediacy": ([it.name for it in taxonomy.immediacies], None),
        "extent": ([it.name for it in taxonomy.extents], (0.4, 0.3, 0.2, 0.1)),
        "likelihood": ([it.name for it in taxonomy.likelihoods], (0.3, 0.4, 0.3)),
    }
    leaf = pyarrow.StructArray.from_arrays(
        [_words(words, rng.choice(len(words), n_effects, p=shares)) for words, shares in features.values()], list(features)
    )
    action = pyarrow.StructArray.from_arrays(
        [
            _words(categories, category),
            pyarrow.nulls(n_actions, pyarrow.string()),
            _lists(np.zeros(n_actions, np.int64), pyarrow.array([], pyarrow.int32())),
            _lists(effects, leaf),
        ],
        ["action", "description", "evidence", "effects"],
    )
    names = _words(taxonomy.stakeholders, rng.integers(0, len(taxonomy.stakeholders), len(actions)))
    holder = pyarrow.StructArray.from_arrays([names, _lists(actions, action)], ["name", "actions"])
    lost = pyarrow.array(np.zeros(n, np.int32))
    return pyarrow.StructArray.from_arrays([lost, _lists(holders, holder)], ["lost", "stakeholders"])


def _per_scenario(holders: Ints, actions: Ints) -> Ints:
    """(n,) actions of every scenario."""
    ends = np.cumsum(holders)
    return np.add.reduceat(actions, np.append(0, ends[:-1]))


def _lists(lengths: Ints, items: Any) -> Any:
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets), items)


def _words(words: Any, codes: Ints) -> Any:
    coded = pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes.astype(np.int32)), pyarrow.array(list(words)))
    return coded.cast(pyarrow.string())
