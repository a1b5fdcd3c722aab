"""The paper's definition as a plain loop over parsed JSON: what a careful reader writes first, the way published code works.

    H = sum over stakeholders of [ sum over harmful actions and effects  W_action * extent * likelihood * discount^(downstream)
                                   - relative weight * the same sum over benefits without W_action ]

The category of an action is the first of the 16 group names that stands in its text. The loop is the yardstick for speed and,
being independent of our kernel, for parity.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

EXTENTS = ("minor", "significant", "substantial", "major")
LIKELIHOODS = ("low", "medium", "high")


class Scales(NamedTuple):
    """Level weights of one kind of tree."""

    extent: dict[str, float]
    likelihood: dict[str, float]
    downstream: float


class PlainWeights(NamedTuple):
    """Everything the loop multiplies with."""

    actions: dict[str, float]
    harm: Scales
    benefit: Scales
    relative: float


def weights_of(names: list[str], parameters: list[float]) -> PlainWeights:
    """Unpacks 29 parameters in the published order: 16 actions, 6 for harm, 6 for benefit, the relative weight."""
    return PlainWeights(
        dict(zip(names, parameters[:16], strict=True)), _scales(parameters[16:22]), _scales(parameters[22:28]), parameters[28]
    )


def score(tree: list[dict[str, Any]], weights: PlainWeights) -> float:
    """Harmfulness of one parsed tree."""
    total = 0.0
    for stakeholder in tree:
        for action in stakeholder.get("harms", []):
            for effect in action["effects"]:
                total += action_weight(action, weights) * effect_weight(effect, weights.harm)
        for action in stakeholder.get("benefits", []):
            for effect in action["effects"]:
                total -= weights.relative * effect_weight(effect, weights.benefit)
    return total


def action_weight(action: dict[str, Any], weights: PlainWeights) -> float:
    """Weight of the first category whose name stands in the text; 0 for an unknown one, as in the published code."""
    for name, weight in weights.actions.items():
        if name in action["action"]:
            return weight
    return 0.0


def effect_weight(effect: dict[str, Any], scales: Scales) -> float:
    """Extent times likelihood, discounted downstream; 0 for an unknown level, as in the published code."""
    extent = scales.extent.get(effect["extent"].strip().lower(), 0.0)
    likelihood = scales.likelihood.get(effect["likelihood"].strip().lower(), 0.0)
    immediacy = int(effect["immediacy"])
    return float(extent * likelihood * scales.downstream ** (1 - immediacy))


def score_text(text: str, weights: PlainWeights) -> float:
    """Harmfulness of one tree given as JSON text."""
    return score(json.loads(text), weights)


def _scales(parameters: list[float]) -> Scales:
    minor, significant, substantial, low, medium, downstream = parameters
    return Scales(
        {
            "minor": minor * significant * substantial,
            "significant": significant * substantial,
            "substantial": substantial,
            "major": 1.0,
        },
        {"low": low * medium, "medium": medium, "high": 1.0},
        downstream,
    )
