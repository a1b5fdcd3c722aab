"""Hypothesis strategies for trees: whole ones, and ones with everything missing that can be."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st

from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Effect, HarmBenefitTree, Stakeholder, Tree, TreeKind

TAXONOMY = load_taxonomy()
IMMEDIACIES: tuple[Literal["immediate", "downstream"], ...] = ("immediate", "downstream")
EXTENTS = [level.name for level in TAXONOMY.extents]
LIKELIHOODS = [level.name for level in TAXONOMY.likelihoods]
ACTIONS = {kind: [action.name for action in TAXONOMY.actions(kind)] for kind in TREE_KINDS}
EFFECTS = {kind: [effect.name for effect in TAXONOMY.effects(kind)] for kind in TREE_KINDS}

# Words that mean something to one of the text forms, or that some reader would trim or split.
ODD_WORDS = [
    "", " ", "  two  ", "-", "--", "?", "? x3", "??", "?: words", "a|b", "|", "\\", "\\\\", "\\n", "\\e", "ends in \\",
    "\\u{41}", "two\nlines", "tab\t", "\r", "\x00", "\x1c", "\x85", "\u2028", "\u00a0", "\ufeff", "\u202e", "\U0001f600",
    "@", "@1", "words @1,2", "a@b", "B7", "B7: words", "7", "14: words", "7i3h", ": words", "```", "[", "[]", "{", '"',
    '{"stakeholders": []}', "null", "Fraud", "Technical problem solving", "technical problem solving.", "#Privacy#",
]  # fmt: skip

words = st.sampled_from(ODD_WORDS) | st.text(max_size=12)
stakeholder_names = st.sampled_from(TAXONOMY.stakeholders) | words
evidence = st.lists(st.integers(0, 40), max_size=3, unique=True).map(sorted).map(tuple)


def complete_effects(kind: TreeKind) -> st.SearchStrategy[Effect]:
    """Effects in which every feature was read."""
    return st.builds(
        Effect,
        effect=st.sampled_from(EFFECTS[kind]),
        immediacy=st.sampled_from(IMMEDIACIES),
        extent=st.sampled_from(EXTENTS),
        likelihood=st.sampled_from(LIKELIHOODS),
    )


def effects(kind: TreeKind) -> st.SearchStrategy[Effect]:
    """Effects in which any feature may be missing."""
    return st.builds(
        Effect,
        effect=st.none() | st.sampled_from(EFFECTS[kind]),
        immediacy=st.none() | st.sampled_from(IMMEDIACIES),
        extent=st.none() | st.sampled_from(EXTENTS),
        likelihood=st.none() | st.sampled_from(LIKELIHOODS),
    ) | complete_effects(kind)


def actions(kind: TreeKind) -> st.SearchStrategy[Action]:
    """Actions of any sort."""
    return st.builds(
        Action,
        action=st.none() | st.sampled_from(ACTIONS[kind]),
        description=st.just("") | words,
        evidence=evidence,
        effects=st.lists(effects(kind), min_size=1, max_size=3).map(tuple),
    )


def complete_actions(kind: TreeKind) -> st.SearchStrategy[Action]:
    """Actions in which everything was read; benefits in free words, as in published trees, or with a category."""
    leaves = st.lists(complete_effects(kind), min_size=1, max_size=3).map(tuple)
    named = st.builds(Action, action=st.sampled_from(ACTIONS[kind]), effects=leaves)
    if kind == "harm":
        return named
    return named | st.builds(Action, action=st.none(), description=st.just("Explains the matter to them"), effects=leaves)


def stakeholders(kind: TreeKind) -> st.SearchStrategy[Stakeholder]:
    """Stakeholders of any sort, some without actions."""
    return st.builds(Stakeholder, name=stakeholder_names, actions=st.lists(actions(kind), max_size=3).map(tuple))


def trees(kind: TreeKind) -> st.SearchStrategy[Tree]:
    """Trees of any sort: empty ones, incomplete ones, ones that lost subtrees."""
    return st.builds(
        Tree,
        kind=st.just(kind),
        stakeholders=st.lists(stakeholders(kind), max_size=4).map(tuple),
        lost=st.just(0) | st.integers(0, 3),
    )


def complete_trees(kind: TreeKind) -> st.SearchStrategy[Tree]:
    """Trees with at least one effect in which everything was read."""
    holder = st.builds(
        Stakeholder,
        name=st.sampled_from(TAXONOMY.stakeholders),
        actions=st.lists(complete_actions(kind), min_size=1, max_size=2).map(tuple),
    )
    return st.builds(Tree, kind=st.just(kind), stakeholders=st.lists(holder, min_size=1, max_size=3).map(tuple))


def any_trees() -> st.SearchStrategy[Tree]:
    """Trees of either kind."""
    return trees("harm") | trees("benefit")


def pairs() -> st.SearchStrategy[HarmBenefitTree]:
    """Both trees of a scenario; either may be missing."""
    return st.builds(HarmBenefitTree, harm=trees("harm") | st.none(), benefit=trees("benefit") | st.none())


def complete_pairs() -> st.SearchStrategy[HarmBenefitTree]:
    """Both trees of a scenario with everything read, and at least one harm."""
    return st.builds(HarmBenefitTree, harm=complete_trees("harm"), benefit=complete_trees("benefit"))


@st.composite
def completions(draw: st.DrawFn, pair: HarmBenefitTree) -> HarmBenefitTree:
    """What a pair may have been before something of it was lost: every gap filled with anything."""
    return HarmBenefitTree(
        harm=draw(_completed_trees(pair.harm, "harm")), benefit=draw(_completed_trees(pair.benefit, "benefit"))
    )


@st.composite
def _completed_trees(draw: st.DrawFn, tree: Tree | None, kind: TreeKind) -> Tree:
    if tree is None:
        return draw(complete_trees(kind) | st.just(Tree(kind=kind, stakeholders=())))
    known = [
        Stakeholder(name=stakeholder.name, actions=tuple(draw(_completed_actions(it, kind)) for it in stakeholder.actions))
        for stakeholder in tree.stakeholders
    ]
    found = [holder for _ in range(tree.lost) for holder in draw(complete_trees(kind)).stakeholders]
    return Tree(kind=kind, stakeholders=(*known, *found))


@st.composite
def _completed_actions(draw: st.DrawFn, action: Action, kind: TreeKind) -> Action:
    def filled(effect: Effect) -> Effect:
        other = draw(complete_effects(kind)).model_dump()
        return Effect.model_validate(
            {key: other[key] if value is None else value for key, value in effect.model_dump().items()}
        )

    name = draw(st.sampled_from(ACTIONS[kind])) if action.action is None else action.action
    return action.model_copy(update={"action": name, "effects": tuple(map(filled, action.effects))})
