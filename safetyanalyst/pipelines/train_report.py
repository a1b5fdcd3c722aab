"""What a training run of the embedded specialists saw."""

from __future__ import annotations

from safetyanalyst.records import Record


class TrainingReport(Record):
    """What a training run saw.

    Attributes:
        name: Of the model.
        taught: Texts with teacher trees.
        labelled: Texts with a label only, after those that are teacher texts were left out.
        contrast: Texts written for this training.
        judged: Unlabelled texts that the first stage judged surely enough.
        resembling: Teacher texts that a text without trees resembles: they are not among the trees out of fold.
        unlisted_stakeholders: Rows of teacher trees left out because the taxonomy does not list their stakeholder.
        out_of_fold_auroc: Of the judgement "harmful" on teacher texts, out of fold; `None` when all labels are alike.
        label_epochs: Of the first stage.
        tree_epochs: Of the second.
        held_out_loss: Of every fold after every epoch.
        minutes: Of the first two stages together.
    """

    name: str
    taught: int
    labelled: int
    contrast: int
    judged: int
    resembling: int
    unlisted_stakeholders: int
    out_of_fold_auroc: float | None
    label_epochs: int
    tree_epochs: int
    held_out_loss: tuple[tuple[float, ...], ...]
    minutes: float
