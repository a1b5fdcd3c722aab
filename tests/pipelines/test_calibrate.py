from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetyanalyst.analyst import Assessor
from safetyanalyst.calibration import PlattCurve
from safetyanalyst.conformal import Guarantee
from safetyanalyst.deployment import Deployment, Extends
from safetyanalyst.errors import FitError, GuaranteeError, PolicyError
from safetyanalyst.features import FeatureSpaceSpec
from safetyanalyst.pins import Pin
from safetyanalyst.pipelines.align import align, read_labelled
from safetyanalyst.pipelines.calibrate import ScoredLabels, calibrate, control, score_labelled
from safetyanalyst.pipelines.dataset import file_hash
from safetyanalyst.policy import Policy, ReviewBand, dump_policy, load_policy, resolve
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import GAP, TAXONOMY, labelled_rows, written

BASE = load_policy("balanced")
DAY = datetime.date(2026, 11, 24)
LOST = {"trees": {"harm": {"stakeholders": [], "lost": 1}, "benefit": {"stakeholders": []}}, "label": 0}


def scored(tmp_path: Path, rows: list[Any], policy: Policy = BASE) -> ScoredLabels:
    return score_labelled(written(tmp_path / "labelled.jsonl", rows), policy.bind(TAXONOMY))


def back(policy: Policy, tmp_path: Path) -> Policy:
    path = tmp_path / "back.yaml"
    path.write_text(dump_policy(policy), encoding="utf-8")
    return load_policy(path)


def test_rows_are_read_scored_and_counted(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 6)
    unlabelled = {key: value for key, value in rows[0].items() if key != "label"}
    found = scored(tmp_path, [*rows, unlabelled, {"tree": GAP, "label": 1}, "rubbish", rows[1] | {"suggested": "x"}])
    assert found.labels.tolist() == [*(row["label"] for row in rows), 1, rows[1]["label"]]
    assert (found.unlabelled, len(found.failures), found.left_out, found.suggested) == (1, 1, 2, 1)
    assert found.is_point.tolist() == [True] * 6 + [False, True]
    assert found.high[6] > found.low[6]
    assert not found.has_labels_of_fit


@pytest.mark.parametrize("method", ["platt", "isotonic", "auto"])
def test_probabilities_of_held_out_rows_agree_with_their_labels(tmp_path: Path, method: Any) -> None:
    """The labels follow sigmoid(2.5 (score - 0.8)): the link is wrong about them, the calibration is not."""
    made = calibrate(scored(tmp_path, labelled_rows(BASE, 800, slope=2.5, shift=0.8)), method=method, seed=3)
    facts = made.policy.calibration
    assert facts is not None
    assert facts.after.brier < facts.before.brier - 0.01
    assert facts.after.log_loss < facts.before.log_loss - 0.03
    assert facts.after.ece < 0.05 < facts.before.ece
    assert (facts.rows, facts.folds, facts.seed, facts.rows_left_out) == (800, 5, 3, 0)
    assert made.policy.bind(TAXONOMY).lapsed == ()
    fresh = scored(tmp_path, labelled_rows(BASE, 1000, seed=99, slope=2.5, shift=0.8))
    p = made.policy.calibration.probabilities(fresh.low) if made.policy.calibration else np.empty(0)
    true = 1 / (1 + np.exp(-2.5 * (fresh.low - 0.8)))
    assert np.abs(p - true).mean() < 0.05
    assert sum(it.rows for it in made.after) == sum(it.rows for it in made.before) == 800


def test_auto_takes_the_curve_that_fits_out_of_fold(tmp_path: Path) -> None:
    smooth = calibrate(scored(tmp_path, labelled_rows(BASE, 150, slope=2.0))).policy.calibration
    assert smooth is not None
    assert smooth.curve.method == "platt"
    stepped = labelled_rows(BASE, 1500, slope=0.0)
    bound = BASE.bind(TAXONOMY)
    found = scored(tmp_path, stepped)
    rng = np.random.default_rng(0)
    for row, score in zip(stepped, found.low, strict=True):  # three plateaus: no sigmoid
        row["label"] = int(rng.random() < (0.05 if score < -0.2 else 0.5 if score < 1.0 else 0.95))
    stairs = calibrate(score_labelled(written(tmp_path / "stairs.jsonl", stepped), bound)).policy.calibration
    assert stairs is not None
    assert stairs.curve.method == "isotonic"


def test_what_is_missing_is_left_out_of_the_curve_and_becomes_an_interval(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 100)
    made = calibrate(scored(tmp_path, [*rows, {"tree": GAP, "label": 1}, "rubbish"]), method="platt")
    without = calibrate(scored(tmp_path, rows), method="platt")
    assert made.policy.calibration is not None
    assert without.policy.calibration is not None
    assert made.policy.calibration.curve == without.policy.calibration.curve
    assert made.policy.calibration.rows_left_out == 2
    assessor = Assessor(made.policy, TAXONOMY)
    from safetyanalyst.generation import parsing

    gap = assessor.assess(parsing.pair_from_json(GAP, TAXONOMY).trees)
    assert gap.probability is not None
    assert gap.probability.low < gap.probability.high
    assert gap.to_json()["probability"]["value"] is None
    nothing = assessor.assess(parsing.pair_from_json(None, TAXONOMY).trees)
    assert nothing.probability == (0.0, 1.0)
    whole = assessor.assess(parsing.pair_from_json(rows[0]["tree"], TAXONOMY).trees).to_json()
    assert whole["probability"]["interval"] == [whole["probability"]["value"]] * 2
    assert "probability" not in Assessor(BASE, TAXONOMY).assess(parsing.pair_from_json(GAP, TAXONOMY).trees).to_json()


def test_a_calibrated_policy_is_read_back_the_same(tmp_path: Path) -> None:
    data = scored(tmp_path, labelled_rows(BASE, 300))
    for method in ("platt", "isotonic"):
        made = calibrate(control(data, missed_harm=0.1, false_block=0.1).policy and data, method=method)  # type: ignore[arg-type]
        again = back(made.policy, tmp_path)
        assert again == made.policy
        assert again.hash == made.policy.hash != BASE.hash
        assert again.bind(TAXONOMY).calibration == made.policy.calibration
    banded = control(data, missed_harm=0.1, false_block=0.1).policy
    assert back(banded, tmp_path) == banded


def test_moving_the_threshold_changes_no_probability_and_changing_a_weight_voids_it(tmp_path: Path) -> None:
    made = calibrate(scored(tmp_path, labelled_rows(BASE, 200))).policy
    assert made.calibration is not None
    moved = made.model_copy(update={"threshold": 0.7})
    assert moved.bind(TAXONOMY).lapsed == ()
    assert moved.bind(TAXONOMY).calibration == made.calibration
    steered = made.steered("harm/action/privacy", 0.123, reason="a test", date=DAY, taxonomy=TAXONOMY)
    assert steered.bind(TAXONOMY).lapsed == ("calibration",)
    assert steered.bind(TAXONOMY).calibration is None
    undone = steered.steered(
        "harm/action/privacy", made.weights["harm/action/privacy"], reason="back", date=DAY, taxonomy=TAXONOMY
    )
    assert undone.bind(TAXONOMY).lapsed == ()
    other = load_taxonomy("agents-v1")
    assert made.bind(other).calibration is None
    assert made.bind(other).lapsed == ("calibration",)


@pytest.mark.parametrize("change", [
    {"threshold": 0.01}, {"on_missing": "block"}, {"review_band": ReviewBand(below=0.0, above=5.0)},
    {"weights": BASE.weights | {"harm/action/privacy": 0.5}}, {"review_band": ReviewBand(below=9.0)},
])  # fmt: skip
def test_any_change_of_what_decides_voids_the_guarantee(tmp_path: Path, change: dict[str, Any]) -> None:
    made = control(scored(tmp_path, labelled_rows(BASE, 300)), missed_harm=0.05).policy
    assert made.guarantee is not None
    assert made.bind(TAXONOMY).lapsed == ()
    words = {"description": "other words", "version": "2", "name": "other"}
    for same in (words, {"space": FeatureSpaceSpec(discount="shared")}):  # the discount matters to a fit alone
        assert made.model_copy(update=same).bind(TAXONOMY).lapsed == ()
    assert made.model_copy(update=change).bind(TAXONOMY).lapsed == ("guarantee",)


def test_the_band_holds_on_its_rows_what_it_says(tmp_path: Path) -> None:
    rows = [*labelled_rows(BASE, 400, slope=1.2), {"tree": GAP, "label": 1}, {"tree": GAP, "label": 0}]
    data = scored(tmp_path, rows)
    made = control(data, missed_harm=0.05, false_block=0.1)
    guarantee = made.policy.guarantee
    assert isinstance(guarantee, Guarantee)
    decisions = np.array(data.decisions(made.policy))
    harmful = data.labels == 1
    missed, false = guarantee.risks
    assert (missed.rows, false.rows) == (harmful.sum(), (~harmful).sum())
    assert missed.errors == (decisions[harmful] == "allow").sum() > 0
    assert false.errors == (decisions[~harmful] == "block").sum() > 0
    for risk in guarantee.risks:
        assert risk.bound == (risk.errors + 1) / (risk.rows + 1) <= risk.alpha
    assert made.shares["all"]["review"] == (decisions == "review").mean()
    assert made.shares["harmful"]["allow"] == missed.errors / missed.rows
    assert sum(made.shares["safe"].values()) == pytest.approx(1)
    one_sided = control(data, missed_harm=0.05).policy
    assert one_sided.review_band.above == BASE.review_band.above
    assert one_sided.review_band.below == made.policy.review_band.below
    assert one_sided.guarantee is not None
    assert [it.error for it in one_sided.guarantee.risks] == ["missed_harm"]


def test_a_stricter_rate_sends_more_to_review(tmp_path: Path) -> None:
    data = scored(tmp_path, labelled_rows(BASE, 500, slope=1.0))
    shares = [control(data, missed_harm=alpha, false_block=alpha).shares["all"]["review"] for alpha in (0.02, 0.05, 0.1, 0.3)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_the_joint_risk_counts_all_rows(tmp_path: Path) -> None:
    data = scored(tmp_path, labelled_rows(BASE, 300, slope=1.0))
    joint = control(data, missed_harm=0.05, false_block=0.05, risk="all")
    of_class = control(data, missed_harm=0.05, false_block=0.05)
    assert [it.rows for it in joint.risks] == [300, 300]
    assert joint.policy.review_band.below <= of_class.policy.review_band.below
    assert [it.words for it in joint.risks] == ["P(harmful and allowed) <= 0.05", "P(safe and blocked) <= 0.05"]


def test_coverage_holds_for_whole_policies_with_rows_that_lack_something(tmp_path: Path) -> None:
    """Twenty sets of labels, each with its band, against one large set of new rows: the mean rate is at most alpha."""

    def rows(n: int, seed: int) -> list[dict[str, Any]]:
        made = labelled_rows(BASE, n, seed, slope=1.0)
        for i, row in enumerate(made):
            if i % 9 == 0:
                row["tree"] = [*row["tree"], GAP[0]]
            if i % 23 == 0:
                row["trees"] = LOST["trees"]
                del row["tree"]
        return made

    new = scored(tmp_path, rows(1500, 1000))
    assert 0.1 < (~new.is_point).mean() < 0.2
    missed, false, n_harmful = [], [], []
    for seed in range(20):
        data = scored(tmp_path, rows(150, seed))
        made = control(data, missed_harm=0.1, false_block=0.2)
        decisions = np.array(new.decisions(made.policy))
        missed.append((decisions[new.labels == 1] == "allow").mean())
        false.append((decisions[new.labels == 0] == "block").mean())
        n_harmful.append(int(data.labels.sum()))
    for rates, alpha in ((missed, 0.1), (false, 0.2)):
        error = np.std(rates) / math.sqrt(len(rates))
        assert np.mean(rates) <= alpha + 3 * error
        assert np.mean(rates) > 0.4 * alpha


def test_too_few_rows_of_a_class_are_refused_with_how_many_are_needed(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 300)
    harmful = [row for row in rows if row["label"] == 1][:15]
    safe = [row for row in rows if row["label"] == 0][:30]
    data = scored(tmp_path, [*harmful, *safe])
    with pytest.raises(GuaranteeError, match="15 rows labelled harmful: at least 19 are needed"):
        control(data, missed_harm=0.05)
    assert control(data, missed_harm=0.1, false_block=0.05).policy.guarantee is not None
    with pytest.raises(GuaranteeError, match="45 labelled rows: at least 99"):
        control(data, missed_harm=0.01, risk="all")
    with pytest.raises(FitError, match="no error rate"):
        control(data)
    with pytest.raises(GuaranteeError, match="from 0 rows labelled harmful"):
        control(scored(tmp_path, safe), missed_harm=0.5)


def test_rows_that_are_repeated_do_not_make_a_set_large_enough(tmp_path: Path) -> None:
    rows = [row | {"id": f"row-{i}"} for i, row in enumerate(labelled_rows(BASE, 40))]
    assert control(scored(tmp_path, rows), missed_harm=0.2).policy.guarantee is not None
    few = scored(tmp_path, rows[:4] * 10)
    assert few.repeated == 36
    with pytest.raises(GuaranteeError, match=r"rows with the id of another row, .*: 36"):
        control(few, missed_harm=0.2)
    assert control(few, missed_harm=0.2, when_unfounded="band_only").policy.guarantee is None


def test_labels_of_the_fit_and_suggested_rows_carry_no_guarantee(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 120)
    path = written(tmp_path / "fit.jsonl", rows)
    fitted = align(
        read_labelled(path, BASE.bind(TAXONOMY).space), BASE, TAXONOMY, name="f", source=path, n_starts=1, ridge=0.01
    )
    data = score_labelled(path, fitted.bind(TAXONOMY))
    assert data.has_labels_of_fit
    with pytest.raises(GuaranteeError, match="the weights were aligned to this very file"):
        control(data, missed_harm=0.1)
    banded = control(data, missed_harm=0.1, when_unfounded="band_only")
    assert banded.policy.guarantee is None
    assert banded.risks[0].bound <= 0.1
    made = calibrate(data).policy.calibration
    assert made is not None
    assert made.has_labels_of_fit
    others = score_labelled(written(tmp_path / "new.jsonl", labelled_rows(BASE, 120, seed=1)), fitted.bind(TAXONOMY))
    assert control(others, missed_harm=0.1).policy.guarantee is not None
    chosen = scored(tmp_path, [*rows, rows[0] | {"suggested": "near_threshold"}])
    with pytest.raises(GuaranteeError, match=r"rows chosen by `align suggest`, .*: 1"):
        control(chosen, missed_harm=0.1)


def test_blocking_what_is_missing_counts_as_a_false_block(tmp_path: Path) -> None:
    blocking = BASE.model_copy(update={"on_missing": "block"})
    rows = labelled_rows(BASE, 200, slope=2.0)
    data = scored(tmp_path, [*rows, *[LOST] * 3], blocking)
    made = control(data, false_block=0.1)
    decisions = np.array(data.decisions(made.policy))
    assert np.isposinf(data.high[-3:]).all()
    assert (decisions[-3:] == "block").all()
    assert made.risks[0].errors >= 3
    assert made.risks[0].bound <= 0.1
    with pytest.raises(GuaranteeError, match="60 safe ones are blocked because something is missing"):
        control(scored(tmp_path, [*rows, *[LOST] * 60], blocking), false_block=0.1)
    assert control(scored(tmp_path, [*rows, *[LOST] * 60]), false_block=0.1).policy.guarantee


def test_too_little_to_calibrate_is_refused_with_the_file(tmp_path: Path) -> None:
    rows = labelled_rows(BASE, 40)
    safe = [row | {"label": 0} for row in rows]
    for few, says in (([], "needs rows"), (safe, "needs both classes"), ([*safe, rows[0] | {"label": 1}], "two rows of each")):
        with pytest.raises(FitError, match=f"labelled.jsonl: .*{says}.*0 rows left out"):
            calibrate(scored(tmp_path, few))


@pytest.mark.parametrize("spec", [
    FeatureSpaceSpec(analysis="harms"), FeatureSpaceSpec(analysis="benefits"), FeatureSpaceSpec(effect="group"),
    FeatureSpaceSpec(action="leaf", discount="shared"),
], ids=str)  # fmt: skip
def test_every_feature_space_can_be_calibrated_and_banded(tmp_path: Path, spec: FeatureSpaceSpec) -> None:
    from safetyanalyst.features import FeatureSpace
    from safetyanalyst.policy import weights_by_name

    space = FeatureSpace(TAXONOMY, spec)
    ratios = np.random.default_rng(0).uniform(0.3, 1.0, size=len(space.ratios.names))
    policy = Policy(name="p", space=spec, weights=weights_by_name(space, space.levels_from_ratios(ratios)))
    shift = float(np.median(scored(tmp_path, labelled_rows(policy, 100), policy).low))
    data = scored(tmp_path, labelled_rows(policy, 300, slope=3.0, shift=shift), policy)
    made = control(data, missed_harm=0.1, false_block=0.1)
    assert all(risk.bound <= 0.1 for risk in made.risks)
    curve = calibrate(data, method="platt").policy.calibration
    assert curve is not None
    assert isinstance(curve.curve, PlattCurve)
    assert curve.curve.slope > 0
    assert curve.after.log_loss < curve.before.log_loss


def test_a_guarantee_of_the_file_is_checked(tmp_path: Path) -> None:
    made = control(scored(tmp_path, labelled_rows(BASE, 100)), missed_harm=0.1).policy
    path = tmp_path / "p.yaml"
    path.write_text(dump_policy(made).replace("alpha: 0.1", "alpha: 1.1"), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"guarantee.risks\[0\].alpha"):
        load_policy(path)
    path.write_text(dump_policy(made).replace("alpha: 0.1", "alpha: 0.01"), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"guarantee.risks\[0\]: .* bound the rate by .*, not by 0.01"):
        load_policy(path)


def test_a_band_that_was_steered_by_hand_gets_one_more_edit(tmp_path: Path) -> None:
    steered = BASE.steered({"review_band/below": 0.5, "threshold": 0.1}, reason="by hand", date=DAY, taxonomy=TAXONOMY)
    data = scored(tmp_path, labelled_rows(steered, 200), steered)
    made = control(data, missed_harm=0.05, date=datetime.date(2026, 1, 1)).policy
    assert made.edits[:-1] == steered.edits
    last = made.edits[-1]
    assert (last.weight, last.before, last.after) == ("review_band/below", 0.5, made.review_band.below)
    assert (last.reason, last.date) == ("made by align calibrate on labelled.jsonl", DAY)  # days of edits ascend
    assert made.bind(TAXONOMY).lapsed == ()
    assert back(made, tmp_path) == made
    assert control(scored(tmp_path, labelled_rows(BASE, 200)), missed_harm=0.05).policy.edits == BASE.edits


def test_a_band_does_not_cross_a_pin(tmp_path: Path) -> None:
    pinned = BASE.model_copy(
        update={"pins": {"review_band/below": Pin(ceiling=0.2)}, "review_band": ReviewBand(below=0.1, above=0.1)}
    )
    data = scored(tmp_path, labelled_rows(BASE, 200, slope=0.5), pinned)
    with pytest.raises(PolicyError, match=r"review_band/below .* above the ceiling"):
        control(data, missed_harm=0.05)


def test_labels_of_an_ancestors_fit_carry_no_guarantee(tmp_path: Path) -> None:
    path = written(tmp_path / "fit.jsonl", labelled_rows(BASE, 60))
    assert BASE.fit is not None
    fitted = BASE.model_copy(update={"fit": BASE.fit.model_copy(update={"data_hash": file_hash(path)})})
    child = resolve(Deployment(name="child", extends=Extends(policy="balanced")), fitted, TAXONOMY)
    assert child.fit is None
    assert not score_labelled(path, child.bind(TAXONOMY)).has_labels_of_fit
    data = score_labelled(path, child.bind(TAXONOMY), [fitted])
    with pytest.raises(GuaranteeError, match="aligned to this very file"):
        control(data, missed_harm=0.2)
