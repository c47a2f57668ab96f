"""Queue a run and keep the trainer process alive."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import IO

from studio import __version__
from studio.config import ROOT, ZEROGPU, Settings
from studio.errors import NotInstalledError

#: Written anew by servers while they live, and what one writes there as it ends.
ALIVE, RELEASED = ".trainer.alive", "released"
#: The modules of the two trainer processes: the one that trains, and the one that hands runs to a Ray cluster.
TRAINER, DISPATCHER = "studio.services.worker.trainer", "studio.services.cluster.dispatcher"
#: Seconds for which somebody who got a part of an answer counts as chatting.
CHAT_S = 3.0


def library_versions() -> dict[str, str]:
    """Versions of this program and of the libraries that decide a run, read without importing them."""
    versions = {"alignment-studio": __version__}
    for name in ("torch", "transformers", "trl", "peft"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mark_chat(adapters_dir: Path) -> None:
    """Note that somebody chats now, for :func:`training_threads` in the training process."""
    mark = adapters_dir / ".chat"
    with contextlib.suppress(OSError):  # a full or read-only disk must not end an answer
        if _age(mark) > CHAT_S / 3:
            mark.touch()


def training_threads(settings: Settings) -> int:
    """CPU threads of a training just now: those of the settings, else all cores, or half of them while somebody chats."""
    if settings.train_threads > 0:
        return settings.train_threads
    return max(1, cores() // 2) if _age(settings.adapters_dir / ".chat") < CHAT_S else cores()


def _age(file: Path) -> float:
    """Seconds since a file was touched; infinite where there is none."""
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return math.inf


def check_ray(settings: Settings) -> None:
    """
    Raises:
        NotInstalledError: runs are to go to a Ray cluster, and Ray is not installed.
    """
    if settings.ray_address and importlib.util.find_spec("ray") is None:
        raise NotInstalledError(
            f"STUDIO_RAY_ADDRESS is {settings.ray_address}, but Ray is not installed; pip install -r requirements-scale.txt."
        )


def ensure_trainer(settings: Settings, module: str = "", *arguments: str) -> None:
    """Start the trainer if none holds the lock. Returns at once; the trainer warms up by itself. ``module`` is its program, by default
    the one of these settings.

    Two servers doing so together start two processes, of which one finds the lock taken and ends. With ZeroGPU the server serves the queue
    itself.
    """
    module = module or (DISPATCHER if settings.ray_address else TRAINER)
    keepalive(settings)
    if settings.device == ZEROGPU:
        return
    lock = try_lock(settings.adapters_dir)
    if lock is None:
        return
    lock.close()
    with open(settings.adapters_dir / ".trainer.log", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=trainer_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Reaps it if it ends before us; a daemon, so that it keeps nobody from exiting.
    threading.Thread(target=process.wait, name="trainer-reaper", daemon=True).start()


def keepalive(settings: Settings) -> None:
    """Tell the trainer that somebody may want it soon."""
    settings.adapters_dir.mkdir(parents=True, exist_ok=True)
    (settings.adapters_dir / ALIVE).write_text("", encoding="utf-8")


def release_trainer(settings: Settings) -> None:
    """Tell an idle trainer to end now: the server that kept it ends. Where another server works on the same folder, that one
    starts it again."""
    with contextlib.suppress(OSError):
        (settings.adapters_dir / ALIVE).write_text(RELEASED, encoding="utf-8")
        (settings.adapters_dir / ".notify").touch()


def try_lock(adapters_dir: Path) -> IO[bytes] | None:
    """The trainer's lock, held until the file is closed; None while another process holds it."""
    adapters_dir.mkdir(parents=True, exist_ok=True)
    file = open(adapters_dir / ".trainer.lock", "ab")  # noqa: SIM115 - held by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def trainer_environment(settings: Settings) -> dict[str, str]:
    """The trainer's environment: these settings (without the password) and thread limits, which must be there before
    torch is imported. Waiting OpenMP threads sleep: spinning, they would slow chat and training tenfold."""
    threads = str(settings.train_threads or cores())
    values = {f"STUDIO_{f.name.upper()}": str(getattr(settings, f.name)) for f in fields(Settings)}
    del values["STUDIO_ADMIN_PASSWORD"], values["STUDIO_DATABASE_URL"]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STUDIO_")}
    return {
        **inherited,
        **values,
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        # Asking whether there is a card must not touch it: CUDA would be lost for every forked worker.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
