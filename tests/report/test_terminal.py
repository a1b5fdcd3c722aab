from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from safetyanalyst.analyst import Assessor, FailedItem
from safetyanalyst.cascade import passed_on
from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.policy import Policy, load_policy
from safetyanalyst.report import terminal
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Defect, Effect, HarmBenefitTree, Stakeholder, Tree
from tests import scripted
from tests.strategies import ODD_WORDS, pairs

TAXONOMY = load_taxonomy()
POLICY = load_policy("wildjailbreak-v1")
ASSESSOR = Assessor(POLICY, TAXONOMY)
GRAVE = Effect(effect="Death", immediacy="immediate", extent="major", likelihood="high")
USEFUL = scripted.harmless_benefit()
EVIL = "\x1b[31m[bold]x[/bold]\x07\u202e\x9b :smile: {} %s"
STEERING = {"\x1b", "\x07", "\u202e", "\x9b", "\r", "\x00", "\ud800", "\u2028"}


def shown(renderable: Any, width: int = 110) -> str:
    """The text of a rendering, as a console that is no terminal writes it."""
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False, no_color=True).print(renderable)
    return out.getvalue()


def drawn(pair: HarmBenefitTree, policy: Policy = POLICY, text: str = "", **options: Any) -> str:
    return shown(terminal.draw(Assessor(policy, TAXONOMY).assess(pair, **options), policy, text))


def pair(harm: Tree | None, benefit: Tree | None = USEFUL) -> HarmBenefitTree:
    return HarmBenefitTree(harm=harm, benefit=benefit)


NO_HARM = Tree(kind="harm", stakeholders=())


def test_a_decision_is_drawn_with_score_threshold_and_both_trees() -> None:
    tree = scripted.tree_of("harm", "Neighbours", "Violent Acts", (2, 4), GRAVE)
    out = drawn(pair(tree), text="how to do it")
    assert out.lstrip().startswith("BLOCK")
    assert "score 0.028 is above the threshold 0  [wildjailbreak-v1]" in out
    assert "tree: how to do it" in out
    for words in ("Harm tree  +0.162", "Benefit tree  -0.134", "Neighbours", "Violent Acts  steps 2, 4", "What weighs most"):
        assert words in out
    assert "+0.162  Death  immediate, major, high likelihood" in out
    assert "+0.162  Death on Neighbours, by Violent Acts" in out
    assert "Defects" not in out


@pytest.mark.parametrize(
    ("trees", "words"),
    [
        (pair(NO_HARM), ["ALLOW", "is not above the threshold 0", "nobody named"]),
        (pair(None), ["REVIEW", "unbounded above", "Harm tree  is missing: nothing can be said about it"]),
        (pair(NO_HARM, None), ["ALLOW", "unbounded below", "Benefit tree  is missing"]),
        (pair(NO_HARM.model_copy(update={"lost": 1})), ["REVIEW", "and 1 part that could not be read"]),
        (pair(NO_HARM.model_copy(update={"lost": 3})), ["REVIEW", "and 3 parts that could not be read"]),
        (
            pair(scripted.tree_of("harm", "A", None, (), GRAVE.model_copy(update={"extent": None, "effect": None}))),
            ["REVIEW", "an action that could not be read", "+0.000..+1.000",
             "immediate, ?, high likelihood", "what is missing could change"],
        ),
    ],
    ids=["nothing", "no harm", "no benefit", "lost", "lost more", "unread"],
)  # fmt: skip
def test_what_is_missing_is_said(trees: HarmBenefitTree, words: list[str]) -> None:
    out = drawn(trees)
    assert all(word in out for word in words), out


@pytest.mark.parametrize(
    ("band", "threshold", "words"),
    [
        ({"below": 0.5, "above": 0.5}, 0.0, "REVIEW   score -0.134 is within the review band around the threshold 0"),
        ({"below": 0.5}, 1.0, "ALLOW   score -0.134 is not above the threshold 1, nor in its review band (-0.5)"),
        ({"above": 0.5}, -1.0, "BLOCK   score -0.134 is above the threshold -1 and its review band (+0.5)"),
    ],
)
def test_the_review_band_is_said(band: dict[str, float], threshold: float, words: str) -> None:
    policy = Policy.model_validate(POLICY.model_dump(by_alias=True) | {"review_band": band, "threshold": threshold})
    assert words in drawn(pair(NO_HARM), policy)


def test_a_tree_that_the_policy_does_not_count_is_not_drawn() -> None:
    weights = {name: value for name, value in POLICY.weights.items() if name.startswith("harm/")}
    policy = POLICY.model_copy(update={"space": FeatureSpaceSpec(analysis="harms"), "weights": weights})
    out = drawn(pair(NO_HARM), policy)
    assert "Harm tree" in out
    assert "Benefit tree" not in out


def test_defects_are_listed_up_to_a_few() -> None:
    defects = [Defect(code="spelling", path=f"harm[{i}]", found="x" * 500) for i in range(11)]
    out = drawn(pair(NO_HARM), defects=defects)
    assert "Defects (11)" in out
    assert "spelling at harm[7]" in out
    assert "harm[8]" not in out
    assert "and 3 more" in out


def test_a_failed_item_is_drawn() -> None:
    failed = FailedItem(id=EVIL, line=7, error=f"no {EVIL}", decision="review")
    assert "line 7 could not be read" in shown(terminal.draw(failed, POLICY))
    assert "not read: no" in shown(terminal.line(failed))
    assert "line" not in shown(terminal.draw(failed.model_copy(update={"line": None, "id": "a"}), POLICY))
    for out in (shown(terminal.draw(failed, POLICY)), shown(terminal.line(failed))):
        assert "[bold]x[/bold]" in out
        assert not set(out) & STEERING


def test_hostile_words_everywhere_are_plain() -> None:
    effect = Effect.model_construct(effect=EVIL, immediacy=EVIL, extent=EVIL, likelihood=EVIL)
    action = Action.model_construct(action=EVIL, description=EVIL, evidence=(), effects=(effect,))
    tree = Tree.model_construct(kind="harm", stakeholders=(Stakeholder.model_construct(name=EVIL, actions=(action,)),), lost=0)
    trees = HarmBenefitTree.model_construct(harm=tree, benefit=tree.model_copy(update={"kind": "benefit"}))
    policy = POLICY.model_copy(update={"name": EVIL})
    out = drawn(trees, policy, EVIL, id=EVIL, defects=[Defect(code="spelling", path=EVIL, found=EVIL)])
    assert not set(out) & STEERING
    assert out.count("[bold]x[/bold]") >= 10
    assert "\\u202e" in out
    assert "\\u001b[31m" in out


@given(pairs(), st.text(max_size=50) | st.sampled_from(ODD_WORDS), st.integers(30, 120))
def test_anything_can_be_drawn(trees: HarmBenefitTree, text: str, width: int) -> None:
    analysis = ASSESSOR.assess(trees, id=text)
    for rendering in (terminal.draw(analysis, POLICY, text), terminal.line(analysis)):
        out = shown(rendering, width)
        assert not set(out) & STEERING
        assert analysis.decision.upper() in out


@given(st.text())
def test_plain_text_steers_nothing_and_ordinary_text_stays(text: str) -> None:
    out = terminal.plain(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in out)
    assert terminal.plain(out) == out
    assert terminal.plain("Grüße, 東京! 🙂") == "Grüße, 東京! 🙂"
    short = terminal.shorten(text, 20)
    assert len(short) <= 20
    assert "\n" not in short


def test_the_summary_counts() -> None:
    words = terminal.summary({"allow": 3, "review": 2, "block": 1}, 2)
    assert words == "6 scenarios: 3 allow, 2 review, 1 block (2 of them could not be analysed)"


def test_only_a_few_of_the_strongest_are_named() -> None:
    effects = [GRAVE] * 9
    out = drawn(pair(scripted.tree_of("harm", "Neighbours", "Violent Acts", (), *effects)))
    assert out.count("Death on Neighbours") == 3


def test_a_cascade_is_told_in_a_line() -> None:
    assert terminal.cascade(passed_on({"first": 3, "second": 1})) == (
        "cascade: 1 of 4 scenarios passed on to the second stage (25.0%)"
    )
    told = terminal.cascade(passed_on({"first": 1, "kept": 2}))
    assert told.endswith("(66.7%); 2 of them kept the first analysis, because the second stage failed")
    assert terminal.cascade(passed_on({})) == "cascade: 0 of 0 scenarios passed on to the second stage"
