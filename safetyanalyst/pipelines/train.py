"""Trains the embedded specialists: seeded, in minutes, with numpy and scipy alone.

Two stages. First linear judgements of the whole text (harmful? how severe? which action groups, which benefits?) and
unsupervised topics; then the heads of the trees on top of them (see `generation.backends.embedded_heads`). The heads learn
from judgements that were made out of fold, so that they learn how far such judgements can be trusted on texts nobody has seen.

The trees of the teacher texts that come out of fold are written too: policies are aligned on those, never on training trees.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import svds

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.backends.embedded import tree_of
from safetyanalyst.generation.backends.embedded_features import N_GRAMS, words_of
from safetyanalyst.generation.backends.embedded_heads import SEEN_BITS, TreeHeads, seen_slots
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines.encoder_config import Decoding
from safetyanalyst.pipelines.evaluate import auroc
from safetyanalyst.pipelines.train_data import Labelled, Taught, feature_matrix, folds_of, read_labelled, read_taught
from safetyanalyst.pipelines.train_heads import HeadData, head_data
from safetyanalyst.pipelines.train_solvers import LinearJudgement, fit_heads, fit_judgement, fit_pairs
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

FORMAT = "safetyanalyst-training/1"
Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]


class TrainEmbeddedConfig(Record):
    """Training of the embedded specialists, `configs/training/*.yaml`.

    Attributes:
        name: Of the model.
        taxonomy: Of the teacher trees.
        teacher: Files of teacher trees, below the data folder.
        labelled: Glob patterns of files that carry labels only.
        labelled_weight: Of such a text beside a teacher's.
        seed: Of the folds.
        folds: How many.
        topics: Number of unsupervised topics.
        min_documents: A feature or word that fewer texts hold is not known.
        judgement_strength: Of the data against the penalty in judgements of all texts, and of teacher texts.
        effect_strength: Likewise in the heads of effects.
        level_strength: Likewise in the heads of extent, likelihood and immediacy.
        decoding: How probabilities become a tree, for each kind.
    """

    name: str
    taxonomy: str = "safetyanalyst-v1"
    teacher: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    labelled_weight: Annotated[float, Field(gt=0)] = 0.25
    seed: int = 0
    folds: Annotated[int, Field(ge=2)] = 5
    topics: Annotated[int, Field(ge=1)] = 40
    min_documents: Annotated[int, Field(ge=1)] = 2
    judgement_strength: tuple[float, float] = (0.02, 0.05)
    effect_strength: float = 0.05
    level_strength: float = 0.02
    decoding: dict[TreeKind, Decoding]


class TrainingReport(Record):
    """What a training run saw.

    Attributes:
        taught: Texts with teacher trees.
        labelled: Texts with a label only, after those that are teacher texts were left out.
        unlisted_stakeholders: Rows of teacher trees left out because the taxonomy does not list their stakeholder.
        out_of_fold_auroc: Of the judgement "harmful" on teacher texts, out of fold; `None` when all labels are alike.
    """

    taught: int
    labelled: int
    unlisted_stakeholders: int
    out_of_fold_auroc: float | None


class TrainingTexts(NamedTuple):
    """What a configuration names.

    Attributes:
        taught: Texts with teacher trees.
        labelled: Texts with a label only, without those that the teacher saw.
    """

    taught: list[Taught]
    labelled: list[Labelled]


class Trained(NamedTuple):
    """The result of a training run.

    Attributes:
        arrays: Weights by name.
        metadata: Names of what indices mean.
        out_of_fold: Analyses-like records of teacher texts, trees predicted out of fold, with `label` and `group`.
        report: What the run saw.
    """

    arrays: dict[str, npt.NDArray[Any]]
    metadata: dict[str, str]
    out_of_fold: list[dict[str, Any]]
    report: TrainingReport


def load_train_config(name_or_path: str | Path) -> TrainEmbeddedConfig:
    """Reads a training configuration by shipped name or by path.

    Raises:
        ConfigError: It breaks a rule; names file, key and what was expected.
    """
    return resources.load(TrainEmbeddedConfig, "training", name_or_path, format=FORMAT)


def train_embedded(config: TrainEmbeddedConfig, data_dir: Path, *, say: Say = lambda _: None) -> Trained:
    """Trains both specialists.

    Args:
        config: What to train from, and how.
        data_dir: Folder that the files of the configuration lie below.
        say: Called with a line of progress.

    Raises:
        ConfigError: A file is missing or broken.
    """
    taxonomy = load_taxonomy(config.taxonomy)
    taught, labelled = read_texts(config, data_dir, taxonomy)
    say(f"{len(taught)} texts with trees, {len(labelled)} with a label only")
    texts = _Texts(config, taught, labelled, taxonomy)
    say("features and topics are there")
    n_folds = config.folds
    fold = folds_of([it.group for it in taught] + [it.group for it in labelled], n_folds, config.seed)
    judged = np.zeros((len(taught), texts.n_judgements))
    for f in range(n_folds):
        held_out = np.flatnonzero(fold[: len(taught)] == f)
        judged[held_out] = _apply(texts.judge(np.flatnonzero(fold != f)), texts.x[held_out])
        say(f"judgements without fold {f + 1} of {n_folds}")
    final = texts.judge(np.arange(len(fold)))
    z = _Standardised(np.hstack((texts.topics_of(slice(0, len(taught))), judged)))
    data = {kind: head_data(kind, taught, z.rows, taxonomy) for kind in TREE_KINDS}
    out_of_fold = _out_of_fold(config, data, fold[: len(taught)], z.rows, taught, taxonomy, say)
    arrays = texts.arrays(final, z)
    for kind in TREE_KINDS:
        arrays |= _fit_tree_heads(config, data[kind], z.rows, np.arange(len(taught)))
    say("heads are there")
    report = TrainingReport(
        taught=len(taught),
        labelled=len(labelled),
        unlisted_stakeholders=sum(it.unlisted for it in data.values()),
        out_of_fold_auroc=auroc(np.array([it.label for it in taught]), judged[:, 0]),
    )
    metadata = {"name": config.name, "taxonomy": taxonomy.label, "stakeholders": "|".join(taxonomy.stakeholders)}
    return Trained(arrays, metadata, out_of_fold, report)


def save(trained: Trained, path: Path) -> None:
    """Writes the weights as safetensors; equal weights give equal bytes."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(trained.arrays[name]) for name in sorted(trained.arrays)}
    save_file(arrays, path, metadata={"about": json.dumps(trained.metadata, sort_keys=True)})  # one key: the order is fixed


def save_out_of_fold(trained: Trained, path: Path) -> None:
    """Writes the out-of-fold trees as JSON lines, ready for `align`."""
    path.write_text("".join(json.dumps(row) + "\n" for row in trained.out_of_fold), encoding="utf-8")


def read_texts(config: TrainEmbeddedConfig, data_dir: Path, taxonomy: Taxonomy) -> TrainingTexts:
    """Reads the training texts of a configuration.

    Raises:
        ConfigError: A file is missing or broken, or is a development set.
    """
    taught: list[Taught] = []
    for name in config.teacher:
        if not (data_dir / name).is_file():
            raise ConfigError("there is no such file", file=data_dir / name, key="teacher", expected="teacher trees")
        taught += read_taught(data_dir / name, taxonomy)
    known = {it.scenario.texts() for it in taught}  # texts that the teacher saw came from the labelled files
    paths = [path for pattern in config.labelled for path in sorted(data_dir.glob(pattern))]
    labelled = [it for it in read_labelled(paths, config.labelled_weight) if it.scenario.texts() not in known]
    return TrainingTexts(taught, labelled)


class _Standardised:
    """Projections with mean 0 and deviation 1, clipped, and a constant 1 at the end."""

    def __init__(self, raw: Floats) -> None:
        self.mean, self.deviation = raw.mean(axis=0), raw.std(axis=0) + 1e-9
        clipped = np.clip((raw - self.mean) / self.deviation, -6.0, 6.0)
        self.rows = np.hstack((clipped, np.ones((len(raw), 1))))


class _Texts:
    """All texts as features, and what can be judged of them."""

    def __init__(self, config: TrainEmbeddedConfig, taught: list[Taught], labelled: list[Labelled], taxonomy: Taxonomy) -> None:
        self._config = config
        self._n_taught = len(taught)
        scenarios = [it.scenario for it in taught] + [it.scenario for it in labelled]
        counts = feature_matrix(scenarios)
        documents = np.bincount(counts.indices, minlength=counts.shape[1])
        known = documents >= config.min_documents
        rarity = np.where(known, np.log(len(scenarios) / (1.0 + documents)), 0.0).clip(0.0)
        rarity[N_GRAMS:] = 1.0  # what an agent's steps show is no word that could be rare
        self.idf = rarity.astype(np.float16)
        self.x = sparse.csr_array(counts @ sparse.diags_array(self.idf.astype(np.float64)))
        self.labels: Floats = np.array([it.label for it in taught] + [it.label for it in labelled], np.float64)
        self.weights: Floats = np.array([it.weight for it in taught] + [it.weight for it in labelled], np.float64)
        self._targets = _targets(taught, taxonomy)
        self.seen = _seen(scenarios, config.min_documents)
        k = min(config.topics, min(self.x.shape) - 1)
        _, _, self.topics = svds(self.x, k=k, v0=np.ones(min(self.x.shape)), rng=0)

    @property
    def n_judgements(self) -> int:
        """Columns that `judge` makes."""
        return 1 + int(self._targets.shape[1])

    def topics_of(self, rows: slice) -> Floats:
        """(n, topics)."""
        topics: Floats = self.x[rows] @ self.topics.T
        return topics

    def judge(self, rows: npt.NDArray[np.int64]) -> list[LinearJudgement]:
        """Judgements learned from some of the texts: "harmful" from all of them, the others from those with trees."""
        everything, taught = self._config.judgement_strength
        with_trees = rows[rows < self._n_taught]
        judgements = [fit_judgement(self.x[rows], self.labels[rows], self.weights[rows], everything)]
        x, weights = self.x[with_trees], self.weights[with_trees]
        return judgements + [fit_judgement(x, target[with_trees], weights, taught) for target in self._targets.T]

    def arrays(self, judgements: list[LinearJudgement], z: _Standardised) -> dict[str, npt.NDArray[Any]]:
        """The projection as it ships: eight bits a weight, one scale a column."""
        columns = np.vstack((self.topics, [it.weights for it in judgements])) / z.deviation[:, None]
        offset = np.concatenate((np.zeros(len(self.topics)), [it.bias for it in judgements]))
        scale = np.abs(columns).max(axis=1) / 127.0 + 1e-12
        return {
            "projection.values": np.round(columns / scale[:, None]).astype(np.int8).T,
            "projection.scale": scale.astype(np.float32),
            "projection.center": ((z.mean - offset) / z.deviation).astype(np.float32),
            "idf": self.idf,
            "seen": np.packbits(self.seen),
        }


def _targets(taught: Sequence[Taught], taxonomy: Taxonomy) -> Floats:
    """(n, judgements) what is judged of texts with trees.

    Harmful; severity at least 2, 3, 4; each action group present; each present and grave (more than minor, more than unlikely);
    each beneficial action present.
    """
    groups = {group.key: i for i, group in enumerate(taxonomy.action_groups)}
    group_of = {category.name: groups[category.group] for category in taxonomy.harm_actions}
    benefits = {category.name: i for i, category in enumerate(taxonomy.benefit_actions)}
    present, grave = np.zeros((len(taught), len(groups))), np.zeros((len(taught), len(groups)))
    beneficial = np.zeros((len(taught), len(benefits)))
    for i, it in enumerate(taught):
        for leaf in it.trees.harm.leaves() if it.trees.harm else ():
            group = group_of[leaf.action.action or ""]
            present[i, group] = 1.0
            if leaf.effect.extent != taxonomy.extents[0].name and leaf.effect.likelihood != taxonomy.likelihoods[0].name:
                grave[i, group] = 1.0
        for leaf in it.trees.benefit.leaves() if it.trees.benefit else ():
            beneficial[i, benefits[leaf.action.action or ""]] = 1.0
    label = np.array([[it.label, *(it.severity >= level for level in (2, 3, 4))] for it in taught], np.float64)
    return np.hstack((label, grave, present, beneficial))


def _seen(scenarios: Sequence[Any], min_documents: int) -> npt.NDArray[np.bool_]:
    """The set of words that enough texts hold."""
    documents = Counter(word for it in scenarios for word in {word for text in it.texts() for word in words_of(text)})
    seen = np.zeros(1 << SEEN_BITS, bool)
    for word, n in documents.items():
        if n >= min_documents:
            seen[list(seen_slots(word))] = True
    return seen


def _apply(judgements: Sequence[LinearJudgement], x: Any) -> Floats:
    scores: Floats = x @ np.array([it.weights for it in judgements]).T + np.array([it.bias for it in judgements])
    return scores


def _fit_tree_heads(
    config: TrainEmbeddedConfig, data: HeadData, z: Floats, rows: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """The heads of one kind of tree, learned from some of the teacher texts."""
    pairs = fit_pairs(z[rows], data.present[rows])
    of_rows, of_leaves = np.isin(data.row_text, rows), np.isin(data.leaf_text, rows)
    effects = fit_heads(data.row_x[of_rows], data.row_y[of_rows], data.row_weight[of_rows], config.effect_strength)
    levels = fit_heads(data.leaf_x[of_leaves], data.leaf_y[of_leaves], data.leaf_weight[of_leaves], config.level_strength)
    decoding = config.decoding[data.kind]
    parts = {
        "actions": pairs.actions, "stakeholders": pairs.stakeholders, "pairs": pairs.pairs, "effects": effects,
        "extent": levels[: data.n_extents], "likelihood": levels[data.n_extents : -1], "immediacy": levels[-1:],
    }  # fmt: skip
    heads: dict[str, npt.NDArray[Any]] = {f"{data.kind}.{name}": part.astype(np.float16) for name, part in parts.items()}
    limits = (decoding.row_threshold, decoding.effect_threshold, decoding.max_rows)
    return heads | {f"{data.kind}.decode": np.array(limits, np.float32)}


def _out_of_fold(
    config: TrainEmbeddedConfig, data: dict[TreeKind, HeadData], fold: npt.NDArray[np.int64], z: Floats,
    taught: Sequence[Taught], taxonomy: Taxonomy, say: Say,
) -> list[dict[str, Any]]:  # fmt: skip
    """Trees of the teacher texts, each by heads and judgements that have not seen it."""
    trees: dict[int, dict[str, Any]] = {i: {} for i in range(len(taught))}
    for f in range(config.folds):
        held_out = np.flatnonzero(fold == f)
        for kind in TREE_KINDS:
            heads = TreeHeads(_fit_tree_heads(config, data[kind], z, np.flatnonzero(fold != f)), kind)
            for i in held_out:
                tree = tree_of(heads.rows(z[i]), kind, taxonomy.stakeholders, taxonomy, {})
                trees[int(i)][kind] = to_json(tree)
        say(f"trees of fold {f + 1} of {config.folds}")
    return [
        {"id": it.scenario.id, "type": it.scenario.type, "label": it.label, "group": it.group, "trees": trees[i]}
        for i, it in enumerate(taught)
    ]
