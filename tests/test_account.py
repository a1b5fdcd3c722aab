from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetyanalyst.account import GROUPINGS, Accountant
from safetyanalyst.analyst import Assessor
from safetyanalyst.generation import notation
from safetyanalyst.policy import Policy, load_policy
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.trees import HarmBenefitTree
from tests.reweighings import TAXONOMY, cases
from tests.strategies import pairs
from tests.test_stability import resampled

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "explanation.schema.json").read_text(encoding="utf-8"))
CHECKER = jsonschema.Draft202012Validator(SCHEMA)
targets = st.sampled_from(["allow", "review", "block", None])


def test_the_schema_is_one_and_strict() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [it for it in SCHEMA["$defs"].values() if it.get("type") == "object"]
    assert len(objects) >= 8
    assert all(it["additionalProperties"] is False for it in objects)


@settings(max_examples=30)
@given(cases(), targets, st.booleans())
def test_every_account_fits_and_agrees_with_the_assessment(case: Reweighing, target: str | None, is_resampled: bool) -> None:
    bootstrap = resampled(case, 0, 3) if is_resampled else None
    account = Accountant(case.bound, bootstrap).account_for(case.trees, id="a", target=target)  # type: ignore[arg-type]
    line = json.loads(json.dumps(account.to_json(), allow_nan=False))
    CHECKER.validate(line)
    analysis = Assessor(case.bound.policy, TAXONOMY).assess(case.trees, id="a").to_json()
    assert all(line[key] == analysis[key] for key in ("id", "decision", "score", "interval", "policy", "contributions"))
    assert (line["stability"] is not None) == is_resampled
    assert line["target"] == target or target is None
    if target is None:
        assert line["target"] != line["decision"]


@settings(max_examples=30)
@given(cases())
def test_every_grouping_adds_up(case: Reweighing) -> None:
    line = Accountant(case.bound).account_for(case.trees).to_json()
    for by in GROUPINGS:
        read = math.fsum(it["interval"][1] for it in line["contributions"])
        assert math.fsum(it["interval"][1] for it in line["totals"][by]) == pytest.approx(read, abs=1e-12)


@settings(max_examples=10)
@given(cases(specs=1), pairs())
def test_accounts_do_not_depend_on_what_came_before(case: Reweighing, other: HarmBenefitTree) -> None:
    accountant = Accountant(case.bound)
    first = accountant.account_for(case.trees).to_json()
    accountant.account_for(other)
    assert accountant.account_for(case.trees).to_json() == first


def test_nothing_but_an_account_fits() -> None:
    seen: list[Reweighing] = []

    @given(cases(specs=1))
    def collect(case: Reweighing) -> None:
        if len(seen) < 5 and case.function.uses.any():
            seen.append(case)

    collect()
    for case in seen:
        line = json.loads(json.dumps(Accountant(case.bound).account_for(case.trees).to_json()))
        for key in line:
            assert not CHECKER.is_valid({k: v for k, v in line.items() if k != key})
        assert not CHECKER.is_valid(line | {"extra": 1})
        assert not CHECKER.is_valid(line | {"words": line["words"] | {"judgement": "[Verdict] SAFE"}})


def test_pins_of_the_policy_hinder_what_would_cross_them() -> None:
    harm = notation.from_rows("Account holders | 32 | 7i3h", "harm", TAXONOMY).tree
    trees = HarmBenefitTree(harm=harm, benefit=notation.from_rows("-", "benefit", TAXONOMY).tree)
    free = load_policy("wildjailbreak-v1").model_copy(update={"threshold": 0.05})
    name = "harm/action/deception"
    floor = free.weights[name] / 2
    pinned = Policy.model_validate(free.model_dump() | {"pins": {name: {"floor": floor}}})
    before, after = (Accountant(it.bind(TAXONOMY)).account_for(trees, target="allow") for it in (free, pinned))
    ways = {it.weight: it for account in (before,) for it in account.weights}
    assert [flip.hindrance for flip in ways[name].flips] == ["none"]
    ways = {it.weight: it for it in after.weights}
    assert [flip.hindrance for flip in ways[name].flips] == ["bounds"]
    held = Policy.model_validate(free.model_dump() | {"pins": {"threshold": {"ceiling": 0.1}}})
    flips = Accountant(held.bind(TAXONOMY)).account_for(trees, target="allow").threshold_flips
    assert [(flip.decision, flip.hindrance) for flip in flips] == [("allow", "bounds")]
    assert [flip.hindrance for flip in before.threshold_flips] == ["none"]
    for change in (after.change.sparse, after.change.least_squares):
        assert change is not None
        assert all(it.after >= floor for it in change.changes if it.weight == name)
