"""Steering at the published size: 19,188 trees, 18.5 million features, read, scored, aligned and compared.

    python -m benchmarks.steering [--json] [--trees N] [--data FILE.parquet]

The dataset is synthetic, of the published shape (`published_shape`). Scoring is set against a copy of the same bytes in memory,
in turns in the same run: what has to be read from memory cannot be scored faster than it can be read. A copy reads and writes.
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
from safetyanalyst.aggregation import AggregationModel, harmfulness
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.pipelines.corpus import Corpus, read_corpus
from safetyanalyst.pipelines.diff import diff
from safetyanalyst.pipelines.rescoring import rescore
from safetyanalyst.policy import load_policy
from safetyanalyst.projection import project
from safetyanalyst.taxonomy import load_taxonomy

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
    before = _megabytes()
    began = time.perf_counter()
    corpus = read_corpus([path], load_taxonomy())
    load_seconds = time.perf_counter() - began
    figures: dict[str, Any] = {
        "trees": len(corpus),
        "features": int(corpus.parts.counts.data.sum()),
        "parquet_megabytes": path.stat().st_size / 2**20,
        "load_seconds": load_seconds,
        "load_megabytes": _megabytes() - before,
        "corpus_megabytes": _bytes(corpus.matrix) / 2**20,
    }
    return figures | _scoring(corpus, rounds) | _diffing(corpus, rounds) | _aligning(corpus)


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
    seconds = []
    for _ in range(max(3, rounds // 3)):
        began = time.perf_counter()
        found = diff(corpus, *(policy.bind(corpus.taxonomy) for policy in policies))
        found.shown(20)
        seconds.append(time.perf_counter() - began)
    copy = statistics.median(_seconds(_copier(corpus.matrix)) for _ in range(rounds))
    return {"diff_seconds": statistics.median(seconds), "diff_to_copy_ratio": statistics.median(seconds) / copy}


def _aligning(corpus: Corpus) -> dict[str, Any]:
    """A fit of 29 weights to labels drawn from known ones."""
    space = FeatureSpace(corpus.taxonomy)
    matrix = project(corpus.matrix, space)
    rng = np.random.default_rng(0)
    truth = space.levels_from_ratios(rng.uniform(size=len(space.ratios.names)))
    scores = harmfulness(matrix, truth)
    scale = 1.0 / np.std(scores)  # labels that the scores do not settle
    labels = (rng.random(len(scores)) < 1 / (1 + np.exp(-scale * (scores - np.median(scores))))).astype(float)
    began = time.perf_counter()
    model = AggregationModel(space, n_starts=N_STARTS).fit(matrix, labels)
    return {
        "align_seconds": time.perf_counter() - began,
        "align_parameters": len(space.ratios.names),
        "align_starts": len(model.starts_),
        "align_converged": sum(start.converged for start in model.starts_),
        "align_loss": model.loss_,
    }


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
