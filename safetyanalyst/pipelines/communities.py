"""One policy per community, shrunk towards the pooled one, and where communities differ.

The pooled policy is fitted to all rows. Each community is then fitted to its own rows with the pooled weights as prior, a
hierarchical model with one standard deviation tau for all weights: strength 1 / (2 tau^2), in rows, so that few rows are shrunk
more. Where no strength is given, it is the one with the least out-of-fold loss over all communities; the pooled weights that
judge a fold are fitted without it, too.

Differences are judged by resampling rows within community and class, and refitting both sides on each draw: a weight differs
where the interval of (community - pooled) does not hold 0. The intervals hold for all weights at once, and shrinkage makes them
the careful side.

Source: Efron and Morris, "Stein's estimation rule and its competitors" (1973), for shrinkage towards the pooled fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.aggregation import AggregationModel, harmfulness
from safetyanalyst.errors import FitError
from safetyanalyst.fitting import Prior
from safetyanalyst.links import log_loss
from safetyanalyst.pipelines.labelled import Fields, LabelledRows, Watch, unwatched
from safetyanalyst.pipelines.validation import fold_of
from safetyanalyst.policy import BoundPolicy, Decision
from safetyanalyst.records import Record
from safetyanalyst.resampling import Refit, Replicates, Sampler
from safetyanalyst.resources import readable
from safetyanalyst.weights import Floats, Ints

STRENGTHS = (0.5, 2.0, 5.0, 15.0, 50.0, 150.0, 500.0, 5000.0)  # tau from 1 to 0.01
_FOLDS = 5
MIN_DRAWS = 20  # fewer hold no 95 % quantile: even the widest of them would be too narrow an interval


class Difference(Record):
    """How far a weight of a community is from the pooled one.

    Attributes:
        weight: Name of the level.
        pooled: Its pooled value.
        community: Its value in the community.
        low: Lower end of the 95 % interval of community - pooled, for all weights at once; `None` with fewer draws than
            `MIN_DRAWS`.
        high: Upper end.
        is_clear: The interval does not hold 0.
    """

    weight: str
    pooled: float
    community: float
    low: float | None = None
    high: float | None = None
    is_clear: bool = False


class Community(Record):
    """One community beside the pooled policy.

    Attributes:
        name: Value of the column.
        rows: Labelled rows.
        harmful: Those labelled harmful.
        fallback: Why it has the pooled weights, or `None` when it was fitted.
        differences: Weights, the clearest and largest difference first.
        decided_otherwise: Labelled rows of the community that its policy decides otherwise than the pooled one, by
            "pooled -> community".
    """

    name: str
    rows: int
    harmful: int
    fallback: str | None = None
    differences: tuple[Difference, ...] = ()
    decided_otherwise: dict[str, int]


class Choice(NamedTuple):
    """The strength of the pull.

    Attributes:
        strength: In rows.
        losses: Out-of-fold loss of every strength that was tried; empty when it was given.
    """

    strength: float
    losses: dict[float, float]


class Draws(NamedTuple):
    """Refits of one community on resampled rows.

    Attributes:
        replicates: Its weights and thresholds.
        off: (B, K) its levels minus the pooled ones of the same draw.
    """

    replicates: Replicates
    off: Floats


@dataclass(frozen=True)
class Members:
    """Which rows belong to which community.

    Attributes:
        rows: All labelled rows.
        of: Indices of each community, names sorted.
        fallback: Why a community is not fitted, by name.
        without: Rows without a value; they take part in the pooled fit only.
    """

    rows: LabelledRows
    of: dict[str, Ints]
    fallback: dict[str, str]
    without: int

    @property
    def fitted(self) -> list[str]:
        """Communities with enough rows of both classes."""
        return [name for name in self.of if name not in self.fallback]


def members(stored: Sequence[Fields], rows: LabelledRows, column: str, min_rows: int) -> Members:
    """Sorts rows by the value of a column.

    Args:
        stored: n times the columns of a row.
        rows: Their arrays.
        column: Of the community.
        min_rows: A community with fewer rows is not fitted.

    Raises:
        FitError: No row has a value.
    """
    by_name: dict[str, list[int]] = {}
    for i, row in enumerate(stored):
        if (value := row.get(column)) is not None:
            by_name.setdefault(readable(str(value)), []).append(i)
    if not by_name:
        raise FitError(f"no labelled row has a value in column {column!r}")
    fallback: dict[str, str] = {}
    for name, found in by_name.items():
        counted = rows.labels[found][rows.weights[found] > 0]  # a row of the weight 0 says nothing
        if len(found) < min_rows:
            fallback[name] = f"{len(found)} rows, fewer than {min_rows}"
        elif not len(counted):
            fallback[name] = "every row has the weight 0"
        elif counted.min() == counted.max():
            fallback[name] = f"every row is {'harmful' if counted[0] else 'harmless'}"
    of = {name: np.array(by_name[name]) for name in sorted(by_name)}
    return Members(rows, of, fallback, len(stored) - sum(map(len, of.values())))


def choose_strength(pooled: AggregationModel, found: Members, watch: Watch = unwatched) -> Choice:
    """The strength with the least out-of-fold loss over all communities that are fitted.

    Args:
        pooled: Settings and fitted weights of the pooled model.
        found: The communities.
        watch: Shows progress.
    """
    rows, names = found.rows, found.fitted
    n_folds = min([_FOLDS, *(int(min(_classes(rows, found.of[name]))) for name in names)])
    if n_folds < 2:
        return Choice(1.0 / (2.0 * 0.1**2), {})  # too few rows to ask: a standard deviation of 0.1
    fold = np.full(len(rows.labels), -1)
    for name in names:
        groups = None if rows.groups is None else [rows.groups[i] for i in found.of[name]]
        fold[found.of[name]] = fold_of(rows.labels[found.of[name]], groups, n_folds, pooled.seed)
    total = np.zeros(len(STRENGTHS))
    with watch("strength", n_folds) as tick:
        for k in range(n_folds):
            outside = _pooled_without(pooled, rows, fold == k)
            for name in names:
                own = found.of[name]
                seen, held = (rows.select(own[fold[own] != k]), rows.select(own[fold[own] == k]))
                for i, strength in enumerate(STRENGTHS):
                    total[i] += _loss_on(community_model(outside, strength), seen, held)
            tick()
    weight = sum(float(rows.weights[found.of[name]].sum()) for name in names)
    losses = {strength: float(loss / weight) for strength, loss in zip(STRENGTHS, total, strict=True)}
    return Choice(min(STRENGTHS, key=lambda strength: losses[strength]), losses)


def community_model(pooled: AggregationModel, strength: float, *, levels: Floats | None = None) -> AggregationModel:
    """A model pulled to fitted pooled weights, or to other levels (P,); one start in the middle and one at the prior do."""
    values = pooled.solution_.values if levels is None else levels
    model = pooled.unfitted(prior=Prior(values, strength, pooled.solution_.threshold))
    model.n_starts = min(2, pooled.n_starts) if pooled.n_starts > 1 else 1
    return model


def differing(
    pooled: AggregationModel,
    models: dict[str, AggregationModel],
    found: Members,
    *,
    n: int,
    seed: int,
    watch: Watch = unwatched,
) -> dict[str, Draws]:
    """Refits the pooled and every community model on the same resampled rows.

    Args:
        pooled: Fitted to all rows.
        models: Fitted communities.
        found: Who belongs where.
        n: Number of draws.
        seed: Of the draws.
        watch: Shows progress.

    Returns:
        Per community its draws.
    """
    rows = found.rows
    everyone = Refit(pooled, rows.matrix, rows.labels, seed)
    refit = {name: Refit(model, *rows.select(found.of[name])[:2], seed) for name, model in models.items()}
    samplers = [_CommunitySampler(rows, own, seed + i) for i, own in enumerate(_strata(found))]
    levels = {name: np.empty((n, len(pooled.levels_))) for name in models}
    thresholds = {name: np.zeros(n) for name in models}
    off = {name: np.empty((n, len(pooled.levels_))) for name in models}
    with watch("bootstrap of communities", n) as tick:
        for b in range(n):
            weights = rows.weights * sum((sampler.draw() for sampler in samplers), np.zeros(len(rows.labels)))
            together, cut = everyone(weights)
            values = _parameters(pooled, together)
            for name, it in refit.items():
                it.model = _pulled_to(models[name], values, cut)
                levels[name][b], thresholds[name][b] = it(weights[found.of[name]])
                off[name][b] = levels[name][b] - together
            tick()
    return {name: Draws(Replicates(levels[name], thresholds[name]), off[name]) for name in models}


def differences(pooled: AggregationModel, model: AggregationModel, off: Floats | None) -> tuple[Difference, ...]:
    """Every weight of a community against the pooled one: the clearest first, without draws the largest first.

    All weights are looked at together, so the intervals hold together: each is as many standard errors wide as 95 % of the
    draws stay within in every weight at once (the max-t interval).

    Args:
        pooled: Fitted to all rows.
        model: Fitted to the community.
        off: (B, K) differences of the draws; `None` and fewer than `MIN_DRAWS` give no interval.
    """
    gap = model.levels_ - pooled.levels_
    if off is None or len(off) < MIN_DRAWS:
        off = None
        spread, width = np.zeros(len(gap)), 0.0
    else:
        spread = off.std(axis=0, ddof=1)
        varied = spread > 1e-12
        off_by = np.abs(off - off.mean(axis=0))[:, varied] / spread[varied]
        width = float(np.quantile(off_by.max(axis=1, initial=0.0), 0.95))
    found: list[tuple[float, Difference]] = []
    for k, name in enumerate(pooled.space.levels.names):
        it = Difference(weight=name, pooled=float(pooled.levels_[k]), community=float(model.levels_[k]))
        evidence = abs(float(gap[k]))
        if off is not None and spread[k] > 0.0:
            low, high = (float(np.clip(gap[k] + side * width * spread[k], -1.0, 1.0)) for side in (-1.0, 1.0))
            it = it.model_copy(update={"low": low, "high": high, "is_clear": bool(low > 0.0 or high < 0.0)})
            evidence /= float(spread[k]) + 1e-3  # a weight that hardly moves is no finding
        found.append((evidence, it))
    return tuple(it for _, it in sorted(found, key=lambda pair: (not pair[1].is_clear, -pair[0], pair[1].weight)))


def decided_otherwise(rows: LabelledRows, pooled: BoundPolicy, own: BoundPolicy) -> dict[str, int]:
    """How many rows two policies of one space decide differently, by "pooled -> own"."""
    counted: dict[str, int] = {}
    for a, b in zip(_decisions(rows, pooled), _decisions(rows, own), strict=True):
        if a != b:
            counted[f"{a} -> {b}"] = counted.get(f"{a} -> {b}", 0) + 1
    return dict(sorted(counted.items()))


class _CommunitySampler:
    """Draws rows within one community."""

    def __init__(self, rows: LabelledRows, own: Ints, seed: int) -> None:
        groups = None if rows.groups is None else [rows.groups[i] for i in own]
        self._sampler, self._own, self._n = Sampler(rows.labels[own], groups, seed), own, len(rows.labels)

    def draw(self) -> Floats:
        times = np.zeros(self._n)
        times[self._own] = self._sampler.draw()
        return times


def _strata(found: Members) -> list[Ints]:
    """Rows of every community, and the rows of none."""
    taken = np.concatenate(list(found.of.values()))
    rest = np.setdiff1d(np.arange(len(found.rows.labels)), taken)
    return [*found.of.values(), *([rest] if len(rest) else [])]


def _decisions(rows: LabelledRows, bound: BoundPolicy) -> list[Decision]:
    return [bound.decide(score, score)[0] for score in harmfulness(rows.matrix, bound.levels).tolist()]


def _classes(rows: LabelledRows, own: Ints) -> tuple[int, int]:
    """Rows, or groups, of each class."""
    labels = rows.labels[own]
    units = np.array([str(i) for i in own] if rows.groups is None else [rows.groups[i] for i in own])
    return len(set(units[labels == 1])), len(set(units[labels == 0]))


def _pooled_without(pooled: AggregationModel, rows: LabelledRows, held: npt.NDArray[np.bool_]) -> AggregationModel:
    seen = rows.select(np.flatnonzero(~held))
    model = pooled.unfitted()
    model.n_starts = min(4, pooled.n_starts)
    return model.fit(seen.matrix, seen.labels, seen.weights)


def _loss_on(model: AggregationModel, seen: LabelledRows, held: LabelledRows) -> float:
    model.n_starts = 1  # at the prior
    fitted = model.fit(seen.matrix, seen.labels, seen.weights)
    scores = harmfulness(held.matrix, fitted.levels_) - fitted.solution_.threshold
    return float(held.weights @ log_loss(scores, held.labels, model.space.spec.analysis))


def _parameters(model: AggregationModel, levels: Floats) -> Floats:
    values = np.empty(len(model.region))
    values[model.region.own] = levels
    return values


def _pulled_to(model: AggregationModel, values: Floats, threshold: float) -> AggregationModel:
    """A fitted community model with another pooled replicate to pull it."""
    assert model.prior is not None
    other = model.unfitted(prior=Prior(values, model.prior.strength, threshold))
    other.solution_ = model.solution_
    return other
