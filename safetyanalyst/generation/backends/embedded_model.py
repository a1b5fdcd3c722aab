"""The weights of the embedded specialists, and a scenario as they see it."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_heads import Arrays, Summary, TreeHeads
from safetyanalyst.generation.backends.embedded_runtime import Encoder, Floats, Vocabulary
from safetyanalyst.generation.backends.embedded_steps import step_rows, step_summary
from safetyanalyst.generation.backends.embedded_text import MAX_CHUNKS, Chunk, chunks_of, words_of
from safetyanalyst.scenarios import Scenario
from safetyanalyst.trees import TREE_KINDS

WEIGHTS = Path(__file__).parent / "weights"
SEEN_BITS = 20  # size of the set of seen words
_LATIN_END, _LATIN_MORE = 0x250, range(0x1E00, 0x1F00)
FILES = ("encoder.onnx", "heads.safetensors", "tokenizer.json")


class Reading(NamedTuple):
    """A scenario as the model sees it.

    Attributes:
        scenario: What was read.
        z: (k,) summary.
        familiarity: Share of its words that occurred in training.
        unread: Letters of words that did not, in scripts other than the Latin one.
        steps: (k,) summary of every step of a trajectory alone.
        is_whole: Whether all of it was read.
    """

    scenario: Scenario
    z: Floats
    familiarity: float
    unread: int
    steps: tuple[Floats, ...]
    is_whole: bool


class Known(NamedTuple):
    """See `Reading`."""

    familiarity: float
    unread: int


class _Chunks(NamedTuple):
    scenario: Scenario
    chunks: list[Chunk]
    is_whole: bool


class EmbeddedModel:
    """Encoder, tokenizer and heads.

    Args:
        encoder: Chunks to vectors.
        vocabulary: Texts to tokens.
        arrays: Weights of the heads by name.
        metadata: Names of what the indices mean.
        digest: sha256 of all files, hex.
    """

    def __init__(
        self, encoder: Encoder, vocabulary: Vocabulary, arrays: Arrays, metadata: Mapping[str, str], digest: str
    ) -> None:
        self.metadata = dict(metadata)
        self.digest = digest
        self.stakeholders = tuple(metadata["stakeholders"].split("|"))
        self.encoder, self.vocabulary = encoder, vocabulary
        self._summary = Summary(arrays)
        self._seen = np.unpackbits(np.asarray(arrays["seen"], np.uint8)).astype(bool)
        self._last: dict[int, Reading] = {}
        self.heads = {kind: TreeHeads(arrays, kind, int(metadata["extents"])) for kind in TREE_KINDS}

    @classmethod
    def load(cls, folder: Path) -> EmbeddedModel:
        """Reads the weights.

        Raises:
            BackendError: A file is missing, or is not one of ours.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / "heads.safetensors"
        if not path.is_file():
            raise BackendError(f"there are no weights of the embedded specialists at {path}")
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
                about = json.loads((file.metadata() or {})["about"])
            encoder = Encoder(folder / "encoder.onnx", min(4, _processors()))
            return cls(encoder, Vocabulary(folder / "tokenizer.json"), arrays, about, digest_of(folder))
        except (SafetensorError, KeyError, ValueError) as error:
            raise BackendError(f"{path} does not hold weights of the embedded specialists: {error}") from error

    def read(self, scenarios: Sequence[Scenario]) -> list[Reading | Exception]:
        """Reads scenarios, once for both specialists; one that cannot be read is an exception in its place.

        The readings of the last call are kept for whichever specialist asks next.
        """
        found: dict[int, Reading] = {}
        failed: dict[int, Exception] = {}
        fresh: list[_Chunks] = []
        for scenario in scenarios:
            known = self._last.get(id(scenario))
            if known is not None and known.scenario is scenario:
                found[id(scenario)] = known
            elif id(scenario) not in failed:
                try:
                    fresh.append(self._chunks(scenario))
                except Exception as error:  # whatever a hostile text does to one scenario stays with it
                    failed[id(scenario)] = error
        vectors = self.encoder.encode([self.vocabulary.joined(c.parts) for it in fresh for c in it.chunks]) if fresh else None
        at = 0
        for it in fresh:
            assert vectors is not None
            mine = vectors[at : at + len(it.chunks)]
            at += len(it.chunks)
            try:
                found[id(it.scenario)] = self._reading(it, mine)
            except Exception as error:  # likewise
                failed[id(it.scenario)] = error
        self._last = found
        return [failed.get(id(scenario)) or found[id(scenario)] for scenario in scenarios]

    def known(self, texts: Sequence[str]) -> Known:
        """How far the words of some texts occurred in training; numbers are no words, and a text without words has 0."""
        words = [word for text in texts for word in words_of(text) if not word.isdigit()]
        if not words:
            return Known(0.0, 0)
        seen = self._seen[np.array([seen_slots(word) for word in words])].all(axis=1)
        unread = sum(len(word) for word, is_seen in zip(words, seen, strict=True) if not is_seen and not _is_latin(word))
        return Known(float(seen.mean()), unread)

    def _chunks(self, scenario: Scenario) -> _Chunks:
        chunks = chunks_of(scenario, self.vocabulary.tokenize)
        return _Chunks(scenario, chunks[:MAX_CHUNKS], len(chunks) <= MAX_CHUNKS)

    def _reading(self, it: _Chunks, vectors: Floats) -> Reading:
        rows = step_rows(it.scenario)
        steps = np.zeros((len(it.chunks), rows.shape[1]), np.float32)
        members: dict[int, list[int]] = {}
        for i, chunk in enumerate(it.chunks):
            if 0 <= chunk.step < len(rows):
                steps[i] = rows[chunk.step]
                members.setdefault(chunk.step, []).append(i)
        relations = step_summary(it.scenario, rows)
        z = self._summary(vectors, steps, relations)
        alone = tuple(self._summary(vectors[own], steps[own], relations) for _, own in sorted(members.items()))
        known = self.known(it.scenario.texts())
        return Reading(it.scenario, z, known.familiarity, known.unread, alone, it.is_whole)


def seen_slots(word: str) -> tuple[int, int]:
    """Places of a word in the set of seen words (a Bloom filter of two hashes: it may remember a few words too many)."""
    raw = word.encode("utf-8", "surrogatepass")
    mask = (1 << SEEN_BITS) - 1
    return zlib.crc32(raw) & mask, zlib.adler32(raw, zlib.crc32(b"seen" + raw)) & mask


def _is_latin(word: str) -> bool:
    """Whether all letters are Latin ones, also with accents; full-width and mathematical letters are not."""
    return word.isascii() or all(ord(c) < _LATIN_END or ord(c) in _LATIN_MORE for c in word)


def _processors() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def digest_of(folder: Path) -> str:
    """sha256 over the files of the weights, in order of their names, hex."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
