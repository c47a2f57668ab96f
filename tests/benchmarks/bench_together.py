"""Chat while a run trains: what each costs the other on this machine's cores.

Run: ``python tests/benchmarks/bench_together.py --rounds 3``. Each round measures an idle chat, a run alone, and both at once
(answers asked one after the other for as long as the run trains), so that a drifting machine meets all three alike. Prints
medians over the rounds of: chat latency beside training / idle, and training seconds beside chat / alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from studio.config import Settings  # noqa: E402
from studio.domain.chat import BASE, Sampling  # noqa: E402
from studio.domain.data import Message  # noqa: E402
from studio.domain.runs import FINAL_STATES  # noqa: E402
from studio.services import Services, build_services  # noqa: E402
from studio.services.align.form import AlignForm  # noqa: E402
from studio.services.compare.service import PaneChat  # noqa: E402
from studio.services.recipes.queue import ensure_trainer  # noqa: E402

QUESTIONS = (
    "Should anime be turned into live action?",
    "Would a live-action Akira be a good idea?",
    "Hello! Who are you?",
)


def answer(services: Services, number: int) -> float:
    """Seconds of one greedy answer of the base."""
    chat = PaneChat(BASE, (Message("user", QUESTIONS[number % len(QUESTIONS)]),))
    started = time.perf_counter()
    for _ in services.compare.stream([chat], Sampling(temperature=0.0, max_new_tokens=48)):
        pass
    return time.perf_counter() - started


def train(services: Services, settings: Settings, chat: bool) -> tuple[float, list[float]]:
    """Training seconds of a run of the embedded preset, and the chat latencies measured while it trained."""
    ensure_trainer(settings)
    run_id = services.align.start(
        AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.9, data_size=50)
    )
    latencies: list[float] = []
    while (run := services.runs.get(run_id)).status.state not in FINAL_STATES:
        if chat and run.last_step is not None and run.last_step.step < run.last_step.total:
            latencies.append(answer(services, len(latencies)))
        else:
            time.sleep(0.02)
    assert run.status.state == "done", run.status
    assert run.last_step is not None
    return run.last_step.elapsed, latencies


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            adapters_dir=folder / "adapters", imported_dir=folder / "imported", cache_dir=folder / "cache"
        )
        settings.adapters_dir.mkdir()
        services = build_services(settings)
        ensure_trainer(settings)
        services.compare.warm_up()
        answer(services, 0)
        train(services, settings, chat=False)  # fills the reference cache and the measure of the base
        chat_ratios: list[float] = []
        run_ratios: list[float] = []
        for _ in range(rounds):
            idle = statistics.median(answer(services, i) for i in range(9))
            alone, _ = train(services, settings, chat=False)
            beside, latencies = train(services, settings, chat=True)
            if latencies:
                chat_ratios.append(statistics.median(latencies) / idle)
            run_ratios.append(beside / alone)
            print(
                f"chat idle {idle:.3f} s, beside training {statistics.median(latencies or [float('nan')]):.3f} s "
                f"(n {len(latencies)}); training alone {alone:.2f} s, beside chat {beside:.2f} s",
                flush=True,
            )
    print(
        f"chat x {statistics.median(chat_ratios):.2f}, training x {statistics.median(run_ratios):.2f} (rounds {rounds})"
    )


if __name__ == "__main__":
    main()
