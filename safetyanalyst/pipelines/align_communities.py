"""Labelled trees -> the pooled policy, one policy per community, and a report on where they differ."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from safetyanalyst.aggregation import AggregationModel
from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.fit_facts import PriorFacts
from safetyanalyst.pipelines import communities as by
from safetyanalyst.pipelines.align import (
    Aligned,
    AlignSettings,
    align_with,
    aligned_policy,
    bootstrap_facts,
    bootstrap_of,
    fit_facts,
    threshold_of,
)
from safetyanalyst.pipelines.labelled import LabelledTrees, Watch, unwatched
from safetyanalyst.policy import Policy
from safetyanalyst.records import Record
from safetyanalyst.resources import readable
from safetyanalyst.taxonomy import Taxonomy

_SAFE = "abcdefghijklmnopqrstuvwxyz0123456789-_"


class CommunityReport(Record):
    """Where communities differ.

    Attributes:
        column: Whose values are the communities.
        strength: Of the pull towards the pooled weights, in labelled rows.
        strength_losses: Out-of-fold loss under every strength that was tried, by strength; empty when it was given.
        without_value: Rows of no community; they take part in the pooled fit only.
        replicates: Draws behind the intervals of the differences.
        communities: One by one, names sorted.
    """

    column: str
    strength: float
    strength_losses: dict[str, float]
    without_value: int
    replicates: int
    communities: tuple[by.Community, ...]


class CommunityPolicies(NamedTuple):
    """What comes of a fit by community.

    Attributes:
        pooled: The fit to all rows.
        policies: Per community its policy.
        bootstraps: Per community its replicates, where it has any of its own.
        report: Where they differ.
    """

    pooled: Aligned
    policies: dict[str, Policy]
    bootstraps: dict[str, Bootstrap]
    report: CommunityReport


def community_path(out: Path, name: str) -> Path:
    """The file of a community beside that of the pooled policy; names that are no plain file names get a hash."""
    plain = "".join(c if c in _SAFE else "-" for c in name.lower())[:40].strip("-")
    tag = "" if plain == name else "~" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return out.with_name(f"{out.stem}.{plain}{tag}{out.suffix}")


def align_communities(
    settings: AlignSettings, data: LabelledTrees, base: Policy, taxonomy: Taxonomy, *, name: str, source: Path, column: str,
    min_rows: int = 30, strength: float | None = None, prior: Policy | None = None, watch: Watch = unwatched,
) -> CommunityPolicies:  # fmt: skip
    """Fits the pooled policy, and one for each community that is pulled towards it.

    Args:
        settings: How; constraints, costs and threshold hold for every community, folds are of the pooled fit.
        data: Labelled trees.
        base: Gives everything but the weights.
        taxonomy: What the trees speak of.
        name: Of the pooled policy; a community's is `name/community`.
        source: The file of the labels, for the record.
        column: Whose values are the communities.
        min_rows: A community with fewer rows, or with one class only, has the pooled weights.
        strength: Of the pull to the pooled weights, in rows; cross-validated by default.
        prior: Of the pooled fit.
        watch: Shows progress.

    Raises:
        FitError: As `align_with`, or no row has a value in the column.
    """
    pooled = align_with(settings, data, base, taxonomy, name=name, source=source, prior=prior, watch=watch)
    found = by.members(data.fields, pooled.rows, column, min_rows)
    if not found.fitted:
        choice = by.Choice(strength or 0.0, {})
    else:
        choice = by.choose_strength(pooled.model, found, watch) if strength is None else by.Choice(strength, {})
    models: dict[str, AggregationModel] = {}
    for community in found.fitted:
        own = found.rows.select(found.of[community])
        models[community] = by.community_model(pooled.model, choice.strength).fit(own.matrix, own.labels, own.weights)
    draws = {}
    if settings.n_bootstrap and models:
        draws = by.differing(pooled.model, models, found, n=settings.n_bootstrap, seed=settings.seed, watch=watch)

    policies: dict[str, Policy] = {}
    bootstraps: dict[str, Bootstrap] = {}
    for community in found.of:
        if community in models:
            it = _fitted(
                settings, models[community], draws.get(community), found, community, pooled, base, data, source, column
            )
        else:
            it = _fallen_back(pooled, f"{name}/{community}", found.fallback[community])
        policies[community] = it.policy
        if it.bootstrap is not None:
            bootstraps[community] = it.bootstrap
    report = CommunityReport(
        column=column,
        strength=choice.strength,
        strength_losses={f"{tried:g}": loss for tried, loss in choice.losses.items()},
        without_value=found.without,
        replicates=settings.n_bootstrap if draws else 0,
        communities=tuple(_entry(it, pooled, policies[it], models.get(it), draws.get(it), found, taxonomy) for it in found.of),
    )
    return CommunityPolicies(pooled, policies, bootstraps, report)


def _fallen_back(pooled: Aligned, title: str, why: str) -> Aligned:
    said = f"The pooled policy {pooled.policy.name}: the community has {why}."
    return pooled._replace(policy=pooled.policy.model_copy(update={"name": title, "description": said}))


def _fitted(
    settings: AlignSettings, model: AggregationModel, draws: by.Draws | None, found: by.Members, community: str,
    pooled: Aligned, base: Policy, data: LabelledTrees, source: Path, column: str,
) -> Aligned:  # fmt: skip
    """The policy of a community that was fitted."""
    own = found.rows.select(found.of[community])
    threshold = threshold_of(settings, model, base)
    assert model.prior is not None
    prior = PriorFacts(policy=pooled.policy.name, hash=pooled.policy.hash, strength=model.prior.strength)
    update: dict[str, object] = {"data": readable(f"{source.name}, {column} = {community}"), "rows_left_out": 0, "prior": prior}
    bootstrap = None
    if draws is not None:
        bootstrap = bootstrap_of(draws.replicates, model, len(own.labels), settings.seed)
        update["bootstrap"] = bootstrap_facts(settings, bootstrap, draws.replicates)
    facts = fit_facts(settings, model, own, data, source, None, threshold).model_copy(update=update)
    policy = aligned_policy(base, model, name=f"{pooled.policy.name}/{community}", threshold=threshold, facts=facts)
    return Aligned(policy, bootstrap, model, own)


def _entry(
    community: str, pooled: Aligned, policy: Policy, model: AggregationModel | None, draws: by.Draws | None, found: by.Members,
    taxonomy: Taxonomy,
) -> by.Community:  # fmt: skip
    own = found.rows.select(found.of[community])
    return by.Community(
        name=community,
        rows=len(own.labels),
        harmful=int(own.labels.sum()),
        fallback=found.fallback.get(community),
        differences=() if model is None else by.differences(pooled.model, model, None if draws is None else draws.off),
        decided_otherwise=by.decided_otherwise(own, pooled.policy.bind(taxonomy), policy.bind(taxonomy)),
    )
