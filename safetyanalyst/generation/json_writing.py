"""Trees -> JSON: our own form and the published one. `json_form` reads both back."""

from __future__ import annotations

from typing import Any

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.spelling import vocabulary_of
from safetyanalyst.taxonomy import Category, Taxonomy
from safetyanalyst.trees import Action, Effect, Tree, TreeKind


def to_json(tree: Tree) -> dict[str, Any]:
    """A tree in our JSON form, which is a contract: names, shape and order of keys."""
    content: dict[str, Any] = {
        "stakeholders": [
            {"name": stakeholder.name, "actions": [_action_json(action) for action in stakeholder.actions]}
            for stakeholder in tree.stakeholders
        ]
    }
    return content | ({"lost": tree.lost} if tree.lost else {})


def _action_json(action: Action) -> dict[str, Any]:
    content: dict[str, Any] = {"action": action.action}
    if action.description:
        content["description"] = action.description
    content["evidence"] = list(action.evidence)
    content["effects"] = [
        {"effect": it.effect, "immediacy": it.immediacy, "extent": it.extent, "likelihood": it.likelihood}
        for it in action.effects
    ]
    return content


def to_published(tree: Tree, taxonomy: Taxonomy) -> list[dict[str, Any] | None]:
    """A tree in the published JSON form, with `null` at the end for every lost subtree.

    "evidence", "description" and "category" are additions of ours, which stand only where the tree would lose by their absence.

    Raises:
        ConfigError: The tree says what the taxonomy does not know.
    """
    side = "harms" if tree.kind == "harm" else "benefits"
    entries: list[dict[str, Any] | None] = [
        {"stakeholder": stakeholder.name, side: [_published_action(it, tree.kind, taxonomy) for it in stakeholder.actions]}
        for stakeholder in tree.stakeholders
    ]
    return entries + [None] * tree.lost


def _published_action(action: Action, kind: TreeKind, taxonomy: Taxonomy) -> dict[str, Any]:
    content: dict[str, Any] = {}
    words = action.description
    if kind == "harm" or not words:
        category = None if action.action is None else known_action(action.action, kind, taxonomy)
        content["action"] = None if category is None else taxonomy.published_action(category)
        if words:
            content["description"] = words
    else:
        content["action"] = words
        if action.action is not None:
            content["category"] = known_action(action.action, kind, taxonomy).name
        elif vocabulary_of(taxonomy).action(kind, words).name is not None:
            content["category"] = None  # else the words would be taken for the category that they name
    content["effects"] = [_published_effect(effect, kind, taxonomy) for effect in action.effects]
    if action.evidence:
        content["evidence"] = list(action.evidence)
    return content


def _published_effect(effect: Effect, kind: TreeKind, taxonomy: Taxonomy) -> dict[str, Any]:
    return {
        "effect": None if effect.effect is None else known_effect(effect.effect, kind, taxonomy).numbered,
        "immediacy": None if effect.immediacy is None else effect.immediacy == "immediate",
        "extent": None if effect.extent is None else effect.extent.capitalize(),
        "likelihood": None if effect.likelihood is None else effect.likelihood.capitalize(),
    }


def known_action(name: str, kind: TreeKind, taxonomy: Taxonomy) -> Category:
    """The action of this name; raises `ConfigError` when there is none."""
    category = taxonomy.action_named(kind, name)
    if category is None:
        raise ConfigError(f"the tree names the {kind} action {name!r}, which {taxonomy.label} does not know")
    return category


def known_effect(name: str, kind: TreeKind, taxonomy: Taxonomy) -> Category:
    """The effect of this name; raises `ConfigError` when there is none."""
    category = taxonomy.effect_named(kind, name)
    if category is None:
        raise ConfigError(f"the tree names the {kind} effect {name!r}, which {taxonomy.label} does not know")
    return category
