"""Find and read YAML by name or path, say precisely what is wrong with it, and hash content.

Names ("balanced", "safetyanalyst-v1") stand for the files that ship with the package: at the top of the repository when running
from source, inside the package when installed. Everything else is a path. YAML is read strictly: what two readers could
understand differently (a key given twice, a key that is not text, an alias) is refused rather than resolved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from os.path import expanduser  # unlike Path.expanduser it leaves an unknown user as it stands
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from safetyanalyst.errors import ConfigError

Kind = Literal["taxonomies", "configs", "policies", "datasets", "training"]
Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 8 * 2**20
"""Larger files are refused: a configuration is read by people."""
MAX_DEPTH = 32

_PACKAGE = Path(__file__).resolve().parent
_FOLDERS: dict[Kind, str] = {
    "taxonomies": "taxonomies",
    "configs": "configs",
    "policies": "configs/policies",
    "datasets": "configs/datasets",
    "training": "configs/training",
}
_SINGULAR: dict[Kind, str] = {
    "taxonomies": "taxonomy",
    "configs": "config",
    "policies": "policy",
    "datasets": "dataset",
    "training": "training config",
}
_SUFFIXES = (".yaml", ".yml")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def folder(kind: Kind) -> Path:
    """The folder of shipped files of a kind; it need not exist."""
    # Only one of the two is ever ours: beside an installed package lie the folders of others.
    root = _PACKAGE if (_PACKAGE / "taxonomies").is_dir() else _PACKAGE.parent
    return root / _FOLDERS[kind]


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the shipped files of a kind, sorted."""
    place = folder(kind)
    if not place.is_dir():
        return ()
    return tuple(sorted(path.stem for path in place.iterdir() if path.suffix in _SUFFIXES and path.is_file()))


def find(
    kind: Kind, name_or_path: str | Path, *, relative_to: Path | None = None, error: type[ConfigError] = ConfigError
) -> Path:
    """The file behind a name or a path.

    A shipped name wins over a file of the same bare name in the working directory, so that what lies there cannot change what a
    name means; write `./name` for the file.

    Args:
        kind: What is asked for.
        name_or_path: A shipped name, or a path: it has a separator or the suffix .yaml or .yml, or it is a file.
        relative_to: Folder that relative paths start from; the working directory when `None`.
        error: Class of the error raised.

    Raises:
        ConfigError: There is no such name or no such file.
    """
    text = str(name_or_path)
    for suffix in _SUFFIXES:
        shipped = folder(kind) / f"{text}{suffix}"
        if _is_name(text) and _is_file(shipped):
            return shipped
    path = Path(expanduser(text))
    path = path if relative_to is None else relative_to / path
    if text and _is_file(path):
        return path
    if text and not _is_name(text):
        raise error(f"there is no such {_SINGULAR[kind]} file", file=path)
    known = names(kind)
    raise error(f"there is no {_SINGULAR[kind]} named {text!r}", expected=choices(text, known, otherwise="the path of a file"))


def beside(kind: Kind, name_or_path: str, document: Path) -> str | Path:
    """What a document means by a name or path: a path is looked for in the document's folder before the working directory.

    Args:
        kind: What is named.
        name_or_path: As it stands in the document.
        document: File of the document.

    Returns:
        What to look for: the file beside the document where there is one, otherwise `name_or_path` as it is.
    """
    here = document.parent / expanduser(name_or_path)
    return here if name_or_path and name_or_path not in names(kind) and _is_file(here) else name_or_path


def _is_name(text: str) -> bool:
    return bool(text) and not any(c in text for c in "/\\\0") and not text.endswith(_SUFFIXES) and text not in (".", "..")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, a NUL inside
        return False


def readable(text: str) -> str:
    """Text that a file can hold: what is no text in it (bytes in a file's name, lone surrogates) is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def choices(wrong: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """What could have been meant, in words, for the `expected` of an error.

    Args:
        wrong: What was written.
        known: What may be written.
        otherwise: What else would do.
    """
    known = tuple(known)
    near = get_close_matches(wrong, known, n=1, cutoff=0.6)
    parts = [f"one of {', '.join(known)}"] if known else []
    parts += [otherwise] if otherwise else []
    text = ", or ".join(parts)
    return f"{text}; did you mean {near[0]!r}?" if near else text


def read_yaml(path: Path | str, *, error: type[ConfigError] = ConfigError) -> dict[str, object]:
    """Reads one YAML file whose top is a mapping.

    Args:
        path: The file.
        error: Class of the error raised.

    Raises:
        ConfigError: The file is missing, too large, not UTF-8, not YAML, nested too deep, not a mapping, or has a key twice, a
            key that is not text, an alias or an unknown tag. It names the file, the line and, where there is one, the key.
    """
    return parse_yaml(_read_text(Path(path), error), file=path, error=error)


def parse_yaml(text: str, *, file: Path | str, error: type[ConfigError] = ConfigError) -> dict[str, object]:
    """Reads the text of a YAML document whose top is a mapping.

    Args:
        text: The document.
        file: Where it comes from, for the message.
        error: Class of the error raised.

    Raises:
        ConfigError: As for `read_yaml`.
    """
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise error("the file does not hold a mapping", file=file, expected="`key: value` lines at the top")
            for fault in _key_faults(node, ""):
                raise error(f"line {fault.line}: {fault.problem}", file=file, key=fault.key)
            value: dict[str, object] = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as exc:
        raise error(_yaml_problem(exc), file=file, expected="YAML") from exc
    except (ValueError, OverflowError) as exc:  # a date such as 2026-13-45, a number too long to read
        raise error(f"a value cannot be read: {exc}", file=file, expected="YAML") from exc
    return value


def _read_text(path: Path, error: type[ConfigError]) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise error("there is no such file", file=path) from exc
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise error(f"the file cannot be read: {reason}", file=path) from exc
    if len(data) > MAX_BYTES:
        raise error("the file is too large", file=path, expected=f"at most {MAX_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise error(f"line {line}: the file is not UTF-8", file=path, expected="UTF-8 text") from exc


def _check_events(text: str) -> None:
    """Refuses what must not even be composed: deep nesting overflows the stack, aliases of aliases grow without bound."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(event, f"the alias *{event.anchor} is not allowed: write the value out")


def _refusal(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _yaml_problem(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or str(exc).splitlines()[0]
    if "nesting depth" in str(problem):  # newer parsers have a limit of their own, and reach it before our count does
        problem = f"nested deeper than {MAX_DEPTH} levels"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


class _KeyFault(NamedTuple):
    line: int
    key: str
    problem: str


def _key_faults(node: yaml.Node, place: str) -> Iterator[_KeyFault]:
    """Keys that are given twice or are not text, in the order of the file."""
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _key_faults(item, f"{place}[{i}]")
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            word = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            yield _KeyFault(line, place, f"the key {word} is not text: put it in quotes")
            continue
        name = f"{place}.{key.value}" if place else key.value
        if key.value in seen:
            yield _KeyFault(line, name, f"the key appears twice, first on line {seen[key.value]}")
        seen.setdefault(key.value, line)
        yield from _key_faults(value, name)


def canonical_hash(value: object) -> str:
    """sha256 of a JSON value in canonical form (keys sorted, no blanks, ASCII only), hex.

    Raises:
        ConfigError: The value has no JSON form, or holds a number that is not finite.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigError(f"the value has no canonical JSON form: {exc}", expected="JSON with finite numbers") from exc
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def validate(
    model: type[Model], data: Mapping[str, object], *, file: Path | str | None, error: type[ConfigError] = ConfigError
) -> Model:
    """Makes a record of what was read.

    Args:
        model: The record.
        data: What was read.
        file: Where from, for the message.
        error: Class of the error raised.

    Raises:
        ConfigError: The data does not fit. The first misfit names file, dotted key and what was expected (for an unknown key:
            the known ones and the nearest); the keys of further ones are listed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        # A misspelt key is also a missing one: the misspelling says more.
        first, *others = sorted(exc.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
        misfit = _misfit(model, first)
        more = ", ".join(sorted({_dotted(other["loc"]) for other in others} - {""}))
        problem = f"{misfit.problem}; see also {more}" if more else misfit.problem
        raise error(problem, file=file, key=_dotted(first["loc"]) or None, expected=misfit.expected) from exc


def load(
    model: type[Model], kind: Kind, name_or_path: str | Path, *, format: str, error: type[ConfigError] = ConfigError
) -> Model:
    """Reads a document by shipped name or by path.

    Args:
        model: The record it becomes.
        kind: Where shipped ones lie.
        name_or_path: Which one.
        format: What its key `format` must say; it is no part of the record.
        error: Class of the error raised when the content breaks a rule.

    Raises:
        ConfigError: There is no such document, or it does not fit; names file, key and what was expected.
    """
    path = find(kind, name_or_path)
    return validate(model, read_document(path, format=format, error=error), file=path, error=error)


def read_document(path: Path, *, format: str, error: type[ConfigError] = ConfigError) -> dict[str, object]:
    """Reads a YAML file that says its format; what comes back is without that key.

    Raises:
        ConfigError: It cannot be read, or is of another format.
    """
    data = dict(read_yaml(path))
    found = data.pop("format", None)
    if found != format:
        raise error(f"unknown format {found!r}", file=path, key="format", expected=format)
    return data


class _Misfit(NamedTuple):
    problem: str
    expected: str | None


def _misfit(model: type[BaseModel], detail: ErrorDetails) -> _Misfit:
    kind, message, context = detail["type"], detail["msg"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        wrong = str(detail["loc"][-1])
        return _Misfit(f"there is no key {wrong!r} here", choices(wrong, _known_keys(model, detail["loc"][:-1])) or None)
    if kind == "missing":
        return _Misfit("the key is missing", None)
    if kind == "too_short":
        problem = "too short" if detail["input"] else "empty"
        return _Misfit(f"what stands here is {problem}", f"a length of at least {context['min_length']}")
    if kind in ("value_error", "assertion_error"):
        return _Misfit(message.partition(", ")[2] or message, None)
    if message.startswith("Input should "):
        wanted = message.removeprefix("Input should ").removeprefix("be ")
        return _Misfit(f"found {_short(detail['input'])}", wanted)
    return _Misfit(f"{message}, found {_short(detail['input'])}", None)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(loc: Iterable[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _known_keys(annotation: object, loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Keys of the model found by following `loc` down from an annotation; none when it leads nowhere."""
    if get_origin(annotation) is Annotated:
        return _known_keys(get_args(annotation)[0], loc)
    if get_origin(annotation) in (Union, UnionType):  # pydantic may put the name of the choice into the path
        found = (_known_keys(choice, rest) for rest in (loc, loc[1:]) for choice in get_args(annotation))
        return next((keys for keys in found if keys), ())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {info.alias or name: info.annotation for name, info in annotation.model_fields.items()}
        if not loc:
            return tuple(fields)
        return _known_keys(fields.get(str(loc[0])), loc[1:])
    arguments = get_args(annotation)
    if arguments and loc:  # tuple[X, ...], list[X], dict[str, X]
        return _known_keys(arguments[1] if get_origin(annotation) is dict else arguments[0], loc[1:])
    return ()
