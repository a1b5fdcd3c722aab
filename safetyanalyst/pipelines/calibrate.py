"""Labelled trees + a policy -> the policy with probabilities (`calibration`) and a review band that guarantees something.

Both need labels that the weights were not aligned to; a guarantee also needs rows that nobody chose for their score. What can
be seen of that is seen: the hash of the file against the one in the policy's fit, and the mark of `align suggest` in a row.
The same rows in another file cannot be told apart from new ones; that is the owner's to know.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.aggregation import harmfulness_interval, probability
from safetyanalyst.calibration import (
    FITS,
    Calibration,
    Method,
    ReliabilityBin,
    checked,
    out_of_fold,
    reliability,
    reliability_bins,
    stratified_folds,
)
from safetyanalyst.conformal import (
    ControlledRisk,
    ErrorKind,
    Guarantee,
    Risk,
    band_above,
    band_below,
)
from safetyanalyst.deployment import numbers
from safetyanalyst.edits import Step, edits_of
from safetyanalyst.errors import FitError, GuaranteeError
from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.pipelines.corpus import UNLABELLED, failures_of, read_corpus
from safetyanalyst.pipelines.dataset import file_hash, read_trees
from safetyanalyst.pipelines.parquet import columns_of, is_parquet
from safetyanalyst.policy import BoundPolicy, Decision, Policy, ReviewBand
from safetyanalyst.projection import project
from safetyanalyst.resources import readable
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.trees import HarmBenefitTree
from safetyanalyst.version import __version__
from safetyanalyst.weight_names import SETTINGS
from safetyanalyst.weights import Floats, Ints

Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
Group = Literal["all", "safe", "harmful"]
N_FOLDS = 5
SUGGESTED = "suggested"  # key of rows that `align suggest` wrote


@dataclass(frozen=True)
class ScoredLabels:
    """Labelled rows under a policy.

    Attributes:
        bound: The policy.
        source: The file of the labels.
        data_hash: sha256 of the file, hex.
        low: (n,) least possible scores, may be -inf.
        high: (n,) greatest possible scores, may be +inf.
        labels: (n,) of 0 and 1, 1 = harmful.
        suggested: Labelled rows that `align suggest` chose.
        unlabelled: Rows without label.
        failures: Rows that could not be read.
        fitted_to: Hashes of the files that the weights, or those of a policy that is extended, were aligned to.
        repeated: Labelled rows with the id of one before them.
    """

    bound: BoundPolicy
    source: Path
    data_hash: str
    low: Floats
    high: Floats
    labels: Ints
    suggested: int
    unlabelled: int
    failures: tuple[ReadFailure, ...]
    fitted_to: frozenset[str] = frozenset()
    repeated: int = 0

    @property
    def is_point(self) -> Bools:
        """(n,) whether nothing that matters is missing in a row, so that its score is one number."""
        same: Bools = self.low == self.high
        return same

    @property
    def has_labels_of_fit(self) -> bool:
        """Whether it is known that the weights were aligned to this very file."""
        return self.data_hash in self.fitted_to

    @property
    def left_out(self) -> int:
        """Rows that have no label or could not be read."""
        return self.unlabelled + len(self.failures)

    @property
    def objections(self) -> tuple[str, ...]:
        """Why the rows cannot carry a guarantee, in words; none when nothing speaks against it."""
        found = []
        if self.has_labels_of_fit:
            found.append(
                "the weights were aligned to this very file, and scores of rows that a fit has seen tell nothing of new ones"
            )
        if self.suggested:
            found.append(f"rows chosen by `align suggest`, which are not like those in use: {self.suggested}")
        if self.repeated:
            found.append(f"rows with the id of another row, which say nothing new and only swell the set: {self.repeated}")
        return tuple(found)

    def decisions(self, policy: Policy) -> list[Decision]:
        """How a policy of the same weights decides every row."""
        bound = policy.bind(self.bound.space.taxonomy)
        return [bound.decide(float(low), float(high))[0] for low, high in zip(self.low, self.high, strict=True)]


class Calibrated(NamedTuple):
    """A calibrated policy, and how reliable its probabilities are.

    Attributes:
        policy: With `calibration`.
        before: Rows in bins of the uncalibrated probability.
        after: Rows in bins of the calibrated probability, out of fold.
    """

    policy: Policy
    before: list[ReliabilityBin]
    after: list[ReliabilityBin]


class Banded(NamedTuple):
    """A policy with a new review band, and how it decides the labelled rows.

    Attributes:
        policy: With `review_band`, and with `guarantee` unless something speaks against it.
        risks: What the band was made for, and the errors that remain on the labelled rows.
        shares: Per decision its share of all labelled rows, those of them labelled safe, and those labelled harmful.
    """

    policy: Policy
    risks: tuple[ControlledRisk, ...]
    shares: dict[Group, dict[Decision, float]]


def score_labelled(path: Path, bound: BoundPolicy, extended: Iterable[Policy] = ()) -> ScoredLabels:
    """Reads labelled trees and scores them; rows in which something is missing count with their interval.

    Args:
        path: JSON lines of labelled trees, or a feature dataset.
        bound: The policy.
        extended: The policies that it extends, when it is a deployment: their fits stand in their own files alone.
    """
    read = _from_corpus(path, bound.space) if is_parquet(path) else _from_lines(path, bound.space)
    low, high = harmfulness_interval(read.matrix, bound.levels)
    return ScoredLabels(
        bound=bound, source=path, data_hash=file_hash(path), low=low, high=high, labels=read.labels,
        suggested=read.suggested, unlabelled=read.unlabelled, failures=read.failures,
        fitted_to=frozenset(it.fit.data_hash for it in (bound.policy, *extended) if it.fit is not None),
        repeated=len(read.labels) - read.distinct,
    )  # fmt: skip


class _Read(NamedTuple):
    """Labelled rows, and what was found besides: rows with an id of their own are `distinct`."""

    matrix: FeatureMatrix
    labels: Ints
    suggested: int
    unlabelled: int
    failures: tuple[ReadFailure, ...]
    distinct: int


def _from_lines(path: Path, space: FeatureSpace) -> _Read:
    trees: list[HarmBenefitTree] = []
    labels: list[int] = []
    ids: set[str] = set()
    failures: list[ReadFailure] = []
    unlabelled = suggested = 0
    for item in read_trees(path, space.taxonomy):
        if isinstance(item, ReadFailure):
            failures.append(item)
        elif item.label is None:
            unlabelled += 1
        else:
            trees.append(item.trees)
            labels.append(item.label)
            ids.add(item.id)
            suggested += SUGGESTED in item.fields
    matrix = space.featurize(trees)
    return _Read(matrix, np.array(labels, np.int64), suggested, unlabelled, tuple(failures), len(ids))


def _from_corpus(path: Path, space: FeatureSpace) -> _Read:
    corpus = read_corpus([path], space.taxonomy)
    rows = np.flatnonzero(corpus.labels != UNLABELLED)
    beside = columns_of(path)
    suggested = sum(SUGGESTED in beside[line - 1] for line in corpus.line[rows].tolist())
    matrix = project(corpus.matrix, space).select(rows)
    distinct = len({corpus.ids[i] for i in rows.tolist()})
    return _Read(matrix, corpus.labels[rows], suggested, len(corpus) - len(rows), failures_of(corpus), distinct)


def calibrate(scored: ScoredLabels, *, method: Method | Literal["auto"] = "auto", seed: int = 0) -> Calibrated:
    """Fits a curve from the margin to the probability of "harmful", and measures it out of fold.

    Args:
        scored: Labelled rows; those in which something is missing have no single margin and are left out.
        method: "auto" takes the method with the less log loss out of fold; `platt` where they are equal.
        seed: Of the folds.

    Raises:
        FitError: Fewer than two usable rows of a class.
    """
    policy, usable = scored.bound.policy, scored.is_point
    margins, labels = scored.low[usable] - policy.threshold, scored.labels[usable]
    try:
        checked(margins, labels)
        folds = stratified_folds(labels, N_FOLDS, seed)
    except FitError as error:
        left_out = len(usable) - int(usable.sum()) + scored.left_out
        raise FitError(f"{scored.source}: {error} ({left_out} rows left out)") from error
    methods: tuple[Method, ...] = ("platt", "isotonic") if method == "auto" else (method,)
    held_out = {name: out_of_fold(name, margins, labels, folds) for name in methods}
    measured = {name: reliability(p, labels) for name, p in held_out.items()}
    best = min(methods, key=lambda name: measured[name].log_loss)
    plain = probability(scored.low[usable], policy.space.analysis)
    made = Calibration(
        curve=FITS[best](margins, labels),
        threshold=policy.threshold,
        data=readable(scored.source.name),
        data_hash=scored.data_hash,
        rows=len(labels),
        rows_left_out=len(usable) - len(labels) + scored.left_out,
        harmful=int(labels.sum()),
        folds=int(folds.max()) + 1,
        seed=seed,
        before=reliability(plain, labels),
        after=measured[best],
        has_labels_of_fit=scored.has_labels_of_fit,
        made_for=scored.bound.scoring_fingerprint,
        taxonomy=scored.bound.space.taxonomy.label,
        code=__version__,
    )
    calibrated = policy.model_copy(update={"calibration": made})
    return Calibrated(calibrated, reliability_bins(plain, labels), reliability_bins(held_out[best], labels))


def control(
    scored: ScoredLabels, *, missed_harm: float | None = None, false_block: float | None = None, risk: Risk = "class",
    when_unfounded: Literal["refuse", "band_only"] = "refuse", date: datetime.date | None = None,
) -> Banded:  # fmt: skip
    """Sets the review band to the smallest that controls the rate of automatic errors.

    A side without a stated rate keeps its band. Rows in which something is missing count with their interval: one is allowed,
    or blocked, only where every completion is. With `on_missing: block` they are blocked for what is missing, so each counts as
    blocked, whatever the band.

    Args:
        scored: Labelled rows that the weights were not aligned to.
        missed_harm: Bound on the rate of harmful rows that are allowed.
        false_block: Bound on the rate of safe rows that are blocked.
        risk: Rates within the class, or of all rows.
        when_unfounded: What to do when something speaks against a guarantee (`ScoredLabels.objections`): "refuse", or
            "band_only" to set the band and claim nothing.
        date: Of the edit, where an end of the band that was edited by hand before is set; today.

    Raises:
        GuaranteeError: Too few rows; a rate that no band can hold; or the rows cannot carry a guarantee.
        FitError: No rate is given.
        PolicyError: The band crosses a pin.
    """
    policy = scored.bound.policy
    alphas: dict[ErrorKind, float | None] = {"missed_harm": missed_harm, "false_block": false_block}
    if not any(alpha is not None for alpha in alphas.values()):
        raise FitError("no error rate is given for the review band")
    if scored.objections and when_unfounded == "refuse":
        raise GuaranteeError(f"{scored.source} cannot carry a guarantee: {'; '.join(scored.objections)}")
    harmful, safe = scored.labels == 1, scored.labels == 0
    total = len(scored.labels)
    band = policy.review_band.model_dump()
    if missed_harm is not None:
        n = int(harmful.sum()) if risk == "class" else total
        band["below"] = band_below(scored.high[harmful], n, policy.threshold, missed_harm, risk)
    if false_block is not None:
        n = int(safe.sum()) if risk == "class" else total
        blocking = np.where(scored.is_point, scored.low, math.inf) if policy.on_missing == "block" else scored.low
        band["above"] = band_above(blocking[safe], n, policy.threshold, false_block, risk)
    banded = _with_band(policy, ReviewBand(**band), scored.source, date or datetime.date.today())
    decisions = np.array(scored.decisions(banded))
    risks = tuple(_risk(error, risk, alpha, scored.labels, decisions) for error, alpha in alphas.items() if alpha is not None)
    if not scored.objections:
        banded = banded.model_copy(update={"guarantee": _guarantee(scored, banded, risks)})
    groups: dict[Group, Bools] = {
        "all": np.ones(total, bool), "safe": safe, "harmful": harmful,
    }  # fmt: skip
    return Banded(banded, risks, {name: _shares(decisions[rows]) for name, rows in groups.items() if rows.any()})


def _with_band(policy: Policy, band: ReviewBand, source: Path, date: datetime.date) -> Policy:
    """The policy with another band; where its history speaks of an end, one more edit leads to the new one."""
    changed = policy.model_copy(update={"review_band": band, "guarantee": None})
    by_hand = {edit.weight for edit in policy.edits}
    before, after = numbers(policy), numbers(changed)
    steps = {name: Step("", before[name], after[name]) for name in SETTINGS if name in by_hand}
    day = max([date, *(edit.date for edit in policy.edits)])
    edits = edits_of(steps, reason=readable(f"made by align calibrate on {source.name}"), author="", date=day)
    return changed.model_copy(update={"edits": (*policy.edits, *edits)})


def _risk(error: ErrorKind, risk: Risk, alpha: float, labels: Ints, decisions: Strings) -> ControlledRisk:
    label, wrong = (1, "allow") if error == "missed_harm" else (0, "block")
    of_class = labels == label
    rows = int(of_class.sum()) if risk == "class" else len(labels)
    errors = int((of_class & (decisions == wrong)).sum())  # counted from the decisions, not from how the band was found
    return ControlledRisk(error=error, risk=risk, alpha=alpha, rows=rows, errors=errors)


def _guarantee(scored: ScoredLabels, banded: Policy, risks: tuple[ControlledRisk, ...]) -> Guarantee:
    return Guarantee(
        risks=risks,
        data=readable(scored.source.name),
        data_hash=scored.data_hash,
        rows_left_out=scored.left_out,
        made_for=banded.bind(scored.bound.space.taxonomy).fingerprint,
        taxonomy=scored.bound.space.taxonomy.label,
        code=__version__,
    )


def _shares(decisions: Strings) -> dict[Decision, float]:
    names: tuple[Decision, ...] = ("allow", "review", "block")
    return {name: float((decisions == name).mean()) for name in names}
