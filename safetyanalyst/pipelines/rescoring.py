"""A corpus under a policy: every score and every decision, without a tree in sight.

Scores are one sparse product over the corpus. A sum taken in another order may differ in its last digit, and a score that lies
on a cut by one digit would be decided otherwise than `assess` decides it; so the few scores that rounding could carry over a
cut are summed again, exactly as `explanation.explain` does it, by `math.fsum`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.features import FeatureMatrix
from safetyanalyst.pipelines.corpus import Corpus
from safetyanalyst.policy import BoundPolicy, Decision, Ground
from safetyanalyst.projection import lift, lifted
from safetyanalyst.weights import Floats, Ints

DECISIONS: tuple[Decision, Decision, Decision] = ("allow", "review", "block")
"""From the mildest to the harshest."""
GROUNDS: tuple[Ground, ...] = (
    "score_not_above_threshold", "score_in_review_band", "score_above_threshold", "something_is_missing"
)  # fmt: skip
_EPSILON = float(np.finfo(np.float64).eps)
_HARSHNESS = {decision: i for i, decision in enumerate(DECISIONS)}
_GROUND = {ground: i for i, ground in enumerate(GROUNDS)}

Codes = npt.NDArray[np.int8]


class Cuts(NamedTuple):
    """Where a policy cuts scores: it allows up to `lower`, and blocks above `upper`."""

    lower: float
    upper: float


class Rescored(NamedTuple):
    """A corpus under a policy.

    Attributes:
        low: (n,) least possible scores, may be -inf.
        high: (n,) greatest possible scores, may be +inf.
        decisions: (n,) indices into `DECISIONS`.
        grounds: (n,) indices into `GROUNDS`.
    """

    low: Floats
    high: Floats
    decisions: Codes
    grounds: Codes


def rescore(corpus: Corpus, bound: BoundPolicy) -> Rescored:
    """Scores and decides every scenario of a corpus, as `Assessor.assess` would.

    Args:
        corpus: n scenarios.
        bound: A policy bound to the corpus's taxonomy.

    Raises:
        ConfigError: The policy is bound to another taxonomy.
    """
    matrix = lifted(corpus.matrix, lift(corpus.space, bound.space))
    low, high = harmfulness_interval(matrix, bound.levels)
    cell = matrix.space.levels.values(bound.levels)
    for i in _in_doubt(corpus.n_effects, cell, low, high, cuts(bound)):
        low[i], high[i] = _exact(matrix, cell, i, low[i], high[i])
    decided = [bound.decide(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)]
    decisions = np.array([_HARSHNESS[decision] for decision, _ in decided], np.int8)
    return Rescored(low, high, decisions, np.array([_GROUND[ground] for _, ground in decided], np.int8))


def cuts(bound: BoundPolicy) -> Cuts:
    """The cuts of a policy, as its `decide` computes them."""
    policy = bound.policy
    return Cuts(policy.threshold - policy.review_band.below, policy.threshold + policy.review_band.above)


def _in_doubt(n_effects: Ints, cell: Floats, low: Floats, high: Floats, at: Cuts) -> list[int]:
    """Rows with a sum that rounding could carry over a cut: |error| <= (terms) x eps x (sum of the terms' sizes)."""
    reach = (n_effects + 2.0) * _EPSILON * n_effects * np.abs(cell).max(initial=0.0)
    near = np.zeros(len(low), bool)
    for end in (low, high):
        for cut in at:
            near |= np.abs(end - cut) <= reach
    return np.flatnonzero(near & (reach > 0)).tolist()


def _exact(matrix: FeatureMatrix, cell: Floats, i: int, low: float, high: float) -> tuple[float, float]:
    """The interval of one row, rounded once; an infinite end stays."""
    counts, partial = matrix.counts[[i]], matrix.partial[[i]]
    read = np.repeat(cell[counts.indices], counts.data.astype(np.int64)).tolist()
    times = partial.data.astype(np.int64).tolist()
    patterns = [cell[matrix.patterns[j]] for j in partial.indices]
    least = [float(it.min()) for it, n in zip(patterns, times, strict=True) for _ in range(n)]
    most = [float(it.max()) for it, n in zip(patterns, times, strict=True) for _ in range(n)]
    return (
        low if math.isinf(low) else math.fsum([*read, *least]),
        high if math.isinf(high) else math.fsum([*read, *most]),
    )
