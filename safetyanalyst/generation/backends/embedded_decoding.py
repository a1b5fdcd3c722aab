"""Probabilities -> a tree of few rows, the same each time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from safetyanalyst.generation.backends.embedded_model import EmbeddedModel, Reading, sigmoid
from safetyanalyst.generation.backends.embedded_text import Floats
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, Effect, Stakeholder, Tree, TreeKind


class _Row(NamedTuple):
    action: int
    stakeholder: int
    probability: float


def decode(kind: TreeKind, model: EmbeddedModel, reading: Reading, steps: Floats, taxonomy: Taxonomy) -> Tree:
    """Writes the likeliest tree.

    Args:
        kind: Which tree.
        model: The weights.
        reading: What the networks made of the scenario.
        steps: (n_steps, features) of a trajectory; no rows otherwise.
        taxonomy: What the numbers mean.
    """
    vocabulary = model.facts.vocabulary(kind)
    held: dict[int, list[Action]] = {}
    for row in _rows(kind, model, reading):
        category = taxonomy.action_numbered(kind, vocabulary.actions[row.action])
        assert category is not None  # checked when the specialist was made
        action = Action(
            action=category.name,
            evidence=_evidence(kind, model, row.action, steps),
            effects=_effects(kind, model, reading, row, taxonomy),
        )
        held.setdefault(row.stakeholder, []).append(action)
    names = vocabulary.stakeholders
    return Tree(kind=kind, stakeholders=tuple(Stakeholder(name=names[k], actions=tuple(it)) for k, it in held.items()))


def _rows(kind: TreeKind, model: EmbeddedModel, reading: Reading) -> list[_Row]:
    """The likeliest pairs of action and stakeholder, as many as are expected."""
    settings = model.facts.decode
    table = model.arrays[f"{kind}/who/table0"]
    who = model.logits(f"{kind}/who", reading) + table
    pairs = sigmoid(reading.actions[kind])[:, None] * sigmoid(who)
    n_rows = int(np.clip(np.round(settings.row_factor * pairs.sum()), 1, settings.max_rows))
    best = np.argsort(-pairs, axis=None, kind="stable")[:n_rows]
    return [_Row(int(i) // pairs.shape[1], int(i) % pairs.shape[1], float(pairs.flat[i])) for i in best]


def _effects(kind: TreeKind, model: EmbeddedModel, reading: Reading, row: _Row, taxonomy: Taxonomy) -> tuple[Effect, ...]:
    settings = model.facts.decode
    numbers = model.facts.vocabulary(kind).effects
    p = sigmoid(model.logits(f"{kind}/effect", reading, row.action, row.stakeholder))
    order = np.argsort(-p, kind="stable")[: settings.max_effects]
    chosen = [int(e) for place, e in enumerate(order) if place == 0 or p[e] > settings.effect_threshold]
    effects = []
    for e in chosen:
        category = taxonomy.effect_numbered(kind, numbers[e])
        assert category is not None
        at = (row.action, row.stakeholder, e)
        effects.append(
            Effect(
                effect=category.name,
                immediacy="immediate" if model.logits(f"{kind}/immediacy", reading, *at)[0] > 0 else "downstream",
                extent=taxonomy.extents[int((model.logits(f"{kind}/extent", reading, *at) > 0).sum())].name,
                likelihood=taxonomy.likelihoods[int((model.logits(f"{kind}/likelihood", reading, *at) > 0).sum())].name,
            )
        )
    return tuple(effects)


def _evidence(kind: TreeKind, model: EmbeddedModel, action: int, steps: Floats) -> tuple[int, ...]:
    if not len(steps):
        return ()
    settings = model.facts.decode
    arrays = model.arrays
    p = sigmoid(
        steps @ arrays[f"{kind}/step/weight"][:, 0] + arrays[f"{kind}/step/table0"][action, 0] + arrays[f"{kind}/step/bias"][0]
    )
    order = np.argsort(-p, kind="stable")[: settings.max_steps]
    return tuple(sorted(int(t) for place, t in enumerate(order) if place == 0 or p[t] > settings.step_threshold))
