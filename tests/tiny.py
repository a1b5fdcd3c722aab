"""A tiny encoder of random weights with a tokenizer of its own, as a package that training can start from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import AutoModel, BertConfig, BertModel

from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.pipelines import train_export
from safetyanalyst.pipelines.train_config import BaseEncoder, Decoding
from safetyanalyst.pipelines.train_network import Network, Sizes
from safetyanalyst.pipelines.train_targets import Judgements
from safetyanalyst.scenarios import Exchange, Message, Prompt, Scenario, ToolCall, Trajectory
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import TREE_KINDS

torch.set_num_threads(1)
TAXONOMY = load_taxonomy()
JUDGEMENTS = Judgements(TAXONOMY)
PACKAGE = "tiny_test_encoder"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("how", "do", "i", "steal", "repair", "the", "a", "from", "in", "of", "my", "stranger", "house", "without", "being"),
    *("seen", "ways", "to", "clean", "at", "night", "home", "kettle", "ladder", "bicycle", "garden", "violin", "curtain"),
    *(
        "sandwich",
        "pillow",
        "lantern",
        "carpet",
        "kitchen",
        "cellar",
        "attic",
        "office",
        "read",
        "mail",
        "send",
        "bank",
        "please",
    ),
)
DECODING = Decoding(row_threshold=0.3, effect_threshold=0.4, max_rows=4)


def write_package(site: Path) -> BaseEncoder:
    """Writes the package below `site`, and says how a configuration names it."""
    folder = site / PACKAGE / "model"
    folder.mkdir(parents=True)
    (site / PACKAGE / "__init__.py").write_text("", encoding="utf-8")
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *WORDS])
    tokenizer = Tokenizer(WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokens), **sizes), add_pooling_layer=False).save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return BaseEncoder(package=PACKAGE, sha256=digest, licence="none")


def vocabulary(site: Path) -> Vocabulary:
    """The tokenizer of the written package."""
    return Vocabulary(site / PACKAGE / "model" / "tokenizer.json")


def network(site: Path, *, seed: int = 0, std: float = 0.0, z: int = 16) -> Network:
    """A network around the written encoder; with `std` its own weights are drawn anew, so that no part of it is near zero."""
    encoder = AutoModel.from_pretrained(
        site / PACKAGE / "model", add_pooling_layer=False, attn_implementation="eager",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    actions = {kind: len(TAXONOMY.actions(kind)) for kind in TREE_KINDS}
    effects = {kind: len(TAXONOMY.effects(kind)) for kind in TREE_KINDS}
    levels = (len(TAXONOMY.extents) - 1, len(TAXONOMY.likelihoods) - 1)
    torch.manual_seed(seed)
    made = Network(encoder, Sizes(z, len(TAXONOMY.stakeholders), actions, effects, *levels, JUDGEMENTS.n))
    for name, parameter in made.named_parameters():
        if std and not name.startswith("encoder."):
            # what ships has sixteen bits: exactly the same numbers are run by both
            parameter.data = torch.randn(parameter.shape).mul(std).half().float()
    return made.eval()


def write_weights(folder: Path, site: Path, texts: Sequence[Scenario] = (), *, seed: int = 0) -> Path:
    """Writes weights of a random network as training does; the words of the texts are the ones it knows."""
    made = network(site, seed=seed, std=0.3)
    arrays = train_export.head_arrays(made, dict.fromkeys(TREE_KINDS, DECODING), train_export.seen_words(texts, 1))
    train_export.save(folder, made, arrays, "tiny", TAXONOMY, site / PACKAGE / "model" / "tokenizer.json")
    return folder


def prompt(text: str, id: str = "p") -> Prompt:
    """A prompt."""
    return Prompt(id=id, text=text)


def agent(request: str, *steps: tuple[str, str], id: str = "t") -> Trajectory:
    """An agent that is asked, and then calls a tool and gets a result, some times."""
    messages = [Message(role="user", content=request)]
    for i, (call, result) in enumerate(steps):
        calls = (ToolCall(id=str(i), name=call, arguments={"of": request}),)
        messages += [Message(role="assistant", content="", tool_calls=calls), Message(role="tool", content=result)]
    return Trajectory(id=id, messages=tuple(messages))


def scenarios() -> list[Scenario]:
    """One of each sort, and a long one of each sort that comes in several chunks."""
    rng = np.random.default_rng(0)
    long = " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=400))
    return [
        prompt("How do I steal the kettle from the kitchen?"),
        Exchange(id="x", prompt="How do I repair the violin?", response="In the attic of my house."),
        agent("Read my mail please", ("read_mail", "send the bank ways"), ("send_mail", long)),
        prompt(long, "long"),
        prompt("", "empty"),
        agent(long, ("clean", "at night")),
    ]
