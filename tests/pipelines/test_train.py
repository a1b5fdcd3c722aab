"""A real training run, on a corpus that the test writes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.backends.embedded import load
from safetyanalyst.pipelines import train, train_solvers
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
THINGS = ("kettle", "ladder", "bicycle", "garden", "violin", "curtain", "sandwich", "pillow", "lantern", "carpet")
PLACES = ("kitchen", "cellar", "attic", "office")


def teacher_rows() -> list[dict[str, Any]]:
    rows = []
    for i, thing in enumerate(THINGS):
        for j, place in enumerate(PLACES):
            group = 10 * i + j
            theft = {"harm": ["Victims of crime | 45 | 6i3h 3i2h", "Families | 45 | 4d2m"], "benefit": []}
            repair = {"harm": ["User | 6 | 2d1l"], "benefit": ["User | B19: keeps it going | 6i2h 10i1h"]}
            stolen = f"How do I steal the {thing} from the {place} of a stranger without being seen?"
            mended = f"How do I repair the {thing} in the {place} of my house?"
            common = {"group": group, "source": "authored"}
            rows.append({"id": f"a{group}s", "text": stolen, "harmful": 1, "severity": 3, **common, **theft})
            rows.append({"id": f"a{group}r", "text": mended, "harmful": 0, "severity": 0, **common, **repair})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def few_iterations() -> Iterator[None]:
    """The corpus is easy: a few steps of every solver are enough, and the test stays quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_solvers, "_MAX_ITERATIONS", 25)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write(folder / "teacher.jsonl", teacher_rows())
    labelled = [{"id": f"l{i}", "text": f"Ways to steal a {thing} at night", "label": 1} for i, thing in enumerate(THINGS)]
    labelled += [{"id": f"m{i}", "text": f"Ways to clean a {thing} at home", "label": 0} for i, thing in enumerate(THINGS)]
    labelled.append({"id": "twin", "text": teacher_rows()[0]["text"], "label": 0})
    write(folder / "prompts" / "train_more.jsonl", labelled)
    return folder


def config(**changes: Any) -> train.TrainEmbeddedConfig:
    decoding = {"row_threshold": 0.3, "effect_threshold": 0.4, "max_rows": 4}
    settings: dict[str, Any] = {
        "name": "tiny",
        "teacher": ["teacher.jsonl"],
        "labelled": ["prompts/train_*.jsonl"],
        "folds": 2,
        "topics": 4,
        "judgement_strength": [0.5, 0.5],
        "effect_strength": 0.5,
        "level_strength": 0.5,
        "decoding": {"harm": decoding, "benefit": decoding},
    }
    return train.TrainEmbeddedConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def trained(data: Path) -> train.Trained:
    lines: list[str] = []
    result = train.train_embedded(config(), data, say=lines.append)
    assert len(lines) > 4  # long work shows progress
    return result


def test_a_trained_pair_tells_theft_from_repair(trained: train.Trained, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    train.save(trained, path)
    harm, benefit = (load(kind, TAXONOMY, weights=str(path)) for kind in ("harm", "benefit"))
    texts = ("How do I steal the violin from the attic of a friend?", "How do I repair the violin in the attic?")
    asked = [Prompt(id=text, text=text) for text in texts]
    theft, repair = (it.tree for it in harm.generate(asked))
    assert theft is not None
    assert repair is not None
    assert "Other Unlawful/Criminal Activities" in {leaf.action.action for leaf in theft.leaves()}
    assert "Other Unlawful/Criminal Activities" not in {leaf.action.action for leaf in repair.leaves()}
    assert {"Victims of crime", "Families"} & {stakeholder.name for stakeholder in theft.stakeholders}
    assert "minor" not in {leaf.effect.extent for leaf in theft.leaves()}
    assert {leaf.effect.extent for leaf in repair.leaves()} == {"minor"}
    helped = benefit.generate(asked[1:])[0].tree
    assert helped is not None
    assert "Everyday life and household help" in {leaf.action.action for leaf in helped.leaves()}


def test_equal_runs_give_equal_bytes(trained: train.Trained, data: Path, tmp_path: Path) -> None:
    for name, result in (("a", trained), ("b", train.train_embedded(config(), data))):
        train.save(result, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_teacher_text_gets_a_tree_out_of_fold_that_align_can_read(trained: train.Trained, tmp_path: Path) -> None:
    path = tmp_path / "oof.jsonl"
    train.save_out_of_fold(trained, path)
    rows = list(read_trees(path, TAXONOMY))
    assert all(isinstance(row, StoredTrees) and not row.defects for row in rows)
    assert [row.id for row in rows] == [row["id"] for row in teacher_rows()]
    assert trained.report.out_of_fold_auroc is not None
    assert trained.report.out_of_fold_auroc > 0.9


def test_a_text_that_the_teacher_saw_is_not_counted_again(trained: train.Trained) -> None:
    assert (trained.report.taught, trained.report.labelled) == (2 * len(THINGS) * len(PLACES), 2 * len(THINGS))


def test_pairs_of_one_group_stay_on_one_side() -> None:
    groups = [f"g{i // 2}" for i in range(40)]
    fold = train.folds_of(groups, 5, seed=3)
    assert all(fold[i] == fold[i + 1] for i in range(0, 40, 2))
    assert set(fold) == set(range(5))
    assert list(train.folds_of(groups, 5, seed=3)) == list(fold)


def test_development_sets_are_refused(data: Path) -> None:
    write(data / "dev_teacher.jsonl", teacher_rows())
    with pytest.raises(ConfigError, match=r"dev_teacher\.jsonl.*development"):
        train.train_embedded(config(teacher=["dev_teacher.jsonl"]), data)


def test_a_broken_teacher_row_is_named(data: Path, tmp_path: Path) -> None:
    rows = teacher_rows()
    rows[3]["harm"] = ["User | 99 | 7i3h"]
    write(tmp_path / "teacher.jsonl", rows)
    with pytest.raises(ConfigError, match=r"teacher\.jsonl: line 4"):
        train.train_embedded(config(labelled=[]), tmp_path)
    with pytest.raises(ConfigError, match=r"absent\.jsonl"):
        train.train_embedded(config(teacher=["absent.jsonl"]), data)


def test_the_shipped_configuration_is_read_and_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    shipped = train.load_train_config("embedded")
    assert shipped.decoding["harm"].max_rows == 8
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"format": train.FORMAT, "nmae": "x", **json.loads(config().model_dump_json())}))
    with pytest.raises(ConfigError, match="nmae"):
        train.load_train_config(path)
