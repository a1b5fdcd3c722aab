"""Policies, taxonomies and metrics drawn in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Drawing

from safetyanalyst.deployment import Origin, pins_in_force
from safetyanalyst.pins import MISSING, PinInForce
from safetyanalyst.pipelines.evaluate import Estimate, Metrics
from safetyanalyst.pipelines.summary import Summary
from safetyanalyst.policy import Claim, Policy
from safetyanalyst.report import fits
from safetyanalyst.report.calibration import claims
from safetyanalyst.report.terminal import plain
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.weight_names import SETTINGS

_BAR = 24
_SOURCES = 8


def policy(document: Policy, lapsed: Collection[Claim] = ()) -> RenderableType:
    """Weights as bars, threshold, pins, edits and fit facts; of a deployment also its line and where each weight comes from.

    Args:
        document: The policy.
        lapsed: Which of its claims no longer hold (`BoundPolicy.lapsed`).
    """
    head = Text.assemble((plain(document.name), "bold"), f"  version {plain(document.version)}\n", (document.hash, "dim"))
    parts: list[RenderableType] = [head, Text(plain(document.description))]
    ancestors = () if document.lineage is None else document.lineage.ancestors
    parts += [Text(f"extends {plain(it.name)} version {plain(it.version)}, hash {it.hash}") for it in reversed(ancestors)]
    parts += [Text(), _weights(document), Text(), _settings(document)]
    pins = pins_in_force(document)
    parts += [Text(), *map(_pin, pins)] if pins else []
    for edit in document.edits:
        change = f"{edit.date} {plain(edit.weight)}: {edit.before:g} -> {edit.after:g}, {plain(edit.reason)}"
        parts.append(Text(f"{change} ({plain(edit.author)})" if edit.author else change))
    if document.fit is not None:
        parts += [Text(), fits.facts(document.fit, document.space)]
    parts += claims(document, lapsed)
    return Group(*parts)


def _weights(document: Policy) -> Table:
    has_origins = document.lineage is not None
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=has_origins)
    table.add_column(justify="right", no_wrap=has_origins)
    table.add_column(style="cyan", no_wrap=has_origins)
    if has_origins:
        table.add_column(style="dim", overflow="fold")
    origins = document.origins
    bar = _BAR // 3 if has_origins else _BAR
    for name, value in document.weights.items():
        origin = [_origin(origins[name])] if has_origins else []
        table.add_row(plain(name), f"{value:.4f}", "█" * round(value * bar), *origin)
    return table


def _settings(document: Policy) -> Text:
    band, found = document.review_band, document.origins
    text = (
        f"threshold {document.threshold:g}, review from {band.below:g} below to {band.above:g} above it, "
        f"when something is missing: {document.on_missing}"
    )
    if document.lineage is not None:
        lines = (f"{name}: {_origin(found[name])}" for name in (*SETTINGS, MISSING))
        text = "\n".join((text, *lines))
    return Text(text)


def _origin(origin: Origin) -> str:
    """In words: which policy, and what it did there to which value."""
    name, rule = plain(origin.policy or ""), plain(origin.rule)
    before = f" (from {origin.before:.4g})" if isinstance(origin.before, float) else ""
    how = {"file": "", "override": f": {rule}{before}", "edit": f": edit of {rule}{before}"}
    return f"{name}{how[origin.by]}"


def _pin(pin: PinInForce) -> Text:
    floor = pin.floor if isinstance(pin.floor, str | None) else format(pin.floor, "g")
    ends = [] if floor is None else [f"at least {floor}"]
    ends += [f"at most {pin.ceiling:g}"] if pin.ceiling is not None else []
    why = f": {plain(pin.reason)}" if pin.reason else ""
    return Text(f"pinned by {plain(pin.policy)}: {plain(pin.weight)} {' and '.join(ends)}{why}")


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


def dataset(found: Summary) -> RenderableType:
    """What a file of stored trees holds."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    counts = {name: f"{n:,}" for name, n in found.labels.items()}
    missing = ", ".join(f"{n:,} {kind}" for kind, n in found.missing_trees.items())
    told = found.taxonomy or "not told"
    for name, value in {
        "form": f"{'feature dataset' if found.form == 'parquet' else 'lines of JSON'}, {found.bytes / 1e6:,.1f} MB",
        "taxonomy": told,
        "rows": f"{found.rows:,}, and {len(found.unread):,} that could not be read",
        "labels": ", ".join(f"{n} {name}" for name, n in counts.items()),
        "sources": ", ".join(f"{name} {n:,}" for name, n in _greatest(found.sources)) or "none",
        "stakeholders": f"{found.stakeholders:,} names",
        "effects": f"{found.effects:,}, of which {found.effects_partial:,} could not be read whole",
        "missing trees": f"{missing}; {found.lost_subtrees:,} lost subtrees",
        "defects": f"{found.defects:,} in {found.with_defects:,} rows",
    }.items():
        table.add_row(name, plain(value))
    return Group(Text(plain(found.file), style="bold"), table)


def _greatest(sources: Mapping[str, int]) -> list[tuple[str, int]]:
    ordered = sorted(sources.items(), key=lambda it: -it[1])
    rest = sum(n for _, n in ordered[_SOURCES:])
    return ordered[:_SOURCES] + ([(f"and {len(ordered) - _SOURCES} more", rest)] if rest else [])


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
