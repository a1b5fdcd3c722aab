"""The few convex problems that training is made of: penalised logistic regressions, solved by L-BFGS with exact gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

Floats = npt.NDArray[np.float64]
_MAX_ITERATIONS = 80
_BATCH = 256  # texts whose pairs are held in memory at once


class LinearJudgement(NamedTuple):
    """A linear classifier of texts: score = x . weights + bias."""

    weights: Floats
    bias: float


class PairModel(NamedTuple):
    """Logits of (stakeholder, action) pairs: z.U_a + z.V_s + M_sa.

    Attributes:
        actions: U, (actions, k).
        stakeholders: V, (stakeholders, k).
        pairs: M, (stakeholders, actions).
    """

    actions: Floats
    stakeholders: Floats
    pairs: Floats


def fit_judgement(x: Any, labels: Floats, weights: Floats, strength: float) -> LinearJudgement:
    """Logistic regression on sparse texts; the bias is not penalised.

    Args:
        x: (n, d) sparse features.
        labels: (n,) of 0 and 1.
        weights: (n,) of the examples.
        strength: Of the data against the penalty.
    """
    sign = 2.0 * labels - 1.0
    scaled = strength * weights / weights.mean()
    columns = np.unique(x.indices)  # a feature that no text has keeps the weight 0
    d, x = x.shape[1], x[:, columns]
    transposed = x.T.tocsr()

    def objective(p: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ p[:-1] + p[-1])
        slope = -scaled * sign * expit(-margin)
        loss = scaled @ np.logaddexp(0.0, -margin) + 0.5 * p[:-1] @ p[:-1]
        return float(loss), np.append(transposed @ slope + p[:-1], slope.sum())

    found = _minimize(objective, np.zeros(x.shape[1] + 1))
    all_weights = np.zeros(d)
    all_weights[columns] = found[:-1]
    return LinearJudgement(all_weights, float(found[-1]))


def fit_heads(x: Floats, labels: Floats, weights: Floats, strength: float) -> Floats:
    """Several logistic regressions on the same dense rows.

    Args:
        x: (n, k), with a constant column.
        labels: (n, m) of 0 and 1.
        weights: (n,) of the rows.
        strength: Of the data against the penalty.

    Returns:
        (m, k).
    """
    sign = 2.0 * labels - 1.0
    scaled = strength * (weights / weights.mean())[:, None]
    shape = (labels.shape[1], x.shape[1])

    def objective(p: Floats) -> tuple[float, Floats]:
        heads = p.reshape(shape)
        margin = sign * (x @ heads.T)
        loss = (scaled * np.logaddexp(0.0, -margin)).sum() + 0.5 * p @ p
        return float(loss), ((-scaled * sign * expit(-margin)).T @ x + heads).ravel()

    return _minimize(objective, np.zeros(shape[0] * shape[1])).reshape(shape)


def fit_pairs(z: Floats, present: npt.NDArray[np.float32]) -> PairModel:
    """Which (stakeholder, action) pairs stand in the tree of a text.

    Args:
        z: (n, k), with a constant column.
        present: (n, stakeholders, actions) of 0 and 1.
    """
    _, n_stakeholders, n_actions = present.shape
    k = z.shape[1]
    z32 = z.astype(np.float32)
    cuts = (n_actions * k, (n_actions + n_stakeholders) * k)
    penalty = np.full(cuts[1] + n_stakeholders * n_actions, 10.0)
    penalty[cuts[1] :] = 0.3

    def objective(p: Floats) -> tuple[float, Floats]:
        model = _unpack(p.astype(np.float32), n_actions, n_stakeholders, k)
        loss = 0.0
        slopes = [np.zeros_like(part, dtype=np.float64) for part in model]
        for b in range(0, len(z), _BATCH):
            batch, target = z32[b : b + _BATCH], present[b : b + _BATCH]
            logits = (batch @ model.actions.T)[:, None, :] + (batch @ model.stakeholders.T)[:, :, None] + model.pairs
            odds = np.exp(np.clip(logits, -15.0, 15.0))
            loss += float(np.log1p(odds).sum() - (logits * target).sum())
            slope = odds / (1.0 + odds) - target
            slopes[0] += slope.sum(1).T @ batch
            slopes[1] += slope.sum(2).T @ batch
            slopes[2] += slope.sum(0)
        return loss + 0.5 * float(penalty @ (p * p)), np.concatenate([s.ravel() for s in slopes]) + penalty * p

    start = np.zeros(len(penalty))
    start[cuts[1] :] = np.log(present.mean(0) + 1e-4).ravel()
    return _unpack(_minimize(objective, start), n_actions, n_stakeholders, k)


def _unpack(p: Any, n_actions: int, n_stakeholders: int, k: int) -> PairModel:
    a, s = n_actions * k, (n_actions + n_stakeholders) * k
    return PairModel(p[:a].reshape(n_actions, k), p[a:s].reshape(n_stakeholders, k), p[s:].reshape(n_stakeholders, n_actions))


def _minimize(objective: Any, start: Floats) -> Floats:
    found: Floats = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_ITERATIONS}).x
    return found
