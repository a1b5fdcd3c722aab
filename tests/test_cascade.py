from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.analyst import Analysis, Assessor, SafetyAnalyst
from safetyanalyst.cascade import Band, Cascade, CascadeConfig, Doubt, Outcome, ProbabilityBand, outcome, passed_on
from safetyanalyst.conformal import Risk
from safetyanalyst.errors import BackendError, ConfigError, PolicyError
from safetyanalyst.explanation import explain
from safetyanalyst.generation import Generation, TreeGenerator, load_generator
from safetyanalyst.generation.backends.scripted import ScriptedSpecialist
from safetyanalyst.pipelines.calibrate import control, score_labelled
from safetyanalyst.policy import Policy, ReviewBand, load_policy
from safetyanalyst.scenarios import Message, Prompt, Scenario, Trajectory
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Defect, HarmBenefitTree, Tree, TreeKind
from tests import scripted
from tests.labels import calibrated, labelled_rows, written
from tests.strategies import pairs

TAXONOMY = load_taxonomy()
POLICY = load_policy("wildjailbreak-v1")
BANDED = POLICY.model_copy(update={"review_band": ReviewBand(below=0.02, above=0.02)})
SAFE: dict[str, Any] = {"harm": [], "benefit": ["User | B19: a plan | 9i4h 9i4h 9i4h 9i4h 9i4h 9i4h"]}
HARMFUL: dict[str, Any] = {"harm": [f"Person {i} | 1: burns it | 1i4h 1i4h 1i4h 1i4h" for i in range(40)], "benefit": []}
SURE = {"arson": "block", "bread": "allow"}
IN_DOUBT = ("gossip", "unsure", "silent", "crash")


class Recording:
    """A scripted specialist that remembers what it was asked."""

    def __init__(self, inner: TreeGenerator) -> None:
        self.kind: TreeKind = inner.kind
        self._inner = inner
        self.asked: list[list[str]] = []

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        self.asked.append([scenario.id for scenario in scenarios])
        return self._inner.generate(scenarios)


def stored(path: Path, rows: dict[str, dict[str, Any]]) -> Path:
    return written(path, [{"id": id} | row for id, row in rows.items()])


def pair_from(path: Path) -> dict[TreeKind, TreeGenerator]:
    return {kind: load_generator("scripted", kind, TAXONOMY, {"trees": str(path)}) for kind in TREE_KINDS}


class First(scripted.Scripted):
    """Says nothing of gossip, which leaves the score on the threshold."""

    def _one(self, scenario: Scenario) -> Generation:
        answer = super()._one(scenario)
        is_gossip = any("gossip" in text for text in scenario.texts())
        return answer.model_copy(update={"tree": Tree(kind=self.kind, stakeholders=())}) if is_gossip else answer


def rules() -> dict[TreeKind, TreeGenerator]:
    return {kind: First(kind, TAXONOMY) for kind in TREE_KINDS}


def made(second: dict[TreeKind, Any], policy: Policy = BANDED, band: Band = "review", **options: Any) -> SafetyAnalyst:
    return SafetyAnalyst(rules(), policy, TAXONOMY, cascade=Cascade(second, band), **options)


def stages(analysis: Analysis) -> set[Any]:
    return {it["stage"] for it in analysis.provenance.values()}  # type: ignore[index,call-overload]


def test_exactly_what_is_in_doubt_is_passed_on_all_of_a_batch_at_once(tmp_path: Path) -> None:
    texts = [*SURE, *IN_DOUBT] * 2
    ids = [f"item-{i + 1}" for i in range(len(texts))]
    second = {kind: Recording(it) for kind, it in pair_from(stored(tmp_path / "s", dict.fromkeys(ids, SAFE))).items()}
    results = list(made(second, batch_size=7).analyze_many(texts))
    doubtful = [id for id, text in zip(ids, texts, strict=True) if text in IN_DOUBT]
    for generator in second.values():
        assert generator.asked == [[id for id in doubtful if id in ids[:7]], [id for id in doubtful if id in ids[7:]]]
    for text, result in zip(texts, results, strict=True):
        assert isinstance(result, Analysis)
        assert result.decision == SURE.get(text, "allow")
        assert stages(result) == {"first" if text in SURE else "second"}
        assert result.provenance["harm"]["generator"] == ("rules" if text in SURE else "scripted")  # type: ignore[index,call-overload]
        assert outcome(result.provenance, result.defects) == ("first" if text in SURE else "second")
        assert result.score is not None
    assert [it.id for it in results] == ids


def test_nothing_is_asked_where_nothing_is_in_doubt(tmp_path: Path) -> None:
    second = {kind: Recording(it) for kind, it in pair_from(stored(tmp_path / "s", {})).items()}
    assert [it.decision for it in made(second).analyze_many(["arson", "bread"])] == ["block", "allow"]
    assert list(made(second).analyze_many([])) == []
    assert [it.asked for it in second.values()] == [[], []]


def test_the_second_stage_decides_what_it_is_given(tmp_path: Path) -> None:
    path = stored(tmp_path / "s", {"a": HARMFUL, "b": SAFE, "c": HARMFUL, "arson": SAFE, "bread": HARMFUL})
    cascade = made(pair_from(path))
    texts = {"a": "gossip", "b": "gossip", "c": "silent", "arson": "arson", "bread": "bread"}
    found = {id: cascade.analyze(Prompt(id=id, text=text)).decision for id, text in texts.items()}
    assert found == {"a": "block", "b": "allow", "c": "block", "arson": "block", "bread": "allow"}
    alone = SafetyAnalyst(pair_from(path), BANDED, TAXONOMY).analyze(Prompt(id="a", text="gossip"))
    passed = cascade.analyze(Prompt(id="a", text="gossip"))
    assert (passed.trees, passed.interval, passed.defects) == (alone.trees, alone.interval, alone.defects)


def test_a_subtree_that_was_lost_leaves_a_scenario_in_doubt_wherever_its_score_lies(tmp_path: Path) -> None:
    second = pair_from(stored(tmp_path / "s", {"a": SAFE}))
    first = pair_from(stored(tmp_path / "f", {"a": HARMFUL | {"harm": [*HARMFUL["harm"], "? x1"]}}))
    alone = SafetyAnalyst(first, BANDED, TAXONOMY).analyze(Prompt(id="a", text="x"))
    assert (alone.decision, alone.interval.high) == ("block", math.inf)
    cascade = SafetyAnalyst(first, BANDED, TAXONOMY, cascade=Cascade(second))
    assert stages(cascade.analyze(Prompt(id="a", text="x"))) == {"second"}
    harms = {"harm": HARMFUL["harm"], "benefit": ["? x1"]}
    counted = POLICY.model_copy(update={"space": POLICY.space.model_copy(update={"analysis": "harms"})})
    weights = {name: value for name, value in POLICY.weights.items() if name.startswith("harm/")}
    only_harms = counted.model_copy(update={"weights": weights})
    first = pair_from(stored(tmp_path / "g", {"a": harms}))
    uncounted = SafetyAnalyst(first, only_harms, TAXONOMY, cascade=Cascade(second)).analyze(Prompt(id="a", text="x"))
    assert (uncounted.decision, stages(uncounted)) == ("block", {"first"})  # of the tree that the policy does not look at


FAILING: dict[str, Callable[[], dict[str, Any]]] = {
    "not held": lambda: {},
    "failed": lambda: {"a": {"error": "out of memory"}},
    "harm alone": lambda: {"a": {"harm": []}},  # with the benefits of the first stage it would be allowed
    "benefit alone": lambda: {"a": {"benefit": SAFE["benefit"]}},
}


@pytest.mark.parametrize("how", FAILING)
@pytest.mark.parametrize("text", IN_DOUBT)
@pytest.mark.parametrize("on_missing", ["review", "block"])
def test_where_the_second_stage_fails_the_first_analysis_stays_and_says_so(
    tmp_path: Path, how: str, text: str, on_missing: str
) -> None:
    policy = BANDED.model_copy(update={"on_missing": on_missing})
    scenario = Prompt(id="a", text=f"{text}\x00", defects=(Defect(code="invalid_characters", path="text"),))
    first = SafetyAnalyst(rules(), policy, TAXONOMY).analyze(scenario)
    kept = made(pair_from(stored(tmp_path / "s", FAILING[how]())), policy).analyze(scenario)
    assert (kept.trees, kept.decision, kept.ground, kept.explanation) == (
        first.trees, first.decision, first.ground, first.explanation
    )  # fmt: skip
    assert kept.decision in ("review", on_missing)
    assert stages(kept) == {"first"}
    assert kept.defects[: len(first.defects)] == first.defects
    said, *why = kept.defects[len(first.defects) :]
    assert (said.code, said.path) == ("generation_failed", "cascade")
    lacking = {"harm alone": ["benefit"], "benefit alone": ["harm"]}.get(how, ["harm", "benefit"])
    assert said.found == f"the second stage wrote no {' and no '.join(lacking)} tree: the first analysis stays"
    assert [it.path for it in why] == [f"cascade.{kind}" for kind in lacking]
    assert outcome(kept.provenance, kept.defects) == "kept"
    assert kept.is_failed == first.is_failed
    assert made(pair_from(stored(tmp_path / "s", {})), policy).assess(kept) == kept
    json.dumps(kept.to_json(), allow_nan=False)


def test_a_second_stage_that_crashes_costs_only_the_scenario_it_crashes_on(tmp_path: Path) -> None:
    class Moody(ScriptedSpecialist):
        def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
            if any(scenario.id == "b" for scenario in scenarios):
                raise RuntimeError("not this one")
            return super().generate(scenarios)

    inner = pair_from(stored(tmp_path / "s", dict.fromkeys("abc", SAFE)))
    for generator in inner.values():
        generator.__class__ = Moody
    a, b, c = made(inner).analyze_many([Prompt(id=id, text="gossip") for id in "abc"])
    assert (a.decision, b.decision, c.decision) == ("allow", "review", "allow")
    assert isinstance(b, Analysis)
    assert [it.path for it in b.defects] == ["cascade", "cascade.harm", "cascade.benefit"]
    assert "not this one" in b.defects[1].found


def test_an_incomplete_tree_of_the_second_stage_is_an_answer_and_never_allowed(tmp_path: Path) -> None:
    torn = SAFE | {"harm": ["? x1"]}
    analysis = made(pair_from(stored(tmp_path / "s", {"a": torn}))).analyze(Prompt(id="a", text="gossip"))
    assert (analysis.decision, analysis.ground, stages(analysis)) == ("review", "something_is_missing", {"second"})


def test_what_the_second_stage_says_of_steps_is_checked_too(tmp_path: Path) -> None:
    row = SAFE | {"harm": ["User | 1 @0,9 | 1i1l"]}
    chat = (Message(role="user", content="go on"), Message(role="assistant", content="gossip"))
    analysis = made(pair_from(stored(tmp_path / "s", {"t": row}))).analyze(Trajectory(id="t", messages=chat))
    assert {it.evidence for it in analysis.contributions if it.kind == "harm"} == {(0,)}
    assert [it.code for it in analysis.defects] == ["unknown_step"]


def test_what_was_written_is_kept_of_the_stage_that_decided(tmp_path: Path) -> None:
    cascade = made(pair_from(stored(tmp_path / "s", {"a": SAFE})), raw="kept")
    for text, generator in (("gossip", "scripted"), ("bread", "rules")):
        analysis = cascade.analyze(Prompt(id="a", text=text))
        assert analysis.generations is not None
        assert analysis.provenance["benefit"]["generator"] == generator  # type: ignore[index,call-overload]


@given(pairs(), st.floats(0, 3), st.floats(0, 3), st.floats(-1, 1))
def test_in_doubt_is_what_a_policy_with_that_review_band_would_review(
    pair: HarmBenefitTree, below: float, above: float, threshold: float
) -> None:
    band = ReviewBand(below=below, above=above)
    asking = POLICY.model_copy(update={"threshold": threshold, "review_band": band})
    explanation = explain(pair, asking.bind(TAXONOMY))
    is_reviewed = asking.bind(TAXONOMY).decide(*explanation.interval)[0] == "review"
    expected = is_reviewed or bool(explanation.lost)
    assert Doubt("review", asking.bind(TAXONOMY)).holds(explanation) == expected
    other = POLICY.model_copy(update={"threshold": threshold, "on_missing": "block"}).bind(TAXONOMY)
    assert Doubt(band, other).holds(explanation) == expected


@given(pairs(), st.floats(0, 1), st.floats(0, 1))
def test_a_band_of_probabilities_holds_what_may_have_one_of_them(pair: HarmBenefitTree, one: float, other: float) -> None:
    band = ProbabilityBand.model_validate({"from": min(one, other), "to": max(one, other)})
    assessed = CALIBRATED.assess(pair)
    assert assessed.probability is not None
    low, high = assessed.probability
    expected = (low <= band.high and high >= band.low) or bool(assessed.explanation.lost)
    assert Doubt(band, CALIBRATED.bound).holds(assessed.explanation) == expected


CALIBRATED = Assessor(calibrated(POLICY), TAXONOMY)


def test_a_band_of_probabilities_is_one_of_margins_through_the_curve(tmp_path: Path) -> None:
    curve = calibrated(POLICY).calibration.curve  # type: ignore[union-attr]
    second = pair_from(stored(tmp_path / "s", {"prompt": SAFE}))
    p = curve.at(0.0)  # of gossip
    for low, high, stage in ((p, p, "second"), (p + 1e-9, 1.0, "first"), (0.0, p - 1e-9, "first"), (0.0, 1.0, "second")):
        band = ProbabilityBand.model_validate({"from": low, "to": high})
        assert stages(made(second, calibrated(POLICY), band).analyze("gossip")) == {stage}


def test_a_band_of_probabilities_needs_a_calibration_that_holds() -> None:
    band = ProbabilityBand.model_validate({"from": 0.2, "to": 0.8})
    with pytest.raises(PolicyError, match=r"cascade\.band: the policy .* has no calibration that holds"):
        made(rules(), POLICY, band)
    good = made(rules(), calibrated(POLICY), band)
    lapsed = calibrated(POLICY).model_copy(update={"weights": POLICY.weights | {"harm/action/privacy": 0.5}})
    for policy in (POLICY, lapsed):
        with pytest.raises(PolicyError, match="no calibration that holds"):
            good.with_policy(policy)


def test_another_policy_has_its_own_band_and_the_same_generators(tmp_path: Path) -> None:
    wide = made(pair_from(stored(tmp_path / "s", {"prompt": SAFE})))
    narrow = wide.with_policy(POLICY)
    assert narrow.cascade is wide.cascade
    assert stages(wide.analyze("gossip")) == {"second"}
    assert stages(narrow.analyze("gossip")) == {"first"}
    assert stages(narrow.analyze("silent")) == {"second"}


def test_pairs_that_do_not_fit_are_refused() -> None:
    harm, benefit = rules()["harm"], rules()["benefit"]
    with pytest.raises(BackendError, match="the harm generator of the second stage writes benefit trees"):
        Cascade({"harm": benefit})
    with pytest.raises(BackendError, match="first stage writes benefit and harm trees, the second harm trees"):
        made({"harm": harm})
    with pytest.raises(BackendError, match="the second  trees"):
        made({})


def test_outcomes_are_counted_and_shared() -> None:
    counts: dict[Outcome, int] = {"first": 6, "second": 1, "kept": 1}
    assert set(counts) == set(get_args(Outcome))
    found = passed_on(counts)
    assert (found.scenarios, found.passed_on, found.kept, found.share) == (8, 2, 1, 0.25)
    assert passed_on({"first": 3}).share == 0.0
    assert passed_on({}).share is None
    assert outcome({}, ()) is None
    assert outcome({"harm": {"generator": "g"}}, ()) is None


@pytest.mark.parametrize("band", [
    "review", {"below": 0.1, "above": 0.2}, {"above": 0.5}, {"from": 0.1, "to": 0.9}, {"from": 0.5, "to": 0.5}
])  # fmt: skip
def test_a_band_is_read_back_the_same(band: Any) -> None:
    config = CascadeConfig.model_validate({"generators": {"harm": {"backend": "rules"}}, "band": band})
    again = CascadeConfig.model_validate(config.model_dump(mode="json", by_alias=True))
    assert again == config


@pytest.mark.parametrize(
    ("band", "says"),
    [
        ("revue", "review"), ({"below": -0.1}, "0"), ({"from": 0.2}, "to"), ({"from": 0.9, "to": 0.1}, "the wrong way round"),
        ({"from": 0.1, "to": 1.5}, "1"), ({"below": 0.1, "to": 0.4}, "no key 'below'"), ({"under": 0.1}, "under"), (3, "band"),
        ({"below": float("inf")}, "finite"), (None, "band"),
    ],
)  # fmt: skip
def test_a_band_that_is_none_is_refused(tmp_path: Path, band: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refusal:
        SafetyAnalyst.from_config(written_config(tmp_path, band=band))
    assert "cascade.band" in str(refusal.value)


def written_config(folder: Path, **changes: Any) -> Path:
    """A run configuration of two scripted pairs."""
    import yaml

    first, second = (
        {"generators": {kind: {"backend": "scripted", "options": {"trees": str(folder / name)}} for kind in TREE_KINDS}}
        for name in ("first.jsonl", "second.jsonl")
    )
    stored(folder / "first.jsonl", {"sure": SAFE, "open": {"harm": ["? x1"], "benefit": []}})
    stored(folder / "second.jsonl", {"sure": HARMFUL, "open": HARMFUL})
    data = {
        "format": "safetyanalyst-config/1",
        "name": "two",
        "policy": "wildjailbreak-v1",
        **first,
        "cascade": second | changes,
    }
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_configuration_has_a_second_stage(tmp_path: Path) -> None:
    analyst = SafetyAnalyst.from_config(written_config(tmp_path))
    found = {id: analyst.analyze(Prompt(id=id, text="x")) for id in ("sure", "open")}
    assert {id: it.decision for id, it in found.items()} == {"sure": "allow", "open": "block"}
    assert {id: stages(it) for id, it in found.items()} == {"sure": {"first"}, "open": {"second"}}
    wide = SafetyAnalyst.from_config(written_config(tmp_path, band={"below": 100.0}))
    assert wide.analyze(Prompt(id="sure", text="x")).decision == "block"
    with pytest.raises(ConfigError, match="did you mean 'band'"):
        SafetyAnalyst.from_config(written_config(tmp_path, bend="review"))


# -- the bound ---------------------------------------------------------------------------------------------------------------

N, NEW, REPETITIONS = 119, 6, 200
ALPHA, BETA = 0.05, 0.1


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 labelled trees of the first stage, a few of them missing, and a second stage that is right about all."""
    folder = tmp_path_factory.mktemp("population")
    rows = labelled_rows(POLICY_WITHOUT_BAND, 600, seed=4, slope=0.9, shift=0.2)
    for row in rows[::25]:
        row["tree"] = None
    written(folder / "first.jsonl", rows)
    stored(folder / "second.jsonl", {row["id"]: HARMFUL if row["label"] else SAFE for row in rows})
    return folder


POLICY_WITHOUT_BAND = load_policy("balanced").model_copy(update={"review_band": ReviewBand(), "guarantee": None})


class Rates:
    """Errors of one sort: how many new rows they can be of, and how many there are, by repetition."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.errors: list[int] = []

    def add(self, of_class: Sequence[bool], is_error: Sequence[bool], risk: Risk) -> None:
        self.rows.append(sum(of_class) if risk == "class" else len(of_class))
        self.errors.append(sum(is_error))

    @property
    def rate(self) -> float:
        return sum(self.errors) / sum(self.rows)

    @property
    def spread(self) -> float:
        """Standard error of the rate; repetitions are independent, rows within one are not."""
        residuals = np.array(self.errors) - self.rate * np.array(self.rows)
        return float(np.sqrt((residuals**2).sum()) / sum(self.rows))


@pytest.mark.parametrize("risk", ["class", "all"])
def test_errors_of_a_cascade_with_a_right_second_stage_stay_within_the_bound_it_was_set_to(
    population: Path, risk: Risk
) -> None:
    """Rows to calibrate on and new rows are drawn from one population, over and over: the guarantee is one over both."""
    scored = score_labelled(population / "first.jsonl", POLICY_WITHOUT_BAND.bind(TAXONOMY))
    second = Cascade(pair_from(population / "second.jsonl"))
    base = SafetyAnalyst(pair_from(population / "first.jsonl"), POLICY_WITHOUT_BAND, TAXONOMY, cascade=second)
    bare = [base.analyze(Prompt(id=f"r{i}", text="x")).decision for i in range(len(scored.labels))]
    rng = np.random.default_rng(11)
    missed, false, unguarded = Rates(), Rates(), Rates()
    n_passed = 0
    for _ in range(REPETITIONS):
        rows = rng.permutation(len(scored.labels))[: N + NEW]
        known, new = rows[:N], rows[N:]
        drawn = dataclasses.replace(
            scored, low=scored.low[known], high=scored.high[known], labels=scored.labels[known]
        )  # fmt: skip
        policy = control(drawn, missed_harm=ALPHA, false_block=BETA, risk=risk).policy
        assert policy.guarantee is not None
        labels = scored.labels[new].tolist()
        guarded = base.with_policy(policy)
        results = [guarded.analyze(Prompt(id=f"r{i}", text="x")) for i in new.tolist()]
        decisions = [it.decision for it in results]
        assert "review" not in decisions  # all that is in the band is passed on, and the second stage is sure
        harmful = [label == 1 for label in labels]
        missed.add(harmful, [h and d == "allow" for h, d in zip(harmful, decisions, strict=True)], risk)
        false.add([not h for h in harmful], [not h and d == "block" for h, d in zip(harmful, decisions, strict=True)], risk)
        unguarded.add(harmful, [h and bare[i] == "allow" for h, i in zip(harmful, new.tolist(), strict=True)], risk)
        for it, h, d in zip(results, harmful, decisions, strict=True):
            if stages(it) == {"second"}:
                n_passed += 1
                assert d == ("block" if h else "allow")
    assert missed.rate <= ALPHA + 3 * missed.spread
    assert false.rate <= BETA + 3 * false.spread
    assert missed.rate > ALPHA / 3  # the band is not wider than it has to be
    assert false.rate > BETA / 3
    assert unguarded.rate > ALPHA + 3 * unguarded.spread  # without the band the bound would not hold
    assert 0.05 < n_passed / (REPETITIONS * NEW) < 0.95
