"""Text of others within a prompt: quoted line by line, and defused, so that it stays text whatever it says.

Role markers, fake trees and fake verdicts stand behind `> ` like everything else that is quoted, so no line of a scenario can
pass for a line of ours. Marks in brackets, which tokenizers may read as control tokens (`<|im_start|>`, `[INST]`, `</s>`,
`[|user|]`), get blanks within their brackets: they read the same to a person and to a model, and are the marks no more. A
tokenizer may have control tokens without brackets; whoever has it at hand names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from safetyanalyst.generation.parsed import well_formed

_OPEN = re.compile(r"<(?=\S)|[\[\]>](?=[^\W\d]|[<>\[\]|/~@#!?$%&*^{_\u2581\uff5c-])")
_CLOSE = re.compile(r"(?<=[^\W\d]|[|/~@#!?$%&*^}\u2581\uff5c-])(?=[>\]])")
_GAP = " "


def quoted(text: str) -> str:
    """Every line behind `> `, whatever ends lines; an empty text is one empty line."""
    return "\n".join(f"> {line}" for line in defused(text).splitlines() or [""])


def defused(text: str, marks: Iterable[str] = ()) -> str:
    """The text without control tokens, and without lone surrogates, which no tokenizer takes.

    Args:
        text: Of anybody.
        marks: Further control tokens of a tokenizer; each gets a blank behind its first character.
    """
    safe = _CLOSE.sub(_GAP, _OPEN.sub(lambda found: found[0] + _GAP, well_formed(text)))
    for mark in sorted({it.strip() for it in marks}, key=len, reverse=True):
        while len(mark) > 1 and mark in safe:
            safe = safe.replace(mark, mark[0] + _GAP + mark[1:])
    return safe
