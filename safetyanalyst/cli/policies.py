"""`policy`: show one, check one."""

from __future__ import annotations

from typing import Annotated

import typer

from safetyanalyst.cli.common import JsonOption, json_line, note

policy_app = typer.Typer(no_args_is_help=True, help="Policies: weights, threshold, and what to do in doubt.")

PolicyArgument = Annotated[str, typer.Argument(help="Shipped name or YAML file.", metavar="NAME|FILE")]


@policy_app.command("show")
def show_policy(policy: PolicyArgument = "balanced", as_json: JsonOption = False) -> None:
    """Show a policy: its weights, threshold, edits and fit."""
    from safetyanalyst.policy import load_policy
    from safetyanalyst.report import documents, terminal

    loaded = load_policy(policy)
    if as_json:
        typer.echo(json_line({"hash": loaded.hash} | loaded.model_dump(mode="json", by_alias=True)))
    else:
        terminal.console().print(documents.policy(loaded))


@policy_app.command("check")
def check_policy(policy: PolicyArgument) -> None:
    """Check a policy against its taxonomy."""
    from safetyanalyst import resources
    from safetyanalyst.errors import PolicyError
    from safetyanalyst.policy import load_policy
    from safetyanalyst.report import terminal
    from safetyanalyst.taxonomy import load_taxonomy

    loaded = load_policy(policy)
    taxonomy = load_taxonomy(loaded.taxonomy)
    try:
        bound = loaded.bind(taxonomy)
    except PolicyError as error:
        path = resources.find("policies", policy)
        raise PolicyError(error.problem, file=path, key=error.key, expected=error.expected) from error
    for claim in bound.lapsed:
        note(f"{loaded.name}: the {claim} no longer holds, because what it was made for has changed")
    typer.echo(f"{terminal.plain(loaded.name)}: good. {len(bound.levels)} weights over {taxonomy.label}, hash {loaded.hash}")
