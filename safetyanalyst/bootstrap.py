"""Weights refitted on resampled labels: how far another sample of the same people's labels would move a policy.

The replicates lie in a JSON file beside the policy (`mine.yaml` -> `mine.bootstrap.json`), because a policy is a document that
people read. The policy names them by hash, so that replicates of another fit are never taken for its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from safetyanalyst import resources
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.policy import Policy, Weight
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

    def levels(self, policy: Policy, space: FeatureSpace) -> Floats:
        """The replicates under a policy: (B, K) in the order of `space.levels.names`.

        What was set by hand after the fit does not vary: a weight with an edit has the policy's value in every replicate.
        """
        by_hand = {edit.weight for edit in policy.edits}
        columns = [
            np.full(self.replicates, policy.weights[name])
            if name in by_hand or name not in self.weights
            else np.array(self.weights[name])
            for name in space.levels.names
        ]
        return np.stack(columns, axis=1)


def bootstrap_path(policy_path: Path) -> Path:
    """Where the replicates of a policy file lie: beside the file itself, wherever a link to it stands."""
    path = policy_path.resolve()
    return path.with_name(path.stem + _SUFFIX)


def save_bootstrap(bootstrap: Bootstrap, policy_path: Path) -> None:
    """Writes the replicates beside the policy."""
    bootstrap_path(policy_path).write_text(dump_bootstrap(bootstrap), encoding="utf-8")


def dump_bootstrap(bootstrap: Bootstrap) -> str:
    """The replicates as JSON, readable back to equal ones (same hash)."""
    return json.dumps({"format": FORMAT} | bootstrap.model_dump(mode="json")) + "\n"


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
    except (OSError, ValueError, TypeError) as error:
        raise PolicyError(
            "the bootstrap replicates cannot be read", file=path, expected="the file that `align` wrote"
        ) from error
    if data.pop("format", None) != FORMAT:
        raise PolicyError("unknown format", file=path, key="format", expected=FORMAT)
    found = resources.validate(Bootstrap, data, file=path, error=PolicyError)
    if found.hash != facts.hash:
        raise PolicyError("these are the replicates of another fit", file=path, expected=f"content with the hash {facts.hash}")
    return found
