"""Trains the network for some epochs: seeded, watched by held-out loss, resumable at every epoch.

What a run needs to go on is kept as safetensors and JSON in its folder, never as a pickle.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from safetyanalyst.errors import FitError
from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.pipelines.train_batches import Encoded, Item, Limits, Packed, Reader, packed
from safetyanalyst.pipelines.train_loss import LossWeights, loss_of
from safetyanalyst.pipelines.train_network import Batch, Network, Padded

Say = Callable[[str], None]
Precision = Literal["bfloat16", "float32"]
Keep = Literal["best", "last"]
_WARM_UP = 0.06  # share of all steps
_CLIP = 1.0


class Schedule(NamedTuple):
    """How long and how fast is learned.

    Attributes:
        epochs: At most.
        encoder_rate: Learning rate of the encoder.
        head_rate: Of everything else.
        augment: Share of prompts that are changed.
        limits: Of a batch.
        seed: Of order, changes and dropout.
        precision: Of the products in the network.
        keep: The epoch of the least held-out loss, or the last.
        weights: Of the loss.
    """

    epochs: int
    encoder_rate: float
    head_rate: float
    augment: float
    limits: Limits
    seed: int
    precision: Precision
    keep: Keep = "best"
    weights: LossWeights = LossWeights()


class Fitted(NamedTuple):
    """What a stage of training saw.

    Attributes:
        epochs: After which it was kept.
        train_loss: Mean of every epoch.
        held_out_loss: After every epoch; empty where nothing was held out.
        seconds: It took, over all runs.
    """

    epochs: int
    train_loss: list[float]
    held_out_loss: list[float]
    seconds: float


def fit(
    network: Network, items: Sequence[Item], held_out: Sequence[Item], vocabulary: Vocabulary, schedule: Schedule,
    importance: npt.NDArray[np.float32], folder: Path, say: Say,
) -> Fitted:  # fmt: skip
    """Trains in place; goes on where the folder's last epoch stopped.

    The network ends as it was after the epoch that the schedule keeps; where nothing is held out, that is the last.
    """
    reader = Reader(items, vocabulary, schedule.limits, schedule.augment, schedule.seed)
    per_epoch = sum(1 for _ in packed([reader.measure(i) for i in range(len(items))], schedule.limits))
    run = _Run(network, schedule, per_epoch * schedule.epochs, torch.from_numpy(importance).to(_device(network)))
    state = run.resume(folder)
    checks = [reader_item(item, vocabulary, i) for i, item in enumerate(held_out)]
    while state.epochs < schedule.epochs:
        started = time.monotonic()
        torch.manual_seed(schedule.seed * 1000 + state.epochs)
        network.train()
        losses = [run.step(it, reader.items) for it in reader.epoch(state.epochs)]
        loss = float(np.mean(losses))
        if not math.isfinite(loss):
            raise FitError(f"the loss of epoch {state.epochs + 1} is no number; a lower learning rate may help")
        held = run.loss(checks, held_out) if held_out else math.nan
        is_best = schedule.keep == "last" or not held_out or held < min([math.inf, *state.held_out_loss])
        state = Fitted(
            state.epochs + 1, [*state.train_loss, loss], [*state.held_out_loss, held] if held_out else [],
            state.seconds + time.monotonic() - started,
        )  # fmt: skip
        run.keep(folder, state, is_best=is_best)
        say(f"epoch {state.epochs} of {schedule.epochs}: loss {loss:.3f}, held out {held:.3f}, {state.seconds:.0f} s")
    run.take_best(folder)
    best = int(np.argmin(state.held_out_loss)) + 1 if held_out and schedule.keep == "best" else state.epochs
    return state._replace(epochs=best)


def reader_item(item: Item, vocabulary: Vocabulary, at: int) -> Encoded:
    """A held-out item, whole and unchanged."""
    from safetyanalyst.pipelines.train_batches import encode

    return encode(item.scenario, vocabulary, at)


@torch.no_grad()
def summaries(network: Network, encoded: Sequence[Encoded], limits: Limits, precision: Precision) -> npt.NDArray[np.float32]:
    """(n, z) of whole scenarios."""
    network.eval()
    found: dict[int, npt.NDArray[np.float32]] = {}
    for it in packed(encoded, limits):
        with _cast(network, precision):
            z = network(_moved(it.batch, _device(network)))
        found |= dict(zip(it.items, z.float().cpu().numpy(), strict=True))
    return np.stack([found[it.at] for it in encoded])


class _Run:
    """Optimiser and schedule of one stage."""

    def __init__(self, network: Network, schedule: Schedule, steps: int, importance: Tensor) -> None:
        self.network, self.schedule, self.importance = network, schedule, importance
        encoder = list(network.encoder.parameters())
        mine = {id(p) for p in encoder}
        rest = [p for p in network.parameters() if id(p) not in mine]
        learning = [p for p in encoder if p.requires_grad]
        groups = [{"params": learning, "lr": schedule.encoder_rate}, {"params": rest, "lr": schedule.head_rate}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        warm = max(1.0, steps * _WARM_UP)

        def rate(s: int) -> float:
            return min(1.0, (s + 1) / warm) * max(0.02, 1.0 - s / max(1, steps))

        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rate)

    def step(self, it: Packed, items: Sequence[Item]) -> float:
        loss = self._loss(it, items)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self.rates.step()
        return float(loss.detach())

    @torch.no_grad()
    def loss(self, checks: Sequence[Encoded], items: Sequence[Item]) -> float:
        """Mean loss over whole, unchanged items."""
        self.network.eval()
        parts = [(float(self._loss(it, items)), len(it.items)) for it in packed(checks, self.schedule.limits)]
        return sum(loss * n for loss, n in parts) / len(checks)

    def _loss(self, it: Packed, items: Sequence[Item]) -> Tensor:
        with _cast(self.network, self.schedule.precision):
            z = self.network(_moved(it.batch, self.importance.device))
        targets = [items[i].targets for i in it.items]
        return loss_of(self.network, z.float(), targets, self.importance, self.schedule.weights)

    # -- what a run needs to go on ---------------------------------------------------------------------------------

    def keep(self, folder: Path, state: Fitted, *, is_best: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        if is_best:
            with whole(folder / "best.safetensors") as draft:
                save_file(weights, draft)
        moments = {
            f"optimiser/{name}.{i}": (value.reshape(-1).float() if value.dim() == 0 else value).cpu().contiguous()
            for i, kept in self.optimiser.state_dict()["state"].items()
            for name, value in kept.items()
        }
        # one file holds all: a run that is stopped while writing goes on from the epoch before
        about = {"state": json.dumps(state._asdict() | {"rates": self.rates.last_epoch})}
        with whole(folder / "last.safetensors") as draft:
            save_file(weights | moments, draft, about)

    def resume(self, folder: Path) -> Fitted:
        if not (folder / "last.safetensors").is_file():
            return Fitted(0, [], [], 0.0)
        with safe_open(folder / "last.safetensors", "pt") as file:
            state = json.loads(file.metadata()["state"])
        saved = load_file(folder / "last.safetensors")
        self.network.load_state_dict({name: value for name, value in saved.items() if not name.startswith("optimiser/")})
        held = self.optimiser.state_dict()
        indices = [i for group in held["param_groups"] for i in group["params"]]
        names = ("step", "exp_avg", "exp_avg_sq")
        moments = {i: {name: saved.get(f"optimiser/{name}.{i}") for name in names} for i in indices}
        held["state"] = {i: it | {"step": it["step"].reshape(())} for i, it in moments.items() if it["step"] is not None}
        self.optimiser.load_state_dict(held)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)  # its steps are behind it
            for _ in range(state.pop("rates")):
                self.rates.step()
        return Fitted(**state)

    def take_best(self, folder: Path) -> None:
        self.network.load_state_dict(load_file(folder / "best.safetensors"))


def _cast(network: Network, precision: Precision) -> AbstractContextManager[object]:
    return torch.autocast(_device(network).type, torch.bfloat16, enabled=precision == "bfloat16")


def _device(network: Network) -> torch.device:
    return network.query.device


def _moved(batch: Batch, device: torch.device) -> Batch:
    padded = tuple(Padded(*(part.to(device) for part in it)) for it in batch.padded)
    return Batch(padded, *(part.to(device) for part in batch[1:]))
