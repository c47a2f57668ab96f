"""Files that pages send: where they lie, how long, and how much of them a visitor may send.

Each server has a folder of its own for them and for every other temporary file, which goes with the server, also when it is told
to end by SIGTERM; what a server left that was killed goes when the next one starts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

#: Seconds an uploaded file stays, and seconds between two looks.
KEPT_S, _LOOK_S = 3600.0, 60.0
#: Bytes that one address, and all visitors together, may send within :data:`KEPT_S`; the operator's uploads do not count.
EACH, ALL = 50_000_000, 500_000_000
_PREFIX, _LOCK = "alignment-studio-", ".lock"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the uploads and all temporary files of this server; nothing of it is left at the end. To be entered in the main
    thread, before Gradio is imported."""
    home = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    home.mkdir(parents=True, exist_ok=True)
    _remove_left(home)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
    lock = FileLock(folder / _LOCK)
    lock.acquire()
    before = tempfile.tempdir, os.environ.get("GRADIO_TEMP_DIR"), signal.signal(signal.SIGTERM, _end)
    # the process's own setting, not TMPDIR: the trainer lives longer than this server
    tempfile.tempdir, os.environ["GRADIO_TEMP_DIR"] = str(folder), str(folder / "uploads")
    try:
        yield folder
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        signal.signal(signal.SIGTERM, before[2] or signal.SIG_DFL)


def keep_tidy(app: gr.Blocks) -> None:
    """From now on, delete what was uploaded an hour ago."""

    def look() -> None:
        while True:
            time.sleep(_LOOK_S)
            remove_old(app)

    threading.Thread(target=look, name="uploads", daemon=True).start()


def remove_old(app: gr.Blocks, kept_s: float = KEPT_S) -> None:
    """Delete uploads that are older, and the empty files that Gradio makes when it reads one."""
    uploads = Path(app.GRADIO_CACHE)
    before = time.time() - kept_s
    for file in [*map(Path, list(app.upload_file_set)), *uploads.glob("tmp*")]:
        try:
            if not file.is_dir() and file.stat().st_mtime <= before:
                file.unlink()
                app.upload_file_set.discard(str(file))
                with contextlib.suppress(OSError):  # it holds another file still, or is the folder of all
                    file.parent.rmdir()
        except FileNotFoundError:
            app.upload_file_set.discard(str(file))
        except OSError as error:
            log.warning("an old upload could not be deleted: %s", error)


class UploadBounds:
    """ASGI middleware that counts what visitors upload, by address.

    Args:
        operator: whether a request is the operator's.
        each: bytes of one address within the hour.
        all_together: bytes of all visitors within the hour.
    """

    def __init__(
        self, app: ASGIApp, operator: Callable[[Scope], bool], each: int = EACH, all_together: int = ALL
    ) -> None:
        self._app, self._operator = app, operator
        self._each, self._all = each, all_together
        self._lock = threading.Lock()
        self._sent: list[tuple[float, str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer an upload that is too much with a sentence."""
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            if headers.get(b"content-type", "").lower().startswith("multipart/") and not self._operator(scope):
                length, client = headers.get(b"content-length", ""), scope.get("client")
                status, sentence = self._booked(length, str(client[0]) if client else "")
                if sentence:
                    from starlette.responses import PlainTextResponse

                    return await PlainTextResponse(sentence, status)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _booked(self, length: str, address: str) -> tuple[int, str]:
        """Count an upload; why it is refused, where it is. The web server holds a request to the length it names."""
        if not length.isascii() or not length.isdigit():
            return 411, "An upload must say how long it is (Content-Length)."
        size, now = int(length), time.monotonic()
        with self._lock:
            self._sent = [entry for entry in self._sent if now - entry[0] < KEPT_S]
            own = sum(sent for _, who, sent in self._sent if who == address)
            whole = sum(sent for _, _, sent in self._sent)
            if own + size > self._each:
                most = self._each // 1_000_000
                return (
                    413,
                    f"Visitors may upload {most} MB within an hour; the operator's password (top right) lifts that.",
                )
            if whole + size > self._all:
                return 503, "Visitors have uploaded too much within this hour; try again later."
            self._sent.append((now, address, size))
        return 0, ""


def _remove_left(home: Path) -> None:
    """Remove the folders of servers that are no more: nobody holds their lock."""
    for folder in home.glob(f"{_PREFIX}*"):
        if not (folder / _LOCK).is_file():
            continue
        lock = FileLock(folder / _LOCK)
        with contextlib.suppress(Timeout, OSError):  # somebody's, or of another user
            lock.acquire(timeout=0)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)
