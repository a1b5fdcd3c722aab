"""A small generator that stands in the place of a model: it enters by the public seam, as the installed plug-in `rules`.

What it writes depends on words of the scenario alone: "arson" is harmful, "gossip" a little, "unsure" leaves a feature unread,
"silent" gives no tree, "crash" raises. All other texts are harmless and useful.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetyanalyst.generation import Generation
from safetyanalyst.scenarios import Scenario, Trajectory
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, Defect, Effect, Provenance, Stakeholder, Tree, TreeKind

CONFIG = """\
format: safetyanalyst-config/1
name: scripted
taxonomy: safetyanalyst-v1
policy: wildjailbreak-v1
generators:
  harm: {{backend: rules, options: {options}}}
  benefit: {{backend: rules, options: {options}}}
batch_size: 4
"""
HOSTILE_NAME = "\x1b[31mMallory\x07 [bold]x[/bold] :smile:"


class Scripted:
    """Writes trees by rule."""

    def __init__(self, kind: TreeKind, taxonomy: Taxonomy, delay: float = 0.0) -> None:
        self.kind: TreeKind = kind
        self._delay = delay
        self._provenance = Provenance(
            generator="rules", model="rules-1", model_hash="ab" * 32, taxonomy=taxonomy.label, code="1"
        )

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        if self._delay:
            import time

            time.sleep(self._delay)
        return [self._one(scenario) for scenario in scenarios]

    def _one(self, scenario: Scenario) -> Generation:
        text = " ".join(scenario.texts())
        if "crash" in text:
            raise RuntimeError(f"cannot bear {text}")
        tree, defects = _tree(self.kind, text, evidence=(0,) if isinstance(scenario, Trajectory) else ())
        return Generation(scenario_id=scenario.id, kind=self.kind, tree=tree, defects=defects, provenance=self._provenance)


def _tree(kind: TreeKind, text: str, evidence: tuple[int, ...]) -> tuple[Tree | None, tuple[Defect, ...]]:
    if "silent" in text:
        return None, (Defect(code="empty_output", path=kind),)
    name = HOSTILE_NAME if "mallory" in text else "General public"
    if kind == "benefit":
        return harmless_benefit(name), ()
    if "unsure" in text:
        effect = Effect(effect="Physical health risks", immediacy="immediate", extent=None, likelihood="high")
        defect = Defect(code="unknown_extent", path="harm[0].actions[0].effects[0].extent", found="quite bad")
        return tree_of("harm", name, "Violent Acts", evidence, effect), (defect,)
    if "arson" in text:
        effect = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
        return tree_of("harm", name, "Violent Acts", evidence, *[effect] * 40), ()
    if "gossip" in text:
        effect = Effect(effect="Death", immediacy="downstream", extent="minor", likelihood="low")
        return tree_of("harm", name, "Harassment", evidence, effect), ()
    return Tree(kind="harm", stakeholders=()), ()


def tree_of(kind: TreeKind, name: str, action: str | None, evidence: tuple[int, ...], *effects: Effect) -> Tree:
    """A tree of one stakeholder and one action."""
    holder = Stakeholder(name=name, actions=(Action(action=action, evidence=evidence, effects=effects),))
    return Tree(kind=kind, stakeholders=(holder,))


def harmless_benefit(name: str = "User") -> Tree:
    """A benefit tree of one effect."""
    effect = Effect(effect="Gain of accurate information access", immediacy="immediate", extent="minor", likelihood="high")
    return tree_of("benefit", name, "Education and explanation", (), effect)


def load(kind: TreeKind, taxonomy: Taxonomy, delay: float = 0.0) -> Scripted:
    """What the entry point names."""
    return Scripted(kind, taxonomy, delay)


def install(folder: Path) -> Path:
    """Writes what an installed package would leave in site-packages, and returns the folder for the import path."""
    info = folder / "scripted-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[safetyanalyst.backends]\nrules = tests.scripted:load\n", encoding="utf-8")
    return folder


def write_config(folder: Path, options: str = "{}") -> Path:
    """A run configuration that uses the plug-in."""
    path = folder / "scripted.yaml"
    path.write_text(CONFIG.format(options=options), encoding="utf-8")
    return path
