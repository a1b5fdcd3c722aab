"""`taxonomy`: show one, check one."""

from __future__ import annotations

from typing import Annotated

import typer

from safetyanalyst.cli.common import JsonOption, json_line

taxonomy_app = typer.Typer(no_args_is_help=True, help="Taxonomies: what can be said in a tree.")

TaxonomyArgument = Annotated[str, typer.Argument(help="Shipped name or YAML file.", metavar="NAME|FILE")]


@taxonomy_app.command("show")
def show_taxonomy(taxonomy: TaxonomyArgument = "safetyanalyst-v1", as_json: JsonOption = False) -> None:
    """Show a taxonomy with its definitions."""
    from safetyanalyst.report import documents, terminal
    from safetyanalyst.taxonomy import load_taxonomy

    loaded = load_taxonomy(taxonomy)
    if as_json:
        typer.echo(json_line({"label": loaded.label} | loaded.model_dump(mode="json")))
    else:
        terminal.console().print(documents.taxonomy(loaded))


@taxonomy_app.command("check")
def check_taxonomy(taxonomy: TaxonomyArgument) -> None:
    """Check a taxonomy."""
    from safetyanalyst.taxonomy import load_taxonomy

    loaded = load_taxonomy(taxonomy)
    typer.echo(
        f"{loaded.label}: good. {len(loaded.domains)} domains, {len(loaded.action_groups)} groups, "
        f"{len(loaded.harm_actions)} harmful and {len(loaded.benefit_actions)} beneficial actions, "
        f"{len(loaded.effect_groups)} effect groups, {len(loaded.harm_effects)} harmful and "
        f"{len(loaded.benefit_effects)} beneficial effects"
    )
