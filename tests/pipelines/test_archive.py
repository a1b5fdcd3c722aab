from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.pipelines.archive import ArchiveError, Section, looks_like_archive, read_archive, write_archive

NAMES = ("SUMS", "a.json", "b.jsonl", "c")
contents = st.dictionaries(st.sampled_from(NAMES[1:]), st.binary(max_size=60), max_size=3)


def archive(tmp_path: Path, files: dict[str, bytes]) -> bytes:
    folder = tmp_path / "files"
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    out = io.BytesIO()
    write_archive(out, [folder / name for name in NAMES if name in files])
    return out.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    return {it.name: io.BufferedReader(Section(stream, it)).read() for it in read_archive(stream, NAMES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@given(contents, st.binary(max_size=40))
def test_any_unzip_reads_it_and_so_do_we(folder: Path, files: dict[str, bytes], first: bytes) -> None:
    files = {"SUMS": first} | files
    data = archive(folder, files)
    assert read(data) == files
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert {name: other.read(name) for name in other.namelist()} == files
        assert {(it.date_time, it.compress_type, it.extra) for it in other.infolist()} == {((1980, 1, 1, 0, 0, 0), 0, b"")}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return archive(tmp_path_factory.mktemp("sample"), {"SUMS": b"12\n", "a.json": b"{}", "c": b""})


def is_read_as_it_was(changed: bytes, sample: bytes) -> bool:
    """Whether members, data and checksums are still accepted; what a changed byte inside the data does is for others to see."""
    import zlib

    try:
        found = read(changed)
    except ArchiveError:
        return False
    stream = io.BytesIO(changed)
    crcs = {it.name: it.crc for it in read_archive(stream, NAMES)}
    return all(zlib.crc32(data) == crcs[name] for name, data in found.items())


def test_no_byte_can_be_changed_added_or_taken_away(sample: bytes) -> None:
    """Exhaustive: every byte, every other value of it."""
    assert is_read_as_it_was(sample, sample)
    for i in range(len(sample)):
        for value in range(256):
            if value != sample[i]:
                changed = sample[:i] + bytes([value]) + sample[i + 1 :]
                assert not is_read_as_it_was(changed, sample), (i, value)
                assert looks_like_archive(io.BytesIO(changed), "SUMS")
        assert not is_read_as_it_was(sample[:i] + sample[i + 1 :], sample), i
        assert looks_like_archive(io.BytesIO(sample[:i] + sample[i + 1 :]), "SUMS")
    for i in range(len(sample) + 1):
        for value in (0, 1, 80, 255):
            changed = sample[:i] + bytes([value]) + sample[i:]
            assert not is_read_as_it_was(changed, sample), (i, value)
            assert looks_like_archive(io.BytesIO(changed), "SUMS")


@given(st.data())
def test_no_cut_and_nothing_behind(sample: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(sample) - 1))
    assert not is_read_as_it_was(sample[:end], sample)
    assert not is_read_as_it_was(sample + data.draw(st.binary(min_size=1, max_size=30)), sample)


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_never_a_traceback(rubbish: bytes) -> None:
    for data in (rubbish, b"PK\x03\x04" + rubbish):
        with pytest.raises(ArchiveError):
            read(data)


def ordinary(*members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for info, data in members:
            file.writestr(info, data)
    return out.getvalue()


def test_zips_of_others_are_refused_by_name(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("SUMS")
    link.external_attr = 0o120777 << 16
    hostile = {
        "../evil": ordinary(("../evil", b"x")),
        "/etc/passwd": ordinary(("/etc/passwd", b"x")),
        "a bomb": ordinary(("SUMS", b"\0" * 10_000_000), compression=zipfile.ZIP_DEFLATED),
        "a link": ordinary((link, b"/etc/passwd")),
    }
    for what, data in hostile.items():
        with pytest.raises(ArchiveError) as caught:
            read(data)
        if what.startswith(("..", "/")):
            assert repr(what) in str(caught.value)
        else:
            assert "the header of SUMS" in str(caught.value)
    out = io.BytesIO()
    (tmp_path / "SUMS").write_bytes(b"1")
    (tmp_path / "c").write_bytes(b"2")
    for names, said in ((("SUMS", "SUMS"), "twice"), (("c", "SUMS"), "out of order")):
        out = io.BytesIO()
        write_archive(out, [tmp_path / name for name in names])
        with pytest.raises(ArchiveError, match=said):
            read(out.getvalue())


def test_a_size_beyond_the_file_is_not_believed(sample: bytes) -> None:
    huge = struct.pack("<II", 2**32 - 1, 2**32 - 1)
    with pytest.raises(ArchiveError, match="longer than the file"):
        read(sample[:18] + huge + sample[26:])
