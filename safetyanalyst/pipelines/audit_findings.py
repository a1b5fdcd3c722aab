"""What a verification finds, and the part of it that needs no meaning: files, their hashes, and the root."""

from __future__ import annotations

import hashlib
import re

from safetyanalyst.generation.parsed import well_formed
from safetyanalyst.pipelines import bundle
from safetyanalyst.pipelines.audit_facts import AuditReport, BundleFacts, Difference, Tally, running_code
from safetyanalyst.pipelines.bundle import Bundle

MAX_DIFFERENCES = 200
_LONG = 200  # letters of a name that came with the bundle
NOT_CANONICAL = "not in the one form that a bundle knows"
_SUM = re.compile(r"([0-9a-f]{64})  ([\w.]+)")


class Findings:
    """Collects what is found; of very many differences the first are kept.

    Attributes:
        root: sha256 of `SHA256SUMS`, hex.
        tally: Over the analyses.
        scenarios: Analyses whose scenario was compared with its hash.
        unchecked: Analyses with a hash for which no text was at hand.
        notes: For the reader.
        facts: What the bundle states of itself, when that can be read.
    """

    def __init__(self) -> None:
        self.root = ""
        self.tally = Tally()
        self.scenarios = self.unchecked = 0
        self.notes: list[str] = []
        self.facts: BundleFacts | None = None
        self._differences: list[Difference] = []
        self._n = 0

    def add(
        self, *, file: str, problem: str, id: str | None = None, field: str = "", stored: str = "", recomputed: str = ""
    ) -> None:
        """Notes one difference; see `Difference`."""
        self._n += 1
        if len(self._differences) < MAX_DIFFERENCES:
            named = {"file": file, "id": id and _short(id), "field": field[:_LONG], "problem": problem}
            values = {"stored": stored, "recomputed": recomputed}
            clean = {name: text and well_formed(text) for name, text in (named | values).items()}
            self._differences.append(Difference.model_validate(clean))

    def report(self, *, is_root_known: bool) -> AuditReport:
        """All of it."""
        running, packed = running_code(), None if self.facts is None else self.facts.code
        if packed is not None and packed != running:
            self.notes.append(
                f"packed by version {packed.version[:40]} (code {packed.hash[:12]}), verified by version {running.version} "
                f"(code {running.hash[:12]}): differences in scores and fields may come from that"
            )
        return AuditReport(
            root=self.root, is_root_known=is_root_known, analyses=self.tally.analyses, failures=self.tally.failures,
            scenarios=self.scenarios, scenarios_unchecked=self.unchecked, differences=tuple(self._differences),
            n_differences=self._n, notes=tuple(self.notes), packed_by=packed, verified_by=running,
        )  # fmt: skip


def _short(id: str) -> str:
    return id if len(id) <= _LONG else id[: _LONG - 1] + "…"


def check_files(opened: Bundle, findings: Findings, root: str | None) -> None:
    """Holds the files of a bundle to `SHA256SUMS`, and that to the root.

    Args:
        opened: The bundle.
        findings: Where differences go.
        root: As given.
    """
    for name in opened.strangers:
        shown = name.encode("utf-8", "backslashreplace").decode()
        findings.add(file=shown, problem="no file of a bundle, or not a plain file")
    for name in bundle.REQUIRED:
        if name not in opened.names:
            findings.add(file=name, problem="is missing")
    found = {name: opened.digest(name) for name in opened.names}
    digests = {name: digest.sha256 for name, digest in found.items()}
    if bundle.SUMS not in opened.names:
        return
    stored = opened.document(bundle.SUMS)
    findings.root = hashlib.sha256(stored).hexdigest()
    del digests[bundle.SUMS]
    _compare_sums(stored, digests, findings)
    for name, digest in found.items():
        if not digest.is_crc_right:
            findings.add(file=name, field="CRC-32", problem="the zip states another checksum than its data has")
    if root is not None and root != findings.root:
        problem = f"this is not the bundle that the given root stands for: {findings.root}, not {root}"
        findings.add(file=bundle.SUMS, field="root", problem=problem)


def _compare_sums(stored: bytes, digests: dict[str, str], findings: Findings) -> None:
    if stored == bundle.sums_of(digests):
        return
    listed = {found[2]: found[1] for line in stored.decode("utf-8", "replace").split("\n") if (found := _SUM.fullmatch(line))}
    is_told = False
    for name in sorted({*listed, *digests}):
        was, now = listed.get(name, "nothing"), digests.get(name, "nothing")
        if was != now:
            is_told = True
            findings.add(file=name, field="sha256", problem="is not what SHA256SUMS lists", stored=was, recomputed=now)
    if not is_told:
        findings.add(file=bundle.SUMS, problem=NOT_CANONICAL)
