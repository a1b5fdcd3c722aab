"""`backends`: what can write trees here, and what would have to be installed for the rest."""

from __future__ import annotations

import typer

from safetyanalyst.cli.common import JsonOption, json_line


def backends(as_json: JsonOption = False) -> None:
    """List the backends, what each of them lacks, and how it is installed."""
    from safetyanalyst.generation.table import statuses

    for status in statuses():
        if as_json:
            typer.echo(json_line(status.model_dump()))
        else:
            state = f"missing {', '.join(status.missing)}: {status.install}" if status.missing else "ready"
            typer.echo(f"{status.name:<10}{status.about}\n{'':<10}{state}")
