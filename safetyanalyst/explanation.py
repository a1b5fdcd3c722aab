"""Why a score is what it is: one contribution per effect, and they add up to the score.

The score is a sum over effects, so the explanation *is* the computation, not a story about it. Sums are taken with `math.fsum`,
which rounds once: the order of stakeholders cannot matter, and the contributions add up exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from safetyanalyst.policy import BoundPolicy
from safetyanalyst.records import Record
from safetyanalyst.score import Interval as Interval
from safetyanalyst.score import add_up as add_up
from safetyanalyst.score import missing_trees, without_bound
from safetyanalyst.trees import HarmBenefitTree, Leaf, Tree, TreeKind

Grouping = Literal["kind", "stakeholder", "action", "action_group", "effect", "step"]


class Contribution(Record):
    """What one effect adds to the score.

    Attributes:
        kind: "harm" (adds) or "benefit" (takes away).
        stakeholder: On whom.
        action: Canonical leaf action, or `None` when it could not be read.
        action_group: Key of the group whose weight counts; `None` for benefits and unknown actions.
        effect: Canonical name, or `None`; likewise `immediacy`, `extent` and `likelihood`.
        evidence: Steps of the trajectory behind the action.
        path: Where in the trees (`harm.stakeholders[0].actions[1].effects[0]`).
        value: Signed contribution; `None` when what is missing leaves a range.
        interval: The range.
    """

    kind: TreeKind
    stakeholder: str
    action: str | None
    description: str = ""
    action_group: str | None
    effect: str | None
    immediacy: str | None
    extent: str | None
    likelihood: str | None
    evidence: tuple[int, ...] = ()
    path: str
    value: float | None
    interval: Interval


class Explanation(Record):
    """A score with its parts.

    Attributes:
        contributions: One per effect, in the order of the trees.
        interval: Least and greatest score; infinite where a subtree or a tree is missing.
        lost: What is missing as a whole ("harm tree", "benefit: 2 subtrees"), in words.
    """

    contributions: tuple[Contribution, ...]
    interval: Interval
    lost: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """The harmfulness score; `None` while what is missing leaves a range."""
        return self.interval.low if self.interval.low == self.interval.high else None

    def strongest(self) -> list[Contribution]:
        """Contributions by size of what they could add or take away, greatest first."""
        return sorted(self.contributions, key=lambda c: -max(abs(c.interval.low), abs(c.interval.high)))

    def totals(self, by: Grouping) -> dict[str, Interval]:
        """Contributions added up per stakeholder, action, action group, effect, kind or step, greatest first.

        An action that rests on several steps shares its contribution equally among them, so that steps add up to the score too;
        one that rests on none stands under "".
        """
        parts: dict[str, list[Interval]] = {}
        for contribution in self.contributions:
            keys = _keys(contribution, by)
            share = Interval(contribution.interval.low / len(keys), contribution.interval.high / len(keys))
            for key in keys:
                parts.setdefault(key, []).append(share)
        sums = {key: add_up(values) for key, values in parts.items()}
        return dict(sorted(sums.items(), key=lambda item: -max(abs(item[1].low), abs(item[1].high))))


def explain(trees: HarmBenefitTree, bound: BoundPolicy) -> Explanation:
    """Scores the trees of one scenario, effect by effect.

    Args:
        trees: Harm and benefit tree; `None` is a missing tree.
        bound: The policy made ready for the trees' taxonomy.

    Returns:
        The contributions and the interval they add up to.
    """
    contributions: list[Contribution] = []
    lost: list[str] = []
    for kind, tree in (("harm", trees.harm), ("benefit", trees.benefit)):
        if kind not in bound.space.spec.kinds:
            continue
        if tree is not None:
            contributions += _contributions(tree, bound)
        if tree is None or tree.lost:
            lost.append(f"{kind} tree" if tree is None else f"{kind}: {tree.lost} subtree{'s' * (tree.lost > 1)}")
    read = add_up(contribution.interval for contribution in contributions)
    more = without_bound(missing_trees(trees, bound.space), bound.cells)
    interval = Interval(read.low + more.low, read.high + more.high)
    return Explanation(contributions=tuple(contributions), interval=interval, lost=tuple(lost))


def _contributions(tree: Tree, bound: BoundPolicy) -> Iterator[Contribution]:
    for path, leaf in _with_paths(tree):
        cells = bound.cells[bound.space.cells_of(tree.kind, leaf.action.action, leaf.effect)]
        interval = Interval(float(cells.min()) + 0.0, float(cells.max()) + 0.0)  # -0.0 becomes 0.0
        category = bound.space.taxonomy.action_named(tree.kind, leaf.action.action or "")
        yield Contribution(
            kind=tree.kind,
            stakeholder=leaf.stakeholder.name,
            action=leaf.action.action,
            description=leaf.action.description,
            action_group=None if category is None or tree.kind == "benefit" else category.group,
            effect=leaf.effect.effect,
            immediacy=leaf.effect.immediacy,
            extent=leaf.effect.extent,
            likelihood=leaf.effect.likelihood,
            evidence=leaf.action.evidence,
            path=path,
            value=interval.low if interval.low == interval.high else None,
            interval=interval,
        )


def _with_paths(tree: Tree) -> Iterator[tuple[str, Leaf]]:
    for i, stakeholder in enumerate(tree.stakeholders):
        for j, action in enumerate(stakeholder.actions):
            for k, effect in enumerate(action.effects):
                yield f"{tree.kind}.stakeholders[{i}].actions[{j}].effects[{k}]", Leaf(stakeholder, action, effect)


def _keys(contribution: Contribution, by: Grouping) -> tuple[str, ...]:
    if by == "step":
        return tuple(str(step) for step in contribution.evidence) or ("",)
    read: dict[Grouping, Callable[[Contribution], str | None]] = {
        "kind": lambda c: c.kind,
        "stakeholder": lambda c: c.stakeholder,
        "action": lambda c: c.action or c.description,
        "action_group": lambda c: c.action_group,
        "effect": lambda c: c.effect,
    }
    return (read[by](contribution) or "",)
