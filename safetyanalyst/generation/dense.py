"""The dense notation: the rows of `notation` in fewer tokens, for language models. Lossless, and read by the same reader.

A line is a stakeholder with all of its actions: `stakeholder|action:effects|action:effects`. Names and actions are written as
in a row, steps without the blank before `@`. An effect is its number and one letter for immediacy, extent and likelihood
together, `7h` (`codes_of` has the table); as a letter ends each, there are no blanks between them: `7h3b`. What could not be
read in full is written out within brackets, `7(i?h)`; `?` alone is an effect without anything. `name|-`, `-`, `?` and `? x3`
are as in the rows.

A number that was cut off has no letter behind it, and a line that was cut off before its first bar is no line: neither can be
taken for something whole. Only a cut between two effects, actions or lines leaves no trace: whoever asks a model looks at
why it stopped.
"""

from __future__ import annotations

import re
from string import ascii_letters

from safetyanalyst.generation.notation import NOTHING, SEPARATOR, UNKNOWN, from_rows, is_row, letters_of, split_row, to_rows
from safetyanalyst.generation.parsed import Parsed
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Tree, TreeKind

_EFFECT = re.compile(r"(?P<number>[0-9]{1,6}|\?)(?:(?P<code>[A-Za-z])|\((?P<written>[^()|\s]{3,5})\))|\?")
_STEPS = re.compile(r"(?<!\\) @(?=[0-9,]+$)")
_WRITTEN = re.compile(r"([0-9]+|\?)(.{3,5})")


def codes_of(taxonomy: Taxonomy) -> dict[str, str]:
    """Letter -> immediacy, extent and likelihood as a row writes them: `{"a": "i1l", "b": "i1m", ...}`.

    In order of immediacy, extent and likelihood, the least first. A taxonomy with more than 52 such cells has no letters.
    """
    likelihoods = letters_of(taxonomy.likelihoods)
    cells = [f"{time}{rank}{sign}" for time in "id" for rank in range(1, len(taxonomy.extents) + 1) for sign in likelihoods]
    return dict(zip(ascii_letters, cells, strict=False)) if len(cells) <= len(ascii_letters) else {}


def to_dense(tree: Tree, taxonomy: Taxonomy) -> str:
    """A tree in the dense notation.

    Raises:
        ConfigError: The tree says what the taxonomy does not know.
    """
    code = {cell: letter for letter, cell in codes_of(taxonomy).items()}
    lines: list[str] = []
    before = ""
    for row in to_rows(tree, taxonomy).split("\n"):
        fields = [field.strip(" ") for field in split_row(row)]
        if len(fields) == 1:
            before = ""
            if row != SEPARATOR:
                lines.append(row)
            continue
        rest = NOTHING if len(fields) == 2 else f"{_STEPS.sub('@', fields[1])}:{_effects(fields[2], code)}"
        if fields[0] == before:
            lines[-1] += f"|{rest}"
        else:
            lines.append(f"{fields[0]}|{rest}")
        before = fields[0]
    return "\n".join(lines)


def from_dense(text: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads the dense notation, as strictly as `from_rows`; paths of defects count its rows, one for each action. Never raises.

    Args:
        text: Lines; blank ones are skipped.
        kind: Which tree it is.
        taxonomy: What the numbers mean.
    """
    if not isinstance(text, str):
        return from_rows(text, kind, taxonomy)
    codes = codes_of(taxonomy)
    rows: list[str] = []
    before: str | None = None
    for line in text.split("\n"):
        fields = [field.strip() for field in split_row(line)]
        if len(fields) > 1 and fields[0] == before:
            rows.append(SEPARATOR)
        before = fields[0] if len(fields) > 1 else None
        rows += [f"{fields[0]} | {_row(field, codes)}" for field in fields[1:]] if len(fields) > 1 else [line]
    return from_rows("\n".join(rows), kind, taxonomy)


def is_dense(line: str) -> bool:
    """Whether a line is one of a stakeholder with effects, be it cut off behind the first of them, and no row."""
    fields = split_row(line)
    if len(fields) < 2 or is_row(line):
        return False
    action, colon, effects = fields[1].rpartition(":")
    return bool(action.strip() and colon and _EFFECT.match(effects.strip()))


def _effects(field: str, code: dict[str, str]) -> str:
    return "".join(_packed(token, code) for token in field.split(" "))


def _packed(token: str, code: dict[str, str]) -> str:
    """An effect of a row, dense."""
    found = _WRITTEN.fullmatch(token)
    if found is None:
        return token
    letter = code.get(found[2])
    return f"{found[1]}{letter}" if letter else f"{found[1]}({found[2]})"


def _row(field: str, codes: dict[str, str]) -> str:
    """What stands behind the first bar of a row."""
    action, colon, effects = field.rpartition(":")
    if not colon:
        return field if field == NOTHING else f"{field} | "
    tokens: list[str] = []
    end = 0
    for found in _EFFECT.finditer(effects):
        tokens += [effects[end : found.start()], _unpacked(found, codes)]
        end = found.end()
    tokens.append(effects[end:])
    return f"{action} | {' '.join(token for token in tokens if token)}"


def _unpacked(found: re.Match[str], codes: dict[str, str]) -> str:
    if found["number"] is None:
        return UNKNOWN
    cell = found["written"] if found["code"] is None else codes.get(found["code"], found["code"])
    return f"{found['number']}{cell}"
