"""Steps of Fisher scoring against an independent solver, and starts at which no row is in doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from benchmarks import synthetic
from safetyanalyst import descent
from safetyanalyst.aggregation import AggregationModel
from safetyanalyst.features import FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_a_step_is_the_least_of_the_model_within_the_box(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root, target = rng.normal(size=(n + 3, n)), rng.normal(size=n + 3)
    low, high = -rng.uniform(0, 0.5, n), rng.uniform(0, 0.5, n)
    low[rng.random(n) < 0.2] = 0.0  # at a bound already
    high = np.where((rng.random(n) < 0.2) & (low < 0), 0.0, high)
    step = descent._box_step(-root.T @ target, root.T @ root, low, high)
    assert (step >= low).all()
    assert (step <= high).all()
    expected = lsq_linear(root, target, (low, high + 1e-300), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(step, expected, atol=1e-7)


def test_a_model_that_cannot_be_solved_is_left_to_the_search() -> None:
    step = descent._box_step(np.array([1.0, 0.0]), np.zeros((2, 2)), np.full(2, -0.5), np.full(2, 0.5))
    np.testing.assert_allclose(step, [-0.5, 0.0])


def test_a_start_at_which_every_row_is_decided_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand effects a row, scores of a start are in the hundreds, and the Fisher information is nothing."""
    space = FeatureSpace(TAXONOMY)
    rng = np.random.default_rng(0)
    trees = [parsing.pair_from_json(synthetic.published_tree(rng, TAXONOMY, 900), TAXONOMY).trees for _ in range(120)]
    matrix = space.featurize(trees)
    labels = (rng.random(120) < 0.5).astype(float)
    monkeypatch.setattr(descent, "_LARGE", 0)
    model = AggregationModel(space, n_starts=6).fit(matrix, labels)
    assert max(start.loss for start in model.starts_) < np.log(2)
