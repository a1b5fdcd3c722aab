"""What several commands share: exit statuses, the options' types, writing JSON lines, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_USAGE = 2
EXIT_SOME_FAILED = 3

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per scenario and line.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="One line per scenario, no summary.")]
PolicyOption = Annotated[str | None, typer.Option("--policy", help="Shipped policy or YAML file.", metavar="NAME|FILE")]
ConfigOption = Annotated[str, typer.Option("--config", help="Shipped run configuration or YAML file.", metavar="NAME|FILE")]


def json_line(value: object) -> str:
    """One line of strict JSON: ASCII, so that lone surrogates survive; NaN and infinity are a bug and raise."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def note(message: str) -> None:
    """Something for people, kept out of standard output; what comes from files cannot steer the terminal."""
    from safetyanalyst.report.terminal import plain

    typer.echo(plain(message), err=True)


@contextmanager
def progress(description: str, *, total: int | None, is_shown: bool) -> Iterator[Any]:
    """Yields a function to call after every item; draws on standard error, and only on a terminal."""
    if not is_shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


def names_of(paths: Sequence[Path]) -> list[str]:
    """What to call files in results; see `pipelines.dataset.file_names`."""
    from safetyanalyst.pipelines.dataset import file_names

    return file_names(paths)


def existing(paths: Iterable[Path]) -> list[Path]:
    """The paths, once each is known to be a readable file.

    Raises:
        ConfigError: One is not.
    """
    from safetyanalyst.errors import ConfigError

    found = list(paths)
    for path in found:
        if not path.is_file():
            raise ConfigError("there is no such file", file=path)
    return found
