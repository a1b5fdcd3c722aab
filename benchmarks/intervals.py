"""Figures with 95 % percentile bootstrap intervals, for what `Metrics` does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from safetyanalyst.pipelines.evaluate import Estimate

Array = npt.NDArray[np.float64]
N_BOOTSTRAP = 1000


def of_sums(counts: npt.ArrayLike, statistic: Callable[[Array], Array], *, seed: int = 0) -> Estimate:
    """A statistic of sums over items, the items resampled.

    Args:
        counts: (n, k) of each item.
        statistic: (..., k) sums -> (...); nan where the sums cannot say.
        seed: Of the resamples.
    """
    rows = np.asarray(counts, dtype=np.float64)
    if not len(rows):
        return Estimate(value=None)
    times = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), N_BOOTSTRAP)
    with np.errstate(invalid="ignore", divide="ignore"):
        return estimate(float(statistic(rows.sum(axis=0))), statistic(times @ rows))


def share(flags: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """The share of items that hold."""
    held = np.asarray(flags, dtype=np.float64)
    return of_sums(np.column_stack((held, np.ones(len(held)))), lambda sums: sums[..., 0] / sums[..., 1], seed=seed)


def ratio(top: npt.ArrayLike, bottom: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """Sum of one count over the sum of another."""
    return of_sums(np.column_stack((top, bottom)), lambda sums: sums[..., 0] / sums[..., 1], seed=seed)


def of_rows(n: int, statistic: Callable[[npt.NDArray[np.int64]], float], *, seed: int = 0) -> Estimate:
    """Any statistic of n items, given as the rows to use; the rows are resampled.

    Args:
        n: Items.
        statistic: Row numbers -> value; nan where they cannot say.
        seed: Of the resamples.
    """
    if not n:
        return Estimate(value=None)
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(0, n, n)) for _ in range(N_BOOTSTRAP)]
    return estimate(statistic(np.arange(n)), np.array(draws))


def estimate(value: float, draws: npt.ArrayLike) -> Estimate:
    """A value with the middle 95 % of its resamples; those that cannot say are left out."""
    known = np.asarray(draws, dtype=np.float64)
    known = known[~np.isnan(known)]
    if np.isnan(value) or not len(known):
        return Estimate(value=None if np.isnan(value) else value)
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))


def shown(it: Estimate | None) -> str:
    """As a cell of a table."""
    if it is None or it.value is None:
        return "-"
    return f"{it.value:.3f}" if it.low is None or it.high is None else f"{it.value:.3f} [{it.low:.2f}, {it.high:.2f}]"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join((lines[0], "|" + "---|" * len(head), *lines[1:]))
