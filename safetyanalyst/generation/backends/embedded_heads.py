"""The learned heads of the embedded specialists: vectors of chunks -> a summary of the scenario -> a tree, in numpy.

    z   = tanh(W [v_0 | sum_i a_i v_i | max_i v_i | r] + b),  a = softmax(v q)
    rows      logit P(s, a)     = U_a z + V_s z + M_sa + sum_k (G z)_k S_sk T_ak      stakeholder s, action a
    effects   logit P(e | s, a) = E relu(A z + B_a + C_s)
    levels    cumulative logits = L relu(A z + B_a + C_s + D_e), one head each for extent, likelihood, immediacy

`pipelines.train_network` trains them. Nothing else decides: the verdict is computed from the tree alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.trees import TreeKind

Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[np.generic]]
_MAX_EFFECTS = 4  # of a row


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


class PredictedSoftEffect(NamedTuple):
    """An effect that a tree may hold, with probabilities in place of choices.

    Attributes:
        stakeholder: Index, as in `Row`.
        action: Likewise.
        effect: Likewise.
        probability: That the tree holds it.
        extent: (levels,) probability of each, lowest first.
        likelihood: Likewise.
        immediate: Probability of "immediate".
    """

    stakeholder: int
    action: int
    effect: int
    probability: float
    extent: Floats
    likelihood: Floats
    immediate: float


class Summary:
    """Vectors of chunks -> z.

    Args:
        arrays: Weights by name.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._query = _get(arrays, "query")
        self._steps = _get(arrays, "steps.weight")
        self._weight, self._bias = _get(arrays, "summary.weight"), _get(arrays, "summary.bias")

    @property
    def width(self) -> int:
        """Of the vectors of chunks."""
        return len(self._query)

    def __call__(self, vectors: Floats, steps: Floats, relations: Floats) -> Floats:
        """z: (k,).

        Args:
            vectors: (chunks, width), the request first.
            steps: (chunks, step features).
            relations: (scenario features,).
        """
        v = vectors + steps @ self._steps.T
        scores = v @ self._query
        odds = np.exp(scores - scores.max())
        pooled = np.concatenate((v[0], (odds / odds.sum()) @ v, v.max(axis=0), relations))
        z: Floats = np.tanh(self._weight @ pooled + self._bias)
        return z


class TreeHeads:
    """The heads of one kind of tree.

    Args:
        arrays: Weights by name.
        kind: "harm" or "benefit".
        n_extents: Levels of extent.
    """

    def __init__(self, arrays: Arrays, kind: TreeKind, n_extents: int) -> None:
        def get(name: str) -> Floats:
            return _get(arrays, f"heads.{kind}.{name}")

        self.actions, self.stakeholders, self.pairs = get("actions.weight"), get("stakeholders.weight"), get("pairs")
        self._gate, self._of_stakeholder, self._of_action = get("gate.weight"), get("of_stakeholder"), get("of_action")
        self._row, self._row_bias = get("row.weight"), get("row.bias")
        self._row_action, self._row_stakeholder = get("row_action.weight"), get("row_stakeholder.weight")
        self._row_effect = get("row_effect.weight")
        self._effects, self._effects_bias = get("effects.weight"), get("effects.bias")
        self._levels, self._levels_bias = get("levels.weight"), get("levels.bias")
        self._n_extents = n_extents
        self.row_threshold, self.effect_threshold, max_rows = (float(it) for it in get("decode"))
        self.max_rows = int(max_rows)

    def check(self, stakeholders: int, actions: int, effects: int, likelihoods: int) -> None:
        """Holds shapes and decoding to what the names promise.

        Raises:
            ValueError: They are otherwise.
        """
        found = (
            ((self.actions, self._row_action, self._of_action), actions),
            ((self.stakeholders, self._row_stakeholder, self._of_stakeholder), stakeholders),
            ((self._effects, self._row_effect), effects),
            ((self._levels,), self._n_extents + likelihoods - 1),
        )
        if any(len(array) != rows for arrays, rows in found for array in arrays):
            raise ValueError("the heads do not have as many rows as there are names")
        if self.pairs.shape != (stakeholders, actions):
            raise ValueError(f"pairs has shape {self.pairs.shape}, expected {(stakeholders, actions)}")
        if not (0 < self.row_threshold < 1 and 0 < self.effect_threshold < 1 and self.max_rows >= 1):
            raise ValueError(f"decode is {self.row_threshold}, {self.effect_threshold}, {self.max_rows}")

    def pair_probabilities(self, z: Floats) -> Floats:
        """(stakeholders, actions)."""
        shared = (self._of_stakeholder * (self._gate @ z)) @ self._of_action.T
        return _sigmoid((self.actions @ z)[None, :] + (self.stakeholders @ z)[:, None] + self.pairs + shared)

    def action_scores(self, z: Floats) -> Floats:
        """(actions,) how much a text speaks of each action."""
        scores: Floats = self.actions @ z
        return scores

    def rows(self, z: Floats) -> list[Row]:
        """The rows of the tree, most probable first: those above the threshold, and always the most probable one."""
        p = self.pair_probabilities(z)
        order = np.argsort(-p, axis=None, kind="stable")[: self.max_rows]
        chosen = [divmod(int(i), p.shape[1]) for i in order]
        above = [(s, a) for s, a in chosen if p[s, a] >= self.row_threshold] or chosen[:1]
        return [Row(s, a, self._chosen_effects(z, s, a)) for s, a in above]

    def soft(self, z: Floats, least: float) -> Iterator[PredictedSoftEffect]:
        """Every effect that the tree holds with at least this probability, its row's probability included."""
        p = self.pair_probabilities(z)
        for s, a in zip(*(map(int, axis) for axis in np.nonzero(p >= least)), strict=True):
            state = self._state(z, s, a)
            joint = p[s, a] * self._effect_probabilities(state)
            for e in map(int, np.flatnonzero(joint >= least)):
                above = _sigmoid(self._level_logits(state, e))
                extent, likelihood = _levels_of(above[: self._n_extents - 1]), _levels_of(above[self._n_extents - 1 : -1])
                yield PredictedSoftEffect(s, a, e, float(joint[e]), extent, likelihood, float(above[-1]))

    def _state(self, z: Floats, s: int, a: int) -> Floats:
        state: Floats = self._row @ z + self._row_bias + self._row_action[a] + self._row_stakeholder[s]
        return state

    def _effect_probabilities(self, state: Floats) -> Floats:
        return _sigmoid(self._effects @ np.maximum(state, 0.0) + self._effects_bias)

    def _level_logits(self, state: Floats, e: int) -> Floats:
        logits: Floats = self._levels @ np.maximum(state + self._row_effect[e], 0.0) + self._levels_bias
        return logits

    def _chosen_effects(self, z: Floats, s: int, a: int) -> tuple[PredictedEffect, ...]:
        state = self._state(z, s, a)
        p = self._effect_probabilities(state)
        chosen = np.flatnonzero(p >= self.effect_threshold)
        best = chosen if len(chosen) else np.array([int(p.argmax())])
        best = best[np.argsort(-p[best], kind="stable")][:_MAX_EFFECTS]
        return tuple(self._chosen_levels(state, int(e)) for e in best)

    def _chosen_levels(self, state: Floats, e: int) -> PredictedEffect:
        above = self._level_logits(state, e) > 0
        n = self._n_extents - 1
        return PredictedEffect(e, int(above[-1]), _level_of(above[:n]), _level_of(above[n:-1]))


def _level_of(above: npt.NDArray[np.bool_]) -> int:
    """Level that is reached without a gap: where cumulative answers cross, the lower one rules, as in `_levels_of`."""
    return int(np.minimum.accumulate(above).sum())


def _levels_of(above: Floats) -> Floats:
    """Cumulative probabilities -> one per level; where they cross, the lower one rules."""
    falling = np.concatenate(([1.0], np.minimum.accumulate(above), [0.0]))
    return np.asarray(falling[:-1] - falling[1:], np.float32)


def _get(arrays: Arrays, name: str) -> Floats:
    return np.asarray(arrays[name], np.float32)


def _sigmoid(x: Floats) -> Floats:
    odds = np.exp(-np.clip(x, -40.0, 40.0))
    return np.asarray(1.0 / (1.0 + odds), np.float32)
