"""The report page in Chromium: how long a slider's move takes until every scenario is scored and counted again, and its size.

    python benchmarks/report_page.py [--scenarios 5000] [--effects 60] [--moves 300] [--texts] [--json]

Trees are synthetic, made here. A move is an input event on a slider. The time is taken in the page, by performance.now around
the dispatch of the event: its handler scores every scenario, decides, counts, and updates counts, list, open scenario and
overview before it returns. The time to the next frame, which adds layout and paint, is given beside it; and so is a loop that
always does the same few milliseconds of work, timed in turns with the moves: what it takes beyond its median, others took.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.synthetic import published_tree
from safetyanalyst.pipelines.dataset import read_trees
from safetyanalyst.policy import load_policy
from safetyanalyst.report.page import Reading, render
from safetyanalyst.scenarios import Example, Prompt
from safetyanalyst.taxonomy import load_taxonomy
from tests.report.browser import Opened, chromium, reason_to_skip

TARGET_MS, TARGET_MB = 50.0, 15.0
MOVES = """async (moves) => {
  const inputs = [...document.querySelectorAll(".weight input[type=range]")];
  const event = [], frame = [], loop = [];
  const spin = (n) => { let x = 0; for (let i = 0; i < n; i++) x += Math.sqrt(i); return x; };
  for (const [which, share] of moves) {
    const input = inputs[which % inputs.length];
    input.value = String(Number(input.min) + share * (Number(input.max) - Number(input.min)));
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    event.push(performance.now() - start);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    frame.push(performance.now() - start);
    const again = performance.now();
    spin(4e6);
    loop.push(performance.now() - again);
  }
  return { event, frame, loop };
}"""
SCORE = """(times) => {
  const start = performance.now();
  for (let i = 0; i < times; i++) SA.app.model.evaluate(SA.app.edits.now);
  return (performance.now() - start) / times;
}"""


def main() -> None:
    """Makes the page, moves its sliders, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=5000)
    parser.add_argument("--effects", type=int, default=60)
    parser.add_argument("--moves", type=int, default=300, help="in each state of the page")
    parser.add_argument("--texts", action="store_true", help="join a text of about 1,500 characters to every scenario")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if reason := reason_to_skip():
        raise SystemExit(f"not measured: {reason}")
    figures = measure(options.scenarios, options.effects, options.moves, has_texts=options.texts)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:34} {value}" for name, value in figures.items()))


def measure(n: int, n_effects: int, n_moves: int, *, has_texts: bool) -> dict[str, Any]:
    """All figures; times in milliseconds."""
    rng = np.random.default_rng(0)
    taxonomy = load_taxonomy()
    trees = (published_tree(rng, taxonomy, n_effects) for _ in range(n))
    rows = (json.dumps({"id": f"s{i}", "label": i % 2, "tree": tree}).encode() for i, tree in enumerate(trees))
    items = list(read_trees(rows, taxonomy))
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "su", "te") for b in ("ran", "dol", "vik", "net")]
    texts = {it.id: Example(scenario=Prompt(id=it.id, text=" ".join(rng.choice(words, 280)))) for it in items if has_texts}
    start = time.perf_counter()
    page = render(Reading(load_policy("balanced").bind(taxonomy), items), examples=texts)
    figures: dict[str, Any] = {"scenarios": n, "effects": n_effects, "render_seconds": round(time.perf_counter() - start, 2)}
    figures["megabytes"] = round(len(page.encode()) / 1e6, 2)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        start = time.perf_counter()
        opened = Opened(browser, path)
        figures["open_seconds"] = round(time.perf_counter() - start, 2)
        figures["score_all_ms"] = round(opened.run(SCORE, 50), 2)
        figures |= moves(opened, rng, n_moves, "overview")
        opened.run("() => SA.app.select(SA.app.list.order[0], true)")
        figures |= moves(opened, rng, n_moves, "scenario")
    for part in ("median", "p95", "max"):
        worst = max(figures[f"{state}_event_{part}"] for state in ("overview", "scenario"))
        figures[f"{part}_within_50_ms"] = worst <= TARGET_MS
    figures["below_15_mb"] = figures["megabytes"] < TARGET_MB
    return figures


def moves(opened: Opened, rng: np.random.Generator, n: int, state: str) -> dict[str, float]:
    """Times of n moves of random sliders with one half of the page open."""
    wanted = [[int(rng.integers(1000)), float(rng.random())] for _ in range(n)]
    found = opened.run(MOVES, wanted)
    figures: dict[str, float] = {}
    for name, times in found.items():
        parts = {"median": np.median(times), "p95": np.percentile(times, 95), "max": np.max(times)}
        figures |= {f"{state}_{name}_{part}": round(float(value), 1) for part, value in parts.items()}
    return figures


if __name__ == "__main__":
    main()
