"""A text backend that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safetyanalyst.generation.chats import Chat, Completion, Constraint, Sampling
from safetyanalyst.generation.grammar import Grammar

Answer = Callable[[Chat, Sampling], Completion | str]


class Answering:
    """Implements `TextBackend`; its model is a function."""

    name = "answering"
    model = "function"
    fingerprint = ""

    def __init__(self, answer: Answer, constraints: Sequence[Constraint] = ()) -> None:
        self.constraints: frozenset[Constraint] = frozenset(constraints)
        self._answer = answer
        self.asked: list[Chat] = []
        self.calls: list[tuple[int, Grammar | None, Sampling]] = []

    def count(self, text: str) -> int:
        return len(text.split())

    def complete(
        self, chats: Sequence[Chat], grammar: Grammar | None = None, sampling: Sampling | None = None
    ) -> list[Completion]:
        how = sampling or Sampling()
        self.asked += chats
        self.calls.append((len(chats), grammar, how))
        found = [self._answer(chat, how) for chat in chats]
        return [
            it if isinstance(it, Completion) else Completion(text=it, prompt_tokens=10, completion_tokens=3) for it in found
        ]
