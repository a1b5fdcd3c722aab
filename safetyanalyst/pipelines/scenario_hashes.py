"""What stands for a scenario where its text must not: a hash of its content."""

from __future__ import annotations

import hmac
import tempfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

from safetyanalyst.pipelines import bundle
from safetyanalyst.scenarios import Example, ReadFailure, Scenario, dump_scenario

MIN_KEY = 16
"""A key of fewer bytes could be guessed like a text."""


def content_hash(scenario: Scenario, key: bytes | None = None) -> str:
    """What stands for the content of a scenario, hex.

    sha256 of its type and texts as canonical JSON; HMAC-SHA256 (RFC 2104) with a key, without which a short text can be
    guessed and tried.
    """
    return written_hash(dump_scenario(scenario), key)


def written_hash(written: Mapping[str, object], key: bytes | None = None) -> str:
    """The same for a scenario in our JSON lines form."""
    content = {name: value for name, value in written.items() if name not in ("id", "defects")}
    data = bundle.canonical(content).removesuffix(b"\n")
    return sha256(data).hexdigest() if key is None else hmac.new(key, data, sha256).hexdigest()


def key_fingerprint(key: bytes) -> str:
    """Tells whether a key is the right one, and nothing else of it."""
    return hmac.new(key, b"safetyanalyst-audit/1 key", sha256).hexdigest()[:16]


class HashedScenarios:
    """The content hashes of scenarios by id; texts are not kept.

    Args:
        items: Scenarios; what could not be read is left out.
        key: Of the hashes.
    """

    def __init__(self, items: Iterable[Example | ReadFailure], key: bytes | None) -> None:
        self._hashes: dict[str, str | None] = {}
        for item in items:
            if isinstance(item, Example):
                found, id = content_hash(item.scenario, key), item.scenario.id
                self._hashes[id] = found if self._hashes.get(id, found) == found else None

    def __contains__(self, id: str) -> bool:
        return id in self._hashes

    def __getitem__(self, id: str) -> str | None:
        """The hash; `None` when the id stands for several different scenarios."""
        return self._hashes[id]


class KnownScenario(NamedTuple):
    """A scenario that is known: its hash, and where its line lies."""

    hash: str
    offset: int
    size: int


class ScenarioStore:
    """Hashes of scenarios by id, and their lines in a file that nobody else sees, so that memory does not grow with texts.

    Args:
        items: Scenarios, or `None` when there are none to be had; what could not be read is left out.
        key: Of the hashes.
        folder: Where the file lies while it is needed.

    Attributes:
        are_given: Whether there are scenarios at all.
    """

    def __init__(self, items: Iterable[Example | ReadFailure] | None, key: bytes | None, folder: Path) -> None:
        self.are_given = items is not None
        self._found: dict[str, KnownScenario | None] = {}
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed with this object)
        for item in items or ():
            if isinstance(item, Example):
                id, line = item.scenario.id, bundle.canonical(dump_scenario(item.scenario))
                new = KnownScenario(content_hash(item.scenario, key), self._file.tell(), len(line))
                known = self._found.get(id, new)
                self._found[id] = known if known is not None and known.hash == new.hash else None
                if known is new:
                    self._file.write(line)

    def __enter__(self) -> ScenarioStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def find(self, id: str) -> KnownScenario | None:
        """The scenario of this id, unless several differ."""
        return self._found.get(id)

    def text(self, scenario: KnownScenario) -> bytes:
        """Its line."""
        self._file.seek(scenario.offset)
        return self._file.read(scenario.size)
