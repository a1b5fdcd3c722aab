"""Policies, taxonomies and metrics drawn in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Drawing

from safetyanalyst.pipelines.evaluate import Estimate, Metrics
from safetyanalyst.policy import FitFacts, Policy
from safetyanalyst.report.calibration import claims
from safetyanalyst.report.terminal import plain
from safetyanalyst.taxonomy import Taxonomy

_BAR = 24


def policy(document: Policy) -> RenderableType:
    """Weights as bars, threshold, edits and fit facts."""
    head = Text.assemble((plain(document.name), "bold"), f"  version {plain(document.version)}\n", (document.hash, "dim"))
    parts: list[RenderableType] = [head, Text(plain(document.description)), Text()]
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="cyan")
    for name, value in document.weights.items():
        table.add_row(plain(name), f"{value:.4f}", "█" * round(value * _BAR))
    band = document.review_band
    settings = (
        f"threshold {document.threshold:g}, review from {band.below:g} below to {band.above:g} above it, "
        f"when something is missing: {document.on_missing}"
    )
    parts += [table, Text(), Text(settings)]
    for edit in document.edits:
        change = f"{edit.date} {plain(edit.weight)}: {edit.before:g} -> {edit.after:g}, {plain(edit.reason)}"
        parts.append(Text(f"{change} ({plain(edit.author)})" if edit.author else change))
    if document.fit is not None:
        parts += [Text(), _fit(document.fit)]
    parts += claims(document)
    return Group(*parts)


def taxonomy(document: Taxonomy) -> RenderableType:
    """Everything that can be said in a tree, with definitions."""
    root = Drawing(Text(document.label, style="bold"), guide_style="dim")
    harms = root.add(Text("Harmful actions", style="bold red"))
    for domain in document.domains:
        node = harms.add(_entry(domain.name, domain.definition))
        for group in (g for g in document.action_groups if g.domain == domain.key):
            leaf = node.add(_entry(f"{group.name} ({group.key})", group.definition))
            for action in (a for a in document.harm_actions if a.group == group.key):
                leaf.add(_entry(f"{action.number}. {action.name}", action.definition))
    benefits = root.add(Text("Beneficial actions", style="bold green"))
    for action in document.benefit_actions:
        benefits.add(_entry(f"B{action.number}. {action.name}", action.definition))
    effects = root.add(Text("Effects", style="bold"))
    for group in document.effect_groups:
        node = effects.add(_entry(f"{group.name} ({group.key})", group.definition))
        for harm, benefit in zip(document.harm_effects, document.benefit_effects, strict=True):
            if harm.group == group.key:
                node.add(_entry(f"{harm.number}. {harm.name}", harm.definition))
                node.add(_entry(f"{benefit.number}. {benefit.name}", benefit.definition))
    for title, levels in (
        ("Extents", document.extents), ("Likelihoods", document.likelihoods), ("Immediacy", document.immediacies)
    ):  # fmt: skip
        scale = root.add(Text(title, style="bold"))
        for level in levels:
            scale.add(_entry(level.name, level.definition))
    root.add(Text.assemble(("Stakeholders  ", "bold"), plain(", ".join(document.stakeholders))))
    return root


def metrics(sets: Mapping[str, Metrics], policy_: Policy) -> RenderableType:
    """One row per set; intervals below the values."""
    title = f"policy {plain(policy_.name)}: flagged = not allowed; 95 % bootstrap intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("set", overflow="fold")  # long names give way, numbers do not
    for column in ("n (unsafe)", "AUROC", "F1", "recall", "false\npositives", "always-\nunsafe F1", "allow/re-\nview/block"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, it in sets.items():
        decided = "/".join(str(it.decisions[d]) for d in ("allow", "review", "block"))
        cells = (it.auroc, it.f1, it.recall, it.false_positive_rate)
        table.add_row(
            plain(name), f"{it.n} ({it.unsafe})", *map(_cell, cells), f"{it.always_unsafe_f1:.3f}", decided
        )  # fmt: skip
    return table


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f}\n{estimate.low:.2f}-{estimate.high:.2f}"


def _entry(name: str, definition: str) -> Text:
    return Text.assemble((plain(name), "bold"), "  ", (plain(definition), ""))


def _fit(fit: FitFacts) -> Text:
    converged = sum(start.converged for start in fit.starts)
    losses = sorted(start.loss for start in fit.starts)
    ridge = f", a ridge of {fit.ridge:g} included" if fit.ridge else ""  # the loss of the fit is without it
    lines = [
        f"aligned to {fit.rows} rows of {plain(fit.data)}"
        f" ({fit.harmful} harmful; {fit.rows_left_out} left out), seed {fit.seed}",
        f"{fit.parameters} parameters, loss {fit.loss:.5f} (weights all 0: {fit.loss_at_zero_weights:.5f})",
        f"{len(losses)} starts, {converged} converged, losses {losses[0]:.5f} to {losses[-1]:.5f}{ridge}",
        f"at a bound: {', '.join(fit.at_bounds) or 'none'}",
        f"not determined by the data: {', '.join(fit.unidentified) or 'none'}",
    ]
    return Text("\n".join(lines))
