"""Prompt templates of others: what the published specialists were trained on, read from a checkout that the user has.

The templates are not ours to ship. A checkout is read by its syntax tree and never run: two functions put the user's text into
a long string, by `+`; what stands before and behind becomes a template file.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml

from safetyanalyst import resources
from safetyanalyst.errors import ConfigError
from safetyanalyst.records import Record
from safetyanalyst.trees import TREE_KINDS, TreeKind

FORMAT = "safetyanalyst-prompts/1"
_FUNCTIONS: dict[TreeKind, str] = {"harm": "apply_chat_template_harms", "benefit": "apply_chat_template_benefits"}
_MAX_BYTES = 5_000_000
_TEXT = None  # in a list of pieces: where the user's text goes


class Template(Record):
    """A prompt with a gap.

    Attributes:
        before: What stands before the user's text.
        after: What stands behind it.
        strip: Whether blanks around the text are taken away.
        source: File that it was read from, and the sha256 of that file.
    """

    before: str
    after: str
    strip: Literal["both", "none"] = "none"
    source: str = ""

    def filled(self, text: str) -> str:
        """The prompt for one text."""
        return f"{self.before}{text.strip() if self.strip == 'both' else text}{self.after}"


class Templates(Record):
    """The templates of a pair of specialists.

    Attributes:
        name: Short name.
        harm: Of the harm specialist.
        benefit: Of the benefit specialist.
    """

    name: str
    harm: Template
    benefit: Template

    def of(self, kind: TreeKind) -> Template:
        """One of the two."""
        return self.harm if kind == "harm" else self.benefit


def load_templates(path: str | Path) -> Templates:
    """Reads a template file.

    Raises:
        ConfigError: There is none, or it breaks a rule.
    """
    return resources.validate(Templates, resources.read_document(Path(path), format=FORMAT), file=Path(path))


def dumped(templates: Templates) -> str:
    """The content of a template file."""
    return yaml.safe_dump({"format": FORMAT} | templates.model_dump(), sort_keys=False, allow_unicode=True, width=100)


def import_templates(checkout: Path) -> Templates:
    """Reads both templates from a checkout of the published code.

    Args:
        checkout: Its folder.

    Raises:
        ConfigError: The folder holds no such functions, several of one name, or functions that build their prompt another way.
    """
    if not checkout.is_dir():
        raise ConfigError("there is no such folder", file=checkout, expected="a checkout of the published code")
    found: dict[TreeKind, list[Template]] = {kind: [] for kind in TREE_KINDS}
    for path in sorted(checkout.rglob("*.py")):
        if path.is_file() and path.stat().st_size <= _MAX_BYTES:
            for function, kind in _functions(path):
                found[kind].append(_template(function, path, checkout))
    for kind, templates in found.items():
        distinct = {(it.before, it.after, it.strip) for it in templates}
        if len(distinct) != 1:
            problem = "no function of this name" if not distinct else f"{len(distinct)} different functions of this name"
            raise ConfigError(problem, file=checkout, key=_FUNCTIONS[kind], expected="one that returns the prompt")
    return Templates(name="published", harm=found["harm"][0], benefit=found["benefit"][0])


def _functions(path: Path) -> Iterator[tuple[ast.FunctionDef, TreeKind]]:
    kinds = {name: kind for kind, name in _FUNCTIONS.items()}
    source = path.read_bytes()
    if not any(name.encode() in source for name in kinds):
        return
    text = source.decode("utf-8", "replace")
    tree = _parsed(text)
    for node in ast.walk(tree) if tree is not None else _cut_out(text, path):
        if isinstance(node, ast.FunctionDef) and node.name in kinds:
            yield node, kinds[node.name]


def _cut_out(text: str, path: Path) -> Iterator[ast.AST]:
    """The functions of a file that is no Python as a whole, each by itself.

    In a published version one of them ends in a line that is indented wrongly. Lines are left off its end until the rest can be
    parsed; what it returns is then what it assigns.

    Raises:
        ConfigError: Even so there is nothing to parse.
    """
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("def ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        if not any(name in lines[start] for name in _FUNCTIONS.values()):
            continue
        for last in range(end, start + 1, -1):
            if (tree := _parsed("\n".join(lines[start:last]))) is not None:
                yield from ast.walk(tree)
                break
        else:
            raise ConfigError("cannot be parsed", file=path, key=f"line {start + 1}", expected="Python")


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _template(function: ast.FunctionDef, path: Path, checkout: Path) -> Template:
    place = f"{path.relative_to(checkout)}, {function.name}"
    if len(function.args.args) != 1:
        raise ConfigError("takes not one argument", file=path, key=function.name, expected="the user's text alone")
    reader = _Reader(function.args.args[0].arg)
    try:
        pieces = list(reader.pieces(_prompt(function, path)))
    except RecursionError as error:
        raise ConfigError("joins too many strings", file=path, key=function.name) from error
    if reader.problem or pieces.count(_TEXT) != 1:
        problem = reader.problem or "puts the user's text in not exactly once"
        raise ConfigError(problem, file=path, key=function.name, expected="strings and the user's text, joined by +")
    at = pieces.index(_TEXT)
    texts = [it or "" for it in pieces]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Template(
        before="".join(texts[:at]), after="".join(texts[at + 1 :]), strip=reader.strip, source=f"{place}, sha256 {digest}"
    )


def _prompt(function: ast.FunctionDef, path: Path) -> ast.expr:
    """The expression that a function returns; it may be assigned once before, and nothing else may be done.

    Raises:
        ConfigError: Something else is done.
    """
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    match body:
        case [ast.Return(value=ast.expr() as value)]:
            return value
        case [ast.Assign(targets=[ast.Name()], value=value)]:
            return value
        case [ast.Assign(targets=[ast.Name(id=name)], value=value), ast.Return(value=ast.Name(id=returned))] if (
            name == returned
        ):
            return value
    raise ConfigError("does more than to join and return", file=path, key=function.name, expected="one expression")


class _Reader:
    """Takes an expression apart that joins strings and one name."""

    def __init__(self, argument: str) -> None:
        self.problem = ""
        self.strip: Literal["both", "none"] = "none"
        self._argument = argument

    def pieces(self, node: ast.expr | None) -> Iterator[str | None]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            yield from self.pieces(node.left)
            yield from self.pieces(node.right)
        elif isinstance(node, ast.JoinedStr):
            for part in node.values:
                yield from self._formatted(part) if isinstance(part, ast.FormattedValue) else self.pieces(part)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name) and node.id == self._argument:
            yield _TEXT
        elif self._is_stripped(node):
            self.strip = "both"
            yield _TEXT
        else:
            self.problem = f"has an expression that is not read: {'nothing' if node is None else ast.unparse(node)[:60]}"

    def _formatted(self, part: ast.FormattedValue) -> Iterator[str | None]:
        if part.conversion != -1 or part.format_spec is not None:
            self.problem = "formats what it puts in"
        yield from self.pieces(part.value)

    def _is_stripped(self, node: ast.expr | None) -> bool:
        return (
            isinstance(node, ast.Call)
            and not node.args
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "strip"
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == self._argument
        )
