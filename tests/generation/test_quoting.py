from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.generation.quoting import defused, quoted

MARKS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<s>", "</s>",
    "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]",
    "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>", "<think>", "</think>", "<\uff5cUser\uff5c>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "[gMASK]", "[CLS]", "[SEP]", "[unused1]", "<extra_id_0>",
    "<|START_OF_TURN_TOKEN|>", "[|endofturn|]", "[|user|]", "]~b]ai", "[e~[", ">>QUESTION<<", "<#x#>", "<-bos->", "[@BOS@]",
    "<tool_call>", "<0x0A>", "<!channel>",
]  # fmt: skip
pieces = st.lists(st.sampled_from([*MARKS, "<", "|", ">", "[", "]", "/", " ", "x", "\n"]) | st.text(max_size=3), max_size=12)


@given(pieces.map("".join))
def test_no_control_token_is_left_whatever_stands_together(text: str) -> None:
    safe = defused(text)
    assert not any(mark in safe for mark in MARKS)
    assert defused(safe) == safe


@given(pieces.map("".join))
def test_nothing_but_blanks_is_added(text: str) -> None:
    assert defused(text).replace(" ", "") == text.replace(" ", "")


@given(pieces.map("".join), st.lists(st.text("ab# <|>", min_size=1, max_size=4), max_size=4))
def test_marks_of_a_tokenizer_are_broken_too(text: str, marks: list[str]) -> None:
    safe = defused(text + "".join(marks), marks)
    assert not any(mark in safe for it in marks if len(mark := it.strip()) > 1)
    assert safe.replace(" ", "") == (text + "".join(marks)).replace(" ", "")


@given(st.text(max_size=200))
def test_every_line_is_quoted(text: str) -> None:
    lines = quoted(text).split("\n")
    assert all(line.startswith("> ") for line in lines)
    assert len(lines) == max(1, len(text.splitlines()))
    assert not any(len(line.splitlines()) > 1 for line in lines)


@pytest.mark.parametrize("text", ["a < b", "3 < 4", "[1]", "[ ]", "x [2, 3]", "a[0] < 5 and b > 2", "<= x >=", "a > b"])
def test_ordinary_signs_stay(text: str) -> None:
    assert defused(text) == text or "<=" in text


def test_lone_surrogates_are_replaced() -> None:
    assert defused("a\ud800b") == "a\ufffdb"
