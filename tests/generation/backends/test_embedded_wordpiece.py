from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_wordpiece import WordPiece
from tests import tiny

OLD = unicodedata.ucd_3_2_0  # the library's Unicode is older than ours: what both know, they know alike
STABLE = st.characters(exclude_categories=("Cs", "Cn")).filter(lambda c: OLD.category(c) == unicodedata.category(c))
PIECES = [
    "kettle", "Kettles", "Ünïcôdé", "ΣΑΣ", "\u0130", "e\u0301", "\x00", "\x85", "\u2028", "\ufffd", "\u200b", "中文字", "don't",
    "a-b",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(site: Path) -> Path:
    return site / tiny.PACKAGE / "model" / "tokenizer.json"


@pytest.fixture(scope="module")
def library(path: Path) -> Any:
    return Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def ours(path: Path) -> WordPiece:
    return WordPiece.read(path)


@given(st.lists(st.sampled_from([*PIECES, *tiny.WORDS, " ", "\n", "\t"]) | st.text(STABLE, max_size=12), max_size=12))
def test_it_reads_as_the_library_does(library: Any, ours: WordPiece, parts: list[str]) -> None:
    text = "".join(parts)
    assert ours.ids(text) == library.encode(text, add_special_tokens=False).ids


@given(st.text(st.characters(max_codepoint=127)))
def test_so_it_does_plain_ascii(library: Any, ours: WordPiece, text: str) -> None:
    assert ours.ids(text) == library.encode(text, add_special_tokens=False).ids


def test_a_word_of_more_than_a_hundred_characters_is_unknown(library: Any, ours: WordPiece) -> None:
    for n in (99, 100, 101):
        text = "a" * n
        assert ours.ids(text) == library.encode(text, add_special_tokens=False).ids
    assert ours.ids("a" * 101) == [ours.vocabulary["[UNK]"]]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"type": "BPE"}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("normalizer", {"lowercase": False}),
        ("normalizer", {"strip_accents": False}),
    ],
)
def test_another_tokenizer_is_refused(path: Path, tmp_path: Path, part: str, change: dict[str, Any]) -> None:
    described = json.loads(path.read_text(encoding="utf-8"))
    described[part] |= change
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(BackendError, match="does not hold a tokenizer of an uncased BERT"):
        WordPiece.read(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": 1}'])
def test_a_broken_file_is_an_error_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(BackendError, match=r"tokenizer\.json does not hold a tokenizer"):
        WordPiece.read(tmp_path / "tokenizer.json")
    with pytest.raises(BackendError, match="there is no tokenizer"):
        WordPiece.read(tmp_path / "nothing.json")
