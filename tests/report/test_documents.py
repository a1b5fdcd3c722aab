from __future__ import annotations

import datetime
from typing import Any

from safetyanalyst.aggregation import Start
from safetyanalyst.pipelines.evaluate import Outcome, measure
from safetyanalyst.policy import FitFacts, load_policy
from safetyanalyst.report import documents
from safetyanalyst.taxonomy import load_taxonomy
from tests.report.test_terminal import EVIL, STEERING, shown

TAXONOMY = load_taxonomy()
POLICY = load_policy("wildjailbreak-v1")
FIT = FitFacts(
    data=EVIL, data_hash="0" * 64, rows=10, rows_left_out=2, harmful=4, parameters=29, loss=0.25, loss_at_zero_weights=0.69315,
    seed=3, starts=(Start(loss=0.25, converged=True, iterations=3), Start(loss=0.5, converged=False, iterations=9)),
    at_bounds=("harm/action/privacy",), unidentified=(), taxonomy="t", code="1",
)  # fmt: skip


def words(renderable: Any) -> str:
    return " ".join(shown(renderable).split())


def test_a_policy_is_drawn_with_weights_settings_edits_and_fit() -> None:
    edited = POLICY.steered(
        "harm/action/privacy", 0.5, reason=EVIL, author="Ada", date=datetime.date(2026, 1, 2), taxonomy=TAXONOMY
    ).model_copy(update={"fit": FIT})
    out = words(documents.policy(edited))
    assert "harm/action/privacy 0.5000 ████████████" in out
    assert "threshold 0, review from 0 below to 0 above it, when something is missing: review" in out
    assert "2026-01-02 harm/action/privacy: 0.0399344 -> 0.5" in out
    assert "(Ada)" in out
    assert "29 parameters, loss 0.25000 (weights all 0: 0.69315)" in out
    assert "2 starts, 1 converged, losses 0.25000 to 0.50000" in out
    assert "ridge" not in out
    held = edited.model_copy(update={"fit": FIT.model_copy(update={"ridge": 0.002})})
    assert "losses 0.25000 to 0.50000, a ridge of 0.002 included" in words(documents.policy(held))
    assert "at a bound: harm/action/privacy" in out
    assert "not determined by the data: none" in out
    assert not set(out) & STEERING
    assert out.count("[bold]x[/bold]") == 2


def test_a_longer_bar_is_a_greater_weight() -> None:
    bars = {
        line.split()[0]: line.count("█") for line in shown(documents.policy(POLICY)).splitlines() if "/" in line.split(" ")[0]
    }
    assert set(bars) == set(POLICY.weights)
    for name, value in POLICY.weights.items():
        assert bars[name] == round(24 * value)


def test_a_taxonomy_is_drawn_whole() -> None:
    out = words(documents.taxonomy(TAXONOMY)).replace("│", " ")
    out = " ".join(out.split())
    for category in (*TAXONOMY.harm_actions, *TAXONOMY.benefit_actions, *TAXONOMY.harm_effects, *TAXONOMY.benefit_effects):
        assert category.name in out
        assert category.definition.split()[0] in out
    assert TAXONOMY.stakeholders[-1] in out
    evil = TAXONOMY.model_copy(update={"stakeholders": (EVIL,)})
    assert not set(shown(documents.taxonomy(evil))) & STEERING


def test_metrics_are_drawn_with_intervals_and_what_cannot_be_said() -> None:
    def one(label: int, decision: str) -> Outcome:
        return Outcome(label, float(label), decision, is_failed=False, is_unscored=False)

    both = measure([one(1, "block")] * 3 + [one(0, "allow")] * 5 + [one(0, "review")], n_bootstrap=50)
    unsafe = measure([one(1, "block"), one(1, "allow")], n_bootstrap=50)
    sets = {EVIL: both, "unsafe": unsafe, "a_set_with_a_long_name group=someone": both}
    table = shown(documents.metrics(sets, POLICY.model_copy(update={"name": EVIL})))
    assert not set(table) & STEERING
    assert all(len(line) <= 110 for line in table.splitlines())
    assert "a_set_with_a_long_name" in table
    out = " ".join(table.replace("│", " ").split())
    assert "9 (3)" in out
    assert "2 (2)" in out
    assert "5/1/3" in out
    assert "1.000" in out
    assert "1.00-1.00" in out
    assert out.split("unsafe 2 (2)")[1].split()[0] == "-"  # AUROC of one class
