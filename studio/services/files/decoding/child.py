"""The child process that reads one file: ``python -m studio.services.files.decoding.child FILE LIMITS MEMORY``, the limits
as JSON. It writes JSON lines: ``[where, value, twice]`` for each row, or ``{"object": ...}``, or ``{"error": ...}``."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.services.files.decoding.documents import read_content
from studio.services.files.decoding.rows import Limits, TwiceNamed


def main(arguments: list[str]) -> None:
    """Limit this process, then read the file."""
    path, limits, memory = Path(arguments[0]), Limits(**json.loads(arguments[1])), int(arguments[2])
    _limit_process(math.ceil(limits.computing(limits.rows)), memory)
    try:
        content = read_content(path, limits)
        if isinstance(content, dict):
            _write({"object": content, "twice": content.twice if isinstance(content, TwiceNamed) else ""})
        else:
            for row in content:
                _write([row.where, row.value, row.value.twice if isinstance(row.value, TwiceNamed) else ""])
        _write({"end": True})
    except StudioError as error:
        _write({"error": str(error), "kind": type(error).__name__})
    except MemoryError:
        _write({"memory": True})
    except BrokenPipeError:  # the parent has read as much as it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout.flush()


def _limit_process(seconds: int, memory: int) -> None:
    """Bounds that the system keeps, where it has them: computing time (s) and the memory that is written to (bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    # not RLIMIT_AS: the libraries map far more address space than they use
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _write(line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
