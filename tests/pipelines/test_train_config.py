from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.train_config import FORMAT, load_train_config
from safetyanalyst.trees import TREE_KINDS


def written(path: Path, **changes: Any) -> Path:
    shipped = load_train_config("embedded").model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump({"format": FORMAT, **shipped, **changes}), encoding="utf-8")
    return path


def test_the_shipped_configuration_is_read_and_reads_back(tmp_path: Path) -> None:
    shipped = load_train_config("embedded")
    assert {kind: it.max_rows for kind, it in shipped.decoding.items()} == dict.fromkeys(TREE_KINDS, 12)
    assert load_train_config(written(tmp_path / "same.yaml")) == shipped


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nmae": "x"}, "nmae"),
        ({"folds": 1}, "folds"),
        ({"labels": {"epochs": 0, "encoder_rate": 1e-4, "head_rate": 1e-3}}, r"labels\.epochs"),
        ({"decoding": {"harm": {"row_threshold": 0.1, "effect_threshold": 0.3, "max_rows": 3}}}, "decoding"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_file_and_key(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml.*{says}"):
        load_train_config(written(tmp_path / "mine.yaml", **changes))
