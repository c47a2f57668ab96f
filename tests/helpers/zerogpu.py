"""ZeroGPU as far as it goes without a GPU: the real package ``spaces`` with its switch on, against an API that a test scripts."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class DeviceApi:
    """What lends the GPU. ``refusal``: what it answers instead (status, headers, body); ``asked`` holds the parameters of each
    ``/schedule``, ``released`` those of each ``/release``."""

    url: str = ""
    refusal: tuple[int, dict[str, str], Any] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    released: list[dict[str, str]] = field(default_factory=list)

    def refuse_quota(self, left: int, wait_s: int) -> None:
        """Answer as to somebody whose quota is used up."""
        self.refusal = (429, {"X-Authenticated": "regular"}, {"left": left, "wait": wait_s})


@contextlib.contextmanager
def zerogpu() -> Iterator[DeviceApi]:
    """Within, programs that are started find themselves on a Space with ZeroGPU."""
    pytest.importorskip("spaces", reason="the package spaces is among tests/requirements.txt")
    api = DeviceApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, headers, body = 200, {}, {}
            if parts.path == "/schedule":
                api.asked.append(query)
                body = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": str(len(api.asked))}
                status, headers, body = api.refusal or (status, headers, body)
            elif parts.path == "/release":
                api.released.append(query)
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(text)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a test's output is its own."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    switches = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": api.url}
    os.environ.update(switches)
    try:
        yield api
    finally:
        for name in switches:
            del os.environ[name]
        server.shutdown()
        server.server_close()


def without_cuda() -> None:
    """In a process of a simulated Space: a call begins no CUDA and moves nothing there, since there is none. Where torch was built for the
    CPU alone, which ``spaces`` cannot patch, it is not patched either."""
    import torch

    if torch.version.cuda is None:
        unpatched = types.ModuleType("spaces.zero.torch.patching")
        unpatched.__dict__.update(
            dict.fromkeys(("enter_mode", "patch", "unpatch", "pack", "init", "size", "move"), _nothing)
        )
        unpatched.__dict__["is_in_bad_fork"] = _nothing
        sys.modules[unpatched.__name__] = unpatched
    from spaces.zero import torch as cuda

    cuda.init = cuda.move = _nothing


def _nothing(*_: Any, **__: Any) -> int:
    return 0
