"""Makes the stored trees that the documentation steers policies on: predictions for the development prompts, without any text.

    python -m benchmarks.make_development_trees FOLDER

FOLDER holds `prompts/dev_*.jsonl`. What is written (`docs/data/development-trees.jsonl`) are ids, sources, labels and the trees
of the embedded specialists in the compact notation; the prompts themselves stay where they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safetyanalyst import Analysis, SafetyAnalyst
from safetyanalyst.generation import notation
from safetyanalyst.scenarios import Example, read_examples

SETS = ("xstest", "simplesafetytests", "harmbench")
TARGET = Path(__file__).parents[1] / "docs" / "data" / "development-trees.jsonl"


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the development sets")
    data = parser.parse_args().data
    analyst = SafetyAnalyst.from_config("embedded")
    with TARGET.open("w", encoding="utf-8") as file:
        for name in SETS:
            examples = [it for it in read_examples(data / "prompts" / f"dev_{name}.jsonl") if isinstance(it, Example)]
            for example, analysis in zip(examples, analyst.analyze_many(examples), strict=True):
                assert isinstance(analysis, Analysis)  # every example was read
                sides = (("harm", analysis.trees.harm), ("benefit", analysis.trees.benefit))
                row: dict[str, Any] = {"id": analysis.id, "source": name, "label": example.label}
                row |= {kind: None if tree is None else notation.to_row_list(tree, analyst.taxonomy) for kind, tree in sides}
                file.write(json.dumps(row) + "\n")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
