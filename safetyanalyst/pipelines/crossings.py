"""Which scenarios change their decision between two policies, and which cut each of them crosses.

A policy looks at two ends of a score's interval and two cuts: it blocks when `low > upper`, allows when not `high > lower`, and
sends to review what lies inside the band, `low > lower` and not `high > upper`. In any flip at least one of the four
comparisons has changed, or else `on_missing` alone has. The comparison that the new decision rests on (for a decision that
rests on what is
missing: the one that the old decision rested on) is the flip's *crossing*, and

    distance = end - cut

went from one side of 0 to the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.pipelines.rescoring import Codes, Cuts, Rescored
from safetyanalyst.weights import Floats, Ints

Bools = npt.NDArray[np.bool_]
LOW_UPPER, HIGH_LOWER, LOW_LOWER, HIGH_UPPER = range(4)
ON_MISSING = -1
"""No cut was crossed: something is missing under both policies, and they differ in what to do then."""
_ALLOW, _BAND, _BLOCK, _MISSING = range(4)  # indices into `rescoring.GROUNDS`


class Crossings(NamedTuple):
    """The f scenarios that change their decision, widest margin first; those without a margin last.

    Attributes:
        rows: (f,) their rows in the corpus.
        comparison: (f,) `LOW_UPPER` and so on, or `ON_MISSING`.
        distance_a: (f,) how far the end lay above the cut under the first policy; NaN without a crossing, may be infinite.
        distance_b: (f,) the same under the second.
        margin: (f,) how far the score has moved past the cut; NaN where the new decision rests on what is missing.
    """

    rows: Ints
    comparison: Codes
    distance_a: Floats
    distance_b: Floats
    margin: Floats

    @property
    def toward(self) -> Floats:
        """(f,) +1 where the end rose above the cut, -1 where it fell, 0 without a crossing."""
        return np.where(np.isnan(self.distance_b), 0.0, np.where(self.distance_b > 0, 1.0, -1.0))

    @property
    def is_high(self) -> Bools:
        """(f,) whether the upper end of the interval crossed."""
        return np.isin(self.comparison, (HIGH_LOWER, HIGH_UPPER))

    @property
    def is_upper(self) -> Bools:
        """(f,) whether it was the upper cut."""
        return np.isin(self.comparison, (LOW_UPPER, HIGH_UPPER))


def crossings(a: Rescored, b: Rescored, cuts_a: Cuts, cuts_b: Cuts) -> Crossings:
    """Finds the flips of n scenarios and the cut that each crosses.

    Args:
        a: The corpus under the first policy.
        b: The corpus under the second.
        cuts_a: Of the first.
        cuts_b: Of the second.
    """
    rows = np.flatnonzero(a.decisions != b.decisions)
    ends_a, ends_b = _distances(a, rows, cuts_a), _distances(b, rows, cuts_b)
    has_moved = (ends_a > 0) != (ends_b > 0)  # (4, f)
    comparison = _crossed(a.grounds[rows], b.grounds[rows], has_moved)
    at = np.maximum(comparison, 0), np.arange(len(rows))
    is_none = comparison == ON_MISSING
    distance_a, distance_b = (np.where(is_none, np.nan, ends[at]) for ends in (ends_a, ends_b))
    margin = np.where(b.grounds[rows] == _MISSING, np.nan, np.abs(distance_b))
    order = np.argsort(-margin, kind="stable")  # NaN last
    return Crossings(rows[order], comparison[order], distance_a[order], distance_b[order], margin[order])


def _distances(found: Rescored, rows: Ints, at: Cuts) -> Floats:
    """(4, f) end - cut for each of the four comparisons, of the sign that comparing them has."""
    pairs = (found.low, at.upper), (found.high, at.lower), (found.low, at.lower), (found.high, at.upper)
    return np.array([end[rows] - cut for end, cut in pairs])


def _crossed(before: Codes, after: Codes, has_moved: Bools) -> Codes:
    into_band = np.where(has_moved[LOW_LOWER], LOW_LOWER, HIGH_UPPER)
    out_of_band = np.where(has_moved[HIGH_UPPER], HIGH_UPPER, LOW_LOWER)
    missing = np.select([before == _BLOCK, before == _ALLOW, before == _BAND], [LOW_UPPER, HIGH_LOWER, out_of_band], ON_MISSING)
    found = np.select([after == _BLOCK, after == _ALLOW, after == _BAND], [LOW_UPPER, HIGH_LOWER, into_band], missing)
    return found.astype(np.int8)
