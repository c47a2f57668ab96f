"""An engine, a base and its adapters for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from studio.domain.chat import PaneUpdate, Sampling
from studio.domain.data import Message
from studio.ml.chat.engine import BaseSource, ChatEngine, GenRow

ASK = (Message("user", "Hi there"),)


GREEDY = Sampling(temperature=0, max_new_tokens=24)


def last(updates: Iterator[list[PaneUpdate]]) -> list[PaneUpdate]:
    return list(updates)[-1]


def texts(engine: ChatEngine, base: BaseSource, rows: list[GenRow], folders: Any, sampling: Sampling) -> list[str]:
    return [update.text for update in last(engine.generate(base, rows, folders, sampling))]
