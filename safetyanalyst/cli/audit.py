"""`audit`: pack analyses into a bundle that anybody can check, and check one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetyanalyst.cli.common import EXIT_SOME_FAILED, existing, json_line, note, progress

if TYPE_CHECKING:
    from safetyanalyst.pipelines.audit import AuditReport, Rules
    from safetyanalyst.scenarios import Example, ReadFailure

EXIT_DIFFERS = 1
_SHOWN = 20
_MAX_KEY = 4096

audit_app = typer.Typer(
    no_args_is_help=True,
    help="Audit bundles: everything that decisions rest on, checked offline.",
    epilog="Exit status: 0 verifies, 1 something differs, 2 usage or not a bundle, 3 packed but for some items.",
)

ScenariosOption = Annotated[
    list[Path] | None,
    typer.Option("--scenarios", help="File of scenarios behind the analyses; may be given several times.", metavar="FILE"),
]
FormatOption = Annotated[str, typer.Option("--format", help="Of the scenarios, as for `analyze`.", metavar="NAME")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="File with a secret that makes hashes of scenarios impossible to guess.", metavar="FILE"),
]
JsonReport = Annotated[bool, typer.Option("--json", help="The report as one JSON object.")]


@audit_app.command("pack")
def pack(
    analyses: Annotated[Path, typer.Argument(help="JSON lines that `analyze` or `assess` wrote.", metavar="ANALYSES")],
    policy: Annotated[str, typer.Option("--policy", help="The policy that decided.", metavar="NAME|FILE")],
    out: Annotated[Path, typer.Option("--out", help="A name with the suffix .zip, or a new folder.", metavar="BUNDLE")],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Pack this analysis only; may be given several times.", metavar="ID")
    ] = None,
    scenarios: ScenariosOption = None,
    format: FormatOption = "auto",
    has_text: Annotated[bool, typer.Option("--with-text", help="Pack the scenarios word for word.")] = False,
    is_without_raw: Annotated[bool, typer.Option("--without-raw", help="Leave out what the specialists wrote.")] = False,
    has_bootstrap: Annotated[bool, typer.Option("--with-bootstrap", help="Pack the replicates of the policy's fit.")] = False,
    taxonomy: Annotated[
        str | None, typer.Option(help="Taxonomy of the trees; by default the one that the policy names.", metavar="NAME|FILE")
    ] = None,
    key: KeyOption = None,
    date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Written into the bundle.")] = None,
    as_json: JsonReport = False,
) -> None:
    """Pack analyses with the policy, the taxonomy and all hashes, and print the root hash that stands for the bundle."""
    from safetyanalyst.pipelines import audit

    (source,) = existing([analyses])
    options = audit.PackOptions(
        ids=tuple(ids or ()),
        texts="included" if has_text else "left out",
        generations="left out" if is_without_raw else "included",
        date=None if date is None else date.date(),
    )
    rules = _rules(policy, taxonomy, has_bootstrap=has_bootstrap)
    if has_bootstrap and rules.bootstrap is None:
        note(f"the policy {rules.policy.name!a} has no bootstrap replicates of its own: none are packed")
    with progress("packing", total=None, is_shown=True) as step:
        report = audit.pack(
            source, rules, out, options=options, scenarios=_scenarios(scenarios, format), key=_key(key), step=step
        )
    for failure in report.failures[:_SHOWN]:
        note(f"{failure.id}: {failure.reason}{f' ({failure.detail})' if failure.detail else ''}")
    if len(report.failures) > _SHOWN:
        note(f"and {len(report.failures) - _SHOWN} more")
    if scenarios and key is None and not has_text:
        note("the hashes of the scenarios are plain: whoever guesses a text can check it; --key FILE prevents that")
    if as_json:
        typer.echo(json_line(report.model_dump(mode="json")))
    else:
        failed = f", {len(report.failures)} items not packed or not whole" if report.failures else ""
        note(f"{report.path}: {report.analyses} analyses, {report.hashed} with the hash of their scenario{failed}; root:")
        typer.echo(report.root)
    if report.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


@audit_app.command("verify")
def verify(
    bundle: Annotated[Path, typer.Argument(help="What `audit pack` wrote.", metavar="BUNDLE")],
    root: Annotated[
        str | None, typer.Option("--root", help="The root hash that was printed when it was packed.", metavar="HASH")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="The policy that should have decided.", metavar="NAME|FILE")
    ] = None,
    scenarios: ScenariosOption = None,
    format: FormatOption = "auto",
    key: KeyOption = None,
    as_json: JsonReport = False,
) -> None:
    """Compute everything in a bundle again, offline, and name what differs. Exit status 1 when something does."""
    from safetyanalyst.pipelines import audit
    from safetyanalyst.policy import load_policy

    expected = None if policy is None else load_policy(policy).hash
    with progress("verifying", total=None, is_shown=True) as step:
        report = audit.verify(
            bundle, root=root, policy_hash=expected, scenarios=_scenarios(scenarios, format), key=_key(key), step=step
        )
    if as_json:
        typer.echo(json_line(report.to_json()))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _told(bundle, report)))
    if not report.is_verified:
        raise typer.Exit(EXIT_DIFFERS)


def _told(bundle: Path, report: AuditReport) -> Iterator[str]:
    """The report in words."""
    from safetyanalyst.report.terminal import plain

    name = plain(str(bundle).encode("utf-8", "backslashreplace").decode())
    if report.is_verified:
        yield f"{name}: verifies. {report.analyses} analyses recomputed, bit for bit"
    else:
        n = report.n_differences
        yield f"{name}: DOES NOT VERIFY. {n} difference{'s' * (n > 1)}, {report.analyses} analyses recomputed"
    yield from (f"  {plain(str(it))}" for it in report.differences[:_SHOWN])
    if report.n_differences > _SHOWN:
        yield f"  and {report.n_differences - _SHOWN} more (--json shows {len(report.differences)})"
    if report.failures:
        yield f"not packed or not whole, as the bundle says: {report.failures} items"
    if report.scenarios or report.scenarios_unchecked:
        yield f"scenarios: {report.scenarios} compared with their hashes, {report.scenarios_unchecked} not at hand"
    yield from (f"note: {plain(it)}" for it in report.notes)
    if report.root:
        yield f"root {report.root}{', as given' * (report.is_root_known and report.is_verified)}"
    if not report.is_root_known:
        yield "note: without --root, a bundle that was made anew as a whole verifies too"


def _rules(policy: str, taxonomy: str | None, *, has_bootstrap: bool) -> Rules:
    from safetyanalyst.bootstrap import load_bootstrap
    from safetyanalyst.pipelines.audit import PolicySource, Rules
    from safetyanalyst.policy import read_policy
    from safetyanalyst.taxonomy import load_taxonomy

    file = read_policy(policy)
    return Rules(
        policy=file.policy,
        taxonomy=load_taxonomy(taxonomy) if taxonomy else file.taxonomy(),
        source=PolicySource(file.path.name, file.path.read_bytes()),
        bootstrap=load_bootstrap(policy, file.policy) if has_bootstrap else None,
    )


def _scenarios(files: list[Path] | None, format: str) -> Iterator[Example | ReadFailure] | None:
    from safetyanalyst.cli.analyze import from_files
    from safetyanalyst.scenarios import check_format

    return from_files(existing(files), check_format(format)) if files else None


def _key(path: Path | None) -> bytes | None:
    from safetyanalyst.errors import ConfigError

    if path is None:
        return None
    (file,) = existing([path])
    content = file.read_bytes()
    if len(content) > _MAX_KEY:
        raise ConfigError("too large for a key", file=file, key="--key", expected=f"at most {_MAX_KEY} bytes")
    return content
