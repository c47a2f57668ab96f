"""PostgreSQL for tests: a private cluster on loopback made with Debian's binaries and thrown away afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

_numbers = itertools.count(1)


@contextlib.contextmanager
def private_cluster(durable: bool = False) -> Iterator[str]:
    """A PostgreSQL of our own on loopback, as Debian's user ``postgres`` where we are root (it refuses to run as root).
    ``durable`` has it wait for the disk, as a real one does."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("no PostgreSQL: set TEST_POSTGRES_URL, or install Debian's package postgresql")
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="studio-pg-", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = None
    try:
        if who:
            shutil.chown(folder, "postgres", "postgres")
        made = subprocess.run(
            [
                found[-1] / "initdb",
                "-D",
                folder / "data",
                "-U",
                "studio",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,
            **who,
        )
        assert made.returncode == 0, made.stderr
        with open(folder / "log.txt", "wb") as log:
            # fsync off: these databases outlive no test, and what is tested is that we wait for COMMIT.
            options = {
                "listen_addresses": "127.0.0.1",
                "port": port,
                "unix_socket_directories": folder,
                "fsync": "on" if durable else "off",
            }
            server = subprocess.Popen(
                [
                    found[-1] / "postgres",
                    "-D",
                    folder / "data",
                    *(f"--{key}={value}" for key, value in options.items()),
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
                **who,
            )
        url = f"postgresql://studio@127.0.0.1:{port}/postgres"
        _wait_for(url, server, folder / "log.txt")
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start: {log.read_text()}")


@contextlib.contextmanager
def scratch_database(server: str) -> Iterator[str]:
    """The URL of a new, empty database on ``server``, dropped afterwards."""
    name = f"studio_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        url = make_url(server).set(drivername="postgresql+psycopg", database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
