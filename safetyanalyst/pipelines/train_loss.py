"""The loss that the network is trained by: log losses of judgements, rows, effects and levels, summed with fixed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from safetyanalyst.pipelines.train_network import SEVERITIES, Heads, Network, Rows
from safetyanalyst.pipelines.train_targets import Targets, TreeTargets
from safetyanalyst.trees import TREE_KINDS


class LossWeights(NamedTuple):
    """How much each part counts.

    Attributes:
        judgements: Of a scenario's judgements, summed with their own importance.
        score: Of label and severity against what the predicted trees are expected to weigh.
        rows: Of all (stakeholder, action) pairs of a tree, summed.
        effects: Of the effects of a row, summed; the mean over rows counts.
        levels: Of the levels of a leaf, likewise.
    """

    judgements: float = 1.5
    score: float = 1.5
    rows: float = 0.1
    effects: float = 0.2
    levels: float = 0.3


def loss_of(network: Network, z: Tensor, targets: Sequence[Targets], importance: Tensor, weights: LossWeights) -> Tensor:
    """The loss of a batch, a mean over its scenarios.

    Args:
        network: Whose heads predict.
        z: (n, z) summaries.
        targets: n of them.
        importance: (judgements,).
        weights: Of the parts.
    """
    device = z.device
    of_item = torch.tensor([it.weight for it in targets], device=device)
    y = torch.from_numpy(np.stack([it.judgements for it in targets])).to(device)
    known = torch.from_numpy(np.stack([it.known for it in targets])).to(device)
    n = 1 + SEVERITIES
    judged = log_loss(network.judgements(z), y, reduction="none") * known * importance
    total = weights.judgements * (judged.sum(1) * of_item).sum()
    scored = log_loss(network.score_logits(z), y[:, :n], reduction="none") * known[:, :n] * importance[:n]
    total = total + weights.score * (scored.sum(1) * of_item).sum()
    taught = [i for i, it in enumerate(targets) if it.trees is not None]
    if taught:
        mine = z[torch.tensor(taught, device=device)]
        for kind in TREE_KINDS:
            trees = [targets[i].trees or {} for i in taught]
            heads: Heads = network.heads[kind]  # type: ignore[assignment]
            total = total + _tree_loss(heads, mine, [it[kind] for it in trees], of_item[taught], weights)
    return total / len(targets)


def _tree_loss(heads: Heads, z: Tensor, trees: Sequence[TreeTargets], of_item: Tensor, weights: LossWeights) -> Tensor:
    """Sum over scenarios."""
    device = z.device
    rows, row_weight = _rows([it.rows for it in trees], of_item)
    present = torch.zeros_like(logits := heads.pair_logits(z))
    present[rows.of, rows.stakeholder, rows.action] = 1.0
    total = weights.rows * (log_loss(logits, present, reduction="none").sum((1, 2)) * of_item).sum()
    if len(rows.of):
        y = torch.from_numpy(np.concatenate([it.effects for it in trees])).to(device)
        effects = log_loss(heads.effect_logits(z, rows), y, reduction="none").sum(1)
        total = total + weights.effects * (effects * row_weight).sum()
        leaves, leaf_weight = _rows([it.leaves for it in trees], of_item)
        y = torch.from_numpy(np.concatenate([it.levels for it in trees])).to(device)
        levels = log_loss(heads.level_logits(z, leaves), y, reduction="none").sum(1)
        total = total + weights.levels * (levels * leaf_weight).sum()
    return total


def _rows(parts: Sequence[np.ndarray], of_item: Tensor) -> tuple[Rows, Tensor]:
    """Rows of all trees as one, each weighing one over the size of its tree."""
    device = of_item.device
    counts = torch.tensor([len(part) for part in parts], device=device)
    of = torch.repeat_interleave(torch.arange(len(parts), device=device), counts)
    columns = torch.from_numpy(np.concatenate(parts)).to(device).T
    effect = columns[2] if len(columns) == 3 else columns[0][:0]
    return Rows(of, columns[0], columns[1], effect), of_item[of] / counts[of]
