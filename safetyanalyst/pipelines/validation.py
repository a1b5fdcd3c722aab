"""Stratified k-fold: every labelled row is judged by a fit that has not seen it, nor any row of its group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from safetyanalyst.aggregation import AggregationModel, harmfulness
from safetyanalyst.errors import FitError
from safetyanalyst.fit_facts import CrossValidation, FoldScores
from safetyanalyst.links import log_loss
from safetyanalyst.pipelines.evaluate import auroc, rates
from safetyanalyst.pipelines.labelled import LabelledRows, Watch, unwatched
from safetyanalyst.weights import Floats, Ints


def fold_of(labels: Floats, groups: Sequence[str] | None, n_folds: int, seed: int) -> Ints:
    """The fold of each row, (n,): groups stay whole, and every fold has its share of both classes.

    Groups are dealt out in random order, the largest first, each to the fold that has fewest rows of the classes it brings.

    Args:
        labels: (n,) of 0 and 1.
        groups: (n,) what belongs together; every row alone by default.
        n_folds: At least 2.
        seed: Of the order.

    Raises:
        FitError: There are not enough rows or groups of a class for every fold to have one.
    """
    if n_folds < 2:
        raise FitError(f"cross-validation needs at least 2 folds, not {n_folds}")
    _, group_of = np.unique(np.arange(len(labels)) if groups is None else np.asarray(groups), return_inverse=True)
    size = np.zeros((int(group_of.max(initial=-1)) + 1, 2))
    np.add.at(size, (group_of, labels.astype(np.int64)), 1)
    total = np.maximum(size.sum(axis=0), 1.0)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(size))
    order = shuffled[np.argsort(-size[shuffled].sum(axis=1), kind="stable")]
    held, chosen = np.zeros((n_folds, 2)), np.empty(len(size), np.int64)
    for group in order:
        load = (held / total) @ (size[group] > 0)  # of the classes that the group brings
        chosen[group] = np.lexsort((held.sum(axis=1), load))[0]
        held[chosen[group]] += size[group]
    if (held == 0).any():
        unit = "rows" if groups is None else "groups"
        raise FitError(f"{n_folds} folds need at least {n_folds} {unit} with harmful and as many with harmless rows")
    return chosen[group_of]


def cross_validate(
    model: AggregationModel, rows: LabelledRows, n_folds: int, *,
    threshold: float | None = None, grouped_by: str | None = None, watch: Watch = unwatched,
) -> CrossValidation:  # fmt: skip
    """Fits the settings of a model without each fold and judges the fold.

    Args:
        model: Whose settings; it stays as it is.
        rows: All labelled rows.
        n_folds: At least 2.
        threshold: Above which a score is flagged; by default the one that each fit finds.
        grouped_by: Name of the grouping column, for the record.
        watch: Shows progress.
    """
    fold = fold_of(rows.labels, rows.groups, n_folds, model.seed)
    margins, losses = np.empty(len(fold)), np.empty(len(fold))
    with watch("folds", n_folds) as tick:
        for k in range(n_folds):
            seen, held = (rows.select(np.flatnonzero(which)) for which in (fold != k, fold == k))
            fitted = model.unfitted().fit(seen.matrix, seen.labels, seen.weights)
            scores = harmfulness(held.matrix, fitted.levels_)
            margins[fold == k] = scores - (fitted.threshold_ if threshold is None else threshold)
            losses[fold == k] = log_loss(scores - fitted.solution_.threshold, held.labels, model.space.spec.analysis)
            tick()
    folds = tuple(fold_scores(rows, margins, losses, fold == k) for k in range(n_folds))
    pooled = fold_scores(rows, margins, losses, np.ones(len(fold), bool))
    return CrossValidation(folds=folds, pooled=pooled, seed=model.seed, grouped_by=grouped_by)


def fold_scores(rows: LabelledRows, margins: Floats, losses: Floats, which: npt.NDArray[np.bool_]) -> FoldScores:
    """Figures of the rows in a mask.

    Args:
        rows: All n rows.
        margins: (n,) score minus threshold; above 0 is flagged.
        losses: (n,) log losses.
        which: (n,) mask with at least one row.
    """
    labels, flagged, weights = rows.labels[which], margins[which] > 0, rows.weights[which]
    found = rates(labels, flagged)
    share = float(labels.mean())
    return FoldScores(
        n=len(labels),
        harmful=int(labels.sum()),
        loss=float(weights @ losses[which] / weights.sum()) if weights.sum() > 0 else float(losses[which].mean()),
        auroc=auroc(labels.astype(np.int64), margins[which]),
        f1=found["f1"],
        recall=found["recall"],
        false_positive_rate=found["false_positive_rate"],
        always_unsafe_f1=2 * share / (1 + share),
    )
