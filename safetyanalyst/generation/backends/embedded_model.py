"""The weights of the embedded specialists, and a scenario as they see it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_heads import Arrays, Summary, TreeHeads
from safetyanalyst.generation.backends.embedded_known import Known, SeenWords
from safetyanalyst.generation.backends.embedded_runtime import Encoder, Floats, Vocabulary
from safetyanalyst.generation.backends.embedded_steps import step_rows, step_summary
from safetyanalyst.generation.backends.embedded_text import MAX_CHUNKS, Chunk, chunks_of
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Prompt, Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

WEIGHTS = Path(__file__).parent / "weights"
FILES = ("encoder.onnx", "heads.safetensors", "tokenizer.json")


class Reading(NamedTuple):
    """A scenario as the model sees it.

    Attributes:
        scenario: What was read.
        z: (k,) summary.
        known: What of it can be read.
        steps: (k,) summary of every step of a trajectory alone.
        is_whole: Whether all of it was read.
    """

    scenario: Scenario
    z: Floats
    known: Known
    steps: tuple[Floats, ...]
    is_whole: bool


class _Chunks(NamedTuple):
    scenario: Scenario
    chunks: list[Chunk]
    is_whole: bool


class Names(Record):
    """What the indices mean, in the order of the taxonomy that was trained on."""

    stakeholders: tuple[str, ...]
    harm_actions: tuple[str, ...]
    benefit_actions: tuple[str, ...]
    harm_effects: tuple[str, ...]
    benefit_effects: tuple[str, ...]
    extents: tuple[str, ...]
    likelihoods: tuple[str, ...]

    @classmethod
    def of_taxonomy(cls, taxonomy: Taxonomy) -> Names:
        """All names of a taxonomy."""
        lists = {
            f"{kind}_{what}": tuple(it.name for it in getattr(taxonomy, what)(kind))
            for kind in TREE_KINDS for what in ("actions", "effects")
        }  # fmt: skip
        scales = {scale: tuple(level.name for level in getattr(taxonomy, scale)) for scale in ("extents", "likelihoods")}
        return cls(stakeholders=tuple(taxonomy.stakeholders), **lists, **scales)

    def of(self, kind: TreeKind) -> ActionsEffects:
        """Of one kind of tree."""
        if kind == "harm":
            return ActionsEffects(self.harm_actions, self.harm_effects)
        return ActionsEffects(self.benefit_actions, self.benefit_effects)

    def misfit(self, taxonomy: Taxonomy, kind: TreeKind) -> str:
        """What a taxonomy names otherwise, or nothing: it may only add actions and effects behind ours."""
        theirs = Names.of_taxonomy(taxonomy)
        for what, mine, other in zip(("actions", "effects"), self.of(kind), theirs.of(kind), strict=True):
            if other[: len(mine)] != mine:
                return what
        return "" if (self.extents, self.likelihoods) == (theirs.extents, theirs.likelihoods) else "levels"


class ActionsEffects(NamedTuple):
    """Names of one kind of tree."""

    actions: tuple[str, ...]
    effects: tuple[str, ...]


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
        self.names = Names.model_validate_json(metadata["names"])
        self.stakeholders = self.names.stakeholders
        self.encoder, self.vocabulary = encoder, vocabulary
        self._summary = Summary(arrays)
        self.seen = SeenWords(np.asarray(arrays["seen"], np.uint8))
        self._last: dict[int, Reading] = {}
        self.heads = {kind: TreeHeads(arrays, kind, len(self.names.extents)) for kind in TREE_KINDS}

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
            model = cls(encoder, Vocabulary(folder / "tokenizer.json"), arrays, about, digest_of(folder))
            model.try_out()
        except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
            found = f"{type(error).__name__} {error}"[:200]
            raise BackendError(f"{path} does not hold weights of the embedded specialists: {found}") from error
        return model

    def try_out(self) -> None:
        """Reads a sentence with all parts, so that files that do not fit together are found when they are loaded.

        Raises:
            BackendError: They do not.
        """
        self.encoder.encode([self.vocabulary.joined([[self.vocabulary.highest]])])
        (reading,) = self.read([Prompt(id="trial", text="How do I mend a kettle?")])
        if isinstance(reading, Exception):
            raise BackendError(f"the weights of the embedded specialists do not fit together: {reading}") from reading
        for kind, heads in self.heads.items():
            actions, effects = self.names.of(kind)
            heads.check(len(self.stakeholders), len(actions), len(effects), len(self.names.likelihoods))
            heads.rows(reading.z)
        self._last = {}

    def read(self, scenarios: Sequence[Scenario]) -> list[Reading | Exception]:
        """Reads scenarios, once for both specialists; one that cannot be read is an exception in its place.

        The readings of the last call are kept for whichever specialist asks next.
        """
        found: dict[int, Reading] = {}
        failed: dict[int, Exception] = {}
        fresh: list[_Chunks] = []
        waiting: set[int] = set()
        for scenario in scenarios:
            known = self._last.get(id(scenario))
            if known is not None and known.scenario is scenario:
                found[id(scenario)] = known
            elif id(scenario) not in failed and id(scenario) not in waiting:
                waiting.add(id(scenario))
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
        if not np.isfinite(z).all():
            raise BackendError("the encoder gave no numbers")
        return Reading(it.scenario, z, self.seen.known(it.scenario.texts()), alone, it.is_whole)


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
