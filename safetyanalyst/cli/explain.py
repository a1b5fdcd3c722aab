"""`explain` decisions on trees that are stored already."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    JsonOption,
    PolicyOption,
    QuietOption,
    existing,
    json_line,
    note,
    note_decided_again,
    progress,
)

if TYPE_CHECKING:  # imported when the command runs, so that `--help` answers at once
    from safetyanalyst.analyst import PolicyReference
    from safetyanalyst.pipelines.dataset import StoredTrees
    from safetyanalyst.policy import Decision
    from safetyanalyst.scenarios import ReadFailure

_DECISIONS: tuple[Decision, ...] = ("allow", "review", "block")


def explain(
    analyses: Annotated[
        list[Path], typer.Argument(help="JSON lines of stored analyses or published trees.", metavar="ANALYSES...")
    ],
    id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this scenario; may be given several times.", metavar="ID")
    ] = None,
    policy: PolicyOption = "balanced",
    taxonomy: Annotated[
        str | None, typer.Option(help="Taxonomy of the trees; by default the one that the policy names.", metavar="NAME|FILE")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Decision that changes should lead to: allow, review or block; by default the next one."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say why a decision is as it is, what would change it, and how firm it is; no model is called."""
    from safetyanalyst.account import Accountant
    from safetyanalyst.analyst import Assessor
    from safetyanalyst.bootstrap import bootstrap_path, nearest_bootstrap
    from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report import explanations, terminal
    from safetyanalyst.taxonomy import load_taxonomy

    target = _decision(to)
    files = existing(analyses)
    chosen = read_policy(policy or "balanced")
    assessor = Assessor(chosen.policy, load_taxonomy(taxonomy) if taxonomy else chosen.taxonomy())
    found = nearest_bootstrap(chosen)
    if found is None and chosen.policy.fit is not None and chosen.policy.fit.bootstrap is not None:
        note(f"{bootstrap_path(chosen.path)} is not there: how stable decisions are is not known")
    accountant = Accountant(assessor.bound, found and found.bootstrap, fitted=found and found.policy)
    items: Iterable[StoredTrees | ReadFailure] = chain.from_iterable(read_trees(it, assessor.taxonomy) for it in files)
    out = terminal.console()
    total = failed = 0
    decided_by: list[PolicyReference | None] = []
    with progress("explaining", total=None, is_shown=not quiet and not sys.stdout.isatty()) as step:
        for item in _only(items, id) if id else items:
            total += 1
            if isinstance(item, StoredTrees):
                decided_by.append(item.decided_by)
                failed += assessor.assess(item.trees, id=item.id, defects=item.defects).is_failed
                account = accountant.account_for(item.trees, id=item.id, target=target)
                line, drawing = account.to_json(), (explanations.account_line if quiet else explanations.draw_account)(account)
            else:
                failed += 1
                failure = assessor.fail(item)
                line, drawing = failure.to_json(), terminal.line(failure) if quiet else terminal.draw(failure, chosen.policy)
            if as_json:
                sys.stdout.write(json_line(line) + "\n")
            else:
                out.print(drawing, soft_wrap=quiet)
            step()
    sys.stdout.flush()
    if not quiet:
        note_decided_again(decided_by, chosen.policy)
    if not total:
        raise typer.BadParameter("the input holds no scenario")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _decision(word: str | None) -> Decision | None:
    if word is None:
        return None
    for decision in _DECISIONS:
        if decision == word:
            return decision
    raise typer.BadParameter(f"there is no decision {word!r} (expected one of {', '.join(_DECISIONS)})")


def _only(items: Iterable[StoredTrees | ReadFailure], wanted: list[str]) -> Iterator[StoredTrees | ReadFailure]:
    """The items with certain ids, in the order of the file.

    Raises:
        ConfigError: One is not there; the nearest is named. Nothing is shown then.
    """
    import difflib

    from safetyanalyst.errors import ConfigError

    ids: dict[str, None] = {}
    found: list[StoredTrees | ReadFailure] = []
    for item in items:
        ids[item.id] = None
        if item.id in wanted:
            found.append(item)
    for id in wanted:
        if id not in ids:
            near = difflib.get_close_matches(id, ids, n=1, cutoff=0.0)
            expected = f"one of {len(ids)} ids, such as {near[0]!r}" if near else "a file that holds scenarios"
            raise ConfigError(f"there is no scenario {id!r}", key="--id", expected=expected)
    return iter(found)
