"""Chat and training beside the voters of ``load_votes.py``: how long answers take, how many steps a second a run makes."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradio_client import Client

from studio.config import Settings
from studio.domain.runs import FINAL_STATES
from studio.services.runs.store import RunStore

QUESTION = "Should anime be turned into live action?"
#: Seconds between an answer and the next question.
PAUSE_S = 2.0
RUN_S = 600.0


@dataclass
class Company:
    """What was seen of chat and training in one part of the measurement: seconds of each answer, what failed, and the
    steps and seconds of training, of runs in the order they were started."""

    answers: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        said = []
        if self.answers:
            said.append(
                f"chat: {len(self.answers)} answers, median {statistics.median(self.answers):.2f} s, "
                f"longest {max(self.answers):.2f} s"
            )
        if self.states:
            speed = self.steps / self.seconds if self.seconds else float("nan")
            ended = ", ".join(self.states)
            said.append(f"training: {self.steps} steps in {self.seconds:.1f} s, {speed:.2f} a second; runs {ended}")
        said += [f"{len(self.failed)} FAILED: {self.failed[0]}"] if self.failed else []
        return "; ".join(said) or "nobody"


class Host:
    """Asks one server, through its API, for answers and runs; the runs are looked up in their folders."""

    def __init__(self, url: str, adapters: Path) -> None:
        self._client = Client(url, verbose=False)
        self._runs = RunStore(Settings(adapters_dir=adapters))

    def answer(self) -> float:
        """Seconds of one greedy answer of the base (up to 48 tokens)."""
        started = time.perf_counter()
        (told,) = self._client.predict(QUESTION, ["base"], temperature=0.0, max_new_tokens=48, api_name="/generate")
        assert told["answer"].strip(), told
        return time.perf_counter() - started

    def beside(self, chat: bool, train: bool, until: threading.Event, least: int = 0) -> Company:
        """Chat and train in threads of their own until ``until`` is set, and ``least`` runs are over. Runs follow one
        another; of the last one only the steps made by then count, but how it ends does."""
        seen, over = Company(), threading.Event()

        def ask() -> None:
            while not over.is_set():
                self._try(seen, lambda: seen.answers.append(self.answer()))
                over.wait(PAUSE_S)

        chats = threading.Thread(target=ask, name="chat")
        if chat:
            chats.start()
        while train and (len(seen.states) < least or not until.is_set()):
            self._try(seen, lambda: self._train(seen, until, len(seen.states) < least))
            if seen.failed:
                break
        until.wait()
        over.set()
        if chat:
            chats.join()
        return seen

    def _train(self, seen: Company, until: threading.Event, whole: bool) -> None:
        run_id = self._client.predict(api_name="/align")
        counted: Any = None
        end = time.monotonic() + RUN_S
        while (run := self._runs.get(run_id)).status.state not in FINAL_STATES and time.monotonic() < end:
            if until.is_set() and not whole and counted is None:
                counted = run.last_step or False
            time.sleep(0.05)
        last = run.last_step if counted is None else counted
        if last:
            seen.steps += last.step
            seen.seconds += last.elapsed
        seen.states.append(run.status.state)
        if run.status.state != "done":
            raise RuntimeError(f"run {run_id} is {run.status.state}: {run.status.message}")

    @staticmethod
    def _try(seen: Company, act: Any) -> None:
        try:
            act()
        except Exception as error:  # whatever it is, it is what is measured here
            seen.failed.append(f"{type(error).__name__}: {error}"[:200])
            time.sleep(0.5)
