"""Teacher trees from language models: several teachers for each scenario, every answer paid for once, cost and defects known.

The recipe is the published one in spirit (SafetyAnalyst, arXiv 2410.16665, figure 1): a strong model is asked step by step, for
the stakeholders first and then for what happens to each (`plan: by_stakeholder`). Rows come out in the teacher's format: the
scenario, both trees in the compact notation, and what went wrong. A tree that could not be had is null: missing, never empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation import Generation, GeneratorConfig, generate, load_generators
from safetyanalyst.generation.backends.cached import CachedBackend
from safetyanalyst.generation.notation import to_row_list
from safetyanalyst.generation.specialist import Specialist
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Example, ReadFailure, dump_scenario
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

FORMAT = "safetyanalyst-distill/1"
_MILLION = 1_000_000


class Price(Record):
    """What a teacher costs.

    Attributes:
        prompt: Of a million tokens read.
        completion: Of a million tokens written, in the same currency.
    """

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]


class Teacher(Record):
    """A language model that writes both trees.

    Attributes:
        name: Of its rows.
        generators: Its harm and its benefit specialist.
        price: For the account; without one it costs nothing.
    """

    name: str
    generators: dict[TreeKind, GeneratorConfig]
    price: Price = Price(prompt=0, completion=0)

    @field_validator("generators")
    @classmethod
    def _both_kinds(cls, generators: dict[TreeKind, GeneratorConfig]) -> dict[TreeKind, GeneratorConfig]:
        if generators.keys() != set(TREE_KINDS):
            raise ValueError("names harm and benefit, each once")
        return generators


class DistillConfig(Record):
    """What is asked of whom.

    Attributes:
        name: Of the run.
        taxonomy: What the trees may say.
        teachers: Each writes a row for every scenario.
        batch_size: Scenarios handed to a teacher at once.
    """

    name: str
    taxonomy: str = "safetyanalyst-v1"
    teachers: Annotated[tuple[Teacher, ...], Field(min_length=1)]
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 64

    @field_validator("teachers")
    @classmethod
    def _names_differ(cls, teachers: tuple[Teacher, ...]) -> tuple[Teacher, ...]:
        if len({it.name for it in teachers}) != len(teachers):
            raise ValueError("two teachers have the same name")
        return teachers


class Account(Record):
    """What a teacher did, and what it took; answers from the cache cost nothing.

    Attributes:
        scenarios: Rows written.
        missing: Trees that could not be had.
        prompt_tokens: Read.
        completion_tokens: Written.
        cost: By the teacher's price.
        defects: How many of each code.
    """

    scenarios: int = 0
    missing: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    defects: dict[str, int] = Field(default_factory=dict)


class TeacherRow(Record):
    """One scenario by one teacher, or one that could not be read.

    Attributes:
        content: In the teacher's format.
    """

    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return self.content

    @property
    def teacher(self) -> str:
        """Who wrote it; empty for a scenario that could not be read."""
        return str(self.content.get("teacher", ""))

    @property
    def account(self) -> Account:
        """What it took in the run that wrote it."""
        usage: dict[str, Any] = self.content.get("usage", {})
        return Account(
            scenarios=1,
            missing=sum(self.content.get(kind) is None for kind in TREE_KINDS),
            defects=dict(Counter(it["code"] for it in self.content.get("tree_defects", ()))),
            **usage,
        )

    @property
    def is_failed(self) -> bool:
        """Whether something is missing."""
        return self.account.missing > 0


def load_distill_config(path: str | Path) -> DistillConfig:
    """Reads a configuration of teachers.

    Raises:
        ConfigError: It breaks a rule; names file, key and what was expected.
    """
    return resources.validate(DistillConfig, resources.read_document(Path(path), format=FORMAT), file=Path(path))


class Distiller:
    """Asks the teachers.

    Args:
        config: Whom, and how.
        cache: File of answers, which another run goes on from.

    Raises:
        ConfigError: A teacher is no language model.
        BackendError: A teacher cannot be loaded, or the cache cannot be opened.
    """

    def __init__(self, config: DistillConfig, cache: Path) -> None:
        self.config = config
        self.taxonomy: Taxonomy = load_taxonomy(config.taxonomy)
        self._teachers = {it.name: _specialists(it, self.taxonomy, cache) for it in config.teachers}

    def rows(self, items: Iterable[Example | ReadFailure], done: int = 0) -> Iterator[TeacherRow]:
        """Rows in the order of the scenarios, of each scenario one by every teacher; lazily, a batch at a time.

        Args:
            items: The scenarios.
            done: Rows that are there already: nobody is asked for those again, be it that they failed.
        """
        source = iter(items)
        for item in source:
            n = len(self.config.teachers) if isinstance(item, Example) else 1
            if n > done:
                source = chain([item], source)
                break
            done -= n
        return islice(self._rows(source), done, None)

    def _rows(self, source: Iterator[Example | ReadFailure]) -> Iterator[TeacherRow]:
        while batch := list(islice(source, self.config.batch_size)):
            readable = [it for it in batch if isinstance(it, Example)]
            answers = {it.name: iter(self._asked(it, readable)) for it in self.config.teachers}
            for item in batch:
                if isinstance(item, ReadFailure):
                    yield TeacherRow(content={"id": item.id, "error": item.error})
                else:
                    yield from (next(rows) for rows in answers.values())

    def _asked(self, teacher: Teacher, examples: list[Example]) -> list[TeacherRow]:
        scenarios = [it.scenario for it in examples]
        harm, benefit = (generate(self._teachers[teacher.name][kind], scenarios) for kind in TREE_KINDS)
        return [self._row(teacher, *parts) for parts in zip(examples, harm, benefit, strict=True)]

    def _row(self, teacher: Teacher, example: Example, harm: Generation, benefit: Generation) -> TeacherRow:
        pair = {"harm": harm, "benefit": benefit}
        defects = [defect for it in pair.values() for defect in it.defects]
        prompt, written = (sum(getattr(it, key) for it in pair.values()) for key in ("prompt_tokens", "completion_tokens"))
        cost = (prompt * teacher.price.prompt + written * teacher.price.completion) / _MILLION
        content = dump_scenario(example.scenario) | {
            **({} if example.label is None else {"label": example.label}),
            "teacher": teacher.name,
            "model": harm.provenance.model,
            **{kind: None if it.tree is None else to_row_list(it.tree, self.taxonomy) for kind, it in pair.items()},
            "tree_defects": [it.model_dump() for it in defects],
            "usage": {"prompt_tokens": prompt, "completion_tokens": written, "cost": cost},
        }
        return TeacherRow(content=content)


def added(accounts: dict[str, Account], row: TeacherRow) -> None:
    """Adds what a row took to its teacher's account."""
    before, more = accounts.get(row.teacher, Account()), row.account
    accounts[row.teacher] = Account(
        scenarios=before.scenarios + more.scenarios,
        missing=before.missing + more.missing,
        prompt_tokens=before.prompt_tokens + more.prompt_tokens,
        completion_tokens=before.completion_tokens + more.completion_tokens,
        cost=before.cost + more.cost,
        defects=dict(Counter(before.defects) + Counter(more.defects)),
    )


def _specialists(teacher: Teacher, taxonomy: Taxonomy, cache: Path) -> dict[TreeKind, Specialist]:
    found: dict[TreeKind, Specialist] = {}
    for kind, generator in load_generators(teacher.generators, taxonomy).items():
        if not isinstance(generator, Specialist):
            expected = "a language model: hf, openai or vllm"
            raise ConfigError("writes trees without a prompt", key=f"teachers.{teacher.name}.{kind}", expected=expected)
        found[kind] = generator.through(lambda backend: CachedBackend(backend, cache))
    return found
