"""The hidden layers: small networks on hashed n-grams, trained by Adam on minibatches, gradients written out.

Each network is trained without one part of the groups and stops where the loss on that part is least. An item's held-out
outputs are those of the network that never saw it: heads that are trained on them meet the same uncertainty later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_model import sigmoid
from safetyanalyst.pipelines.train_encoding import Floats, Matrices
from safetyanalyst.records import Record


class TrunkConfig(Record):
    """How the networks are made.

    Attributes:
        members: Number of networks, which is also the number of parts of the data.
        hidden: Units of each.
        epochs: At most.
        patience: Epochs without a smaller held-out loss before stopping.
        batch: Items per step.
        learning_rate: At the start; falls to a tenth.
        ngram_dropout: Share of n-grams left out of an item at each step.
        hidden_dropout: Share of hidden units left out at each step.
        decay: Weight decay per step, times the learning rate.
    """

    members: int = 3
    hidden: int = 48
    epochs: int = 14
    patience: int = 3
    batch: int = 64
    learning_rate: float = 0.003
    ngram_dropout: float = 0.2
    hidden_dropout: float = 0.4
    decay: float = 0.02


class Member(NamedTuple):
    """One trained network, and how it did.

    Attributes:
        parameters: By name: table, features, bias, out, out_bias.
        losses: Held-out loss after each epoch.
        best: The epoch that was kept.
    """

    parameters: dict[str, Floats]
    losses: tuple[float, ...]
    best: int


def train_member(data: Matrices, is_held_out: npt.NDArray[np.bool_], config: TrunkConfig, seed: int) -> Member:
    """Trains one network.

    Args:
        data: All items.
        is_held_out: (n,) items that only tell when to stop.
        config: How.
        seed: Of the start, the order and the dropout.
    """
    rng = np.random.default_rng(seed)
    parameters = _start(data, config, rng)
    optimizer = _Adam(parameters, config.decay)
    seen = np.flatnonzero(~is_held_out)
    held = np.flatnonzero(is_held_out)
    best, best_loss, kept = 0, np.inf, parameters
    losses: list[float] = []
    for epoch in range(config.epochs):
        rate = config.learning_rate * (1.0 - 0.9 * epoch / max(1, config.epochs - 1))
        for batch in np.array_split(rng.permutation(seen), max(1, round(len(seen) / config.batch))):
            optimizer.step(_gradient(parameters, data, batch, config, rng), rate)
        losses.append(loss(parameters, data, held if len(held) else seen))
        if losses[-1] < best_loss:
            best, best_loss = epoch, losses[-1]
            kept = {name: value.copy() for name, value in parameters.items()}
        elif epoch - best >= config.patience:
            break
    return Member(kept, tuple(losses), best)


class Forward(NamedTuple):
    """Activations of a network: (n, H) and (n, outputs)."""

    hidden: Floats
    outputs: Floats


def forward(parameters: dict[str, Floats], ngrams: Any, features: Floats) -> Forward:
    """Runs a network without dropout."""
    hidden = np.tanh(ngrams @ parameters["table"] + features @ parameters["features"] + parameters["bias"])
    return Forward(hidden, hidden @ parameters["out"] + parameters["out_bias"])


def loss(parameters: dict[str, Floats], data: Matrices, rows: npt.NDArray[np.int64]) -> float:
    """Mean weighted log loss of the risk and of everything a tree needs, per item."""
    out = forward(parameters, data.ngrams[rows], data.features[rows]).outputs
    y, w = data.targets[rows], data.weights[rows]
    bits = np.logaddexp(0.0, out) - y * out
    return float((w * bits).sum(dtype=np.float64) / max(float(w[:, 0].sum()), 1e-9))


def _start(data: Matrices, config: TrunkConfig, rng: np.random.Generator) -> dict[str, Floats]:
    n_outputs = data.targets.shape[1]
    total = np.maximum(data.weights.sum(axis=0), 1e-9)
    share = np.clip((data.weights * data.targets).sum(axis=0) / total, 1e-3, 1 - 1e-3)
    shapes = {
        "table": (data.ngrams.shape[1], config.hidden),
        "features": (data.features.shape[1], config.hidden),
        "out": (config.hidden, n_outputs),
    }
    start = {name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    start["bias"] = np.zeros(config.hidden, np.float32)
    start["out_bias"] = np.log(share / (1 - share)).astype(np.float32)
    return start


def _gradient(
    parameters: dict[str, Floats], data: Matrices, rows: npt.NDArray[np.int64], config: TrunkConfig, rng: np.random.Generator
) -> dict[str, Floats]:
    x = data.ngrams[rows]
    keep = 1.0 - config.ngram_dropout
    x.data = x.data * ((rng.random(len(x.data)) < keep) / keep).astype(np.float32)
    features = data.features[rows]
    hidden = np.tanh(x @ parameters["table"] + features @ parameters["features"] + parameters["bias"])
    mask = ((rng.random(hidden.shape) >= config.hidden_dropout) / (1.0 - config.hidden_dropout)).astype(np.float32)
    dropped = hidden * mask
    out = dropped @ parameters["out"] + parameters["out_bias"]
    w = data.weights[rows]
    d_out = (w * (sigmoid(out) - data.targets[rows]) / max(float(w[:, 0].sum()), 1e-9)).astype(np.float32)
    d_pre = (d_out @ parameters["out"].T) * mask * (1.0 - hidden**2)
    return {
        "table": np.asarray(x.T @ d_pre),
        "features": features.T @ d_pre,
        "bias": d_pre.sum(axis=0),
        "out": dropped.T @ d_out,
        "out_bias": d_out.sum(axis=0),
    }


class _Adam:
    """Adam with decoupled weight decay."""

    def __init__(self, parameters: dict[str, Floats], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._step = 0

    def step(self, gradient: dict[str, Floats], rate: float) -> None:
        self._step += 1
        correction = np.float32(np.sqrt(1.0 - 0.999**self._step) / (1.0 - 0.9**self._step))
        for name, value in self._parameters.items():
            g, first, second = gradient[name], self._first[name], self._second[name]
            first *= np.float32(0.9)
            first += np.float32(0.1) * g
            second *= np.float32(0.999)
            second += np.float32(0.001) * g * g
            if "bias" not in name:
                value *= np.float32(1.0 - rate * self._decay)
            value -= np.float32(rate) * correction * first / (np.sqrt(second) + np.float32(1e-8))
