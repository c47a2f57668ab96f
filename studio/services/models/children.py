"""Child processes that a person can cancel, whose progress is told, and that leave nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studio.config import ROOT
from studio.errors import ConflictError

#: Asked while a base is fetched; true ends it.
Cancelled = Callable[[], bool]
_POLL_S = 0.2


def run_child(
    command: Sequence[str],
    cancelled: Cancelled,
    look: Callable[[str], None] = lambda printed: None,
    environ: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> tuple[int, str]:
    """Run ``command`` to its end; its exit code, and what it wrote to stderr.

    ``look`` is called about five times a second with what the child has written to stdout so far.

    Raises:
        ConflictError: ``cancelled`` became true; the child and its own children are dead.
    """
    with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as complaints:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                if cancelled():
                    raise ConflictError("Cancelled; nothing was kept.")
                look(_text(out.fileno()))
                time.sleep(_POLL_S)
            look(_text(out.fileno()))
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return child.returncode, _text(complaints.fileno())


def _text(file: int) -> str:
    # read in place: the child shares the position of the file
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
