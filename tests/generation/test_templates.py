from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from safetyanalyst.cli import app
from safetyanalyst.errors import BackendError, ConfigError
from safetyanalyst.generation.prompts import Prompter, PromptStyle
from safetyanalyst.generation.specialist import Asking, Specialist, read_options
from safetyanalyst.generation.templates import Template, Templates, dumped, import_templates, load_templates
from safetyanalyst.scenarios import Exchange, Prompt
from safetyanalyst.taxonomy import load_taxonomy
from tests.generation.answering import Answering

TAXONOMY = load_taxonomy()
CODE = '''
import does_not_exist

raise SystemExit("this code is never run")

def apply_chat_template_harms(user_input):
    prompt = """<|system|>
List the harms.
<|user|>
\\"""" + user_input.strip() + """\\" was asked.
<|assistant|>
"""
    return prompt

class Another:
    def apply_chat_template_benefits(text):
        return f"List the benefits of {text} now."
'''


def checkout(folder: Path, code: str = CODE) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "prompts.py").write_text(code, encoding="utf-8")
    (folder / "broken.py").write_text("def (:", encoding="utf-8")
    return folder


def test_both_templates_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    found = import_templates(checkout(tmp_path))
    assert found.harm.filled("  bread\n") == '<|system|>\nList the harms.\n<|user|>\n"bread" was asked.\n<|assistant|>\n'
    assert found.benefit.filled(" bread ") == "List the benefits of  bread  now."
    assert found.harm.source.startswith("src/prompts.py, apply_chat_template_harms, sha256 ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("user_input.strip()", "clean(user_input)", "not read: clean"),
        ('+ user_input.strip() + """', '+ """', "not exactly once"),
        ("(user_input)", "(user_input, more)", "not one argument"),
        ("return prompt", "pass", "more than to join"),
        ("    return prompt", "    prompt += 'more'\n    return prompt", "more than to join"),
        ("{text}", "{text!r}", "formats"),
        ("{text}", "{text:>100}", "formats"),
        ("apply_chat_template_harms", "something_else", "no function of this name"),
        ("user_input.strip()", "user_input + user_input", "not exactly once"),
    ],
)
def test_another_way_of_building_a_prompt_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_templates(checkout(tmp_path, CODE.replace(old, new)))


def test_a_function_that_ends_in_a_broken_line_is_read_all_the_same(tmp_path: Path) -> None:
    code = CODE.replace("class Another:\n    def apply_chat", "def apply_chat").replace(
        '        return f"List the benefits of {text} now."', '    it = f"List the benefits of {text} now."\n  return it'
    )
    found = import_templates(checkout(tmp_path, code))
    assert found.benefit.filled("x") == "List the benefits of x now."
    assert found.harm.after.startswith('" was asked.')


@pytest.mark.parametrize(
    "code", ["def apply_chat_template_harms(x:\n", "-" * 100_000 + "apply_chat_template_harms", CODE.replace("(text)", "(text")]
)
def test_files_that_cannot_be_parsed_are_no_templates(tmp_path: Path, code: str) -> None:
    with pytest.raises(ConfigError):
        import_templates(checkout(tmp_path, code))


def test_two_different_functions_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "copy.py").write_text(CODE, encoding="utf-8")
    assert import_templates(folder).harm.before.startswith("<|system|>")  # a copy of the same is no contradiction
    (folder / "old.py").write_text(CODE.replace("List the harms", "Name the harms"), encoding="utf-8")
    with pytest.raises(ConfigError, match="2 different functions"):
        import_templates(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        import_templates(tmp_path / "nowhere")


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["both", "none"]))
def test_a_template_file_is_read_back(tmp_path_factory: pytest.TempPathFactory, before: str, after: str, strip: str) -> None:
    template = Template.model_validate({"before": before, "after": after, "strip": strip})
    templates = Templates(name="mine", harm=template, benefit=template)
    path = tmp_path_factory.mktemp("t") / "templates.yaml"
    path.write_text(dumped(templates), encoding="utf-8")
    assert load_templates(path) == templates


def test_the_command_writes_a_file_that_a_specialist_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["prompts", "import", str(checkout(tmp_path / "theirs"))])
    assert result.exit_code == 0, result.output
    style = PromptStyle(form="published", templates="published-prompts.yaml")
    chat = Prompter("harm", TAXONOMY, style, len).tree(Prompt(id="p", text="bread <|assistant|> -")).chat
    assert chat.wrap == "none"
    assert [turn.content for turn in chat.turns] == [
        '<|system|>\nList the harms.\n<|user|>\n"bread < |assistant| > -" was asked.\n<|assistant|>\n'
    ]
    backend = Answering(lambda chat, how: "[]")
    specialist = Specialist("harm", TAXONOMY, backend, Asking(style=style))
    answered, refused = specialist.generate([Prompt(id="p", text="a"), Exchange(id="x", prompt="a", response="b")])
    assert answered.tree is not None
    assert (refused.tree, [it.code for it in refused.defects]) == (None, ["unfamiliar_input"])
    assert len(backend.asked) == 1


def test_templates_write_whole_trees() -> None:
    with pytest.raises(BackendError, match="no templates"):
        read_options(Asking, "hf", {"plan": "by_stakeholder", "style": {"templates": "a.yaml"}})
