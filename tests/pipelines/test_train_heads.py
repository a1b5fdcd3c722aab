from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from safetyanalyst.pipelines.train_config import HeadStage
from safetyanalyst.pipelines.train_data import Taught
from safetyanalyst.pipelines.train_heads import WEIGHTS, fit_heads
from safetyanalyst.pipelines.train_loss import loss_of
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.pipelines.train_targets import Targets, targets_of
from safetyanalyst.trees import Action, Effect, HarmBenefitTree, Stakeholder, Tree
from tests import tiny

IMPORTANCE = tiny.JUDGEMENTS.importance
STAGE = HeadStage(epochs=100, rate=0.01, dropout=0.1)


def tree(kind: str, action: int) -> Tree:
    taxonomy = tiny.TAXONOMY
    effect = Effect(
        effect=taxonomy.effects(kind)[0].name,  # type: ignore[arg-type]
        immediacy="immediate", extent=taxonomy.extents[2].name, likelihood=taxonomy.likelihoods[1].name,
    )  # fmt: skip
    node = Action(action=taxonomy.actions(kind)[action].name, effects=(effect,))  # type: ignore[arg-type]
    return Tree(kind=kind, stakeholders=(Stakeholder(name="User", actions=(node,)),))  # type: ignore[arg-type]


def targets() -> list[Targets]:
    taught = [
        Taught(
            tiny.prompt(f"text {i}"), HarmBenefitTree(harm=tree("harm", i % 2), benefit=tree("benefit", 1 - i % 2)),
            i % 2, 3 * (i % 2), 1.0, str(i),
        )
        for i in range(40)
    ]  # fmt: skip
    return targets_of(taught, tiny.JUDGEMENTS)


def summaries() -> np.ndarray:
    """(40, 16) of two sorts of texts, told apart by one number, under some noise."""
    z = np.random.default_rng(0).normal(0, 0.1, (40, 16)).astype(np.float32)
    z[:, 0] = np.where(np.arange(40) % 2, 0.9, -0.9)
    return z


def loss(network: Network) -> float:
    network.eval()
    with torch.no_grad():
        importance = torch.from_numpy(IMPORTANCE)
        return float(loss_of(network, torch.from_numpy(summaries()), targets(), importance, WEIGHTS))


def own(name: str) -> bool:
    return name.startswith(("heads.", "score_"))


def test_the_heads_learn_and_nothing_else_moves(site: Path, tmp_path: Path) -> None:
    network, before = tiny.network(site), tiny.network(site).state_dict()
    first = loss(network)
    fit_heads(network, summaries(), targets(), IMPORTANCE, STAGE, 0, tmp_path / "heads.safetensors")
    assert loss(network) < 0.3 * first
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(own(name) for name in moved)


def test_equal_seeds_end_equal_and_other_seeds_do_not(site: Path, tmp_path: Path) -> None:
    ends = []
    for i, seed in enumerate((0, 0, 1)):
        network = tiny.network(site)
        fit_heads(network, summaries(), targets(), IMPORTANCE, STAGE, seed, tmp_path / f"{i}.safetensors")
        ends.append({name: value for name, value in network.state_dict().items() if own(name)})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not all(torch.equal(ends[0][name], ends[2][name]) for name in ends[0])


def test_a_finished_run_is_taken_from_its_file(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    done, again = tiny.network(site), tiny.network(site, seed=5)
    fit_heads(done, summaries(), targets(), IMPORTANCE, STAGE, 0, path)
    fit_heads(again, np.empty((0, 0), np.float32), [], IMPORTANCE, STAGE, 0, path)  # nothing there to learn from
    after, before = again.state_dict(), done.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if own(name))
    assert list(tmp_path.iterdir()) == [path]
