"""Steer a policy file: a whole policy comes out whole, a deployment stays a deployment with the edits in it.

Either can also be the parent of a new deployment that holds the edits alone.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetyanalyst import resources
from safetyanalyst.deployment import Deployment, Extends
from safetyanalyst.edits import Edit
from safetyanalyst.errors import PolicyError
from safetyanalyst.policy import Policy, PolicyFile, dump_deployment, dump_policy, resolve


class SteeredFile(NamedTuple):
    """What steering a policy file makes.

    Attributes:
        policy: Resolved, with the new edits.
        edits: The new ones.
        text: The file to write, YAML.
    """

    policy: Policy
    edits: tuple[Edit, ...]
    text: str


def steer_file(
    file: PolicyFile, changes: Mapping[str, float | str], *,
    reason: str, author: str = "", date: datetime.date, out: Path, name: str | None = None,
) -> SteeredFile:  # fmt: skip
    """Appends edits to what a policy file says.

    Args:
        file: The policy as it was read.
        changes: Name or group -> number or factor ("x0.5"); one change, as in `Policy.steered`.
        reason: Why, in words.
        author: Who.
        date: When.
        out: Where the file will lie; paths in it are written from there.
        name: Of the policy that comes out; the old one when `None`.

    Raises:
        PolicyError: As for `Policy.steered`; or `out` is a file that the policy extends.
    """
    refuse_ancestors(file.line[1:], out)
    taxonomy = file.taxonomy()
    steered = _steered(file, changes, reason, author, date)
    edits = steered.edits[len(file.policy.edits) :]
    name = resources.readable(name or steered.name)
    if file.deployment is None or file.parent is None:
        steered = steered.model_copy(update={"name": name, "taxonomy": taxonomy_from(file, out)})
        return SteeredFile(steered, edits, dump_policy(steered))
    deployment = _moved(file.deployment, file.path, file.parent.path, out)
    deployment = deployment.model_copy(update={"name": name, "edits": steered.edits})
    return SteeredFile(resolve(deployment, file.parent.policy, taxonomy), edits, dump_deployment(deployment))


def extend_file(
    file: PolicyFile, changes: Mapping[str, float | str], *,
    reason: str, author: str = "", date: datetime.date, out: Path, name: str,
) -> SteeredFile:  # fmt: skip
    """A new deployment of a policy file, with the parent's hash and the changes as its edits.

    Args:
        file: The parent as it was read.
        changes: As for `steer_file`.
        reason: Why, in words.
        author: Who.
        date: When.
        out: Where the deployment will lie.
        name: Of the deployment.

    Raises:
        PolicyError: As for `steer_file`; or an ancestor has that name.
    """
    refuse_ancestors(file.line, out)
    edits = _steered(file, changes, reason, author, date).edits[len(file.policy.edits) :]
    is_shipped = file.path.parent == resources.folder("policies")
    parent = file.path.stem if is_shipped else _path_from(file.path.name, file.path, file.path, out)
    extends = Extends(policy=parent, hash=file.policy.hash)
    deployment = Deployment(name=resources.readable(name), extends=extends, edits=edits)
    return SteeredFile(resolve(deployment, file.policy, file.taxonomy()), edits, dump_deployment(deployment))


def refuse_ancestors(ancestors: tuple[PolicyFile, ...], out: Path) -> None:
    """What extends a policy cannot be written over it.

    Raises:
        PolicyError: `out` is the file of an ancestor.
    """
    for ancestor in ancestors:
        if out.exists() and out.samefile(ancestor.path):
            raise PolicyError(f"what extends {ancestor.policy.name!r} cannot replace it", file=out, expected="another file")


def _steered(file: PolicyFile, changes: Mapping[str, float | str], reason: str, author: str, date: datetime.date) -> Policy:
    try:
        return file.policy.steered(changes, reason=reason, author=author, date=date, taxonomy=file.taxonomy())
    except PolicyError as error:
        raise PolicyError(error.problem, file=file.path, key=error.key, expected=error.expected) from error


def taxonomy_from(file: PolicyFile, out: Path) -> str:
    """What a policy file has to call its taxonomy when it is written to `out`: a path beside the file is written from there."""
    named = file.policy.taxonomy
    home = file.line[-1].path
    found = resources.beside("taxonomies", named, home)
    return _path_from(named, home, Path(found), out) if isinstance(found, Path) else named


def _moved(deployment: Deployment, path: Path, parent: Path, out: Path) -> Deployment:
    named = deployment.extends.policy
    if named in resources.names("policies"):
        return deployment
    extends = deployment.extends.model_copy(update={"policy": _path_from(named, path, parent, out)})
    return deployment.model_copy(update={"extends": extends})


def _path_from(named: str, path: Path, target: Path, out: Path) -> str:
    """The path that leads to `target` from `out`, given that `named` leads there from `path`."""
    here, there = path.resolve().parent, out.resolve().parent
    if here == there or os.path.isabs(os.path.expanduser(named)):
        return named
    found = os.path.relpath(target.resolve(), there)
    return found if os.sep in found or "." in found else os.path.join(".", found)  # a bare word would be a shipped name
