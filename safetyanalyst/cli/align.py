"""`align` weights to labels. `align LABELLED` fits; what else learns from labels is a command of the same group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from safetyanalyst.cli.common import EXIT_SOME_FAILED, JsonOption, existing, json_line, note, refuse_to_overwrite

_FIT = "fit"


class _FitByDefault(TyperGroup):
    """`align LABELLED` is short for `align fit LABELLED`: a first word that is no command is an argument of the fit."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default command where none is named."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_FIT, *args]
        return super().parse_args(ctx, args)


align_app = typer.Typer(cls=_FitByDefault, no_args_is_help=True, help="Learn from labels: weights of a policy.")


@align_app.command(_FIT)
def fit(
    labelled: Annotated[Path, typer.Argument(help="JSON lines of trees with a label of 0 or 1.", metavar="LABELLED")],
    out: Annotated[Path, typer.Option("--out", help="Where the policy goes.", metavar="POLICY.yaml")],
    base: Annotated[
        str, typer.Option("--base", help="Policy that gives everything but the weights.", metavar="NAME|FILE")
    ] = "balanced",
    name: Annotated[str | None, typer.Option("--name", help="Name of the policy; by default that of the file.")] = None,
    starts: Annotated[int, typer.Option("--starts", min=1, help="Starts of the fit.")] = 16,
    seed: Annotated[int, typer.Option("--seed", help="Of the starts.")] = 0,
    ridge: Annotated[
        float, typer.Option("--ridge", min=0.0, help="Pull towards one half, for weights that few labels speak of.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Align the weights of a policy to labelled trees, and write the policy with a report of the fit."""
    from safetyanalyst.features import FeatureSpace
    from safetyanalyst.pipelines import align as pipeline
    from safetyanalyst.policy import dump_policy, read_policy
    from safetyanalyst.report import documents, terminal
    from safetyanalyst.steering import taxonomy_from

    (path,) = existing([labelled])
    refuse_to_overwrite(out, labelled=path)
    based_on = read_policy(base)
    start, taxonomy = based_on.policy, based_on.taxonomy()
    start = start.model_copy(update={"taxonomy": taxonomy_from(based_on, out)})
    data = pipeline.read_labelled(path, FeatureSpace(taxonomy, start.space))
    for failure in data.failures:
        note(f"{path}:{failure.line}: {failure.error}")
    policy = pipeline.align(data, start, taxonomy, name=name or out.stem, source=path, n_starts=starts, seed=seed, ridge=ridge)
    policy.bind(taxonomy)  # what the base pins holds for what is aligned from it
    out.write_text(dump_policy(policy), encoding="utf-8")
    if as_json:
        fit = policy.fit.model_dump(mode="json") if policy.fit else None
        typer.echo(json_line({"policy": policy.name, "hash": policy.hash, "fit": fit}))
    else:
        terminal.console().print(documents.policy(policy))
    if data.failures:
        raise typer.Exit(EXIT_SOME_FAILED)
