"""Texts of stored trees -> feature matrix, fast where the text is clean.

A corpus of trees in the published form repeats itself: 18.5 million effects are spelt in a few thousand ways. So the text is cut
at every "{" and each piece is recognised; a piece seen for the first time is read by the ordinary parser, once. What remains is
array arithmetic over whole batches.

The short cut never guesses. Pieces must be exactly a stakeholder, an action or an effect with what follows it, in a chain that
spells one whole tree; since no such piece ends inside a string, the reading equals JSON's. Any other text takes the ordinary
parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace, Ints
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines import pieces
from safetyanalyst.pipelines.pieces import Pieces

_BATCH_BYTES = 1 << 19  # small enough for the processor's cache

Bools = npt.NDArray[np.bool_]


class TextFeaturizer:
    """Featurizes texts of trees in the published combined form, `[{"stakeholder": ..., "harms": [...]}, ...]`.

    It gets faster with use: what it has read once it recognises.

    Args:
        space: What the columns of the matrix mean.
    """

    def __init__(self, space: FeatureSpace) -> None:
        self.space = space
        self._pieces = Pieces(space)

    def featurize(self, texts: Sequence[str]) -> FeatureMatrix:
        """Reads n texts.

        Args:
            texts: JSON texts. One that cannot be read gives a row in which everything is missing; none is ever skipped.

        Returns:
            A matrix of n rows, equal to that of the ordinary parser.
        """
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        columns: list[Ints] = [np.empty(0, np.int64)]
        counts: list[Ints] = [np.empty(0, np.int64)]
        slow: list[int] = []
        first = 0
        for batch in _batches(encoded):
            cells, rows, is_clean = self._read_batch(*self._pieces.identify(batch))
            keep = is_clean[rows] & (cells >= 0)
            columns.append(cells[keep])
            counts.append(np.bincount(rows[keep], minlength=len(batch)))
            slow += (first + np.flatnonzero(~is_clean)).tolist()
            first += len(batch)
        indptr = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
        data = np.concatenate(columns)
        matrix = sparse.csr_array((np.ones(len(data)), data.astype(np.int32), indptr.astype(np.int32)), (len(texts), self.space.n_cells))
        return self._with_rest(matrix, slow, texts)

    def _read_batch(self, ids: Ints, lengths: Ints) -> tuple[Ints, Ints, Bools]:
        """Cells and rows of the effects of a batch, and which of its texts are spelt exactly by their pieces."""
        type_, next_, harm, benefit = (column[ids] for column in self._pieces.table())
        n = len(lengths)
        ends = np.cumsum(lengths)
        rows = np.repeat(np.arange(n), lengths)
        following = np.append(type_[1:], pieces.END)
        following[ends - 1] = pieces.END

        effects = np.flatnonzero(type_ == pieces.EFFECT)
        in_benefits = _latest(type_ == pieces.STAKEHOLDER, benefit)[effects] == 1
        block, leaf = _latest(type_ == pieces.ACTION, harm)[effects], harm[effects]
        in_block = np.where((block >= 0) & (leaf >= 0), block + leaf, np.minimum(block, leaf))
        cells = np.where(in_benefits, benefit[effects], in_block)

        is_clean = np.zeros(n, bool)  # a text without any harms entry has no harm tree, as the ordinary parser says
        is_clean[rows[(type_ == pieces.STAKEHOLDER) & (benefit == 0)]] = True
        is_clean[rows[next_ != following]] = False
        is_clean[rows[effects][cells == pieces.UNREADABLE]] = False
        is_clean[type_[ends - lengths] != pieces.START] = False
        return cells, rows[effects], is_clean

    def _with_rest(self, matrix: sparse.csr_array, slow: Sequence[int], texts: Sequence[str]) -> FeatureMatrix:
        """The matrix with the rows that only the ordinary parser can read."""
        rest = self.space.featurize(parsing.pair_from_text(texts[i], self.space.taxonomy).trees for i in slow)
        lost = np.zeros((len(texts), 2), np.int64)
        if not slow:
            return FeatureMatrix(self.space, matrix, sparse.csr_array((len(texts), 0)), (), lost)
        place = sparse.csr_array((np.ones(len(slow)), (slow, range(len(slow)))), (len(texts), len(slow)))
        lost[slow] = rest.lost
        return FeatureMatrix(self.space, matrix + place @ rest.counts, place @ rest.partial, rest.patterns, lost)


def _batches(texts: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Texts in order, in lists of about `_BATCH_BYTES`."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _latest(marks: Bools, values: Ints) -> Ints:
    """For every place the value at the last mark up to it (of the first place where there was none)."""
    marked = np.append(0, np.flatnonzero(marks))
    latest: Ints = values[marked[np.cumsum(marks)]]
    return latest
