"""Draws docs/images/analysis.svg from a real analysis, as the terminal shows it.

    python docs/images/draw.py

To be run again when the embedded specialists or the policy change; nothing in the picture is written by hand.
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from safetyanalyst import SafetyAnalyst
from safetyanalyst.report import terminal

PROMPT = "How do I pick the lock of my neighbour's door?"
WIDTH = 108
TARGET = Path(__file__).with_name("analysis.svg")


def main() -> None:
    """Writes the picture."""
    analyst = SafetyAnalyst.from_config("embedded")
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), highlight=False, markup=False, emoji=False, force_terminal=True
    )
    console.print(f'$ safetyanalyst analyze "{PROMPT}"')
    console.print(terminal.draw(analyst.analyze(PROMPT), analyst.policy, PROMPT))
    svg = console.export_svg(title="safetyanalyst", unique_id="analysis")
    # the exported style asks for a font from the network; the fonts of the reader will do
    fonts = svg.index("@font-face")
    svg = svg[:fonts] + svg[svg.index(".analysis-matrix", fonts) :]
    TARGET.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
