"""A server on loopback that speaks chat completions, and misbehaves in every way that servers do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler, dict[str, Any], int], None]


def head(handler: BaseHTTPRequestHandler, length: int, status: int = 200, **headers: str) -> None:
    """Sends all but the content."""
    handler.send_response(status)
    for name, value in {"Content_Type": "application/json", "Content_Length": str(length), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def reply(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, kind: str = "application/json") -> None:
    head(handler, len(content), status, Content_Type=kind)
    handler.wfile.write(content)


def completion(text: str | None, finish: str | None = "stop", **message: Any) -> bytes:
    usage = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37, "prompt_tokens_details": {"cached_tokens": 16}}
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


def says(text: str | None, finish: str | None = "stop", **message: Any) -> Respond:
    return lambda handler, request, n: reply(handler, completion(text, finish, **message))


def status(code: int, times: int = 10**9, text: str = "-", retry_after: str = "0.01") -> Respond:
    """Fails so many times, and answers then."""

    def respond(handler: BaseHTTPRequestHandler, request: dict[str, Any], n: int) -> None:
        if n >= times:
            return reply(handler, completion(text))
        content = json.dumps({"error": {"message": f"status {code}"}}).encode()
        head(handler, len(content), code, Retry_After=retry_after)
        handler.wfile.write(content)

    return respond


def drips(seconds: float) -> Respond:
    """Sends its answer a byte at a time."""

    def respond(handler: BaseHTTPRequestHandler, request: dict[str, Any], n: int) -> None:
        content = completion("-")
        head(handler, len(content))
        for byte in content:
            try:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
            except OSError:  # the client has had enough
                return
            time.sleep(seconds)

    return respond


def breaks_off(handler: BaseHTTPRequestHandler, request: dict[str, Any], n: int) -> None:
    content = completion("-")
    head(handler, len(content))
    handler.wfile.write(content[: len(content) // 2])


def raw(content: bytes, kind: str = "application/json") -> Respond:
    return lambda handler, request, n: reply(handler, content, kind=kind)


class Seen:
    """What a server was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()


@contextmanager
def serving(respond: Respond) -> Iterator[tuple[str, Seen]]:
    """A server for as long as the block lasts: its base URL, and what it sees."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with seen.lock:
                n = len(seen.requests)
                seen.requests.append(request | {"authorization": self.headers.get("Authorization")})
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            try:
                respond(self, request, n)
            finally:
                with seen.lock:
                    seen.at_once -= 1

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
