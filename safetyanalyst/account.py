"""An account of one decision: why it is so, what would change it, how firm it is, in data and in words.

`Account.to_json` is a contract (docs/explaining.md, and the JSON Schema beside it): names and shape do not change within a
major version. No model is called, and nothing is random.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.counterfactual import Counterfactual, SmallestChange, counterfactual
from safetyanalyst.effect_sets import EffectSet, smallest_effect_set
from safetyanalyst.explanation import Explanation, Grouping, explain
from safetyanalyst.flips import Margin, ThresholdFlip, WeightFlips, margin, threshold_flips, weight_flips
from safetyanalyst.goals import next_decision
from safetyanalyst.policy import BoundPolicy, Decision, Ground, Policy
from safetyanalyst.records import Record
from safetyanalyst.reweighing import Bounds, Reweighing
from safetyanalyst.score import Interval
from safetyanalyst.stability import Replicates, Stability, stability
from safetyanalyst.trees import HarmBenefitTree
from safetyanalyst.wording import Words, words_for

GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)


class Account(Record):
    """Everything that can be said about one decision.

    Attributes:
        id: Of the scenario.
        decision: What the policy decides.
        ground: Why.
        policy: Name of the policy.
        policy_hash: Of its content.
        explanation: The score with its contributions.
        margin: Distance to the nearest cut; `None` where no shift of the score flips.
        threshold: The policy's.
        threshold_flips: Thresholds at which the decision changes.
        weights: Flips along every weight that stands in this score.
        target: The decision that the changes below lead to.
        change: The smallest changes of weights.
        effects: The smallest set of effects without which it would be so.
        stability: Under the bootstrap of the policy or of its nearest ancestor; `None` when there is none.
        words: In words.
    """

    id: str
    decision: Decision
    ground: Ground
    policy: str
    policy_hash: str
    explanation: Explanation
    margin: Margin | None
    threshold: float
    threshold_flips: tuple[ThresholdFlip, ...]
    weights: tuple[WeightFlips, ...]
    target: Decision
    change: Counterfactual
    effects: EffectSet
    stability: Stability | None
    words: Words

    @property
    def cannot_flip_alone(self) -> tuple[str, ...]:
        """Weights of this score that change the decision at no value that the policy may give to them alone."""
        return tuple(it.weight for it in self.weights if not it.allowed)

    def to_json(self) -> dict[str, Any]:
        """The published form; a bound that does not exist is null."""
        explanation = self.explanation
        return {
            "id": self.id,
            "decision": self.decision,
            "ground": self.ground,
            "policy": {"name": self.policy, "hash": self.policy_hash},
            "score": explanation.score,
            "interval": _bounds(explanation.interval),
            "lost": list(explanation.lost),
            "contributions": [_plain(it) for it in explanation.contributions],
            "totals": {
                by: [{"name": name, "interval": _bounds(total)} for name, total in explanation.totals(by).items()]
                for by in GROUPINGS
            },
            "margin": None if self.margin is None else self.margin.model_dump(),
            "threshold": {"value": self.threshold, "flips": [it.model_dump() for it in self.threshold_flips]},
            "weights": [_plain(it) for it in self.weights],
            "cannot_flip_alone": list(self.cannot_flip_alone),
            "target": self.target,
            "change": {
                "status": self.change.status,
                "sparse": _change(self.change.sparse),
                "least_squares": _change(self.change.least_squares),
            },
            "effects": _plain(self.effects) | {"effects": [it.path for it in self.effects.effects]},
            "stability": None if self.stability is None else _plain(self.stability),
            "words": {"judgement": self.words.judgement, **self.words.model_dump()},
        }


class Accountant:
    """Gives accounts of decisions under one policy.

    Args:
        bound: The policy, ready for the taxonomy of the trees.
        bootstrap: Its replicates, or those of an ancestor, when there are some.
        bounds: Floors and ceilings that a proposed change must keep to.
        fitted: The ancestor that the replicates belong to, when they are not the policy's own (`bootstrap.nearest_bootstrap`).
    """

    def __init__(
        self, bound: BoundPolicy, bootstrap: Bootstrap | None = None, bounds: Bounds | None = None,
        *, fitted: Policy | None = None,
    ) -> None:  # fmt: skip
        self.bound = bound
        self.policy_hash = bound.policy.hash
        pinned = {name: (it.floor, it.ceiling) for name, it in bound.bounds.items() if name in bound.space.levels.names}
        self._bounds = pinned if bounds is None else bounds
        self._replicates = None if bootstrap is None else Replicates(bootstrap, bound, fitted)

    def account_for(self, trees: HarmBenefitTree, *, id: str = "tree", target: Decision | None = None) -> Account:
        """Accounts for the decision on one scenario.

        Args:
            trees: Of the scenario.
            id: Of the scenario.
            target: The decision that changes should lead to; by default the next one towards the other side.
        """
        bound = self.bound
        case = Reweighing(trees, bound, self._bounds)
        explanation = explain(trees, bound)
        decision, ground = bound.decide(*explanation.interval)
        nearest = margin(case)
        weights = weight_flips(case)
        used = set(np.flatnonzero(case.function.uses.any(axis=0)).tolist())
        wanted = target or next_decision(case, nearest)
        return Account(
            id=id,
            decision=decision,
            ground=ground,
            policy=bound.policy.name,
            policy_hash=self.policy_hash,
            explanation=explanation,
            margin=nearest,
            threshold=bound.policy.threshold,
            threshold_flips=threshold_flips(case),
            weights=tuple(it for k, it in enumerate(weights) if k in used),
            target=wanted,
            change=counterfactual(case, wanted, weights),
            effects=smallest_effect_set(case, explanation, wanted),
            stability=None if self._replicates is None else stability(case, self._replicates),
            words=words_for(explanation, bound),
        )


def _bounds(interval: Interval) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in interval]


def _plain(record: Record) -> dict[str, Any]:
    """A record as JSON has it: lists for tuples, null for a bound that does not exist."""
    return {key: _as_json(value) for key, value in record.model_dump().items()}


def _as_json(value: object) -> Any:
    if isinstance(value, tuple | list):
        return [_as_json(it) for it in value]
    if isinstance(value, dict):
        return {key: _as_json(it) for key, it in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _change(change: SmallestChange | None) -> dict[str, Any] | None:
    return None if change is None else _plain(change)
