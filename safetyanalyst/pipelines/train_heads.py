"""The last stage of training: heads alone, from scratch, on summaries of an encoder that stands still.

Few passes are enough for the encoder, and far too few for the heads: after three epochs their trees are worse than the most
frequent tree. On cached summaries fifty passes take a minute. Label and severity stay in the loss (`LossWeights.score`): trees
are to be like the teacher's, and to weigh what the label asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from safetyanalyst.errors import ConfigError, FitError
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.pipelines.train_config import HeadStage
from safetyanalyst.pipelines.train_loss import LossWeights, loss_of
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.pipelines.train_targets import Targets

WEIGHTS = LossWeights(judgements=0.0, score=1.0, rows=1.0, effects=1.0, levels=1.0)
_BATCH = 64
_DECAY = 0.05


def fit_heads(
    network: Network, z: npt.NDArray[np.float32], targets: Sequence[Targets], importance: npt.NDArray[np.float32],
    stage: HeadStage, seed: int, path: Path,
) -> None:  # fmt: skip
    """Fits the heads of a network as they stand, and its score; an earlier, finished run is taken from its file.

    Args:
        network: Whose encoder made the summaries, under fresh heads.
        z: (n, z) summaries by its encoder.
        targets: n of them.
        importance: (judgements,) in the loss.
        stage: How long and how fast.
        seed: Of order and dropout.
        path: Where the heads go when they are done.

    Raises:
        ConfigError: The file holds other heads.
        FitError: The loss is no number.
    """
    device = network.query.device
    if not path.is_file():
        _fit(network, torch.from_numpy(z).to(device), targets, torch.from_numpy(importance).to(device), stage, seed)
        with whole(path) as draft:
            save_file({name: value.detach().cpu().contiguous() for name, value in _own(network).items()}, draft)
    learned = load_file(path)
    if learned.keys() != _own(network).keys():
        raise ConfigError("holds other heads", file=path, expected="heads of this configuration")
    network.load_state_dict(learned, strict=False)


def _fit(
    network: Network, z: torch.Tensor, targets: Sequence[Targets], importance: torch.Tensor, stage: HeadStage, seed: int
) -> None:
    torch.manual_seed(seed)
    parameters = list(_own(network).values())
    steps = stage.epochs * -(-len(targets) // _BATCH)
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, stage.rate, total_steps=steps)
    rng = np.random.default_rng(seed)
    for _ in range(stage.epochs):
        order = rng.permutation(len(targets))
        for start in range(0, len(order), _BATCH):
            at = order[start : start + _BATCH]
            some = torch.nn.functional.dropout(z[at], stage.dropout)
            loss = loss_of(network, some, [targets[i] for i in at], importance, WEIGHTS)
            if not torch.isfinite(loss):
                raise FitError("the loss of the heads is no number; a lower learning rate may help")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()


def _own(network: Network) -> dict[str, torch.nn.Parameter]:
    """What this stage learns."""
    return {name: it for name, it in network.named_parameters() if name.startswith(("heads.", "score_"))}
