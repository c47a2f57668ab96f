"""Short runs on a Ray cluster of two nodes of one core, against one node: seconds from the first click to the end of the last run.

python -m tests.benchmarks.bench_ray --runs 6
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
from tests.helpers.ray_cluster import add_node, start_cluster
from tests.helpers.services import opened, settings_in


def trained(services: Services, form: AlignForm, runs: int) -> float:
    """Seconds that so many runs take together, with different seeds."""
    began = time.monotonic()
    ids = [services.align.start(replace(form, settings=replace(form.settings, seed=seed))) for seed in range(runs)]
    ends = [services.queue.wait(run_id, lambda event: None) for run_id in ids]
    assert all(view.status.state == "done" for view in ends), [view.status.message for view in ends]
    return time.monotonic() - began


def main() -> None:
    """Measure one node, then two; each after a run on every node that is not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--epochs", type=float, default=1.0)
    options = parser.parse_args()
    cluster: Any = start_cluster(nodes=1)
    chosen = AlignForm.from_preset("embedded", "embedded", dataset_id="live-action-en", support_ratio=0.9, data_size=50)
    form = replace(chosen, settings=replace(chosen.settings, epochs=options.epochs, measured_answers=4))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(cluster.shutdown)
        settings = settings_in(Path(folder), ray_address=cluster.address, ray_node_dir=f"{folder}/node")
        services = stack.enter_context(opened(settings))
        stack.callback(release_trainer, settings)
        seconds = []
        for nodes in (1, 2):
            if nodes > 1:
                add_node(cluster)
            print(f"{nodes} node(s), warming up: {trained(services, form, nodes):.1f} s", flush=True)
            seconds.append(trained(services, form, options.runs))
            print(f"{nodes} node(s), {options.runs} runs: {seconds[-1]:.1f} s", flush=True)
        print(f"one node takes {seconds[0] / seconds[1]:.2f} times as long")


if __name__ == "__main__":
    main()
