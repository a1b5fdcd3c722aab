"""How stable a decision is under the resampling of the labels that its policy was aligned to.

Every bootstrap replicate (`bootstrap`) is a set of weights that another sample of the same people's labels might have given.
The trees are scored under each, with the policy's own threshold and band.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979): percentile intervals.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.policy import BoundPolicy, Decision, Policy
from safetyanalyst.records import Record
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.score import Interval

_LEVEL = 0.95


class Stability(Record):
    """What the replicates of a policy decide.

    Attributes:
        policy: Name of the policy whose fit was resampled: the one that decides, or an ancestor of it.
        replicates: How many.
        decisions: Share of the replicates with each decision.
        agreement: Share that decides as the policy does.
        level: Share of the replicates that the interval holds.
        interval: Percentiles of the score; of its low end below and its high end above, where something is missing.
    """

    policy: str
    replicates: int
    decisions: dict[Decision, float]
    agreement: float
    level: float
    interval: Interval


class Replicates:
    """The replicates of a policy in the order of its weights, laid out once for many scenarios.

    Args:
        bootstrap: The replicates.
        bound: The policy that decides.
        fitted: The ancestor of that policy to which they belong; the policy itself when `None`.
    """

    def __init__(self, bootstrap: Bootstrap, bound: BoundPolicy, fitted: Policy | None = None) -> None:
        self.levels = bootstrap.levels(bound.policy, bound.space, fitted)
        self.policy = (fitted or bound.policy).name
        fit = (fitted or bound.policy).fit
        self.level = _LEVEL if fit is None or fit.bootstrap is None else fit.bootstrap.level


def stability(case: Reweighing, replicates: Replicates) -> Stability:
    """Scores and decides one scenario under every replicate.

    Args:
        case: The scenario and the policy.
        replicates: B weight vectors.
    """
    intervals = [case.function.interval(levels) for levels in replicates.levels]
    counts = Counter(case.decide(interval) for interval in intervals)
    total = len(intervals)
    shares: dict[Decision, float] = {name: counts[name] / total for name in ("allow", "review", "block")}
    tail = (1.0 - replicates.level) / 2.0
    low = np.quantile([it.low for it in intervals], tail, method="inverted_cdf")
    high = np.quantile([it.high for it in intervals], 1.0 - tail, method="inverted_cdf")
    return Stability(
        policy=replicates.policy, replicates=total, decisions=shares, agreement=shares[case.decision], level=replicates.level,
        interval=Interval(float(low), float(high)),
    )  # fmt: skip
