from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded import EmbeddedSpecialist, load
from safetyanalyst.generation.backends.embedded_known import Known, seen_slots
from safetyanalyst.generation.backends.embedded_model import FILES, EmbeddedModel, Reading, digest_of
from safetyanalyst.generation.backends.embedded_text import MAX_CHUNKS, WINDOW
from safetyanalyst.pipelines.train_export import seen_words
from safetyanalyst.scenarios import Message, Prompt, Scenario, ToolCall, Trajectory
from safetyanalyst.trees import TREE_KINDS
from tests import tiny

KNOWN = "How do I steal the kettle from the kitchen of my house?"


@pytest.fixture(scope="module")
def weights(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_weights(tmp_path_factory.mktemp("weights"), site, tiny.scenarios())


@pytest.fixture(scope="module")
def model(weights: Path) -> EmbeddedModel:
    return EmbeddedModel.load(weights)


def reading(model: EmbeddedModel, scenario: Scenario) -> Reading:
    (it,) = model.read([scenario])
    assert isinstance(it, Reading)
    return it


def test_a_reading_is_shared_by_both_kinds(model: EmbeddedModel) -> None:
    scenarios = tiny.scenarios()
    first = model.read(scenarios)
    again = model.read(scenarios[::-1])
    assert all(a is b for a, b in zip(first, again[::-1], strict=True))
    equal = [scenario.model_copy() for scenario in scenarios]  # others, though they read the same
    for a, b in zip(first, model.read(equal), strict=True):
        assert isinstance(a, Reading)
        assert isinstance(b, Reading)
        assert a is not b
        assert np.array_equal(a.z, b.z)


def test_a_batch_reads_as_each_scenario_alone(model: EmbeddedModel) -> None:
    scenarios = tiny.scenarios()
    twice = model.read([*scenarios, *scenarios])
    assert len(twice) == 2 * len(scenarios)
    for scenario, it in zip([*scenarios, *scenarios], twice, strict=True):
        assert isinstance(it, Reading)
        assert it.scenario is scenario
        assert np.array_equal(it.z, reading(model, scenario.model_copy()).z)


def broken() -> list[Scenario]:
    """Scenarios that no reader of ours makes: one fails while it is cut into chunks."""
    call = ToolCall.model_construct(id=None, name="clean", arguments={"of": {1, 2}})  # a set is not JSON
    step = Message.model_construct(role="assistant", content="", tool_calls=(call,), tool_call_id=None, name=None)
    return [
        Prompt.model_construct(id="none", type="prompt", text=None, defects=()),
        Trajectory.model_construct(id="set", type="trajectory", messages=(step,), defects=()),
    ]


@pytest.mark.parametrize("at", [0, 1])
def test_a_scenario_that_fails_fails_alone(weights: Path, model: EmbeddedModel, at: int) -> None:
    bad = broken()[at]
    before, after = tiny.prompt(KNOWN, "a"), tiny.prompt("How do I clean the carpet?", "b")
    first, failed, last = model.read([before, bad, after])
    assert isinstance(failed, TypeError)
    for it, scenario in ((first, before), (last, after)):
        assert isinstance(it, Reading)
        assert np.array_equal(it.z, reading(model, scenario.model_copy()).z)
    for kind in TREE_KINDS:
        generations = load(kind, tiny.TAXONOMY, weights=str(weights)).generate([before, bad, after])
        assert [it.scenario_id for it in generations] == ["a", bad.id, "b"]
        assert [it.tree is None for it in generations] == [False, True, False]
        assert [defect.code for defect in generations[1].defects] == ["generation_failed"]


def test_what_was_not_read_whole_says_so(weights: Path) -> None:
    text = f"{KNOWN} " + "the " * (WINDOW * MAX_CHUNKS)
    (long,) = load("harm", tiny.TAXONOMY, weights=str(weights)).generate([tiny.prompt(text)])
    assert long.tree is not None
    assert long.tree.lost == 1
    assert [defect.code for defect in long.defects] == ["elided_input"]


def test_every_step_is_read_alone_too(model: EmbeddedModel) -> None:
    trajectory = tiny.agent("Read my mail please", ("read_mail", "send the bank"), ("send_mail", "how " * 400), ("clean", ""))
    it = reading(model, trajectory)
    assert len(it.steps) == len(trajectory.steps())
    assert len(np.unique(np.stack([it.z, *it.steps]).round(6), axis=0)) == 4
    assert reading(model, tiny.prompt(KNOWN)).steps == ()


def test_familiarity_is_the_share_of_known_words(model: EmbeddedModel) -> None:
    assert model.seen.known([KNOWN]) == Known(1.0, 1.0, 0)
    assert model.seen.known(["the kettle xqzvw", "wqqxz 12 345"]) == Known(0.5, 1.0, 0)
    assert model.seen.known(["", "123 456", "?!"]) == Known(0.0, 1.0, 0)


FULL_WIDTH = "steal kettles".translate({c: c + 0xFEE0 for c in range(0x21, 0x7F)})


@pytest.mark.parametrize(
    "hidden", ["Как украсть чайник из дома", "怎样偷走厨房里的水壶呢", "كيف أسرق الغلاية من البيت", FULL_WIDTH]
)
def test_a_request_in_an_unseen_script_among_known_words_may_hold_anything(model: EmbeddedModel, hidden: str) -> None:
    for kind in TREE_KINDS:
        specialist = EmbeddedSpecialist(kind, model, tiny.TAXONOMY)
        texts = (KNOWN, f"{KNOWN} {hidden}", f"{KNOWN} βδ")
        plain, mixed, formula = specialist.generate([tiny.prompt(text) for text in texts])
        assert plain.tree is not None
        assert mixed.tree is not None
        assert formula.tree is not None
        lost = int(kind == "harm")  # nobody is excused by a benefit that was not read
        assert (plain.tree.lost, mixed.tree.lost, formula.tree.lost) == (0, lost, 0)
        assert [it.code for it in mixed.defects] == ["unfamiliar_input"]


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20))
def test_a_word_of_enough_texts_is_known(words: list[str]) -> None:
    seen = seen_words([tiny.prompt(" ".join(words))], 1)
    for text in words:
        for word in {it.lower() for it in text.split() if it.isalnum() and it.isascii()}:
            assert seen[list(seen_slots(word))].all()
    assert seen.sum() <= 2 * sum(len(text) for text in words)
    assert not seen_words([tiny.prompt(" ".join(words))], 2).any()


def test_the_digest_changes_with_any_file(weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy")
    found = {EmbeddedModel.load(weights).digest}
    assert found == {digest_of(copy)}
    for name in FILES:
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        found.add(digest_of(copy))
        (copy / name).write_bytes(whole)
    assert len(found) == 1 + len(FILES)
    assert len(EmbeddedModel.load(weights).digest) == 64


@pytest.mark.parametrize("name", FILES)
def test_a_broken_or_absent_file_is_refused_by_name(weights: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy")
    (copy / name).write_bytes(b"{}")
    with pytest.raises(BackendError, match=name):
        EmbeddedModel.load(copy)
    (copy / name).unlink()
    with pytest.raises(BackendError, match=name):
        EmbeddedModel.load(copy)


def test_a_smaller_taxonomy_is_refused(model: EmbeddedModel) -> None:
    smaller = tiny.TAXONOMY.model_copy(update={"harm_actions": tiny.TAXONOMY.harm_actions[:10]})
    with pytest.raises(BackendError, match="other actions than those of"):
        EmbeddedSpecialist("harm", model, smaller)


@settings(max_examples=40)
@given(st.text(max_size=300) | st.sampled_from(["", "\x00", "\ud800", "[SEP]", "kettle " * 500]))
def test_any_text_is_read(model: EmbeddedModel, text: str) -> None:
    it = reading(model, tiny.prompt(text))
    assert it.is_whole
    assert np.isfinite(it.z).all()
    assert 0.0 <= it.known.familiarity <= 1.0


def test_every_leaf_of_the_tree_is_an_effect_that_may_be_there(model: EmbeddedModel) -> None:
    for kind in TREE_KINDS:
        specialist = EmbeddedSpecialist(kind, model, tiny.TAXONOMY)
        (generation,) = specialist.generate([tiny.prompt(KNOWN)])
        assert generation.tree is not None
        soft = specialist.soft_effects(tiny.prompt(KNOWN), least=0.12)  # what the thresholds of the rows multiply to
        names = {(it.stakeholder, it.action, it.effect) for it in soft}
        leaves = {(leaf.stakeholder.name, leaf.action.action, leaf.effect.effect) for leaf in generation.tree.leaves()}
        assert leaves <= names
        assert min(it.probability for it in soft) >= 0.12


def test_soft_effects_of_what_cannot_be_read_are_an_error(model: EmbeddedModel) -> None:
    with pytest.raises(BackendError, match="none cannot be read"):
        EmbeddedSpecialist("harm", model, tiny.TAXONOMY).soft_effects(broken()[0])
