"""What several commands share: exit statuses, the options' types, writing JSON lines, progress."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from safetyanalyst.analyst import PolicyReference
    from safetyanalyst.bootstrap import Bootstrap
    from safetyanalyst.policy import Policy, PolicyFile

if TYPE_CHECKING:
    from safetyanalyst.policy import PolicyFile

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


def replicates_of(file: PolicyFile) -> Bootstrap | None:
    """The bootstrap replicates beside a policy. A policy may travel alone: that they are not there is said, and no mistake.

    Raises:
        PolicyError: What lies there is unreadable, or of another fit.
    """
    from safetyanalyst.bootstrap import bootstrap_path, load_bootstrap

    policy = file.policy
    if policy.fit is not None and policy.fit.bootstrap is not None and not bootstrap_path(file.path).exists():
        note(f"note: {bootstrap_path(file.path)} is not there: the policy goes on without its bootstrap replicates")
        return None
    return load_bootstrap(file.path, policy)


def note_decided_again(items: Iterable[PolicyReference | None], policy: Policy) -> None:
    """Says how many stored analyses were decided under another policy than the one that decides now."""
    others = Counter(it for it in items if it is not None and it.hash != policy.hash)
    for other, n in others.items():
        now = f"{policy.name} ({policy.hash[:8]})"
        count = "analysis was" if n == 1 else "analyses were"
        note(f"note: {n} stored {count} decided under {other.name} ({other.hash[:8]}); what is shown is decided by {now}")


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


def refuse_to_overwrite(out: Path, *, labelled: Path | None = None) -> None:
    """A policy may replace a policy of the caller's, and nothing else.

    Args:
        out: Where a policy is to go.
        labelled: A file that it must not be.

    Raises:
        ConfigError: Something else lies there, or a policy that ships.
    """
    from safetyanalyst import resources
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.policy import load_policy

    if not out.parent.is_dir():
        raise ConfigError("No such file or directory", file=out.parent, key="--out", expected="a folder that is there")
    if out.is_dir():
        raise ConfigError("Is a directory", file=out, key="--out", expected="a file")
    if out.exists():
        if labelled is not None and out.samefile(labelled):
            raise ConfigError("this is the file of the labels", file=out, key="--out", expected="another name")
        if out.resolve().parent == resources.folder("policies").resolve():
            raise ConfigError("this policy ships with the package", file=out, key="--out", expected="a file of your own")
        load_policy(out.absolute())


def refuse_line(file: PolicyFile, out: Path) -> None:
    """A whole policy that is made of another may not replace its ancestors, nor a deployment, which it would cut off from them.

    Args:
        file: What it is made of.
        out: Where it is to go.

    Raises:
        ConfigError: `out` is one of them.
    """
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.steering import refuse_ancestors

    refuse_ancestors(file.line[1:], out)
    if file.deployment is not None and out.exists() and out.samefile(file.path):
        problem = "this extends another policy, and what would replace it is written whole"
        raise ConfigError(problem, file=out, key="--out", expected="another file")


def write_whole(path: Path, text: str) -> None:
    """Writes a file at once or not at all: who steers a policy in place never loses it."""
    place = path.resolve()  # a link stays a link
    handle, draft = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        mode = place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask()
        os.chmod(draft, mode)
        os.replace(draft, place)
    except BaseException:
        os.unlink(draft)
        raise


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask
