"""The learned model behind the embedded specialists: text features -> a few dozen projections -> a tree, head by head.

    z = standardised [topics | judgements](x)              x: sparse text features
    rows      P(s, a | z)  = sigmoid(z.U_a + z.V_s + M_sa)   stakeholder s, action a
    effects   P(e | row, z)  = sigmoid(z.E_e + B_ae + C_se)
    extent, likelihood, immediacy: cumulative logits, linear in z and in what the row and the effect are

The judgements are linear classifiers of the whole text (is it harmful, how severe, which action groups); they enter every head,
so that intent moves likelihood and extent. Nothing else decides: the verdict is computed from the tree alone. All weights are
learned (`pipelines.train`), none is a stored text.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_features import TextFeatures, features_of, features_of_steps, words_of
from safetyanalyst.scenarios import Scenario, Trajectory
from safetyanalyst.trees import TREE_KINDS, TreeKind

Floats = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[np.generic]]
WEIGHTS = Path(__file__).parent / "weights" / "embedded.safetensors"
_READINGS = 128  # scenarios remembered between the two specialists
SEEN_BITS = 20  # size of the set of seen words


class Row(NamedTuple):
    """One predicted (stakeholder, action) with its effects.

    Attributes:
        stakeholder: Index into the model's stakeholders.
        action: Index into the taxonomy's actions of the kind.
        effects: Its effects, at least one.
    """

    stakeholder: int
    action: int
    effects: tuple[PredictedEffect, ...]


class PredictedEffect(NamedTuple):
    """One predicted effect; levels count from 0, the lowest."""

    effect: int
    immediacy: int
    extent: int
    likelihood: int


class Reading(NamedTuple):
    """A scenario as the model sees it.

    Attributes:
        scenario: What was read.
        z: (k,) projections.
        familiarity: Share of its words that occurred in training.
        steps: (k,) projections of every step of a trajectory, filled when evidence is first asked for.
    """

    scenario: Scenario
    z: Floats
    familiarity: float
    steps: list[Floats]


class TreeHeads:
    """The heads of one kind of tree.

    Args:
        arrays: Weights by name.
        kind: "harm" or "benefit".
    """

    def __init__(self, arrays: Arrays, kind: TreeKind) -> None:
        def get(name: str) -> Floats:
            return np.asarray(arrays[f"{kind}.{name}"], np.float64)

        self.actions, self.stakeholders, self.pairs = get("actions"), get("stakeholders"), get("pairs")
        self.effects = get("effects")
        self.levels = {name: get(name) for name in ("extent", "likelihood", "immediacy")}
        self.row_threshold, self.effect_threshold, self.max_rows = get("decode")

    def rows(self, z: Floats) -> list[Row]:
        """The rows of the tree for one projected text, most probable first.

        Args:
            z: (k,) with a constant 1 at the end.
        """
        p = _sigmoid((self.actions @ z)[None, :] + (self.stakeholders @ z)[:, None] + self.pairs)
        order = np.argsort(-p, axis=None, kind="stable")[: int(self.max_rows)]
        chosen = [np.unravel_index(i, p.shape) for i in order]
        above = [(s, a) for s, a in chosen if p[s, a] >= self.row_threshold] or chosen[:1]
        return [Row(int(s), int(a), self._effects(z, int(s), int(a))) for s, a in above]

    def action_scores(self, z: Floats) -> Floats:
        """(actions,) how much a text speaks of each action."""
        scores: Floats = self.actions @ z
        return scores

    def _effects(self, z: Floats, s: int, a: int) -> tuple[PredictedEffect, ...]:
        row = row_features(z, s, a, len(self.pairs), self.pairs.shape[1])
        p = _sigmoid(self.effects @ row)
        chosen = np.flatnonzero(p >= self.effect_threshold)
        best = chosen if len(chosen) else np.array([int(p.argmax())])
        best = best[np.argsort(-p[best], kind="stable")][:4]
        return tuple(self._levels(row, int(e)) for e in best)

    def _levels(self, row: Floats, e: int) -> PredictedEffect:
        x = np.concatenate((row, np.eye(len(self.effects))[e]))
        level = {name: int((weights @ x > 0).sum()) for name, weights in self.levels.items()}
        return PredictedEffect(e, level["immediacy"], level["extent"], level["likelihood"])


class EmbeddedModel:
    """Projections and heads, read from one safetensors file.

    Args:
        arrays: Weights by name.
        metadata: Names of what the indices mean.
        digest: sha256 of the file, hex.
    """

    def __init__(self, arrays: Arrays, metadata: Mapping[str, str], digest: str) -> None:
        self.metadata = dict(metadata)
        self.digest = digest
        self.stakeholders = tuple(metadata["stakeholders"].split("|"))
        scale = np.asarray(arrays["projection.scale"], np.float32)
        self._projection = np.asarray(arrays["projection.values"], np.int8)
        self._scale = scale.astype(np.float64)
        self._center = np.asarray(arrays["projection.center"], np.float64)
        self._idf = np.asarray(arrays["idf"], np.float32)
        self._seen = np.unpackbits(np.asarray(arrays["seen"], np.uint8)).astype(bool)
        self._readings: dict[int, Reading] = {}
        self.heads = {kind: TreeHeads(arrays, kind) for kind in TREE_KINDS}

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> EmbeddedModel:
        """Reads the weights.

        Raises:
            BackendError: There is no such file, or it is not one of ours.
        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise BackendError(f"there are no weights of the embedded specialists at {path}")
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
                about = json.loads((file.metadata() or {})["about"])
            return cls(arrays, about, hashlib.sha256(path.read_bytes()).hexdigest())
        except (SafetensorError, KeyError, ValueError) as error:
            raise BackendError(f"{path} does not hold weights of the embedded specialists: {error}") from error

    def read(self, scenario: Scenario) -> Reading:
        """Reads a scenario once, for whichever specialist asks first."""
        known = self._readings.get(id(scenario))
        if known is None or known.scenario is not scenario:
            z = self.project(features_of(scenario))
            known = Reading(scenario, z, self.familiarity(scenario.texts()), [])
            self._readings[id(scenario)] = known
            if len(self._readings) > _READINGS:
                self._readings.pop(next(iter(self._readings)))
        return known

    def read_steps(self, trajectory: Trajectory) -> list[Floats]:
        """(k,) projections of every step, likewise read once."""
        steps = self.read(trajectory).steps
        if not steps:
            steps.extend(map(self.project, features_of_steps(trajectory)))
        return steps

    def project(self, features: TextFeatures) -> Floats:
        """z: (k,) standardised projections of a text, with a constant 1 at the end."""
        weighted = features.values * self._idf[features.buckets]
        raw = (weighted @ self._projection[features.buckets].astype(np.float64)) * self._scale
        return np.append(np.clip(raw - self._center, -6.0, 6.0), 1.0)

    def familiarity(self, texts: tuple[str, ...]) -> float:
        """Share of the words that occurred in training; numbers are no words, and a text without words has 0."""
        slots = [seen_slots(word) for text in texts for word in words_of(text) if not word.isdigit()]
        if not slots:
            return 0.0
        return float(self._seen[np.array(slots)].all(axis=1).mean())


def seen_slots(word: str) -> tuple[int, int]:
    """Places of a word in the set of seen words (a Bloom filter of two hashes: it may remember a few words too many)."""
    raw = word.encode("utf-8", "surrogatepass")
    mask = (1 << SEEN_BITS) - 1
    return zlib.crc32(raw) & mask, zlib.adler32(raw, zlib.crc32(b"seen" + raw)) & mask


def row_features(z: Floats, s: int, a: int, n_stakeholders: int, n_actions: int) -> Floats:
    """What the heads below a row see: z, which action, which stakeholder."""
    row = np.zeros(len(z) + n_actions + n_stakeholders)
    row[: len(z)] = z
    row[len(z) + a] = 1.0
    row[len(z) + n_actions + s] = 1.0
    return row


def _sigmoid(x: Floats) -> Floats:
    p: Floats = 1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0)))
    return p
