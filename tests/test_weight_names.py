from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.weight_names import SETTINGS, flat, is_in, names_in, nested, weight_names, weights_by_name

TAXONOMY = load_taxonomy()
NAMES = weight_names(FeatureSpace(TAXONOMY))
names = st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)


def test_names_are_those_of_the_space_and_the_tops_of_its_scales() -> None:
    assert len(NAMES.free) == 29
    assert set(NAMES.fixed) == {
        f"{kind}/{top}" for kind in ("harm", "benefit") for top in ("extent/major", "likelihood/high", "immediacy/immediate")
    }
    harms = weight_names(FeatureSpace(TAXONOMY, FeatureSpaceSpec(analysis="harms", action="leaf", effect="group")))
    assert len(harms.free) == 45 + 7 + 3 + 2 + 1
    assert len(harms.fixed) == 3


def test_weights_by_name_hold_every_name() -> None:
    space = FeatureSpace(TAXONOMY)
    levels = [i / 100 for i in range(29)]
    found = weights_by_name(space, levels)  # type: ignore[arg-type]
    assert found == dict(zip(NAMES.free, levels, strict=True)) | dict.fromkeys(NAMES.fixed, 1.0)


@pytest.mark.parametrize(
    ("key", "count"),
    [("harm/action/*", 16), ("harm/*", 16 + 3 + 2 + 1), ("*", 29), ("harm/extent/*", 3), ("benefit/relative_weight", 1)],
)
def test_a_group_is_a_prefix_without_the_tops(key: str, count: int) -> None:
    found = names_in(key, NAMES)
    assert len(found) == count
    assert not set(found) & {*NAMES.fixed, *SETTINGS}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_no_weight_of_a_group(name: str) -> None:
    assert names_in(name, NAMES) == (name,)
    assert not is_in(name, "*")
    assert not is_in(name, "review_band/*")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("harm/action/privcy", "harm/action/privacy"),
        ("treshold", "threshold"),
        ("harm/acton/*", r"harm/action/\*"),
        ("harm/action/p*", r"a group such as harm/action/\*"),
        ("review_band/*", "a group such as"),
        ("harm/extent/major", "fixed"),
        ("", "29|35"),
    ],
)
def test_what_speaks_of_nothing_is_refused(key: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        names_in(key, NAMES)


@given(st.dictionaries(names, st.floats(0, 1), max_size=6))
def test_nesting_and_flattening_are_inverse(weights: dict[str, float]) -> None:
    keys = set(weights)
    if any(other.startswith(f"{key}/") for key in keys for other in keys):
        return  # a name that is also a folder has no nested form, and no space has one
    assert flat(nested(weights), lambda _: False) == weights
    assert flat(weights, lambda _: False) == weights
