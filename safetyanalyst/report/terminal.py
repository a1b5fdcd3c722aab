"""An analysis drawn in the terminal: decision, score against threshold, both trees with what each effect contributes.

Everything that comes from scenarios or models is hostile: it is shown as plain text, with control characters made visible, and
never read as markup.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Drawing

from safetyanalyst.analyst import Analysis, FailedItem
from safetyanalyst.cascade import PassedOn
from safetyanalyst.explanation import Contribution, Interval, add_up
from safetyanalyst.policy import Policy
from safetyanalyst.trees import TREE_KINDS, Defect, TreeKind

_STYLES = {"allow": "bold green", "review": "bold yellow", "block": "bold red"}
_DECIDED = {"allow": "ALLOW", "review": "REVIEW", "block": "BLOCK"}
_HEADINGS = {"harm": "Harm tree", "benefit": "Benefit tree"}
_KIND_STYLES = {"harm": "red", "benefit": "green"}
_MAX_DEFECTS = 8


def draw(result: Analysis | FailedItem, policy: Policy, text: str = "") -> RenderableType:
    """Draws one result.

    Args:
        result: An analysis, or an item that could not be read.
        policy: The policy that decided: for threshold and review band.
        text: What was analysed, shown shortened.
    """
    if isinstance(result, FailedItem):
        where = f"{plain(result.id)}" if result.line is None else f"{plain(result.id)}, line {result.line}"
        return Text.assemble(badge(result.decision), f"  {where} could not be read: {plain(result.error)}\n")
    parts: list[RenderableType] = [_headline(result, policy)]
    if text:
        parts.append(Text(f"{result.type}: {shorten(text, 160)}", style="dim"))
    parts += [Text(), *(_tree(result, kind) for kind in TREE_KINDS if kind in _counted(policy))]
    if result.contributions:
        parts += [Text(), _strongest(result)]
    if result.defects:
        parts += [Text(), _defects(result.defects)]
    parts.append(Text())
    return Group(*parts)


def line(result: Analysis | FailedItem) -> Text:
    """One result on one line."""
    if isinstance(result, FailedItem):
        return Text.assemble(badge(result.decision), f"  {plain(result.id)}  not read: {plain(result.error)}")
    return Text.assemble(badge(result.decision), f"  {plain(result.id)}  {span(result.interval)}")


def summary(counts: dict[str, int], failed: int) -> str:
    """How many were allowed, sent to review, blocked, and not read."""
    total = sum(counts.values())
    return (
        f"{total} scenarios: {counts['allow']} allow, {counts['review']} review, {counts['block']} block"
        f" ({failed} of them could not be analysed)"
    )


def cascade(found: PassedOn) -> str:
    """How many scenarios a cascade has passed on, and how many of them the second stage did not answer."""
    share = "" if found.share is None else f" ({found.share:.1%})"
    kept = f"; {found.kept} of them kept the first analysis, because the second stage failed" if found.kept else ""
    return f"cascade: {found.passed_on} of {found.scenarios} scenarios passed on to the second stage{share}{kept}"


def plain(text: str) -> str:
    """Text that cannot steer a terminal: control, format and surrogate characters become visible escapes."""
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else _escaped(c) for c in text)


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line_ = plain(" ".join(text[: 4 * width].split()))
    return line_ if len(line_) <= width else line_[: width - 1] + "…"


def console() -> Console:
    """Standard output: colours on a terminal, plain text elsewhere, never wider than is read with ease."""
    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal:
        return Console(highlight=False, markup=False, emoji=False, width=110, no_color=True)
    return out if out.width <= 120 else Console(highlight=False, markup=False, emoji=False, width=120)


def _escaped(c: str) -> str:
    return " " if c in "\n\t\r" else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def badge(decision: str) -> Text:
    """A decision as it stands before a headline."""
    return Text(f" {_DECIDED[decision]} ", style=f"{_STYLES[decision]} reverse")


def _headline(result: Analysis, policy: Policy) -> Text:
    score = f"score {span(result.interval)}"
    reasons = {
        "score_above_threshold": f"{score} is above the threshold {policy.threshold:g}",
        "score_not_above_threshold": f"{score} is not above the threshold {policy.threshold:g}",
        "score_in_review_band": f"{score} is within the review band around the threshold {policy.threshold:g}",
        "something_is_missing": f"{score}: what is missing could change the decision",
    }
    band = policy.review_band
    if band.above and result.decision == "block":
        reasons["score_above_threshold"] += f" and its review band (+{band.above:g})"
    if band.below and result.decision == "allow":
        reasons["score_not_above_threshold"] += f", nor in its review band (-{band.below:g})"
    reason = reasons[result.ground]
    if result.probability is not None:
        ends = " to ".join(dict.fromkeys(f"{end:.2f}" for end in result.probability))
        reason += f"; probability of harmful {ends}"
    return Text.assemble(badge(result.decision), f"  {reason}", (f"  [{plain(policy.name)}]", "dim"))


def _tree(result: Analysis, kind: TreeKind) -> RenderableType:
    tree = result.trees.harm if kind == "harm" else result.trees.benefit
    mine = [c for c in result.contributions if c.kind == kind]
    heading = Text.assemble((_HEADINGS[kind], f"bold {_KIND_STYLES[kind]}"))
    if tree is None:
        return Text.assemble(heading, "  is missing: nothing can be said about it")
    total = add_up(c.interval for c in mine)
    heading.append(f"  {signed(total)}")
    if tree.lost:
        heading.append(f"  and {tree.lost} part{'s' * (tree.lost > 1)} that could not be read", style="yellow")
    drawing = Drawing(heading, guide_style="dim")
    if not tree.stakeholders:
        drawing.add(Text("nobody named", style="dim"))
    at = iter(mine)
    for stakeholder in tree.stakeholders:
        node = drawing.add(Text(plain(stakeholder.name), style="bold"))
        for action in stakeholder.actions:
            leaf = node.add(_action_text(action.action, action.description, action.evidence))
            leaf.add(_effects([next(at) for _ in action.effects]))
    return drawing


def _action_text(action: str | None, description: str, evidence: tuple[int, ...]) -> Text:
    text = Text(plain(action) if action else "an action that could not be read" if not description else "")
    if description:
        text.append(f"{': ' if action else ''}{plain(description)}", style="italic")
    if evidence:
        text.append(f"  step{'s' * (len(evidence) > 1)} {', '.join(map(str, evidence))}", style="cyan")
    return text


def _effects(contributions: list[Contribution]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=7, justify="right")
    table.add_column()
    table.add_column(style="dim")
    for c in contributions:
        how = ", ".join(word or "?" for word in (c.immediacy, c.extent, c.likelihood and f"{c.likelihood} likelihood"))
        style = "dim" if c.interval == (0, 0) else _KIND_STYLES[c.kind]
        table.add_row(Text(signed(c.interval), style=style), Text(plain(c.effect or "?")), Text(plain(how)))
    return table


def _strongest(result: Analysis) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=7, justify="right")
    table.add_column()
    for c in result_strongest(result.explanation.strongest()):
        what = f"{c.effect or 'an unknown effect'} on {c.stakeholder}, by {c.action or c.description or '?'}"
        table.add_row(Text(signed(c.interval), style=_KIND_STYLES[c.kind]), Text(plain(what)))
    return Group(Text("What weighs most", style="bold"), table)


def result_strongest(contributions: Iterable[Contribution], most: int = 3) -> Iterator[Contribution]:
    """The few contributions that are not nothing."""
    moving = (c for c in contributions if c.interval != (0, 0))
    for c, _ in zip(moving, range(most), strict=False):
        yield c


def _defects(defects: tuple[Defect, ...]) -> Text:
    text = Text(f"Defects ({len(defects)})", style="bold yellow")
    for defect in defects[:_MAX_DEFECTS]:
        text.append(f"\n  {defect.code} at {plain(defect.path)}", style="yellow")
        text.append(f": {shorten(defect.found, 80)}" if defect.found else "", style="default")
    if len(defects) > _MAX_DEFECTS:
        text.append(f"\n  and {len(defects) - _MAX_DEFECTS} more", style="yellow")
    return text


def _counted(policy: Policy) -> tuple[TreeKind, ...]:
    return policy.space.kinds


def span(interval: Interval) -> str:
    """A score, or what it lies between."""
    if interval.low == interval.high:
        return f"{interval.low:.3f}"
    low = f"{interval.low:.3f}" if math.isfinite(interval.low) else "unbounded below"
    high = f"{interval.high:.3f}" if math.isfinite(interval.high) else "unbounded above"
    return f"between {low} and {high}"


def signed(interval: Interval) -> str:
    """A contribution with its sign."""
    if interval.low == interval.high:
        return f"{interval.low:+.3f}"
    return f"{interval.low:+.3f}..{interval.high:+.3f}"
