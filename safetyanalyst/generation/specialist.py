"""A specialist: a language model that writes one kind of tree. Prompts + backend + parsing + retries.

Whatever the backend, an answer is held to a grammar where the backend can, read with every defect otherwise, and asked for
again only where nothing could be read. What is cut off at the token limit keeps its complete part, and counts as lost from
there on. An answer that never comes is a record without a tree: missing, never harmless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, JsonValue, ValidationError, model_validator

from safetyanalyst.errors import BackendError
from safetyanalyst.generation import Generation
from safetyanalyst.generation.chats import Chat, Completion, Sampling, TextBackend, constraint_of
from safetyanalyst.generation.dense import from_dense
from safetyanalyst.generation.grammar import Evidence, Grammar, Part, grammar_of
from safetyanalyst.generation.parsed import Parsed, shortened
from safetyanalyst.generation.parsing import parse_tree
from safetyanalyst.generation.prompts import Prompted, Prompter, PromptStyle, evidence_of
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Defect, Provenance, Tree, TreeKind
from safetyanalyst.version import __version__

Plan = Literal["whole", "by_stakeholder"]
"""A tree at once; or the names of the stakeholders first, and then the lines of all of them at the same time."""

_WARMER = 0.7  # a model that answered with something unreadable is asked again at this temperature at least


class Asking(Record):
    """How a specialist asks its model.

    Attributes:
        style: How the prompt is worded and the tree written.
        sampling: How the model chooses its words.
        retries: How often an answer that cannot be read at all is asked for again.
        plan: In one go, or by stakeholder.
        adapter: Which adapter of the model, or which model of the server, answers.
        grammar: "held" holds the model to the grammar where the backend can; "free" never does.
    """

    style: PromptStyle = PromptStyle()
    sampling: Sampling = Sampling()
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    plan: Plan = "whole"
    adapter: str = ""
    grammar: Literal["held", "free"] = "held"

    @model_validator(mode="after")
    def _parts_are_dense(self) -> Self:
        if self.plan == "by_stakeholder" and self.style.form != "dense":
            raise ValueError("the plan by_stakeholder writes the dense form")
        if self.plan == "by_stakeholder" and self.style.templates:
            raise ValueError("the plan by_stakeholder has no templates of others")
        return self


_A = TypeVar("_A", bound=Asking)


def read_options(model: type[_A], backend: str, options: Mapping[str, JsonValue]) -> _A:
    """The options of a backend.

    Raises:
        BackendError: One is missing, unknown or wrong; names the first.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        raise BackendError(f"backend {backend!r}: option `{key}`: {first['msg']}") from error


class _Job(NamedTuple):
    """One chat to be answered: which scenario it is of, and how its answer is read."""

    at: int
    chat: Chat
    grammar: Grammar
    read: Callable[[str], Parsed]


class _Answer(NamedTuple):
    """A completion as it was read last, with what all attempts took."""

    parsed: Parsed
    last: Completion
    attempts: int
    prompt_tokens: int
    completion_tokens: int


class Specialist:
    """A `TreeGenerator` over any `TextBackend`.

    Args:
        kind: "harm" or "benefit".
        taxonomy: What the trees may say.
        backend: What answers.
        asking: How it is asked.
        model_hash: sha256 of the weights, where they are at hand.
    """

    def __init__(
        self, kind: TreeKind, taxonomy: Taxonomy, backend: TextBackend, asking: Asking, *, model_hash: str = ""
    ) -> None:
        self.kind: TreeKind = kind
        self.taxonomy = taxonomy
        self._backend = backend
        self._asking = asking
        self._prompter = Prompter(kind, taxonomy, asking.style, backend.count, asking.adapter)
        self._grammars: dict[tuple[str, Part], Grammar] = {}
        model = f"{backend.model}+{asking.adapter}" if asking.adapter else backend.model
        self._provenance = Provenance(
            generator=backend.name, model=model, model_hash=model_hash, taxonomy=taxonomy.label, code=__version__
        )

    def without_grammar(self) -> Specialist:
        """The same specialist, whose model may write what it likes."""
        asking = self._asking.model_copy(update={"grammar": "free"})
        return Specialist(self.kind, self.taxonomy, self._backend, asking, model_hash=self._provenance.model_hash)

    def through(self, wrap: Callable[[TextBackend], TextBackend]) -> Specialist:
        """The same specialist with something between it and its backend, such as a cache."""
        return Specialist(self.kind, self.taxonomy, wrap(self._backend), self._asking, model_hash=self._provenance.model_hash)

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        """One tree for every scenario, in order; see `TreeGenerator`."""
        known = [it for it in scenarios if self._prompter.knows(it)]
        answers = iter(self._by_stakeholder(known) if self._asking.plan == "by_stakeholder" else self._in_one_go(known))
        return [next(answers) if self._prompter.knows(it) else self._unfamiliar(it) for it in scenarios]

    def _unfamiliar(self, scenario: Scenario) -> Generation:
        defect = Defect(code="unfamiliar_input", path=self.kind, found=f"the template has no words for a {scenario.type}")
        return self._generation(scenario, Parsed(tree=None, defects=(defect,)), (), (), "")

    def _in_one_go(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        prompted = [self._prompter.tree(it) for it in scenarios]
        answers = self._ask(self._jobs(scenarios, prompted, "tree", self._read))
        return [self._whole(*parts) for parts in zip(scenarios, prompted, answers, strict=True)]

    def _jobs(
        self, scenarios: Sequence[Scenario], prompted: Sequence[Prompted], part: Part, read: Callable[[str], Parsed]
    ) -> list[_Job]:
        """One job for each scenario."""
        return [
            _Job(i, it.chat, self._grammar(evidence_of(scenario), part), read)
            for i, (scenario, it) in enumerate(zip(scenarios, prompted, strict=True))
        ]

    def _whole(self, scenario: Scenario, prompted: Prompted, answer: _Answer) -> Generation:
        return self._generation(scenario, answer.parsed, prompted.defects, (answer,), answer.last.text)

    # -- by stakeholder ------------------------------------------------------------------------------------------

    def _by_stakeholder(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        prompted = [self._prompter.stakeholders(it) for it in scenarios]
        listed = self._ask(self._jobs(scenarios, prompted, "stakeholders", self._read_names))
        lines: list[_Job] = []
        for i, (scenario, answer) in enumerate(zip(scenarios, listed, strict=True)):
            names = _names(answer.parsed.tree)
            grammar = self._grammar(evidence_of(scenario), "actions")
            chats = self._prompter.actions(scenario, names)
            lines += [_Job(i, chat, grammar, self._reader(name)) for name, chat in zip(names, chats, strict=True)]
        answered: list[list[_Answer]] = [[] for _ in scenarios]
        for job, answer in zip(lines, self._ask(lines), strict=True):
            answered[job.at].append(answer)
        return [self._joined(*parts) for parts in zip(scenarios, prompted, listed, answered, strict=True)]

    def _joined(self, scenario: Scenario, prompted: Prompted, listed: _Answer, answered: Sequence[_Answer]) -> Generation:
        """The lines of all stakeholders as one tree; a line that cannot be read is a lost subtree."""
        taken = (listed, *answered)
        names = listed.parsed
        if names.tree is None or not answered:
            return self._generation(scenario, names, prompted.defects, taken, listed.last.text)
        trees = [answer.parsed.tree for answer in answered]
        stakeholders = tuple(it for tree in trees if tree is not None for it in tree.stakeholders)
        lost = names.tree.lost + sum(1 if tree is None else tree.lost for tree in trees)
        tree = None if trees.count(None) == len(trees) else Tree(kind=self.kind, stakeholders=stakeholders, lost=lost)
        defects = (*names.defects, *(it for answer in answered for it in answer.parsed.defects))
        if tree is not None and not any(True for _ in tree.leaves()):  # people were named, and nothing was said of them
            tree, defects = None, (*defects, Defect(code="empty_list", path=self.kind))
        lines = zip(_names(names.tree), answered, strict=True)
        text = "\n".join(_line(name, answer.last.text) for name, answer in lines)
        return self._generation(scenario, Parsed(tree=tree, defects=defects), prompted.defects, taken, text)

    def _read_names(self, text: str) -> Parsed:
        """Names, one a line, as a tree of stakeholders without actions; each once, and no more than there may be."""
        lines = list(dict.fromkeys(line for row in text.splitlines() if (line := row.strip())))
        if lines == ["-"]:
            return from_dense("-", self.kind, self.taxonomy)
        if not lines or not all(map(self._is_name, lines)):
            return _unread(self.kind, "invalid_syntax" if lines else "empty_output", text)
        most = self._asking.style.bounds.stakeholders
        parsed = from_dense("\n".join(f"{line}|-" for line in lines[:most]), self.kind, self.taxonomy)
        if len(lines) > most and parsed.tree is not None:
            return _losing(parsed, Defect(code="truncated", path=self.kind, found=f"{len(lines)} stakeholders"))
        return parsed

    def _is_name(self, line: str) -> bool:
        """Whether a line is a name as the grammar has it: prose, markup and whole trees are none."""
        names = self._grammar("none", "stakeholders").regex or ""
        return line != "-" and re.fullmatch(names, line) is not None and not line.endswith((".", "!"))

    def _reader(self, name: str) -> Callable[[str], Parsed]:
        def read(text: str) -> Parsed:
            if not text.strip():
                return _unread(self.kind, "empty_output", text)
            if text.strip() == "-":
                return _unread(self.kind, "empty_list", name)
            return from_dense(_line(name, text), self.kind, self.taxonomy)

        return read

    # -- asking --------------------------------------------------------------------------------------------------

    def _ask(self, jobs: Sequence[_Job]) -> list[_Answer]:
        """Answers to all jobs; those of which nothing can be read are asked again."""
        answers: dict[int, _Answer] = {}
        waiting = list(range(len(jobs)))
        for attempt in range(self._asking.retries + 1):
            for i, completion in zip(waiting, self._complete([jobs[i] for i in waiting], attempt), strict=True):
                answers[i] = self._taken(jobs[i], completion, answers.get(i))
            waiting = [i for i in waiting if answers[i].parsed.tree is None and answers[i].last.finish != "error"]
            if not waiting:
                break
        return [answers[i] for i in range(len(jobs))]

    def _complete(self, jobs: Sequence[_Job], attempt: int) -> list[Completion]:
        """One request to the backend for all jobs that share a grammar."""
        sampling = self._asking.sampling
        if attempt:
            warmer = max(sampling.temperature, _WARMER)
            sampling = sampling.model_copy(update={"seed": sampling.seed + attempt, "temperature": warmer})
        found: dict[int, Completion] = {}
        for grammar in dict.fromkeys(job.grammar for job in jobs):
            at = [i for i, job in enumerate(jobs) if job.grammar == grammar]
            held = grammar if self._holds(grammar) else None
            found |= dict(zip(at, self._backend.complete([jobs[i].chat for i in at], held, sampling), strict=True))
        return [found[i] for i in range(len(jobs))]

    def _taken(self, job: _Job, completion: Completion, before: _Answer | None) -> _Answer:
        parsed = self._parsed(job, completion)
        is_new = completion.attempts > 0  # what a cache remembered was paid for by somebody else
        tokens = (completion.prompt_tokens, completion.completion_tokens) if is_new else (0, 0)
        now = _Answer(parsed, completion, completion.attempts, *tokens)
        if before is None:
            return now
        if parsed.tree is not None and not parsed.tree.stakeholders:  # it would not answer, and then had nothing to say
            parsed = _unread(self.kind, "empty_list", completion.text)
        return now._replace(
            parsed=parsed.model_copy(update={"defects": (*before.parsed.defects, *parsed.defects)}),
            attempts=before.attempts + now.attempts,
            prompt_tokens=before.prompt_tokens + now.prompt_tokens,
            completion_tokens=before.completion_tokens + now.completion_tokens,
        )

    def _parsed(self, job: _Job, completion: Completion) -> Parsed:
        if completion.finish == "error":
            return _unread(self.kind, "generation_failed", completion.error)
        parsed = job.read(completion.text)
        if completion.finish == "length" or not self._is_held(job.grammar, completion.text):
            return _losing(parsed, Defect(code="truncated", path=self.kind, found=shortened(completion.text[-40:])))
        return parsed

    def _holds(self, grammar: Grammar) -> bool:
        return self._asking.grammar == "held" and constraint_of(grammar, self._backend.constraints) is not None

    def _is_held(self, grammar: Grammar, text: str) -> bool:
        """Whether a backend that holds its model to a grammar has done so: engines have ended texts in their middle."""
        if grammar.regex is None or not self._holds(grammar):
            return True
        return re.fullmatch(grammar.regex, text) is not None

    def _read(self, text: str) -> Parsed:
        return parse_tree(text, self.kind, self.taxonomy)

    def _grammar(self, evidence: Evidence, part: Part) -> Grammar:
        style = self._asking.style
        key = (evidence, part)
        if key not in self._grammars:
            self._grammars[key] = grammar_of(
                self.kind, self.taxonomy, form=style.form, part=part, bounds=style.bounds, words=style.words, evidence=evidence
            )
        return self._grammars[key]

    def _generation(
        self, scenario: Scenario, parsed: Parsed, elided: Sequence[Defect], answers: Sequence[_Answer], text: str
    ) -> Generation:
        tree = parsed.tree
        if tree is not None and elided and self.kind == "harm":  # what was left out may hold any harm
            tree = tree.model_copy(update={"lost": tree.lost + 1})
        return Generation(
            scenario_id=scenario.id,
            kind=self.kind,
            tree=tree,
            defects=tuple(dict.fromkeys((*elided, *parsed.defects))),
            raw=text,
            attempts=sum(it.attempts for it in answers),
            prompt_tokens=sum(it.prompt_tokens for it in answers),
            completion_tokens=sum(it.completion_tokens for it in answers),
            provenance=self._provenance,
        )


def _names(tree: Tree | None) -> list[str]:
    return [] if tree is None else [it.name for it in tree.stakeholders]


def _line(name: str, text: str) -> str:
    """The line of a stakeholder from what was written behind its name, be it that the name was written again."""
    return text.strip() if text.strip().startswith(f"{name}|") else f"{name}|{text.strip()}"


def _unread(
    kind: TreeKind, code: Literal["generation_failed", "invalid_syntax", "empty_output", "empty_list"], found: str
) -> Parsed:
    return Parsed(tree=None, defects=(Defect(code=code, path=kind, found=shortened(found)),))


def _losing(parsed: Parsed, defect: Defect) -> Parsed:
    """What was read, with something lost at its end."""
    tree = None if parsed.tree is None else parsed.tree.model_copy(update={"lost": parsed.tree.lost + 1})
    return Parsed(tree=tree, defects=(*parsed.defects, *(() if defect in parsed.defects else (defect,))))
