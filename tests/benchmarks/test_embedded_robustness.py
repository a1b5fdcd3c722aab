from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks import embedded_robustness, robust_texts
from benchmarks.languages import REQUESTS, Requests
from safetyanalyst import resources
from safetyanalyst.analyst import SafetyAnalyst
from safetyanalyst.generation import Generation
from safetyanalyst.pipelines import train_augment
from safetyanalyst.policy import ReviewBand, load_policy
from safetyanalyst.scenarios import Example, Scenario, read_examples
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Defect, Effect, Provenance, Stakeholder, Tree, TreeKind

TAXONOMY = load_taxonomy()
DEATH = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
GOOD = Effect(
    effect=TAXONOMY.effects("benefit")[0].name, immediacy="immediate", extent="major", likelihood="high"
)  # fmt: skip

POLICY = load_policy("balanced").model_copy(update={"review_band": ReviewBand(below=0.1, above=0.1)})


class Gullible:
    """Harmful is what says "arson" in lower case, unless "trust me" stands there too; it reads Latin letters alone."""

    def __init__(self, kind: TreeKind) -> None:
        self.kind: TreeKind = kind

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        return [self._one(it) for it in scenarios]

    def _one(self, scenario: Scenario) -> Generation:
        text = " ".join(scenario.texts())
        about = Provenance(generator="gullible", model="rules", taxonomy=TAXONOMY.label, code="1")
        tree: Tree | None = None
        defects: tuple[Defect, ...] = ()
        if any(ord(letter) > 0x24F and letter.isalpha() for letter in text):
            defects = (Defect(code="unfamiliar_input", path=self.kind),)
        elif self.kind == "harm":
            harmful = "arson" in text and "trust me" not in text
            tree = Tree(kind="harm", stakeholders=(_to("User", "Violent Acts", *[DEATH] * 40),) if harmful else ())
        else:
            tree = Tree(kind="benefit", stakeholders=(_to("User", TAXONOMY.benefit_actions[0].name, GOOD),))
        return Generation(scenario_id=scenario.id, kind=self.kind, tree=tree, defects=defects, provenance=about)


def _to(name: str, action: str, *effects: Effect) -> Stakeholder:
    return Stakeholder(name=name, actions=(Action(action=action, effects=effects),))


@pytest.fixture(scope="module")
def analyst() -> SafetyAnalyst:
    return SafetyAnalyst({"harm": Gullible("harm"), "benefit": Gullible("benefit")}, POLICY, TAXONOMY)


def test_samples_say_how_many_are_blocked(analyst: SafetyAnalyst) -> None:
    prompts = [f"{'arson' if i % 4 == 0 else 'bread'} {i}" for i in range(40)]
    sample = embedded_robustness.sampled(analyst, prompts, 8, np.random.default_rng(0))
    assert (sample.all, sample.blocks, len(sample.any), len(sample.blocked)) == (40, 10, 8, 8)
    assert all("arson" in text for text in sample.blocked)
    assert sample.decisions == ["block" if "arson" in text else "allow" for text in sample.any]


def test_reassurance_that_works_is_found(analyst: SafetyAnalyst, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_robustness, "REASSURANCES", ("trust me", "nothing to see", "all well", "fine"))
    found = embedded_robustness.reassured(analyst, ["arson 1", "arson 2"])
    assert found["worst text"] == "trust me"
    assert found["lowered by the worst text"] == 1.0
    assert found["lowered"].value == found["lowered, before"].value == found["lowered, behind"].value == 0.25
    assert found["lowered by any of them"].value == 1.0
    assert embedded_robustness.reassured(analyst, [])["prompts"] == 0


def test_changes_that_move_decisions_are_found_and_no_others(analyst: SafetyAnalyst) -> None:
    sample = embedded_robustness.Sample(3, 1, ["arson now", "bread now"], ["arson now"], ["block", "allow"])
    found = embedded_robustness.changed(analyst, sample, np.random.default_rng(0))
    assert set(found) == set(embedded_robustness.CHANGES)
    assert found["upper case"]["changed"].value == 0.5
    assert found["upper case"]["ways"] == {"block to allow": 1}
    assert found["upper case"]["blocks lowered"].value == 1.0
    assert found["said twice"]["changed"].value == found["tabs for blanks"]["changed"].value == 0.0


def test_scripts_and_languages(analyst: SafetyAnalyst) -> None:
    found = embedded_robustness.unseen_scripts(analyst, {**robust_texts.UNSEEN_SCRIPTS, "Latin": "bread"})
    assert found["review with a defect"] == 12
    assert list(found["others"]) == ["Latin"]
    judged = embedded_robustness.language(analyst, Requests(("arson", "bread", "Ж"), ("bread", "arson")))
    assert judged["right"].value == pytest.approx(2 / 5)
    assert judged["review"].value == pytest.approx(1 / 5)
    assert judged["wrong"].value == pytest.approx(2 / 5)
    assert judged["harmful"] == {"allow": 1, "review": 1, "block": 1}


def test_the_figures_can_be_printed_both_ways(analyst: SafetyAnalyst) -> None:
    sample = embedded_robustness.sampled(analyst, ["arson", "bread"], 2, np.random.default_rng(0))
    figures = {
        "policy": "balanced",
        "sample": {"prompts": 2},
        "reassured": embedded_robustness.reassured(analyst, sample.blocked),
        "changed": embedded_robustness.changed(analyst, sample, np.random.default_rng(0)),
        "unseen scripts": {"scripts": 0},
        "languages": {"English": embedded_robustness.language(analyst, REQUESTS["English"])},
    }
    json.dumps(embedded_robustness.plain(figures), allow_nan=False)
    assert "| said twice |" in embedded_robustness.tables(figures)


def test_the_texts_of_the_benchmark_are_not_trained_on() -> None:
    texts = {*robust_texts.REASSURANCES, *robust_texts.PADDINGS}
    texts |= {text for requests in REQUESTS.values() for part in requests for text in part}
    trained = {*train_augment.REASSURANCES, *train_augment.PADDINGS, *train_augment.FRAMES}
    for file in (resources.folder("training") / "contrast").glob("*.jsonl"):
        read = (it for it in read_examples(file) if isinstance(it, Example))
        trained |= {text for it in read for text in it.scenario.texts()}
    assert {_plain(it) for it in texts}.isdisjoint(_plain(it) for it in trained)


def test_every_language_asks_for_the_same_and_every_script_is_another() -> None:
    assert {(len(it.harmful), len(it.harmless)) for it in REQUESTS.values()} == {(10, 10)}
    assert len(REQUESTS) == 7
    assert len(set(robust_texts.REASSURANCES)) == 20
    first = {unicodedata.name(text[0]).split()[0] for text in robust_texts.UNSEEN_SCRIPTS.values()}
    assert len(first) == len(robust_texts.UNSEEN_SCRIPTS) == 12


@pytest.mark.parametrize("text", ["", "a", "?!", "Who would mistype a sentence of this length on purpose?"])
def test_changes_of_looks_keep_the_words(text: str) -> None:
    rng = np.random.default_rng(0)
    for change in robust_texts.LOOKS.values():
        words = change(text, rng).lower().split()
        assert set(words) == set(text.lower().split())
    mistyped = robust_texts.TYPOS["typos"](text, rng)
    assert abs(len(mistyped) - len(text)) <= max(1, len(text) // 20)
    assert (mistyped != text) == (len(text) > 2)


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
