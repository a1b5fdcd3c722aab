"""Pairs of prompts that share their framing, of which only one is harmful: does the harmful one score above its twin?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.intervals import share
from benchmarks.tfidf_judge import TfidfJudge
from benchmarks.tree_cases import Case, cases
from benchmarks.tree_quality import scores
from safetyanalyst.pipelines.evaluate import Estimate
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import Taxonomy

PREFIX = "v"  # of the ids of paired prompts


class Pair(NamedTuple):
    """Ids of a harmful prompt and of its harmless twin."""

    harmful: str
    harmless: str


def framing_pairs(data: Path, out_of_fold: Path, training: str, taxonomy: Taxonomy, policy: str) -> dict[str, int | Estimate]:
    """The share of pairs in order, by scores of trees predicted out of fold; beside the teacher's own trees and TF-IDF.

    The pairs are whole groups, so both members are held out at once. The TF-IDF judge learns from the texts of the other folds.

    Args:
        data: Folder of the training data.
        out_of_fold: Predicted trees.
        training: Name or path of the training configuration.
        taxonomy: Of the trees.
        policy: That scores.
    """
    held_out = cases(data, out_of_fold, training, taxonomy).cases
    found = pairs(held_out)
    ours = dict(zip((it.id for it in held_out), scores([it.ours for it in held_out], taxonomy, policy), strict=True))
    teacher = dict(zip((it.id for it in held_out), scores([it.teacher for it in held_out], taxonomy, policy), strict=True))
    return {
        "pairs": len(found),
        "in order": in_order(found, ours),
        "tied": sum(ours[it.harmful] == ours[it.harmless] for it in found),
        "in order by the teacher's own trees": in_order(found, teacher),
        "in order by tf-idf out of fold": in_order(found, tfidf(held_out)),
    }


def pairs(held_out: Sequence[Case]) -> list[Pair]:
    """The pairs among held-out prompts: groups of one harmful and one harmless member."""
    groups: dict[str, list[Case]] = {}
    for it in held_out:
        if it.id.startswith(PREFIX):
            groups.setdefault(it.group, []).append(it)
    found = []
    for members in groups.values():
        harmful, harmless = ([it.id for it in members if it.label == label] for label in (1, 0))
        if len(harmful) == len(harmless) == 1:
            found.append(Pair(harmful[0], harmless[0]))
    return found


def in_order(found: Sequence[Pair], score: Mapping[str, float]) -> Estimate:
    """The share whose harmful member scores above the harmless one; a tie is not in order."""
    return share([score[it.harmful] > score[it.harmless] for it in found])


def tfidf(held_out: Sequence[Case]) -> dict[str, float]:
    """Probability of "harmful" for every paired prompt, by a judge that has seen the other folds only."""
    found: dict[str, float] = {}
    for fold in sorted({it.fold for it in held_out}):
        rest = [it for it in held_out if it.fold != fold]
        asked = [it for it in held_out if it.fold == fold and it.id.startswith(PREFIX)]
        if not asked:
            continue
        prompts = [Prompt(id=it.id, text=it.text) for it in rest]
        judge = TfidfJudge(prompts, [it.label for it in rest], [1.0] * len(rest))
        p = judge.probabilities([Prompt(id=it.id, text=it.text) for it in asked])
        found |= dict(zip((it.id for it in asked), p, strict=True))
    return found
