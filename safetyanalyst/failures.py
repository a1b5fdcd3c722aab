"""What counts as a failure, and the record of an item that could not be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from safetyanalyst.records import Record
from safetyanalyst.trees import Defect, TreeKind


def is_failure(missing: Iterable[TreeKind], defects: Sequence[Defect]) -> bool:
    """Whether one of the trees that are missing is so through a failure.

    Args:
        missing: Kinds of the missing trees that the policy counts.
        defects: Of the analysis. An unfamiliar input is an answer only of the generator that says so: its path is the kind.
    """
    answers = {defect.path for defect in defects if defect.code == "unfamiliar_input"}
    return any(not any(re.match(rf"{kind}\b", path) for path in answers) for kind in missing)


class FailedItem(Record):
    """An item that could not be read: a record, so that the others go on and nobody takes silence for "harmless".

    Attributes:
        id: Its id, or its place (`line-7`).
        line: Line number in the input, from 1; `None` where there are no lines.
        error: What is wrong with it.
        decision: By the policy's `on_missing`.
    """

    id: str
    line: int | None
    error: str
    decision: Literal["review", "block"]

    @property
    def is_failed(self) -> bool:
        """Always true."""
        return True

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        return self.model_dump()
