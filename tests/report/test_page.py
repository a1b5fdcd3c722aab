"""The page as text: it runs only what it brings, loads nothing, holds what it was given, and hostile texts stay texts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst import resources
from safetyanalyst.explanation import explain
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.pipelines.dataset import StoredTrees
from safetyanalyst.policy import FORMAT, Policy, load_policy, weights_by_name
from safetyanalyst.report import page
from safetyanalyst.report.page_columns import NO_TREE, Item, smallest, units_of, visible
from safetyanalyst.report.terminal import plain
from safetyanalyst.scenarios import ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.report.pages import EVIL, hostile, synthetic, texts_of, with_gaps
from tests.strategies import pairs

TAXONOMY = load_taxonomy()
BALANCED = load_policy("balanced")


class Elements(HTMLParser):
    """Start tags in order, and the raw text of each style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.is_open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append("")
        self.is_open = True

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            self.inside[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, text) for (name, attrs), text in zip(self.tags, self.inside, strict=True) if name == tag]


def render(items: list[Item], policy: Policy = BALANCED, **options: Any) -> str:
    return page.render(page.Reading(policy.bind(TAXONOMY), items), **options)


def data_of(text: str) -> dict[str, Any]:
    """What the page carries, unpacked without the page's own code."""
    (block,) = (text for attrs, text in Elements(text).of("script") if attrs.get("type") == "application/json")
    data: dict[str, Any] = json.loads(block)
    packed = data["columns"]
    numbers = zlib.decompress(base64.b64decode(packed["data"]), wbits=-15)
    data["columns"] = {
        name: np.frombuffer(numbers, np.dtype(kind).newbyteorder("<"), length, at).tolist()
        for name, kind, at, length in packed["directory"]
    }
    data["strings"] = json.loads(zlib.decompress(base64.b64decode(data["strings"]), wbits=-15))
    return data


def trees_in(data: dict[str, Any]) -> list[list[Any]]:
    """The trees that the columns tell of, side by side as nested lists."""
    strings, columns = data["strings"], {name: iter(column) for name, column in data["columns"].items()}
    scales = {"extent": "extents", "likelihood": "likelihoods", "immediacy": "immediacies"}

    def effect() -> list[str | None]:
        found: list[str | None] = [strings[next(columns["effect_name"])] or None]
        for name, scale in scales.items():
            levels = [*data["taxonomy"][scale], None]
            found.append(levels[next(columns[f"effect_{name}"])])
        return found

    def action() -> list[Any]:
        names = [strings[next(columns["action_name"])], strings[next(columns["action_words"])]]
        steps = [next(columns["steps"]) for _ in range(next(columns["action_steps"]))]
        return [*names, steps, [effect() for _ in range(next(columns["action_effects"]))]]

    def holder() -> list[Any]:
        return [strings[next(columns["holder_name"])], [action() for _ in range(next(columns["holder_actions"]))]]

    return [[[holder() for _ in range(next(columns["holders"]))] for _ in range(2)] for _ in range(data["scenarios"])]


def trees_given(trees: HarmBenefitTree) -> list[Any]:
    def effects(action: Any) -> list[Any]:
        return [[it.effect or None, it.extent, it.likelihood, it.immediacy] for it in action.effects]

    def actions(holder: Any) -> list[Any]:
        return [[visible(a.action or ""), visible(a.description), list(a.evidence), effects(a)] for a in holder.actions]

    sides = (trees.harm, trees.benefit)
    return [[[visible(h.name), actions(h)] for h in (() if side is None else side.stakeholders)] for side in sides]


def test_only_its_own_script_and_style_may_run_and_nothing_may_be_loaded() -> None:
    elements = Elements(render(synthetic(3, TAXONOMY)))
    (policy,) = (it["content"] for it, _ in elements.of("meta") if it.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    (style,) = (text for _, text in elements.of("style"))
    data, code = (text for _, text in elements.of("script"))
    for text, rule in ((style, "style-src"), (code, "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)
    assert rules["require-trusted-types-for"] == "'script'"
    tags = [tag for tag, _ in elements.tags]
    assert tags.index("meta") < tags.index("style") < tags.index("script")
    assert json.loads(data)["format"] == page.FORMAT


def test_no_element_points_outside_and_no_code_reaches_out_or_writes_markup() -> None:
    elements = Elements(render(synthetic(3, TAXONOMY)))
    for tag, attributes in elements.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("style", "srcdoc", "src", "action")
            assert name != "href" or str(value).startswith("#")
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
    style = page.asset("page.css")
    assert not re.search(r"url\(|@import|image-set|expression", style)
    ours = "\n".join(page.asset(f"{name}.js") for name in page.SCRIPTS)
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
    network = r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\b|localStorage|Worker\("
    assert not re.search(f"{markup}|{network}", ours)
    assert set(re.findall(r"https?://[^\s\"'`]+", ours)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"</script|<!--|]]>", page.script(), re.IGNORECASE)


def test_the_libraries_come_with_their_licences() -> None:
    for name in page.VENDORED:
        licence = page.asset(f"vendor/{name}.LICENSE")
        assert "Permission to use, copy, modify, and/or distribute" in licence
        assert licence in page.script()
        assert page.asset(f"vendor/{name}.min.js") in page.script()


def test_hostile_texts_are_nowhere_in_the_markup_and_nothing_invisible_is_left(tmp_path: Path) -> None:
    items = hostile(TAXONOMY)
    policy = BALANCED.model_copy(update={"name": EVIL[0], "description": EVIL[4]})
    sources = [EVIL[i % len(EVIL)] for i in range(len(items))]
    other = page.Reading(policy.bind(TAXONOMY), items)
    text = render(items, policy, against=other, examples=texts_of(items, tmp_path / "s.jsonl"), sources=sources, title=EVIL[0])
    benign = render(synthetic(1, TAXONOMY), against=page.Reading(BALANCED.bind(TAXONOMY), synthetic(1, TAXONOMY)))
    assert [tag for tag, _ in Elements(text).tags] == [tag for tag, _ in Elements(benign).tags]
    assert "window.hit" not in text.replace("&lt;/script&gt;&lt;script&gt;window.hit = 1&lt;/script&gt;", "").replace(
        "\\u003c/script\\u003e\\u003cscript\\u003ewindow.hit = 1\\u003c/script\\u003e", ""
    )
    text.encode("utf-8")
    data = data_of(text)
    assert plain(EVIL[6]) in "\n".join(data["strings"])
    for shown in (*data["strings"], data["title"], data["policy"]["name"], data["policy"]["description"]):
        assert all(line == plain(line) for line in shown.split("\n"))


def test_the_page_holds_the_trees_ids_labels_defects_and_conversations(tmp_path: Path) -> None:
    items = with_gaps(synthetic(6, TAXONOMY, n_effects=20))
    items.append(ReadFailure(id="broken", line=3, error="not JSON"))
    examples = texts_of(items[:2], tmp_path / "s.jsonl")
    data = data_of(render(items, examples=examples, sources=["here"] * len(items)))
    strings, columns = data["strings"], data["columns"]
    assert [strings[i] for i in columns["id"]] == [it.id for it in items]
    assert {strings[i] for i in columns["source"]} == {"here"}
    assert columns["label"] == [0, 1, 0, 1, 0, 1, 2]
    assert [data["types"][i] for i in columns["type"]] == ["trajectory"] * 2 + ["tree"] * 4 + ["unreadable"]
    assert [strings[i] for i in columns["error"]] == [""] * 6 + ["line 3: not JSON"]
    assert columns["messages"] == [4, 4, 0, 0, 0, 0, 0]
    assert columns["message_step"] == [-1, 0, 0, 1] * 2
    assert strings[columns["message_text"][2]] == "found s0\nin two lines"
    given = [trees_given(it.trees) if isinstance(it, StoredTrees) else [[], []] for it in items]
    assert trees_in(data) == given


@given(st.lists(pairs(), min_size=1, max_size=4))
def test_any_trees_come_back_from_the_columns(many: list[HarmBenefitTree]) -> None:
    items: list[Item] = [StoredTrees(id=str(i), trees=trees) for i, trees in enumerate(many)]
    assert trees_in(data_of(render(items))) == [trees_given(trees) for trees in many]


@given(
    pairs(),
    st.sampled_from(["both", "harms", "benefits"]),
    st.sampled_from(["group", "leaf"]),
    st.sampled_from(["none", "group"]),
    st.integers(0, 2**32 - 1),
)
def test_the_units_add_up_to_the_explained_score(trees: Any, analysis: Any, action: Any, effect: Any, seed: int) -> None:
    spec = FeatureSpaceSpec(analysis=analysis, action=action, effect=effect)
    space = FeatureSpace(TAXONOMY, spec)
    levels = space.levels_from_ratios(np.random.default_rng(seed).choice([0.0, 0.3, 0.71, 1.0], len(space.ratios.names)))
    policy = Policy(name="p", space=spec, weights=weights_by_name(space, levels))
    units = units_of([StoredTrees(id="x", trees=trees)], space)
    cells = space.levels.values(levels)
    edges = np.cumsum([0, *units.pattern_sizes])
    patterns = [cells[units.pattern_cells[a:b]] for a, b in pairwise(edges)]
    least = np.array([*cells, *(it.min() for it in patterns), 0.0])
    greatest = np.array([*cells, *(it.max() for it in patterns), 0.0])
    low, high = math.fsum(least[units.of_effect]), math.fsum(greatest[units.of_effect])
    high += math.inf if units.lost[0] and cells.max(initial=0.0) > 0 else 0.0
    low -= math.inf if units.lost[1] and cells.min(initial=0.0) < 0 else 0.0
    assert (low, high) == explain(trees, policy.bind(TAXONOMY)).interval
    assert units.counts.tolist() == [sum(len(list(t.leaves())) for t in (trees.harm, trees.benefit) if t is not None)]


def test_a_row_that_could_not_be_read_lacks_both_trees() -> None:
    units = units_of([ReadFailure(id="x", error="e")], FeatureSpace(TAXONOMY))
    assert units.lost.tolist() == [NO_TREE, NO_TREE]
    assert units.counts.tolist() == [0]


def test_the_pieces_of_the_policy_file_are_the_policy(tmp_path: Path) -> None:
    for name in resources.names("policies"):
        policy = load_policy(name)
        model = data_of(render(synthetic(1, TAXONOMY), policy))["policy"]
        assert model["hash"] == policy.hash
        assert model["document"][0] == ["format", f"format: {FORMAT}\n"]
        (tmp_path / "p.yaml").write_text("".join(text for _, text in model["document"]), encoding="utf-8")
        assert load_policy(tmp_path / "p.yaml").hash == policy.hash
        assert dict(zip(model["names"], model["levels"], strict=True)).items() <= policy.weights.items()


def test_readings_of_different_scenarios_are_refused() -> None:
    items = synthetic(3, TAXONOMY)
    with pytest.raises(ValueError, match="the same scenarios in the same order"):
        render(items, against=page.Reading(BALANCED.bind(TAXONOMY), items[::-1]))


def test_the_page_of_many_scenarios_stays_small() -> None:
    few, more = (len(render(synthetic(n, TAXONOMY))) for n in (50, 250))
    per_scenario = (more - few) / 200
    assert few + 4950 * per_scenario < 15e6


SMALLEST = [
    ([], "uint8"), ([0, 255], "uint8"), ([-1, 5], "int8"), ([256], "uint16"), ([-1, 200], "int16"), ([2**16], "uint32"),
    ([-1, 2**31 - 1], "int32"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kind"), SMALLEST)
def test_columns_take_the_smallest_type(values: list[int], kind: str) -> None:
    assert smallest(values).dtype.name == kind
    assert smallest(values).tolist() == values


def test_columns_refuse_what_no_type_holds() -> None:
    with pytest.raises(OverflowError):
        smallest([-1, 2**32 - 1])


@given(st.text())
def test_visible_texts_keep_their_lines_and_hide_nothing(text: str) -> None:
    shown = visible(text)
    assert shown.count("\n") == text.count("\n")
    assert [plain(line) for line in shown.split("\n")] == shown.split("\n")
