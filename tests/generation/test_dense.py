from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.generation.dense import codes_of, from_dense, is_dense, to_dense
from safetyanalyst.generation.notation import from_rows, is_row, to_rows
from safetyanalyst.generation.parsing import Parsed, parse_tree
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Action, Effect, Stakeholder, Tree
from tests.strategies import ODD_WORDS, any_trees, complete_trees

TAXONOMY = load_taxonomy()
NOTHING = Effect(effect=None, immediacy=None, extent=None, likelihood=None)
LOSS = Effect(effect="Financial property loss", immediacy="immediate", extent="substantial", likelihood="high")
DEATH = Effect(effect="Death", immediacy="downstream", extent="minor", likelihood="low")
FRAUD = Action(action="Fraud", effects=(LOSS,))


def harm(*stakeholders: Stakeholder, lost: int = 0) -> Tree:
    return Tree(kind="harm", stakeholders=stakeholders, lost=lost)


def one(name: str, *actions: Action) -> Stakeholder:
    return Stakeholder(name=name, actions=actions)


@given(any_trees())
def test_what_is_written_is_read_back_without_a_defect(tree: Tree) -> None:
    assert from_dense(to_dense(tree, TAXONOMY), tree.kind, TAXONOMY) == Parsed(tree=tree)


@pytest.mark.parametrize("word", ODD_WORDS)
def test_odd_words_survive(word: str) -> None:
    actions = (
        Action(action=None, description=word, effects=(NOTHING,)),
        Action(action="Technical problem solving", description=f"{word}:", evidence=(0, 12), effects=(NOTHING, NOTHING)),
    )
    tree = Tree(kind="benefit", stakeholders=(one(word, *actions), one(word), one(word, actions[0]), one(":|7h", *actions)))
    assert from_dense(to_dense(tree, TAXONOMY), "benefit", TAXONOMY) == Parsed(tree=tree)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-", harm()),
        ("User|-", harm(one("User"))),
        ("User|32:7i", harm(one("User", FRAUD))),
        (" User | 32 : 7i 1m ", harm(one("User", Action(action="Fraud", effects=(LOSS, DEATH))))),
        ("User|32:7i|32@1,2:1m7i", harm(one("User", FRAUD, Action(action="Fraud", evidence=(1, 2), effects=(DEATH, LOSS))))),
        ("User|32: a bill: forged:7i", harm(one("User", FRAUD.model_copy(update={"description": "a bill: forged"})))),
        ("User|32:7(i3h)", harm(one("User", FRAUD))),
        ("User|32:7(i?h)", harm(one("User", Action(action="Fraud", effects=(LOSS.model_copy(update={"extent": None}),))))),
        ("User|?:??i", harm(one("User", Action(action=None, effects=(NOTHING, LOSS.model_copy(update={"effect": None})))))),
        ("User|32:7i\nUser|32:7i", harm(one("User", FRAUD), one("User", FRAUD))),
        ("User|32:7i\n\n? x2\r\n", harm(one("User", FRAUD), lost=2)),
    ],
)
def test_lines_mean_what_they_say(text: str, tree: Tree) -> None:
    assert from_dense(text, "harm", TAXONOMY) == Parsed(tree=tree)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", {"empty_output"}),
        ("I cannot help with that.", {"invalid_syntax"}),
        ("User|32", {"empty_list"}),
        ("User|32:", {"empty_list"}),
        ("User|32:7", {"invalid_syntax"}),
        ("User|32:7i1", {"invalid_syntax"}),
        ("User|32:7z", {"invalid_syntax"}),
        ("User|32:999i", {"unknown_effect"}),
        ("User|99:7i", {"unknown_action"}),
        ("|32:7i", {"missing_value"}),
        ("User|32:7(i9h)", {"unknown_extent"}),
    ],
)
def test_what_is_no_line_is_a_defect_and_never_nothing(text: str, codes: set[str]) -> None:
    parsed = from_dense(text, "harm", TAXONOMY)
    assert {defect.code for defect in parsed.defects} == codes
    assert parsed.tree is None or parsed.tree.lost or any(not leaf.effect.is_complete for leaf in parsed.tree.leaves()) or (
        codes == {"unknown_action"} and next(parsed.tree.leaves()).action.action is None
    )  # fmt: skip


@given(complete_trees("harm"), st.data())
def test_a_cut_is_seen_or_leaves_a_beginning(tree: Tree, data: st.DataObject) -> None:
    wordless = [
        it.model_copy(update={"actions": tuple(action.model_copy(update={"description": ""}) for action in it.actions)})
        for it in tree.stakeholders
    ]
    text = to_dense(tree.model_copy(update={"stakeholders": tuple(wordless)}), TAXONOMY)
    cut = from_dense(text[: data.draw(st.integers(1, len(text)))], "harm", TAXONOMY)
    if not cut.defects and cut.tree is not None and not cut.tree.lost:
        said, whole = ([(it.stakeholder.name, it.action.action, it.effect) for it in t.leaves()] for t in (cut.tree, tree))
        assert said == whole[: len(said)]


@given(st.text(max_size=80))
def test_any_text_is_read_without_raising(text: str) -> None:
    assert from_dense(text, "harm", TAXONOMY).tree is not None or from_dense(text, "harm", TAXONOMY).defects


def test_every_cell_has_a_letter_in_order() -> None:
    codes = codes_of(TAXONOMY)
    assert list(codes) == list("abcdefghijklmnopqrstuvwx")
    assert (codes["a"], codes["b"], codes["d"], codes["m"], codes["x"]) == ("i1l", "i1m", "i2l", "d1l", "d4h")


def test_without_letters_everything_is_written_out() -> None:
    many = TAXONOMY.model_copy(
        update={"extents": tuple(TAXONOMY.extents[0].model_copy(update={"name": f"e{i}"}) for i in range(9))}
    )
    assert codes_of(many) == {}
    effect = LOSS.model_copy(update={"extent": "e8"})
    tree = harm(one("User", Action(action="Fraud", effects=(effect, effect))))
    assert to_dense(tree, many) == "User|32:7(i9h)7(i9h)"
    assert from_dense("User|32:7(i9h)7(i9h)", "harm", many) == Parsed(tree=tree)


@given(any_trees())
def test_the_door_to_reading_tells_the_notations_apart(tree: Tree) -> None:
    for line in to_dense(tree, TAXONOMY).split("\n"):
        assert not is_row(line)
    for line in to_rows(tree, TAXONOMY).split("\n"):
        assert not is_dense(line)
    if any(True for _ in tree.leaves()) and is_dense(to_dense(tree, TAXONOMY).split("\n")[0]):
        assert parse_tree(to_dense(tree, TAXONOMY), tree.kind, TAXONOMY) == Parsed(tree=tree)


def test_it_says_what_the_rows_say() -> None:
    rows = "User | 32 @2 | 7i3h 1d1l\nUser | 45 | 7i3h\n--\nUser | -\n?"
    assert to_dense(from_rows(rows, "harm", TAXONOMY).tree or harm(), TAXONOMY) == "User|32@2:7i1m|45:7i\nUser|-\n?"
