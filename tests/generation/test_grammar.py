"""What a model may write: everything that grammars allow is read without a defect, and everything within bounds is allowed."""

from __future__ import annotations

import json
import re
from typing import get_args

import jsonschema
import llguidance.numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from safetyanalyst.generation.dense import from_dense, to_dense
from safetyanalyst.generation.grammar import Bounds, Evidence, Form, Grammar, Words, grammar_of
from safetyanalyst.generation.notation import to_json, to_published, to_rows
from safetyanalyst.generation.parsing import Parsed, parse_tree
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Stakeholder, Tree, TreeKind
from tests.strategies import ACTIONS, complete_effects

TAXONOMY = load_taxonomy()
BOUNDS = Bounds(stakeholders=3, actions=3, effects=3, letters=12)
BYTES = LLTokenizer("byte")
ORDERED = "spelling"  # steps that a random walk names out of order


def walk(grammar: str, rng: np.random.Generator) -> str:
    """A text by a model that knows nothing: at every place any byte that the grammar allows."""
    matcher = LLMatcher(BYTES, grammar)
    mask = llguidance.numpy.allocate_token_bitmask(1, BYTES.vocab_size)
    written = bytearray()
    while True:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[: BYTES.vocab_size])
        assert len(allowed), matcher.get_error()
        token = int(rng.choice(allowed))
        if token == BYTES.eos_token:
            return written.decode()
        written.append(token)
        matcher.consume_token(token)


@st.composite
def within(draw: st.DrawFn, kind: TreeKind) -> Tree:
    """A tree within the bounds."""
    names = st.text("abcdefghijklmnop \u00e4\u4e16", min_size=2, max_size=12).map(str.strip).filter(lambda it: len(it) > 1)
    effects = st.lists(complete_effects(kind), min_size=1, max_size=3).map(tuple)
    steps = st.lists(st.integers(0, 999), max_size=5, unique=True).map(sorted).map(tuple)
    actions = st.builds(
        Action, action=st.sampled_from(ACTIONS[kind]), description=st.just("") | names, evidence=steps, effects=effects
    )
    people = st.builds(Stakeholder, name=names, actions=st.lists(actions, min_size=1, max_size=3).map(tuple))
    found = draw(st.lists(people, max_size=3, unique_by=lambda it: it.name))
    return Tree(kind=kind, stakeholders=tuple(found))


@given(st.sampled_from(TREE_KINDS).flatmap(within))
def test_every_tree_within_the_bounds_may_be_written(tree: Tree) -> None:
    dense = grammar_of(tree.kind, TAXONOMY, bounds=BOUNDS, words="free", evidence="steps")
    rows = grammar_of(tree.kind, TAXONOMY, form="rows", bounds=BOUNDS, words="free", evidence="steps")
    assert re.fullmatch(dense.regex or "", to_dense(tree, TAXONOMY))
    assert re.fullmatch(rows.regex or "", to_rows(tree, TAXONOMY))
    schema = json.loads(grammar_of(tree.kind, TAXONOMY, form="json", bounds=BOUNDS, evidence="steps").json_schema or "")
    plain = [
        it.model_copy(update={"actions": tuple(a.model_copy(update={"description": ""}) for a in it.actions)})
        for it in tree.stakeholders
    ]
    jsonschema.validate(to_json(tree.model_copy(update={"stakeholders": tuple(plain)})), schema)


@pytest.mark.parametrize("form", ["dense", "rows"])
@pytest.mark.parametrize("kind", TREE_KINDS)
@pytest.mark.parametrize(("words", "evidence"), [("none", "none"), ("free", "steps")])
def test_whatever_a_model_that_knows_nothing_writes_is_read(
    kind: TreeKind, form: Form, words: Words, evidence: Evidence
) -> None:
    grammar = grammar_of(kind, TAXONOMY, form=form, bounds=BOUNDS, words=words, evidence=evidence)
    rng = np.random.default_rng(0)
    for _ in range(25):
        text = walk(LLMatcher.grammar_from_lark(grammar.lark or ""), rng)
        assert re.fullmatch(grammar.regex or "", text)
        parsed = parse_tree(text, kind, TAXONOMY)
        assert parsed.tree is not None
        assert not parsed.tree.lost
        assert {it.code for it in parsed.defects} <= {ORDERED}
        assert len(parsed.tree.stakeholders) <= BOUNDS.stakeholders * (BOUNDS.actions if form == "rows" else 1)
        assert all(len(it.actions) <= BOUNDS.actions * BOUNDS.stakeholders for it in parsed.tree.stakeholders)
        assert all(len(leaf.action.effects) <= BOUNDS.effects for leaf in parsed.tree.leaves())
        assert evidence == "steps" or not any(leaf.action.evidence for leaf in parsed.tree.leaves())


@pytest.mark.parametrize("form", ["json", "published"])
@pytest.mark.parametrize("kind", TREE_KINDS)
def test_json_by_a_model_that_knows_nothing_is_read(kind: TreeKind, form: Form) -> None:
    grammar = grammar_of(kind, TAXONOMY, form=form, bounds=Bounds(stakeholders=2, actions=2, effects=2, letters=6))
    compiled = LLMatcher.grammar_from_json_schema(grammar.json_schema or "", overrides={"whitespace_flexible": False})
    rng = np.random.default_rng(0)
    for _ in range(5):
        parsed = parse_tree(walk(compiled, rng), kind, TAXONOMY)
        assert parsed.tree is not None
        assert parsed.defects == ()


def test_the_parts_of_a_tree_are_the_tree_by_lines() -> None:
    rng = np.random.default_rng(1)
    names, actions = (grammar_of("harm", TAXONOMY, part=part, bounds=BOUNDS) for part in ("stakeholders", "actions"))
    for _ in range(10):
        listed = walk(LLMatcher.grammar_from_lark(names.lark or ""), rng)
        behind = walk(LLMatcher.grammar_from_lark(actions.lark or ""), rng)
        assert re.fullmatch(names.regex or "", listed)
        assert re.fullmatch(actions.regex or "", behind)
        if listed != "-":
            line = f"{listed.splitlines()[0]}|{behind}"
            assert from_dense(line, "harm", TAXONOMY).defects == ()


def test_parts_have_one_form() -> None:
    with pytest.raises(ValueError, match="dense"):
        grammar_of("harm", TAXONOMY, form="json", part="actions")


@pytest.mark.parametrize("form", get_args(Form))
def test_the_empty_tree_may_be_written(form: Form) -> None:
    grammar = grammar_of("harm", TAXONOMY, form=form)
    empty = Tree(kind="harm", stakeholders=())
    if form in ("json", "published"):
        written = to_json(empty) if form == "json" else to_published(empty, TAXONOMY)
        jsonschema.validate(written, json.loads(grammar.json_schema or ""))
    else:
        assert re.fullmatch(grammar.regex or "", "-")
        assert from_dense("-", "harm", TAXONOMY) == Parsed(tree=empty)


def test_nothing_incomplete_may_be_written() -> None:
    grammar: Grammar = grammar_of("harm", TAXONOMY)
    for text in (
        "?",
        "User|?:7a",
        "User|45:?",
        "User|45:7(i?h)",
        "User|-",
        "",
        "User",
        "User|45",
        "User|45:7",
        " ",
        "User|46:7a",
    ):
        assert not re.fullmatch(grammar.regex or "", text)
