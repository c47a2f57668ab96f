"""What a killed process left half-written goes; what is being written, and everything else, stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from studio.config import Settings
from studio.services.files.leftovers import OLD_S, clear_leftovers
from studio.services.runs.store import RunStore
from tests.helpers.compare import add_run

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from studio.services.files.atomic import replacing
with replacing(Path(sys.argv[1])) as out:
    out.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_old_temporary_files_and_folders_go(settings: Settings) -> None:
    add_run(RunStore(settings), "run-1")
    run = settings.adapters_dir / "run-1"
    status = run / "status.json"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(status)], check=False)
    assert killed.returncode == -signal.SIGKILL
    [half] = [path for path in run.iterdir() if path.name.startswith(".status.json-")]
    left = [half]
    for name in (".new-abc", ".trash-run-0-12345678", ".upload-x"):
        folder = settings.adapters_dir / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        left.append(folder)
    for path in (settings.imported_dir / ".import-x", settings.cache_dir / "reference" / "key12.tmp"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        left.append(path)
    before = set(settings.adapters_dir.rglob("*")) - set(left)
    (settings.adapters_dir / ".bin").mkdir()
    clear_leftovers(settings)
    assert all(path.exists() for path in left)
    old = time.time() - OLD_S - 1
    for path in [*left, *(Path(at) for at, _, _ in os.walk(run)), *run.iterdir(), settings.adapters_dir / ".bin"]:
        os.utime(path, (old, old))
    clear_leftovers(settings)
    assert not any(path.exists() for path in left)
    kept = {path for path in before if not any(path.is_relative_to(gone) for gone in left)}
    assert all(path.exists() for path in [*kept, settings.adapters_dir / ".bin"])
