"""Quality of the embedded specialists on development sets, beside simple baselines.

    python benchmarks/embedded_quality.py --data FOLDER [--out-of-fold OOF.jsonl] [--json]

FOLDER holds `teacher/`, `prompts/` and `trajectories/`; OOF.jsonl comes from `safetyanalyst train embedded --out-of-fold`. The
score is the product's own: trees by the shipped specialists, added up under the shipped policies. The baseline is a logistic
regression on TF-IDF words and characters, trained on the same texts and labels; always-unsafe flags everything. Development
sets are never trained on. Intervals are 95 % percentile bootstrap.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from safetyanalyst.analyst import SafetyAnalyst
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.evaluate import Metrics, Outcome, measure, outcome
from safetyanalyst.pipelines.train import TrainingTexts, load_train_config, read_texts
from safetyanalyst.scenarios import Example, Message, Trajectory, read_examples
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, Tree, TreeKind

SETS = ("xstest", "openai_moderation_half", "harmbench", "simplesafetytests")
Pairs = frozenset[tuple[str, str]]


class LabelledSet(NamedTuple):
    """A development set, or a part of one."""

    name: str
    examples: list[Example]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out-of-fold", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures: dict[str, Any] = {"decisions": decisions(options.data)}
    if options.out_of_fold is not None:
        figures["trees"] = trees(options.data, options.out_of_fold)
    print(json.dumps(figures) if options.json else markdown(figures))


def decisions(data: Path) -> dict[str, dict[str, Any]]:
    """Per set: the metrics of both policies and of the baseline."""
    analyst = SafetyAnalyst.from_config("embedded")
    strict = analyst.with_policy("strict")
    baseline = Baseline(read_texts(load_train_config("embedded"), data, analyst.taxonomy))
    found: dict[str, dict[str, Any]] = {}
    for name, examples in development_sets(data):
        by_policy = {judge.policy.name: judged(judge, examples) for judge in (analyst, strict)}
        by_policy["tf-idf baseline"] = measure(baseline.outcomes(examples))
        found[name] = {judge: metrics.model_dump() for judge, metrics in by_policy.items()}
    return found


def development_sets(data: Path) -> Iterable[LabelledSet]:
    """The sets, R-Judge also by attack type, and with the closing formula of one agent framework stripped."""
    for name in SETS:
        yield LabelledSet(name, labelled(data / "prompts" / f"dev_{name}.jsonl"))
    judge = labelled(data / "trajectories" / "dev_r_judge.jsonl")
    for part in ("injection", "unintended"):
        mine = [it for it in judge if it.fields["attack_type"] == part]
        yield LabelledSet(f"r_judge {part}", mine)
        yield LabelledSet(f"r_judge {part}, formula stripped", [stripped(it) for it in mine])


def labelled(path: Path) -> list[Example]:
    """The labelled scenarios of a file."""
    return [it for it in read_examples(path) if isinstance(it, Example) and it.label is not None]


def stripped(example: Example) -> Example:
    """The example without the words "Final Answer:", which tell safe from unsafe records by who wrote them."""
    scenario = example.scenario
    if not isinstance(scenario, Trajectory):
        return example
    messages = tuple(_stripped(message) for message in scenario.messages)
    return example.model_copy(update={"scenario": scenario.model_copy(update={"messages": messages})})


def judged(analyst: SafetyAnalyst, examples: Sequence[Example]) -> Metrics:
    """Metrics of decisions by the product."""
    results = analyst.analyze_many(examples)
    return measure([outcome(it.label or 0, result) for it, result in zip(examples, results, strict=True)])


class Baseline:
    """Logistic regression on TF-IDF words (one and two) and characters (three to five)."""

    def __init__(self, training: TrainingTexts) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True, max_features=60_000)
        model = LogisticRegression(C=2.0, max_iter=400, class_weight="balanced")
        self._model = make_pipeline(make_union(words, characters), model)
        known = [(it.scenario, it.label, it.weight) for it in training.taught]
        known += [(it.scenario, it.label, it.weight) for it in training.labelled]
        texts = ["\n".join(scenario.texts()) for scenario, _, _ in known]
        weights = [weight for _, _, weight in known]
        self._model.fit(texts, [label for _, label, _ in known], logisticregression__sample_weight=weights)

    def outcomes(self, examples: Sequence[Example]) -> list[Outcome]:
        """Flagged above probability one half."""
        p = self._model.predict_proba(["\n".join(it.scenario.texts()) for it in examples])[:, 1]
        return [
            Outcome(it.label or 0, float(q), "block" if q > 0.5 else "allow", is_failed=False, is_unscored=False)
            for it, q in zip(examples, p, strict=True)
        ]


def trees(data: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Micro-F1 of trees predicted out of fold against the teacher's, beside the most frequent rows of all."""
    taxonomy = load_taxonomy()
    taught = read_texts(load_train_config("embedded"), data, taxonomy).taught
    teacher = {it.scenario.id: it.trees for it in taught}
    stored = {it.id: it.trees for it in read_trees(path, taxonomy) if isinstance(it, StoredTrees)}
    ids = sorted(teacher.keys() & stored.keys())
    found: dict[str, dict[str, Any]] = {"rows": {"teacher trees": len(teacher), "predicted": len(ids)}}
    for kind in TREE_KINDS:
        for view in ("action", "stakeholder and action", "action and effect"):
            truth = [_view(_side(teacher[i], kind), view) for i in ids]
            ours = [_view(_side(stored[i], kind), view) for i in ids]
            common = [_most_frequent(truth)] * len(ids)
            found[f"{kind}: {view}"] = {"ours": micro_f1(truth, ours), "most frequent tree": micro_f1(truth, common)}
    return found


def micro_f1(truth: Sequence[Pairs], predicted: Sequence[Pairs]) -> float:
    """F1 over all items of all trees together."""
    hits = sum(len(t & p) for t, p in zip(truth, predicted, strict=True))
    return 2 * hits / max(1, sum(map(len, truth)) + sum(map(len, predicted)))


def markdown(figures: dict[str, Any]) -> str:
    """The figures as tables."""
    lines = ["| set | n (unsafe) | judge | AUROC | F1 | always-unsafe F1 | recall | false-positive rate |", "|" + "---|" * 8]
    for name, judges in figures["decisions"].items():
        for judge, it in judges.items():
            cells = (_cell(it[key]) for key in ("auroc", "f1"))
            rates = (_cell(it[key]) for key in ("recall", "false_positive_rate"))
            lines.append(
                f"| {name} | {it['n']} ({it['unsafe']}) | {judge} | {' | '.join(cells)} | {it['always_unsafe_f1']:.3f} "
                f"| {' | '.join(rates)} |"
            )
    if "trees" in figures:
        lines += ["", f"{figures['trees'].pop('rows')}", ""]
        lines += ["| trees out of fold, micro-F1 | ours | most frequent tree |", "|---|---|---|"]
        lines += [f"| {name} | {it['ours']:.3f} | {it['most frequent tree']:.3f} |" for name, it in figures["trees"].items()]
    return "\n".join(lines)


def _most_frequent(truth: Sequence[Pairs]) -> Pairs:
    """The most frequent items, as many as a tree has on average."""
    counts = Counter(item for it in truth for item in it)
    size = round(sum(map(len, truth)) / max(1, len(truth)))
    return frozenset(item for item, _ in counts.most_common(size))


def _side(pair: HarmBenefitTree, kind: TreeKind) -> Tree | None:
    return pair.harm if kind == "harm" else pair.benefit


def _view(tree: Tree | None, view: str) -> Pairs:
    leaves = tree.leaves() if tree is not None else ()
    if view == "action":
        return frozenset((leaf.action.action or "", "") for leaf in leaves)
    if view == "action and effect":
        return frozenset((leaf.action.action or "", leaf.effect.effect or "") for leaf in leaves)
    return frozenset((leaf.stakeholder.name, leaf.action.action or "") for leaf in leaves)


def _stripped(message: Message) -> Message:
    content = message.content.replace("Final Answer:", "").replace("Final Answer", "")
    return message.model_copy(update={"content": content})


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.3f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


if __name__ == "__main__":
    main()
