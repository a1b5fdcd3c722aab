"""Probabilities, review bands and suggested rows, drawn in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safetyanalyst.calibration import Calibration, Reliability, ReliabilityBin
from safetyanalyst.conformal import Guarantee
from safetyanalyst.pipelines.calibrate import Banded, Calibrated
from safetyanalyst.pipelines.suggest import Suggestions
from safetyanalyst.policy import Claim, Policy
from safetyanalyst.report.terminal import plain

_WORDS = {"near_threshold": "near the threshold", "policies_disagree": "policies disagree", "informative": "informative"}


def claims(document: Policy, lapsed: Collection[Claim]) -> list[RenderableType]:
    """The calibration and the guarantee of a policy, and whether they still hold; nothing when there are none."""
    parts: list[RenderableType] = []
    if document.calibration is not None:
        parts += [Text(), _calibration(document.calibration, is_lapsed="calibration" in lapsed)]
    if document.guarantee is not None:
        parts += [Text(), _guarantee(document.guarantee, is_lapsed="guarantee" in lapsed)]
    return parts


def calibrated(result: Calibrated) -> RenderableType:
    """The reliability figures before and after, and the bins out of fold."""
    made = result.policy.calibration
    if made is None:
        return Text("not calibrated")
    left_out = f"; {made.rows_left_out} left out" if made.rows_left_out else ""
    title = f"probability of harmful: {made.curve.method}, {made.rows} rows ({made.harmful} harmful{left_out})"
    figures = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    figures.add_column("")
    for name in ("Brier", "log loss", "ECE"):
        figures.add_column(name, justify="right")
    for name, it in (("before", made.before), (f"after, {made.folds} folds", made.after)):
        figures.add_row(name, *_figures(it))
    return Group(Text(title), figures, Text("out of fold, by probability"), _bins(result.after))


def banded(result: Banded) -> RenderableType:
    """The band, what it holds, and where the labelled rows go."""
    policy = result.policy
    lines = [_band(policy)]
    lines += [f"{it.words}: {it.errors} of {it.rows} rows, bound {it.bound:.4f}" for it in result.risks]
    if policy.guarantee is None:
        lines.append("nothing is guaranteed: these rows cannot carry it")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("labelled rows")
    for decision in ("allow", "review", "block"):
        table.add_column(decision, justify="right")
    for name, shares in result.shares.items():
        table.add_row(name, *(f"{100 * share:.1f} %" for share in shares.values()))
    return Group(Text("\n".join(lines)), table)


def suggestions(found: Suggestions) -> RenderableType:
    """One row per suggestion, then the counts of what was not suggested."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", overflow="fold")
    for column in ("score", "margin", "p(harmful)", "votes"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why")
    table.add_column("decisions", overflow="fold")
    for it in found.suggestions:
        probability = "-" if it.probability is None else f"{it.probability:.3f}"
        votes = "-" if it.harmful_votes is None else f"{100 * it.harmful_votes:.0f} %"
        decided = ", ".join(f"{plain(name)}: {decision}" for name, decision in it.decisions.items())
        table.add_row(plain(it.id), f"{it.score:.3f}", f"{it.margin:+.3f}", probability, votes, _WORDS[it.reason], decided)
    lines = [f"{len(found.suggestions)} of {found.candidates} unlabelled rows; {found.labelled} have a label already"]
    if found.incomplete:
        lines.append(f"with something missing, so that a fit could not use their label: {found.incomplete}")
    if found.to_read:
        some = ", ".join(plain(it.id) for it in found.to_read[:8])
        more = f" and {len(found.to_read) - 8} more" if len(found.to_read) > 8 else ""
        lines.append(f"of those undecided, so that they need reading: {len(found.to_read)} ({some}{more})")
    return Group(table, Text("\n".join(lines)))


def _calibration(made: Calibration, *, is_lapsed: bool) -> Text:
    lines = [
        f"calibrated ({made.curve.method}) on {made.rows} rows of {plain(made.data)} ({made.harmful} harmful; "
        f"{made.rows_left_out} left out), seed {made.seed}",
        f"Brier, log loss, ECE: before {' '.join(_figures(made.before))}, after {' '.join(_figures(made.after))}",
    ]
    if made.has_labels_of_fit:
        lines.append("the weights were aligned to the same file: probabilities are surer than they should be")
    text = Text("\n".join(lines))
    changed = "\nno longer holds: weights, or the taxonomy, were changed since"
    return text.append(changed, style="bold red") if is_lapsed else text


def _guarantee(made: Guarantee, *, is_lapsed: bool) -> Text:
    lines = [f"guaranteed by conformal risk control on {plain(made.data)}:"]
    lines += [f"  {it.words} ({it.errors} of {it.rows} rows, bound {it.bound:.4f})" for it in made.risks]
    text = Text("\n".join(lines))
    changed = "\nno longer holds: weights, threshold, band, on_missing or the taxonomy were changed since"
    return text.append(changed, style="bold red") if is_lapsed else text


def _band(policy: Policy) -> str:
    band = policy.review_band
    return f"threshold {policy.threshold:g}, review from {band.below:g} below to {band.above:g} above it"


def _bins(bins: Sequence[ReliabilityBin]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("probability", "harmful", "rows"):
        table.add_column(name, justify="right")
    for it in bins:
        table.add_row(f"{it.probability:.3f}", f"{it.harmful:.3f}", str(it.rows))
    return table


def _figures(it: Reliability) -> tuple[str, ...]:
    return f"{it.brier:.4f}", f"{it.log_loss:.4f}", f"{it.ece:.4f}"
