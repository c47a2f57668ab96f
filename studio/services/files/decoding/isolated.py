"""Reading a file in a child process with a bound on its memory and time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.config import ROOT
from studio.errors import ConflictError, DatasetError, NotFoundError
from studio.services.files.decoding.documents import Content, check_file, format_of
from studio.services.files.decoding.rows import Limits, RawRow, TwiceNamed, too_slow

_CHILD = "studio.services.files.decoding.child"
#: Bytes that a child process may write to, its libraries (about 120 MB) included.
MEMORY = 320_000_000
#: How many children may read at once, and how long (s) another waits for its turn.
_AT_ONCE, _WAIT_S = 2, 20.0
#: Seconds by the clock for each second of computing: other work may share the cores.
_PATIENCE = 20
#: The signal for too much computing; Windows has none.
_OUT_OF_TIME = getattr(signal, "SIGXCPU", 0)
_turns = threading.BoundedSemaphore(_AT_ONCE)
#: All that a child gets of the environment; passwords and tokens are none of its business.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")


def read_isolated(path: Path, limits: Limits, queued: bool = False) -> Content:
    """As :func:`studio.services.files.decoding.documents.read_content`, in a child process. Rows that are no longer asked for
    are not read.

    Args:
        queued: wait until at most one other such file is being read: the files of visitors take turns.

    Raises:
        ConflictError: other files are being read, and this one has waited its time.
        NotFoundError, DatasetError: as there; also where the child takes too much memory or time.
    """
    check_file(path, limits)
    format_of(path)
    lines = _in_turn(path, limits) if queued else _lines(path, limits)
    first = next(lines, None)
    if isinstance(first, dict) and "object" in first:
        return _marked(first["object"], first["twice"])  # type: ignore[no-any-return]
    return _rows(first, lines)


def _rows(first: Any, lines: Iterator[Any]) -> Iterator[RawRow]:
    line = first
    while isinstance(line, list):
        where, value, twice = line
        yield RawRow(where, _marked(value, twice))
        line = next(lines, None)


def _marked(value: Any, twice: str) -> Any:
    if not twice:
        return value
    marked = TwiceNamed(value)
    marked.twice = twice
    return marked


def _in_turn(path: Path, limits: Limits) -> Iterator[Any]:
    if not _turns.acquire(timeout=_WAIT_S):
        raise ConflictError(f"{path.name} was not read: other files are being read; try again in a moment.")
    try:
        yield from _lines(path, limits)
    finally:
        _turns.release()


def _lines(path: Path, limits: Limits) -> Iterator[Any]:
    """What the child writes, line by line, until its end."""
    child = subprocess.Popen(
        [sys.executable, "-m", _CHILD, str(path.absolute()), json.dumps(asdict(limits)), str(MEMORY)],
        cwd=ROOT,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    clock = threading.Timer(min(limits.computing(limits.rows) * _PATIENCE, threading.TIMEOUT_MAX), end)
    clock.daemon = True
    clock.start()
    try:
        assert child.stdout is not None
        # a character is written as twelve where it takes two escapes
        longest = min(limits.row_characters * 12 + limits.size, sys.maxsize)
        while (line := child.stdout.readline(longest)).endswith(b"\n"):
            content = json.loads(line)
            if isinstance(content, dict) and "object" not in content:
                _check_end(path.name, content)
                return
            yield content
        if late.is_set() or (_OUT_OF_TIME and child.wait() == -_OUT_OF_TIME):
            raise too_slow(path.name, limits)
        raise _no_memory(path.name)  # its libraries end a process that gets none
    finally:
        clock.cancel()
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _check_end(name: str, last: dict[str, Any]) -> None:
    if "error" in last:
        kinds = {"NotFoundError": NotFoundError}
        raise kinds.get(last["kind"], DatasetError)(last["error"])
    if "memory" in last:
        raise _no_memory(name)


def _no_memory(name: str) -> DatasetError:
    return DatasetError(f"{name} needs more than {MEMORY // 1_000_000} MB of memory to read, or is broken; split it.")
