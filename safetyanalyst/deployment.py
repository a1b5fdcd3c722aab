"""A deployment: a policy that extends another one, changes some of it, and stays within what its ancestors pinned.

Values are settled from the root downwards. At each document: its parent's value, then its override by group (the longer prefix
wins), then its override by name, then its edits. Pins are checked and never applied: a value beyond a floor or a ceiling is an
error, not moved to it. What comes out is an ordinary policy with every weight written out and its lineage beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, field_validator, model_validator

from safetyanalyst.edits import Edit, Finite, Step, change_of, expand
from safetyanalyst.errors import PolicyError
from safetyanalyst.pins import MISSING, OnMissing, Pin, PinInForce, Value, flat_pins
from safetyanalyst.records import Record
from safetyanalyst.weight_names import SETTINGS, WeightNames, flat, nested

_INHERITED = ("taxonomy", "space", "fit", "calibration", "guarantee")


class ReviewBand(Record):
    """Scores close to the threshold that a person should see: (threshold - below, threshold + above]."""

    below: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] = 0.0
    above: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] = 0.0


class Ancestor(Record):
    """A policy that another one extends, directly or not."""

    name: str
    version: str
    hash: str


class Origin(Record):
    """Where a value of a policy comes from.

    Attributes:
        policy: Name of the policy that gave it last; `None` for the document itself.
        by: The policy extends nothing and has it written out ("file"); or what changed it there.
        rule: The override as written, or day and reason of the edit.
        before: Value before that.
        value: Value after it.
    """

    policy: str | None = None
    by: Literal["file", "override", "edit"]
    rule: str = ""
    before: Value | None = None
    value: Value


class Lineage(Record):
    """What a resolved policy came from.

    Attributes:
        ancestors: Root first.
        origins: Per weight and setting, before the policy's own edits.
        pins: What the ancestors pinned, root first.
    """

    ancestors: Annotated[tuple[Ancestor, ...], Field(min_length=1)]
    origins: dict[str, Origin]
    pins: tuple[PinInForce, ...] = ()

    @model_validator(mode="after")
    def _origins_are_ancestors(self) -> Lineage:
        names = {ancestor.name for ancestor in self.ancestors}
        for name, origin in self.origins.items():
            if origin.policy is not None and origin.policy not in names:
                raise ValueError(f"origins.{name} comes from {origin.policy!r}, which is none of the ancestors")
        return self


class Extends(Record):
    """The parent of a deployment.

    Attributes:
        policy: Shipped name, or path of a file, relative to the deployment's own.
        hash: The parent's hash when this was written; another one is an error. Without it, the deployment follows its parent.
    """

    policy: str = Field(min_length=1)
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class BandOverride(Record):
    """The ends of the review band that differ from the parent's."""

    below: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] | None = None
    above: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] | None = None


class Deployment(Record):
    """A policy file that says `extends`: what it changes, and nothing else.

    Attributes:
        name: Short name, unlike that of any ancestor.
        version: Of the content, as its owner counts.
        description: For whom, in words.
        extends: The parent.
        weights: Name or group -> value, or factor ("x0.5") on the parent's value.
        threshold: Instead of the parent's.
        review_band: Ends instead of the parent's.
        on_missing: Instead of the parent's.
        pins: Name or group -> bounds for this policy and all that extend it.
        edits: Changes by hand after the overrides, oldest first.
    """

    name: str = Field(min_length=1)
    version: str = "1"
    description: str = ""
    extends: Extends
    weights: dict[str, float | str] = Field(default_factory=dict)
    threshold: Finite | None = None
    review_band: BandOverride | None = None
    on_missing: OnMissing | None = None
    pins: dict[str, Pin] = Field(default_factory=dict)
    edits: tuple[Edit, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _inherits_what_it_speaks_of(cls, data: object) -> object:
        for key in _INHERITED:
            if isinstance(data, Mapping) and key in data:
                raise ValueError(f"`{key}` is the parent's: a deployment changes values, not what they speak of")
        return data

    @field_validator("extends", mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"policy": value} if isinstance(value, str) else value

    @field_validator("weights", mode="before")
    @classmethod
    def _changes(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        found = flat(value, lambda _: False)
        for name, it in found.items():
            try:
                change_of(it)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if name in SETTINGS:
                raise ValueError(f"{name} is no weight: it has a key of its own beside `weights`")
        return found

    @field_validator("pins", mode="before")
    @classmethod
    def _flat_pins(cls, value: object) -> object:
        return flat_pins(value)


class Resolved(Protocol):
    """What is asked of a policy here; `policy.Policy` is one."""

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def version(self) -> str:
        """As its owner counts."""

    @property
    def hash(self) -> str:
        """sha256 over the whole content, hex."""

    @property
    def weights(self) -> dict[str, float]:
        """By name."""

    @property
    def threshold(self) -> float:
        """A score above it is harmful."""

    @property
    def review_band(self) -> ReviewBand:
        """Scores that a person should see."""

    @property
    def on_missing(self) -> OnMissing:
        """What happens when what is missing might change the decision."""

    @property
    def pins(self) -> dict[str, Pin]:
        """Its own, by name or group."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Oldest first."""

    @property
    def lineage(self) -> Lineage | None:
        """Of a resolved deployment."""


def numbers(policy: Resolved) -> dict[str, float]:
    """Weights and settings by name."""
    band = policy.review_band
    return policy.weights | dict(zip(SETTINGS, (policy.threshold, band.below, band.above), strict=True))


def placed(values: Mapping[str, float]) -> dict[str, Any]:
    """Weights and settings by name as the fields of a policy: the inverse of `numbers`."""
    threshold, below, above = (values[name] for name in SETTINGS)
    weights = {name: value for name, value in values.items() if name not in SETTINGS}
    return {"weights": weights, "threshold": threshold, "review_band": {"below": below, "above": above}}


def origins(policy: Resolved) -> dict[str, Origin]:
    """Where each weight and setting of a policy comes from.

    A value that is no longer what the lineage says was changed in the document itself, and is said to be its own.
    """
    handed = {} if policy.lineage is None else policy.lineage.origins
    values: dict[str, Value] = {**numbers(policy), MISSING: policy.on_missing}
    found = {
        name: it if (it := handed.get(name)) is not None and it.value == value else Origin(by="file", value=value)
        for name, value in values.items()
    }
    for edit in policy.edits:
        rule = f"{edit.date}: {edit.reason}"
        found[edit.weight] = Origin(by="edit", rule=rule, before=edit.before, value=edit.after)
    return {name: it if it.policy else it.model_copy(update={"policy": policy.name}) for name, it in found.items()}


def extend(deployment: Deployment, parent: Resolved, names: WeightNames) -> dict[str, object]:
    """What differs between a parent and its deployment, as fields of the resolved policy.

    Args:
        deployment: What is changed.
        parent: A policy that is itself resolved.
        names: Of the weights.

    Raises:
        PolicyError: The parent is not the one that was meant, a name is unknown, or a scaled value leaves [0, 1].
    """
    _check_parent(deployment, parent)
    before = numbers(parent)
    steps = expand(deployment.weights, before, names) | _settings(deployment, before)
    handed = {name: it.model_copy(update={"policy": it.policy or parent.name}) for name, it in origins(parent).items()}
    for name, step in steps.items():
        handed[name] = Origin(by="override", rule=step.rule, before=step.before, value=step.after)
    if deployment.on_missing is not None:
        rule, was = f"on_missing: {deployment.on_missing}", parent.on_missing
        handed[MISSING] = Origin(by="override", rule=rule, before=was, value=deployment.on_missing)
    after = before | {name: step.after for name, step in steps.items()} | {it.weight: it.after for it in deployment.edits}
    ancestors = () if parent.lineage is None else parent.lineage.ancestors
    me = Ancestor(name=parent.name, version=parent.version, hash=parent.hash)
    return {
        "name": deployment.name,
        "version": deployment.version,
        "description": deployment.description,
        **placed(after),
        "on_missing": deployment.on_missing or parent.on_missing,
        "pins": deployment.pins,
        "edits": deployment.edits,
        "fit": None,  # the fit is of the ancestor's weights; its hash stands in the lineage
        "lineage": Lineage(ancestors=(*ancestors, me), origins=handed, pins=pins_in_force(parent)),
    }


def stale_edits(policy: Resolved) -> tuple[str, ...]:
    """Edits of a deployment that were made from another value than its parent and overrides give now, in words."""
    handed = {} if policy.lineage is None else policy.lineage.origins
    first = {edit.weight: edit for edit in reversed(policy.edits)}
    return tuple(
        f"the edit of {name} on {edit.date} was made from {edit.before}, which is now {it.value}"
        for name, edit in first.items()
        if (it := handed.get(name)) is not None and it.value != edit.before
    )


def pins_in_force(policy: Resolved) -> tuple[PinInForce, ...]:
    """What a policy and its ancestors pinned, root first."""
    own = (PinInForce(policy=policy.name, weight=key, **pin.model_dump()) for key, pin in policy.pins.items())
    return (*(() if policy.lineage is None else policy.lineage.pins), *own)


def deployment_content(deployment: Deployment) -> dict[str, Any]:
    """A deployment as its file has it, without what it does not say."""
    data = deployment.model_dump(mode="json", by_alias=True, exclude_none=True)
    if deployment.extends.hash is None:
        data["extends"] = deployment.extends.policy
    data["weights"] = nested(deployment.weights)
    return {key: value for key, value in data.items() if value not in ({}, [], "")}


def _check_parent(deployment: Deployment, parent: Resolved) -> None:
    meant = deployment.extends.hash
    if meant is not None and meant != parent.hash:
        raise PolicyError(
            f"the policy {parent.name!r} has changed since this was written: its hash is now {parent.hash}",
            key="extends.hash", expected=f"{meant}; look at the change, then write the new hash here",
        )  # fmt: skip
    lineage = () if parent.lineage is None else parent.lineage.ancestors
    if deployment.name in {parent.name, *(it.name for it in lineage)}:
        raise PolicyError(f"an ancestor is called {deployment.name!r} too", key="name", expected="a name of its own")


def _settings(deployment: Deployment, before: Mapping[str, float]) -> dict[str, Step]:
    band = deployment.review_band or BandOverride()
    given = zip(SETTINGS, (deployment.threshold, band.below, band.above), strict=True)
    return {name: Step(f"{name}: {it:.12g}", before[name], it + 0.0) for name, it in given if it is not None}
