"""Holds a model of transformers to a grammar, by llguidance: at every place only tokens that the grammar allows.

The mask is unpacked by numpy: the library's own application to torch tensors compiles for half a minute at its first call.
"""

from __future__ import annotations

from typing import Any

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
import torch
from transformers import LogitsProcessor

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.chats import Constraint, constraint_of
from safetyanalyst.generation.grammar import Grammar

HONOURED: tuple[Constraint, ...] = ("lark", "json_schema", "regex")
_COMPACT: Any = {"whitespace_flexible": False}  # free white space is where models run away


class GrammarProcessor(LogitsProcessor):
    """Masks the logits of a batch whose rows all write the same language.

    Args:
        tokenizer: Of llguidance.
        compiled: A grammar of llguidance.
        rows: How many texts are written.
    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, compiled: str, rows: int) -> None:
        self._matchers = [llguidance.LLMatcher(tokenizer, compiled) for _ in range(rows)]
        self._vocabulary = tokenizer.vocab_size
        self._mask = llguidance.numpy.allocate_token_bitmask(rows, tokenizer.vocab_size)
        self._eos = list(tokenizer.eos_tokens)
        self._has_ended = [False] * rows
        self._is_first = True

    def problems(self) -> list[str]:
        """Of every row what went wrong with its grammar; empty where nothing did."""
        return [it.get_error()[:500] if it.is_error() else "" for it in self._matchers]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) scores with minus infinity for what the grammar does not allow."""
        if not self._is_first:
            for i, token in enumerate(input_ids[:, -1].tolist()):
                self._has_ended[i] |= token in self._eos
                if not self._matchers[i].is_stopped():
                    self._matchers[i].consume_token(token)
        self._is_first = False
        for i, matcher in enumerate(self._matchers):
            if not matcher.is_stopped():
                llguidance.numpy.fill_next_token_bitmask(matcher, self._mask, i)
        bits = np.unpackbits(self._mask.view(np.uint8), axis=1, bitorder="little")[:, : self._vocabulary].astype(bool)
        for i, matcher in enumerate(self._matchers):
            if matcher.is_stopped():  # nothing can follow but the end; and behind the end comes padding
                bits[i] = self._has_ended[i]
                bits[i, self._eos] = True
        allowed = torch.from_numpy(bits).to(scores.device)
        width = scores.shape[1]
        if width > allowed.shape[1]:  # embeddings are often padded beyond the vocabulary
            allowed = torch.nn.functional.pad(allowed, (0, width - allowed.shape[1]))
        return scores.masked_fill(~allowed[:, :width], float("-inf"))


def compiled(grammar: Grammar, tokenizer: llguidance.LLTokenizer) -> str:
    """A grammar as llguidance takes it.

    Raises:
        BackendError: It has no description that llguidance takes, or a broken one.
    """
    how = constraint_of(grammar, HONOURED)
    if how == "lark":
        text = llguidance.LLMatcher.grammar_from_lark(grammar.lark or "")
    elif how == "json_schema":
        text = llguidance.LLMatcher.grammar_from_json_schema(grammar.json_schema or "", overrides=_COMPACT)
    elif how == "regex":
        text = llguidance.LLMatcher.grammar_from_regex(grammar.regex or "")
    else:
        raise BackendError(f"the form {grammar.form!r} has no grammar that llguidance takes")
    if problem := llguidance.LLMatcher.validate_grammar(text, tokenizer):
        raise BackendError(f"llguidance refuses the grammar: {problem[:300]}")
    return text


def tokenizer_of(tokenizer: Any, n_vocabulary: int, eos: list[int]) -> llguidance.LLTokenizer:
    """The tokenizer of a model as llguidance reads it; takes a second or two for a large vocabulary."""
    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=n_vocabulary, eos_token=eos)
