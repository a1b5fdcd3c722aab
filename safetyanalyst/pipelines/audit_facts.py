"""What packing and verifying say: the facts that a bundle states of itself, and the two reports."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import SerializerFunctionWrapHandler, model_serializer

from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.policy import Policy
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Stage
from safetyanalyst.version import __version__

FORMAT = "safetyanalyst-audit/1"
HashMethod = Literal["sha256", "hmac-sha256"]
Included = Literal["included", "left out"]
_PACKAGE = Path(__file__).resolve().parents[1]


class CodeFacts(Record):
    """Which code.

    Attributes:
        version: Of this package.
        hash: sha256 over its modules, hex: two copies of one version may still differ.
    """

    version: str
    hash: str


class PolicyFacts(Record):
    """Which policy decided; `source` is the name of the file it was loaded from, when the bundle holds it."""

    name: str
    version: str
    hash: str
    source: str | None


class SpecialistFacts(Record):
    """Who wrote how many of the trees; all but the first two are those of `trees.Provenance`."""

    kind: str
    trees: int
    generator: str
    model: str
    model_hash: str
    taxonomy: str
    code: str
    stage: Stage | None = None

    @model_serializer(mode="wrap")
    def _without_a_stage_that_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)  # bundles from before there were cascades keep their root
        return {key: value for key, value in data.items() if key != "stage" or value is not None}


class ScenarioFacts(Record):
    """What is known of the scenarios behind the trees.

    Attributes:
        hash: How their content was hashed.
        key: Fingerprint of the key, empty without one.
        hashed: Analyses with the hash of their scenario.
        texts: "included" when the scenarios are in the bundle.
    """

    hash: HashMethod
    key: str
    hashed: int
    texts: Included


class BundleFacts(Record):
    """`bundle.json`.

    Attributes:
        format: `FORMAT`.
        code: That packed.
        date: As given; a bundle has no other date, so that the same inputs give the same bytes.
        policy: That decided.
        taxonomy: `name@version:hash`, the hash in full.
        specialists: That wrote the trees.
        analyses: How many are packed.
        failures: How many items could not be.
        source: sha256 of the file of analyses, hex; `None` when they did not come from a file.
        scenarios: What is known of the scenarios.
        generations: Analyses with the texts that generators wrote.
    """

    format: Literal["safetyanalyst-audit/1"]
    code: CodeFacts
    date: datetime.date | None
    policy: PolicyFacts
    taxonomy: str
    specialists: tuple[SpecialistFacts, ...]
    analyses: int
    failures: int
    source: str | None
    scenarios: ScenarioFacts
    generations: int


class PolicySource(NamedTuple):
    """The file that a policy was loaded from: its bare name, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Rules:
    """What decides.

    Attributes:
        policy: Resolved: it stands on its own.
        taxonomy: Of the trees.
        source: The file of the policy, for the reader.
        bootstrap: Replicates of its fit.
    """

    policy: Policy
    taxonomy: Taxonomy
    source: PolicySource | None = None
    bootstrap: Bootstrap | None = None


class Tally:
    """Counts what a bundle states of its analyses; packing and verifying count alike."""

    def __init__(self) -> None:
        self.analyses = self.failures = self.hashed = self.generations = 0
        self._specialists: Counter[tuple[str, str]] = Counter()

    def add(self, analysis: Mapping[str, Any], scenario: str | None) -> None:
        """Counts one analysis in its published form, with the hash of its scenario."""
        self.analyses += 1
        self.hashed += scenario is not None
        self.generations += "generations" in analysis
        for kind, provenance in analysis["provenance"].items():
            self._specialists[kind, json.dumps(provenance, sort_keys=True)] += 1

    def counts(self) -> dict[str, Any]:
        """As `BundleFacts` has them."""
        specialists = tuple(
            SpecialistFacts(kind=kind, trees=n, **json.loads(provenance))
            for (kind, provenance), n in sorted(self._specialists.items())
        )
        numbers = {"analyses": self.analyses, "failures": self.failures, "generations": self.generations}
        return numbers | {"specialists": specialists}


class NotPacked(Record):
    """An item that could not be packed.

    Attributes:
        id: Its id, or its place (`line-7`).
        line: Line number in the file of analyses, from 1.
        reason: Why, in words that quote nothing.
        detail: More, which may quote the item; in a bundle only when it holds the scenarios' texts too.
    """

    id: str
    line: int | None
    reason: str
    detail: str = ""


class PackReport(Record):
    """What was packed.

    Attributes:
        path: Of the bundle.
        root: sha256 of its `SHA256SUMS`, hex: it stands for every byte of the bundle.
        analyses: Packed.
        hashed: Of those, with the hash of their scenario.
        failures: Not packed.
    """

    path: str
    root: str
    analyses: int
    hashed: int
    failures: tuple[NotPacked, ...]


class Difference(Record):
    """One thing that is not as it has to be.

    Attributes:
        file: In the bundle.
        id: Of the analysis or scenario, where it is one.
        field: Path inside, where it is one.
        problem: In words.
        stored: What stands there, as JSON, shortened.
        recomputed: What it should be, likewise.
    """

    file: str
    id: str | None = None
    field: str = ""
    problem: str
    stored: str = ""
    recomputed: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.id, self.field) if part)
        values = f" (stored {self.stored}, recomputed {self.recomputed})" if self.stored or self.recomputed else ""
        return f"{place}: {self.problem}{values}"


class AuditReport(Record):
    """What verifying found.

    Attributes:
        root: sha256 of `SHA256SUMS`, hex; empty when the bundle is too damaged to tell.
        is_root_known: Whether a root was given to compare with. Without one, a bundle that was made anew as a whole verifies.
        analyses: Recomputed.
        failures: Items that the bundle says could not be packed.
        scenarios: Analyses whose scenario was compared with its hash.
        scenarios_unchecked: Analyses with a hash for which no text was at hand.
        differences: The first of them.
        n_differences: All of them.
        notes: What a reader should know besides.
        packed_by: The code that packed, when the bundle says.
        verified_by: The code that verified.
    """

    root: str
    is_root_known: bool
    analyses: int
    failures: int
    scenarios: int
    scenarios_unchecked: int
    differences: tuple[Difference, ...]
    n_differences: int
    notes: tuple[str, ...]
    packed_by: CodeFacts | None
    verified_by: CodeFacts

    @property
    def is_verified(self) -> bool:
        """Whether nothing differs."""
        return self.n_differences == 0

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        return {"verified": self.is_verified} | self.model_dump(mode="json")


@cache
def running_code() -> CodeFacts:
    """The code that runs here."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py"), key=lambda path: path.relative_to(_PACKAGE).as_posix()):
        name = path.relative_to(_PACKAGE).as_posix()
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return CodeFacts(version=__version__, hash=digest.hexdigest())


def facts_of(rules: Rules, tally: Tally, given: Mapping[str, Any]) -> BundleFacts:
    """What a bundle states of itself.

    Args:
        rules: That decide.
        tally: Over its analyses.
        given: What does not follow from the content: `code`, `date`, `source`, and `scenarios` but for `hashed`.
    """
    policy = rules.policy
    stated = PolicyFacts(
        name=policy.name, version=policy.version, hash=policy.hash, source=None if rules.source is None else rules.source.name
    )
    scenarios = ScenarioFacts.model_validate(dict(given["scenarios"]) | {"hashed": tally.hashed})
    label = f"{rules.taxonomy.name}@{rules.taxonomy.version}:{rules.taxonomy.hash}"
    counts = tally.counts()
    return BundleFacts.model_validate(
        {"format": FORMAT, "policy": stated, "taxonomy": label} | counts | dict(given) | {"scenarios": scenarios}
    )
