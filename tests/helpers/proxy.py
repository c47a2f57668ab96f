"""The proxy of ``deploy/``, started here with the very same file."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from studio.config import ROOT
from tests.helpers.waiting import wait_until

CONFIG = ROOT / "deploy" / "haproxy.cfg"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def haproxy(one: int, two: int) -> Iterator[str]:
    """The address of HAProxy before the studios on these two ports."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("no HAProxy: install Debian's package haproxy")
    port = free_port()
    places = {"BIND": f"127.0.0.1:{port}", "APP_1": f"127.0.0.1:{one}", "APP_2": f"127.0.0.1:{two}"}
    process = subprocess.Popen([program, "-f", CONFIG], env={**os.environ, **places})
    try:
        wait_until(lambda: _listens(port, process))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "HAProxy ended"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
