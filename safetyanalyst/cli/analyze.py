"""`analyze` scenarios, and `assess` trees that are stored already."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    ConfigOption,
    JsonOption,
    PolicyOption,
    QuietOption,
    existing,
    json_line,
    names_of,
    note,
    progress,
)
from safetyanalyst.version import __version__

if TYPE_CHECKING:  # each command imports what it needs when it runs, so that `--help` answers at once
    from safetyanalyst.analyst import Analysis, FailedItem, SafetyAnalyst
    from safetyanalyst.cascade import Outcome, PassedOn
    from safetyanalyst.pipelines.bulk import ResultFile
    from safetyanalyst.policy import Policy
    from safetyanalyst.scenarios import Example, ReadFailure
    from safetyanalyst.trees import Defect

FileOption = Annotated[
    list[Path] | None, typer.Option("--file", "-f", help="File of scenarios; may be given several times.", metavar="FILE")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="auto, text, lines, jsonl, openai, anthropic, r-judge or soda.", metavar="NAME")
]
PLACE = re.compile(r"(line|item)-\d+|text|input")
"""The ids that readers give to what has none."""
_DECISIONS = {decision: decision for decision in ("allow", "review", "block")}
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write JSON lines here; the same command goes on where it was interrupted.", metavar="FILE"),
]


def analyze(
    text: Annotated[str | None, typer.Argument(help="A prompt; '-' reads standard input.", metavar="TEXT")] = None,
    file: FileOption = None,
    format: FormatOption = "auto",
    config: ConfigOption = "embedded",
    policy: PolicyOption = None,
    out: OutOption = None,
    has_raw: Annotated[
        bool, typer.Option("--with-raw", help="Keep the text that each specialist wrote, in JSON: for an audit.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write harm and benefit trees for scenarios, score them, and decide: allow, review or block."""
    from safetyanalyst.analyst import SafetyAnalyst
    from safetyanalyst.scenarios import check_format

    read_as = check_format(format)
    files = existing(file or [])
    if (text is None) == (not files):
        raise typer.BadParameter("give either a TEXT (or '-' for standard input) or --file")
    if out is not None and not files:
        raise typer.BadParameter("--out needs --file: only a file can be read again to resume")
    analyst = SafetyAnalyst.from_config(config, policy=policy, raw="kept" if has_raw else "dropped")
    items = from_files(files, format) if files else _from_text(text or "", format)
    if out is not None:
        run = f"{config} {_content(config)} {_models(analyst)}{' with raw' if has_raw else ''}"
        results = _result_file(out, "analyze", files, run, analyst.policy, format=read_as)
        _to_file(results, analyst.analyze_many(results.remaining(items)), analyst.policy, is_quiet=quiet)
        return
    taken: deque[Example | ReadFailure] = deque()
    many = analyst.analyze_many(_noting(items, taken))
    shown = ((result, _text_of(taken.popleft())) for result in many)
    _show(shown, analyst.policy, is_json=as_json, is_quiet=quiet, has_progress=bool(files))


def assess(
    trees: Annotated[list[Path], typer.Argument(help="JSON lines of stored analyses or published trees.", metavar="TREES...")],
    policy: PolicyOption = "balanced",
    taxonomy: Annotated[
        str | None, typer.Option(help="Taxonomy of the trees; by default the one that the policy names.", metavar="NAME|FILE")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score and decide again about trees that are stored already; no model is called."""
    from safetyanalyst.analyst import Assessor
    from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
    from safetyanalyst.policy import read_policy
    from safetyanalyst.taxonomy import load_taxonomy

    files = existing(trees)
    chosen = read_policy(policy or "balanced")
    assessor = Assessor(chosen.policy, load_taxonomy(taxonomy) if taxonomy else chosen.taxonomy())

    def one(item: StoredTrees | ReadFailure) -> Analysis | FailedItem:
        if not isinstance(item, StoredTrees):
            return assessor.fail(item)
        return assessor.assess(
            item.trees, id=item.id, type=item.type, defects=item.defects, provenance=item.provenance,
            generations=item.generations,
        )  # fmt: skip

    items = chain.from_iterable(read_trees(path, assessor.taxonomy) for path in files)
    if out is not None:
        results = _result_file(out, "assess", files, assessor.taxonomy.label, assessor.policy)
        _to_file(results, map(one, results.remaining(items)), assessor.policy, is_quiet=quiet)
        return
    _show(((one(item), "") for item in items), assessor.policy, is_json=as_json, is_quiet=quiet, has_progress=True)


def _from_text(text: str, format: str) -> Iterator[Example | ReadFailure]:
    from safetyanalyst.scenarios import Example, Prompt, read_examples

    if text == "-":
        yield from read_examples(sys.stdin.buffer, format, name="standard input")
    elif format in ("auto", "text"):
        yield Example(scenario=Prompt(id="text", text=text))
    else:
        yield from read_examples([text.encode("utf-8", "surrogatepass")], format, name="TEXT")


def from_files(files: Iterable[Path], format: str) -> Iterator[Example | ReadFailure]:
    """The scenarios of several files, with the ids that their analyses have."""
    from safetyanalyst.scenarios import read_examples

    paths = list(files)
    for path, name in zip(paths, names_of(paths), strict=True):
        items = read_examples(path, format)
        yield from (_renamed(it, name) for it in items) if len(paths) > 1 else items


def _renamed(item: Example | ReadFailure, name: str) -> Example | ReadFailure:
    """The item with its file's name before an id that is its place there: the first line of one is not the other's."""
    from safetyanalyst.scenarios import ReadFailure

    if isinstance(item, ReadFailure):
        return item.model_copy(update={"id": _place(item.id, name)})
    return item.model_copy(update={"scenario": item.scenario.model_copy(update={"id": _place(item.scenario.id, name)})})


def _place(id: str, name: str) -> str:
    return f"{name}:{id}" if PLACE.fullmatch(id) else id


def _noting(items: Iterable[Example | ReadFailure], taken: deque[Example | ReadFailure]) -> Iterator[Example | ReadFailure]:
    for item in items:
        taken.append(item)
        yield item


def _text_of(item: Example | ReadFailure) -> str:
    from safetyanalyst.scenarios import ReadFailure

    return "" if isinstance(item, ReadFailure) else "  ".join(item.scenario.texts())


def _show(
    results: Iterable[tuple[Analysis | FailedItem, str]], policy: Policy, *, is_json: bool, is_quiet: bool, has_progress: bool
) -> None:
    from safetyanalyst.report import terminal

    console = terminal.console()
    tally = _Tally(policy)
    with progress("analysing", total=None, is_shown=has_progress and not is_quiet and not sys.stdout.isatty()) as step:
        for result, text in results:
            tally.add(result)
            if is_json:
                sys.stdout.write(json_line(result.to_json()) + "\n")
            else:
                console.print(terminal.line(result) if is_quiet else terminal.draw(result, policy, text), soft_wrap=is_quiet)
            step()
    sys.stdout.flush()
    if not is_quiet and not is_json and tally.total > 1:
        console.print(tally.summary())
    if not is_quiet and tally.passed_on is not None:
        note(terminal.cascade(tally.passed_on))
    tally.leave()


def _to_file(results: ResultFile, made: Iterable[Analysis | FailedItem], policy: Policy, *, is_quiet: bool) -> None:
    tally = _Tally(policy)
    if results.done:
        tally.resume(results)
        note(f"going on after {results.done} results that are there already")
    with progress("analysing", total=None, is_shown=not is_quiet) as step:
        for result in results.write(made):
            tally.add(result)
            step()
    if not is_quiet:
        note(tally.summary())
    if tally.passed_on is not None:
        from safetyanalyst.report.terminal import cascade

        results.state({"cascade": tally.passed_on})
        if not is_quiet:
            note(cascade(tally.passed_on))
    tally.leave()


class _Tally:
    """Counts decisions and failures, and knows the exit status."""

    def __init__(self, policy: Policy) -> None:
        self._kinds = policy.space.kinds
        self._decisions: Counter[str] = Counter()
        self._outcomes: Counter[Outcome] = Counter()
        self._failed = 0

    @property
    def total(self) -> int:
        """Items so far."""
        return self._decisions.total()

    @property
    def passed_on(self) -> PassedOn | None:
        """What a cascade passed on; `None` where there was none."""
        from safetyanalyst.cascade import passed_on

        return passed_on(self._outcomes) if self._outcomes else None

    def add(self, result: Analysis | FailedItem) -> None:
        """Counts a result."""
        from safetyanalyst.analyst import Analysis

        self._decisions[result.decision] += 1
        self._failed += result.is_failed
        if isinstance(result, Analysis):
            self._count_outcome(result.provenance, result.defects)

    def resume(self, results: ResultFile) -> None:
        """Counts results that an earlier try has written.

        Raises:
            ConfigError: A line is JSON and no result.
        """
        from safetyanalyst.errors import ConfigError

        for number, record in enumerate(results.earlier(), start=1):
            try:
                self._resume(record)
                self._decisions[_DECISIONS[record["decision"]]] += 1
            except (TypeError, KeyError, AttributeError, ValueError) as error:  # ValueError: pydantic's, for a defect
                expected = "an analysis, or an item that could not be read"
                raise ConfigError(f"line {number} is not a result", file=results.path, expected=expected) from error

    def _resume(self, record: dict[str, Any]) -> None:
        from safetyanalyst.analyst import is_failure
        from safetyanalyst.trees import Defect

        if "error" in record:
            self._failed += 1
            return
        missing = [kind for kind in self._kinds if record["trees"][kind] is None]
        defects = [Defect.model_validate(it) for it in record["defects"]]
        self._failed += is_failure(missing, defects)
        self._count_outcome(record["provenance"], defects)

    def _count_outcome(self, provenance: Mapping[str, Any], defects: Iterable[Defect]) -> None:
        from safetyanalyst.cascade import outcome

        found = outcome(provenance, defects)
        if found is not None:
            self._outcomes[found] += 1

    def summary(self) -> str:
        """In words."""
        from safetyanalyst.report.terminal import summary

        return summary(self._decisions, self._failed)

    def leave(self) -> None:
        """Ends the command with the status that tells whether everything was decided."""
        if not self.total:
            raise typer.BadParameter("the input holds no scenario")
        if self._failed:
            raise typer.Exit(EXIT_SOME_FAILED)


def _result_file(
    out: Path, command: str, files: Iterable[Path], config: str, policy: Policy, *, format: str = ""
) -> ResultFile:
    from safetyanalyst.pipelines.bulk import ResultFile, RunIdentity
    from safetyanalyst.pipelines.dataset import file_hash

    inputs = tuple(file_hash(path) for path in files)
    identity = RunIdentity(command=command, inputs=inputs, format=format, config=config, policy=policy.hash, code=__version__)
    return ResultFile(out, identity)


def _content(config: str) -> str:
    """Hash over what a run configuration says, wherever it lies."""
    from safetyanalyst.analyst import load_config
    from safetyanalyst.resources import canonical_hash

    return canonical_hash(load_config(config).model_dump(mode="json", by_alias=True, exclude_none=True))


def _models(analyst: SafetyAnalyst) -> str:
    """Hash over what the generators of all stages are, so that a run is not resumed with other weights."""
    from safetyanalyst.generation import generate
    from safetyanalyst.scenarios import Prompt

    probe = [Prompt(id="probe", text="")]
    stages = [analyst.generators] if analyst.cascade is None else [analyst.generators, analyst.cascade.generators]
    found = [{kind: generate(it, probe)[0].provenance.model_dump() for kind, it in stage.items()} for stage in stages]
    return hashlib.sha256(json_line(found).encode()).hexdigest()
