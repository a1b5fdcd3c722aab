"""A policy: weights people set, a threshold, and what to do in doubt. Scores go in, decisions come out.

A policy is a reviewed document: a YAML file with every weight written out, an append-only list of edits with reasons, and a
hash over its content. Score, threshold and decision are three things: the weights make the score, `threshold` cuts it,
`review_band` and `on_missing` say when a person must look.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from safetyanalyst import resources
from safetyanalyst.aggregation import Start
from safetyanalyst.calibration import Calibration
from safetyanalyst.conformal import Guarantee
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.weights import Floats

FORMAT = "safetyanalyst-policy/1"
Decision = Literal["allow", "review", "block"]
Ground = Literal["score_above_threshold", "score_not_above_threshold", "score_in_review_band", "something_is_missing"]
Weight = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False, strict=True)]  # strict: `true` is no weight of 1
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Claim = Literal["calibration", "guarantee"]


_SCORING = {"taxonomy", "space", "weights"}
_DECIDING = _SCORING | {"threshold", "review_band", "on_missing"}
_CLAIMS: tuple[Claim, ...] = ("calibration", "guarantee")  # in a dump only when they are there


class Edit(Record):
    """One change of one weight by hand.

    Attributes:
        weight: Name, for example `harm/action/privacy`.
        before: Value before (`from` in the file).
        after: Value after (`to` in the file).
        reason: Why, in words.
        author: Who.
        date: When, ISO 8601 day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    weight: str
    before: Weight = Field(alias="from")
    after: Weight = Field(alias="to")
    reason: str = Field(min_length=1)
    author: str = ""
    date: datetime.date


class ReviewBand(Record):
    """Scores close to the threshold that a person should see: (threshold - below, threshold + above]."""

    below: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] = 0.0
    above: Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True)] = 0.0


class BootstrapFacts(Record):
    """How far resampled labels move the weights; the refitted weights themselves lie in a file beside the policy.

    Attributes:
        replicates: Number of refits on resampled rows.
        seed: Of the resampling.
        level: Share of the replicates that an interval holds, for example 0.95.
        intervals: Per weight the percentile interval.
        hash: sha256 over the content of the file of replicates, hex (`bootstrap.Bootstrap.hash`).
    """

    replicates: int = Field(ge=1)
    seed: int
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    intervals: dict[str, tuple[Weight, Weight]]
    hash: str


class FitFacts(Record):
    """How weights were aligned, for the reader of the file.

    Attributes:
        data: What the labels came from, in words.
        data_hash: sha256 of the labelled file, hex.
        rows: Rows that were used.
        rows_left_out: Rows that were not, because something was missing or unlabelled.
        harmful: Rows labelled harmful among those used.
        parameters: Number of ratios searched (29, or 28 with a shared discount, by action group).
        loss: Mean log loss at the best start.
        loss_at_zero_weights: log 2, or what predicting nothing costs under the link.
        ridge: Pull of every ratio towards one half (`aggregation.AggregationModel`).
        seed: Of the starts.
        starts: Every start; their losses include the ridge.
        at_bounds: Ratios that ended on 0 or 1.
        unidentified: Ratios that the data does not determine.
        taxonomy: `name@version:hash` at the time.
        code: Version of this package at the time.
        bootstrap: Intervals of the weights, when the fit was bootstrapped.
    """

    data: str
    data_hash: str
    rows: int
    rows_left_out: int
    harmful: int
    parameters: int
    loss: float
    loss_at_zero_weights: float
    ridge: float = 0.0
    seed: int
    starts: tuple[Start, ...]
    at_bounds: tuple[str, ...]
    unidentified: tuple[str, ...]
    taxonomy: str
    code: str
    bootstrap: BootstrapFacts | None = None


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
        calibration: Score -> probability, when it was calibrated.
        guarantee: What the review band guarantees, when it was made to.
    """

    name: str = Field(min_length=1)
    version: str = "1"
    description: str = ""
    taxonomy: str = "safetyanalyst-v1"
    space: FeatureSpaceSpec = FeatureSpaceSpec()
    weights: dict[str, Weight]
    threshold: Finite = 0.0
    review_band: ReviewBand = ReviewBand()
    on_missing: Literal["review", "block"] = "review"
    edits: tuple[Edit, ...] = ()
    fit: FitFacts | None = None
    calibration: Calibration | None = None
    guarantee: Guarantee | None = None

    @model_serializer(mode="wrap")
    def _without_absent_claims(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)  # a policy without them has the hash that it had before they existed
        return {key: value for key, value in data.items() if key not in _CLAIMS or value is not None}

    @field_validator("weights", mode="before")
    @classmethod
    def _flatten(cls, value: object) -> object:
        return _flat(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _edits_lead_to_weights(self) -> Policy:
        last: dict[str, float] = {}
        for i, edit in enumerate(self.edits):
            which = f"edits[{i}] ({edit.weight}, {edit.date})"
            if edit.before != last.get(edit.weight, edit.before):
                raise ValueError(f"{which} starts from {edit.before}, but the edit before it set {last[edit.weight]}")
            if i and edit.date < self.edits[i - 1].date:
                raise ValueError(f"{which} is older than the edit before it ({self.edits[i - 1].date})")
            last[edit.weight] = edit.after
        for name, after in last.items():
            if self.weights.get(name) != after:
                raise ValueError(f"the last edit of {name} set it to {after}, but the weight is {self.weights.get(name)}")
        return self

    @property
    def hash(self) -> str:
        """sha256 over the whole content, hex: two files with the same hash decide alike and tell the same history."""
        return resources.canonical_hash(self.model_dump(mode="json", by_alias=True))

    @property
    def scoring_hash(self) -> str:
        """sha256 over what makes a score: taxonomy, space and weights."""
        return resources.canonical_hash(self.model_dump(mode="json", include=_SCORING))

    @property
    def deciding_hash(self) -> str:
        """sha256 over what makes a decision: the same, threshold, review band and `on_missing`."""
        return resources.canonical_hash(self.model_dump(mode="json", include=_DECIDING))

    @property
    def lapsed(self) -> tuple[Claim, ...]:
        """Which claims no longer hold, because what they were made for was changed afterwards."""
        made_for = {
            "calibration": self.calibration is None or self.calibration.made_for == self.scoring_hash,
            "guarantee": self.guarantee is None or self.guarantee.made_for == self.deciding_hash,
        }
        return tuple(claim for claim in _CLAIMS if not made_for[claim])

    def steered(
        self, weight: str, value: float, *, reason: str, author: str = "", date: datetime.date, taxonomy: Taxonomy
    ) -> Policy:
        """This policy with one weight changed and the edit appended.

        Raises:
            PolicyError: Unknown weight (the nearest is suggested), value outside [0, 1], or an order of levels broken.
        """
        if weight not in self.weights:
            raise PolicyError(f"there is no weight named {weight!r}", key="weights", expected=_nearest(weight, self.weights))
        edit = {"weight": weight, "from": self.weights[weight], "to": value, "reason": reason, "author": author, "date": date}
        data = self.model_dump(by_alias=True)
        data |= {"weights": self.weights | {weight: value}, "edits": [*data["edits"], edit]}
        steered = resources.validate(Policy, data, file=None, error=PolicyError)
        steered.bind(taxonomy)
        return steered

    def bind(self, taxonomy: Taxonomy) -> BoundPolicy:
        """The policy made ready to score trees of a taxonomy.

        The policy is checked once more, because `model_copy` checks nothing.

        Raises:
            PolicyError: The policy breaks a rule, a weight is missing or unknown, or levels are out of order.
        """
        data = self.model_dump(by_alias=True, warnings=False)
        data |= {key: value for key, value in vars(self).items() if key not in Policy.model_fields}
        return BoundPolicy(resources.validate(Policy, data, file=f"policy {self.name}", error=PolicyError), taxonomy)


class BoundPolicy:
    """A policy with the feature space it speaks of and the value of every cell.

    Attributes:
        policy: The document.
        space: Cells of the taxonomy under the policy's spec.
        levels: (K,) level weights in the order of `space.levels.names`.
        cells: (cells,) signed value of one effect in each cell.
        calibration: The policy's, when it was made for these weights and this taxonomy.
    """

    def __init__(self, policy: Policy, taxonomy: Taxonomy) -> None:
        self.policy = policy
        self.space = FeatureSpace(taxonomy, policy.space)
        self.levels = _level_vector(policy, self.space)
        self.cells = self.space.levels.values(self.levels)
        self.calibration = None if "calibration" in self.lapsed else policy.calibration

    @property
    def lapsed(self) -> tuple[Claim, ...]:
        """As `Policy.lapsed`, and the claims that were made for another taxonomy, or another version of it."""
        here = self.space.taxonomy.label
        made = {"calibration": self.policy.calibration, "guarantee": self.policy.guarantee}
        elsewhere = {claim for claim, it in made.items() if it is not None and it.taxonomy != here}
        return tuple(claim for claim in _CLAIMS if claim in elsewhere or claim in self.policy.lapsed)

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


def load_policy(name_or_path: str | Path) -> Policy:
    """Reads a policy by shipped name or by path.

    Raises:
        PolicyError: The file breaks a rule; it names file, key and what was expected.
        ConfigError: There is no such file, or it is not YAML.
    """
    return resources.load(Policy, "policies", name_or_path, format=FORMAT, error=PolicyError)


def dump_policy(policy: Policy) -> str:
    """The policy as YAML, readable back to an equal policy (same hash)."""
    import yaml

    data: dict[str, Any] = {"format": FORMAT} | policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["weights"] = _nested(policy.weights)
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return text


def weights_by_name(space: FeatureSpace, levels: Floats) -> dict[str, float]:
    """Level weights as a policy writes them: names with values, the constant tops of the scales included."""
    named = {name: float(value) for name, value in zip(space.levels.names, levels, strict=True)}
    for kind in space.spec.kinds:
        named |= {name: 1.0 for name in _tops(space.taxonomy, kind)}
    return named


def _tops(taxonomy: Taxonomy, kind: str) -> tuple[str, ...]:
    top = f"{kind}/extent/{taxonomy.extents[-1].name}", f"{kind}/likelihood/{taxonomy.likelihoods[-1].name}"
    return (*top, f"{kind}/immediacy/immediate")


def _level_vector(policy: Policy, space: FeatureSpace) -> Floats:
    tops = {name for kind in space.spec.kinds for name in _tops(space.taxonomy, kind)}
    where = f"policy {policy.name}"  # its file is not known any more
    for name, value in policy.weights.items():
        if name in tops and value != 1.0:
            raise PolicyError("the top of a scale is fixed", file=where, key=f"weights.{name}", expected="1.0")
        if name not in tops and name not in space.levels.names:
            known = [*space.levels.names, *tops]
            raise PolicyError("no such weight", file=where, key=f"weights.{name}", expected=_nearest(name, known))
    missing = [name for name in space.levels.names if name not in policy.weights]
    if missing:
        raise PolicyError(
            "this weight is not given", file=where, key=f"weights.{missing[0]}", expected="a number in [0, 1]"
        )  # fmt: skip
    for chain in space.order():
        for below, above in pairwise(chain):
            if policy.weights[below] > policy.weights[above]:
                raise PolicyError(
                    f"levels out of order: {below} = {policy.weights[below]} is above {above} = {policy.weights[above]}",
                    file=where, key=f"weights.{below}", expected=f"at most {policy.weights[above]}",
                )  # fmt: skip
    return np.array([policy.weights[name] for name in space.levels.names])


def _nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"one of {len(known)} names, such as {near[0]}" if near else "a weight name"


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, item in value.items():
        below = _flat(item, f"{prefix}{key}/") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
        if twice := flat.keys() & below.keys():
            raise ValueError(f"the weight {min(twice)} is given twice, once nested and once by its whole name")
        flat |= below
    return flat


def _nested(weights: Mapping[str, float]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in weights.items():
        *folders, last = name.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested
