"""A real fine-tuning by the command, of a tiny encoder on a corpus that the test writes itself."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from safetyanalyst.cli import app
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.backends.embedded import load
from safetyanalyst.generation.backends.embedded_model import FILES
from safetyanalyst.pipelines import train as training
from safetyanalyst.pipelines import train_texts
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.train_config import HeadStage, Stage, Texts, TrainConfig, load_train_config
from safetyanalyst.scenarios import Prompt
from tests.tiny import TAXONOMY, write_package

THINGS = ("kettle", "ladder", "bicycle", "garden", "violin", "curtain")
PLACES = ("kitchen", "cellar", "attic", "office")


def teacher_rows() -> list[dict[str, Any]]:
    rows = []
    theft = {"harm": ["Victims of crime | 45 | 6i3h 3i2h", "Families | 45 | 4d2m"], "benefit": []}
    repair = {"harm": ["User | 6 | 2d1l"], "benefit": ["User | B19: keeps it going | 6i2h 10i1h"]}
    for i, thing in enumerate(THINGS):
        for j, place in enumerate(PLACES):
            common = {"group": 10 * i + j, "source": "authored"}
            stolen = f"how do i steal the {thing} from the {place} of a stranger without being seen"
            mended = f"how do i repair the {thing} in the {place} of my house"
            rows.append({"id": f"a{i}{j}s", "text": stolen, "harmful": 1, "severity": 3, **common, **theft})
            rows.append({"id": f"a{i}{j}r", "text": mended, "harmful": 0, "severity": 0, **common, **repair})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with corpus, base encoder and configuration."""
    folder = tmp_path_factory.mktemp("encoder")
    write(folder / "teacher.jsonl", teacher_rows())
    labelled = [{"id": f"l{i}", "text": f"ways to steal a {thing} at night", "label": 1} for i, thing in enumerate(THINGS)]
    labelled += [{"id": f"m{i}", "text": f"ways to clean a {thing} at home", "label": 0} for i, thing in enumerate(THINGS)]
    labelled += [{"id": "twin", "text": teacher_rows()[0]["text"], "label": 0}, {"id": "u", "text": "please repair my ladder"}]
    labelled += [{"id": "near", "text": f"{teacher_rows()[0]['text']} at night", "label": 1}]
    write(folder / "train_more.jsonl", labelled)
    write(folder / "dev_more.jsonl", labelled)
    decoding = {"row_threshold": 0.3, "effect_threshold": 0.4, "max_rows": 4}
    stage = {"epochs": 40, "encoder_rate": 0.002, "head_rate": 0.003}
    config = {
        "format": "safetyanalyst-training/2", "name": "tiny", "encoder": write_package(folder / "site").model_dump(),
        "sources": {"rows of this test": "CC0"}, "teacher": ["teacher.jsonl"],
        "labelled": [{"files": ["train_*.jsonl"], "weight": 0.5}],
        "contrast": {"files": [], "weight": 1.0}, "unlabelled": {"files": ["train_*.jsonl"], "weight": 0.2},
        "summary": 16, "labels": stage, "trees": stage,
        "heads": {"epochs": 20, "rate": 0.003}, "batch_items": 8, "batch_tokens": 512, "chunks": 3,
        "precision": "float32", "folds": 2, "decoding": {"harm": decoding, "benefit": decoding},
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
    sys.path.insert(0, str(folder / "site"))
    yield folder
    sys.path.remove(str(folder / "site"))


def train(place: Path, out: str, work: str) -> Any:
    options = [
        "--config",
        str(place / "tiny.yaml"),
        "--data",
        str(place),
        "--work",
        str(place / work),
        "--out",
        str(place / out),
    ]
    return CliRunner().invoke(app, ["train", "embedded", *options])


@pytest.fixture(scope="module")
def trained(place: Path) -> dict[str, Any]:
    result = train(place, "weights", "run")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return report


def config(place: Path, **changes: Any) -> TrainConfig:
    return load_train_config(place / "tiny.yaml").model_copy(update=changes)


def test_the_report_counts_what_was_read(trained: dict[str, Any], place: Path) -> None:
    assert trained["taught"] == len(teacher_rows())
    assert trained["labelled"] == 2 * len(THINGS)  # neither the twin of a teacher text nor what is like one
    assert trained["out_of_fold_auroc"] > 0.9
    assert json.loads((place / "weights" / "report.json").read_text()) == trained


def test_the_card_names_sources_counts_and_files(trained: dict[str, Any], place: Path) -> None:
    card = (place / "weights" / "training.md").read_text(encoding="utf-8")
    for name in FILES:
        assert hashlib.sha256((place / "weights" / name).read_bytes()).hexdigest() in card
    assert "| rows of this test | CC0 |" in card
    assert f"| with teacher trees | {trained['taught']} |" in card
    assert f"AUROC of the judgement on teacher texts, out of fold: {trained['out_of_fold_auroc']:.3f}." in card
    for k, fold in enumerate(trained["held_out_loss"]):
        assert f"| fold {k + 1} | {fold[0]:.3f} |" in card


def test_more_folds_than_groups_are_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"folds.*one fold a group"):
        training.train_embedded(config(place, folds=1000), place, place / "folds", place / "none")


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_the_weights_that_ship_lie_between_those_of_two_stages(share: float, value: float) -> None:
    start, end = ({"w": torch.full((2,), of), "n": torch.tensor(count)} for of, count in ((1.0, 7), (3.0, 7)))
    mixed = training._between(start, end, share)
    assert mixed["w"].tolist() == [value, value]
    assert mixed["n"].item() == 7


@pytest.mark.parametrize("key", ["labelled", "unlabelled"])
def test_a_pattern_that_names_no_file_is_refused(place: Path, key: str) -> None:
    texts = Texts(files=("nowhere_*.jsonl",), weight=1.0)
    with pytest.raises(ConfigError, match=rf"nowhere_.*{key}"):
        train_texts.read_texts(config(place, **{key: (texts,) if key == "labelled" else texts}), place, TAXONOMY)


def test_texts_of_a_single_group_are_all_learned_from(trained: dict[str, Any], place: Path) -> None:
    write(place / "one" / "train_one.jsonl", [{"id": "o", "text": "ways to steal a kettle at night", "label": 1}])
    stage = Stage(epochs=1, encoder_rate=0.001, head_rate=0.001)
    one = config(place, labelled=(Texts(files=("one/train_one.jsonl",), weight=1.0),), labels=stage, trees=stage)
    report = training.train_embedded(one, place, place / "one-work", place / "one-out")
    assert (report.labelled, report.label_epochs) == (1, 1)


def test_the_weights_write_trees(trained: dict[str, Any], place: Path) -> None:
    harm = load("harm", TAXONOMY, weights=str(place / "weights"))
    scenarios = [
        Prompt(id=text, text=text) for text in ("how do i steal the ladder of a stranger", "how do i repair my ladder")
    ]
    theft, repair = harm.generate(scenarios)
    assert theft.tree is not None
    assert repair.tree is not None
    expected = [
        sum(it.probability for it in harm.soft_effects(scenario, least=1e-4) if it.stakeholder == "Victims of crime")
        for scenario in scenarios
    ]
    assert expected[0] > 1.5 * expected[1] > 0
    assert theft.provenance.generator == "embedded"


def test_every_teacher_text_gets_trees_of_a_model_that_has_not_seen_it(trained: dict[str, Any], place: Path) -> None:
    stored = list(read_trees(place / "weights" / "out-of-fold.jsonl", TAXONOMY))
    assert all(isinstance(it, StoredTrees) for it in stored)
    assert sorted(it.id for it in stored) == sorted(row["id"] for row in teacher_rows())


@pytest.fixture(scope="module")
def brief(place: Path) -> TrainConfig:
    """A run of a few epochs: what it learns does not matter."""
    stage = Stage(epochs=2, encoder_rate=0.002, head_rate=0.003)
    return config(place, labels=stage, trees=stage, heads=HeadStage(epochs=3, rate=0.003))


@pytest.fixture(scope="module")
def straight(place: Path, brief: TrainConfig) -> Path:
    training.train_embedded(brief, place, place / "straight-work", place / "straight")
    return place / "straight"


@pytest.mark.parametrize("moment", ["labels: epoch 1 of", "fold-0: heads", "fold-1: epoch 1 of", "final: heads"])
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(place: Path, brief: TrainConfig, straight: Path, moment: str) -> None:
    told: list[str] = []

    def stop(line: str) -> None:
        told.append(line)
        if line.startswith(moment):
            raise KeyboardInterrupt

    name = moment.replace(" ", "-").replace(":", "")
    work, again = place / f"{name}-work", place / name
    with pytest.raises(KeyboardInterrupt):
        training.train_embedded(brief, place, work, again, say=stop)
    assert not again.exists()
    gone_on: list[str] = []
    training.train_embedded(brief, place, work, again, say=gone_on.append)
    epochs = [[line.split(" of ")[0] for line in lines if ": epoch " in line] for lines in (told, gone_on)]
    assert not set(epochs[0]) & set(epochs[1])  # nothing is learned twice
    assert len(epochs[0]) + len(epochs[1]) == 2 * 4
    for file in (*FILES, "out-of-fold.jsonl"):
        assert (again / file).read_bytes() == (straight / file).read_bytes()


def test_no_stage_of_a_fold_sees_what_the_fold_holds_out(
    place: Path, brief: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out: dict[str, set[int]] = {}
    learned: dict[str, set[int]] = {}
    fit, fit_heads = training.fit, training.fit_heads

    def watched_fit(network: Any, items: Any, held: Any, *rest: Any) -> Any:
        name = next(it for it in rest if isinstance(it, Path)).name
        held_out[name] = {id(it.targets) for it in held}
        learned[name] = {id(it.targets) for it in items}
        return fit(network, items, held, *rest)

    def watched_heads(network: Any, z: Any, targets: Any, *rest: Any) -> None:
        name = next(it for it in rest if isinstance(it, Path)).parent.name
        learned[name] |= {id(it) for it in targets}
        fit_heads(network, z, targets, *rest)

    monkeypatch.setattr(training, "fit", watched_fit)
    monkeypatch.setattr(training, "fit_heads", watched_heads)
    training.train_embedded(brief, place, place / "watched-work", place / "watched")
    assert sum(len(held_out[f"fold-{f}"]) for f in range(2)) == len(teacher_rows())
    for f in range(2):
        assert held_out[f"fold-{f}"]
        assert not held_out[f"fold-{f}"] & (learned[f"fold-{f}"] | learned["labels"])


def test_a_teacher_text_that_another_text_resembles_is_not_out_of_fold(place: Path, brief: TrainConfig) -> None:
    text = teacher_rows()[0]["text"]
    tail = "while all of the neighbours are away on a long journey to the sea and nobody is there to hear or see me at all"
    write(place / "near" / "train_near.jsonl", [{"id": "near", "text": f"{text} {tail}", "label": 1}])
    near = brief.model_copy(update={"labelled": (*brief.labelled, Texts(files=("near/train_near.jsonl",), weight=1.0))})
    report = training.train_embedded(near, place, place / "near-work", place / "near-out")
    ids = {json.loads(line)["id"] for line in (place / "near-out" / "out-of-fold.jsonl").read_text().splitlines()}
    assert report.resembling == len(teacher_rows()) - len(ids) >= 1
    assert teacher_rows()[0]["id"] not in ids


def test_a_folder_without_a_mark_and_a_torn_mark_are_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="no mark of a run"):
        training.train_embedded(config(place), place, tmp_path, place / "other")
    (tmp_path / "run.json").write_text('{"run"')
    with pytest.raises(ConfigError, match="another configuration"):
        training.train_embedded(config(place), place, tmp_path, place / "other")


def test_the_folder_of_another_run_is_refused(trained: dict[str, Any], place: Path) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        training.train_embedded(config(place, seed=5), place, place / "run", place / "other")


def test_development_sets_and_other_encoders_are_refused(place: Path) -> None:
    labelled = load_train_config(place / "tiny.yaml").labelled[0].model_copy(update={"files": ("dev_*.jsonl",)})
    with pytest.raises(ConfigError, match="development set"):
        train_texts.read_texts(config(place, labelled=(labelled,)), place, TAXONOMY)
    encoder = load_train_config(place / "tiny.yaml").encoder
    with pytest.raises(ConfigError, match="another model"):
        training.base_folder(encoder.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(ConfigError, match="not installed"):
        training.base_folder(encoder.model_copy(update={"package": "no_such_package"}))


def test_the_shipped_configuration_reads_its_contrast_prompts() -> None:
    settings = load_train_config("embedded")
    texts = train_texts.read_contrast_sheets(settings, TAXONOMY)
    assert len(texts) > 16_000
    assert 0.4 < sum(it.label for it in texts) / len(texts) < 0.55
    assert len({it.scenario.texts() for it in texts}) > 0.99 * len(texts)
