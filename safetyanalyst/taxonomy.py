"""What can be said in a tree: categories of actions and effects, ordered scales, stakeholders.

A taxonomy is a YAML file with a name and a version; its content is hashed, so that a tree can say which one it was written in.
A taxonomy may extend another: it adds entries and groups behind those of its parent, and never redefines any.

Source of the structure: SafetyAnalyst (arXiv 2410.16665), section 2, whose actions follow AIR 2024; the definitions are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from safetyanalyst import resources
from safetyanalyst.errors import TaxonomyError
from safetyanalyst.records import Record

Kind = Literal["harm", "benefit"]
IMMEDIACIES = ("downstream", "immediate")


class Category(Record):
    """A leaf action or an effect, with its number within its list; `group` is a key, empty for benefit actions."""

    number: int
    name: str
    definition: str
    group: str = ""

    @property
    def numbered(self) -> str:
        """Number and name, as the published trees write effects: "7. Financial property loss"."""
        return f"{self.number}. {self.name}"


class Domain(Record):
    """Several action groups under one heading."""

    key: str
    name: str
    definition: str


class Group(Record):
    """Several actions or effects under one heading. Weights are named by `key`; `domain` is a key, empty for effects."""

    key: str
    name: str
    definition: str
    domain: str = ""


class Level(Record):
    """One level of an ordered scale. Weights are named by `name`; `low` and `high` bound a likelihood as probabilities."""

    name: str
    definition: str
    low: float | None = None
    high: float | None = None


class Taxonomy(Record):
    """Everything that can be said in a tree. An extending taxonomy keeps the order of its parent and appends to it.

    Attributes:
        name, version, description: What it calls itself, and what it is for.
        hash: sha256 of all other attributes in canonical JSON, hex.
        domains, action_groups, harm_actions: Harmful actions, leaf by leaf, under their groups and domains.
        benefit_actions: Beneficial actions, in no groups.
        effect_groups, harm_effects, benefit_effects: Effects and their mirror images: same numbers, same groups, same order.
        extents, likelihoods, immediacies: Scales, ascending. The ranges of the likelihoods tile [0, 1].
        stakeholders: Usual stakeholders; a tree may name others.
    """

    name: str
    version: str
    description: str
    hash: str
    domains: tuple[Domain, ...]
    action_groups: tuple[Group, ...]
    harm_actions: tuple[Category, ...]
    benefit_actions: tuple[Category, ...]
    effect_groups: tuple[Group, ...]
    harm_effects: tuple[Category, ...]
    benefit_effects: tuple[Category, ...]
    extents: tuple[Level, ...]
    likelihoods: tuple[Level, ...]
    immediacies: tuple[Level, ...]
    stakeholders: tuple[str, ...]

    @property
    def label(self) -> str:
        """`name@version:hash`, the hash shortened to 12 digits."""
        return f"{self.name}@{self.version}:{self.hash[:12]}"

    def actions(self, kind: Kind) -> tuple[Category, ...]:
        """Harmful or beneficial actions."""
        return self.harm_actions if kind == "harm" else self.benefit_actions

    def effects(self, kind: Kind) -> tuple[Category, ...]:
        """Harmful or beneficial effects."""
        return self.harm_effects if kind == "harm" else self.benefit_effects

    def action_named(self, kind: Kind, name: str) -> Category | None:
        """The action of exactly this name, or `None`."""
        return self._actions[kind].by_name.get(name)

    def action_numbered(self, kind: Kind, number: int) -> Category | None:
        """The action of this number, or `None`."""
        return self._actions[kind].by_number.get(number)

    def effect_named(self, kind: Kind, name: str) -> Category | None:
        """The effect of exactly this name, or `None`."""
        return self._effects[kind].by_name.get(name)

    def effect_numbered(self, kind: Kind, number: int) -> Category | None:
        """The effect of this number, or `None`."""
        return self._effects[kind].by_number.get(number)

    def group_of_action(self, name: str) -> Group | None:
        """Group of a harmful action, or `None` when there is no such action."""
        action = self.action_named("harm", name)
        return None if action is None else self._groups[action.group]

    def published_action(self, action: Category) -> str:
        """An action as published trees write it: "##Domain## #Group# 14. Name", the bare name for a benefit."""
        if not action.group:
            return action.name
        group = self._groups[action.group]
        domain = next(domain for domain in self.domains if domain.key == group.domain)
        return f"##{domain.name}## #{group.name}# {action.numbered}"

    @cached_property
    def _actions(self) -> dict[Kind, _Index]:
        return {"harm": _indexed(self.harm_actions), "benefit": _indexed(self.benefit_actions)}

    @cached_property
    def _effects(self) -> dict[Kind, _Index]:
        return {"harm": _indexed(self.harm_effects), "benefit": _indexed(self.benefit_effects)}

    @cached_property
    def _groups(self) -> dict[str, Group]:
        return {group.key: group for group in self.action_groups}


class _Index(NamedTuple):
    by_name: dict[str, Category]
    by_number: dict[int, Category]


def _indexed(categories: tuple[Category, ...]) -> _Index:
    return _Index({c.name: c for c in categories}, {c.number: c for c in categories})


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("the text is empty")
    return " ".join(value.split())  # where a definition is broken into lines is not content


def _folded(name: str) -> str:
    """What tells two names apart: neither case nor punctuation, because readers of trees are as lenient."""
    return " ".join("".join(c if c.isalnum() else " " for c in name.casefold()).split())


def _name(value: str) -> str:
    if not _folded(value):
        raise ValueError("a name needs a letter or a digit")
    if value != " ".join(value.split()) or not value.isprintable() or "|" in value or "#" in value:
        raise ValueError(f"{value!r} cannot be written in a tree: a name is one line without |, # or blanks to spare")
    return value


_Text = Annotated[str, AfterValidator(_text)]
_Name = Annotated[str, AfterValidator(_name)]
_Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
_Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Number = Annotated[int, Field(ge=1, strict=True)]
_Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class _Side(Record):
    name: _Name
    definition: _Text


class _Entry(_Side):
    number: _Number


class _EffectEntry(Record):
    number: _Number
    harm: _Side
    benefit: _Side


class _Part(Record):
    """A group or a domain: a new one has name and definition, one to add to has its key alone."""

    key: _Slug
    name: _Name | None = None
    definition: _Text | None = None


class _ActionGroup(_Part):
    actions: tuple[_Entry, ...] = Field(min_length=1)


class _Domain(_Part):
    groups: tuple[_ActionGroup, ...] = Field(min_length=1)


class _EffectGroup(_Part):
    effects: tuple[_EffectEntry, ...] = Field(min_length=1)


class _Step(Record):
    name: _Slug
    definition: _Text


class _Likelihood(_Step):
    range: tuple[_Probability, _Probability]


class _File(Record):
    format: Literal["safetyanalyst-taxonomy/1"]
    name: _Token
    version: _Token
    description: _Text
    extends: str | None = None
    domains: tuple[_Domain, ...] = ()
    benefit_actions: tuple[_Entry, ...] = ()
    effects: tuple[_EffectGroup, ...] = ()
    extents: tuple[_Step, ...] = ()
    likelihoods: tuple[_Likelihood, ...] = ()
    immediacies: tuple[_Step, ...] = ()
    stakeholders: tuple[_Name, ...] = ()

    @field_validator("likelihoods")
    @classmethod
    def _tile(cls, steps: tuple[_Likelihood, ...]) -> tuple[_Likelihood, ...]:
        ends = [0.0, *(step.range[1] for step in steps)]
        for start, step in zip(ends, steps, strict=False):
            if step.range[0] != start or step.range[1] <= start:
                raise ValueError(f"the range of {step.name} has to start at {start} and end above it, found {list(step.range)}")
        if steps and ends[-1] != 1.0:
            raise ValueError(f"the range of {steps[-1].name}, the last, has to end at 1.0, found {ends[-1]}")
        return steps

    @field_validator("immediacies")
    @classmethod
    def _two(cls, steps: tuple[_Step, ...]) -> tuple[_Step, ...]:
        if steps and tuple(step.name for step in steps) != IMMEDIACIES:
            raise ValueError(f"trees know exactly the levels {' and '.join(IMMEDIACIES)}, in this order")
        return steps


_ABOUT = {"name", "version", "description", "hash"}


class _Builder:
    """Adds files to one another, the oldest ancestor first, and refuses whatever is there already."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Any]] = {part: [] for part in Taxonomy.model_fields if part not in _ABOUT}
        self._taken: dict[tuple[str, str | int], str] = {}
        self._path = Path()

    def add(self, path: Path, content: _File) -> None:
        self._path = path
        for i, domain in enumerate(content.domains):
            self._open("domains", domain, f"domains[{i}]")
            for j, group in enumerate(domain.groups):
                self._add_actions(group, domain.key, f"domains[{i}].groups[{j}]")
        for i, entry in enumerate(content.benefit_actions):
            self._add("benefit_actions", entry.number, entry, "", f"benefit_actions[{i}]")
        for i, effect_group in enumerate(content.effects):
            self._open("effect_groups", effect_group, f"effects[{i}]")
            for j, pair in enumerate(effect_group.effects):
                place = f"effects[{i}].effects[{j}]"
                self._add("harm_effects", pair.number, pair.harm, effect_group.key, place, ".harm")
                self._add("benefit_effects", pair.number, pair.benefit, effect_group.key, place, ".benefit")
        for i, stakeholder in enumerate(content.stakeholders):
            self._claim("stakeholders", stakeholder, f"stakeholders[{i}]")
            self._parts["stakeholders"].append(stakeholder)
        for scale in ("extents", "likelihoods", "immediacies"):
            self._add_scale(scale, getattr(content, scale))

    def build(self, content: _File) -> Taxonomy:
        for part, held in self._parts.items():
            if not held:
                key = "effects" if part == "effect_groups" else part
                self._fail(key, "the key is missing or empty", "a list, unless the taxonomy extends one that has it")
        taxonomy = Taxonomy.model_validate(content.model_dump(include=_ABOUT) | self._parts | {"hash": ""})
        digest = resources.canonical_hash(taxonomy.model_dump(mode="json", exclude={"hash"}))
        return taxonomy.model_copy(update={"hash": digest})

    def _add_scale(self, scale: str, steps: Sequence[_Step]) -> None:
        if steps and self._parts[scale]:
            self._fail(scale, "the scale cannot be redefined", "no such key in a taxonomy that extends another")
        for i, step in enumerate(steps):
            self._claim(scale, step.name, f"{scale}[{i}].name")
            low, high = step.range if isinstance(step, _Likelihood) else (None, None)
            self._parts[scale].append(Level(name=step.name, definition=step.definition, low=low, high=high))

    def _add_actions(self, part: _ActionGroup, domain: str, place: str) -> None:
        group = self._open("action_groups", part, place, domain=domain)
        if group.domain != domain:
            self._fail(f"{place}.key", f"the group {part.key!r} belongs to another domain", f"it in {group.domain!r}")
        for i, action in enumerate(part.actions):
            self._add("harm_actions", action.number, action, part.key, f"{place}.actions[{i}]")

    def _add(self, into: str, number: int, side: _Side, group: str, place: str, named_in: str = "") -> None:
        self._claim(into, number, f"{place}.number")
        self._claim(into, side.name, f"{place}{named_in}.name")
        self._parts[into].append(Category(number=number, name=side.name, definition=side.definition, group=group))

    def _open(self, into: str, part: _Part, place: str, **more: str) -> Any:
        """Enters a new group or domain; one that is there already may be added to, not redefined."""
        known = {node.key: node for node in self._parts[into]}
        what = into.replace("_", " ").removesuffix("s")
        self._claim(f"{into} in {self._path}", part.key, f"{place}.key")
        for word in ("name", "definition"):
            given = getattr(part, word) is not None
            if given and part.key in known:
                self._fail(f"{place}.{word}", f"the {what} {part.key!r} cannot be redefined", "its key alone, to add to it")
            if not given and part.key not in known:
                hint = resources.choices(part.key, known, otherwise=f"a {word}, for a new one")
                self._fail(f"{place}.{word}", f"the key is missing, and there is no {what} {part.key!r} to add to", hint)
        if part.key not in known:
            self._claim(into, str(part.name), f"{place}.name")
            make = Domain if into == "domains" else Group
            content = {"key": part.key, "name": part.name, "definition": part.definition}
            known[part.key] = make.model_validate(content | more)
            self._parts[into].append(known[part.key])
        return known[part.key]

    def _claim(self, space: str, value: str | int, key: str) -> None:
        slot = space, _folded(value) if isinstance(value, str) else value
        if slot in self._taken:
            self._fail(key, f"{value!r} is taken by {self._taken[slot]}", "one that occurs once")
        self._taken[slot] = f"{key} in {self._path.name}"

    def _fail(self, key: str, problem: str, expected: str) -> NoReturn:
        raise TaxonomyError(problem, file=self._path, key=key, expected=expected)


_loaded: dict[Path, tuple[dict[Path, str], Taxonomy]] = {}  # with the stamps of all files it was read from


def load_taxonomy(name_or_path: str | Path = "safetyanalyst-v1") -> Taxonomy:
    """Loads a taxonomy with everything that it extends; the same object again until one of the files changes.

    Args:
        name_or_path: Name of a shipped taxonomy, or path of a file.

    Raises:
        TaxonomyError: There is no such file, or it, or one that it extends, breaks the rules; names file and key.
    """
    path = resources.find("taxonomies", name_or_path, error=TaxonomyError).resolve()
    if path in _loaded and all(file.is_file() and _stamp(file) == stamp for file, stamp in _loaded[path][0].items()):
        return _loaded[path][1]
    stamps: dict[Path, str] = {}
    chain: dict[Path, _File] = {}
    step: Path | None = path
    while step is not None:
        stamps[step] = _stamp(step)  # before reading: a change in between is seen the next time
        data = resources.read_yaml(step, error=TaxonomyError)
        chain[step] = content = resources.validate(_File, data, file=step, error=TaxonomyError)
        step = _parent(step, content, chain)
    builder = _Builder()
    for file in reversed(chain):
        builder.add(file, chain[file])
    taxonomy = builder.build(chain[path])
    _loaded[path] = stamps, taxonomy
    return taxonomy


def _parent(path: Path, content: _File, chain: dict[Path, _File]) -> Path | None:
    if content.extends is None:
        return None
    try:
        found = resources.find("taxonomies", content.extends, relative_to=path.parent, error=TaxonomyError).resolve()
    except TaxonomyError as exc:
        raise TaxonomyError(f"{content.extends!r}: {exc.problem}", file=path, key="extends", expected=exc.expected) from exc
    if found in chain:
        circle = " -> ".join(file.name for file in [*chain, found])
        raise TaxonomyError(f"taxonomies extend each other: {circle}", file=path, key="extends", expected="no circle")
    return found


def _stamp(path: Path) -> str:
    """What changes when the file does."""
    status = path.stat()
    return f"{status.st_mtime_ns}/{status.st_size}"
