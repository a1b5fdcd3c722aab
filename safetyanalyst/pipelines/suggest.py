"""Which unlabelled trees are worth a label: those nearest the threshold, or on which policies disagree, none twice over.

A label tells a fit most where the policy is least sure (uncertainty sampling, Lewis and Gale 1994), or where several policies
that the labels so far allow differ (query by committee, Seung, Opper and Sompolinsky 1992). The committee are the given
policies, or the bootstrap replicates of one. "information" (`information.most_informative`) weighs instead how much surer a
label would make the scores of the whole corpus. Which of them pays when is measured in docs/decisions/0013-calibration.md.

A row in which something is missing is never suggested: a fit leaves it out, so its label would be lost. Those that a policy
cannot decide for what is missing are named apart: they need reading, not a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines.calibrate import SUGGESTED
from safetyanalyst.pipelines.information import most_informative
from safetyanalyst.pipelines.parquet import is_parquet, lines_of
from safetyanalyst.pipelines.pool import Pool, Row
from safetyanalyst.policy import BoundPolicy, Decision
from safetyanalyst.records import Record
from safetyanalyst.weights import Floats, Ints

By = Literal["margin", "disagreement", "both", "information"]
Reason = Literal["near_threshold", "policies_disagree", "informative"]
Spread = Literal["useful", "diverse"]
_POOL = 1000  # rows that a diverse choice looks at, at least; 20 for each row that is wanted, where that is more
_DUPLICATE = 1e-9  # distance of duplicates: they come last, the more useful ones first


class Suggestion(Record):
    """A row whose label would tell much.

    Attributes:
        id: Of the row, or its place.
        file: Where it stands.
        line: From 1.
        reason: Which of the two spoke more for it.
        score: Under the first policy, likewise `margin` (score - threshold).
        probability: Of "harmful", where the first policy is calibrated.
        distance: From the threshold: in probability where the first policy is calibrated, else in units of the score.
        harmful_votes: Share of the committee that scores it above the threshold; `None` without a committee.
        decisions: By each policy.
    """

    id: str
    file: Path
    line: int
    reason: Reason
    score: float
    margin: float
    probability: float | None
    distance: float
    harmful_votes: float | None
    decisions: dict[str, Decision]


class Unread(Record):
    """A row that a policy cannot decide because something in it is missing."""

    id: str
    file: Path
    line: int
    decisions: dict[str, Decision]


class Suggestions(Record):
    """The rows to label, most telling first, and what else was there.

    Attributes:
        suggestions: At most as many as were asked for.
        to_read: Rows that need reading rather than a label.
        candidates: Unlabelled rows with nothing missing: what the suggestions were chosen from.
        incomplete: Unlabelled rows in which something is missing.
        labelled: Rows that have a label already.
        unreadable: Rows that could not be read.
    """

    suggestions: tuple[Suggestion, ...]
    to_read: tuple[Unread, ...]
    candidates: int
    incomplete: int
    labelled: int
    unreadable: int


def suggest(
    pool: Pool, policies: dict[str, BoundPolicy], n: int, *, by: By = "margin", spread: Spread = "useful"
) -> Suggestions:
    """Chooses the rows whose labels would tell most.

    Usefulness is a rank among the candidates, from 1 for the most useful down to almost 0, so that margins and disagreement of
    any scale can be put together: "both" is the mean of the two. "diverse" takes one row after the other, each time the one of
    the greatest usefulness x distance to the nearest row that was taken or has a label; the distance is 1 - cosine between
    counts of cells, 0 for a duplicate.

    Args:
        pool: Read with the same policies.
        policies: By name; the first is the one whose weights are to learn.
        n: How many rows.
        by: What makes a row useful.
        spread: The most useful rows, or such that differ from each other as well ("information" sees to that by itself).

    Raises:
        ConfigError: Disagreement is asked for without a committee.
    """
    if by in ("disagreement", "both") and pool.members < 2:
        problem = "a single policy cannot disagree with itself"
        raise ConfigError(problem, key="by", expected="a second policy, or one that was aligned with a bootstrap")
    first = next(iter(policies.values()))
    margin = pool.low[0] - first.policy.threshold
    distance = _distances(pool, first)
    found = [
        Suggestion(
            **pool.rows[i]._asdict(),
            reason=reason,
            score=float(pool.low[0, i]),
            margin=float(margin[i]),
            probability=None if first.calibration is None else float(first.calibration.probabilities(pool.low[0, i])),
            distance=float(distance[i]),
            harmful_votes=float(pool.above[i]) if pool.members > 1 else None,
            decisions=_decided(pool, policies, i).decisions,
        )
        for i, reason in _chosen(pool, first, n, by, spread, np.abs(margin), distance)
    ]
    return Suggestions(
        suggestions=tuple(found),
        to_read=_to_read(pool, policies),
        candidates=int(pool.is_complete.sum()),
        incomplete=int((~pool.is_complete).sum()),
        labelled=pool.n_labelled,
        unreadable=len(pool.failures),
    )


class _Choice(NamedTuple):
    row: int
    reason: Reason


def _chosen(
    pool: Pool, first: BoundPolicy, n: int, by: By, spread: Spread, margin: Floats, distance: Floats
) -> list[_Choice]:  # fmt: skip
    rows = np.flatnonzero(pool.is_complete)
    if by == "information":
        return [_Choice(i, "informative") for i in most_informative(pool, first, rows, n).tolist()]
    by_margin = _usefulness(distance[rows], margin[rows])
    by_votes = _usefulness(-np.minimum(pool.above, 1.0 - pool.above)[rows].round(12), pool.certainty[rows])
    parts = {"margin": [by_margin], "disagreement": [by_votes], "both": [by_margin, by_votes]}[by]
    usefulness = np.mean(parts, axis=0)
    order = np.argsort(-usefulness, kind="stable")
    chosen = _diverse(pool, rows[order], usefulness[order], n) if spread == "diverse" else rows[order[:n]]
    is_vote = by_votes > by_margin if by == "both" else np.full(len(rows), by == "disagreement")
    reasons = dict(zip(rows.tolist(), is_vote.tolist(), strict=True))
    return [_Choice(i, "policies_disagree" if reasons[i] else "near_threshold") for i in chosen.tolist()]


def rows_to_label(found: Suggestions) -> list[str]:
    """The suggested rows as lines of JSON, in order, ready for a label: `"label": null` is put first, and nothing else is lost.

    A row without an id gets the one it is called by here, because its place is another now. The key `suggested` marks that the
    row was chosen: chosen rows cannot carry a guarantee (`calibrate.control`).
    """
    wanted = {(it.file, it.line): it for it in found.suggestions}
    lines: dict[Row, str] = {}
    for path in {it.file: None for it in found.suggestions}:
        for number, line in _lines(path, {number for file, number in wanted if file == path}):
            it = wanted[path, number]
            lines[Row(it.id, path, number)] = _ready(line, it)
    return [lines[Row(it.id, it.file, it.line)] for it in found.suggestions]


def _lines(path: Path, numbers: set[int]) -> Iterator[tuple[int, bytes]]:
    if is_parquet(path):
        yield from lines_of(path, numbers)
        return
    with path.open("rb") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if number in numbers)


def _ready(line: bytes, suggestion: Suggestion) -> str:
    text = line.decode("utf-8-sig").strip()
    value = parsing.loads(text).value
    new = {"label": None, SUGGESTED: suggestion.reason, "id": suggestion.id}
    if not isinstance(value, dict):  # a list of stakeholders stands alone in its line
        return f'{json.dumps(new)[:-1]}, "tree": {text}}}'
    front = json.dumps({key: it for key, it in new.items() if key not in value})[1:-1]
    return f"{{{front}, {text[1:].lstrip()}" if front else text


def _distances(pool: Pool, bound: BoundPolicy) -> Floats:
    """Distance of each row from the threshold: in probability where the policy is calibrated, else in score, (n,)."""
    scores, threshold = pool.low[0], bound.policy.threshold
    if bound.calibration is None:
        distance: Floats = np.abs(scores - threshold)
        return distance
    return np.abs(bound.calibration.probabilities(scores) - bound.calibration.probabilities(threshold))


def _usefulness(first: Floats, then: Floats) -> Floats:
    """Ranks as numbers from 1 for the least down to almost 0, (n,); ties by the second, then by place."""
    usefulness = np.empty(len(first))
    usefulness[np.lexsort((then, first))] = 1.0 - np.arange(len(first)) / max(1, len(first))
    return usefulness


def _diverse(pool: Pool, rows: Ints, usefulness: Floats, n: int) -> Ints:
    """Greedy choice of n rows, the most useful first; `rows` come in order of usefulness."""
    rows = rows[: max(_POOL, 20 * n)]
    unit = _unit(pool.counts[rows])
    nearest = np.ones(len(rows))
    for start in range(0, pool.labelled.shape[0], _POOL):  # in pieces: there may be many
        nearest = np.minimum(nearest, 1.0 - (unit @ _unit(pool.labelled[start : start + _POOL]).T).max(axis=1))
    gain = usefulness[: len(rows)].copy()
    chosen: list[int] = []
    for _ in range(min(n, len(rows))):
        best = int(np.argmax(gain * np.maximum(nearest, _DUPLICATE)))
        chosen.append(best)
        gain[best] = 0.0
        nearest = np.minimum(nearest, 1.0 - unit @ unit[best])
    return rows[chosen]


def _unit(counts: Any) -> Floats:
    """Counts of cells as vectors of length 1, (n, cells + 1); the last column is for rows without effects, which are alike."""
    dense: Floats = counts.toarray()
    dense = np.column_stack((dense, ~dense.any(axis=1)))
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    return dense


class _Decided(NamedTuple):
    decisions: dict[str, Decision]
    is_missing: bool


def _decided(pool: Pool, policies: dict[str, BoundPolicy], i: int) -> _Decided:
    made = {
        name: bound.decide(float(pool.low[p, i]), float(pool.high[p, i])) for p, (name, bound) in enumerate(policies.items())
    }
    grounds = {ground for _, ground in made.values()}
    return _Decided({name: decision for name, (decision, _) in made.items()}, "something_is_missing" in grounds)


def _to_read(pool: Pool, policies: dict[str, BoundPolicy]) -> tuple[Unread, ...]:
    made = ((pool.rows[i], _decided(pool, policies, i)) for i in np.flatnonzero(~pool.is_complete).tolist())
    return tuple(Unread(**row._asdict(), decisions=it.decisions) for row, it in made if it.is_missing)
