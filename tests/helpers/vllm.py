"""A real vLLM on the CPU, in an environment of its own (docs/scale.md says how to make one)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.waiting import wait_until

#: Its Python, such as ``/tmp/vllm-env/bin/python``.
VARIABLE = "TEST_VLLM_PYTHON"
KEY = "sk-test"
RANK = 16


@contextlib.contextmanager
def vllm_server(base: Path, name: str, log: Path) -> Iterator[str]:
    """The address of a server of ``base`` in float32 that loads adapters of rank :data:`RANK` at most; skips where there is no vLLM."""
    python = os.environ.get(VARIABLE, "")
    if not python or not Path(python).is_file():
        pytest.skip(f"no vLLM: set {VARIABLE} to the Python of an environment that has it (docs/scale.md)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        # threads that spin are 10 times slower beside other work
        "OMP_NUM_THREADS": "1",
    }
    command = f"-m vllm.entrypoints.openai.api_server --host 127.0.0.1 --port {port} --dtype float32 --enforce-eager"
    command += f" --enable-lora --max-loras 2 --max-cpu-loras 16 --max-lora-rank {RANK} --max-model-len 1024"
    options = ["--model", str(base), "--served-model-name", name, "--api-key", KEY]
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [python, *command.split(), *options], stdout=out, stderr=out, env={**os.environ, **settings}, cwd=log.parent
        )
        url = f"http://127.0.0.1:{port}/v1"
        try:
            wait_until(lambda: _ready(server, url, log), timeout=420, every=1.0)
            yield url
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(60)
            server.kill()
            server.wait()


def _ready(server: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert server.poll() is None, log.read_text(errors="replace")[-2000:]
    try:
        return httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=5).is_success
    except httpx.HTTPError:
        return False
