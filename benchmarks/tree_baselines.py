"""What simple methods make of a teacher's trees, out of fold: each text is answered by what the other folds hold.

The nearest neighbour's tree (cosine of TF-IDF words), the most frequent items, and a linear bag-of-words model: one logistic
regression for each frequent item of a tree, one for each level of an effect, a ridge regression for severity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
Items = frozenset[Hashable]
MIN_TREES = 10  # an item that fewer trees of the training folds hold is not learned
STRENGTH = 10.0  # C of the logistic regressions
THRESHOLDS = np.linspace(0.02, 0.6, 59)


class Fold(NamedTuple):
    """One fold as the others see it.

    Attributes:
        train: (m,) rows of the other folds.
        test: (k,) rows of this one.
        bags: (n, words) TF-IDF of all texts; words and their weights come from the training rows alone.
    """

    train: Ints
    test: Ints
    bags: Any


def folds_of_texts(texts: Sequence[str], fold: Ints) -> list[Fold]:
    """Every fold with its bags of words (one and two)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = []
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        vectorizer.fit([texts[i] for i in train.tolist()])
        found.append(Fold(train, test, vectorizer.transform(texts)))
    return found


def nearest(folds: Sequence[Fold]) -> Ints:
    """(n,) the most similar text of the other folds."""
    neighbour = np.empty(sum(len(it.test) for it in folds), np.int64)
    for it in folds:
        similarity = it.bags[it.test] @ it.bags[it.train].T
        neighbour[it.test] = it.train[np.asarray(similarity.argmax(axis=1)).ravel()]
    return neighbour


def most_frequent(truth: Sequence[Items], folds: Sequence[Fold]) -> list[Items]:
    """The most frequent items of the other folds, as many as a tree has on average."""
    found: list[Items] = [frozenset()] * len(truth)
    for it in folds:
        counts = Counter(item for i in it.train for item in truth[i])
        size = round(sum(counts.values()) / max(1, len(it.train)))
        best = frozenset(item for item, _ in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:size])
        for i in it.test:
            found[i] = best
    return found


def linear(truth: Sequence[Items], folds: Sequence[Fold], fold: Ints) -> list[Items]:
    """Items of which a logistic regression is sure enough, and always the surest.

    How sure is enough is one number for all items: that of the best micro-F1 on one training fold, by models of the others.
    """
    found: list[Items] = [frozenset()] * len(truth)
    numbers = np.unique(fold)
    for number, it in enumerate(folds):
        inner = numbers[(number + 1) % len(numbers)]
        held_out = it.train[fold[it.train] == inner]
        rest = it.train[fold[it.train] != inner] if len(numbers) > 2 else it.train
        names = frequent([truth[i] for i in it.train])
        threshold = best_threshold(_probabilities(truth, names, it.bags, rest, held_out), [truth[i] for i in held_out], names)
        p = _probabilities(truth, names, it.bags, it.train, it.test)
        for i, row in zip(it.test, p, strict=True):
            found[i] = chosen(row, names, threshold)
    return found


def frequent(trees: Sequence[Items]) -> list[Hashable]:
    """Items that enough trees hold, in a fixed order."""
    counts = Counter(item for it in trees for item in it)
    return sorted((item for item, n in counts.items() if n >= MIN_TREES), key=str)


def chosen(p: Array, names: Sequence[Hashable], threshold: float) -> Items:
    """The items whose probability reaches the threshold, and the most probable."""
    if not len(names):
        return frozenset()
    above = p >= threshold
    above[int(p.argmax())] = True
    return frozenset(names[i] for i in np.flatnonzero(above).tolist())


def best_threshold(p: Array, truth: Sequence[Items], names: Sequence[Hashable]) -> float:
    """The threshold of the best micro-F1; items that are not learned count as missed."""
    index = {name: i for i, name in enumerate(names)}
    held = np.zeros(p.shape, bool)
    for row, items in enumerate(truth):
        held[row, [index[item] for item in items if item in index]] = True
    total = sum(map(len, truth))
    scores = [2 * (held & (p >= t)).sum() / max(1, total + (p >= t).sum()) for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(scores))])


def linear_severity(severity: Array, folds: Sequence[Fold]) -> Array:
    """(n,) severity by a ridge regression."""
    from sklearn.linear_model import Ridge

    found = np.empty(len(severity))
    for it in folds:
        found[it.test] = Ridge(alpha=1.0).fit(it.bags[it.train], severity[it.train]).predict(it.bags[it.test])
    return found


class Leveled(NamedTuple):
    """An effect of one text.

    Attributes:
        text: Row of the text.
        features: What it is: stakeholder, action, effect, by name.
        level: Index of its level.
    """

    text: int
    features: Mapping[str, str]
    level: int


def frequent_levels(taught: Sequence[Leveled], asked: Sequence[Leveled], folds: Sequence[Fold]) -> Ints:
    """(asked,) the most frequent level of the other folds' effects."""
    found = np.zeros(len(asked), np.int64)
    for it, mine, theirs in _by_fold(taught, asked, folds):
        levels = np.array([taught[i].level for i in mine])
        found[theirs] = np.bincount(levels).argmax() if len(it.train) else 0
    return found


def linear_levels(taught: Sequence[Leveled], asked: Sequence[Leveled], folds: Sequence[Fold]) -> Ints:
    """(asked,) levels by logistic regressions on the bag of words and on what the effect is, one against the rest."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    found = np.zeros(len(asked), np.int64)
    for it, mine, theirs in _by_fold(taught, asked, folds):
        if not len(theirs):
            continue
        kinds = DictVectorizer().fit([taught[i].features for i in mine])

        def design(leaves: Sequence[Leveled], kinds: Any = kinds, bags: Any = it.bags) -> Any:
            return hstack([bags[[leaf.text for leaf in leaves]], kinds.transform([leaf.features for leaf in leaves])]).tocsr()

        known = [taught[i].level for i in mine]
        if len(set(known)) == 1:
            found[theirs] = known[0]
            continue
        model = OneVsRestClassifier(LogisticRegression(solver="liblinear")).fit(design([taught[i] for i in mine]), known)
        found[theirs] = model.predict(design([asked[i] for i in theirs]))
    return found


def _by_fold(taught: Sequence[Leveled], asked: Sequence[Leveled], folds: Sequence[Fold]) -> Iterator[Any]:
    """Each fold with the taught effects of the others and the asked ones of its own."""
    of_taught, of_asked = (np.array([it.text for it in leaves], np.int64) for leaves in (taught, asked))
    for it in folds:
        yield it, np.flatnonzero(np.isin(of_taught, it.train)), np.flatnonzero(np.isin(of_asked, it.test))


def _probabilities(truth: Sequence[Items], names: Sequence[Hashable], bags: Any, train: Ints, test: Ints) -> Array:
    """(test, names) that each item is in each tree."""
    from sklearn.linear_model import LogisticRegression

    p = np.zeros((len(test), len(names)))
    for column, name in enumerate(names):
        held = np.array([name in truth[i] for i in train])
        if held.any() and not held.all():
            model = LogisticRegression(C=STRENGTH, solver="liblinear").fit(bags[train], held)
            p[:, column] = model.predict_proba(bags[test])[:, 1]
        else:
            p[:, column] = float(held.mean())
    return p
