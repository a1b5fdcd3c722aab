"""Stored analyses -> an audit bundle: everything that a decision rests on, in one file that anybody can check.

The same inputs give the same bytes: no date but one that is given, nothing of the machine, one way to write everything.
"""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from safetyanalyst.analyst import Analysis, FailedItem
from safetyanalyst.bootstrap import bootstrap_content
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.parsed import well_formed
from safetyanalyst.pipelines import bundle
from safetyanalyst.pipelines.archive import write_archive
from safetyanalyst.pipelines.audit_facts import (
    Included,
    NotPacked,
    PackReport,
    Rules,
    Tally,
    facts_of,
    running_code,
)
from safetyanalyst.pipelines.dataset import file_hash
from safetyanalyst.pipelines.replay import UNPUBLISHED, Replay, ReplayError, misfits, published
from safetyanalyst.pipelines.scenario_hashes import MIN_KEY, KnownScenario, ScenarioStore, key_fingerprint
from safetyanalyst.policy import dump_policy
from safetyanalyst.records import Record
from safetyanalyst.resources import choices
from safetyanalyst.scenarios import Example, ReadFailure, UnreadableError, strict_json
from safetyanalyst.trees import TREE_KINDS

Source = Path | Iterable[Analysis | FailedItem]
_WITHOUT_QUOTES = "the analysis says that this item could not be read"


class PackOptions(Record):
    """What goes into a bundle.

    Attributes:
        ids: Analyses to pack; all when empty.
        texts: Whether the scenarios go in word for word.
        generations: Whether the texts of generators go in, where analyses hold them.
        date: Written into the bundle.
    """

    ids: tuple[str, ...] = ()
    texts: Included = "left out"
    generations: Included = "included"
    date: datetime.date | None = None


def pack(
    analyses: Source, rules: Rules, out: Path, *, options: PackOptions | None = None,
    scenarios: Iterable[Example | ReadFailure] | None = None, key: bytes | None = None,
    step: Callable[[], object] = lambda: None,
) -> PackReport:  # fmt: skip
    """Packs analyses that were decided under a policy.

    Every analysis is computed again first. One that its trees do not lead to, that another policy decided, or that is none, is
    not packed; the bundle says so.

    Args:
        analyses: A file that `analyze` or `assess` wrote, or analyses.
        rules: The policy that decided, and the taxonomy of the trees.
        out: A name with the suffix .zip, or a folder that is not there yet.
        options: What goes in.
        scenarios: The scenarios behind the analyses, for their hashes.
        key: Makes the hashes HMACs; whoever has it can check a text against its hash, nobody else can.
        step: Called after every item.

    Returns:
        The root hash, and what could not be packed.

    Raises:
        ConfigError: `out` exists, texts are asked for without scenarios or with a key, the key is short, an id does not occur,
            or there is no analysis at all.
    """
    options = options or PackOptions()
    _check(out, options, scenarios, key)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folder = work / "bundle"
        folder.mkdir()
        with ScenarioStore(scenarios, key, work) as known:
            packing = _Packing(folder, rules, options, known)
            packing.take(_lines(analyses), step)
        scenario_facts = {
            "hash": "sha256" if key is None else "hmac-sha256", "key": "" if key is None else key_fingerprint(key),
            "texts": options.texts,
        }  # fmt: skip
        source = file_hash(analyses) if isinstance(analyses, Path) else None
        given = {"code": running_code(), "date": options.date, "source": source}
        facts = facts_of(rules, packing.tally, given | {"scenarios": scenario_facts})
        _write_rules(folder, rules)
        (folder / bundle.FACTS).write_bytes(bundle.canonical(facts.model_dump(mode="json")))
        root = bundle.write_sums(folder)
        _put(folder, out, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tally = packing.tally
    return PackReport(path=str(out), root=root, analyses=tally.analyses, hashed=tally.hashed, failures=tuple(packing.failures))


def _check(out: Path, options: PackOptions, scenarios: object, key: bytes | None) -> None:
    if out.exists() or out.is_symlink():
        raise ConfigError("exists already", file=out, key="--out", expected="a new name: a bundle is never overwritten")
    if not out.parent.is_dir():
        raise ConfigError("No such file or directory", file=out.parent, key="--out", expected="a folder that is there")
    if options.texts == "included" and scenarios is None:
        raise ConfigError("analyses hold no texts", key="--with-text", expected="--scenarios too, the files they came from")
    if key is not None and options.texts == "included":
        raise ConfigError("a key hides what the texts show", key="--key", expected="either --key or --with-text")
    if key is not None and scenarios is None:
        raise ConfigError("there is nothing to hash", key="--key", expected="--scenarios too")
    if key is not None and len(key) < MIN_KEY:
        raise ConfigError(f"the key has {len(key)} bytes", key="--key", expected=f"at least {MIN_KEY} random bytes")


def _lines(analyses: Source) -> Iterator[bytes]:
    if isinstance(analyses, Path):
        with analyses.open("rb") as file:
            while line := file.readline(bundle.MAX_LINE + 1):
                while not line.endswith(b"\n") and (rest := file.readline(bundle.MAX_LINE + 1)):
                    line = b"x" * (bundle.MAX_LINE + 1) + rest[-1:]  # too long already: only its end is looked for
                yield line
        return
    for item in analyses:
        yield bundle.canonical(item.to_json())


class _FailureError(Exception):
    """An item cannot be packed."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason)


class _Packing:
    """Writes analyses, scenarios and failures of one bundle."""

    def __init__(self, folder: Path, rules: Rules, options: PackOptions, known: ScenarioStore) -> None:
        self.tally = Tally()
        self.failures: list[NotPacked] = []
        self._folder = folder
        self._options = options
        self._known = known
        self._replay = Replay(rules.policy, rules.taxonomy)
        self._policy = rules.policy
        self._seen: set[str] = set()
        self._packed_ids: set[str] = set()

    def take(self, lines: Iterable[bytes], step: Callable[[], object]) -> None:
        """Packs every line, and says what could not be."""
        has_texts = self._options.texts == "included"
        texts_path = self._folder / bundle.SCENARIOS if has_texts else Path(os.devnull)
        with (self._folder / bundle.ANALYSES).open("wb") as out, texts_path.open("wb") as texts:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    self._take_line(number, line, out, texts)
                    step()
        self._check_ids()
        with (self._folder / bundle.FAILURES).open("wb") as file:
            for failure in self.failures:
                hidden = {} if has_texts else {"detail": ""}
                file.write(bundle.canonical(failure.model_dump() | hidden))
        self.tally.failures = len(self.failures)

    def _take_line(self, number: int, line: bytes, out: BinaryIO, texts: BinaryIO) -> None:
        id = f"line-{number}"
        try:
            record = _record(line)
            id = record["id"] if isinstance(record.get("id"), str) else id
            if self._options.ids and id not in self._options.ids:
                return
            packed = self._packed(record, id)
            scenario = self._known.find(id)
            written = self._written(packed, scenario)
        except _FailureError as failure:
            if not self._options.ids or id in self._options.ids:
                self._fail(id, number, failure.reason, failure.detail)
            return
        finally:
            self._seen.add(id)
        if self._known.are_given and scenario is None:
            self._fail(id, number, "packed without its scenario: several differ under this id, or none has it")
        out.write(written)
        if scenario is not None:
            texts.write(self._known.text(scenario))
        self._packed_ids.add(id)
        self.tally.add(packed, None if scenario is None else scenario.hash)

    def _written(self, packed: dict[str, Any], scenario: KnownScenario | None) -> bytes:
        """The line of an analysis. One form for all may be longer than what was read, and then nobody could verify it."""
        line = bundle.canonical(packed | {"scenario": None if scenario is None else scenario.hash})
        if len(line) > bundle.MAX_LINE:
            raise _FailureError(_too_long("the line in the bundle"))
        if self._options.texts == "included" and scenario is not None and scenario.size > bundle.MAX_LINE:
            raise _FailureError(_too_long("the scenario in the bundle"))
        return line

    def _fail(self, id: str, line: int, reason: str, detail: str = "") -> None:
        failure = NotPacked(id=well_formed(id), line=line, reason=reason, detail=well_formed(detail))
        if len(bundle.canonical(failure.model_dump())) > bundle.MAX_LINE:
            failure = failure.model_copy(update={"id": f"line-{line}", "detail": ""})
        self.failures.append(failure)

    def _packed(self, record: dict[str, Any], id: str) -> dict[str, Any]:
        if isinstance(record.get("error"), str):
            raise _FailureError(_WITHOUT_QUOTES, record["error"])
        if id in self._packed_ids:
            raise _FailureError("an analysis with this id was there already")
        reference = record.get("policy")
        if isinstance(reference, dict) and reference.get("hash") != self._policy.hash:
            detail = f"decided by {reference.get('name')!r}, hash {reference.get('hash')!r}"
            raise _FailureError("decided by another policy; `assess` it under this one first", detail)
        try:
            analysis = self._replay.analysis(record)
        except ReplayError as error:
            raise _FailureError("not an analysis as `analyze --json` writes it", str(error)) from error
        content = published(analysis)
        compared = content.keys() - UNPUBLISHED
        stored = {key: record[key] for key in content if key in compared and key in record}
        found = {key: content[key] for key in content if key in compared}
        if bundle.canonical(stored) == bundle.canonical(found):  # quick, and almost always so
            return self._reduced(content)
        if differing := list(misfits(stored, found, numbers="by value")):
            fields = ", ".join(sorted({it.field.partition(".")[0].partition("[")[0] for it in differing}))
            first = differing[0]
            detail = f"{first.field}: stored {first.stored}, recomputed {first.found}"
            raise _FailureError(f"its trees do not lead to what it says: {fields}", detail)
        return self._reduced(content)

    def _reduced(self, content: dict[str, Any]) -> dict[str, Any]:
        """Without what was not asked for."""
        if self._options.generations == "left out":
            content.pop("generations", None)
        if self._options.texts == "left out":
            content["defects"] = [it if _is_of_tree(it) else it | {"found": ""} for it in content["defects"]]
        return content

    def _check_ids(self) -> None:
        for id in self._options.ids:
            if id not in self._seen:
                raise ConfigError(f"no analysis has the id {id!r}", key="--id", expected=choices(id, sorted(self._seen)[:20]))
        if not self.tally.analyses and not self.failures:
            raise ConfigError("there is no analysis to pack", expected="JSON lines that `analyze` or `assess` wrote")


def _record(line: bytes) -> dict[str, Any]:
    if len(line) > bundle.MAX_LINE:
        raise _FailureError(_too_long("the line"))
    try:
        value = strict_json(line.decode("utf-8-sig"))
    except (UnicodeDecodeError, UnreadableError) as error:
        raise _FailureError("not JSON", str(error)) from error
    if not isinstance(value, dict):
        raise _FailureError("not a JSON object")
    return value


def _too_long(what: str) -> str:
    return f"{what} is longer than {bundle.MAX_LINE // 2**20} MiB"


def _is_of_tree(defect: dict[str, str]) -> bool:
    """Whether a defect quotes what a generator wrote, and not the scenario or an error about it."""
    return defect["path"].startswith(TREE_KINDS) and defect["code"] != "generation_failed"


def _write_rules(folder: Path, rules: Rules) -> None:
    (folder / bundle.POLICY).write_bytes(dump_policy(rules.policy).encode())
    (folder / bundle.TAXONOMY).write_bytes(bundle.canonical(rules.taxonomy.model_dump(mode="json")))
    if rules.source is not None:
        (folder / bundle.POLICY_SOURCE).write_bytes(rules.source.content)
    if rules.bootstrap is not None:
        (folder / bundle.BOOTSTRAP).write_bytes(bundle.canonical(bootstrap_content(rules.bootstrap)))


def _put(folder: Path, out: Path, work: Path) -> None:
    """In one move, so that nobody ever sees half a bundle."""
    if out.suffix != ".zip":
        folder.rename(out)
        return
    whole = work / "whole"
    with whole.open("wb") as file:
        write_archive(file, [folder / name for name in bundle.NAMES if (folder / name).exists()])
        file.flush()
        os.fsync(file.fileno())
    whole.rename(out)
