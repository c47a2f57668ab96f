"""Memory of the studio with a real base: server, trainer and one run beside two panes.

Run: ``python tests/benchmarks/memory.py --base smollm2-135m``. The app starts in scratch folders with the shipped demo adapters;
a run of the base's own preset trains while base and adapter answer side by side, again and again. Printed: for each process
and for all of them together the largest proportional set size (pages that several share count once), in MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gradio_client import Client  # noqa: E402

from tests.benchmarks.load_votes import App  # noqa: E402


def process_kind(process: psutil.Process, app: App) -> str:
    """``server``, ``trainer`` or ``run`` (a child of the trainer); empty for others."""
    if process.pid == app.process.pid:
        return "server"
    line = " ".join(process.cmdline())
    if "studio.services.worker" not in line:
        return ""
    parent = process.parent()
    return "run" if parent is not None and "studio.services.worker" in " ".join(parent.cmdline()) else "trainer"


def memory(app: App, adapters: Path) -> Counter[str]:
    """Bytes of each kind of process of this app."""
    seen: Counter[str] = Counter()
    for process in psutil.process_iter():
        try:
            kind = process_kind(process, app)
            if kind and (kind == "server" or process.environ().get("STUDIO_ADAPTERS_DIR") == str(adapters)):
                seen[kind] += process.memory_full_info().pss
        except psutil.Error:
            continue
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--adapter", default="demo-smollm2-90", help="a shipped adapter of the base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapters = folder / "adapters"
        shutil.copytree(ROOT / "adapters" / options.adapter, adapters / options.adapter)
        env = {
            **os.environ,
            "STUDIO_ADAPTERS_DIR": str(adapters),
            "STUDIO_IMPORTED_DIR": str(folder / "imported"),
            "STUDIO_CACHE_DIR": str(folder / "cache"),
            "STUDIO_DATABASE_URL": f"sqlite:///{folder / 'studio.db'}",
            "STUDIO_BASE": options.base,
        }
        app = App(env, folder / "app.log")
        try:
            app.wait()
            client = Client(app.url, verbose=False)
            panes = ["base", options.adapter]
            client.predict("Should anime be filmed?", panes, base=options.base, api_name="/generate")
            print("idle after an answer:", shown(memory(app, adapters)))
            run = client.predict(base=options.base, api_name="/align")
            peaks: Counter[str] = Counter()
            while client.predict(run, api_name="/status")["state"] not in ("done", "failed"):
                job = client.submit("Should anime be filmed?", panes, base=options.base, api_name="/generate")
                while not job.done():
                    now = memory(app, adapters)
                    now["together"] = now.total()
                    peaks |= now
                    time.sleep(0.5)
            print("largest while it trained:", shown(peaks), client.predict(run, api_name="/status"))
        finally:
            app.stop()


def shown(sizes: Counter[str]) -> str:
    """Sizes in MB."""
    return ", ".join(f"{kind} {size / 2**20:,.0f} MB" for kind, size in sizes.items())


if __name__ == "__main__":
    main()
