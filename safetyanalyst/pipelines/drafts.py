"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside a file: it takes the file's name when the block ends well, and is gone otherwise.

    Args:
        path: The file; one that is there is replaced.
    """
    draft = path.with_name(f".{path.name}.unfinished")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
