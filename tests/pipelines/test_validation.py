from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from safetyanalyst.aggregation import AggregationModel, harmfulness
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines.labelled import LabelledRows
from safetyanalyst.pipelines.validation import cross_validate, fold_of
from safetyanalyst.taxonomy import load_taxonomy
from tests.simulation import draw_labels, random_counts

SPACE = FeatureSpace(load_taxonomy())


def simulated(n: int = 160) -> LabelledRows:
    rng = np.random.default_rng(0)
    matrix = random_counts(SPACE, rng, n)
    labels = draw_labels(matrix, SPACE.levels_from_ratios(rng.uniform(0.2, 0.9, 29)), rng)
    return LabelledRows(matrix, labels, rng.uniform(0.5, 2.0, n), None)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(6, 40), st.integers(6, 40))
def test_folds_are_stratified(seed: int, k: int, harmful: int, harmless: int) -> None:
    labels = np.random.default_rng(seed).permutation([1.0] * harmful + [0.0] * harmless)
    fold = fold_of(labels, None, k, seed)
    for label, n in ((1.0, harmful), (0.0, harmless)):
        sizes = [int(((fold == i) & (labels == label)).sum()) for i in range(k)]
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) == n
    np.testing.assert_array_equal(fold, fold_of(labels, None, k, seed))


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_groups_stay_in_one_fold(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"g{i // 2}" for i in range(60)]
    labels = np.tile([0.0, 1.0], 30)[rng.permutation(60)] if seed % 2 else np.tile([0.0, 1.0], 30)
    fold = fold_of(labels, groups, k, seed)
    assert (fold[::2] == fold[1::2]).all()
    assert set(fold.tolist()) == set(range(k))


@pytest.mark.parametrize(
    ("labels", "groups", "k", "says"),
    [
        ([1.0, 1.0, 0.0, 0.0, 0.0], None, 3, "3 folds need at least 3 rows"),
        ([1.0, 0.0, 1.0, 0.0], ["a", "a", "a", "a"], 2, "2 groups"),
        ([1.0, 0.0], None, 1, "at least 2 folds"),
    ],
)
def test_folds_without_both_classes_are_refused(labels: list[float], groups: list[str] | None, k: int, says: str) -> None:
    with pytest.raises(FitError, match=says):
        fold_of(np.array(labels), groups, k, 0)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_out_of_fold_figures_are_those_of_scikit_learn(threshold: float | None) -> None:
    rows = simulated()
    model = AggregationModel(SPACE, n_starts=2, seed=4, threshold="fit" if threshold is None else "zero")
    found = cross_validate(model, rows, 4, threshold=threshold)
    fold = fold_of(rows.labels, None, 4, 4)
    margins, p = np.empty(160), np.empty(160)
    for k in range(4):
        fitted = model.unfitted().fit(rows.matrix.select(fold != k), rows.labels[fold != k], rows.weights[fold != k])
        held = fold == k
        scores = harmfulness(rows.matrix.select(held), fitted.levels_)
        margins[held] = scores - (fitted.threshold_ if threshold is None else threshold)
        p[held] = fitted.predict_proba(rows.matrix.select(held))[:, 1]
    for scores, which in [*((it, fold == k) for k, it in enumerate(found.folds)), (found.pooled, np.ones(160, bool))]:
        y, flagged = rows.labels[which], margins[which] > 0
        assert (scores.n, scores.harmful) == (int(which.sum()), int(y.sum()))
        assert scores.loss == pytest.approx(reference.log_loss(y, p[which], sample_weight=rows.weights[which]), abs=1e-9)
        assert scores.auroc == pytest.approx(reference.roc_auc_score(y, margins[which]), abs=1e-12)
        assert scores.f1 == pytest.approx(reference.f1_score(y, flagged), abs=1e-12)
        assert scores.recall == pytest.approx(reference.recall_score(y, flagged), abs=1e-12)
        assert scores.false_positive_rate == pytest.approx(1 - reference.recall_score(y, flagged, pos_label=0), abs=1e-12)
        assert scores.always_unsafe_f1 == pytest.approx(reference.f1_score(y, np.ones(len(y))), abs=1e-12)
    assert found.seed == 4
