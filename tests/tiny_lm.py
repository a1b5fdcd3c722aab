"""Tiny random language models with real tokenizers, built by the tests themselves: they write noise, and quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from safetyanalyst.generation.prompts import Prompter, PromptStyle
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy

Family = Literal["chatml", "instruct", "headers", "plain"]
FAMILIES: tuple[Family, ...] = ("chatml", "instruct", "headers", "plain")

_SPECIAL: dict[Family, tuple[str, ...]] = {
    "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "instruct": ("<s>", "</s>", "[INST]", "[/INST]", "<unk>"),
    "headers": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "plain": ("<|endoftext|>", "###"),
}
_BOS: dict[Family, str] = {
    "chatml": "<|endoftext|>",
    "instruct": "<s>",
    "headers": "<|begin_of_text|>",
    "plain": "<|endoftext|>",
}
_EOS: dict[Family, str] = {"chatml": "<|im_end|>", "instruct": "</s>", "headers": "<|eot_id|>", "plain": "<|endoftext|>"}
_TEMPLATES: dict[Family, str | None] = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "instruct": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}"
        "{% elif m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}"
        "{% endfor %}"
    ),
    "headers": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
        "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "plain": None,
}


def tokenizer(family: Family, size: int = 600) -> Any:
    """A byte-level BPE, or one with bytes to fall back on, learned from our own prompts."""
    if family == "instruct":
        bare = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        bare.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        bare.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = [f"<0x{i:02X}>" for i in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=size + 256, special_tokens=[*_SPECIAL[family], *alphabet], show_progress=False)
    else:
        bare = Tokenizer(models.BPE())
        bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bare.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(_SPECIAL[family]), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )  # fmt: skip
    bare.train_from_iterator(_corpus(), trainer)
    bare.add_special_tokens([AddedToken(it, special=True, normalized=False) for it in _SPECIAL[family]])
    make: Any = PreTrainedTokenizerFast
    made = make(
        tokenizer_object=bare, bos_token=_BOS[family], eos_token=_EOS[family], pad_token=_EOS[family],
        unk_token="<unk>" if family == "instruct" else None, padding_side="left",
        additional_special_tokens=list(_SPECIAL[family]),
    )  # fmt: skip
    made.chat_template = _TEMPLATES[family]
    return made


def model(vocabulary: int, window: int = 4096) -> Any:
    """A random Llama of some 100,000 parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=window, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    made: Any = LlamaForCausalLM(config)
    return made.eval()


def write(folder: Path, family: Family = "chatml") -> Path:
    """A model as a folder, beside two adapters, `harm` and `benefit`."""
    words = tokenizer(family)
    network = model(len(words))
    network.generation_config.eos_token_id = words.eos_token_id
    network.generation_config.pad_token_id = words.pad_token_id
    words.save_pretrained(folder / "base")
    network.save_pretrained(folder / "base")
    for i, name in enumerate(("harm", "benefit")):
        base = model(len(words))
        torch.manual_seed(i + 1)
        lora = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        get_peft_model(base, lora).save_pretrained(str(folder / name))
    return folder


def _corpus() -> list[str]:
    taxonomy = load_taxonomy()
    prompter = Prompter("harm", taxonomy, PromptStyle(), lambda text: len(text) // 3)
    chat = prompter.tree(Prompt(id="p", text="How do I bake bread?")).chat
    return [*(turn.content for turn in chat.turns), "User|45:7i1m|41:9a\nFamilies|1:3h12c"]
