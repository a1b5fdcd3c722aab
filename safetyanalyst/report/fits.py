"""What a fit says of itself, drawn in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.fit_facts import CrossValidation, FitFacts, FoldScores
from safetyanalyst.identification import Identification
from safetyanalyst.pipelines.align_communities import CommunityReport
from safetyanalyst.pipelines.communities import MIN_DRAWS, Community
from safetyanalyst.report.terminal import plain

_SHOWN = 5  # differences per community that are not clear


def facts(fit: FitFacts, space: FeatureSpaceSpec) -> RenderableType:
    """The facts of a fit, in the order in which a reviewer asks for them."""
    parts: list[RenderableType] = [Text("\n".join(_lines(fit, space)))]
    if fit.validation is not None:
        parts += [Text(), _folds(fit.validation)]
    if fit.bootstrap is not None:
        parts += [Text(), _intervals(fit)]
    return Group(*parts)


def communities(report: CommunityReport, files: Mapping[str, str]) -> RenderableType:
    """Where communities differ from the pooled policy.

    Args:
        report: What was found.
        files: File of each community's policy.
    """
    tried = ", ".join(f"{strength}: {loss:.4f}" for strength, loss in report.strength_losses.items())
    head = f"by {plain(report.column)}: pulled to the pooled weights with the strength of {report.strength:g} rows"
    lines = [f"{head} (out-of-fold losses {tried})" if tried else head]
    if report.without_value:
        lines.append(f"{report.without_value} rows without {plain(report.column)} count in the pooled fit only")
    parts: list[RenderableType] = [Text("\n".join(lines))]
    for it in report.communities:
        parts += [Text(), _community(it, files[it.name], report.replicates)]
    return Group(*parts)


def _lines(fit: FitFacts, space: FeatureSpaceSpec) -> Iterable[str]:
    converged = sum(start.converged for start in fit.starts)
    losses = sorted(start.loss for start in fit.starts)
    pulls = [*(["a ridge of " + format(fit.ridge, "g")] if fit.ridge else []), *(["the prior"] if fit.prior else [])]
    with_pulls = f", {' and '.join(pulls)} included" if pulls else ""  # the loss of the fit is without them
    left_out = f"{fit.rows_left_out} left out"
    yield f"aligned to {fit.rows} rows of {plain(fit.data)} ({fit.harmful} harmful; {left_out}), seed {fit.seed}"
    yield f"{fit.parameters} parameters, loss {fit.loss:.5f} (weights all 0: {fit.loss_at_zero_weights:.5f})"
    yield f"{len(losses)} starts, {converged} converged, losses {losses[0]:.5f} to {losses[-1]:.5f}{with_pulls}"
    if space.analysis == "both":
        discount = "one for harms and benefits" if space.discount == "shared" else "one each for harms and benefits"
        yield f"downstream discount: {discount}"
    if fit.prior is not None:
        yield f"pulled to {plain(fit.prior.policy)} ({fit.prior.hash[:12]}) with the strength of {fit.prior.strength:g} rows"
    if fit.costs is not None:
        yield f"a missed harm costs {fit.costs.missed:g}, a false alarm {fit.costs.false_alarm:g}"
    if fit.weight_column is not None:
        yield f"rows weighted by {plain(fit.weight_column)}"
    if fit.threshold is not None:
        yield f"threshold fitted: {fit.threshold:g}"
    if fit.constraints is not None:
        yield from _constraints(fit)
    if fit.errors is not None:
        yield f"on these rows {fit.errors.missed} harms are missed and {fit.errors.false_alarms} alarms are false"
    yield f"at a bound: {', '.join(fit.at_bounds) or 'none'}"
    yield f"not determined by the data: {', '.join(fit.unidentified) or 'none'}"
    if fit.identification is not None:
        yield from _identification(fit.identification)


def _constraints(fit: FitFacts) -> Iterable[str]:
    assert fit.constraints is not None
    it = fit.constraints
    for title, bounds in (("floors", it.floors), ("ceilings", it.ceilings), ("frozen", it.frozen)):
        if bounds:
            yield f"{title}: {', '.join(f'{plain(name)} {value:g}' for name, value in bounds.items())}"


def _identification(it: Identification) -> Iterable[str]:
    for title, names in (("at its floor", it.at_floor), ("at its ceiling", it.at_ceiling)):
        if names:
            yield f"{title}: {', '.join(names)}"
    if it.undetermined:
        yield f"levels that no labelled row speaks of: {', '.join(it.undetermined)}"
    for group in it.confounded:
        yield f"determined only together: {', '.join(group)}"
    if it.vague:
        yield f"hardly determined by the labels alone (standard error over 0.29 without ridge or prior): {', '.join(it.vague)}"
    if it.disagreeing:
        apart = ", ".join(f"{name} {spread.low:.2f} to {spread.high:.2f}" for name, spread in it.disagreeing.items())
        yield f"{it.tied_starts} starts fit equally well and disagree: {apart}"


def _folds(validation: CrossValidation) -> RenderableType:
    grouped = f", {plain(validation.grouped_by)} kept together" if validation.grouped_by else ""
    title = f"out of fold{grouped}; flagged = score above the threshold"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("fold", "n (harmful)", "loss", "AUROC", "F1", "recall", "false\npositives", "always-\nunsafe F1"):
        table.add_column(column, justify="left" if column == "fold" else "right", no_wrap=True)
    for i, scores in enumerate(validation.folds, start=1):
        table.add_row(str(i), *_fold(scores))
    table.add_row("all", *_fold(validation.pooled))
    return table


def _fold(scores: FoldScores) -> list[str]:
    found = (scores.auroc, scores.f1, scores.recall, scores.false_positive_rate, scores.always_unsafe_f1)
    shown = ["-" if value is None else f"{value:.3f}" for value in found]
    return [f"{scores.n} ({scores.harmful})", f"{scores.loss:.4f}", *shown]


def _intervals(fit: FitFacts) -> RenderableType:
    assert fit.bootstrap is not None
    it = fit.bootstrap
    unknown = frozenset() if fit.identification is None else fit.identification.not_identified
    remark = "not identified" + (", held by the pull alone" if fit.ridge or fit.prior else "")
    table = Table.grid(padding=(0, 2))
    for name, (low, high) in it.intervals.items():
        table.add_row(plain(name), f"{low:.3f} to {high:.3f}", remark if name in unknown else "")
    if it.threshold is not None:
        table.add_row("threshold", f"{it.threshold[0]:.3f} to {it.threshold[1]:.3f}")
    title = f"{100 * it.level:g} % intervals of {it.replicates} refits on resampled rows"
    least = math.ceil(2 / (1 - it.level) - 1e-9)
    if it.replicates < least:
        title += f": too few, {least} are needed for intervals that are wide enough"
    return Group(Text(title), table)


def _community(it: Community, file: str, replicates: int) -> RenderableType:
    head = Text.assemble((plain(it.name), "bold"), f"  {it.rows} rows ({it.harmful} harmful)  {plain(file)}")
    if it.fallback is not None:
        return Group(head, Text(f"the pooled weights: {it.fallback}"))
    changed = ", ".join(f"{n} {change}" for change, n in it.decided_otherwise.items())
    lines = [f"decided otherwise than by the pooled policy: {changed or 'none'}"]
    clear = [d for d in it.differences if d.is_clear]
    if 0 < replicates < MIN_DRAWS:
        lines.append(f"{replicates} draws cannot say which weights differ: that takes {MIN_DRAWS}")
    elif replicates:
        measure = f"intervals of {replicates} draws without 0, 95 % for all at once"
        lines.append(f"{len(clear)} of {len(it.differences)} weights differ ({measure})")
    table = Table.grid(padding=(0, 2))
    for d in clear or it.differences[:_SHOWN]:
        interval = "" if d.low is None or d.high is None else f"difference {d.low:+.3f} to {d.high:+.3f}"
        table.add_row(plain(d.weight), f"{d.pooled:.3f} -> {d.community:.3f}", interval)
    return Group(head, Text("\n".join(lines)), table)
