"""The backend for OpenAI-compatible servers, against real HTTP on loopback."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from safetyanalyst.analyst import SafetyAnalyst
from safetyanalyst.errors import BackendError
from safetyanalyst.generation import generate
from safetyanalyst.generation.backends.openai import OpenAIBackend, OpenAIOptions, load
from safetyanalyst.generation.chats import Chat, Sampling, Turn
from safetyanalyst.generation.grammar import grammar_of
from safetyanalyst.policy import load_policy
from safetyanalyst.scenarios import Prompt
from safetyanalyst.taxonomy import load_taxonomy
from tests.generation.backends.misbehaving import Respond, breaks_off, completion, drips, raw, reply, says, serving, status

TAXONOMY = load_taxonomy()
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PROMPT = Prompt(id="p", text="How do I bake bread?")


def backend(url: str, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(OpenAIOptions(model="m", base_url=url, **({"timeout": 5.0, "transport_retries": 1} | options)))


def chats(n: int) -> list[Chat]:
    return [Chat(turns=(Turn(role="user", content=f"chat {i}"),)) for i in range(n)]


def refused_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


FAILURES: dict[str, Respond] = {
    "429": status(429),
    "500": status(500),
    "401": status(401),
    "breaks off": breaks_off,
    "html": raw(b"<html>gateway</html>", "text/html"),
    "garbage": raw(b"{{{{"),
    "other json": raw(b'{"choices": "none"}'),
    "no choices": raw(b'{"choices": []}'),
    "list": raw(b"[]"),
    "nothing": raw(b""),
    "filtered": says("User|32:7", "content_filter"),
    "refusal": says(None, refusal="I would rather not"),
    "no reason": says("-", None),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_the_completion_of_its_chat_and_never_raises(failure: str) -> None:
    with serving(FAILURES[failure]) as (url, _):
        (found,) = backend(url).complete(chats(1))
    assert found.finish == "error"
    assert found.error
    assert len(found.error) <= 500


def test_a_refused_connection_is_a_completion() -> None:
    (found,) = backend(refused_port()).complete(chats(1))
    assert found.finish == "error"
    assert "Connection" in found.error


def test_a_server_that_drips_is_left_when_the_time_is_up() -> None:
    with serving(drips(0.1)) as (url, _):
        start = time.monotonic()
        found = backend(url, timeout=0.6).complete(chats(4))
        elapsed = time.monotonic() - start
    assert [it.finish for it in found] == ["error"] * 4
    assert all("within 0.6 s" in it.error for it in found)
    assert elapsed < 6  # far below the time that the answer takes, with room for a busy machine


def test_a_long_pause_that_a_server_asks_for_is_within_the_deadline() -> None:
    with serving(status(429, retry_after="30")) as (url, _):
        start = time.monotonic()
        (found,) = backend(url, timeout=0.5).complete(chats(1))
    assert found.finish == "error"
    assert time.monotonic() - start < 6


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_failure_is_asked_again(code: int) -> None:
    with serving(status(code, times=2)) as (url, seen):
        (found,) = backend(url, transport_retries=3).complete(chats(1))
    assert (found.text, found.finish, found.attempts) == ("-", "stop", 3)
    assert len(seen.requests) == 3


def test_every_try_is_counted_be_it_in_vain() -> None:
    with serving(status(500)) as (url, seen):
        (found,) = backend(url, transport_retries=2).complete(chats(1))
    assert found.attempts == len(seen.requests) == 3


def test_null_counts_cost_no_answer() -> None:
    body = json.loads(completion("-")) | {"usage": {"prompt_tokens": None, "completion_tokens": None}}
    with serving(raw(json.dumps(body).encode())) as (url, _):
        (found,) = backend(url).complete(chats(1))
    assert (found.text, found.finish, found.prompt_tokens) == ("-", "stop", 0)


def test_a_prompt_that_is_no_chat_goes_where_no_template_wraps_it() -> None:
    body = {"choices": [{"text": "-", "finish_reason": "stop"}]}
    with serving(raw(json.dumps(body).encode())) as (url, seen):
        it = backend(url, limit_field="max_completion_tokens", omit=["seed", "temperature"])
        (found,) = it.complete([chats(1)[0].model_copy(update={"wrap": "none"})])
    assert (found.text, found.finish) == ("-", "stop")
    (request,) = seen.requests
    assert request["prompt"] == "chat 0"
    assert request["max_tokens"] == 1024
    assert not {"messages", "seed", "temperature", "max_completion_tokens"} & set(request)


def test_order_is_kept_and_one_failure_costs_nobody_else() -> None:
    def respond(handler: Any, request: dict[str, Any], n: int) -> None:
        said = request["messages"][-1]["content"]
        time.sleep(0.02 * (int(said[-1]) % 3))
        if said == "chat 3":
            return reply(handler, b"{}", 400)
        return reply(handler, completion(said.upper()))

    with serving(respond) as (url, seen):
        found = backend(url, concurrency=3).complete([*chats(6), chats(1)[0]])
    assert [it.text for it in found] == ["CHAT 0", "CHAT 1", "CHAT 2", "", "CHAT 4", "CHAT 5", "CHAT 0"]
    assert [it.finish for it in found] == ["stop", "stop", "stop", "error", "stop", "stop", "stop"]
    assert 1 < seen.most_at_once <= 3
    assert backend(url).complete([]) == []


def test_usage_and_finish_are_passed_on() -> None:
    with serving(says("User|32:7i", "length")) as (url, _):
        (found,) = backend(url).complete(chats(1))
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (30, 16, 7)
    assert (found.text, found.finish) == ("User|32:7i", "length")
    assert found.seconds > 0


def test_what_is_asked_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    with serving(says("-")) as (url, seen):
        it = backend(url, key_variable="MY_KEY", constrain="json_schema", style={"form": "json"}, extra_body={"top_k": 5})
        grammar = grammar_of("harm", TAXONOMY, form="json")
        it.complete(chats(1), grammar, Sampling(max_tokens=9, temperature=0.5, seed=3))
        vllm = backend(url, constrain="structured_outputs")
        vllm.complete(chats(1), grammar_of("harm", TAXONOMY))
        vllm.complete(chats(1), grammar)
    first, second, third = seen.requests
    assert first["authorization"] == "Bearer secret"
    assert (first["model"], first["max_tokens"], first["temperature"], first["seed"], first["top_k"]) == ("m", 9, 0.5, 3, 5)
    assert first["response_format"]["json_schema"]["schema"]["required"] == ["stakeholders"]
    assert first["response_format"]["json_schema"]["strict"] is True
    assert second["structured_outputs"]["regex"].startswith("-|")
    assert third["structured_outputs"]["json"]["type"] == "object"


def test_a_grammar_that_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(BackendError, match=r"constrain: none.*dense"):
        backend("http://127.0.0.1:1/v1").complete(chats(1), grammar_of("harm", TAXONOMY))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`model`: Field required"),
        ({"model": "m", "colour": "blue"}, "`colour`"),
        ({"model": "m", "sampling": {"temperature": -1}}, "`sampling.temperature`"),
        ({"model": "m", "constrain": "json_schema"}, "goes with style.form: json"),
        ({"model": "m", "base_url": "http://[::1/v1"}, "`base_url`"),
        ({"model": "m", "plan": "by_stakeholder", "style": {"form": "json"}}, "writes the dense form"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        load("harm", TAXONOMY, **options)


@pytest.mark.parametrize("failure", [*FAILURES, "empty", "truncated", "prose"])
def test_the_decision_after_a_failure_is_never_to_allow(failure: str) -> None:
    answers = {"empty": says(""), "truncated": says("User|45:7", "length"), "prose": says("I cannot help with that.")}
    with serving((FAILURES | answers)[failure]) as (url, _):
        options = {"model": "m", "base_url": url, "timeout": 5.0, "transport_retries": 0}
        pair = {kind: load(kind, TAXONOMY, **options) for kind in ("harm", "benefit")}
        (analysis,) = SafetyAnalyst(pair, load_policy("balanced"), TAXONOMY).analyze_many([PROMPT])
    assert analysis.decision != "allow"
    assert analysis.defects
    assert analysis.trees.harm is None or analysis.trees.harm.lost


def test_a_clean_answer_is_a_tree() -> None:
    with serving(says("User|32:7i1m|45:7i\n-|41:7i")) as (url, seen):
        (found,) = generate(load("harm", TAXONOMY, model="m", base_url=url, adapter="HarmReporter"), [PROMPT])
    assert found.tree is not None
    assert [it.name for it in found.tree.stakeholders] == ["User", "-"]
    assert (found.prompt_tokens, found.completion_tokens, found.attempts) == (30, 7, 1)
    assert (found.provenance.generator, found.provenance.model) == ("openai", "m+HarmReporter")
    assert seen.requests[0]["model"] == "HarmReporter"
    assert "> How do I bake bread?" in seen.requests[0]["messages"][1]["content"]
