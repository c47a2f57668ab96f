"""What tests of preference data share: a service over the test's folders, rows, a way to put a file there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services.data.datasets import DatasetService

SIDES = [{"id": n, "prompt": f"question {n}?", "support": f"yes, {n}", "oppose": f"no, {n}"} for n in range(1, 11)]
SHIPPED = ["live-action-en", "live-action-zh"]


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


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def imported(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.imported_dir.iterdir()) if settings.imported_dir.is_dir() else []


USER, SECOND = {"role": "user", "content": "why?"}, {"role": "user", "content": "and then?"}
GOOD, BAD = {"role": "assistant", "content": "because"}, {"role": "assistant", "content": "no idea"}


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pandas

    out = io.BytesIO()
    pandas.DataFrame(rows).to_parquet(out)
    return out.getvalue()
