"""A review band with a guarantee on automatic errors: conformal risk control.

An automatic error is a *missed harm* (labelled harmful, allowed) or a *false block* (labelled safe, blocked). What falls into
the review band is decided by a person and is no automatic error, so a wider band makes fewer. For n labelled rows that had no
part in the weights, with loss L_i in {0, 1}, the band is the smallest with

    n / (n + 1) * mean(L) + 1 / (n + 1) <= alpha

(Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control", arXiv 2208.02814, theorem 1, with B = 1). Then a new
row has an expected loss of at most alpha, if it and the n rows are exchangeable: drawn from the same source, none chosen for
what it is. The expectation is over the labelled rows too: for one given set of n rows the rate has a Beta distribution.

Two risks can be controlled:

- of the class: P(allowed | harmful) <= alpha, from the harmful rows alone; P(blocked | safe) <= alpha, from the safe rows.
  Rows need to be exchangeable within their class only, so the share of harmful rows in use may differ from that in the file.
- of all rows: P(harmful and allowed) <= alpha, P(safe and blocked) <= alpha, from all rows. The share of harmful rows must be
  that in use.

Both cut a sorted list: with k = floor(alpha * (n + 1)), at most k - 1 rows may be wrong, so the cut stands at the k-th of them.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from safetyanalyst.errors import GuaranteeError
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats

ErrorKind = Literal["missed_harm", "false_block"]
Risk = Literal["class", "all"]
WORDS: dict[tuple[ErrorKind, Risk], str] = {
    ("missed_harm", "class"): "P(allowed | harmful)",
    ("missed_harm", "all"): "P(harmful and allowed)",
    ("false_block", "class"): "P(blocked | safe)",
    ("false_block", "all"): "P(safe and blocked)",
}
_LABELS: dict[ErrorKind, str] = {"missed_harm": "harmful", "false_block": "safe"}
_STEP = 1e-6  # bands are rounded outwards to this: readable, and wider than what rounding can do to a sum
Alpha = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]


class ControlledRisk(Record):
    """One risk that the band controls.

    Attributes:
        error: "missed_harm" or "false_block".
        risk: Of the "class" (given the label) or of "all" rows (label and decision jointly).
        alpha: The stated bound.
        rows: n, the labelled rows that it rests on.
        errors: Automatic errors among them under the band.
    """

    error: ErrorKind
    risk: Risk
    alpha: Alpha
    rows: int = Field(ge=1)
    errors: int = Field(ge=0)

    @model_validator(mode="after")
    def _holds(self) -> ControlledRisk:
        if Fraction(self.errors + 1, self.rows + 1) > _exact(self.alpha):
            raise ValueError(
                f"{self.errors} errors of {self.rows} rows bound the rate by {self.bound:g}, not by {self.alpha:g}"
            )
        return self

    @property
    def bound(self) -> float:
        """(errors + 1) / (n + 1): what was achieved, at most alpha."""
        return (self.errors + 1) / (self.rows + 1)

    @property
    def words(self) -> str:
        """The claim in words: "P(allowed | harmful) <= 0.05"."""
        return f"{WORDS[self.error, self.risk]} <= {self.alpha:g}"


class Guarantee(Record):
    """What the review band of a policy guarantees, and on what grounds.

    Attributes:
        method: Always "conformal_risk_control".
        risks: One or two.
        data: What the labels came from, in words.
        data_hash: sha256 of the labelled file, hex.
        rows_left_out: Rows that could not be used, because they have no label or could not be read.
        made_for: `BoundPolicy.fingerprint` at the time: with another weight, threshold or band the guarantee is void.
        taxonomy: `name@version:hash` at the time.
        code: Version of this package at the time.
    """

    method: Literal["conformal_risk_control"] = "conformal_risk_control"
    risks: Annotated[tuple[ControlledRisk, ...], Field(min_length=1)]
    data: str
    data_hash: str
    rows_left_out: int
    made_for: str
    taxonomy: str
    code: str


def rows_needed(alpha: float) -> int:
    """The fewest labelled rows with which any band can claim alpha: ceil(1 / alpha) - 1.

    Example:
        >>> rows_needed(0.05), rows_needed(0.1)
        (19, 9)
    """
    return max(1, math.ceil(1 / _exact(alpha)) - 1)


def band_below(highs: Floats, n: int, threshold: float, alpha: float, risk: Risk = "class") -> float:
    """How far the band must reach below the threshold, so that few harmful rows are allowed.

    A row is allowed when its greatest possible score is at most threshold - below.

    Args:
        highs: Greatest possible scores of the harmful rows; +inf where something unbounded is missing: never allowed.
        n: Rows that the risk speaks of: as many as `highs` for the class, all labelled rows otherwise.
        threshold: Of the policy.
        alpha: The bound.
        risk: What is controlled, for the message.

    Returns:
        The least such distance, rounded outwards to 1e-6.

    Raises:
        GuaranteeError: Too few rows to claim alpha.
    """
    k = _rank(n, alpha, "missed_harm", risk)
    if len(highs) < k:
        return 0.0
    cut = float(np.sort(highs)[k - 1])  # a new row of exactly this score must not be allowed: the cut lies below it
    return _outwards(threshold - cut) if cut <= threshold else 0.0


def band_above(lows: Floats, n: int, threshold: float, alpha: float, risk: Risk = "class") -> float:
    """How far the band must reach above the threshold, so that few safe rows are blocked.

    A row is blocked when its least possible score is above threshold + above.

    Args:
        lows: Least possible scores of the safe rows; -inf where something unbounded is missing: never blocked. A row that is
            blocked whatever the band (`on_missing: block`, something missing) stands as +inf.
        n: Rows that the risk speaks of.
        threshold: Of the policy.
        alpha: The bound.
        risk: What is controlled, for the message.

    Returns:
        The least such distance, rounded outwards to 1e-6.

    Raises:
        GuaranteeError: Too few rows to claim alpha, or more than alpha of them are blocked whatever the band.
    """
    k = _rank(n, alpha, "false_block", risk)
    if len(lows) < k:
        return 0.0
    cut = float(np.sort(lows)[-k])
    if cut == math.inf:
        always = int(np.isposinf(lows).sum())
        raise GuaranteeError(
            f"no review band can hold {WORDS['false_block', risk]} at {alpha:g}: of {n} rows, {always} safe ones are blocked "
            "because something is missing in them (on_missing: block)"
        )
    return _outwards(cut - threshold) if cut > threshold else 0.0


def _rank(n: int, alpha: float, error: ErrorKind, risk: Risk) -> int:
    """One more than how many of n rows may be wrong: floor(alpha * (n + 1))."""
    if not 0.0 < alpha < 1.0:
        raise GuaranteeError(f"an error rate of {alpha:g} cannot be claimed (expected a number between 0 and 1)")
    k = math.floor(_exact(alpha) * (n + 1))
    if k < 1:
        needed = rows_needed(alpha)
        which = f"rows labelled {_LABELS[error]}" if risk == "class" else "labelled rows"
        raise GuaranteeError(
            f"{WORDS[error, risk]} <= {alpha:g} cannot be claimed from {n} {which}: at least {needed} are needed",
            needed=needed, found=n,
        )  # fmt: skip
    return k


def _exact(alpha: float) -> Fraction:
    """The number as it was written: 0.29 * 100 is 29, not a little less."""
    return Fraction(repr(float(alpha)))


def _outwards(distance: float) -> float:
    """The next multiple of 1e-6 that is clearly greater than `distance`, so that no rounding of a sum leads across the cut."""
    steps = math.floor(distance / _STEP + 1e-3) + 1
    return max(0.0, round(steps * _STEP, 6))
