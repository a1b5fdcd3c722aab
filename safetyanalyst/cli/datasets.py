"""`dataset`: files of stored trees, written as one feature dataset, or counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetyanalyst.cli.common import EXIT_SOME_FAILED, JsonOption, existing, json_line, names_of, note, progress

if TYPE_CHECKING:
    from safetyanalyst.pipelines.dataset import StoredTrees
    from safetyanalyst.scenarios import ReadFailure
    from safetyanalyst.taxonomy import Taxonomy

dataset_app = typer.Typer(no_args_is_help=True, help="Feature datasets: stored trees in Parquet, for corpora of any size.")

_TaxonomyOption = Annotated[
    str, typer.Option("--taxonomy", help="What the trees speak of.", metavar="NAME|FILE", show_default=True)
]
_MOST_NOTES = 20


@dataset_app.command("write")
def write(
    trees: Annotated[list[Path], typer.Argument(help="Files of stored trees, in any form.", metavar="TREES...")],
    out: Annotated[Path, typer.Option("--out", help="Where the dataset goes.", metavar="FILE.parquet")],
    taxonomy: _TaxonomyOption = "safetyanalyst-v1",
    as_json: JsonOption = False,
) -> None:
    """Write stored trees as one feature dataset. Exit status 3 when rows could not be read: they are left out and named."""
    from safetyanalyst.pipelines.parquet import schema, write_parquet
    from safetyanalyst.report.terminal import plain
    from safetyanalyst.scenarios import ReadFailure
    from safetyanalyst.taxonomy import load_taxonomy

    paths = existing(trees)
    schema()  # what writing needs is missed before anything is read
    _refuse_to_overwrite(out, paths)
    loaded = load_taxonomy(taxonomy)
    failed = 0

    def readable() -> Iterator[StoredTrees]:
        nonlocal failed
        for path, item in _items(paths, loaded):
            if isinstance(item, ReadFailure):
                failed += 1
                note(f"{path}:{item.line}: {item.error}")
            else:
                yield item
            step()

    with progress("writing", total=None, is_shown=True) as step:
        items = readable()
        first = next(items, None)
        if first is None:
            raise typer.BadParameter("the input holds no scenario that can be read")
        rows = write_parquet(out, chain([first], items), loaded)
    size = out.stat().st_size
    if as_json:
        typer.echo(json_line({"file": str(out), "rows": rows, "failed": failed, "taxonomy": loaded.label, "bytes": size}))
    else:
        typer.echo(plain(f"{out}: {rows} rows, {size / 1e6:.1f} MB, over {loaded.label}; {failed} could not be read"))
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


@dataset_app.command("show")
def show(
    files: Annotated[list[Path], typer.Argument(help="Feature datasets, or lines of JSON.", metavar="FILE...")],
    taxonomy: _TaxonomyOption = "safetyanalyst-v1",
    as_json: JsonOption = False,
) -> None:
    """Count what files of stored trees hold: rows, labels, sources, effects, and what is missing."""
    from safetyanalyst.pipelines.summary import summarize
    from safetyanalyst.report import documents, terminal
    from safetyanalyst.taxonomy import load_taxonomy

    paths = existing(files)
    loaded = load_taxonomy(taxonomy)
    has_failures = False
    for path in paths:
        with progress(f"reading {terminal.plain(path.name)}", total=None, is_shown=True) as step:
            found = summarize(path, loaded, on_row=step)
        has_failures |= bool(found.unread)
        for row in found.unread[:_MOST_NOTES]:
            note(f"{path}:{row.line}: {row.error}")
        if len(found.unread) > _MOST_NOTES:
            note(f"and {len(found.unread) - _MOST_NOTES} more rows that could not be read")
        if found.taxonomy not in (None, loaded.label):
            note(f"{path}: it speaks of {found.taxonomy}, and was read as {loaded.label}; see --taxonomy")
        if as_json:
            typer.echo(json_line(found.model_dump(mode="json")))
        else:
            terminal.console().print(documents.dataset(found))
    if has_failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _items(paths: list[Path], taxonomy: Taxonomy) -> Iterator[tuple[Path, StoredTrees | ReadFailure]]:
    """The records of all files. From several files a record keeps what the name of its file told: its id and its source."""
    from safetyanalyst.pipelines.dataset import StoredTrees, read_trees, renamed

    for path, name in zip(paths, names_of(paths), strict=True):
        for item in read_trees(path, taxonomy):
            if len(paths) == 1 or not isinstance(item, StoredTrees):
                yield path, item
                continue
            fields = item.fields if item.fields.get("source") else item.fields | {"source": name}
            yield path, renamed(item, name).model_copy(update={"fields": fields})


def _refuse_to_overwrite(out: Path, inputs: list[Path]) -> None:
    """A dataset may replace a dataset that is not read at the same time, and nothing else."""
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.pipelines.parquet import taxonomy_label

    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", file=out.parent, key="--out")
    if out.is_dir():
        raise ConfigError("this is a folder", file=out, key="--out", expected="a file")
    if not out.exists():
        return
    if any(out.samefile(path) for path in inputs):
        raise ConfigError("this file is read", file=out, key="--out", expected="another name")
    try:
        taxonomy_label(out)
    except ConfigError as error:
        problem = "this file is something else, and would be lost"
        raise ConfigError(problem, file=out, key="--out", expected="another name") from error
