"""Makes the shipped policies `balanced` and `strict` from trees that the embedded specialists predicted out of fold.

    safetyanalyst train embedded --data FOLDER --work FOLDER --out OUT
    python -m benchmarks.make_policies OUT/out-of-fold.jsonl

Both have the weights that `align` finds. They differ in where they cut: `balanced` at score 0, where its fitted probability is
one half, with a review band that holds a tenth of the aligned texts; `strict` where at most one in twenty unsafe texts is
allowed, and it blocks when something is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from safetyanalyst import resources
from safetyanalyst.aggregation import harmfulness
from safetyanalyst.bootstrap import save_bootstrap
from safetyanalyst.constraints import Constraints
from safetyanalyst.pipelines.align import AlignSettings, align_with, read_labelled
from safetyanalyst.policy import Policy, ReviewBand, dump_policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy

REVIEWED, MISSED = 0.10, 0.05  # shares
VERSION = "4"  # counted up with every fit that ships
REPLICATES = 200  # refits on resampled rows, for the intervals of the weights
FLOOR = 0.25  # of every action: where labels say little, an action is not to be free of charge
RIDGE = 0.003  # no weight is left where it happened to start, or at 0 or 1 for want of rows


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", type=Path, help="labelled trees predicted out of fold")
    path = parser.parse_args().trees
    base = load_policy("wildjailbreak-v1")
    taxonomy = load_taxonomy(base.taxonomy)
    data = read_labelled(path, base.bind(taxonomy).space)
    settings = AlignSettings(
        ridge=RIDGE, n_bootstrap=REPLICATES, group_column="group", constraints=Constraints(floors={"harm/action/*": FLOOR})
    )
    fitted, replicates, *_ = align_with(settings, data, base, taxonomy, name="balanced", source=path)
    assert replicates is not None
    bound = fitted.bind(taxonomy)
    scores = harmfulness(data.matrix, bound.levels)
    labels = data.labels

    band = round(float(np.quantile(np.abs(scores), REVIEWED)), 2)
    cut = round(float(np.quantile(scores[labels == 1], MISSED)), 2)
    balanced = fitted.model_copy(
        update={
            "version": VERSION,
            "description": "For general use with the embedded specialists: aligned to teacher labels on trees predicted out of "
            "fold; a tenth of those texts falls into the review band.",
            "review_band": ReviewBand(below=band, above=band),
        }
    )
    strict = fitted.model_copy(
        update={
            "name": "strict",
            "version": VERSION,
            "description": "For deployments where a missed harm costs more than many false alarms: the weights of balanced, "
            "cut so that one in twenty of the unsafe texts aligned to is allowed; blocks when something is missing.",
            "threshold": cut,
            "on_missing": "block",
        }
    )
    for policy in (balanced, strict):
        save_bootstrap(replicates, _write(policy))
        allowed = scores <= policy.threshold - policy.review_band.below
        blocked = scores > policy.threshold + policy.review_band.above
        print(
            f"{policy.name}: threshold {policy.threshold:g}, band {policy.review_band.below:g}; of unsafe texts "
            f"{blocked[labels == 1].mean():.3f} blocked, {allowed[labels == 1].mean():.3f} allowed; of safe texts "
            f"{blocked[labels == 0].mean():.3f} blocked, {allowed[labels == 0].mean():.3f} allowed"
        )


def _write(policy: Policy) -> Path:
    target = resources.folder("policies") / f"{policy.name}.yaml"
    target.write_text(dump_policy(policy), encoding="utf-8")
    return target


if __name__ == "__main__":
    main()
