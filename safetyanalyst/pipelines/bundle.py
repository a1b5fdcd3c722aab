"""The files of an audit bundle, in a folder or in a zip, and the list of hashes over them.

`SHA256SUMS` lists every other file in the form of `sha256sum`, so that it can be checked without this package. It follows from
the other files alone; its own sha256 is the root, the one number that stands for the whole bundle.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.archive import ArchiveError, Member, Section, looks_like_archive, read_archive
from safetyanalyst.pipelines.dataset import file_hash

SUMS = "SHA256SUMS"
FACTS = "bundle.json"
POLICY = "policy.yaml"
POLICY_SOURCE = "policy.source.yaml"
BOOTSTRAP = "policy.bootstrap.json"
TAXONOMY = "taxonomy.json"
ANALYSES = "analyses.jsonl"
SCENARIOS = "scenarios.jsonl"
FAILURES = "failures.jsonl"
NAMES = (SUMS, FACTS, POLICY, POLICY_SOURCE, BOOTSTRAP, TAXONOMY, ANALYSES, SCENARIOS, FAILURES)
"""Every file that a bundle may hold, in the order of the zip."""
REQUIRED = (SUMS, FACTS, POLICY, TAXONOMY, ANALYSES, FAILURES)

MAX_LINE = 16 * 2**20
"""Longer lines are refused: a tree of a hundred thousand effects is shorter."""
MAX_DOCUMENT = 64 * 2**20
"""Larger documents are refused; the lists of lines are read line by line and may have any size."""
_BLOCK = 2**20


class BundleError(Exception):
    """One file of a bundle cannot be read as what it has to be.

    Args:
        problem: In words.
        file: Its name inside the bundle.
    """

    def __init__(self, problem: str, file: str) -> None:
        self.problem = problem
        self.file = file
        super().__init__(f"{file}: {problem}")


class Digest(NamedTuple):
    """What the bytes of a file come to.

    Attributes:
        sha256: Hex.
        is_crc_right: Whether the zip states the right CRC-32; true in a folder.
    """

    sha256: str
    is_crc_right: bool


def canonical(value: object) -> bytes:
    """One line of JSON in the only form that a bundle knows: keys sorted, no blanks, ASCII, one newline.

    Raises:
        ValueError: The value holds NaN or an infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def sums_of(digests: dict[str, str]) -> bytes:
    """The content of `SHA256SUMS`.

    Args:
        digests: Name to sha256 of every other file.
    """
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode("ascii")


def write_sums(folder: Path) -> str:
    """Writes `SHA256SUMS` over the files of a folder.

    Returns:
        The root.
    """
    digests = {name: file_hash(folder / name) for name in NAMES if name != SUMS and (folder / name).exists()}
    content = sums_of(digests)
    (folder / SUMS).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


class Bundle(AbstractContextManager["Bundle"]):
    """A bundle that is being read; nothing is unpacked.

    Args:
        path: A zip or a folder.

    Attributes:
        names: Files that are there, of those that a bundle may hold.
        strangers: What else is in the folder, or is not a plain file.

    Raises:
        ConfigError: There is no such file, or it is nothing like a bundle.
        BundleError: It is a zip of ours, and a byte outside the files differs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.strangers: tuple[str, ...] = ()
        self._members: dict[str, Member] = {}
        self._stream: BinaryIO | None = None
        try:
            if path.is_dir():
                self._open_folder()
            elif path.is_file():
                self._open_zip()
            else:
                raise ConfigError("there is no such bundle", file=path, expected="what `audit pack` wrote")
        except (ValueError, OSError) as error:  # a NUL in the path, no permission
            self.__exit__()
            raise ConfigError(f"cannot be read: {error}", file=path, expected="what `audit pack` wrote") from error

    def __exit__(self, *exc: object) -> None:
        """Closes the file."""
        if self._stream is not None:
            self._stream.close()

    def open(self, name: str) -> BinaryIO:
        """One of the files, as a stream of bytes."""
        if self._stream is None:
            return (self.path / name).open("rb")
        return cast(BinaryIO, io.BufferedReader(Section(self._stream, self._members[name]), _BLOCK))

    def digest(self, name: str) -> Digest:
        """sha256 of one of the files."""
        digest, crc = hashlib.sha256(), 0
        with self.open(name) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                crc = zlib.crc32(block, crc)
        return Digest(digest.hexdigest(), self._stream is None or crc == self._members[name].crc)

    def document(self, name: str) -> bytes:
        """The whole of a file.

        Raises:
            BundleError: It is larger than any such file should be.
        """
        with self.open(name) as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise BundleError(f"larger than {MAX_DOCUMENT // 2**20} MiB", name)
        return data

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, with their newlines.

        Raises:
            BundleError: A line is longer than any such line should be.
        """
        with self.open(name) as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise BundleError(f"line {number} is longer than {MAX_LINE // 2**20} MiB", name)
                yield line

    def _open_folder(self) -> None:
        entries = {entry.name: stat.S_ISREG(entry.lstat().st_mode) for entry in self.path.iterdir()}
        self.names = tuple(name for name in NAMES if entries.get(name))  # a link could lead anywhere, a pipe never ends
        self.strangers = tuple(sorted(entries.keys() - set(self.names)))
        if not {SUMS, FACTS} & entries.keys():
            raise ConfigError("this folder is not an audit bundle", file=self.path, expected="what `audit pack` wrote")

    def _open_zip(self) -> None:
        self._stream = stream = self.path.open("rb")
        if not looks_like_archive(stream, SUMS):
            self.__exit__()
            hint = "what `audit pack` wrote; a bundle that was zipped by other means has to be unpacked into a folder"
            raise ConfigError("this is not an audit bundle", file=self.path, expected=hint)
        try:
            self._members = {member.name: member for member in read_archive(stream, NAMES)}
        except ArchiveError as error:
            self.__exit__()
            raise BundleError(str(error), "the zip itself") from error
        self.names = tuple(self._members)
