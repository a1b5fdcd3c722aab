from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safetyanalyst.generation.backends.embedded_heads import PredictedSoftEffect, Summary, TreeHeads
from safetyanalyst.pipelines import train_export
from safetyanalyst.pipelines.train_batches import Encoded, batch_of, encode
from safetyanalyst.pipelines.train_network import Heads, Network, Rows
from safetyanalyst.trees import TREE_KINDS, TreeKind
from tests import tiny

N_EXTENTS, N_LIKELIHOODS = len(tiny.TAXONOMY.extents), len(tiny.TAXONOMY.likelihoods)
SEEN = np.zeros(8, bool)


@pytest.fixture(scope="module")
def network(site: Path) -> Network:
    return tiny.network(site, std=0.3)


@pytest.fixture(scope="module")
def encoded(site: Path) -> list[Encoded]:
    vocabulary = tiny.vocabulary(site)
    return [encode(it, vocabulary, i) for i, it in enumerate(tiny.scenarios())]


@pytest.fixture(scope="module")
def z(network: Network, encoded: list[Encoded]) -> torch.Tensor:
    with torch.no_grad():
        return network(batch_of(encoded).batch)


def arrays_of(network: Network, **decoding: Any) -> dict[str, Any]:
    chosen = tiny.DECODING.model_copy(update=decoding)
    return train_export.head_arrays(network, dict.fromkeys(TREE_KINDS, chosen), SEEN)


def heads_of(network: Network, kind: TreeKind, **decoding: Any) -> TreeHeads:
    return TreeHeads(arrays_of(network, **decoding), kind, N_EXTENTS)


def trained(network: Network, kind: TreeKind) -> Heads:
    heads = network.heads[kind]
    assert isinstance(heads, Heads)
    return heads


def test_the_summary_is_that_of_training_for_a_whole_batch(network: Network, encoded: list[Encoded], z: torch.Tensor) -> None:
    summary = Summary(arrays_of(network))
    assert summary.width == 32
    for it, expected in zip(encoded, z.numpy(), strict=True):
        with torch.no_grad():
            vectors = np.concatenate(
                [network.encode(torch.tensor([ids]), torch.ones((1, len(ids)), dtype=torch.long)).numpy() for ids in it.ids]
            )
        assert np.allclose(summary(vectors, it.steps, it.relations), expected, atol=1e-4)
    assert len(np.unique(z.numpy().round(4), axis=0)) == len(encoded)


@pytest.mark.parametrize("kind", TREE_KINDS)
def test_pairs_effects_and_levels_are_those_of_training(network: Network, z: torch.Tensor, kind: TreeKind) -> None:
    run, learned = heads_of(network, kind), trained(network, kind)
    for i, mine in enumerate(z.numpy()):
        with torch.no_grad():
            pairs = torch.sigmoid(learned.pair_logits(z))[i]
        assert np.allclose(run.pair_probabilities(mine), pairs.numpy(), atol=1e-4)
        soft = list(run.soft(mine, 0.3))
        assert len(soft) > 20
        s, a, e = (torch.tensor([it[k] for it in soft]) for k in range(3))
        leaves = Rows(torch.full_like(s, i), s, a, e)
        with torch.no_grad():
            effects = torch.sigmoid(learned.effect_logits(z, leaves))[torch.arange(len(soft)), e]
            above = torch.sigmoid(learned.level_logits(z, leaves))
        assert np.allclose([it.probability for it in soft], (pairs[s, a] * effects).numpy(), atol=1e-4)
        assert np.allclose([it.immediate for it in soft], above[:, -1].numpy(), atol=1e-4)
        extents = np.minimum.accumulate(above[:, : N_EXTENTS - 1].numpy(), axis=1)
        likelihoods = np.minimum.accumulate(above[:, N_EXTENTS - 1 : -1].numpy(), axis=1)
        assert np.allclose([at_least(it.extent) for it in soft], extents, atol=1e-4)
        assert np.allclose([at_least(it.likelihood) for it in soft], likelihoods, atol=1e-4)


def at_least(levels: Any) -> Any:
    """Probability of each level or a higher one, the lowest left out."""
    return levels[::-1].cumsum()[::-1][1:]


@pytest.mark.parametrize("kind", TREE_KINDS)
def test_levels_of_soft_effects_are_probabilities(network: Network, z: torch.Tensor, kind: TreeKind) -> None:
    for it in heads_of(network, kind).soft(z.numpy()[0], 0.2):
        assert isinstance(it, PredictedSoftEffect)
        assert (it.extent.shape, it.likelihood.shape) == ((N_EXTENTS,), (N_LIKELIHOODS,))
        for levels in (it.extent, it.likelihood):
            assert levels.dtype == np.float32
            assert levels.min() >= 0
            assert levels.sum() == pytest.approx(1.0, abs=1e-5)
        assert 0 <= it.immediate <= 1
        assert 0.2 <= it.probability <= 1


@pytest.mark.parametrize("kind", TREE_KINDS)
def test_all_soft_effects_add_up_to_the_expected_count(network: Network, z: torch.Tensor, kind: TreeKind) -> None:
    learned = trained(network, kind)
    s, a = (it.flatten() for it in torch.meshgrid(*map(torch.arange, learned.pairs.shape), indexing="ij"))
    rows = Rows(torch.zeros_like(s), s, a, s[:0])
    with torch.no_grad():
        per_effect = torch.sigmoid(learned.pair_logits(z[:1])).flatten()[:, None] * torch.sigmoid(
            learned.effect_logits(z[:1], rows)
        )
    soft = list(heads_of(network, kind).soft(z.numpy()[0], 0.0))
    assert len(soft) == per_effect.numel()
    expected = np.zeros(per_effect.shape[1])
    for it in soft:
        expected[it.effect] += it.probability
    assert np.allclose(expected, per_effect.sum(0).numpy(), rtol=1e-4)
    some = {(it.stakeholder, it.action, it.effect) for it in heads_of(network, kind).soft(z.numpy()[0], 0.2)}
    assert some == {(it.stakeholder, it.action, it.effect) for it in soft if it.probability >= 0.2}


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_bounded_sorted_and_above_the_threshold(site: Path, seed: int) -> None:
    network = tiny.network(site, seed=seed, std=1.0)
    rng = np.random.default_rng(seed)
    for kind in TREE_KINDS:
        heads = heads_of(network, kind, row_threshold=0.5, effect_threshold=0.5, max_rows=7)
        for mine in np.tanh(rng.normal(size=(20, 16))).astype(np.float32):
            p = heads.pair_probabilities(mine)
            rows = heads.rows(mine)
            found = [p[row.stakeholder, row.action] for row in rows]
            assert len(rows) == min(7, (p >= 0.5).sum())
            assert found == sorted(found, reverse=True)
            assert found[0] == p.max()
            assert len({row[:2] for row in rows}) == len(rows)
            for row in rows:
                assert 1 <= len(row.effects) <= 4
                assert len({it.effect for it in row.effects}) == len(row.effects)
                for it in row.effects:
                    assert 0 <= it.effect < len(tiny.TAXONOMY.effects(kind))
                    assert 0 <= it.extent < N_EXTENTS
                    assert 0 <= it.likelihood < N_LIKELIHOODS
                    assert it.immediacy in (0, 1)


def test_the_most_probable_row_and_effect_are_written_however_improbable(network: Network, z: torch.Tensor) -> None:
    mine = z.numpy()[0]
    heads = heads_of(network, "harm", row_threshold=0.9999, effect_threshold=0.9999)
    (row,) = heads.rows(mine)
    assert len(row.effects) == 1
    best = max((it for it in heads.soft(mine, 0.0) if it[:2] == row[:2]), key=lambda it: it.probability)
    assert row.effects[0].effect == best.effect


def test_a_hard_level_is_the_highest_that_is_reached_without_a_gap(network: Network, z: torch.Tensor) -> None:
    heads, learned = heads_of(network, "benefit", row_threshold=0.2, effect_threshold=0.2), trained(network, "benefit")
    for i, mine in enumerate(z.numpy()):
        for row in heads.rows(mine):
            for it in row.effects:
                leaf = Rows(*(torch.tensor([k]) for k in (i, row.stakeholder, row.action, it.effect)))
                with torch.no_grad():
                    above = learned.level_logits(z, leaf)[0] > 0
                assert it.extent == above[: N_EXTENTS - 1].int().cumprod(0).sum()
                assert it.likelihood == above[N_EXTENTS - 1 : -1].int().cumprod(0).sum()
                assert it.immediacy == above[-1]
