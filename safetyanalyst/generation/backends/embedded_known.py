"""How much of a text the embedded specialists can read: known words, and letters of scripts that training has not shown.

Training shows the Latin script alone. What is written in another one, or in signs that stand for letters (full-width and
mathematical letters, circled ones, Braille, invisible tags), reaches the encoder as nothing, or as noise. It may say anything,
so it is counted here, whatever words stand around it, and the specialists call such a part lost.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_text import words_of
from safetyanalyst.generation.backends.embedded_wordpiece import MAX_WORD

SEEN_BITS = 20  # size of the set of seen words
_WITHIN = 8  # a word of Latin letters with others among them is a disguise
_PASSAGE = 12  # words, of which half are moved on from
_LATIN = ("LATIN", "FEMININE", "MASCULINE", "MICRO")  # the ordinals of Spanish, and the sign of a millionth
_HAN = ("CJK ", "HIRAGANA", "KATAKANA", "BOPOMOFO", "YI SYL")
_DISGUISED = ("FULLWIDTH", "MATHEMATICAL", "CIRCLED", "NEGATIVE", "PARENTHESIZED", "SQUARED", "REGIONAL", "BRAILLE", "SQUARE ")
_INVISIBLE = (range(0xE0000, 0xE0080), range(0xE0100, 0xE01F0))  # tags, and selectors that carry bytes


class Known(NamedTuple):
    """What of a scenario can be read.

    Attributes:
        familiarity: Share of its words that occurred in training; 0 without words.
        passage: The same of the least familiar passage of 12 words; 1 where there are fewer.
        unread: Letters that cannot be read, each by what it says: a Han character about as much as three letters.
    """

    familiarity: float
    passage: float
    unread: int


class SeenWords:
    """The words that training has shown, as a Bloom filter of two hashes (it may remember a few words too many).

    Args:
        packed: Its bits.
    """

    def __init__(self, packed: npt.NDArray[np.uint8]) -> None:
        self._seen = np.unpackbits(packed).astype(bool)

    def known(self, texts: Sequence[str]) -> Known:
        """What of some texts can be read; numbers are no words."""
        said = [words_of(text) for text in texts]
        unread = sum(_unread(text, words) for text, words in zip(texts, said, strict=True))
        words = [word for own in said for word in own if not word.isdigit()]
        if not words:
            return Known(0.0, 1.0, unread)
        distinct = list(dict.fromkeys(words))
        slots = np.array([seen_slots(word) for word in distinct])
        share = dict(zip(distinct, map(bool, self._seen[slots].all(axis=1)), strict=True))
        seen = np.fromiter((share[word] for word in words), bool, len(words))
        return Known(float(seen.mean()), _least(seen), unread)


def seen_slots(word: str) -> tuple[int, int]:
    """Places of a word in the set of seen words."""
    raw = word.encode("utf-8", "surrogatepass")
    mask = (1 << SEEN_BITS) - 1
    return zlib.crc32(raw) & mask, zlib.adler32(raw, zlib.crc32(b"seen" + raw)) & mask


def unread_letters(text: str) -> int:
    """Letters of a text that cannot be read, each by what it says (see `Known`)."""
    return _unread(text, words_of(text))


def _unread(text: str, words: Sequence[str]) -> int:
    endless = sum(len(word) for word in words if len(word) > MAX_WORD)  # to the encoder each is one unknown token
    if text.isascii():
        return endless
    foreign = sum(n * _weight(c) for c, n in Counter(text).items() if not c.isascii())
    return endless + foreign + sum(_WITHIN for word in words if _is_mixed(word))


def _least(seen: npt.NDArray[np.bool_]) -> float:
    if len(seen) < _PASSAGE:
        return 1.0
    total = np.concatenate(([0], np.cumsum(seen)))
    starts = np.unique([*range(0, len(seen) - _PASSAGE, _PASSAGE // 2), len(seen) - _PASSAGE])
    return float((total[starts + _PASSAGE] - total[starts]).min() / _PASSAGE)


def _weight(c: str) -> int:
    code, category = ord(c), unicodedata.category(c)
    if any(code in span for span in _INVISIBLE):
        return 3
    if category in ("Co", "Cs"):
        return 3
    name = unicodedata.name(c, "")
    if name.startswith(_DISGUISED):
        return 1 if name.startswith("REGIONAL") else 3 if category[0] in "LS" else 0  # flags are two regional letters
    if category[0] != "L" or category == "Lm" or name.startswith(_LATIN):
        return 0
    return 3 if name.startswith(_HAN) else 2 if name.startswith("HANGUL") else 1


def _is_mixed(word: str) -> bool:
    scripts = {_is_latin(c) for c in word if c.isalpha() and unicodedata.category(c) != "Lm"}
    return len(word) > 2 and len(scripts) == 2


def _is_latin(c: str) -> bool:
    return c.isascii() or unicodedata.name(c, "").startswith(_LATIN)
