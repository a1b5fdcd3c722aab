"""Trees -> sparse counts per cell, the one kernel under everything.

Every effect falls in one cell (kind, action, effect, extent, likelihood, immediacy). With X the counts (scenarios x cells) and
cell(w) the products of named weights (see `weights`),

    score = X @ cell(w)

There are two sets of weights over the same cells: *levels*, which people read and steer (extent "minor" = 0.2), and *ratios*,
which a fit searches (minor / significant = 0.5), because ratios in [0, 1] keep the levels in order by construction.

A feature that could not be read leaves an effect in one of several cells: a *pattern*. A lost subtree could hold anything. Both
turn the score into an interval.

Source: SafetyAnalyst (arXiv 2410.16665), section 2.3; the published fit has 29 parameters for "both", the paper counts 28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Effect, HarmBenefitTree, Tree, TreeKind
from safetyanalyst.weights import Floats, Ints, WeightProducts

SIGN: dict[TreeKind, float] = {"harm": 1.0, "benefit": -1.0}


class FeatureSpaceSpec(Record):
    """Which distinctions the weights make.

    Attributes:
        analysis: Which trees count: "both", "harms" or "benefits".
        action: One weight per action group (16) or per leaf action (45). Benefit actions have no weight of their own.
        effect: No weight per effect, or one per effect group (7), shared by harms and benefits as in the published code.
        discount: In the ratios: one downstream discount each for harms and benefits (29 parameters for "both", the published
            code), or one shared by both (28, the paper).
    """

    analysis: Literal["both", "harms", "benefits"] = "both"
    action: Literal["group", "leaf"] = "group"
    effect: Literal["none", "group"] = "none"
    discount: Literal["separate", "shared"] = "separate"

    @property
    def kinds(self) -> tuple[TreeKind, ...]:
        """The kinds of trees that count."""
        return {"both": TREE_KINDS, "harms": TREE_KINDS[:1], "benefits": TREE_KINDS[1:]}[self.analysis]


class FeatureSpace:
    """The cells that a taxonomy and a spec span, and how weights multiply into them.

    Args:
        taxonomy: What can be said in a tree.
        spec: Which distinctions the weights make.

    Attributes:
        levels: Products of the weights that people steer (level names).
        ratios: Products of the parameters that a fit searches.
    """

    def __init__(self, taxonomy: Taxonomy, spec: FeatureSpaceSpec | None = None) -> None:
        self.taxonomy = taxonomy
        self.spec = spec or FeatureSpaceSpec()
        self._extents = tuple(level.name for level in taxonomy.extents)
        self._likelihoods = tuple(level.name for level in taxonomy.likelihoods)
        self._immediacies = tuple(level.name for level in taxonomy.immediacies)
        self.action_keys = self._action_keys()
        self.effect_keys = tuple(g.key for g in taxonomy.effect_groups) if self.spec.effect == "group" else ()
        self._ids = self._cell_ids()
        self.n_cells = sum(ids.size for ids in self._ids.values())
        self.levels = self._products(self._level_factors)
        self.ratios = self._products(self._ratio_factors)
        self._index = {kind: self._feature_index(kind) for kind in self.spec.kinds}
        self._memo: dict[tuple[TreeKind, str | None, Effect], Ints] = {}

    def cells_of(self, kind: TreeKind, action: str | None, effect: Effect) -> Ints:
        """The cells an effect may stand in: one when everything that matters was read, several when something was not.

        Args:
            kind: Of the tree.
            action: Canonical leaf action, or `None`.
            effect: The leaf. A name that the taxonomy does not know counts as not read.

        Returns:
            (n,) cell indices; empty when the space does not count this kind.
        """
        if kind not in self._ids:
            return np.empty(0, np.int64)
        key = (kind, action, effect)
        cells = self._memo.get(key)
        if cells is None:
            names = (action, effect.effect, effect.extent, effect.likelihood, effect.immediacy)
            at = tuple(
                slice(None) if (i := index.get(name)) is None else i
                for index, name in zip(self._index[kind], names, strict=True)
            )
            cells = np.atleast_1d(self._ids[kind][at]).ravel()
            self._memo[key] = cells
        return cells

    def ids(self, kind: TreeKind) -> Ints:
        """Cell indices laid out over (action, effect, extent, likelihood, immediacy), for a kind that the space counts."""
        return self._ids[kind]

    def positions(self, kind: TreeKind) -> dict[str, Mapping[str | None, int]]:
        """Per feature (action, effect, extent, likelihood, immediacy) where in `ids` each canonical name stands."""
        return dict(zip(("action", "effect", "extent", "likelihood", "immediacy"), self._index[kind], strict=True))

    def featurize(self, trees: Iterable[HarmBenefitTree]) -> FeatureMatrix:
        """Counts the cells of every tree.

        Args:
            trees: n trees.

        Returns:
            A matrix of n rows.
        """
        rows = _RowBuilder(self)
        for tree in trees:
            rows.add(tree)
        return rows.matrix()

    def levels_from_ratios(self, ratios: Floats) -> Floats:
        """Level weights (K,) that stand for the same cells as these ratios."""
        value = dict(zip(self.ratios.names, ratios, strict=True))
        return np.array([float(np.prod([value[part] for part in self._ratio_parts(name)])) for name in self.levels.names])

    def ratios_from_levels(self, levels: Floats) -> Floats:
        """Ratios that stand for these levels; a ratio over a level of 0 is not determined and becomes 1.

        With a shared discount the harm side is taken where there is one.
        """
        value = dict(zip(self.levels.names, levels, strict=True))
        found: dict[str, float] = {}
        for name in sorted(self.levels.names, key=lambda name: len(self._ratio_parts(name))):  # tops of the scales first
            parts = self._ratio_parts(name)
            above = float(np.prod([found[part] for part in parts[1:]]))
            found.setdefault(parts[0], min(value[name] / above, 1.0) if above > 0 else 1.0)
        return np.array([found[name] for name in self.ratios.names])

    def order(self) -> tuple[tuple[str, ...], ...]:
        """Chains of level weights that must ascend, lowest first; the top of each is the constant 1."""
        chains: list[tuple[str, ...]] = []
        for kind in self.spec.kinds:
            chains.append(tuple(f"{kind}/extent/{name}" for name in self._extents[:-1]))
            chains.append(tuple(f"{kind}/likelihood/{name}" for name in self._likelihoods[:-1]))
        return tuple(chains)

    def ratio_chain(self, level: str) -> tuple[str, ...]:
        """Names of the ratios whose product is a level, its own ratio first."""
        return self._ratio_parts(level)

    def tops(self) -> tuple[str, ...]:
        """Names of the levels that are the constant 1, the tops of the scales."""
        names = (f"extent/{self._extents[-1]}", f"likelihood/{self._likelihoods[-1]}", "immediacy/immediate")
        return tuple(f"{kind}/{name}" for kind in self.spec.kinds for name in names)

    # -- how the cells are laid out ------------------------------------------------------------------------------------

    def _action_keys(self) -> tuple[str, ...]:
        if self.spec.action == "group":
            return tuple(group.key for group in self.taxonomy.action_groups)
        return tuple(slug(category.name) for category in self.taxonomy.harm_actions)

    def _cell_ids(self) -> dict[TreeKind, Ints]:
        """Per kind an array of cell ids over (action, effect, extent, likelihood, immediacy)."""
        ids: dict[TreeKind, Ints] = {}
        start = 0
        tail = (len(self._extents), len(self._likelihoods), len(self._immediacies))
        for kind in self.spec.kinds:
            shape = (len(self.action_keys) if kind == "harm" else 1, max(1, len(self.effect_keys)), *tail)
            size = int(np.prod(shape))
            ids[kind] = np.arange(start, start + size).reshape(shape)
            start += size
        return ids

    def _feature_index(self, kind: TreeKind) -> tuple[dict[str | None, int], ...]:
        """Per dimension: name -> index. A dimension without weights maps every name, `None` included, to 0."""
        action: dict[str | None, int] = _Anything()
        if kind == "harm":
            by_group = self.spec.action == "group"
            position = {key: i for i, key in enumerate(self.action_keys)}
            action = {c.name: position[c.group if by_group else slug(c.name)] for c in self.taxonomy.harm_actions}
        effect: dict[str | None, int] = _Anything()
        if self.effect_keys:
            position = {key: i for i, key in enumerate(self.effect_keys)}
            effect = {c.name: position[c.group] for c in self.taxonomy.effects(kind)}
        levels = (self._extents, self._likelihoods, self._immediacies)
        scales: list[dict[str | None, int]] = [{name: i for i, name in enumerate(scale)} for scale in levels]
        return (action, effect, *scales)

    def _products(self, factors_of: Callable[[TreeKind, Sequence[int]], tuple[str, ...]]) -> WeightProducts:
        per_cell: list[tuple[str, ...]] = []
        sign: list[float] = []
        for kind, ids in self._ids.items():
            for at in np.ndindex(ids.shape):
                per_cell.append(factors_of(kind, at))
                sign.append(SIGN[kind])
        names = tuple(dict.fromkeys(name for kind in self._ids for name in self._names_in_order(kind, factors_of)))
        width = max(len(cell) for cell in per_cell)
        factors = np.full((len(per_cell), width), len(names))
        position = {name: i for i, name in enumerate(names)}
        for row, cell in zip(factors, per_cell, strict=True):
            row[: len(cell)] = [position[name] for name in cell]
        return WeightProducts(names, factors, np.array(sign))

    def _names_in_order(
        self, kind: TreeKind, factors_of: Callable[[TreeKind, Sequence[int]], tuple[str, ...]]
    ) -> Iterable[str]:
        """Weight names as people list them: actions, effects, extents from the bottom, likelihoods, immediacy, relative."""
        rank = {"action": 0, "effect": 1, "extent": 2, "extent_ratio": 2, "likelihood": 3, "likelihood_ratio": 3}
        names = dict.fromkeys(name for at in np.ndindex(self._ids[kind].shape) for name in factors_of(kind, at))
        return sorted(names, key=lambda name: rank.get(f"/{name}".split("/")[-2], 5 if name.endswith("relative_weight") else 4))

    def _level_factors(self, kind: TreeKind, at: Sequence[int]) -> tuple[str, ...]:
        action, effect, extent, likelihood, immediacy = at
        names = [f"harm/action/{self.action_keys[action]}"] if kind == "harm" else ["benefit/relative_weight"]
        if self.effect_keys:
            names.append(f"effect/{self.effect_keys[effect]}")
        if extent < len(self._extents) - 1:
            names.append(f"{kind}/extent/{self._extents[extent]}")
        if likelihood < len(self._likelihoods) - 1:
            names.append(f"{kind}/likelihood/{self._likelihoods[likelihood]}")
        if self._immediacies[immediacy] == "downstream":
            names.append(f"{kind}/immediacy/downstream")
        return tuple(names)

    def _ratio_factors(self, kind: TreeKind, at: Sequence[int]) -> tuple[str, ...]:
        return tuple(part for name in self._level_factors(kind, at) for part in self._ratio_parts(name))

    def _ratio_parts(self, level: str) -> tuple[str, ...]:
        """The ratios that multiply to one level, its own first: minor = (minor/significant)(significant/substantial)..."""
        *top, scale, name = level.split("/")
        prefix = "/".join(top)
        if scale == "immediacy":
            return ("downstream_discount",) if self.spec.discount == "shared" else (f"{prefix}/downstream_discount",)
        steps = {"extent": self._extents, "likelihood": self._likelihoods}.get(scale)
        if steps is None:
            return (level,)
        first = steps.index(name)
        pairs = zip(steps[first:], steps[first + 1 :], strict=False)
        return tuple(f"{prefix}/{scale}_ratio/{low}_to_{high}" for low, high in pairs)


class _Anything(dict[str | None, int]):
    """Maps every name to 0: a dimension that no weight distinguishes."""

    def get(self, key: str | None, default: Any = None) -> int:
        del key, default
        return 0


def slug(name: str) -> str:
    """A category name as part of a weight name: "Child Sexual Abuse" -> "child_sexual_abuse"."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


@dataclass(frozen=True)
class FeatureMatrix:
    """Counts of n scenarios.

    Attributes:
        space: What the columns mean.
        counts: (n, cells) sparse counts of the effects that were read completely.
        partial: (n, patterns) sparse counts of the effects that were not.
        patterns: For each pattern, the cells it may stand for.
        lost: (n, 2) lost subtrees of harm and benefit; a missing tree counts as one.
    """

    space: FeatureSpace
    counts: Any
    partial: Any
    patterns: tuple[Ints, ...]
    lost: Ints

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing anywhere, so that every score is one number."""
        return not self.patterns and not self.lost.any()

    @property
    def complete_rows(self) -> npt.NDArray[np.bool_]:
        """(n,) whether nothing is missing in a row."""
        partial = np.asarray(self.partial.sum(axis=1)).ravel()
        complete: npt.NDArray[np.bool_] = (partial == 0) & ~self.lost.any(axis=1)
        return complete

    @cached_property
    def dense(self) -> Floats:
        """(n, cells) counts as a plain array."""
        dense: Floats = self.counts.toarray()
        return dense

    def select(self, rows: npt.NDArray[Any]) -> FeatureMatrix:
        """Some of the rows, by index or mask."""
        return FeatureMatrix(self.space, self.counts[rows], self.partial[rows], self.patterns, self.lost[rows])


@dataclass
class _RowBuilder:
    """Collects the sparse rows of a `FeatureMatrix`."""

    space: FeatureSpace
    cells: list[list[int]] = field(default_factory=list)
    partial: list[list[int]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    patterns: dict[bytes, int] = field(default_factory=dict)
    pattern_cells: list[Ints] = field(default_factory=list)

    def add(self, trees: HarmBenefitTree) -> None:
        self.cells.append([])
        self.partial.append([])
        self.lost.append((self._add_tree("harm", trees.harm), self._add_tree("benefit", trees.benefit)))

    def matrix(self) -> FeatureMatrix:
        counts = sparse_counts(self.cells, self.space.n_cells)
        partial = sparse_counts(self.partial, len(self.patterns))
        lost = np.array(self.lost, np.int64).reshape(-1, 2)
        return FeatureMatrix(self.space, counts, partial, tuple(self.pattern_cells), lost)

    def _add_tree(self, kind: TreeKind, tree: Tree | None) -> int:
        if kind not in self.space.spec.kinds:
            return 0
        if tree is None:
            return 1
        for stakeholder in tree.stakeholders:
            for action in stakeholder.actions:
                self._add_action(kind, action)
        return tree.lost

    def _add_action(self, kind: TreeKind, action: Action) -> None:
        for effect in action.effects:
            cells = self.space.cells_of(kind, action.action, effect)
            if len(cells) == 1:
                self.cells[-1].append(int(cells[0]))
            else:
                self.partial[-1].append(self._pattern(cells))

    def _pattern(self, cells: Ints) -> int:
        known = self.patterns.setdefault(cells.tobytes(), len(self.patterns))
        if known == len(self.pattern_cells):
            self.pattern_cells.append(cells)
        return known


def sparse_counts(rows: Sequence[Sequence[int]], n_columns: int) -> Any:
    """Lists of column indices -> sparse (rows, n_columns) array of how often each occurs."""
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    columns = np.fromiter((column for row in rows for column in row), np.int32, int(lengths.sum()))
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    matrix = sparse.csr_array((np.ones(len(columns)), columns, indptr), shape=(len(rows), n_columns))
    matrix.sum_duplicates()
    return matrix
