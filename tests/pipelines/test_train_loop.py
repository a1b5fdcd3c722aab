from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from safetyanalyst.pipelines.train_batches import Item, Limits, encode
from safetyanalyst.pipelines.train_data import Labelled
from safetyanalyst.pipelines.train_loop import Fitted, Schedule, fit, summaries
from safetyanalyst.pipelines.train_loss import LossWeights, loss_of
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.pipelines.train_targets import targets_of
from tests import tiny

IMPORTANCE = tiny.JUDGEMENTS.importance
LIMITS = Limits(items=8, tokens=512, chunks=3)
SCHEDULE = Schedule(
    epochs=4, encoder_rate=2e-3, head_rate=3e-3, augment=0.5, limits=LIMITS, seed=0, precision="float32", weights=LossWeights()
)
THINGS = ("kettle", "ladder", "bicycle", "garden", "violin", "curtain", "lantern", "carpet")


class StoppedError(Exception):
    """A run is stopped."""


def items(*, stolen: int = 1) -> list[Item]:
    """Thefts with this label, repairs with the other one, and trajectories."""
    texts = [(f"how do i steal the {thing}", stolen) for thing in THINGS]
    texts += [(f"how do i repair the {thing}", 1 - stolen) for thing in THINGS]
    labelled = [Labelled(tiny.prompt(text), label, 1.0, text) for text, label in texts]
    labelled += [
        Labelled(tiny.agent(text, *[("read_mail", "home " * 200)] * 3), label, 1.0, text) for text, label in texts[::8]
    ]
    return [Item(it.scenario, target) for it, target in zip(labelled, targets_of(labelled, tiny.JUDGEMENTS), strict=True)]


def fitted(
    network: Network, site: Path, folder: Path, *, held_out: list[Item] | None = None, schedule: Schedule = SCHEDULE,
    say: Callable[[str], None] = lambda _: None,
) -> Fitted:  # fmt: skip
    return fit(network, items(), held_out or [], tiny.vocabulary(site), schedule, IMPORTANCE, folder, say)


def stop_after(epoch: int) -> Callable[[str], None]:
    def say(line: str) -> None:
        if line.startswith(f"epoch {epoch} of"):
            raise StoppedError

    return say


def same(one: Network, other: Network) -> bool:
    """Whether all weights are equal, bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def held_out_loss(network: Network, site: Path, held_out: list[Item]) -> float:
    encoded = [encode(it.scenario, tiny.vocabulary(site), i) for i, it in enumerate(held_out)]
    z = torch.from_numpy(summaries(network, encoded, LIMITS, "float32"))
    with torch.no_grad():
        return float(loss_of(network, z, [it.targets for it in held_out], torch.from_numpy(IMPORTANCE), LossWeights()))


def test_the_loss_falls_and_equal_runs_end_equal(site: Path, tmp_path: Path) -> None:
    first, second = tiny.network(site), tiny.network(site)
    found = fitted(first, site, tmp_path / "a", schedule=SCHEDULE._replace(epochs=30))
    again = fitted(second, site, tmp_path / "b", schedule=SCHEDULE._replace(epochs=30))
    assert found.epochs == len(found.train_loss) == 30
    assert found.held_out_loss == []
    assert found.train_loss[-1] < 0.7 * found.train_loss[0]
    assert found.train_loss == again.train_loss
    assert same(first, second)
    assert not same(first, tiny.network(site))
    other = fitted(tiny.network(site), site, tmp_path / "c", schedule=SCHEDULE._replace(epochs=30, seed=1))
    assert other.train_loss != found.train_loss


@pytest.mark.parametrize("frozen", [(), ("query", "heads.harm.pairs")], ids=["all", "some"])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(site: Path, tmp_path: Path, frozen: tuple[str, ...]) -> None:
    def network() -> Network:
        made = tiny.network(site)
        for name in frozen:  # without moments of their own in the optimiser
            made.get_parameter(name).requires_grad = False
        return made

    held_out = items()[::3]
    straight = network()
    expected = fitted(straight, site, tmp_path / "straight", held_out=held_out)
    for epoch in (1, 3):
        with pytest.raises(StoppedError):
            fitted(network(), site, tmp_path / "stopped", held_out=held_out, say=stop_after(epoch))
    # a stop while an epoch is written leaves half a file behind, which nothing reads
    (tmp_path / "stopped" / "last.tmp").write_bytes(b"half a file")
    told: list[str] = []
    gone_on = network()
    found = fitted(gone_on, site, tmp_path / "stopped", held_out=held_out, say=told.append)
    assert [line.split(":")[0] for line in told] == ["epoch 4 of 4"]
    assert same(gone_on, straight)
    assert found._replace(seconds=0) == expected._replace(seconds=0)


def test_a_finished_run_is_not_run_again(site: Path, tmp_path: Path) -> None:
    first, second = tiny.network(site), tiny.network(site, seed=9)
    found = fitted(first, site, tmp_path / "run")
    assert fitted(second, site, tmp_path / "run", say=stop_after(1)) == found
    assert same(first, second)


def test_the_best_epoch_is_restored(site: Path, tmp_path: Path) -> None:
    held_out = items(stolen=0)  # all labels are turned round: what is learned is wrong for them
    network = tiny.network(site)
    schedule = SCHEDULE._replace(epochs=30, augment=0.0)
    found = fitted(network, site, tmp_path / "run", held_out=held_out, schedule=schedule)
    assert len(found.held_out_loss) == 30
    assert found.epochs == 1 + int(np.argmin(found.held_out_loss)) < 30
    assert held_out_loss(network, site, held_out) == pytest.approx(min(found.held_out_loss), rel=1e-4)
    assert min(found.held_out_loss) < 0.9 * found.held_out_loss[-1]


def test_the_last_epoch_is_kept_where_that_is_asked_for(site: Path, tmp_path: Path) -> None:
    held_out = items(stolen=0)
    network = tiny.network(site)
    schedule = SCHEDULE._replace(epochs=30, augment=0.0, keep="last")
    found = fitted(network, site, tmp_path / "run", held_out=held_out, schedule=schedule)
    assert found.epochs == len(found.held_out_loss) == 30
    assert held_out_loss(network, site, held_out) == pytest.approx(found.held_out_loss[-1], rel=1e-4)


def test_bfloat16_learns_nearly_the_same(site: Path, tmp_path: Path) -> None:
    exact = fitted(tiny.network(site), site, tmp_path / "exact", schedule=SCHEDULE._replace(epochs=2))
    rough = fitted(tiny.network(site), site, tmp_path / "rough", schedule=SCHEDULE._replace(epochs=2, precision="bfloat16"))
    assert rough.train_loss != exact.train_loss
    assert rough.train_loss == pytest.approx(exact.train_loss, rel=0.05)


def test_summaries_are_those_of_each_scenario_alone_and_whole(site: Path) -> None:
    network = tiny.network(site, std=0.3)
    encoded = [encode(it, tiny.vocabulary(site), 10 * i) for i, it in enumerate(tiny.scenarios())]
    network.train()  # dropout must not reach them
    together = summaries(network, encoded, LIMITS, "float32")
    alone = np.concatenate([summaries(network, [it], LIMITS, "float32") for it in encoded])
    assert together.shape == (len(encoded), 16)
    assert np.allclose(together, alone, atol=1e-5)
