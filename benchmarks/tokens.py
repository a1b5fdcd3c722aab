"""How many tokens a tree takes: the published JSON beside the notations, for two tokenizers of production models.

    python benchmarks/tokens.py [--trees FILE] [--json]

Without a file the trees are drawn in the shape that the paper reports (10 stakeholders, 3 to 10 actions of each, 3 to 7 effects
of each action). A file holds teacher trees, or published ones, as JSON lines; it then gives its own shape.

Sequential tokens are those that have to wait for one another: all of a tree that is written whole; of one that is written by
stakeholder, the list of names and the longest line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from safetyanalyst.generation.dense import to_dense
from safetyanalyst.generation.notation import from_row_list, to_json, to_published, to_rows
from safetyanalyst.generation.parsing import pair_from_json
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, Action, Effect, Stakeholder, Tree, TreeKind

TOKENIZERS = {
    "tekken (131k, byte-level BPE)": "tekken_240911.json",
    "SentencePiece v3 (32k, BPE)": "mistral_instruct_tokenizer_240323.model.v3",
}


class Row(NamedTuple):
    tokenizer: str
    published: float
    ours: float
    rows: float
    dense: float
    ratio: float
    of_tree: float
    share: float


def drawn(taxonomy: Taxonomy, n: int, seed: int = 0) -> list[Tree]:
    """Trees in the published shape, harm and benefit in turn."""
    rng = random.Random(seed)

    def effect(kind: TreeKind) -> Effect:
        return Effect(
            effect=rng.choice(taxonomy.effects(kind)).name,
            immediacy=rng.choice(("immediate", "downstream")),
            extent=rng.choice(taxonomy.extents).name,
            likelihood=rng.choice(taxonomy.likelihoods).name,
        )

    def action(kind: TreeKind) -> Action:
        effects = tuple(effect(kind) for _ in range(rng.randint(3, 7)))
        return Action(action=rng.choice(taxonomy.actions(kind)).name, effects=effects)

    def tree(kind: TreeKind) -> Tree:
        names = rng.sample(taxonomy.stakeholders, 10)
        people = (Stakeholder(name=it, actions=tuple(action(kind) for _ in range(rng.randint(3, 10)))) for it in names)
        return Tree(kind=kind, stakeholders=tuple(people))

    return [tree(TREE_KINDS[i % 2]) for i in range(n)]


def read(path: Path, taxonomy: Taxonomy) -> list[Tree]:
    """Teacher trees or published ones; those without effects say nothing here."""
    found: list[Tree | None] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        row: dict[str, Any] = json.loads(line) if line.strip() else {}
        if "harm" in row and "benefit" in row:
            found += [from_row_list(row[kind], kind, taxonomy).tree for kind in TREE_KINDS]
        elif "tree" in row:
            pair = pair_from_json(row["tree"], taxonomy).trees
            found += [pair.harm, pair.benefit]
    return [it for it in found if it is not None and any(True for _ in it.leaves())]


def tokenizer(name: str) -> Any:
    """Text -> number of tokens."""
    import mistral_common
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    path = Path(mistral_common.__file__).parent / "data" / name
    made = Tekkenizer.from_file(path) if path.suffix == ".json" else SentencePieceTokenizer(str(path))
    return lambda text: len(made.encode(text, bos=False, eos=False))


def measured(trees: list[Tree], taxonomy: Taxonomy) -> list[Row]:
    n = sum(1 for tree in trees for _ in tree.leaves())
    dense = [to_dense(it, taxonomy) for it in trees]
    published = [json.dumps(to_published(it, taxonomy)) for it in trees]
    ours = [json.dumps(to_json(it)) for it in trees]
    rows = [to_rows(it, taxonomy) for it in trees]
    found = []
    for label, name in TOKENIZERS.items():
        count = tokenizer(name)
        totals = [sum(map(count, texts)) for texts in (published, ours, rows, dense)]
        sequential = sum(
            count("\n".join(line.partition("|")[0] for line in lines)) + max(count(line.partition("|")[2]) for line in lines)
            for lines in (text.split("\n") for text in dense)
        )
        published_json, our_json, of_rows, of_dense = totals
        per_tree, share = of_dense / len(trees), sequential / of_dense
        ratio = published_json / of_dense
        found.append(Row(label, published_json / n, our_json / n, of_rows / n, of_dense / n, ratio, per_tree, share))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trees", type=Path, help="JSON lines of teacher trees or published trees")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args()
    taxonomy = load_taxonomy()
    trees = read(options.trees, taxonomy) if options.trees else drawn(taxonomy, 60)
    rows = measured(trees, taxonomy)
    if options.json:
        figures = {
            "trees": len(trees),
            "effects": sum(1 for tree in trees for _ in tree.leaves()),
            "json_over_notation_min": round(min(it.ratio for it in rows), 3),
            "sequential_share": round(max(it.share for it in rows), 3),
            "tokenizers": [it._asdict() for it in rows],
        }
        print(json.dumps(figures))
        return
    print("| tokenizer | published JSON | our JSON | rows | dense | JSON over dense | tokens of a tree | sequential share |")
    print("|---|---|---|---|---|---|---|---|")
    for it in rows:
        per = " | ".join(f"{value:.2f}" for value in it[1:5])
        print(f"| {it.tokenizer} | {per} | {it.ratio:.1f} | {it.of_tree:.0f} | {it.share:.2f} |")


if __name__ == "__main__":
    main()
