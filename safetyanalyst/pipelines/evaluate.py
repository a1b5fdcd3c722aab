"""Metrics on labelled scenarios: what a policy gets right, where it errs, and how sure one can be of the numbers.

Unsafe is the positive class. A scenario counts as flagged when it is not allowed (block or review): a person sees it. "Blocked"
metrics, where only a block counts, stand beside. F1 never stands alone: on all-unsafe data it measures recall only, so the
false-positive rate and the F1 of a judge that always says "unsafe" stand next to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from safetyanalyst.analyst import Analysis, FailedItem
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats


class Estimate(Record):
    """A number with its 95 % bootstrap interval; `None` where the data cannot say (one class only)."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Metrics(Record):
    """How decisions agree with labels on n scenarios.

    Attributes:
        n: Labelled scenarios.
        unsafe: How many are labelled unsafe.
        decisions: How many were allowed, sent to review, blocked.
        failed: How many could not be read, or have no tree that the policy counts (they count by their decision).
        unscored: How many have no single score (see `outcome` for how they rank).
        auroc: Of the score.
        f1: Flagged (block or review) against label; likewise `recall`, `precision`, `false_positive_rate`, `specificity`.
        blocked_f1: Only a block counts as flagged; likewise the next two.
        always_unsafe_f1: F1 of a judge that flags everything.
    """

    n: int
    unsafe: int
    decisions: dict[str, int]
    failed: int
    unscored: int
    auroc: Estimate
    f1: Estimate
    recall: Estimate
    precision: Estimate
    false_positive_rate: Estimate
    specificity: Estimate
    blocked_f1: Estimate
    blocked_recall: Estimate
    blocked_false_positive_rate: Estimate
    always_unsafe_f1: float


class Outcome(NamedTuple):
    """One labelled scenario after its analysis.

    Attributes:
        label: 1 unsafe, 0 safe.
        rank: What AUROC ranks by.
        decision: "allow", "review" or "block".
        is_failed: It could not be read, or has no tree.
        is_unscored: It has no single score.
    """

    label: int
    rank: float
    decision: str
    is_failed: bool
    is_unscored: bool


def outcome(label: int, result: Analysis | FailedItem) -> Outcome:
    """What an analysis comes to, beside its label.

    A range ranks by its middle. Without a lower bound it ranks by the upper one, since benefits that nobody read must not make
    anything rank as harmless; without an upper bound it ranks first, as what could not be read does.
    """
    if isinstance(result, FailedItem):
        return Outcome(label, np.inf, result.decision, is_failed=True, is_unscored=True)
    low, high = result.interval
    rank = (low + high) / 2 if np.isfinite(low) and np.isfinite(high) else high
    return Outcome(label, float(rank), result.decision, is_failed=result.is_failed, is_unscored=result.score is None)


def measure(outcomes: Sequence[Outcome], *, n_bootstrap: int = 1000, seed: int = 0) -> Metrics:
    """Computes the metrics with percentile bootstrap intervals over scenarios.

    Args:
        outcomes: At least one.
        n_bootstrap: Resamples.
        seed: Of the resamples.
    """
    labels = np.array([it.label for it in outcomes])
    ranks = np.array([it.rank for it in outcomes])
    flagged = np.array([it.decision != "allow" for it in outcomes])
    blocked = np.array([it.decision == "block" for it in outcomes])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(labels), len(labels)) for _ in range(n_bootstrap)]
    auroc_draws = [auroc(labels[rows], ranks[rows]) for rows in draws]
    flagged_draws = [rates(labels[rows], flagged[rows]) for rows in draws]
    blocked_draws = [rates(labels[rows], blocked[rows]) for rows in draws]
    f, b = rates(labels, flagged), rates(labels, blocked)
    base = float(labels.mean())
    return Metrics(
        n=len(labels),
        unsafe=int(labels.sum()),
        decisions={name: sum(it.decision == name for it in outcomes) for name in ("allow", "review", "block")},
        failed=sum(it.is_failed for it in outcomes),
        unscored=sum(it.is_unscored for it in outcomes),
        auroc=_estimate(auroc(labels, ranks), auroc_draws),
        **{name: _estimate(f[name], [draw[name] for draw in flagged_draws]) for name in f},
        **{
            f"blocked_{name}": _estimate(b[name], [draw[name] for draw in blocked_draws])
            for name in ("f1", "recall", "false_positive_rate")
        },
        always_unsafe_f1=2 * base / (1 + base),
    )


def measure_by(outcomes: Iterable[tuple[str, Outcome]], **options: int) -> dict[str, Metrics]:
    """The metrics of every group, groups in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for group, it in outcomes:
        groups.setdefault(group, []).append(it)
    return {group: measure(members, **options) for group, members in groups.items()}


def auroc(labels: np.ndarray[tuple[int], np.dtype[np.int64]], ranks: Floats) -> float | None:
    """Area under the ROC curve by the Mann-Whitney statistic, ties counted half; `None` with one class only."""
    positive = labels == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return None
    rank_sum = float(rankdata(ranks)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def rates(labels: Floats, flagged: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """F1, recall, precision, false-positive rate and specificity; `None` where the labels cannot say."""
    tp = int((flagged & (labels == 1)).sum())
    fp = int((flagged & (labels == 0)).sum())
    positive = int((labels == 1).sum())
    negative = len(labels) - positive
    fpr = fp / negative if negative else None
    return {
        "f1": 2 * tp / (tp + fp + positive) if positive else None,
        "recall": tp / positive if positive else None,
        "precision": tp / (tp + fp) if tp + fp else None,
        "false_positive_rate": fpr,
        "specificity": None if fpr is None else 1 - fpr,
    }


def _estimate(value: float | None, draws: Sequence[float | None]) -> Estimate:
    found = [draw for draw in draws if draw is not None]
    if value is None or not found:
        return Estimate(value=value)
    low, high = np.percentile(found, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))
