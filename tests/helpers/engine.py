"""An engine, a base and its adapters for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.domain.chat import PaneUpdate, Sampling
from studio.domain.data import Message
from studio.ml.chat.answerer import Answerer
from studio.ml.chat.request import BaseSource, GenRow
from studio.ml.models.loading import load_model, load_tokenizer, render_chat

ASK = (Message("user", "Hi there"),)
LONG = (Message("user", "A much longer question, so that rows are padded"),)


GREEDY = Sampling(temperature=0, max_new_tokens=24)


def last(updates: Iterator[list[PaneUpdate]]) -> list[PaneUpdate]:
    return list(updates)[-1]


def texts(answerer: Answerer, base: BaseSource, rows: list[GenRow], folders: Any, sampling: Sampling) -> list[str]:
    return [update.text for update in last(answerer.generate(base, rows, folders, sampling))]


def peft_greedy(base: Path, adapter: Path | None, messages: tuple[Message, ...], tokens: int) -> str:
    """The answer of plain transformers and PEFT, no code of ours but the chat's text."""
    from peft import PeftModel

    model: Any = load_model(base, device="cpu", dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = load_tokenizer(base)
    inputs = tokenizer(render_chat(tokenizer, messages), add_special_tokens=False, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(out, skip_special_tokens=True)).rstrip("\ufffd").strip()
