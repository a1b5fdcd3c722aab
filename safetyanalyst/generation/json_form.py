"""Trees as JSON -> trees and every defect: our own form, and the published one.

Ours: `{"stakeholders": [{"name", "actions": [{"action", "description"?, "evidence", "effects": [{"effect", "immediacy",
"extent", "likelihood"}]}]}], "lost"?: n}`. Published: `[{"stakeholder", "harms" | "benefits": [{"action", "effects": [...]}]}]`
with our additions "evidence", "description" and "category" where they are needed.

Nothing is ever filled in. A feature that cannot be read is `None`; a stakeholder or an action that cannot be read adds to
`Tree.lost`; a tree that cannot be read is `None`. Each leaves a defect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeGuard

from safetyanalyst.generation.json_text import Object, Unreadable
from safetyanalyst.generation.parsed import MAX_COUNT, UNREADABLE_EFFECT, Defects, Parsed, well_formed
from safetyanalyst.generation.spelling import Vocabulary, Word, vocabulary_of
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Action, DefectCode, Effect, Stakeholder, Tree, TreeKind

ABSENT = object()
OTHER: dict[TreeKind, TreeKind] = {"harm": "benefit", "benefit": "harm"}


class Form(NamedTuple):
    """Keys of a stakeholder; `others` are those that the reader of the other side reads from the same object."""

    name: str
    actions: str
    others: frozenset[str] = frozenset()


_OURS = Form("name", "actions")
PUBLISHED = {"harm": Form("stakeholder", "harms"), "benefit": Form("stakeholder", "benefits")}
_ACTION_KEYS = {"harm": frozenset({"action", "description", "evidence", "effects"})}
_ACTION_KEYS["benefit"] = _ACTION_KEYS["harm"] | {"category"}
_FEATURES = ("effect", "immediacy", "extent", "likelihood")
_FEATURE_KEYS = frozenset(_FEATURES)
_WORD_KEYS = _FEATURE_KEYS | {"action", "description", "category"}
_KEY_TYPES = ((str, bool, str, str), (str, str, str, str))
_UNKNOWN: dict[str, DefectCode] = {
    "effect": "unknown_effect",
    "immediacy": "unknown_immediacy",
    "extent": "unknown_extent",
    "likelihood": "unknown_likelihood",
}
_MAY_BE_JSON = re.compile(r"[\[{][\s\\]*+[\[{\"']")
_NO_LETTER = re.compile(r"[^a-z]")


def tree_from_json(value: object, kind: TreeKind, taxonomy: Taxonomy, path: str | None = None) -> Parsed:
    """Reads one tree from parsed JSON, in our form or the published one. Never raises, whatever the value is.

    Args:
        value: Parsed JSON, best from `loads`, which keeps repeated keys visible.
        kind: Which tree it is.
        taxonomy: What its words mean.
        path: Where it stands, as the beginning of the paths of its defects; the kind when left out.
    """
    defects = Defects()
    tree = TreeReader(kind, taxonomy, defects).tree(value, kind if path is None else path)
    return Parsed(tree=tree, defects=defects.listed())


class TreeReader:
    """Reads one tree; counts what is lost, and records why.

    Where both trees of a scenario are read, what was found here may belong to the other one; whoever reads both looks at
    `strays`, `doubtful` and `doubts`.

    Attributes:
        kind: Which tree.
        lost: How many subtrees were lost.
        strays: How many of these may be of the other side as well, because no known key says of which they are.
        doubtful: How many stakeholders hold a name that only the other side has; they are not counted in `lost`.
        doubts: Those names, as defects.
    """

    def __init__(self, kind: TreeKind, taxonomy: Taxonomy, defects: Defects) -> None:
        self.kind = kind
        self.lost = 0
        self.strays = 0
        self.doubtful = 0
        self.doubts = Defects()
        self._words: Vocabulary = vocabulary_of(taxonomy)
        self._clean = self._words.clean_effects[kind]
        self._defects = defects

    def tree(self, value: object, path: str) -> Tree | None:
        """A whole tree in either form, `None` when it is neither."""
        form, entries = PUBLISHED[self.kind], value
        if isinstance(value, dict):
            form, entries = _OURS, self.get(value, "stakeholders", path)
            self._read_lost(value, path)
            self._lose_stray(self.check_keys(value, frozenset({"stakeholders", "lost"}), path))
            path = _joined(path, "stakeholders")
        if entries is ABSENT:
            return None
        if not isinstance(entries, list):
            self._unreadable(entries, path)
            return None
        read = [self.stakeholder(entry, f"{path}[{i}]", form) for i, entry in enumerate(entries)]
        return Tree(kind=self.kind, stakeholders=tuple(it for it in read if it is not None), lost=min(self.lost, MAX_COUNT))

    def stakeholder(self, value: object, path: str, form: Form) -> Stakeholder | None:
        """A stakeholder; one without a readable name keeps its actions, and counts as lost as well."""
        if not isinstance(value, dict):
            self._lose(value, path)
            return None
        n_lost = self.check_keys(value, form.others | {form.name, form.actions}, path)
        self.lost += n_lost
        self.strays += 0 if form.others else n_lost
        name = self._words_under(value, form.name, path)
        actions = self.get(value, form.actions, path)
        if not isinstance(actions, list):
            self._lose(actions, f"{path}.{form.actions}")
            return None
        if name is None:
            self.lost += 1
        elif not name.strip():
            self._defects.add("missing_value", f"{path}.{form.name}", name)
        n_before = self.doubts.n_added
        read = [self._action(action, f"{path}.actions[{j}]") for j, action in enumerate(actions)]
        self.doubtful += self.doubts.n_added > n_before
        return Stakeholder(name=name or "", actions=tuple(action for action in read if action is not None))

    def _action(self, value: object, path: str) -> Action | None:
        if not isinstance(value, dict):
            self._lose(value, path)
            return None
        self._lose_stray(self.check_keys(value, _ACTION_KEYS[self.kind], path))
        name, description = self._category(value, path)
        return Action(
            action=name, description=description, evidence=self._evidence(value, path), effects=self._effects(value, path)
        )

    def _category(self, value: dict[Any, Any], path: str) -> tuple[str | None, str]:
        """Canonical name and free words of an action."""
        description = self._words_under(value, "description", path) if "description" in value else None
        if self.kind == "benefit" and "category" in value:
            words = self._words_under(value, "action", path)
            name = None if value["category"] is None else self._words_under(value, "category", path)
            word = None if name is None else self._words.action(self.kind, name)
            if word is not None and name is not None:
                self._note_word(word, "unknown_action", f"{path}.category", name)
            for key, text in (("action", words), ("category", name)) if word is None or word.name is None else ():
                self._check_side(self._words.action, text, "unknown_action", f"{path}.{key}")
            return None if word is None else word.name, ": ".join(filter(None, (words, description)))
        if self.kind == "benefit" and description and value.get("action", ABSENT) is None:
            return None, description  # free words only, which is usual for benefits
        text = self._words_under(value, "action", path)
        if text is None:
            return None, description or ""
        word = self._words.action(self.kind, text)
        if word.name is not None or self.kind == "harm" or description:
            self._note_word(word, "unknown_action", f"{path}.action", text)
        elif not text.strip():
            self._defects.add("missing_value", f"{path}.action", text)
        if word.name is not None:
            return word.name, description or ""
        self._check_side(self._words.action, text, "unknown_action", f"{path}.action")
        return None, f"{text}: {description}" if description else text

    def _words_under(self, value: dict[Any, Any], key: str, path: str) -> str | None:
        return self._text(self.get(value, key, path), f"{path}.{key}")

    def _evidence(self, value: dict[Any, Any], path: str) -> tuple[int, ...]:
        if "evidence" not in value:
            return ()
        steps = self.get(value, "evidence", path)
        if steps is ABSENT:
            return ()
        path = f"{path}.evidence"
        if not isinstance(steps, list):
            self._unreadable(steps, path)
            return ()
        read = [step for step in steps if _is_count(step)]
        for step in steps if len(read) < len(steps) else ():
            if not _is_count(step):
                self._unreadable(step, path)
        ascending = tuple(sorted(set(read)))
        if ascending != tuple(read):
            self._defects.add("spelling", path, steps)
        return ascending

    def _effects(self, value: dict[Any, Any], path: str) -> tuple[Effect, ...]:
        """The leaves; where there is none, one of which nothing is known, and the rest counts as lost."""
        effects = self.get(value, "effects", path)
        if isinstance(effects, list) and effects:
            return tuple(self._effect(effect, path, k) for k, effect in enumerate(effects))
        self.lost += 1
        if effects == []:
            self._defects.add("empty_list", f"{path}.effects")
        elif effects is not ABSENT:
            self._unreadable(effects, f"{path}.effects")
        return (UNREADABLE_EFFECT,)

    def _effect(self, value: object, path: str, k: int) -> Effect:
        if not isinstance(value, dict):
            self._unreadable(value, f"{path}.effects[{k}]")
            return UNREADABLE_EFFECT
        key = _key(value)
        known = None if key is None else self._clean.get(key)
        if known is not None:
            return known
        path = f"{path}.effects[{k}]"
        n_before = self._defects.n_added
        self._lose_stray(self.check_keys(value, _FEATURE_KEYS, path))
        effect = Effect.model_validate({feature: self._feature(value, feature, path) for feature in _FEATURES})
        if key is not None and self._defects.n_added == n_before:
            self._clean[key] = effect  # few are clean, and they come again and again
        return effect

    def _feature(self, value: dict[Any, Any], key: str, path: str) -> str | None:
        content = self.get(value, key, path)
        if content is ABSENT:
            return None
        if key == "immediacy" and isinstance(content, bool):
            return "immediate" if content else "downstream"
        if key == "immediacy" and type(content) is int and content in (0, 1):
            self._defects.add("spelling", f"{path}.{key}", content)
            return "immediate" if content else "downstream"
        text = self._text(content, f"{path}.{key}")
        if text is None:
            return None
        word = self._word(key, text)
        self._note_word(word, _UNKNOWN[key], f"{path}.{key}", text)
        if key == "effect" and word.name is None:
            self._check_side(self._words.effect, text, "unknown_effect", f"{path}.{key}")
        return word.name

    def _word(self, key: str, text: str) -> Word:
        if key == "effect":
            return self._words.effect(self.kind, text)
        read = {"extent": self._words.extent, "likelihood": self._words.likelihood, "immediacy": self._words.immediacy}
        return read[key](text)

    def get(self, value: dict[Any, Any], key: str, path: str) -> object:
        """What stands under a key; `ABSENT`, with its defect, when that is nothing or unreadable."""
        content = value.get(key, ABSENT)
        if content is ABSENT:
            self._defects.add("missing_key", _joined(path, key))
        elif content is None or isinstance(content, Unreadable):
            self._unreadable(content, _joined(path, key))
            return ABSENT
        return content

    def check_keys(self, value: dict[Any, Any], known: frozenset[str], path: str) -> int:
        """Records repeated and unknown keys, and gives how many subtrees may be lost by them.

        What an unknown key holds is ignored; where that may be a subtree, or the key is a known one in other spelling, it is
        lost. An object in which a key has two values, or which repeats a key and has unknown ones as well, may be what became
        of two objects: one of them is lost.
        """
        n_lost = 0
        unknown = () if value.keys() <= known else [key for key in value if key not in known]
        for key in unknown:
            self._defects.add("unknown_key", path, key)
            n_lost += _may_hold_subtree(value[key]) or _is_meant(key, value, known)
        if isinstance(value, Object):
            for key in value.repeated:
                self._defects.add("duplicate_key", _joined(path, key), key)
            is_contradictory = any(isinstance(value[key], Unreadable) for key in value.repeated)
            n_lost += is_contradictory or len(unknown) > 0
        return n_lost

    def _lose_stray(self, n_lost: int) -> None:
        self.lost += n_lost
        self.strays += n_lost

    def _check_side(self, read: Callable[[TreeKind, str], Word], text: str | None, code: DefectCode, path: str) -> None:
        """Notes a text that is no name on this side and one on the other; a name of both sides proves nothing."""
        if text is not None and read(OTHER[self.kind], text).name is not None:
            self.doubts.add(code, path, text)

    def _text(self, value: object, path: str) -> str | None:
        if not isinstance(value, str):
            if value is not ABSENT:
                self._unreadable(value, path)
            return None
        text = well_formed(value)
        if text is not value and text != value:
            self._defects.add("invalid_characters", path, text)
        return text

    def _read_lost(self, value: dict[Any, Any], path: str) -> None:
        if "lost" not in value:
            return
        lost = self.get(value, "lost", path)
        if _is_count(lost):
            self.lost += lost
            if lost:
                self._defects.add("missing_value", _joined(path, "lost"), lost)
            return
        self.lost += 1
        if lost is not ABSENT:
            self._unreadable(lost, _joined(path, "lost"))

    def _lose(self, value: object, path: str) -> None:
        self.lost += 1
        if value is not ABSENT:
            self._unreadable(value, path)

    def _unreadable(self, value: object, path: str) -> None:
        if isinstance(value, Unreadable):
            self._defects.add(value.code, path, value.found)
        else:
            self._defects.add("missing_value" if value is None else "wrong_type", path, value)

    def _note_word(self, word: Word, unknown: DefectCode, path: str, text: str) -> None:
        if not word.is_clean:
            self._defects.add(unknown if word.name is None else "spelling", path, text)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _key(value: dict[Any, Any]) -> tuple[str | bool, ...] | None:
    """What an effect says, when it says exactly the four features in ordinary types."""
    if type(value) is not dict or len(value) != 4:
        return None
    key: tuple[Any, ...] = tuple(value.get(feature) for feature in _FEATURES)
    # types are compared, because True and 1 would find the same entry
    return key if tuple(map(type, key)) in _KEY_TYPES else None


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _may_hold_subtree(value: object) -> bool:
    if isinstance(value, str):
        return _MAY_BE_JSON.search(value) is not None
    return isinstance(value, Unreadable) or (isinstance(value, list | dict) and len(value) > 0)


def _is_meant(key: object, value: dict[Any, Any], known: frozenset[str]) -> bool:
    """Whether an unknown key is a known one in other spelling, and says something that is not recorded as missing anyhow.

    A feature or a word that stands under the wrong key alone is: its right key is not there.
    """
    if not isinstance(key, str) or value[key] in (None, "", [], {}):
        return False
    meant = _spellings(known).get(_spelling(key))
    return meant is not None and (meant in value or meant not in _WORD_KEYS)


@cache
def _spellings(known: frozenset[str]) -> dict[str, str]:
    """Known keys by their spelling; the names of both sides belong to them everywhere."""
    return {_spelling(key): key for key in (*(form.actions for form in PUBLISHED.values()), *known)}


def _spelling(key: str) -> str:
    """A key without case, signs and plural."""
    return _NO_LETTER.sub("", key.lower()).removesuffix("s")
