"""The results of a suite: in the terminal, as JSON, and as JUnit XML."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET  # only written, never read
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from safetyanalyst.pipelines.cases import Result
from safetyanalyst.pipelines.suites import Suite
from safetyanalyst.policy import Policy
from safetyanalyst.report.terminal import plain

_BADGES = {"passed": (" PASS  ", "green"), "failed": (" FAIL  ", "bold red"), "error": (" ERROR ", "bold yellow")}


def line(result: Result) -> RenderableType:
    """One result: whether it holds, and for one that does not, why it should and what came instead."""
    words, style = _BADGES[result.status]
    head = Text.assemble((words, f"{style} reverse"), f" {result.group}  ", (plain(result.name), "bold"))
    if result.status == "passed":
        head.append(f"  {plain(result.message)}", style="dim")
        return head
    return Group(head, Text(f"        because {plain(result.reason)}"), Text(f"        {plain(result.message)}", style=style))


def summary(results: Sequence[Result]) -> str:
    """How many hold."""
    counts = Counter(result.status for result in results)
    return (
        f"{len(results)} cases: {counts['passed']} hold, {counts['failed']} do not, {counts['error']} could not be run"
    )  # fmt: skip


def to_json(suite: Suite, policy: Policy, results: Sequence[Result]) -> dict[str, Any]:
    """The published form (docs/reviewing-a-change.md)."""
    counts = Counter(result.status for result in results)
    return {
        "suite": suite.name,
        "policy": {"name": policy.name, "version": policy.version, "hash": policy.hash},
        "passed": counts["passed"],
        "failed": counts["failed"],
        "errors": counts["error"],
        "cases": [result.model_dump() for result in results],
    }


def junit(suite: Suite, policy: Policy, results: Sequence[Result]) -> str:
    """JUnit XML in the form that build servers read: one test suite per key of the suite, one test case per case.

    What XML cannot hold (control characters, lone surrogates) is written as a visible escape.
    """
    top = ET.Element("testsuites", _counts(suite.name, results))
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    for group, members in groups.items():
        node = ET.SubElement(top, "testsuite", _counts(f"{suite.name}.{group}", members) | {"skipped": "0"})
        properties = ET.SubElement(node, "properties")
        for name, value in (("policy", policy.name), ("policy.version", policy.version), ("policy.hash", policy.hash)):
            ET.SubElement(properties, "property", {"name": name, "value": _sound(value)})
        for result in members:
            about = {"classname": _sound(f"{suite.name}.{group}"), "name": _sound(result.name), "time": f"{result.seconds:.3f}"}
            case = ET.SubElement(node, "testcase", about)
            if result.status != "passed":
                tag = "failure" if result.status == "failed" else "error"
                fault = ET.SubElement(case, tag, {"message": _sound(result.message), "type": group})
                fault.text = _sound(f"because {result.reason}\n{result.message}")
    ET.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(top, encoding="unicode")}\n'


def _counts(name: str, results: Sequence[Result]) -> dict[str, str]:
    counts = Counter(result.status for result in results)
    return {
        "name": _sound(name), "tests": str(len(results)), "failures": str(counts["failed"]), "errors": str(counts["error"]),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }  # fmt: skip


def _sound(text: str) -> str:
    """Text that XML 1.0 can hold; format characters, which could make a log show another text, are escaped too."""
    return "\n".join(
        "".join(c if unicodedata.category(c) != "Cn" or ord(c) & 0xFFFE != 0xFFFE else f"\\u{ord(c):04x}" for c in plain(line_))
        for line_ in text.split("\n")
    )
