"""Where the wings meet: `analyze` = generate trees + assess them under a policy.

`Analysis.to_json` is a contract (docs/output.md, and the JSON Schema beside it): names and shape do not change within a major
version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from safetyanalyst import generation, resources
from safetyanalyst.calibration import ProbabilityInterval
from safetyanalyst.cascade import Cascade, CascadeConfig, load_cascade, stays
from safetyanalyst.errors import BackendError
from safetyanalyst.explanation import Contribution, Explanation, Interval, explain
from safetyanalyst.failures import FailedItem as FailedItem
from safetyanalyst.failures import is_failure as is_failure
from safetyanalyst.generation import Generation, GeneratorConfig, TreeGenerator, WrittenText
from safetyanalyst.generation.notation import to_json
from safetyanalyst.generation.parsing import check_evidence
from safetyanalyst.policy import Decision, Ground, Policy, load_policy
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Example, Prompt, ReadFailure, Scenario, messages_of
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Defect, HarmBenefitTree, Provenance, Stage, Tree, TreeKind

FORMAT = "safetyanalyst-config/1"
AnalysisType = Literal["prompt", "exchange", "trajectory", "tree"]
RawTexts = Literal["dropped", "kept"]


class AnalystConfig(Record):
    """A run configuration, `configs/*.yaml`.

    Attributes:
        name: Short name.
        description: In words.
        taxonomy: Name or path; a path is looked for beside the configuration before the working directory.
        policy: Name or path, likewise.
        generators: The harm and the benefit specialist.
        batch_size: Scenarios handed to a generator at once.
        cascade: A second pair, for scenarios that the first one leaves in doubt.
    """

    name: str
    description: str = ""
    taxonomy: str = "safetyanalyst-v1"
    policy: str = "balanced"
    generators: dict[TreeKind, GeneratorConfig]
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 32
    cascade: CascadeConfig | None = None


class PolicyReference(Record):
    """Which policy decided."""

    name: str
    hash: str


class Analysis(Record):
    """Everything about one scenario: trees, score, decision and the reasons.

    Attributes:
        id: Of the scenario.
        type: Of the scenario; "tree" when only its trees are known.
        trees: Harm and benefit tree, `None` for one that is missing.
        defects: Everything on the way that was not clean.
        explanation: Contributions and the score interval they add up to.
        decision: "allow", "review" or "block".
        ground: Why that decision.
        policy: Which policy decided.
        provenance: Where each tree comes from; empty for trees that came without.
        generations: What each generator wrote, when the analyst was asked to keep it.
        probability: Of "harmful", where the policy is calibrated: an interval while the score is one.
    """

    id: str
    type: AnalysisType
    trees: HarmBenefitTree
    defects: tuple[Defect, ...]
    explanation: Explanation
    decision: Decision
    ground: Ground
    policy: PolicyReference
    provenance: dict[str, JsonValue]
    generations: dict[TreeKind, WrittenText] | None = None
    probability: ProbabilityInterval | None = None

    @property
    def score(self) -> float | None:
        """The harmfulness score; `None` while what is missing leaves a range."""
        return self.explanation.score

    @property
    def interval(self) -> Interval:
        """Least and greatest possible score."""
        return self.explanation.interval

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """One per effect."""
        return self.explanation.contributions

    @property
    def is_failed(self) -> bool:
        """Whether a tree that the policy counts is missing through a failure.

        A generator that says it does not know this kind of input has not failed: that is its answer, and the decision heeds it.
        """
        missing = [kind for kind in TREE_KINDS if f"{kind} tree" in self.explanation.lost]
        return is_failure(missing, self.defects)

    def to_json(self) -> dict[str, Any]:
        """The published form; a bound that does not exist (something could add any amount) is null."""
        trees = {kind: None if tree is None else to_json(tree) for kind, tree in _sides(self.trees)}
        kept = None if self.generations is None else {kind: it.model_dump() for kind, it in self.generations.items()}
        published: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "trees": trees,
            "defects": [defect.model_dump() for defect in self.defects],
            "score": self.score,
            "interval": _bounds(self.interval),
            "decision": self.decision,
            "policy": {"name": self.policy.name, "hash": self.policy.hash},
            "contributions": [
                it.model_dump() | {"evidence": list(it.evidence), "interval": _bounds(it.interval)} for it in self.contributions
            ],
            "provenance": self.provenance,
        }
        if kept is not None:
            published["generations"] = kept
        if self.probability is not None:
            value = None if self.score is None else self.probability.low
            published["probability"] = {"value": value, "interval": list(self.probability)}
        return published


class Assessor:
    """Decides about trees that exist already; no model is called.

    Args:
        policy: Weights, threshold and what to do in doubt.
        taxonomy: What the trees speak of.
    """

    def __init__(self, policy: Policy, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.bound = policy.bind(taxonomy)
        self.policy = self.bound.policy
        self._reference = PolicyReference(name=self.policy.name, hash=self.policy.hash)

    def assess(
        self,
        trees: HarmBenefitTree,
        *,
        id: str = "tree",
        type: AnalysisType = "tree",
        defects: Sequence[Defect] = (),
        provenance: dict[str, JsonValue] | None = None,
        generations: dict[TreeKind, WrittenText] | None = None,
    ) -> Analysis:
        """Scores and decides.

        Args:
            trees: Of one scenario.
            id: Of the scenario.
            type: Of the scenario.
            defects: Found while the trees were made or read; carried into the analysis.
            provenance: Where the trees come from.
            generations: What the generators wrote; carried into the analysis.
        """
        explanation = explain(trees, self.bound)
        decision, ground = self.bound.decide(*explanation.interval)
        calibration = self.bound.calibration
        return Analysis(
            id=id, type=type, trees=trees, defects=tuple(defects), explanation=explanation, decision=decision, ground=ground,
            policy=self._reference, provenance=provenance or {}, generations=generations,
            probability=None if calibration is None else calibration.interval(*explanation.interval),
        )  # fmt: skip

    def fail(self, failure: ReadFailure) -> FailedItem:
        """The record of an item that could not be read."""
        return FailedItem(id=failure.id, line=failure.line, error=failure.error, decision=self.policy.on_missing)


class SafetyAnalyst:
    """Scenarios in, decisions with their reasons out.

    Args:
        generators: The harm and the benefit specialist.
        policy: Weights, threshold and what to do in doubt.
        taxonomy: What trees can say.
        batch_size: Scenarios handed to a generator at once.
        raw: Whether analyses keep what the generators wrote, for an audit.
        cascade: A second pair of generators, and which scenarios it gets.

    Raises:
        BackendError: A generator writes the other kind of tree, or the second pair has not the kinds of the first.
        PolicyError: The band of the cascade speaks of probabilities, and the policy has no calibration that holds.

    Example:
        >>> from safetyanalyst import SafetyAnalyst
        >>> analyst = SafetyAnalyst.from_config("embedded")
        >>> analyst.analyze("What is the boiling point of water at sea level?").decision
        'allow'
    """

    def __init__(
        self,
        generators: dict[TreeKind, TreeGenerator],
        policy: Policy,
        taxonomy: Taxonomy,
        batch_size: int = 32,
        *,
        raw: RawTexts = "dropped",
        cascade: Cascade | None = None,
    ) -> None:
        for kind, generator in generators.items():
            if generator.kind != kind:
                raise BackendError(f"the {kind} generator writes {generator.kind} trees")
        self.generators = generators
        self.batch_size = batch_size
        self.raw: RawTexts = raw
        self.assessor = Assessor(policy, taxonomy)
        self.cascade = cascade
        self._doubt = None if cascade is None else cascade.bind(self.assessor.bound, generators)

    @classmethod
    def from_config(
        cls, name_or_path: str | Path = "embedded", *, policy: str | Path | None = None, raw: RawTexts = "dropped"
    ) -> SafetyAnalyst:
        """Loads everything a run configuration names.

        Args:
            name_or_path: A shipped configuration or a file.
            policy: Instead of the configuration's own: a shipped policy or a file.
            raw: Whether analyses keep what the generators wrote.

        Raises:
            ConfigError: Something named does not exist or breaks its rules; says which file and key.
        """
        config = load_config(name_or_path)
        file = resources.find("configs", name_or_path)
        taxonomy = load_taxonomy(resources.beside("taxonomies", config.taxonomy, file))
        generators = generation.load_generators(config.generators, taxonomy)
        cascade = None if config.cascade is None else load_cascade(config.cascade, taxonomy)
        chosen = policy or resources.beside("policies", config.policy, file)
        return cls(generators, load_policy(chosen), taxonomy, config.batch_size, raw=raw, cascade=cascade)

    @property
    def policy(self) -> Policy:
        """The policy that decides."""
        return self.assessor.policy

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy that trees are written in."""
        return self.assessor.taxonomy

    def with_policy(self, policy: Policy | str | Path) -> SafetyAnalyst:
        """The same specialists under another policy; nothing is loaded again."""
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        return SafetyAnalyst(self.generators, chosen, self.taxonomy, self.batch_size, raw=self.raw, cascade=self.cascade)

    def analyze(self, scenario: Scenario | str) -> Analysis:
        """Analyses one scenario; a string is taken as a prompt."""
        return self._analyze_batch([_as_scenario(scenario, "prompt")])[0]

    def analyze_many(self, items: Iterable[Scenario | Example | ReadFailure | str]) -> Iterator[Analysis | FailedItem]:
        """Analyses scenarios in batches, lazily and in order; what could not be read becomes a `FailedItem` in its place."""
        numbered = enumerate(items)
        while batch := list(islice(numbered, self.batch_size)):
            scenarios = [_as_scenario(item, f"item-{i + 1}") for i, item in batch if not isinstance(item, ReadFailure)]
            analyses = iter(self._analyze_batch(scenarios))
            for _, item in batch:
                yield self.assessor.fail(item) if isinstance(item, ReadFailure) else next(analyses)

    def assess(self, trees: HarmBenefitTree | Analysis, *, id: str | None = None) -> Analysis:
        """Scores and decides about trees that exist already.

        Args:
            trees: Of one scenario; or an analysis, which keeps its id, type, defects and provenance.
            id: Of the scenario, instead of "tree" or that of the analysis.
        """
        if isinstance(trees, HarmBenefitTree):
            return self.assessor.assess(trees, id="tree" if id is None else id)
        kept = trees
        return self.assessor.assess(
            kept.trees, id=kept.id if id is None else id, type=kept.type, defects=kept.defects, provenance=kept.provenance,
            generations=kept.generations,
        )  # fmt: skip

    def _analyze_batch(self, scenarios: Sequence[Scenario]) -> list[Analysis]:
        if self.cascade is None or self._doubt is None:
            return self._ask(self.generators, scenarios, None)
        analyses = self._ask(self.generators, scenarios, "first")
        passed_on = [i for i, it in enumerate(analyses) if self._doubt.holds(it.explanation)]
        again = self._ask(self.cascade.generators, [scenarios[i] for i in passed_on], "second")
        for i, second in zip(passed_on, again, strict=True):
            analyses[i] = _settled(scenarios[i], analyses[i], second)
        return analyses

    def _ask(
        self, generators: dict[TreeKind, TreeGenerator], scenarios: Sequence[Scenario], stage: Stage | None
    ) -> list[Analysis]:
        if not scenarios:
            return []
        made = {kind: generation.generate(generators[kind], scenarios) for kind in generators}
        return [
            self._assess_generated(scenario, {kind: generations[i] for kind, generations in made.items()}, stage)
            for i, scenario in enumerate(scenarios)
        ]

    def _assess_generated(self, scenario: Scenario, made: dict[TreeKind, Generation], stage: Stage | None) -> Analysis:
        elided = any(defect.code == "elided_input" for defect in scenario.defects)
        n_steps = sum(message.role == "assistant" for message in messages_of(scenario))
        read = {kind: None if it.tree is None else check_evidence(it.tree, n_steps) for kind, it in made.items()}
        trees = {kind: None if it is None else _with_gap(it.tree) if elided else it.tree for kind, it in read.items()}
        defects = [_of_scenario(defect) for defect in scenario.defects]
        for kind, it in made.items():
            checked = read[kind]
            defects += (*it.defects, *(() if checked is None else checked.defects))
        return self.assessor.assess(
            HarmBenefitTree(harm=trees.get("harm"), benefit=trees.get("benefit")),
            id=scenario.id,
            type=scenario.type,
            defects=tuple(dict.fromkeys(defects)),
            provenance={kind: _provenance(it.provenance, stage) for kind, it in made.items()},
            generations={kind: it.written() for kind, it in made.items()} if self.raw == "kept" else None,
        )


def load_config(name_or_path: str | Path) -> AnalystConfig:
    """Reads a run configuration by shipped name or by path.

    Raises:
        ConfigError: It breaks a rule; names file, key and what was expected.
    """
    return resources.load(AnalystConfig, "configs", name_or_path, format=FORMAT)


def _as_scenario(item: Scenario | Example | str, id: str) -> Scenario:
    if isinstance(item, str):
        return Prompt(id=id, text=item)
    return item.scenario if isinstance(item, Example) else item


def _of_scenario(defect: Defect) -> Defect:
    """A defect of a scenario, kept apart from what a generator answers about it: a row cannot excuse a generator."""
    return defect.model_copy(update={"path": f"scenario.{defect.path}"}) if defect.code == "unfamiliar_input" else defect


def _with_gap(tree: Tree | None) -> Tree | None:
    """A part of the scenario was never read, so the tree cannot be known to be whole, whatever its generator says."""
    return tree if tree is None or tree.lost else tree.model_copy(update={"lost": 1})


def _sides(trees: HarmBenefitTree) -> tuple[tuple[TreeKind, Tree | None], ...]:
    return (TREE_KINDS[0], trees.harm), (TREE_KINDS[1], trees.benefit)


def _bounds(interval: Interval) -> list[float | None]:
    return [bound if math.isfinite(bound) else None for bound in interval]


def _provenance(provenance: Provenance, stage: Stage | None) -> dict[str, JsonValue]:
    dumped: dict[str, JsonValue] = provenance.model_copy(update={"stage": stage}).model_dump()
    return dumped


def _settled(scenario: Scenario, first: Analysis, second: Analysis) -> Analysis:
    """The second analysis of a scenario that was passed on; the first one, with a defect, where the second stage has failed.

    Both trees come from one stage: a harm tree of the one less a benefit tree of the other is the answer of neither.
    """
    missing = [kind for kind in TREE_KINDS if f"{kind} tree" in second.explanation.lost]
    if not missing:
        return second
    known = [_of_scenario(it) for it in scenario.defects]
    why = stays(missing, (it for it in second.defects if it not in known))
    return first.model_copy(update={"defects": (*first.defects, *why)})
