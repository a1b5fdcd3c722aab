from __future__ import annotations

from pathlib import Path

import pytest

from safetyanalyst.pipelines.drafts import whole


def test_a_file_appears_when_it_is_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for text in ("first", "second"):
        with whole(path) as draft:
            draft.write_text(text)
            assert not path.exists() or path.read_text() != text
        assert [it.name for it in tmp_path.iterdir()] == ["state.json"]
        assert path.read_text() == text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_the_file_before_and_no_draft(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "state.json"
    path.write_text("before")

    def interrupted() -> None:
        with whole(path) as draft:
            draft.write_text("half")
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert [(it.name, it.read_text()) for it in tmp_path.iterdir()] == [("state.json", "before")]
