"""Trees predicted out of fold against the teacher's, beside what simple methods make of the same folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from benchmarks import intervals, tree_baselines
from benchmarks.tree_baselines import Fold, Ints, Items, Leveled
from benchmarks.tree_cases import VIEWS, Case, EffectKey, Levels, cases, items, levels
from safetyanalyst.analyst import Assessor
from safetyanalyst.pipelines.evaluate import Estimate, outcome
from safetyanalyst.policy import load_policy
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, TreeKind

Array = npt.NDArray[np.float64]
OURS, NEAREST, FREQUENT, LINEAR, TEACHER = "ours", "nearest neighbour", "most frequent", "linear", "teacher's own tree"
Figures = dict[str, dict[str, Estimate]]


class TreeFigures(NamedTuple):
    """All that was measured.

    Attributes:
        taught: Texts with teacher trees.
        predicted: Of them, those with predicted trees.
        figures: By measure and method.
    """

    taught: int
    predicted: int
    figures: Figures


def measure_trees(data: Path, out_of_fold: Path, training: str, taxonomy: Taxonomy) -> TreeFigures:
    """Every measure by every method.

    Args:
        data: Folder of the training data.
        out_of_fold: Predicted trees.
        training: Name or path of the training configuration: it names the teacher's files, the folds and their seed.
        taxonomy: Of the trees.
    """
    found = cases(data, out_of_fold, training, taxonomy)
    return TreeFigures(found.taught, len(found.cases), figures_of(found.cases, taxonomy))


def figures_of(held_out: Sequence[Case], taxonomy: Taxonomy) -> Figures:
    """By measure and method, everything out of the same folds."""
    fold = np.array([it.fold for it in held_out])
    folds = tree_baselines.folds_of_texts([it.text for it in held_out], fold)
    neighbour = tree_baselines.nearest(folds)
    figures: Figures = {}
    for kind in TREE_KINDS:
        for view in VIEWS:
            truth = [items(it.teacher, kind, view) for it in held_out]
            methods = {
                OURS: [items(it.ours, kind, view) for it in held_out],
                NEAREST: [truth[i] for i in neighbour],
                FREQUENT: tree_baselines.most_frequent(truth, folds),
                LINEAR: tree_baselines.linear(truth, folds, fold),
            }
            figures[f"{kind}: {view}, micro-F1"] = {name: micro_f1(truth, it) for name, it in methods.items()}
        figures |= level_figures(held_out, kind, folds, neighbour, taxonomy)
    figures["severity, rank correlation"] = severity_figures(held_out, folds, neighbour, taxonomy)
    return figures


def severity_figures(
    held_out: Sequence[Case], folds: Sequence[Fold], neighbour: Ints, taxonomy: Taxonomy
) -> dict[str, Estimate]:
    """The teacher's severity against scores under `balanced`; a constant has no rank correlation."""
    severity = np.array([it.severity for it in held_out], dtype=np.float64)
    teacher = scores([it.teacher for it in held_out], taxonomy)
    return {
        OURS: spearman(severity, scores([it.ours for it in held_out], taxonomy)),
        NEAREST: spearman(severity, teacher[neighbour]),
        FREQUENT: Estimate(value=None),
        LINEAR: spearman(severity, tree_baselines.linear_severity(severity, folds)),
        TEACHER: spearman(severity, teacher),
    }


def level_figures(
    held_out: Sequence[Case], kind: TreeKind, folds: Sequence[Fold], neighbour: Ints, taxonomy: Taxonomy
) -> Figures:
    """Agreement of levels over the effects that both trees hold.

    The neighbour is asked about the effects that its tree shares with the teacher's; the most frequent level and the linear
    model about those that ours shares.
    """
    truth = [levels(it.teacher, kind, taxonomy) for it in held_out]
    ours = [levels(it.ours, kind, taxonomy) for it in held_out]
    shared = [(i, key) for i, it in enumerate(truth) for key in it if key in ours[i]]
    figures: Figures = {}
    for scale in Levels._fields:

        def level_of(it: Mapping[EffectKey, Levels], key: EffectKey, scale: str = scale) -> int:
            return int(getattr(it[key], scale))

        taught = [_leveled(i, key, level_of(it, key)) for i, it in enumerate(truth) for key in it]
        asked = [_leveled(i, key, level_of(truth[i], key)) for i, key in shared]
        mine = [level_of(ours[i], key) for i, key in shared]
        methods = {
            OURS: gaps(len(truth), asked, mine),
            NEAREST: _neighbour_gaps(truth, neighbour, scale),
            FREQUENT: gaps(len(truth), asked, tree_baselines.frequent_levels(taught, asked, folds)),
            LINEAR: gaps(len(truth), asked, tree_baselines.linear_levels(taught, asked, folds)),
        }
        for name, column in (("exactly", 1), ("within one level", 2)):
            figures[f"{kind}: {scale} {name}"] = {
                by: intervals.ratio(counts[:, column], counts[:, 0]) for by, counts in methods.items()
            }
    return figures


def gaps(n: int, asked: Sequence[Leveled], answers: Sequence[int] | npt.NDArray[np.int64]) -> Array:
    """(n, 3) of each text: effects asked about, answered exactly, answered within one level."""
    counts = np.zeros((n, 3))
    for it, answer in zip(asked, answers, strict=True):
        gap = abs(it.level - int(answer))
        counts[it.text] += (1, gap == 0, gap <= 1)
    return counts


def scores(trees: Sequence[HarmBenefitTree], taxonomy: Taxonomy, policy: str = "balanced") -> Array:
    """(n,) under a policy; what is missing ranks as it does everywhere (`evaluate.outcome`)."""
    assessor = Assessor(load_policy(policy), taxonomy)
    return np.array([outcome(0, assessor.assess(it)).rank for it in trees], dtype=np.float64)


def micro_f1(truth: Sequence[Items], predicted: Sequence[Items]) -> Estimate:
    """F1 over all items of all trees together."""
    counts = [(len(t & p), len(t) + len(p)) for t, p in zip(truth, predicted, strict=True)]
    return intervals.of_sums(counts, lambda sums: 2 * sums[..., 0] / sums[..., 1])


def spearman(first: Array, second: Array) -> Estimate:
    """Rank correlation, ties by their middle."""

    def of(rows: npt.NDArray[np.int64]) -> float:
        a, b = (rankdata(it[rows]) for it in (first, second))
        a, b = a - a.mean(), b - b.mean()
        scale = float(np.sqrt((a @ a) * (b @ b)))
        return float(a @ b) / scale if scale else float("nan")

    return intervals.of_rows(len(first), of)


def dumped(found: TreeFigures) -> dict[str, Any]:
    """For JSON."""
    figures = {name: {by: it.model_dump() for by, it in methods.items()} for name, methods in found.figures.items()}
    return {"taught": found.taught, "predicted": found.predicted, "figures": figures}


def table(found: TreeFigures) -> str:
    """All figures side by side."""
    methods = (OURS, NEAREST, FREQUENT, LINEAR, TEACHER)
    rows = [(name, *(intervals.shown(it.get(by)) for by in methods)) for name, it in found.figures.items()]
    about = f"{found.predicted} of {found.taught} teacher texts, trees predicted out of fold:"
    return f"{about}\n\n{intervals.markdown(('measure', *methods), rows)}"


def _neighbour_gaps(truth: Sequence[Mapping[EffectKey, Levels]], neighbour: Ints, scale: str) -> Array:
    shared = [(i, key) for i, it in enumerate(truth) for key in it if key in truth[neighbour[i]]]
    asked = [_leveled(i, key, getattr(truth[i][key], scale)) for i, key in shared]
    return gaps(len(truth), asked, [getattr(truth[neighbour[i]][key], scale) for i, key in shared])


def _leveled(text: int, key: EffectKey, level: int) -> Leveled:
    pair = f"{key.action}/{key.effect}"
    return Leveled(text, key._asdict() | {"pair": pair}, level)
