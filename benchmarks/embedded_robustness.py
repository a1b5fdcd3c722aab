"""Do decisions of the embedded specialists hold when only what is around the request changes?

    python benchmarks/embedded_robustness.py --data FOLDER [--out-of-fold OOF.jsonl] [--json]

On development prompts, by seeded choice: texts of reassurance put before or behind prompts that are blocked; repetition,
casing, white space, typos and harmless padding. On texts of this benchmark: scripts that training has not shown, and six
languages beside English. With OOF.jsonl (`out-of-fold.jsonl` of `safetyanalyst train embedded`): pairs of prompts that share
their framing, of which only one is harmful. Intervals are 95 % percentile bootstrap over prompts, or over pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.framing_pairs import framing_pairs
from benchmarks.intervals import markdown, share, shown
from benchmarks.languages import REQUESTS, Requests
from benchmarks.robust_texts import LOOKS, PADDED, REASSURANCES, TYPOS, UNSEEN_SCRIPTS, Change
from safetyanalyst.analyst import Analysis, SafetyAnalyst
from safetyanalyst.pipelines.evaluate import Estimate
from safetyanalyst.scenarios import Example, Prompt, read_examples

SETS = ("xstest", "openai_moderation_half", "harmbench", "simplesafetytests")
CHANGES: dict[str, Change] = LOOKS | TYPOS | PADDED
Figures = dict[str, Any]


class Sample(NamedTuple):
    """Development prompts and the decisions on them as they stand.

    Attributes:
        all: Development prompts.
        blocks: Of them, how many are blocked.
        any: Some, whatever the decision.
        blocked: Some of those that are blocked.
        decisions: On `any`.
    """

    all: int
    blocks: int
    any: list[str]
    blocked: list[str]
    decisions: list[str]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out-of-fold", type=Path)
    parser.add_argument("--config", default="embedded", help="run configuration of the specialists")
    parser.add_argument("--training", default="embedded", help="training configuration: names files and folds")
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--prompts", type=int, default=200, help="development prompts of a sample")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the typos")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    analyst = SafetyAnalyst.from_config(options.config, policy=options.policy)
    sample = sampled(analyst, development_prompts(options.data), options.prompts, np.random.default_rng(options.seed))
    figures: Figures = {
        "policy": options.policy,
        "sample": {
            "prompts": sample.all,
            "blocked": sample.blocks,
            "chosen": len(sample.any),
            "chosen of the blocked": len(sample.blocked),
        },
        "reassured": reassured(analyst, sample.blocked),
        "changed": changed(analyst, sample, np.random.default_rng(options.seed)),
        "unseen scripts": unseen_scripts(analyst, UNSEEN_SCRIPTS),
        "languages": {name: language(analyst, it) for name, it in REQUESTS.items()},
    }
    if options.out_of_fold is not None:
        figures["framing pairs"] = framing_pairs(
            options.data, options.out_of_fold, options.training, analyst.taxonomy, options.policy
        )
    print(json.dumps(plain(figures)) if options.json else tables(figures))


def development_prompts(data: Path) -> list[str]:
    """Texts of all prompts of the development sets, in order."""
    read = (it for name in SETS for it in read_examples(data / "prompts" / f"dev_{name}.jsonl"))
    return [it.scenario.text for it in read if isinstance(it, Example) and isinstance(it.scenario, Prompt)]


def sampled(analyst: SafetyAnalyst, prompts: Sequence[str], n: int, rng: np.random.Generator) -> Sample:
    """Chooses some prompts, and some of those that are blocked; all where there are fewer."""
    decisions = decide(analyst, prompts)
    blocked = [i for i, it in enumerate(decisions) if it == "block"]
    some = np.sort(rng.permutation(len(prompts))[:n]).tolist()
    of_blocked = [blocked[i] for i in np.sort(rng.permutation(len(blocked))[:n])]
    return Sample(
        len(prompts), len(blocked), [prompts[i] for i in some], [prompts[i] for i in of_blocked], [decisions[i] for i in some]
    )


def decide(analyst: SafetyAnalyst, texts: Sequence[str]) -> list[str]:
    """The decision on each text."""
    return [it.decision for it in analyst.analyze_many(texts)]


def reassured(analyst: SafetyAnalyst, blocked: Sequence[str]) -> Figures:
    """Of prompts that are blocked, the share that is not any more beside each text of reassurance, in each place."""
    places = {"before": "{more} {text}", "behind": "{text} {more}"}
    lowered = {
        place: np.array([_lowered(analyst, [form.format(more=more, text=text) for text in blocked]) for more in REASSURANCES])
        for place, form in places.items()
    }
    both = np.concatenate(list(lowered.values()))  # (texts twice, prompts)
    if not len(blocked):
        return {"texts": len(REASSURANCES), "prompts": 0}
    by_text = {more: float(np.mean([it[i].mean() for it in lowered.values()])) for i, more in enumerate(REASSURANCES)}
    worst = max(by_text, key=lambda more: by_text[more])
    return {
        "texts": len(REASSURANCES),
        "prompts": len(blocked),
        "lowered": mean_over_prompts(both),
        **{f"lowered, {place}": mean_over_prompts(it) for place, it in lowered.items()},
        "lowered by any of them": share(both.any(axis=0)),
        "worst text": worst,
        "lowered by the worst text": by_text[worst],
    }


def _lowered(analyst: SafetyAnalyst, texts: Sequence[str]) -> list[bool]:
    return [it != "block" for it in decide(analyst, texts)]


def mean_over_prompts(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> Estimate:
    """(texts, prompts) -> the share that holds; prompts are what is resampled."""
    return share(flags.mean(axis=0))


def changed(analyst: SafetyAnalyst, sample: Sample, rng: np.random.Generator) -> dict[str, Figures]:
    """By change: the share of decisions that it changes, that of blocks that it lowers, and which way."""
    found: dict[str, Figures] = {}
    for name, change in CHANGES.items():
        after = decide(analyst, [change(text, rng) for text in sample.any])
        pairs = list(zip(sample.decisions, after, strict=True))
        of_blocked = decide(analyst, [change(text, rng) for text in sample.blocked])
        found[name] = {
            "changed": share([before != now for before, now in pairs]),
            "blocks lowered": share([now != "block" for now in of_blocked]),
            "ways": {f"{a} to {b}": pairs.count((a, b)) for a, b in sorted(set(pairs)) if a != b},
        }
    return found


def unseen_scripts(analyst: SafetyAnalyst, texts: Mapping[str, str]) -> Figures:
    """How many become `review` with a defect, and what became of the others."""
    found = {name: it for name, it in zip(texts, analyst.analyze_many(texts.values()), strict=True) if isinstance(it, Analysis)}
    held = {name: it.decision == "review" and bool(it.defects) for name, it in found.items()}
    others = {name: f"{it.decision}, {len(it.defects)} defects" for name, it in found.items() if not held[name]}
    return {"scripts": len(texts), "review with a defect": sum(held.values()), "others": others}


def language(analyst: SafetyAnalyst, requests: Requests) -> Figures:
    """Right is a block of what is harmful and a pass of what is harmless; review is neither right nor wrong."""
    harmful, harmless = (decide(analyst, texts) for texts in requests)
    right = [it == "block" for it in harmful] + [it == "allow" for it in harmless]
    wrong = [it == "allow" for it in harmful] + [it == "block" for it in harmless]
    review = [it == "review" for it in (*harmful, *harmless)]
    return {
        "right": share(right),
        "review": share(review),
        "wrong": share(wrong),
        "harmful": {name: harmful.count(name) for name in ("allow", "review", "block")},
        "harmless": {name: harmless.count(name) for name in ("allow", "review", "block")},
    }


def plain(value: Any) -> Any:
    """For JSON."""
    if isinstance(value, Estimate):
        return value.model_dump()
    return {key: plain(it) for key, it in value.items()} if isinstance(value, dict) else value


def tables(figures: Figures) -> str:
    """The figures as text."""
    lines = {f"{part}, {name}": it for part in ("sample", "reassured", "unseen scripts") for name, it in figures[part].items()}
    lines |= {f"framing pairs, {name}": it for name, it in figures.get("framing pairs", {}).items()}
    rows = [(name, shown(it) if isinstance(it, Estimate) else str(it)) for name, it in lines.items()]
    changes = [
        (name, shown(it["changed"]), shown(it["blocks lowered"]), json.dumps(it["ways"]))
        for name, it in figures["changed"].items()
    ]
    rates, counts = ("right", "review", "wrong"), ("harmful", "harmless")
    languages = [
        (name, *(shown(it[key]) for key in rates), *(json.dumps(it[key]) for key in counts))
        for name, it in figures["languages"].items()
    ]
    return "\n\n".join(
        (
            f"Policy {figures['policy']}",
            markdown(("measure", "value"), rows),
            markdown(("change", "decisions changed", "blocks lowered", "ways"), changes),
            markdown(("language", *rates, *counts), languages),
        )
    )


if __name__ == "__main__":
    main()
