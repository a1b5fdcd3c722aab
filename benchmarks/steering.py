"""Steering at the published size: 19,188 trees, 18.5 million features, read, scored, aligned and compared.

    python -m benchmarks.steering [--json] [--trees N] [--data FILE.parquet]

The dataset is synthetic, of the published shape (`published_shape`). Scoring is set against a copy of the same bytes in memory,
in turns in the same run: what has to be read from memory cannot be scored faster than it can be read. A copy reads and writes.

Figures that end in `_cpu_seconds` are the time of this process alone; the others are by the clock, and grow with whatever else
runs. `load_average` says how much that was (the mean length of the queue for the processors over the last minute).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.published_shape import N_TREES, write_published_shape
from safetyanalyst.aggregation import AggregationModel, harmfulness, log_loss, probability
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.pipelines.corpus import Corpus, read_corpus
from safetyanalyst.pipelines.diff import diff
from safetyanalyst.pipelines.parquet import schema
from safetyanalyst.pipelines.rescoring import rescore
from safetyanalyst.policy import load_policy
from safetyanalyst.projection import finest_space, project
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.weights import Floats

N_STARTS = 16


class Timed(NamedTuple):
    """Median seconds of two sides, taken in turns."""

    first: float
    second: float


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--trees", type=int, default=N_TREES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, help="keep the dataset here, and use it when it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.data or Path(folder) / "published.parquet"
        if not path.exists():
            write_published_shape(path, load_taxonomy(), options.trees)
        figures = measure(path, options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:36} {value:.6g}" if isinstance(value, float) else f"{name:36} {value}")


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """All figures."""
    taxonomy = load_taxonomy()
    finest_space(taxonomy), schema()  # what is loaded once, whatever the size of the file
    before = _megabytes()
    spent = Spent()
    corpus = read_corpus([path], taxonomy)
    load_seconds, load_cpu_seconds = spent()
    peak = _megabytes()
    held = _bytes(corpus.matrix) + corpus.stakeholder.nbytes + corpus.starts.nbytes + corpus.parts.counts.indptr.nbytes
    copy_seconds = statistics.median(_seconds(_copier(corpus.matrix)) for _ in range(rounds))
    figures: dict[str, Any] = {
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "trees": len(corpus),
        "features": int(corpus.parts.counts.data.sum()),
        "parquet_megabytes": path.stat().st_size / 2**20,
        "load_seconds": load_seconds,
        "load_cpu_seconds": load_cpu_seconds,
        "load_to_copy_ratio": load_seconds / copy_seconds,
        "load_megabytes": peak - before,
        "corpus_megabytes": held / 2**20,
    }
    return figures | _scoring(corpus, rounds) | _diffing(corpus, rounds) | _aligning(corpus, rounds)


def _scoring(corpus: Corpus, rounds: int) -> dict[str, Any]:
    """Scores beside a copy of the bytes of the matrix, in the policy's space and in the finest one."""
    bound = load_policy("balanced").bind(corpus.taxonomy)
    figures: dict[str, Any] = {}
    coarse = project(corpus.matrix, bound.space)
    score = _in_turns(rounds, lambda: harmfulness(coarse, bound.levels), _copier(coarse))
    whole = _in_turns(rounds, lambda: rescore(corpus, bound), _copier(corpus.matrix))
    for name, matrix, timed in (("score", coarse, score), ("rescore", corpus.matrix, whole)):
        figures |= {
            f"{name}_megabytes": _bytes(matrix) / 2**20,
            f"{name}_seconds": timed.first,
            f"{name}_copy_seconds": timed.second,
            f"{name}_to_copy_ratio": timed.first / timed.second,
        }
    return figures


def _diffing(corpus: Corpus, rounds: int) -> dict[str, Any]:
    """Two shipped policies compared, tallies by group, stakeholder and source included."""
    policies = [load_policy(name) for name in ("balanced", "wildjailbreak-v1")]

    def compare() -> None:
        found = diff(corpus, *(policy.bind(corpus.taxonomy) for policy in policies))
        found.to_json(20)

    timed = _in_turns(rounds, compare, _copier(corpus.matrix))
    flips = len(diff(corpus, *(policy.bind(corpus.taxonomy) for policy in policies)))
    return {"diff_flips": flips, "diff_seconds": timed.first, "diff_to_copy_ratio": timed.first / timed.second}


def _aligning(corpus: Corpus, rounds: int) -> dict[str, Any]:
    """A fit of 29 weights to labels drawn from known ones, and how far it ends from them."""
    space = FeatureSpace(corpus.taxonomy)
    matrix = project(corpus.matrix, space)
    known = _known_levels(matrix)
    scores = harmfulness(matrix, known)
    labels = (np.random.default_rng(1).random(len(scores)) < probability(scores)).astype(float)
    spent = Spent()
    model = AggregationModel(space, n_starts=N_STARTS).fit(matrix, labels)
    seconds, cpu_seconds = spent()
    copy = statistics.median(_seconds(_copier(matrix)) for _ in range(rounds))
    is_scale = np.array([_sets_the_scale(name) for name in space.levels.names])
    gap = np.abs(model.levels_ - known)
    fitted = harmfulness(matrix, model.levels_)
    return {
        "align_seconds": seconds,
        "align_cpu_seconds": cpu_seconds,
        "align_to_copy_ratio": seconds / copy,
        "align_parameters": len(space.ratios.names),
        "align_starts": len(model.starts_),
        "align_converged": sum(start.converged for start in model.starts_),
        "align_loss": model.loss_,
        "align_loss_of_worst_start": max(start.loss for start in model.starts_),
        "align_loss_of_known": float(log_loss(scores, labels).mean()),
        "align_gap_of_actions": float(gap[is_scale].mean() / known[is_scale].mean()),
        "align_gap_of_levels": float(gap[~is_scale].mean()),
        "align_gap_of_scores": float(np.sqrt(np.mean((fitted - scores) ** 2)) / scores.std()),
    }


def _known_levels(matrix: FeatureMatrix) -> Floats:
    """Weights under which half of the scenarios are about harmful, and the labels not settled by the scores.

    The weights of actions and of benefits set the scale of a score: with a thousand effects a scenario they have to be small.
    """
    space = matrix.space
    levels = space.levels_from_ratios(np.random.default_rng(0).uniform(0.2, 0.9, size=len(space.ratios.names)))
    is_harm = np.array([name.startswith("harm/action/") for name in space.levels.names])
    is_benefit = np.array([name == "benefit/relative_weight" for name in space.levels.names])
    harm = harmfulness(matrix, np.where(is_benefit, 0.0, levels))
    benefit = -harmfulness(matrix, np.where(is_harm, 0.0, levels))
    levels = np.where(is_benefit, levels * np.median(harm) / np.median(benefit), levels)
    scale = 2.0 / harmfulness(matrix, levels).std()
    return np.where(is_harm | is_benefit, levels * scale, levels)


def _sets_the_scale(name: str) -> bool:
    return name.startswith("harm/action/") or name == "benefit/relative_weight"


class Spent:
    """Seconds since it was made: by the clock, and of this process."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def _copier(matrix: FeatureMatrix) -> Callable[[], None]:
    """Copies the counts, byte by byte, to memory that is there already."""
    sources = _arrays(matrix)
    targets = [np.empty_like(source) for source in sources]

    def copy() -> None:
        for source, target in zip(sources, targets, strict=True):
            np.copyto(target, source)

    copy()  # memory is handed out when it is first written
    return copy


def _arrays(matrix: FeatureMatrix) -> list[Any]:
    return [matrix.counts.data, matrix.counts.indices, matrix.counts.indptr]


def _bytes(matrix: FeatureMatrix) -> int:
    return sum(int(it.nbytes) for it in _arrays(matrix))


def _in_turns(rounds: int, first: Callable[[], object], second: Callable[[], object]) -> Timed:
    seconds = [(_seconds(first), _seconds(second)) for _ in range(rounds)]
    return Timed(statistics.median(it[0] for it in seconds), statistics.median(it[1] for it in seconds))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _megabytes() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
