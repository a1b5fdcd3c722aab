r"""What a language model may write: a form of tree as a grammar, generated from the taxonomy.

Every form is bounded, in stakeholders, actions, effects and the length of names, and has no free white space: a model that is
held to it stops, and what it has written can be read. Two forms are notations (`dense`, `notation`), each as a grammar for
llguidance (Lark), one for xgrammar and llama.cpp (GBNF), and a regular expression; two are JSON, each as a JSON Schema.

A grammar allows complete features only: `?` is for what could not be read, and a writer has read nothing. What may stand in
names is narrower than what the readers take: letters of the living scripts, digits, blanks and a few signs, none of which any
form gives a meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from safetyanalyst.generation.dense import codes_of
from safetyanalyst.generation.notation import letters_of
from safetyanalyst.records import Record
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TreeKind

Form = Literal["dense", "rows", "json", "published"]
"""How a tree is written: the dense notation, the rows, our JSON, or the published JSON."""
Part = Literal["tree", "stakeholders", "actions"]
"""What is written: a whole tree; the names of its stakeholders, one a line; or what follows `name|` on the line of one."""
Words = Literal["none", "free"]
"""Whether free words may stand beside the category of an action."""
Evidence = Literal["none", "steps"]
"""Whether an action names the steps of a trajectory that it rests on."""

_SCRIPTS = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u0373\u0386-\u03ff\u0400-\u0481\u048a-\u052f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3"  # fmt: skip # noqa: E501
_INNER = _SCRIPTS + "0-9 ,.'()&-"
_MAX_STEPS = 5  # of one action


class Bounds(Record):
    """How much a tree may hold.

    Attributes:
        stakeholders: Of a tree.
        actions: Of a stakeholder.
        effects: Of an action.
        letters: Of a name, and of the free words of an action.
    """

    stakeholders: Annotated[int, Field(ge=1, le=40)] = 12
    actions: Annotated[int, Field(ge=1, le=20)] = 6
    effects: Annotated[int, Field(ge=1, le=20)] = 6
    letters: Annotated[int, Field(ge=2, le=200)] = 48


class Grammar(Record):
    """One language, described for every engine. A form has the descriptions that fit it, and `None` for the others.

    Attributes:
        form: Of the tree.
        lark: For llguidance.
        gbnf: For xgrammar and llama.cpp.
        regex: For engines that take a regular expression, and for checks.
        json_schema: The schema, as JSON text.
    """

    form: Form
    lark: str | None = None
    gbnf: str | None = None
    regex: str | None = None
    json_schema: str | None = None


def grammar_of(
    kind: TreeKind,
    taxonomy: Taxonomy,
    *,
    form: Form = "dense",
    part: Part = "tree",
    bounds: Bounds | None = None,
    words: Words = "none",
    evidence: Evidence = "none",
) -> Grammar:
    """The grammar of one kind of tree.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What the trees may say.
        form: How they are written. Parts of a tree are written in the dense notation only.
        part: What is written.
        bounds: How much; the defaults of `Bounds` when left out.
        words: Whether actions carry free words.
        evidence: Whether they name steps.

    Raises:
        ValueError: A part of a tree is asked for in another form than the dense one.
    """
    limits = bounds or Bounds()
    if part != "tree" and form != "dense":
        raise ValueError(f"{part} are written in the dense notation, not as {form}")
    if form in ("json", "published"):
        ours = _schema(kind, taxonomy, limits, words, evidence)
        schema = ours if form == "json" else _published_schema(kind, taxonomy, limits)
        return Grammar(form=form, json_schema=json.dumps(schema))
    pieces = (_Pieces(it, kind, taxonomy, limits, words, evidence) for it in (_REGEX, _GBNF))
    regex, gbnf = (it.row() if form == "rows" else it.line(part) for it in pieces)
    n = limits.stakeholders * (limits.actions if form == "rows" else 1)
    if part == "actions":
        lark = f"start: /{regex}/"
        return Grammar(form=form, lark=lark, gbnf=f"root ::= {gbnf}", regex=regex)
    return Grammar(
        form=form,
        lark=f'start: "-" | LINE ("\\n" LINE){{0,{n - 1}}}\nLINE: /{regex}/',
        gbnf=f'root ::= "-" | line ("\\n" line){{0,{n - 1}}}\nline ::= {gbnf}',
        regex=rf"-|{regex}(?:\n{regex}){{0,{n - 1}}}",
    )


class _Spelling(NamedTuple):
    """How an engine spells what a grammar is made of."""

    literal: Callable[[str], str]
    join: str
    group: str


_REGEX = _Spelling(lambda text: re.sub(r"[.^$*+?{}\[\]\\|()/]", r"\\\g<0>", text), "", "(?:{})")
_GBNF = _Spelling(lambda text: json.dumps(text, ensure_ascii=False), " ", "({})")


class _Pieces:
    """The parts of a line in one spelling: every part is a sequence of literals, classes, choices and repetitions."""

    def __init__(
        self, spelling: _Spelling, kind: TreeKind, taxonomy: Taxonomy, bounds: Bounds, words: Words, evidence: Evidence
    ) -> None:
        self._spelling, self._taxonomy, self._bounds, self._words, self._evidence = spelling, taxonomy, bounds, words, evidence
        prefix = "B" if kind == "benefit" else ""
        self._actions = [f"{prefix}{it.number}" for it in taxonomy.actions(kind)]
        self._effects = [str(it.number) for it in taxonomy.effects(kind)]

    def line(self, part: Part) -> str:
        """A line of the dense notation, or a part of it."""
        if part == "stakeholders":
            return self._name()
        codes = codes_of(self._taxonomy)
        cell = self._any(list(codes)) if codes else self._join(self._literal("("), self._cell(), self._literal(")"))
        effects = self._times(self._join(self._any(self._effects), cell), 1, self._bounds.effects)
        action = self._join(self._action("@"), self._literal(":"), effects)
        more = self._times(self._join(self._literal("|"), action), 0, self._bounds.actions - 1)
        actions = self._join(action, more)
        if part == "actions":
            return actions
        return self._join(self._name(), self._literal("|"), actions)

    def row(self) -> str:
        """A row with one action."""
        effect = self._join(self._any(self._effects), self._cell())
        more = self._times(self._join(self._literal(" "), effect), 0, self._bounds.effects - 1)
        bar = self._literal(" | ")
        return self._join(self._name(), bar, self._action(" @"), bar, effect, more)

    def _name(self) -> str:
        return self._join(f"[{_SCRIPTS}]", f"[{_INNER}]{{0,{self._bounds.letters - 1}}}")

    def _action(self, at: str) -> str:
        parts = [self._any(self._actions)]
        if self._words == "free":
            parts.append(self._times(self._join(self._literal(": "), self._name()), 0, 1))
        if self._evidence == "steps":
            step = "[0-9]{1,3}"
            more = self._times(self._join(self._literal(","), step), 0, _MAX_STEPS - 1)
            parts.append(self._times(self._join(self._literal(at), step, more), 0, 1))
        return self._join(*parts)

    def _cell(self) -> str:
        """Immediacy, extent and likelihood as a row writes them."""
        ranks = [str(rank) for rank in range(1, len(self._taxonomy.extents) + 1)]
        return self._join(self._any(["i", "d"]), self._any(ranks), self._any(list(letters_of(self._taxonomy.likelihoods))))

    def _literal(self, text: str) -> str:
        return self._spelling.literal(text)

    def _any(self, texts: Sequence[str]) -> str:
        return self._choice(*map(self._literal, texts))

    def _choice(self, *options: str) -> str:
        separator = "|" if self._spelling.join == "" else " | "
        return self._spelling.group.format(separator.join(options))

    def _join(self, *parts: str) -> str:
        return self._spelling.join.join(part for part in parts if part)

    def _times(self, part: str, least: int, most: int) -> str:
        return self._spelling.group.format(part) + f"{{{least},{most}}}" if most else ""


def _schema(kind: TreeKind, taxonomy: Taxonomy, bounds: Bounds, words: Words, evidence: Evidence) -> dict[str, Any]:
    """JSON Schema of our JSON form, in the subset that servers take: all keys required, none besides."""
    text = _name_schema(bounds)
    effect = {
        "effect": {"type": "string", "enum": [it.name for it in taxonomy.effects(kind)]},
        "immediacy": {"type": "string", "enum": ["immediate", "downstream"]},
        "extent": {"type": "string", "enum": [it.name for it in taxonomy.extents]},
        "likelihood": {"type": "string", "enum": [it.name for it in taxonomy.likelihoods]},
    }
    steps = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 999},
        "maxItems": _MAX_STEPS if evidence == "steps" else 0,
    }
    action: dict[str, Any] = {"action": {"type": "string", "enum": [it.name for it in taxonomy.actions(kind)]}}
    if words == "free":
        action["description"] = text
    action |= {"evidence": steps, "effects": _array(_object(effect), 1, bounds.effects)}
    stakeholder = {"name": text, "actions": _array(_object(action), 1, bounds.actions)}
    return _object({"stakeholders": _array(_object(stakeholder), 0, bounds.stakeholders)})


def _published_schema(kind: TreeKind, taxonomy: Taxonomy, bounds: Bounds) -> dict[str, Any]:
    """JSON Schema of the published form, whose benefits are named in free words."""
    text = _name_schema(bounds)
    named = {"type": "string", "enum": [taxonomy.published_action(it) for it in taxonomy.actions(kind)]}
    effect = {
        "effect": {"type": "string", "enum": [it.numbered for it in taxonomy.effects(kind)]},
        "immediacy": {"type": "boolean"},
        "extent": {"type": "string", "enum": [it.name.capitalize() for it in taxonomy.extents]},
        "likelihood": {"type": "string", "enum": [it.name.capitalize() for it in taxonomy.likelihoods]},
    }
    action = {"action": named if kind == "harm" else text, "effects": _array(_object(effect), 1, bounds.effects)}
    side = "harms" if kind == "harm" else "benefits"
    stakeholder = {"stakeholder": text, side: _array(_object(action), 1, bounds.actions)}
    return _array(_object(stakeholder), 0, bounds.stakeholders)


def _name_schema(bounds: Bounds) -> dict[str, Any]:
    """A name. Its length stands in the pattern: engines that take a pattern may not look at `maxLength`."""
    return {"type": "string", "pattern": f"^[{_SCRIPTS}][{_INNER}]{{0,{bounds.letters - 1}}}$"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _array(items: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}
