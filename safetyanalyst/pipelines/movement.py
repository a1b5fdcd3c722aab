"""What moved the flipped scenarios across their cuts: by weight, by action group, by stakeholder.

The change of a distance to a cut is the change of the score's end minus the change of the cut. The first is shared among the
weights (`comparison.shapley`), the second is the threshold's and the band's. An effect with a feature that was not read stands
in the cell that is worst, or best, under each policy; where that is another cell under the other policy, the weights are
credited with the mean change of the two cells, and the rest is put down to what is missing. All parts add up to the change.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.comparison import Comparison
from safetyanalyst.features import FeatureMatrix, FeatureSpace, slug
from safetyanalyst.pipelines.corpus import Corpus
from safetyanalyst.pipelines.crossings import ON_MISSING, Crossings
from safetyanalyst.projection import lift, project
from safetyanalyst.weights import Floats, Ints, WeightProducts

Bools = npt.NDArray[np.bool_]
BENEFITS, UNREAD, LOST, SETTINGS = "(benefits)", "(unread)", "(lost)", "(settings)"
MISSING = "what is missing"
NO_HARM = "(no harm)"


class Movement(NamedTuple):
    """Parts of the change of the f distances.

    Attributes:
        names: n parts.
        values: (f, n) what each part added; infinite where a bound appeared or vanished.
    """

    names: tuple[str, ...]
    values: Floats


class Tally(NamedTuple):
    """In how many flips a part had a share.

    Attributes:
        name: Of the part.
        harsher: Flips to a harsher decision that it led: of all parts it moved the score most towards the new decision.
        milder: The same to a milder decision.
        moved: Flips in which it moved the score towards the new decision at all.
    """

    name: str
    harsher: int
    milder: int
    moved: int


class Heaviest(NamedTuple):
    """Flips by where the most harm is, whatever moved them.

    Attributes:
        name: Of an action group or a stakeholder; `NO_HARM` where there is none, `UNREAD` or `LOST` where that is not known.
        harsher: Flips to a harsher decision with the most harm here.
        milder: The same to a milder decision.
    """

    name: str
    harsher: int
    milder: int


class Movements:
    """Computes the parts for the flips of a corpus.

    Args:
        corpus: n scenarios.
        comparison: The two policies.
        flips: The f that change their decision.
    """

    def __init__(self, corpus: Corpus, comparison: Comparison, flips: Crossings) -> None:
        self._corpus = corpus
        self._comparison = comparison
        self._flips = flips

    @cached_property
    def by_weight(self) -> Movement:
        """Parts by weight that differs, by what is missing, and by setting; they add up to the change of the distance."""
        comparison, matrix, is_high = self._comparison, self._matrix, self._flips.is_high
        shares = comparison.shares(comparison.space.levels).toarray()
        weights = matrix.counts @ shares
        least, most = self._extremes(matrix.space.levels, matrix.patterns)
        if matrix.patterns:
            ends = [matrix.partial @ ((shares[it.at_a] + shares[it.at_b]) / 2.0) for it in (least, most)]
            weights += np.where(is_high[:, None], ends[1], ends[0])
        missing = _by_end(matrix.partial, least.switch, most.switch, is_high) + self._lost()
        names, settings = self._settings()
        has_crossing = (self._flips.comparison != ON_MISSING)[:, None]
        parts = np.column_stack((weights, missing, settings))
        return Movement((*comparison.names, MISSING, *names), np.where(has_crossing, parts, 0.0))

    @cached_property
    def by_group(self) -> Movement:
        """Parts by action group; benefits, effects whose action was not read, lost subtrees and settings stand beside them."""
        matrix, is_high, columns = self._matrix, self._flips.is_high, self._group_columns
        n = len(columns.groups) + 2
        before, after = self._values(matrix.space.levels)
        values = matrix.counts @ _into(columns.of_cell, after - before, n)
        if matrix.patterns:
            extremes = self._extremes(matrix.space.levels, matrix.patterns)
            ends = [matrix.partial @ _into(columns.of_pattern, it.change, n) for it in extremes]
            values += np.where(is_high[:, None], ends[1], ends[0])
        return Movement((*columns.groups, BENEFITS, UNREAD, LOST, SETTINGS), np.column_stack((values, *self._rest())))

    def tally_stakeholders(self, directions: Ints) -> list[Tally]:
        """In how many flips the effects on each stakeholder moved the score.

        Args:
            directions: (f,) +1 where the decision became harsher, -1 where milder.
        """
        corpus, flips, (flip, rows, parts) = self._corpus, self._flips, self._parts
        before, after = self._values(self._fine_levels)
        least, most = self._extremes(self._fine_levels, parts.patterns)
        values = parts.counts @ (after - before) + _by_end(parts.partial, least.change, most.change, flips.is_high[flip])
        rest = np.column_stack(self._rest())
        n_names = len(corpus.stakeholders)
        entry = np.concatenate((flip, *[np.arange(len(flips.rows))] * 2))
        name = np.concatenate((corpus.stakeholder[rows], np.repeat((n_names, n_names + 1), len(flips.rows))))
        moved = np.concatenate((values, rest.T.ravel()))
        return _tally((*corpus.stakeholders, LOST, SETTINGS), _Entries(entry, name, moved), flips, directions)

    def heaviest_groups(self, directions: Ints) -> list[Heaviest]:
        """Flips by the action group that holds most of their harm, by the mean of both policies' weights.

        An effect with a feature that was not read counts with the most harm that it may stand for.

        Args:
            directions: (f,) +1 where the decision became harsher, -1 where milder.
        """
        matrix, (groups, of_cell, of_pattern) = self._matrix, self._group_columns
        harm, n = self._mean_harm(matrix.space.levels), len(groups) + 2
        values = matrix.counts @ _into(of_cell, harm, n)
        if matrix.patterns:
            values += matrix.partial @ _into(of_pattern, _most(matrix.patterns, harm), n)
        values[:, len(groups)] = 0.0  # benefits
        leader = np.where(values.max(axis=1, initial=0.0) > 0, values.argmax(axis=1), len(groups))
        return self._heaviest((*groups, NO_HARM, UNREAD, LOST), leader, directions)

    def heaviest_stakeholders(self, directions: Ints) -> list[Heaviest]:
        """The same by stakeholder: whom most of the harm is done to."""
        corpus, (flip, rows, parts) = self._corpus, self._parts
        harm = self._mean_harm(self._fine_levels)
        values = parts.counts @ harm
        if parts.patterns:
            values += parts.partial @ _most(parts.patterns, harm)
        leader = np.full(len(self._flips.rows), len(corpus.stakeholders))
        order = np.lexsort((-np.arange(len(values)), values, flip))  # the greatest last; of equals the first
        order = order[values[order] > 0]
        leader[flip[order]] = corpus.stakeholder[rows[order]]
        return self._heaviest((*corpus.stakeholders, NO_HARM, LOST), leader, directions)

    def _heaviest(self, names: tuple[str, ...], leader: Ints, directions: Ints) -> list[Heaviest]:
        """Counts flips by name, the most frequent first; where harm was lost, nobody knows what most of it is."""
        if "harm" in self._comparison.space.spec.kinds:
            leader = np.where(self._corpus.lost[self._flips.rows, 0] > 0, len(names) - 1, leader)
        harsher, milder = (np.bincount(leader[directions == sign], minlength=len(names)) for sign in (1, -1))
        rows = [Heaviest(names[i], int(harsher[i]), int(milder[i])) for i in np.flatnonzero(harsher + milder)]
        return sorted(rows, key=lambda it: -it.harsher - it.milder)

    def _mean_harm(self, products: WeightProducts) -> Floats:
        """Value of every harm cell, the mean of both policies; 0 for benefits."""
        before, after = self._values(products)
        harm: Floats = np.maximum((before + after) / 2.0, 0.0)
        return harm

    @cached_property
    def _parts(self) -> _Parts:
        """The corpus's parts that belong to flips."""
        corpus, flips = self._corpus, self._flips
        n_parts = np.diff(corpus.starts)[flips.rows]
        flip = np.repeat(np.arange(len(flips.rows)), n_parts)
        first = np.cumsum(n_parts) - n_parts
        rows = np.repeat(corpus.starts[flips.rows] - first, n_parts) + np.arange(len(flip))
        return _Parts(flip, rows, corpus.parts.select(rows))

    @cached_property
    def _fine_levels(self) -> WeightProducts:
        """The weights over the cells of the corpus: stakeholders are many, so the weights go to their cells."""
        return lift(self._corpus.space, self._comparison.space).levels

    @cached_property
    def _group_columns(self) -> _GroupColumns:
        """Where the cells and patterns of the flips' matrix stand when counted by action group."""
        space, patterns = self._matrix.space, self._matrix.patterns
        groups = tuple(group.key for group in space.taxonomy.action_groups)
        of_cell = _group_of_cells(space, groups)
        found = [np.unique(of_cell[cells]) for cells in patterns]
        of_pattern = np.array([it[0] if len(it) == 1 else len(groups) + 1 for it in found], np.int64)
        return _GroupColumns(groups, of_cell, of_pattern)

    @cached_property
    def _matrix(self) -> FeatureMatrix:
        """The flips in the space that both policies share."""
        return project(self._corpus.matrix.select(self._flips.rows), self._comparison.space)

    def _values(self, products: WeightProducts) -> tuple[Floats, Floats]:
        """Value of every cell under each policy."""
        return products.values(self._comparison.levels_a), products.values(self._comparison.levels_b)

    def _extremes(self, products: WeightProducts, patterns: tuple[Ints, ...]) -> tuple[_Extremes, _Extremes]:
        """The least and the greatest cell of every pattern."""
        values = self._values(products)
        return _Extremes.of(patterns, *values, np.argmin), _Extremes.of(patterns, *values, np.argmax)

    def _rest(self) -> tuple[Floats, Floats]:
        """(f,) what lost subtrees moved, and what settings did."""
        _, settings = self._settings()
        return np.where(self._flips.comparison == ON_MISSING, 0.0, self._lost()), settings.sum(axis=1)

    def _lost(self) -> Floats:
        """(f,) the change of an end that is infinite under one of the policies; else 0."""
        before, after = self._flips.distance_a, self._flips.distance_b
        is_one = np.isinf(before) != np.isinf(after)
        return np.where(is_one, np.where(is_one, after, 0.0) - np.where(is_one, before, 0.0), 0.0)

    def _settings(self) -> tuple[tuple[str, ...], Floats]:
        """Names of settings, and (f, 4) what they moved; `on_missing` moves no score and comes last, with 0."""
        a, b = self._comparison.a.policy, self._comparison.b.policy
        is_upper, has = self._flips.is_upper, self._flips.comparison != ON_MISSING
        values = (
            np.where(has, a.threshold - b.threshold, 0.0),
            np.where(has & is_upper, a.review_band.above - b.review_band.above, 0.0),
            np.where(has & ~is_upper, b.review_band.below - a.review_band.below, 0.0),
        )
        names = "threshold", "review_band.above", "review_band.below", "on_missing"
        return names, np.column_stack((*values, np.zeros(len(has))))


def tally(movement: Movement, flips: Crossings, directions: Ints) -> list[Tally]:
    """In how many flips each part had a share; parts that had none are left out, the greatest first.

    Args:
        movement: n parts of f flips.
        flips: The flips.
        directions: (f,) +1 where the decision became harsher, -1 where milder.
    """
    f, n = movement.values.shape
    entry, name = np.repeat(np.arange(f), n), np.tile(np.arange(n), f)
    return _tally(movement.names, _Entries(entry, name, movement.values.ravel()), flips, directions)


class _Parts(NamedTuple):
    """Parts of a corpus: for each the flip that it belongs to and its row there, and what they count."""

    flip: Ints
    row: Ints
    counted: FeatureMatrix


class _GroupColumns(NamedTuple):
    """Columns by action group: n groups, then one for benefits and one for effects whose group was not read.

    Attributes:
        groups: Keys of the groups.
        of_cell: (cells,) column of each cell.
        of_pattern: (patterns,) column of each pattern.
    """

    groups: tuple[str, ...]
    of_cell: Ints
    of_pattern: Ints


class _Entries(NamedTuple):
    """What parts moved in flips: three arrays of one length."""

    flip: Ints
    name: Ints
    value: Floats


class _Extremes(NamedTuple):
    """For each pattern the cell at one end under either policy.

    Attributes:
        at_a, at_b: (patterns,) cells.
        change: (patterns,) value of the second under the second policy, minus that of the first under the first.
        switch: (patterns,) what of it comes from the end's being another cell.
    """

    at_a: Ints
    at_b: Ints
    change: Floats
    switch: Floats

    @classmethod
    def of(cls, patterns: tuple[Ints, ...], cell_a: Floats, cell_b: Floats, end: Any) -> _Extremes:
        at_a = np.array([cells[end(cell_a[cells])] for cells in patterns], np.int64)
        at_b = np.array([cells[end(cell_b[cells])] for cells in patterns], np.int64)
        switch = ((cell_b[at_b] - cell_b[at_a]) + (cell_a[at_b] - cell_a[at_a])) / 2.0
        return cls(at_a, at_b, cell_b[at_b] - cell_a[at_a], switch)


def _by_end(partial: Any, least: Floats, most: Floats, is_high: Bools) -> Floats:
    if not partial.shape[1]:
        return np.zeros(partial.shape[0])
    chosen: Floats = np.where(is_high, partial @ most, partial @ least)
    return chosen


def _group_of_cells(space: FeatureSpace, groups: tuple[str, ...]) -> Ints:
    """(cells,) index of the action group of each cell; `len(groups)` for benefits."""
    found = np.full(space.n_cells, len(groups))
    if "harm" in space.spec.kinds:
        group = {slug(it.name): it.group for it in space.taxonomy.harm_actions}
        for key, ids in zip(space.action_keys, space.ids("harm"), strict=True):
            found[ids.ravel()] = groups.index(group[key] if space.spec.action == "leaf" else key)
    return found


def _into(places: Ints, values: Floats, n: int) -> Floats:
    """(len(places), n): each value in the column of its place."""
    into = np.zeros((len(places), n))
    into[np.arange(len(places)), places] = values
    return into


def _most(patterns: tuple[Ints, ...], values: Floats) -> Floats:
    """(patterns,) the greatest value among the cells of each."""
    return np.array([values[cells].max(initial=0.0) for cells in patterns])


def _tally(names: tuple[str, ...], entries: _Entries, flips: Crossings, directions: Ints) -> list[Tally]:
    """Counts entries; a flip that no part moved towards its decision is led by the last part, which stands for the settings."""
    moved = entries.value * flips.toward[entries.flip]
    moves = moved > 0
    flip, name, moved = entries.flip[moves], entries.name[moves], moved[moves]
    n = len(names)
    leader = np.full(len(flips.rows), n - 1)
    order = np.lexsort((-np.arange(len(flip)), moved, flip))  # the greatest last; of equals the first
    leader[flip[order]] = name[order]
    harsher = np.bincount(leader[directions > 0], minlength=n)
    milder = np.bincount(leader[directions < 0], minlength=n)
    counts = np.bincount(name, minlength=n)
    seen = np.flatnonzero(counts + harsher + milder)
    found = [Tally(names[i], int(harsher[i]), int(milder[i]), int(counts[i])) for i in seen]
    return sorted(found, key=lambda it: (-it.harsher - it.milder, -it.moved))
