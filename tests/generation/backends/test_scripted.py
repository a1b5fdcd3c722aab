from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from safetyanalyst.analyst import Assessor
from safetyanalyst.errors import BackendError
from safetyanalyst.generation import Generation, TreeGenerator, load_generator
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.policy import load_policy
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, TreeKind
from tests.labels import written
from tests.strategies import pairs

TAXONOMY = load_taxonomy()
ASSESSOR = Assessor(load_policy("wildjailbreak-v1"), TAXONOMY)
ROWS = {"harm": ["Landlords | 45: climbing over | 6i1m"], "benefit": ["User | B19: getting the ball back | 9i1h"]}
PUBLISHED = [{"stakeholder": "a", "harms": [{"action": "34. Mis/disinformation", "effects": [
    {"effect": "2. Physical health risks", "immediacy": True, "extent": "Minor", "likelihood": "Medium"}]}]}]  # fmt: skip


def loaded(path: Path, kind: TreeKind = "harm") -> TreeGenerator:
    return load_generator("scripted", kind, TAXONOMY, {"trees": str(path)})


def answers(path: Path, *ids: str) -> dict[TreeKind, list[Generation]]:
    return {kind: loaded(path, kind).generate([Prompt(id=id, text="x") for id in ids]) for kind in TREE_KINDS}


def codes(generation: Generation) -> list[tuple[str, str]]:
    return [(defect.code, defect.path) for defect in generation.defects]


def test_every_form_of_a_stored_tree_is_answered_as_it_is_read_elsewhere(tmp_path: Path) -> None:
    ours = {"trees": json.loads(json.dumps(ASSESSOR.assess(HarmBenefitTree(harm=None, benefit=None)).to_json()["trees"]))}
    forms: list[Any] = [ROWS, {"tree": PUBLISHED}, {"harm-benefit tree": json.dumps(PUBLISHED)}, ours, {"harm": ROWS["harm"]}]
    path = written(tmp_path / "t.jsonl", [{"id": f"s{i}"} | form for i, form in enumerate(forms)] + [PUBLISHED])
    stored = list(read_trees(path, TAXONOMY))
    found = answers(path, *(it.id for it in stored))
    for i, it in enumerate(stored):
        assert isinstance(it, StoredTrees)
        for kind, tree in (("harm", it.trees.harm), ("benefit", it.trees.benefit)):
            answer = found[kind][i]  # type: ignore[index]
            assert (answer.scenario_id, answer.kind, answer.tree) == (it.id, kind, tree)
            assert set(answer.defects) <= set(it.defects)
            assert answer.tree is not None or answer.defects
    assert found["harm"][0].tree is not None
    assert found["harm"][5].tree == found["harm"][1].tree


@given(pairs())
def test_a_stored_analysis_is_answered_with_its_trees(tmp_path_factory: pytest.TempPathFactory, pair: HarmBenefitTree) -> None:
    path = written(tmp_path_factory.mktemp("x") / "t.jsonl", [ASSESSOR.assess(pair, id="a").to_json()])
    found = answers(path, "a")
    assert (found["harm"][0].tree, found["benefit"][0].tree) == (pair.harm, pair.benefit)
    for kind in TREE_KINDS:
        (answer,) = found[kind]
        assert answer.tree is not None or answer.defects
        assert all(defect.path.startswith(kind) for defect in answer.defects)


def test_what_the_file_does_not_hold_is_missing_and_says_why(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"id": "twice"} | ROWS, {"id": "twice"} | ROWS, {"id": "failed", "error": "not read"}, {"id": "bare"},
        {"id": "rivals", "tree": PUBLISHED} | ROWS, {"id": 7} | ROWS, {"id": "half", "harm": ["Landlords | 45 | 6i?m", "? x2"]},
    ]  # fmt: skip
    path = written(tmp_path / "t.jsonl", [*rows, "", "  "])
    found = answers(path, "twice", "failed", "bare", "rivals", "other", "7", "half")
    for kind in TREE_KINDS:
        *lost, seventh, half = found[kind]
        assert all(it.tree is None for it in lost)
        assert [codes(it) for it in lost] == [
            [(code, kind)] for code in
            ("several_trees", "generation_failed", "missing_key", "several_trees", "generation_failed")
        ]  # fmt: skip
        assert lost[1].defects[0].found == "not read"
        assert seventh.tree is not None
        if kind == "harm":
            assert half.tree is not None
            assert half.tree.lost == 2
        else:
            assert (half.tree, codes(half)) == (None, [("missing_key", "benefit")])


def test_answers_name_the_file_and_what_was_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "strong.jsonl", [{"id": "a"} | ROWS])
    for kind in TREE_KINDS:
        made = {it.provenance for it in answers(path, "a", "b")[kind]}
        (provenance,) = made
        assert (provenance.generator, provenance.model) == ("scripted", "strong.jsonl")
        assert provenance.model_hash == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (provenance.taxonomy, provenance.stage) == (TAXONOMY.label, None)


@pytest.mark.parametrize("line", [b"{", b"rubbish", b"3", b'"a"', b"null", b"\xff\xfe", b'{"id": "a", "harm": ["x"'])
def test_a_line_that_is_no_record_is_refused_by_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(json.dumps({"id": "a"} | ROWS).encode() + b"\n" + line + b"\n")
    with pytest.raises(BackendError, match=r"'scripted': line 2 of .*t.jsonl is no record"):
        loaded(path)


def test_no_file_or_none_that_is_there_is_refused(tmp_path: Path) -> None:
    for options in ({}, {"trees": ""}):
        with pytest.raises(BackendError, match="'scripted' needs the option `trees`"):
            load_generator("scripted", "harm", TAXONOMY, options)
    for place in (tmp_path / "no-such.jsonl", tmp_path):
        with pytest.raises(BackendError, match=r"'scripted' cannot read its `trees`: .*: (No such file|Is a directory)"):
            loaded(place)
    with pytest.raises(BackendError, match="does not take these options"):
        load_generator("scripted", "harm", TAXONOMY, {"tree": "x"})
