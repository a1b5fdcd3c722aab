"""A Chromium for tests, when there is one: a page opens offline, and what it asks for or complains of is noted."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""


def reason_to_skip() -> str:
    """Why no browser can be driven here; empty when one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if CHROMIUM else "there is no chromium (apt-get install chromium)"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; one sandbox less, because containers run as root."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A report in a tab.

    Attributes:
        page: The tab.
        complaints: Messages on its console and errors nobody caught.
        requests: Everything that it asked for.
    """

    def __init__(self, browser: Any, file: Path, *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-ready]", timeout=60_000)

    def run(self, code: str, argument: object = None) -> Any:
        """The value of a JavaScript function."""
        return self.page.evaluate(code, argument)

    def shown_ids(self) -> list[str]:
        """Ids of all scenarios in the list, in its order."""
        ids: list[str] = self.run("() => SA.app.list.order.map((i) => SA.app.corpus.id(i))")
        return ids

    def decisions(self) -> list[str]:
        """Decisions of all scenarios as the sliders stand."""
        found: list[str] = self.run("() => Array.from(SA.app.model.decision, (code) => SA.DECISIONS[code])")
        return found

    def slider(self, name: str) -> Any:
        """The range input of a weight or setting."""
        return self.page.locator(f'.weight[data-name="{name}"] input[type=range]')

    def number(self, name: str) -> Any:
        """The number input of a weight or setting."""
        return self.page.locator(f'.weight[data-name="{name}"] input[type=number]')

    def type(self, name: str, value: float) -> None:
        """Types a weight."""
        self.number(name).fill(repr(value))
        self.number(name).press("Enter")

    def close(self) -> None:
        """Closes the tab."""
        self.context.close()


SCORE_MANY = """(packed) => {
  const bytes = Uint8Array.from(atob(packed.vectors), (c) => c.charCodeAt(0));
  const vectors = new Float64Array(bytes.buffer);
  const { model, edits } = SA.app;
  const k = model.raw.names.length;
  const out = new Float64Array(2 * model.n * (vectors.length / k));
  const decisions = [];
  for (let v = 0, at = 0; v < vectors.length; v += k) {
    model.evaluate({ ...edits.now, levels: vectors.subarray(v, v + k) });
    out.set(model.low, at);
    out.set(model.high, at + model.n);
    at += 2 * model.n;
    decisions.push(model.decision.join(""));
  }
  SA.app.model.evaluate(edits.now);
  const raw = new Uint8Array(out.buffer);
  let text = "";
  for (let i = 0; i < raw.length; i += 32768) text += String.fromCharCode(...raw.subarray(i, i + 32768));
  return [btoa(text), decisions.join("")];
}"""


def score_many(opened: Opened, vectors: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Intervals (vectors, 2, scenarios) and decisions (vectors, scenarios) under many weight vectors, by the page."""
    packed = base64.b64encode(np.ascontiguousarray(vectors, "<f8").tobytes()).decode()
    scores, decisions = opened.run(SCORE_MANY, {"vectors": packed})
    n = opened.run("() => SA.app.corpus.n")
    intervals = np.frombuffer(base64.b64decode(scores), "<f8").reshape(len(vectors), 2, n)
    return intervals, np.array(list(map(int, decisions))).reshape(len(vectors), n)
