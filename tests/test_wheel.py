"""The wheel: it holds what the program needs and nothing stray, and works from any directory, installed without network."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import synthetic
from safetyanalyst.pipelines import compiled
from safetyanalyst.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[1]
SUFFIXES = {
    ".py",
    ".c",
    ".yaml",
    ".safetensors",
    ".onnx",
    ".md",
    ".json",
    ".jsonl",
    ".typed",
    ".html",
    ".css",
    ".js",
    ".LICENSE",
}
MAX_WHEEL, MAX_CORE = 20_000_000, 400_000_000


COMPILED = f"safetyanalyst/pipelines/{compiled.LIBRARY.name}"
WHICH_ENGINE = """
import json, sys
from safetyanalyst.features import FeatureSpace
from safetyanalyst.pipelines.featurize import TextFeaturizer
from safetyanalyst.taxonomy import load_taxonomy

featurizer = TextFeaturizer(FeatureSpace(load_taxonomy()))
matrix = featurizer.featurize(json.load(sys.stdin))
print(json.dumps({"is_compiled": featurizer.is_compiled, "counts": matrix.counts.toarray().tolist()}))
"""


def build(what: str, out: Path, **variables: str) -> Path:
    command = [sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | variables)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("safetyanalyst-*")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"), SAFETYANALYST_NO_COMPILE="0")


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("pure"), SAFETYANALYST_NO_COMPILE="1")


@pytest.fixture(scope="module")
def has_compiler(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether a C compiler under one of the usual names makes a shared library here."""
    folder = tmp_path_factory.mktemp("compiler")
    source = folder / "one.c"
    source.write_text('#include <string.h>\nint one(void) { return (int)strlen("1"); }\n', encoding="utf-8")
    names = filter(shutil.which, [*(os.environ.get("CC") or "").split()[:1], "cc", "gcc", "clang"])
    commands = ([name, "-shared", "-fPIC", "-o", str(folder / name.replace("/", "")), str(source)] for name in names)
    return any(subprocess.run(command, capture_output=True, timeout=120).returncode == 0 for command in commands)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an empty environment with the wheel in it; the dependencies are those of the environment of the tests."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(home)}))
    python = scripts / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    # behind the environment's own packages, so that this wheel is the one that is imported
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    return scripts


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET")}


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def sources(folder: str) -> Iterator[str]:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("libpieces"):
            yield str(path.relative_to(ROOT))


def test_the_wheel_holds_taxonomies_configurations_and_weights(wheel: Path) -> None:
    names = set(names_in(wheel))
    for folder in ("taxonomies", "configs"):
        assert {f"safetyanalyst/{name}" for name in sources(folder)} <= names
    assert set(sources("safetyanalyst")) <= names
    assert any(name.endswith(".safetensors") for name in names)
    assert {"safetyanalyst/taxonomies/safetyanalyst-v1.yaml", "safetyanalyst/configs/policies/balanced.yaml"} <= names
    assets = "safetyanalyst/report/assets"
    assert {f"{assets}/{name}" for name in ("page.html", "page.css", "main.js", "vendor/d3-hierarchy.LICENSE")} <= names


def test_the_wheel_holds_nothing_stray(wheel: Path, has_compiler: bool) -> None:
    expected = {f"safetyanalyst/{name}" for folder in ("taxonomies", "configs") for name in sources(folder)}
    expected |= set(sources("safetyanalyst"))
    others = [name for name in names_in(wheel) if name not in expected]
    stray = [name for name in others if not re.fullmatch(r"safetyanalyst-[^/]+\.dist-info/.+", name)]
    assert stray == ([COMPILED] if has_compiler else [])
    assert sorted({Path(name).suffix for name in expected} - SUFFIXES) == []
    assert wheel.stat().st_size < MAX_WHEEL


def test_the_tag_says_whether_something_was_compiled(wheel: Path, pure_wheel: Path, has_compiler: bool) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    assert wheel.name.endswith("-py3-none-any.whl") != has_compiler
    assert "-py3-none-" in wheel.name
    assert set(names_in(wheel)) - set(names_in(pure_wheel)) == ({COMPILED} if has_compiler else set())
    assert set(names_in(pure_wheel)) <= set(names_in(wheel))


def test_the_pure_wheel_reads_the_same(wheel: Path, pure_wheel: Path, has_compiler: bool, tmp_path: Path) -> None:
    texts = json.dumps([*synthetic.published_texts(0, load_taxonomy(), 3, 20), "no tree"])
    answers = []
    for path in (wheel, pure_wheel):
        folder = tmp_path / path.parent.name
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        environment = clean_environment() | {"PYTHONPATH": str(folder)}
        command = [sys.executable, "-c", WHICH_ENGINE]
        done = subprocess.run(
            command, input=texts, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    assert [it["is_compiled"] for it in answers] == [has_compiler, False]
    assert answers[0]["counts"] == answers[1]["counts"]


def test_the_source_distribution_holds_sources(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"hatch_build.py", "pyproject.toml", "safetyanalyst/pipelines/pieces.c"} <= names
    assert not [name for name in names if "libpieces" in name or name.endswith((".so", ".dylib", ".dll"))]


def test_the_installed_command_works_from_another_directory(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            arguments, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, encoding="utf-8", timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(str(installed / "python"), "-c", "import safetyanalyst; print(safetyanalyst.__file__)").strip()
    assert Path(where).is_relative_to(installed.parent)
    command = str(installed / "safetyanalyst")
    analysis = json.loads(run(command, "analyze", "hello", "--json"))
    assert analysis["decision"] in ("allow", "review", "block")
    assert analysis["policy"]["name"] == "balanced"
    assert analysis["provenance"]["harm"]["model_hash"]
    assert re.fullmatch(r"safetyanalyst \d+\.\d+\.\d+\S*\n", run(command, "--version"))
    for taxonomy in ("safetyanalyst-v1", "agents-v1"):
        assert "good" in run(command, "taxonomy", "check", taxonomy)
    (tmp_path / "one.jsonl").write_text(json.dumps(analysis) + "\n", encoding="utf-8")
    run(command, "report", "one.jsonl", "--html", "one.html")
    assert "d3js.org" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_the_core_stays_small_and_without_heavy_libraries(wheel: Path) -> None:
    """What `pip install .` brings, by the sizes of the distributions that are installed here."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        needs = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []
        own = sum(it.file_size for it in archive.infolist())
    sizes: dict[str, int] = {}
    waiting = needs
    while waiting:
        need = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name in sizes or (need.marker is not None and not need.marker.evaluate({"extra": ""})):
            continue
        found = importlib.metadata.distribution(name)
        sizes[name] = sum(path.stat().st_size for it in found.files or () if (path := Path(str(it.locate()))).is_file())
        waiting += found.requires or []
    assert {"numpy", "scipy", "pydantic-core"} <= sizes.keys()
    assert not {"torch", "transformers", "vllm", "ray", "pyarrow", "pandas", "scikit-learn"} & sizes.keys()
    assert own + sum(sizes.values()) < MAX_CORE
