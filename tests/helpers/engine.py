"""An engine, a base and its adapters for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.domain.chat import PaneUpdate, Sampling
from studio.domain.data import Message
from studio.ml.chat.engine import BaseSource, ChatEngine, GenRow
from tests.helpers.chat_models import make_adapter, make_base

ASK = (Message("user", "Hi there"),)


GREEDY = Sampling(temperature=0, max_new_tokens=24)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("engine") / "base")


@pytest.fixture(scope="module")
def folders(base: Path) -> dict[str, Path]:
    return {f"run-{i}": make_adapter(base.parent / f"run-{i}", base, seed=i, r=2 + i) for i in range(3)}


@pytest.fixture
def engine() -> Iterator[ChatEngine]:
    # exact comparisons need float32, whatever this machine would choose
    made = ChatEngine("cpu", lambda: 1, dtype="float32")
    yield made
    made.close()


def last(updates: Iterator[list[PaneUpdate]]) -> list[PaneUpdate]:
    return list(updates)[-1]


def texts(engine: ChatEngine, base: BaseSource, rows: list[GenRow], folders: Any, sampling: Sampling) -> list[str]:
    return [update.text for update in last(engine.generate(base, rows, folders, sampling))]
