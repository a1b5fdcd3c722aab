"""Labelled trees -> a policy: weights aligned by the log-sigmoid loss, every fact of the fit written into the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safetyanalyst.aggregation import AggregationModel, log_loss
from safetyanalyst.errors import FitError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines.dataset import StoredTrees, file_hash, read_trees
from safetyanalyst.policy import FitFacts, Policy, weights_by_name
from safetyanalyst.records import Record
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.version import __version__


class LabelledTrees(Record):
    """Labelled trees ready for a fit, and what was left out of it.

    Attributes:
        rows: Labelled, with nothing missing.
        unlabelled: Rows without label.
        incomplete: Labelled rows in which something is missing: a fit would have to guess what.
        failures: Rows that could not be read.
    """

    rows: tuple[StoredTrees, ...]
    unlabelled: int
    incomplete: int
    failures: tuple[ReadFailure, ...]

    @property
    def left_out(self) -> int:
        """Rows that are not used."""
        return self.unlabelled + self.incomplete + len(self.failures)


def read_labelled(path: Path, space: FeatureSpace) -> LabelledTrees:
    """Reads labelled trees and sets aside what a fit cannot use."""
    rows: list[StoredTrees] = []
    failures: list[ReadFailure] = []
    unlabelled = incomplete = 0
    for item in read_trees(path, space.taxonomy):
        if isinstance(item, ReadFailure):
            failures.append(item)
        elif item.label is None:
            unlabelled += 1
        elif not space.featurize([item.trees]).is_complete:
            incomplete += 1
        else:
            rows.append(item)
    return LabelledTrees(rows=tuple(rows), unlabelled=unlabelled, incomplete=incomplete, failures=tuple(failures))


def align(
    data: LabelledTrees, base: Policy, taxonomy: Taxonomy, *, name: str, source: Path,
    n_starts: int = 16, seed: int = 0, ridge: float = 0.0,
) -> Policy:  # fmt: skip
    """Fits the weights of a policy to labels.

    Args:
        data: Labelled trees.
        base: Gives everything but the weights: feature space, threshold, review band, `on_missing`.
        taxonomy: What the trees speak of.
        name: Of the new policy.
        source: The file of the labels, for the record.
        n_starts: Starts of the fit.
        seed: Of the starts.
        ridge: Pull of every ratio towards one half, for labels that are few for some weights.

    Returns:
        A policy with a fit report. Its edits start anew: the weights are no longer those that were edited.

    Raises:
        FitError: No usable rows, or one class only.
    """
    if not data.rows:
        raise FitError(f"{source}: no labelled rows without missing features ({data.left_out} rows left out)")
    space = FeatureSpace(taxonomy, base.space)
    matrix = space.featurize(row.trees for row in data.rows)
    labels = np.array([row.label for row in data.rows], dtype=np.float64)
    model = AggregationModel(space, n_starts=n_starts, seed=seed, ridge=ridge).fit(matrix, labels)
    facts = FitFacts(
        data=source.name,
        data_hash=file_hash(source),
        rows=len(data.rows),
        rows_left_out=data.left_out,
        harmful=int(labels.sum()),
        parameters=len(space.ratios.names),
        loss=model.loss_,
        loss_at_zero_weights=float(log_loss(np.zeros(len(labels)), labels, base.space.analysis).mean()),
        ridge=ridge,
        seed=seed,
        starts=tuple(model.starts_),
        at_bounds=model.at_bounds_,
        unidentified=model.unidentified_,
        taxonomy=taxonomy.label,
        code=__version__,
    )
    return base.model_copy(
        update={
            "name": name,
            "version": "1",
            "description": f"Aligned to {len(data.rows)} labelled trees, starting from the settings of {base.name}.",
            "weights": weights_by_name(space, model.levels_),
            "edits": (),
            "fit": facts,
        }
    )
