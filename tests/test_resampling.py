from __future__ import annotations

import numpy as np
import pytest

from safetyanalyst.aggregation import AggregationModel
from safetyanalyst.constraints import Constraints
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.resampling import Sampler, refits
from safetyanalyst.taxonomy import load_taxonomy
from tests.simulation import draw_labels, matrix_of, random_counts

SPACE = FeatureSpace(load_taxonomy())


def test_as_many_rows_of_each_class_are_drawn_as_there_are() -> None:
    labels = np.array([1.0] * 7 + [0.0] * 13)
    sampler = Sampler(labels, None, 0)
    draws = [sampler.draw() for _ in range(50)]
    assert {int(draw[labels == 1].sum()) for draw in draws} == {7}
    assert {int(draw.sum()) for draw in draws} == {20}
    assert len({draw.tobytes() for draw in draws}) == 50
    np.testing.assert_allclose(np.mean(draws), 1.0)


def test_groups_are_drawn_whole() -> None:
    labels = np.array([1.0, 0.0] * 10)
    groups = [str(i // 2) for i in range(20)]
    for _ in range(20):
        draw = Sampler(labels, groups, 3).draw()
        assert (draw[::2] == draw[1::2]).all()
        assert draw.sum() == 20


def test_known_weights_lie_within_their_intervals_and_those_nobody_speaks_of_are_wide() -> None:
    """Labels from known weights: of the levels that are identified, as many intervals of 95 % hold the truth as should."""
    held, widths = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        counts = random_counts(SPACE, rng, 500, effects=6).counts.toarray()
        counts[:, (SPACE.levels.factors == SPACE.levels.names.index("harm/action/privacy")).any(axis=1)] = 0.0
        matrix = matrix_of(SPACE, counts)
        truth = SPACE.levels_from_ratios(rng.uniform(0.1, 0.9, 29))
        labels = draw_labels(matrix, truth, rng)
        model = AggregationModel(SPACE, n_starts=4).fit(matrix, labels)
        assert model.identification_.undetermined == ("harm/action/privacy",)
        levels = refits(model, matrix, labels, n=60, seed=seed).levels
        low, high = np.percentile(levels, [2.5, 97.5], axis=0)
        known = np.array([name not in model.identification_.not_identified for name in SPACE.levels.names])
        held.append(((low <= truth) & (truth <= high))[known])
        widths.append(float((high - low)[~known].min()))
    assert np.mean(held) > 0.9
    assert min(widths) > 0.85


def test_refits_obey_constraints_and_follow_the_seed() -> None:
    rng = np.random.default_rng(0)
    matrix = random_counts(SPACE, rng, 120)
    labels = draw_labels(matrix, SPACE.levels_from_ratios(np.full(29, 0.6)), rng)
    region = Constraints(floors={"harm/action/*": 0.3}, frozen={"benefit/relative_weight": 0.4}).region(SPACE)
    model = AggregationModel(SPACE, n_starts=2, region=region, threshold="fit").fit(matrix, labels)
    ticks: list[int] = []
    first, again, other = (
        refits(model, matrix, labels, n=8, seed=seed, tick=lambda: ticks.append(1)) for seed in (1, 1, 2)
    )  # fmt: skip
    assert len(ticks) == 24
    np.testing.assert_array_equal(first.levels, again.levels)
    assert (first.levels != other.levels).any()
    actions = [k for k, name in enumerate(SPACE.levels.names) if name.startswith("harm/action/")]
    assert first.levels[:, actions].min() >= 0.3
    assert set(first.levels[:, SPACE.levels.names.index("benefit/relative_weight")]) == {0.4}
    assert len(set(first.thresholds)) == 8


def test_no_replicates_are_refused() -> None:
    rng = np.random.default_rng(0)
    matrix = random_counts(SPACE, rng, 40)
    labels = np.tile([0.0, 1.0], 20)
    model = AggregationModel(SPACE, n_starts=1).fit(matrix, labels)
    with pytest.raises(FitError, match="at least one replicate"):
        refits(model, matrix, labels, n=0)
