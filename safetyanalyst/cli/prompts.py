"""`prompts`: templates of other people's prompts, for models that were trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

prompts_app = typer.Typer(no_args_is_help=True, help="Prompt templates of others.")


@prompts_app.command("import")
def import_prompts(
    checkout: Annotated[Path, typer.Argument(help="Folder of your checkout of the published code.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option("--out", help="Where the template file goes.")] = Path("published-prompts.yaml"),
) -> None:
    """Read the published specialists' prompts from a checkout, without running any of it."""
    from safetyanalyst.generation.templates import dumped, import_templates
    from safetyanalyst.pipelines.drafts import whole
    from safetyanalyst.report.terminal import plain
    from safetyanalyst.trees import TREE_KINDS

    templates = import_templates(checkout)
    with whole(out) as draft:
        draft.write_text(dumped(templates), encoding="utf-8")
    for kind in TREE_KINDS:
        template = templates.of(kind)
        place = template.source.partition(", sha256")[0]
        lengths = f"{len(template.before)} characters before the text and {len(template.after)} behind it"
        typer.echo(plain(f"{kind}: {lengths}, from {place}"))
