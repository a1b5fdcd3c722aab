"""From a harmfulness score to a probability, and what a label costs under it.

    both:      p = sigmoid(s)          scores of either sign
    harms:     p = 2 sigmoid(s) - 1    s >= 0: no harm, no probability of harm
    benefits:  p = 2 sigmoid(s)        s <= 0

Source: the links of the published code (`src/aggregation.py`) and the negative log-sigmoid alignment loss of SafetyAnalyst
(arXiv 2410.16665), section 2.3.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import expit, log_expit

from safetyanalyst.weights import Floats

Link = Literal["both", "harms", "benefits"]
HALF: dict[Link, float] = {"both": 0.0, "harms": float(np.log(3.0)), "benefits": -float(np.log(3.0))}  # score where p = 1/2
_CLIP = 1e-6  # the published code clips probabilities here


def probability(scores: Floats, link: Link = "both") -> Floats:
    """Probability of "harmful" under the link of the analysis, (n,)."""
    p: Floats = expit(scores)
    if link == "harms":
        return 2.0 * p - 1.0
    return 2.0 * p if link == "benefits" else p


def log_loss(scores: Floats, labels: Floats, link: Link = "both") -> Floats:
    """Negative log likelihood of each row, (n,); probabilities clipped to [1e-6, 1 - 1e-6] for the one-sided links."""
    if link == "both":
        losses: Floats = -log_expit((2.0 * labels - 1.0) * scores)
        return losses
    p = np.clip(probability(scores, link), _CLIP, 1.0 - _CLIP)
    return -np.log(np.where(labels > 0, p, 1.0 - p))


def slope(scores: Floats, labels: Floats, link: Link = "both") -> Floats:
    """Derivative of `log_loss` by the score, (n,)."""
    if link == "both":
        sign = 2.0 * labels - 1.0
        by_score: Floats = -sign * expit(-sign * scores)
        return by_score
    s = expit(scores)
    p = probability(scores, link)
    inside = (p > _CLIP) & (p < 1.0 - _CLIP)
    clipped = np.clip(p, _CLIP, 1.0 - _CLIP)
    by_p = np.where(labels > 0, -1.0 / clipped, 1.0 / (1.0 - clipped))
    return np.where(inside, by_p * 2.0 * s * (1.0 - s), 0.0)


def information(scores: Floats, link: Link = "both") -> Floats:
    """Fisher information of one label about the score, (n,): (dp/ds)^2 / (p (1 - p))."""
    s = expit(scores)
    if link == "both":
        return np.asarray(s * (1.0 - s))
    p = np.clip(probability(scores, link), _CLIP, 1.0 - _CLIP)
    of_row: Floats = (2.0 * s * (1.0 - s)) ** 2 / (p * (1.0 - p))
    return of_row
