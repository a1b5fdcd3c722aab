from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import embedded_speed


def test_specialists_that_cannot_be_loaded_are_told_of(tmp_path: Path) -> None:
    found = embedded_speed.measure(str(tmp_path / "none.yaml"), rounds=1)
    assert list(found) == ["embedded_error"]
    assert "none.yaml" in found["embedded_error"]


def test_every_length_is_timed_equally_often_and_no_text_twice() -> None:
    texts = embedded_speed.prompts()
    assert len(texts.short) == len(texts.middle) == len(texts.long) == 20
    assert len(set(texts.all)) == 60
    assert texts.all[1::3] == texts.middle
    means = [sum(len(text.split()) for text in part) / len(part) for part in texts]
    assert means == pytest.approx([10, 35, 90], rel=0.25)


def test_ratios_are_our_time_over_theirs() -> None:
    found = embedded_speed._beside({"ours": 0.004, "tfidf": 0.002})
    assert found == {"tfidf_milliseconds": pytest.approx(2.0), "to_tfidf_ratio": pytest.approx(2.0)}
