"""An account of a decision drawn in the terminal: what it is made of, what would change it, how firm it is.

Names from scenarios and models are shown as `wording.plain_name` leaves them: a name with line ends or brackets could otherwise
wrap into a verdict of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safetyanalyst.account import Account
from safetyanalyst.counterfactual import SmallestChange
from safetyanalyst.explanation import Contribution, Grouping, Interval
from safetyanalyst.flips import WeightFlips
from safetyanalyst.policy import Decision
from safetyanalyst.report.terminal import badge, plain, signed, span
from safetyanalyst.wording import plain_name

_MOST = 6
_HEADINGS: dict[Grouping, str] = {
    "stakeholder": "by stakeholder", "action_group": "by group of harmful actions", "effect": "by effect", "step": "by step",
}  # fmt: skip
_STATUS = {
    "impossible": "No weights within range, bounds and order lead there.",
    "none_found": "No weights were found that lead there; that is no proof.",
    "already": "It is so already.",
}
_HINDERED = {
    "range": "is outside [0, 1]",
    "bounds": "is outside its floor and ceiling",
    "order": "breaks the order of its scale",
}


def draw_account(account: Account) -> RenderableType:
    """Draws one account."""
    parts: list[RenderableType] = [
        Text.assemble(badge(account.decision), f"  {plain(account.id)}", no_wrap=True, overflow="ellipsis"),
        Text(plain(account.words.paragraph)),
        Text(),
        _margin(account),
        *_made_of(account),
        *_singles(account),
        *_changes(account),
        *_effects(account),
        _stability(account),
        Text(),
        Text(account.words.judgement, style="dim"),
        Text(),
    ]
    return Group(*parts)


def account_line(account: Account) -> Text:
    """One account on one line: decision, id, score, margin, and what changes it with the fewest weights."""
    text = Text.assemble(badge(account.decision), f"  {plain(account.id)}  {span(account.explanation.interval)}")
    if account.margin is not None:
        text.append(f"  {account.margin.distance:.3f} from {account.margin.decision}")
    if account.change.sparse is not None:
        moves = "; ".join(f"{it.weight} {_short(it.before)} -> {_short(it.rounded)}" for it in account.change.sparse.changes)
        text.append(f"  {account.target} by {moves}")
    return text


def _margin(account: Account) -> Text:
    text = _heading("Margin")
    if account.margin is None:
        return text.append("\n  none: no shift of the score changes the decision", style="")
    it = account.margin
    end = "the score" if account.explanation.score is not None else f"its {'least' if it.end == 'low' else 'greatest'} value"
    text.append(f"\n  {end} lies {it.distance:.4g} from the cut {it.value:g}, beyond which it is ", style="")
    text.append_text(_decided(it.decision))
    for flip in account.threshold_flips:
        text.append(
            f"\n  with a threshold of {_digits(flip.value, account.threshold)} instead of {account.threshold:g} it is ",
            style="",
        )
        text.append_text(_decided(flip.decision))
        text.append(", which a pin forbids" if flip.hindrance == "bounds" else "", style="dim")
    return text


def _made_of(account: Account) -> Iterator[RenderableType]:
    for by, words in _HEADINGS.items():
        totals = [(name, total) for name, total in account.explanation.totals(by).items() if name and total != (0, 0)]
        if totals:
            yield Text()
            yield _heading(f"What the score is made of, {words}")
            table = _grid(right=1)
            for name, total in totals[:_MOST]:
                table.add_row(signed(total), Text(plain_name(name) or "?"))
            yield Padding(table, (0, 0, 0, 2))
            if len(totals) > _MOST:
                yield Text(f"  and {len(totals) - _MOST} more", style="dim")


def _singles(account: Account) -> Iterator[RenderableType]:
    yield Text()
    yield _heading("One weight alone")
    allowed = [it for it in account.weights if it.allowed]
    if allowed:
        table = _grid()
        for it in sorted(allowed, key=lambda it: abs(it.allowed[0].value - it.value)):
            table.add_row(Text(it.weight), Text(_short(it.value)), _flips(it))
        yield Padding(table, (0, 0, 0, 2))
    hindered = list(_hindered(account.weights))
    if hindered:
        yield Text("  Not by themselves:", style="dim")
        table = _grid()
        for weight, value, why in hindered:
            table.add_row(Text(weight, style="dim"), Text(_short(value), style="dim"), Text(why, style="dim"))
        yield Padding(table, (0, 0, 0, 2))
    never = [it.weight for it in account.weights if not it.flips and not it.chain]
    if never:
        more = f" and {len(never) - _MOST} more" if len(never) > _MOST else ""
        yield Padding(Text(f"At no value: {', '.join(never[:_MOST])}{more}", style="dim"), (0, 0, 0, 2))


def _flips(it: WeightFlips) -> Text:
    text = Text()
    for i, flip in enumerate(it.allowed):
        text.append("; " if i else "").append(
            f"{'from' if flip.value > it.value else 'down to'} {_digits(flip.value, it.value)} on: "
        )
        text.append_text(_decided(flip.decision))
        text.append(", which a pin forbids" if flip.hindrance == "bounds" else "", style="dim")
    return text


def _hindered(weights: Iterable[WeightFlips]) -> Iterator[tuple[str, float, str]]:
    for it in weights:
        if it.allowed:
            continue
        for moved in it.chain[:1]:
            others = ", ".join(name.rsplit("/", 1)[-1] for name in moved.weights if name != it.weight)
            verb = "moves" if len(moved.weights) == 2 else "move"
            yield it.weight, it.value, f"{_digits(moved.value, it.value)} {moved.decision}, if {others} {verb} there too"
        if not it.chain and it.flips:
            flip = it.flips[0]
            yield it.weight, it.value, f"{_digits(flip.value, it.value)} {flip.decision}, which {_HINDERED[flip.hindrance]}"


def _changes(account: Account) -> Iterator[RenderableType]:
    yield Text()
    yield Text.assemble(_heading("The smallest change of weights that makes it "), _decided(account.target))
    change = account.change
    if change.sparse is None or change.least_squares is None:
        yield Text(f"  {_STATUS[change.status]}")
        return
    proven = "no fewer can do it" if change.sparse.is_fewest else "fewer were not found"
    yield Text(f"  fewest weights ({proven}), {_total(change.sparse)}", style="dim")
    yield _change(change.sparse)
    if change.least_squares != change.sparse:
        yield Text(f"  least sum of squares, {_total(change.least_squares)}", style="dim")
        yield _change(change.least_squares)


def _change(change: SmallestChange) -> RenderableType:
    table = _grid()
    for it in change.changes:
        table.add_row(Text(it.weight), Text(_short(it.before)), Text(f"-> {_digits(it.after, it.before)}"))
    return Padding(table, (0, 0, 0, 2))


def _total(change: SmallestChange) -> str:
    return f"{change.l1:.3g} in all"


def _effects(account: Account) -> Iterator[RenderableType]:
    found = account.effects
    yield Text()
    yield _heading("The smallest set of effects without which it would be otherwise")
    if found.decision is None or found.interval is None:
        words = {"impossible": "No effects: it would be the same without any of them.", "already": _STATUS["already"]}
        yield Text(f"  {words.get(found.status, 'None was found; that is no proof.')}")
        return
    table = _grid(right=1)
    for it in found.effects[: 2 * _MOST]:
        table.add_row(signed(it.interval), Text(_effect(it)))
    yield Padding(table, (0, 0, 0, 2))
    if len(found.effects) > 2 * _MOST:
        yield Text(f"  and {len(found.effects) - 2 * _MOST} more", style="dim")
    yield Text.assemble(
        f"  without {_these(len(found.effects))} the score is {span(found.interval)}: ", _decided(found.decision)
    )


def _these(count: int) -> str:
    return "it" if count == 1 else f"these {count}"


def _effect(it: Contribution) -> str:
    action = it.action or plain_name(it.description) or "an action that could not be read"
    return plain(f"{it.effect or 'an unknown effect'} on {plain_name(it.stakeholder) or '?'}, by {action}")


def _stability(account: Account) -> Text:
    text = Text("\n").append_text(_heading("Stability"))
    if account.stability is None:
        return text.append("\n  not known: there are no bootstrap replicates of the policy or one that it extends", style="")
    it = account.stability
    shares = ", ".join(f"{share:.0%} {decision}" for decision, share in it.decisions.items() if share)
    whose = "the policy" if it.policy == account.policy else f"{plain(it.policy)}, which the policy extends"
    text.append(f"\n  {it.replicates} bootstrap replicates of {whose}: {shares}", style="")
    return text.append(f"\n  {it.level:.0%} of their scores lie {_among(it.interval)}", style="")


def _among(interval: Interval) -> str:
    return f"at {span(interval)}" if interval.low == interval.high else span(interval)


def _grid(right: int = 0) -> Table:
    """A table of up to three columns, a little to the right of its heading."""
    table = Table.grid(padding=(0, 0, 0, 2))
    for i in range(3):
        table.add_column(justify="right" if i < right else "left", overflow="fold", min_width=7 if i < right else None)
    return table


def _heading(words: str) -> Text:
    return Text(words, style="bold")


def _decided(decision: Decision) -> Text:
    return Text(decision, style={"allow": "green", "review": "yellow", "block": "red"}[decision])


def _short(value: float) -> str:
    return f"{value:.4g}"


def _digits(value: float, start: float) -> str:
    """Six decimals, rounded away from where a change starts: what is shown goes far enough. JSON has the exact value."""
    away = math.ceil if value > start else math.floor
    return f"{away(value * 1e6) / 1e6:.6g}"
