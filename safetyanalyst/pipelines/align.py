"""Labelled trees -> a policy: weights aligned by the log-sigmoid loss, every fact of the fit written into the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from safetyanalyst.aggregation import AggregationModel, harmfulness, log_loss
from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.constraints import Constraints, LevelRegion
from safetyanalyst.errors import FitError, PolicyError
from safetyanalyst.features import FeatureSpace, slug
from safetyanalyst.fit_facts import BootstrapFacts, Costs, Errors, FitFacts, PriorFacts
from safetyanalyst.fitting import Prior
from safetyanalyst.pipelines.dataset import file_hash
from safetyanalyst.pipelines.labelled import LabelledRows as LabelledRows
from safetyanalyst.pipelines.labelled import LabelledTrees as LabelledTrees
from safetyanalyst.pipelines.labelled import Watch, labelled_rows, unwatched
from safetyanalyst.pipelines.labelled import read_labelled as read_labelled
from safetyanalyst.pipelines.validation import cross_validate
from safetyanalyst.policy import Policy, weights_by_name
from safetyanalyst.records import Record
from safetyanalyst.resampling import Replicates, refits
from safetyanalyst.resources import readable
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.version import __version__

Threshold = Literal["fit", "base"] | Annotated[float, Field(allow_inf_nan=False)]


class AlignSettings(Record):
    """How weights are aligned.

    Attributes:
        n_starts: Starts of the fit.
        seed: Of starts, folds and resampling.
        ridge: Pull of every ratio towards one half, for labels that are few for some weights.
        constraints: Floors, ceilings, frozen weights.
        strength: Of the pull towards the prior policy, in labelled rows.
        costs: Of the two errors.
        threshold: "base" keeps that of the base policy, "fit" fits it with the weights, a number sets it. Only a fitted
            threshold takes part in the loss.
        weight_column: Column with a weight for each row.
        n_folds: Of the cross-validation; 0 for none.
        group_column: Column whose equal values stay in one fold and are resampled together.
        n_bootstrap: Refits on resampled rows; 0 for none.
    """

    n_starts: int = 16
    seed: Annotated[int, Field(ge=0)] = 0
    ridge: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    constraints: Constraints = Constraints()
    strength: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    costs: Costs = Costs()
    threshold: Threshold = "base"
    weight_column: str | None = None
    n_folds: Annotated[int, Field(ge=0)] = 0
    group_column: str | None = None
    n_bootstrap: Annotated[int, Field(ge=0)] = 0


class Aligned(NamedTuple):
    """What comes of a fit.

    Attributes:
        policy: With the facts of the fit.
        bootstrap: Replicates, when they were asked for.
        model: The fitted model.
        rows: What it was fitted to.
    """

    policy: Policy
    bootstrap: Bootstrap | None
    model: AggregationModel
    rows: LabelledRows


def align(
    data: LabelledTrees, base: Policy, taxonomy: Taxonomy, *, name: str, source: Path,
    n_starts: int = 16, seed: int = 0, ridge: float = 0.0,
) -> Policy:  # fmt: skip
    """Fits the weights of a policy to labels, and nothing more; `align_with` takes everything that can be asked for.

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
    settings = AlignSettings(n_starts=n_starts, seed=seed, ridge=ridge)
    return align_with(settings, data, base, taxonomy, name=name, source=source).policy


def align_with(
    settings: AlignSettings, data: LabelledTrees, base: Policy, taxonomy: Taxonomy, *, name: str, source: Path,
    prior: Policy | None = None, watch: Watch = unwatched,
) -> Aligned:  # fmt: skip
    """Fits the weights of a policy to labels as the settings say.

    Args:
        settings: How.
        data: Labelled trees.
        base: Gives everything but the weights; its values freeze what is frozen without a number.
        taxonomy: What the trees speak of.
        name: Of the new policy.
        source: The file of the labels, for the record.
        prior: Policy that the levels are pulled to with `settings.strength`.
        watch: Shows progress.

    Raises:
        FitError: No usable rows, one class only, or not enough rows for the folds.
        PolicyError: Constraints that name nothing or contradict each other.
    """
    if not len(data):
        raise FitError(f"{source}: no labelled rows without missing features ({data.left_out} rows left out)")
    model = new_model(settings, base, taxonomy, prior=prior)
    rows = labelled_rows(
        data, model.space, costs=settings.costs, weight_column=settings.weight_column, group_column=settings.group_column
    )
    with watch("starts", settings.n_starts) as tick:
        model.fit(rows.matrix, rows.labels, rows.weights, tick=tick)
    threshold = threshold_of(settings, model, base)
    facts = fit_facts(settings, model, rows, data, source, prior, threshold)
    if settings.n_folds:
        fixed = None if settings.threshold == "fit" else threshold
        validation = cross_validate(
            model, rows, settings.n_folds, threshold=fixed, grouped_by=settings.group_column, watch=watch
        )  # fmt: skip
        facts = facts.model_copy(update={"validation": validation})
    bootstrap = None
    if settings.n_bootstrap:
        found = replicate(settings, model, rows, watch)
        bootstrap = bootstrap_of(found, model, len(rows.labels), settings.seed)
        facts = facts.model_copy(update={"bootstrap": bootstrap_facts(settings, bootstrap, found)})
    policy = aligned_policy(base, model, name=name, threshold=threshold, facts=facts)
    return Aligned(policy, bootstrap, model, rows)


def new_model(settings: AlignSettings, base: Policy, taxonomy: Taxonomy, *, prior: Policy | None = None) -> AggregationModel:
    """The model that the settings ask for, not yet fitted."""
    space = FeatureSpace(taxonomy, base.space)
    return AggregationModel(
        space, n_starts=settings.n_starts, seed=settings.seed, ridge=settings.ridge,
        region=settings.constraints.region(space, carried_levels(base.weights, space)),
        prior=None if prior is None else prior_towards(prior, space, settings.strength),
        threshold="fit" if settings.threshold == "fit" else "zero",
    )  # fmt: skip


def carried_levels(weights: Mapping[str, float], space: FeatureSpace) -> dict[str, float]:
    """Levels of a space that the weights of another space speak of.

    A leaf action takes the value of its group, a group the mean of its leaves; without effect weights every effect counts 1.
    What the weights do not speak of (benefits, for a policy of harms alone) is left out.
    """
    has_effects = any(name.startswith("effect/") for name in weights)
    kin = {slug(action.name): action.group for action in space.taxonomy.harm_actions}
    found: dict[str, float] = {}
    for name in space.levels.names:
        *_, last = name.split("/")
        if name in weights:
            found[name] = weights[name]
        elif name.startswith("effect/") and not has_effects:
            found[name] = 1.0
        elif name.startswith("harm/action/"):
            related = [f"harm/action/{kin.get(last, '')}", *(f"harm/action/{leaf}" for leaf, g in kin.items() if g == last)]
            if values := [weights[other] for other in related if other in weights]:
                found[name] = float(np.mean(values))
    return found


def prior_towards(policy: Policy, space: FeatureSpace, strength: float) -> Prior:
    """A pull of the levels of a space to those of a policy.

    Raises:
        PolicyError: The policy has no weight that this space knows.
    """
    region, carried = LevelRegion.of(space), carried_levels(policy.weights, space)
    if not carried:
        raise PolicyError(f"policy {policy.name} has no weight of this feature space to pull to")
    named = [[carried[name] for name in names if name in carried] for names in region.names]
    values = np.array([np.mean(given) if given else np.nan for given in named])
    return Prior(values, strength, policy.threshold)


def fit_facts(
    settings: AlignSettings, model: AggregationModel, rows: LabelledRows, data: LabelledTrees, source: Path,
    prior: Policy | None, threshold: float,
) -> FitFacts:  # fmt: skip
    """The facts of a fit that are known without refits."""
    zero = log_loss(np.zeros(len(rows.labels)), rows.labels, model.space.spec.analysis)
    return FitFacts(
        data=readable(source.name),
        data_hash=file_hash(source),
        rows=len(rows.labels),
        rows_left_out=data.left_out,
        harmful=int(rows.labels.sum()),
        parameters=len(model.space.ratios.names),
        loss=model.loss_,
        loss_at_zero_weights=float(rows.weights @ zero / rows.weights.sum()),
        ridge=settings.ridge,
        seed=settings.seed,
        starts=tuple(model.starts_),
        at_bounds=model.at_bounds_,
        unidentified=model.unidentified_,
        taxonomy=model.space.taxonomy.label,
        code=__version__,
        constraints=_obeyed(settings.constraints, model) if settings.constraints else None,
        prior=None if prior is None else PriorFacts(policy=prior.name, hash=prior.hash, strength=settings.strength),
        costs=None if settings.costs == Costs() else settings.costs,
        weight_column=settings.weight_column,
        threshold=model.threshold_ if settings.threshold == "fit" else None,
        errors=training_errors(model, rows, threshold),
        identification=model.identification_,
    )


def aligned_policy(base: Policy, model: AggregationModel, *, name: str, threshold: float, facts: FitFacts) -> Policy:
    """The base with fitted weights, their threshold and the facts of the fit."""
    update = {
        "name": readable(name),
        "version": "1",
        "description": f"Aligned to {facts.rows} labelled trees, starting from the settings of {base.name}.",
        "weights": weights_by_name(model.space, model.levels_),
        "threshold": threshold,
        "edits": (),
        "fit": facts,
        "calibration": None,  # they were made for the weights of the base
        "guarantee": None,
    }
    return base.model_copy(update=update)


def training_errors(model: AggregationModel, rows: LabelledRows, threshold: float) -> Errors:
    """Errors of fitted weights at a threshold on the rows they were fitted to."""
    flagged = harmfulness(rows.matrix, model.levels_) > threshold
    return Errors(missed=int((~flagged & (rows.labels == 1)).sum()), false_alarms=int((flagged & (rows.labels == 0)).sum()))


def replicate(settings: AlignSettings, model: AggregationModel, rows: LabelledRows, watch: Watch) -> Replicates:
    """Refits of a fitted model."""
    with watch("bootstrap", settings.n_bootstrap) as tick:
        return refits(
            model, rows.matrix, rows.labels, rows.weights,
            groups=rows.groups, n=settings.n_bootstrap, seed=settings.seed, tick=tick,
        )  # fmt: skip


def bootstrap_of(found: Replicates, model: AggregationModel, n_rows: int, seed: int) -> Bootstrap:
    """Replicates as the file beside a policy holds them."""
    weights = {name: tuple(found.levels[:, k].tolist()) for k, name in enumerate(model.space.levels.names)}
    return Bootstrap(weights=weights, rows=n_rows, seed=seed)


def bootstrap_facts(settings: AlignSettings, bootstrap: Bootstrap, found: Replicates) -> BootstrapFacts:
    """What a policy says of its replicates."""
    is_fitted = settings.threshold == "fit"
    low, high = np.percentile(found.thresholds, [2.5, 97.5]).tolist()
    return BootstrapFacts(
        replicates=bootstrap.replicates, seed=settings.seed, intervals=bootstrap.intervals(), hash=bootstrap.hash,
        threshold=(low, high) if is_fitted else None,
    )  # fmt: skip


def threshold_of(settings: AlignSettings, model: AggregationModel, base: Policy) -> float:
    """The threshold that the settings ask for."""
    if settings.threshold == "base":
        return base.threshold
    return model.threshold_ if settings.threshold == "fit" else settings.threshold


def _obeyed(constraints: Constraints, model: AggregationModel) -> Constraints:
    """The constraints with every frozen level by its name and value: what stood in the base is written out."""
    frozen = {
        name: float(value)
        for name, value, k in zip(model.space.levels.names, model.levels_, model.region.own, strict=True)
        if model.region.is_frozen[k]
    }
    return constraints.model_copy(update={"frozen": frozen})
