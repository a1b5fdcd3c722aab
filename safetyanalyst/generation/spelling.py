"""Words -> categories and levels of a taxonomy, leniently where the meaning cannot change, and never by likeness.

Case, blanks, quotation marks, a full stop and numbering are looked past, and it is told that they were. Anything else (a
synonym, a part of a name, a letter of another alphabet that looks the same, a number that contradicts its name) is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from safetyanalyst.taxonomy import Category, Group, Level, Taxonomy
from safetyanalyst.trees import TREE_KINDS, Effect, TreeKind

MAX_LENGTH = 500  # characters; a longer text is no name, and is not searched for one
MAX_REMEMBERED = 20_000

_WRAPPING = " \t\r\n\"'`*.,;\u201c\u201d\u2018\u2019"  # what may stand around a name
_PLAIN = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2018": "'", "\u2019": "'", "_": " "})
_WIRE = re.compile(
    r"(?:##(?P<domain>[^#]*)##)?\s*(?:#(?P<group>[^#]*)#)?\s*(?:(?P<number>[0-9]{1,6})\s*[.):]\s*)?(?P<name>[^#]*)"
)
_IMMEDIACIES = {"true": "immediate", "yes": "immediate", "false": "downstream", "no": "downstream"}


class Word(NamedTuple):
    """What a word was read as: the canonical name, `None` when unknown, and whether it was spelt as it should be."""

    name: str | None
    is_clean: bool


UNKNOWN = Word(None, False)


class Vocabulary:
    """All words of a taxonomy. Build with `vocabulary_of`, which remembers.

    Attributes:
        taxonomy: Where the words come from.
        clean_effects: What effects were read from, kept by the reader of trees to read them once; only those without a defect.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.clean_effects: dict[TreeKind, dict[tuple[str | bool, ...], Effect]] = {kind: {} for kind in TREE_KINDS}
        self._actions, self._effects = {}, {}
        for kind in TREE_KINDS:
            actions = {taxonomy.published_action(action): action for action in taxonomy.actions(kind)}
            effects = {effect.numbered: effect for effect in taxonomy.effects(kind)}
            self._actions[kind] = _Names(actions, taxonomy.action_groups, taxonomy)
            self._effects[kind] = _Names(effects, taxonomy.effect_groups, taxonomy)
        self._extents = _Levels(taxonomy.extents, _capitalised(taxonomy.extents))
        self._likelihoods = _Levels(taxonomy.likelihoods, _capitalised(taxonomy.likelihoods))
        self._immediacies = _Levels(taxonomy.immediacies, {}, _IMMEDIACIES)

    def action(self, kind: TreeKind, text: str) -> Word:
        """A leaf action: its name or its published form is clean."""
        return self._actions[kind].read(text)

    def effect(self, kind: TreeKind, text: str) -> Word:
        """An effect: its name with or without its number is clean."""
        return self._effects[kind].read(text)

    def extent(self, text: str) -> Word:
        """An extent: its name, also capitalised, is clean."""
        return self._extents.read(text)

    def likelihood(self, text: str) -> Word:
        """A likelihood: its name, also capitalised, is clean."""
        return self._likelihoods.read(text)

    def immediacy(self, text: str) -> Word:
        """An immediacy in words: its name is clean; "true" and "yes" stand for immediate."""
        return self._immediacies.read(text)


class _Names:
    """The names of one list of categories."""

    def __init__(self, wires: dict[str, Category], groups: Sequence[Group], taxonomy: Taxonomy) -> None:
        domains = {domain.key: folded(domain.name) for domain in taxonomy.domains}
        self._groups = {group.key: folded(group.name) for group in groups}
        self._domains = {group.key: domains.get(group.domain) for group in groups}
        self._folded = {folded(category.name): category for category in wires.values()}
        clean = {text: category.name for text, category in wires.items()}
        clean |= {category.name: category.name for category in wires.values()}
        self._known = {text: Word(name, True) for text, name in clean.items()}

    def read(self, text: str) -> Word:
        """Looks a text up; a text that was met before costs one look."""
        word = self._known.get(text)
        if word is None:
            category = self._search(text)
            word = UNKNOWN if category is None else Word(category.name, False)
            if len(text) <= MAX_LENGTH and len(self._known) < MAX_REMEMBERED:
                self._known[text] = word
        return word

    def _search(self, text: str) -> Category | None:
        if len(text) > MAX_LENGTH:
            return None
        text = folded(text)
        if text in self._folded:
            return self._folded[text]
        parts = _WIRE.fullmatch(text)
        category = None if parts is None else self._folded.get(folded(parts["name"]))
        if parts is None or category is None:
            return None
        # every part that is written has to agree: which of two contradicting parts is meant cannot be known
        agree = (
            parts["number"] is None or int(parts["number"]) == category.number,
            parts["group"] is None or folded(parts["group"]) == self._groups.get(category.group),
            parts["domain"] is None or folded(parts["domain"]) == self._domains.get(category.group),
        )
        return category if all(agree) else None


class _Levels:
    """The names of one scale; `clean` and `lenient` are further words for them."""

    def __init__(self, levels: Sequence[Level], clean: dict[str, str], lenient: dict[str, str] | None = None) -> None:
        self._clean = {level.name: level.name for level in levels} | clean
        self._folded = {folded(level.name): level.name for level in levels} | (lenient or {})

    def read(self, text: str) -> Word:
        """Looks a text up."""
        if text in self._clean:
            return Word(self._clean[text], True)
        if len(text) > MAX_LENGTH:
            return UNKNOWN
        return Word(self._folded.get(folded(text)), False)


def _capitalised(levels: Sequence[Level]) -> dict[str, str]:
    return {level.name.capitalize(): level.name for level in levels}


def folded(text: str) -> str:
    """The text without what cannot change its meaning: case, blanks to spare, what is wrapped around it.

    Letters are lowered only where lowering can be undone: the Kelvin sign looks like a K, and is none.
    """
    text = " ".join(text.translate(_PLAIN).split()).strip(_WRAPPING)
    if text.isascii():
        return text.lower()
    return "".join(low if (low := c.lower()).upper() == c else c for c in text)


_remembered: dict[int, Vocabulary] = {}  # by identity: a vocabulary keeps its taxonomy alive, so an id is never used twice


def vocabulary_of(taxonomy: Taxonomy) -> Vocabulary:
    """The vocabulary of a taxonomy, the same one again for the same object."""
    vocabulary = _remembered.get(id(taxonomy))
    if vocabulary is None:
        if len(_remembered) >= 16:
            _remembered.clear()
        vocabulary = _remembered.setdefault(id(taxonomy), Vocabulary(taxonomy))
    return vocabulary
