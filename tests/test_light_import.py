"""The core stays light: no language-model library, nothing slow before it is needed, no network."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"torch", "transformers", "vllm", "ray", "peft", "sklearn", "pandas", "tokenizers"}
RUNTIME = "onnxruntime"  # the embedded specialists run on it


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_no_library() -> None:
    assert not loaded_after("import safetyanalyst") & (HEAVY | {RUNTIME, "numpy", "scipy", "pydantic", "networkx"})


def test_a_whole_analysis_needs_no_heavy_library() -> None:
    statement = "from safetyanalyst import SafetyAnalyst\nSafetyAnalyst.from_config('embedded').analyze('hello there')"
    loaded = loaded_after(statement)
    assert not loaded & (HEAVY | {"networkx"})
    assert RUNTIME in loaded


def test_trees_that_are_there_are_scored_without_a_runtime() -> None:
    statement = (
        "from safetyanalyst.analyst import Assessor\nfrom safetyanalyst.policy import load_policy\n"
        "from safetyanalyst.taxonomy import load_taxonomy\nfrom safetyanalyst.trees import HarmBenefitTree\n"
        "policy = load_policy('balanced')\n"
        "Assessor(policy, load_taxonomy(policy.taxonomy)).assess(HarmBenefitTree(harm=None, benefit=None))"
    )
    assert not loaded_after(statement) & (HEAVY | {RUNTIME, "networkx"})


def test_help_loads_neither_numpy_nor_the_models() -> None:
    assert not loaded_after("import safetyanalyst.cli") & (HEAVY | {RUNTIME, "numpy", "scipy", "pydantic"})


def test_an_analysis_opens_no_socket() -> None:
    guard = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )
    loaded_after(guard + "from safetyanalyst import SafetyAnalyst\nSafetyAnalyst.from_config('embedded').analyze('hello')")
