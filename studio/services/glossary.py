"""The words of the field that the page explains where they stand: their sentences are those of ``docs/terms.md``, the one source."""

from __future__ import annotations

import functools
import re

from studio.config import ROOT

#: What is explained, as ``docs/terms.md`` calls it.
EXPLAINED = ("beta", "KL", "LoRA", "Wilson", "nats", "implicit reward")
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@functools.cache
def meanings() -> dict[str, str]:
    """The sentence of each word of :data:`EXPLAINED`.

    Raises:
        KeyError: ``docs/terms.md`` has no row of one of them.
    """
    rows = dict(_ROW.findall((ROOT / "docs" / "terms.md").read_text(encoding="utf-8")))
    return {term: rows[term].strip() for term in EXPLAINED}
