"""Start the studio over damaged run folders: it must start, list the sound ones, and say of the others why they are left out.

Run: ``python -m tests.benchmarks.damaged_runs --count 200 --seed 1``. Needs Chromium (tests/requirements.txt). Files of another
user are only such for whoever is not root.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_startup import ROOT, free_port
from tests.fixtures.browser import find_browser
from tests.helpers.damaged_runs import damaged, opened
from tests.helpers.pages import open_tab

SOUND = ("demo-support-10", "demo-support-90")
TABS = ("Compare", "Rate", "Reward", "Toxicity", "Library", "Align")


def serve(home: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """``python app.py`` over ``home``, everything it writes below that folder's parent."""
    env = {
        **os.environ,
        "STUDIO_ADAPTERS_DIR": str(home),
        "STUDIO_CACHE_DIR": str(home.parent / "cache"),
        "STUDIO_MODELS_DIR": str(home.parent / "models"),
        "STUDIO_DATABASE_URL": f"sqlite:///{home.parent / 'studio.db'}",
        "STUDIO_BASE": "embedded",
        "HF_HUB_OFFLINE": "1",
    }
    with open(log, "wb") as out:
        return subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def look(page: Any, url: str) -> tuple[float, str, int]:
    """Open the page and every tab of it: seconds to the Library's table, the table's text, how many folders are left out."""
    page.set_default_timeout(60_000)
    began = time.monotonic()
    while True:
        try:
            page.goto(url)
            break
        except Exception:
            if time.monotonic() - began > 90:
                raise
            time.sleep(0.2)
    for tab in TABS:
        open_tab(page, tab)
        page.wait_for_timeout(500)
        if tab == "Library":
            page.locator("#library-table [role=gridcell]").first.wait_for()
            seconds, text = time.monotonic() - began, page.locator("#library-table").inner_text()
            summary = page.locator("#library-damaged summary").inner_text()
    return seconds, text, int(re.findall(r"\d+", summary)[0])


def main() -> int:
    """Make them, look, print one line; exit code 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        home, log = Path(scratch) / "adapters", Path(scratch) / "log.txt"
        for name in SOUND:
            shutil.copytree(ROOT / "adapters" / name, home / name)
            recipe = json.loads((home / name / "run.json").read_text())
            # the newest: a long table draws its first lines only
            (home / name / "run.json").write_text(json.dumps({**recipe, "created": time.time()}))
        made = [what for _, what in damaged(ROOT / "adapters" / SOUND[0], home, options.count, options.seed)]
        port = free_port()
        server = serve(home, port, log)
        try:
            with sync_playwright() as tool:
                browser = tool.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
                seconds, table, left_out = look(browser.new_page(), f"http://127.0.0.1:{port}/")
                browser.close()
            alive = server.poll() is None
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
            opened(home)
        told = log.read_text(errors="replace")
        listed = all(name in table for name in SOUND)
        faults = told.count("Traceback")
        print(
            f"{len(made)} damaged folders (seed {options.seed}): {left_out} left out with a reason, the others listed as what can be "
            f"read of them; sound ones listed: {listed}; table after {seconds:.1f} s; server alive: {alive}; tracebacks: {faults}"
        )
        if faults:
            print(told[-4000:])
        return 0 if listed and alive and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
