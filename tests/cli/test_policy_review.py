from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from safetyanalyst import resources
from safetyanalyst.analyst import Assessor
from safetyanalyst.pipelines.dataset import StoredTrees, read_trees
from safetyanalyst.policy import dump_policy, load_policy
from safetyanalyst.taxonomy import load_taxonomy

Run = Callable[..., Any]
TAXONOMY = load_taxonomy()
BALANCED = load_policy("balanced")
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'>&amp;"
ROWS: list[dict[str, Any]] = [
    {"id": "doxx", "label": 1, "source": "forum", "harm": ["Person named | 41 | 5i3h 3i2m"], "benefit": []},
    {"id": "crush", "label": 0, "source": "forum", "harm": ["Person named | 41 | 5d2l"], "benefit": ["User | B19 | 9i4h"]},
    {"id": "phish", "label": 1, "source": "mail", "harm": ["Customers | 32 | 7i4h"], "benefit": []},
    {"id": HOSTILE, "source": HOSTILE, "harm": [f"{HOSTILE} | 41 | 5i3h"], "benefit": [f"{HOSTILE} | B19 | 9i1l"]},
    {"id": "torn", "harm": ["Person named | 41 | 5i?h", "?"], "benefit": []},
]


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{it if isinstance(it, str) else json.dumps(it)}\n" for it in rows), encoding="utf-8")
    return path


def policy(path: Path, **changes: Any) -> Path:
    weights = BALANCED.weights | changes.pop("weights", {})
    path.write_text(dump_policy(BALANCED.model_copy(update={"name": path.stem, "weights": weights} | changes)))
    return path


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    return written(tmp_path / "dev.jsonl", *ROWS)


@pytest.fixture
def lax(tmp_path: Path) -> Path:
    return policy(tmp_path / "lax.yaml", weights={"harm/action/privacy": 0.01})


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_diff_agrees_with_assessing_twice(sa: Run, trees: Path, lax: Path) -> None:
    done = sa("policy", "diff", "balanced", lax, "--on", trees, "--json")
    (found,) = done.lines
    assert (done.status, done.err) == (0, "")
    items = [it for it in read_trees(trees, TAXONOMY) if isinstance(it, StoredTrees)]
    before, after = (
        {it.id: Assessor(load_policy(name), TAXONOMY).assess(it.trees).decision for it in items} for name in ("balanced", lax)
    )
    flipped = {id for id in before if before[id] != after[id]}
    assert flipped == {"doxx", HOSTILE}
    assert {it["id"] for it in found["flipped"]} == flipped
    assert found["flips"] == {"total": 2, "harsher": 0, "milder": 2}
    assert found["decisions"]["all"]["block"]["review"] + found["decisions"]["all"]["block"]["allow"] == 2
    assert [it["name"] for it in found["weights"]] == ["harm/action/privacy"]
    assert found["by_action_group"] == [{"name": "privacy", "harsher": 0, "milder": 2, "moved": 2}]
    assert {it["name"] for it in found["by_stakeholder"]} == {"Person named", HOSTILE}
    assert found["rates"]["a"]["recall"] == found["rates"]["b"]["recall"] == 1.0
    assert found["rates"]["b"]["blocked_recall"] == 0.5
    for it in found["flipped"]:
        assert sum(part["value"] for part in it["parts"]) == pytest.approx(it["distance_b"] - it["distance_a"], abs=1e-12)
    assert [it["place"] for it in found["flipped"] if it["id"] == "doxx"] == ["dev:1"]


def test_the_table_is_plain_text_at_any_width(sa: Run, trees: Path, lax: Path) -> None:
    done = sa("policy", "diff", "balanced", lax, "--on", trees)
    assert done.status == 0
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    for words in (
        "2 of 5 decisions change (40.0%), 0 harsher, 2 milder",
        "By action group",
        "By source",
        "2 of 2",
        "privacy -",
    ):
        assert words in done.out
    assert max(map(len, done.out.splitlines())) <= 110
    assert "(1 of 2)" in sa("policy", "diff", "balanced", lax, "--on", trees, "--top", "1").out
    quiet = sa("policy", "diff", "balanced", lax, "--on", trees, "--quiet")
    assert quiet.out == "balanced -> lax: 2 of 5 decisions change (40.0%), 0 harsher, 2 milder\n"
    assert "Flipped" not in sa("policy", "diff", "balanced", "balanced", "--on", trees).out


def test_the_page_holds_hostile_texts_as_text_and_nothing_that_runs(sa: Run, trees: Path, lax: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert sa("policy", "diff", "balanced", lax, "--on", trees, written(tmp_path / "b.jsonl", "{"), "--html", out).status == 3
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "a", "form"} & set(page.tags)
    assert page.attributes <= {
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "scope",
        "lang",
        "role",
        "tabindex",
        "aria-label",
    }
    assert any("<script>alert(1)</script>" in it for it in page.texts)
    assert "\x1b" not in text
    assert "\u202e" not in text
    (rule,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert rule.startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in rule
    assert "prefers-color-scheme:dark" in text
    assert "Records that could not be read (1)" in text


def test_the_page_allows_its_own_style_by_its_hash(sa: Run, trees: Path, tmp_path: Path) -> None:
    import base64
    import hashlib

    out = tmp_path / "out.html"
    sa("policy", "diff", "balanced", "strict", "--on", trees, "--html", out)
    text = out.read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in text


def test_exit_statuses_of_diff(sa: Run, trees: Path, lax: Path, tmp_path: Path) -> None:
    run = ("policy", "diff", "balanced", lax, "--quiet", "--on", trees)
    assert [sa(*run, "--fail-on-flips", limit).status for limit in ("2", "1", "40%", "39.9%", "0")] == [0, 1, 0, 1, 1]
    broken = written(tmp_path / "broken.jsonl", "rubbish")
    done = sa(*run, broken)
    assert done.status == 3
    assert "broken:1: not readable as JSON" in done.err
    assert "1 record could not be read (review -> review)" in done.out
    assert sa("policy", "diff", "balanced", lax, "--on", broken, "--json").lines[0]["unread"]["total"] == 1
    assert sa(*run, broken, "--fail-on-flips", "1").status == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["balanced", "strict"], "--on"),
        (["balanced", "strict", "--on", "no-such.jsonl"], "no such file"),
        (["balanced", "no-such", "--on", "{trees}"], "no policy named 'no-such'"),
        (["balanced", "strict", "--on", "{empty}"], "no scenario"),
        (["balanced", "strict", "--on", "{trees}", "{trees}"], "a file is given twice"),
        (["balanced", "strict", "--on", "{trees}", "--fail-on-flips", "few"], "neither a whole number nor a percentage"),
        (["balanced", "{agents}", "--on", "{trees}"], "agents of agents@1"),
    ],
)
def test_mistakes_of_the_caller(sa: Run, trees: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    known = {
        "trees": trees, "empty": written(tmp_path / "empty.jsonl"),
        "agents": policy(tmp_path / "agents.yaml", taxonomy="agents-v1"),
    }  # fmt: skip
    done = sa("policy", "diff", *[argument.format(**known) for argument in arguments])
    assert done.status == 2
    assert says in " ".join(done.err.replace("│", " ").split())


def test_nothing_but_a_page_or_a_report_is_overwritten(sa: Run, trees: Path, lax: Path, tmp_path: Path) -> None:
    cases = suite(tmp_path / "cases.yaml", must_block=[case(tree="phish")])
    kept = {path: path.read_bytes() for path in (trees, lax, cases)}
    for path in kept:
        for run in (("diff", "balanced", lax, "--on", trees, "--html"), ("test", lax, "--suite", cases, "--junit")):
            done = sa("policy", *run, path)
            assert (done.status, done.out) == (2, "")
            assert "would be lost" in done.err
    assert {path: path.read_bytes() for path in kept} == kept
    for run, name in (
        (("diff", "balanced", lax, "--on", trees, "--html"), "p"),
        (("test", lax, "--suite", cases, "--junit"), "j"),
    ):
        assert [sa("policy", *run, tmp_path / name).status for _ in range(2)] == [0, 0]
        assert sa("policy", *run, tmp_path).status == 2
        assert sa("policy", *run, tmp_path / "no" / name).status == 2


def test_policies_of_two_taxonomies_meet_over_the_one_of_the_trees(sa: Run, trees: Path, tmp_path: Path) -> None:
    agents = policy(tmp_path / "agents.yaml", taxonomy="agents-v1")
    done = sa("policy", "diff", "balanced", agents, "--on", trees, "--taxonomy", "agents-v1", "--json")
    assert (done.status, done.lines[0]["flips"]["total"]) == (0, 0)


# -- policy test -----------------------------------------------------------------------------------------------------------


def suite(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump({"format": "safetyanalyst-suite/1", "name": "house", "trees": "dev.jsonl"} | content))
    return path


def case(**content: Any) -> dict[str, Any]:
    return {"reason": "it was agreed"} | content


def statuses(done: Any) -> list[str]:
    return [it["status"] for it in done.lines[0]["cases"]]


def test_every_expectation_and_every_source_of_a_case(sa: Run, trees: Path, config: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"id": "q", "text": "bread"}\n')
    chat = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "arson"}]
    path = suite(
        tmp_path / "cases.yaml",
        config=config,
        scenarios="s.jsonl",
        must_block=[case(tree="phish"), case(text="arson"), case(messages=chat), case(tree="crush", name="wrong")],
        must_allow=[case(harm=[], benefit=["User | B19 | 9i4h"])],
        must_review=[case(tree="torn", may_be_missing=True), case(text="unsure", may_be_missing=True)],
        must_not_allow=[case(tree="doxx")],
        must_not_block=[case(tree="crush"), case(scenario="q")],
        must_not_review=[case(tree="phish")],
        same_decision=[case(of=[{"tree": "doxx"}, {"tree": "phish"}]), case(of=[{"tree": "doxx"}, {"tree": "crush"}])],
    )
    done = sa("policy", "test", "balanced", "--suite", path, "--json")
    assert done.status == 1
    (found,) = done.lines
    failed = [(it["group"], it["name"]) for it in found["cases"] if it["status"] == "failed"]
    assert failed == [("must_block", "wrong"), ("same_decision", "same_decision[1]")]
    assert (found["passed"], found["failed"], found["errors"]) == (11, 2, 0)
    assert found["policy"]["hash"] == BALANCED.hash


@pytest.mark.parametrize(
    "content",
    [
        {"must_review": [case(tree="torn")]},
        {"must_not_allow": [case(tree="torn")]},
        {"must_review": [case(tree="nobody", may_be_missing=True)]},
        {"must_review": [case(tree="twice", may_be_missing=True)]},
        {"must_review": [case(tree="failed", may_be_missing=True)]},
        {"must_review": [case(tree="treeless", may_be_missing=True)]},
        {"must_review": [case(text="silent", may_be_missing=True)]},
        {"must_not_allow": [case(text="crash", may_be_missing=True)]},
        {"must_review": [case(messages=[{"role": "nobody"}], may_be_missing=True)]},
        {"same_decision": [case(of=[{"tree": "torn"}, {"tree": "torn"}])]},
        {"same_decision": [case(of=[{"tree": "nobody"}, {"tree": "nobody"}])]},
        {"flips": [case(baseline="balanced", total=100)]},
    ],
    ids=lambda content: next(iter(content)),
)
def test_a_case_that_cannot_be_run_is_never_a_pass(sa: Run, config: str, tmp_path: Path, content: dict[str, Any]) -> None:
    treeless = {
        "id": "treeless",
        "trees": {"harm": None, "benefit": None},
        "defects": [{"code": "empty_output", "path": "harm"}],
    }
    twice = [{"id": "twice", "harm": [], "benefit": []}] * 2
    written(tmp_path / "dev.jsonl", *ROWS, {"id": "failed", "error": "no"}, treeless, *twice)
    done = sa("policy", "test", "balanced", "--suite", suite(tmp_path / "cases.yaml", config=config, **content), "--json")
    assert (done.status, statuses(done)) == (3, ["error"])


def test_budgets_on_flips(sa: Run, trees: Path, lax: Path, tmp_path: Path) -> None:
    def run(**limits: Any) -> list[str]:
        path = suite(tmp_path / "cases.yaml", flips=[case(baseline="balanced", **limits)])
        return statuses(sa("policy", "test", lax, "--suite", path, "--json"))

    assert run(total=2) == run(total="40%") == run(milder=2, harsher=0) == ["passed"]
    assert run(total=1) == run(total="39%") == run(milder=1) == run(total=9, block_to_review=0, block_to_allow=0) == ["failed"]
    assert run(harmful_allowed=0, harmless_stopped="0%") == ["passed"]
    written(tmp_path / "more.jsonl", {"harm": ["x | 41 | 5i4h"], "benefit": []})
    assert run(total=2, on=["dev.jsonl", "more.jsonl"]) == ["failed"]
    assert run(harmful_allowed=0, on="more.jsonl") == ["error"]  # nothing there is labelled
    relative = suite(tmp_path / "cases.yaml", flips=[case(baseline="./lax.yaml", total=0)])
    assert sa("policy", "test", lax, "--suite", relative).status == 0
    assert sa("policy", "test", "balanced", "--suite", relative).status == 1


def test_junit_is_what_build_servers_read(sa: Run, trees: Path, tmp_path: Path) -> None:
    """The shape of the schema of Jenkins' xUnit plug-in (junit-10.xsd): these elements, these attributes, in this order."""
    harms = [case(tree="phish"), case(tree="crush", name=HOSTILE + "\x00\ufffe", reason="\x07 ]]> <failure/>")]
    path = suite(tmp_path / "cases.yaml", must_block=harms, must_review=[case(tree="torn")])
    out = tmp_path / "j.xml"
    assert sa("policy", "test", "balanced", "--suite", path, "--junit", out).status == 1
    top = ET.fromstring(out.read_text(encoding="utf-8"))
    assert (top.tag, dict(top.attrib) | {"time": ""}) == (
        "testsuites",
        {"name": "house", "tests": "3", "failures": "1", "errors": "1", "time": ""},
    )
    for node in top:
        assert node.tag == "testsuite"
        assert set(node.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}", node.attrib["time"])
        assert node[0].tag == "properties"
        assert {it.tag for it in node[1:]} == {"testcase"}
        assert int(node.attrib["tests"]) == len(node) - 1
        for it in node[1:]:
            assert set(it.attrib) == {"name", "classname", "time"}
            assert all(set(fault.attrib) == {"message", "type"} for fault in it)
    (fault,) = top.findall(".//failure")
    assert "<failure/>" in (fault.text or "")
    assert "\\u0007" in (fault.text or "")
    names = [it.attrib["name"] for it in top.iter("testcase")]
    assert "<script>alert(1)</script>" in names[1]
    assert "\\u0000\\ufffe" in names[1]
    assert len(top.findall(".//error")) == 1


def test_the_terminal_says_what_and_why(sa: Run, trees: Path, tmp_path: Path) -> None:
    path = suite(tmp_path / "cases.yaml", must_block=[case(tree="phish"), case(tree="crush", reason=HOSTILE)])
    done = sa("policy", "test", "balanced", "--suite", path)
    assert done.status == 1
    assert "PASS" in done.out
    assert "FAIL" in done.out
    assert "\x1b" not in done.out
    assert "2 cases: 1 hold, 1 do not, 0 could not be run" in done.out
    quiet = sa("policy", "test", "balanced", "--suite", path, "--quiet")
    assert "PASS" not in quiet.out
    assert "2 cases" not in quiet.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "the suite holds no case"),
        ({"must_blok": [case(tree="phish")]}, "did you mean 'must_block'"),
        ({"must_block": [{"tree": "phish"}]}, "must_block[0].reason: the key is missing"),
        ({"must_block": [case()]}, "found none of them"),
        ({"must_block": [case(tree="a", text="b")]}, "found tree and text"),
        ({"must_block": [case(harm=[])]}, "go together"),
        ({"must_block": [case(harm=["x | 32 | 7i9h"], benefit=[])]}, "must_block[0].harm: unknown_extent"),
        ({"must_block": [case(tree="a", config="embedded")]}, "the case has its own"),
        ({"must_block": [case(text="a", **{"from": "b"})]}, "names the file of a tree"),
        ({"must_block": [case(text="a", config="no-such")]}, "no config named 'no-such'"),
        ({"must_block": [case(tree="a", **{"from": "no.jsonl"})]}, "must_block[0].from: there is no such file"),
        ({"must_block": [case(scenario="a")]}, "give it `from`, or the suite scenarios"),
        ({"flips": [case(baseline="balanced")]}, "limits nothing"),
        ({"flips": [case(baseline="balanced", total="few")]}, "expected a whole number, or a share"),
        ({"flips": [case(baseline="balanced", total=-1)]}, "not negative"),
        ({"flips": [case(baseline="no-such", total=1)]}, "no policy named 'no-such'"),
        ({"flips": [case(baseline="balanced", total=1, on="no.jsonl")]}, "flips[0].on: there is no such file"),
        ({"format": "other/1"}, "unknown format 'other/1'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_of_the_author_of_a_suite(sa: Run, trees: Path, tmp_path: Path, content: dict[str, Any], says: str) -> None:
    done = sa("policy", "test", "balanced", "--suite", suite(tmp_path / "cases.yaml", **content))
    assert (done.status, done.out) == (2, "")
    assert says in " ".join(done.err.split())


def test_a_suite_runs_on_analyses_of_our_own(sa: Run, config: str, tmp_path: Path, prompts: Any) -> None:
    made = sa("analyze", "--file", prompts("arson", "bread"), "--config", config, "--json")
    (tmp_path / "dev.jsonl").write_text(made.out)
    path = suite(tmp_path / "cases.yaml", must_block=[case(tree="p0")], must_allow=[case(tree="p1")])
    assert sa("policy", "test", "wildjailbreak-v1", "--suite", path).status == 0


def test_a_taxonomy_beside_the_policy_is_found_from_anywhere(sa: Run, trees: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "ours.yaml").write_bytes((resources.folder("taxonomies") / "safetyanalyst-v1.yaml").read_bytes())
    mine = policy(home / "mine.yaml", taxonomy="ours.yaml", fit=None)
    cases = suite(tmp_path / "cases.yaml", must_block=[case(tree="phish")], flips=[case(baseline=str(mine), total=0)])
    for run in (
        ("policy", "diff", mine, "balanced", "--on", trees, "--quiet"),
        ("policy", "test", mine, "--suite", cases),
        ("explain", trees, "--policy", mine, "--id", "phish", "--quiet"),
    ):
        done = sa(*run)
        assert (done.status, done.err) == (0, "")


def test_a_share_that_is_met_exactly_is_not_exceeded(sa: Run, lax: Path, tmp_path: Path) -> None:
    doxx, crush = ROWS[0], ROWS[1]  # 9.2 / 100 * 750 is a little less than 69 in floating point
    many = written(
        tmp_path / "many.jsonl", *[doxx | {"id": f"d{i}"} for i in range(69)], *[crush | {"id": f"c{i}"} for i in range(681)]
    )
    run = ("policy", "diff", "balanced", lax, "--on", many, "--quiet", "--fail-on-flips")
    assert [sa(*run, limit).status for limit in ("9.2%", "9.19%")] == [0, 1]
    path = suite(
        tmp_path / "cases.yaml", trees="many.jsonl",
        flips=[case(baseline="balanced", total="9.2%"), case(baseline="balanced", total="9.19%")],
    )  # fmt: skip
    assert statuses(sa("policy", "test", lax, "--suite", path, "--json")) == ["passed", "failed"]
