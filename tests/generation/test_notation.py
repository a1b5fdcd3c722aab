from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.notation import from_rows, to_json, to_published, to_rows
from safetyanalyst.generation.parsing import Parsed, tree_from_json
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Effect, Stakeholder, Tree, TreeKind
from tests.strategies import ODD_WORDS, any_trees, complete_trees

TAXONOMY = load_taxonomy()
NOTHING = Effect(effect=None, immediacy=None, extent=None, likelihood=None)
LOSS = Effect(effect="Financial property loss", immediacy="immediate", extent="substantial", likelihood="high")
DEATH = Effect(effect="Death", immediacy="downstream", extent="minor", likelihood="low")
GAIN = Effect(effect="Gain of accurate information access", immediacy="immediate", extent="significant", likelihood="medium")
MISSING = {"missing_value"}


def harm(*stakeholders: Stakeholder, lost: int = 0) -> Tree:
    return Tree(kind="harm", stakeholders=stakeholders, lost=lost)


def benefit(*stakeholders: Stakeholder, lost: int = 0) -> Tree:
    return Tree(kind="benefit", stakeholders=stakeholders, lost=lost)


def one(name: str, *actions: Action) -> Stakeholder:
    return Stakeholder(name=name, actions=actions)


def says_everything(tree: Tree) -> bool:
    """Whether there is nothing in the tree that a reader has to record."""
    gaps = [action for s in tree.stakeholders for action in s.actions if action.action is None]
    blank = [s for s in tree.stakeholders if not s.name.strip()]
    if tree.kind == "benefit":
        gaps = [action for action in gaps if not action.description.strip()]
    return not (tree.lost or gaps or blank or any(not leaf.effect.is_complete for leaf in tree.leaves()))


# the law: what is written is read back


@given(any_trees())
def test_rows_are_read_back_without_a_defect(tree: Tree) -> None:
    assert from_rows(to_rows(tree, TAXONOMY), tree.kind, TAXONOMY) == Parsed(tree=tree)


@given(any_trees())
def test_json_is_read_back_with_defects_only_where_something_is_missing(tree: Tree) -> None:
    text = json.dumps(to_json(tree))
    parsed = tree_from_json(json.loads(text), tree.kind, TAXONOMY)
    assert parsed.tree == tree
    assert {defect.code for defect in parsed.defects} == (set() if says_everything(tree) else MISSING)


@given(any_trees())
def test_the_published_form_is_read_back_with_defects_only_where_something_is_missing(tree: Tree) -> None:
    text = json.dumps(to_published(tree, TAXONOMY))
    parsed = tree_from_json(json.loads(text), tree.kind, TAXONOMY)
    assert parsed.tree == tree
    assert {defect.code for defect in parsed.defects} == (set() if says_everything(tree) else MISSING)


@pytest.mark.parametrize("word", ODD_WORDS)
def test_odd_words_survive_everywhere(word: str) -> None:
    actions = (
        Action(action=None, description=word, effects=(NOTHING,)),
        Action(action=None, description=word, evidence=(0, 12), effects=(GAIN, NOTHING)),
        Action(action="Technical problem solving", description=word, effects=(GAIN,)),
    )
    tree = benefit(one(word, *actions), one(word), one(word, actions[0]), one("another", *actions))
    assert from_rows(to_rows(tree, TAXONOMY), "benefit", TAXONOMY) == Parsed(tree=tree)
    assert tree_from_json(to_json(tree), "benefit", TAXONOMY).tree == tree
    assert tree_from_json(to_published(tree, TAXONOMY), "benefit", TAXONOMY).tree == tree


# rows


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-", harm()),
        ("User | -", harm(one("User"))),
        ("User | 32 | 7i3h", harm(one("User", Action(action="Fraud", effects=(LOSS,))))),
        ("User|32|7i3h 1d1l", harm(one("User", Action(action="Fraud", effects=(LOSS, DEATH))))),
        ("User | 32 @0,3 | 7i3h", harm(one("User", Action(action="Fraud", evidence=(0, 3), effects=(LOSS,))))),
        (
            "User | 32: false bill @2 | 7i3h",
            harm(one("User", Action(action="Fraud", description="false bill", evidence=(2,), effects=(LOSS,)))),
        ),
        ("User | ? | ?", harm(one("User", Action(action=None, effects=(NOTHING,))))),
        ("User | ?: words | ????", harm(one("User", Action(action=None, description="words", effects=(NOTHING,))))),
        ("?\nUser | -\n? x2", harm(one("User"), lost=3)),
        (
            "A | 32 | 7i3h\nA | 32 | 1d1l\nB | 32 | 7i3h",
            harm(
                one("A", Action(action="Fraud", effects=(LOSS,)), Action(action="Fraud", effects=(DEATH,))),
                one("B", Action(action="Fraud", effects=(LOSS,))),
            ),
        ),
        (
            "A | 32 | 7i3h\n--\nA | 32 | 7i3h",
            harm(one("A", Action(action="Fraud", effects=(LOSS,))), one("A", Action(action="Fraud", effects=(LOSS,)))),
        ),
        ("\r\n  User | 32 | 7i3h\r\n\r\n", harm(one("User", Action(action="Fraud", effects=(LOSS,))))),
    ],
)
def test_rows_mean_what_they_say(text: str, tree: Tree) -> None:
    assert from_rows(text, "harm", TAXONOMY) == Parsed(tree=tree)


@pytest.mark.parametrize(
    ("action", "name", "description", "evidence"),
    [
        ("B7: finds the leak @1", "Technical problem solving", "finds the leak", (1,)),
        ("B7", "Technical problem solving", "", ()),
        ("finds the leak", None, "finds the leak", ()),
        ("meets them @noon", None, "meets them @noon", ()),
        ("mail to a@1b", None, "mail to a@1b", ()),
        (r"meets them \@3", None, "meets them @3", ()),
        (r"this \| that", None, "this | that", ()),
    ],
)
def test_benefits_have_a_category_or_words(action: str, name: str | None, description: str, evidence: tuple[int, ...]) -> None:
    expected = Action(action=name, description=description, evidence=evidence, effects=(GAIN,))
    assert from_rows(f"User | {action} | 10i2m", "benefit", TAXONOMY) == Parsed(tree=benefit(one("User", expected)))


@pytest.mark.parametrize(
    ("row", "code", "tree"),
    [
        ("User | 99 | 7i3h", "unknown_action", harm(one("User", Action(action=None, description="99", effects=(LOSS,))))),
        ("User | Fraud | 7i3h", "unknown_action", harm(one("User", Action(action=None, description="Fraud", effects=(LOSS,))))),
        ("User |  | 7i3h", "missing_value", harm(one("User", Action(action=None, effects=(LOSS,))))),
        (
            "User | 32 | 99i3h",
            "unknown_effect",
            harm(one("User", Action(action="Fraud", effects=(LOSS.model_copy(update={"effect": None}),)))),
        ),
        (
            "User | 32 | 7i0h",
            "unknown_extent",
            harm(one("User", Action(action="Fraud", effects=(LOSS.model_copy(update={"extent": None}),)))),
        ),
        (
            "User | 32 | 7i3x",
            "unknown_likelihood",
            harm(one("User", Action(action="Fraud", effects=(LOSS.model_copy(update={"likelihood": None}),)))),
        ),
        ("User | 32 | 7x3h", "invalid_syntax", harm(one("User", Action(action="Fraud", effects=(NOTHING,))))),
        ("User | 32 | 7i3", "invalid_syntax", harm(one("User", Action(action="Fraud", effects=(NOTHING,))))),
        ("User | 32 |", "empty_list", harm(one("User", Action(action="Fraud", effects=(NOTHING,))), lost=1)),
        (" | 32 | 7i3h", "missing_value", harm(one("", Action(action="Fraud", effects=(LOSS,))), lost=1)),
        ("User | -\n--", "truncated", harm(one("User"), lost=1)),
        ("User | -\nUser | 32", "invalid_syntax", harm(one("User"), lost=1)),
        ("User | -\nUse", "invalid_syntax", harm(one("User"), lost=1)),
        ("User | -\n-", "invalid_syntax", harm(one("User"), lost=1)),
        ("User | -\na|b|c|d", "invalid_syntax", harm(one("User"), lost=1)),
        ("? x0\nUser | -", "invalid_syntax", harm(one("User"), lost=1)),
    ],
)
def test_what_cannot_be_read_is_recorded_and_missing(row: str, code: str, tree: Tree) -> None:
    parsed = from_rows(row, "harm", TAXONOMY)
    assert parsed.tree == tree
    assert [defect.code for defect in parsed.defects] == [code]


@pytest.mark.parametrize("text", ["", "  \n ", "There is no harm in this.", "--", "--\n--", "User | 32", "{}"])
def test_a_text_without_a_readable_row_is_no_tree(text: str) -> None:
    parsed = from_rows(text, "harm", TAXONOMY)
    assert parsed.tree is None
    assert parsed.defects


def test_a_repeated_or_disordered_step_is_told() -> None:
    parsed = from_rows("User | 32 @3,1,3 | 7i3h", "harm", TAXONOMY)
    assert parsed.tree is not None
    assert parsed.tree.stakeholders[0].actions[0].evidence == (1, 3)
    assert [defect.code for defect in parsed.defects] == ["spelling"]


@given(st.text() | st.text(alphabet="|?-x \n\\@,:B0123456789idlmhu{}", max_size=40), st.sampled_from(["harm", "benefit"]))
def test_any_text_is_read_without_an_exception_and_in_full(text: str, kind: TreeKind) -> None:
    parsed = from_rows(text, kind, TAXONOMY)
    if parsed.tree is None:
        assert parsed.defects
    else:
        again = from_rows(to_rows(parsed.tree, TAXONOMY), kind, TAXONOMY)
        assert again == Parsed(tree=parsed.tree)


@given(complete_trees("harm"), st.data())
def test_a_row_cut_in_its_middle_is_never_clean(tree: Tree, data: st.DataObject) -> None:
    rows = to_rows(tree, TAXONOMY)
    cut = rows[: data.draw(st.integers(0, len(rows) - 1))]
    if not rows[len(cut)].isspace() and not cut[-1:].isspace() and cut:  # the notation has no end mark: whole tokens may go
        parsed = from_rows(cut, "harm", TAXONOMY)
        assert parsed.defects
        assert parsed.tree is None or parsed.tree.lost or any(not leaf.effect.is_complete for leaf in parsed.tree.leaves())


# other taxonomies


def test_scales_of_other_taxonomies_have_letters_of_their_own() -> None:
    names = ("rare", "remote", "real")
    levels = tuple(level.model_copy(update={"name": name}) for level, name in zip(TAXONOMY.likelihoods, names, strict=True))
    taxonomy = TAXONOMY.model_copy(update={"likelihoods": levels, "extents": tuple(reversed(TAXONOMY.extents))})
    effects = tuple(LOSS.model_copy(update={"likelihood": name}) for name in names)
    tree = harm(one("User", Action(action="Fraud", effects=effects)))
    rows = to_rows(tree, taxonomy)
    assert rows == "User | 32 | 7i2a 7i2b 7i2c"
    assert from_rows(rows, "harm", taxonomy) == Parsed(tree=tree)
    assert tree_from_json(to_published(tree, taxonomy), "harm", taxonomy) == Parsed(tree=tree)


def test_names_of_another_taxonomy_are_not_written() -> None:
    action, effect = Action(action="Boredom", effects=(LOSS,)), LOSS.model_copy(update={"effect": "Yawning"})
    for tree in (
        harm(one("User", action)),
        harm(one("User", Action(action="Fraud", effects=(effect,)))),
        harm(one("User", Action(action="Fraud", effects=(LOSS.model_copy(update={"likelihood": "often"}),)))),
    ):
        with pytest.raises(ConfigError, match=r"Boredom|Yawning|often"):
            to_rows(tree, TAXONOMY)
    with pytest.raises(ConfigError, match="Boredom"):
        to_published(harm(one("User", action)), TAXONOMY)


# the JSON forms, word for word


def test_our_json_form_is_the_contract() -> None:
    effects = (LOSS, NOTHING)
    tree = harm(one("User", Action(action="Fraud", evidence=(1,), effects=effects)), lost=2)
    assert json.dumps(to_json(tree)) == (
        '{"stakeholders": [{"name": "User", "actions": [{"action": "Fraud", "evidence": [1], "effects": ['
        '{"effect": "Financial property loss", "immediacy": "immediate", "extent": "substantial", "likelihood": "high"}, '
        '{"effect": null, "immediacy": null, "extent": null, "likelihood": null}]}]}], "lost": 2}'
    )
    described = harm(one("User", Action(action=None, description="words", effects=(LOSS,))))
    assert list(to_json(described)["stakeholders"][0]["actions"][0]) == ["action", "description", "evidence", "effects"]
    assert to_json(harm()) == {"stakeholders": []}


def test_the_published_form_is_as_published() -> None:
    tree = harm(one("User", Action(action="Fraud", effects=(LOSS, DEATH))), lost=1)
    assert to_published(tree, TAXONOMY) == [
        {
            "stakeholder": "User",
            "harms": [
                {
                    "action": "##Content Safety Risks## #Deception# 32. Fraud",
                    "effects": [
                        {
                            "effect": "7. Financial property loss",
                            "immediacy": True,
                            "extent": "Substantial",
                            "likelihood": "High",
                        },
                        {"effect": "1. Death", "immediacy": False, "extent": "Minor", "likelihood": "Low"},
                    ],
                }
            ],
        },
        None,
    ]
    words = to_published(benefit(one("User", Action(action=None, description="explains it", effects=(GAIN,)))), TAXONOMY)
    assert words == [
        {
            "stakeholder": "User",
            "benefits": [
                {
                    "action": "explains it",
                    "effects": [
                        {
                            "effect": "10. Gain of accurate information access",
                            "immediacy": True,
                            "extent": "Significant",
                            "likelihood": "Medium",
                        }
                    ],
                }
            ],
        }
    ]
