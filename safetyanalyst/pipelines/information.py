"""Which labels would make the scores of a whole corpus surest: a greedy optimal design for the log-sigmoid fit.

Around the weights of a policy the score of row i moves with the ratios that a fit searches by a derivative J_i. Its label adds
the Fisher information I_i = f_i J_i J_i^T, f_i = (dp/ds)^2 / (p (1 - p)), which is p (1 - p) for the sigmoid. Labels that are
there and a uniform prior (each ratio in [0, 1], variance 1/12) leave the ratios with covariance C = (12 + sum of I)^-1. The row
that is taken next is the one that lowers the mean variance of all predictions, mean_j f_j J_j^T C J_j, most: V-optimal design,
as Cohn (1996) uses it for active learning. A duplicate of a row that was taken lowers it less, so there are few.

Ratios that a fit from few labels left at 0 or 1 are taken as 0.1 and 0.9: behind a 0 nothing has a derivative, and no label
could tell anything about it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from safetyanalyst.aggregation import probability
from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines.pool import Pool
from safetyanalyst.policy import BoundPolicy
from safetyanalyst.weights import Floats, Ints

_PRIOR = 12.0  # 1 / variance of a uniform draw from [0, 1]
_INNER = (0.1, 0.9)
_CLIP = 1e-6  # as in the fit: a row of a surer probability teaches nothing


def most_informative(pool: Pool, bound: BoundPolicy, rows: Ints, n: int) -> Ints:
    """At most n of `rows`, the one that teaches most first.

    Args:
        pool: Read with the policy as the first; its labelled rows count as known.
        bound: The policy whose weights are to learn.
        rows: Candidates: rows of the pool with nothing missing.
        n: How many.
    """
    space = bound.space
    ratios = np.clip(space.ratios_from_levels(bound.levels), *_INNER)
    slopes = _derivatives(space, ratios)
    known = _scaled(pool.labelled, space, ratios, slopes)
    design = _scaled(pool.counts[rows], space, ratios, slopes)
    if not len(rows):
        return rows
    covariance = np.linalg.inv(_PRIOR * np.eye(slopes.shape[1]) + known.T @ known)
    aim = design.T @ design / len(design)
    free = np.ones(len(rows), bool)
    chosen: list[int] = []
    for _ in range(min(n, len(rows))):
        spread = design @ covariance
        gain = np.einsum("ij,jk,ik->i", spread, aim, spread, optimize=True) / (1.0 + np.einsum("ij,ij->i", spread, design))
        best = int(np.argmax(np.where(free, gain, -np.inf)))
        chosen.append(best)
        free[best] = False
        step = spread[best]
        covariance = covariance - np.outer(step, step) / (1.0 + float(step @ design[best]))
    return rows[chosen]


def _derivatives(space: FeatureSpace, ratios: Floats) -> Floats:
    """How each cell changes with each ratio, (cells, P): cells are linear in every single one."""
    columns = []
    for k in range(len(ratios)):
        low, high = ratios.copy(), ratios.copy()
        low[k], high[k] = 0.0, 1.0
        columns.append(space.ratios.values(high) - space.ratios.values(low))
    return np.stack(columns, axis=1)


def _scaled(counts: Any, space: FeatureSpace, ratios: Floats, slopes: Floats) -> Floats:
    """sqrt(f_i) J_i for every row, (n, P)."""
    scores: Floats = counts @ space.ratios.values(ratios)
    link = space.spec.analysis
    p = probability(scores, link)
    by_score = expit(scores) * expit(-scores) * (1.0 if link == "both" else 2.0)
    inside = (p > _CLIP) & (p < 1.0 - _CLIP)
    information = np.where(inside, by_score**2 / np.where(inside, p * (1.0 - p), 1.0), 0.0)
    scaled: Floats = np.sqrt(information)[:, None] * (counts @ slopes)
    return scaled
