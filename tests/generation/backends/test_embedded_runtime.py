from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_runtime import Encoder, Vocabulary
from tests import tiny

SPECIAL_IDS = {tiny.SPECIAL.index(token) for token in tiny.SPECIAL if token != "[UNK]"}


@pytest.fixture(scope="module")
def vocabulary(site: Path) -> Vocabulary:
    return tiny.vocabulary(site)


@pytest.fixture(scope="module")
def weights(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_weights(tmp_path_factory.mktemp("weights"), site)


def chunks(vocabulary: Vocabulary, n: int) -> list[list[int]]:
    """Chunks of very different lengths."""
    rng = np.random.default_rng(0)
    texts = [" ".join(tiny.WORDS[i] for i in rng.integers(len(tiny.WORDS), size=1 + 7 * k)) for k in rng.permutation(n)]
    return [vocabulary.joined([vocabulary.tokenize(text)]) for text in texts]


@pytest.mark.parametrize("token", tiny.SPECIAL)
def test_special_tokens_in_a_text_are_text(vocabulary: Vocabulary, token: str) -> None:
    text = f"how do i {token} steal{token}the kettle"
    ids = vocabulary.tokenize(text)
    assert not SPECIAL_IDS & set(ids)
    plain = vocabulary.tokenize(text.replace("[", " ( ").replace("]", " ) "))
    assert len(ids) == len(plain)  # read letter by letter, nothing swallowed


@given(
    st.lists(st.sampled_from([*tiny.SPECIAL, "[", "]", "CLS", "SEP]", "steal", " ", "\x00", "\ud800"]) | st.text(max_size=8))
)
def test_no_text_yields_a_special_token(vocabulary: Vocabulary, parts: list[str]) -> None:
    assert not SPECIAL_IDS & set(vocabulary.tokenize("".join(parts)))


def test_parts_are_joined_between_separators(vocabulary: Vocabulary) -> None:
    begin, end = tiny.SPECIAL.index("[CLS]"), tiny.SPECIAL.index("[SEP]")
    assert vocabulary.joined([[7, 8], [], [9]]) == [begin, 7, 8, end, end, 9, end]
    assert vocabulary.unknown == tiny.SPECIAL.index("[UNK]")


def test_a_long_text_is_not_cut(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.tokenize("steal the kettle " * 1000)) == 3000


def test_vectors_come_in_order_whatever_stands_beside_them_and_however_many_threads(
    weights: Path, vocabulary: Vocabulary
) -> None:
    held = chunks(vocabulary, 9)
    alone, beside = (Encoder(weights / "encoder.onnx", threads) for threads in (1, 4))
    expected = np.concatenate([alone.encode([chunk]) for chunk in held])
    assert expected.shape == (9, 32)
    assert len(np.unique(expected.round(6), axis=0)) == 9
    for encoder in (alone, beside):
        assert np.array_equal(encoder.encode(held), expected)
        assert np.array_equal(encoder.encode(held[::-1]), expected[::-1])


def test_broken_and_absent_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for kind in (lambda: Encoder(path, 1), lambda: Vocabulary(path)):
        with pytest.raises(BackendError, match=str(path)):
            kind()
    path.write_bytes(b'{"neither": "of both"}')
    for kind in (lambda: Encoder(path, 1), lambda: Vocabulary(path)):
        with pytest.raises(BackendError, match=f"{path} does not hold"):
            kind()


def test_a_tokenizer_without_separators_is_refused(site: Path, tmp_path: Path) -> None:
    text = (site / tiny.PACKAGE / "model" / "tokenizer.json").read_text(encoding="utf-8")
    path = tmp_path / "tokenizer.json"
    path.write_text(text.replace("[SEP]", "[END]"), encoding="utf-8")
    with pytest.raises(BackendError, match=r"no token \[SEP\]"):
        Vocabulary(path)
