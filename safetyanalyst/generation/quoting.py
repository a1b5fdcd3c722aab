"""Text of others within a prompt: quoted line by line, and defused, so that it stays text whatever it says.

Role markers, fake trees and fake verdicts stand behind `> ` like everything else that is quoted, so no line of a scenario can
pass for a line of ours. Marks that a tokenizer may read as control tokens (`<|im_start|>`, `[INST]`, `</s>`) get a blank behind
their bracket: they read the same to a person and to a model, and are no control token to any tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BRACKETED = re.compile(r"<(?=[<|/!?\uff5c\[]*[\w\u2581])|\[(?=/?[^\W\d]\w+\])")
_GAP = " "


def quoted(text: str) -> str:
    """Every line behind `> `, whatever ends lines; an empty text is one empty line."""
    return "\n".join(f"> {line}" for line in defused(text).splitlines() or [""])


def defused(text: str, marks: Iterable[str] = ()) -> str:
    """The text without control tokens.

    Args:
        text: Of anybody.
        marks: Further control tokens of a tokenizer; each gets a blank behind its first character.
    """
    safe = _BRACKETED.sub(lambda found: found[0] + _GAP, text)
    for mark in sorted({it.strip() for it in marks}, key=len, reverse=True):
        while len(mark) > 1 and mark in safe:
            safe = safe.replace(mark, mark[0] + _GAP + mark[1:])
    return safe
