"""Short runs on a Ray cluster of two nodes of one core: all queued at once, against each queued when the one before has ended, so that one
node works at a time. Seconds from the first click to the end of the last run; both ways take turns, since the machine has other work too.

python -m tests.benchmarks.bench_ray --runs 4 --rounds 3
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.services import Services
from studio.services.align.service import AlignForm
from studio.services.recipes.queue import release_trainer
from tests.helpers.ray_cluster import start_cluster
from tests.helpers.services import opened, settings_in


def trained(services: Services, form: AlignForm, runs: int, at_once: bool) -> float:
    """Seconds that so many runs take together, with different seeds."""
    began, ids = time.monotonic(), []
    for seed in range(runs):
        ids.append(services.align.start(replace(form, settings=replace(form.settings, seed=seed))))
        if not at_once:
            services.queue.wait(ids[-1], lambda event: None)
    ends = [services.queue.wait(run_id, lambda event: None) for run_id in ids]
    assert all(view.status.state == "done" for view in ends), [view.status.message for view in ends]
    return time.monotonic() - began


def main() -> None:
    """Measure both ways in turn, after a run on every node that is not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=1.0)
    options = parser.parse_args()
    cluster: Any = start_cluster(nodes=2)
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.9, data_size=50)
    form = replace(chosen, settings=replace(chosen.settings, epochs=options.epochs, measured_answers=4))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(cluster.shutdown)
        settings = settings_in(Path(folder), ray_address=cluster.address, ray_node_dir=f"{folder}/node")
        services = stack.enter_context(opened(settings))
        stack.callback(release_trainer, settings)
        print(f"warming up: {trained(services, form, 2, at_once=True):.1f} s", flush=True)
        took: dict[bool, float] = {True: 0.0, False: 0.0}
        for number in range(options.rounds):
            for at_once in (True, False) if number % 2 == 0 else (False, True):
                seconds = trained(services, form, options.runs, at_once)
                took[at_once] += seconds
                print(f"{options.runs} runs {'at once' if at_once else 'in turn'}: {seconds:.1f} s", flush=True)
        print(f"in turn takes {took[False] / took[True]:.2f} times as long")


if __name__ == "__main__":
    main()
