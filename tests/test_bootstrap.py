from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest

from safetyanalyst.bootstrap import Bootstrap, bootstrap_path, load_bootstrap, nearest_bootstrap, save_bootstrap
from safetyanalyst.errors import PolicyError
from safetyanalyst.features import FeatureSpace
from safetyanalyst.policy import BootstrapFacts, Policy, PolicyFile, dump_policy, load_policy, read_policy
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
BASE = load_policy("balanced")


def replicates() -> Bootstrap:
    space = FeatureSpace(TAXONOMY, BASE.space)
    rng = np.random.default_rng(0)
    weights = {name: tuple(rng.uniform(size=5).tolist()) for name in space.levels.names}
    return Bootstrap(weights=weights, rows=20, seed=0)


def with_facts(bootstrap: Bootstrap) -> Policy:
    assert BASE.fit is not None
    facts = BootstrapFacts(replicates=5, seed=0, intervals={}, hash=bootstrap.hash)
    return BASE.model_copy(update={"fit": BASE.fit.model_copy(update={"bootstrap": facts})})


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_policy(with_facts(replicates())), encoding="utf-8")
    save_bootstrap(replicates(), path)
    return path


def test_replicates_come_back_as_they_were(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert load_bootstrap(path, load_policy(path)) == replicates()


def test_a_policy_without_bootstrap_has_none() -> None:
    assert load_bootstrap("wildjailbreak-v1", load_policy("wildjailbreak-v1")) is None


def test_replicates_of_another_fit_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    beside = bootstrap_path(path)
    data = json.loads(beside.read_text(encoding="utf-8"))
    beside.write_text(json.dumps(data | {"rows": 21}), encoding="utf-8")
    with pytest.raises(PolicyError, match="another fit"):
        load_bootstrap(path, load_policy(path))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "[" * 100_000, '{"format": "safetyanalyst-bootstrap/1"}'])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    path = saved(tmp_path)
    beside = bootstrap_path(path)
    beside.unlink() if content is None else beside.write_text(content, encoding="utf-8")
    with pytest.raises(PolicyError, match=beside.name):
        load_bootstrap(path, load_policy(path))


def test_what_was_set_by_hand_does_not_vary() -> None:
    space = FeatureSpace(TAXONOMY, BASE.space)
    policy = BASE.steered("harm/action/privacy", 0.4, reason="r", date=datetime.date(2026, 1, 1), taxonomy=TAXONOMY)
    levels = replicates().levels(policy, space)
    assert levels.shape == (5, len(space.levels.names))
    k = space.levels.names.index("harm/action/privacy")
    assert set(levels[:, k]) == {0.4}
    assert tuple(levels[:, k + 1]) == replicates().weights[space.levels.names[k + 1]]


def family(tmp_path: Path, changes: str) -> PolicyFile:
    """A policy with replicates, one that extends it without a change, and one that extends that."""
    saved(tmp_path)
    head = "format: safetyanalyst-policy/1\n"
    (tmp_path / "middle.yaml").write_text(f"{head}name: middle\nextends: mine.yaml\n", encoding="utf-8")
    (tmp_path / "child.yaml").write_text(f"{head}name: child\nextends: middle.yaml\n{changes}", encoding="utf-8")
    return read_policy(tmp_path / "child.yaml")


def test_a_deployment_has_the_replicates_of_its_nearest_ancestor(tmp_path: Path) -> None:
    child = family(tmp_path, "weights: {harm/action/privacy: 0.123, harm/extent/significant: 0.5}\nthreshold: 0.3\n")
    found = nearest_bootstrap(child)
    assert found is not None
    assert (found.policy.hash, found.bootstrap) == (with_facts(replicates()).hash, replicates())
    space = FeatureSpace(TAXONOMY, child.policy.space)
    levels = dict(zip(space.levels.names, found.bootstrap.levels(child.policy, space, found.policy).T, strict=True))
    assert (levels["harm/action/privacy"] == 0.123).all()
    assert (levels["harm/extent/significant"] == 0.5).all()
    assert levels["harm/extent/minor"].tolist() == np.minimum(found.bootstrap.weights["harm/extent/minor"], 0.5).tolist()
    assert (
        levels["harm/extent/substantial"].tolist()
        == np.maximum(found.bootstrap.weights["harm/extent/substantial"], 0.5).tolist()
    )
    assert levels["harm/likelihood/low"].tolist() == list(found.bootstrap.weights["harm/likelihood/low"])


def test_without_replicates_at_hand_there_are_none(tmp_path: Path) -> None:
    child = family(tmp_path, "")
    bootstrap_path(tmp_path / "mine.yaml").unlink()
    assert nearest_bootstrap(child) is None
    bootstrap_path(tmp_path / "mine.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(PolicyError):
        nearest_bootstrap(child)
