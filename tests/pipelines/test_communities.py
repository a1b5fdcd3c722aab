from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import synthetic
from safetyanalyst.aggregation import harmfulness, probability
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines.align import AlignSettings, read_labelled
from safetyanalyst.pipelines.align_communities import CommunityPolicies, align_communities, community_path
from safetyanalyst.policy import load_policy
from safetyanalyst.report import fits
from safetyanalyst.taxonomy import load_taxonomy
from tests.labels import claimed

TAXONOMY = load_taxonomy()
BASE = load_policy("wildjailbreak-v1")
SPACE = FeatureSpace(TAXONOMY, BASE.space)
APART = "harm/action/privacy"


def rows_of(community: Any, n: int, privacy: float, seed: int) -> list[dict[str, Any]]:
    """Trees with labels of people who weigh privacy so, and everything else alike."""
    rng = np.random.default_rng(seed)
    levels = SPACE.levels_from_ratios(np.full(29, 0.8))
    levels[[SPACE.levels.names.index(f"harm/action/{g.key}") for g in TAXONOMY.action_groups]] = 0.4
    levels[SPACE.levels.names.index(APART)] = privacy
    action = TAXONOMY.published_action(next(it for it in TAXONOMY.harm_actions if it.group == "privacy"))
    rows = []
    for i in range(n):
        tree = synthetic.published_tree(rng, TAXONOMY, int(rng.integers(3, 10)))
        for holder in tree:
            for it in holder.get("harms", []):
                if rng.random() < 0.4:
                    it["action"] = action
        score = harmfulness(SPACE.featurize([parsing.pair_from_json(tree, TAXONOMY).trees]), levels)[0]
        label = int(rng.random() < probability(np.array([2.0 * (score - 1.2)]))[0])
        rows.append(
            {"id": f"{community}-{i}", "tree": tree, "label": label} | ({} if community is None else {"who": community})
        )
    return rows


def found_in(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> CommunityPolicies:
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {key: options.pop(key) for key in ("n_bootstrap", "weight_column") if key in options}
    settings = AlignSettings(n_starts=2, threshold="fit", **given)
    data = read_labelled(path, SPACE)
    return align_communities(
        settings, data, options.pop("base", BASE), TAXONOMY, name="mine", source=path, column="who", **options
    )


def test_communities_that_differ_in_one_weight_differ_in_that_weight(tmp_path: Path) -> None:
    rows = [*rows_of("open", 260, 0.0, 1), *rows_of("guarded", 260, 1.0, 2), *rows_of("few", 8, 0.5, 3)]
    found = found_in(tmp_path, [*rows, *rows_of(None, 20, 0.5, 4)], n_bootstrap=25)
    report = {it.name: it for it in found.report.communities}
    assert list(report) == ["few", "guarded", "open"]
    assert (found.report.without_value, found.report.replicates, report["open"].rows) == (20, 25, 260)
    losses = found.report.strength_losses
    assert losses[f"{found.report.strength:g}"] == min(losses.values())
    weight = {name: policy.weights[APART] for name, policy in found.policies.items()}
    assert weight["open"] < weight["few"] < weight["guarded"]
    for name, sign in (("open", -1), ("guarded", 1)):
        (first, *_) = report[name].differences
        assert (first.weight, first.is_clear) == (APART, True)
        assert sign * (first.community - first.pooled) > 0
        assert sum(report[name].decided_otherwise.values()) > 0
        assert all(" -> " in change for change in report[name].decided_otherwise)
    assert found.bootstraps["open"].replicates == 25
    facts = found.policies["open"].fit
    assert facts is not None
    assert facts.bootstrap is not None
    assert facts.prior is not None
    assert facts.bootstrap.hash == found.bootstraps["open"].hash
    assert (facts.prior.policy, facts.prior.hash) == ("mine", found.pooled.policy.hash)


def test_too_few_rows_or_one_class_have_the_pooled_weights(tmp_path: Path) -> None:
    one_class = [row | {"label": 1} for row in rows_of("harsh", 40, 0.5, 5)]
    found = found_in(tmp_path, [*rows_of("many", 90, 0.5, 1), *rows_of("few", 8, 0.5, 3), *one_class], strength=5.0)
    assert found.report.strength_losses == {}
    report = {it.name: it for it in found.report.communities}
    assert report["few"].fallback == "8 rows, fewer than 30"
    assert report["harsh"].fallback == "every row is harmful"
    assert report["many"].fallback is None
    for name in ("few", "harsh"):
        assert found.policies[name].weights == found.pooled.policy.weights
        assert found.policies[name].threshold == found.pooled.policy.threshold
        assert report[name].decided_otherwise == {}
        assert "pooled policy mine" in found.policies[name].description
    assert [d.low for d in report["many"].differences if d.low is not None] == []


def test_a_community_whose_rows_of_a_class_have_no_weight_has_the_pooled_weights(tmp_path: Path) -> None:
    lopsided = [row | {"w": row["label"]} for row in rows_of("lopsided", 60, 0.5, 5)]
    silent = [row | {"w": 0} for row in rows_of("silent", 60, 0.5, 6)]
    many = [row | {"w": 1} for row in rows_of("many", 90, 0.5, 1)]
    found = found_in(tmp_path, [*many, *lopsided, *silent], strength=5.0, weight_column="w")
    report = {it.name: it.fallback for it in found.report.communities}
    assert report == {"many": None, "lopsided": "every row is harmful", "silent": "every row has the weight 0"}


def test_a_few_draws_do_not_tell_communities_apart(tmp_path: Path) -> None:
    rows = [*rows_of("open", 90, 0.5, 1), *rows_of("guarded", 90, 0.5, 2)]
    found = found_in(tmp_path, rows, strength=5.0, n_bootstrap=3)
    told = [d for it in found.report.communities for d in it.differences]
    assert told
    assert not any(d.is_clear or d.low is not None or d.high is not None for d in told)
    drawn = io.StringIO()
    Console(file=drawn, width=100).print(fits.communities(found.report, {"open": "o.yaml", "guarded": "g.yaml"}))
    assert "3 draws cannot say which weights differ: that takes 20" in drawn.getvalue()
    assert "weights differ (" not in drawn.getvalue()


def test_no_policy_of_a_community_claims_what_the_base_did(tmp_path: Path) -> None:
    rows = [*rows_of("open", 60, 0.0, 1), *rows_of("few", 4, 0.5, 3)]
    found = found_in(tmp_path, rows, strength=10.0, base=claimed(BASE))
    for policy in (found.pooled.policy, *found.policies.values()):
        assert (policy.calibration, policy.guarantee) == (None, None)


def test_an_endless_strength_gives_the_pooled_weights_and_none_the_own(tmp_path: Path) -> None:
    rows = [*rows_of("open", 120, 0.0, 1), *rows_of("guarded", 120, 1.0, 2)]
    tight, loose = (found_in(tmp_path, rows, strength=s) for s in (1e9, 0.0))
    for name in ("open", "guarded"):
        gap = [abs(tight.policies[name].weights[k] - v) for k, v in tight.pooled.policy.weights.items()]
        assert max(gap) < 1e-5
        assert loose.policies[name].fit is not None
        assert tight.policies[name].fit is not None
        assert loose.policies[name].fit.loss < tight.policies[name].fit.loss


def test_a_column_that_nobody_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="no labelled row has a value in column 'who'"):
        found_in(tmp_path, rows_of(None, 40, 0.5, 1))


def test_file_names_are_safe_and_told_apart() -> None:
    names = ["clinic", "Clinic", "../../etc/passwd", "a/b", "a b", "", "école", "x" * 300, "con", "\x00"]
    paths = [community_path(Path("/tmp/out/mine.yaml"), name) for name in names]
    assert len({path.name.lower() for path in paths}) == len(names)
    assert {path.parent for path in paths} == {Path("/tmp/out")}
    assert all(path.name.isascii() and len(path.name) < 80 and path.name.startswith("mine.") for path in paths)
    assert paths[0].name == "mine.clinic.yaml"
