"""A policy: weights people set, a threshold, and what to do in doubt. Scores go in, decisions come out.

A policy is a reviewed document: a YAML file with every weight written out, an append-only list of edits with reasons, and a
hash over its content. Score, threshold and decision are three things: the weights make the score, `threshold` cuts it,
`review_band` and `on_missing` say when a person must look. A file that says `extends` is a deployment: it is resolved to a
policy like any other when it is read.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from safetyanalyst import resources
from safetyanalyst.calibration import Calibration
from safetyanalyst.conformal import Guarantee
from safetyanalyst.deployment import (
    Deployment,
    Lineage,
    Origin,
    deployment_content,
    extend,
    numbers,
    origins,
    pins_in_force,
    placed,
)
from safetyanalyst.deployment import (
    ReviewBand as ReviewBand,
)
from safetyanalyst.edits import Edit as Edit
from safetyanalyst.edits import Finite, chain_faults, edits_of, expand
from safetyanalyst.edits import Weight as Weight
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.fit_facts import BootstrapFacts as BootstrapFacts
from safetyanalyst.fit_facts import FitFacts as FitFacts
from safetyanalyst.pins import MISSING, Bounds, OnMissing, Pin, bounds, check_pins, flat_pins, pin_faults
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.weight_names import SETTINGS, flat, level_vector, nested, weight_names
from safetyanalyst.weight_names import weights_by_name as weights_by_name

FORMAT = "safetyanalyst-policy/1"
MAX_ANCESTORS = 16
Decision = Literal["allow", "review", "block"]
Claim = Literal["calibration", "guarantee"]
Ground = Literal["score_above_threshold", "score_not_above_threshold", "score_in_review_band", "something_is_missing"]

CLAIMS: tuple[Claim, ...] = ("calibration", "guarantee")
_OPTIONAL = frozenset({"pins", "lineage", *CLAIMS})  # in a dump, and so in the hash, only where there are any


class Policy(Record):
    """Weights, threshold and what to do in doubt.

    Attributes:
        name: Short name.
        version: Of the content, as its owner counts.
        description: For whom, in words.
        taxonomy: Name of the taxonomy the weights speak of.
        space: Which distinctions the weights make.
        weights: Level weights by name; every one is written out.
        threshold: A score above it is harmful.
        review_band: Scores that a person should see.
        on_missing: What happens when what could not be read might change the decision: never "allow".
        edits: Changes by hand, oldest first.
        fit: How the weights were aligned, when they were.
        pins: Bounds by name or group, for this policy and all that extend it.
        lineage: Of a resolved deployment: its ancestors, where each value comes from, what is pinned.
        calibration: Score -> probability, when it was calibrated; `BoundPolicy.lapsed` tells whether it still holds.
        guarantee: What the review band guarantees, when it was made to; likewise.
    """

    name: str = Field(min_length=1)
    version: str = "1"
    description: str = ""
    taxonomy: str = "safetyanalyst-v1"
    space: FeatureSpaceSpec = FeatureSpaceSpec()
    weights: dict[str, Weight]
    threshold: Finite = 0.0
    review_band: ReviewBand = ReviewBand()
    on_missing: OnMissing = "review"
    edits: tuple[Edit, ...] = ()
    fit: FitFacts | None = None
    pins: dict[str, Pin] = Field(default_factory=dict)
    lineage: Lineage | None = None
    calibration: Calibration | None = None
    guarantee: Guarantee | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)  # policies from before there were any keep their hash
        return {key: value for key, value in data.items() if value or key not in _OPTIONAL}

    @field_validator("weights", mode="before")
    @classmethod
    def _flatten(cls, value: object) -> object:
        return flat(value, lambda _: False) if isinstance(value, Mapping) else value

    @field_validator("pins", mode="before")
    @classmethod
    def _flatten_pins(cls, value: object) -> object:
        return flat_pins(value)

    @model_validator(mode="after")
    def _edits_lead_to_weights_and_pins_tighten(self) -> Policy:
        inherited = () if self.lineage is None else self.lineage.pins
        for fault in (*chain_faults(self.edits, numbers(self)), *pin_faults(self.pins, inherited)):
            raise ValueError(fault)
        for cut in (self.threshold - self.review_band.below, self.threshold + self.review_band.above):
            if not math.isfinite(cut):
                raise ValueError(f"threshold and review_band together reach to {cut}: no score could lie beyond")
        return self

    @property
    def hash(self) -> str:
        """sha256 over the whole content, hex: two files with the same hash decide alike and tell the same history."""
        return resources.canonical_hash(self.model_dump(mode="json", by_alias=True))

    @property
    def origins(self) -> dict[str, Origin]:
        """Per weight and setting, where its value comes from."""
        return origins(self)

    def steered(
        self, weight: str | Mapping[str, float | str], value: float | str | None = None, *,
        reason: str, author: str = "", date: datetime.date, taxonomy: Taxonomy,
    ) -> Policy:  # fmt: skip
        """This policy with weights changed by hand, and an edit appended for each that changed.

        Several changes in one call are one change: the order of the levels is checked on what comes out.

        Args:
            weight: Name of a weight, a group (`harm/action/*`), or one of `edits.SETTINGS`; or all changes by these names.
            value: A number, or a factor ("x0.5"); left out when `weight` holds the changes.
            reason: Why, in words.
            author: Who.
            date: When.
            taxonomy: What the weights speak of.

        Raises:
            PolicyError: Unknown name (the nearest is suggested), value outside [0, 1], an order of levels broken (both are
                named), a pin crossed, or nothing changed.
        """
        me = self._checked()
        changes: Mapping[str, Any] = {weight: value} if isinstance(weight, str) else weight
        steps = expand(changes, numbers(me), weight_names(FeatureSpace(taxonomy, me.space)))
        if not any(step.before != step.after for step in steps.values()):
            raise PolicyError("this changes nothing: every value is there already", expected="another value")
        after = numbers(me) | {name: step.after for name, step in steps.items()}
        edits = (*me.edits, *edits_of(steps, reason=reason, author=author, date=date))
        steered = resources.validate(Policy, dict(me) | placed(after) | {"edits": edits}, file=None, error=PolicyError)
        steered.bind(taxonomy)
        return steered

    def bind(self, taxonomy: Taxonomy) -> BoundPolicy:
        """The policy made ready to score trees of a taxonomy.

        The policy is checked once more, because `model_copy` checks nothing.

        Raises:
            PolicyError: The policy breaks a rule, a weight is missing or unknown, levels are out of order, or a pin is crossed.
        """
        return BoundPolicy(self._checked(), taxonomy)

    def _checked(self) -> Policy:
        data = self.model_dump(by_alias=True, warnings=False)
        data |= {key: value for key, value in vars(self).items() if key not in Policy.model_fields}
        return resources.validate(Policy, data, file=f"policy {self.name}", error=PolicyError)


class BoundPolicy:
    """A policy with the feature space it speaks of and the value of every cell.

    Attributes:
        policy: The document.
        space: Cells of the taxonomy under the policy's spec.
        levels: (K,) level weights in the order of `space.levels.names`.
        cells: (cells,) signed value of one effect in each cell.
    """

    def __init__(self, policy: Policy, taxonomy: Taxonomy) -> None:
        self.policy = policy
        self.space = FeatureSpace(taxonomy, policy.space)
        try:
            self.levels = level_vector(policy.weights, self.space)
            check_pins({**numbers(policy), MISSING: policy.on_missing}, self.bounds)
        except PolicyError as error:
            raise _placed(error, f"policy {policy.name}") from error  # its file is not known any more
        self.cells = self.space.levels.values(self.levels)

    @cached_property
    def bounds(self) -> dict[str, Bounds]:
        """Per weight and setting the floor and ceiling that are pinned, and by whom."""
        return bounds(pins_in_force(self.policy), weight_names(self.space))

    @property
    def fingerprint(self) -> str:
        """sha256, hex, over what the policy decides by, and nothing else: policies with the same one decide alike.

        That is what it scores by, threshold, review band and `on_missing`.
        """
        settings: dict[str, Any] = {k: v + 0.0 for k, v in numbers(self.policy).items() if k in SETTINGS}
        return resources.canonical_hash(settings | {MISSING: self.policy.on_missing} | self._scored_by())

    @property
    def scoring_fingerprint(self) -> str:
        """sha256, hex, over what the policy scores by: weights that count, distinctions, content of the taxonomy."""
        return resources.canonical_hash(self._scored_by())

    def _scored_by(self) -> dict[str, Any]:
        spec = self.space.spec
        levels = dict(zip(self.space.levels.names, (self.levels + 0.0).tolist(), strict=True))  # + 0.0: there is one zero
        space = [spec.analysis, spec.action, spec.effect]  # the discount matters to a fit alone
        return {"weights": levels, "taxonomy": self.space.taxonomy.hash, "space": space}

    @property
    def lapsed(self) -> tuple[Claim, ...]:
        """Claims of the policy that do not hold: what they were made for is not what it scores, or decides, by now.

        A calibration was made for what is scored by, a guarantee for what is decided by; undo the change, and they hold again.
        """
        calibration, guarantee = self.policy.calibration, self.policy.guarantee
        holds: dict[Claim, bool] = {
            "calibration": calibration is None or calibration.made_for == self.scoring_fingerprint,
            "guarantee": guarantee is None or guarantee.made_for == self.fingerprint,
        }
        return tuple(claim for claim in CLAIMS if not holds[claim])

    @cached_property
    def calibration(self) -> Calibration | None:
        """The policy's, when it holds."""
        return None if "calibration" in self.lapsed else self.policy.calibration

    def decide(self, low: float, high: float) -> tuple[Decision, Ground]:
        """The decision on a score interval, and on what ground.

        A score is harmful when it is above the threshold. The whole interval must agree; otherwise what is missing could change
        the answer and `on_missing` decides.

        Args:
            low: Least possible score, may be -inf.
            high: Greatest possible score, may be +inf.
        """
        policy = self.policy
        upper = policy.threshold + policy.review_band.above
        lower = policy.threshold - policy.review_band.below
        if low > upper:
            return "block", "score_above_threshold"
        if high <= lower:
            return "allow", "score_not_above_threshold"
        if low > lower and high <= upper:
            return "review", "score_in_review_band"
        return ("review" if policy.on_missing == "review" else "block"), "something_is_missing"


@dataclass(frozen=True)
class PolicyFile:
    """A policy with the file it was read from.

    Attributes:
        path: The file.
        policy: Resolved.
        deployment: What the file says, when it extends another policy.
        parent: The policy that it extends.
    """

    path: Path
    policy: Policy
    deployment: Deployment | None = None
    parent: PolicyFile | None = None

    @property
    def line(self) -> tuple[PolicyFile, ...]:
        """This file and its ancestors, root last."""
        return (self,) if self.parent is None else (self, *self.parent.line)

    @property
    def not_inherited(self) -> tuple[Claim, ...]:
        """What the parent claims and this policy, which differs from it, does not."""
        theirs = None if self.parent is None else self.parent.policy
        return tuple(claim for claim in CLAIMS if getattr(theirs, claim, None) and not getattr(self.policy, claim))

    def taxonomy(self) -> Taxonomy:
        """The taxonomy that the policy names; a path is looked for beside the file that names it first."""
        return load_taxonomy(resources.beside("taxonomies", self.policy.taxonomy, self.line[-1].path))

    def bind(self) -> BoundPolicy:
        """The policy made ready for its own taxonomy.

        Raises:
            PolicyError: As `Policy.bind` does, and names the file.
        """
        try:
            return self.policy.bind(self.taxonomy())
        except PolicyError as error:
            raise _placed(error, self.path) from error


def load_policy(name_or_path: str | Path) -> Policy:
    """Reads a policy by shipped name or by path; a deployment is resolved.

    Raises:
        PolicyError: The file, or one that it extends, breaks a rule; it names file, key and what was expected.
        ConfigError: There is no such file, or it is not YAML.
    """
    return read_policy(name_or_path).policy


def read_policy(name_or_path: str | Path) -> PolicyFile:
    """Reads a policy as `load_policy` does, and keeps what it was read from."""
    return _read(resources.find("policies", name_or_path), ())


def resolve(deployment: Deployment, parent: Policy, taxonomy: Taxonomy) -> Policy:
    """The policy that a deployment makes of its parent; it keeps the parent's calibration and guarantee where they still hold.

    Args:
        deployment: What is changed.
        parent: The policy that it extends, itself resolved.
        taxonomy: The one that the parent names.

    Raises:
        PolicyError: The parent has changed, a name is unknown, a value leaves [0, 1], levels are out of order, or a pin is
            crossed.
    """
    changed = extend(deployment, parent, weight_names(FeatureSpace(taxonomy, parent.space)))
    policy = resources.validate(Policy, dict(parent) | changed, file=None, error=PolicyError)
    return policy.model_copy(update=dict.fromkeys(policy.bind(taxonomy).lapsed))


def dump_policy(policy: Policy) -> str:
    """The policy as YAML, readable back to an equal policy (same hash); of a deployment every weight is written out."""
    data = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["weights"] = nested(policy.weights)
    return _yaml(data)


def dump_deployment(deployment: Deployment) -> str:
    """The deployment as YAML: what it changes, and nothing else."""
    return _yaml(deployment_content(deployment))


def _read(path: Path, children: tuple[Path, ...]) -> PolicyFile:
    data = resources.read_document(path, format=FORMAT, error=PolicyError)
    if "extends" not in data:
        return PolicyFile(path, resources.validate(Policy, data, file=path, error=PolicyError))
    deployment = resources.validate(Deployment, data, file=path, error=PolicyError)
    children = (*children, path.resolve())
    parent = _read(_parent_path(deployment, path, children), children)
    try:
        return PolicyFile(path, resolve(deployment, parent.policy, parent.taxonomy()), deployment, parent)
    except PolicyError as error:
        raise _placed(error, path) from error


def _parent_path(deployment: Deployment, path: Path, children: tuple[Path, ...]) -> Path:
    name = deployment.extends.policy
    try:
        found = resources.find("policies", name, relative_to=path.parent, error=PolicyError)
    except PolicyError as error:
        raise PolicyError(f"{name!r}: {error.problem}", file=path, key="extends", expected=error.expected) from error
    if found.resolve() in children:
        circle = " -> ".join(file.name for file in (*children, found))
        raise PolicyError(f"policies extend each other: {circle}", file=path, key="extends", expected="no circle")
    if len(children) > MAX_ANCESTORS:
        raise PolicyError("the line of ancestors is too long", file=path, key="extends", expected=f"at most {MAX_ANCESTORS}")
    return found


def _placed(error: PolicyError, file: Path | str) -> PolicyError:
    return PolicyError(error.problem, file=file, key=error.key, expected=error.expected)


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump({"format": FORMAT} | dict(content), sort_keys=False, allow_unicode=True, width=120)
    return text
