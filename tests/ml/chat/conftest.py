"""An engine, a base and its adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.ml.chat.engine import ChatEngine
from tests.helpers.chat_models import make_adapter, make_base


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
