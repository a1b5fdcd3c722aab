"""Which weights the labels determine, and which they cannot.

The scores of the labelled rows change with the levels v as J = d scores / d v. A level with an empty column of J has no
influence: its category never occurs, or it stands behind a 0. A combination of levels that J sends to 0 cannot be told apart:
benefits of one extent only determine the product of that extent and the relative weight, not the two. The Fisher information
J' diag(w p (1 - p)) J gives the standard errors of the others.

Columns are scaled to length 1 before their rank is judged, so that a rare category is not taken for an absent one.

Source: Rothenberg, "Identification in parametric models", Econometrica 39 (1971): local identification is the rank of the
information matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import Field

from safetyanalyst.constraints import LevelRegion
from safetyanalyst.descent import Solution
from safetyanalyst.features import FeatureMatrix
from safetyanalyst.fitting import cell_jacobian
from safetyanalyst.links import Link, information
from safetyanalyst.records import Record
from safetyanalyst.weights import Bools, Floats

_FLAT = 1e-9  # of the eigenvalues of the scaled J'J, which sum to the number of levels: a flat direction
_IN_IT = 1e-6  # of the projection on the flat directions: a level takes part
_VAGUE = 1.0 / np.sqrt(12.0)  # standard deviation of a uniform draw from [0, 1]: a larger error says nothing
TIE = 1e-6  # starts whose losses differ by less are equally good
APART = 0.05  # levels that differ by more disagree


class Spread(Record):
    """The least and the greatest value of a level over equally good starts."""

    low: float
    high: float


class Identification(Record):
    """What a fit can and cannot say about its levels, by name. What is frozen is left out.

    Attributes:
        undetermined: Levels without influence on any labelled score.
        confounded: Groups of levels that the labels determine only jointly.
        vague: Levels whose standard error is above that of a uniform draw from [0, 1].
        at_floor: Levels that ended on a floor above 0.
        at_ceiling: Levels that ended on a ceiling below 1.
        frozen: Levels that had one possible value.
        tied_starts: Starts that ended within 1e-6 of the best loss.
        disagreeing: Levels that the tied starts put more than 0.05 apart, beyond those above: other weights fit as well.
    """

    undetermined: tuple[str, ...] = ()
    confounded: tuple[tuple[str, ...], ...] = ()
    vague: tuple[str, ...] = ()
    at_floor: tuple[str, ...] = ()
    at_ceiling: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    tied_starts: int = 1
    disagreeing: dict[str, Spread] = Field(default_factory=dict)

    @property
    def not_identified(self) -> frozenset[str]:
        """Levels whose own value the labels do not determine."""
        return frozenset(self.undetermined).union(*self.confounded)


class Flatness(NamedTuple):
    """Rank of the information.

    Attributes:
        undetermined: Parameters with an empty column.
        confounded: Groups of parameters, ascending.
        errors: (P,) standard errors; infinite for the parameters above, 0 for frozen ones.
    """

    undetermined: tuple[int, ...]
    confounded: tuple[tuple[int, ...], ...]
    errors: Floats


def jacobian(matrix: FeatureMatrix, region: LevelRegion, values: Floats) -> Floats:
    """Derivative of the scores by the parameters, (n, P), exact: cells are linear in every single level.

    Args:
        matrix: n rows.
        region: Names the parameter of each level.
        values: (P,).
    """
    found: Floats = matrix.counts @ cell_jacobian(matrix.space.levels, region, values)
    return found


def flatness(rows: Floats, region: LevelRegion, weights: Floats, of_row: Floats) -> Flatness:
    """Finds flat directions and standard errors.

    Args:
        rows: (n, P) Jacobian of the scores.
        region: What is frozen is known, and no part of any direction.
        weights: (n,) of the rows; rows of weight 0 say nothing.
        of_row: (n,) Fisher information of each label about its score, times how often the row counts.
    """
    free = ~region.is_frozen
    counted = rows[weights > 0]
    sizes = np.linalg.norm(counted, axis=0)
    largest = float(sizes[free].max(initial=0.0))
    empty = free & (sizes <= 1e-12 * largest) if largest else free
    seen = np.flatnonzero(free & ~empty)
    errors = np.where(free, np.inf, 0.0)
    groups: list[tuple[int, ...]] = []
    if len(seen):
        scaled = counted[:, seen] / sizes[seen]
        flat, vectors = np.linalg.eigh(scaled.T @ scaled)
        null = vectors[:, flat < _FLAT]
        shadow = null @ null.T  # the projection does not depend on the basis that the solver chose
        groups = [tuple(int(seen[i]) for i in group) for group in _components(np.abs(shadow) > _IN_IT)]
        alone = np.setdiff1d(seen, [k for group in groups for k in group])
        fisher = (counted[:, seen] / sizes[seen]).T @ ((of_row[weights > 0, None] * counted[:, seen]) / sizes[seen])
        spread = np.sqrt(np.maximum(np.diag(np.linalg.pinv(fisher, rcond=_FLAT, hermitian=True)), 0.0)) / sizes[seen]
        errors[alone] = spread[np.isin(seen, alone)]
    return Flatness(tuple(np.flatnonzero(empty).tolist()), tuple(sorted(groups)), errors)


def identify(
    matrix: FeatureMatrix, region: LevelRegion, best: Solution, others: Sequence[Solution], weights: Floats, link: Link
) -> Identification:
    """The report on a fit.

    Args:
        matrix: n rows.
        region: Of the fit.
        best: The chosen solution.
        others: Where every start ended, the best one included.
        weights: (n,) of the rows, summing to 1.
        link: Of the analysis.
    """
    rows = jacobian(matrix, region, best.values)
    scores = matrix.counts @ matrix.space.levels.values(best.values[region.own]) - best.threshold
    n_effective = 1.0 / float(weights @ weights)  # Kish: as many equal rows say as much
    found = flatness(rows, region, weights, n_effective * weights * information(scores, link))
    names, value = region.names, best.values
    free = ~region.is_frozen
    flat = {*found.undetermined, *(k for group in found.confounded for k in group)}
    tied = [it for it in others if it.objective <= best.objective + TIE]
    low, high = (pick([it.values for it in tied] or [value], axis=0) for pick in (np.min, np.max))
    apart = [k for k in np.flatnonzero(free & (high - low > APART)).tolist() if k not in flat]

    def named(which: object) -> tuple[str, ...]:
        return tuple(name for k in np.asarray(which, dtype=np.int64).ravel() for name in names[k])

    return Identification(
        undetermined=named(found.undetermined),
        confounded=tuple(named(group) for group in found.confounded),
        vague=named([k for k in np.flatnonzero(free & (found.errors > _VAGUE)).tolist() if k not in flat]),
        at_floor=named(np.flatnonzero(free & (region.lo > 0) & (value <= region.lo))),
        at_ceiling=named(np.flatnonzero(free & (region.hi < 1) & (value >= region.hi))),
        frozen=named(np.flatnonzero(~free)),
        tied_starts=max(1, len(tied)),
        disagreeing={name: Spread(low=float(low[k]), high=float(high[k])) for k in apart for name in names[k]},
    )


def _components(joined: Bools) -> list[list[int]]:
    """Connected components among the indices that are joined to themselves."""
    left = set(np.flatnonzero(np.diag(joined)).tolist())
    found: list[list[int]] = []
    while left:
        component, new = set(), {min(left)}
        while new:
            component |= new
            new = {j for i in new for j in np.flatnonzero(joined[i]).tolist() if j in left} - component
        left -= component
        found.append(sorted(component))
    return found
