"""The learned part of the embedded specialists: weights, what they make of a scenario, and the file they ship in.

Several small networks, each trained on other thirds of the data, read hashed n-grams into a hidden layer and say how risky the
scenario is and which actions it leads to; their mean counts. Linear heads on all hidden layers together then say, one after
the other, who is affected by an action, by which effects, and how far, how likely and how soon. Risk and severity enter every
head, so that the attributes of the rows, from which alone a verdict is computed, move with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_scenario import FIELDS, Encoded
from safetyanalyst.generation.backends.embedded_text import Floats, Ids, Sparse
from safetyanalyst.records import Record
from safetyanalyst.trees import TreeKind

FORMAT = "safetyanalyst-embedded/1"
FIELD_WEIGHTS = dict(zip(FIELDS, (1.0, 0.8, 0.8, 0.4, 0.2), strict=True))
Arrays = Mapping[str, Any]


class DecodeSettings(Record):
    """How probabilities become a tree; chosen on held-out groups of the training data.

    Attributes:
        row_factor: Rows per expected row.
        max_rows: Bound on the rows (stakeholder and action) of one tree.
        effect_threshold: An effect beyond the first is written above this probability.
        max_effects: Bound on the effects of one row.
        step_threshold: A step is evidence above this probability; the likeliest one always is.
        max_steps: Bound on the steps of one row.
    """

    row_factor: float = 1.0
    max_rows: int = 10
    effect_threshold: float = 0.4
    max_effects: int = 3
    step_threshold: float = 0.5
    max_steps: int = 4


class Vocabulary(Record):
    """What one kind of tree can be made of, by number in the taxonomy, in the order of the heads' outputs."""

    actions: tuple[int, ...]
    effects: tuple[int, ...]
    stakeholders: tuple[str, ...]


class ModelFacts(Record):
    """Everything about a model that is not an array.

    Attributes:
        format: Of the file.
        name: Name and version.
        taxonomy: Label of the taxonomy it was trained on.
        n_buckets: Size of the hashed space.
        harm, benefit: What the trees are made of.
        extents, likelihoods: Numbers of levels.
        decode: How probabilities become a tree.
        training: Facts of the training run, for the model card.
    """

    format: str = FORMAT
    name: str
    taxonomy: str
    n_buckets: int
    harm: Vocabulary
    benefit: Vocabulary
    extents: int
    likelihoods: int
    decode: DecodeSettings = DecodeSettings()
    training: dict[str, str | int | float] = Field(default_factory=dict)

    def vocabulary(self, kind: TreeKind) -> Vocabulary:
        """Of one kind of tree."""
        return self.harm if kind == "harm" else self.benefit


class Reading(NamedTuple):
    """What the networks make of one scenario.

    Attributes:
        hidden: (members * H,) all hidden layers.
        drivers: (2,) risk as a logit, and expected severity 0-4.
        actions: Per kind the logit of each action.
    """

    hidden: Floats
    drivers: Floats
    actions: dict[TreeKind, Floats]


class EmbeddedModel:
    """Weights with their facts.

    Args:
        facts: What is not an array.
        arrays: Every array by name; see `pipelines.train_trunk` and `pipelines.train_heads`, which make them.
        digest: sha256 of the file they came from, hex.
    """

    def __init__(self, facts: ModelFacts, arrays: Arrays, digest: str = "") -> None:
        self.facts = facts
        self.arrays = arrays
        self.digest = digest

    def read(self, encoded: Encoded) -> Reading:
        """Runs the networks on one scenario."""
        arrays = self.arrays
        row = weighted(encoded.fields, arrays["trunk/idf"])
        table = arrays["trunk/table"]  # (members, buckets, H)
        summed = np.stack([_gathered(table[m], row) for m in range(len(table))])
        pre = summed * arrays["trunk/table_scale"] + arrays["trunk/bias"]
        pre = pre + np.einsum("f,mfh->mh", encoded.features, arrays["trunk/features"])
        hidden: Floats = np.tanh(pre).astype(np.float32)
        out = np.einsum("mh,mho->o", hidden, arrays["trunk/out"]) + arrays["trunk/out_bias"].sum(axis=0)
        return split_outputs(out / len(table), hidden.ravel(), self.facts)

    def logits(self, head: str, reading: Reading, *tables: int) -> Floats:
        """Outputs of one linear head.

        Args:
            head: Its name, for example "harm/effect".
            reading: Of the scenario.
            tables: For each table of the head the row that applies (action, stakeholder, effect, in this order).
        """
        arrays = self.arrays
        inputs = np.concatenate([reading.drivers, reading.hidden])
        out = inputs @ arrays[f"{head}/weight"]
        for i, row in enumerate(tables):
            out = out + arrays[f"{head}/table{i}"][row]
        total: Floats = out + arrays[f"{head}/bias"]
        return total


def split_outputs(out: Floats, hidden: Floats, facts: ModelFacts) -> Reading:
    """Names the outputs of the networks: risk, severity above 0-3, harmful actions, beneficial actions."""
    n_harm = len(facts.harm.actions)
    harm, benefit = out[5 : 5 + n_harm], out[5 + n_harm : 5 + n_harm + len(facts.benefit.actions)]
    drivers = np.array([out[0], sigmoid(out[1:5]).sum()], np.float32)
    return Reading(hidden, drivers, {"harm": harm, "benefit": benefit})


def weighted(fields: tuple[Sparse, ...], idf: Floats) -> Sparse:
    """The sparse input: each field weighted by rarity, brought to unit length, scaled by what its kind of text counts for."""
    ids: list[Ids] = []
    values: list[Floats] = []
    for name, field in zip(FIELDS, fields, strict=True):
        if len(field.ids):
            value = field.values * idf[field.ids].astype(np.float32)
            values.append((FIELD_WEIGHTS[name] / max(float(np.sqrt(value @ value)), 1e-6) * value).astype(np.float32))
            ids.append(field.ids)
    if not ids:
        return Sparse(np.empty(0, np.int64), np.empty(0, np.float32))
    return Sparse(np.concatenate(ids), np.concatenate(values))


def _gathered(table: Any, row: Sparse) -> Floats:
    total: Floats = row.values @ table[row.ids].astype(np.float32)
    return total


def sigmoid(x: Any) -> Any:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def save_model(model: EmbeddedModel, path: Path) -> None:
    """Writes a model as safetensors; the facts travel in the file's header."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(model.arrays.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(arrays, metadata={"facts": model.facts.model_dump_json()}))


def load_model(path: Path) -> EmbeddedModel:
    """Reads a model.

    Raises:
        BackendError: There is no such file, or it does not hold a model of this format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"{path}: the weights of the embedded specialists cannot be read: {error}") from error
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = ModelFacts.model_validate_json(header["__metadata__"]["facts"])
        arrays = load(data)
    except (SafetensorError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{path}: this is not a model of the embedded specialists (expected {FORMAT}): {error}") from error
    if facts.format != FORMAT:
        raise BackendError(f"{path}: the format is {facts.format!r} (expected {FORMAT})")
    return EmbeddedModel(facts, arrays, hashlib.sha256(data).hexdigest())
