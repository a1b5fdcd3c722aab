from __future__ import annotations

import copy
import ctypes
import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hatch_build
from benchmarks import synthetic
from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines import compiled, pieces
from safetyanalyst.pipelines.compiled import SOURCE, CompiledPieces, library_at
from safetyanalyst.pipelines.featurize import TextFeaturizer
from safetyanalyst.taxonomy import load_taxonomy
from tests.pipelines.test_featurize import NOT_COMPILED, SPACES, assert_same, slowly

TAXONOMY = load_taxonomy()
TEXTS = synthetic.published_texts(5, TAXONOMY, 12, 30)
needs_library = pytest.mark.skipif(compiled.load() is None, reason=NOT_COMPILED)
FUZZ = Path(__file__).with_name("fuzz_pieces.c")


def fresh() -> CompiledPieces:
    library = compiled.load()
    assert library is not None
    return CompiledPieces(SPACES[0], library)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library made now, whatever lies in the package."""
    path = tmp_path_factory.mktemp("library") / compiled.LIBRARY.name
    why_not = hatch_build.compile_library(SOURCE, path)
    if why_not:
        pytest.skip(why_not)
    return path


def test_the_hook_and_the_package_mean_the_same_file() -> None:
    assert compiled.LIBRARY.name == hatch_build.LIBRARY
    assert compiled.LIBRARY.parent.as_posix().endswith(hatch_build.FOLDER)


def test_a_library_from_this_source_is_loaded(built: Path) -> None:
    library = library_at(built, SOURCE)
    assert library is not None
    assert library.pieces_source() == compiled.source_hash(SOURCE.read_bytes())


def test_a_library_from_another_source_is_not(built: Path, tmp_path: Path) -> None:
    changed = tmp_path / "pieces.c"
    changed.write_bytes(SOURCE.read_bytes() + b"\n")
    assert library_at(built, changed) is None
    assert library_at(built, tmp_path / "missing.c") is None


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF nothing", b"text"])
def test_what_is_no_library_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / compiled.LIBRARY.name
    if content is not None:
        path.write_bytes(content)
    assert library_at(path, SOURCE) is None


def test_a_library_without_our_functions_is_none(tmp_path: Path) -> None:
    other = tmp_path / "other.c"
    other.write_text("int pieces_other(void) { return 1; }\n", encoding="utf-8")
    path = tmp_path / compiled.LIBRARY.name
    if hatch_build.compile_library(other, path):
        pytest.skip("no C compiler")
    assert library_at(path, SOURCE) is None


def test_without_a_library_numpy_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "load", lambda: None)
    featurizer = TextFeaturizer(SPACES[0])
    assert not featurizer.is_compiled
    assert_same(featurizer.featurize(TEXTS), slowly(TEXTS, SPACES[0]))


@needs_library
def test_the_engine_can_be_chosen() -> None:
    assert TextFeaturizer(SPACES[0]).is_compiled
    assert not TextFeaturizer(SPACES[0], "numpy").is_compiled


@needs_library
@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
def test_any_bytes_are_read_as_numpy_reads_them(raw: list[bytes], has_tree: bool) -> None:
    texts = [piece.decode("latin-1").replace("|", "{") for piece in raw] + TEXTS[:1] * has_tree
    ours = TextFeaturizer(SPACES[0])
    for _ in range(2):
        (found,) = list(ours._parts(texts)) or [None]
        (expected,) = list(TextFeaturizer(SPACES[0], "numpy")._parts(texts)) or [None]
        if found is None or expected is None:
            assert found is expected
            continue
        for ours_, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours_, theirs)


@needs_library
def test_tables_grow_and_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_SLOTS", 2)
    monkeypatch.setattr(compiled, "_MAX_BYTES", 20_000)
    known = fresh()
    expected = fresh().read(TEXTS)
    sizes = []
    for batch in (TEXTS, TEXTS[:3], TEXTS, [text.replace("district", "quarter") for text in TEXTS], TEXTS):
        found = known.read(batch)
        sizes.append(known._table.n_bytes)
        if batch is TEXTS:
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert sizes[1] < sizes[0]  # forgotten on the way


@needs_library
def test_long_and_long_chains_of_pieces() -> None:
    tree = json.loads(TEXTS[0])
    many = json.dumps([{"stakeholder": f"No. {i}", "harms": []} for i in range(40_000)] + tree)
    wide = json.dumps([{"stakeholder": "w" * 3_000_000, "harms": []}, *tree])
    texts = [many, wide, "{" * 300_000, "x" * 300_000, many[:-1], TEXTS[0]]
    featurizer = TextFeaturizer(SPACES[0])
    assert_same(featurizer.featurize(texts), slowly(texts, SPACES[0]))
    assert fresh().read([many, wide]).is_clean.all()


@needs_library
def test_copies_learn_on_their_own() -> None:
    featurizer = TextFeaturizer(FeatureSpace(TAXONOMY))
    expected = featurizer.featurize(TEXTS)
    for twin in (copy.deepcopy(featurizer), pickle.loads(pickle.dumps(featurizer))):
        assert twin.is_compiled
        np.testing.assert_array_equal(twin.featurize(TEXTS).counts.toarray(), expected.counts.toarray())
    assert not copy.copy(TextFeaturizer(SPACES[0], "numpy")).is_compiled


@needs_library
def test_threads_may_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_SLOTS", 4)  # the arrays move all the time
    monkeypatch.setattr(pieces, "MAX_PIECES", 400)
    featurizer = TextFeaturizer(SPACES[0])
    corpora = [synthetic.published_texts(seed, TAXONOMY, 20, 30) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(featurizer.featurize, corpora * 3))
    for matrix, corpus in zip(found, corpora * 3, strict=True):
        np.testing.assert_array_equal(matrix.counts.toarray(), slowly(corpus, SPACES[0]).counts.toarray())


@needs_library
def test_the_structures_are_those_of_the_library() -> None:
    """A batch of no texts and a table with one piece, written by the library where Python looks for it."""
    known = fresh()
    known._learn(b"[")
    piece = known._arena[: compiled._PIECE.itemsize].view(compiled._PIECE)[0]
    assert piece["meaning"].tolist() == [pieces.START, pieces.STAKEHOLDER, 0, 0]
    assert piece["length"] == 1
    assert bytes(known._arena[compiled._PIECE.itemsize :][:1]) == b"["
    assert (known._table.n_pieces, known._table.n_bytes) == (1, compiled._PIECE.itemsize + 8)
    assert ctypes.sizeof(compiled._Table) == 48
    assert ctypes.sizeof(compiled._Batch) == 104


@pytest.mark.parametrize("probes", [64, 1, 3])
def test_nothing_outside_the_buffers_is_touched(tmp_path: Path, probes: int) -> None:
    """Random texts in buffers of exactly their size, under the sanitizers of the compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform == "win32":
        pytest.skip("no C compiler")
    checks = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [compiler, "-std=c99", "-g", "-O1", *checks, f'-DPIECES="{SOURCE}"', f"-DMAX_PROBES={probes}"]
    program = tmp_path / "fuzz"
    made = subprocess.run([*command, "-o", str(program), str(FUZZ)], capture_output=True, text=True, timeout=120)
    if made.returncode and "sanitize" in made.stderr + made.stdout:
        pytest.skip("a C compiler without sanitizers")
    if made.returncode and "asan" in made.stderr:
        pytest.skip("the libraries of the sanitizers are missing")
    assert made.returncode == 0, made.stderr
    done = subprocess.run([str(program), "3", "6000"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100
