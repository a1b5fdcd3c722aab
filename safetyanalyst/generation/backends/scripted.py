"""The scripted specialists: they answer with trees that a file holds, by the id of the scenario.

So trees that another system wrote, or people did, go the way of any generator's: those of a batch job with a large model, or of
a reviewed set. What the file does not hold is missing, with a defect; nothing is ever made up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from os.path import expanduser
from pathlib import Path
from typing import Any

from safetyanalyst.errors import BackendError
from safetyanalyst.generation import Generation, parsing
from safetyanalyst.generation.json_form import OTHER
from safetyanalyst.generation.parsed import shortened, well_formed
from safetyanalyst.generation.stored import pair_of, rival_columns
from safetyanalyst.resources import readable
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Defect, DefectCode, Provenance, Tree, TreeKind
from safetyanalyst.version import __version__

Records = Mapping[str, Sequence[Any]]
"""What stands in a file under each id, as parsed JSON."""


class ScriptedSpecialist:
    """Answers with one kind of stored tree.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What the trees speak of.
        records: By the id of the scenario.
        provenance: Of every answer.
    """

    def __init__(self, kind: TreeKind, taxonomy: Taxonomy, records: Records, provenance: Provenance) -> None:
        self.kind: TreeKind = kind
        self.taxonomy = taxonomy
        self._records = records
        self._provenance = provenance

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        """The stored tree of every scenario, in order; see `TreeGenerator`."""
        return [self._answer(scenario.id) for scenario in scenarios]

    def _answer(self, id: str) -> Generation:
        records = self._records.get(id, ())
        if not records:
            return self._without(id, "generation_failed", "the file holds no trees of this scenario")
        if len(records) > 1:
            return self._without(id, "several_trees", f"{len(records)} records with this id")
        (value,) = records
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            return self._without(id, "generation_failed", value["error"])
        if isinstance(value, dict) and (rivals := rival_columns(value)):
            return self._without(id, "several_trees", ", ".join(rivals))
        pair = parsing.pair_from_json(value, self.taxonomy) if isinstance(value, list) else pair_of(value, self.taxonomy)
        if pair is None:
            return self._without(id, "missing_key", "a record without trees")
        tree = pair.trees.harm if self.kind == "harm" else pair.trees.benefit
        return self._generation(id, tree, *(it for it in pair.defects if not it.path.startswith(OTHER[self.kind])))

    def _without(self, id: str, code: DefectCode, found: str) -> Generation:
        return self._generation(id, None, Defect(code=code, path=self.kind, found=shortened(found)))

    def _generation(self, id: str, tree: Tree | None, *defects: Defect) -> Generation:
        return Generation(scenario_id=id, kind=self.kind, tree=tree, defects=defects, provenance=self._provenance)


def load(kind: TreeKind, taxonomy: Taxonomy, *, trees: str = "") -> ScriptedSpecialist:
    """One scripted specialist, as the backend table asks for it.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What the trees speak of.
        trees: JSON lines of stored analyses or stored trees, one record a scenario (docs/trees.md has the forms).

    Raises:
        BackendError: No file is named, it cannot be read, or a line of it is no record.
    """
    if not trees:
        raise BackendError("backend 'scripted' needs the option `trees`: a file of stored trees, JSON lines")
    path = Path(expanduser(trees))
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BackendError(f"backend 'scripted' cannot read its `trees`: {readable(str(path))}: {reason}") from error
    provenance = Provenance(
        generator="scripted",
        model=readable(path.name),
        model_hash=hashlib.sha256(content).hexdigest(),
        taxonomy=taxonomy.label,
        code=__version__,
    )
    return ScriptedSpecialist(kind, taxonomy, _records(content, path), provenance)


def _records(content: bytes, path: Path) -> Records:
    records: dict[str, list[Any]] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        value = _read(line)
        if not isinstance(value, dict | list):
            problem = f"line {number} of {readable(str(path))} is no record of trees"
            raise BackendError(f"backend 'scripted': {problem} (expected a JSON object or list)")
        id = value.get("id") if isinstance(value, dict) else None
        records.setdefault(well_formed(str(id)) if isinstance(id, str | int) else f"line-{number}", []).append(value)
    return records


def _read(line: bytes) -> Any:
    """A line as JSON; `None` when it is none, be it in part: a file that is broken off was not meant to be used."""
    try:
        loaded = parsing.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
    return None if loaded.is_broken else loaded.value
