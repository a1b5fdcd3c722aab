"""The least change of weights for which the ends of a score lie where they should: sequential quadratic programming.

    minimise  sum (w - w0)^2   (or  sum |w - w0|, each weight in its one direction)
    subject to  goals on the score,  floor <= w <= ceiling,  levels of a scale in order

with the exact gradient of the score. Source: D. Kraft, "A software package for sequential quadratic programming", DFVLR-FB
88-28 (1988), as `scipy.optimize` has it. The score is not convex: the answer is a local optimum, and the caller scores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from safetyanalyst.goals import Goal
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.weights import Floats, Ints

Norm = Literal["squares", "sum"]
_INSIDE = 1e-12  # how far beyond the cut the solver aims


def least_change(case: Reweighing, goals: Sequence[Goal], free: Ints, first: Floats, norm: Norm) -> Floats:
    """Weights close to the present ones that meet goals, nearly.

    Args:
        case: The scenario and the present weights.
        goals: What the score must do.
        free: Indices of the weights that may move.
        first: (K,) where the search starts; for "sum" it also says in which direction each weight moves.
        norm: What is least: the sum of squared changes, or of absolute ones.

    Returns:
        (K,) weights; they may miss the goals by the solver's tolerance, or altogether where it fails.
    """
    from scipy.optimize import minimize  # a quarter of a second that only a search needs

    if not len(free):
        return case.levels.copy()
    base = case.levels[free]
    floor, ceiling = case.floor[free], case.ceiling[free]
    way = np.sign(first[free] - base)
    if norm == "sum":
        floor, ceiling = np.where(way >= 0, base, floor), np.where(way <= 0, base, ceiling)

    def whole(x: Floats) -> Floats:
        levels = case.levels.copy()
        levels[free] = x
        return levels

    def squares(x: Floats) -> tuple[float, Floats]:
        off = x - base
        return float(off @ off), 2.0 * off

    def absolute(x: Floats) -> tuple[float, Floats]:
        return float(way @ (x - base)), way

    constraints: list[dict[str, Any]] = [_on_score(case, goal, free, whole) for goal in goals if _is_finite(case, goal)]
    order = _on_order(case, free)
    if len(order):
        fixed = order @ np.where(np.isin(np.arange(len(case.levels)), free), 0.0, case.levels)
        inside = order[:, free]
        constraints.append({"type": "ineq", "fun": lambda x: inside @ x + fixed, "jac": lambda x: inside})
    done = minimize(
        squares if norm == "squares" else absolute, first[free], jac=True, method="SLSQP",
        bounds=list(zip(floor, ceiling, strict=True)), constraints=constraints, options={"maxiter": 60, "ftol": 1e-12},
    )  # fmt: skip
    found = np.asarray(done.x, np.float64)
    return whole(np.clip(np.where(np.isfinite(found), found, first[free]), floor, ceiling))


def _is_finite(case: Reweighing, goal: Goal) -> bool:
    return bool(np.isfinite(getattr(case.interval, goal.end)))


def _on_score(case: Reweighing, goal: Goal, free: Ints, whole: Any) -> dict[str, Any]:
    def lead(x: Floats) -> float:
        return float(goal.lead(getattr(case.function.ends(whole(x)[None]), goal.end))[0]) - _INSIDE

    def slope(x: Floats) -> Floats:
        return goal.direction * case.function.gradient(whole(x), goal.end)[free]

    return {"type": "ineq", "fun": lead, "jac": slope}


def _on_order(case: Reweighing, free: Ints) -> Floats:
    """Rows r with r @ levels >= 0, one for each pair of neighbouring levels of which one may move."""
    rows = []
    for chain in case.chains:
        for below, above in pairwise(chain):
            if below in free or above in free:
                row = np.zeros(len(case.levels))
                row[above], row[below] = 1.0, -1.0
                rows.append(row)
    return np.array(rows).reshape(-1, len(case.levels))
