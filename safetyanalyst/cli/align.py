"""`align` weights to labels. `align LABELLED` fits; what else learns from labels is a command of the same group."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    JsonOption,
    existing,
    json_line,
    note,
    progress,
    refuse_line,
    refuse_to_overwrite,
)

if TYPE_CHECKING:
    from safetyanalyst.pipelines.align import Aligned
    from safetyanalyst.pipelines.align_communities import CommunityPolicies
    from safetyanalyst.policy import Policy

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
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of starts, folds and resampling.")] = 0,
    ridge: Annotated[
        float, typer.Option("--ridge", min=0.0, help="Pull towards one half, for weights that few labels speak of.")
    ] = 0.0,
    prior: Annotated[
        str | None, typer.Option("--prior", help="Policy whose levels the weights are pulled to.", metavar="NAME|FILE|base")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", min=0.0, help="Of the prior, in labelled rows.", metavar="ROWS")
    ] = None,
    floor: Annotated[
        list[str] | None, typer.Option("--floor", help="Least value of a level, or of all that match.", metavar="WEIGHT=VALUE")
    ] = None,
    ceiling: Annotated[
        list[str] | None, typer.Option("--ceiling", help="Greatest value, likewise.", metavar="WEIGHT=VALUE")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option("--freeze", help="Level that stays as in the base, or at a value.", metavar="WEIGHT[=VALUE]"),
    ] = None,
    cost_missed: Annotated[float, typer.Option("--cost-missed", help="Cost of a missed harm.")] = 1.0,
    cost_false_alarm: Annotated[float, typer.Option("--cost-false-alarm", help="Cost of a false alarm.")] = 1.0,
    weight_column: Annotated[
        str | None, typer.Option("--weight-column", help="Column with the weight of each row.", metavar="COLUMN")
    ] = None,
    threshold: Annotated[
        str,
        typer.Option("--threshold", help="Fitted with the weights, as in the base, or a number.", metavar="fit|base|NUMBER"),
    ] = "base",
    analysis: Annotated[
        str | None, typer.Option("--analysis", help="Which trees count.", metavar="both|harms|benefits")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="A weight per group or leaf action.", metavar="group|leaf")
    ] = None,
    effect: Annotated[
        str | None, typer.Option("--effect", help="No weight per effect, or one per group.", metavar="none|group")
    ] = None,
    discount: Annotated[
        str | None,
        typer.Option("--discount", help="Downstream discount of harms and benefits.", metavar="separate|shared"),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", min=0, help="Stratified cross-validation; 0 for none.")] = 0,
    fold_group: Annotated[
        str | None, typer.Option("--fold-group", help="Column whose equal values stay together.", metavar="COLUMN")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option("--bootstrap", min=0, help="Refits on resampled rows, for intervals; 100 with --by.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Column: one policy for each of its values.", metavar="COLUMN")] = None,
    min_rows: Annotated[int, typer.Option("--min-rows", min=2, help="With --by: fewer rows have the pooled weights.")] = 30,
    shrink: Annotated[
        float | None,
        typer.Option("--shrink", min=0.0, help="With --by: pull to the pooled weights; cross-validated.", metavar="ROWS"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Align the weights of a policy to labelled trees, and write the policy with a report of the fit."""
    from safetyanalyst import resources
    from safetyanalyst.cli import align_options as options
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.features import FeatureSpace
    from safetyanalyst.pipelines import align as pipeline
    from safetyanalyst.pipelines.align_communities import align_communities
    from safetyanalyst.policy import load_policy, read_policy
    from safetyanalyst.steering import taxonomy_from

    (path,) = existing([labelled])
    refuse_to_overwrite(out, labelled=path)
    options.refuse_beside(out)
    given = {
        "n_starts": starts, "seed": seed, "ridge": ridge, "strength": strength or 0.0, "weight_column": weight_column,
        "costs": {"missed": cost_missed, "false_alarm": cost_false_alarm}, "threshold": options.threshold(threshold),
        "n_folds": folds, "group_column": fold_group,
        "n_bootstrap": (100 if by else 0) if bootstrap is None else bootstrap,
        "constraints": options.constraints(floor or (), ceiling or (), freeze or ()),
    }  # fmt: skip
    settings = resources.validate(pipeline.AlignSettings, given, file=None, error=ConfigError)
    if (prior is None) != (strength is None):
        missing = "--strength" if strength is None else "--prior"
        raise ConfigError("a prior needs both a policy and a strength", key=missing, expected="--prior NAME --strength ROWS")
    based_on = read_policy(base)
    refuse_line(based_on, out)
    pulled_to = None if prior is None else based_on.policy if prior == "base" else load_policy(prior)
    taxonomy = based_on.taxonomy()
    start = based_on.policy.model_copy(update={"taxonomy": taxonomy_from(based_on, out)})
    start = options.with_space(start, {"analysis": analysis, "action": action, "effect": effect, "discount": discount})
    # what the base pins holds for what is aligned from it
    pinned = options.with_pins(settings.constraints, start, FeatureSpace(taxonomy, start.space))
    settings = settings.model_copy(update={"constraints": pinned})
    pipeline.new_model(settings, start, taxonomy, prior=pulled_to)  # constraints are refused before anything is read
    data = pipeline.read_labelled(path, FeatureSpace(taxonomy, start.space))
    for failure in data.failures:
        note(f"{path}:{failure.line}: {failure.error}")
    title = name or out.stem
    if by is None:
        done = pipeline.align_with(settings, data, start, taxonomy, name=title, source=path, prior=pulled_to, watch=_watch)
        done.policy.bind(taxonomy)  # a threshold or a setting that is pinned is not fitted: it is refused
        _finish(done, out, as_json=as_json)
    else:
        found = align_communities(
            settings, data, start, taxonomy, name=title, source=path, column=by, min_rows=min_rows, strength=shrink,
            prior=pulled_to, watch=_watch,
        )  # fmt: skip
        _finish_communities(found, out, path, as_json=as_json)
    if data.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _watch(description: str, total: int) -> AbstractContextManager[Any]:
    return progress(description, total=total, is_shown=True)


def _finish(done: Aligned, out: Path, *, as_json: bool) -> None:
    """Writes the policy with its replicates, and shows it."""
    from safetyanalyst.bootstrap import bootstrap_path, dump_bootstrap
    from safetyanalyst.cli.align_options import write_together
    from safetyanalyst.policy import dump_policy
    from safetyanalyst.report import documents, terminal

    files = {} if done.bootstrap is None else {bootstrap_path(out): dump_bootstrap(done.bootstrap)}
    write_together(files | {out: dump_policy(done.policy)})
    if as_json:
        typer.echo(json_line(_summary(done.policy)))
    else:
        terminal.console().print(documents.policy(done.policy))


def _finish_communities(found: CommunityPolicies, out: Path, labelled: Path, *, as_json: bool) -> None:
    """Writes every policy with its replicates and the report, and shows where communities differ."""
    from safetyanalyst.bootstrap import bootstrap_path, dump_bootstrap
    from safetyanalyst.cli import align_options as options
    from safetyanalyst.pipelines.align_communities import community_path
    from safetyanalyst.policy import dump_policy
    from safetyanalyst.report import documents, fits, terminal

    paths = {name: community_path(out, name) for name in found.policies}
    for path in paths.values():
        refuse_to_overwrite(path, labelled=labelled)
        options.refuse_beside(path)
    files = {bootstrap_path(paths[name]): dump_bootstrap(it) for name, it in found.bootstraps.items()}
    if found.pooled.bootstrap is not None:
        files[bootstrap_path(out)] = dump_bootstrap(found.pooled.bootstrap)
    files |= {paths[name]: dump_policy(policy) for name, policy in found.policies.items()}
    files[options.report_path(out)] = json_line(found.report.model_dump(mode="json")) + "\n"
    options.write_together(files | {out: dump_policy(found.pooled.policy)})
    names = {name: path.name for name, path in paths.items()}
    if as_json:
        policies = {name: {"file": names[name]} | _summary(policy) for name, policy in found.policies.items()}
        report = found.report.model_dump(mode="json")
        typer.echo(json_line(_summary(found.pooled.policy) | {"policies": policies, "communities": report}))
    else:
        console = terminal.console()
        console.print(documents.policy(found.pooled.policy))
        console.print()
        console.print(fits.communities(found.report, names))


def _summary(policy: Policy) -> dict[str, Any]:
    fit = policy.fit.model_dump(mode="json") if policy.fit else None
    return {"policy": policy.name, "hash": policy.hash, "fit": fit}
