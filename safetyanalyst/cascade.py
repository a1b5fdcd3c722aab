"""A cascade: a cheap pair of generators for every scenario, a stronger pair for those that the cheap one leaves in doubt.

In doubt is a scenario whose score interval touches the band around the threshold, or of which a tree that the policy counts is
missing or has lost a part. All others are decided by the first stage, so an automatic error of the first stage needs a score
outside the band: a band that `align calibrate` has made bounds these errors (see `conformal`, docs/cascade.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from safetyanalyst.calibration import Probability
from safetyanalyst.errors import BackendError, PolicyError
from safetyanalyst.explanation import Explanation
from safetyanalyst.generation import GeneratorConfig, TreeGenerator, load_generators
from safetyanalyst.policy import BoundPolicy, ReviewBand
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Defect, TreeKind

PLACE = "cascade"
"""Path of the defect that says that the second stage has failed; those that say why lie below it."""
Outcome = Literal["first", "second", "kept"]


class ProbabilityBand(Record):
    """Calibrated probabilities of "harmful" that leave a scenario in doubt, both ends included.

    Attributes:
        low: Least one (`from` in the file).
        high: Greatest one (`to` in the file).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    low: Probability = Field(alias="from")
    high: Probability = Field(alias="to")

    @model_validator(mode="after")
    def _ends_in_order(self) -> ProbabilityBand:
        if self.low > self.high:
            raise ValueError(f"from {self.low:g} to {self.high:g} is no band: the ends are the wrong way round")
        return self


def _form(value: object) -> str:
    """Which form of a band is meant, so that a mistake is told of that form alone."""
    if isinstance(value, str):
        return "word"
    keys = value.keys() if isinstance(value, Mapping) else ()
    is_probable = isinstance(value, ProbabilityBand) or bool({"from", "to", "low", "high"}.intersection(keys))
    return "probabilities" if is_probable else "margins"


Band = Literal["review"] | ReviewBand | ProbabilityBand
_TaggedBand = Annotated[
    Annotated[Literal["review"], Tag("word")]
    | Annotated[ReviewBand, Tag("margins")]
    | Annotated[ProbabilityBand, Tag("probabilities")],
    Discriminator(_form),
]


class CascadeConfig(Record):
    """The section `cascade` of a run configuration.

    Attributes:
        generators: The stronger harm and benefit specialist.
        band: Which scores leave a scenario in doubt: "review", the review band of the policy that decides; margins around its
            threshold, `{below: x, above: y}`; or calibrated probabilities, `{from: p, to: q}`.
    """

    generators: dict[TreeKind, GeneratorConfig]
    band: _TaggedBand = "review"


class Doubt:
    """Tells which first analyses under one policy are in doubt.

    Args:
        band: Which scores are.
        bound: The policy.

    Raises:
        PolicyError: The band speaks of probabilities, and the policy has no calibration that holds.
    """

    def __init__(self, band: Band, bound: BoundPolicy) -> None:
        self._calibration = bound.calibration if isinstance(band, ProbabilityBand) else None
        if isinstance(band, ProbabilityBand):
            if self._calibration is None:
                problem = f"the policy {bound.policy.name} has no calibration that holds, and the band is one of probabilities"
                raise PolicyError(problem, key="cascade.band", expected="a calibrated policy, `review`, or margins")
            self._low, self._high = band.low, band.high
            return
        margins = bound.policy.review_band if isinstance(band, str) else band
        self._low = bound.policy.threshold - margins.below
        self._high = bound.policy.threshold + margins.above

    def holds(self, explanation: Explanation) -> bool:
        """Whether a first analysis is in doubt."""
        return bool(explanation.lost) or self._touches(*explanation.interval)

    def _touches(self, low: float, high: float) -> bool:
        if self._calibration is not None:
            least, greatest = self._calibration.interval(low, high)
            return least <= self._high and greatest >= self._low
        return low <= self._high and high > self._low  # as `BoundPolicy.decide` reads the ends of a review band


class Cascade:
    """The second stage of an analyst.

    Args:
        generators: The stronger harm and benefit specialist.
        band: Which scores leave a scenario in doubt.

    Raises:
        BackendError: A generator writes the other kind of tree.
    """

    def __init__(self, generators: dict[TreeKind, TreeGenerator], band: Band = "review") -> None:
        for kind, generator in generators.items():
            if generator.kind != kind:
                raise BackendError(f"the {kind} generator of the second stage writes {generator.kind} trees")
        self.generators = generators
        self.band: Band = band

    def bind(self, bound: BoundPolicy, kinds: Collection[TreeKind]) -> Doubt:
        """What is in doubt under a policy.

        Args:
            bound: The policy.
            kinds: That the first stage writes; the second has to write the same.

        Raises:
            BackendError: It does not.
            PolicyError: As `Doubt`.
        """
        if set(kinds) != set(self.generators):
            first, second = (" and ".join(sorted(it)) for it in (kinds, self.generators))
            raise BackendError(f"the first stage writes {first} trees, the second {second} trees (expected the same)")
        return Doubt(self.band, bound)


def load_cascade(config: CascadeConfig, taxonomy: Taxonomy) -> Cascade:
    """Loads the second stage of a run configuration.

    Raises:
        BackendError: A backend cannot be loaded.
    """
    return Cascade(load_generators(config.generators, taxonomy), config.band)


def stays(missing: Iterable[TreeKind], defects: Iterable[Defect]) -> tuple[Defect, ...]:
    """What is added to the defects of a first analysis that stays because the second stage has failed.

    Args:
        missing: The trees that the second stage did not write.
        defects: Of the second stage.
    """
    found = f"the second stage wrote no {' and no '.join(missing)} tree: the first analysis stays"
    why = (it.model_copy(update={"path": f"{PLACE}.{it.path}"}) for it in defects)
    return (Defect(code="generation_failed", path=PLACE, found=found), *why)


def outcome(provenance: Mapping[str, Any], defects: Iterable[Defect]) -> Outcome | None:
    """Which stage decided: "first", "second", or the first because the second failed ("kept"); `None` without a cascade.

    Args:
        provenance: Of the analysis, per kind of tree.
        defects: Of the analysis.
    """
    stages = {it.get("stage") for it in provenance.values()}
    if "second" in stages:
        return "second"
    if "first" not in stages:
        return None
    return "kept" if any(it.code == "generation_failed" and it.path == PLACE for it in defects) else "first"


class PassedOn(Record):
    """How many scenarios a cascade has passed on.

    Attributes:
        scenarios: That were analysed; items that could not be read are not among them.
        passed_on: To the second stage.
        kept: Of these, that kept their first analysis because the second stage failed.
        share: Of the scenarios that was passed on; `None` without scenarios.
    """

    scenarios: int
    passed_on: int
    kept: int
    share: float | None


def passed_on(outcomes: Mapping[Outcome, int]) -> PassedOn:
    """Counts of outcomes as a report."""
    total, kept = sum(outcomes.values()), outcomes.get("kept", 0)
    n = kept + outcomes.get("second", 0)
    return PassedOn(scenarios=total, passed_on=n, kept=kept, share=n / total if total else None)
