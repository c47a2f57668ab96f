"""Visitors who ask for far too much at once: does the operator's page still answer, and what does it cost?

Run: ``python tests/benchmarks/floods.py --pages 1000``. The app starts in scratch folders with an operator's password and the
shipped demo adapters. Each flood comes from many connections of this machine, without the password, while the operator's
browser opens the page and runs one of its events again and again. Printed for each flood: how the visitors' requests were
answered, seconds of the operator's (page and event), and the server's peak memory above where it began.

The pages of ``--pages`` are opened as a browser does (the page, every event of its load, their outcomes); memory for 10,000 is
what grew from the first half to the second, taken on, unless it did not grow.

Exit code 1 where the operator was refused, waited longer than 1 s (95th percentile), or memory grew by more than 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.load_votes import App  # noqa: E402

PASSWORD = "a long password of the operator"
MIB = 1024 * 1024
#: What may be: seconds of the operator's page, bytes of memory.
LONGEST_S, MOST_BYTES = 1.0, 1024 * MIB
#: Connections of the visitors.
VISITORS = 32


@dataclass
class Seen:
    """What happened in one flood."""

    name: str
    answers: Counter[str] = field(default_factory=Counter)
    page: list[float] = field(default_factory=list)
    event: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    began: int = 0
    peak: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        answers = ", ".join(f"{count} x {answer}" for answer, count in self.answers.most_common(4))
        times = "; ".join(
            f"{name} n {len(values)}, median {statistics.median(values):.2f} s, p95 {_p95(values):.2f} s"
            for name, values in (("page", self.page), ("event", self.event))
            if values
        )
        refused = f"; operator REFUSED {len(self.refused)} times: {self.refused[0]}" if self.refused else ""
        grown = (self.peak - self.began) / MIB
        return f"{self.name}: {self.seconds:.1f} s; {answers}; {times}; memory +{grown:.0f} MB{refused}"

    @property
    def held(self) -> bool:
        """Whether the operator was served."""
        slowest = max(_p95(self.page), _p95(self.event))
        return not self.refused and slowest <= LONGEST_S and self.peak - self.began <= MOST_BYTES


class Page:
    """One browser's page: its session and cookies."""

    def __init__(self, url: str) -> None:
        self.session = uuid.uuid4().hex[:10]
        self.http = httpx.Client(base_url=url, timeout=120)

    def join(self, fn: int, data: list[Any], session: str = "") -> httpx.Response:
        """Ask for an event."""
        body = {"fn_index": fn, "data": data, "session_hash": session or self.session}
        return self.http.post("gradio_api/queue/join", json=body)

    def outcome(self) -> int:
        """Read until nothing is pending; how many events ended."""
        ended = 0
        with self.http.stream("GET", "gradio_api/queue/data", params={"session_hash": self.session}) as answer:
            for line in answer.iter_lines():
                ended += '"process_completed"' in line
        return ended


class Studio:
    """The running app and what its page is made of."""

    def __init__(self, app: App) -> None:
        self.url = app.url
        self.process = psutil.Process(app.process.pid)
        config = httpx.get(f"{app.url}/config", timeout=120).json()
        self._props = {part["id"]: part["props"] for part in config["components"]}
        self._events = [one for one in config["dependencies"] if one["backend_fn"]]

    def event(self, elem_id: str) -> tuple[int, list[Any]]:
        """The event of a component, and what a fresh page sends with it."""
        one = next(
            one
            for one in self._events
            if any(self._props.get(part, {}).get("elem_id") == elem_id for part, _ in one["targets"])
        )
        return one["id"], self._sent(one)

    def loads(self) -> list[tuple[int, list[Any]]]:
        """The events of a page that is opened."""
        return [
            (one["id"], self._sent(one)) for one in self._events if any(what == "load" for _, what in one["targets"])
        ]

    def _sent(self, one: dict[str, Any]) -> list[Any]:
        return [self._props[part].get("value") for part in one["inputs"]]

    def memory(self) -> int:
        return int(self.process.memory_info().rss)


def flood(studio: Studio, name: str, visitors: Iterable[Callable[[], str]]) -> Seen:
    """Run the visitors' requests while the operator uses the page."""
    seen, over = Seen(name, began=studio.memory()), threading.Event()
    seen.peak = seen.began
    operator = Page(studio.url)
    operator.http.post("operator/unlock", json={"password": PASSWORD}).raise_for_status()
    load = studio.loads()[0]

    def use() -> None:
        while not over.is_set() or len(seen.page) < 5:
            try:
                started = time.perf_counter()
                operator.http.get("/").raise_for_status()
                seen.page.append(time.perf_counter() - started)
                operator.session = uuid.uuid4().hex[:10]
                started = time.perf_counter()
                operator.join(*load).raise_for_status()
                operator.outcome()
                seen.event.append(time.perf_counter() - started)
            except httpx.HTTPError as error:
                seen.refused.append(f"{error}"[:160])
            over.wait(0.1)

    def watch() -> None:
        while not over.wait(0.05):
            seen.peak = max(seen.peak, studio.memory())

    threads = [threading.Thread(target=target) for target in (use, watch)]
    for thread in threads:
        thread.start()
    started = time.perf_counter()
    with ThreadPoolExecutor(VISITORS) as pool:
        for answer in pool.map(lambda visit: visit(), visitors):
            seen.answers[answer] += 1
    seen.seconds = time.perf_counter() - started
    over.set()
    for thread in threads:
        thread.join()
    print(seen, flush=True)
    return seen


def answered(ask: Callable[[], httpx.Response]) -> str:
    """How a request was answered: the status and, where it was refused, the sentence."""
    try:
        answer = ask()
    except httpx.HTTPError as error:
        return type(error).__name__
    if answer.status_code == 200:
        return "200"
    with_sentence = answer.headers.get("content-type", "").startswith("application/json")
    return f"{answer.status_code} {answer.json().get('detail', '') if with_sentence else ''}"[:90]


def open_page(studio: Studio) -> str:
    """A visitor's page as a browser opens it, closed again."""
    page = Page(studio.url)
    try:
        page.http.get("/").raise_for_status()
        joined = [page.join(fn, data).status_code for fn, data in studio.loads()]
        ended = page.outcome()
        return f"{joined.count(200)} of {len(joined)} events joined, {ended} ended"
    except httpx.HTTPError as error:
        return type(error).__name__
    finally:
        page.http.close()


def floods(studio: Studio, pages: int) -> list[Seen]:
    """All floods, one after the other."""
    visitor = Page(studio.url)
    table, values = studio.event("table-start")
    light, light_values = studio.loads()[0]
    generate = "gradio_api/call/generate"

    def ask(panes: list[str], prompt: str) -> Callable[[], str]:
        # written out before: while json writes, the operator's thread, which is timed, would wait for it
        return raw(json.dumps({"data": [prompt, panes, "", 0.8, 0.95, 8, 1, "embedded"]}).encode())

    def raw(content: bytes) -> Callable[[], str]:
        headers = {"Content-Type": "application/json"}
        return lambda: answered(lambda: visitor.http.post(generate, content=content, headers=headers))

    prompts = httpx.post(
        f"{studio.url}/gradio_api/upload",
        files={"files": ("prompts.txt", "\n".join(f"Question {n}?" for n in range(2000)))},
    )
    run = next((ROOT / "adapters").glob("demo-*")).name
    values[2:4] = [run, {"path": prompts.json()[0], "meta": {"_type": "gradio.FileData"}}]
    one = [lambda: answered(lambda: visitor.join(table, values))] * 560
    many = [lambda: answered(lambda: visitor.join(table, values, uuid.uuid4().hex[:10]))] * 560
    lights = [lambda: answered(lambda: visitor.join(light, light_values, "flood"))] * 3000
    strangers = [lambda: answered(lambda: visitor.join(light, light_values, uuid.uuid4().hex[:10]))] * 3000
    nested = b'{"data": [' + b"[]," * 5_000_000 + b"0]}"
    # first, before other floods leave free memory that pages could take
    results = []
    before = studio.memory()
    halves = []
    for part in ("first", "second"):
        results.append(
            flood(studio, f"{pages // 2} pages opened, {part} half", [lambda: open_page(studio)] * (pages // 2))
        )
        halves.append(studio.memory())
    grown = max(0, halves[1] - halves[0]) / (pages // 2)
    total = (halves[1] - before) + grown * max(0, 10_000 - pages)
    print(
        f"memory of {pages} pages: +{(halves[1] - before) / MIB:.0f} MB, of which the second half "
        f"{(halves[1] - halves[0]) / MIB:+.0f} MB; 10,000 pages at the second half's rate: +{total / MIB:.0f} MB"
    )
    results += [
        flood(studio, "nobody", [rest]),
        flood(studio, "560 tables of one page", one),
        flood(studio, "560 tables of as many pages", many),
        flood(studio, "3,000 light events of one page", lights),
        flood(studio, "3,000 light events of as many pages", strangers),
        flood(studio, "3,000 panes, 20 times", [ask(["base"] * 3000, "Hello?")] * 20),
        flood(studio, "prompts of 40 million characters, 8 times", [ask(["base"], "a" * 40_000_000)] * 8),
        flood(studio, "prompts of 15 million characters, 16 times", [ask(["base"], "a" * 15_000_000)] * 16),
        flood(studio, "five million empty lists, 8 times", [raw(nested)] * 8),
        flood(studio, "60 wrong passwords", [lambda: guess(studio)] * 60),
    ]
    return results


def rest() -> str:
    """A visitor who only looks."""
    time.sleep(5)
    return "rested"


def guess(studio: Studio) -> str:
    """A wrong password."""
    started = time.perf_counter()
    status = httpx.post(f"{studio.url}/operator/unlock", json={"password": "guess"}, timeout=60).status_code
    return f"{status} after {round(time.perf_counter() - started)} s"


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)] if values else float("inf")


def main() -> int:
    """Start the app, run the floods, print, end it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1000, help="pages opened (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for demo in (ROOT / "adapters").glob("demo-*"):
            shutil.copytree(demo, folder / "adapters" / demo.name)
        (folder / "adapters").mkdir(exist_ok=True)
        env = {
            **os.environ,
            "STUDIO_ADMIN_PASSWORD": PASSWORD,
            "STUDIO_BASE": "embedded",
            "STUDIO_ADAPTERS_DIR": str(folder / "adapters"),
            "STUDIO_IMPORTED_DIR": str(folder / "imported"),
            "STUDIO_MODELS_DIR": str(folder / "models"),
            "STUDIO_CACHE_DIR": str(folder / "cache"),
            "STUDIO_DATABASE_URL": f"sqlite:///{folder / 'studio.db'}",
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
        }
        app = App(env, folder / "log.txt")
        try:
            app.wait()
            studio = Studio(app)
            # the first answer comes once the engine is warm
            first = {"data": ["Hello?", ["base"], "", 0.0, 0.95, 8, 1, "embedded"]}
            event = httpx.post(f"{app.url}/gradio_api/call/generate", json=first, timeout=120).json()["event_id"]
            httpx.get(f"{app.url}/gradio_api/call/generate/{event}", timeout=300).raise_for_status()
            results = floods(studio, options.pages)
        finally:
            app.stop()
    print(json.dumps({seen.name: seen.held for seen in results}, indent=1))
    return 0 if all(seen.held for seen in results) else 1


if __name__ == "__main__":
    sys.exit(main())
