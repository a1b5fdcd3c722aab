"""What changes when one policy takes the place of another, over a corpus of stored trees; no model is called.

`PolicyDiff.to_json` is a contract (docs/reviewing-a-change.md): names and shape do not change within a major version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from safetyanalyst.comparison import Comparison, compare
from safetyanalyst.explanation import Interval
from safetyanalyst.pipelines.corpus import UNLABELLED, Corpus
from safetyanalyst.pipelines.crossings import ON_MISSING, Crossings, crossings
from safetyanalyst.pipelines.movement import Heaviest, Movements, Tally, tally
from safetyanalyst.pipelines.rescoring import DECISIONS, GROUNDS, Rescored, cuts, rescore
from safetyanalyst.policy import BoundPolicy, Decision, Ground
from safetyanalyst.records import Record
from safetyanalyst.weights import Ints

_Cut = Literal["lower", "upper"]
_End = Literal["low", "high"]
Labelled = Literal["all", "harmful", "harmless", "unlabelled"]
_LABELS: dict[Labelled, int | None] = {"all": None, "harmful": 1, "harmless": 0, "unlabelled": UNLABELLED}


class Part(Record):
    """What one difference between the policies added to the change of a distance; infinite where a bound came or went."""

    name: str
    value: float


class Verdict(Record):
    """What one policy says of a scenario: its decision, on what ground, and the interval of the score."""

    decision: Decision
    ground: Ground
    interval: Interval


class Flip(Record):
    """A scenario that the two policies decide differently.

    Attributes:
        id, source, place: Which one; `place` is its file and line.
        label: 1 harmful, 0 harmless, `None` unlabelled.
        a, b: What each policy says.
        cut: Which cut of the policies was crossed: "lower" (between allow and review) or "upper" (between review and block);
            `None` when `on_missing` alone made the difference. Without a band the two are one.
        end: Which end of the score's interval crossed it.
        distance_a, distance_b: How far that end lies above the cut under each policy.
        margin: How far it has moved past the cut; `None` where the new decision rests on what is missing.
        parts: They add up to `distance_b - distance_a`; those that pushed towards the new decision first, greatest first.
    """

    id: str
    source: str
    place: str
    label: Literal[0, 1] | None
    a: Verdict
    b: Verdict
    cut: _Cut | None
    end: _End | None
    distance_a: float | None
    distance_b: float | None
    margin: float | None
    parts: tuple[Part, ...]


class SourceRow(NamedTuple):
    """Scenarios of one source.

    Attributes:
        name: Of the source.
        n: Scenarios.
        harsher, milder: How many get a harsher or a milder decision.
    """

    name: str
    n: int
    harsher: int
    milder: int


class Rates(Record):
    """How one policy meets the labels; `None` without scenarios of the class.

    Attributes:
        recall: Harmful ones that are not allowed.
        false_positive_rate: Harmless ones that are not allowed.
        blocked_recall, blocked_false_positive_rate: The same where only a block counts.
    """

    recall: float | None
    false_positive_rate: float | None
    blocked_recall: float | None
    blocked_false_positive_rate: float | None


@dataclass(frozen=True)
class PolicyDiff:
    """What changes from policy `a` to policy `b` over n scenarios.

    Attributes:
        corpus: The scenarios.
        comparison: What differs between the policies.
        before: The corpus under `a`.
        after: The corpus under `b`.
        flips: Those that change their decision, widest margin first.
    """

    corpus: Corpus
    comparison: Comparison
    before: Rescored
    after: Rescored
    flips: Crossings

    def __len__(self) -> int:
        """Number of flips."""
        return len(self.flips.rows)

    @property
    def directions(self) -> Ints:
        """(flips,) +1 where the decision became harsher, -1 where milder."""
        rows = self.flips.rows
        found: Ints = np.sign(self.after.decisions[rows].astype(np.int64) - self.before.decisions[rows])
        return found

    @property
    def harsher(self) -> int:
        """Flips to a harsher decision."""
        return int((self.directions > 0).sum())

    @property
    def milder(self) -> int:
        """Flips to a milder decision."""
        return int((self.directions < 0).sum())

    def table(self, labelled: Labelled = "all") -> Ints:
        """(3, 3) scenarios by decision under `a` (rows) and `b` (columns), each allow, review, block.

        Args:
            labelled: Which scenarios.
        """
        wanted = _LABELS[labelled]
        chosen = np.ones(len(self.corpus), bool) if wanted is None else self.corpus.labels == wanted
        pairs = self.before.decisions[chosen].astype(np.int64) * 3 + self.after.decisions[chosen]
        counts: Ints = np.bincount(pairs, minlength=9).reshape(3, 3)
        return counts

    def rates(self, which: Literal["a", "b"]) -> Rates:
        """How one of the policies meets the labels."""
        axis = 1 if which == "a" else 0
        harmful, harmless = (self.table(labelled).sum(axis=axis) for labelled in ("harmful", "harmless"))
        return Rates(
            recall=_share(harmful, 1), false_positive_rate=_share(harmless, 1),
            blocked_recall=_share(harmful, 2), blocked_false_positive_rate=_share(harmless, 2),
        )  # fmt: skip

    @cached_property
    def by_weight(self) -> list[Tally]:
        """Which differences between the policies moved the flips."""
        return tally(self._movements.by_weight, self.flips, self.directions)

    @cached_property
    def by_group(self) -> list[Tally]:
        """Which action groups' contributions moved the flips."""
        return tally(self._movements.by_group, self.flips, self.directions)

    @cached_property
    def by_stakeholder(self) -> list[Tally]:
        """Which stakeholders' contributions moved the flips."""
        return self._movements.tally_stakeholders(self.directions)

    @cached_property
    def heaviest_groups(self) -> list[Heaviest]:
        """Flips by the action group with the most harm in them, whatever moved them."""
        return self._movements.heaviest_groups(self.directions)

    @cached_property
    def heaviest_stakeholders(self) -> list[Heaviest]:
        """Flips by the stakeholder whom most of the harm is done to."""
        return self._movements.heaviest_stakeholders(self.directions)

    @cached_property
    def by_source(self) -> list[SourceRow]:
        """Flips by source, in the order of the sources."""
        n = len(self.corpus.sources)
        of_flip = self.corpus.source[self.flips.rows]
        sizes = np.bincount(self.corpus.source, minlength=n)
        harsher, milder = (np.bincount(of_flip[self.directions == sign], minlength=n) for sign in (1, -1))
        columns = zip(self.corpus.sources, sizes.tolist(), harsher.tolist(), milder.tolist(), strict=True)
        return [SourceRow(*row) for row in columns]

    def shown(self, top: int | None = None) -> Iterator[Flip]:
        """The flips as records, widest margin first.

        Args:
            top: At most so many; all when `None`.
        """
        movement, flips = self._movements.by_weight, self.flips
        toward, is_high, is_upper = flips.toward.tolist(), flips.is_high.tolist(), flips.is_upper.tolist()
        for i, values in enumerate(movement.values[:top].tolist()):
            parts = dict(zip(movement.names, values, strict=True))
            cut: _Cut = "upper" if is_upper[i] else "lower"
            end: _End = "high" if is_high[i] else "low"
            has_crossing = int(flips.comparison[i]) != ON_MISSING
            yield self._flip(i, _pushing_first(parts, toward[i]), cut if has_crossing else None, end if has_crossing else None)

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        """The published form; an infinite number is null.

        Args:
            top: How many flips to list; all when `None`.
        """
        corpus = self.corpus
        return {
            "a": _policy(self.comparison.a),
            "b": _policy(self.comparison.b),
            "taxonomy": corpus.taxonomy.label,
            "weights": [it.model_dump() for it in self.comparison.weights],
            "settings": [it.model_dump() for it in self.comparison.settings],
            "scenarios": len(corpus),
            "with_defects": int((corpus.defects > 0).sum()),
            "unread": self.unread(),
            "flips": {"total": len(self), "harsher": self.harsher, "milder": self.milder},
            "decisions": {labelled: _named(self.table(labelled)) for labelled in _LABELS},
            "rates": {"a": self.rates("a").model_dump(), "b": self.rates("b").model_dump()},
            "by_weight": [it._asdict() for it in self.by_weight],
            "by_action_group": [it._asdict() for it in self.by_group],
            "by_stakeholder": [it._asdict() for it in self.by_stakeholder],
            "heaviest_action_group": [it._asdict() for it in self.heaviest_groups],
            "heaviest_stakeholder": [it._asdict() for it in self.heaviest_stakeholders],
            "by_source": [it._asdict() for it in self.by_source],
            "flipped": [_finite(flip.model_dump()) for flip in self.shown(top)],
        }

    def unread(self) -> dict[str, Any]:
        """Records that could not be read: how many, what each policy makes of them, and which."""
        decided = {which: bound.policy.on_missing for which, bound in (("a", self.comparison.a), ("b", self.comparison.b))}
        return {"total": len(self.corpus.unread), **decided, "records": [it.model_dump() for it in self.corpus.unread]}

    @cached_property
    def _movements(self) -> Movements:
        return Movements(self.corpus, self.comparison, self.flips)

    def _flip(self, i: int, parts: tuple[Part, ...], cut: _Cut | None, end: _End | None) -> Flip:
        corpus, flips = self.corpus, self.flips
        row = int(flips.rows[i])
        label = int(corpus.labels[row])
        return Flip(
            id=corpus.ids[row],
            source=corpus.sources[corpus.source[row]],
            place=corpus.place(row),
            label=1 if label == 1 else 0 if label == 0 else None,
            a=_verdict(self.before, row),
            b=_verdict(self.after, row),
            cut=cut,
            end=end,
            distance_a=None if cut is None else float(flips.distance_a[i]),
            distance_b=None if cut is None else float(flips.distance_b[i]),
            margin=None if math.isnan(flips.margin[i]) else float(flips.margin[i]),
            parts=parts,
        )


def diff(corpus: Corpus, a: BoundPolicy, b: BoundPolicy) -> PolicyDiff:
    """Decides about every scenario under two policies and finds what changes.

    Args:
        corpus: n scenarios.
        a: The policy that is.
        b: The policy that would take its place. It may have another feature space.

    Raises:
        ConfigError: A policy is bound to another taxonomy than that of the corpus.
    """
    comparison = compare(a, b)
    before, after = rescore(corpus, a), rescore(corpus, b)
    return PolicyDiff(corpus, comparison, before, after, crossings(before, after, cuts(a), cuts(b)))


def _pushing_first(parts: Mapping[str, float], toward: float) -> tuple[Part, ...]:
    moving = sorted(((name, value) for name, value in parts.items() if value), key=lambda it: -it[1] * toward)
    return tuple(Part(name=name, value=value) for name, value in moving)


def _verdict(found: Rescored, row: int) -> Verdict:
    return Verdict(
        decision=DECISIONS[found.decisions[row]],
        ground=GROUNDS[found.grounds[row]],
        interval=Interval(float(found.low[row]), float(found.high[row])),
    )


def _share(decided: Ints, least: int) -> float | None:
    """Share of scenarios with a decision at least so harsh."""
    n = int(decided.sum())
    return None if n == 0 else int(decided[least:].sum()) / n


def _policy(bound: BoundPolicy) -> dict[str, str]:
    return {"name": bound.policy.name, "version": bound.policy.version, "hash": bound.policy.hash}


def _named(table: Ints) -> dict[str, dict[str, int]]:
    rows = zip(DECISIONS, table.tolist(), strict=True)
    return {before: dict(zip(DECISIONS, row, strict=True)) for before, row in rows}


def _finite(value: Any) -> Any:
    """A value whose infinite numbers are null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
