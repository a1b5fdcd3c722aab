"""The sides that `embedded_speed` times: ours, the TF-IDF judge, and the pretrained encoder in torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

OURS, TFIDF, TORCH = "ours", "tfidf", "torch"
Side = Callable[[Sequence[str]], object]


def sides_of(config: str) -> dict[str, Side]:
    """Ours and the others that can run here, ready to judge.

    Args:
        config: Run configuration of ours.
    """
    from safetyanalyst.analyst import SafetyAnalyst

    analyst = SafetyAnalyst.from_config(config)
    sides: dict[str, Side] = {
        OURS: lambda texts: list(analyst.analyze_many(texts)),
        TFIDF: _tfidf(),
    }
    encoder = _torch()
    return sides if encoder is None else sides | {TORCH: encoder}


def _tfidf() -> Side:
    from benchmarks.tfidf_judge import TfidfJudge
    from safetyanalyst import resources
    from safetyanalyst.pipelines.train_data import read_contrast
    from safetyanalyst.scenarios import Prompt
    from safetyanalyst.taxonomy import load_taxonomy

    files = sorted((resources.folder("training") / "contrast").glob("*.jsonl"))
    judge = TfidfJudge.taught([it for file in files for it in read_contrast(file, load_taxonomy(), 1.0)])
    return lambda texts: judge.probabilities([Prompt(id="p", text=text) for text in texts])


def _torch() -> Side | None:
    """The pretrained encoder, in batches padded to their longest text; none where a library or the model is missing."""
    try:
        import torch
        from transformers import AutoModel

        from safetyanalyst.pipelines.train import base_folder
    except ImportError:
        return None
    from safetyanalyst.errors import ConfigError
    from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
    from safetyanalyst.pipelines.train_config import load_train_config

    try:
        folder = base_folder(load_train_config("embedded").encoder)
    except ConfigError:
        return None
    torch.set_num_threads(cores())
    vocabulary = Vocabulary(folder / "tokenizer.json")
    encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def encode(texts: Sequence[str]) -> None:
        tokens = sorted((vocabulary.joined([vocabulary.tokenize(text)]) for text in texts), key=len)  # little padding
        for start in range(0, len(texts), 32):
            ids = [torch.tensor(it) for it in tokens[start : start + 32]]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(it) for it in ids], batch_first=True)
            with torch.inference_mode():
                encoder(input_ids=padded, attention_mask=mask)

    return encode


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
