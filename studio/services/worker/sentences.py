"""Failures of a run as sentences."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

NO_SPACE = "The disk is full, so the run could not go on. Free some space (old runs can go), then resume it."


NO_MEMORY = (
    "There was not enough memory for this run. Try a smaller batch (with more accumulation), a shorter max length, a "
    "smaller base model, or close what else is using memory; then resume it."
)


def plain_sentence(error: BaseException, folder: Path) -> str:
    """What went wrong, in one sentence that says what to try."""
    text = str(error).lower()
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if (
        any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in chain)
        or "no space left" in text
    ):
        return NO_SPACE
    if any(isinstance(e, MemoryError) for e in chain) or "out of memory" in text or "allocate memory" in text:
        return NO_MEMORY
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free < 4_000_000:
            return NO_SPACE
    first = next(iter(str(error).splitlines()), "").strip()
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"The run failed in a way nobody foresaw ({what[:200]}); its log has the details."
