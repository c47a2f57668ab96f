"""Services with a store of either kind, and a way to put a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services import Services
from tests.fixtures.store import rating as rating
from tests.fixtures.store import store_url as store_url
from tests.helpers.services import opened


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with opened(settings) as made:
        yield made


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        text = "".join(json.dumps(row) + "\n" for row in content) if isinstance(content, list) else content
        path.write_text(text, encoding="utf-8")
        return path

    return write
