from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.cascade import PassedOn, passed_on
from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.bulk import ResultFile, RunIdentity

RUN = RunIdentity(command="analyze", inputs=("a" * 64,), config="embedded x", policy="b" * 64, code="1")


class Item:
    """Something with a published form."""

    def __init__(self, i: int) -> None:
        self.i = i

    def to_json(self) -> dict[str, Any]:
        return {"id": f"item-{self.i}", "text": "\ud800 \n ünï" * (self.i % 3)}


class StoppedError(Exception):
    """Power is gone."""


def source(n: int, stops_before: int | None = None) -> Iterator[Item]:
    for i in range(n):
        if i == stops_before:
            raise StoppedError
        yield Item(i)


def complete(path: Path, n: int) -> list[dict[str, Any]]:
    """Runs to the end and returns what the file holds."""
    results = ResultFile(path, RUN)
    written = list(results.write(results.remaining(source(n))))
    assert len(written) == n - results.done
    return [json.loads(line) for line in path.read_bytes().splitlines()]


EXPECTED = [Item(i).to_json() for i in range(20)]


def test_a_run_writes_one_line_for_each_item_and_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.jsonl"
    assert complete(path, 20) == EXPECTED
    assert json.loads((path.parent / "out.jsonl.run.json").read_text()) == json.loads(RUN.model_dump_json())
    assert complete(path, 20) == EXPECTED  # nothing is left to do


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 90)), max_size=4))
def test_however_often_it_is_interrupted_no_row_is_lost_or_double(interruptions: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        for stop, torn in interruptions:
            results = ResultFile(path, RUN)
            try:
                for _ in results.write(results.remaining(source(20, stops_before=stop))):
                    pass
            except StoppedError:
                pass
            content = path.read_bytes()
            path.write_bytes(content[: len(content) - torn] if torn else content)
        assert complete(path, 20) == EXPECTED


def test_a_torn_last_line_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    complete(path, 20)
    whole = path.read_bytes()
    for cut in (1, 2, 30):
        path.write_bytes(whole[:-cut])
        results = ResultFile(path, RUN)
        assert results.done == whole[:-cut].count(b"\n")
        assert [it["id"] for it in results.earlier()] == [it["id"] for it in EXPECTED[: results.done]]
        assert complete(path, 20) == EXPECTED
    path.write_bytes(b"")
    assert complete(path, 20) == EXPECTED


@pytest.mark.parametrize("key", ["command", "inputs", "format", "config", "policy", "code"])
def test_another_run_is_refused_by_what_differs(tmp_path: Path, key: str) -> None:
    path = tmp_path / "out.jsonl"
    complete(path, 3)
    before = path.read_bytes()
    other = RUN.model_copy(update={key: ("c" * 64,) if key == "inputs" else "other"})
    with pytest.raises(ConfigError, match=f"{key} differ") as refusal:
        ResultFile(path, other)
    assert str(path) in str(refusal.value)
    assert path.read_bytes() == before


def test_a_file_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("my thesis")
    with pytest.raises(ConfigError, match="not an interrupted run"):
        ResultFile(path, RUN)
    assert path.read_text() == "my thesis"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '["a"]'])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out.jsonl"
    complete(path, 3)
    (tmp_path / "out.jsonl.run.json").write_text(content)
    with pytest.raises(ConfigError):
        ResultFile(path, RUN)


def test_a_line_that_is_no_result_is_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    complete(path, 3)
    path.write_bytes(path.read_bytes().replace(b'{"id": "item-1"', b"\x00\x00\x00\x00"))
    with pytest.raises(ConfigError, match="line 2 is not a result"):
        list(ResultFile(path, RUN).earlier())


def test_a_manifest_without_results_is_a_run_that_had_not_begun(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.run.json").write_text("torn")
    assert complete(path, 20) == EXPECTED


def test_what_was_passed_on_is_on_disk_soon(tmp_path: Path) -> None:
    results = ResultFile(tmp_path / "out.jsonl", RUN)
    writing = results.write(source(200))
    for _ in range(130):
        next(writing)
    assert results.path.read_bytes().count(b"\n") >= 128


def test_what_came_of_a_run_stands_in_its_manifest_and_hinders_no_resuming(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    complete(path, 3)
    manifest = tmp_path / "out.jsonl.run.json"
    for outcome in (passed_on({"first": 3, "second": 1}), passed_on({"kept": 5})):
        ResultFile(path, RUN).state({"cascade": outcome})
        said = json.loads(manifest.read_text())
        assert PassedOn.model_validate(said.pop("cascade")) == outcome
        assert said == RUN.model_dump(mode="json")
    assert complete(path, 20) == EXPECTED
    assert sorted(it.name for it in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.run.json"]


def test_results_are_drawn_one_at_a_time(tmp_path: Path) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[Item]:
        for i in range(10**9):
            drawn.append(i)
            yield Item(i)

    results = ResultFile(tmp_path / "out.jsonl", RUN)
    next(results.write(results.remaining(endless())))
    assert drawn == [0]
