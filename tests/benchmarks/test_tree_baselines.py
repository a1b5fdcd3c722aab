from __future__ import annotations

import numpy as np
import pytest

from benchmarks import tree_baselines
from benchmarks.tree_baselines import Items, Leveled

N = 60
FOLD = np.arange(N) % 5
TEXTS = [f"please tell me about {('cats and whiskers', 'ships and anchors')[i // 5 % 2]} number {i}" for i in range(N)]
CATS = np.array(["cats" in text for text in TEXTS])
TRUTH: list[Items] = [frozenset({"always", "cat" if it else "ship"}) for it in CATS]
FOLDS = tree_baselines.folds_of_texts(TEXTS, FOLD)


def test_no_text_is_answered_from_its_own_fold() -> None:
    assert sorted(np.concatenate([it.test for it in FOLDS]).tolist()) == list(range(N))
    neighbour = tree_baselines.nearest(FOLDS)
    assert (FOLD[neighbour] != FOLD).all()
    assert (CATS[neighbour] == CATS).all()


def test_the_most_frequent_tree_comes_from_the_other_folds_and_has_their_size() -> None:
    truth: list[Items] = [frozenset({"mine"}) if f == 0 else frozenset({"theirs"}) for f in FOLD]
    found = tree_baselines.most_frequent(truth, FOLDS)
    assert {it for it, f in zip(found, FOLD, strict=True) if f == 0} == {frozenset({"theirs"})}
    assert {len(it) for it in tree_baselines.most_frequent(TRUTH, FOLDS)} == {2}


def test_the_linear_model_learns_what_words_say() -> None:
    assert tree_baselines.linear(TRUTH, FOLDS, FOLD) == TRUTH


def test_what_few_trees_hold_is_not_learned() -> None:
    assert tree_baselines.frequent([frozenset({"rare"})] * (tree_baselines.MIN_TREES - 1)) == []
    assert tree_baselines.frequent([frozenset({"common"})] * tree_baselines.MIN_TREES) == ["common"]


def test_the_threshold_is_that_of_the_best_micro_f1() -> None:
    p = np.array([[0.5, 0.1], [0.4, 0.3]])
    truth: list[Items] = [frozenset({"a"}), frozenset({"a"})]
    threshold = tree_baselines.best_threshold(p, truth, ["a", "b"])
    assert 0.3 < threshold <= 0.4
    assert tree_baselines.chosen(p[1], ["a", "b"], threshold) == {"a"}
    assert tree_baselines.chosen(np.array([0.01, 0.02]), ["a", "b"], threshold) == {"b"}


def test_severity_and_levels_follow_the_words() -> None:
    severity = np.where(CATS, 3.0, 0.0)
    found = tree_baselines.linear_severity(severity, FOLDS)
    assert found[CATS].min() > found[~CATS].max()
    leaves = [Leveled(i, {"effect": "x"}, 2 if it else 0) for i, it in enumerate(CATS)]
    assert tree_baselines.linear_levels(leaves, leaves, FOLDS).tolist() == [it.level for it in leaves]
    most = [Leveled(i, {"effect": "x"}, 1 if i % 3 else 0) for i in range(N)]
    assert tree_baselines.frequent_levels(most, most, FOLDS).tolist() == pytest.approx([1] * N)
