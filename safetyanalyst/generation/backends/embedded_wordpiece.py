"""Text -> word pieces, as BERT's uncased models read it (Devlin et al., 2019; greedy longest match first).

The library `tokenizers` does the same, and brings a dozen packages with an HTTP client among them to a product that works
offline; a test holds that both agree. Read are the words of a `tokenizer.json` whose parts are BERT's.
"""

from __future__ import annotations

import functools
import json
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetyanalyst.errors import BackendError

_PARTS = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}
_NORMALIZER = {"clean_text": True, "handle_chinese_chars": True, "lowercase": True}
MAX_WORD = 100  # characters; a longer word is unknown
_REMEMBERED = 50_000  # words
_ASCII_WORD = re.compile(r"[a-z0-9]+|[^a-z0-9\s]")
_CONTROL = ("Cc", "Cf", "Co", "Cs")
_PUNCTUATION = frozenset(string.punctuation)
_CJK = (
    range(0x4E00, 0xA000), range(0x3400, 0x4DC0), range(0x20000, 0x2A6E0), range(0x2A700, 0x2B740), range(0x2B740, 0x2B820),
    range(0x2B920, 0x2CEB0), range(0xF900, 0xFB00), range(0x2F800, 0x2FA20),
)  # fmt: skip


class WordPiece:
    """Splits texts into the pieces of a vocabulary.

    Args:
        vocabulary: Id of every piece; one that goes on within a word begins with "##".
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary
        self._unknown = [vocabulary["[UNK]"]]
        self._ids = functools.lru_cache(_REMEMBERED)(self._ids_of)

    @classmethod
    def read(cls, path: Path) -> WordPiece:
        """Reads a `tokenizer.json`.

        Raises:
            BackendError: There is no such file, or it describes another tokenizer.
        """
        if not path.is_file():
            raise BackendError(f"there is no tokenizer of the embedded specialists at {path}")
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            parts = {key: described[key]["type"] for key in _PARTS}
            normalizer = {key: described["normalizer"][key] for key in _NORMALIZER}
            vocabulary: dict[str, int] = described["model"]["vocab"]
            if parts != _PARTS or normalizer != _NORMALIZER or described["normalizer"].get("strip_accents") is False:
                raise BackendError(f"{path} does not hold a tokenizer of an uncased BERT")
            return cls(vocabulary)
        except (ValueError, KeyError, TypeError) as error:
            raise BackendError(f"{path} does not hold a tokenizer: {type(error).__name__} {error}") from error

    def ids(self, text: str) -> list[int]:
        """Ids of the pieces, no special tokens."""
        words = _words(text)
        return [found for word in words for found in (self._ids(word) if len(word) <= MAX_WORD else self._unknown)]

    def _ids_of(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self.vocabulary.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return self._unknown
            found.append(piece)
            start = end
        return found


def _words(text: str) -> Iterable[str]:
    """Lower-case words without accents; each mark of punctuation and each CJK character is one of its own."""
    if text.isascii():
        return _ASCII_WORD.findall(text.translate(_ASCII).lower())
    return (word for part in _plain(text).split() for word in _split(part))


def _split(part: str) -> Iterator[str]:
    word = ""
    for c in part:
        if not _is_punctuation(c):
            word += c
            continue
        if word:
            yield word
        yield c
        word = ""
    if word:
        yield word


def _plain(text: str) -> str:
    clean = "".join(map(_cleaned, text))
    bare = "".join(c for c in unicodedata.normalize("NFD", clean) if unicodedata.category(c) != "Mn")
    return "".join(c.lower() for c in bare)  # letter by letter: a final sigma is a sigma


@functools.lru_cache(_REMEMBERED)
def _cleaned(c: str) -> str:
    if c in "\t\n\r":
        return " "
    if c == "\ufffd" or unicodedata.category(c) in _CONTROL:
        return ""
    if c.isspace():
        return " "
    return f" {c} " if any(ord(c) in span for span in _CJK) else c


@functools.lru_cache(_REMEMBERED)
def _is_punctuation(c: str) -> bool:
    return c in _PUNCTUATION or unicodedata.category(c)[0] == "P"


_ASCII = {i: _cleaned(chr(i)) for i in range(128)}
