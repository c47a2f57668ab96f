"""Time from ``python app.py`` to the first answered page, against an empty Gradio Blocks app; interleaved runs.

Run: ``python tests/benchmarks/bench_startup.py --runs 7``. Prints both medians and the median of the pairwise ratios.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMPTY = "import sys, gradio as gr\nwith gr.Blocks(analytics_enabled=False) as b: gr.Markdown('x')\nb.launch(server_port=int(sys.argv[1]), quiet=True)"


def first_page(command: list[str], port: int, env: dict[str, str]) -> float:
    """Seconds until ``/`` answers 200; the whole process group is ended afterwards."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while time.monotonic() - started < 90:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                    if reply.status == 200:
                        return time.monotonic() - started
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise SystemExit(f"no page within 90 s from {command}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> None:
    """Interleave the two and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    ours: list[float] = []
    empty: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "STUDIO_ADAPTERS_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        for number in range(runs + 1):
            port = free_port()
            a = first_page([sys.executable, "app.py", "--port", str(port)], port, env)
            time.sleep(1.0)
            port = free_port()
            b = first_page([sys.executable, "-c", EMPTY, str(port)], port, env)
            time.sleep(1.0)
            if number:  # the first pair warms the file cache
                ours.append(a)
                empty.append(b)
    ratio = statistics.median(x / y for x, y in zip(ours, empty, strict=True))
    print(
        f"studio {statistics.median(ours):.2f} s, empty Blocks {statistics.median(empty):.2f} s, ratio {ratio:.2f} (n {runs})"
    )


if __name__ == "__main__":
    main()
