"""Runs on a Ray cluster, as the trainer process of the app sees them: handed over, stopped, looked after.

The app's machine is a node of the cluster (it may offer no core): the process that writes run folders lives there. Where the cluster does
not answer, runs wait and say so; none is trained here instead.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from studio.config import ROOT, Settings
from studio.domain.runs import FINAL_STATES, RunStatus
from studio.errors import StudioError
from studio.services.cluster.desk import RunDesk
from studio.services.cluster.node import carry_out
from studio.services.recipes.queue import TRAINER
from studio.services.runs.status import StopRequest, owner_alive, read_status, write_status
from studio.services.runs.store import RunStore
from studio.services.worker.compute import End

log = logging.getLogger(__name__)

#: Seconds between two looks at the cluster; between two tries to reach one that is gone; for an answer.
LOOK_S, RETRY_S, ANSWER_S = 0.5, 5.0, 15.0
#: What of the program's folder the nodes do not need (as .gitignore says it).
EXCLUDED = [
    "/adapters",
    "/data/imported",
    "/data/models",
    "/data/cache",
    "/data/corpus",
    "/data/*.db*",
    "/docs",
    "/tests",
    ".?*",
]


class RayCompute:
    """See :class:`studio.services.worker.compute.Compute`; ``module`` is the program of the nodes' trainer processes."""

    poll_s = 0.2

    def __init__(self, settings: Settings, module: str = TRAINER) -> None:
        self._settings, self._module = settings, module
        self._runs = RunStore(settings)
        self._desk: Any = None
        self._held: dict[str, End | None] = {}
        self._looked = self._tried = -1e9
        self._kill_at: dict[str, float] = {}
        self._problem = ""

    def taken(self) -> Collection[str]:
        """The runs that the cluster has, those of an earlier process of the app included."""
        now = time.monotonic()
        if self._desk is None and now - self._tried > RETRY_S:
            self._connect()
        if self._desk is not None and now - self._looked > LOOK_S:
            self._held = self._ask("look") or {}
            self._looked = time.monotonic()
        return list(self._held)

    def free(self) -> bool:
        """Always: the queue is Ray's."""
        return True

    def submit(self, run_id: str) -> bool:
        """Hand a queued run over; where nobody answers, its status says so."""
        if self._desk is None:
            self._hold(run_id)
            return False
        self._kill_at.pop(run_id, None)
        self._ask("submit", run_id)
        if self._desk is not None:
            self._held[run_id] = None
        return self._desk is not None

    def adopt(self, run_id: str, status: RunStatus) -> bool:
        """A run whose writer lives is looked after by that one; where the cluster is gone a run waits for it to come back."""
        if owner_alive(status):
            return True
        if self._desk is None:
            self._hold(run_id)
            return True
        return False

    def stop(self, run_id: str, asked: StopRequest) -> None:
        """Its node hears of the request. One that does not obey, or that nobody hears of, is killed."""
        now = time.monotonic()
        if run_id not in self._kill_at:
            obeys_within = 0.0 if asked.mode == "discard" else self._settings.kill_after_s
            self._kill_at[run_id] = now + obeys_within + 2 * ANSWER_S
        elif now >= self._kill_at[run_id]:
            self._kill_at[run_id] = now + ANSWER_S
            self._ask("cancel", run_id, True)

    def state(self, run_id: str) -> End | None:
        """How a run ended, once its task did. One that left the queue does not begin."""
        end = self._held.get(run_id)
        if end is None:
            try:
                over = read_status(self._settings.adapters_dir / run_id).state in FINAL_STATES
            except (FileNotFoundError, StudioError):
                over = True
            if over and run_id not in self._kill_at:
                self._kill_at[run_id] = time.monotonic()
                self._ask("cancel", run_id, False)
            return None
        self._ask("forget", run_id)
        self._held.pop(run_id, None)
        self._kill_at.pop(run_id, None)
        return end

    def close(self, abandon: bool) -> None:
        """The writer ends with the last run; runs at work go on."""
        if self._desk is not None and not self._held:
            import ray

            ray.kill(self._desk)
        self._leave()

    # -- within -------------------------------------------------------------------------------------------------------

    def _ask(self, method: str, *arguments: Any) -> Any:
        """What the desk answers; None where it cannot be asked, which is then known."""
        import ray

        if self._desk is None:
            return None
        try:
            return ray.get(getattr(self._desk, method).remote(*arguments), timeout=ANSWER_S)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            log.warning("the Ray cluster does not answer: %s", error)
            self._held, self._tried = {}, time.monotonic()
            self._problem = self._sentence("does not answer any more")
            self._leave()
            return None

    def _connect(self) -> None:
        """Reach the cluster and find the desk there, or start it."""
        self._tried, before = time.monotonic(), self._problem
        host, _, port = self._settings.ray_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError as error:
            # Ray itself would try for minutes, and end this process then
            self._problem = self._sentence(f"does not answer ({error.strerror or error})")
        else:
            self._problem = self._try_to_join()
        if self._problem and self._problem != before:
            log.warning("%s", self._problem)

    def _try_to_join(self) -> str:
        """Why the cluster cannot be joined; empty once it is."""
        try:
            self._join()
            return ""
        except StudioError as error:
            problem = str(error)
        except (Exception, SystemExit) as error:
            log.debug("no way into the Ray cluster", exc_info=True)
            first = next(iter(str(error).splitlines()), "")
            problem = self._sentence(
                f"cannot be joined ({type(error).__name__}: {first[:200]}); is this machine a node of it "
                f"(ray start --address={self._settings.ray_address} --num-cpus=0)?"
            )
        self._leave()
        return problem

    def _join(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        folder = self._settings.adapters_dir.resolve()
        ray.init(
            address=self._settings.ray_address,
            namespace="alignment-studio",
            runtime_env={"working_dir": str(ROOT), "excludes": EXCLUDED},
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
        name = f"desk-{hashlib.sha256(f'{socket.gethostname()}{folder}'.encode()).hexdigest()[:16]}"
        desk = (
            ray.remote(RunDesk)
            .options(
                name=name,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
            )
            .remote(folder, ray.remote(carry_out), self._module)
        )
        if not ray.get(desk.sees.remote(".trainer.lock"), timeout=120):
            ray.kill(desk)
            raise StudioError(
                f"The Ray node of this machine does not see {folder}; start it on the machine (or in the container) of the app."
            )
        self._desk = desk
        log.info("the Ray cluster at %s takes the runs", self._settings.ray_address)

    def _leave(self) -> None:
        self._desk = None
        if ray := sys.modules.get("ray"):
            ray.shutdown()

    def _sentence(self, what: str) -> str:
        return f"The Ray cluster at {self._settings.ray_address} {what}. The run waits for it; without STUDIO_RAY_ADDRESS runs are trained here."

    def _hold(self, run_id: str) -> None:
        """Have a run wait for the cluster, and say so."""
        folder = self._settings.adapters_dir / run_id
        with self._runs.queue_lock():
            status = read_status(folder)
            if status.state in FINAL_STATES or (status.state, status.message) == ("queued", self._problem):
                return
            log.info("run %s: %s", run_id, self._problem)
            write_status(folder, replace(status, state="queued", message=self._problem, pid=0))
