"""`policy diff`: what changes when a policy changes. `policy test`: whether it holds what was agreed. No model is called."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetyanalyst.cli.common import EXIT_SOME_FAILED, existing, json_line, note, progress

if TYPE_CHECKING:
    from safetyanalyst.pipelines.corpus import Corpus
    from safetyanalyst.policy import BoundPolicy
    from safetyanalyst.taxonomy import Taxonomy

EXIT_DOES_NOT_HOLD = 1
_TOP_IN_TABLE, _TOP_IN_PAGE = 10, 200
_MOST_NOTES = 20

BudgetOption = Annotated[
    str | None, typer.Option("--fail-on-flips", help="Exit status 1 when more decisions change: 5, or 2%.", metavar="N|P%")
]
TaxonomyOption = Annotated[
    str | None, typer.Option(help="Taxonomy of the trees; by default the one that the policies name.", metavar="NAME|FILE")
]


def diff(
    a: Annotated[str, typer.Argument(help="The policy that is.", metavar="A")],
    b: Annotated[str, typer.Argument(help="The policy that would take its place.", metavar="B")],
    on: Annotated[list[Path], typer.Option("--on", help="JSON lines of stored trees.", metavar="TREES")],
    more: Annotated[list[Path] | None, typer.Argument(help="More of them.", metavar="[TREES]...", show_default=False)] = None,
    taxonomy: TaxonomyOption = None,
    top: Annotated[
        int | None, typer.Option("--top", min=0, help="Flipped scenarios to list: 10, 200 in HTML, all in JSON.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page.", metavar="FILE")] = None,
    fail_on_flips: BudgetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One sentence.")] = False,
) -> None:
    """Show what changes when policy B takes the place of policy A, over stored trees. Exit status: 3 some trees not read."""
    from safetyanalyst.pipelines.diff import diff as compare
    from safetyanalyst.pipelines.suites import exceeds
    from safetyanalyst.report import diff as report
    from safetyanalyst.report import terminal

    files = existing([*on, *(more or [])])
    if len({path.resolve() for path in files}) < len(files):
        raise typer.BadParameter("a file is given twice: its scenarios would count double")
    most = None if fail_on_flips is None else _budget(fail_on_flips)
    if html is not None:
        _refuse_to_overwrite(html, "--html", begins=b"<!DOCTYPE html>")
    bound_a, bound_b, of_trees = _bound(a, b, taxonomy)
    corpus = read(files, of_trees, is_shown=not quiet)
    found = compare(corpus, bound_a, bound_b)
    if html is not None:
        from safetyanalyst.report.diff_page import page

        html.write_text(page(found, top=_TOP_IN_PAGE if top is None else top), encoding="utf-8", errors="backslashreplace")
    if as_json:
        typer.echo(json_line(found.to_json(top)))
    else:
        shown = report.headline(found) if quiet else report.draw(found, top=_TOP_IN_TABLE if top is None else top)
        terminal.console().print(shown, soft_wrap=quiet)
    if most is not None and exceeds(len(found), most, len(corpus)):
        note(f"{len(found)} decisions change, which is more than {fail_on_flips}")
        raise typer.Exit(EXIT_DOES_NOT_HOLD)
    if corpus.unread:
        raise typer.Exit(EXIT_SOME_FAILED)


def read(files: list[Path], taxonomy: Taxonomy, *, is_shown: bool) -> Corpus:
    """Reads stored trees with progress, and notes what could not be read.

    Raises:
        BadParameter: There is nothing in the files.
    """
    from safetyanalyst.pipelines.corpus import read_corpus

    with progress("reading", total=None, is_shown=is_shown and not sys.stdout.isatty()) as step:
        corpus = read_corpus(files, taxonomy, on_row=step)
    for it in corpus.unread[:_MOST_NOTES]:
        note(f"{it.source}:{it.line}: {it.error}")
    if len(corpus.unread) > _MOST_NOTES:
        note(f"and {len(corpus.unread) - _MOST_NOTES} more records that could not be read")
    if not len(corpus) and not corpus.unread:
        raise typer.BadParameter("the input holds no scenario")
    return corpus


def _bound(a: str, b: str, taxonomy: str | None) -> tuple[BoundPolicy, BoundPolicy, Taxonomy]:
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.policy import read_policy
    from safetyanalyst.taxonomy import load_taxonomy

    files = read_policy(a), read_policy(b)
    first, second = (file.policy for file in files)
    named = [load_taxonomy(taxonomy)] if taxonomy else [file.taxonomy() for file in files]
    if named[0].hash != named[-1].hash:
        problem = f"{first.name} speaks of {named[0].label}, {second.name} of {named[-1].label}"
        raise ConfigError(problem, key="--taxonomy", expected="the taxonomy of the trees, which both policies must fit")
    return first.bind(named[0]), second.bind(named[0]), named[0]


def _refuse_to_overwrite(out: Path, key: str, *, begins: bytes) -> None:
    """A page may replace a page, and a report a report; nothing else is ever overwritten."""
    from safetyanalyst.errors import ConfigError

    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", file=out.parent, key=key)
    if out.is_dir():
        raise ConfigError("this is a folder", file=out, key=key, expected="a file")
    if out.is_file():
        with out.open("rb") as stream:
            start = stream.read(len(begins))
        if start and start != begins:
            raise ConfigError("this file is something else, and would be lost", file=out, key=key, expected="another name")


def _budget(text: str) -> int | str:
    found = re.fullmatch(r"([0-9]{1,9})|[0-9]{1,9}(?:\.[0-9]{1,6})?%", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor a percentage", param_hint="--fail-on-flips")
    return int(text) if found[1] else text


def run_suite(
    policy: Annotated[str, typer.Argument(help="Shipped policy or YAML file.", metavar="POLICY")],
    suite: Annotated[Path, typer.Option("--suite", help="YAML file of cases.", metavar="CASES.yaml")],
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only cases that do not hold.")] = False,
) -> None:
    """Test a policy against a suite. Exit status: 0 all holds, 1 something does not hold, 3 some cases could not be run."""
    from safetyanalyst.pipelines.cases import SuiteRunner
    from safetyanalyst.pipelines.suites import load_suite
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report import suite as report
    from safetyanalyst.report import terminal

    (path,) = existing([suite])
    if junit is not None:
        _refuse_to_overwrite(junit, "--junit", begins=b"<?xml")
    file, loaded = read_policy(policy), load_suite(path)
    chosen = file.policy
    runner = SuiteRunner(loaded, chosen, path.parent, taxonomy=file.taxonomy() if loaded.taxonomy is None else None)
    results = []
    console = terminal.console()
    with progress("testing", total=len(runner), is_shown=not quiet and not sys.stdout.isatty()) as step:
        for result in runner.run():
            results.append(result)
            if not as_json and not (quiet and result.status == "passed"):
                console.print(report.line(result), soft_wrap=True)
            step()
    if junit is not None:
        junit.write_text(report.junit(loaded, chosen, results), encoding="utf-8")
    if as_json:
        typer.echo(json_line(report.to_json(loaded, chosen, results)))
    elif not quiet:
        console.print(report.summary(results))
    statuses = {result.status for result in results}
    if "failed" in statuses:
        raise typer.Exit(EXIT_DOES_NOT_HOLD)
    if "error" in statuses:
        raise typer.Exit(EXIT_SOME_FAILED)
