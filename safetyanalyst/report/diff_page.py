"""The difference of two policies as one static page: no script, nothing loaded, everything that comes from files escaped.

The page is built as a tree of elements and written by one function that escapes all text and all attributes, so that there is
no place where escaping could be forgotten. Its content-security policy allows the one style sheet, by hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from safetyanalyst.pipelines.diff import Flip, PolicyDiff
from safetyanalyst.pipelines.movement import Tally
from safetyanalyst.pipelines.rescoring import DECISIONS
from safetyanalyst.report.diff import number, rate_rows, reasons, sentence, signed, span, tail
from safetyanalyst.report.terminal import plain, shorten

_MOST_ROWS = 30
_LABELS = {1: "harmful", 0: "harmless", None: ""}
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--ground:#fff;--line:#d0d7de;--raised:#f6f8fa;
--allow:#1a7f37;--review:#9a6700;--block:#c81e1e}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--ground:#0d1117;--line:#30363d;--raised:#161b22;
--allow:#56d364;--review:#e3b341;--block:#ff7b72}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;color:var(--ink);background:var(--ground);
font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.125rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.25rem 0 .25rem}
p{margin:.25rem 0}.soft{color:var(--soft)}code{font-size:.875em;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.375rem .75rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
thead th{background:var(--raised);font-weight:600;white-space:nowrap}
tbody th{font-weight:400;min-width:9rem}td.text{min-width:14rem}
.n{text-align:right;white-space:nowrap}
.allow,.review,.block{white-space:nowrap}
.allow{color:var(--allow)}.review{color:var(--review)}.block{color:var(--block)}
.same{color:var(--soft)}
ul{margin:0;padding-left:1.125rem}
"""


class Markup(str):
    """Text that is markup already; only `_tag` makes it."""

    __slots__ = ()


def page(found: PolicyDiff, *, top: int) -> str:
    """The whole page.

    Args:
        found: The difference.
        top: How many flipped scenarios to list.
    """
    a, b = found.comparison.a.policy, found.comparison.b.policy
    title = f"{plain(a.name)} to {plain(b.name)}"
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("meta", name="referrer", content="no-referrer"),
        _tag("title", f"Policy diff: {title}"),
        Markup(f"<style>{_STYLE}</style>"),
    )
    sections = [*_sections(found), _flips(found, top), *_unread(found)]
    body = _tag("body", _tag("header", *_header(found, title)), _tag("main", *sections))
    return f"<!DOCTYPE html>\n{_tag('html', head, body, lang='en')}\n"


def _header(found: PolicyDiff, title: str) -> Iterable[Markup]:
    yield _tag("h1", f"Policy diff: {title}")
    counts = f"{sentence(len(found.corpus), len(found))}: {found.harsher} harsher, {found.milder} milder."
    yield _tag("p", counts)
    for letter, bound in (("before", found.comparison.a), ("after", found.comparison.b)):
        policy = bound.policy
        name = f"{letter}: {plain(policy.name)} version {plain(policy.version)}, hash "
        yield _tag("p", name, _tag("code", policy.hash), **{"class": "soft"})
    yield _tag("p", f"trees in {found.corpus.taxonomy.label}", **{"class": "soft"})


def _sections(found: PolicyDiff) -> Iterable[Markup]:
    changes = [*found.comparison.settings, *found.comparison.weights]
    rows = [[plain(it.name), number(it.a), number(it.b)] for it in changes]
    yield _section("What differs", ["", "before", "after"], rows)
    yield _decisions(found)
    if found.corpus.labels.max(initial=-1) >= 0:
        rates = [list(row) for row in rate_rows(found.rates("a"), found.rates("b"))]
        yield _section("Against the labels", ["", "before", "after"], rates)
    led = "A part leads a flip when, of all parts, it moved the score most towards the new decision."
    yield _tag("h2", "What moved the flips")
    yield _tag("p", led, **{"class": "soft"})
    tallies = (
        ("By what differs", found.by_weight), ("By action group", found.by_group), ("By stakeholder", found.by_stakeholder)
    )  # fmt: skip
    for title, it in tallies:
        yield _tallies(title, it)
    yield _tag("h2", "What the flips are about")
    yield _tag("p", "Where most of the harm in a flipped scenario is, whatever moved it.", **{"class": "soft"})
    for title, heaviest in (
        ("Most harm, by action group", found.heaviest_groups), ("Most harm, by stakeholder", found.heaviest_stakeholders)
    ):  # fmt: skip
        counts: list[list[object]] = [[shorten(it.name, 120) or '""', it.harsher, it.milder] for it in heaviest[:_MOST_ROWS]]
        yield _section(title, ["", "harsher", "milder"], counts, tail(heaviest, _MOST_ROWS), heading="h3")
    sources = sorted(found.by_source, key=lambda it: -it.harsher - it.milder)
    yield _section(
        "By source", ["", "scenarios", "harsher", "milder"], [[plain(it.name), it.n, it.harsher, it.milder] for it in sources]
    )


def _decisions(found: PolicyDiff) -> Markup:
    head = _tag("tr", _cell("th", ""), *(_cell("th", f"{decision} after", "n") for decision in DECISIONS))
    rows = []
    for i, (decision, counts) in enumerate(zip(DECISIONS, found.table().tolist(), strict=True)):
        cells = [_cell("td", str(n), f"n {'same' if i == j or not n else DECISIONS[j]}") for j, n in enumerate(counts)]
        rows.append(_tag("tr", _tag("th", f"{decision} before", scope="row", **{"class": decision}), *cells))
    table = _tag("table", _tag("thead", head), _tag("tbody", *rows))
    return _tag("section", _tag("h2", "Decisions"), _wide("Decisions", table))


def _tallies(title: str, tallies: Sequence[Tally]) -> Markup:
    rows: list[list[object]] = [
        [shorten(it.name, 120) or '""', it.harsher, it.milder, it.moved] for it in tallies[:_MOST_ROWS]
    ]  # fmt: skip
    return _section(title, ["", "led, harsher", "led, milder", "moved"], rows, tail(tallies, _MOST_ROWS), heading="h3")


def _flips(found: PolicyDiff, top: int) -> Markup:
    columns = ("margin", "before", "after", "scenario", "score before", "score after", "what did it")
    head = _tag("tr", *(_cell("th", column) for column in columns))
    rows = [_flip(flip) for flip in found.shown(top)]
    title = f"Flipped scenarios, widest margin first ({len(rows)} of {len(found)})"
    table = _tag("table", _tag("thead", head), _tag("tbody", *rows))
    return _tag("section", _tag("h2", title), _wide(title, table))


def _flip(flip: Flip) -> Markup:
    about = ", ".join(filter(None, (plain(flip.source), plain(flip.place), _LABELS[flip.label])))
    parts = [_tag("li", _tag("code", plain(part.name)), f" {signed(part.value)}") for part in flip.parts]
    why = _tag("ul", *parts) if parts else Markup(escape(reasons(flip, 1)))
    return _tag(
        "tr",
        _cell("td", "-" if flip.margin is None else f"{flip.margin:.4f}", "n"),
        _cell("td", flip.a.decision, flip.a.decision),
        _cell("td", flip.b.decision, flip.b.decision),
        _tag("td", plain(flip.id), _tag("div", about, **{"class": "soft"}), **{"class": "text"}),
        _cell("td", span(flip, "a"), "n"),
        _cell("td", span(flip, "b"), "n"),
        _tag("td", why, **{"class": "text"}),
    )


def _unread(found: PolicyDiff) -> Iterable[Markup]:
    if found.corpus.unread:
        rows = [[f"{plain(it.source)}:{it.line}", plain(it.id), plain(it.error)] for it in found.corpus.unread]
        title = f"Records that could not be read ({len(rows)})"
        yield _section(title, ["place", "id", "error"], rows[:_MOST_ROWS], tail(rows, _MOST_ROWS))


def _section(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = "", heading: str = "h2"
) -> Markup:
    if not rows:
        return _tag("section", _tag(heading, title), _tag("p", "nothing", **{"class": "soft"}))
    head = _tag("tr", *(_cell("th", column, "n" if i else "") for i, column in enumerate(columns)))
    body = [
        _tag("tr", _tag("th", str(row[0]), scope="row"), *(_cell("td", str(cell), _align(cell)) for cell in row[1:]))
        for row in rows
    ]
    table = _tag("table", _tag("thead", head), _tag("tbody", *body))
    notes = [_tag("p", note, **{"class": "soft"})] if note else []
    return _tag("section", _tag(heading, title), _wide(title, table), *notes)


def _wide(title: str, table: Markup) -> Markup:
    """A table in a box that scrolls by itself, with the keyboard too."""
    return _tag("div", table, role="region", tabindex="0", **{"class": "wide", "aria-label": title})


def _align(cell: object) -> str:
    return "n" if isinstance(cell, int) or str(cell)[:1] in "+-0123456789" else ""


def _cell(name: str, text: str, style: str = "") -> Markup:
    attributes = {"scope": "col"} if name == "th" else {}
    return _tag(name, text, **attributes, **({"class": style} if style else {}))


def _tag(name: str, /, *children: str, **attributes: str) -> Markup:
    """An element; text and attributes are escaped here, and nowhere else."""
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    if name == "meta":
        return Markup(f"<{name}{written}>")
    inner = "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")
