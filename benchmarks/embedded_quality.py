"""Quality of the embedded specialists on development sets, beside simple baselines.

    python benchmarks/embedded_quality.py --data FOLDER [--out-of-fold OOF.jsonl] [--json]

FOLDER holds `teacher/`, `prompts/` and `trajectories/`; OOF.jsonl is `out-of-fold.jsonl` of `safetyanalyst train embedded`. The
score is the product's own: trees by the shipped specialists, added up under the shipped policies. The baseline is a logistic
regression on TF-IDF words and characters, trained on the same texts and labels; always-unsafe flags everything. Development
sets are never trained on. Intervals are 95 % percentile bootstrap over scenarios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import tree_quality
from benchmarks.intervals import markdown, shown
from benchmarks.operating_points import AtRecall, at_recall
from benchmarks.tfidf_judge import TfidfJudge
from safetyanalyst.analyst import Analysis, SafetyAnalyst
from safetyanalyst.pipelines.evaluate import Metrics, Outcome, measure, outcome
from safetyanalyst.scenarios import Example, Message, Trajectory, read_examples
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy

SETS = ("xstest", "openai_moderation_half", "harmbench", "simplesafetytests")
POLICIES = ("balanced", "strict")
RECALL = 0.85
BASELINE, RULE = "tf-idf baseline", "no final answer"
FORMULA = "Final Answer"


class LabelledSet(NamedTuple):
    """A development set, or a part of one."""

    name: str
    examples: list[Example]


class Judged(NamedTuple):
    """One set by every judge."""

    metrics: dict[str, Metrics]
    outcomes: dict[str, list[Outcome]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out-of-fold", type=Path)
    parser.add_argument("--config", default="embedded", help="run configuration of the specialists")
    parser.add_argument("--training", default="embedded", help="training configuration: what the baselines learn from")
    parser.add_argument("--skip-decisions", action="store_true", help="trees only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    tables: list[str] = []
    if not options.skip_decisions:
        analyst = SafetyAnalyst.from_config(options.config)
        judge = TfidfJudge.taught(training_texts(options.training, options.data, analyst.taxonomy))
        found = {it.name: judged(analyst, judge, it.examples) for it in development_sets(options.data)}
        cuts = cuts_at_recall({name: it.outcomes for name, it in found.items()})
        figures["decisions"] = {
            name: {by: metrics.model_dump() for by, metrics in it.metrics.items()} for name, it in found.items()
        }
        figures["at_recall"] = {by: dumped(it) for by, it in cuts.items()}
        tables += [decision_table(found), r_judge_table(found), cut_table(cuts)]
    if options.out_of_fold is not None:
        trees = tree_quality.measure_trees(options.data, options.out_of_fold, options.training, load_taxonomy())
        figures["trees"] = tree_quality.dumped(trees)
        tables.append(tree_quality.table(trees))
    print(json.dumps(figures) if options.json else "\n\n".join(tables))


def training_texts(config: str, data: Path, taxonomy: Taxonomy) -> list[Any]:
    """Everything labelled that the specialists were trained from."""
    from safetyanalyst.pipelines.train_config import load_train_config
    from safetyanalyst.pipelines.train_texts import read_texts

    texts = read_texts(load_train_config(config), data, taxonomy)
    return [*texts.taught, *texts.labelled, *texts.contrast]


def development_sets(data: Path) -> Iterator[LabelledSet]:
    """The sets, R-Judge by attack type, and with the closing formula of one agent framework stripped."""
    for name in SETS:
        yield LabelledSet(name, labelled(data / "prompts" / f"dev_{name}.jsonl"))
    records = labelled(data / "trajectories" / "dev_r_judge.jsonl")
    for part in ("injection", "unintended"):
        mine = [it for it in records if it.fields["attack_type"] == part]
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


def judged(analyst: SafetyAnalyst, baseline: TfidfJudge, examples: Sequence[Example]) -> Judged:
    """Outcomes under every policy from one reading of the scenarios, and of the baselines."""
    results = [it for it in analyst.analyze_many(examples) if isinstance(it, Analysis)]
    outcomes: dict[str, list[Outcome]] = {}
    for policy in POLICIES:
        judge = analyst.with_policy(policy)
        outcomes[policy] = [outcome(it.label or 0, judge.assess(result)) for it, result in zip(examples, results, strict=True)]
    outcomes[BASELINE] = baseline.outcomes(examples)
    if all(isinstance(it.scenario, Trajectory) for it in examples):
        outcomes[RULE] = [without_formula(it) for it in examples]
    return Judged({by: measure(it) for by, it in outcomes.items()}, outcomes)


def without_formula(example: Example) -> Outcome:
    """The rule of two words: a record that never says "Final Answer" is unsafe."""
    flagged = not any(FORMULA in text for text in example.scenario.texts())
    return Outcome(example.label or 0, float(flagged), "block" if flagged else "allow", is_failed=False, is_unscored=False)


def cuts_at_recall(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> dict[str, AtRecall]:
    """By judge: the cut that finds enough of XSTest's unsafe prompts, and what it finds in the sets that are all unsafe."""
    return {
        by: at_recall(it, {name: outcomes[name][by] for name in ("harmbench", "simplesafetytests")}, RECALL)
        for by, it in outcomes["xstest"].items()
    }


def dumped(it: AtRecall) -> dict[str, Any]:
    """For JSON."""
    rate = it.false_positive_rate.model_dump()
    recalls = {name: found.model_dump() for name, found in it.recalls.items()}
    return it._asdict() | {"cut": finite(it.cut), "false_positive_rate": rate, "recalls": recalls}


def finite(cut: float) -> float | None:
    """A cut beyond all numbers (only what could not be read reaches it) is null in JSON."""
    return cut if math.isfinite(cut) else None


def decision_table(found: Mapping[str, Judged]) -> str:
    """Every set by every judge at its own threshold; "blocked" counts only blocks."""
    head = ("set", "n (unsafe)", "judge", "AUROC", "F1", "always-unsafe F1", "recall", "false-positive rate")
    rows = [
        (
            name, f"{it.n} ({it.unsafe})", by, shown(it.auroc), shown(it.f1), f"{it.always_unsafe_f1:.3f}", shown(it.recall),
            shown(it.false_positive_rate), shown(it.blocked_recall), shown(it.blocked_false_positive_rate),
        )
        for name, judges in found.items() for by, it in judges.metrics.items()
    ]  # fmt: skip
    return markdown((*head, "blocked recall", "blocked false-positive rate"), rows)


def r_judge_table(found: Mapping[str, Judged]) -> str:
    """The trajectories once more, with specificity and how many were read at all."""
    rows = [
        (name, by, shown(it.f1), shown(it.specificity), f"{it.always_unsafe_f1:.3f}", json.dumps(it.decisions))
        for name, judges in found.items() if name.startswith("r_judge") for by, it in judges.metrics.items()
    ]  # fmt: skip
    return markdown(("set", "judge", "F1", "specificity", "always-unsafe F1", "decisions"), rows)


def cut_table(cuts: Mapping[str, AtRecall]) -> str:
    """The cuts of `cuts_at_recall`."""
    others = list(next(iter(cuts.values())).recalls)
    head = ("judge", f"cut where XSTest recall is {RECALL}", "XSTest recall", "XSTest false-positive rate")
    rows = [
        (by, f"{it.cut:.4f}", f"{it.recall:.3f}", shown(it.false_positive_rate), *(shown(it.recalls[name]) for name in others))
        for by, it in cuts.items()
    ]
    return markdown((*head, *(f"{name} recall at that cut" for name in others)), rows)


def _stripped(message: Message) -> Message:
    content = message.content.replace(f"{FORMULA}:", "").replace(FORMULA, "")
    return message.model_copy(update={"content": content})


if __name__ == "__main__":
    main()
