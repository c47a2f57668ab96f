"""A data service over the test's folders, and a way to put a file there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from studio.config import Settings
from studio.services.data.datasets import DatasetService
from tests.helpers.datasets import as_parquet


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


@pytest.fixture
def on_hub(put: Callable[[str, Any], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[Any]], None]:
    """A hub with one dataset of these rows, read by the real library from a local file."""
    import datasets
    import huggingface_hub

    load = datasets.load_dataset

    def holds(rows: Iterable[Any]) -> None:
        path = put("hub.parquet", as_parquet(list(rows), row_group_size=100))

        def local(dataset_id: str, name: str | None, split: str, streaming: bool) -> Any:
            return load("parquet", data_files={"train": str(path)}, split=split, streaming=streaming)

        monkeypatch.setattr(datasets, "load_dataset", local)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, dataset_id, timeout: None)

    return holds
