"""Compiles pieces.c into the package while it is built, if there is a C compiler. Without one the package is whole, but slower.

SAFETYANALYST_NO_COMPILE=1 leaves it out, for a wheel that installs everywhere.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

FOLDER = "safetyanalyst/pipelines"
# as in safetyanalyst/pipelines/compiled.py, which finds it there and looks whether it was made from this pieces.c
LIBRARY = "libpieces" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
SECONDS = 120


class CompiledPieces(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library into the wheel, and beside its source for those who work in the source tree."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles before a wheel is built."""
        if self.target_name != "wheel":
            return
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / LIBRARY
        beside = Path(self.root, FOLDER, LIBRARY)
        why_not = compile_library(Path(self.root, FOLDER, "pieces.c"), library)
        if why_not:
            self.app.display_info(f"safetyanalyst: without its compiled part ({why_not})")
            return
        with suppress(OSError):  # a source tree may be read-only, or the library in use
            put(library, beside)
        if version == "editable":
            return
        build_data["force_include"][str(library)] = f"{FOLDER}/{LIBRARY}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Cleans up."""
        del version, build_data, artifact_path
        if self.target_name == "wheel":
            self._folder.cleanup()


def compile_library(source: Path, library: Path) -> str:
    """Compiles, or says why not."""
    if os.environ.get("SAFETYANALYST_NO_COMPILE", "0") not in ("", "0"):
        return "SAFETYANALYST_NO_COMPILE is set"
    source_hash = int.from_bytes(hashlib.sha256(source.read_bytes()).digest()[:8], "big")
    how = ["-dynamiclib"] if sys.platform == "darwin" else ["-shared"]
    how += [] if sys.platform == "win32" else ["-fPIC", "-fvisibility=hidden"]
    options = ["-std=c99", "-O3", *how, f"-DSOURCE_HASH=UINT64_C({source_hash})", "-o", str(library), str(source)]
    why_not = "no C compiler was found"
    for compiler in compilers():
        try:
            done = subprocess.run([*compiler, *options], capture_output=True, timeout=SECONDS, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            why_not = f"{compiler[0]}: {type(error).__name__}"
            continue
        if done.returncode == 0 and library.is_file():
            return ""
        why_not = f"{compiler[0]} failed with status {done.returncode}"
    return why_not


def compilers() -> Iterator[list[str]]:
    """Commands of C compilers that are there, those first that somebody chose."""
    chosen = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    for command in dict.fromkeys(it for it in chosen if it):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            yield words


def platform_tag() -> str:
    """This platform; not "manylinux", which promises more than a compiler of any age keeps."""
    return next(tag.platform for tag in sys_tags() if "manylinux" not in tag.platform and "musllinux" not in tag.platform)


def put(library: Path, place: Path) -> None:
    """Copies in one step, so that nobody ever loads a half-written library."""
    file, name = tempfile.mkstemp(dir=place.parent, prefix=place.name)
    os.close(file)
    try:
        shutil.copy(library, name)
        os.replace(name, place)
    finally:
        Path(name).unlink(missing_ok=True)
