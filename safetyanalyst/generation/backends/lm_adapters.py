"""Adapters of a local model: two kinds of trees from one base."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.specialist import Asking

_FILE = "adapter_model.safetensors"


class LocalOptions(Asking):
    """Options that every backend with a local model has.

    Attributes:
        model: Folder or hub name of the base model.
        adapters: Name -> folder of a PEFT adapter; `adapter` says which of them answers.
    """

    model: str
    adapters: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_them_answers(self) -> Self:
        if self.adapter not in (self.adapters or {"": ""}):  # the bare base was not trained to write trees
            known = ", ".join(self.adapters) or "none"
            raise ValueError(f"`adapter` is {self.adapter!r}, and the adapters are: {known}")
        return self


def fingerprint_of(adapters: Mapping[str, str], *settings: str) -> str:
    """What decides the answers of a local model beside its name: settings, and the weights of its adapters.

    Raises:
        BackendError: A folder holds no adapter in safetensors; nothing else is read.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for name, folder in sorted(adapters.items()):
        path = Path(folder) / _FILE
        if not path.is_file():
            raise BackendError(f"adapter {name!r}: {folder} holds no {_FILE}")
        digest.update(f"{name}:{hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()
