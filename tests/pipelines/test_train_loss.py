from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from safetyanalyst.generation import notation
from safetyanalyst.pipelines.train_data import Labelled, Taught
from safetyanalyst.pipelines.train_loss import LossWeights, loss_of
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.pipelines.train_targets import Targets, targets_of
from safetyanalyst.trees import HarmBenefitTree
from tests import tiny

IMPORTANCE = torch.from_numpy(tiny.JUDGEMENTS.importance)
ALL = LossWeights()
NOTHING = LossWeights(judgements=0.0, score=0.0, rows=0.0, effects=0.0, levels=0.0)
HARM = ["Victims of crime | 45 | 6i3h 3i2h", "Families | 45 | 4d2m"]


@pytest.fixture
def network(site: Path) -> Network:
    return tiny.network(site, std=0.3)


def taught(harm: list[str], *, weight: float = 1.0) -> Taught:
    trees = {kind: notation.from_row_list(rows, kind, tiny.TAXONOMY).tree for kind, rows in (("harm", harm), ("benefit", []))}
    return Taught(tiny.prompt("p"), HarmBenefitTree.model_validate(trees), int(bool(harm)), 3 if harm else 0, weight, "g")


def labelled(label: int, *, weight: float = 1.0) -> Labelled:
    return Labelled(tiny.prompt("p"), label, weight, "g")


def targets(*items: Taught | Labelled) -> list[Targets]:
    return targets_of(items, tiny.JUDGEMENTS)


def summaries(n: int, *, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.tanh(scale * torch.randn((n, 16), generator=torch.Generator().manual_seed(seed)))


def loss(network: Network, z: Tensor, wanted: list[Targets], weights: LossWeights = ALL) -> Tensor:
    network.zero_grad(set_to_none=True)
    return loss_of(network, z, wanted, IMPORTANCE, weights)


def moved(network: Network) -> set[str]:
    """Names of the parameters that learning would move."""
    return {name for name, it in network.named_parameters() if it.grad is not None and bool(it.grad.any())}


@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize(
    "items",
    [
        [taught(HARM), taught([]), labelled(1), labelled(0)],
        [taught([]), taught([])],
        [taught(HARM)],
        [labelled(1)],
    ],
    ids=len,
)
def test_the_loss_is_finite_and_so_are_its_gradients(network: Network, items: list[Taught | Labelled], scale: float) -> None:
    found = loss(network, summaries(len(items), scale=scale), targets(*items))
    found.backward()
    assert torch.isfinite(found)
    assert found > 0
    grads = [it.grad for it in network.parameters() if it.grad is not None]
    assert grads
    assert all(bool(torch.isfinite(it).all()) for it in grads)


def test_the_loss_of_a_judgement_is_its_log_loss(network: Network) -> None:
    z = summaries(1)
    with torch.no_grad():
        p = torch.sigmoid(network.judgements(z))[0, 0]
        found = loss(network, z, targets(labelled(1, weight=0.5)), NOTHING._replace(judgements=2.0))
    assert found == pytest.approx(float(-2.0 * 0.5 * torch.log(p)), rel=1e-5)


def test_unknown_judgements_teach_nothing(network: Network) -> None:
    wanted = targets(labelled(1), labelled(1))
    loss(network, summaries(2), wanted, NOTHING._replace(judgements=1.0)).backward()
    grad = network.judgements.weight.grad
    assert grad is not None
    assert np.flatnonzero(grad.abs().sum(1).numpy()).tolist() == [0]
    flipped = [it._replace(judgements=np.where(it.known > 0, it.judgements, 1 - it.judgements)) for it in wanted]
    with torch.no_grad():
        assert loss(network, summaries(2), wanted) == loss(network, summaries(2), flipped)


def test_a_text_with_a_label_only_moves_the_heads_of_trees_through_the_score(network: Network) -> None:
    loss(network, summaries(1), targets(labelled(1)), NOTHING._replace(score=1.0)).backward()
    heads = {name for name, _ in network.named_parameters() if name.startswith("heads.")}
    assert heads <= moved(network)
    assert {"score_scale", "score_cuts"} <= moved(network)
    loss(network, summaries(1), targets(labelled(1)), LossWeights(score=0.0)).backward()
    assert moved(network) == {"judgements.weight", "judgements.bias"}


def test_the_score_is_pushed_to_the_side_of_the_label(network: Network) -> None:
    z = summaries(1)
    for label in (0, 1):
        loss(network, z, targets(labelled(label)), NOTHING._replace(score=1.0)).backward()
        with torch.no_grad():
            before = network.score_logits(z)[0, 0]
            for it in network.parameters():
                if it.grad is not None:
                    it -= 1e-3 * it.grad
            assert (network.score_logits(z)[0, 0] > before) == bool(label)


def test_each_part_of_a_tree_moves_its_own_heads(network: Network) -> None:
    wanted = targets(taught(HARM), taught([]))
    parts = {"rows": "pairs", "effects": "effects.weight", "levels": "levels.weight"}
    for part, name in parts.items():
        loss(network, summaries(2), wanted, NOTHING._replace(**{part: 1.0})).backward()
        others = {f"heads.harm.{other}" for other in parts.values() if other != name}
        assert f"heads.harm.{name}" in moved(network)
        assert not moved(network) & others
    # there is no beneficial row: its effects are never learned from, that it is none is
    assert "heads.benefit.effects.weight" not in moved(network)


def test_a_weight_of_nothing_counts_for_nothing_and_the_order_does_not_matter(network: Network) -> None:
    z = summaries(3)
    with torch.no_grad():
        one = loss(network, z[:1], targets(taught(HARM)))
        beside = loss(network, z, targets(taught(HARM), taught(HARM, weight=0.0), labelled(1, weight=0.0)))
        assert 3 * beside == pytest.approx(float(one), rel=1e-5)
        items: list[Taught | Labelled] = [taught(HARM), taught([]), labelled(0)]
        forward, backward = loss(network, z, targets(*items)), loss(network, z.flip(0), targets(*items[::-1]))
    assert forward == pytest.approx(float(backward), rel=1e-5)
