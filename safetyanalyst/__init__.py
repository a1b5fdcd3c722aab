"""SafetyAnalyst: AI-safety decisions computed from reasons that people can read."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from safetyanalyst.version import __version__

if TYPE_CHECKING:
    from safetyanalyst.analyst import Analysis, Assessor, FailedItem, SafetyAnalyst
    from safetyanalyst.policy import Policy, load_policy
    from safetyanalyst.scenarios import Exchange, Message, Prompt, ToolCall, Trajectory, read_examples
    from safetyanalyst.taxonomy import Taxonomy, load_taxonomy
    from safetyanalyst.trees import HarmBenefitTree, Tree

# name -> module, loaded when first asked for, so that `import safetyanalyst` costs nothing
_PUBLIC = {
    "Analysis": "analyst",
    "Assessor": "analyst",
    "Exchange": "scenarios",
    "FailedItem": "analyst",
    "HarmBenefitTree": "trees",
    "Message": "scenarios",
    "Policy": "policy",
    "Prompt": "scenarios",
    "SafetyAnalyst": "analyst",
    "Taxonomy": "taxonomy",
    "ToolCall": "scenarios",
    "Trajectory": "scenarios",
    "Tree": "trees",
    "load_policy": "policy",
    "load_taxonomy": "taxonomy",
    "read_examples": "scenarios",
}

__all__ = [
    "Analysis",
    "Assessor",
    "Exchange",
    "FailedItem",
    "HarmBenefitTree",
    "Message",
    "Policy",
    "Prompt",
    "SafetyAnalyst",
    "Taxonomy",
    "ToolCall",
    "Trajectory",
    "Tree",
    "__version__",
    "load_policy",
    "load_taxonomy",
    "read_examples",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'safetyanalyst' has no attribute {name!r}")
    return getattr(importlib.import_module(f"safetyanalyst.{module}"), name)
