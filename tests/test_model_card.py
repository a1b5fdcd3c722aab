"""The model card holds what the training run wrote about itself, word for word."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetyanalyst.generation.backends.embedded_model import FILES, WEIGHTS
from safetyanalyst.pipelines.train_card import CARD, card
from safetyanalyst.pipelines.train_config import load_train_config
from safetyanalyst.pipelines.train_report import TrainingReport

PAGE = (Path(__file__).parent.parent / "docs" / "model-card-embedded.md").read_text(encoding="utf-8")
MAX_WEIGHTS = 26_000_000


def test_the_page_holds_the_card_of_the_shipped_weights() -> None:
    training = (WEIGHTS / CARD).read_text(encoding="utf-8")
    assert training in PAGE
    report = TrainingReport.model_validate_json((WEIGHTS / "report.json").read_text(encoding="utf-8"))
    assert training.startswith(card(load_train_config("embedded"), report))


def test_the_card_is_of_the_files_that_ship() -> None:
    for name in FILES:
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() in PAGE
    assert sum((WEIGHTS / name).stat().st_size for name in FILES) < MAX_WEIGHTS
