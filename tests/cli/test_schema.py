"""The published JSON Schema holds everything that the commands write, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given

from safetyanalyst.analyst import Assessor
from safetyanalyst.policy import load_policy
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Defect, DefectCode, HarmBenefitTree
from tests.labels import calibrated
from tests.strategies import pairs

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "analysis.schema.json").read_text(encoding="utf-8"))
CHECKER = jsonschema.Draft202012Validator(SCHEMA)
ASSESSOR = Assessor(load_policy("wildjailbreak-v1"), load_taxonomy())
CALIBRATED = Assessor(calibrated(load_policy("wildjailbreak-v1")), load_taxonomy())
Run = Callable[..., Any]


def test_the_schema_is_one_and_strict() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [it for it in SCHEMA["$defs"].values() if it.get("type") == "object"]
    assert len(objects) >= 8
    assert all(it["additionalProperties"] is False for it in objects)
    assert set(SCHEMA["$defs"]["defect"]["properties"]["code"]["enum"]) == set(get_args(DefectCode))


@given(pairs())
def test_every_analysis_fits(pair: HarmBenefitTree) -> None:
    defect = Defect(code="spelling", path="harm[0]", found="x")
    CHECKER.validate(json.loads(json.dumps(ASSESSOR.assess(pair, defects=[defect]).to_json())))


@given(pairs())
def test_every_analysis_under_a_calibrated_policy_fits(pair: HarmBenefitTree) -> None:
    published = json.loads(json.dumps(CALIBRATED.assess(pair).to_json(), allow_nan=False))
    CHECKER.validate(published)
    found = published["probability"]
    assert (found["value"] is None) == (published["score"] is None)
    assert found["value"] in (None, found["interval"][0])
    assert found["interval"][0] <= found["interval"][1]
    assert not CHECKER.is_valid(published | {"probability": found | {"interval": [0, 1.5]}})
    assert not CHECKER.is_valid(published | {"probability": found | {"extra": 1}})


def test_every_failed_item_fits() -> None:
    for line in (None, 3):
        CHECKER.validate(ASSESSOR.fail(ReadFailure(id="a", line=line, error="e")).to_json())


@pytest.fixture
def lines(sa: Run, config: str, tmp_path: Path, prompts: Any) -> list[Any]:
    """What the commands write about all sorts of inputs."""
    path = prompts("arson", "unsure", "mallory gossip", "silent", "crash", "\x00\ud800")
    chat = {"id": "t", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "arson"}]}
    path.write_text(path.read_text() + f"rubbish\n{json.dumps(chat)}\n", encoding="utf-8")
    first = sa("analyze", "--file", path, "--config", config, "--json")
    stored = tmp_path / "stored.jsonl"
    foreign = {"tree": [{"stakeholder": "a", "harms": [None]}], "id": 3, "provenance": {"by": "me"}, "more": [1]}
    stored.write_text(f"{first.out}{json.dumps(foreign)}\n[]\n", encoding="utf-8")
    second = sa("assess", stored, "--json")
    assert len(second.lines) == len(first.lines) + 2
    return [*first.lines, *second.lines]


def test_everything_that_the_commands_write_fits(lines: list[Any]) -> None:
    for line in lines:
        CHECKER.validate(line)


def test_nothing_else_fits(lines: list[Any]) -> None:
    analysis = next(line for line in lines if line.get("contributions"))
    failed = next(line for line in lines if "error" in line)
    for good in (analysis, failed):
        for key in good:
            assert not CHECKER.is_valid({k: v for k, v in good.items() if k != key})
        assert not CHECKER.is_valid(good | {"extra": 1})
        assert not CHECKER.is_valid(good | {"decision": "maybe"})
    inside: list[Callable[[Any], Any]] = [
        lambda it: it["trees"]["harm"], lambda it: it["trees"]["harm"]["stakeholders"][0], lambda it: it["policy"],
        lambda it: it["trees"]["harm"]["stakeholders"][0]["actions"][0], lambda it: it["contributions"][0],
        lambda it: it["trees"]["harm"]["stakeholders"][0]["actions"][0]["effects"][0], lambda it: it["provenance"]["harm"],
    ]  # fmt: skip
    for place in inside:
        wrong = copy.deepcopy(analysis)
        place(wrong)["extra"] = 1
        assert not CHECKER.is_valid(wrong)
    for key, value in (
        ("interval", [0]),
        ("interval", [0, "x"]),
        ("score", "0"),
        ("type", "picture"),
        ("trees", {}),
        ("trees", None),
    ):
        assert not CHECKER.is_valid(analysis | {key: value})
