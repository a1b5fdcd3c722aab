"""Labelled trees made by us, and policies that were calibrated on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import synthetic
from safetyanalyst.aggregation import harmfulness
from safetyanalyst.calibration import Calibration, PlattCurve, Reliability
from safetyanalyst.conformal import ControlledRisk, Guarantee
from safetyanalyst.generation import parsing
from safetyanalyst.policy import Policy
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
GAP = [{"stakeholder": "a", "harms": [{"action": "no such thing", "effects": [{}]}]}]


def labelled_rows(policy: Policy, n: int, seed: int = 0, slope: float = 1.0, shift: float = 0.0) -> list[dict[str, Any]]:
    """Random small trees, harmful with probability sigmoid(slope * (score under the policy - shift))."""
    rng = np.random.default_rng(seed)
    trees = [synthetic.small_tree(rng, TAXONOMY) for _ in range(n)]
    bound = policy.bind(TAXONOMY)
    matrix = bound.space.featurize(parsing.pair_from_json(tree, TAXONOMY).trees for tree in trees)
    p = 1 / (1 + np.exp(-slope * (harmfulness(matrix, bound.levels) - shift)))
    labels = (rng.random(n) < p).astype(int).tolist()
    return [{"id": f"r{i}", "tree": tree, "label": label} for i, (tree, label) in enumerate(zip(trees, labels, strict=True))]


def written(path: Path, rows: list[Any]) -> Path:
    """JSON lines; text as it is."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def calibrated(policy: Policy, slope: float = 1.5, intercept: float = -0.2) -> Policy:
    """The policy with a calibration that holds."""
    figures = Reliability(brier=0.1, log_loss=0.3, ece=0.02)
    made = Calibration(
        curve=PlattCurve(slope=slope, intercept=intercept), threshold=policy.threshold, data="made.jsonl", data_hash="0" * 64,
        rows=40, rows_left_out=1, harmful=20, folds=5, seed=0, before=figures, after=figures,
        made_for=policy.bind(TAXONOMY).scoring_fingerprint,
        taxonomy=TAXONOMY.label, code="0",
    )  # fmt: skip
    return policy.model_copy(update={"calibration": made})


def claimed(policy: Policy) -> Policy:
    """The policy with a calibration and a guarantee that hold."""
    risk = ControlledRisk(error="missed_harm", risk="class", alpha=0.1, rows=40, errors=1)
    guarantee = Guarantee(
        risks=(risk,), data="made.jsonl", data_hash="0" * 64, rows_left_out=0, made_for=policy.bind(TAXONOMY).fingerprint,
        taxonomy=TAXONOMY.label, code="0",
    )  # fmt: skip
    return calibrated(policy).model_copy(update={"guarantee": guarantee})
