from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from safetyanalyst.generation.backends.embedded_model import Names
from safetyanalyst.generation.backends.embedded_runtime import Encoder
from safetyanalyst.pipelines import train_export
from safetyanalyst.pipelines.train_batches import encode
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.trees import TREE_KINDS
from tests import tiny

UNSHIPPED = ("encoder.", "judgements.", "score_")


@pytest.fixture(scope="module")
def weights(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_weights(tmp_path_factory.mktemp("weights"), site, tiny.scenarios())


@pytest.fixture(scope="module")
def network(site: Path) -> Network:
    return tiny.network(site, std=0.3)


def test_the_exported_encoder_says_what_the_trained_one_does(site: Path, weights: Path, network: Network) -> None:
    vocabulary, encoder = tiny.vocabulary(site), Encoder(weights / "encoder.onnx", 1)
    lengths = set()
    for i, scenario in enumerate(tiny.scenarios()):
        chunks = encode(scenario, vocabulary, i).ids
        lengths |= set(map(len, chunks))
        for ids, found in zip(chunks, encoder.encode(chunks), strict=True):
            with torch.no_grad():
                expected = network.encode(torch.tensor([ids]), torch.ones((1, len(ids)), dtype=torch.long))[0].numpy()
            assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)  # weights of eight bits
    assert max(lengths) > 160  # any length runs, though one was shown


def test_the_exported_encoder_holds_its_tables_in_eight_bits(weights: Path) -> None:
    tables = [it for it in onnx.load(weights / "encoder.onnx").graph.initializer if np.prod(it.dims) >= 1000]
    assert len(tables) > 6
    assert {it.data_type for it in tables} <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def test_what_training_alone_needs_is_not_shipped(weights: Path, network: Network) -> None:
    with safe_open(weights / "heads.safetensors", "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        about = json.loads(file.metadata()["about"])
    trained = dict(network.named_parameters())
    assert set(arrays) - set(trained) == {"seen", *(f"heads.{kind}.decode" for kind in TREE_KINDS)}
    left_out = set(trained) - set(arrays)
    assert left_out == {name for name in trained if name.startswith(UNSHIPPED)}
    assert {name.split(".")[0] for name in left_out} == {"encoder", "judgements", "score_scale", "score_cuts"}
    for name in set(arrays) & set(trained):
        assert np.array_equal(arrays[name].astype(np.float32), trained[name].detach().numpy())
    assert about["taxonomy"] == tiny.TAXONOMY.label
    assert Names.model_validate_json(about["names"]) == Names.of_taxonomy(tiny.TAXONOMY)
    assert arrays["heads.harm.decode"].tolist() == pytest.approx([0.3, 0.4, 4])


def test_equal_networks_give_equal_files(site: Path, weights: Path, tmp_path: Path) -> None:
    again = tiny.write_weights(tmp_path, site, tiny.scenarios())
    for path in sorted(weights.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    other = tiny.write_weights(tmp_path / "other", site, tiny.scenarios(), seed=1)
    assert (other / "heads.safetensors").read_bytes() != (weights / "heads.safetensors").read_bytes()


def test_words_of_too_few_texts_are_not_known() -> None:
    texts = [tiny.prompt("the kettle"), tiny.prompt("the the ladder")]
    sizes = [int(train_export.seen_words(texts, n).sum()) for n in (1, 2, 3)]
    assert sizes == [6, 2, 0]  # two places a word: three words, then only "the"
