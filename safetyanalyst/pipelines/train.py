"""Trains the embedded specialists, from files to a weights file; only numpy and scipy, seeded, the same again on one machine.

First the hidden layers (`train_trunk`), then the heads on what the hidden layers make of items they never saw (`train_heads`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst import resources
from safetyanalyst.errors import FitError
from safetyanalyst.generation import Generation
from safetyanalyst.generation.backends.embedded import WEIGHTS, EmbeddedSpecialist
from safetyanalyst.generation.backends.embedded_model import (
    DecodeSettings,
    EmbeddedModel,
    ModelFacts,
    Vocabulary,
    save_model,
    split_outputs,
)
from safetyanalyst.generation.backends.embedded_scenario import Encoded
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines.train_data import Item, SourceConfig, fold_of, read_all
from safetyanalyst.pipelines.train_encoding import (
    Floats,
    Matrices,
    encode_items,
    feature_matrix,
    inverse_frequency,
    known_words,
    ngram_matrix,
    targets,
    vocabulary,
)
from safetyanalyst.pipelines.train_heads import HeadsConfig, fit_kind
from safetyanalyst.pipelines.train_trunk import Member, TrunkConfig, forward, train_member
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind
from safetyanalyst.version import __version__

CONFIG_FORMAT = "safetyanalyst-training/1"


class TrainEmbeddedConfig(Record):
    """One training run, `configs/training/*.yaml`.

    Attributes:
        name: Of the model, with its version.
        taxonomy: Name or path.
        data_dir: Folder that the files below lie in; relative paths start from the working directory.
        teacher: Files of teacher trees, relative to `data_dir`.
        sources: Files of labelled scenarios.
        out: The weights file; the package's own when `None`.
        seed: Of everything random.
        n_buckets: Size of the hashed space, a power of two.
        disagreement_weight: Of a teacher item whose label the second annotator does not share.
        trunk: The hidden layers.
        heads: The heads.
        decode: How probabilities become a tree.
    """

    name: str = "embedded-v1"
    taxonomy: str = "safetyanalyst-v1"
    data_dir: Path = Path("data")
    teacher: tuple[str, ...]
    sources: tuple[SourceConfig, ...] = ()
    out: Path | None = None
    seed: int = 0
    n_buckets: int = 2**15
    disagreement_weight: float = 0.3
    trunk: TrunkConfig = TrunkConfig()
    heads: HeadsConfig = HeadsConfig()
    decode: DecodeSettings = DecodeSettings()


class TrainReport(Record):
    """What a training run did.

    Attributes:
        out: The weights file.
        bytes: Its size.
        sha256: Of the file, hex.
        items: Scenarios used.
        trees: Those with teacher trees.
        seconds: In all.
        epochs: Kept epoch of each network.
        losses: Held-out loss of each network at that epoch.
    """

    out: str
    bytes: int
    sha256: str
    items: int
    trees: int
    seconds: float
    epochs: tuple[int, ...]
    losses: tuple[float, ...]


def load_train_config(name_or_path: str | Path = "embedded") -> TrainEmbeddedConfig:
    """Reads a training configuration by shipped name or by path.

    Raises:
        ConfigError: It breaks a rule; names file, key and what was expected.
    """
    return resources.load(TrainEmbeddedConfig, "training", name_or_path, format=CONFIG_FORMAT)


def train_embedded(config: TrainEmbeddedConfig) -> TrainReport:
    """Trains both specialists and writes their weights.

    Raises:
        ConfigError: The data cannot be read.
        FitError: There are no teacher trees.
    """
    from safetyanalyst.generation.backends.embedded_model import load_model

    started = time.monotonic()
    taxonomy = load_taxonomy(config.taxonomy)
    items = read_items(config, taxonomy)
    trained = train_on(items, encode_items(items, config.n_buckets), config, taxonomy)
    out = config.out or WEIGHTS
    save_model(trained.model, out)
    return TrainReport(
        out=str(out),
        bytes=out.stat().st_size,
        sha256=load_model(out).digest,
        items=len(items),
        trees=sum(item.trees is not None for item in items),
        seconds=round(time.monotonic() - started, 1),
        epochs=tuple(member.best for member in trained.members),
        losses=tuple(round(min(member.losses), 4) for member in trained.members),
    )


def read_items(config: TrainEmbeddedConfig, taxonomy: Taxonomy) -> list[Item]:
    """All training items of a configuration.

    Raises:
        ConfigError: A file cannot be read.
        FitError: There are no teacher trees.
    """
    items = read_all(config.data_dir, config.teacher, config.sources, taxonomy, config.disagreement_weight)
    if not any(item.trees is not None for item in items):
        raise FitError(f"{config.data_dir}: there are no teacher trees in {', '.join(config.teacher) or 'no files'}")
    return items


class Trained(NamedTuple):
    """A model with how its networks did."""

    model: EmbeddedModel
    members: list[Member]


def train_on(items: Sequence[Item], encoded: Sequence[Encoded], config: TrainEmbeddedConfig, taxonomy: Taxonomy) -> Trained:
    """Trains on items that are already read and encoded.

    Args:
        items: With and without trees.
        encoded: The same, as the networks see them.
        config: How.
        taxonomy: What the trees mean.
    """
    count = config.heads.min_stakeholder_count
    vocabularies: dict[TreeKind, Vocabulary] = {kind: vocabulary(items, kind, taxonomy, count) for kind in TREE_KINDS}
    idf = inverse_frequency(encoded, config.n_buckets)
    data = Matrices(ngram_matrix(encoded, idf), feature_matrix(encoded), *targets(items, vocabularies, taxonomy))
    folds = np.array([fold_of(item.group, config.trunk.members, config.seed) for item in items])
    members = [train_member(data, folds == m, config.trunk, config.seed + m) for m in range(config.trunk.members)]
    facts = _facts(config, vocabularies, taxonomy, items)
    arrays: dict[str, Any] = {"trunk/idf": idf, "words/known": known_words(encoded)} | _trunk_arrays(members, facts)
    taught = np.array([i for i, item in enumerate(items) if item.trees is not None])
    inputs = head_inputs(members, folds[taught], data.ngrams[taught], data.features[taught], facts)
    steps = [encoded[i].steps for i in taught]
    for kind in TREE_KINDS:
        arrays |= fit_kind(kind, [items[i] for i in taught], inputs, steps, vocabularies[kind], taxonomy, config.heads)
    return Trained(EmbeddedModel(facts, arrays), members)


def head_inputs(
    members: Sequence[Member], folds: npt.NDArray[np.int64], ngrams: Any, features: Floats, facts: ModelFacts
) -> Floats:
    """What the heads learn from: drivers and hidden layers of items, (n, 2 + hidden), of the network that never saw the item.

    The other networks know the item's label too well to be believed. Their part is zero and the one that is left counts for
    all, so that a head later meets the same sum.
    """
    runs = [forward(member.parameters, ngrams, features) for member in members]
    width = runs[0].hidden.shape[1]
    inputs = np.zeros((len(folds), 2 + width * len(runs)), np.float32)
    for i, fold in enumerate(folds):
        hidden = runs[fold].hidden[i]
        inputs[i, :2] = split_outputs(runs[fold].outputs[i], hidden, facts).drivers
        inputs[i, 2 + fold * width : 2 + (fold + 1) * width] = len(runs) * hidden
    return inputs


def out_of_fold_trees(config: TrainEmbeddedConfig, n_folds: int = 5) -> Iterator[dict[str, Any]]:
    """Trees of the teacher's scenarios, each written by a model that saw no scenario of its group.

    Weights of a policy are aligned on these, as on new scenarios; the trees of scenarios that the model was trained on are
    sharper than those it will write.

    Args:
        config: Of the training runs.
        n_folds: Number of runs.

    Yields:
        `{"id", "type", "label", "group", "trees": {"harm", "benefit"}, "defects"}`, as `assess` and `align` read it.
    """
    taxonomy = load_taxonomy(config.taxonomy)
    items = read_items(config, taxonomy)
    encoded = encode_items(items, config.n_buckets)
    folds = [fold_of(item.group, n_folds, config.seed + 1) for item in items]
    for fold in range(n_folds):
        kept = [i for i, it in enumerate(folds) if it != fold]
        model = train_on([items[i] for i in kept], [encoded[i] for i in kept], config, taxonomy).model
        specialists = [EmbeddedSpecialist(kind, model, taxonomy) for kind in TREE_KINDS]
        for i, item in enumerate(items):
            if folds[i] == fold and item.trees is not None:
                generations = [specialist.generate([item.scenario])[0] for specialist in specialists]
                yield _stored(item, generations)


def write_out_of_fold_trees(config: TrainEmbeddedConfig, path: Path, n_folds: int = 5) -> int:
    """Writes `out_of_fold_trees` as JSON lines, and returns how many."""
    rows = [json.dumps(row, ensure_ascii=True) for row in out_of_fold_trees(config, n_folds)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(rows)


def _stored(item: Item, generations: Sequence[Generation]) -> dict[str, Any]:
    trees = {it.kind: None if it.tree is None else to_json(it.tree) for it in generations}
    defects = [defect.model_dump() for it in generations for defect in it.defects]
    label = int(item.target > 0.5)
    return {"id": item.id, "type": item.scenario.type, "label": label, "group": item.group, "trees": trees, "defects": defects}


def _facts(
    config: TrainEmbeddedConfig, vocabularies: dict[TreeKind, Vocabulary], taxonomy: Taxonomy, items: Sequence[Item]
) -> ModelFacts:
    return ModelFacts(
        name=config.name,
        taxonomy=taxonomy.label,
        n_buckets=config.n_buckets,
        harm=vocabularies["harm"],
        benefit=vocabularies["benefit"],
        extents=len(taxonomy.extents),
        likelihoods=len(taxonomy.likelihoods),
        decode=config.decode,
        training={
            "items": len(items),
            "trees": sum(item.trees is not None for item in items),
            "seed": config.seed,
            "config": resources.canonical_hash(config.model_dump(mode="json", exclude={"data_dir", "out"})),
            "code": __version__,
        },
    )


def _trunk_arrays(members: Sequence[Member], facts: ModelFacts) -> dict[str, Any]:
    """What of the networks ships: tables in 8 bits with a scale per unit, outputs up to the actions."""
    n_kept = 5 + len(facts.harm.actions) + len(facts.benefit.actions)
    tables = np.stack([member.parameters["table"] for member in members])
    scale = np.maximum(np.abs(tables).max(axis=1), 1e-9) / 127.0  # (members, H)
    return {
        "trunk/table": np.round(tables / scale[:, None]).astype(np.int8),
        "trunk/table_scale": scale.astype(np.float32),
        "trunk/features": np.stack([member.parameters["features"] for member in members]),
        "trunk/bias": np.stack([member.parameters["bias"] for member in members]),
        "trunk/out": np.stack([member.parameters["out"][:, :n_kept] for member in members]),
        "trunk/out_bias": np.stack([member.parameters["out_bias"][:n_kept] for member in members]),
    }
