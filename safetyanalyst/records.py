"""The one base of every data class: frozen, unknown keys refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value; a key it does not know is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
