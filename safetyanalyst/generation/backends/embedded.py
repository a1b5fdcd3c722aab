"""The embedded specialists: harm and benefit trees on a CPU, from weights that ship with the package.

They write no text: a fine-tuned sentence encoder reads the scenario (`embedded_text`, `embedded_runtime`), and learned heads
predict the rows of a tree (`embedded_heads`). What they cannot read they say (`embedded_known`): a text in a script or language
that they have not seen gives no tree, and a part that cannot be read is a lost part of the harm tree. The policy sends both to
review.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from safetyanalyst.errors import BackendError
from safetyanalyst.generation import Generation
from safetyanalyst.generation.backends.embedded_heads import Floats, Row
from safetyanalyst.generation.backends.embedded_model import FILES, WEIGHTS, EmbeddedModel, Reading
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, Defect, Effect, Provenance, SoftEffect, Stakeholder, Tree, TreeKind
from safetyanalyst.version import __version__

_MIN_FAMILIARITY = 0.45  # below: not a language or kind of text that training has shown
_MIN_PASSAGE = 0.25  # of a passage of twelve words
_MAX_UNREAD = 8  # letters in scripts that training has not shown: a formula passes, a request does not
_EVIDENCE_MARGIN = 1.0  # steps that speak of an action this much less than the best one are evidence too


class EmbeddedSpecialist:
    """Writes one kind of tree.

    Args:
        kind: "harm" or "benefit".
        model: The weights, shared by both specialists.
        taxonomy: What its trees may say.
    """

    def __init__(self, kind: TreeKind, model: EmbeddedModel, taxonomy: Taxonomy) -> None:
        self.kind: TreeKind = kind
        self.model = model
        self.taxonomy = taxonomy
        self._heads = model.heads[kind]
        if misfit := model.names.misfit(taxonomy, kind):
            raise BackendError(f"the embedded specialists were trained on other {misfit} than those of {taxonomy.label}")
        self._provenance = Provenance(
            generator="embedded",
            model=model.metadata.get("name", "embedded"),
            model_hash=model.digest,
            taxonomy=taxonomy.label,
            code=__version__,
        )

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        """A tree for every scenario, in order; see `TreeGenerator`."""
        readings = self.model.read(scenarios)
        return [self._generation(scenario.id, it) for scenario, it in zip(scenarios, readings, strict=True)]

    def soft_effects(self, scenario: Scenario, least: float = 0.02) -> list[SoftEffect]:
        """Every effect that the tree may hold, with probabilities, for expected counts in place of counts.

        Args:
            scenario: What is judged.
            least: Effects less probable are left out.

        Raises:
            BackendError: Not all of the scenario can be read.
        """
        (reading,) = self.model.read([scenario])
        if isinstance(reading, Exception):
            raise BackendError(f"{scenario.id} cannot be read: {reading}") from reading
        if unread := self._unread(reading):
            raise BackendError(f"{scenario.id} cannot be read: {unread[0].found}")
        actions, effects = self.taxonomy.actions(self.kind), self.taxonomy.effects(self.kind)
        return [
            SoftEffect(
                self.kind, self.model.stakeholders[it.stakeholder], actions[it.action].name, effects[it.effect].name,
                it.probability, tuple(map(float, it.extent)), tuple(map(float, it.likelihood)), it.immediate,
            )
            for it in self._heads.soft(reading.z, least)
        ]  # fmt: skip

    def _generation(self, scenario_id: str, reading: Reading | Exception) -> Generation:
        tree, defects = self._tree(reading)
        return Generation(
            scenario_id=scenario_id, kind=self.kind, tree=tree, defects=tuple(defects), provenance=self._provenance
        )

    def _tree(self, reading: Reading | Exception) -> tuple[Tree | None, list[Defect]]:
        if isinstance(reading, Exception):
            found = f"{type(reading).__name__}: {reading}"[:200]
            return None, [Defect(code="generation_failed", path=self.kind, found=found)]
        defects = self._unread(reading)
        if reading.known.familiarity < _MIN_FAMILIARITY:
            return None, defects
        rows = self._heads.rows(reading.z)
        evidence = self._evidence(reading, {row.action for row in rows})
        tree = tree_of(rows, self.kind, self.model.stakeholders, self.taxonomy, evidence)
        # a part that nobody read may do any harm; that it may do any good as well is no excuse
        return tree.model_copy(update={"lost": len(defects) if self.kind == "harm" else 0}), defects

    def _unread(self, reading: Reading) -> list[Defect]:
        """What was not read, in whole or in part."""
        known, found = reading.known, []
        if known.familiarity < _MIN_FAMILIARITY:
            found.append(f"{known.familiarity:.0%} of the words are known" if known.familiarity else "no word is known")
        elif known.passage < _MIN_PASSAGE:
            found.append(f"{known.passage:.0%} of the words of a passage are known")
        if known.unread >= _MAX_UNREAD:
            found.append(f"{known.unread} letters in scripts or signs that training has not shown")
        defects = [Defect(code="unfamiliar_input", path=self.kind, found=it) for it in found]
        if not reading.is_whole:
            defects.append(Defect(code="elided_input", path=self.kind, found="too long to be read whole"))
        return defects

    def _evidence(self, reading: Reading, actions: set[int]) -> dict[int, tuple[int, ...]]:
        """For each action the steps that speak of it most."""
        scores: Floats = np.array([self._heads.action_scores(z) for z in reading.steps])
        if not len(scores):
            return {}
        return {
            a: tuple(int(i) for i in np.flatnonzero(scores[:, a] >= scores[:, a].max() - _EVIDENCE_MARGIN))
            for a in sorted(actions)
        }


def tree_of(
    rows: Sequence[Row],
    kind: TreeKind,
    stakeholders: Sequence[str],
    taxonomy: Taxonomy,
    evidence: Mapping[int, tuple[int, ...]],
) -> Tree:
    """Predicted rows as a tree.

    Args:
        rows: Most probable first; a stakeholder stands where its first row does.
        kind: "harm" or "benefit".
        stakeholders: Names that the rows' indices mean.
        taxonomy: Likewise for actions, effects and levels.
        evidence: For each action index the steps it rests on.
    """
    nodes = [
        Stakeholder(
            name=stakeholders[s], actions=tuple(_action(row, kind, taxonomy, evidence) for row in rows if row.stakeholder == s)
        )
        for s in dict.fromkeys(row.stakeholder for row in rows)
    ]
    return Tree(kind=kind, stakeholders=tuple(nodes))


def _action(row: Row, kind: TreeKind, taxonomy: Taxonomy, evidence: Mapping[int, tuple[int, ...]]) -> Action:
    effects = tuple(
        Effect(
            effect=taxonomy.effects(kind)[it.effect].name,
            immediacy="immediate" if it.immediacy else "downstream",
            extent=taxonomy.extents[it.extent].name,
            likelihood=taxonomy.likelihoods[it.likelihood].name,
        )
        for it in row.effects
    )
    return Action(action=taxonomy.actions(kind)[row.action].name, evidence=evidence.get(row.action, ()), effects=effects)


def load(kind: TreeKind, taxonomy: Taxonomy, *, weights: str = "") -> EmbeddedSpecialist:
    """One embedded specialist, as the backend table asks for it.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What its trees may say.
        weights: Another folder than the package's own, as `safetyanalyst train embedded` writes it.
    """
    folder = Path(weights).resolve() if weights else WEIGHTS
    return EmbeddedSpecialist(kind, _model(folder, tuple(_stamp(folder / name) for name in FILES)), taxonomy)


class _Stamp(NamedTuple):
    """Tells one state of a file from another."""

    size: int
    changed: int


def _stamp(path: Path) -> _Stamp:
    if not path.is_file():
        raise BackendError(f"there are no weights of the embedded specialists: no file {path}")
    found = path.stat()
    return _Stamp(found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _model(path: Path, stamps: tuple[_Stamp, ...]) -> EmbeddedModel:
    del stamps  # files that changed are read again
    return EmbeddedModel.load(path)
