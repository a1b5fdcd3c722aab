"""Writes tests/data/parity.json: small trees from our generator, scored by the plain loop.

python -m benchmarks.make_parity
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from benchmarks import plain_loop, synthetic
from safetyanalyst.taxonomy import load_taxonomy

SEED, SIZES, N_SETS = 7, [0, 1, 2, 5, 9, 14, 20], 3
TARGET = Path(__file__).parents[1] / "tests" / "data" / "parity.json"


def main() -> None:
    """Writes the file."""
    taxonomy = load_taxonomy()
    rng = np.random.default_rng(SEED)
    trees = [synthetic.published_tree(rng, taxonomy, n) for n in SIZES]
    groups = [group.name for group in taxonomy.action_groups]
    names = [f"action/{name}" for name in groups]
    for kind in ("harm", "benefit"):
        names += [f"{kind}/extent_ratio/{low}_to_{high}" for low, high in _pairs(plain_loop.EXTENTS)]
        names += [f"{kind}/likelihood_ratio/{low}_to_{high}" for low, high in _pairs(plain_loop.LIKELIHOODS)]
        names.append(f"{kind}/downstream_discount")
    names.append("benefit/relative_weight")
    sets = []
    for _ in range(N_SETS):
        parameters = [round(float(value), 6) for value in np.where(rng.random(29) < 0.15, 0.0, rng.random(29))]
        weights = plain_loop.weights_of(groups, parameters)
        scores = [plain_loop.score(tree, weights) for tree in trees]
        sets.append({"parameters": dict(zip(names, parameters, strict=True)), "scores": scores})
    data = {"seed": SEED, "sizes": SIZES, "trees": trees, "sets": sets}
    TARGET.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _pairs(levels: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(levels))


if __name__ == "__main__":
    main()
