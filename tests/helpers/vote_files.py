"""Reading what an export of votes wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LIMIT = 50_000_000


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()
