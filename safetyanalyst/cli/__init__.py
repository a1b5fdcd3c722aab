"""The command line. Exit status: 0 all decided, 3 some items failed, 2 usage or configuration."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from safetyanalyst.cli import (
    align,
    analyze,
    audit,
    backends,
    datasets,
    distill,
    explain,
    labels,
    learn,
    policies,
    policy_review,
    prompts,
    report,
    taxonomies,
)
from safetyanalyst.cli.common import EXIT_USAGE
from safetyanalyst.errors import SafetyAnalystError
from safetyanalyst.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="AI-safety decisions computed from reasons that people can read.",
    epilog="Exit status: 0 all decided, 3 some items failed, 2 usage or configuration.",
)
app.command("analyze")(analyze.analyze)
app.command("assess")(analyze.assess)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("evaluate")(learn.evaluate)
app.command("backends")(backends.backends)
app.command("distill")(distill.distill)
app.add_typer(learn.train_app, name="train")
align.align_app.command("calibrate")(labels.calibrate)
align.align_app.command("suggest")(labels.suggest)
app.add_typer(align.align_app, name="align")
app.add_typer(audit.audit_app, name="audit")
policies.policy_app.command("diff")(policy_review.diff)
policies.policy_app.command("test")(policy_review.run_suite)
app.add_typer(datasets.dataset_app, name="dataset")
app.add_typer(policies.policy_app, name="policy")
app.add_typer(prompts.prompts_app, name="prompts")
app.add_typer(taxonomies.taxonomy_app, name="taxonomy")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"safetyanalyst {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """AI-safety decisions computed from reasons that people can read."""
    del version


def main() -> None:
    """Entry point: mistakes of the caller become one clear line and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="safetyanalyst")
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # the reader (`| head`) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        raise
    except (SafetyAnalystError, OSError) as error:  # OSError: a disk that is full, a folder that is not there
        _refuse(error)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _refuse(error: Exception) -> None:
    from safetyanalyst.report.terminal import plain

    typer.echo(f"error: {plain(str(error))}", err=True)
    sys.exit(EXIT_USAGE)
