"""The report in Chromium: what a policy owner does with it, and what hostile texts try."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetyanalyst import Assessor
from safetyanalyst.aggregation import harmfulness_interval
from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
from safetyanalyst.pins import Pin
from safetyanalyst.pipelines.dataset import StoredTrees
from safetyanalyst.policy import Policy, ReviewBand, dump_policy, load_policy, weights_by_name
from safetyanalyst.report import page
from safetyanalyst.report.page_columns import Item
from safetyanalyst.report.terminal import plain
from safetyanalyst.scenarios import Example, ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import HarmBenefitTree
from tests.labels import claimed
from tests.report.browser import Opened, chromium, reason_to_skip, score_many
from tests.report.pages import EVIL, hostile, synthetic, texts_of, with_gaps

pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "a browser is there")

TAXONOMY = load_taxonomy()
BALANCED, STRICT = load_policy("balanced"), load_policy("strict")
DECISIONS = ("allow", "review", "block")
PRIVACY, BENEFITS = "harm/action/privacy", "benefit/relative_weight"
Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Renders and opens a page; afterwards no page may have complained, or asked for anything but itself."""
    opened: list[Opened] = []

    def one(
        items: list[Item], policy: Policy = BALANCED, *, against: Policy | None = None,
        examples: dict[str, Example] | None = None, **options: Any,
    ) -> Opened:  # fmt: skip
        sources = [str(it.fields.get("source", "file")) if isinstance(it, StoredTrees) else "file" for it in items]
        other = None if against is None else page.Reading(against.bind(TAXONOMY), items)
        text = page.render(page.Reading(policy.bind(TAXONOMY), items), against=other, examples=examples, sources=sources)
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        opened.append(Opened(browser, path, **options))
        return opened[-1]

    yield one
    for it in opened:
        assert it.complaints == []
        assert [url for url in it.requests if not url.startswith(("file:///", "blob:"))] == []
        assert sum(url.startswith("file:") for url in it.requests) == 1
        it.close()


def decided(items: list[Item], policy: Policy) -> list[str]:
    """What Python decides."""
    assessor = Assessor(policy, TAXONOMY)
    return [assessor.assess(it.trees).decision if isinstance(it, StoredTrees) else assessor.fail(it).decision for it in items]


def flips(before: list[str], after: list[str]) -> dict[str, int]:
    codes = {name: str(code) for code, name in enumerate(DECISIONS)}
    return dict(Counter(codes[a] + codes[b] for a, b in zip(before, after, strict=True) if a != b))


def flips_shown(opened: Opened) -> dict[str, int]:
    found: dict[str, int] = opened.run(
        "() => Object.fromEntries([...document.querySelectorAll('[data-flip]')]"
        ".map((it) => [it.dataset.flip, Number(it.textContent.split(' ')[0].replaceAll(',', ''))]))"
    )
    return found


def steered(policy: Policy, name: str, value: float) -> Policy:
    return policy.model_copy(update={"weights": policy.weights | {name: value}})


def signed(value: float) -> str:
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}"


def mixed(n: int = 150) -> list[Item]:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 40, n)
    items = [it for i, size in enumerate(sizes) for it in synthetic(1, TAXONOMY, n_effects=int(size), seed=100 + i)]
    sources = ("web", "agents", "chat")
    renamed: list[Item] = [
        it.model_copy(update={"id": f"m{i}", "label": i % 2, "fields": {"source": sources[i % 3]}})
        for i, it in enumerate(items)
    ]
    return [*with_gaps(renamed), ReadFailure(id="broken", line=9, error="not JSON")]


def test_scores_and_decisions_equal_python_s_under_a_thousand_random_weight_vectors(show: Open) -> None:
    items = mixed()
    banded = BALANCED.model_copy(update={"threshold": 0.15, "review_band": ReviewBand(below=0.3, above=0.2)})
    opened = show(items, banded)
    bound = banded.bind(TAXONOMY)
    rng = np.random.default_rng(0)
    levels = rng.random((1000, len(bound.levels)))
    levels[rng.random(levels.shape) < 0.05] = 0.0
    levels[rng.random(levels.shape) < 0.05] = 1.0
    ratios = rng.random((500, len(bound.space.ratios.names)))
    levels[500:] = [bound.space.levels_from_ratios(it) for it in ratios]
    levels[0], levels[1] = 0.0, 1.0
    intervals, decisions = score_many(opened, levels)
    matrix = bound.space.featurize([it.trees for it in items if isinstance(it, StoredTrees)])
    for i, vector in enumerate(levels):
        low, high = harmfulness_interval(matrix, vector)
        np.testing.assert_allclose(intervals[i, 0, :-1], low, rtol=0, atol=1e-9)
        np.testing.assert_allclose(intervals[i, 1, :-1], high, rtol=0, atol=1e-9)
        expected = [bound.decide(a, b)[0] for a, b in zip(low, high, strict=True)]
        assert [DECISIONS[code] for code in decisions[i, :-1]] == expected
    assert (intervals[:, 0, -1] == -math.inf).all()
    assert {DECISIONS[code] for code in decisions[:, -1]} == {"review"}


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpaceSpec(action="leaf", effect="group"),
        FeatureSpaceSpec(analysis="harms"),
        FeatureSpaceSpec(analysis="benefits", effect="group"),
    ],
    ids=["leaf", "harms", "benefits"],
)
def test_other_feature_spaces_score_alike(show: Open, spec: FeatureSpaceSpec) -> None:
    items = mixed(40)
    space = FeatureSpace(TAXONOMY, spec)
    rng = np.random.default_rng(3)
    vectors = np.array([space.levels_from_ratios(rng.random(len(space.ratios.names))) for _ in range(20)])
    policy = Policy(name="other", space=spec, weights=weights_by_name(space, vectors[0]))
    opened = show(items, policy, against=BALANCED)
    intervals, _ = score_many(opened, vectors)
    matrix = space.featurize([it.trees for it in items if isinstance(it, StoredTrees)])
    for i, vector in enumerate(vectors):
        low, high = harmfulness_interval(matrix, vector)
        np.testing.assert_allclose(intervals[i, 0, :-1], low, rtol=0, atol=1e-9)
        np.testing.assert_allclose(intervals[i, 1, :-1], high, rtol=0, atol=1e-9)
    assert opened.decisions() == decided(items, policy)
    assert flips_shown(opened) == flips(decided(items, BALANCED), decided(items, policy))
    opened.run("() => SA.app.select(0, true)")
    assert opened.page.locator(".drawing .node").count() > 2


def test_a_score_exactly_on_the_threshold_is_decided_as_python_decides_it(show: Open) -> None:
    """The plain sum and the sum rounded once differ in the last bits; the threshold stands exactly on the latter."""
    items = synthetic(12, TAXONOMY)
    opened = show(items)
    evaluate = """(threshold) => {
      const { model, edits } = SA.app;
      model.evaluate({ ...edits.now, threshold, below: 0, above: 0 });
      return [Array.from(model.low, (_, i) => model.interval(i)), Array.from(model.decision, (code) => SA.DECISIONS[code])];
    }"""
    scores = [Assessor(BALANCED, TAXONOMY).assess(it.trees).score for it in items if isinstance(it, StoredTrees)]
    for score in scores:
        assert score is not None
        for threshold in (score, math.nextafter(score, -math.inf)):
            policy = BALANCED.model_copy(update={"threshold": threshold, "review_band": ReviewBand()})
            assert opened.run(evaluate, threshold) == [[[it, it] for it in scores], decided(items, policy)]


def test_a_slider_flips_and_undo_takes_it_back(show: Open) -> None:
    items = mixed()
    opened = show(items)
    start = decided(items, BALANCED)
    assert opened.decisions() == start
    assert flips_shown(opened) == {}
    opened.slider(BENEFITS).focus()
    for _ in range(3):
        opened.page.keyboard.press("PageDown")
    opened.page.keyboard.press("ArrowRight")
    value = opened.run("() => SA.app.edits.now.levels[SA.app.model.raw.names.indexOf('benefit/relative_weight')]")
    assert value == pytest.approx(round(BALANCED.weights[BENEFITS] - 0.3, 3) + 0.01, abs=2e-3)
    now = decided(items, steered(BALANCED, BENEFITS, value))
    assert opened.decisions() == now
    assert flips_shown(opened) == flips(start, now) != {}
    counts = {it: int(opened.page.locator(f'[data-count="{it}"] b').inner_text()) for it in DECISIONS}
    assert counts == {it: now.count(it) for it in DECISIONS}
    for _ in range(4):
        opened.page.keyboard.press("Control+z")
    assert opened.decisions() == start
    assert opened.page.locator("#undo").is_disabled()
    opened.page.locator("#redo").click()
    assert opened.decisions() == decided(items, steered(BALANCED, BENEFITS, round(BALANCED.weights[BENEFITS] - 0.1, 3)))
    for _ in range(3):
        opened.page.keyboard.press("Control+y")
    assert opened.decisions() == now
    opened.page.get_by_role("button", name="Reset all").click()
    assert flips_shown(opened) == {}
    opened.page.keyboard.press("u")
    assert flips_shown(opened) == flips(start, now)


def test_one_drag_is_one_step_and_the_drag_scores_as_it_goes(show: Open) -> None:
    items = mixed(60)
    opened = show(items)
    box = opened.slider("harm/action/security_risks").bounding_box()
    mouse = opened.page.mouse
    mouse.move(box["x"] + box["width"] * 0.12, box["y"] + box["height"] / 2)
    mouse.down()
    for share in (0.3, 0.5, 0.7, 0.9):
        mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        value = opened.run("() => SA.app.edits.now.levels[0]")
        assert value == pytest.approx(share, abs=0.03)
        assert opened.decisions() == decided(items, steered(BALANCED, "harm/action/security_risks", value))
    mouse.up()
    opened.page.locator("#undo").click()
    assert opened.run("() => SA.app.edits.now.levels[0]") == BALANCED.weights["harm/action/security_risks"]
    assert opened.page.locator("#undo").is_disabled()


def test_a_level_cannot_pass_its_neighbour_and_the_page_says_so(show: Open) -> None:
    opened = show(mixed(20))
    opened.type("harm/extent/minor", 0.9)
    assert opened.number("harm/extent/minor").get_attribute("title") == repr(BALANCED.weights["harm/extent/significant"])
    note = opened.page.locator('.weight[data-name="harm/extent/minor"] .note')
    assert note.inner_text() == f"cannot pass significant ({BALANCED.weights['harm/extent/significant']:.3f})"
    opened.type("harm/extent/substantial", 0.1)
    assert opened.run("() => SA.app.edits.now.levels.every((it) => it >= 0 && it <= 1)")
    assert opened.number("harm/extent/substantial").get_attribute("title") == repr(BALANCED.weights["harm/extent/significant"])
    for typed in ("7", "8", "-3", ""):
        opened.number(PRIVACY).fill(typed)
        opened.number(PRIVACY).press("Enter")
        opened.number(PRIVACY).blur()
        assert opened.number(PRIVACY).input_value() == ("0" if typed in ("-3", "") else "1")


def test_the_downloaded_policy_is_the_browser_s_to_the_last_bit(show: Open, tmp_path: Path) -> None:
    items = mixed()
    opened = show(items, load_policy("wildjailbreak-v1"))
    base = load_policy("wildjailbreak-v1")
    edits = {PRIVACY: 0.1 + 0.2, "harm/extent/minor": 1e-7, "benefit/relative_weight": 0.0, "harm/action/child_harm": 1.0}
    for name, value in edits.items():
        opened.type(name, value)
    opened.type("threshold", -0.25)
    opened.type("review band above", 0.125)
    opened.page.select_option("#on-missing", "block")
    opened.page.get_by_role("button", name="Download policy").click()
    assert "7 edits without a reason" in opened.page.locator(".message-line").inner_text()
    reasons = [f"because {i}: \"quoted\" 'it' # {{x}} \\ \u00e9 \U0001f600 - [y]" for i in range(7)]
    for field, reason in zip(opened.page.locator(".edited input").all(), reasons, strict=True):
        field.fill(reason)
    opened.page.get_by_label("Author of the edits").fill("Ada: & Co")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download policy").click()
    path = tmp_path / "edited.yaml"
    download.value.save_as(path)
    loaded = load_policy(path)
    assert download.value.suggested_filename == "wildjailbreak-v1-edited.yaml"
    values = opened.run("() => Array.from(SA.app.edits.now.levels)")
    assert loaded.bind(TAXONOMY).levels.tolist() == values
    assert loaded.weights == base.weights | edits
    assert (loaded.threshold, loaded.review_band, loaded.on_missing) == (-0.25, ReviewBand(above=0.125), "block")
    names = [*(name for name in base.weights if name in edits), "threshold", "review_band/above"]
    after = edits | {"threshold": -0.25, "review_band/above": 0.125}
    before = base.weights | {"threshold": base.threshold, "review_band/above": base.review_band.above}
    assert [(it.weight, it.before, it.after) for it in loaded.edits] == [(name, before[name], after[name]) for name in names]
    assert {it.author for it in loaded.edits} == {"Ada: & Co"}
    assert {it.reason for it in loaded.edits} < set(reasons)
    assert loaded.fit == base.fit
    again = base.model_copy(update={"on_missing": "block"})
    for it in loaded.edits:
        again = again.steered(it.weight, it.after, reason=it.reason, author=it.author, date=it.date, taxonomy=TAXONOMY)
    assert again.hash == loaded.hash
    (note,) = (line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert note.startswith("# review -> block (")
    assert "because 6" in note
    assert opened.decisions() == decided(items, loaded)


def test_edits_are_appended_behind_those_of_the_file(show: Open, tmp_path: Path) -> None:
    import datetime

    future = datetime.date(2999, 1, 2)
    base = BALANCED.steered(PRIVACY, 0.25, reason="first\nover two lines", author="B", date=future, taxonomy=TAXONOMY)
    opened = show(mixed(10), base)
    opened.type(PRIVACY, 0.5)
    opened.page.locator(".edited input").fill("second")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download policy").click()
    download.value.save_as(tmp_path / "edited.yaml")
    loaded = load_policy(tmp_path / "edited.yaml")
    assert loaded.edits[0] == base.edits[0]
    assert [(it.before, it.after, it.reason, it.date) for it in loaded.edits[1:]] == [(0.25, 0.5, "second", future)]
    again = base.steered(PRIVACY, 0.5, reason="second", date=future, taxonomy=TAXONOMY)
    assert loaded.hash == again.hash


def test_an_edit_that_ends_a_claim_of_the_policy_is_said(show: Open) -> None:
    policy = claimed(BALANCED)
    opened = show(mixed(10), policy)
    shown = opened.page.locator(".lapsed")
    for edits, lapsed in (({}, set()), ({"threshold": 0.2}, {"guarantee"}), ({PRIVACY: 0.5}, {"calibration", "guarantee"})):
        for name, value in edits.items():
            opened.type(name, value)
        weights, threshold = opened.run("() => [Array.from(SA.app.edits.now.levels), SA.app.edits.now.threshold]")
        names = policy.bind(TAXONOMY).space.levels.names
        now = policy.model_copy(
            update={"weights": policy.weights | dict(zip(names, weights, strict=True)), "threshold": threshold}
        )
        assert set(now.bind(TAXONOMY).lapsed) == lapsed
        assert {claim for claim in ("calibration", "guarantee") if claim in shown.inner_text()} == lapsed


def test_half_a_character_in_a_reason_does_not_spoil_the_file(show: Open, tmp_path: Path) -> None:
    opened = show(mixed(10))
    opened.type(PRIVACY, 0.5)
    opened.run("() => SA.app.edits.reasons.set(SA.app.edits.changed()[0], 'half ' + String.fromCharCode(0xd83d) + ' of it')")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download policy").click()
    download.value.save_as(tmp_path / "edited.yaml")
    assert [it.reason for it in load_policy(tmp_path / "edited.yaml").edits] == ["half \ufffd of it"]


def test_pins_of_a_deployment_hold_the_sliders(show: Open, tmp_path: Path) -> None:
    pins = {PRIVACY: Pin(floor=0.4), "review_band/above": Pin(ceiling=0.5), "on_missing": Pin(floor="block")}
    parent = BALANCED.model_copy(update={"name": "house", "pins": pins, "on_missing": "block"})
    (tmp_path / "house.yaml").write_text(dump_policy(parent), encoding="utf-8")
    child = "format: safetyanalyst-policy/1\nname: clinic\nextends: house.yaml\nweights: {harm: {action: {deception: x0.5}}}\n"
    (tmp_path / "clinic.yaml").write_text(child, encoding="utf-8")
    clinic = load_policy(tmp_path / "clinic.yaml")
    opened = show(mixed(20), clinic)
    opened.type(PRIVACY, 0.1)
    note = opened.page.locator(f'.weight[data-name="{PRIVACY}"] .note')
    assert note.inner_text() == "cannot pass the floor 0.4 that house pins"
    opened.type("review band above", 3.0)
    assert note.inner_text() == ""
    assert opened.run("() => [SA.app.edits.now.above, SA.app.edits.set('on_missing', 'review')]") == [0.5, "block"]
    assert opened.page.locator("#on-missing").is_disabled()
    for field in opened.page.locator(".edited input").all():
        field.fill("tried")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download policy").click()
    download.value.save_as(tmp_path / "edited.yaml")
    loaded = load_policy(tmp_path / "edited.yaml")
    assert (loaded.weights[PRIVACY], loaded.review_band.above, loaded.lineage) == (0.4, 0.5, clinic.lineage)


def test_numbers_are_written_as_yaml_reads_them(show: Open) -> None:
    import yaml

    opened = show(mixed(3))
    rng = np.random.default_rng(1)
    spread = rng.random(200) * 10.0 ** rng.integers(-300, 300, 200)
    values = [0.0, 1.0, 0.1, 5e-324, 1e-7, 1.5e-10, 1e21, 123456789.0, -0.25, *rng.random(200), *spread]
    for value, text in zip(values, opened.run("(them) => them.map(SA.yamlFloat)", values), strict=True):
        read = yaml.safe_load(text)
        assert isinstance(read, float)
        assert read == value
    texts = [
        *EVIL[:6],
        EVIL[7],
        "\u0085 \ufeff \u00a0 \x7f",
        'say "so" \\ back',
        "- item: {x}",
        "",
        " ",
        "no",
        "\U0001f600\n\t",
    ]
    for text, written in zip(texts, opened.run("(them) => them.map(SA.yamlString)", texts), strict=True):
        assert yaml.safe_load(written) == text
        assert "\n" not in written


def test_search_filters_and_orders_find_what_python_finds(show: Open, tmp_path: Path) -> None:
    items = mixed()
    examples = texts_of([it for it in items if isinstance(it, StoredTrees)][:40], tmp_path / "s.jsonl")
    opened = show(items, against=STRICT, examples=examples)
    now, before = decided(items, BALANCED), decided(items, STRICT)

    def ids(test: Callable[[int], object]) -> set[str]:
        return {it.id for i, it in enumerate(items) if test(i)}

    def pick(name: str, value: str) -> set[str]:
        opened.page.locator(f'#pickers select[name="{name}"]').select_option(value)
        found = opened.shown_ids()
        assert opened.page.locator("#found").inner_text().startswith(str(len(found)) if found else "0")
        return set(found)

    for code, name in enumerate(DECISIONS):
        assert pick("decision", str(code)) == ids(lambda i, name=name: now[i] == name)
    pick("decision", "")
    assert pick("flipped", "any") == ids(lambda i: now[i] != before[i]) != set()
    pick("flipped", "")
    assert pick("source", "=agents") == ids(
        lambda i: isinstance(items[i], StoredTrees) and items[i].fields["source"] == "agents"
    )
    opened.page.locator("#clear").click()
    assert pick("label", "alarm") == ids(
        lambda i: isinstance(items[i], StoredTrees) and items[i].label == 0 and now[i] == "block"
    )
    opened.page.locator("#clear").click()
    assert pick("defects", "unread") == {"broken"}
    opened.page.locator("#clear").click()

    def groups(item: Item) -> set[str]:
        harm = item.trees.harm if isinstance(item, StoredTrees) else None
        found = (TAXONOMY.group_of_action(leaf.action.action or "") for leaf in (harm.leaves() if harm is not None else ()))
        return {group.key for group in found if group is not None}

    assert pick("group", "privacy") == ids(lambda i: "privacy" in groups(items[i]))
    opened.page.locator("#clear").click()
    scores = Assessor(BALANCED, TAXONOMY)
    margins = {it.id: scores.assess(it.trees).score for it in items if isinstance(it, StoredTrees)}
    near = [id for id in opened.shown_ids() if margins.get(id) is not None]
    assert near == sorted(near, key=lambda id: abs(margins[id] or 0.0))
    opened.page.locator("#search").fill("FOUND m7 lines")
    assert set(opened.shown_ids()) == {id for id in examples if f"found {id}\n".startswith("found m7")}
    opened.page.locator("#search").fill("no such words")
    assert opened.shown_ids() == []


def test_thousands_of_rows_scroll_with_few_elements(show: Open) -> None:
    one = synthetic(1, TAXONOMY, n_effects=3)[0]
    items: list[Item] = [one.model_copy(update={"id": f"row-{i}"}) for i in range(3000)]
    opened = show(items)
    opened.page.locator('#pickers select[name="sort"]').select_option("file")
    rows = opened.page.locator("#rows")
    rows.focus()
    opened.page.keyboard.press("End")
    opened.page.wait_for_function("() => document.querySelector('.row[aria-selected=true]')?.textContent.includes('row-2999')")
    assert opened.page.locator(".row").count() < 40
    assert rows.get_attribute("aria-activedescendant") == "row-2999"
    assert opened.page.locator(".row[aria-selected=true]").get_attribute("aria-setsize") == "3000"
    for key, id in (("Home", "row-0"), ("ArrowDown", "row-1"), ("j", "row-2"), ("k", "row-1")):
        opened.page.keyboard.press(key)
        assert opened.page.locator("#detail h2").inner_text() == id


def test_the_tree_has_every_effect_with_its_contribution_in_drawing_and_table(show: Open) -> None:
    items = mixed(30)
    opened = show(items)
    assessor = Assessor(BALANCED, TAXONOMY)
    opened.page.locator('#pickers select[name="sort"]').select_option("file")
    for i in (0, 1, 7, 13):
        item = items[i]
        assert isinstance(item, StoredTrees)
        opened.run("(i) => SA.app.select(i, true)", i)
        analysis = assessor.assess(item.trees)
        expected = [" to ".join(dict.fromkeys(map(signed, it.interval))) for it in analysis.contributions]
        nodes = opened.page.locator(".node.effect .value").all_inner_texts()
        assert [" ".join(it.split()) for it in nodes] == expected
        opened.page.get_by_role("button", name="Table").click()
        assert opened.page.locator(".effects tbody td.figure").all_inner_texts() == expected
        assert opened.page.locator(".effects thead th").count() == 6
        opened.page.get_by_role("button", name="Drawing").click()


def test_evidence_leads_to_the_step_and_back_by_keyboard(show: Open, tmp_path: Path) -> None:
    items = hostile(TAXONOMY)[2:3]
    opened = show(items, examples=texts_of(items, tmp_path / "s.jsonl"))
    assert opened.page.locator(".message").count() == 4
    assert opened.page.locator(".message.evidence").count() == 3  # both messages of step 0, and step 1
    opened.page.locator(".node").first.focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowRight")
    assert "step" in str(opened.page.locator(".node:focus").get_attribute("aria-label"))
    opened.page.keyboard.press("Enter")
    assert opened.page.locator(".message:focus").get_attribute("data-step") == "0"
    assert opened.page.locator(".message.target").count() == 3
    opened.page.locator(".message:focus .action-link").click()
    assert opened.page.locator(".node.action:focus").count() == 1
    alone = show(items)
    assert alone.page.locator(".message").count() == 2
    assert "The text is not in this report." in alone.page.locator(".conversation").inner_text()


@pytest.mark.parametrize("form", ["Drawing", "Table"])
def test_hostile_texts_stay_texts(show: Open, tmp_path: Path, form: str) -> None:
    items = hostile(TAXONOMY)
    stored = [it for it in items if isinstance(it, StoredTrees)]
    policy = BALANCED.model_copy(update={"name": EVIL[1], "description": EVIL[0]})
    examples = texts_of(stored, tmp_path / "s.jsonl")
    opened = show(items, policy, against=policy, examples=examples)
    for i, evil in enumerate(EVIL):
        opened.run("(i) => SA.app.select(i, true)", i)
        opened.page.get_by_role("button", name=form).click()
        seen = opened.page.locator("#detail").text_content() or ""
        assert seen.count(plain(evil)) >= 8
    opened.page.locator('#pickers select[name="defects"]').select_option("unread")
    opened.page.locator(".row").first.click()
    assert EVIL[0] in opened.page.locator("#detail .why").inner_text()
    assert opened.run("() => window.hit") is None
    assert opened.page.locator("img, iframe, object, body script[src], #list b, #detail script, #weights img").count() == 0
    opened.page.locator("#clear").click()
    opened.page.locator("#search").fill("onerror")
    assert len(opened.shown_ids()) == 2


def test_two_policies_side_by_side(show: Open) -> None:
    items = mixed()
    opened = show(items, against=STRICT)
    before, now = decided(items, STRICT), decided(items, BALANCED)
    assert flips_shown(opened) == flips(before, now)
    cells = opened.page.locator(".matrix tbody tr").all()
    table = [[int(it.replace(",", "")) for it in row.locator("td").all_inner_texts()] for row in cells]
    pairs = Counter(zip(before, now, strict=True))
    assert table[:3] == [[*(pairs[a, b] for b in DECISIONS), before.count(a)] for a in DECISIONS]
    assert table[3] == [*(now.count(b) for b in DECISIONS), len(items)]
    differing = {name for name in BALANCED.weights if BALANCED.weights[name] != STRICT.weights[name]}
    shown = set(opened.page.locator(".differences tbody th").all_inner_texts())
    settings = {"threshold", "review_band/below", "review_band/above", "on_missing"}
    assert shown - settings == differing
    opened.page.locator("#baseline").click()
    assert flips_shown(opened) == {}
    opened.page.locator(".row").first.click()
    first = opened.page.locator("#detail .verdict").inner_text()
    at = [it.id for it in items].index(opened.page.locator("#detail h2").inner_text())
    assert first.split()[:3] == [now[at], "strict:", before[at]]


def test_keys_reach_everything(show: Open) -> None:
    opened = show(mixed(30), against=STRICT)
    keys = opened.page.keyboard
    keys.press("/")
    assert opened.run("() => document.activeElement.id") == "search"
    keys.type("fj")  # letters in a field are letters
    assert opened.page.locator("#search").input_value() == "fj"
    keys.press("Control+a")
    keys.press("Delete")
    opened.page.locator("#rows").focus()
    keys.press("f")
    assert opened.run("() => SA.app.list.wanted('flipped')") == "any"
    keys.press("f")
    keys.press("3")
    assert opened.run("() => document.activeElement.id") == "weights"
    keys.press("t")
    assert opened.run("() => document.documentElement.dataset.theme") == "dark"
    keys.press("?")
    assert opened.page.locator("#help").is_visible()
    keys.press("Escape")
    assert not opened.page.locator("#help").is_visible()
    opened.page.locator("#help-button").click()
    opened.page.locator("#single-keys").uncheck()
    keys.press("Escape")
    keys.press("t")
    assert opened.run("() => document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_everything_has_a_name(show: Open, scheme: str, width: int) -> None:
    items = mixed(30)
    opened = show(items, against=STRICT, width=width, scheme=scheme)
    assert opened.run("() => document.documentElement.dataset.theme") == scheme
    for tab in ("list", "overview", "detail", "weights"):
        if width < 1000:
            opened.page.locator(f'[data-tab="{tab}"]').click()
        if tab == "list":
            opened.page.locator(".row").nth(3).click()
        assert opened.run("() => document.documentElement.scrollWidth <= innerWidth")
    nameless = """() => [...document.querySelectorAll("input, select, button, section, [role=listbox], [role=tree], svg[role]")]
      .filter((it) => it.getBoundingClientRect().width > 0)
      .filter((it) => !it.getAttribute("aria-label") && !it.labels?.length)
      .filter((it) => it.tagName !== "BUTTON" || !it.textContent.trim())
      .map((it) => it.outerHTML)"""
    assert opened.run(nameless) == []
    ids = opened.run("() => [...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert [id for id, count in Counter(ids).items() if count > 1] == []
    roles = ("banner", "main", "tablist") if width < 1000 else ("banner", "main", "tablist", "search", "listbox", "tree")
    assert [role for role in roles if opened.page.get_by_role(role).count() != 1] == []


def test_a_very_long_id_does_not_push_the_decision_out_of_sight(show: Open) -> None:
    (item,) = synthetic(1, TAXONOMY, n_effects=4, seed=1)
    opened = show([item.model_copy(update={"id": "N" * 100_000})], width=390)
    opened.page.locator('[data-tab="detail"]').click()
    box = opened.page.locator(".verdict").bounding_box()
    assert box is not None
    assert box["y"] < 500


def test_on_a_narrow_screen_the_scenario_that_was_chosen_out_of_sight_is_drawn(show: Open) -> None:
    items = mixed(12)
    opened = show(items, width=390)
    opened.page.locator('#pickers select[name="sort"]').select_option("file")
    opened.page.locator(".row").first.click()
    assert opened.page.locator("#detail h2").inner_text() == "m0"
    opened.page.locator('[data-tab="list"]').click()
    opened.page.locator("#rows").focus()
    opened.page.keyboard.press("j")
    opened.page.locator('[data-tab="detail"]').click()
    assert opened.page.locator("#detail h2").inner_text() == "m1"
    second = items[1]
    assert isinstance(second, StoredTrees)
    leaves = sum(len(list(it.leaves())) for it in (second.trees.harm, second.trees.benefit) if it is not None)
    opened.page.wait_for_selector(".node")
    assert opened.page.locator(".node.effect").count() == leaves > 0


def test_a_page_without_scenarios_and_a_page_with_one_open(show: Open) -> None:
    assert show([]).page.locator("#found").inner_text() == "0 scenarios"
    one = show(synthetic(1, TAXONOMY, n_effects=3))
    assert one.page.locator("#detail h2").inner_text() == "s0"
    assert one.page.locator(".node.effect").count() == 3


def test_a_missing_tree_is_said_and_counts_as_without_bound(show: Open) -> None:
    whole = synthetic(1, TAXONOMY, n_effects=5)[0]
    assert isinstance(whole, StoredTrees)
    items: list[Item] = [
        whole.model_copy(update={"id": "no-harm", "trees": HarmBenefitTree(harm=None, benefit=whole.trees.benefit)}),
        whole.model_copy(update={"id": "neither", "trees": HarmBenefitTree(harm=None, benefit=None)}),
    ]
    opened = show(items)
    assert opened.decisions() == decided(items, BALANCED) == ["review", "review"]
    opened.run("() => SA.app.select(1, true)")
    assert opened.page.locator(".node").all_text_contents() == ["Harmsthe tree is missing", "Benefitsthe tree is missing"]
    assert "what is missing could change the decision" in opened.page.locator(".why").inner_text()
