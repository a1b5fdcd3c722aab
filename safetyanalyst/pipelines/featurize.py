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
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.features import FeatureMatrix, FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.pipelines import compiled, pieces
from safetyanalyst.pipelines.compiled import CompiledPieces, Reading
from safetyanalyst.pipelines.pieces import Pieces
from safetyanalyst.weights import Ints

_BATCH_BYTES = 1 << 18  # small enough for the processor's cache
_GROUP_BYTES = 1 << 25  # bounds the memory that goes with a corpus of any size

_Text = TypeVar("_Text", str, bytes)


class TextFeaturizer:
    """Featurizes texts of trees in the published combined form, `[{"stakeholder": ..., "harms": [...]}, ...]`.

    It gets faster with use: what it has read once it recognises.

    Args:
        space: What the columns of the matrix mean.
        engine: "auto" takes the compiled library where there is one, "numpy" never. The matrix is the same.
    """

    def __init__(self, space: FeatureSpace, engine: Literal["auto", "numpy"] = "auto") -> None:
        self.space = space
        self._engine = engine
        library = compiled.load() if engine == "auto" else None
        self._pieces = Pieces(space) if library is None else CompiledPieces(space, library)

    def __reduce__(self) -> tuple[type[TextFeaturizer], tuple[FeatureSpace, Literal["auto", "numpy"]]]:
        return TextFeaturizer, (self.space, self._engine)  # a copy learns anew: another process may have no library

    @property
    def is_compiled(self) -> bool:
        """Whether the compiled library does the work."""
        return isinstance(self._pieces, CompiledPieces)

    def featurize(self, texts: Sequence[str]) -> FeatureMatrix:
        """Reads n texts.

        Args:
            texts: JSON texts. One that cannot be read gives a row in which everything is missing; none is ever skipped.

        Returns:
            A matrix of n rows, equal to that of the ordinary parser.
        """
        parts = list(self._parts(texts))
        if not parts:
            return self.space.featurize(())
        columns = np.concatenate([part.cells for part in parts]).astype(np.int32, copy=False)
        indptr = np.concatenate(([0], np.cumsum(np.concatenate([part.counts for part in parts])))).astype(np.int32)
        matrix = sparse.csr_array((np.ones(len(columns)), columns, indptr), (len(texts), self.space.n_cells))
        return self._with_rest(matrix, np.flatnonzero(~np.concatenate([part.is_clean for part in parts])), texts)

    def _parts(self, texts: Sequence[str]) -> Iterator[Reading]:
        """What the texts are as far as their pieces spell them exactly, in order."""
        if isinstance(self._pieces, CompiledPieces):
            yield from map(self._pieces.read, _batches(texts, _BATCH_BYTES))
            return
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        for group in _batches(encoded, _GROUP_BYTES):
            self._pieces.forget_when_full()
            identified = [self._pieces.identify(batch) for batch in _batches(group, _BATCH_BYTES)]
            ids, lengths = (np.concatenate(columns) for columns in zip(*identified, strict=True))
            yield _reading(self._pieces.table().take(ids, axis=1), lengths)

    def _with_rest(self, matrix: sparse.csr_array, slow: Ints, texts: Sequence[str]) -> FeatureMatrix:
        """The matrix with the rows that only the ordinary parser can read."""
        rest = self.space.featurize(parsing.pair_from_text(texts[i], self.space.taxonomy).trees for i in slow)
        lost = np.zeros((len(texts), 2), np.int64)
        if not len(slow):
            return FeatureMatrix(self.space, matrix, sparse.csr_array((len(texts), 0)), (), lost)
        place = sparse.csr_array((np.ones(len(slow)), (slow, range(len(slow)))), (len(texts), len(slow)))
        lost[slow] = rest.lost
        return FeatureMatrix(self.space, matrix + place @ rest.counts, place @ rest.partial, rest.patterns, lost)


def _reading(pieces_of_texts: npt.NDArray[np.int32], lengths: Ints) -> Reading:
    """Follows the chain of the pieces of every text.

    Args:
        pieces_of_texts: (4, pieces) type, next, harm, benefit of the pieces of all texts in order.
        lengths: (texts,) how many of them each text has.
    """
    type_, next_, harm, benefit = pieces_of_texts
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
    return Reading(cells[keep], np.bincount(rows[keep], minlength=n), is_clean)


def _batches(texts: Sequence[_Text], n_bytes: int) -> Iterator[list[_Text]]:
    """Texts in order, in lists of about `n_bytes` (or characters)."""
    batch: list[_Text] = []
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
