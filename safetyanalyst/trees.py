"""Harm trees and benefit trees: stakeholder -> action -> effect, as frozen records.

What could not be read is `None` (one feature of one effect), or is counted in `Tree.lost` (a subtree of unknown size). Neither
is ever filled with a guess: scoring turns both into an interval (see `features`).

Source of the structure: SafetyAnalyst (arXiv 2410.16665), section 2. Evidence steps are ours, for trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from safetyanalyst.records import Record

if TYPE_CHECKING:
    import networkx

TreeKind = Literal["harm", "benefit"]
Immediacy = Literal["immediate", "downstream"]
Stage = Literal["first", "second"]
TREE_KINDS: tuple[TreeKind, TreeKind] = ("harm", "benefit")

DefectCode = Literal[
    # the text
    "empty_output",  # nothing was written at all
    "invalid_syntax",  # not JSON, not notation
    "truncated",  # the text stops before the tree does
    "surrounding_text",  # words around the tree (harmless by itself, recorded all the same)
    "several_trees",  # more than one tree in one text: which one is meant cannot be known
    "duplicate_key",
    "non_finite_number",
    # its shape
    "wrong_type",
    "missing_key",
    "unknown_key",
    "empty_list",
    # its words
    "spelling",  # read after normalising case, numbering, punctuation
    "unknown_action",
    "unknown_effect",
    "unknown_extent",
    "unknown_likelihood",
    "unknown_immediacy",
    "missing_value",
    # its evidence
    "unknown_step",
    # the scenario behind it
    "elided_input",  # a part of the scenario was not read
    "unfamiliar_input",  # the generator does not know this language, script or kind of text
    "invalid_characters",  # NUL, lone surrogates
    "generation_failed",
]


class Defect(Record):
    """One deviation from a clean tree.

    Attributes:
        code: What kind of deviation.
        path: Where, as a path from the top of the tree (`harm[2].actions[0].effects[1].extent`).
        found: What stood there, shortened.
    """

    code: DefectCode
    path: str
    found: str = ""


class Effect(Record):
    """One leaf. `None` means: there was something here and it could not be read.

    Attributes:
        effect: Canonical name in the taxonomy, for example "Financial property loss".
        immediacy: "immediate" or "downstream".
        extent: Level name, "minor" to "major".
        likelihood: Level name, "low" to "high".
    """

    effect: str | None
    immediacy: Immediacy | None
    extent: str | None
    likelihood: str | None

    @property
    def is_complete(self) -> bool:
        """Whether every feature was read."""
        return None not in (self.effect, self.immediacy, self.extent, self.likelihood)


class Action(Record):
    """A harmful or beneficial action on one stakeholder.

    Attributes:
        action: Canonical leaf name in the taxonomy; `None` when unknown (or, for benefits, given in free words only).
        description: Free words beside the category; empty for none.
        evidence: Steps of the trajectory that the action rests on, ascending.
        effects: The leaves, at least one: an action that leads to nothing says nothing.
    """

    action: str | None
    description: str = ""
    evidence: tuple[int, ...] = ()
    effects: tuple[Effect, ...] = Field(min_length=1)


class Stakeholder(Record):
    """Someone, or something, that is affected."""

    name: str
    actions: tuple[Action, ...]


class Leaf(NamedTuple):
    """An effect with the nodes above it, as `Tree.leaves` yields it."""

    stakeholder: Stakeholder
    action: Action
    effect: Effect


class SoftEffect(NamedTuple):
    """An effect that a tree may hold, with probabilities in place of choices.

    Attributes:
        kind: Of the tree.
        stakeholder: Canonical name.
        action: Likewise.
        effect: Likewise.
        probability: That the tree holds it.
        extent: Probability of each level, lowest first.
        likelihood: Likewise.
        immediate: Probability of "immediate".
    """

    kind: TreeKind
    stakeholder: str
    action: str
    effect: str
    probability: float
    extent: tuple[float, ...]
    likelihood: tuple[float, ...]
    immediate: float


class Tree(Record):
    """A harm tree or a benefit tree.

    Attributes:
        kind: "harm" or "benefit".
        stakeholders: In the order they were written.
        lost: Number of subtrees that were there and could not be read. Each may hold any number of effects, so a tree with a
            lost subtree has no bound on its side of the score.
    """

    kind: TreeKind
    stakeholders: tuple[Stakeholder, ...]
    lost: int = Field(default=0, ge=0)

    def leaves(self) -> Iterator[Leaf]:
        """Every effect with its action and stakeholder, in order."""
        for stakeholder in self.stakeholders:
            for action in stakeholder.actions:
                for effect in action.effects:
                    yield Leaf(stakeholder, action, effect)

    def graph(self) -> networkx.DiGraph[str]:
        """The tree as a networkx graph; see `graph_of`."""
        return graph_of((self,))


class HarmBenefitTree(Record):
    """The two trees of one scenario. `None` is a tree that is missing, which is not the same as a tree without stakeholders."""

    harm: Tree | None
    benefit: Tree | None

    def graph(self) -> networkx.DiGraph[str]:
        """Both trees as one networkx graph; see `graph_of`."""
        return graph_of(tuple(tree for tree in (self.harm, self.benefit) if tree is not None))

    def merged(self) -> tuple[MergedStakeholder, ...]:
        """Harms and benefits side by side per stakeholder, for display only: scoring never merges."""
        merged: dict[str, dict[TreeKind, list[Action]]] = {}
        for tree in (self.harm, self.benefit):
            for stakeholder in () if tree is None else tree.stakeholders:
                sides = merged.setdefault(stakeholder.name, {"harm": [], "benefit": []})
                assert tree is not None
                sides[tree.kind].extend(stakeholder.actions)
        return tuple(
            MergedStakeholder(name=name, harms=tuple(sides["harm"]), benefits=tuple(sides["benefit"]))
            for name, sides in merged.items()
        )


class MergedStakeholder(Record):
    """A stakeholder with harmful and beneficial actions together, for display."""

    name: str
    harms: tuple[Action, ...]
    benefits: tuple[Action, ...]


class Provenance(Record):
    """Where a tree comes from, precise enough to ask for it again.

    Attributes:
        generator: Name in the backend table, for example "embedded".
        model: Name and version of the weights.
        model_hash: sha256 of the weights, hex; empty when the generator has no weights of its own.
        taxonomy: `name@version:hash`.
        code: Version of this package.
        stage: Of a cascade, the stage that wrote the tree; left out of a dump where there was no cascade.
    """

    generator: str
    model: str
    model_hash: str = ""
    taxonomy: str
    code: str
    stage: Stage | None = None

    @model_serializer(mode="wrap")
    def _without_a_stage_that_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if key != "stage" or value is not None}


def graph_of(trees: Sequence[Tree]) -> networkx.DiGraph[str]:
    """Draws trees as one directed graph rooted at "scenario".

    Node ids are paths ("harm/0/1/2"); every node has `level` (scenario, stakeholder, action, effect) and `label`; actions carry
    `kind`, `evidence` and `description`, effects carry `kind`, `immediacy`, `extent` and `likelihood`.

    Args:
        trees: Any number of harm and benefit trees.
    """
    import networkx  # a quarter of a second: only when a graph is asked for

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_node("scenario", level="scenario", label="scenario")
    for tree in trees:
        for i, stakeholder in enumerate(tree.stakeholders):
            holder = f"{tree.kind}/{i}"
            graph.add_node(holder, level="stakeholder", kind=tree.kind, label=stakeholder.name)
            graph.add_edge("scenario", holder)
            for j, action in enumerate(stakeholder.actions):
                _add_action(graph, holder, f"{holder}/{j}", tree.kind, action)
    return graph


def _add_action(graph: networkx.DiGraph[str], parent: str, node: str, kind: TreeKind, action: Action) -> None:
    graph.add_node(
        node,
        level="action",
        kind=kind,
        label=action.action or action.description,
        description=action.description,
        evidence=action.evidence,
    )
    graph.add_edge(parent, node)
    for k, effect in enumerate(action.effects):
        leaf = f"{node}/{k}"
        graph.add_node(
            leaf,
            level="effect",
            kind=kind,
            label=effect.effect,
            immediacy=effect.immediacy,
            extent=effect.extent,
            likelihood=effect.likelihood,
        )
        graph.add_edge(node, leaf)
