"""The simple judge that the embedded specialists are held against: a logistic regression on TF-IDF words and characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safetyanalyst.pipelines.evaluate import Outcome
from safetyanalyst.scenarios import Example, Scenario


class TfidfJudge:
    """Words (one and two) and characters (three to five); it gives no reasons.

    Args:
        scenarios: To learn from.
        labels: 1 harmful, 0 harmless.
        weights: Of each.
    """

    def __init__(self, scenarios: Sequence[Scenario], labels: Sequence[float], weights: Sequence[float]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True, max_features=60_000)
        model = LogisticRegression(C=2.0, max_iter=400, class_weight="balanced")
        self._model: Any = make_pipeline(make_union(words, characters), model)
        classes = [int(label > 0.5) for label in labels]
        self._model.fit([text_of(it) for it in scenarios], classes, logisticregression__sample_weight=list(weights))

    @classmethod
    def taught(cls, texts: Sequence[Any]) -> TfidfJudge:
        """Learns from `Taught` and `Labelled` texts, with their weights."""
        return cls([it.scenario for it in texts], [it.label for it in texts], [it.weight for it in texts])

    def probabilities(self, scenarios: Sequence[Scenario]) -> list[float]:
        """Of "harmful", for each."""
        return [float(p) for p in self._model.predict_proba([text_of(it) for it in scenarios])[:, 1]]

    def outcomes(self, examples: Sequence[Example]) -> list[Outcome]:
        """Flagged above probability one half."""
        return [
            Outcome(it.label or 0, p, "block" if p > 0.5 else "allow", is_failed=False, is_unscored=False)
            for it, p in zip(examples, self.probabilities([it.scenario for it in examples]), strict=True)
        ]


def text_of(scenario: Scenario) -> str:
    """All of a scenario as one text."""
    return "\n".join(scenario.texts())
