"""The pieces that texts of stored trees are made of, and a quick way to recognise them.

A piece is what stands between two "{". Pieces that were seen are known by a fingerprint of a few machine words, so that a whole
batch is looked up by array arithmetic; what the fingerprints say is then checked by putting the known pieces together again and
comparing with the text, byte by byte. So a fingerprint can save time and can never change what is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from safetyanalyst.features import FeatureSpace
from safetyanalyst.generation import parsing
from safetyanalyst.trees import Effect, TreeKind
from safetyanalyst.weights import Ints

START, STAKEHOLDER, ACTION, EFFECT, END, OTHER = range(6)
UNREADABLE, NOT_COUNTED = -1, -2  # in place of an offset

MAX_PIECES = 200_000  # stakeholder names are free text: forget all when a corpus has too many
_PADDING = bytes(64)  # around a batch, so that every word of a fingerprint lies inside it
_FROM_START, _FROM_END = (11, 30), 48  # a fingerprint is made of two words from the start on and of the last bytes: what varies
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd and random-looking
_SLOT_BITS = 19
_NONE, _AMBIGUOUS = -1, -2  # in a slot, in place of a piece

_B = r"[ \t\n\r]*"  # blanks as JSON has them, which are fewer than those of regular expressions
_START_PIECE = re.compile(rf"{_B}\[{_B}")
_STAKEHOLDER_PIECE = re.compile(
    rf'{_B}("stakeholder"{_B}:[^{{}}\[\]]*),{_B}"(harms|benefits)"{_B}:{_B}\[{_B}(?:\]{_B}\}}{_B}([,\]]){_B})?'
)
_ACTION_PIECE = re.compile(rf'{_B}("action"{_B}:[^{{}}\[\]]*),{_B}"effects"{_B}:{_B}\[{_B}')
_EFFECT_PIECE = re.compile(rf'{_B}("effect"{_B}:[^{{}}\[\]]*)\}}{_B}((?:\]{_B}\}}{_B}){{0,2}})([,\]]){_B}')


class Piece(NamedTuple):
    """What one piece of text is.

    Attributes:
        type: Stakeholder, action, effect...
        next: Type that the next piece must have.
        harm: Offset into the harm cells (action: of its block; effect: within a block), or why there is none.
        benefit: Likewise for benefits; for a stakeholder, 1 when a benefit tree goes on, else 0.
    """

    type: int
    next: int
    harm: int = 0
    benefit: int = 0


class Identified(NamedTuple):
    """The pieces of some texts.

    Attributes:
        ids: (pieces,) of all texts in order, as columns of `Pieces.table()`.
        lengths: (texts,) how many pieces each text has: one more than it has "{".
    """

    ids: Ints
    lengths: Ints


class PieceReader:
    """Reads single pieces with the ordinary parser.

    Args:
        space: What the offsets of pieces point into.
    """

    def __init__(self, space: FeatureSpace) -> None:
        self._space = space
        self._leaves: dict[str, tuple[int, int]] = {}

    def forget(self) -> None:
        """Forgets the effects that were read, which saves only time."""
        self._leaves.clear()

    def read(self, piece: str) -> Piece:
        """What a piece is, which may be of no use."""
        if _START_PIECE.fullmatch(piece):
            return Piece(START, STAKEHOLDER)
        if found := _EFFECT_PIECE.fullmatch(piece):
            return self._effect(found)
        if found := _ACTION_PIECE.fullmatch(piece):
            return self._action(found)
        if found := _STAKEHOLDER_PIECE.fullmatch(piece):
            return self._stakeholder(found)
        return Piece(OTHER, OTHER)

    def _stakeholder(self, found: re.Match[str]) -> Piece:
        if _object(found[1]) is None:
            return Piece(OTHER, OTHER)
        after = {None: ACTION, ",": STAKEHOLDER, "]": END}[found[3]]
        return Piece(STAKEHOLDER, after, benefit=int(found[2] == "benefits"))

    def _action(self, found: re.Match[str]) -> Piece:
        head = _object(found[1])
        if head is None:
            return Piece(OTHER, OTHER)
        entry = {"stakeholder": "s", "harms": [{**head, "effects": [None]}]}
        tree = parsing.tree_from_json([entry], "harm", self._space.taxonomy).tree
        action = None if tree is None else tree.stakeholders[0].actions[0].action
        block = self._space.cells_of("harm", action, Effect(effect=None, immediacy=None, extent=None, likelihood=None))
        if "harm" not in self._space.spec.kinds:
            return Piece(ACTION, EFFECT, harm=NOT_COUNTED)
        return Piece(ACTION, EFFECT, harm=UNREADABLE if action is None else int(block[0]))

    def _effect(self, found: re.Match[str]) -> Piece:
        closing = found[2].count("}")
        after = {(0, ","): EFFECT, (1, ","): ACTION, (2, ","): STAKEHOLDER, (2, "]"): END}.get((closing, found[3]))
        body = _text_object(found[1])
        if after is None or body is None:
            return Piece(OTHER, OTHER)
        if body not in self._leaves:  # one effect is spelt alike in front of every kind of ending
            self._leaves[body] = (self._leaf(body, "harm"), self._leaf(body, "benefit"))
        harm, benefit = self._leaves[body]
        return Piece(EFFECT, after, harm, benefit)

    def _leaf(self, body: str, kind: TreeKind) -> int:
        """Offset of an effect within the block of its action, when it is complete as this kind."""
        if kind not in self._space.spec.kinds:
            return NOT_COUNTED
        action = self._space.taxonomy.harm_actions[0].name
        side = "harms" if kind == "harm" else "benefits"
        text = f'[{{"stakeholder": "s", "{side}": [{{"action": {json.dumps(action)}, "effects": [{body}]}}]}}]'
        tree = parsing.parse_tree(text, kind, self._space.taxonomy).tree
        if tree is None or tree.lost:
            return UNREADABLE
        cells = self._space.cells_of(kind, action, tree.stakeholders[0].actions[0].effects[0])
        block = self._space.cells_of(kind, action, Effect(effect=None, immediacy=None, extent=None, likelihood=None))
        if len(cells) != 1:
            return UNREADABLE
        return int(cells[0] - block[0]) if kind == "harm" else int(cells[0])


class Pieces:
    """Every piece that was seen, with what it is.

    Args:
        space: What the offsets of pieces point into.
    """

    def __init__(self, space: FeatureSpace) -> None:
        self._reader = PieceReader(space)
        self._known: dict[bytes, int] = {}
        self._texts: npt.NDArray[Any] = np.empty(1024, object)
        self._prints = np.zeros(1024, np.uint64)
        self._slots = np.full(1 << _SLOT_BITS, _NONE, np.int32)
        self._table = np.empty((4, 1024), np.int32)

    def identify(self, texts: Sequence[bytes]) -> Identified:
        """The pieces of at least one text."""
        joined = b"{".join((_PADDING, *texts, _PADDING))
        ends = np.append(np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("{")), len(joined))
        starts = np.append(0, ends[:-1] + 1)
        prints = _fingerprints(joined, starts, ends)
        ids = self._look_up(prints)
        for i in np.flatnonzero(ids < 0).tolist():
            ids[i] = self._learn(joined[starts[i] : ends[i]], prints[i])
        if b"{".join(self._texts[ids].tolist()) != joined:  # an unseen piece has the fingerprint of a seen one
            ids = np.array([self._learn(*it) for it in zip(joined.split(b"{"), prints, strict=True)], np.int64)
        behind = np.searchsorted(ends, np.cumsum([len(_PADDING), *(len(text) + 1 for text in texts)]))
        return Identified(ids[1:-1], np.diff(behind))

    def table(self) -> npt.NDArray[np.int32]:
        """(4, known pieces): type, next, harm, benefit of every piece."""
        return self._table[:, : len(self._known)]

    def forget_when_full(self) -> None:
        """Keeps memory flat over corpora of any size; what was identified before is void then."""
        if len(self._known) <= MAX_PIECES:
            return
        self._known.clear()
        self._reader.forget()
        self._slots[:] = _NONE

    def _look_up(self, prints: npt.NDArray[np.uint64]) -> Ints:
        """Pieces with these fingerprints; negative where none, or more than one, is known."""
        ids: Ints = self._slots.take(_slot(prints)).astype(np.int64)
        strange = self._prints.take(ids, mode="wrap") != prints
        ids[strange] = np.minimum(ids[strange], _NONE)
        return ids

    def _learn(self, piece: bytes, fingerprint: np.uint64) -> int:
        """A piece by its whole text; one that was never seen is read."""
        id = self._known.get(piece)
        if id is not None:
            return id
        id = len(self._known)
        if id == len(self._texts):
            self._texts = np.append(self._texts, np.empty(id, object))
            self._prints = np.append(self._prints, np.zeros(id, np.uint64))
            self._table = np.hstack((self._table, np.empty((4, id), np.int32)))
        slot = _slot(fingerprint)
        if self._slots[slot] == _NONE:
            self._slots[slot] = id
        elif self._prints[self._slots[slot]] == fingerprint:
            self._slots[slot] = _AMBIGUOUS  # both will be told apart by their whole text
        self._known[piece], self._texts[id], self._prints[id] = id, piece, fingerprint
        self._table[:, id] = self._reader.read(piece.decode("utf-8", "surrogatepass"))
        return id


def _fingerprints(joined: bytes, starts: Ints, ends: Ints) -> npt.NDArray[np.uint64]:
    """A few words of every piece and its length, mixed into one number.

    Args:
        joined: The texts with padding before and behind.
        starts: (pieces,) first byte of every piece.
        ends: (pieces,) byte behind every piece.
    """
    words = np.ndarray((len(joined) - 7,), "<u8", joined, strides=(1,))  # the eight bytes from every byte on
    lengths = ends - starts
    mixed = lengths.astype(np.uint64)
    for offset in _FROM_START:
        mixed *= _MULTIPLIER
        mixed ^= words[np.minimum(starts + offset, len(words) - 1)]
    endings = np.ndarray((len(joined) - _FROM_END + 1,), f"V{_FROM_END}", joined, strides=(1,))
    for column in endings[np.maximum(ends - _FROM_END, 0)].view("<u8").reshape(len(ends), -1).T:
        mixed *= _MULTIPLIER
        mixed ^= column
    short = np.flatnonzero(lengths < _FROM_END)  # words of a short piece reach into its neighbours
    mixed[short] = _short_fingerprints(words, starts[short], lengths[short])
    mixed *= _MULTIPLIER
    return mixed


def _short_fingerprints(words: npt.NDArray[np.uint64], starts: Ints, lengths: Ints) -> npt.NDArray[np.uint64]:
    """The first eight bytes, or as many as there are, and the length."""
    bits = (8 * np.minimum(lengths, 7)).astype(np.uint64)
    first: npt.NDArray[np.uint64] = words[np.minimum(starts, len(words) - 1)] & ((np.uint64(1) << bits) - np.uint64(1))
    return first * _MULTIPLIER ^ lengths.astype(np.uint64)


def _slot(fingerprints: Any) -> Any:
    return (fingerprints >> np.uint64(64 - _SLOT_BITS)).astype(np.intp)


def _text_object(inside: str) -> str | None:
    """The text of a JSON object with these contents, if it is one on its own."""
    text = "{" + inside + "}"
    try:
        json.loads(text)
    except ValueError:
        return None
    return text


def _object(inside: str) -> dict[str, object] | None:
    """A JSON object of exactly one key with a string."""
    text = _text_object(inside)
    pairs: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list) if text is not None else []
    if len(pairs) != 1 or not isinstance(pairs[0][1], str):
        return None
    return {pairs[0][0]: pairs[0][1]}
