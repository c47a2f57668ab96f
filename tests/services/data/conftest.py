"""A data service over the test's folders, and a way to put a file there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services.data.datasets import DatasetService


@pytest.fixture
def service(settings: Settings) -> DatasetService:
    return DatasetService(settings)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a value (JSON), text or bytes to a file of that name."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), "utf-8")
        return path

    return write
