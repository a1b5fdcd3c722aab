"""Chats -> token ids, so that text of a scenario never becomes a control token.

A chat template is rendered around marks in place of the contents; its own pieces are then read with control tokens, the
contents without. What a tokenizer would read as a control token inside a content is thus spelt out, as ordinary text.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from safetyanalyst.errors import BackendError
from safetyanalyst.generation.chats import Chat, Completion, Turn, Wrap, failed
from safetyanalyst.generation.quoting import defused


class Encoded(NamedTuple):
    """Chats as a local model reads them.

    Attributes:
        asked: Token ids by the place of the chat.
        failed: Completions of those that cannot be asked, likewise.
    """

    asked: dict[int, list[int]]
    failed: dict[int, Completion]


def encoded(tokenizer: Any, chats: Sequence[Chat], window: int, max_tokens: int) -> Encoded:
    """All chats; one that no tokenizer or template takes, or that is too long, fails alone.

    Args:
        tokenizer: A fast tokenizer of transformers.
        chats: What is asked.
        window: Tokens that the model holds, 0 when that is not known.
        max_tokens: Of these, to be written.
    """
    asked: dict[int, list[int]] = {}
    problems: dict[int, Completion] = {}
    for i, chat in enumerate(chats):
        try:
            ids = chat_ids(tokenizer, chat)
        except Exception as error:  # whatever a tokenizer or a template raises is the failure of this chat
            problems[i] = failed(error)
            continue
        if window and len(ids) + max_tokens > window:
            problems[i] = failed(f"{len(ids)} tokens and {max_tokens} to be written are more than the model's {window}")
        else:
            asked[i] = ids
    return Encoded(asked, problems)


def count_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of a text."""
    return len(tokenizer.encode(text, add_special_tokens=False))


def chat_ids(tokenizer: Any, chat: Chat) -> list[int]:
    """Token ids of a chat, up to where the answer begins.

    Args:
        tokenizer: A fast tokenizer of transformers.
        chat: What is asked.

    Raises:
        BackendError: The tokenizer's template leaves a content out, or changes it.
    """
    marks = [f"\ue000{secrets.token_hex(8)}\ue001" for _ in chat.turns]
    marked = [turn.model_copy(update={"content": mark}) for turn, mark in zip(chat.turns, marks, strict=True)]
    rest = _rendered(tokenizer, marked, chat.wrap)
    ids: list[int] = []
    for turn, mark in zip(chat.turns, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise BackendError(f"the chat template of this model does not show the {turn.role}'s turn as it is, once")
        ids += tokenizer.encode(before, add_special_tokens=False) + _content_ids(tokenizer, _said(turn.content, chat.wrap))
    ids += tokenizer.encode(rest, add_special_tokens=False)
    return ids


def _said(content: str, wrap: Wrap) -> str:
    """Templates trim what they wrap."""
    return content.strip() if wrap == "chat" else content


def _rendered(tokenizer: Any, turns: Sequence[Turn], wrap: Wrap) -> str:
    if wrap == "none":
        return (tokenizer.bos_token or "") + "\n\n".join(turn.content for turn in turns)
    if not tokenizer.chat_template:
        # a base model: plain paragraphs, and the mark that begins a text where the tokenizer has one
        return (tokenizer.bos_token or "") + "\n\n".join(turn.content for turn in turns) + "\n\n"
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    rendered: str = tokenizer.apply_chat_template(
        _without_system(tokenizer, messages), tokenize=False, add_generation_prompt=True
    )
    return rendered


def _without_system(tokenizer: Any, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Where a template has no system turn, the user says what it would say."""
    if not messages or messages[0]["role"] != "system":
        return messages
    try:
        rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:  # templates refuse by an exception of their own
        if len(messages) == 1:
            raise BackendError(f"the chat template of this model takes no system turn: {error}") from error
        rendered = ""
    if messages[0]["content"] in rendered:
        return messages
    first, second, *more = messages
    return [{"role": "user", "content": f"{first['content']}\n\n{second['content']}"}, *more]


def _content_ids(tokenizer: Any, text: str) -> list[int]:
    added = tokenizer.added_tokens_decoder  # control tokens, and others that a template uses and nobody calls special
    control = frozenset((*added, *tokenizer.all_special_ids))
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    if control.isdisjoint(ids):
        return ids
    # those that are read all the same are broken up in spelling
    marks = [token.content for token in added.values()]
    ids = tokenizer.encode(defused(text, marks), add_special_tokens=False, split_special_tokens=True)
    unknown = tokenizer.unk_token_id
    return [it for it in ids if it not in control or it == unknown]
