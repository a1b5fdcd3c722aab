"""The encoder of the embedded specialists: chunks of tokens -> vectors, by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.embedded_wordpiece import WordPiece

Floats = npt.NDArray[np.float32]


class Vocabulary:
    """Text -> token ids, by the encoder's own tokenizer.

    Args:
        path: A `tokenizer.json`.

    Raises:
        BackendError: There is no such file, or it describes another tokenizer.
    """

    def __init__(self, path: Path) -> None:
        self._pieces = WordPiece.read(path)
        self._begin, self._end, self.unknown = (self._special(token) for token in ("[CLS]", "[SEP]", "[UNK]"))
        self.highest = max(self._pieces.vocabulary.values())

    def tokenize(self, text: str) -> list[int]:
        """Token ids, no special ones: what looks like a special token in a text is text."""
        return self._pieces.ids(text)

    def joined(self, parts: Sequence[Sequence[int]]) -> list[int]:
        """The parts of a chunk between separators, as the encoder wants them."""
        ids = [self._begin]
        for part in parts:
            ids += [*part, self._end]
        return ids

    def _special(self, token: str) -> int:
        found = self._pieces.vocabulary.get(token)
        if found is None:
            raise BackendError(f"the tokenizer has no token {token}")
        return found


class Encoder:
    """Runs the encoder, one chunk at a time, so that a text's vector never depends on what stands beside it in a batch.

    (Its activations are quantised by the range of a whole input: padding or neighbours would move it.) Several chunks run on
    several threads.

    Args:
        path: Of the ONNX file; input `ids` (1, tokens), output `vectors` (1, width).
        threads: That read chunks side by side.

    Raises:
        BackendError: The runtime cannot read the file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if not path.is_file():
            raise BackendError(f"there is no encoder of the embedded specialists at {path}")
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no base class
            raise BackendError(f"{path} does not hold an encoder: {str(error)[:200]}") from error
        self._threads = threads

    def encode(self, chunks: Sequence[list[int]]) -> Floats:
        """(chunks, width) vectors, in order."""
        if self._threads < 2 or len(chunks) < 2:
            return np.concatenate([self._run(chunk) for chunk in chunks])
        with ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate(list(pool.map(self._run, chunks)))

    def _run(self, chunk: list[int]) -> Floats:
        vector: Floats = self._session.run(None, {"ids": np.array([chunk], np.int64)})[0]
        return vector
