"""The report as one HTML page that needs nothing else: no server, no network, no other file.

The page carries the stored trees as columns (`page_columns`), the policy as the products of its weights
(`FeatureSpace.levels`), and our scripts, which add up the same sum for every scenario when a slider moves. A content security
policy lets nothing run but these scripts, by their hashes, and lets nothing be loaded at all. Texts of scenarios and models
travel in base64 and reach the document as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import yaml

from safetyanalyst.policy import CLAIMS, BoundPolicy, dump_policy
from safetyanalyst.report.page_columns import (
    TYPES,
    Column,
    Columns,
    Item,
    Strings,
    add_scenarios,
    add_trees,
    smallest,
    units_of,
    visible,
)
from safetyanalyst.scenarios import Example
from safetyanalyst.version import __version__

FORMAT = "safetyanalyst-report/1"
VENDORED = ("d3-hierarchy",)
SCRIPTS = (
    "data", "score", "edits", "yaml", "dom", "list", "tree", "table", "conversation", "detail", "sliders", "overview", "main",
)  # fmt: skip
_CONTENT_SECURITY = "; ".join(
    (
        "default-src 'none'",
        "script-src '{script}'",
        "style-src '{style}'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",  # a script of ours that wrote markup would fail, whatever it wrote
        "trusted-types 'none'",
    )
)


class Reading(NamedTuple):
    """Stored trees as one policy sees them.

    Attributes:
        bound: The policy, bound to the taxonomy that the trees were read with.
        items: Trees of n scenarios, and those that could not be read.
    """

    bound: BoundPolicy
    items: Sequence[Item]


def render(
    reading: Reading,
    *,
    against: Reading | None = None,
    examples: Mapping[str, Example] | None = None,
    sources: Sequence[str] | None = None,
    title: str = "SafetyAnalyst report",
) -> str:
    """The page.

    Args:
        reading: The trees under the policy that the page steers.
        against: The same trees, in the same order, under a policy to compare with.
        examples: Scenarios by id, whose texts, labels and fields are joined.
        sources: For each scenario where it comes from, in words.
        title: Of the page.

    Returns:
        HTML, in ASCII.

    Raises:
        ValueError: The two readings are not of the same scenarios.
    """
    if against is not None and [it.id for it in against.items] != [it.id for it in reading.items]:
        raise ValueError("the two policies must be given the same scenarios in the same order")
    strings, columns = Strings(), Columns()
    strings.number("")
    add_trees(reading.items, columns, strings, reading.bound.space.taxonomy)
    add_scenarios(reading.items, examples or {}, sources or [""] * len(reading.items), columns, strings)
    arrays = columns.arrays()
    models = {"policy": _model(reading, "p", arrays)}
    if against is not None:
        models["against"] = _model(against, "q", arrays)
    data = {
        "format": FORMAT,
        "made_by": f"safetyanalyst {__version__}",
        "title": visible(title),
        "scenarios": len(reading.items),
        "types": TYPES,
        "taxonomy": _taxonomy(reading.bound),
        **models,
        "columns": _packed(arrays),
        "strings": _deflated(json.dumps(strings.texts).encode("ascii")),
    }
    return _assemble(data, visible(title))


def asset(name: str) -> str:
    """A file of `report/assets`."""
    return (files("safetyanalyst.report") / "assets" / name).read_text(encoding="utf-8")


def script() -> str:
    """Everything that runs in the page: the libraries with their licences, then our modules in order."""
    parts = [f"/*! {name}\n{asset(f'vendor/{name}.LICENSE')}*/\n{asset(f'vendor/{name}.min.js')}" for name in VENDORED]
    return "\n".join([*parts, *(asset(f"{name}.js") for name in SCRIPTS)])


def _model(reading: Reading, prefix: str, arrays: dict[str, Column]) -> dict[str, Any]:
    """A policy as the page needs it; its cells and the units of the effects go into the columns."""
    bound, policy, space = reading.bound, reading.bound.policy, reading.bound.space
    units = units_of(reading.items, space)
    arrays |= {f"{prefix}_{name}": column for name, column in units._asdict().items()}
    arrays[f"{prefix}_factors"] = smallest(space.levels.factors.ravel())
    arrays[f"{prefix}_sign"] = smallest(space.levels.sign.astype(np.int64))
    document = yaml.safe_load(dump_policy(policy))
    intervals = {} if policy.fit is None or policy.fit.bootstrap is None else policy.fit.bootstrap.intervals
    return {
        "name": visible(policy.name),
        "version": visible(policy.version),
        "description": visible(policy.description),
        "hash": policy.hash,
        "taxonomy": space.taxonomy.label,
        "kinds": space.spec.kinds,
        "names": space.levels.names,
        "levels": bound.levels.tolist(),
        "cells": space.n_cells,
        "order": space.order(),
        "intervals": intervals,
        "threshold": policy.threshold,
        "below": policy.review_band.below,
        "above": policy.review_band.above,
        "on_missing": policy.on_missing,
        "pins": _pins(bound),
        "claims": [claim for claim in CLAIMS if getattr(policy, claim) is not None and claim not in bound.lapsed],
        "edits": [edit.model_dump(mode="json", by_alias=True) for edit in policy.edits],
        # the file in pieces, so that the page changes what was edited and leaves every other word as it stands
        "document": [[key, _yaml({key: value})] for key, value in document.items()],
        "weights": policy.weights,
    }


def _pins(bound: BoundPolicy) -> dict[str, Any]:
    """Floors and ceilings by name, each with the policy that pinned it; the words of `on_missing` are 0 and 1."""
    found: dict[str, Any] = {}
    for name, it in bound.bounds.items():
        floor = None if it.floor_by is None else [it.floor, visible(it.floor_by.policy)]
        ceiling = None if it.ceiling_by is None else [it.ceiling, visible(it.ceiling_by.policy)]
        if floor or ceiling:
            found[name] = {"floor": floor, "ceiling": ceiling}
    return found


def _yaml(value: Mapping[str, object]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
    return text


def _taxonomy(bound: BoundPolicy) -> dict[str, Any]:
    taxonomy = bound.space.taxonomy
    return {
        "label": taxonomy.label,
        "groups": [[group.key, group.name] for group in taxonomy.action_groups],
        "effect_groups": [[group.key, group.name] for group in taxonomy.effect_groups],
        "group_of": {action.name: action.group for action in taxonomy.harm_actions},
        "extents": [level.name for level in taxonomy.extents],
        "likelihoods": [level.name for level in taxonomy.likelihoods],
        "immediacies": [level.name for level in taxonomy.immediacies],
    }


def _packed(arrays: Mapping[str, Column]) -> dict[str, Any]:
    """All columns behind one another, each at a multiple of 4 bytes, so that a browser can look at them where they lie."""
    directory: list[list[str | int]] = []
    pieces: list[bytes] = []
    at = 0
    for name, column in arrays.items():
        data = column.astype(column.dtype.newbyteorder("<")).tobytes()
        directory.append([name, column.dtype.name, at, len(column)])
        pieces.append(data + b"\0" * (-len(data) % 4))
        at += len(pieces[-1])
    return {"directory": directory, "data": _deflated(b"".join(pieces))}


def _deflated(data: bytes) -> str:
    """Raw deflate in base64: browsers inflate it by themselves, and `<` cannot occur."""
    squeeze = zlib.compressobj(9, wbits=-15)
    return base64.b64encode(squeeze.compress(data) + squeeze.flush()).decode("ascii")


def _assemble(data: Mapping[str, Any], title: str) -> str:
    style, code = asset("page.css"), script()
    block = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for c in "<>&":  # only inside strings do they occur, where JSON may write them as numbers
        block = block.replace(c, f"\\u{ord(c):04x}")
    security = _CONTENT_SECURITY.format(script=_hash(code), style=_hash(style))
    page = asset("page.html")
    filled = {"title": html.escape(title), "security": security, "style": style, "data": block, "script": code}
    head, *rest = page.split("{{")  # never look for a mark in what was put in
    return head + "".join(filled[piece.partition("}}")[0]] + piece.partition("}}")[2] for piece in rest)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
