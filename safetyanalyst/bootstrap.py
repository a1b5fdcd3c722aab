"""Weights refitted on resampled labels: how far another sample of the same people's labels would move a policy.

The replicates lie in a JSON file beside the policy (`mine.yaml` -> `mine.bootstrap.json`), because a policy is a document that
people read. The policy names them by hash, so that replicates of another fit are never taken for its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from safetyanalyst import resources
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.policy import Policy, PolicyFile, Weight
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats

FORMAT = "safetyanalyst-bootstrap/1"
_SUFFIX = ".bootstrap.json"


class Bootstrap(Record):
    """Level weights of B refits.

    Attributes:
        weights: Per weight name B values, in the same order of replicates for every weight.
        rows: Labelled rows that each replicate drew.
        seed: Of the resampling.
    """

    weights: Annotated[dict[str, tuple[Weight, ...]], Field(min_length=1)]
    rows: int
    seed: int

    @property
    def replicates(self) -> int:
        """B."""
        return len(next(iter(self.weights.values())))

    @property
    def hash(self) -> str:
        """sha256 over the whole content, hex."""
        return resources.canonical_hash(self.model_dump(mode="json"))

    def intervals(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Percentile interval of every weight that holds the share `level` of the replicates."""
        tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
        found = {name: np.percentile(values, tails) for name, values in self.weights.items()}
        return {name: (float(low), float(high)) for name, (low, high) in found.items()}

    def levels(self, policy: Policy, space: FeatureSpace, fitted: Policy | None = None) -> Floats:
        """The replicates under a policy: (B, K) in the order of `space.levels.names`.

        What was set by hand after the fit does not vary: a weight with an edit, or with another value than the ancestor's whose
        fit this is, has the policy's value in every replicate. Other levels of its scale make way for it, in order.

        Args:
            policy: That decides.
            space: Of its weights.
            fitted: The ancestor whose fit was resampled; the policy itself when `None`.
        """
        source = fitted or policy
        by_hand = {edit.weight for edit in (*source.edits, *policy.edits)}
        by_hand |= {name for name in space.levels.names if policy.weights[name] != source.weights.get(name)}
        held = {name for name in space.levels.names if name in by_hand or name not in self.weights}
        columns = {
            name: np.full(self.replicates, policy.weights[name]) if name in held else np.array(self.weights[name])
            for name in space.levels.names
        }
        for chain in space.order():
            _make_way(columns, chain, held)
        return np.stack([columns[name] for name in space.levels.names], axis=1)


class Fitted(NamedTuple):
    """Replicates and the policy whose fit they resample.

    Attributes:
        policy: The one that was asked about, or its nearest ancestor with replicates.
        bootstrap: The replicates.
    """

    policy: Policy
    bootstrap: Bootstrap


def nearest_bootstrap(file: PolicyFile) -> Fitted | None:
    """The replicates of a policy, or of its nearest ancestor whose replicates lie beside it.

    A policy travels alone: a file that is not there is no mistake here, one that is of another fit is.

    Raises:
        PolicyError: Replicates that are there are unreadable, or of another fit.
    """
    for it in file.line:
        if bootstrap_path(it.path).exists() and (found := load_bootstrap(it.path, it.policy)) is not None:
            return Fitted(it.policy, found)
    return None


def _make_way(columns: dict[str, Floats], chain: Sequence[str], held: Collection[str]) -> None:
    """Moves the levels of one scale, lowest first, that vary, as far as those that do not need it."""
    for at, name in enumerate(chain):
        if name not in held:
            continue
        for below in chain[:at]:
            columns[below] = np.minimum(columns[below], columns[name])
        for above in chain[at + 1 :]:
            columns[above] = np.maximum(columns[above], columns[name])


def bootstrap_path(policy_path: Path) -> Path:
    """Where the replicates of a policy file lie: beside the file itself, wherever a link to it stands."""
    path = policy_path.resolve()
    return path.with_name(path.stem + _SUFFIX)


def save_bootstrap(bootstrap: Bootstrap, policy_path: Path) -> None:
    """Writes the replicates beside the policy."""
    bootstrap_path(policy_path).write_text(dump_bootstrap(bootstrap), encoding="utf-8")


def dump_bootstrap(bootstrap: Bootstrap) -> str:
    """The replicates as JSON, readable back to equal ones (same hash)."""
    return json.dumps(bootstrap_content(bootstrap)) + "\n"


def bootstrap_content(bootstrap: Bootstrap) -> dict[str, Any]:
    """The replicates as their file has them."""
    return {"format": FORMAT} | bootstrap.model_dump(mode="json")


def parse_bootstrap(content: Mapping[str, Any], file: Path | None) -> Bootstrap:
    """The inverse of `bootstrap_content`.

    Raises:
        PolicyError: It is of another format, or breaks a rule.
    """
    data = dict(content)
    if data.pop("format", None) != FORMAT:
        raise PolicyError("unknown format", file=file, key="format", expected=FORMAT)
    return resources.validate(Bootstrap, data, file=file, error=PolicyError)


def load_bootstrap(name_or_path: str | Path, policy: Policy) -> Bootstrap | None:
    """The replicates of a policy, `None` when its fit was not bootstrapped.

    Args:
        name_or_path: What the policy was loaded from.
        policy: The policy.

    Raises:
        PolicyError: The policy speaks of replicates, and the file is missing, unreadable, or of another fit.
    """
    facts = None if policy.fit is None else policy.fit.bootstrap
    if facts is None:
        return None
    path = bootstrap_path(resources.find("policies", name_or_path))
    try:
        data = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PolicyError(
            "the bootstrap replicates cannot be read", file=path, expected="the file that `align` wrote"
        ) from error
    found = parse_bootstrap(data, path)
    if found.hash != facts.hash:
        raise PolicyError("these are the replicates of another fit", file=path, expected=f"content with the hash {facts.hash}")
    return found
