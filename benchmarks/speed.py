"""Speed, side by side in one run: our kernel against a plain loop written from the paper's definition.

    python -m benchmarks.speed            a table
    python -m benchmarks.speed --json     one object

Every figure is a ratio of medians taken in turns in the same process, so that a noisy machine slows both sides alike. What the
embedded specialists take stands behind them (`embedded_speed`: load time, single prompts, batches, peak memory).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

if __package__ in (None, ""):  # run as a file: `python benchmarks/speed.py`
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import embedded_speed, plain_loop, synthetic
from safetyanalyst.aggregation import AggregationModel, harmfulness, log_loss
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.pipelines.featurize import TextFeaturizer
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.weights import Floats

N_TREES, N_EFFECTS, N_STARTS = 500, 100, 16


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-de", action="store_true", help="leave out differential evolution (a minute or two)")
    parser.add_argument("--skip-embedded", action="store_true", help="leave out the embedded specialists (a minute or two)")
    parser.add_argument("--config", default="embedded", help="run configuration of the embedded specialists")
    options = parser.parse_args()
    figures = measure(options.rounds, has_de=not options.skip_de)
    if not options.skip_embedded:
        figures |= embedded_speed.measure(options.config)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value:.6g}" if isinstance(value, float) else f"{name:36} {value}")


def measure(rounds: int, *, has_de: bool) -> dict[str, Any]:
    """All figures."""
    taxonomy = load_taxonomy()
    space = FeatureSpace(taxonomy)
    rng = np.random.default_rng(0)
    ratios = rng.uniform(size=len(space.ratios.names))
    levels = space.levels_from_ratios(ratios)
    plain = _plain_weights(space, ratios)
    texts = synthetic.published_texts(0, taxonomy, N_TREES, N_EFFECTS)
    trees = [json.loads(text) for text in texts]
    matrix = TextFeaturizer(space).featurize(texts)
    by_loop = np.array([plain_loop.score(tree, plain) for tree in trees])
    difference = float(np.abs(harmfulness(matrix, levels) - by_loop).max())
    if difference > 1e-9:
        raise SystemExit(f"the two sides disagree by {difference}: nothing to compare")

    loop, kernel = _in_turns(
        rounds, lambda: [plain_loop.score(tree, plain) for tree in trees], lambda: harmfulness(matrix, levels), repeat=200
    )
    corpora = [synthetic.published_texts(2 + i, taxonomy, N_TREES, N_EFFECTS) for i in range(rounds)]
    featurizer = TextFeaturizer(space)
    text_loop, text_ours = _text_seconds(featurizer, corpora, plain, levels)
    numpy_loop, numpy_ours = _text_seconds(TextFeaturizer(space, "numpy"), corpora, plain, levels)
    # and one that starts from nothing: the first sight of every spelling is paid for
    _, text_cold = _in_turns(2, lambda: None, lambda: harmfulness(TextFeaturizer(space).featurize(texts), levels))
    fit = _fit(space, matrix, rng, has_de=has_de)
    return {
        "trees": N_TREES,
        "effects_per_tree": float(matrix.counts.sum() / N_TREES),
        "largest_difference": difference,
        "score_ratio": loop / kernel,
        "compiled": featurizer.is_compiled,
        "text_to_score_ratio": text_loop / text_ours,
        "text_to_score_ratio_numpy": numpy_loop / numpy_ours,
        "text_to_score_ratio_cold": text_loop / text_cold,
        "plain_loop_seconds": loop,
        "plain_loop_text_seconds": text_loop,
        **fit,
    }


def _text_seconds(
    featurizer: TextFeaturizer, corpora: Sequence[list[str]], plain: plain_loop.PlainWeights, levels: Floats
) -> tuple[float, float]:
    """A featurizer in the middle of a corpus: it has read 2,000 other trees and in every round meets 500 for the first time."""
    featurizer.featurize(synthetic.published_texts(1, featurizer.space.taxonomy, 4 * N_TREES, N_EFFECTS))
    for_loop, for_ours = iter(corpora), iter(corpora)
    return _in_turns(
        len(corpora),
        lambda: [plain_loop.score_text(text, plain) for text in next(for_loop)],
        lambda: harmfulness(featurizer.featurize(next(for_ours)), levels),
    )


def _fit(space: FeatureSpace, matrix: FeatureMatrix, rng: np.random.Generator, *, has_de: bool) -> dict[str, float]:
    """Seconds of our fit, and its loss minus that of differential evolution on the same kernel and data."""
    truth = rng.uniform(size=len(space.ratios.names))
    scores = harmfulness(matrix, space.levels_from_ratios(truth))
    labels = (rng.random(len(matrix)) < 1 / (1 + np.exp(-(scores - np.median(scores))))).astype(float)
    model = AggregationModel(space, n_starts=N_STARTS)
    began = time.perf_counter()
    model.fit(matrix, labels)
    figures = {"fit_seconds": time.perf_counter() - began, "fit_loss": model.loss_}
    if has_de:
        began = time.perf_counter()
        figures["de_loss"] = _differential_evolution(space, matrix, labels)
        figures["de_seconds"] = time.perf_counter() - began
        figures["fit_loss_minus_de"] = figures["fit_loss"] - figures["de_loss"]
    return figures


def _differential_evolution(space: FeatureSpace, matrix: FeatureMatrix, labels: Floats) -> float:
    """Loss that scipy's differential evolution reaches with its defaults, as the published fit used it, but seeded."""
    from scipy.optimize import differential_evolution

    def loss(ratios: Floats) -> float:
        return float(log_loss(matrix.counts @ space.ratios.values(ratios), labels).mean())

    found = differential_evolution(loss, [(0.0, 1.0)] * len(space.ratios.names), seed=0)
    return float(found.fun)


def _plain_weights(space: FeatureSpace, ratios: Floats) -> plain_loop.PlainWeights:
    value = dict(zip(space.ratios.names, ratios.tolist(), strict=True))
    order = [f"harm/action/{group.key}" for group in space.taxonomy.action_groups]
    for kind in ("harm", "benefit"):
        order += [f"{kind}/extent_ratio/{step}" for step in _steps(plain_loop.EXTENTS)]
        order += [f"{kind}/likelihood_ratio/{step}" for step in _steps(plain_loop.LIKELIHOODS)]
        order.append(f"{kind}/downstream_discount")
    order.append("benefit/relative_weight")
    return plain_loop.weights_of([g.name for g in space.taxonomy.action_groups], [value[name] for name in order])


def _steps(levels: Sequence[str]) -> list[str]:
    return [f"{low}_to_{high}" for low, high in itertools.pairwise(levels)]


def _in_turns(rounds: int, first: Callable[[], object], second: Callable[[], object], repeat: int = 1) -> tuple[float, float]:
    """Median seconds of both, measured in turns; the second is repeated within a round when it is too short to time alone."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, (call, times) in enumerate(((first, 1), (second, repeat))):
            began = time.perf_counter()
            for _ in range(times):
                call()
            seconds[side].append((time.perf_counter() - began) / times)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
