"""Training items -> matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.generation.backends.embedded_model import Vocabulary, weighted
from safetyanalyst.generation.backends.embedded_scenario import SCENARIO_FEATURES, Encoded, encode
from safetyanalyst.pipelines.train_data import Item
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

Floats = npt.NDArray[np.float32]
MIN_TEXTS_PER_WORD = 2  # a word of one text says nothing about other texts


class Matrices(NamedTuple):
    """Training data as the networks see it, one row per item.

    Attributes:
        ngrams: (n, buckets) sparse inputs.
        features: (n, scenario features).
        targets: (n, outputs): risk, severity above 0-3, actions of harm and benefit, then auxiliary outputs.
        weights: (n, outputs) of each target; 0 where it is not known.
    """

    ngrams: Any
    features: Floats
    targets: Floats
    weights: Floats


def encode_items(items: Sequence[Item], n_buckets: int) -> list[Encoded]:
    """Encodes every scenario."""
    return [encode(item.scenario, n_buckets) for item in items]


def known_words(encoded: Sequence[Encoded]) -> npt.NDArray[np.uint32]:
    """Hashes of the words that occur in several texts, ascending."""
    counts: Counter[int] = Counter()
    for it in encoded:
        counts.update(set(it.word_hashes[it.word_lengths > 0].tolist()))
    return np.array(sorted(h for h, n in counts.items() if n >= MIN_TEXTS_PER_WORD), np.uint32)


def inverse_frequency(encoded: Sequence[Encoded], n_buckets: int) -> npt.NDArray[np.float16]:
    """Logarithm of the inverse share of texts in which a bucket occurs."""
    counts = np.zeros(n_buckets)
    for it in encoded:
        counts[np.unique(np.concatenate([field.ids for field in it.fields]))] += 1
    return np.log((1 + len(encoded)) / (1 + counts)).astype(np.float16)


def ngram_matrix(encoded: Sequence[Encoded], idf: npt.NDArray[np.float16]) -> Any:
    """(n, buckets) sparse rows."""
    rows = [weighted(it.fields, idf.astype(np.float32)) for it in encoded]
    pointers = np.concatenate([[0], np.cumsum([len(row.ids) for row in rows])])
    values = np.concatenate([row.values for row in rows]).astype(np.float32)
    return sparse.csr_matrix((values, np.concatenate([row.ids for row in rows]), pointers), shape=(len(rows), len(idf)))


def feature_matrix(encoded: Sequence[Encoded]) -> Floats:
    """(n, scenario features)."""
    return np.stack([it.features for it in encoded]) if encoded else np.zeros((0, len(SCENARIO_FEATURES)), np.float32)


def vocabulary(items: Sequence[Item], kind: TreeKind, taxonomy: Taxonomy, min_count: int) -> Vocabulary:
    """All actions and effects of the taxonomy, and the stakeholders that the teacher names often enough."""
    counts: Counter[str] = Counter()
    for item in items:
        tree = None if item.trees is None else getattr(item.trees, kind)
        counts.update({stakeholder.name for stakeholder in tree.stakeholders} if tree is not None else ())
    return Vocabulary(
        actions=tuple(it.number for it in taxonomy.actions(kind)),
        effects=tuple(it.number for it in taxonomy.effects(kind)),
        stakeholders=tuple(sorted(name for name, n in counts.items() if n >= min_count)),
    )


class Block(NamedTuple):
    """A group of outputs of the networks."""

    name: str
    size: int
    weight: float


def blocks(vocabularies: dict[TreeKind, Vocabulary]) -> list[Block]:
    """The outputs in order; those after the actions only shape the hidden layer and are not kept."""
    parts = [Block("risk", 1, 1.0), Block("severity", 4, 0.25)]
    parts += [Block(f"{kind}/action", len(vocabularies[kind].actions), 0.1) for kind in TREE_KINDS]
    parts += [Block(f"{kind}/stakeholder", len(vocabularies[kind].stakeholders), 0.05) for kind in TREE_KINDS]
    return parts + [Block(f"{kind}/effect", len(vocabularies[kind].effects), 0.1) for kind in TREE_KINDS]


def targets(items: Sequence[Item], vocabularies: dict[TreeKind, Vocabulary], taxonomy: Taxonomy) -> tuple[Floats, Floats]:
    """Targets and weights of the outputs, each (n, outputs)."""
    parts = blocks(vocabularies)
    start = {part.name: sum(it.size for it in parts[:i]) for i, part in enumerate(parts)}
    scale = np.concatenate([np.full(part.size, part.weight, np.float32) for part in parts])
    y = np.zeros((len(items), len(scale)), np.float32)
    w = np.zeros_like(y)
    for i, item in enumerate(items):
        y[i, 0], w[i, 0] = item.target, item.weight
        if item.severity is None or item.trees is None:
            continue
        y[i, 1:5] = [item.severity > level for level in range(4)]
        w[i] = item.weight * scale
        for kind in TREE_KINDS:
            y[i, _named(item, kind, vocabularies[kind], taxonomy, start)] = 1.0
    return y, w


def _named(item: Item, kind: TreeKind, vocabulary: Vocabulary, taxonomy: Taxonomy, start: dict[str, int]) -> list[int]:
    """Outputs that an item's tree of one kind turns on."""
    actions = {number: i for i, number in enumerate(vocabulary.actions)}
    effects = {number: i for i, number in enumerate(vocabulary.effects)}
    stakeholders = {name: i for i, name in enumerate(vocabulary.stakeholders)}
    assert item.trees is not None
    tree = getattr(item.trees, kind)
    found: set[int] = set()
    for leaf in tree.leaves():
        action = taxonomy.action_named(kind, leaf.action.action or "")
        effect = taxonomy.effect_named(kind, leaf.effect.effect or "")
        if action is not None:
            found.add(start[f"{kind}/action"] + actions[action.number])
        if effect is not None:
            found.add(start[f"{kind}/effect"] + effects[effect.number])
        if leaf.stakeholder.name in stakeholders:
            found.add(start[f"{kind}/stakeholder"] + stakeholders[leaf.stakeholder.name])
    return sorted(found)
