"""A tiny model behind OpenAI's chat completions, over HTTP on loopback: what a team's own server is to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from safetyanalyst.generation.chats import Chat, Sampling, TextBackend, Turn
from safetyanalyst.generation.grammar import Grammar
from tests.generation.backends.misbehaving import completion, reply, serving


@contextmanager
def served(backend: TextBackend) -> Iterator[str]:
    """Serves a backend for as long as the block lasts; its base URL."""

    def respond(handler: BaseHTTPRequestHandler, request: dict[str, Any], n: int) -> None:
        import json

        turns = tuple(Turn(**message) for message in request["messages"])
        adapter = "" if request["model"] == "tiny" else request["model"]
        sampling = Sampling(**{key: request[key] for key in ("max_tokens", "temperature", "top_p", "seed")})
        held = request.get("structured_outputs", {})
        grammar = None
        if "regex" in held:
            grammar = Grammar(form="dense", regex=held["regex"])
        elif "json" in held:
            grammar = Grammar(form="json", json_schema=json.dumps(held["json"]))
        (found,) = backend.complete([Chat(turns=turns, adapter=adapter)], grammar, sampling)
        if found.finish == "error":
            return reply(handler, json.dumps({"error": {"message": found.error}}).encode(), 400)
        body = json.loads(completion(found.text, found.finish))
        body["usage"] |= {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
        return reply(handler, json.dumps(body).encode())

    with serving(respond) as (url, _):
        yield url
