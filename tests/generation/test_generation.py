from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst import generation
from safetyanalyst.errors import BackendError, TaxonomyError
from safetyanalyst.generation import Generation, TreeGenerator, generate, load_generator
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy
from tests import scripted

TAXONOMY = load_taxonomy()
TEXTS = st.sampled_from(["bread", "arson", "crash", "silent", "unsure", "gossip"])


def prompts(texts: Sequence[str]) -> list[Prompt]:
    return [Prompt(id=f"p{i}", text=text) for i, text in enumerate(texts)]


@given(st.lists(TEXTS, max_size=12))
def test_every_scenario_gets_the_answer_it_would_get_alone(texts: list[str]) -> None:
    generator = scripted.Scripted("harm", TAXONOMY)
    together = generate(generator, prompts(texts))
    assert [it.scenario_id for it in together] == [f"p{i}" for i in range(len(texts))]
    assert together == [generate(generator, [prompt])[0] for prompt in prompts(texts)]
    for text, answer in zip(texts, together, strict=True):
        assert (answer.tree is None) == (text in ("crash", "silent"))
        assert bool(answer.defects) == (text in ("crash", "silent", "unsure"))


def test_a_crash_is_recorded_with_its_words_shortened() -> None:
    (answer,) = generate(scripted.Scripted("harm", TAXONOMY), [Prompt(id="p", text="crash " + "x" * 5000)])
    (defect,) = answer.defects
    assert (defect.code, defect.path) == ("generation_failed", "harm")
    assert defect.found.startswith("RuntimeError: cannot bear crash")
    assert len(defect.found) <= 200
    assert answer.provenance.generator == "Scripted"


class Counting(scripted.Scripted):
    calls = 0

    def generate(self, scenarios: Sequence[Any]) -> list[Generation]:
        self.calls += 1
        return super().generate(scenarios)


def test_a_batch_that_goes_well_is_asked_once_and_one_that_does_not_once_more_each() -> None:
    generator = Counting("harm", TAXONOMY)
    generate(generator, prompts(["bread"] * 10))
    assert generator.calls == 1
    generate(generator, prompts(["bread", "crash", "bread"]))
    assert generator.calls == 1 + 1 + 3


def test_no_scenarios_no_answers() -> None:
    assert generate(scripted.Scripted("harm", TAXONOMY), []) == []


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a loading function into the table of backends."""

    def put(load: Any) -> None:
        monkeypatch.setattr(scripted, "load", load)
        monkeypatch.setitem(generation.BACKENDS, "plugged", "tests.scripted:load")

    return put


def test_a_backend_of_the_table_is_loaded_with_its_options(plugged: Any) -> None:
    seen: list[Any] = []

    def load(kind: Any, taxonomy: Any, **options: Any) -> scripted.Scripted:
        seen.append(options)
        return scripted.Scripted(kind, taxonomy)

    plugged(load)
    generator = load_generator("plugged", "benefit", TAXONOMY, {"colour": "blue"})
    assert isinstance(generator, TreeGenerator)
    assert generator.kind == "benefit"
    assert seen == [{"colour": "blue"}]


def test_a_backend_of_the_other_kind_is_refused(plugged: Any) -> None:
    plugged(lambda kind, taxonomy: scripted.Scripted("harm", taxonomy))
    assert load_generator("plugged", "harm", TAXONOMY).kind == "harm"
    with pytest.raises(BackendError, match="asked for a generator of benefit trees and gave 'harm'"):
        load_generator("plugged", "benefit", TAXONOMY)


def test_what_is_no_generator_is_refused(plugged: Any) -> None:
    plugged(lambda kind, taxonomy: object())
    with pytest.raises(BackendError, match="gave 'object'"):
        load_generator("plugged", "harm", TAXONOMY)


def test_options_that_a_backend_does_not_take_are_refused(plugged: Any) -> None:
    plugged(lambda kind, taxonomy: scripted.Scripted(kind, taxonomy))
    with pytest.raises(BackendError, match=r"'plugged' does not take these options: .*colour"):
        load_generator("plugged", "harm", TAXONOMY, {"colour": "blue"})


def test_a_backend_that_cannot_be_loaded_is_named_with_the_reason(plugged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(kind: Any, taxonomy: Any) -> Any:
        raise OSError("no weights here")

    plugged(load)
    with pytest.raises(BackendError, match=r"'plugged' cannot be loaded: OSError: no weights here"):
        load_generator("plugged", "harm", TAXONOMY)
    for target in ("tests.no_such_module:load", "tests.scripted:no_such_function"):
        monkeypatch.setitem(generation.BACKENDS, "plugged", target)
        with pytest.raises(BackendError, match=r"'plugged' cannot be loaded: .*no_such"):
            load_generator("plugged", "harm", TAXONOMY)


def test_what_a_backend_refuses_on_purpose_is_passed_on(plugged: Any) -> None:
    def load(kind: Any, taxonomy: Any) -> Any:
        raise TaxonomyError("not mine")

    plugged(load)
    with pytest.raises(TaxonomyError, match="not mine"):
        load_generator("plugged", "harm", TAXONOMY)


def test_an_unknown_backend_is_refused_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(scripted.install(tmp_path))
    with pytest.raises(BackendError, match=r"no backend 'embeded'; known are embedded, .*rules, .*scripted"):
        load_generator("embeded", "harm", TAXONOMY)
    assert load_generator("rules", "harm", TAXONOMY).kind == "harm"


@pytest.mark.parametrize("kind", ["harm", "benefit"])
def test_the_embedded_backend_keeps_the_protocol(kind: Any) -> None:
    generator = load_generator("embedded", kind, TAXONOMY)
    answers = generator.generate(prompts(["How do I bake bread?", "", "\x00\ud800", "??? ??? 你好"]))
    assert [(it.scenario_id, it.kind) for it in answers] == [(f"p{i}", kind) for i in range(4)]
    assert all(it.tree is not None and it.tree.kind == kind for it in answers if not it.defects)
    assert all(it.defects for it in answers if it.tree is None)
    assert len({it.provenance for it in answers}) == 1
    assert len(answers[0].provenance.model_hash) == 64
    assert answers[0].provenance.taxonomy == TAXONOMY.label
