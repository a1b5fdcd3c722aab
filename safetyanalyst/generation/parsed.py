"""What reading gives: a tree, or none, and every defect on the way."""

from __future__ import annotations

import re
from collections import Counter

from safetyanalyst.records import Record
from safetyanalyst.trees import Defect, DefectCode, Effect, HarmBenefitTree, Tree

MAX_FOUND = 80  # characters of the text that a defect quotes
MAX_COUNT = 9_999_999  # of lost subtrees, and the highest step: seven digits, which every form can hold
MAX_DEFECTS = 1000  # listed one by one; a text can hold millions
UNREADABLE_EFFECT = Effect(effect=None, immediacy=None, extent=None, likelihood=None)

_SURROGATES = re.compile("[\ud800-\udfff]")


class Parsed(Record):
    """A tree as far as it could be read.

    Attributes:
        tree: `None` when nothing could be read: missing, which is never "without harm".
        defects: Every deviation from a clean tree; beyond the first thousand the first of each code, and a count of the others.
    """

    tree: Tree | None
    defects: tuple[Defect, ...] = ()


class ParsedPair(Record):
    """Both trees of one scenario as far as they could be read; see `Parsed`."""

    trees: HarmBenefitTree
    defects: tuple[Defect, ...] = ()


class Defects:
    """Collects defects, without ever holding more than can be looked at."""

    def __init__(self) -> None:
        self._listed: dict[Defect, None] = {}
        self._codes: set[DefectCode] = set()
        self._rest: Counter[DefectCode] = Counter()
        self.n_added = 0

    def add(self, code: DefectCode, path: str, found: object = "") -> None:
        """Records one deviation; `found` is whatever stood there and is shortened here."""
        self.n_added += 1
        if len(self._listed) < MAX_DEFECTS or code not in self._codes:
            self._listed[Defect(code=code, path=well_formed(path), found=shortened(found))] = None
            self._codes.add(code)
        else:
            self._rest[code] += 1

    def listed(self) -> tuple[Defect, ...]:
        """All of them, in the order they were met, each once."""
        rest = [Defect(code=code, path="", found=f"and {n} more like this") for code, n in self._rest.items()]
        return (*self._listed, *rest)


def shortened(found: object) -> str:
    """What stood there in at most `MAX_FOUND` characters; containers by their size, so that this never takes long."""
    if isinstance(found, str):
        text = found if len(found) <= MAX_FOUND else found[: MAX_FOUND - 3] + "..."
        return well_formed(text)
    if isinstance(found, list):
        return f"a list of {len(found)}"
    if isinstance(found, dict):
        return f"an object with {len(found)} keys"
    if isinstance(found, bool) or found is None:
        return {True: "true", False: "false", None: "null"}[found]
    if isinstance(found, int) and found.bit_length() > 200:
        return "a number with very many digits"
    if isinstance(found, int | float):
        return str(found)
    return type(found).__name__[:MAX_FOUND]


def well_formed(text: str) -> str:
    """The text with lone surrogates, which no file can hold, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)
