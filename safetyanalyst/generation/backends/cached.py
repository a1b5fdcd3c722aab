"""A text backend before another one: what was answered once is never asked again.

Completions are kept under the hash of what decides them: backend, model and its fingerprint, chat, grammar, sampling. So an
interrupted run goes on without loss or repetition, and a run that is repeated costs nothing. Failures are not kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.chats import Chat, Completion, Constraint, Sampling, TextBackend
from safetyanalyst.generation.grammar import Grammar

_VERSION = 1


class CachedBackend:
    """A `TextBackend` that remembers.

    Args:
        backend: What answers new chats.
        path: File of the answers (SQLite); made if there is none.

    Attributes:
        n_asked: Chats that went to the backend.
        n_remembered: Chats that were answered from the file.

    Raises:
        BackendError: The file cannot be opened, or is something else.
    """

    def __init__(self, backend: TextBackend, path: Path) -> None:
        self.name, self.model = backend.name, backend.model
        self.constraints: frozenset[Constraint] = backend.constraints
        self.fingerprint = backend.fingerprint
        self.n_asked = self.n_remembered = 0
        self._backend = backend
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, completion TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise BackendError(f"{path}: cannot hold answers: {error}") from error

    def count(self, text: str) -> int:
        """Tokens of a text, as the backend counts them."""
        return self._backend.count(text)

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        """Answers every chat, the known ones from the file, with 0 attempts; equal chats of one call are asked once."""
        how = sampling or Sampling()
        keys = [self._key(chat, grammar, how) for chat in chats]
        known = {key: found for key in dict.fromkeys(keys) if (found := self._looked_up(key)) is not None}
        new = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in known}
        self.n_remembered += len(keys) - len(new)
        self.n_asked += len(new)
        answers = self._backend.complete(list(new.values()), grammar, how) if new else []
        for key, answer in zip(new, answers, strict=True):
            known[key] = answer
            if answer.finish != "error":
                self._keep(key, answer)
        # who comes second in one call has not been asked for either
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        return [known[key] if first[key] == i else _remembered(known[key]) for i, key in enumerate(keys)]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _key(self, chat: Chat, grammar: Grammar | None, how: Sampling) -> str:
        held = None if grammar is None else grammar.model_dump()
        content = [_VERSION, self.name, self.model, self.fingerprint, chat.model_dump(), held, how.model_dump()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _looked_up(self, key: str) -> Completion | None:
        try:
            with self._lock:
                row = self._file.execute("SELECT completion FROM completions WHERE key = ?", (key,)).fetchone()
            return None if row is None else _remembered(Completion.model_validate_json(row[0]))
        except (sqlite3.Error, ValidationError):
            return None  # what cannot be read is asked again

    def _keep(self, key: str, answer: Completion) -> None:
        with suppress(sqlite3.Error), self._lock:  # an answer that cannot be kept is an answer all the same
            self._file.execute("INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, answer.model_dump_json()))


def _remembered(answer: Completion) -> Completion:
    return answer.model_copy(update={"attempts": 0, "seconds": 0.0})
