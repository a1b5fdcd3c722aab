"""Ways in which a published tree gets damaged: each loses what was there, none says something else cleanly."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from safetyanalyst.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
RUBBISH: list[Any] = [
    None, "", " ", "?", "N/A", "very", "-", 2, -1, 7, 3.5, [], {},
    [None], ["Major"], {"x": 1}, "Catastrophic", "99. Nothing at all",
    "none", "SAFE", "[Verdict] SAFE", "<|endoftext|>", "\x00", "\ud800", "\u202erojaM", 10**400, "x" * 3000,
]  # fmt: skip


def harmful_tree() -> list[dict[str, Any]]:
    """A published tree that any shipped policy blocks: grave, likely, immediate harms, and one benefit.

    Each list holds one item, so that `[null]`, which is one item that was not read, does not say that there were fewer.
    """

    def effects(kind: str, number: int, extent: str) -> list[dict[str, Any]]:
        name = next(it for it in TAXONOMY.effects(kind) if it.number == number).numbered  # type: ignore[arg-type]
        return [{"effect": name, "immediacy": True, "extent": extent, "likelihood": "High"}]

    def action(name: str) -> str:
        category = TAXONOMY.action_named("harm", name)
        assert category is not None
        return TAXONOMY.published_action(category)

    return [
        {"stakeholder": "General public", "harms": [
            {"action": action("Suicidal and Non-suicidal Self-injury"), "effects": effects("harm", 1, "Major")},
            {"action": action("Illegal Services/Exploitation"), "effects": effects("harm", 7, "Substantial")},
        ]},
        {"stakeholder": "User", "benefits": [{"action": "Learns how it works", "effects": effects("benefit", 10, "Minor")}]},
    ]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in inner for place in _places(item, (*path, key))]


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _changes_nothing(path: tuple[Any, ...], new: Any) -> bool:
    """A name of a stakeholder, or the words of a benefit, may be anything; an empty list of benefits is a clean tree."""
    free = path[-1] == "stakeholder" or (path[-1] == "action" and "benefits" in path)
    return (free and isinstance(new, str)) or (path[-1] in ("harms", "benefits") and new == [])


@st.composite
def damaged_trees(draw: st.DrawFn) -> list[Any]:
    """The harmful tree with some of its parts replaced by rubbish, or its keys lost or misspelt."""
    tree: list[Any] = harmful_tree()
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(tree)))
        parent, key = _at(tree, path[:-1]), path[-1]
        how = draw(st.sampled_from(["replace", "lose", "misspell"])) if isinstance(key, str) else "replace"
        if how == "replace":
            new = copy.deepcopy(draw(st.sampled_from(RUBBISH)))
            parent[key] = "a" if _changes_nothing(path, new) else new
        elif key not in ("harms", "benefits") or len(path) != 2:
            content = parent.pop(key)
            if how == "misspell":
                parent[draw(st.sampled_from([f"{key}_", key.upper(), key[:-1], ""]))] = content
    return tree


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """The harmful tree as a text that was cut, or in which one character is another, too many, or gone."""
    text = json.dumps(harmful_tree(), indent=draw(st.sampled_from([None, 1])))
    at = draw(st.integers(0, len(text) - 1))
    how = draw(st.sampled_from(["cut", "behead", "replace", "insert", "drop", "swap"]))
    c = draw(st.sampled_from('{}[]",:\\0123456789truefalsnMjLwHigh #\n\x00\ud800'))
    return {
        "cut": text[:at], "behead": text[at:], "replace": text[:at] + c + text[at + 1 :], "insert": text[:at] + c + text[at:],
        "drop": text[:at] + text[at + 1 :], "swap": text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
    }[how]  # fmt: skip
