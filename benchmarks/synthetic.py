"""Random trees of the published shape, in the published JSON form, made by us from a taxonomy. No data set is involved."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from safetyanalyst.taxonomy import Taxonomy

Published = list[dict[str, Any]]
_WORDS = ("tenants", "nurses", "drivers", "fishers", "bakers", "pupils", "clerks", "voters", "miners", "guests", "singers")


def published_tree(rng: np.random.Generator, taxonomy: Taxonomy, n_effects: int) -> Published:
    """One combined tree of about `n_effects` effects: three to seven an action, three to ten actions a stakeholder."""
    tree: Published = []
    left = n_effects
    while left > 0:
        side, kind = ("harms", "harm") if not tree or rng.random() < 0.65 else ("benefits", "benefit")
        actions: list[dict[str, Any]] = []
        for _ in range(int(rng.integers(3, 11))):
            if left <= 0:
                break
            effects = [_effect(rng, taxonomy, kind) for _ in range(min(left, int(rng.integers(3, 8))))]
            actions.append({"action": _action(rng, taxonomy, kind), "effects": effects})
            left -= len(effects)
        holder = f"{str(rng.choice(_WORDS)).capitalize()} of district {rng.integers(1, 40)}"
        tree.append({"stakeholder": holder, side: actions})
    return tree


def small_tree(rng: np.random.Generator, taxonomy: Taxonomy, most: int = 8) -> Published:
    """A combined tree with one to `most` harmful effects and as many beneficial ones."""
    tree: Published = []
    for side, kind in (("harms", "harm"), ("benefits", "benefit")):
        effects = [_effect(rng, taxonomy, kind) for _ in range(int(rng.integers(1, most + 1)))]
        actions = [{"action": _action(rng, taxonomy, kind), "effects": effects[i : i + 3]} for i in range(0, len(effects), 3)]
        tree.append({"stakeholder": str(rng.choice(_WORDS)).capitalize(), side: actions})
    return tree


def published_texts(seed: int, taxonomy: Taxonomy, n: int, n_effects: int = 100) -> list[str]:
    """JSON texts of n trees."""
    rng = np.random.default_rng(seed)
    return [json.dumps(published_tree(rng, taxonomy, n_effects)) for _ in range(n)]


def _action(rng: np.random.Generator, taxonomy: Taxonomy, kind: str) -> str:
    if kind == "benefit":
        return f"The assistant explains matter {rng.integers(1, 30)}"
    return taxonomy.published_action(taxonomy.harm_actions[int(rng.integers(len(taxonomy.harm_actions)))])


def _effect(rng: np.random.Generator, taxonomy: Taxonomy, kind: str) -> dict[str, Any]:
    effects = taxonomy.harm_effects if kind == "harm" else taxonomy.benefit_effects
    extent = str(rng.choice([level.name for level in taxonomy.extents]))
    likelihood = str(rng.choice([level.name for level in taxonomy.likelihoods]))
    return {
        "effect": effects[int(rng.integers(len(effects)))].numbered,
        "immediacy": bool(rng.random() < 0.5),
        "extent": extent.capitalize(),
        "likelihood": likelihood.capitalize(),
    }
