"""A bundle verifies after a round trip, and not after any change; what is forged consistently is caught by recomputing."""

from __future__ import annotations

import copy
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.analyst import Analysis, Assessor, FailedItem
from safetyanalyst.bootstrap import Bootstrap
from safetyanalyst.errors import ConfigError
from safetyanalyst.generation import WrittenText
from safetyanalyst.pipelines import audit_facts, bundle
from safetyanalyst.pipelines.audit import AuditReport, PackOptions, PolicySource, Rules, pack, verify
from safetyanalyst.pipelines.audit_findings import Findings
from safetyanalyst.policy import BootstrapFacts, FitFacts, Policy, ReviewBand, dump_policy, load_policy
from safetyanalyst.scenarios import Example, Exchange, Prompt, ReadFailure
from safetyanalyst.taxonomy import load_taxonomy
from safetyanalyst.trees import Defect, HarmBenefitTree
from tests.labels import claimed
from tests.mutations import harmful_tree
from tests.strategies import pairs

TAXONOMY = load_taxonomy()
POLICY = load_policy("wildjailbreak-v1")
RULES = Rules(POLICY, TAXONOMY)
ASSESSOR = Assessor(POLICY, TAXONOMY)
SECRET = "the quick brown fox of scenario"
KEY = b"0123456789abcdef"
PROVENANCE: dict[str, Any] = {"generator": "g", "model": "m", "model_hash": "", "taxonomy": TAXONOMY.label, "code": "1"}


def analysis(id: str = "a", trees: HarmBenefitTree | None = None, **more: Any) -> Analysis:
    from safetyanalyst.generation import parsing

    read = trees or parsing.pair_from_json(harmful_tree(), TAXONOMY).trees
    return ASSESSOR.assess(read, **({"id": id, "type": "prompt", "provenance": {"harm": PROVENANCE}} | more))


def example(id: str, text: str = SECRET) -> Example:
    return Example(scenario=Prompt(id=id, text=f"{text} {id}"))


def told(report: AuditReport) -> str:
    return "\n".join(map(str, report.differences))


def rewrite(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Forges a file so that nothing but its meaning tells: canonical bytes, hashes made anew."""
    path = folder / name
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    changed = [change(row) for row in rows] if name.endswith(".jsonl") else [change(rows[0])]
    path.write_bytes(b"".join(bundle.canonical(row) for row in changed if row is not None))
    bundle.write_sums(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of three analyses with texts in a folder."""
    examples = [example(id) for id in "abc"]
    pack([analysis(id) for id in "abc"], RULES, tmp_path / "b", scenarios=examples, options=PackOptions(texts="included"))
    return tmp_path / "b"


# -- round trips ---------------------------------------------------------------------------------------------------------


@given(st.lists(pairs(), min_size=1, max_size=3), st.sampled_from(["b.zip", "b"]), st.sampled_from(["balanced", "strict"]))
def test_a_bundle_verifies_after_a_round_trip(zipped: Path, trees: list[HarmBenefitTree], name: str, policy: str) -> None:
    rules = Rules(load_policy(policy), TAXONOMY)
    assessor = Assessor(rules.policy, TAXONOMY)
    analyses = [assessor.assess(it, id=str(i), provenance={"benefit": PROVENANCE}) for i, it in enumerate(trees)]
    place = zipped.with_name("round-trip")
    place.mkdir(exist_ok=True)
    try:
        done = pack(analyses, rules, place / name)
        report = verify(place / name, root=done.root, policy_hash=rules.policy.hash)
        assert told(report) == ""
        assert (report.is_verified, report.analyses, done.analyses) == (True, len(trees), len(trees))
        assert (done.failures, report.failures, report.notes) == ((), 0, ())
    finally:
        shutil.rmtree(place)


def test_a_bundle_tells_stages_of_a_cascade_apart(tmp_path: Path) -> None:
    defect = Defect(code="generation_failed", path="cascade", found="the second stage wrote no harm tree")
    staged = [PROVENANCE | {"stage": stage} for stage in ("first", "second", "second")]
    analyses = [analysis(id, provenance={"harm": it}) for id, it in zip("abc", staged, strict=True)]
    analyses += [analysis("d"), analysis("e", provenance={"harm": staged[0]}, defects=(defect,))]
    done = pack(analyses, RULES, tmp_path / "b")
    report = verify(tmp_path / "b", root=done.root)
    assert (told(report), report.is_verified) == ("", True)
    facts = json.loads((tmp_path / "b" / "bundle.json").read_bytes())["specialists"]
    assert [(it.get("stage", "absent"), it["trees"]) for it in facts] == [("first", 2), ("second", 2), ("absent", 1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"space": {"analysis": "harms"}},
        {"space": {"analysis": "benefits"}},
        {"space": {"action": "leaf", "effect": "group"}},
        {"taxonomy": "agents-v1"},
        {"threshold": -3.5, "review_band": ReviewBand(below=0.25, above=1.5), "on_missing": "block"},
    ],
    ids=str,
)
def test_policies_of_every_kind(tmp_path: Path, changes: dict[str, Any]) -> None:
    from safetyanalyst.features import FeatureSpace, FeatureSpaceSpec
    from safetyanalyst.policy import weights_by_name

    spec = FeatureSpaceSpec.model_validate(changes.get("space", {}))
    taxonomy = load_taxonomy(changes.get("taxonomy", "safetyanalyst-v1"))
    space = FeatureSpace(taxonomy, spec)
    weights = weights_by_name(space, space.levels_from_ratios(0.5 + 0.4 / (1 + 1.0 * _indices(space))))
    policy = POLICY.model_copy(update=changes | {"space": spec, "weights": weights})
    assessor = Assessor(policy, taxonomy)
    given = [
        assessor.assess(analysis().trees, id="whole"),
        assessor.assess(HarmBenefitTree(harm=None, benefit=None), id="none"),
    ]
    done = pack(given, Rules(policy, taxonomy), tmp_path / "b.zip")
    assert done.failures == ()
    assert told(verify(tmp_path / "b.zip", policy_hash=policy.hash)) == ""


def _indices(space: Any) -> Any:
    import numpy as np

    return np.arange(len(space.ratios.names))


def test_a_bundle_goes_around_as_zip_and_folder(tmp_path: Path, folder: Path) -> None:
    from zipfile import ZipFile

    again = pack([analysis(id) for id in "abc"], RULES, tmp_path / "b.zip", scenarios=[example(id) for id in "abc"],
                 options=PackOptions(texts="included"))  # fmt: skip
    with ZipFile(tmp_path / "b.zip") as file:
        file.extractall(tmp_path / "out")
    assert {it.name: it.read_bytes() for it in folder.iterdir()} == {
        it.name: it.read_bytes() for it in (tmp_path / "out").iterdir()
    }
    for path in (folder, tmp_path / "out", tmp_path / "b.zip"):
        assert verify(path, root=again.root).is_verified
    sums = (folder / "SHA256SUMS").read_bytes()
    assert hashlib.sha256(sums).hexdigest() == again.root
    for line in sums.decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_same_inputs_give_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(analysis(id).to_json()) + "\n" for id in "ab"))
    (tmp_path / "s.jsonl").write_text("".join(json.dumps({"id": id, "text": SECRET}) + "\n" for id in "ab"))
    root = Path(__file__).parents[2]
    made = set()
    for seed in ("0", "77"):
        out = tmp_path / f"{seed}.zip"
        command = ["audit", "pack", str(source), "--policy", "wildjailbreak-v1", "--out", str(out)]
        command += ["--scenarios", str(tmp_path / "s.jsonl")]
        code = f"import sys; sys.argv[1:] = {command!r}; from safetyanalyst.cli import main; main()"
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "TZ": "Asia/Tokyo" if seed == "77" else "UTC"}
        subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
        made.add(out.read_bytes())
    assert len(made) == 1


# -- any change ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zipped") / "b.zip"
    source = PolicySource("wildjailbreak-v1.yaml", dump_policy(POLICY).encode() + b"# a comment\n")
    failed = FailedItem(id="x", line=3, error="torn", decision="review")
    pack([analysis(), failed, analysis("b")], Rules(POLICY, TAXONOMY, source), path, scenarios=[example("a"), example("b")],
         options=PackOptions(texts="included", date=datetime.date(2026, 11, 24)))  # fmt: skip
    assert verify(path).is_verified
    return path


@st.composite
def changes(draw: st.DrawFn, data: bytes) -> bytes:
    """One byte flipped, put in or taken out, anywhere; half of the time where a zip or a small file is dense."""
    dense = [i for i in range(len(data)) if i < 1500 or i > len(data) - 1200]
    at = draw(st.integers(0, len(data) - 1) | st.sampled_from(dense))
    byte = draw(st.integers(0, 255))
    how = draw(st.sampled_from(["flip", "insert", "delete"]))
    if how == "flip":
        return data[:at] + bytes([byte if byte != data[at] else byte ^ 1]) + data[at + 1 :]
    return data[:at] + bytes([byte] if how == "insert" else []) + data[at + (how == "delete") :]


@given(st.data())
def test_any_one_byte_fails_a_zip(zipped: Path, data: st.DataObject) -> None:
    whole = zipped.read_bytes()
    changed = data.draw(changes(whole))
    path = zipped.with_name("changed.zip")
    path.write_bytes(changed)
    report = verify(path)
    assert report.is_verified == (changed == whole), told(report)  # a byte put in beside its like changes nothing only if equal


@given(st.data())
def test_any_one_byte_fails_a_folder_and_names_the_file(zipped: Path, data: st.DataObject) -> None:
    from zipfile import ZipFile

    place = zipped.with_name("folder")
    with ZipFile(zipped) as file:
        file.extractall(place)
    name = data.draw(st.sampled_from(sorted(it.name for it in place.iterdir())))
    whole = (place / name).read_bytes()
    changed = data.draw(changes(whole))
    (place / name).write_bytes(changed)
    report = verify(place)
    assert report.is_verified == (changed == whole)
    if changed != whole:
        assert name == "SHA256SUMS" or any(it.file == name and it.field == "sha256" for it in report.differences)
    shutil.rmtree(place)


def test_no_cut_verifies(zipped: Path) -> None:
    whole = zipped.read_bytes()
    path = zipped.with_name("cut.zip")
    for end in (100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert not verify(path).is_verified
    path.write_bytes(whole + whole)
    assert not verify(path).is_verified


# -- forged consistently: every hash made anew ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("decision", lambda it: it | {"decision": "allow"}),
        ("score", lambda it: it | {"score": it["score"] + 2**-40}),
        ("interval[1]", lambda it: it | {"interval": [it["interval"][0], None]}),
        ("ground", lambda it: it | {"ground": "score_in_review_band"}),
        ("lost[0]", lambda it: it | {"lost": ["harm tree"]}),
        ("policy.hash", lambda it: it | {"policy": it["policy"] | {"hash": "0" * 64}}),
        ("policy.name", lambda it: it | {"policy": it["policy"] | {"name": "other"}}),
        ("contributions[0].value", lambda it: _set(it, ("contributions", 0, "value"), 0.0)),
        ("contributions[0].stakeholder", lambda it: _set(it, ("contributions", 0, "stakeholder"), "x")),
        ("contributions[3]", lambda it: it | {"contributions": it["contributions"] + it["contributions"][:1]}),
        ("extra", lambda it: it | {"extra": 1}),
        ("scenario", lambda it: it | {"scenario": "g" * 64}),
        ("scenario", lambda it: {key: value for key, value in it.items() if key != "scenario"}),
        ("hash", lambda it: it | {"scenario": "0" * 64}),
        ("score", lambda it: _set(it, ("trees", "harm", "stakeholders", 0, "actions", 0, "effects", 0, "extent"), "minor")),
        ("trees.harm.more", lambda it: _set(it, ("trees", "harm", "more"), 1)),
    ],
)
def test_what_does_not_follow_from_the_trees_is_named(folder: Path, field: str, change: Any) -> None:
    before = (folder / "analyses.jsonl").read_bytes()
    rewrite(folder, "analyses.jsonl", lambda it: change(it) if it["id"] == "b" else it)
    assert (folder / "analyses.jsonl").read_bytes() != before
    report = verify(folder)
    assert not report.is_verified
    named = {(it.id, it.field) for it in report.differences}
    assert ("b", field) in named, told(report)
    assert {id for id, _ in named} <= {"b", None}  # None: the counts in bundle.json


def _set(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return changed


def test_an_analysis_taken_out_put_in_or_moved(folder: Path) -> None:
    rewrite(folder, "analyses.jsonl", lambda it: None if it["id"] == "b" else it)
    report = verify(folder)
    assert {"analyses", "scenarios.hashed"} <= {it.field for it in report.differences}
    assert "bundle.json: analyses: does not follow from the content (stored 3, recomputed 2)" in told(report)
    rewrite(folder, "analyses.jsonl", lambda it: it | {"id": "a"})
    assert "the id occurs twice" in told(verify(folder))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda it: it | {"analyses": 4}, "analyses"),
        (lambda it: it | {"failures": 1}, "failures"),
        (lambda it: it | {"taxonomy": "other@1:0"}, "taxonomy"),
        (lambda it: _set(it, ("policy", "hash"), "0" * 64), "policy.hash"),
        (lambda it: _set(it, ("policy", "version"), "9"), "policy.version"),
        (lambda it: _set(it, ("specialists", 0, "model_hash"), "00"), "specialists[0].model_hash"),
        (lambda it: _set(it, ("scenarios", "texts"), "left out"), "scenarios.texts"),
        (lambda it: _set(it, ("scenarios", "hash"), "md5"), "scenarios.hash"),
        (lambda it: it | {"format": "safetyanalyst-audit/2"}, "format"),
        (lambda it: it | {"more": 1}, "more"),
        (lambda it: it | {"date": "yesterday"}, "date"),
    ],
)
def test_what_the_bundle_states_of_itself_follows_from_its_content(folder: Path, change: Any, field: str) -> None:
    rewrite(folder, "bundle.json", change)
    report = verify(folder)
    assert [(it.file, it.field) for it in report.differences] == [("bundle.json", field)], told(report)


def test_another_policy_in_the_bundle_changes_what_is_recomputed(folder: Path) -> None:
    other = load_policy("balanced")
    (folder / "policy.yaml").write_text(dump_policy(other), encoding="utf-8")
    bundle.write_sums(folder)
    report = verify(folder, policy_hash=POLICY.hash)
    fields = {(it.file, it.field) for it in report.differences}
    assert {("policy.yaml", "hash"), ("bundle.json", "policy.hash"), ("analyses.jsonl", "policy.hash")} <= fields


def test_only_the_root_or_the_policy_tells_a_bundle_made_anew(folder: Path, tmp_path: Path) -> None:
    root = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    milder = Rules(POLICY.model_copy(update={"threshold": 50.0}), TAXONOMY)
    assessor = Assessor(milder.policy, TAXONOMY)
    pack([assessor.assess(analysis(id).trees, id=id) for id in "abc"], milder, tmp_path / "forged")
    assert verify(tmp_path / "forged").is_verified
    assert not verify(tmp_path / "forged").is_root_known
    assert "given root" in told(verify(tmp_path / "forged", root=root))
    assert "another policy decided" in told(verify(tmp_path / "forged", policy_hash=POLICY.hash))
    assert verify(folder, root=f" {root.upper()}\n").is_root_known
    for wrong in ("", "12", root[:-1] + "g"):
        with pytest.raises(ConfigError, match="this is no hash"):
            verify(folder, root=wrong)


@given(st.data())
def test_a_forged_bundle_never_ends_in_a_traceback(zipped: Path, data: st.DataObject) -> None:
    """Any value of any document replaced by any other, with all hashes made anew."""
    from zipfile import ZipFile

    place = zipped.with_name("forged")
    with ZipFile(zipped) as file:
        file.extractall(place)
    name = data.draw(st.sampled_from(["bundle.json", "taxonomy.json", "analyses.jsonl", "scenarios.jsonl", "failures.jsonl"]))

    def mutate(value: Any) -> Any:
        if isinstance(value, dict | list) and value and data.draw(st.integers(0, 9)):
            key = data.draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
            return _set(value, (key,), mutate(value[key]))
        return data.draw(ODD)

    rewrite(place, name, mutate)
    report = verify(place)
    assert isinstance(json.dumps(report.to_json()), str)
    for difference in report.differences:
        assert len(str(difference)) < 2000
    shutil.rmtree(place)


def test_a_difference_is_short_whatever_the_bundle_calls_things() -> None:
    findings = Findings()
    findings.add(file="scenarios.jsonl", id="a" * 5000, field="b" * 5000, problem="differs")
    findings.add(file="scenarios.jsonl", id="a" * 200, problem="differs")
    long, whole = findings.report(is_root_known=False).differences
    assert len(str(long)) < 500
    assert whole.id == "a" * 200


ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, 1e308, 2**70, "", "x", "\ud800", "harm", [], {}, [[]], [None], {"": None}, {"id": "a"}, "a" * 5000]
)


@pytest.mark.parametrize("name", ["policy.yaml", "policy.source.yaml"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[1]",
        b"a: *b",
        b"&a [*a]",
        b"{" * 5000,
        b"format: x",
        b"extends: /etc/passwd",
        b"format: safetyanalyst-policy/1\nweights: {a: .nan}",
        b"format: safetyanalyst-policy/1\nname: x\nweights: {}\n",
    ],
)
def test_a_forged_policy_is_a_difference(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    bundle.write_sums(folder)
    assert any(it.file in (name, "bundle.json") for it in verify(folder).differences)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it | {"extents": []}, "is empty"),
        (lambda it: it | {"immediacies": it["immediacies"][::-1]}, "immediacies"),
        (lambda it: it | {"extents": it["extents"] * 2}, "a name occurs twice"),
        (lambda it: it | {"action_groups": it["action_groups"][:1]}, "no group"),
        (lambda it: it | {"effect_groups": it["effect_groups"][:1]}, "no group"),
        (lambda it: it | {"domains": []}, "no domain"),
        (lambda it: it | {"benefit_actions": [it["benefit_actions"][0] | {"group": "x"}]}, "benefit_actions: a group, 'x'"),
        (lambda it: it | {"extents": [it["extents"][0] | {"name": f"e{i}"} for i in range(2000)]}, "more than 200000 cells"),
        (lambda it: it | {"version": "2"}, "another hash than it says"),
    ],
)
def test_a_forged_taxonomy_is_a_difference(folder: Path, change: Any, said: str) -> None:
    def forged(value: Any) -> Any:
        from safetyanalyst import resources

        changed = change(value)
        is_plain = said == "another hash than it says"
        rest = {key: it for key, it in changed.items() if key != "hash"}
        return changed if is_plain else changed | {"hash": resources.canonical_hash(rest)}

    rewrite(folder, "taxonomy.json", forged)
    report = verify(folder)
    assert said in told(report)
    assert "taxonomy.json" in {it.file for it in report.differences}


def test_what_is_no_plain_file_of_a_bundle_is_named_and_not_opened(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (folder / "extra.txt").write_text("x")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "policy.source.yaml")
    (folder / "policy.bootstrap.json").symlink_to(tmp_path / "outside")
    names = {it.file for it in verify(folder).differences}
    assert names == {"extra.txt", "sub", "policy.source.yaml", "policy.bootstrap.json"}
    (folder / "taxonomy.json").unlink()
    os.mkfifo(folder / "taxonomy.json")
    assert "taxonomy.json: is missing" in told(verify(folder))


def test_what_is_nothing_like_a_bundle_is_refused(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("../../evil", "x")
    for name in ("empty", "text", "folder", "other.zip", "nowhere", "nul\0"):
        with pytest.raises(ConfigError):
            verify(tmp_path / name)


def test_long_lines_and_large_documents_are_not_read_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_LINE", 300)
    assert "line 1 is longer than" in told(verify(folder))
    monkeypatch.setattr(bundle, "MAX_LINE", 2**20)
    monkeypatch.setattr(bundle, "MAX_DOCUMENT", 3000)
    assert "is larger than" in told(verify(folder)) or "larger than" in told(verify(folder))


# -- what goes in ----------------------------------------------------------------------------------------------------------


def packed(path: Path) -> bytes:
    return b"".join(it.read_bytes() for it in sorted(path.iterdir()))


def test_no_text_goes_in_that_was_not_asked_for(tmp_path: Path) -> None:
    defects = (
        Defect(code="generation_failed", path="harm", found=f"ValueError: {SECRET}"),
        Defect(code="invalid_characters", path="text", found=SECRET),
        Defect(code="unknown_extent", path="harm[0].actions[0].effects[0].extent", found="so so"),
    )
    failed = FailedItem(id="f", line=2, error=f"not readable: {SECRET}", decision="review")
    source = tmp_path / "in.jsonl"
    rows = [analysis("a", defects=defects).to_json() | {"text": SECRET, "label": 1, SECRET: 1}, failed.to_json()]
    rows += [{"id": "g", "trees": SECRET}, {"id": "h", SECRET: SECRET}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + f'{{"{SECRET}": 1, "{SECRET}": 2}}\n{SECRET}\n')
    for name, options in {"none": PackOptions(), "text": PackOptions(texts="included")}.items():
        done = pack(source, RULES, tmp_path / name, scenarios=[example("a")], options=options)
        assert (done.analyses, len(done.failures)) == (1, 5)
        report = verify(tmp_path / name)
        assert (told(report), report.failures) == ("", 5)
        assert (SECRET.encode() in packed(tmp_path / name)) == (name == "text")
        assert b"so so" in packed(tmp_path / name)


def test_a_key_hides_texts_from_guessing(tmp_path: Path) -> None:
    examples = [example("a")]
    pack([analysis()], RULES, tmp_path / "plain", scenarios=examples)
    pack([analysis()], RULES, tmp_path / "keyed", scenarios=examples, key=KEY)
    rows = [json.loads((tmp_path / name / "analyses.jsonl").read_bytes()) for name in ("plain", "keyed")]
    assert rows[0]["scenario"] != rows[1]["scenario"]
    assert KEY not in packed(tmp_path / "keyed")
    assert verify(tmp_path / "keyed").scenarios_unchecked == 1
    assert verify(tmp_path / "keyed", scenarios=examples, key=KEY).scenarios == 1
    with pytest.raises(ConfigError, match="need their key"):
        verify(tmp_path / "keyed", scenarios=examples)
    assert "made with another key" in told(verify(tmp_path / "keyed", scenarios=examples, key=KEY[::-1]))
    changed = [example("a", "another text")]
    for name, key in (("plain", None), ("keyed", KEY)):
        report = verify(tmp_path / name, scenarios=changed, key=key)
        assert [(it.id, it.field) for it in report.differences] == [("a", "hash")]
        assert verify(tmp_path / name, scenarios=[example("z")], key=key).scenarios_unchecked == 1


def test_scenarios_that_are_missing_or_ambiguous_are_said(tmp_path: Path) -> None:
    twice = [example("a"), example("b"), example("b", "other"), ReadFailure(id="c", error="torn")]
    done = pack([analysis(id) for id in "abc"], RULES, tmp_path / "b", scenarios=twice, options=PackOptions(texts="included"))
    assert [(it.id, it.line) for it in done.failures] == [("b", 2), ("c", 3)]
    assert (done.analyses, done.hashed) == (3, 1)
    report = verify(tmp_path / "b")
    assert (told(report), report.scenarios, report.failures) == ("", 1, 2)


@pytest.mark.parametrize("change", ["text", "more", "twice", "less", "form"])
def test_scenarios_in_the_bundle_are_held_to_their_hashes(folder: Path, change: str) -> None:
    path = folder / "scenarios.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "text":
        lines[1] = lines[1].replace(b"brown", b"black")
    path.write_bytes(
        {
            "more": b"".join([*lines, lines[0].replace(b'"id":"a"', b'"id":"z"')]),
            "twice": b"".join([*lines, lines[0]]),
            "less": b"".join(lines[:2]),
            "form": b"".join(lines).replace(b'":', b'": '),
        }.get(change, b"".join(lines))
    )
    bundle.write_sums(folder)
    report = verify(folder)
    assert {it.file for it in report.differences} == {"scenarios.jsonl"}
    if change == "text":
        assert [it.id for it in report.differences] == ["b"]


def test_items_that_cannot_be_packed_are_recorded(tmp_path: Path) -> None:
    good = analysis().to_json()
    rows: dict[str, Any] = {
        "torn": b"{",
        "a list": [],
        "bytes": b"\xff",
        "failed": FailedItem(id="failed", line=1, error="x", decision="review").to_json(),
        "plain trees": {"id": "plain trees", "tree": harmful_tree()},
        "other policy": good | {"id": "o", "policy": {"name": "n", "hash": "0" * 64}},
        "wrong score": good | {"id": "w", "score": good["score"] + 1},
        "no provenance": good | {"id": "p", "provenance": {"harm": {"by": "me"}}},
        "no defects": {key: value for key, value in good.items() if key != "defects"} | {"id": "d"},
        "good": good,
        "twice": good,
    }
    lines = (it if isinstance(it, bytes) else json.dumps(it).encode() for it in rows.values())
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    done = pack(tmp_path / "in.jsonl", RULES, tmp_path / "b.zip")
    assert (done.analyses, len(done.failures)) == (1, len(rows) - 1)
    reasons = {it.id: it.reason for it in done.failures}
    assert reasons["o"].startswith("decided by another policy")
    assert reasons["w"] == "its trees do not lead to what it says: score"
    assert reasons["a"] == "an analysis with this id was there already"
    assert [it.line for it in done.failures] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    report = verify(tmp_path / "b.zip")
    assert (told(report), report.failures) == ("", len(rows) - 1)


def test_what_is_too_long_is_recorded_and_the_bundle_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = analysis().to_json()
    size = len(bundle.canonical(good)) + 1000
    monkeypatch.setattr(bundle, "MAX_LINE", size)
    lines = [
        json.dumps(good | {"id": "long", "more": "x" * 3 * size}),
        json.dumps(good | {"id": "\u0436" * (size // 5)}, ensure_ascii=False),  # long once letters are escaped
        json.dumps({"id": "\u0436" * (size // 5)}, ensure_ascii=False),  # a failure, likewise
        json.dumps(good | {"id": "wordy"}),
        json.dumps(good),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    texts = [Example(scenario=Prompt(id="wordy", text="x" * 2 * size)), Example(scenario=Prompt(id=good["id"], text="short"))]
    options = PackOptions(texts="included")
    done = pack(tmp_path / "in.jsonl", RULES, tmp_path / "b.zip", options=options, scenarios=texts)
    assert (done.analyses, [it.line for it in done.failures]) == (1, [1, 2, 3, 4])
    assert ["longer than" in it.reason for it in done.failures] == [True, True, False, True]
    report = verify(tmp_path / "b.zip", root=done.root)
    assert (told(report), report.failures) == ("", 4)


def test_numbers_that_another_program_rewrote_are_taken_by_value(tmp_path: Path) -> None:
    row = analysis(trees=HarmBenefitTree(harm=analysis().trees.harm, benefit=None)).to_json()
    text = json.dumps(row).replace("0.0,", "0,").replace("0.0]", "0]").replace("1.0", "1")
    (tmp_path / "in.jsonl").write_text(text + "\n")
    assert pack(tmp_path / "in.jsonl", RULES, tmp_path / "b").failures == ()
    assert verify(tmp_path / "b").is_verified


def test_chosen_ids(tmp_path: Path) -> None:
    analyses = [analysis(id) for id in ("a", "b", "c")]
    done = pack(analyses, RULES, tmp_path / "b", options=PackOptions(ids=("c", "a")))
    assert [json.loads(line)["id"] for line in (tmp_path / "b" / "analyses.jsonl").read_bytes().splitlines()] == ["a", "c"]
    assert (done.analyses, done.failures) == (2, ())
    with pytest.raises(ConfigError, match="no analysis has the id 'aa'"):
        pack(analyses, RULES, tmp_path / "d", options=PackOptions(ids=("aa",)))
    assert sorted(it.name for it in tmp_path.iterdir()) == ["b"]  # nothing is left of what was refused


def test_what_generators_wrote(tmp_path: Path) -> None:
    kept = {"harm": WrittenText(text="7i3h | words", attempts=2, prompt_tokens=5, completion_tokens=6)}
    given = [analysis("a", generations=kept), analysis("b")]
    for options, n in ((PackOptions(), 1), (PackOptions(generations="left out"), 0)):
        out = tmp_path / f"{n}"
        pack(given, RULES, out, options=options)
        assert verify(out).is_verified
        assert json.loads((out / "bundle.json").read_bytes())["generations"] == n
        assert (b"7i3h | words" in packed(out)) == bool(n)
    rewrite(tmp_path / "1", "analyses.jsonl", lambda it: {key: value for key, value in it.items() if key != "generations"})
    assert "generations" in told(verify(tmp_path / "1"))


def test_the_file_of_the_policy_and_its_replicates(tmp_path: Path) -> None:
    replicates = Bootstrap(weights={"harm/action/privacy": (0.1, 0.2)}, rows=3, seed=0)
    facts = BootstrapFacts(replicates=2, seed=0, intervals={"harm/action/privacy": (0.1, 0.2)}, hash=replicates.hash)
    fit = FitFacts(
        data="d", data_hash="0", rows=3, rows_left_out=0, harmful=1, parameters=29, loss=0.5, loss_at_zero_weights=0.7, seed=0,
        starts=(), at_bounds=(), unidentified=(), taxonomy="t", code="1", bootstrap=facts,
    )  # fmt: skip
    policy = POLICY.model_copy(update={"fit": fit})
    source = PolicySource("mine.yaml", b"# reviewed\n" + dump_policy(policy).encode())
    rules = Rules(policy, TAXONOMY, source, replicates)
    given = [Assessor(policy, TAXONOMY).assess(analysis().trees, id="a")]
    pack(given, rules, tmp_path / "b")
    assert told(verify(tmp_path / "b", policy_hash=policy.hash)) == ""
    assert json.loads((tmp_path / "b" / "bundle.json").read_bytes())["policy"]["source"] == "mine.yaml"
    rewrite(tmp_path / "b", "policy.bootstrap.json", lambda it: it | {"seed": 1})
    assert "not the replicates that the policy names" in told(verify(tmp_path / "b"))
    (tmp_path / "b" / "policy.source.yaml").write_bytes(dump_policy(POLICY).encode())
    bundle.write_sums(tmp_path / "b")
    assert "says another policy than policy.yaml" in told(verify(tmp_path / "b"))
    pack(given, Rules(policy, TAXONOMY, PolicySource("child.yaml", b"format: x\nextends: balanced\n")), tmp_path / "c")
    report = verify(tmp_path / "c")
    assert report.is_verified
    assert "extends another policy" in report.notes[0]


def test_code_of_another_version_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(folder, "bundle.json", lambda it: it | {"code": {"version": "0.0.9", "hash": "ab" * 32}})
    report = verify(folder)
    assert report.is_verified  # the numbers are the same, whoever computed them
    assert report.packed_by == audit_facts.CodeFacts(version="0.0.9", hash="ab" * 32)
    assert "packed by version 0.0.9 (code abababababab), verified by version" in report.notes[0]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    given = [analysis()]
    (tmp_path / "there").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    refused: list[tuple[str, dict[str, Any]]] = [
        ("there", {}),
        ("dangling", {}),
        ("no/folder", {}),
        ("b", {"options": PackOptions(texts="included")}),
        ("b", {"options": PackOptions(texts="included"), "scenarios": [], "key": KEY}),
        ("b", {"key": KEY}),
        ("b", {"scenarios": [], "key": KEY[:15]}),
    ]
    for name, options in refused:
        with pytest.raises(ConfigError):
            pack(given, RULES, tmp_path / name, **options)
    with pytest.raises(ConfigError, match="no analysis to pack"):
        pack([], RULES, tmp_path / "b")
    assert (tmp_path / "there").read_text() == "x"
    assert sorted(it.name for it in tmp_path.iterdir()) == ["dangling", "there"]


def test_exchanges_and_ids_of_any_letters(tmp_path: Path) -> None:
    ids = ["", " ", "é/\u202e", "a\nb", "<script>", "line-1"]
    examples = [Example(scenario=Exchange(id=id, prompt="p", response=id)) for id in ids]
    given = [analysis(id, type="exchange") for id in ids]
    done = pack(given, RULES, tmp_path / "b.zip", scenarios=examples, options=PackOptions(texts="included"))
    assert (done.hashed, done.failures) == (len(ids), ())
    report = verify(tmp_path / "b.zip", scenarios=examples)
    assert (told(report), report.scenarios) == ("", len(ids))


def test_policy_round_trip_is_what_a_bundle_rests_on() -> None:
    from safetyanalyst.pipelines.audit_rules import read_policy

    for name in ("balanced", "strict", "wildjailbreak-v1"):
        policy: Policy = load_policy(name)
        assert read_policy(dump_policy(policy).encode(), "policy.yaml").hash == policy.hash


# -- probabilities -------------------------------------------------------------------------------------------------------


def test_probabilities_are_packed_recomputed_and_compared(tmp_path: Path) -> None:
    policy = claimed(POLICY)
    assessor = Assessor(policy, TAXONOMY)
    given = [
        assessor.assess(analysis().trees, id="whole"),
        assessor.assess(HarmBenefitTree(harm=analysis().trees.harm, benefit=None), id="half"),
        assessor.assess(HarmBenefitTree(harm=None, benefit=None), id="none"),
    ]
    assert [it.to_json()["probability"]["value"] is None for it in given] == [False, True, True]
    folder = tmp_path / "b"
    done = pack(given, Rules(policy, TAXONOMY), folder)
    assert (done.analyses, done.failures) == (3, ())
    report = verify(folder, root=done.root, policy_hash=policy.hash)
    assert (told(report), report.is_verified) == ("", True)

    def surer(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"probability": row["probability"] | {"interval": [0.0, row["probability"]["interval"][1]]}}

    rewrite(folder, bundle.ANALYSES, surer)
    report = verify(folder)
    assert "whole: probability.interval[0]: differs from what is recomputed" in told(report)
    assert {it.id for it in report.differences} >= {"whole"}
    rewrite(folder, bundle.ANALYSES, lambda row: {key: value for key, value in row.items() if key != "probability"})
    report = verify(folder)
    assert "whole: probability: differs from what is recomputed (stored nothing" in told(report)
    # a calibration that does not hold gives none
    lapsed = policy.steered("harm/action/privacy", 0.123, reason="r", date=datetime.date(2026, 1, 1), taxonomy=TAXONOMY)
    done = pack([Assessor(lapsed, TAXONOMY).assess(analysis().trees)], Rules(lapsed, TAXONOMY), tmp_path / "c")
    assert verify(tmp_path / "c", root=done.root).is_verified
    assert b"probability" not in (tmp_path / "c" / bundle.ANALYSES).read_bytes()
    told_of = pack(given, Rules(lapsed, TAXONOMY), tmp_path / "d")
    assert told_of.analyses == 0  # decided under another policy
