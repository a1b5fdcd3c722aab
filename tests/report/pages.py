"""Scenarios and trees for the report page, made by us: whole ones, ones with gaps, hostile ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.synthetic import published_tree
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.report.page_columns import Item
from safetyanalyst.scenarios import Example, ReadFailure, read_examples
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, Effect, HarmBenefitTree, Stakeholder, Tree

EVIL = (
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "]]>--><svg/onload=window.hit=1>",
    "line\u2028para\u2029",
    "right\u202eto left\u2066\u05e9\u05dc\u05d5\u05dd\u2069",
    "nul \x00 bell \x07 zero\u200bwidth",
    "lone \ud800 surrogate \udfff",
    "{{script}} {{data}} ${window.hit=1} `x`",
    "&lt;b&gt; &amp;",
)


def synthetic(n: int, taxonomy: Taxonomy, *, n_effects: int = 60, seed: int = 0) -> list[Item]:
    """Whole trees of the published shape, with labels and sources."""
    rng = np.random.default_rng(seed)
    sources = ("web", "agents", "chat")
    trees = (published_tree(rng, taxonomy, n_effects) for _ in range(n))
    rows = ({"id": f"s{i}", "label": i % 2, "source": sources[i % 3], "tree": tree} for i, tree in enumerate(trees))
    return list(read_trees((json.dumps(row).encode() for row in rows), taxonomy))


def with_gaps(items: list[Item], *, seed: int = 1) -> list[Item]:
    """The same, but features, subtrees and whole trees are missing here and there; every fifth row stays whole."""
    rng = np.random.default_rng(seed)
    return [item if i % 5 == 0 or isinstance(item, ReadFailure) else _torn(item, rng) for i, item in enumerate(items)]


def _torn(item: StoredTrees, rng: np.random.Generator) -> StoredTrees:
    def tree(one: Tree | None) -> Tree | None:
        if one is None or rng.random() < 0.1:
            return None
        holders = tuple(
            Stakeholder(name=holder.name, actions=tuple(map(action, holder.actions))) for holder in one.stakeholders
        )
        return Tree(kind=one.kind, stakeholders=holders, lost=int(rng.random() < 0.15))

    def action(one: Action) -> Action:
        update: dict[str, object] = {"effects": tuple(map(effect, one.effects)), "evidence": tuple(range(int(rng.integers(3))))}
        return one.model_copy(update=update | ({"action": None} if rng.random() < 0.04 else {}))

    def effect(one: Effect) -> Effect:
        lost = [name for name in ("effect", "immediacy", "extent", "likelihood") if rng.random() < 0.03]
        return one.model_copy(update=dict.fromkeys(lost))

    trees = HarmBenefitTree(harm=tree(item.trees.harm), benefit=tree(item.trees.benefit))
    return item.model_copy(update={"trees": trees})


def hostile(taxonomy: Taxonomy) -> list[Item]:
    """One scenario per evil text, which stands wherever a text can stand, and a row that could not be read."""

    def items() -> Iterator[Item]:
        for i, evil in enumerate(EVIL):
            effect = Effect(effect=taxonomy.harm_effects[0].name, immediacy="immediate", extent="major", likelihood="high")
            mirror = effect.model_copy(update={"effect": taxonomy.benefit_effects[0].name})
            harm = Action(action=taxonomy.harm_actions[0].name, description=evil, evidence=(0, 1), effects=(effect,))
            good = Action(action=None, description=evil, effects=(mirror,))
            yield StoredTrees(
                id=f"evil-{i} {evil}",
                trees=HarmBenefitTree(
                    harm=Tree(kind="harm", stakeholders=(Stakeholder(name=evil, actions=(harm,)),)),
                    benefit=Tree(kind="benefit", stakeholders=(Stakeholder(name=evil, actions=(good,)),)),
                ),
            )
        yield ReadFailure(id=EVIL[1], line=7, error=EVIL[0])

    return list(items())


def texts_of(items: list[Item], path: Path) -> dict[str, Example]:
    """Scenarios with these ids, read from a file: trajectories of two steps that say the id back."""
    rows = []
    for item in items:
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"about": item.id})}}
        messages = [
            {"role": "user", "content": f"Tell me about {item.id}"},
            {"role": "assistant", "content": "I look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": f"found {item.id}\nin two lines"},
            {"role": "assistant", "content": f"Here is {item.id}."},
        ]
        rows.append({"id": item.id, "messages": messages, "field <b>": item.id})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    examples = list(read_examples(path))
    assert not [it for it in examples if isinstance(it, ReadFailure)]
    return {it.scenario.id: it for it in examples if isinstance(it, Example)}
