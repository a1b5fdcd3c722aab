"""An audit bundle -> what differs. Everything is recomputed offline from the bundle itself; nothing is unpacked.

Three layers, each of which stands without the next: the bytes of the container (one possible form), the hashes of the files
(`SHA256SUMS`, whose own hash is the root), and their meaning: every analysis computed again from its trees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from safetyanalyst.errors import ConfigError, PolicyError
from safetyanalyst.pipelines import bundle
from safetyanalyst.pipelines.audit_facts import AuditReport, BundleFacts, NotPacked, PolicySource, Rules, facts_of
from safetyanalyst.pipelines.audit_findings import NOT_CANONICAL, Findings, check_files
from safetyanalyst.pipelines.audit_rules import (
    document,
    hash_of,
    is_extending,
    json_object,
    read_bootstrap,
    read_policy,
    read_taxonomy,
)
from safetyanalyst.pipelines.bundle import Bundle, BundleError
from safetyanalyst.pipelines.replay import Replay, ReplayError, misfits, published
from safetyanalyst.pipelines.scenario_hashes import HashedScenarios, key_fingerprint, written_hash
from safetyanalyst.scenarios import Example, ReadFailure

_HASH = re.compile(r"[0-9a-f]{64}")


def verify(
    path: Path, *, root: str | None = None, policy_hash: str | None = None,
    scenarios: Iterable[Example | ReadFailure] | None = None, key: bytes | None = None,
    step: Callable[[], object] = lambda: None,
) -> AuditReport:  # fmt: skip
    """Checks a bundle.

    Args:
        path: A zip or a folder.
        root: The hash that `pack` printed, from a source that the bundle's owner cannot change.
        policy_hash: Of the policy that should have decided.
        scenarios: Texts to hold against the hashes of scenarios.
        key: Of those hashes, when they have one.
        step: Called after every analysis.

    Returns:
        What differs; nothing if the bundle verifies.

    Raises:
        ConfigError: There is no such file, it is nothing like a bundle, `root` is no hash, or texts are to be compared with
            hashes that need a key and there is none.
    """
    if root is not None and not _HASH.fullmatch(root.strip().lower()):
        raise ConfigError("this is no hash", key="--root", expected="64 hexadecimal digits")
    findings = Findings()
    try:
        with Bundle(path) as opened:
            check_files(opened, findings, None if root is None else root.strip().lower())
            if not set(bundle.REQUIRED) - set(opened.names):
                _Verification(opened, findings, policy_hash, key).run(scenarios, step)
    except BundleError as error:
        findings.add(file=error.file, problem=error.problem)
    return findings.report(is_root_known=root is not None)


class _Verification:
    """Holds the content of a bundle to what it says."""

    def __init__(self, opened: Bundle, findings: Findings, policy_hash: str | None, key: bytes | None) -> None:
        self._opened = opened
        self._findings = findings
        self._policy_hash = policy_hash
        self._key = key
        self._seen: set[str] = set()
        self._texts: dict[str, str] | None = None

    def run(self, scenarios: Iterable[Example | ReadFailure] | None, step: Callable[[], object]) -> None:
        facts = self._findings.facts = self._facts()
        rules = self._rules(facts)
        if rules is None:
            self._findings.notes.append("no analysis was recomputed: what decides cannot be read")
            return
        try:
            replay = Replay(rules.policy, rules.taxonomy)
        except PolicyError as error:
            self._findings.add(file=bundle.POLICY, problem=f"does not fit the taxonomy: {error.problem}", field=error.key or "")
            return
        self._texts = self._read_texts()
        given = self._given(scenarios, facts)
        for number, line in enumerate(self._opened.lines(bundle.ANALYSES), start=1):
            self._check_analysis(number, line, replay, given)
            step()
        for id in self._texts or ():
            self._findings.add(file=bundle.SCENARIOS, id=id, problem="no analysis has the hash of a scenario of this id")
        self._check_failures()
        if facts is not None:
            self._check_facts(facts, rules)

    def _facts(self) -> BundleFacts | None:
        try:
            return BundleFacts.model_validate(document(self._opened, bundle.FACTS))
        except BundleError as error:
            self._findings.add(file=error.file, problem=error.problem)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            self._findings.add(file=bundle.FACTS, field=field, problem=f"cannot be read: {first['msg'][:200]}")
        return None

    def _rules(self, facts: BundleFacts | None) -> Rules | None:
        opened, findings = self._opened, self._findings
        try:
            taxonomy = read_taxonomy(opened)
            policy = read_policy(opened.document(bundle.POLICY), bundle.POLICY)
        except BundleError as error:
            findings.add(file=error.file, problem=error.problem)
            return None
        if self._policy_hash not in (None, policy.hash):
            problem = f"another policy decided than the given one: {policy.hash}, not {self._policy_hash}"
            findings.add(file=bundle.POLICY, field="hash", problem=problem)
        if (digest := hash_of(taxonomy)) != taxonomy.hash:
            problem = "its content has another hash than it says"
            findings.add(file=bundle.TAXONOMY, field="hash", problem=problem, stored=taxonomy.hash[:80], recomputed=digest)
        source = None
        if bundle.POLICY_SOURCE in opened.names:
            content = opened.document(bundle.POLICY_SOURCE)
            source = PolicySource((facts.policy.source if facts is not None else None) or "nameless", content)
            self._check_source(content, policy.hash)
        try:
            bootstrap = read_bootstrap(opened, policy) if bundle.BOOTSTRAP in opened.names else None
        except BundleError as error:
            findings.add(file=error.file, problem=error.problem)
            bootstrap = None
        return Rules(policy, taxonomy, source, bootstrap)

    def _check_source(self, content: bytes, resolved: str) -> None:
        """The file that the policy was loaded from says the same, unless it rests on files that are not here."""
        if is_extending(content):
            note = f"{bundle.POLICY_SOURCE} extends another policy, which is not here: only {bundle.POLICY} was used"
            self._findings.notes.append(note)
            return
        try:
            found = read_policy(content, bundle.POLICY_SOURCE).hash
        except BundleError as error:
            self._findings.add(file=error.file, problem=error.problem)
            return
        if found != resolved:
            problem = f"says another policy than {bundle.POLICY}"
            self._findings.add(file=bundle.POLICY_SOURCE, field="hash", problem=problem, stored=resolved, recomputed=found)

    def _given(self, scenarios: Iterable[Example | ReadFailure] | None, facts: BundleFacts | None) -> HashedScenarios | None:
        if facts is None:
            return None  # nobody knows how they were hashed
        has_key = facts.scenarios.hash == "hmac-sha256"
        if has_key and self._key is not None and key_fingerprint(self._key) != facts.scenarios.key:
            self._findings.add(file=bundle.FACTS, field="scenarios.key", problem="the hashes were made with another key")
            return None
        if scenarios is None:
            return None
        if has_key and self._key is None:
            raise ConfigError("the hashes of the scenarios need their key", key="--key", expected="the file it lies in")
        return HashedScenarios(scenarios, self._key if has_key else None)

    def _check_analysis(self, number: int, line: bytes, replay: Replay, given: HashedScenarios | None) -> None:
        place = f"line {number}"
        try:
            stored: dict[str, Any] = json_object(line, bundle.ANALYSES)
            place = stored["id"][:200] if isinstance(stored.get("id"), str) else place
            analysis = replay.analysis(stored)
        except (BundleError, ReplayError) as error:
            problem = error.problem if isinstance(error, BundleError) else str(error)
            self._findings.add(file=bundle.ANALYSES, id=place, problem=problem)
            return
        hash = stored.get("scenario")
        is_hash = hash is None or (isinstance(hash, str) and bool(_HASH.fullmatch(hash)))
        found = published(analysis) | {"scenario": hash if is_hash else None}
        if bundle.canonical(found) != line:
            self._tell(place, stored, found)
        if analysis.id in self._seen:
            self._findings.add(file=bundle.ANALYSES, id=place, problem="the id occurs twice")
        self._seen.add(analysis.id)
        self._findings.tally.add(found, hash if isinstance(hash, str) and is_hash else None)
        if isinstance(hash, str) and is_hash:
            self._check_scenario(analysis.id, hash, given)

    def _tell(self, id: str, stored: dict[str, Any], found: dict[str, Any]) -> None:
        is_told = False
        for misfit in misfits(stored, found):
            is_told = True
            self._findings.add(
                file=bundle.ANALYSES, id=id, field=misfit.field, problem="differs from what is recomputed",
                stored=misfit.stored, recomputed=misfit.found,
            )  # fmt: skip
        if not is_told:
            self._findings.add(file=bundle.ANALYSES, id=id, problem=NOT_CANONICAL)

    def _check_scenario(self, id: str, hash: str, given: HashedScenarios | None) -> None:
        """Holds a text to the hash of an analysis: the one in the bundle, and the one that was given."""
        found: list[tuple[str, str]] = []
        if self._texts is not None:
            found.append((bundle.SCENARIOS, self._texts.pop(id, "nothing")))
        if given is not None and id in given:
            found.append(("the given scenarios", given[id] or "several texts under this id"))
        self._findings.scenarios += bool(found)
        self._findings.unchecked += not found
        for file, now in found:
            if now != hash:
                problem = "this is not the scenario that was analysed"
                self._findings.add(file=file, id=id, field="hash", problem=problem, stored=hash, recomputed=now)

    def _read_texts(self) -> dict[str, str] | None:
        """The hashes of the scenarios in the bundle, by id."""
        if bundle.SCENARIOS not in self._opened.names:
            return None
        hashes: dict[str, str] = {}
        for number, line in enumerate(self._opened.lines(bundle.SCENARIOS), start=1):
            try:
                value = json_object(line, bundle.SCENARIOS)
                id = value.get("id")
                if bundle.canonical(value) != line or not isinstance(id, str) or id in hashes:
                    raise BundleError(NOT_CANONICAL, bundle.SCENARIOS)
                hashes[id] = written_hash(value)
            except BundleError as error:
                self._findings.add(file=error.file, id=f"line {number}", problem=error.problem)
        return hashes

    def _check_failures(self) -> None:
        for number, line in enumerate(self._opened.lines(bundle.FAILURES), start=1):
            try:
                failure = NotPacked.model_validate(json_object(line, bundle.FAILURES))
                if bundle.canonical(failure.model_dump()) != line:
                    raise BundleError(NOT_CANONICAL, bundle.FAILURES)
            except (BundleError, ValidationError) as error:
                problem = error.problem if isinstance(error, BundleError) else "not the record of a failure"
                self._findings.add(file=bundle.FAILURES, id=f"line {number}", problem=problem)
            self._findings.tally.failures += 1

    def _check_facts(self, facts: BundleFacts, rules: Rules) -> None:
        """What the bundle states of itself follows from its content, but for what was given."""
        stored = facts.model_dump(mode="json")
        texts = "included" if bundle.SCENARIOS in self._opened.names else "left out"
        given = {key: stored[key] for key in ("code", "date", "source")}
        scenarios = facts.scenarios.model_dump() | {"texts": texts}
        found = facts_of(rules, self._findings.tally, given | {"scenarios": scenarios}).model_dump(mode="json")
        for misfit in misfits(stored, found):
            self._findings.add(
                file=bundle.FACTS, field=misfit.field, problem="does not follow from the content",
                stored=misfit.stored, recomputed=misfit.found,
            )  # fmt: skip
        for label in sorted({it.taxonomy for it in facts.specialists} - {rules.taxonomy.label, ""})[:5]:
            self._findings.notes.append(f"some trees were written in another taxonomy, {label[:80]}")
