"""What tests of preference data share: a service over the test's folders, rows, a way to put a file there."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from studio.config import Settings

SIDES = [{"id": n, "prompt": f"question {n}?", "support": f"yes, {n}", "oppose": f"no, {n}"} for n in range(1, 11)]
TWO_SIDED = ["live-action-en", "live-action-zh"]
#: Those of two lessons have the same prompts, answered in two manners.
SHIPPED = [*TWO_SIDED, "make-brief-en", "make-polite-en"]


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


def as_parquet(rows: list[dict[str, Any]], row_group_size: int | None = None) -> bytes:
    import pandas

    out = io.BytesIO()
    pandas.DataFrame(rows).to_parquet(out, row_group_size=row_group_size)
    return out.getvalue()
