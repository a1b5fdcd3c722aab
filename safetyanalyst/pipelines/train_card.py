"""A training run -> the part of its model card that the run itself knows: sources, licences, counts, how it went, files.

What the model is worth is measured elsewhere, on sets that the run has not seen; `docs/model-card-embedded.md` holds both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from safetyanalyst.pipelines.train_config import TrainConfig
from safetyanalyst.pipelines.train_report import TrainingReport

CARD = "training.md"


def write_card(folder: Path, config: TrainConfig, report: TrainingReport, files: tuple[str, ...]) -> None:
    """Writes the card beside the weights.

    Args:
        folder: Of the weights.
        config: What the run was asked for.
        report: What it saw.
        files: Names of the weights.
    """
    (folder / CARD).write_text(card(config, report) + _files(folder, files), encoding="utf-8")


def card(config: TrainConfig, report: TrainingReport) -> str:
    """Markdown on data, sources and course of a run."""
    labels, trees = config.labels, config.trees
    auroc = "-" if report.out_of_fold_auroc is None else f"{report.out_of_fold_auroc:.3f}"
    lines = [
        f"Training of {config.name} (`safetyanalyst train embedded`, taxonomy {config.taxonomy}), from the pretrained encoder "
        f"in {config.encoder.package} ({config.encoder.licence}; sha256 of its weights `{config.encoder.sha256}`).",
        "",
        _table(("texts", "number"), [
            ("with teacher trees", report.taught), ("with a label only", report.labelled),
            ("written for this training", report.contrast), ("unlabelled, judged by the first stage", report.judged),
            ("teacher texts that another text resembles, left out of what is out of fold", report.resembling),
            ("rows of teacher trees left out, their stakeholder not listed", report.unlisted_stakeholders),
        ]),
        "",
        _table(("source", "licence"), [(f"encoder {config.encoder.package}", config.encoder.licence), *config.sources.items()]),
        "",
        f"First stage, labels: {report.label_epochs} of at most {labels.epochs} epochs, learning rate {labels.encoder_rate:g} "
        f"(heads {labels.head_rate:g}). Second stage, teacher trees: {report.tree_epochs} of at most {trees.epochs} epochs, "
        f"learning rate {trees.encoder_rate:g} (heads {trees.head_rate:g}), {config.folds} folds by group. Third stage, "
        f"heads anew: {config.heads.epochs} epochs, learning rate {config.heads.rate:g}. Share of prompts "
        f"changed: {config.augment:g}. Seed {config.seed}, {config.precision}, {report.minutes:g} minutes.",
        "",
        _table(("held-out loss", *(f"epoch {i + 1}" for i in range(max(map(len, report.held_out_loss), default=0)))), [
            (f"fold {k + 1}", *(f"{loss:.3f}" for loss in fold)) for k, fold in enumerate(report.held_out_loss)
        ]),
        "",
        f"AUROC of the judgement on teacher texts, out of fold: {auroc}.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _files(folder: Path, files: tuple[str, ...]) -> str:
    rows = [
        (name, f"{(folder / name).stat().st_size / 1e6:.1f}", f"`{hashlib.sha256((folder / name).read_bytes()).hexdigest()}`")
        for name in files
    ]
    return "\n" + _table(("file", "MB", "sha256"), rows) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(row + ("",) * (len(head) - len(row)) for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
