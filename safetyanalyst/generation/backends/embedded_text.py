"""Text -> numbers, for the embedded specialists: words, hashed n-grams of words and characters. No vocabulary of texts is kept.

Everything is linear in the length of the text. The same code runs when training and when answering.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[?!]+")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
# a habit of one agent framework, and a perfect shortcut in sets that mix frameworks: it shall decide nothing
_MARKERS = re.compile(r"final answer\s*:?|\[(?:thought|action)\]\s*:?|\baction(?: input)?\s*:", re.IGNORECASE)
_SURROGATES = re.compile("[\ud800-\udfff]")

_MIX_1 = np.uint64(0x9E3779B97F4A7C15)
_MIX_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_3 = np.uint64(0x165667B19E3779F9)
_SHIFT = np.uint64(29)
_CHARACTER_SIZES = (3, 4, 5)


class Tokens(NamedTuple):
    """The tokens of a text.

    Attributes:
        hashes: (n,) hash of each token: word, shape of a number, or mark.
        lengths: (n,) characters of each word, counted two for scripts without blanks; 0 for numbers and marks.
        words: (n,) the tokens themselves, lower case.
    """

    hashes: Hashes
    lengths: Ids
    words: list[str]


def normalised(text: str) -> str:
    """One spelling for look-alikes; lone surrogates replaced; identifiers split where their capitals are."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _SURROGATES.sub("\ufffd", text))
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # zero-width signs hide words
    return _CAMEL.sub(" ", _MARKERS.sub(" ", text))


def tokenize(text: str) -> Tokens:
    """Splits a text; never fails.

    Args:
        text: Anything, lone surrogates and NUL included.
    """
    words = _TOKEN.findall(normalised(text).lower())
    known = [_token(word[:64]) for word in words]
    hashes = np.array([it.hash for it in known], np.uint64)
    return Tokens(hashes, np.array([it.length for it in known], np.int64), words)


class _Token(NamedTuple):
    hash: int
    length: int


@lru_cache(maxsize=50_000)
def _token(word: str) -> _Token:
    if word[0].isdigit():
        return _Token(zlib.crc32(b"#" * min(len(word), 6)), 0)
    if not word[0].isalpha():
        return _Token(zlib.crc32(word[0].encode()), 0)
    plain = word.replace("\u2019", "'")
    wide = not plain.isascii() and any(ord(c) > 0x2E80 for c in plain)
    return _Token(zlib.crc32(plain.encode()), 2 * len(plain) if wide else len(plain))


@lru_cache(maxsize=50_000)
def _characters(word: str) -> Hashes:
    padded = f"<{word}>".encode()
    grams = [padded[i : i + size] for size in _CHARACTER_SIZES for i in range(len(padded) - size + 1)]
    return np.array([zlib.crc32(gram) for gram in grams], np.uint64)


def _mixed(hashes: Hashes, salt: int) -> Hashes:
    x = (hashes + np.uint64(salt)) * _MIX_1
    x ^= x >> _SHIFT
    x *= _MIX_2
    return x ^ (x >> np.uint64(32))


class Sparse(NamedTuple):
    """A sparse vector.

    Attributes:
        ids: (m,) positions, ascending, each once.
        values: (m,) signed values, before any weighting of the position.
    """

    ids: Ids
    values: Floats


def hashed_ngrams(tokens: Tokens, salt: int, n_buckets: int) -> Sparse:
    """Signed hashed counts of word 1-3-grams and of character 3-5-grams of each different word.

    Args:
        tokens: Of one field.
        salt: Tells fields apart: the same words in another field fall elsewhere.
        n_buckets: Size of the space; a power of two.
    """
    h = tokens.hashes
    if not len(h):
        return Sparse(np.empty(0, np.int64), np.empty(0, np.float32))
    pairs = h[:-1] * _MIX_2 + h[1:] * _MIX_3 + np.uint64(1)
    triples = pairs[:-1] * _MIX_3 + h[2:] * _MIX_1 + np.uint64(2) if len(h) > 2 else np.empty(0, np.uint64)
    different = sorted({word for word, length in zip(tokens.words, tokens.lengths, strict=True) if length > 3})
    characters = [_characters(word[:64]) + np.uint64(1 << 40) for word in different]
    counted = [_count(np.concatenate([h, pairs, triples]), salt, 1.0)]
    if characters:
        counted.append(_count(np.concatenate(characters), salt, 0.5))
    keys = np.concatenate([it.keys for it in counted])
    weights = np.concatenate([it.weights for it in counted])
    ids = (keys & np.uint64(n_buckets - 1)).astype(np.int64)
    signs = np.where(keys >> np.uint64(63), 1.0, -1.0).astype(np.float32)
    order, inverse = np.unique(ids, return_inverse=True)
    values = np.bincount(inverse, signs * weights, minlength=len(order)).astype(np.float32)
    return Sparse(order, values)


class _Counted(NamedTuple):
    keys: Hashes
    weights: Floats


def _count(hashes: Hashes, salt: int, weight: float) -> _Counted:
    keys, counts = np.unique(_mixed(hashes, salt), return_counts=True)
    return _Counted(keys, (weight * (1.0 + np.log(counts))).astype(np.float32))


def word_set(tokens: Tokens) -> frozenset[str]:
    """The different words of more than two letters, endings cut: what two passages can have in common."""
    return frozenset(_stem(word) for word, length in zip(tokens.words, tokens.lengths, strict=True) if length > 2)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: len(word) - len(ending)]
    return word
