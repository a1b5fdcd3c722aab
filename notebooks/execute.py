"""Executes the notebooks from top to bottom, each in a fresh kernel, and writes them without what changes from run to run.

    python notebooks/execute.py                  # all of them, in place
    python notebooks/execute.py --out FOLDER 1_first_look.ipynb

A notebook runs in a copy of this folder, against this source tree. The kernel is spoken to over files (Unix sockets), so that
nothing needs a network.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(notebook: Path, work: Path) -> nbformat.NotebookNode:
    """Executes one notebook; a cell that raises ends it with `nbclient.exceptions.CellExecutionError`.

    Args:
        notebook: Is left as it is.
        work: An empty folder for the copy, and for what the kernel writes of its own.
    """
    shutil.copytree(HERE, work / "notebooks", ignore=shutil.ignore_patterns("*.ipynb"))
    (work / "tmp").mkdir()
    manager = AsyncKernelManager(transport="ipc", ip=str(work / "k"), connection_file=str(work / "k.json"))
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "IPYTHONDIR": str(work / "ipython"),
        "TMPDIR": str(work / "tmp"),
        "OMP_NUM_THREADS": "1",  # sums come out alike on every machine
    }
    node = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        node,
        km=manager,
        timeout=120,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(work / "notebooks")}},
    )
    client.execute(env=env, cleanup_kc=True)  # a manager that is given is not shut down otherwise
    return cleaned(node)


def cleaned(node: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook without versions, times and other marks of the machine."""
    node.metadata = nbformat.from_dict(METADATA)
    for cell in node.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return node


def smaller(png: str) -> str:
    """A plot with 64 colours, a third of the size; base64 in, base64 out."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(64).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


def main() -> None:
    """Executes what the command line names."""
    parser = argparse.ArgumentParser(description="Executes the notebooks and writes them back.")
    parser.add_argument("names", nargs="*", help="notebooks of this folder; all by default")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; this folder by default")
    chosen = parser.parse_args()
    for notebook in [HERE / name for name in chosen.names] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory(prefix="nb-") as work:  # short: the name of a socket has at most 107 characters
            node = execute(notebook, Path(work))
        nbformat.write(node, chosen.out / notebook.name)
        print(f"{notebook.name}: {len(node.cells)} cells")


if __name__ == "__main__":
    main()
