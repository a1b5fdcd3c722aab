"""`policy`: show, check, steer and tell apart."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetyanalyst.cli.common import JsonOption, json_line, note, refuse_to_overwrite, replicates_of, write_whole

if TYPE_CHECKING:
    from safetyanalyst.policy import Claim, PolicyFile

policy_app = typer.Typer(no_args_is_help=True, help="Policies: weights, threshold, and what to do in doubt.")

PolicyArgument = Annotated[str, typer.Argument(help="Shipped name or YAML file.", metavar="NAME|FILE")]
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@policy_app.command("show")
def show_policy(policy: PolicyArgument = "balanced", as_json: JsonOption = False) -> None:
    """Show a policy: its weights, where each comes from, what is pinned, threshold, edits and fit."""
    from safetyanalyst.deployment import pins_in_force
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report import documents, terminal

    file = read_policy(policy)
    loaded = file.policy
    lapsed: tuple[Claim, ...] = file.bind().lapsed if loaded.calibration or loaded.guarantee else ()
    if as_json:
        ancestors = {} if loaded.lineage is None else {it.name: it.hash for it in loaded.lineage.ancestors}
        hashes = ancestors | {loaded.name: loaded.hash}
        origins = {name: it.model_dump() | {"hash": hashes[it.policy or ""]} for name, it in loaded.origins.items()}
        pins = [pin.model_dump() for pin in pins_in_force(loaded)]
        derived = {"origins": origins, "pins_in_force": pins, "lapsed": list(lapsed)}
        extends = {"extends": None if file.deployment is None else file.deployment.extends.model_dump()}
        typer.echo(json_line({"hash": loaded.hash} | loaded.model_dump(mode="json", by_alias=True) | extends | derived))
    else:
        terminal.console().print(documents.policy(loaded, lapsed))
        _note_doubts(file)


@policy_app.command("check")
def check_policy(policy: PolicyArgument) -> None:
    """Check a policy, and every one that it extends, against its taxonomy."""
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report import terminal

    file = read_policy(policy)
    bound = file.bind()
    text = f"{file.policy.name}: good. {len(bound.levels)} weights over {bound.space.taxonomy.label}, hash {file.policy.hash}"
    if file.deployment is not None:
        line = " > ".join(it.policy.name for it in reversed(file.line))
        pinned = "pinned by hash" if file.deployment.extends.hash else "followed"
        held = sum(it.floor_by is not None or it.ceiling_by is not None for it in bound.bounds.values())
        text += f"; {line}, the parent {pinned}, {held} values within pins"
    typer.echo(terminal.plain(text))
    for claim in bound.lapsed:
        note(f"{file.policy.name}: the {claim} no longer holds, because what it was made for has changed")
    _note_doubts(file)


@policy_app.command("steer")
def steer_policy(
    policy: PolicyArgument,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="NAME=0.4 sets a weight, NAME=x0.5 scales it, harm/action/*=... speaks of a group; as often as needed.",
            metavar="NAME=VALUE",
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, in words.")],
    out: Annotated[Path, typer.Option("--out", help="Where the policy goes; your own file may be steered in place.")],
    author: Annotated[str, typer.Option("--author", help="Who steers.")] = "",
    date: Annotated[datetime | None, typer.Option("--date", help="Day of the edit; today.", formats=["%Y-%m-%d"])] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the policy; a steered copy of a shipped one is named after its file.")
    ] = None,
    is_extending: Annotated[
        bool, typer.Option("--extend", help="Write a deployment that extends POLICY and holds the edits, not a whole copy.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Change weights by hand, each with an edit in the file. All that is set in one command is one change."""
    from safetyanalyst import resources
    from safetyanalyst.bootstrap import save_bootstrap
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report import terminal
    from safetyanalyst.steering import extend_file, steer_file

    if not reason.strip():
        raise typer.BadParameter("a change needs its reason", param_hint="--reason")
    changes = _changes(settings)
    refuse_to_overwrite(out)
    file = read_policy(policy)
    day = (date or datetime.now()).date()
    if is_extending:
        steered = extend_file(file, changes, reason=reason, author=author, date=day, out=out, name=name or out.stem)
    else:
        name = name or (out.stem if policy in resources.names("policies") else None)
        steered = steer_file(file, changes, reason=reason, author=author, date=day, out=out, name=name)
    replicates = replicates_of(file) if steered.policy.fit else None
    write_whole(out, steered.text)
    if replicates is not None:  # they belong to the policy's fit, which is still its own
        save_bootstrap(replicates, out)
    if as_json:
        edits = [edit.model_dump(mode="json", by_alias=True) for edit in steered.edits]
        facts = {"policy": steered.policy.name, "hash": steered.policy.hash, "from_hash": file.policy.hash}
        typer.echo(json_line(facts | {"out": str(out), "edits": edits}))
        return
    width = max(len(edit.weight) for edit in steered.edits)
    for edit in steered.edits:
        typer.echo(terminal.plain(f"{edit.weight:<{width}}  {edit.before:.6g} -> {edit.after:.6g}"))
    count = f"{len(steered.edits)} new edit{'' if len(steered.edits) == 1 else 's'}"
    typer.echo(terminal.plain(f"{steered.policy.name}: {count}, hash {steered.policy.hash}"))


@policy_app.command("fingerprint")
def fingerprint_policies(
    policies: Annotated[list[str], typer.Argument(help="Shipped names or YAML files.", metavar="NAME|FILE...")],
    as_json: JsonOption = False,
) -> None:
    """Hashes of policies: of the whole content, and of what they decide by alone."""
    from safetyanalyst.policy import read_policy
    from safetyanalyst.report.terminal import plain

    alike: dict[str, list[str]] = {}
    for given in policies:
        bound = read_policy(given).bind()
        alike.setdefault(bound.fingerprint, []).append(given)
        if as_json:
            facts: dict[str, Any] = {"policy": given, "name": bound.policy.name, "hash": bound.policy.hash}
            typer.echo(json_line(facts | {"decides": bound.fingerprint}))
        else:
            typer.echo(f"{plain(given)}\n  content  {bound.policy.hash}\n  decides  {bound.fingerprint}")
    if not as_json:
        for names in alike.values():
            if len(names) > 1:
                typer.echo(plain(f"decide alike: {', '.join(names)}"))


def _changes(settings: list[str]) -> dict[str, float | str]:
    changes: dict[str, float | str] = {}
    for setting in settings:
        name, sign, value = (part.strip() for part in setting.partition("="))
        if not (name and sign and value):
            raise typer.BadParameter(f"{setting!r} does not say what to set to what: NAME=VALUE", param_hint="--set")
        if name in changes:
            raise typer.BadParameter(f"{name} is set twice", param_hint="--set")
        if name == "on_missing":
            raise typer.BadParameter("on_missing is no number: write it into the file", param_hint="--set")
        changes[name] = float(value) if _NUMBER.fullmatch(value) else value
    return changes


def _note_doubts(file: PolicyFile) -> None:
    """Edits that were made from other values, and what the parent claims for itself alone."""
    from safetyanalyst.deployment import stale_edits

    for stale in stale_edits(file.policy):
        note(f"{file.path}: {stale}")
    for claim in file.not_inherited:
        note(f"{file.policy.name}: does not inherit the {claim} of its parent, which was made for other values")
