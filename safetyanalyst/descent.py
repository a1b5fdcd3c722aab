"""Descent from one start to a local optimum of the objective, for small data and for large.

The objective is not convex, so a fit descends from many starts. It searches the positions of `constraints.LevelRegion`, a
plain box. Where a ceiling puts a kink into the region, it descends in one smooth piece after the other until none that touches
the point leads lower.

Where a level has collapsed onto the floor of the level under it, the position of the lower one has no derivative, and a search
stops though both would rise together: it is released and the search goes on (`Objective.released`).

On small data L-BFGS-B is fastest. On large data every look at the counts is dear, and Fisher scoring needs few: steps on the
quadratic model of the Fisher information, damped as by Levenberg and Marquardt, within the box.

Source: Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization" (1995); Nocedal and Wright,
"Numerical Optimization" (2006), chapter 10.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from safetyanalyst.constraints import LevelRegion
from safetyanalyst.fitting import Objective
from safetyanalyst.weights import Floats

_GAIN = 1e-12  # less than this is no gain
_RELEASES = 5  # of levels that have collapsed onto their floor
_CORNERS = 64  # pieces that are tried around one point
_LARGE = 2_000_000  # counts held, from which Fisher scoring is faster
_MAX_DAMPING = 1e8
_TURNS = 40
Bounds = list[tuple[float | None, float | None]]


class Solution(NamedTuple):
    """Where one descent ended.

    Attributes:
        positions: (P,) in the region.
        values: (P,) parameter values: levels, each once.
        threshold: Fitted, or 0.
        objective: Loss with the penalties.
        is_converged: Whether the descent met its tolerance.
        iterations: How many it took.
    """

    positions: Floats
    values: Floats
    threshold: float
    objective: float
    is_converged: bool
    iterations: int


def descend(objective: Objective, values: Floats, threshold: float, max_iterations: int) -> Solution:
    """Descends from parameter values in the region to a local optimum of the whole region.

    Args:
        objective: With the region, kinks and all.
        values: (P,) start.
        threshold: Start of the threshold, where one is fitted.
        max_iterations: Of each L-BFGS-B.
    """
    region = objective.region
    best = _descend_piece(objective, region.piece(values), values, threshold, max_iterations)
    while kinks := region.on_kinks(best.values):
        sides = (frozenset(k for k, is_below in zip(kinks, s, strict=True) if is_below)
                 for s in itertools.product((True, False), repeat=len(kinks)))  # fmt: skip
        for below in itertools.islice(sides, _CORNERS):
            piece = region.piece(best.values, below)
            found = _descend_piece(objective, piece, best.values, best.threshold, max_iterations)
            if found.objective < best.objective - _GAIN:
                best = found._replace(iterations=best.iterations + found.iterations)
                break
        else:
            break
    return best._replace(positions=region.positions(best.values)) if region.has_kinks else best


def _descend_piece(objective: Objective, piece: LevelRegion, values: Floats, threshold: float, max_iterations: int) -> Solution:
    smooth = replace(objective, region=piece)
    start: Floats = piece.positions(values)
    bounds: Bounds = [(0.0, 1.0)] * len(piece)
    if objective.has_threshold:
        start, bounds = np.append(start, threshold), [*bounds, (None, None)]
    counts = objective.rows.counts
    search = _by_fisher_scoring if counts.shape[0] * counts.shape[1] > _LARGE else _by_lbfgs
    found = search(smooth, start, bounds, max_iterations)
    for _ in range(_RELEASES):
        n = len(piece)
        released = smooth.released(np.clip(found.x[:n], 0.0, 1.0), float(found.x[-1]) if objective.has_threshold else 0.0)
        if np.array_equal(released, found.x[:n]):
            break
        again = search(smooth, np.append(released, found.x[n:]), bounds, max_iterations)
        if again.objective >= found.objective - _GAIN:
            break
        found = again._replace(iterations=found.iterations + again.iterations)
    positions = np.clip(found.x[: len(piece)], 0.0, 1.0)
    return Solution(
        positions=positions,
        values=piece.values(positions),
        threshold=float(found.x[-1]) if objective.has_threshold else 0.0,
        objective=found.objective,
        is_converged=found.is_converged,
        iterations=found.iterations,
    )


class _End(NamedTuple):
    x: Floats
    objective: float
    is_converged: bool
    iterations: int


def _by_lbfgs(objective: Objective, start: Floats, bounds: Bounds, max_iterations: int) -> _End:
    from scipy.optimize import minimize  # a tenth of a second that only a fit needs

    found: Any = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": max_iterations, "maxfun": 10 * max_iterations, "ftol": 1e-13, "gtol": 1e-9},
    )  # fmt: skip
    return _End(found.x, float(found.fun), bool(found.success), int(found.nit))


def _by_fisher_scoring(objective: Objective, start: Floats, bounds: Bounds, max_iterations: int) -> _End:
    low = np.array([-np.inf if b[0] is None else b[0] for b in bounds])
    high = np.array([np.inf if b[1] is None else b[1] for b in bounds])
    x, damping = start, 1e-6
    loss, gradient = objective(x)
    for iteration in range(1, max_iterations + 1):
        curvature = objective.curvature(x)
        # where every row is decided beyond doubt there is no information: then the slope says how far a step may go
        size = np.diag(curvature) + np.abs(gradient).max() + 1e-12
        while True:
            stepped = np.clip(x + _box_step(gradient, curvature + damping * np.diag(size), low - x, high - x), low, high)
            new_loss, new_gradient = objective(stepped)
            if new_loss <= loss or damping > _MAX_DAMPING:
                break
            damping = max(10.0 * damping, 1e-6)
        gain = loss - new_loss
        if gain < 0:  # not even the smallest step leads lower
            return _End(x, loss, True, iteration)
        x, loss, gradient, damping = stepped, new_loss, new_gradient, max(damping / 10.0, 1e-10)
        if gain <= _GAIN:
            return _End(x, loss, True, iteration)
    return _End(x, loss, False, max_iterations)


def _box_step(gradient: Floats, curvature: Floats, low: Floats, high: Floats) -> Floats:
    """The step that makes `gradient @ step + step @ curvature @ step / 2` least within the box.

    Block principal pivoting (Portugal, Judice and Vicente, "A comparison of block pivoting and interior-point algorithms for
    linear least squares problems with nonnegative variables", 1994): solve for the free ones, hold those that left the box,
    free those that are pulled back into it. Mostly over in a few turns; where it goes round in circles, L-BFGS-B takes over.
    """
    is_low, is_high = np.zeros(len(gradient), bool), np.zeros(len(gradient), bool)
    for _ in range(_TURNS):
        free = ~(is_low | is_high)
        step = np.where(is_low, low, np.where(is_high, high, 0.0))
        if free.any():
            pulled = gradient[free] + curvature[np.ix_(free, ~free)] @ step[~free]
            try:
                step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], pulled)
            except np.linalg.LinAlgError:
                break
        slope = gradient + curvature @ step
        leaves_low, leaves_high = free & (step < low), free & (step > high)
        returns = (is_low & (slope < 0)) | (is_high & (slope > 0))
        if not (leaves_low | leaves_high | returns).any():
            return step
        is_low, is_high = (is_low & ~returns) | leaves_low, (is_high & ~returns) | leaves_high
    return _box_step_by_lbfgs(gradient, curvature, low, high)


def _box_step_by_lbfgs(gradient: Floats, curvature: Floats, low: Floats, high: Floats) -> Floats:
    from scipy.optimize import minimize

    def model(step: Floats) -> tuple[float, Floats]:
        bent = curvature @ step
        return float(gradient @ step + 0.5 * (step @ bent)), gradient + bent

    options = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-12}
    bounds = list(zip(low, high, strict=True))
    found: Any = minimize(model, np.zeros(len(gradient)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    step: Floats = found.x
    return step
