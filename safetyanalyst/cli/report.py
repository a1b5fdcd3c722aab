"""`report`: stored analyses as one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    PolicyOption,
    QuietOption,
    existing,
    names_of,
    note,
    note_decided_again,
    progress,
)

if TYPE_CHECKING:  # each command imports what it needs when it runs, so that `--help` answers at once
    from safetyanalyst.policy import BoundPolicy
    from safetyanalyst.report.page_columns import Item
    from safetyanalyst.scenarios import Example


def report(
    analyses: Annotated[
        list[Path], typer.Argument(help="JSON lines of stored analyses or published trees.", metavar="ANALYSES...")
    ],
    html: Annotated[Path, typer.Option("--html", help="Write the page here.", metavar="FILE")],
    policy: PolicyOption = "balanced",
    against: Annotated[
        str | None, typer.Option("--against", help="A second policy to compare with.", metavar="NAME|FILE")
    ] = None,
    scenarios: Annotated[
        list[Path] | None,
        typer.Option("--scenarios", help="Scenarios, joined by id for their texts and labels.", metavar="FILE"),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="Format of the scenarios, as for analyze.", metavar="NAME")] = "auto",
    source: Annotated[str, typer.Option("--source", help="Column that says where a scenario comes from.")] = "source",
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = "SafetyAnalyst report",
    quiet: QuietOption = False,
) -> None:
    """Draw stored analyses as one self-contained page whose sliders score every scenario again."""
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report.page import Reading, render
    from safetyanalyst.scenarios import ReadFailure, check_format

    check_format(format)
    files, texts = existing(analyses), existing(scenarios or [])
    bound = [read_policy(name).bind() for name in (policy or "balanced", against) if name is not None]
    if html.resolve() in {path.resolve() for path in (*files, *texts)}:
        raise typer.BadParameter("--html would overwrite an input")
    stored = _read(files, bound[0], is_shown=not quiet)
    if not stored.items:
        raise typer.BadParameter("the input holds no scenario")
    reading = Reading(bound[0], stored.items)
    is_alike = len(bound) == 1 or bound[1].space.taxonomy.hash == bound[0].space.taxonomy.hash
    others = stored if is_alike else _read(files, bound[1], is_shown=not quiet)  # the same trees in other words
    joined = _joined(texts, format, stored)
    page = render(
        reading,
        against=None if len(bound) == 1 else Reading(bound[1], others.items),
        examples=joined,
        sources=_sources(stored, joined, source),
        title=title,
    )
    html.write_text(page, encoding="utf-8")
    failed = sum(_is_failed(item, bound[0]) for item in stored.items)
    if not quiet:
        size = html.stat().st_size / 1e6
        decided_by = (item.decided_by for item in stored.items if not isinstance(item, ReadFailure))
        note_decided_again(decided_by, bound[0].policy)
        note(f"{html}: {len(stored.items)} scenarios ({failed} of them could not be analysed), {size:.1f} MB")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


class _Stored(NamedTuple):
    """Items of all files, and for each the name of its file."""

    items: list[Item]
    files: list[str]


def _read(files: list[Path], bound: BoundPolicy, *, is_shown: bool) -> _Stored:
    from safetyanalyst.pipelines.dataset import read_trees

    stored = _Stored([], [])
    with progress("reading", total=None, is_shown=is_shown) as step:
        for path, name in zip(files, names_of(files), strict=True):
            for item in read_trees(path, bound.space.taxonomy):
                stored.items.append(item)
                stored.files.append(name)
                step()
    return stored


def _joined(files: list[Path], format: str, stored: _Stored) -> dict[str, Example]:
    """Scenarios by id. An id that stands for several texts, or for a place in one of several files, joins to none of them."""
    from safetyanalyst.cli.analyze import PLACE, from_files
    from safetyanalyst.scenarios import ReadFailure, dump_scenario

    has_places = len(set(stored.files)) == 1
    wanted = {item.id for item in stored.items if has_places or not PLACE.fullmatch(item.id)}
    found: dict[str, Example] = {}
    several: set[str] = set()
    unreadable = 0
    for item in from_files(files, format):
        if isinstance(item, ReadFailure):
            unreadable += 1
        elif item.scenario.id in wanted:
            known = found.setdefault(item.scenario.id, item)
            if dump_scenario(known.scenario) != dump_scenario(item.scenario):
                several.add(item.scenario.id)
    for id in several:
        del found[id]
    if several:
        note(f"{len(several)} ids stand for several scenarios, such as {min(several)}: their texts are left out")
    if unreadable:
        note(f"{unreadable} scenarios could not be read: their texts are left out")
    if files and (lacking := sum(item.id not in found for item in stored.items)):
        note(f"{lacking} of {len(stored.items)} analyses have no scenario of their id: they are shown without text")
    return found


def _sources(stored: _Stored, examples: dict[str, Example], column: str) -> list[str]:
    """For each item the value of a column, of its own row or else of its scenario's; the file's name where there is none."""
    from safetyanalyst.scenarios import ReadFailure

    found: list[str] = []
    for item, name in zip(stored.items, stored.files, strict=True):
        own = {} if isinstance(item, ReadFailure) else item.fields
        example = examples.get(item.id)
        joined = {} if example is None else example.fields
        values = (fields[column] for fields in (own, joined) if fields.get(column) is not None)
        found.append(str(next(values, name)))
    return found


def _is_failed(item: Item, bound: BoundPolicy) -> bool:
    """Whether a row could not be read, or a tree that the policy counts is missing through a failure."""
    from safetyanalyst.analyst import is_failure
    from safetyanalyst.scenarios import ReadFailure

    if isinstance(item, ReadFailure):
        return True
    trees = {"harm": item.trees.harm, "benefit": item.trees.benefit}
    return is_failure([kind for kind in bound.space.spec.kinds if trees[kind] is None], item.defects)
