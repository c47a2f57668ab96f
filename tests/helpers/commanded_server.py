"""``python app.py`` that also obeys commands, for what only buttons of the page start: runs of all methods, batches of pairs, evaluations.

Run as ``python -m tests.helpers.commanded_server FD --port PORT``: a command is one line of JSON on standard input,
``{"do": NAME, ...arguments}``; its answer is one line of JSON on the file descriptor ``FD``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import studio.services
from studio.config import ROOT, Settings
from studio.domain.chat import BASE, Sampling
from studio.domain.toxicity import TestPrompt
from studio.services import Services
from studio.services.align.form import AlignForm
from studio.services.detox.service import DetoxForm
from studio.services.evaluations.form import EvaluationForm
from studio.services.rating.pair_batches import BatchForm, Question
from studio.services.reward.service import RewardForm

_DATA = "live-action-en"


class CommandedServer:
    """A server process in a folder of its own, started again after it was killed. ``process`` is the newest."""

    process: subprocess.Popen[str]

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        self._environment, self._port, self._log = environment, port, log
        self.url = f"http://127.0.0.1:{port}"
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start it; returns before it answers."""
        answers, told = os.pipe()
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.commanded_server", str(told), "--port", str(self._port)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(told,),
                start_new_session=True,
                text=True,
            )
        os.close(told)
        self._answers = open(answers, encoding="utf-8")  # noqa: SIM115 - until the next start

    def do(self, name: str, **arguments: Any) -> Any:
        """The answer to a command.

        Raises:
            RuntimeError: it failed, with the server's traceback, or the server ended.
        """
        with self._lock:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self._answers.readline()
        answer = json.loads(line) if line else {"error": f"the server ended while it was asked to {name}"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


# -- in the server ------------------------------------------------------------------------------------------------------


def dpo(services: Services, seed: int) -> str:
    """A DPO run of six steps over kept states, answers shown after each; its id."""
    form = AlignForm.from_preset("embedded", "embedded", dataset_id=_DATA, support_ratio=0.9, data_size=24)
    short = {"epochs": 2.0, "sample_every": 1, "probe_every": 2, "measured_answers": 64, "seed": seed}
    return services.align.start(_changed(form, layers="1/2", **short))


def reward(services: Services, seed: int) -> str:
    """A reward run of some steps; its id."""
    form = RewardForm.from_preset("embedded", "embedded", dataset_id=_DATA, data_size=40)
    return services.reward.start(_changed(form, epochs=2.0, seed=seed))


def detox(services: Services, seed: int) -> str:
    """A detox run of six steps; its id."""
    form = DetoxForm.from_preset("embedded", "quick", prompt_sets=("prompts-en",))
    short = {"steps": 6, "prompts_per_step": 4, "sample_every": 3, "measured_answers": 32, "seed": seed}
    return services.detox.start(_changed(form, **short)).run_id


def batch(services: Services, seed: int) -> None:
    """Begin 40 pairs of the base's own answers."""
    questions = tuple(Question(f"What should we know of number {seed}-{n}?") for n in range(40))
    services.sources.start_batch(
        BatchForm(questions, BASE, BASE, Sampling(temperature=1.0, max_new_tokens=24, seed=seed))
    )


def evaluation(services: Services, seed: int, adapter: str) -> str:
    """Begin an evaluation of an adapter on 40 prompts; its id."""
    prompts = tuple(TestPrompt(f"p{n}", f"What should we know of number {n}?", "en", False) for n in range(40))
    sampling = Sampling(temperature=1.0, max_new_tokens=24, seed=seed)
    return services.evaluations.start(EvaluationForm((adapter,), prompts, scorer="embedded", sampling=sampling))


def evaluation_rows(services: Services, evaluation_id: str) -> list[tuple[str, str, int]]:
    """Which rows of an evaluation are stored."""
    return [(row.adapter, row.prompt_id, row.sample) for row in services.evaluations.get(evaluation_id).rows]


COMMANDS: dict[str, Callable[..., Any]] = {
    "dpo": dpo,
    "reward": reward,
    "detox": detox,
    "stop": lambda services, run_id: services.runs.stop(run_id, "keep"),
    "resume": lambda services, run_id: services.queue.resume(run_id),
    "batch": batch,
    "batch-status": lambda services: dataclasses.asdict(services.sources.batch_status()),
    "batch-resume": lambda services: services.sources.resume_batch(),
    "evaluation": evaluation,
    "evaluation-status": lambda services, evaluation_id: dataclasses.asdict(services.evaluations.status(evaluation_id)),
    "evaluation-resume": lambda services, evaluation_id: services.evaluations.resume(evaluation_id),
    "evaluation-rows": evaluation_rows,
}


def _changed(form: Any, layers: str = "all", **settings: Any) -> Any:
    changed = dataclasses.replace(form.settings, **settings)
    return dataclasses.replace(form, settings=changed, lora=dataclasses.replace(form.lora, layers=layers))


def _obey(services: Services, answers: int) -> None:
    # unbuffered: at its end Python would wait for the lock of a buffer that this thread reads into
    with open(answers, "w", encoding="utf-8", buffering=1) as out, open(0, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            command = json.loads(line)
            try:
                answer = json.dumps({"value": COMMANDS[command.pop("do")](services, **command)})
            except Exception:
                answer = json.dumps({"error": traceback.format_exc()})
            out.write(answer + "\n")


def main() -> None:
    """The real program, whose services get a thread that obeys."""
    from studio.ui import launch

    build = studio.services.build_services

    def commanded(settings: Settings) -> Services:
        services = build(settings)
        threading.Thread(target=_obey, args=(services, int(sys.argv[1])), name="commands", daemon=True).start()
        return services

    studio.services.build_services = commanded
    launch.main(sys.argv[2:])


if __name__ == "__main__":
    main()
