from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.analyst import Assessor
from safetyanalyst.generation import parsing
from safetyanalyst.generation.notation import to_json, to_published, to_rows
from safetyanalyst.pipelines.dataset import StoredTrees, file_hash, read_trees
from safetyanalyst.policy import load_policy
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Defect, HarmBenefitTree, Tree
from tests.mutations import damaged_texts, damaged_trees, harmful_tree
from tests.strategies import complete_pairs, pairs

TAXONOMY = load_taxonomy()
ASSESSORS = {name: Assessor(load_policy(name), TAXONOMY) for name in ("balanced", "wildjailbreak-v1")}
CLEAN = parsing.pair_from_json(harmful_tree(), TAXONOMY)


def read(*lines: object) -> list[StoredTrees | ReadFailure]:
    """Reads values as JSON lines; bytes and texts are lines already."""
    encoded = [it if isinstance(it, bytes) else it.encode() if isinstance(it, str) else json.dumps(it).encode() for it in lines]
    return list(read_trees(io.BytesIO(b"\n".join(encoded)), TAXONOMY))


def one(line: object) -> StoredTrees:
    (item,) = read(line)
    assert isinstance(item, StoredTrees), item
    return item


def failure(line: object) -> ReadFailure:
    (item,) = read(line)
    assert isinstance(item, ReadFailure), item
    return item


@pytest.mark.parametrize(
    "line",
    [
        harmful_tree(),
        {"tree": harmful_tree()},
        {"harm-benefit tree": harmful_tree()},
        {"tree": json.dumps(harmful_tree())},
        {"harm-benefit tree": json.dumps(harmful_tree(), indent=2)},
        {"trees": {"harm": harmful_tree()[:1], "benefit": harmful_tree()[1:]}},
    ],
    ids=["list", "tree", "column", "string", "string in column", "both kinds"],
)
def test_the_published_form_in_every_wrapping(line: object) -> None:
    assert one(line).trees == CLEAN.trees
    assert one(line).defects == ()
    assert one(line).id == "line-1"


@given(complete_pairs())
def test_rows_of_the_notation_and_both_json_forms_hold_the_same_trees(pair: HarmBenefitTree) -> None:
    assert pair.harm is not None
    assert pair.benefit is not None
    rows = {tree.kind: to_rows(tree, TAXONOMY).split("\n") for tree in (pair.harm, pair.benefit)}
    ours = {tree.kind: to_json(tree) for tree in (pair.harm, pair.benefit)}
    combined = [*to_published(pair.harm, TAXONOMY), *to_published(pair.benefit, TAXONOMY)]
    items = [one(rows), one({"trees": ours}), one({"tree": combined}), one(combined)]
    assert all(item.trees == pair for item in items)
    assert all(item.defects == () for item in items)


@given(pairs(), st.sampled_from(sorted(ASSESSORS)))
def test_an_analysis_read_again_gives_the_same_analysis(pair: HarmBenefitTree, policy: str) -> None:
    assessor = ASSESSORS[policy]

    def again(published: dict[str, Any]) -> dict[str, Any]:
        item = one(published)
        kept = {"id": item.id, "type": item.type, "defects": item.defects, "provenance": item.provenance}
        return assessor.assess(item.trees, **kept).to_json()  # type: ignore[arg-type]

    defect = Defect(code="unknown_extent", path="harm[0].actions[0].effects[0].extent", found="so so")
    provenance: dict[str, Any] = {"harm": {"generator": "g", "model": "m", "model_hash": "", "taxonomy": "t", "code": "1"}}
    first = assessor.assess(pair, id="a", type="exchange", defects=[defect], provenance=provenance).to_json()
    assert again(first)["trees"] == first["trees"]
    assert {k: v for k, v in again(first).items() if k != "defects"} == {k: v for k, v in first.items() if k != "defects"}
    assert again(first)["defects"][0] == defect.model_dump()
    assert again(again(first)) == again(first)


def test_what_an_analysis_recorded_is_not_recorded_again() -> None:
    pair = one({"tree": damaged("extent", None)}).trees
    defect = Defect(code="unknown_extent", path="harm[0].actions[0].effects[0].extent", found="so so")
    stored = ASSESSORS["balanced"].assess(pair, defects=[defect]).to_json()
    assert one(stored).defects == (defect,)
    assert [it.code for it in one(stored | {"defects": []}).defects] == ["missing_value"]


@pytest.mark.parametrize(
    ("code", "path", "is_recorded"),
    [
        ("unknown_extent", "harm[0].actions[0].effects[0].extent", True),
        ("wrong_type", "harm[0].actions[0].effects[0]", True),
        ("unknown_extent", "harm.stakeholders[0].actions[0].effects[0].extent", True),
        ("unknown_extent", "harm.rows[3].effects[2].extent", True),  # rows have other numbers
        ("unknown_extent", "harm[7].actions[0].effects[0].extent", True),  # and so has a list of both kinds
        ("spelling", "harm[0].actions[0].effects[0].extent", False),
        ("unknown_likelihood", "harm[0].actions[0].effects[0].likelihood", False),
        ("unknown_extent", "benefit[0].actions[0].effects[0].extent", False),
        ("truncated", "harm", False),
        ("unfamiliar_input", "harm", False),
        ("elided_input", "messages[3]", False),
    ],
)
def test_a_null_is_silent_only_where_its_loss_is_recorded(code: Any, path: str, is_recorded: bool) -> None:
    pair = one({"tree": damaged("extent", None)}).trees
    stored = ASSESSORS["balanced"].assess(pair, defects=[Defect(code=code, path=path, found="x")]).to_json()
    fresh = [it for it in one(stored).defects if it.path == "harm.stakeholders[0].actions[0].effects[0].extent"]
    assert [it.code for it in fresh if it.code == "missing_value"] == ([] if is_recorded else ["missing_value"])


def test_one_record_tells_of_one_null_only() -> None:
    tree = damaged("extent", None)
    tree[0]["harms"][1]["effects"][0]["extent"] = None
    defect = Defect(code="unknown_extent", path="harm.rows[5].effects[0].extent")
    stored = ASSESSORS["balanced"].assess(one({"tree": tree}).trees, defects=[defect]).to_json()
    assert [it.code for it in one(stored).defects] == ["unknown_extent", "missing_value"]


@given(damaged_trees(), st.sampled_from(sorted(ASSESSORS)))
def test_what_was_read_from_damaged_trees_is_the_same_when_read_again(tree: list[Any], policy: str) -> None:
    item = one({"id": "x", "tree": tree})
    first = ASSESSORS[policy].assess(item.trees, id=item.id, defects=item.defects).to_json()
    again = one(first)
    assert ASSESSORS[policy].assess(again.trees, id=again.id, defects=again.defects).to_json() == first


@pytest.mark.parametrize("rows", [[""], ["", ""], ["  "], ["\n"]])
def test_blank_rows_are_not_the_same_as_no_rows(rows: list[str]) -> None:
    item = one({"harm": rows, "benefit": []})
    assert item.trees.harm is None
    assert item.defects == (Defect(code="empty_output", path="harm"),)
    assert ASSESSORS["balanced"].assess(item.trees, defects=item.defects).decision == "review"


def damaged(key: str, value: object) -> list[Any]:
    tree = harmful_tree()
    tree[0]["harms"][0]["effects"][0][key] = value
    return tree


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "not readable as JSON"),
        ("12", "expected an object"),
        ('"text"', "expected an object"),
        ("null", "expected an object"),
        ({"id": "x"}, "no trees in this record"),
        ({"tree": [], "label": 2}, "label is 2 (expected 0, 1, true, false, safe, unsafe or null)"),
        ({"tree": [], "label": "yes"}, "label is 'yes'"),
        ({"tree": [], "label": [1]}, "label is [1]"),
        ('{"tree": [], "label": NaN}', "label is 'not readable'"),
        ({"tree": [], "defects": [{"code": "odd"}]}, "'defects' is not a list"),
        ({"tree": [], "defects": 3}, "'defects' is not a list"),
        ({"error": "it was broken before"}, "it was broken before"),
        (b"\xff\xfe[]", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_a_record(line: object, says: str) -> None:
    found = failure(line)
    assert says in found.error
    assert (found.id, found.line) == ("x" if "'x'" in str(line) else "line-1", 1)


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "\\ud800", "tree": []}', '{"id": "a\\u0000", "tree": [], "text": "\\udfff", "\\udfff": "x"}',
        '{"id": true, "tree": []}',
        '{"id": 5, "tree": [], "big": 1' + "0" * 400 + "}", '{"id": ["a"], "tree": []}', '{"id": "a", "error": "\\ud800"}',
        '{"id": "a", "tree": [], "provenance": ' + "[" * 300 + "]" * 300 + "}",
        '{"id": "a", "tree": [], "provenance": {"a": ' + "[" * 300 + "]" * 300 + "}}",
        '{"id": "a", "tree": [], "provenance": {"a": "\\ud800"}}',
        "[" * 100_000, '{"tree": ' * 5000, '{"tree": "' + "x" * 10**6 + '"}',
        '{"trees": null}', '{"trees": {}}', '{"harm": 3}', '{"harm": ["rubbish | | |"], "benefit": [3]}',
    ],
)  # fmt: skip
def test_hostile_lines_never_stop_the_reading(line: str) -> None:
    before, found, after = read([*harmful_tree()], line, {"id": "z", "tree": harmful_tree()})
    assert isinstance(before, StoredTrees)
    assert isinstance(after, StoredTrees)
    assert (before.trees, after.trees) == (CLEAN.trees, CLEAN.trees)
    if isinstance(found, StoredTrees):
        analysis = ASSESSORS["balanced"].assess(found.trees, id=found.id, defects=found.defects)
        assert analysis.decision == "review"
        assert analysis.defects
        json.dumps(analysis.to_json(), allow_nan=False)
        found.model_dump_json()  # which lone surrogates would not let happen
    else:
        assert (found.line, bool(found.error)) == (2, True)
        found.model_dump_json()


def test_rows_without_anything_are_what_the_teacher_calls_harmless() -> None:
    item = one({"harm": [], "benefit": [], "harmful": 0})
    assert item.trees == HarmBenefitTree(harm=Tree(kind="harm", stakeholders=()), benefit=Tree(kind="benefit", stakeholders=()))
    assert (item.label, item.defects) == (0, ())


@pytest.mark.parametrize(
    ("value", "label"), [(1, 1), (0, 0), (True, 1), (False, 0), (1.0, 1), ("unsafe", 1), (" Safe ", 0), (None, None)]
)
@pytest.mark.parametrize("key", ["label", "harmful"])
def test_labels(key: str, value: object, label: int | None) -> None:
    assert one({"tree": harmful_tree(), key: value}).label == label


def test_other_scalars_are_kept_and_the_rest_is_not() -> None:
    item = one(
        {"id": 7, "tree": harmful_tree(), "source": "mine", "n": 3, "x": 0.5, "list": [1], "type": "exchange", "none": None}
    )
    assert item.id == "7"
    assert item.type == "exchange"
    assert item.fields == {"source": "mine", "n": 3, "x": 0.5}


@pytest.mark.parametrize("value", [None, 3, [], {"harm": 1}, {"other": {}}, {"harm": {"generator": "g", "nan": 1}}])
def test_provenance_that_is_not_ours_is_not_passed_on(value: object) -> None:
    assert one({"tree": harmful_tree(), "provenance": value}).provenance == {}
    assert one('{"tree": [], "provenance": {"harm": NaN}}').provenance == {}


def test_blank_lines_count_in_line_numbers_and_a_byte_order_mark_is_nothing() -> None:
    first, second = read(b"\xef\xbb\xbf" + json.dumps(harmful_tree()).encode(), "", "  ", "rubbish")
    assert isinstance(first, StoredTrees)
    assert isinstance(second, ReadFailure)
    assert (second.id, second.line) == ("line-4", 4)


def test_a_file_and_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text(json.dumps({"tree": harmful_tree()}) + "\n", encoding="utf-8")
    (item,) = read_trees(path, TAXONOMY)
    assert isinstance(item, StoredTrees)
    assert item.trees == CLEAN.trees
    before = file_hash(path)
    path.write_text("\n", encoding="utf-8")
    assert len(before) == 64
    assert file_hash(path) != before


# -- damage never makes a harmful tree harmless ----------------------------------------------------------------------------


def assert_not_called_harmless(line: object) -> None:
    item = one(line)
    for assessor in ASSESSORS.values():
        analysis = assessor.assess(item.trees, defects=item.defects)
        clean = assessor.assess(CLEAN.trees)
        assert clean.decision == "block"
        assert analysis.decision != "allow"
        assert analysis.interval.high >= clean.interval.high
        if analysis.interval != clean.interval:
            assert analysis.defects
            assert analysis.interval.high > analysis.interval.low


@given(damaged_trees())
def test_no_damage_to_a_tree_makes_it_harmless(tree: list[Any]) -> None:
    assert_not_called_harmless({"id": "x", "tree": tree})
    assert_not_called_harmless(tree)


@given(damaged_texts())
def test_no_damage_to_a_text_makes_it_harmless(text: str) -> None:
    assert_not_called_harmless({"id": "x", "tree": text})


@given(damaged_trees())
def test_damage_in_our_own_form_makes_nothing_harmless(tree: list[Any]) -> None:
    assert_not_called_harmless({"id": "x", "trees": {"harm": tree[:1], "benefit": tree[1:]}})


@given(damaged_texts())
def test_a_damaged_line_is_a_failure_or_nothing_harmless(text: str) -> None:
    lines = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    for item in read(lines):
        if isinstance(item, StoredTrees):
            for assessor in ASSESSORS.values():
                assert assessor.assess(item.trees).decision != "allow"


def test_several_trees_in_one_record_are_refused() -> None:
    empty = {"harm": {"stakeholders": []}, "benefit": {"stakeholders": []}}
    for row in ({"trees": empty, "tree": []}, {"trees": empty, "harm": ["Bystanders | 9 | 2i4h"]}, {"tree": [], "benefit": []}):
        (item,) = read_trees([json.dumps(row).encode()], load_taxonomy())
        assert isinstance(item, ReadFailure)
        assert "several trees" in item.error


@pytest.mark.parametrize("rows", [["User | 45 | 6i1l", ""], [" \n\n-"], ["", "User | 45 | 6i1l"], ["-\nUser | 45 | 6i1l"]])
def test_a_blanked_row_among_others_never_makes_a_tree_harmless(rows: list[str]) -> None:
    (item,) = read_trees([json.dumps({"id": "x", "harm": rows, "benefit": []}).encode()], load_taxonomy())
    assert isinstance(item, StoredTrees)
    assert item.defects
    assert item.trees.harm is None or item.trees.harm.lost == 1
    assert Assessor(load_policy("wildjailbreak-v1"), load_taxonomy()).assess(item.trees).decision == "review"
