from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import synthetic
from safetyanalyst.features import FeatureMatrix, FeatureSpace, FeatureSpaceSpec
from safetyanalyst.generation import parsing
from safetyanalyst.generation.notation import to_published
from safetyanalyst.pipelines import compiled, featurize, pieces
from safetyanalyst.pipelines.featurize import TextFeaturizer
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.strategies import complete_pairs, pairs

TAXONOMY = load_taxonomy()
SPECS = [
    FeatureSpaceSpec(analysis=analysis, action=action, effect=effect)  # type: ignore[arg-type]
    for analysis, action, effect in itertools.product(("both", "harms", "benefits"), ("group", "leaf"), ("none", "group"))
]
SPACES = [FeatureSpace(TAXONOMY, spec) for spec in SPECS]
Engine = Literal["auto", "numpy"]
# these remember what earlier cases taught them
WARM = {(engine, i): TextFeaturizer(space, engine) for engine in get_args(Engine) for i, space in enumerate(SPACES)}
WRITERS = [
    {}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"separators": (" ,\n", "\r: ")}, {"ensure_ascii": False},
]  # fmt: skip
NOT_COMPILED = "no library was made from this pieces.c (pip install . with a C compiler makes it)"
COMPILED = pytest.param("auto", id="compiled", marks=pytest.mark.skipif(compiled.load() is None, reason=NOT_COMPILED))
both_engines = pytest.mark.parametrize("engine", [COMPILED, "numpy"])


def published(pair: HarmBenefitTree) -> list[Any]:
    """Both trees in one published list."""
    return [entry for tree in (pair.harm, pair.benefit) if tree is not None for entry in to_published(tree, TAXONOMY)]


def corpus(seed: int = 0, n: int = 30, size: int = 40) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [synthetic.published_tree(rng, TAXONOMY, int(rng.integers(1, size))) for _ in range(n)]


def slowly(texts: Sequence[str], space: FeatureSpace) -> FeatureMatrix:
    return space.featurize(parsing.pair_from_text(text, TAXONOMY).trees for text in texts)


def assert_same(found: FeatureMatrix, expected: FeatureMatrix) -> None:
    """Equal but for the order in which the patterns were met."""
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.counts.toarray(), expected.counts.toarray())
    np.testing.assert_array_equal(found.lost, expected.lost)
    assert by_pattern(found) == by_pattern(expected)


def by_pattern(matrix: FeatureMatrix) -> dict[bytes, list[float]]:
    dense = matrix.partial.toarray()
    return {cells.tobytes(): dense[:, i].tolist() for i, cells in enumerate(matrix.patterns) if dense[:, i].any()}


def assert_featurized(engine: Engine, texts: Sequence[str], which: Sequence[int] = range(len(SPECS))) -> None:
    for i in which:
        expected = slowly(texts, SPACES[i])
        assert_same(TextFeaturizer(SPACES[i], engine).featurize(texts), expected)
        assert_same(WARM[engine, i].featurize(texts), expected)


@pytest.fixture
def only_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a text takes the ordinary parser."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a clean text took the slow way")

    monkeypatch.setattr(featurize.parsing, "pair_from_text", refuse)


@both_engines
@pytest.mark.parametrize("i", range(len(SPECS)), ids=lambda i: str(SPECS[i]))
@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_clean_texts_in_every_spelling_of_json(engine: Engine, i: int, writer: dict[str, Any]) -> None:
    assert_featurized(engine, [json.dumps(tree, **writer) for tree in corpus(1, 6)], [i])


@both_engines
def test_clean_texts_never_take_the_slow_way(engine: Engine, only_quick: None) -> None:
    texts = [json.dumps(tree, **writer) for tree in corpus(2, 5) for writer in WRITERS]
    matrix = TextFeaturizer(SPACES[0], engine).featurize(texts)
    expected = SPACES[0].featurize(parsing.pair_from_json(json.loads(text), TAXONOMY).trees for text in texts)
    assert_same(matrix, expected)


@both_engines
def test_no_texts(engine: Engine) -> None:
    assert len(TextFeaturizer(SPACES[0], engine).featurize([])) == 0


@both_engines
@given(st.lists(complete_pairs().map(published), max_size=4), st.sampled_from(WRITERS), st.integers(0, len(SPECS) - 1))
def test_complete_trees(engine: Engine, trees: list[Any], writer: dict[str, Any], i: int) -> None:
    assert_featurized(engine, [json.dumps(tree, **writer) for tree in trees], [i])


@both_engines
@given(st.lists(pairs().map(published), max_size=4), st.sampled_from(WRITERS), st.integers(0, len(SPECS) - 1))
def test_trees_of_any_sort(engine: Engine, trees: list[Any], writer: dict[str, Any], i: int) -> None:
    assert_featurized(engine, [json.dumps(tree, **writer) for tree in trees], [i])


BASE = [json.dumps(tree) for tree in corpus(3, 8, 6)]
SNIPPETS = [
    "{", "}", "[", "]", ",", ":", '"', "\\", "\\u007b", "\\n", " ", "\n", "\xa0", "\x0b", "\x0c", "\u2028", "\ufeff", "\x00",
    "\ud800", "null", "true", "NaN", "1", "{}", "[]", '"x": 1, ', '"effects": [', '"action": "x", ', '"stakeholder": "y", ',
    '"harms": []', '{"stakeholder": "z", "harms": []}, ', "}]}]}]", "},{", "]}, {", '"extent": "Minor", ',
    '"lost": 3, ', "é", "Minor", "Low",
]  # fmt: skip
edits = st.tuples(st.floats(0, 1), st.integers(0, 12), st.just("") | st.sampled_from(SNIPPETS))


def edited(text: str, changes: list[tuple[float, int, str]]) -> str:
    for place, length, snippet in changes:
        at = int(place * len(text))
        text = text[:at] + snippet + text[at + length :]
    return text


@both_engines
@given(
    st.lists(st.tuples(st.sampled_from(BASE), st.lists(edits, max_size=3)), min_size=1, max_size=6),
    st.sampled_from([0, 3, 5, 9]),
)
def test_mutated_texts(engine: Engine, cases: list[tuple[str, list[tuple[float, int, str]]]], i: int) -> None:
    assert_featurized(engine, [edited(text, changes) for text, changes in cases], [i])


@both_engines
@given(st.sampled_from(BASE), st.data())
def test_a_structural_sign_more_or_less(engine: Engine, text: str, data: st.DataObject) -> None:
    signs = [i for i, c in enumerate(text) if c in '{}[],:"']
    at = data.draw(st.sampled_from(signs))
    snippet = data.draw(st.sampled_from(["", *SNIPPETS]))
    assert_featurized(engine, [text[:at] + snippet + text[at + data.draw(st.integers(0, 1)) :]], [0])


@both_engines
@pytest.mark.parametrize(
    "name",
    [
        "{",
        "}",
        "[]",
        '"',
        "\\",
        '", "harms": [{',
        "a{b}c",
        '\\"}]}]',
        "\u2028",
        "\x00",
        "{" * 50,
        "]}]}]",
        "\x7f",
        "\u00a0",
        "🙂",
        "",
    ],
)
def test_braces_and_quotes_inside_strings(engine: Engine, name: str) -> None:
    tree = json.loads(BASE[0])
    tree[0]["stakeholder"] = name
    tree[-1][next(key for key in tree[-1] if key != "stakeholder")][0]["action"] = name
    assert_featurized(engine, [json.dumps(tree), json.dumps(tree, ensure_ascii=False), BASE[1]], [0, 7])


@both_engines
@pytest.mark.parametrize("blank", [" ", "\t", "\r\n", "\x0b", "\x0c", "\xa0", "\u2003", "\u3000", "\x1c", "\x85", "\ufeff"])
@pytest.mark.parametrize("place", ["[{", "}, {", "}]", ": [", '": "'])
def test_only_the_blanks_of_json_are_blanks(engine: Engine, blank: str, place: str) -> None:
    text = BASE[0].replace(place, blank.join(place), 1)
    assert text != BASE[0]
    assert_featurized(engine, [text, blank + BASE[0], BASE[0] + blank], [0])


@both_engines
@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[]", "{}", "null", "[{}]", "{", "[{", "x", '"text"', "[[]]", '[{"stakeholder": "a", "harms": []}]',
        '[{"stakeholder": "a", "harms": []}, {"stakeholder": "b", "benefits": []}]', '[{"stakeholder": "a", "benefits": []}]',
        '[{"stakeholder": "a", "harms": []},]', '[{"stakeholder": "a", "harms": [], "benefits": []}]', '[{"stakeholder": "a"}]',
        '[{"stakeholder": "a", "stakeholder": "b", "harms": []}]', '[{"stakeholder": 1, "harms": []}]',
        '[{"stakeholder": "a", "harms": [{"action": "Fraud", "effects": []}]}]', '[{"harms": [], "stakeholder": "a"}]',
        '[{"stakeholder": "a", "harms": [{"action": "Fraud", "effects": [{}]}]}]', "[" * 2000, "\x00" * 64, '{"harms": []}',
        '"[{\\"stakeholder\\": \\"a\\", \\"harms\\": []}]"',
    ],
)  # fmt: skip
def test_odd_texts(engine: Engine, text: str) -> None:
    assert_featurized(engine, [text, BASE[0], text])


@both_engines
def test_texts_over_several_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize, "_BATCH_BYTES", 3000)
    monkeypatch.setattr(featurize, "_GROUP_BYTES", 12_000)
    texts = [json.dumps(tree) for tree in corpus(4, 25)]
    texts[3], texts[11], texts[24] = texts[3][:-5], "", texts[24].replace("Major", "Enormous")
    assert len(list(featurize._batches([text.encode() for text in texts], 12_000))) > 3
    assert_featurized(engine, texts, [0, 3])


@pytest.mark.parametrize(
    "worse",
    [
        {"_MULTIPLIER": np.uint64(0)},
        {"_FROM_START": (), "_FROM_END": 8},
        {"_FROM_START": (11,), "_FROM_END": 16},
        {"_SLOT_BITS": 1},
        {"_SLOT_BITS": 3, "_FROM_END": 8},
    ],
    ids=str,
)
def test_fingerprints_that_are_alike_change_nothing(monkeypatch: pytest.MonkeyPatch, worse: dict[str, Any]) -> None:
    for name, value in worse.items():
        monkeypatch.setattr(pieces, name, value)
    texts = [json.dumps(tree) for tree in corpus(5, 12)]
    texts[2] = texts[2].replace("Major", "Mayor")
    fresh = TextFeaturizer(SPACES[0], "numpy")
    for batch in (texts[:4], texts[4:], texts[::-1]):
        assert_same(fresh.featurize(batch), slowly(batch, SPACES[0]))


@both_engines
def test_forgetting_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECES", 20)
    monkeypatch.setattr(featurize, "_BATCH_BYTES", 2000)
    monkeypatch.setattr(featurize, "_GROUP_BYTES", 8000)
    texts = [json.dumps(tree) for tree in corpus(6, 20)]
    fresh = TextFeaturizer(SPACES[0], engine)
    for _ in range(2):
        assert_same(fresh.featurize(texts), slowly(texts, SPACES[0]))


@both_engines
def test_more_pieces_than_the_first_tables_hold(engine: Engine) -> None:
    tree = json.loads(BASE[0])
    texts = [json.dumps([tree[0] | {"stakeholder": f"No. {i}"}, *tree[1:]]) for i in range(2500)]
    matrix = WARM[engine, 0].featurize(texts)
    expected = slowly(texts[:1], SPACES[0]).counts.toarray()[0]
    np.testing.assert_array_equal(matrix.counts.toarray(), np.tile(expected, (len(texts), 1)))
