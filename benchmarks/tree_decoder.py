"""Structured heads or a small autoregressive decoder? Both on the same encoder, on one held-out fold.

    python benchmarks/tree_decoder.py --data FOLDER --work RUN [--fold 0] [--epochs 20] [--json]

RUN is the working folder of a finished `safetyanalyst train embedded`: its network of the fold, which has not seen the fold's
groups, is the encoder and the heads. The decoder is a transformer of two layers that reads the encoder's cached states (the
tokens of the first chunk, and the summary of the whole) and writes the tree token by token - stakeholder, action, then effect,
extent, likelihood and immediacy of each effect - greedily under the grammar of that order: every tree is valid. It learns from
the teacher trees of the other folds; the heads had texts without trees as well. Micro-F1 with 95 % percentile bootstrap over
scenarios, and AUROC of the fold's labels by the score of the trees under `balanced` (aligned on trees of heads).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.intervals import markdown, shown
from benchmarks.tree_cases import VIEWS, items
from benchmarks.tree_quality import micro_f1, scores
from safetyanalyst.generation.backends.embedded import tree_of
from safetyanalyst.generation.backends.embedded_heads import PredictedEffect, Row, TreeHeads
from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.pipelines import train, train_export
from safetyanalyst.pipelines.evaluate import Estimate, auroc
from safetyanalyst.pipelines.train_batches import Limits, encode, packed
from safetyanalyst.pipelines.train_config import TrainConfig, load_train_config
from safetyanalyst.pipelines.train_data import folds_of
from safetyanalyst.pipelines.train_loop import summaries
from safetyanalyst.pipelines.train_network import Network
from safetyanalyst.pipelines.train_texts import claim, read_texts
from safetyanalyst.scenarios import Scenario
from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
from safetyanalyst.trees import TREE_KINDS, HarmBenefitTree, Tree, TreeKind

_WIDTH, _LAYERS, _ATTENTION = 192, 2, 4
_TOKENS = 96  # of the first chunk that the decoder reads
_LONGEST = 120  # tokens of a tree
_BATCH = 32


class Grammar:
    """Tokens of the trees of one kind: what they mean, and which may follow which.

    Args:
        kind: "harm" or "benefit".
        taxonomy: Of the trees.
    """

    def __init__(self, kind: TreeKind, taxonomy: Taxonomy) -> None:
        self.kind, self.taxonomy = kind, taxonomy
        sizes = (len(taxonomy.stakeholders), len(taxonomy.actions(kind)), len(taxonomy.effects(kind)),
                 len(taxonomy.extents), len(taxonomy.likelihoods), 2)  # fmt: skip
        self.starts = np.cumsum([2, *sizes])  # 0 begins, 1 ends
        self.n = int(self.starts[-1])
        self.slot = np.full(self.n, -1)
        for k in range(len(sizes)):
            self.slot[self.starts[k] : self.starts[k + 1]] = k
        self.slot[1] = 6
        after = {-1: (0, 6), 0: (1,), 1: (2,), 2: (3,), 3: (4,), 4: (5,), 5: (0, 2, 6), 6: (6,)}
        self.allowed = torch.tensor(np.stack([np.isin(self.slot, after[int(slot)]) for slot in self.slot]))

    def tokens(self, tree: Tree) -> list[int]:
        """A teacher tree as tokens; rows whose stakeholder is not listed are left out."""
        tax, kind = self.taxonomy, self.kind
        names = [
            list(tax.stakeholders), [it.name for it in tax.actions(kind)], [it.name for it in tax.effects(kind)],
            [it.name for it in tax.extents], [it.name for it in tax.likelihoods], ["downstream", "immediate"],
        ]  # fmt: skip
        found = [0]
        for stakeholder in tree.stakeholders:
            for action in stakeholder.actions if stakeholder.name in tax.stakeholders else ():
                row = [(0, stakeholder.name), (1, action.action or "")]
                for it in action.effects:
                    row += [(2, it.effect or ""), (3, it.extent or ""), (4, it.likelihood or ""), (5, it.immediacy or "")]
                found += [int(self.starts[k]) + names[k].index(name) for k, name in row]
        return [*found[: _LONGEST - 1], 1]

    def tree(self, tokens: Sequence[int]) -> Tree:
        """Tokens as a tree; a row or an effect that was cut off is left out."""
        rows: list[tuple[int, int, list[PredictedEffect]]] = []
        held: list[int] = []
        for token in tokens:
            slot = int(self.slot[token])
            if slot == 0:
                rows.append((token - int(self.starts[0]), -1, []))
            elif slot == 1:
                rows[-1] = (rows[-1][0], token - int(self.starts[1]), [])
            elif slot in (2, 3, 4, 5):
                held = [token] if slot == 2 else [*held, token]
                if slot == 5:
                    effect, extent, likelihood, now = (t - int(self.starts[k]) for k, t in zip((2, 3, 4, 5), held, strict=True))
                    rows[-1][2].append(PredictedEffect(effect, now, extent, likelihood))
        whole = [Row(s, a, tuple(effects)) for s, a, effects in rows if effects]
        return tree_of(whole, self.kind, self.taxonomy.stakeholders, self.taxonomy, {})


class Memory(NamedTuple):
    """Cached states of n texts: (n, tokens, width), (n, tokens) whether there is one, (n, z)."""

    states: Tensor
    mask: Tensor
    z: Tensor

    def of(self, at: Tensor) -> Memory:
        """Of some texts."""
        return Memory(self.states[at], self.mask[at], self.z[at])


class Decoder(nn.Module):
    """Writes the tokens of a tree."""

    def __init__(self, grammar: Grammar, width: int, z: int) -> None:
        super().__init__()
        self.grammar = grammar
        self.tokens, self.places = nn.Embedding(grammar.n, _WIDTH), nn.Embedding(_LONGEST, _WIDTH)
        self.states, self.whole = nn.Linear(width, _WIDTH), nn.Linear(z, _WIDTH)
        layer = nn.TransformerDecoderLayer(_WIDTH, _ATTENTION, 4 * _WIDTH, dropout=0.2, batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, _LAYERS, nn.LayerNorm(_WIDTH))
        self.out = nn.Linear(_WIDTH, grammar.n)

    def forward(self, tokens: Tensor, memory: Memory) -> Tensor:
        """(n, length, tokens) logits of the next token; what the grammar forbids is -inf."""
        n, length = tokens.shape
        whole = self.whole(memory.z)[:, None]
        x = self.tokens(tokens) + self.places(torch.arange(length)) + whole
        read = torch.cat((whole, self.states(memory.states)), 1)
        hidden = torch.cat((torch.zeros(n, 1, dtype=torch.bool), ~memory.mask), 1)
        later = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        y = self.out(self.layers(x, read, tgt_mask=later, memory_key_padding_mask=hidden))
        logits: Tensor = y.masked_fill(~self.grammar.allowed[tokens], -torch.inf)
        return logits

    @torch.no_grad()
    def write(self, memory: Memory) -> list[list[int]]:
        """Greedily, all texts side by side."""
        self.eval()
        tokens = torch.zeros(len(memory.z), 1, dtype=torch.long)
        while tokens.shape[1] < _LONGEST and not (tokens[:, -1] == 1).all():
            tokens = torch.cat((tokens, self(tokens, memory)[:, -1].argmax(-1)[:, None]), 1)
        return [[t for t in row if t > 1] for row in tokens.tolist()]


def learn(decoder: Decoder, memory: Memory, trees: Sequence[list[int]], epochs: int, seed: int = 0) -> None:
    """Log loss of the teacher's tokens."""
    rng = np.random.default_rng(seed)
    steps = epochs * -(-len(trees) // _BATCH)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-3, weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    for _ in range(epochs):
        decoder.train()
        for at in _batches(trees, rng):
            width = max(len(trees[i]) for i in at)
            y = torch.tensor([trees[i] + [-1] * (width - len(trees[i])) for i in at])
            logits = decoder(y[:, :-1].clamp(min=0), memory.of(torch.tensor(at)))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), y[:, 1:].flatten(), ignore_index=-1)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimiser.step()
            rates.step()


def _batches(trees: Sequence[list[int]], rng: np.random.Generator) -> Iterator[list[int]]:
    order = rng.permutation(len(trees))
    for start in range(0, len(order), 16 * _BATCH):
        pool = sorted(order[start : start + 16 * _BATCH].tolist(), key=lambda i: len(trees[i]))
        for at in range(0, len(pool), _BATCH):
            yield pool[at : at + _BATCH]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--training", default="embedded")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = compared(load_train_config(options.training), options.data, options.work, options.fold, options.epochs)
    if options.json:
        print(json.dumps({name: {by: it.model_dump() for by, it in row.items()} for name, row in figures.items()}))
    else:
        rows = [(name, *(shown(it) for it in row.values())) for name, row in figures.items()]
        print(markdown(("held-out fold", *next(iter(figures.values()))), rows))


def compared(config: TrainConfig, data: Path, work: Path, at: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Every measure by both."""
    taxonomy = load_taxonomy(config.taxonomy)
    base = train.base_folder(config.encoder)
    network = train.new_network(config, taxonomy, base).cpu()
    network.load_state_dict(load_file(work / f"fold-{at}" / "best.safetensors"))
    network.load_state_dict(load_file(work / f"fold-{at}" / "heads.safetensors"), strict=False)
    network.eval()
    texts = read_texts(config, data, taxonomy)
    claim(work, config, texts)
    taught = texts.taught
    fold = folds_of([it.group for it in taught], config.folds, config.seed)
    held, shown_rows = np.flatnonzero(fold == at), np.flatnonzero(fold != at)
    memory = remembered(network, [it.scenario for it in taught], Vocabulary(base / "tokenizer.json"), config)
    ours: list[dict[TreeKind, Tree]] = [{} for _ in held]
    theirs: list[dict[TreeKind, Tree]] = [{} for _ in held]
    arrays = train_export.head_arrays(network, config.decoding, np.zeros(8, bool))
    for kind in TREE_KINDS:
        heads = TreeHeads(arrays, kind, len(taxonomy.extents))
        grammar = Grammar(kind, taxonomy)
        torch.manual_seed(config.seed)
        decoder = Decoder(grammar, memory.states.shape[2], memory.z.shape[1])
        trees = [getattr(taught[int(i)].trees, kind) for i in shown_rows]
        started = time.monotonic()
        learn(decoder, memory.of(torch.from_numpy(shown_rows)), [grammar.tokens(tree) for tree in trees], epochs)
        written = decoder.write(memory.of(torch.from_numpy(held)))
        print(f"{kind}: decoder taught and asked in {time.monotonic() - started:.0f} s", file=sys.stderr)
        for k, i in enumerate(held):
            rows = heads.rows(memory.z[int(i)].numpy())
            ours[k][kind] = tree_of(rows, kind, taxonomy.stakeholders, taxonomy, {})
            theirs[k][kind] = grammar.tree(written[k])
    truth = [taught[int(i)].trees for i in held]
    label = np.array([taught[int(i)].label for i in held])
    return _figures(truth, label, {"heads": _both(ours), "decoder": _both(theirs)}, taxonomy)


def _both(trees: Sequence[dict[TreeKind, Tree]]) -> list[HarmBenefitTree]:
    return [HarmBenefitTree(harm=it["harm"], benefit=it["benefit"]) for it in trees]


def _figures(
    truth: Sequence[HarmBenefitTree], label: Any, by: dict[str, list[HarmBenefitTree]], taxonomy: Taxonomy
) -> dict[str, dict[str, Any]]:
    found = {
        f"{kind}: {view}, micro-F1": {
            name: micro_f1([items(it, kind, view) for it in truth], [items(it, kind, view) for it in trees])
            for name, trees in by.items()
        }
        for kind in TREE_KINDS
        for view in VIEWS
    }
    found["AUROC of the label"] = {name: Estimate(value=auroc(label, scores(it, taxonomy))) for name, it in by.items()}
    return found


@torch.no_grad()
def remembered(network: Network, scenarios: Sequence[Scenario], vocabulary: Vocabulary, config: TrainConfig) -> Memory:
    """States of the first chunk of every text, and its summary."""
    limits = Limits(config.batch_items, config.batch_tokens, config.chunks)
    encoded = [encode(it, vocabulary, i) for i, it in enumerate(scenarios)]
    z = torch.from_numpy(summaries(network, encoded, limits, config.precision))
    n, width = len(encoded), network.query.shape[0]
    states, mask = torch.zeros(n, _TOKENS, width), torch.zeros(n, _TOKENS, dtype=torch.bool)
    heads = [it._replace(ids=it.ids[:1], steps=it.steps[:1]) for it in encoded]
    for batch, at in packed(heads, limits):
        for part in batch.padded:
            found = network.encoder(input_ids=part.ids, attention_mask=part.mask).last_hidden_state.float()
            rows = torch.tensor([at[int(i)] for i in part.at])
            long = min(found.shape[1], _TOKENS)
            states[rows, :long], mask[rows, :long] = found[:, :long], part.mask[:, :long].bool()
    return Memory(states, mask, z)


if __name__ == "__main__":
    main()
