"""When ``kills.py`` kills whom: the phases of a run as its folder shows them, and the plan."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.domain.events import WeightChange
from studio.domain.runs import FINAL_STATES
from studio.services.runs.events import read_events
from studio.services.runs.status import read_status

_FILES = ("events.jsonl", "samples.jsonl", "log.txt")


class Attempt:
    """A run that is new, or is about to be resumed: what its files say of it from then on."""

    def __init__(self, folder: Path, new: bool) -> None:
        self.folder, self.run_id = folder, folder.name
        self._from = {name: 0 if new else len(self._bytes(name)) for name in _FILES}
        self._checkpoints = set() if new else self._checkpoint_names()

    def _bytes(self, name: str, offset: int = 0) -> bytes:
        path = self.folder / name
        return path.read_bytes()[offset:] if path.exists() else b""

    def _checkpoint_names(self) -> set[str]:
        return {path.name for path in (self.folder / "checkpoint").glob("*")}

    @property
    def state(self) -> str:
        """As it is written."""
        return read_status(self.folder).state

    @property
    def ended(self) -> bool:
        """Whether its end is written."""
        return self.state in FINAL_STATES

    @property
    def begun(self) -> bool:
        """Whether its process came as far as the base model."""
        return f"run {self.run_id}: ".encode() in self._bytes("log.txt", self._from["log.txt"])

    @property
    def events(self) -> list[Any]:
        """Its events."""
        return read_events(self.folder, self._from["events.jsonl"])[0]

    @property
    def steps(self) -> tuple[int, int]:
        """Steps done, and in all."""
        steps = [event for event in self.events if event.type in ("step", "detox")]
        return (steps[-1].step, steps[-1].total) if steps else (0, 0)

    @property
    def step_seconds(self) -> float:
        """Of its newest step."""
        times = [0.0, 0.0, *(event.elapsed for event in self.events if event.type in ("step", "detox"))]
        return times[-1] - times[-2]

    @property
    def under_way(self) -> bool:
        """Whether it is between its first and last step."""
        step, total = self.steps
        return 0 < step < total

    @property
    def answering(self) -> bool:
        """Whether answers of its newest step are being written."""
        lines = self._bytes("samples.jsonl", self._from["samples.jsonl"]).splitlines()
        return self.under_way and (json.loads(lines[-1])["step"] if lines else 0) < self.steps[0]

    @property
    def checkpoint(self) -> bool:
        """Whether a checkpoint was begun."""
        return bool(self._checkpoint_names() - self._checkpoints)

    @property
    def trained(self) -> bool:
        """Whether its last step is done."""
        step, total = self.steps
        return 0 < step == total

    @property
    def saved(self) -> bool:
        """Whether its adapter is saved, and it measures."""
        return any(isinstance(event, WeightChange) for event in self.events)


@dataclass(frozen=True)
class Phase:
    """When to kill: once ``reached``, after a random time ``within`` these seconds (``of_step``: shares of the newest step's time). The
    ``victims`` in turn."""

    name: str
    method: str
    reached: Callable[[Attempt], bool] = lambda run: True
    within: tuple[float, float] = (0.0, 0.5)
    of_step: bool = False
    victims: tuple[str, ...] = ("run", "server", "run", "trainer", "run", "run")


_SERVER = ("server",)
PHASES = (
    Phase("dpo: queued", "dpo", lambda run: run.state == "queued"),
    Phase("dpo: starting", "dpo", lambda run: run.state == "running" and not run.begun, (0, 0.1)),
    Phase("dpo: kept states, reference", "dpo", lambda run: run.begun and not run.steps[0]),
    Phase("dpo: training", "dpo", lambda run: run.under_way),
    Phase("dpo: checkpoint", "dpo", lambda run: run.checkpoint, (0, 0.05)),
    Phase("dpo: film-strip", "dpo", lambda run: run.answering, (0, 0.1)),
    Phase("dpo: saving", "dpo", lambda run: run.trained, (0, 0.1)),
    Phase("dpo: measuring", "dpo", lambda run: run.saved, (0, 1)),
    Phase("reward: training", "reward", lambda run: run.under_way),
    Phase("reward: measuring", "reward", lambda run: run.trained),
    Phase("detox: generating", "detox", lambda run: run.under_way, (0, 0.6), of_step=True),
    Phase("detox: update", "detox", lambda run: run.under_way, (0.7, 1), of_step=True),
    Phase("detox: measuring", "detox", lambda run: run.saved, (0, 1)),
    Phase("server starts", "start", within=(0.1, 4), victims=_SERVER),
    Phase("votes are written", "votes", within=(0, 0.3), victims=_SERVER),
    Phase("pair batch", "batch", within=(0, 1), victims=_SERVER),
    Phase("evaluation", "evaluation", within=(0, 1), victims=_SERVER),
)


@dataclass(frozen=True)
class Kill:
    """One kill to be made."""

    phase: Phase
    victim: str
    signal: signal.Signals


def planned(count: int, seed: int, only: str) -> list[Kill]:
    """``count`` kills, the phases in turn, in random order; of the phases whose name holds ``only``."""
    draw = random.Random(seed)
    phases = [phase for phase in PHASES if only in phase.name]
    if not phases:
        sys.exit(f"no phase is called {only!r}: {', '.join(phase.name for phase in PHASES)}")
    signals = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
    plan = []
    for number in range(count):
        phase, turn = phases[number % len(phases)], number // len(phases)
        plan.append(Kill(phase, phase.victims[turn % len(phase.victims)], draw.choice(signals)))
    draw.shuffle(plan)
    return plan
