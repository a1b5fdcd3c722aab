"""Results of a long run in a file: one JSON line per item, in input order, safe to interrupt and to resume.

Beside `results.jsonl` lies `results.jsonl.run.json` with what the run is (inputs and their hashes, policy, configuration). A
run is resumed only if all of that is the same; lines that are there are kept, a line torn by a crash is written again. At its
end a run may state there what came of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from safetyanalyst.errors import ConfigError
from safetyanalyst.pipelines.drafts import whole
from safetyanalyst.records import Record

_FLUSH_EVERY = 64


class Jsonable(Protocol):
    """Anything with a published JSON form."""

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        ...


Result = TypeVar("Result", bound=Jsonable)


class RunIdentity(Record):
    """What makes two runs the same run.

    Attributes:
        command: "analyze" or "assess".
        inputs: sha256 of every input, in order.
        format: What the inputs were read as; empty where there is one format only.
        config: Name and hash of the configuration, with the hashes of the models behind it.
        policy: Hash of the policy.
        code: Version of this package.
    """

    command: str
    inputs: tuple[str, ...]
    format: str = ""
    config: str
    policy: str
    code: str


class ResultFile:
    """A file of results that is being written.

    Args:
        path: Of the results.
        identity: Of the run.

    Attributes:
        done: Items that an earlier try of the same run has written.

    Raises:
        ConfigError: The file holds the results of something else.
    """

    def __init__(self, path: Path, identity: RunIdentity) -> None:
        self.path = path
        self.manifest = path.with_name(path.name + ".run.json")
        self.identity = identity
        self.done = 0
        if path.exists():
            self._check_same_run()
            self.done = _drop_torn_line(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.manifest.write_text(identity.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def remaining(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items that are not written yet."""
        return islice(iter(items), self.done, None)

    def write(self, results: Iterable[Result]) -> Iterator[Result]:
        """Appends each result and passes it on; what has been passed on by a batch is on disk."""
        with self.path.open("ab") as file:
            for i, result in enumerate(results, start=1):
                file.write(json.dumps(result.to_json(), allow_nan=False).encode() + b"\n")
                if i % _FLUSH_EVERY == 0:
                    _sync(file)
                yield result
            _sync(file)

    def earlier(self) -> Iterator[dict[str, Any]]:
        """What an earlier try has written.

        Raises:
            ConfigError: A line of it is no JSON.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(islice(file, self.done), start=1):
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:  # a disk that failed, an editor
                    raise ConfigError(f"line {number} is not a result", file=self.path, expected="JSON") from error

    def state(self, outcome: Mapping[str, Record]) -> None:
        """Adds what came of the run to its manifest, in place of what stands there under the same keys.

        Args:
            outcome: Under keys that are none of `RunIdentity`.
        """
        said = self.identity.model_dump(mode="json") | {key: it.model_dump(mode="json") for key, it in outcome.items()}
        with whole(self.manifest) as draft:  # a torn manifest could not be resumed
            draft.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    def _check_same_run(self) -> None:
        if not self.manifest.exists():
            raise ConfigError("exists and is not an interrupted run", file=self.path, expected="another name for the results")
        try:
            before = dict(json.loads(self.manifest.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ConfigError("does not tell what run this is", file=self.manifest, expected="a manifest") from error
        now = json.loads(self.identity.model_dump_json())
        differing = [key for key in now if before.get(key) != now[key]]
        if differing:
            raise ConfigError(
                f"holds the results of another run: {', '.join(differing)} differ",
                file=self.path,
                expected="the same run, or another name for the results",
            )


def _drop_torn_line(path: Path) -> int:
    """Cuts what follows the last newline, and counts the lines that remain."""
    lines, end = 0, 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            lines += 1
            end += len(line)
        file.truncate(end)
    return lines


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
