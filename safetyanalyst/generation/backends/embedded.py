"""The embedded specialists: learned models that write harm and benefit trees directly, on a CPU, without a language model.

They know English best, and say so when they do not know a text: see `familiarity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from safetyanalyst.errors import BackendError
from safetyanalyst.generation import Generation
from safetyanalyst.generation.backends.embedded_decoding import decode
from safetyanalyst.generation.backends.embedded_model import EmbeddedModel, load_model
from safetyanalyst.generation.backends.embedded_scenario import Encoded, encode
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Defect, Provenance, Tree, TreeKind
from safetyanalyst.version import __version__

WEIGHTS = Path(__file__).parent / "weights" / "embedded.safetensors"
MIN_KNOWN_SHARE = 0.6  # of the letters of a text: below, the tree has a gap
MIN_KNOWN_LETTERS = 2  # below, there is nothing to make a tree of


class Pair(NamedTuple):
    """Both specialists."""

    harm: EmbeddedSpecialist
    benefit: EmbeddedSpecialist


class EmbeddedSpecialist:
    """Writes one kind of tree for prompts, exchanges and trajectories.

    Args:
        kind: Which tree.
        model: The weights.
        taxonomy: What trees can say; one that extends the taxonomy of the training will do.

    Raises:
        BackendError: The model names what the taxonomy does not know.
    """

    def __init__(self, kind: TreeKind, model: EmbeddedModel, taxonomy: Taxonomy) -> None:
        _check(kind, model, taxonomy)
        self.kind: TreeKind = kind
        self.model = model
        self.taxonomy = taxonomy
        self.provenance = Provenance(
            generator="embedded",
            model=model.facts.name,
            model_hash=model.digest,
            taxonomy=taxonomy.label,
            code=__version__,
        )

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        """Answers every scenario for itself, in order; see `TreeGenerator`."""
        return [self._generate_one(scenario) for scenario in scenarios]

    def _generate_one(self, scenario: Scenario) -> Generation:
        try:
            return self._answer(scenario)
        except Exception as error:  # whatever goes wrong with one scenario is a record, and costs the others nothing
            found = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode()[:80]
            return self._generation(scenario, None, (Defect(code="generation_failed", path=self.kind, found=found),))

    def _answer(self, scenario: Scenario) -> Generation:
        encoded = encode(scenario, self.model.facts.n_buckets)
        known = familiarity(encoded, self.model)
        unfamiliar = Defect(code="unfamiliar_input", path=self.kind, found=f"{known.share:.0%} of the letters known")
        if known.letters < MIN_KNOWN_LETTERS:
            return self._generation(scenario, None, (unfamiliar,))
        tree = decode(self.kind, self.model, self.model.read(encoded), encoded.steps, self.taxonomy)
        is_unfamiliar = known.share < MIN_KNOWN_SHARE
        if is_unfamiliar or any(defect.code == "elided_input" for defect in scenario.defects):
            tree = tree.model_copy(update={"lost": 1})
        return self._generation(scenario, tree, (unfamiliar,) if is_unfamiliar else ())

    def _generation(self, scenario: Scenario, tree: Tree | None, defects: tuple[Defect, ...]) -> Generation:
        return Generation(scenario_id=scenario.id, kind=self.kind, tree=tree, defects=defects, provenance=self.provenance)


class Familiarity(NamedTuple):
    """How much of a text consists of words that the training knew.

    Attributes:
        letters: Of known words.
        share: Of all letters.
    """

    letters: int
    share: float


def familiarity(encoded: Encoded, model: EmbeddedModel) -> Familiarity:
    """Measures whether a text is one that the model can read at all."""
    lengths = encoded.word_lengths
    known = _is_known(encoded, model)
    total = int(lengths.sum())
    letters = int(lengths[known].sum())
    return Familiarity(letters, letters / total if total else 0.0)


def _is_known(encoded: Encoded, model: EmbeddedModel) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    words = model.arrays["words/known"]
    hashes = encoded.word_hashes.astype(np.uint32)
    if not len(words):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(words, hashes), len(words) - 1)
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = words[places] == hashes
    return found


def _check(kind: TreeKind, model: EmbeddedModel, taxonomy: Taxonomy) -> None:
    facts = model.facts
    vocabulary = facts.vocabulary(kind)
    actions = {category.number for category in taxonomy.actions(kind)}
    effects = {category.number for category in taxonomy.effects(kind)}
    if not set(vocabulary.actions) <= actions or not set(vocabulary.effects) <= effects:
        raise BackendError(f"{facts.name} was trained on {facts.taxonomy} and names what {taxonomy.label} does not know")
    if (facts.extents, facts.likelihoods) != (len(taxonomy.extents), len(taxonomy.likelihoods)):
        raise BackendError(f"{facts.name} was trained on {facts.taxonomy}, whose scales {taxonomy.label} does not have")


@lru_cache(maxsize=4)
def _load_cached(path: Path) -> EmbeddedModel:
    return load_model(path)  # both specialists share one copy of the weights


def load(kind: TreeKind, taxonomy: Taxonomy, path: str | None = None) -> EmbeddedSpecialist:
    """Loads one specialist; the entry in the backend table.

    Args:
        kind: Which tree it shall write.
        taxonomy: What its trees may say.
        path: A weights file instead of the one that ships with the package.

    Raises:
        BackendError: The weights cannot be read or do not fit the taxonomy.
    """
    return EmbeddedSpecialist(kind, _load_cached(WEIGHTS if path is None else Path(path)), taxonomy)


def load_embedded(kind: TreeKind, path: Path | None = None) -> EmbeddedSpecialist:
    """Loads one specialist under the shipped taxonomy; see `load`."""
    return load(kind, load_taxonomy(), None if path is None else str(path))


def load_pair(path: Path | None = None) -> Pair:
    """Loads both specialists; they share one copy of the weights."""
    harm, benefit = (load_embedded(kind, path) for kind in TREE_KINDS)
    return Pair(harm, benefit)
