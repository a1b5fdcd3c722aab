"""The semantic table: a static, linear image of a sentence encoder, which is not needed to use it.

Per bucket of the hashed n-grams it holds a short vector; the weighted sum over a text points where the encoder would have put
the text, as far as words and short phrases tell. `pipelines.train_semantics` makes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_text import Floats, Sparse


@dataclass(frozen=True)
class SemanticTable:
    """A vector for each bucket.

    Attributes:
        idf: (buckets,) rarity of each.
        vectors: (buckets, d) in 8 bits.
        scale: (d,) what one unit of `vectors` stands for.
        digest: sha256 of the file it came from, hex; empty when it came from none.
    """

    idf: npt.NDArray[np.float16]
    vectors: npt.NDArray[np.int8]
    scale: Floats
    digest: str = ""

    @classmethod
    def quantised(cls, idf: npt.NDArray[np.float16], vectors: Floats) -> SemanticTable:
        """Brings vectors to 8 bits; the few largest are cut."""
        scale = np.maximum(np.quantile(np.abs(vectors), 0.9995, axis=0), 1e-9) / 127.0
        return cls(idf, np.clip(np.round(vectors / scale), -127, 127).astype(np.int8), scale.astype(np.float32))

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return int(self.vectors.shape[1])

    def direction(self, field: Sparse) -> Floats:
        """(d,) unit vector of a text; zeros for an empty one.

        Args:
            field: Hashed n-grams with salt 0.
        """
        if not len(field.ids):
            return np.zeros(self.dimensions, np.float32)
        row = unit_row(field, self.idf)
        vector = (row.values @ self.vectors[row.ids].astype(np.float32)) * self.scale
        unit: Floats = (vector / max(float(np.sqrt(vector @ vector)), 1e-9)).astype(np.float32)
        return unit


def unit_row(field: Sparse, idf: Any) -> Sparse:
    """The n-grams of a text weighted by rarity, as a vector of unit length."""
    values = field.values * idf[field.ids].astype(np.float32)
    return Sparse(field.ids, (values / max(float(np.sqrt(values @ values)), 1e-6)).astype(np.float32))


def save_table(table: SemanticTable, path: Path) -> None:
    """Writes a table as safetensors."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"idf": table.idf, "vectors": table.vectors, "scale": table.scale}))


def load_table(path: Path) -> SemanticTable:
    """Reads a table.

    Raises:
        BackendError: There is no such file, or it holds no table.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        arrays = load(data)
        return SemanticTable(arrays["idf"], arrays["vectors"], arrays["scale"], hashlib.sha256(data).hexdigest())
    except (OSError, SafetensorError, KeyError) as error:
        raise BackendError(f"{path}: this is not a semantic table: {error}") from error
