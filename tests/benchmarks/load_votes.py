"""Many raters at once over HTTP against the real app: is a vote lost or doubled, and how long does one take?

Run: ``python tests/benchmarks/load_votes.py --raters 200 --seconds 60``. The app starts in scratch folders with ``--pairs``
made-up pairs; every rater comes within ``--arrive`` seconds, from an address of their own, registers, then votes again and again, with
pauses of ``--think`` seconds on average (0: as fast as it can). A request that fails is sent again, as the page does; to the other server where there are two, as a balancer would.
Afterwards every vote that was answered "saved" is looked up in the store.

``--kill-after S`` kills the (first) server with SIGKILL after S seconds and starts it again; where it is the only one, the time
it takes to start is not counted, but the latencies of votes that had to wait for it are. ``--servers 2`` has two servers on one
database; ``--postgres`` starts a PostgreSQL on loopback for it (Debian's package), ``--database-url`` names an empty database of
your own; ``--proxy`` puts HAProxy with ``deploy/haproxy.cfg`` before them, which all raters go through. ``--chat`` and ``--train`` ask
the (last) server for an answer every other second and for one DPO run on the embedded base after the other, first without the voters,
then beside them.

Exit code 1 if a vote is lost, doubled or wrong, an answer fails or a run does not end as done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from studio.config import Settings  # noqa: E402
from studio.domain.votes import NewPair, Origin  # noqa: E402
from studio.services.rating.service import RatingService  # noqa: E402
from tests.benchmarks.load_client import Line  # noqa: E402
from tests.benchmarks.load_company import Company, Host  # noqa: E402
from tests.helpers.proxy import haproxy  # noqa: E402

PRESSES = ("left", "right", "tie", "both_bad", "skip")
START_S = 300.0


@dataclass
class Seen:
    """What the clients saw: seconds of each answered vote and of each arrival (name and first pair), what was saved ((rater, pair) -> the answer chosen, or the
    press), what was sent and never answered, and what went wrong; ``end`` is when to stop (monotonic). ``alone`` are the
    seconds of votes answered while one of two servers was dead, ``cpu`` the seconds of processor time that the clients took."""

    end: float
    latencies: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    cpu: float = 0.0
    dead: bool = False
    saved: dict[tuple[str, str], str] = field(default_factory=dict)
    unanswered: set[tuple[str, str]] = field(default_factory=set)
    doubled: int = 0
    retries: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class App:
    """One ``python app.py`` on a port of its own."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env, self._log = env, log
        self.start()

    def start(self) -> None:
        """Start it, again on the same port."""
        with open(self._log, "ab") as log:
            command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(self.port)]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=log, stderr=log)

    def wait(self) -> None:
        """Block until it answers."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                if httpx.post(f"{self.url}/rate/api/hello", json={}, timeout=30).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.3)
            if self.process.poll() is not None:
                sys.exit(f"the app ended:\n{self._log.read_text()[-3000:]}")
        sys.exit(f"the app did not start within {START_S:g} s:\n{self._log.read_text()[-3000:]}")

    def cpu(self) -> float:
        """Seconds of processor time it has used since it was started last."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        """As an operator would."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


async def ask(line: Line, seen: Seen, action: str, **body: Any) -> dict[str, Any] | None:
    """The answer to a request, sent again until there is one; None long after the end, or where it is refused."""
    while True:
        with contextlib.suppress(ConnectionError):
            status, answer = await line.post(action, body)
            if status == 200:
                return dict(json.loads(answer))
            if status < 500:
                seen.refused[f"{status} {answer[:120].decode()}"] += 1
                return None
        seen.retries += 1
        if time.monotonic() > seen.end + 30:
            return None
        await asyncio.sleep(0.5 + random.random())


async def rate(line: Line, seen: Seen, number: int, think: float, arrive: float) -> None:
    """One rater from registering to the end of the time."""
    draw = random.Random(number)
    await asyncio.sleep(draw.random() * arrive)
    started = time.perf_counter()
    standing = await ask(line, seen, "register", name=f"Rater {number}")
    if standing is None:
        return
    token = standing["token"]
    rater = token.partition(".")[0]
    if "pair" not in standing:  # an earlier studio, to compare with, says only who one is
        standing = await ask(line, seen, "next", token=token)
    seen.arrivals.append(time.perf_counter() - started)
    while standing is not None and standing["pair"] and time.monotonic() < seen.end:
        pair = standing["pair"]
        pause = draw.expovariate(1 / think) if think else 0.0
        await asyncio.sleep(min(pause, max(0.0, seen.end - time.monotonic())))
        if time.monotonic() >= seen.end:  # else all of them would vote at that very moment
            return
        press = draw.choice(PRESSES)
        key = (rater, pair["pair_id"])
        seen.unanswered.add(key)
        started = time.perf_counter()
        vote = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": press, "seconds": pause}
        standing = await ask(line, seen, "vote", **vote)
        if standing is None:
            return
        seen.latencies.append(time.perf_counter() - started)
        if seen.dead:
            seen.alone.append(seen.latencies[-1])
        assert standing["saved"] is True
        seen.unanswered.discard(key)
        seen.doubled += key in seen.saved
        seen.saved[key] = pair.get(press, press)


async def load(options: argparse.Namespace, apps: list[App], proxy: str) -> Seen:
    """All raters at once, through the proxy where there is one; the first server is killed and started again on the way if asked."""
    seen = Seen(end=time.monotonic() + options.seconds)
    urls = [proxy] if proxy else [app.url for app in apps]
    used = time.process_time()
    lines = [Line(urls, number) for number in range(options.raters)]
    raters = [
        asyncio.create_task(rate(line, seen, number, options.think, options.arrive))
        for number, line in enumerate(lines)
    ]
    if options.kill_after:
        await asyncio.sleep(options.kill_after)
        while not seen.saved:
            await asyncio.sleep(0.1)
        left = max(5.0, seen.end - time.monotonic())
        apps[0].kill()
        print(f"killed with {len(seen.saved)} votes saved and {len(seen.unanswered)} under way", flush=True)
        seen.dead = len(apps) > 1
        if not seen.dead:
            seen.end = time.monotonic() + START_S
        apps[0].start()
        await asyncio.to_thread(apps[0].wait)
        if not seen.dead:
            seen.end = time.monotonic() + left
        seen.dead = False
    await asyncio.gather(*raters)
    seen.cpu = time.process_time() - used
    for line in lines:
        line.close()
    return seen


def verify(rating: RatingService, seen: Seen) -> list[str]:
    """What the store and the clients disagree on; empty is good."""
    ballots = rating.ballots()
    pairs = {pair.id: pair for pair in ballots.pairs}
    stored = {(vote.rater_id, vote.pair_id): vote for vote in ballots.votes}
    problems = []
    if lost := [key for key in seen.saved if key not in stored]:
        problems.append(f"{len(lost)} votes that were answered 'saved' are not in the store")
    if len(stored) != len(ballots.votes) or seen.doubled:
        problems.append("a vote is doubled")
    if more := [key for key in stored if key not in seen.saved and key not in seen.unanswered]:
        problems.append(f"{len(more)} votes in the store were never sent")
    wrong = 0
    for key, chosen in seen.saved.items():
        if key in stored:
            pair, choice = pairs[key[1]], stored[key].choice
            wrong += {"1": pair.answer_1, "2": pair.answer_2}.get(choice, choice) != chosen
    if wrong:
        problems.append(f"{wrong} votes say something else than was pressed")
    counted = sum(vote.choice != "skip" for vote in ballots.votes)
    if rating.progress(None).votes != counted:
        problems.append(f"the count beside the pairs is {rating.progress(None).votes}, there are {counted} votes")
    return problems


def percentile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def told(latencies: list[float], what: str = "votes") -> str:
    """A sentence of latencies (seconds)."""
    shares = ", ".join(
        f"p{100 * share:.0f} {1000 * percentile(latencies, share):.0f} ms" for share in (0.5, 0.95, 0.99)
    )
    return f"{len(latencies)} {what} answered, {shares}"


@contextlib.contextmanager
def database(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if options.postgres:
        from tests.helpers.postgres import private_cluster

        with private_cluster(durable=True) as url:
            yield url
    else:
        yield options.database_url or f"sqlite:///{folder / 'studio.db'}"


def beside(options: argparse.Namespace, host: Host, apps: list[App], proxy: str) -> tuple[Seen, Company]:
    """The load, with chat and training beside it as asked."""
    over, company = threading.Event(), Company()

    def keep_company() -> None:
        nonlocal company
        company = host.beside(options.chat, options.train, over)

    thread = threading.Thread(target=keep_company, name="company")
    thread.start()
    try:
        seen = asyncio.run(load(options, apps, proxy))
    finally:
        over.set()
        thread.join()
    return seen, company


def alone(options: argparse.Namespace, host: Host) -> list[Company]:
    """Chat and training without voters: one run to fill the caches, an idle chat, then both together."""
    now = threading.Event()
    now.set()
    measured = []
    if options.train:
        measured.append(host.beside(chat=False, train=True, until=now, least=1))
        print(f"first run: {measured[-1]}", flush=True)
    if options.chat:
        host.answer()
        measured.append(Company([host.answer() for _ in range(8)]))
        print(f"idle: {measured[-1]}", flush=True)
    if options.train:
        measured.append(host.beside(options.chat, train=True, until=now, least=2))
        print(f"without voters: {measured[-1]}", flush=True)
    return measured


def main() -> int:
    """Load, then verify."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--think", type=float, default=2.0, help="mean pause before a vote, in seconds")
    parser.add_argument("--arrive", type=float, default=3.0, help="seconds within which the raters come")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--warm", type=float, default=25.0, help="seconds the app runs before the raters come")
    parser.add_argument("--kill-after", type=float, default=0.0)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL of our own on loopback")
    parser.add_argument("--database-url", default="", help="an empty database; SQLite in a scratch folder if not given")
    parser.add_argument("--proxy", action="store_true", help="HAProxy before two servers")
    parser.add_argument("--chat", action="store_true", help="a chat beside the votes")
    parser.add_argument("--train", action="store_true", help="training beside the votes")
    options = parser.parse_args()
    if options.proxy and options.servers != 2:
        parser.error("--proxy needs --servers 2.")
    with (
        tempfile.TemporaryDirectory(prefix="studio-load-") as scratch,
        database(options, Path(scratch)) as url,
    ):
        return measure(options, Path(scratch), url)


def measure(options: argparse.Namespace, folder: Path, url: str) -> int:
    """Everything on one database; the exit code."""
    rating = RatingService(Settings(database_url=url))
    made = [
        Origin("base", "Base", model="embedded"),
        Origin("adapter", "Adapter", run_id="load", adapter_hash="load"),
    ]
    rating.add_pairs(
        NewPair(f"Question {n}?", f"Yes, {n}. " * 20, f"No, {n}. " * 20, *made, "batch") for n in range(options.pairs)
    )
    adapters = folder / "adapters"
    env = {
        **os.environ,
        "STUDIO_DATABASE_URL": url,
        "STUDIO_ADAPTERS_DIR": str(adapters),
        "STUDIO_IMPORTED_DIR": str(folder / "imported"),
        "STUDIO_CACHE_DIR": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "STUDIO_BASE": "embedded",  # a server would fetch and convert another one beside the votes
    }
    apps = [App(env, folder / f"app{number}.log") for number in range(options.servers)]
    companies: list[Company] = []
    with contextlib.ExitStack() as stack:
        for app in apps:
            stack.callback(app.stop)
        for app in apps:
            app.wait()
        proxy = stack.enter_context(haproxy(apps[0].port, apps[1].port)) if options.proxy else ""
        time.sleep(options.warm)  # it loads the chat engine and starts the trainer; nobody opens a vote that early
        if options.chat or options.train:
            host = Host(apps[-1].url, adapters)
            companies += alone(options, host)
            seen, company = beside(options, host, apps, proxy)
            print(f"beside voters: {company}")
            companies.append(company)
        else:
            used = sum(app.cpu() for app in apps)
            seen = asyncio.run(load(options, apps, proxy))
            if not options.kill_after:
                # what a vote costs is the same on a busy machine, whatever it makes of the latencies
                used = sum(app.cpu() for app in apps) - used
                print(f"the servers used {1000 * used / max(1, len(seen.latencies)):.1f} ms of processor time a vote")
    n = len(seen.latencies)
    print(
        f"{options.raters} raters, {options.seconds:g} s, {options.think:g} s of thought, {options.servers} server(s), "
        f"{rating.store().where}: {told(seen.latencies)} ({n / options.seconds:.0f} a second); "
        f"{seen.retries} requests sent again, {len(seen.unanswered)} never answered"
    )
    print(f"the raters themselves used {1000 * seen.cpu / max(1, n):.1f} ms of processor time a vote")
    print(f"{told(seen.arrivals, 'arrivals')}; load average {' '.join(f'{n:.1f}' for n in os.getloadavg())}")
    if seen.alone:
        print(f"while one of two servers was dead: {told(seen.alone)}")
    spread = Counter(decision.votes for decision in rating.decisions())
    print(f"votes a pair (skips left out): {', '.join(f'{n} on {spread[n]}' for n in sorted(spread))}")
    for refusal, times in seen.refused.most_common(5):
        print(f"refused {times} x: {refusal}")
    problems = verify(rating, seen)
    rating.close()
    print("\n".join(problems) or f"all {len(seen.saved)} saved votes are in the store, once each, as pressed")
    return 1 if problems or not n or any(company.failed for company in companies) else 0


if __name__ == "__main__":
    sys.exit(main())
