"""`evaluate` decisions against labels, `train` the embedded specialists."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetyanalyst.cli.analyze import FormatOption
from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    ConfigOption,
    JsonOption,
    PolicyOption,
    existing,
    json_line,
    names_of,
    note,
    progress,
)

if TYPE_CHECKING:
    from safetyanalyst.analyst import SafetyAnalyst
    from safetyanalyst.pipelines.evaluate import Outcome

train_app = typer.Typer(no_args_is_help=True, help="Train specialists.")


def evaluate(
    files: Annotated[list[Path], typer.Argument(help="Labelled scenarios.", metavar="FILE...")],
    format: FormatOption = "auto",
    config: ConfigOption = "embedded",
    policy: PolicyOption = None,
    by: Annotated[str | None, typer.Option("--by", help="Also report by this key of the rows.", metavar="KEY")] = None,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=1, help="Resamples for the intervals.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Measure decisions against labels, with 95 % bootstrap intervals, beside the always-unsafe baseline."""
    from safetyanalyst.analyst import SafetyAnalyst
    from safetyanalyst.pipelines.evaluate import measure_by
    from safetyanalyst.report import documents, terminal

    paths = existing(files)
    names = names_of(paths)
    if len(set(names)) < len(names):
        raise typer.BadParameter("a file is given twice: its scenarios would count double")
    analyst = SafetyAnalyst.from_config(config, policy=policy)
    counts = {"unlabelled": 0, "unreadable": 0}
    sets = zip(paths, names, strict=True)
    outcomes = list(chain.from_iterable(_outcomes(analyst, path, name, format, by, counts) for path, name in sets))
    if not outcomes:
        raise typer.BadParameter("none of the scenarios has a label of 0 or 1")
    metrics = measure_by(outcomes, n_bootstrap=bootstrap)
    if as_json:
        measured = {name: it.model_dump() for name, it in metrics.items()}
        reference = {"name": analyst.policy.name, "hash": analyst.policy.hash}
        typer.echo(json_line({"policy": reference, **counts, "sets": measured}))
    else:
        terminal.console().print(documents.metrics(metrics, analyst.policy))
        if counts["unlabelled"]:
            note(f"{counts['unlabelled']} scenarios have no label and were left out")
    if counts["unreadable"]:
        note(f"{counts['unreadable']} lines could not be read; they have no label either, so no metric counts them")
    if counts["unreadable"] or any(it.failed for it in metrics.values()):
        raise typer.Exit(EXIT_SOME_FAILED)


def _outcomes(
    analyst: SafetyAnalyst, path: Path, name: str, format: str, by: str | None, counts: dict[str, int]
) -> Iterator[tuple[str, Outcome]]:
    from safetyanalyst.pipelines.evaluate import outcome
    from safetyanalyst.scenarios import Example, read_examples

    labelled: list[Example] = []
    for item in read_examples(path, format):
        if not isinstance(item, Example):
            counts["unreadable"] += 1
        elif item.label is None:
            counts["unlabelled"] += 1
        else:
            labelled.append(item)
    with progress(path.name, total=len(labelled), is_shown=sys.stderr.isatty()) as step:
        for example, result in zip(labelled, analyst.analyze_many(labelled), strict=True):
            step()
            if example.label is not None:
                yield name, outcome(example.label, result)
                if by is not None:
                    yield f"{name} {by}={example.fields.get(by)}", outcome(example.label, result)


@train_app.command("embedded")
def train_embedded(
    data: Annotated[Path, typer.Option("--data", help="Folder that the configuration's files lie below.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option("--out", help="Where weights, out-of-fold trees and report go.", metavar="FOLDER")],
    work: Annotated[
        Path, typer.Option("--work", help="Where a stopped run is kept; the same command goes on.", metavar="FOLDER")
    ] = Path("training-run"),
    config: Annotated[str, typer.Option("--config", help="Training configuration.", metavar="NAME|FILE")] = "embedded",
) -> None:
    """Fine-tune the embedded specialists from teacher trees and labels; needs the extra `train`."""
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.pipelines.train_config import load_train_config

    settings = load_train_config(config)
    try:
        from safetyanalyst.pipelines import train
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed", expected="pip install 'safetyanalyst[train]'") from error
    report = train.train_embedded(settings, data, work, out, say=note)
    typer.echo(json_line(report.model_dump()))
