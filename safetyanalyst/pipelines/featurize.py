"""Texts of stored trees -> feature matrix, fast where the text is clean.

A corpus of trees in the published form repeats itself: 18.5 million effects are spelt in a few thousand ways. So the text is
cut at every "{" and each piece is recognised; a piece seen for the first time is read by the ordinary parser, once. What
remains is array arithmetic over whole batches.

The short cut never guesses. Pieces must be exactly a stakeholder, an action or an effect with what follows it, in a chain that
spells one whole tree; since no such piece ends inside a string, the reading equals JSON's. Any other text takes the ordinary
parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines import pieces
from safetyanalyst.pipelines.pieces import Pieces
from safetyanalyst.weights import Ints

_BATCH_BYTES = 1 << 18  # small enough for the processor's cache
_GROUP_BYTES = 1 << 25  # bounds the memory that goes with a corpus of any size

Bools = npt.NDArray[np.bool_]


class _Part(NamedTuple):
    """What some texts were read as.

    Attributes:
        cells: (effects,) cell of every effect of the clean texts, in order.
        counts: (texts,) how many of them each text has; 0 for one that is not clean.
        is_clean: (texts,) whether a text is spelt exactly by its pieces.
    """

    cells: Ints
    counts: Ints
    is_clean: Bools


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
        parts = [self._read(list(group)) for group in _batches(encoded, _GROUP_BYTES)]
        if not parts:
            return self.space.featurize(())
        columns = np.concatenate([part.cells for part in parts]).astype(np.int32)
        indptr = np.concatenate(([0], np.cumsum(np.concatenate([part.counts for part in parts])))).astype(np.int32)
        matrix = sparse.csr_array((np.ones(len(columns)), columns, indptr), (len(texts), self.space.n_cells))
        return self._with_rest(matrix, np.flatnonzero(~np.concatenate([part.is_clean for part in parts])), texts)

    def _read(self, texts: Sequence[bytes]) -> _Part:
        """Reads some texts as far as their pieces spell them exactly."""
        self._pieces.forget_when_full()
        identified = [self._pieces.identify(batch) for batch in _batches(texts, _BATCH_BYTES)]
        ids = np.concatenate([it.ids for it in identified])
        lengths = np.concatenate([it.lengths for it in identified])
        type_, next_, harm, benefit = (column.take(ids) for column in self._pieces.table())
        n = len(lengths)
        ends = np.cumsum(lengths)
        following = np.append(type_[1:], pieces.END)
        following[ends - 1] = pieces.END

        effects = np.flatnonzero(type_ == pieces.EFFECT)
        rows = np.repeat(np.arange(n), np.diff(np.searchsorted(effects, ends), prepend=0))
        holders, actions = np.flatnonzero(type_ == pieces.STAKEHOLDER), np.flatnonzero(type_ == pieces.ACTION)
        in_benefits = _latest(holders, benefit, effects) == 1
        block, leaf = _latest(actions, harm, effects), harm[effects]
        in_block = np.where((block >= 0) & (leaf >= 0), block + leaf, np.minimum(block, leaf))
        cells = np.where(in_benefits, benefit[effects], in_block)

        is_clean = np.zeros(n, bool)  # a text without any harms entry has no harm tree, as the ordinary parser says
        is_clean[np.searchsorted(ends, holders[benefit[holders] == 0], side="right")] = True
        is_clean[np.searchsorted(ends, np.flatnonzero(next_ != following), side="right")] = False
        is_clean[rows[cells == pieces.UNREADABLE]] = False
        is_clean[type_[ends - lengths] != pieces.START] = False
        keep = is_clean[rows] & (cells >= 0)
        return _Part(cells[keep], np.bincount(rows[keep], minlength=n), is_clean)

    def _with_rest(self, matrix: sparse.csr_array, slow: Ints, texts: Sequence[str]) -> FeatureMatrix:
        """The matrix with the rows that only the ordinary parser can read."""
        rest = self.space.featurize(parsing.pair_from_text(texts[i], self.space.taxonomy).trees for i in slow)
        lost = np.zeros((len(texts), 2), np.int64)
        if not len(slow):
            return FeatureMatrix(self.space, matrix, sparse.csr_array((len(texts), 0)), (), lost)
        place = sparse.csr_array((np.ones(len(slow)), (slow, range(len(slow)))), (len(texts), len(slow)))
        lost[slow] = rest.lost
        return FeatureMatrix(self.space, matrix + place @ rest.counts, place @ rest.partial, rest.patterns, lost)


def _batches(texts: Sequence[bytes], n_bytes: int) -> Iterator[list[bytes]]:
    """Texts in order, in lists of about `n_bytes`."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size > n_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _latest(marked: Ints, values: npt.NDArray[np.int32], places: Ints) -> npt.NDArray[np.int32]:
    """For every place the value at the last mark before it (of the first place where there is none)."""
    marks = np.append(0, marked)
    counts = np.diff(np.searchsorted(places, marks), append=len(places))
    return np.repeat(values[marks], counts)
