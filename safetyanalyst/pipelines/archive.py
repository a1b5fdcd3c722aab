"""A zip file with one possible form: the same members give the same bytes, and no byte is free to be anything else.

An ordinary zip has slack: dates, extra fields, comments, gaps between members, two lists of names that may disagree. Here every
field is a constant or follows from a member's name and data: members are stored, not compressed (compressed bytes depend on
the version of zlib), in a fixed order, dated 1980-01-01. The reader builds what the writer would have written and compares.
Stored data cannot unpack to more than the file holds, and a name that is not expected is never used.

Format: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16; without zip64, so at most 4 GiB.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from safetyanalyst.errors import ConfigError

COMMENT = b"safetyanalyst-audit/1"
"""Stands at the very end, so that a bundle whose first bytes are damaged is still known to be one."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _UNIX, _DATE, _MODE = 10, 0x031E, 0x0021, 0o100644 << 16
_LIMIT = 2**32 - 1
_BLOCK = 2**20


class Member(NamedTuple):
    """One file inside.

    Attributes:
        name: Its name.
        size: In bytes.
        crc: CRC-32 that the archive states.
        offset: Where its header starts.
    """

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data(self) -> int:
        """Where its data starts."""
        return self.offset + _LOCAL.size + len(self.name)


class ArchiveError(Exception):
    """The bytes are not those that the writer writes.

    Args:
        problem: What differs, in words, with its place.
    """


def write_archive(out: BinaryIO, files: Sequence[Path]) -> None:
    """Writes files under their bare names.

    Args:
        out: Where to.
        files: In order; ASCII names.

    Raises:
        ConfigError: More than a zip without extensions can hold.
    """
    members: list[Member] = []
    offset = 0
    for path in files:
        size, crc = path.stat().st_size, 0
        for block in _blocks(path):
            crc = zlib.crc32(block, crc)
        member = Member(path.name, size, crc, offset)
        if member.data + size > _LIMIT - 2**16:
            raise ConfigError("the bundle is too large for a zip", key="--out", expected="a folder, for more than 4 GiB")
        out.write(_local_header(member))
        for block in _blocks(path):
            out.write(block)
        members.append(member)
        offset = member.data + size
    out.write(_directory(members, offset))


def read_archive(stream: BinaryIO, names: Sequence[str]) -> tuple[Member, ...]:
    """Finds the members; their data is not looked at.

    Args:
        stream: Can be sought in.
        names: Those that may occur, in their order.

    Raises:
        ArchiveError: A byte outside the data differs from what `write_archive` writes.
    """
    end = stream.seek(0, os.SEEK_END)
    members: list[Member] = []
    offset, before = 0, "at the start"
    allowed = list(names)
    while True:
        stream.seek(offset)
        header = stream.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            break
        fields = _LOCAL.unpack(header)
        name = stream.read(min(fields[9], 255)).decode("ascii", "replace")
        if name not in allowed:
            known = "twice or out of order" if name in names else "not one of a bundle's"
            raise ArchiveError(f"byte {offset}, {before}: the member {name!r} is {known}")
        member = Member(name, fields[7], fields[6], offset)
        if header + name.encode() != _local_header(member):
            raise ArchiveError(f"byte {offset}, {before}: the header of {name} is not as it is written")
        if member.data + member.size > end:
            raise ArchiveError(f"byte {offset}, {before}: {name} is said to be longer than the file")
        allowed = allowed[allowed.index(name) + 1 :]
        members.append(member)
        offset, before = member.data + member.size, f"behind {name}"
    expected = _directory(members, offset)
    stream.seek(offset)
    found = stream.read(len(expected) + 1)
    if found != expected:
        at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected)))
        raise ArchiveError(f"byte {offset + at}, {before}: not what is written there; something was changed, added or removed")
    return tuple(members)


def looks_like_archive(stream: BinaryIO, first: str) -> bool:
    """Whether either end is that of an archive of ours: one damaged place cannot hide both.

    Args:
        stream: Can be sought in.
        first: Name of the first member.
    """
    tail_size = _END.size + len(COMMENT)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(_LOCAL.size + len(first))
    stream.seek(max(0, size - tail_size))
    tail = stream.read(tail_size)
    is_start = head.startswith(b"PK\x03\x04") and head.endswith(first.encode())
    return is_start or (tail.startswith(b"PK\x05\x06") and tail.endswith(COMMENT))


class Section(io.RawIOBase):
    """The data of one member as a stream of its own.

    Args:
        stream: Of the archive.
        member: Which one.
    """

    def __init__(self, stream: BinaryIO, member: Member) -> None:
        self._stream, self._at, self._left = stream, member.data, member.size

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Reads what fits and is left."""
        self._stream.seek(self._at)
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._at += len(data)
        self._left -= len(data)
        return len(data)


def _local_header(member: Member) -> bytes:
    name = member.name.encode("ascii")
    fields = (_VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0)
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name


def _directory(members: Sequence[Member], offset: int) -> bytes:
    """Central directory and its end."""
    entries = b""
    for member in members:
        name = member.name.encode("ascii")
        fields = (_UNIX, _VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0, 0, 0, 0)
        entries += _CENTRAL.pack(b"PK\x01\x02", *fields, _MODE, member.offset) + name
    n = len(members)
    return entries + _END.pack(b"PK\x05\x06", 0, 0, n, n, len(entries), offset, len(COMMENT)) + COMMENT


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
