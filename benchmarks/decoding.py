"""What a grammar costs, and what it gives: masks at a large vocabulary, and trees by a model that knows nothing.

    python benchmarks/decoding.py [--trees N] [--backend hf|vllm] [--json]

Masks: random walks through the grammar of the dense notation over the 131,072 tokens of a production tokenizer
(mistral-common), llguidance alone. Trees: a tiny random model, written by this script, is asked for N trees with the grammar
and for some without. With it all have to be trees within bounds; without it every answer has to be a record with defects, and
none an empty tree. Throughput stands side by side in one run, as a ratio. vLLM runs on the processor in an environment of its
own (`.ci/vllm`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1"}
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from safetyanalyst.generation.grammar import Bounds, grammar_of
from safetyanalyst.generation.specialist import Specialist
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Tree
from tests import tiny_lm

TAXONOMY = load_taxonomy()
BOUNDS = Bounds(stakeholders=4, actions=3, effects=3, letters=16)
_TEKKEN = "tekken_240911.json"


class _Wrapped:
    """A tokenizer as llguidance wraps it."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self.eos_token_id, self.bos_token_id = made.eos_id, made.bos_id
        n = made.num_special_tokens
        self.tokens = [made.id_to_byte_piece(i) if i >= n else b"\xff" + str(i).encode() for i in range(made.n_words)]
        self.special_token_ids = list(range(n))

    def __call__(self, text: bytes | str) -> list[int]:
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        found: list[int] = self._made.encode(said, bos=False, eos=False)
        return found


def masks(n_walks: int) -> dict[str, float]:
    """Milliseconds of a mask and a step of the matcher, median and mean, at the vocabulary of a production tokenizer."""
    import llguidance
    import llguidance.numpy
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    made = Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / _TEKKEN)
    start = time.perf_counter()
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Wrapped(made)))
    loaded = time.perf_counter() - start
    start = time.perf_counter()
    compiled = llguidance.LLMatcher.grammar_from_lark(grammar_of("harm", TAXONOMY).lark or "")
    llguidance.LLMatcher(tokenizer, compiled)
    compile_time = time.perf_counter() - start
    mask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
    rng = np.random.default_rng(0)
    taken: list[float] = []
    for _ in range(n_walks):
        matcher = llguidance.LLMatcher(tokenizer, compiled)
        for _ in range(200):
            start = time.perf_counter()
            llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: tokenizer.vocab_size]
            middle = time.perf_counter() - start
            allowed = np.flatnonzero(bits)
            token = int(rng.choice(allowed))
            if token == tokenizer.eos_token:
                break
            start = time.perf_counter()
            matcher.consume_token(token)
            taken.append(middle + time.perf_counter() - start)
            if matcher.is_stopped():
                break
    return {
        "vocabulary": tokenizer.vocab_size,
        "tokens": len(taken),
        "tokenizer_seconds": loaded,
        "compile_milliseconds": 1e3 * compile_time,
        "mask_milliseconds_median": 1e3 * statistics.median(taken),
        "mask_milliseconds_mean": 1e3 * statistics.mean(taken),
    }


def specialists(backend: str, folder: Path) -> dict[str, Specialist]:
    """The same tiny model, held to the grammar and not."""
    tiny_lm.write(folder)
    options: dict[str, Any] = {
        "model": str(folder / "base"), "retries": 0,
        "adapters": {"harm": str(folder / "harm"), "benefit": str(folder / "benefit")}, "adapter": "harm",
        "style": {"detail": "brief", "bounds": BOUNDS.model_dump()}, "sampling": {"max_tokens": 700, "temperature": 1.0},
    }  # fmt: skip
    if backend == "vllm":
        from safetyanalyst.generation.backends.vllm import load

        options["engine"] = {"max_model_len": 4096, "max_lora_rank": 8, "enforce_eager": True, "dtype": "float32"}
        # on the processor a prompt that is read in pieces and sampled with a seed of its own stops the engine
        options["engine"] |= {"enable_chunked_prefill": False, "max_num_batched_tokens": 65536, "max_num_seqs": 64}
        held = load("harm", TAXONOMY, **options)
    else:
        from safetyanalyst.generation.backends.hf import load

        held = load("harm", TAXONOMY, **options, batch_size=32)
    return {"held": held, "free": held.without_grammar()}


def within(tree: Tree) -> bool:
    people = tree.stakeholders
    return (
        len(people) <= BOUNDS.stakeholders
        and all(len(it.actions) <= BOUNDS.actions and len(it.name) <= BOUNDS.letters for it in people)
        and all(len(leaf.action.effects) <= BOUNDS.effects for leaf in tree.leaves())
    )


def trees(backend: str, n: int) -> dict[str, Any]:
    """What a model that knows nothing writes, with a grammar and without."""
    with tempfile.TemporaryDirectory() as folder:
        pair = specialists(backend, Path(folder))
        scenarios = [Prompt(id=f"p{i}", text=f"scenario {i}") for i in range(n)]
        few = scenarios[: max(1, n // 20)]
        found: dict[str, Any] = {}
        for name, asked in (("held", scenarios), ("free", few)):
            pair[name].generate(few[:4])  # what is compiled and loaded at first is no part of the rate
            start = time.perf_counter()
            answers = pair[name].generate(asked)
            seconds = time.perf_counter() - start
            codes = Counter(defect.code for it in answers for defect in it.defects)
            clean = [it.tree for it in answers if it.tree is not None and not it.defects]
            found[name] = {
                "asked": len(asked), "trees": sum(it.tree is not None and not it.tree.lost for it in answers),
                "within": sum(it.tree is not None and within(it.tree) for it in answers),
                "cut_off": codes["truncated"], "without_defects": len(clean),
                "empty_without_defects": sum(not it.stakeholders for it in clean),
                "defects": dict(codes), "tokens_per_second": sum(it.completion_tokens for it in answers) / seconds,
            }  # fmt: skip
    found["held_over_free_tokens_per_second"] = found["held"]["tokens_per_second"] / found["free"]["tokens_per_second"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--backend", choices=("hf", "vllm"), default="hf")
    parser.add_argument("--skip-masks", action="store_true", help="mistral-common is not needed then")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args()
    figures = {"masks": {} if options.skip_masks else masks(20), options.backend: trees(options.backend, options.trees)}
    print(json.dumps(figures, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
