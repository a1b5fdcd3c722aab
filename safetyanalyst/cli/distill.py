"""`distill`: teacher trees from language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safetyanalyst.cli.common import EXIT_SOME_FAILED, existing, note, progress


def distill(
    files: Annotated[list[Path], typer.Argument(help="Scenarios, in any form that `analyze` reads.", metavar="FILE...")],
    config: Annotated[Path, typer.Option("--config", help="YAML file of teachers.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", help="JSON lines of teacher trees; the same command goes on.")],
    cache: Annotated[Path | None, typer.Option(help="File of answers; by default OUT.cache.sqlite.", metavar="FILE")] = None,
    format: Annotated[str, typer.Option(help="Form of the scenarios.")] = "auto",
) -> None:
    """Ask language models for teacher trees: several teachers, every answer once, cost and defects accounted."""
    from safetyanalyst.cli.analyze import from_files
    from safetyanalyst.pipelines.bulk import ResultFile, RunIdentity
    from safetyanalyst.pipelines.dataset import file_hash
    from safetyanalyst.pipelines.distill import Account, Distiller, TeacherRow, added, load_distill_config
    from safetyanalyst.resources import canonical_hash
    from safetyanalyst.scenarios import check_format
    from safetyanalyst.version import __version__

    paths = existing(files)
    asked = load_distill_config(config)
    content = canonical_hash(asked.model_dump(mode="json", exclude_none=True))
    identity = RunIdentity(
        command="distill", inputs=tuple(map(file_hash, paths)), format=check_format(format), config=f"{asked.name} {content}",
        policy="", code=__version__,
    )  # fmt: skip
    results = ResultFile(out, identity)
    distiller = Distiller(asked, cache or out.with_name(f"{out.name}.cache.sqlite"))
    accounts: dict[str, Account] = {}
    n_failed = 0
    for written in results.earlier() if results.done else ():
        before = TeacherRow(content=written)
        added(accounts, before)
        n_failed += before.is_failed
    rows = distiller.rows(from_files(paths, format), results.done)
    with progress("asking", total=None, is_shown=True) as step:
        for row in results.write(rows):
            added(accounts, row)
            n_failed += row.is_failed
            step()
    for name, account in accounts.items():
        if name:
            tokens = f"{account.prompt_tokens} tokens read, {account.completion_tokens} written"
            note(f"{name}: {account.scenarios} scenarios, {account.missing} trees missing, {tokens}, cost {account.cost:.4f}")
    results.state({name: it for name, it in accounts.items() if name})
    if n_failed:
        raise typer.Exit(EXIT_SOME_FAILED)
