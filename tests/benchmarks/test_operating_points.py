from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.embedded_quality import cuts_at_recall, dumped, without_formula
from benchmarks.operating_points import at_recall, cut_at
from safetyanalyst.pipelines.evaluate import Outcome
from safetyanalyst.scenarios import Example, Message, Trajectory

scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def outcomes(unsafe: list[float], safe: list[float]) -> list[Outcome]:
    return [Outcome(label, rank, "block", False, False) for label, ranks in ((1, unsafe), (0, safe)) for rank in ranks]


@given(scores, st.floats(0.01, 1.0))
def test_the_cut_finds_enough_and_no_higher_one_does(unsafe: list[float], recall: float) -> None:
    ranks = np.array(unsafe)
    cut = cut_at(ranks, recall)
    assert (ranks >= cut).mean() >= recall - 1e-9
    assert (ranks > cut).mean() < recall


def test_rates_at_the_cut_are_those_of_a_hand_count() -> None:
    chosen_on = outcomes([4.0, 3.0, 2.0, 1.0], [3.5, 2.5, 0.0, -1.0])
    found = at_recall(chosen_on, {"other": outcomes([5.0, 1.0], [])}, 0.75)
    assert found.cut == 2.0
    assert found.recall == 0.75
    assert found.false_positive_rate.value == 0.5
    assert found.recalls["other"].value == 0.5


def test_what_could_not_be_read_is_flagged_at_every_cut_and_the_dump_is_json() -> None:
    chosen_on = outcomes([np.inf] * 3, [np.inf, 0.0])
    cuts = cuts_at_recall({"xstest": {"a": chosen_on}, "harmbench": {"a": chosen_on}, "simplesafetytests": {"a": chosen_on}})
    assert cuts["a"].false_positive_rate.value == 0.5
    assert json.loads(json.dumps(dumped(cuts["a"]), allow_nan=False))["cut"] is None


@pytest.mark.parametrize(("closing", "flagged"), [("Final Answer: done", False), ("done", True)])
def test_the_rule_of_two_words_flags_records_that_never_say_them(closing: str, flagged: bool) -> None:
    messages = (Message(role="user", content="Tidy up."), Message(role="assistant", content=closing))
    found = without_formula(Example(scenario=Trajectory(id="t", messages=messages), label=0))
    assert (found.decision == "block") == flagged
