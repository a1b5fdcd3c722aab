"""Names of weights as a policy file has them: flat or nested, alone or in groups, complete and in order.

A group is a prefix of names and a star, `harm/action/*`. The tops of the scales are the constant 1: groups pass over them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.weights import Floats

SETTINGS = ("threshold", "review_band/below", "review_band/above")
"""Numbers beside the weights that can be steered and pinned by these names."""


class WeightNames(NamedTuple):
    """Names of the weights of a feature space.

    Attributes:
        free: Those that can be changed, in the order of `space.levels.names`.
        fixed: The tops of the scales, which are 1.
    """

    free: tuple[str, ...]
    fixed: tuple[str, ...]


def weight_names(space: FeatureSpace) -> WeightNames:
    """Names of the weights that a policy over a space has."""
    taxonomy = space.taxonomy
    tops = (
        (f"extent/{taxonomy.extents[-1].name}", f"likelihood/{taxonomy.likelihoods[-1].name}", "immediacy/immediate")
    )  # fmt: skip
    return WeightNames(space.levels.names, tuple(f"{kind}/{top}" for kind in space.spec.kinds for top in tops))


def weights_by_name(space: FeatureSpace, levels: Floats) -> dict[str, float]:
    """Level weights as a policy writes them: names with values, the constant tops of the scales included."""
    named = {name: float(value) for name, value in zip(space.levels.names, levels, strict=True)}
    return named | dict.fromkeys(weight_names(space).fixed, 1.0)


def level_vector(weights: Mapping[str, float], space: FeatureSpace) -> Floats:
    """Weights of a policy as (K,) in the order of `space.levels.names`.

    Raises:
        PolicyError: One is unknown, missing, a top that is not 1, or out of order.
    """
    tops = weight_names(space).fixed
    for name, value in weights.items():
        if name in tops and value != 1.0:
            raise PolicyError("the top of a scale is fixed", key=f"weights.{name}", expected="1.0")
        if name not in tops and name not in space.levels.names:
            known = [*space.levels.names, *tops]
            raise PolicyError("no such weight", key=f"weights.{name}", expected=nearest(name, known))
    missing = [name for name in space.levels.names if name not in weights]
    if missing:
        raise PolicyError(
            "this weight is not given", key=f"weights.{missing[0]}", expected="a number in [0, 1]"
        )  # fmt: skip
    for chain in space.order():
        for below, above in pairwise(chain):
            if weights[below] > weights[above]:
                raise PolicyError(
                    f"levels out of order: {below} = {weights[below]} is above {above} = {weights[above]}",
                    key=f"weights.{below}", expected=f"at most {weights[above]}",
                )  # fmt: skip
    return np.array([weights[name] for name in space.levels.names])


def is_pattern(key: str) -> bool:
    """Whether a key speaks of a group: `*`, or a prefix that ends in `/*`."""
    return key == "*" or key.endswith("/*")


def is_in(name: str, key: str) -> bool:
    """Whether a name is what a key speaks of, or in the group that it speaks of; groups hold weights only."""
    return name == key or (is_pattern(key) and name.startswith(key[:-1]) and "/" in name and name not in SETTINGS)


def names_in(key: str, names: WeightNames, *, at: str = "weights") -> tuple[str, ...]:
    """The weights and settings that a key speaks of.

    Args:
        key: A name or a group.
        names: Of the feature space.
        at: Where the key stands, for the message.

    Raises:
        PolicyError: There are none (the nearest is suggested), or it is the fixed top of a scale.
    """
    if key in names.fixed:
        raise PolicyError("the top of a scale is fixed", key=f"{at}.{key}", expected="1.0")
    found = tuple(name for name in (*names.free, *SETTINGS) if is_in(name, key))
    if found:
        return found
    if "*" in key:
        expected = f"a group such as {_near(key, _groups(names.free))}"
        raise PolicyError(f"there is no group of weights {key!r}", key=at, expected=expected)
    raise PolicyError(f"there is no weight named {key!r}", key=at, expected=nearest(key, [*names.free, *names.fixed]))


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant, for the `expected` of an error."""
    known = list(known)
    near = _near(name, [*known, *SETTINGS])
    return f"one of {len(known)} names, such as {near}" if near else "a weight name"


def flat(value: Mapping[str, object], is_leaf: Callable[[Mapping[str, object]], bool], prefix: str = "") -> dict[str, object]:
    """Nested keys as names: `{harm: {action: {privacy: 1}}}` -> `{harm/action/privacy: 1}`.

    Args:
        value: What was read.
        is_leaf: Whether a mapping is a value rather than a folder.
        prefix: Of the names.

    Raises:
        ValueError: A name is given twice.
    """
    found: dict[str, object] = {}
    for key, item in value.items():
        is_folder = isinstance(item, Mapping) and not is_leaf(item)
        below = flat(item, is_leaf, f"{prefix}{key}/") if is_folder else {f"{prefix}{key}": item}  # type: ignore[arg-type]
        if twice := found.keys() & below.keys():
            raise ValueError(f"the weight {min(twice)} is given twice, once nested and once by its whole name")
        found |= below
    return found


def nested(weights: Mapping[str, object]) -> dict[str, Any]:
    """Names as nested keys, as a file has them."""
    found: dict[str, Any] = {}
    for name, value in weights.items():
        *folders, last = name.split("/")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return found


def _groups(names: Iterable[str]) -> list[str]:
    parts = (name.split("/") for name in names)
    return sorted({"/".join(it[:i]) + "/*" for it in parts for i in range(1, len(it))})


def _near(name: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.0)), "")
