"""Values of cells as signed products of named weights.

    cell(w)_c = sign_c * prod_k w_k ** A[c, k]

A (cells x weights) is 0 or 1, so every cell, and with it every score, is linear in every single weight. That is why the
gradient is exact, and why the value of one weight at which a decision flips has a closed form.

Source: SafetyAnalyst (arXiv 2410.16665), section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Weight = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False, strict=True)]  # strict: `true` is no weight of 1


@dataclass(frozen=True)
class WeightProducts:
    """Cell values as signed products of named weights.

    Attributes:
        names: Name of each weight, length K.
        factors: (cells, m) indices into the weights; K stands for the constant 1.
        sign: (cells,) +1 for harm cells, -1 for benefit cells.
    """

    names: tuple[str, ...]
    factors: Ints
    sign: Floats

    def values(self, weights: Floats) -> Floats:
        """cell(w): (cells,) signed products of `weights` (K,)."""
        extended = np.empty(len(self.names) + 1)
        extended[:-1] = weights
        extended[-1] = 1.0
        product: Floats = self.sign * np.multiply.reduce(extended.take(self._columns), axis=0)
        return product

    def gradient(self, weights: Floats, upstream: Floats) -> Floats:
        """d(upstream . cell(w)) / dw, exact where weights are 0: by leave-one-out products.

        Args:
            weights: (K,).
            upstream: (cells,), the derivative of the objective by each cell value.

        Returns:
            (K,).
        """
        gathered = np.append(weights, 1.0)[self._columns]  # (m, cells)
        m = len(gathered)
        before = np.empty_like(gathered)
        before[0] = self.sign * upstream
        for j in range(1, m):
            np.multiply(before[j - 1], gathered[j - 1], out=before[j])
        after = np.ones(gathered.shape[1])
        for j in range(m - 1, 0, -1):
            before[j] *= after
            after *= gathered[j]
        before[0] *= after
        total = np.bincount(self._columns.ravel(), before.ravel(), minlength=len(self.names) + 1)
        return total[:-1].astype(np.float64)

    @cached_property
    def incidence(self) -> npt.NDArray[np.int8]:
        """A: (cells, K) of 0 and 1."""
        dense = np.zeros((len(self.sign), len(self.names) + 1), np.int8)
        np.put_along_axis(dense, self.factors, 1, axis=1)
        return dense[:, :-1]

    @cached_property
    def _columns(self) -> Ints:
        return np.ascontiguousarray(self.factors.T)
