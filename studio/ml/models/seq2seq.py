"""Encoder-decoder models (T5 and its kin) where they differ from causal ones: how one is told, and what its encoder reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from studio.domain.data import Message
from studio.errors import InputError

#: How an earlier turn is named in the text of a longer conversation.
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def is_encoder_decoder(folder: str | Path) -> bool:
    """Whether the model in a local folder is an encoder-decoder, by its ``config.json``; false where that cannot be read."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("is_encoder_decoder"))


def encoder_text(messages: Sequence[Message]) -> str:
    """A conversation as the text of an encoder: such models know no chat template.

    A single question stands as it is, so that an instruction reaches the model word for word. A system prompt goes before it
    with an empty line between; so do earlier turns, one a line, headed ``User:`` and ``Assistant:``.

    Raises:
        InputError: no message.
    """
    system = [m.content.strip() for m in messages if m.role == "system" and m.content.strip()]
    turns = [m for m in messages if m.role != "system"]
    if not turns:
        raise InputError("The conversation is empty; write something first.")
    *earlier, last = turns
    dialogue = [f"{_SPEAKERS[turn.role]}: {turn.content.strip()}" for turn in earlier]
    return "\n\n".join([*system, *(["\n".join(dialogue)] if dialogue else []), last.content.strip()])
