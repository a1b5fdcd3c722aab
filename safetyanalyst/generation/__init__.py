"""Wing B, generation: what writes harm trees and benefit trees. Nothing here knows of weights or decisions.

Two protocols at two altitudes. The analyst and the pipelines know only `TreeGenerator`; a specialist that drives a language
model (`generation.specialist`) knows only `TextBackend` (`generation.chats`). A model that predicts trees without writing text,
such as the embedded one, implements `TreeGenerator` directly.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from pydantic import Field, JsonValue

from safetyanalyst.errors import BackendError, SafetyAnalystError
from safetyanalyst.generation.table import BACKENDS, ENTRY_POINTS, NEEDED, install_command
from safetyanalyst.records import Record
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import Defect, Provenance, Tree, TreeKind
from safetyanalyst.version import __version__


class GeneratorConfig(Record):
    """One specialist of a run.

    Attributes:
        backend: Name in the backend table (`BACKENDS` or an installed entry point).
        options: Passed to the backend as they are.
    """

    backend: str
    options: dict[str, JsonValue] = Field(default_factory=dict)


class WrittenText(Record):
    """What a generator wrote for one tree, word for word.

    Attributes:
        text: The text that the tree was read from; `None` when the generator predicts trees and writes no text.
        attempts: How many times its model was asked.
        prompt_tokens: Tokens read, 0 when the generator does not count.
        completion_tokens: Tokens written, likewise.
    """

    text: str | None
    attempts: int
    prompt_tokens: int
    completion_tokens: int


class Generation(Record):
    """What one generator made of one scenario.

    Attributes:
        scenario_id: Id of the scenario it answers.
        kind: Which tree was asked for.
        tree: The tree, or `None` when there is none: that is `missing`, never "harmless".
        defects: Everything that was not clean.
        raw: The text the tree was read from; empty when the model predicts trees without writing text.
        attempts: How many times the model was asked.
        prompt_tokens: Tokens read, 0 when the generator does not count.
        completion_tokens: Tokens written, likewise.
        provenance: Where it comes from.
    """

    scenario_id: str
    kind: TreeKind
    tree: Tree | None
    defects: tuple[Defect, ...] = ()
    raw: str = ""
    attempts: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    provenance: Provenance

    def written(self) -> WrittenText:
        """What was written. An empty text has a defect that says so; a model that writes none has no such defect."""
        is_text = bool(self.raw) or any(defect.code == "empty_output" for defect in self.defects)
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in self.raw) if is_text else None
        return WrittenText(
            text=text, attempts=self.attempts, prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens
        )


@runtime_checkable
class TreeGenerator(Protocol):
    """Writes one kind of tree for scenarios."""

    kind: TreeKind

    def generate(self, scenarios: Sequence[Scenario]) -> list[Generation]:
        """Answers every scenario, in order, one `Generation` each.

        A scenario that cannot be answered yields a `Generation` with `tree=None` and its defects; it never raises and never
        costs the others their answer.
        """
        ...


def load_generator(
    backend: str, kind: TreeKind, taxonomy: Taxonomy, options: Mapping[str, JsonValue] | None = None
) -> TreeGenerator:
    """Loads a generator from the table "name -> module:function" or from an installed entry point.

    Args:
        backend: Name in the table.
        kind: Which tree it shall write.
        taxonomy: What its trees may say.
        options: The backend's own options.

    Raises:
        BackendError: No such backend, it cannot be loaded, it refuses the options, or it is no generator of this kind.
    """
    try:
        generator: object = _loader(backend)(kind, taxonomy, **(options or {}))
    except SafetyAnalystError:
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED.get(backend, ()):
            raise BackendError(f"backend {backend!r} cannot be loaded: {type(error).__name__}: {error}") from error
        raise BackendError(f"backend {backend!r} needs {error.name}: {install_command(backend)}") from error
    except TypeError as error:
        raise BackendError(f"backend {backend!r} does not take these options: {error}") from error
    except Exception as error:  # whatever a plug-in raises, the caller hears which backend it was
        raise BackendError(f"backend {backend!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(generator, TreeGenerator) or generator.kind != kind:
        found = getattr(generator, "kind", type(generator).__name__)
        raise BackendError(f"backend {backend!r} was asked for a generator of {kind} trees and gave {found!r}")
    return generator


def load_generators(configs: Mapping[TreeKind, GeneratorConfig], taxonomy: Taxonomy) -> dict[TreeKind, TreeGenerator]:
    """Loads one generator for each kind of tree.

    Raises:
        BackendError: As `load_generator`.
    """
    return {kind: load_generator(it.backend, kind, taxonomy, it.options) for kind, it in configs.items()}


def generate(generator: TreeGenerator, scenarios: Sequence[Scenario]) -> list[Generation]:
    """Asks a generator, and holds it to its protocol.

    A generator that raises, or that answers something else than was asked, is asked once more scenario by scenario; where that
    fails too the scenario gets a `Generation` without a tree. One bad scenario thus never costs the others their answer.
    """
    try:
        generations = list(generator.generate(scenarios))
        _check_answers(generator, scenarios, generations)
        return generations
    except Exception as error:  # any failure of a plug-in is a record
        if len(scenarios) == 1:
            return [_failed(generator, scenarios[0], error)]
    return [generate(generator, [scenario])[0] for scenario in scenarios]


def _check_answers(generator: TreeGenerator, scenarios: Sequence[Scenario], generations: Sequence[Generation]) -> None:
    asked = [(scenario.id, generator.kind) for scenario in scenarios]
    answered = [(it.scenario_id, it.kind) for it in generations]
    if asked != answered or any(it.tree is not None and it.tree.kind != it.kind for it in generations):
        raise BackendError(f"asked for {len(asked)} {generator.kind} trees, got answers to something else")


def _failed(generator: TreeGenerator, scenario: Scenario, error: Exception) -> Generation:
    found = f"{type(error).__name__}: {error}"[:200].encode("utf-8", "backslashreplace").decode()  # lone surrogates
    defect = Defect(code="generation_failed", path=generator.kind, found=found)
    return Generation(
        scenario_id=scenario.id,
        kind=generator.kind,
        tree=None,
        defects=(defect,),
        provenance=Provenance(generator=type(generator).__name__, model="", taxonomy="", code=__version__),
    )


def _loader(backend: str) -> Callable[..., object]:
    target = BACKENDS.get(backend)
    if target is None:
        return _entry_point(backend)
    module, _, function = target.partition(":")
    load: Callable[..., object] = getattr(importlib.import_module(module), function)
    return load


def _entry_point(backend: str) -> Callable[..., object]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    if backend not in found.names:
        known = sorted({*BACKENDS, *found.names})
        raise BackendError(f"there is no backend {backend!r}; known are {', '.join(known)}")
    load: Callable[..., object] = found[backend].load()
    return load
