"""A trained network -> the files that ship: the encoder as eight-bit ONNX, the heads as safetensors, the tokenizer."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from safetyanalyst.generation.backends.embedded_known import SEEN_BITS, seen_slots
from safetyanalyst.generation.backends.embedded_model import Names
from safetyanalyst.generation.backends.embedded_text import words_of
from safetyanalyst.pipelines.train_config import Decoding
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

OPSET = 17
_UNSHIPPED = ("encoder.", "judgements.", "score_")  # what training alone needs


class _OneChunk(nn.Module):
    """The encoder for one chunk without padding: (1, tokens) -> (1, width)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return states.mean(1)


def export_encoder(network: Network, path: Path) -> None:
    """Writes the encoder as ONNX with weights of eight bits, one scale per column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    module = _OneChunk(network.encoder).float().cpu().eval()
    ids = torch.arange(16)[None]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            module, (ids,), full, input_names=["ids"], output_names=["vectors"], opset_version=OPSET,
            dynamic_axes={"ids": {1: "tokens"}}, dynamo=False,
        )  # fmt: skip
        quantize_dynamic(full, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def head_arrays(
    network: Network, decoding: Mapping[TreeKind, Decoding], seen: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """Weights of the heads by name, in sixteen bits, with how to decode them and the set of seen words."""
    state = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    arrays: dict[str, npt.NDArray[Any]] = {
        name: value.astype(np.float16) for name, value in state.items() if not name.startswith(_UNSHIPPED)
    }
    for kind in TREE_KINDS:
        it = decoding[kind]
        arrays[f"heads.{kind}.decode"] = np.array((it.row_threshold, it.effect_threshold, it.max_rows), np.float32)
    return arrays | {"seen": np.packbits(seen)}


def seen_words(scenarios: Iterable[Scenario], min_documents: int) -> npt.NDArray[np.bool_]:
    """The set of words that enough texts hold, hashed."""
    documents = Counter(word for it in scenarios for word in {word for text in it.texts() for word in words_of(text)})
    seen = np.zeros(1 << SEEN_BITS, bool)
    for word, n in documents.items():
        if n >= min_documents:
            seen[list(seen_slots(word))] = True
    return seen


def save(
    folder: Path, network: Network, arrays: Mapping[str, npt.NDArray[Any]], name: str, taxonomy: Taxonomy, tokenizer: Path
) -> None:
    """Writes all files of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    export_encoder(network, folder / "encoder.onnx")
    names = Names.of_taxonomy(taxonomy).model_dump_json()
    metadata = {"name": name, "taxonomy": taxonomy.label, "names": names}
    ordered = {key: np.ascontiguousarray(arrays[key]) for key in sorted(arrays)}
    about = json.dumps(metadata, sort_keys=True)  # one key: the order is fixed
    save_file(ordered, folder / "heads.safetensors", metadata={"about": about})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
