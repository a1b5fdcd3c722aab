"""Runs a suite against a policy. A case that could not be run is an error, never a pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from safetyanalyst import resources
from safetyanalyst.analyst import Analysis, Assessor, FailedItem, SafetyAnalyst
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.notation import from_row_list
from safetyanalyst.pipelines.corpus import Corpus, read_corpus
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.pipelines.diff import PolicyDiff, diff
from safetyanalyst.pipelines.suites import EXPECTATIONS, Budget, Case, Expectation, Invariance, Subject, Suite, exceeds
from safetyanalyst.policy import Decision, Policy, load_policy
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Example, Prompt, ReadFailure, Scenario, read_examples
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import HarmBenefitTree, Tree

Status = Literal["passed", "failed", "error"]
_Item = TypeVar("_Item", StoredTrees | ReadFailure, Example | ReadFailure)


class Result(Record):
    """What came of one case.

    Attributes:
        group: Key of the suite it stands under (`must_block`, `same_decision`, `flips`).
        name: Of the case.
        status: "passed", "failed", or "error" when it could not be run.
        reason: Why it must be so, from the suite.
        message: What came instead; for budgets also what was counted.
        decision: What the policy decided; `None` for budgets and errors.
        seconds: How long it took.
    """

    group: str
    name: str
    status: Status
    reason: str
    message: str
    decision: Decision | None = None
    seconds: float = 0.0


class _Unreadable(Record):
    """Why a subject could not be decided about."""

    error: str


class SuiteRunner:
    """Runs the cases of a suite against a policy.

    Args:
        suite: What must hold.
        policy: What is tested.
        folder: Where the suite lies: files in it are named from there.
        taxonomy: Of the trees, where the suite names none; by default the one that the policy names. A policy whose taxonomy
            lies beside its file needs it (`PolicyFile.taxonomy`).

    Raises:
        ConfigError: A file that the suite names is not there, or inline rows are not clean.
        PolicyError: The policy or a baseline does not fit the taxonomy.
    """

    def __init__(self, suite: Suite, policy: Policy, folder: Path, *, taxonomy: Taxonomy | None = None) -> None:
        self.suite = suite
        self.policy = policy
        self._folder = folder
        if suite.taxonomy is not None:
            taxonomy = load_taxonomy(_named("taxonomies", suite.taxonomy, folder))
        self._taxonomy: Taxonomy = taxonomy or load_taxonomy(policy.taxonomy)
        self._assessor = Assessor(policy, self._taxonomy)
        self._inline = {place: self._rows(place, it) for place, it in suite.subjects() if it.harm is not None}
        baselines = [load_policy(_named("policies", it.baseline, folder)) for it in suite.flips]
        self._baselines = [baseline.bind(self._taxonomy) for baseline in baselines]
        self._stored: dict[Path, dict[str, list[StoredTrees | ReadFailure]]] = {}
        self._scenarios: dict[Path, dict[str, list[Example | ReadFailure]]] = {}
        self._analysts: dict[str, SafetyAnalyst] = {}
        self._corpora: dict[tuple[Path, ...], Corpus] = {}
        for place, subject in suite.subjects():
            self._check_files(place, subject)
        for i, budget in enumerate(suite.flips):
            for path in self._files(budget):
                _check_file(path, f"flips[{i}].on")

    def __len__(self) -> int:
        """Number of cases, budgets included."""
        cases = sum(len(getattr(self.suite, key)) for key in EXPECTATIONS)
        return cases + len(self.suite.same_decision) + len(self.suite.flips)

    def run(self) -> Iterator[Result]:
        """Runs every case, in the order of the keys in the documentation."""
        for key in EXPECTATIONS:
            for i, case in enumerate(getattr(self.suite, key)):
                yield _timed(lambda key=key, i=i, case=case: self._case(key, f"{key}[{i}]", case))  # type: ignore[misc]
        for i, group in enumerate(self.suite.same_decision):
            yield _timed(lambda i=i, group=group: self._alike(f"same_decision[{i}]", group))  # type: ignore[misc]
        for i, budget in enumerate(self.suite.flips):
            yield _timed(lambda i=i, budget=budget: self._budget(i, budget))  # type: ignore[misc]

    # -- the three sorts of cases ----------------------------------------------------------------------------------------

    def _case(self, key: Expectation, place: str, case: Case) -> Result:
        name = case.name or case.tree or case.scenario or place
        found = self._analysis(place, case)
        if isinstance(found, _Unreadable):
            return Result(group=key, name=name, status="error", reason=case.reason, message=found.error)
        status: Status = "passed" if found.decision in EXPECTATIONS[key] else "failed"
        message = _told(found)
        if status == "failed":
            message = f"{message}; expected {' or '.join(sorted(EXPECTATIONS[key]))}"
        elif _rests_on_a_gap(found, case):
            status, message = "error", f"{message}; the case does not say that it may be"
        return Result(group=key, name=name, status=status, reason=case.reason, message=message, decision=found.decision)

    def _alike(self, place: str, group: Invariance) -> Result:
        found = [self._analysis(f"{place}.of[{j}]", it) for j, it in enumerate(group.of)]
        names = [it.tree or it.scenario or f"of[{j}]" for j, it in enumerate(group.of)]
        said = (it.error if isinstance(it, _Unreadable) else _told(it) for it in found)
        told = "; ".join(f"{name}: {words}" for name, words in zip(names, said, strict=True))
        read = [it for it in found if isinstance(it, Analysis)]
        status: Status = "passed" if len({it.decision for it in read}) == 1 else "failed"
        gaps = any(
            isinstance(it, Analysis) and _rests_on_a_gap(it, subject) for it, subject in zip(found, group.of, strict=True)
        )
        if len(read) < len(found) or (gaps and status == "passed"):
            status = "error"
        return Result(group="same_decision", name=group.name or place, status=status, reason=group.reason, message=told)

    def _budget(self, i: int, budget: Budget) -> Result:
        name = budget.name or f"against {budget.baseline}"
        files = self._files(budget)
        if files not in self._corpora:
            self._corpora[files] = read_corpus(files, self._taxonomy)
        corpus = self._corpora[files]
        found = diff(corpus, self._baselines[i], self._assessor.bound)
        over, unknown, told = [], [], []
        for key, limit in budget.limits().items():
            count = _count(found, key)
            told.append(f"{key} {count.flips} of {count.n}, at most {limit}")
            if exceeds(count.flips, limit, count.n):
                over.append(key)
            elif count.n == 0 and not key.endswith(("_to_allow", "_to_review", "_to_block")):
                unknown.append(f"there is no scenario to count {key} on")
        if corpus.unread:
            unknown.append(f"{len(corpus.unread)} records could not be read")
        if not len(corpus):
            unknown.append("there is no scenario")
        worst = ", ".join(f"{flip.id} ({flip.a.decision} to {flip.b.decision})" for flip in found.shown(3)) if over else ""
        message = "; ".join([*told, *unknown, *([f"exceeded: {', '.join(over)}; such as {worst}"] if over else [])])
        status: Status = "failed" if over else "error" if unknown else "passed"
        return Result(group="flips", name=name, status=status, reason=budget.reason, message=message)

    # -- where subjects come from ----------------------------------------------------------------------------------------

    def _analysis(self, place: str, subject: Subject) -> Analysis | _Unreadable:
        found = self._decided(place, subject)
        if isinstance(found, Analysis) and found.is_failed:
            codes = ", ".join(dict.fromkeys(defect.code for defect in found.defects)) or "no defect says why"
            return _Unreadable(error=f"{found.id}: a tree is missing ({codes})")
        return found

    def _decided(self, place: str, subject: Subject) -> Analysis | _Unreadable:
        if subject.harm is not None:
            return self._assessor.assess(self._inline[place], id=place)
        if subject.tree is not None:
            item = self._stored_trees(subject)
            if isinstance(item, _Unreadable):
                return item
            kept = {"id": item.id, "type": item.type, "defects": item.defects, "provenance": item.provenance}
            return self._assessor.assess(item.trees, **kept)  # type: ignore[arg-type]
        scenario = self._scenario(place, subject)
        if isinstance(scenario, _Unreadable):
            return scenario
        (made,) = self._analyst(subject).analyze_many([scenario])
        return _Unreadable(error=made.error) if isinstance(made, FailedItem) else made

    def _stored_trees(self, subject: Subject) -> StoredTrees | _Unreadable:
        path = self._file(subject)
        if path not in self._stored:
            wanted = self._wanted("tree")
            kept: dict[str, list[StoredTrees | ReadFailure]] = {}
            for item in read_trees(path, self._taxonomy):
                if item.id in wanted:
                    kept.setdefault(item.id, []).append(item)
            self._stored[path] = kept
        found = _only(self._stored[path].get(subject.tree or "", []), subject.tree or "", path)
        return _Unreadable(error=f"{found.id}: {found.error}") if isinstance(found, ReadFailure) else found

    def _scenario(self, place: str, subject: Subject) -> Scenario | _Unreadable:
        if subject.text is not None:
            return Prompt(id=place, text=subject.text)
        if subject.messages is not None:
            row = json.dumps({"id": place, "messages": subject.messages}).encode()
            (item,) = read_examples([row], "auto", name=place)
            return _Unreadable(error=item.error) if isinstance(item, ReadFailure) else item.scenario
        path = self._file(subject)
        if path not in self._scenarios:
            wanted = self._wanted("scenario")
            kept: dict[str, list[Example | ReadFailure]] = {}
            for read in read_examples(path):
                id = read.id if isinstance(read, ReadFailure) else read.scenario.id
                if id in wanted:
                    kept.setdefault(id, []).append(read)
            self._scenarios[path] = kept
        found = _only(self._scenarios[path].get(subject.scenario or "", []), subject.scenario or "", path)
        if isinstance(found, ReadFailure):
            return _Unreadable(error=f"{found.id}: {found.error}")
        return found.scenario if isinstance(found, Example) else found

    def _analyst(self, subject: Subject) -> SafetyAnalyst:
        name = subject.config or self.suite.config
        if name not in self._analysts:
            path = _named("configs", name, self._folder)
            self._analysts[name] = SafetyAnalyst.from_config(path).with_policy(self.policy)
        return self._analysts[name]

    def _wanted(self, key: Literal["tree", "scenario"]) -> set[str]:
        return {getattr(subject, key) for _, subject in self.suite.subjects() if getattr(subject, key) is not None}

    def _file(self, subject: Subject) -> Path:
        default = self.suite.trees if subject.tree is not None else self.suite.scenarios
        return self._folder / (subject.from_ or default or "")

    def _files(self, budget: Budget) -> tuple[Path, ...]:
        on = (budget.on,) if isinstance(budget.on, str) else budget.on
        return tuple(self._folder / name for name in on or (self.suite.trees or "",))

    def _check_files(self, place: str, subject: Subject) -> None:
        if subject.tree is not None or subject.scenario is not None:
            _check_file(self._file(subject), f"{place}.from")
        elif subject.harm is None:
            _named("configs", subject.config or self.suite.config, self._folder)

    def _rows(self, place: str, subject: Subject) -> HarmBenefitTree:
        trees: dict[str, Tree | None] = {}
        for kind, rows in (("harm", subject.harm), ("benefit", subject.benefit)):
            parsed = from_row_list(rows or (), kind, self._taxonomy)  # type: ignore[arg-type]
            for defect in parsed.defects:
                problem = f"{defect.code} at {defect.path}: {defect.found!r}"
                raise ConfigError(problem, key=f"{place}.{kind}", expected="rows of the compact notation (docs/trees.md)")
            trees[kind] = parsed.tree
        return HarmBenefitTree(harm=trees["harm"], benefit=trees["benefit"])


class _Count(Record):
    """Flips of one sort among n scenarios."""

    flips: int
    n: int


def _count(found: PolicyDiff, key: str) -> _Count:
    table = found.table()
    n = len(found.corpus)
    if key in ("total", "harsher", "milder"):
        return _Count(flips={"total": len(found), "harsher": found.harsher, "milder": found.milder}[key], n=n)
    if key == "harmful_allowed":
        labelled = found.table("harmful")
        return _Count(flips=int(labelled[1:, 0].sum()), n=int(labelled.sum()))
    if key == "harmless_stopped":
        labelled = found.table("harmless")
        return _Count(flips=int(labelled[0, 1:].sum()), n=int(labelled.sum()))
    before, after = (("allow", "review", "block").index(word) for word in key.split("_to_"))
    return _Count(flips=int(table[before, after]), n=n)


def _only(found: Sequence[_Item], id: str, path: Path) -> _Item | _Unreadable:
    """The one item of an id."""
    if len(found) == 1:
        return found[0]
    if not found:
        return _Unreadable(error=f"there is nothing with the id {id!r} in {path.name}")
    return _Unreadable(error=f"{len(found)} records of {path.name} have the id {id!r}: which one is meant cannot be known")


def _rests_on_a_gap(analysis: Analysis, subject: Subject) -> bool:
    return analysis.ground == "something_is_missing" and not subject.may_be_missing


def _told(analysis: Analysis) -> str:
    low, high = analysis.interval
    score = f"score {low:.4g}" if low == high else f"score between {low:.4g} and {high:.4g}"
    return f"{analysis.decision}: {score}, {analysis.ground.replace('_', ' ')}"


def _timed(case: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = case()
    return result.model_copy(update={"seconds": time.perf_counter() - start})


def _named(kind: Literal["taxonomies", "configs", "policies"], name: str, folder: Path) -> Path:
    """The file of a shipped name, or one beside the suite."""
    return resources.find(kind, name, relative_to=folder).absolute()


def _check_file(path: Path, key: str) -> None:
    if not path.is_file():
        raise ConfigError("there is no such file", file=path, key=key)
