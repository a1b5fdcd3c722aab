"""Everything that is raised on purpose.

Mistakes of the caller are exceptions and live here. Failures of single items (a broken line, an unreadable tree) are never
raised: they are records (`scenarios.ReadFailure`, `trees.Defect`) that travel beside the items that went well.
"""

from __future__ import annotations

from pathlib import Path


class SafetyAnalystError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(SafetyAnalystError):
    """A taxonomy, policy or run configuration cannot be used.

    Args:
        problem: What is wrong, in words.
        file: The file it was read from, when there is one.
        key: The key inside the file, dotted from the top (`weights.harm.action.privacy`).
        expected: What should stand there instead.
    """

    def __init__(
        self, problem: str, *, file: Path | str | None = None, key: str | None = None, expected: str | None = None
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.key = key
        self.expected = expected
        place = ": ".join(part for part in (self.file, key) if part)
        text = f"{place}: {problem}" if place else problem
        super().__init__(f"{text} (expected {expected})" if expected else text)


class TaxonomyError(ConfigError):
    """A taxonomy file breaks its own rules."""


class PolicyError(ConfigError):
    """A policy file breaks its own rules, or does not fit the taxonomy it is used with."""


class ScenarioError(SafetyAnalystError):
    """A single scenario that the caller built by hand cannot be used."""


class FitError(SafetyAnalystError):
    """The data given to a fit cannot determine anything (no rows, one class only, shapes that disagree)."""


class GuaranteeError(SafetyAnalystError):
    """The labels at hand cannot carry the guarantee that was asked for.

    Args:
        problem: What is wrong, in words.
        needed: How many labelled rows would do, when more would.
        found: How many there are.
    """

    def __init__(self, problem: str, *, needed: int | None = None, found: int | None = None) -> None:
        super().__init__(problem)
        self.needed = needed
        self.found = found


class BackendError(SafetyAnalystError):
    """A generator is unknown, or its weights are missing or do not match their hash."""
