"""What backends there are, what each needs beside the core, and what of that is missing here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping

from safetyanalyst.records import Record

BACKENDS = {
    "embedded": "safetyanalyst.generation.backends.embedded:load",
    "hf": "safetyanalyst.generation.backends.hf:load",
    "openai": "safetyanalyst.generation.backends.openai:load",
    "scripted": "safetyanalyst.generation.backends.scripted:load",
    "vllm": "safetyanalyst.generation.backends.vllm:load",
}
ENTRY_POINTS = "safetyanalyst.backends"  # other packages add generators under this group
NEEDED: Mapping[str, tuple[str, ...]] = {
    "hf": ("torch", "transformers", "llguidance", "peft"),
    "openai": ("openai",),
    "vllm": ("vllm",),
}
"""Modules beside the core; the extra that installs them has the backend's name."""
_SAID = {
    "embedded": "the specialists that ship with the package, on any processor",
    "hf": "a model of transformers in this process, with adapters",
    "openai": "any OpenAI-compatible server",
    "scripted": "trees that a file holds",
    "vllm": "vLLM in this process, harm and benefit in one engine",
}


class BackendStatus(Record):
    """One backend.

    Attributes:
        name: As a run configuration names it.
        about: In words; for one of another package, which package it is.
        missing: Modules that it needs and that are not installed.
        install: The command that installs them; empty when nothing is missing.
    """

    name: str
    about: str
    missing: tuple[str, ...] = ()
    install: str = ""


def statuses() -> list[BackendStatus]:
    """Every backend of the table and of installed packages, by name."""
    found = {name: _status(name) for name in BACKENDS}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist is not None else point.value
        found.setdefault(point.name, BackendStatus(name=point.name, about=f"of the package {package}"))
    return [found[name] for name in sorted(found)]


def install_command(name: str) -> str:
    """How what a backend needs is installed."""
    return f'pip install "safetyanalyst[{name}]"'


def _status(name: str) -> BackendStatus:
    missing = tuple(it for it in NEEDED.get(name, ()) if importlib.util.find_spec(it) is None)
    return BackendStatus(name=name, about=_SAID[name], missing=missing, install=install_command(name) if missing else "")
