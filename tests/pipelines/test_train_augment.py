from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.pipelines.train_augment import FRAMES, PADDINGS, REASSURANCES, Augmenter

WORDS = "how do i steal the kettle from the kitchen of a stranger"
digits = st.text("0123456789", min_size=1, max_size=20)


def augmented(text: str, n: int, *, share: float = 1.0, seed: int = 0) -> list[str]:
    augmenter = Augmenter(share, np.random.default_rng(seed))
    return [augmenter(text) for _ in range(n)]


@given(st.text(min_size=1, max_size=500).filter(str.strip), st.integers(0, 1000))
def test_a_text_of_more_than_a_letter_never_becomes_empty(text: str, seed: int) -> None:
    for changed in augmented(text, 8, seed=seed):
        assert changed.strip() or len(text.strip()) == 1
        assert len(changed) >= len(text) - (1 + len(text) // 40)


@given(st.text(max_size=200), st.integers(0, 1000))
def test_without_a_share_nothing_changes_and_chance_is_seeded(text: str, seed: int) -> None:
    assert augmented(text, 4, share=0.0, seed=seed) == [text] * 4
    assert augmented(text, 4, seed=seed) == augmented(text, 4, seed=seed)


@given(digits, digits, st.integers(0, 500))
def test_what_is_put_around_a_text_does_not_depend_on_it(one: str, other: str, seed: int) -> None:
    """Chance alone chooses a frame, so that it says nothing about the label. Digits are never misspelt."""
    first, second = (augmented(f"<{text}>", 6, seed=seed) for text in (one, other))
    assert [text.replace(f"<{one}>", f"<{other}>") for text in first] == second


def test_all_kinds_of_change_occur_and_the_request_stays() -> None:
    found = augmented(WORDS, 400)
    framed = {frame for frame in FRAMES if frame.format(WORDS) in found}
    beside = {note for note in (*REASSURANCES, *PADDINGS) if any(note in text and WORDS in text for text in found)}
    assert len(framed) > len(FRAMES) // 2
    assert len(beside) > (len(REASSURANCES) + len(PADDINGS)) // 2
    assert f"{WORDS} {WORDS}" in found
    misspelt = [text for text in found if WORDS not in text]
    assert 0.1 < len(misspelt) / len(found) < 0.4
    assert all(abs(len(text) - len(WORDS)) <= 2 for text in misspelt)


def test_about_the_share_is_changed() -> None:
    found = augmented(WORDS, 2000, share=0.3)
    assert np.mean([text != WORDS for text in found]) == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_holds_any_text_once_whatever_braces_are_in_it(frame: str) -> None:
    text = "{} {0} {text} }{"
    assert frame.format(text).count(text) == 1


def test_a_long_text_is_not_repeated() -> None:
    text = "word " * 100
    assert not any(changed.count("word") > 100 for changed in augmented(text, 200))


def test_short_harmless_texts_stand_beside_others() -> None:
    more = ("where do bees sleep", "word " * 60)
    augmenter = Augmenter(1.0, np.random.default_rng(0), more)
    found = [augmenter(WORDS) for _ in range(400)]
    assert any(more[0] in text and WORDS in text for text in found)
    assert any(padding in text for text in found for padding in PADDINGS)
    assert not any(more[1] in text for text in found)
