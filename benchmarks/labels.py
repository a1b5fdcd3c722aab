"""Do suggested labels teach more than random ones? Simulated trees and labels, everything seeded.

    python -m benchmarks.labels

Secret weights label small trees: a label is harmful with probability sigmoid(score). A policy is aligned to a
few random labels, then to further ones: random, or those that `suggest` chooses from the pool by that policy and its bootstrap.
Two things are measured on held-out trees, both by their true probabilities: the expected log loss above that of the secret
weights, and the regret of deciding at threshold 0 (how much likelier a wrong decision is than under the secret weights). Both
are printed as ratios to what random labels leave: below 1, suggested labels teach more. Intervals are over simulations, by a
bootstrap of the ratio of means.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import tempfile

import numpy as np
from scipy.special import expit

from benchmarks import synthetic
from safetyanalyst.aggregation import AggregationModel, harmfulness, log_loss
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines.pool import read_pool
from safetyanalyst.pipelines.suggest import By, Spread, suggest
from safetyanalyst.policy import Policy, load_policy, weights_by_name
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.weights import Floats

POOL, HELD_OUT = 1000, 2000
STARTS, REPLICATES = 1, 8
STRATEGIES: dict[str, tuple[By, Spread] | None] = {
    "random": None,
    "margin": ("margin", "useful"),
    "margin, diverse": ("margin", "diverse"),
    "disagreement": ("disagreement", "useful"),
    "both, diverse": ("both", "diverse"),
    "information": ("information", "useful"),
}
TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
SPACE = FeatureSpace(TAXONOMY, BASE.space)


class World(NamedTuple):
    """One simulation: trees of the pool as rows, their counts and labels, and held-out ones with their true scores."""

    rows: list[dict[str, Any]]
    pool: FeatureMatrix
    labels: Floats
    held_out: FeatureMatrix
    true_scores: Floats


class Left(NamedTuple):
    """What an aligned policy leaves to be desired on held-out trees."""

    loss: float
    regret: float


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--known", type=int, default=100, help="random labels at first")
    parser.add_argument("--new", type=int, default=100, help="further labels, random or suggested")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of the simulations: fresh ones confirm a choice made on others"
    )
    parser.add_argument("--ridge", type=float, default=0.03, help="of the fits: few labels need one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.simulations)
    figures = measure(seeds, options.known, options.new, options.ridge)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:16} {value}" for name, value in figures.items()))


def measure(seeds: range, known: int, new: int, ridge: float) -> dict[str, Any]:
    """Per strategy the mean loss and regret, and their ratios to those of random labels with 95 % intervals."""
    simulations = len(seeds)
    left = np.array([simulate(seed, known, new, ridge) for seed in seeds])  # (simulations, strategies, 2)
    draws = np.random.default_rng(0).integers(0, simulations, size=(2000, simulations))
    means = left[draws].mean(axis=1)
    figures: dict[str, Any] = {
        "simulations": simulations,
        "first_seed": seeds.start,
        "labels": f"{known} + {new}, ridge {ridge:g}",
    }
    for k, name in enumerate(("before", *STRATEGIES)):
        ratios = means[:, k] / means[:, 1]
        low, high = np.percentile(ratios, [2.5, 97.5], axis=0)
        mean, ratio = left[:, k].mean(axis=0), left[:, k].mean(axis=0) / left[:, 1].mean(axis=0)
        figures[name] = {
            what: f"{mean[i]:.4f}, ratio {ratio[i]:.2f} ({low[i]:.2f}-{high[i]:.2f})" for i, what in enumerate(Left._fields)
        }
    return figures


def simulate(seed: int, known: int, new: int, ridge: float) -> list[Left]:
    """What is left before any further label, then by strategy."""
    rng = np.random.default_rng(seed)
    world = make(rng)
    order = rng.permutation(POOL)
    first, others = order[:known], order[known:]
    model = fitted(world, first, ridge)
    found = [left_by(world, model)]
    committee = [fitted(world, rng.choice(first, known), ridge).levels_ for _ in range(REPLICATES)]
    for strategy in STRATEGIES.values():
        chosen = others[:new] if strategy is None else suggested(world, first, model, committee, new, *strategy)
        found.append(left_by(world, fitted(world, np.concatenate([first, chosen]), ridge)))
    return found


def make(rng: np.random.Generator) -> World:
    """Trees, secret weights and labels."""
    secret = SPACE.levels_from_ratios(rng.uniform(size=len(SPACE.ratios.names)))
    trees = [synthetic.small_tree(rng, TAXONOMY) for _ in range(POOL + HELD_OUT)]
    matrix = SPACE.featurize(parsing.pair_from_json(tree, TAXONOMY).trees for tree in trees)
    scores = harmfulness(matrix, secret)
    labels = (rng.random(len(trees)) < expit(scores)).astype(np.float64)
    rows = [{"id": str(i), "tree": trees[i]} for i in range(POOL)]
    held_out = np.arange(POOL, POOL + HELD_OUT)
    return World(rows, matrix.select(np.arange(POOL)), labels[:POOL], matrix.select(held_out), scores[POOL:])


def fitted(world: World, rows: Any, ridge: float) -> AggregationModel:
    """Weights aligned to some of the pool's labels."""
    model = AggregationModel(SPACE, n_starts=STARTS, ridge=ridge)
    return model.fit(world.pool.select(rows), world.labels[rows])


def left_by(world: World, model: AggregationModel) -> Left:
    """Expected log loss and regret above those of the secret weights."""
    scores, true = harmfulness(world.held_out, model.levels_), world.true_scores
    p = expit(true)
    ones = np.ones(len(p))
    loss = [p * log_loss(it, ones) + (1.0 - p) * log_loss(it, 0.0 * ones) for it in (scores, true)]
    regret = np.abs(2.0 * p - 1.0) * ((scores > 0) != (true > 0))
    return Left(float((loss[0] - loss[1]).mean()), float(regret.mean()))


def suggested(
    world: World, known: Any, model: AggregationModel, committee: list[Floats], n: int, by: By, spread: Spread
) -> Any:  # fmt: skip
    """Rows of the pool that `suggest` asks labels for."""
    policy = Policy(name="learning", taxonomy=BASE.taxonomy, weights=weights_by_name(SPACE, model.levels_))
    bound = policy.bind(TAXONOMY)
    labels = dict.fromkeys(known.tolist(), 1)  # only whether there is one matters here
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.jsonl"
        path.write_text("".join(json.dumps(row | {"label": labels.get(i)}) + "\n" for i, row in enumerate(world.rows)))
        pool = read_pool({"pool": path}, TAXONOMY, [bound], np.array(committee))
        found = suggest(pool, {policy.name: bound}, n, by=by, spread=spread)
    return np.array([int(it.id) for it in found.suggestions])


if __name__ == "__main__":
    main()
