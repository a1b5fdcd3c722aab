"""Speed and memory of the embedded specialists, every part in a process of its own; `benchmarks/speed.py` prints it.

A fresh process per part, because imports, threads and peak memory of one part would count for the next. Wall times are medians
of rounds in which all sides take turns, so that a noisy machine slows them alike; processor time stands beside. The sides: ours
(scenario -> trees -> decision), the TF-IDF judge trained on the texts that ship for training (a probability, no reasons), and,
where they are installed, torch and transformers running the pretrained encoder that ours was fine-tuned from (vectors alone).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.speed_sides import OURS, Side, cores, sides_of

LOADS = 5  # fresh processes
BATCH_CORES = 2
# A process that a large one starts inherits its peak memory: a small one between them keeps ours our own.
_BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
Figures = dict[str, Any]


class Prompts(NamedTuple):
    """Requests of about ten words, and the same with harmless sentences around them: about 35, and about 90 words."""

    short: list[str]
    middle: list[str]
    long: list[str]

    @property
    def all(self) -> list[str]:
        """In turns."""
        return [text for texts in zip(*self, strict=True) for text in texts]


class Times(NamedTuple):
    """Seconds of one side, one entry per round."""

    wall: list[float]
    processor: list[float]


def measure(config: str = "embedded", rounds: int = 5) -> Figures:
    """All figures by name, `embedded_...`; or `embedded_error` when the specialists cannot be loaded."""
    try:
        loads = [_in_fresh_process("load", config, rounds) for _ in range(LOADS)]
        imports = [_in_fresh_process("imports", config, rounds) for _ in range(LOADS)]
        single, batch = (_in_fresh_process(part, config, rounds) for part in ("single", "batch"))
    except ChildError as error:
        return {"embedded_error": str(error)}
    load = statistics.median(it["load_seconds"] for it in loads)
    return {
        "embedded_load_seconds": load,
        "embedded_load_seconds_least": min(it["load_seconds"] for it in loads),
        "embedded_load_to_imports_ratio": load / statistics.median(it["load_seconds"] for it in imports),
        "embedded_first_decision_seconds": statistics.median(it["first_decision_seconds"] for it in loads),
        "embedded_peak_megabytes": statistics.median(it["peak_megabytes"] for it in loads),
        **{f"embedded_single_{name}": value for name, value in single.items()},
        **{f"embedded_batch_{name}": value for name, value in batch.items()},
    }


class ChildError(Exception):
    """A process that measures has failed; the message is its last line."""


def prompts() -> Prompts:
    """What is timed."""
    from benchmarks.languages import REQUESTS
    from benchmarks.robust_texts import PADDINGS

    short = [text for texts in REQUESTS["English"] for text in texts]
    around = [(PADDINGS[i % len(PADDINGS)], PADDINGS[(i + 1) % len(PADDINGS)]) for i in range(len(short))]
    middle = [f"{before} {text} {behind}" for text, (before, behind) in zip(short, around, strict=True)]
    return Prompts(short, middle, [f"{' '.join(PADDINGS)} {text}" for text in short])


def load(config: str, rounds: int) -> Figures:
    """Seconds until a fresh process can decide and has decided; its peak memory after the prompts and one very long text."""
    began = time.perf_counter()
    from safetyanalyst.analyst import SafetyAnalyst

    analyst = SafetyAnalyst.from_config(config)
    loaded = time.perf_counter()
    analyst.analyze("What is the boiling point of water at sea level?")
    decided = time.perf_counter()
    import resource

    texts = prompts().all
    for _ in analyst.analyze_many([*texts, " ".join(texts * 4)]):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return {"load_seconds": loaded - began, "first_decision_seconds": decided - began, "peak_megabytes": peak}


def imports(config: str, rounds: int) -> Figures:
    """Seconds to import numpy and pydantic: how fast the machine starts anything of this kind."""
    began = time.perf_counter()
    import numpy  # noqa: F401
    import pydantic  # noqa: F401

    return {"load_seconds": time.perf_counter() - began}


def single(config: str, rounds: int) -> Figures:
    """Milliseconds a prompt, one after the other on one core."""
    _pin(1)
    texts = prompts()
    sides = sides_of(config)
    times = {name: Times([], []) for name in sides}
    lengths = {name: list[float]() for name in Prompts._fields}
    for judge in sides.values():
        judge(texts.short[:1])  # what is set up at the first call is not timed
    for _ in range(rounds):
        for name, judge in sides.items():
            wall, processor = _each(judge, texts.all)
            times[name].wall.append(statistics.median(wall))
            times[name].processor.append(processor / len(texts.all))
            if name == OURS:
                for i, length in enumerate(Prompts._fields):
                    lengths[length].append(statistics.median(wall[i :: len(lengths)]))
    return {
        "milliseconds": 1e3 * statistics.median(times[OURS].wall),
        "milliseconds_least": 1e3 * min(times[OURS].wall),
        "processor_milliseconds": 1e3 * statistics.median(times[OURS].processor),
        **{f"{name}_milliseconds": 1e3 * statistics.median(it) for name, it in lengths.items()},
        **_beside({name: statistics.median(it.wall) for name, it in times.items()}),
    }


def batch(config: str, rounds: int) -> Figures:
    """Prompts a second in one call, on two cores; each text is new to its side."""
    n_cores = _pin(BATCH_CORES)
    texts = prompts().all
    sides = sides_of(config)
    times = {name: Times([], []) for name in sides}
    for judge in sides.values():
        judge(texts[:2])
    for _ in range(rounds):
        for name, judge in sides.items():
            began = time.perf_counter(), time.process_time()
            judge(texts)
            times[name].wall.append((time.perf_counter() - began[0]) / len(texts))
            times[name].processor.append((time.process_time() - began[1]) / len(texts))
    seconds = {name: statistics.median(it.wall) for name, it in times.items()}
    return {
        "cores": n_cores,
        "prompts_per_second": 1 / seconds[OURS],
        "prompts_per_second_most": 1 / min(times[OURS].wall),
        "processor_milliseconds": 1e3 * statistics.median(times[OURS].processor),
        **_beside(seconds),
    }


def _beside(seconds: Mapping[str, float]) -> Figures:
    """The other sides, and our time as a multiple of theirs."""
    others = {name: it for name, it in seconds.items() if name != OURS}
    times = {f"{name}_milliseconds": 1e3 * it for name, it in others.items()}
    return times | {f"to_{name}_ratio": seconds[OURS] / it for name, it in others.items()}


def _each(judge: Side, texts: Sequence[str]) -> tuple[list[float], float]:
    """Wall seconds of every text alone, and the processor's of all."""
    wall = []
    processor = time.process_time()
    for text in texts:
        began = time.perf_counter()
        judge([text])
        wall.append(time.perf_counter() - began)
    return wall, time.process_time() - processor


def _pin(n: int) -> int:
    """Keeps this process to some cores, where the system can; says to how many."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
    return cores()


def _in_fresh_process(part: str, config: str, rounds: int) -> Figures:
    command = [sys.executable, "-c", _BETWEEN, sys.executable, __file__, part, "--config", config, "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ChildError(f"{part}: {lines[-1] if lines else f'exit status {done.returncode}'}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


PARTS = {"load": load, "imports": imports, "single": single, "batch": batch}


def main() -> None:
    """Measures one part in this process and prints it as JSON; or all of them without a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--config", default="embedded", help="run configuration of the specialists")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(PARTS[options.part](options.config, options.rounds) if options.part else measure(options.config)))


if __name__ == "__main__":
    main()
