"""Kill the run's process, the trainer or the server at random moments of every phase: is a status false, a process left, a vote lost?

Run: ``nice -n 5 python -m tests.benchmarks.kills --kills 100 --seed 1``; ``--phase detox`` for those whose name holds that. The real server
in scratch folders, short runs on the embedded base, four raters who vote all the while. Three of four kills are SIGKILL, the others SIGTERM.

After each kill: a dead run reads interrupted or failed at once and is recorded so within ``RECORDED_S``; a run whose process lives never
reads so, and ends as done; the server says what the folder says; an adapter is whole or not there; no process and no temporary folder is
left; every vote answered "saved" is stored; the run, batch or evaluation goes on to its end (a killed run at its method's next turn).
Exit code 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES
from studio.domain.votes import NewPair, Origin
from studio.services.rating.service import RatingService
from studio.services.runs.folder import ADAPTER
from studio.services.runs.status import owner_alive, read_status
from studio.services.runs.store import RunStore
from tests.benchmarks.bench_startup import free_port
from tests.benchmarks.kill_phases import PHASES, Attempt, Kill, planned
from tests.benchmarks.load_votes import PRESSES, START_S, Seen, Way, ask, verify
from tests.helpers.commanded_server import CommandedServer

#: Seconds until a dead run's end is recorded while a trainer lives; until what else should happen has happened.
RECORDED_S, PATIENCE_S = 5.0, 600.0
ADAPTER_RUN, RATERS, PAIRS = "demo-support-90", 4, 4000


class Broken(Exception):
    """Something did not hold."""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S, every: float = 0.02) -> Any:
    """The first true value of ``condition``; raises Broken after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise Broken(f"not within {seconds:g} s: {what}")


class Raters:
    """Some who vote on the server at ``url`` until :meth:`end`, fast while ``eager``."""

    def __init__(self, url: str) -> None:
        self.url, self.seen, self.eager = url, Seen(end=float("inf")), False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._vote()), name="raters", daemon=True)
        self._thread.start()

    async def _vote(self) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            await asyncio.gather(*(self._rate(client, number) for number in range(RATERS)))

    async def _rate(self, client: httpx.AsyncClient, number: int) -> None:
        draw, way = random.Random(number), Way([self], number)  # type: ignore[list-item]
        registered = await ask(client, self.seen, way, "register", name=f"Rater {number}")
        token = registered["token"] if registered else ""
        standing = await ask(client, self.seen, way, "next", token=token)
        while standing and standing["pair"] and time.monotonic() < self.seen.end:
            pair, press = standing["pair"], draw.choice(PRESSES)
            key = (token.partition(".")[0], pair["pair_id"])
            self.seen.unanswered.add(key)
            vote = {"token": token, "pair": pair["pair_id"], "proof": pair["token"], "press": press, "seconds": 1.0}
            standing = await ask(client, self.seen, way, "vote", **vote)
            if standing is None:
                return
            self.seen.unanswered.discard(key)
            self.seen.doubled += key in self.seen.saved
            self.seen.saved[key] = pair.get(press, press)
            await asyncio.sleep(draw.expovariate(1 / (0.03 if self.eager else 1.0)))

    def end(self) -> None:
        """Let them finish."""
        self.seen.end = time.monotonic()
        self._thread.join(60)


class Studio:
    """The server, its trainer and its runs in one scratch folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.adapters, self._log, self._temp = folder / "adapters", folder / "server.log", folder / "tmp"
        self._temp.mkdir()
        shutil.copytree(ROOT / "adapters" / ADAPTER_RUN, self.adapters / ADAPTER_RUN)
        database = f"sqlite:///{folder / 'studio.db'}"
        environment = {
            **os.environ,
            "STUDIO_ADAPTERS_DIR": str(self.adapters),
            "STUDIO_CACHE_DIR": str(folder / "cache"),
            "STUDIO_MODELS_DIR": str(folder / "models"),
            "STUDIO_IMPORTED_DIR": str(folder / "imported"),
            "STUDIO_DATABASE_URL": database,
            "STUDIO_BASE": "embedded",
            "STUDIO_TRAIN_THREADS": "1",
            "STUDIO_CHAT_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(self._temp),
        }
        settings = Settings(adapters_dir=self.adapters, database_url=database)
        self.runs, self.rating, self._draw = RunStore(settings), RatingService(settings), random.Random(seed)
        sides = (Origin("import", "one"), Origin("import", "two"))
        self.rating.add_pairs(
            NewPair(f"Question {n}?", f"Yes, {n}.", f"No, {n}.", *sides, "import") for n in range(PAIRS)
        )
        self.server = CommandedServer(environment, free_port(), self._log)
        self.server.start()
        self._answers()
        self.raters = Raters(self.server.url)
        #: By method, the run that was killed last and has not ended since.
        self._killed: dict[str, str] = {}

    # -- looking --------------------------------------------------------------------------------------------------------

    def _answers(self) -> None:
        """Wait until the server answers; it has one temporary folder."""

        def answers() -> bool:
            if self.server.process.poll() is not None:
                raise Broken(f"the server ended:\n{self._log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.TransportError):
                return httpx.post(f"{self.server.url}/rate/api/hello", json={}, timeout=30).status_code == 200
            return False

        wait_for(answers, "the server answers", START_S, 0.1)
        if len(left := list(self._temp.glob("alignment-studio-*"))) > 1:
            raise Broken(f"after a start there are {len(left)} servers' temporary folders")

    def processes(self) -> dict[int, str]:
        """The command lines of all that live and work in this studio's folders, by number."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("STUDIO_ADAPTERS_DIR") == str(self.adapters)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def _trainer(self) -> int:
        """The process number of the warm trainer; 0 while there is none."""
        log = self.adapters / ".trainer.log"
        warm = re.findall(r" (\d+) __main__: warm after", log.read_text(errors="replace") if log.exists() else "")
        return int(warm[-1]) if warm and int(warm[-1]) in self.processes() else 0

    def _worker(self, run: Attempt) -> int:
        """The process number of a run at work, also while its status names the trainer that started it; 0 while it has none."""
        pid = read_status(run.folder).pid
        if not pid or pid != self._trainer():
            return pid
        return next((child.pid for child in psutil.Process(pid).children()), 0)

    def _says(self, run_id: str) -> str:
        """The state of a run in the server's words, by its public endpoint."""
        url = f"{self.server.url}/gradio_api/call/status"
        event = httpx.post(url, json={"data": [run_id]}, timeout=30).json()["event_id"]
        answer = httpx.get(f"{url}/{event}", timeout=30).text
        return str(json.loads(answer.rpartition("data: ")[2])[0]["state"])

    # -- checking -------------------------------------------------------------------------------------------------------

    def _check_adapter(self, run: Attempt) -> None:
        """It is whole or not there; a run that is done has one."""
        from safetensors import safe_open

        if not (run.folder / ADAPTER).exists():
            if run.state == "done":
                raise Broken(f"{run.run_id} is done and has no adapter")
            return
        try:
            with safe_open(run.folder / ADAPTER, "numpy") as file:
                sizes = [file.get_tensor(name).size for name in file.keys()]  # noqa: SIM118 - no mapping
            config = json.loads((run.folder / "adapter_config.json").read_text())
        except Exception as error:
            raise Broken(f"{run.run_id} ({run.state}) has a broken adapter: {error!r}") from error
        if not sizes or config["r"] < 1:
            raise Broken(f"{run.run_id} ({run.state}) has an empty adapter")

    def _check_end(self, run: Attempt, killed: bool, works: bool) -> None:
        """What a run reads until its end is recorded: its process was ``killed``, or ``works`` on; neither where its trainer was
        killed before there was a process."""
        bound = RECORDED_S if killed else PATIENCE_S
        end = time.monotonic() + bound
        while not run.ended:
            before, reads = read_status(run.folder), self.runs.status(run.run_id).state
            after = read_status(run.folder)
            if (before.pid, before.state) == (after.pid, after.state) and after.state in ("running", "stopping"):
                alive = owner_alive(after)
                if alive and reads in FINAL_STATES:
                    raise Broken(f"{run.run_id} reads {reads} while its process works")
                if not alive and reads not in FINAL_STATES and self.runs.status(run.run_id).state not in FINAL_STATES:
                    raise Broken(f"{run.run_id} reads {reads} though its process is gone")
            if time.monotonic() > end:
                raise Broken(f"{run.run_id} is still {after} after {bound:g} s")
            time.sleep(0.02)
        if works and run.state not in ("done", "stopped"):
            raise Broken(f"{run.run_id} was left alone and ended as {read_status(run.folder)}")
        self._check_adapter(run)
        if (said := self._says(run.run_id)) != run.state:
            raise Broken(f"{run.run_id} is {run.state} and the server says {said}")

    def _check_processes(self) -> None:
        """Beside the server there are at most a trainer and the process of one run."""

        def left() -> list[str]:
            statuses = [read_status(self.adapters / name) for name in self.runs.ids()]
            known = {self.server.process.pid, *(status.pid for status in statuses if status.state == "running")}
            known.discard(self._trainer())  # a run that starts names it
            others = [command for pid, command in self.processes().items() if pid not in known]
            trainers = [command for command in others if "worker.trainer" in command]
            return others if len(trainers) > 1 or len(trainers) < len(others) else []

        with contextlib.suppress(Broken):
            wait_for(lambda: not left(), "", 20, 0.2)
            return
        raise Broken(f"processes are left over: {left()}")

    def _check_votes(self) -> None:
        """What was answered "saved" before now is stored."""
        saved = list(self.raters.seen.saved)
        stored = {(vote.rater_id, vote.pair_id) for vote in self.rating.ballots().votes}
        if lost := [key for key in saved if key not in stored]:
            raise Broken(f"{len(lost)} of {len(saved)} saved votes are not stored")
        if self.raters.seen.refused:
            raise Broken(f"votes were refused: {self.raters.seen.refused}")

    # -- killing --------------------------------------------------------------------------------------------------------

    def kill(self, kill: Kill) -> None:
        """One kill and its checks.

        Raises:
            Broken: one of them did not hold.
        """
        ways = {
            "start": self._at_start,
            "votes": self._kill_server,
            "batch": self._in_batch,
            "evaluation": self._in_evaluation,
        }
        ways.get(kill.phase.method, self._in_run)(kill)
        self._check_processes()

    def _pause(self, kill: Kill, unit: float = 1.0) -> None:
        time.sleep(unit * self._draw.uniform(*kill.phase.within))

    def _kill_server(self, kill: Kill, pause: bool = True) -> None:
        """Kill it while votes come in; start it again."""
        starting = kill.phase.method == "start"
        self.raters.eager, saved = True, len(self.raters.seen.saved)
        if not starting:
            wait_for(lambda: len(self.raters.seen.saved) > saved + 4, "votes are saved", every=0.005)
        if pause:
            self._pause(kill)
        self.server.process.send_signal(kill.signal)
        try:
            self.server.process.wait(20)
        except subprocess.TimeoutExpired:
            raise Broken("the server does not end by SIGTERM within 20 s") from None
        if kill.signal == signal.SIGTERM and not starting and list(self._temp.glob("alignment-studio-*")):
            raise Broken("a server that was told to end left its temporary folder")
        self.raters.eager = False
        self.server.start()
        self._answers()
        self._check_votes()

    def _at_start(self, kill: Kill) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server.start()
        self._kill_server(kill)

    def _queue(self, method: str) -> Attempt:
        """The run of a method that was killed last, resumed; else a new one."""
        if run_id := self._killed.pop(method, ""):
            run = Attempt(self.adapters / run_id, new=False)
            self.server.do("resume", run_id=run_id)
            return run
        return self._new(method)

    def _new(self, method: str) -> Attempt:
        return Attempt(self.adapters / self.server.do(method, seed=self._draw.randrange(10**6)), new=True)

    def _in_run(self, kill: Kill) -> None:
        phase = kill.phase
        if "queued" in phase.name:
            run = self._new(phase.method)
            wait_for(lambda: run.begun, "the run before begins")
            second = self._queue(phase.method)
            self._pause(kill)
            self._kill_in(kill, run)
            wait_for(lambda: second.ended, "the run that waited ends")
            self._check_end(second, killed=False, works=True)
            return
        for _ in range(5):
            run = self._queue(phase.method)
            if self._reach(kill, run):
                return self._kill_in(kill, run)
            if run.state not in ("done", "stopped"):
                raise Broken(f"{run.run_id}, resumed or new, ended as {read_status(run.folder)}")
        raise Broken("five runs ended before this phase was seen")

    def _reach(self, kill: Kill, run: Attempt) -> bool:
        """Wait for the moment of a kill; False where the run ended before."""
        phase = kill.phase
        if "checkpoint" in phase.name:
            wait_for(lambda: run.steps[0] or run.ended, "a first step", every=0.01)
            with contextlib.suppress(RuntimeError):  # it has ended
                self.server.do("stop", run_id=run.run_id)
        wait_for(lambda: phase.reached(run) or run.ended, phase.name, every=0.01)
        self._pause(kill, run.step_seconds if phase.of_step else 1.0)
        return not run.ended

    def _kill_in(self, kill: Kill, run: Attempt) -> None:
        trainer = wait_for(self._trainer, "a trainer is warm")
        pid = self._worker(run)
        if kill.victim == "run" and not pid:  # claimed by the trainer a moment ago
            wait_for(lambda: self._worker(run) or run.ended, "the run has a process")
            pid = self._worker(run)
        if kill.victim == "server":
            self._kill_server(kill, pause=False)
        elif (
            victim := pid if kill.victim == "run" else trainer
        ):  # 0, where no process works on it, would be our own group
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, kill.signal)
        unborn = kill.victim == "trainer" and not pid
        self._check_end(run, killed=kill.victim == "run", works=kill.victim != "run" and not unborn)
        if run.state != "done":
            self._killed[kill.phase.method] = run.run_id

    def _in_batch(self, kill: Kill) -> None:
        def status() -> Any:
            return self.server.do("batch-status")

        self.server.do("batch", seed=self._draw.randrange(10**6))
        wait_for(lambda: status()["done"] or status()["error"], "some pairs of a batch", every=0.05)
        self._kill_server(kill)
        if status()["state"] not in ("interrupted", "idle"):
            raise Broken(f"after a restart the batch reads {status()}")
        if status()["state"] == "interrupted":
            self.server.do("batch-resume")
            wait_for(lambda: status()["state"] != "running", "the batch ends", every=0.1)
            end = status()
            counted = end["added"] + end["known"] + end["identical"] + end["unusable"]
            if end["state"] != "done" or not counted == end["done"] == end["total"]:
                raise Broken(f"a resumed batch ended as {end}")

    def _in_evaluation(self, kill: Kill) -> None:
        def status() -> Any:
            return self.server.do("evaluation-status", evaluation_id=name)

        name = self.server.do("evaluation", seed=self._draw.randrange(10**6), adapter=ADAPTER_RUN)
        wait_for(lambda: status()["done"] or status()["message"], "some rows of an evaluation", every=0.05)
        self._kill_server(kill)
        if status()["state"] not in ("interrupted", "done"):
            raise Broken(f"after a restart the evaluation reads {status()}")
        if status()["state"] == "interrupted":
            self.server.do("evaluation-resume", evaluation_id=name)
            wait_for(lambda: status()["state"] not in ("queued", "running"), "the evaluation ends", every=0.1)
        rows = self.server.do("evaluation-rows", evaluation_id=name)
        if status()["state"] != "done" or len(rows) != status()["total"] or len(set(map(tuple, rows))) != len(rows):
            raise Broken(f"a resumed evaluation ended as {status()} with {len(rows)} rows")

    def begin_anew(self) -> None:
        """After something broke: a server that answers, and nothing at work."""
        self._killed.clear()
        self.kill_all()
        self.server.process.wait()
        self.server.start()
        self._answers()

    def kill_all(self) -> None:
        """Kill every process of this studio."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> Iterator[str]:
        """Let killed runs go on to their end, stop the server as an operator would, and wait for its trainer; what did not hold."""
        for method in list(self._killed):
            run = self._queue(method)
            self._check_end(run, killed=False, works=True)
        self.raters.end()
        yield from verify(self.rating, self.raters.seen)
        self.server.process.send_signal(signal.SIGTERM)
        self.server.process.wait(20)
        with contextlib.suppress(Broken):  # the trainer ends half a minute after the last sign of a server
            wait_for(lambda: not self.processes(), "", 60, 0.5)
        yield from (f"left running after the end: {command}" for command in self.processes().values())
        yield from (f"left in the temporary folder: {path.name}" for path in self._temp.glob("alignment-studio-*"))
        known = (".trainer", ".queue", ".notify", ".chat")
        left = [
            str(path.relative_to(self.adapters))
            for path in self.adapters.rglob(".*")
            if not path.name.startswith(known)
        ]
        print(f"hidden files left in the adapters folder: {left}")


def main() -> int:
    """Kill, print a line each and a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phase", default="", help="only phases whose name holds this")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="make no kill after so many")
    options = parser.parse_args()
    plan = planned(options.kills, options.seed, options.phase)
    held: list[tuple[Kill, bool]] = []
    problems: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="studio-kills-", ignore_cleanup_errors=True) as scratch:
        studio = Studio(Path(scratch), options.seed)
        try:
            for number, kill in enumerate(plan, 1):
                if time.monotonic() - began > 60 * options.minutes:
                    break
                what = f"{kill.phase.name}: {kill.signal.name} to the {kill.victim}"
                started, problem = time.monotonic(), ""
                try:
                    studio.kill(kill)
                except Exception as error:
                    problem = str(error) if isinstance(error, Broken) else repr(error)
                    problems.append(f"{what}: {problem}")
                    studio.begin_anew()
                held.append((kill, not problem))
                seconds = time.monotonic() - started
                print(f"{number}/{len(plan)} {seconds:.1f} s  {what}: {problem or 'held'}", flush=True)
            problems += studio.end()
        finally:
            studio.kill_all()
        votes = len(studio.raters.seen.saved)
    for phase in PHASES:
        made = [(kill.victim, good) for kill, good in held if kill.phase is phase]
        if made:
            of = ", ".join(f"{victim} {sum(v == victim for v, _ in made)}" for victim in dict.fromkeys(phase.victims))
            print(f"{phase.name:30} {len(made):3} kills ({of}): {sum(good for _, good in made)} held")
    good = sum(good for _, good in held)
    minutes = (time.monotonic() - began) / 60
    print(
        f"seed {options.seed}: {good} of {len(held)} kills held, {votes} votes saved meanwhile, {minutes:.1f} minutes"
    )
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
