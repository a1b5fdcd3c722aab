"""The file of a suite: what a policy must decide, written down beside it and reviewed with it.

A suite is YAML (docs/reviewing-a-change.md). Everything in it is checked when it is read: an unknown key, a case that says
nothing, rows that are not clean, a file that is not there are mistakes of its author, not cases that failed.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError
from safetyanalyst.policy import Decision
from safetyanalyst.records import Record

FORMAT = "safetyanalyst-suite/1"
Expectation = Literal["must_block", "must_allow", "must_review", "must_not_block", "must_not_allow", "must_not_review"]
EXPECTATIONS: dict[Expectation, frozenset[Decision]] = {
    "must_block": frozenset({"block"}),
    "must_allow": frozenset({"allow"}),
    "must_review": frozenset({"review"}),
    "must_not_block": frozenset({"allow", "review"}),
    "must_not_allow": frozenset({"review", "block"}),
    "must_not_review": frozenset({"allow", "block"}),
}
"""Which decisions each key of a suite accepts."""

Text = Annotated[str, Field(min_length=1)]
_SHARE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?%")


class Subject(Record):
    """What is decided about: exactly one of `tree`, `harm` and `benefit`, `text`, `messages`, `scenario`.

    Attributes:
        tree: Id of stored trees in a file.
        scenario: Id of a scenario in a file; a configuration writes its trees.
        from_: That file (`from` in the suite), beside the suite; by default the suite's `trees` or `scenarios`.
        harm, benefit: Rows of the compact notation, both.
        text: A prompt; a configuration writes its trees.
        messages: A chat; a configuration writes its trees.
        config: That configuration, a shipped name or a file; by default the suite's.
        may_be_missing: Whether the decision may rest on something that could not be read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tree: Text | None = None
    scenario: Text | None = None
    from_: Text | None = Field(default=None, alias="from")
    harm: tuple[str, ...] | None = None
    benefit: tuple[str, ...] | None = None
    text: str | None = None
    messages: tuple[dict[str, JsonValue], ...] | None = None
    config: Text | None = None
    may_be_missing: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        rows = self.harm is not None or self.benefit is not None
        forms = {"tree": self.tree, "scenario": self.scenario, "text": self.text, "messages": self.messages}
        given = [name for name, value in forms.items() if value is not None] + ["harm and benefit"] * rows
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a case is one of tree, harm and benefit, text, messages, scenario; found {found}")
        if rows and (self.harm is None or self.benefit is None):
            raise ValueError("harm and benefit go together: `[]` says that there is none")
        if self.from_ is not None and self.tree is None and self.scenario is None:
            raise ValueError(f"`from` names the file of a tree or a scenario, not of {given[0]}")
        if self.config is not None and (rows or self.tree is not None):
            raise ValueError(f"`config` writes trees; the case has its own ({given[0]})")
        return self


class Case(Subject):
    """A subject with the reason why it must be decided so, and a name; by default that of its tree or scenario."""

    name: Text | None = None
    reason: Text


class Invariance(Record):
    """Subjects that must all get the same decision, whichever it is."""

    name: Text | None = None
    reason: Text
    of: tuple[Subject, ...] = Field(min_length=2)


def _limit(value: int | str) -> int | str:
    if isinstance(value, str):
        if _SHARE.fullmatch(value) is None:
            raise ValueError(f"found {value!r}, expected a whole number, or a share such as 2%")
    elif value < 0:
        raise ValueError(f"found {value}, expected a number that is not negative")
    return value


def exceeds(count: int, limit: int | str, n: int) -> bool:
    """Whether a count among n is above a limit: a whole number, or a share such as "2%". Exact, so 69 of 750 are 9.2%."""
    return count > limit if isinstance(limit, int) else count * 100 > Fraction(limit.removesuffix("%")) * n


Limit = Annotated[Annotated[int, Field(strict=True)] | str, AfterValidator(_limit)]


class Budget(Record):
    """How many decisions may change against a baseline policy.

    Attributes:
        baseline: The policy to compare with: a shipped name, or a file beside the suite.
        on: Files of stored trees beside the suite; by default the suite's `trees`.
        total, harsher, milder: Flips in all, and to a harsher or a milder decision.
        allow_to_review: And so on: flips of one sort.
        harmful_allowed: Scenarios labelled harmful that were stopped and would be allowed.
        harmless_stopped: Scenarios labelled harmless that were allowed and would be stopped.
    """

    name: Text | None = None
    reason: Text
    baseline: Text
    on: tuple[Text, ...] | Text | None = None
    total: Limit | None = None
    harsher: Limit | None = None
    milder: Limit | None = None
    allow_to_review: Limit | None = None
    allow_to_block: Limit | None = None
    review_to_allow: Limit | None = None
    review_to_block: Limit | None = None
    block_to_allow: Limit | None = None
    block_to_review: Limit | None = None
    harmful_allowed: Limit | None = None
    harmless_stopped: Limit | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.limits():
            raise ValueError("the budget limits nothing: give total, allow_to_block or another number of flips")
        return self

    def limits(self) -> dict[str, int | str]:
        """The limits that are given."""
        about = ("name", "reason", "baseline", "on")
        named = {name: getattr(self, name) for name in type(self).model_fields if name not in about}
        return {name: value for name, value in named.items() if value is not None}


class Suite(Record):
    """What a policy must decide.

    Attributes:
        name: Short name.
        description: In words.
        taxonomy: Of the trees; by default that of the policy.
        trees: Default file of stored trees.
        scenarios: Default file of scenarios.
        config: Default run configuration.
        must_block: Cases that must be blocked; likewise the others.
        same_decision: Cases that must be decided alike.
        flips: Budgets.
    """

    name: Text
    description: str = ""
    taxonomy: Text | None = None
    trees: Text | None = None
    scenarios: Text | None = None
    config: Text = "embedded"
    must_block: tuple[Case, ...] = ()
    must_allow: tuple[Case, ...] = ()
    must_review: tuple[Case, ...] = ()
    must_not_block: tuple[Case, ...] = ()
    must_not_allow: tuple[Case, ...] = ()
    must_not_review: tuple[Case, ...] = ()
    same_decision: tuple[Invariance, ...] = ()
    flips: tuple[Budget, ...] = ()

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not (any(getattr(self, key) for key in EXPECTATIONS) or self.same_decision or self.flips):
            raise ValueError("the suite holds no case: a suite without any would always pass")
        return self

    @model_validator(mode="after")
    def _files_are_named(self) -> Self:
        for place, subject in self.subjects():
            for key, default in (("tree", self.trees), ("scenario", self.scenarios)):
                if getattr(subject, key) is not None and subject.from_ is None and default is None:
                    raise ValueError(f"{place} names no file: give it `from`, or the suite {key}s")
        for i, budget in enumerate(self.flips):
            if budget.on is None and self.trees is None:
                raise ValueError(f"flips[{i}] names no file: give it `on`, or the suite trees")
        return self

    def subjects(self) -> list[Placed]:
        """Every subject with its place in the file."""
        cases = [Placed(f"{key}[{i}]", case) for key in EXPECTATIONS for i, case in enumerate(getattr(self, key))]
        alike = enumerate(self.same_decision)
        return cases + [Placed(f"same_decision[{i}].of[{j}]", it) for i, group in alike for j, it in enumerate(group.of)]


class Placed(NamedTuple):
    """A subject with its place in the suite, `must_block[2]`."""

    place: str
    subject: Subject


def load_suite(path: Path | str) -> Suite:
    """Reads a suite.

    Raises:
        ConfigError: There is no such file, or it breaks a rule; names file, key and what was expected.
    """
    data: dict[str, Any] = dict(resources.read_yaml(path))
    found = data.pop("format", None)
    if found != FORMAT:
        raise ConfigError(f"unknown format {found!r}", file=path, key="format", expected=FORMAT)
    return resources.validate(Suite, data, file=path)
