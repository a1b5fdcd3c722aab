"""The difference of two policies drawn in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safetyanalyst.comparison import Value
from safetyanalyst.pipelines.diff import Flip, PolicyDiff, Rates
from safetyanalyst.pipelines.movement import Heaviest, Tally
from safetyanalyst.pipelines.rescoring import DECISIONS
from safetyanalyst.report.terminal import plain, shorten

_STYLES = {"allow": "green", "review": "yellow", "block": "red"}
_MOST_ROWS = 8
_MOST_PARTS = 3
_LABELS = {1: "harmful", 0: "harmless", None: ""}


def draw(found: PolicyDiff, *, top: int) -> RenderableType:
    """Draws everything that changes.

    Args:
        found: The difference.
        top: How many flipped scenarios to list.
    """
    parts: list[RenderableType] = [headline(found), Text(), _decisions(found)]
    if found.corpus.labels.max(initial=-1) >= 0:
        parts += [Text(), _rates(found)]
    parts += [Text(), _differences(found)]
    if len(found):
        parts += [Text(), _tallies("By what differs", found.by_weight)]
        parts += [Text(), _tallies("By action group", found.by_group)]
        parts += [Text(), _tallies("By stakeholder", found.by_stakeholder)]
        parts += [Text(), _heaviest("Most harm, by action group", found.heaviest_groups)]
        parts += [Text(), _heaviest("Most harm, by stakeholder", found.heaviest_stakeholders)]
    parts += [Text(), _sources(found)]
    if len(found) and top:
        parts += [Text(), _flips(found, top)]
    return Group(*parts)


def headline(found: PolicyDiff) -> Text:
    """What changes, in one sentence."""
    a, b = found.comparison.a.policy, found.comparison.b.policy
    n, flips = len(found.corpus), len(found)
    text = Text.assemble((plain(a.name), "bold"), " -> ", (plain(b.name), "bold"), f": {sentence(n, flips)}")
    text.append(f", {found.harsher} harsher, {found.milder} milder")
    if found.corpus.unread:
        unread = found.unread()
        records = "record" if unread["total"] == 1 else "records"
        text.append(f"; {unread['total']} {records} could not be read ({unread['a']} -> {unread['b']})", style="yellow")
    return text


def sentence(n: int, flips: int) -> str:
    """How many of how many decisions change."""
    share = f" ({flips / n:.1%})" if n else ""
    return f"{flips} of {n} decisions change{share}"


def number(value: Value) -> str:
    """A weight, or a setting."""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def reasons(flip: Flip, most: int) -> str:
    """The parts that pushed a flip most, in words."""
    if flip.cut is None:
        return "on_missing alone"
    toward = 1.0 if flip.distance_b is not None and flip.distance_b > 0 else -1.0
    pushing = [part for part in flip.parts if part.value * toward > 0]
    words = [f"{plain(part.name)} {signed(part.value)}" for part in pushing[:most]]
    more = len(pushing) - most
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def signed(value: float) -> str:
    """A part of a change; infinite where a bound came or went."""
    return f"{value:+.3f}" if math.isfinite(value) else "without bound"


def span(flip: Flip, which: str) -> str:
    """The score under one policy, or its range."""
    low, high = (flip.a if which == "a" else flip.b).interval
    if low == high:
        return f"{low:.3f}"
    return f"{f'{low:.3f}' if math.isfinite(low) else '-∞'}..{f'{high:.3f}' if math.isfinite(high) else '∞'}"


def tail(rows: Sequence[object], most: int) -> str:
    """How many rows are not shown."""
    return f"and {len(rows) - most} more" if len(rows) > most else ""


def rate_rows(a: Rates, b: Rates) -> list[tuple[str, str, str]]:
    """Name of a rate, and its value under each policy."""
    names = {
        "recall": "harmful, not allowed", "false_positive_rate": "harmless, not allowed",
        "blocked_recall": "harmful, blocked", "blocked_false_positive_rate": "harmless, blocked",
    }  # fmt: skip
    return [(words, _rate(getattr(a, name)), _rate(getattr(b, name))) for name, words in names.items()]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(title: str, first: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _differences(found: PolicyDiff) -> RenderableType:
    comparison = found.comparison
    changes = [*comparison.settings, *comparison.weights]
    if not changes:
        return Text("The policies decide by the same weights and settings.")
    table = _table("What differs", "", (shorten(comparison.a.policy.name, 20), shorten(comparison.b.policy.name, 20)))
    for change in changes:
        table.add_row(plain(change.name), number(change.a), number(change.b))
    return table


def _decisions(found: PolicyDiff) -> RenderableType:
    table = _table("Decisions", "before", [f"{decision} after" for decision in DECISIONS])
    for i, (decision, row) in enumerate(zip(DECISIONS, found.table().tolist(), strict=True)):
        cells = [Text(str(n), style="dim" if i == j or not n else _STYLES[DECISIONS[j]]) for j, n in enumerate(row)]
        table.add_row(Text(decision, style=_STYLES[decision]), *cells)
    return table


def _rates(found: PolicyDiff) -> RenderableType:
    harmful, harmless = (int(found.table(label).sum()) for label in ("harmful", "harmless"))
    table = _table(f"Labels ({harmful} harmful, {harmless} harmless)", "", ("before", "after"))
    for row in rate_rows(found.rates("a"), found.rates("b")):
        table.add_row(*row)
    return table


def _tallies(title: str, tallies: Sequence[Tally]) -> RenderableType:
    table = _table(title, "", ("led, harsher", "led, milder", "moved"))
    for it in tallies[:_MOST_ROWS]:
        table.add_row(shorten(it.name, 60) or '""', str(it.harsher), str(it.milder), str(it.moved))
    if len(tallies) > _MOST_ROWS:
        table.add_row(Text(tail(tallies, _MOST_ROWS), style="dim"))
    return table


def _heaviest(title: str, rows: Sequence[Heaviest]) -> RenderableType:
    table = _table(title, "", ("harsher", "milder"))
    for it in rows[:_MOST_ROWS]:
        table.add_row(shorten(it.name, 60) or '""', str(it.harsher), str(it.milder))
    if len(rows) > _MOST_ROWS:
        table.add_row(Text(tail(rows, _MOST_ROWS), style="dim"))
    return table


def _sources(found: PolicyDiff) -> RenderableType:
    table = _table("By source", "", ("scenarios", "harsher", "milder"))
    rows = sorted(found.by_source, key=lambda it: -it.harsher - it.milder)
    for it in rows[: 2 * _MOST_ROWS]:
        table.add_row(shorten(it.name, 60), str(it.n), str(it.harsher), str(it.milder))
    if len(rows) > 2 * _MOST_ROWS:
        table.add_row(Text(tail(rows, 2 * _MOST_ROWS), style="dim"))
    return table


def _flips(found: PolicyDiff, top: int) -> RenderableType:
    title = f"Flipped scenarios, widest margin first ({min(top, len(found))} of {len(found)})"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("margin", justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    table.add_column("scenario", overflow="fold", ratio=2)
    table.add_column("score", no_wrap=True)
    table.add_column("what did it", overflow="fold", ratio=3)
    for flip in found.shown(top):
        decision = Text.assemble(*_arrow(flip))
        label = _LABELS[flip.label]
        where = Text.assemble(shorten(flip.id, 60), (f"\n{shorten(flip.source, 40)}{f', {label}' if label else ''}", "dim"))
        margin = "-" if flip.margin is None else f"{flip.margin:.3f}"
        table.add_row(margin, decision, where, f"{span(flip, 'a')}\n{span(flip, 'b')}", reasons(flip, _MOST_PARTS))
    return table


def _arrow(flip: Flip) -> list[tuple[str, str]]:
    return [(flip.a.decision, _STYLES[flip.a.decision]), ("\n-> ", ""), (flip.b.decision, _STYLES[flip.b.decision])]
