"""What a fit says of itself; it stands in the policy file, for the reader of the weights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from safetyanalyst.aggregation import Start
from safetyanalyst.constraints import Constraints
from safetyanalyst.identification import Identification
from safetyanalyst.records import Record
from safetyanalyst.weights import Weight

_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Sparing(Record):
    """Facts that were not asked for are not written: a policy keeps its hash when a later version knows more facts."""

    _written_anyway: ClassVar[frozenset[str]] = frozenset()  # `null` has stood there since before

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key in self._written_anyway}


class Costs(Record):
    """What the two errors cost, as weights of the rows of a class.

    Attributes:
        missed: A harmful row that is not flagged.
        false_alarm: A harmless row that is.
    """

    missed: _Positive = 1.0
    false_alarm: _Positive = 1.0


class PriorFacts(Record):
    """The policy that weights were pulled to.

    Attributes:
        policy: Its name.
        hash: Its hash.
        strength: In labelled rows (`fitting.Prior`).
    """

    policy: str
    hash: str
    strength: float


class Errors(Record):
    """Errors on the labelled rows, a score above the threshold counting as flagged.

    Attributes:
        missed: Harmful rows that are not flagged.
        false_alarms: Harmless rows that are.
    """

    missed: int
    false_alarms: int


class FoldScores(Record):
    """How a fit does on rows that it has not seen. `None` where the rows cannot say (one class only).

    Attributes:
        n: Rows.
        harmful: Rows labelled harmful.
        loss: Mean log loss, under the weights of the fit.
        auroc: Of the scores; every row counts alike here and below.
        f1: Flagged is a score above the threshold; likewise recall and false-positive rate.
        recall: Share of the harmful rows that are flagged.
        false_positive_rate: Share of the harmless rows that are flagged.
        always_unsafe_f1: F1 of a judge that flags everything.
    """

    n: int
    harmful: int
    loss: float
    auroc: float | None
    f1: float | None
    recall: float | None
    false_positive_rate: float | None
    always_unsafe_f1: float


class CrossValidation(Record):
    """Stratified k-fold: every row is judged by a fit that has not seen it.

    Attributes:
        folds: One by one.
        pooled: All rows together; the scores of each fold are taken against its own threshold.
        seed: Of the folds.
        grouped_by: The column whose equal values stay in one fold.
    """

    folds: tuple[FoldScores, ...]
    pooled: FoldScores
    seed: int
    grouped_by: str | None = None


class BootstrapFacts(_Sparing):
    """How far resampled labels move the weights; the refitted weights themselves lie in a file beside the policy.

    Attributes:
        replicates: Number of refits on resampled rows.
        seed: Of the resampling.
        level: Share of the replicates that an interval holds, for example 0.95.
        intervals: Per weight the percentile interval.
        hash: sha256 over the content of the file of replicates, hex (`bootstrap.Bootstrap.hash`).
        threshold: The interval of a fitted threshold.
    """

    replicates: int = Field(ge=1)
    seed: int
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    intervals: dict[str, tuple[Weight, Weight]]
    hash: str
    threshold: tuple[float, float] | None = None


class FitFacts(_Sparing):
    """How weights were aligned, for the reader of the file.

    Attributes:
        data: What the labels came from, in words.
        data_hash: sha256 of the labelled file, hex.
        rows: Rows that were used.
        rows_left_out: Rows that were not, because something was missing or unlabelled.
        harmful: Rows labelled harmful among those used.
        parameters: Number of ratios searched (29, or 28 with a shared discount, by action group).
        loss: Mean log loss at the best start, under the weights of the rows, without penalties.
        loss_at_zero_weights: log 2, or what predicting nothing costs under the link.
        ridge: Pull of every ratio towards one half (`aggregation.AggregationModel`).
        seed: Of the starts.
        starts: Every start; their losses include the ridge.
        at_bounds: Ratios that ended on 0 or 1.
        unidentified: Ratios that the data does not determine.
        taxonomy: `name@version:hash` at the time.
        code: Version of this package at the time.
        bootstrap: Intervals of the weights, when the fit was bootstrapped.
        constraints: Floors, ceilings and frozen weights, when there were any.
        prior: The policy that weights were pulled to, when there was one.
        costs: Of the two errors, when they were not alike.
        weight_column: Where the weights of the rows stood.
        threshold: The threshold, when it was fitted.
        errors: What the policy gets wrong on the rows it was fitted to.
        identification: What the labels say about every level.
        validation: Out-of-fold figures.
    """

    _written_anyway: ClassVar[frozenset[str]] = frozenset({"bootstrap"})

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
    constraints: Constraints | None = None
    prior: PriorFacts | None = None
    costs: Costs | None = None
    weight_column: str | None = None
    threshold: float | None = None
    errors: Errors | None = None
    identification: Identification | None = None
    validation: CrossValidation | None = None
