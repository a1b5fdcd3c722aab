r"""The compact notation of trees, one row per action: written, and strictly read. `json_writing` writes the JSON forms.

A row is `stakeholder | action | effects`:

- action of harm: the number of the leaf (`14`), and after a colon free words (`14: words`); of benefit: `B7: words`, or words
  alone; in both `?` where the action is unknown. Behind it ` @2,3` names the steps that it rests on.
- effect: its number, `i` or `d`, the number of the extent (1 is the least), the letter of the likelihood: `7i3h`. `?` in place
  of any of the four is a feature that could not be read; `?` alone is all four.
- Rows of one stakeholder follow each other; `--` between two of them starts another one of the same name. `name | -` is a
  stakeholder without actions, `?` alone a lost subtree (`? x12`: twelve of them), `-` alone a tree without stakeholders.
- A backslash takes the meaning from the sign behind it; `\n`, `\r`, `\s`, `\e` and `\u{hex}` are a line break, a return, a
  blank, nothing, and any character.

The notation has no end mark: whoever asks a model for it has to look at why the model stopped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_lowercase
from typing import NamedTuple

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.json_writing import known_action, known_effect, to_json, to_published
from safetyanalyst.generation.parsed import MAX_COUNT, UNREADABLE_EFFECT, Defects, Parsed, shortened, well_formed
from safetyanalyst.taxonomy import Level, Taxonomy
from safetyanalyst.trees import Action, Defect, Effect, Immediacy, Stakeholder, Tree, TreeKind

__all__ = ["from_rows", "is_row", "to_json", "to_published", "to_row_list", "to_rows"]

EMPTY, SEPARATOR, NOTHING, UNKNOWN = "-", "--", "-", "?"

_LOST_ROW = re.compile(r"\?(?:\s*x\s*([1-9][0-9]{0,6}))?")
_EVIDENCE = re.compile(r"(?<!\\)@\s*([0-9]{1,7}(?:\s*,\s*[0-9]{1,7})*)$")
_ACTION: dict[TreeKind, re.Pattern[str]] = {
    "harm": re.compile(r"(?:([0-9]{1,6})|\?)(?:\s*:(.*))?", re.DOTALL),
    "benefit": re.compile(r"(?:B([0-9]{1,6})|\?)(?:\s*:(.*))?", re.DOTALL),
}
_EFFECT = re.compile(r"([0-9]{1,6}|\?)([id?])([0-9]{1,3}|\?)([a-z?])")
_IMMEDIACIES: dict[str, Immediacy] = {"i": "immediate", "d": "downstream"}
_FIELD = re.compile(r"(?:[^|\\]++|\\.|\\\Z)*+", re.DOTALL)
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.)|\Z)", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "s": " ", "e": ""}
_SPECIAL = {"\n": "\\n", "\r": "\\r", "|": "\\|", "\\": "\\\\", "@": "\\@"}


def to_rows(tree: Tree, taxonomy: Taxonomy) -> str:
    """A tree in the compact notation.

    Raises:
        ConfigError: The tree says what the taxonomy does not know.
    """
    writer = _Writer(tree.kind, taxonomy)
    rows: list[str] = []
    before: str | None = None
    for stakeholder in tree.stakeholders:
        if stakeholder.name == before:
            rows.append(SEPARATOR)
        before = stakeholder.name
        rows += writer.rows(stakeholder)
    if tree.lost:
        rows.append(UNKNOWN if tree.lost == 1 else f"{UNKNOWN} x{tree.lost}")
    return "\n".join(rows) or EMPTY


def to_row_list(tree: Tree, taxonomy: Taxonomy) -> list[str]:
    """A tree as rows one by one, as `from_row_list` reads them: none for a tree without stakeholders.

    Raises:
        ConfigError: The tree says what the taxonomy does not know.
    """
    rows = to_rows(tree, taxonomy)
    return [] if rows == EMPTY else rows.split("\n")


class _Writer:
    def __init__(self, kind: TreeKind, taxonomy: Taxonomy) -> None:
        self._kind = kind
        self._taxonomy = taxonomy
        self._extents = {level.name: str(i) for i, level in enumerate(taxonomy.extents, start=1)}
        self._likelihoods = {name: letter for letter, name in letters_of(taxonomy.likelihoods).items()}

    def rows(self, stakeholder: Stakeholder) -> list[str]:
        name = _written(stakeholder.name)
        if not stakeholder.actions:
            return [f"{name} | {NOTHING}"]
        return [f"{name} | {self._action(it)} | {' '.join(map(self._effect, it.effects))}" for it in stakeholder.actions]

    def _action(self, action: Action) -> str:
        words = _written(action.description) if action.description else ""
        mark = UNKNOWN
        if action.action is not None:
            prefix = "B" if self._kind == "benefit" else ""
            mark = f"{prefix}{known_action(action.action, self._kind, self._taxonomy).number}"
        is_free = self._kind == "benefit" and mark == UNKNOWN and words and not _ACTION["benefit"].fullmatch(words)
        text = words if is_free else f"{mark}: {words}" if words else mark
        return f"{text} @{','.join(map(str, action.evidence))}" if action.evidence else text

    def _effect(self, effect: Effect) -> str:
        if effect == UNREADABLE_EFFECT:
            return UNKNOWN
        number = UNKNOWN if effect.effect is None else str(known_effect(effect.effect, self._kind, self._taxonomy).number)
        immediacy = UNKNOWN if effect.immediacy is None else effect.immediacy[0]
        scales = self._level(effect.extent, self._extents) + self._level(effect.likelihood, self._likelihoods)
        return number + immediacy + scales

    def _level(self, name: str | None, signs: dict[str, str]) -> str:
        if name is None:
            return UNKNOWN
        if name not in signs:
            raise ConfigError(f"the tree names the level {name!r}, which {self._taxonomy.label} does not know")
        return signs[name]


def letters_of(levels: tuple[Level, ...]) -> dict[str, str]:
    """Letter -> level: the first letters where they tell the levels apart, else a, b, c."""
    first = {level.name[0]: level.name for level in levels if level.name[0] in ascii_lowercase}
    if len(first) == len(levels):
        return first
    return {chr(ord("a") + i): level.name for i, level in enumerate(levels)}


def _written(words: str) -> str:
    """Words with a backslash before whatever would be read as something else."""
    if not words:
        return "\\e"
    text = "".join(_SPECIAL.get(c) or (f"\\u{{{ord(c):x}}}" if c.isspace() and c != " " else c) for c in words)
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    text = "\\s" * before + inner + "\\s" * (len(text) - before - len(inner))
    return "\\" + text if text in (EMPTY, SEPARATOR) or text.startswith(UNKNOWN) else text


def is_row(line: str) -> bool:
    """Whether a line is beyond doubt a row with effects, whatever its words say."""
    fields = split_row(line)
    tokens = fields[-1].split()
    return len(fields) == 3 and bool(tokens) and all(token == UNKNOWN or _EFFECT.fullmatch(token) for token in tokens)


def from_row_list(rows: Sequence[str], kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads rows that come one by one. No rows say that there is nothing; a blank row says nothing, and is a lost subtree.

    Args:
        rows: Of the compact notation.
        kind: Which tree it is.
        taxonomy: What the numbers mean.
    """
    if not rows:
        return from_rows("-", kind, taxonomy)
    spoilt = [i for i, row in enumerate(rows) if not row.strip() or "\n" in row]
    parsed = from_rows("\n".join(row for i, row in enumerate(rows) if i not in spoilt), kind, taxonomy)
    if parsed.tree is None:
        return parsed
    tree = parsed.tree.model_copy(update={"lost": parsed.tree.lost + len(spoilt)})
    blanks = (Defect(code="missing_value", path=f"{kind}[{i}]", found=shortened(rows[i])) for i in spoilt)
    return Parsed(tree=tree, defects=(*parsed.defects, *blanks))


def from_rows(text: str, kind: TreeKind, taxonomy: Taxonomy) -> Parsed:
    """Reads the compact notation. Strict: a row that is not one is a lost subtree, and nothing is repaired. Never raises.

    Args:
        text: Rows, one per line; blank lines are skipped.
        kind: Which tree it is.
        taxonomy: What the numbers mean.

    Returns:
        The tree; `None` when the text holds no row at all, or none that can be read.
    """
    defects = Defects()
    if not isinstance(text, str):
        defects.add("wrong_type", kind, text)
        return Parsed(tree=None, defects=defects.listed())
    sound = well_formed(text)
    if sound != text:
        defects.add("invalid_characters", kind)
    rows = [row for line in sound.split("\n") if (row := line.strip())]
    if not rows:
        defects.add("empty_output", kind)
        return Parsed(tree=None, defects=defects.listed())
    reader = _Reader(kind, taxonomy, defects)
    if rows != [EMPTY]:
        for i, row in enumerate(rows):
            reader.read(row, f"{kind}.rows[{i}]")
    tree = reader.tree()
    return Parsed(tree=tree, defects=defects.listed())


class _Open(NamedTuple):
    """A stakeholder that is being read."""

    name: str
    actions: list[Action]


class _Reader:
    def __init__(self, kind: TreeKind, taxonomy: Taxonomy, defects: Defects) -> None:
        self._kind = kind
        self._taxonomy = taxonomy
        self._defects = defects
        self._likelihoods = letters_of(taxonomy.likelihoods)
        self._effects_read: dict[str, Effect] = {}
        self._stakeholders: list[_Open] = []
        self._is_separated = True  # whether the next row begins a stakeholder, whatever its name
        self._lost = 0
        self._n_rows = self._n_unreadable = 0

    def tree(self) -> Tree | None:
        """What was read; `None` when nothing was."""
        if self._is_separated and self._stakeholders:
            self._defects.add("truncated", self._kind, SEPARATOR)
            self._lost += 1
        if self._n_unreadable == self._n_rows > 0:
            return None
        stakeholders = tuple(Stakeholder(name=it.name, actions=tuple(it.actions)) for it in self._stakeholders)
        return Tree(kind=self._kind, stakeholders=stakeholders, lost=min(self._lost, MAX_COUNT))

    def read(self, row: str, path: str) -> None:
        """Reads one row."""
        self._n_rows += 1
        fields = [field.strip() for field in split_row(row)]
        lost = _LOST_ROW.fullmatch(row)
        if row == SEPARATOR and not self._is_separated:
            self._is_separated = True
        elif lost is not None:
            self._lost += int(lost[1] or 1)
        elif len(fields) == 2 and fields[1] == NOTHING:
            self._stakeholder(fields[0], path)
        elif len(fields) == 3:
            self._stakeholder(fields[0], path).actions.append(self._action(fields[1], fields[2], path))
        else:
            self._lost += 1
            self._n_unreadable += 1
            self._defects.add("invalid_syntax", path, row)

    def _stakeholder(self, field: str, path: str) -> _Open:
        name = self._words(field, f"{path}.stakeholder")
        if not field:
            self._lost += 1
            self._defects.add("missing_value", f"{path}.stakeholder")
        if self._is_separated or self._stakeholders[-1].name != name:
            self._stakeholders.append(_Open(name, []))
        self._is_separated = False
        return self._stakeholders[-1]

    def _action(self, field: str, effects: str, path: str) -> Action:
        evidence: tuple[int, ...] = ()
        found = _EVIDENCE.search(field)
        if found is not None:
            steps = [int(step) for step in found[1].split(",")]
            evidence, field = tuple(sorted(set(steps))), field[: found.start()].rstrip()
            if list(evidence) != steps:
                self._defects.add("spelling", f"{path}.evidence", found[0])
        name, words = self._category(field, path)
        return Action(action=name, description=words, evidence=evidence, effects=self._effects(effects, path))

    def _category(self, field: str, path: str) -> tuple[str | None, str]:
        parts = _ACTION[self._kind].fullmatch(field)
        if parts is None and self._kind == "benefit" and field:
            return None, self._words(field, f"{path}.action")
        if parts is None:
            self._defects.add("unknown_action" if field else "missing_value", f"{path}.action", field)
            return None, self._words(field, f"{path}.action")
        words = self._words((parts[2] or "").strip(), f"{path}.action")
        if parts[1] is None:
            return None, words
        category = self._taxonomy.action_numbered(self._kind, int(parts[1]))
        if category is None:
            self._defects.add("unknown_action", f"{path}.action", field)
            return None, self._words(field, f"{path}.action")
        return category.name, words

    def _effects(self, field: str, path: str) -> tuple[Effect, ...]:
        tokens = field.split()
        if not tokens:
            self._lost += 1
            self._defects.add("empty_list", f"{path}.effects")
            return (UNREADABLE_EFFECT,)
        return tuple(self._effect(token, f"{path}.effects[{k}]") for k, token in enumerate(tokens))

    def _effect(self, token: str, path: str) -> Effect:
        if token == UNKNOWN:
            return UNREADABLE_EFFECT
        known = self._effects_read.get(token)
        if known is not None:
            return known
        parts = _EFFECT.fullmatch(token)
        if parts is None:
            self._defects.add("invalid_syntax", path, token)
            return UNREADABLE_EFFECT
        category = None if parts[1] == UNKNOWN else self._taxonomy.effect_numbered(self._kind, int(parts[1]))
        extents = self._taxonomy.extents
        rank = 0 if parts[3] == UNKNOWN else int(parts[3])
        effect = Effect(
            effect=None if category is None else category.name,
            immediacy=_IMMEDIACIES.get(parts[2]),
            extent=extents[rank - 1].name if 1 <= rank <= len(extents) else None,
            likelihood=self._likelihoods.get(parts[4]),
        )
        if effect.effect is None and parts[1] != UNKNOWN:
            self._defects.add("unknown_effect", f"{path}.effect", token)
        elif effect.extent is None and parts[3] != UNKNOWN:
            self._defects.add("unknown_extent", f"{path}.extent", token)
        elif effect.likelihood is None and parts[4] != UNKNOWN:
            self._defects.add("unknown_likelihood", f"{path}.likelihood", token)
        else:
            self._effects_read[token] = effect  # only one without a defect: each other one has to be told again
        return effect

    def _words(self, field: str, path: str) -> str:
        """The words that a field stands for."""

        def plain(found: re.Match[str]) -> str:
            if found[1] is not None and (int(found[1], 16) < 0xD800 or 0xE000 <= int(found[1], 16) < 0x110000):
                return chr(int(found[1], 16))
            if found[2] is not None and found[2] in _LETTERS:
                return _LETTERS[found[2]]
            if found[2] is None or found[2].isalnum():
                self._defects.add("spelling", path, found[0])  # a backslash that means nothing is a backslash
                return found[0]
            return found[2]

        return _ESCAPED.sub(plain, field)


def split_row(row: str) -> list[str]:
    """Fields of a row: cut at every bar that has no backslash before it."""
    fields, position = [], 0
    while True:
        found = _FIELD.match(row, position)
        assert found is not None  # it matches nothing as well
        fields.append(found[0])
        if found.end() >= len(row):
            return fields
        position = found.end() + 1
