"""What a training of the embedded specialists is told, `configs/training/*.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from safetyanalyst import resources
from safetyanalyst.records import Record
from safetyanalyst.trees import TREE_KINDS, TreeKind

FORMAT = "safetyanalyst-training/2"
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class BaseEncoder(Record):
    """The pretrained encoder that training starts from. The product ships what came of it and does not depend on it.

    Attributes:
        package: A Python package that carries it.
        folder: Within the package, with `config.json`, `tokenizer.json` and `model.safetensors`.
        sha256: Of `model.safetensors`, hex: another file is refused.
        licence: For the model card.
    """

    package: str
    folder: str = "model"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    licence: str


class Texts(Record):
    """Training texts that carry no trees.

    Attributes:
        files: Glob patterns below the data folder, or for `contrast` below the folder of the shipped training configurations.
        weight: Of such a text beside a teacher's.
        at_most: Of one file, chosen by the seed.
    """

    files: tuple[str, ...]
    weight: Positive
    at_most: Count | None = None


class Stage(Record):
    """One stage of learning.

    Attributes:
        epochs: At most.
        encoder_rate: Learning rate of the encoder.
        head_rate: Of everything else.
        keep: The epoch of the least held-out loss, or the last: a ranking may gain where the loss rises for being too sure.
    """

    epochs: Count
    encoder_rate: Positive
    head_rate: Positive
    keep: Literal["best", "last"] = "best"


class HeadStage(Record):
    """The last stage: heads alone, on the summaries of an encoder that stands still.

    Attributes:
        epochs: All of them.
        rate: Learning rate.
        dropout: Share of z that is dropped.
    """

    epochs: Count
    rate: Positive
    dropout: Share = 0.2


class Decoding(Record):
    """How predicted probabilities become a tree.

    Attributes:
        row_threshold: Rows at least this probable are written (the most probable one always).
        effect_threshold: Likewise for the effects of a row.
        max_rows: At most so many rows.
    """

    row_threshold: Annotated[float, Field(gt=0, lt=1)]
    effect_threshold: Annotated[float, Field(gt=0, lt=1)]
    max_rows: Annotated[int, Field(ge=1, le=40)]


class TrainConfig(Record):
    """Training of the embedded specialists.

    Attributes:
        name: Of the model.
        taxonomy: Of the teacher trees.
        encoder: What is fine-tuned.
        sources: Where the texts come from, and their licences: for the model card.
        teacher: Files of teacher trees, below the data folder.
        labelled: Texts that carry a label.
        contrast: Texts written for this training, with label, severity and actions.
        unlabelled: Texts that the model of the first stage judges for the second.
        summary: Width of z.
        labels: The stage that learns from texts without trees.
        trees: The stage that learns from teacher trees, beside other texts.
        mix: How far the weights go from those of the first stage to those of the second: all of the way is better for trees, a
            part of it better for texts that are unlike the teacher's (Wortsman et al., 2022).
        beside: How many other texts the second stage reads for each of the teacher's, so that nothing is forgotten.
        heads: The stage that learns the heads anew, from the teacher texts of the second and twice as many others.
        augment: Share of prompts that are changed, in every epoch anew.
        batch_items: Scenarios of a batch, at most.
        batch_tokens: Tokens of a batch, padding included, at most.
        chunks: Of a scenario that a training step reads, at most.
        precision: Of the products in the network; bfloat16 pays where the processor multiplies it natively.
        seed: Of folds, order, changes and dropout.
        folds: How many; trees of each are predicted by a model that has not seen it.
        min_documents: A word that fewer texts hold is not known.
        decoding: How probabilities become a tree, for each kind.
    """

    name: str
    taxonomy: str = "safetyanalyst-v1"
    encoder: BaseEncoder
    sources: dict[str, str]
    teacher: tuple[str, ...]
    labelled: tuple[Texts, ...]
    contrast: Texts
    unlabelled: Texts
    summary: Count = 256
    labels: Stage
    trees: Stage
    mix: Share = 1.0
    beside: Positive = 1.0
    heads: HeadStage
    augment: Share = 0.3
    batch_items: Count = 32
    batch_tokens: Count = 4096
    chunks: Count = 6
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: int = 0
    folds: Annotated[int, Field(ge=2)] = 5
    min_documents: Count = 2
    decoding: dict[TreeKind, Decoding]

    @field_validator("decoding")
    @classmethod
    def _both_kinds(cls, decoding: dict[TreeKind, Decoding]) -> dict[TreeKind, Decoding]:
        if decoding.keys() != set(TREE_KINDS):
            raise ValueError("names harm and benefit, each once")
        return decoding


def load_train_config(name_or_path: str | Path) -> TrainConfig:
    """Reads a training configuration by shipped name or by path.

    Raises:
        ConfigError: It breaks a rule; names file, key and what was expected.
    """
    return resources.load(TrainConfig, "training", name_or_path, format=FORMAT)
