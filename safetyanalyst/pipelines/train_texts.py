"""The texts that a training configuration names, and the mark by which a working folder belongs to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.pipelines.train_config import TrainConfig
from safetyanalyst.pipelines.train_data import Labelled, Taught, read_contrast, read_labelled, read_taught, read_unlabelled
from safetyanalyst.pipelines.train_overlap import resembling
from safetyanalyst.scenarios import Prompt, Scenario
from safetyanalyst.taxonomy import Taxonomy

_MARK = "run.json"
_T = TypeVar("_T")


class TrainingTexts(NamedTuple):
    """What a configuration names.

    Attributes:
        taught: Texts with teacher trees.
        labelled: Texts with a label only, without those that are a teacher's, word for word, and without prompts that resemble
            one. Runs that do stay: they are of nearly all requests that the teacher saw.
        contrast: Texts written for this training.
        unlabelled: Prompts without a label, without those that resemble a teacher's.
    """

    taught: list[Taught]
    labelled: list[Labelled]
    contrast: list[Labelled]
    unlabelled: list[Scenario]


def read_texts(config: TrainConfig, data: Path, taxonomy: Taxonomy) -> TrainingTexts:
    """Reads the training texts of a configuration.

    Raises:
        ConfigError: A file is missing or broken, or is a development set.
    """
    taught: list[Taught] = []
    for name in config.teacher:
        if not (data / name).is_file():
            raise ConfigError("there is no such file", file=data / name, key="teacher", expected="teacher trees")
        taught += read_taught(data / name, taxonomy)
    known = {it.scenario.texts() for it in taught}  # texts that the teacher saw came from the labelled files
    rng = np.random.default_rng(config.seed)
    labelled: list[Labelled] = []
    for part in config.labelled:
        for path in _paths(data, part.files, "labelled"):
            mine = [it for it in read_labelled([path], part.weight) if it.scenario.texts() not in known]
            labelled += _some(_apart(mine, [it.scenario for it in mine], taught), part.at_most, rng)
    contrast = _some(read_contrast_sheets(config, taxonomy), config.contrast.at_most, rng)
    unlabelled = list(read_unlabelled(_paths(data, config.unlabelled.files, "unlabelled")))
    unlabelled = _apart(unlabelled, unlabelled, taught)
    return TrainingTexts(taught, labelled, contrast, _some(unlabelled, config.unlabelled.at_most, rng))


def _apart(items: Sequence[_T], scenarios: Sequence[Scenario], taught: Sequence[Taught]) -> list[_T]:
    """Without prompts that resemble a teacher's: those would be in the training of the model that is to predict its tree."""
    near = resembling(scenarios, [it.scenario for it in taught])
    return [it for it, mine, n in zip(items, scenarios, near, strict=True) if not (n and isinstance(mine, Prompt))]


def read_contrast_sheets(config: TrainConfig, taxonomy: Taxonomy) -> list[Labelled]:
    """The texts written for this training, which ship beside the configurations.

    Raises:
        ConfigError: A line is broken.
    """
    paths = _paths(resources.folder("training"), config.contrast.files, "contrast")
    return [it for path in paths for it in read_contrast(path, taxonomy, config.contrast.weight)]


def claim(work: Path, config: TrainConfig, texts: TrainingTexts) -> None:
    """Notes which run a folder belongs to.

    Raises:
        ConfigError: It holds another run, or something else.
    """
    digest = hashlib.sha256(config.model_dump_json().encode())
    items: list[Taught | Labelled] = [*texts.taught, *texts.labelled, *texts.contrast]
    for it in items:
        digest.update(repr(it).encode("utf-8", "surrogatepass"))
    for scenario in texts.unlabelled:
        digest.update(repr(scenario.texts()).encode("utf-8", "surrogatepass"))
    mine = json.dumps({"run": digest.hexdigest()})
    mark = work / _MARK
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != mine:
            raise ConfigError("holds a run of another configuration or other texts", file=work, expected="an empty folder")
        return
    if work.is_dir() and any(work.iterdir()):
        raise ConfigError("holds files, and no mark of a run", file=work, expected="an empty folder")
    work.mkdir(parents=True, exist_ok=True)
    with whole(mark) as draft:
        draft.write_text(mine, encoding="utf-8")


def _paths(folder: Path, patterns: Sequence[str], key: str) -> list[Path]:
    """Files that the patterns name, each at least one.

    Raises:
        ConfigError: A pattern names none.
    """
    found: list[Path] = []
    for pattern in patterns:
        mine = sorted(folder.glob(pattern))
        if not mine:
            raise ConfigError("there is no such file", file=folder / pattern, key=key, expected="training texts")
        found += mine
    return found


def _some(items: list[Any], at_most: int | None, rng: np.random.Generator) -> list[Any]:
    if at_most is None or len(items) <= at_most:
        return items
    return [items[i] for i in np.sort(rng.permutation(len(items))[:at_most])]
