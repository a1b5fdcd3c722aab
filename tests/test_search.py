from __future__ import annotations

import numpy as np
import pytest

from safetyanalyst.goals import Goal
from safetyanalyst.reweighing import Reweighing
from safetyanalyst.search import least_change
from safetyanalyst.trees import Effect, HarmBenefitTree, Tree
from tests.reweighings import BASE, TAXONOMY
from tests.scripted import tree_of

EFFECT = Effect(effect="Death", immediacy="immediate", extent="substantial", likelihood="high")
TREES = HarmBenefitTree(harm=tree_of("harm", "x", "Fraud", (), EFFECT), benefit=Tree(kind="benefit", stakeholders=()))
WEIGHTS = BASE.weights | {"harm/action/deception": 0.6, "harm/extent/substantial": 0.6}
LOWER = {"harm/extent/minor": 0.1, "harm/extent/significant": 0.2}


def case_of(**weights: float) -> Reweighing:
    return Reweighing(TREES, BASE.model_copy(update={"weights": WEIGHTS | LOWER | weights, "edits": ()}).bind(TAXONOMY))


def found(case: Reweighing, cut: float) -> tuple[float, float]:
    free = np.array([case.names.index(name) for name in ("harm/action/deception", "harm/extent/substantial")])
    levels = least_change(case, [Goal("high", "not above", cut)], free, case.levels, "squares")
    assert (np.delete(levels, free) == np.delete(case.levels, free)).all()
    return tuple(levels[free])  # type: ignore[return-value]


def test_the_nearest_point_of_a_hyperbola() -> None:
    """Least (x - 0.6)^2 + (y - 0.6)^2 with x y <= c is at x = y = sqrt(c)."""
    assert found(case_of(), 0.25) == pytest.approx((0.5, 0.5), abs=1e-6)


def test_the_order_of_a_scale_holds() -> None:
    """With significant = 0.55 in the way, substantial stops there and the action goes on alone."""
    assert found(case_of(**{"harm/extent/significant": 0.55}), 0.25) == pytest.approx((0.25 / 0.55, 0.55), abs=1e-6)


def test_without_a_free_weight_nothing_moves() -> None:
    case = case_of()
    levels = least_change(case, [Goal("high", "not above", 0.1)], np.empty(0, np.int64), case.levels, "squares")
    assert (levels == case.levels).all()
