"""What has to be right before a server starts: folders that can be written, an address that can be bound."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

from studio.config import Settings
from studio.errors import InputError
from studio.services.files.folders import unwritable

#: Ports tried where none is set, as Gradio does.
FIRST_PORT, PORTS = 7860, 100


def check_folders(settings: Settings) -> None:
    """Raises InputError, naming the variable and the folder, where something the studio writes could not be written."""
    folders = {
        "STUDIO_ADAPTERS_DIR": settings.adapters_dir,
        "STUDIO_IMPORTED_DIR": settings.imported_dir,
        "STUDIO_MODELS_DIR": settings.models_dir,
        "STUDIO_CACHE_DIR": settings.cache_dir,
        "HF_HOME (the Hugging Face cache)": _hub_cache(),
    }
    if settings.store_url.startswith("sqlite:///"):
        store = Path(settings.store_url.removeprefix("sqlite:///"))
        folders["STUDIO_DATABASE_URL" if settings.database_url else "STUDIO_DATA_DIR"] = store.parent
        if store.exists() and not os.access(store, os.W_OK):
            raise InputError(f"The store {store} cannot be written; make it writable, or set STUDIO_DATABASE_URL.")
    for variable, folder in folders.items():
        if reason := unwritable(folder):
            raise InputError(
                f"{variable} is {folder}, which cannot be written ({reason}); make it writable, or set the variable to a folder "
                "that is."
            )
    try:
        tempfile.gettempdir()
    except OSError:
        raise InputError("There is no folder for temporary files that can be written; set TMPDIR to one.") from None


def check_address(host: str, port: int) -> None:
    """Whether ``port`` can be bound on ``host``, or where it is 0 one of those from 7860 on. Gradio takes it, going on to
    the next one where another server was quicker.

    Raises:
        InputError: the host is no address of this machine, or the port is taken.
    """
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host.strip("[]") or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError):
        raise InputError(f"host is {host!r}, which is no address; {_HOSTS}") from None
    for candidate in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address[0], candidate, *address[2:]))
                return
            except OSError as error:
                if error.errno == errno.EACCES:
                    raise InputError(
                        f"port is {candidate}, which this user may not bind; use one above 1023."
                    ) from None
                if error.errno != errno.EADDRINUSE:
                    raise InputError(
                        f"host is {host!r}, which this machine cannot bind ({error.strerror}); {_HOSTS}"
                    ) from None
    if port:
        raise InputError(
            f"port {port} is taken on {host}; end what runs there, or set another one (--port, STUDIO_PORT)."
        )
    raise InputError(
        f"The ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all taken on {host}; set one (--port, STUDIO_PORT)."
    )


_HOSTS = "use 127.0.0.1 (this machine alone) or 0.0.0.0 (whoever can reach it)."


def _hub_cache() -> Path:
    """Where the Hub's files are kept.

    Raises:
        InputError: there is no home folder, and nothing says where else.
    """
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "huggingface"
    home = os.path.expanduser("~")
    if not os.environ.get("HOME", home) or home.startswith("~"):
        raise InputError(
            "There is no home folder (HOME is not set); set HOME, or HF_HOME to a folder that can be written."
        )
    return Path(home) / ".cache" / "huggingface"
