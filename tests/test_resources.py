from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError, PolicyError, TaxonomyError
from safetyanalyst.records import Record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package root of our own: two policies, and a working directory elsewhere."""
    (tmp_path / "root/safetyanalyst").mkdir(parents=True)
    (tmp_path / "root/configs/policies").mkdir(parents=True)
    for name in ("balanced", "strict"):
        (tmp_path / f"root/configs/policies/{name}.yaml").write_text(f"name: {name}\n")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "root/safetyanalyst")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "root"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- find


def test_shipped_names_are_found_in_the_repository() -> None:
    assert "safetyanalyst-v1" in resources.names("taxonomies")
    assert resources.find("taxonomies", "safetyanalyst-v1").is_file()


def test_names_are_sorted_and_a_missing_folder_has_none(shipped: Path) -> None:
    (shipped / "configs/policies/notes.txt").write_text("not a policy")
    (shipped / "configs/policies/folder.yaml").mkdir()
    assert resources.names("policies") == ("balanced", "strict")
    assert resources.names("datasets") == ()


def test_find_looks_beside_the_package_from_source_and_inside_it_when_installed(shipped: Path) -> None:
    assert resources.find("policies", "balanced") == shipped / "configs/policies/balanced.yaml"
    inside = shipped / "safetyanalyst/configs/policies"
    inside.mkdir(parents=True)
    (shipped / "safetyanalyst/taxonomies").mkdir()
    (inside / "balanced.yml").write_text("name: balanced\n")
    assert resources.find("policies", "balanced") == inside / "balanced.yml"
    assert resources.names("policies") == ("balanced",)  # what lies beside an installed package is not ours


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "./mine", "sub/mine", "mine"])
def test_find_takes_a_path(shipped: Path, name: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("a: 1\n")
    assert resources.find("policies", name).samefile(path)
    assert resources.find("policies", path.absolute()).samefile(path)


def test_find_starts_relative_paths_where_it_is_told(shipped: Path) -> None:
    assert resources.find("taxonomies", "policies/strict.yaml", relative_to=shipped / "configs").read_text() == "name: strict\n"


def test_find_expands_the_home_folder(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(shipped))
    assert resources.find("policies", "~/configs/policies/strict.yaml") == shipped / "configs/policies/strict.yaml"


def test_a_file_in_the_working_directory_does_not_hide_a_shipped_name(shipped: Path) -> None:
    Path("balanced").write_text("name: another\n")
    assert resources.find("policies", "balanced").read_text() == "name: balanced\n"
    assert resources.find("policies", "./balanced").read_text() == "name: another\n"


def test_find_lists_what_exists_and_suggests_the_nearest(shipped: Path) -> None:
    with pytest.raises(PolicyError, match=r"no policy named 'balnced'.*one of balanced, strict.*mean 'balanced'\?"):
        resources.find("policies", "balnced", error=PolicyError)
    with pytest.raises(ConfigError) as caught:
        resources.find("policies", "entirely different")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "no/such", "no.yaml", "..", ".", "\0", "a\0b", "x" * 5000, "x" * 5000 + ".yaml", "~nobody/x"]
)
def test_find_refuses_what_is_no_file(shipped: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        resources.find("policies", name)


# --- read_yaml


def test_read_yaml_gives_plain_values(tmp_path: Path) -> None:
    path = written(tmp_path, "﻿text: ä\nlist: [1, 0.5, yes, null]\nnested: {a: {b: c}}\n")
    assert resources.read_yaml(path) == {"text": "ä", "list": [1, 0.5, True, None], "nested": {"a": {"b": "c"}}}


def test_read_yaml_works_without_the_c_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_Loader", yaml.SafeLoader)
    assert resources.read_yaml(written(tmp_path, "a: [1, {b: c}]\n")) == {"a": [1, {"b": "c"}]}
    with pytest.raises(ConfigError, match="line 2: the key appears twice, first on line 1"):
        resources.read_yaml(written(tmp_path, "a: 1\na: 2\n"))


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a"),
        ("top:\n  - x: 1\n  - y: 1\n    z: 2\n    y: 3\n", 5, "top[1].y"),
        ('weights: {harm: {privacy: 1, "privacy": 2}}\n', 1, "weights.harm.privacy"),
    ],
)
def test_read_yaml_refuses_a_key_given_twice(tmp_path: Path, text: str, line: int, key: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TaxonomyError, match=f"line {line}: the key appears twice") as caught:
        resources.read_yaml(path, error=TaxonomyError)
    assert (caught.value.file, caught.value.key) == (str(path), key)


@pytest.mark.parametrize("key", ["1", "yes", "null", "2026-01-01", "[a]", "{a: 1}", "<<"])
def test_read_yaml_refuses_a_key_that_is_not_text(tmp_path: Path, key: str) -> None:
    path = written(tmp_path, f"top:\n  ? {key}\n  : {{a: 1}}\n")
    with pytest.raises(ConfigError, match=r"line 2: the key .* is not text: put it in quotes") as caught:
        resources.read_yaml(path)
    assert (caught.value.file, caught.value.key) == (str(path), "top")


BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}, *{p}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1\nb: 2\n", "line 2: .*"),
        ("a: 'open\n", "line 2: .*"),
        ("a: \x01\n", ".*control characters.*"),
        ("a: b: c\n", "line 1: .*"),
        ("---\na: 1\n---\nb: 2\n", "line 3: .*another document.*"),
        ("", "the file does not hold a mapping"),
        ("# only a comment\n", "the file does not hold a mapping"),
        ("- 1\n", "the file does not hold a mapping"),
        ("words\n", "the file does not hold a mapping"),
        (b"a: 1\nb: \xff\n", "line 2: the file is not UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: the file is not UTF-8"),
        ("a: &x 1\nb: *x\n", "line 2: the alias \\*x is not allowed.*"),
        ("a: &x [*x]\n", "line 1: the alias \\*x is not allowed.*"),
        (BOMB, "line 2: the alias \\*a is not allowed.*"),
        ("a: " + "[" * 33 + "]" * 33 + "\n", "line 1: nested deeper than 32 levels"),
        ("a: " + "[" * 200_000, "line 1: nested deeper than 32 levels"),
        ("a: " + "{a: " * 100_000, "line 1: nested deeper than 32 levels"),
        ("a: 2026-13-45\n", "a value cannot be read: .*"),
        ("a: " + "9" * 5000 + "\n", "a value cannot be read: .*"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1: could not determine a constructor.*"),
        ("a: !unknown 1\n", "line 1: could not determine a constructor.*"),
    ],
)
def test_read_yaml_refuses_what_is_not_plain_yaml(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=f"file.yaml: {problem}") as caught:
        resources.read_yaml(path)
    assert caught.value.file == str(path)


def test_read_yaml_refuses_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match=r"no such file|cannot be read") as caught:
            resources.read_yaml(path)
        assert caught.value.file == str(path)
    monkeypatch.setattr(resources, "MAX_BYTES", 4)
    with pytest.raises(ConfigError, match="too large"):
        resources.read_yaml(written(tmp_path, "a: 12\n"))


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_whatever_yaml_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    fresh = json.loads(json.dumps(value))  # no object twice, which yaml would write as an alias
    path = written(tmp_path_factory.getbasetemp(), yaml.safe_dump(fresh, sort_keys=False))
    assert resources.read_yaml(path) == value


@given(st.binary(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"#?, \n\t%@`0.9~<", max_size=60).map(str.encode))
def test_no_bytes_lead_to_anything_but_a_mapping_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = written(tmp_path_factory.getbasetemp(), data)
    with contextlib.suppress(ConfigError):
        assert isinstance(resources.read_yaml(path), dict)


# --- canonical_hash


def test_canonical_hash_is_the_documented_one() -> None:
    # printf '{"a":[1,0.5,"\\u00e4"],"b":null}' | sha256sum
    assert resources.canonical_hash({"b": None, "a": [1, 0.5, "ä"]}) == (
        "eeeb5c1394a14ee3e9897b1c072ba4d0ac00dcb132737f670e18a6894ace444b"
    )


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_canonical_hash_ignores_the_order_of_keys_and_nothing_else(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert resources.canonical_hash(turned) == resources.canonical_hash(value)
    assert resources.canonical_hash(value | {"\0new": 1}) != resources.canonical_hash(value)


@pytest.mark.parametrize("value", [math.nan, {"a": math.inf}, {"a": {1, 2}}, {"a": Path("x")}, {(1, 2): 3}])
def test_canonical_hash_refuses_what_json_cannot_say(value: object) -> None:
    with pytest.raises(ConfigError, match="no canonical JSON form"):
        resources.canonical_hash(value)


# --- validate


class Inner(Record):
    weight: float = Field(ge=0, le=1)
    note: str = ""
    origin: str = Field(default="", alias="from")


class Outer(Record):
    name: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    parts: tuple[str, ...] = Field(default=("a",), min_length=1)

    @field_validator("name")
    @classmethod
    def _no_dash(cls, name: str) -> str:
        if "-" in name:
            raise ValueError("a name, of all things, has no dash")
        return name


def test_validate_makes_the_record() -> None:
    made = resources.validate(Outer, {"name": "a", "many": [{"weight": 1, "from": "b"}]}, file=None)
    assert made == Outer(name="a", many=(Inner.model_validate({"weight": 1.0, "from": "b"}),))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "f.yaml: name: the key is missing"),
        ({"name": 3}, "f.yaml: name: found 3 (expected a valid string)"),
        ({"name": None}, "f.yaml: name: found nothing (expected a valid string)"),
        ({"name": {"a": 1}}, "f.yaml: name: found a mapping (expected a valid string)"),
        ({"name": [1]}, "f.yaml: name: found a list (expected a valid string)"),
        ({"name": "a-b"}, "f.yaml: name: a name, of all things, has no dash"),
        ({"name": "a", "parts": []}, "f.yaml: parts: what stands here is empty (expected a length of at least 1)"),
        (
            {"name": "a", "many": [{"weight": 0}, {"weight": 2}]},
            "f.yaml: many[1].weight: found 2 (expected less than or equal to 1)",
        ),
        (
            {"name": "a", "inner": {"weight": 1, "nota": ""}},
            "f.yaml: inner.nota: there is no key 'nota' here (expected one of weight, note, from; did you mean 'note'?)",
        ),
        (
            {"name": "a", "many": [{"weight": 1, "form": ""}]},
            "f.yaml: many[0].form: there is no key 'form' here (expected one of weight, note, from; did you mean 'from'?)",
        ),
        (
            {"name": "a", "named": {"x": {"weight": 1, "zzz": ""}}},
            "f.yaml: named.x.zzz: there is no key 'zzz' here (expected one of weight, note, from)",
        ),
        (
            {"nam": "a"},
            "f.yaml: nam: there is no key 'nam' here; see also name "
            "(expected one of name, inner, many, named, parts; did you mean 'name'?)",
        ),
    ],
)
def test_validate_names_file_key_and_what_was_expected(data: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        resources.validate(Outer, data, file="f.yaml", error=PolicyError)
    assert str(caught.value) == message


def test_validate_shortens_what_it_found() -> None:
    with pytest.raises(ConfigError) as caught:
        resources.validate(Inner, {"weight": "x" * 10_000}, file=None)
    assert len(str(caught.value)) < 200
    assert caught.value.key == "weight"


class Either(Record):
    one: Inner | Outer | tuple[int, ...]


def test_validate_finds_the_keys_behind_a_choice_of_models() -> None:
    with pytest.raises(ConfigError, match="no key 'wight' here") as caught:
        resources.validate(Either, {"one": {"weight": 1, "wight": 1}}, file=None)
    assert caught.value.expected == "one of weight, note, from; did you mean 'weight'?"


# --- beside


def test_what_a_document_names_is_looked_for_beside_it_first(shipped: Path) -> None:
    folder = shipped.parent / "documents"
    (folder / "below").mkdir(parents=True)
    for name in ("balanced", "mine.yaml", "below/mine.yaml", "plain"):
        (folder / name).write_text("name: mine\n")
    document = folder / "document.yaml"
    assert resources.beside("policies", "mine.yaml", document) == folder / "mine.yaml"
    assert resources.beside("policies", "below/mine.yaml", document) == folder / "below/mine.yaml"
    assert resources.beside("policies", "plain", document) == folder / "plain"
    assert resources.beside("policies", str(folder / "mine.yaml"), document) == folder / "mine.yaml"
    for name in ("balanced", "other.yaml", "", "strict"):  # shipped, not there, nothing, shipped and not there
        assert resources.beside("policies", name, document) == name
