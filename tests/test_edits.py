from __future__ import annotations

import datetime
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safetyanalyst.edits import Change, Edit, change_of, edits_of, expand
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.weight_names import SETTINGS, weight_names

NAMES = weight_names(FeatureSpace(load_taxonomy()))
HALF = dict.fromkeys(NAMES.free, 0.5) | dict.fromkeys(NAMES.fixed, 1.0) | dict.fromkeys(SETTINGS, 0.0)
DAY = datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("written", "change"),
    [
        (0.4, Change("set", 0.4)),
        (1, Change("set", 1.0)),
        (np.float32(0.5), Change("set", 0.5)),
        (-0.0, Change("set", 0.0)),
        ("x0.5", Change("scale", 0.5)),
        (" x 2", Change("scale", 2.0)),
        ("x.5", Change("scale", 0.5)),
        ("x1e-3", Change("scale", 1e-3)),
        ("x0", Change("scale", 0.0)),
    ],
)
def test_a_change_is_a_number_or_a_factor(written: Any, change: Change) -> None:
    assert change_of(written) == change
    assert math.copysign(1, change_of(written).number) == 1


@pytest.mark.parametrize(
    "written", [True, None, "0.4", "", "x", "xx2", "x-1", "xnan", "xinf", "x1e999", "x1_0", math.nan, math.inf, [1], "*2"]
)
def test_anything_else_is_no_change(written: Any) -> None:
    with pytest.raises(ValueError, match="neither a number nor a factor"):
        change_of(written)
    with pytest.raises(PolicyError, match=r"weights\.harm/action/privacy"):
        expand({"harm/action/privacy": written}, HALF, NAMES)


KEYS = ("*", "harm/*", "harm/action/*", "harm/action/privacy")


@pytest.mark.parametrize("order", list(itertools.permutations(KEYS)))
def test_the_most_specific_change_counts_in_any_order(order: tuple[str, ...]) -> None:
    value = {"*": 0.1, "harm/*": "x0.4", "harm/action/*": 0.3, "harm/action/privacy": "x0.8"}
    after = {name: step.after for name, step in expand({key: value[key] for key in order}, HALF, NAMES).items()}
    assert after.keys() == set(NAMES.free)
    assert after["harm/action/privacy"] == 0.5 * 0.8
    assert after["harm/action/defamation"] == 0.3
    assert after["harm/extent/minor"] == 0.5 * 0.4
    assert after["benefit/extent/minor"] == 0.1


def test_a_step_says_what_it_did() -> None:
    steps = expand({"harm/extent/*": "x0.5", "threshold": -0.25}, HALF, NAMES)
    assert steps["harm/extent/minor"] == ("harm/extent/*: x0.5", 0.5, 0.25)
    assert steps["threshold"] == ("threshold: -0.25", 0.0, -0.25)
    assert set(steps) == {"harm/extent/minor", "harm/extent/significant", "harm/extent/substantial", "threshold"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"harm/action/privacy": 1.0000001}, "weights.harm/action/privacy"),
        ({"harm/action/privacy": -0.1}, "weights.harm/action/privacy"),
        ({"harm/action/*": "x2.1"}, "weights.harm/action/security_risks"),
        ({"review_band/below": -1.0}, "review_band.below"),
        ({"harm/extent/major": 0.9}, "weights.harm/extent/major"),
        ({"harm/extent/major": "x0.9"}, "weights.harm/extent/major"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        expand(changes, HALF, NAMES)
    assert refusal.value.key == key


def test_the_top_of_a_scale_may_be_written_out() -> None:
    assert expand({"harm/extent/major": 1}, HALF, NAMES) == {}


def test_a_weight_that_is_not_there_can_be_set_and_not_scaled() -> None:
    without = {name: value for name, value in HALF.items() if name != "harm/action/privacy"}
    steps = expand({"harm/action/privacy": 0.2}, without, NAMES)
    assert steps["harm/action/privacy"].before is None
    with pytest.raises(PolicyError, match="nothing to change"):  # an edit has to start from something
        edits_of(steps, reason="r", author="", date=DAY)
    with pytest.raises(PolicyError, match="nothing to scale"):
        expand({"harm/action/privacy": "x0.5"}, without, NAMES)


def test_an_edit_is_written_for_what_changes_only() -> None:
    steps = expand({"harm/action/*": 0.5, "harm/action/privacy": 0.25}, HALF, NAMES)
    (edit,) = edits_of(steps, reason="r", author="a", date=DAY)
    assert edit == Edit(weight="harm/action/privacy", before=0.5, after=0.25, reason="r", author="a", date=DAY)


def test_an_edit_of_a_weight_lies_in_the_unit_interval_and_one_of_the_threshold_anywhere() -> None:
    Edit(weight="threshold", before=-3.0, after=7.0, reason="r", date=DAY)
    for before, after in ((0.5, 1.1), (-0.1, 0.5)):
        with pytest.raises(ValidationError, match="outside"):
            Edit(weight="harm/action/privacy", before=before, after=after, reason="r", date=DAY)
    with pytest.raises(ValidationError, match="finite"):
        Edit(weight="threshold", before=0.0, after=math.inf, reason="r", date=DAY)


@given(st.floats(0, 1), st.floats(0, 4))
def test_scaling_is_a_product_or_a_refusal(value: float, factor: float) -> None:
    before = HALF | {"harm/action/privacy": value}
    change = {"harm/action/privacy": f"x{factor:.17f}"}
    product = value * float(f"{factor:.17f}")
    if product > 1:
        with pytest.raises(PolicyError):
            expand(change, before, NAMES)
    else:
        assert expand(change, before, NAMES)["harm/action/privacy"].after == product
