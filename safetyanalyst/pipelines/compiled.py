"""The compiled way of recognising pieces (pieces.c), where the package was built with a C compiler.

It reads exactly what `pieces.Pieces` leads to, only faster. Where the library is missing, was made from another text of
pieces.c, or cannot be loaded, there is none, and the caller takes the way that needs none.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines import pieces
from safetyanalyst.pipelines.pieces import PieceReader
from safetyanalyst.weights import Ints

SOURCE = Path(__file__).with_name("pieces.c")
LIBRARY = SOURCE.with_name("libpieces" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so"))

_DONE, _LEARN, _GROW = range(3)  # answers of the library; any other is a mistake of this module
_MAX_BYTES = 1 << 26  # of known pieces; then all are forgotten
_SLOTS = 1 << 13  # at first, a power of two; they are never more than half full
_PIECE = np.dtype([("hash", "=u8"), ("length", "=i8"), ("meaning", "=i4", 4)])  # what stands in front of its bytes


class Reading(NamedTuple):
    """What some texts were read as.

    Attributes:
        cells: (effects,) cell of every effect of the clean texts, in order.
        counts: (texts,) how many of them each text has; 0 for one that is not clean.
        is_clean: (texts,) whether a text is spelt exactly by its pieces.
    """

    cells: npt.NDArray[np.int32]
    counts: Ints
    is_clean: npt.NDArray[np.bool_]


class _Table(ctypes.Structure):
    _fields_ = (
        ("arena", ctypes.c_void_p),
        ("n_bytes", ctypes.c_int64),
        ("max_bytes", ctypes.c_int64),
        ("slots", ctypes.c_void_p),
        ("n_slots", ctypes.c_int64),
        ("n_pieces", ctypes.c_int64),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("n_bytes", ctypes.c_int64),
        ("ends", ctypes.c_void_p),
        ("n_texts", ctypes.c_int64),
        ("n_read", ctypes.c_int64),
        ("cells", ctypes.c_void_p),
        ("n_cells", ctypes.c_int64),
        ("max_cells", ctypes.c_int64),
        ("counts", ctypes.c_void_p),
        ("is_clean", ctypes.c_void_p),
        ("unknown", ctypes.c_void_p),
        ("n_unknown", ctypes.c_int64),
        ("max_unknown", ctypes.c_int64),
    )


def source_hash(source: bytes) -> int:
    """A number for a text of pieces.c, which a library made from it carries."""
    return int.from_bytes(hashlib.sha256(source).digest()[:8], "big")


@cache
def load() -> ctypes.CDLL | None:
    """The library, if there is one that was made from pieces.c as it is now."""
    return library_at(LIBRARY, SOURCE)


def library_at(path: Path, source: Path) -> ctypes.CDLL | None:
    """The library in a file, if it can be loaded and was made from this source."""
    try:
        expected = source_hash(source.read_bytes())
        library = ctypes.CDLL(str(path))
        library.pieces_source.restype = ctypes.c_uint64
        library.pieces_source.argtypes = ()
        if library.pieces_source() != expected:
            return None
        library.pieces_read.argtypes = (ctypes.POINTER(_Table), ctypes.POINTER(_Batch))
        library.pieces_fill.argtypes = (ctypes.POINTER(_Table),)
        library.pieces_fill.restype = None
        library.pieces_add.argtypes = (ctypes.POINTER(_Table), ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p)
    except (OSError, AttributeError):
        return None
    return library


class CompiledPieces:
    """Every piece that was seen, with what it is, in arrays that the library searches.

    Args:
        space: What the cells mean.
        library: From `load`.
    """

    _arena: npt.NDArray[np.uint8]  # all pieces: what is known of each, and its bytes
    _slots: npt.NDArray[np.int32]  # (a power of two,) where each is found

    def __init__(self, space: FeatureSpace, library: ctypes.CDLL) -> None:
        self._library = library
        self._reader = PieceReader(space)
        self._lock = threading.Lock()  # the library runs beside other threads, and the arrays move when they grow
        self._table = _Table()
        self._forget()

    def read(self, texts: Sequence[str]) -> Reading:
        """Reads some texts as far as their pieces spell them exactly."""
        joined, lengths = _encoded(texts)
        with self._lock:
            if self._table.n_pieces > pieces.MAX_PIECES or self._table.n_bytes > _MAX_BYTES:
                self._forget()
            return self._read(joined, np.cumsum(lengths, dtype=np.int64))

    def _read(self, joined: bytes, ends: Ints) -> Reading:
        n = len(ends)
        cells = np.empty(len(joined) // 8 + 1, np.int32)  # no effect is spelt in fewer than eight bytes
        counts, is_clean = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        unknown = np.empty((len(joined) // 256 + 64, 2), np.int64)
        batch = _Batch(
            text=joined, n_bytes=len(joined), ends=ends.ctypes.data, n_texts=n,
            cells=cells.ctypes.data, max_cells=len(cells), counts=counts.ctypes.data, is_clean=is_clean.ctypes.data,
            unknown=unknown.ctypes.data, max_unknown=len(unknown),
        )  # fmt: skip
        while (answer := self._library.pieces_read(self._table, batch)) != _DONE:
            if answer == _GROW:
                cells = _doubled(cells)
                batch.cells, batch.max_cells = cells.ctypes.data, len(cells)
                continue
            if answer != _LEARN:
                raise AssertionError(f"pieces.c refuses a batch: {answer}")
            for start, end in unknown[: batch.n_unknown].tolist():
                self._learn(joined[start:end])
        return Reading(cells[: batch.n_cells].copy(), counts, is_clean)

    def _learn(self, piece: bytes) -> None:
        meaning = np.array(self._reader.read(piece.decode("utf-8", "surrogatepass")), np.int32)
        while (answer := self._library.pieces_add(self._table, piece, len(piece), meaning.ctypes.data)) != _DONE:
            if answer != _GROW:
                raise AssertionError(f"pieces.c refuses a piece: {answer}")
            self._grow(len(piece))

    def _grow(self, n_bytes: int) -> None:
        """Makes room for one piece more."""
        table = self._table
        while table.n_bytes + _PIECE.itemsize + n_bytes + 7 > len(self._arena):
            self._arena = _doubled(self._arena)
        self._point()
        if table.n_pieces >= len(self._slots) // 2:
            self._slots = np.full(2 * len(self._slots), -1, np.int32)
            self._point()
            self._library.pieces_fill(table)

    def _forget(self) -> None:
        """Keeps memory flat over corpora of any size."""
        self._reader.forget()
        self._arena = np.empty(1 << 18, np.uint8)
        self._slots = np.full(_SLOTS, -1, np.int32)
        self._table.n_bytes = self._table.n_pieces = 0
        self._point()

    def _point(self) -> None:
        table = self._table
        table.arena, table.max_bytes = self._arena.ctypes.data, len(self._arena)
        table.slots, table.n_slots = self._slots.ctypes.data, len(self._slots)


def _encoded(texts: Sequence[str]) -> tuple[bytes, list[int]]:
    """The texts one behind the other, and how many bytes each has."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(encoded), [len(text) for text in encoded]


def _doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate((array, np.empty_like(array)))
