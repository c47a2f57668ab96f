"""The trainer process of an app whose runs go to a Ray cluster: ``python -m studio.services.cluster.dispatcher``. It trains nothing itself,
and so imports no torch; Ray, which may end a process that loses its cluster, is not in the web server's."""

from __future__ import annotations

from studio.services.cluster.compute import RayCompute
from studio.services.recipes.queue import DISPATCHER, TRAINER
from studio.services.worker.trainer import IDLE_EXIT_S, serve


def main(module: str = TRAINER, idle_exit_s: float = IDLE_EXIT_S) -> None:
    """Serve the queue until nobody wants it; ``module`` is the program of the nodes' trainer processes."""
    serve(lambda settings, _: RayCompute(settings, module), lambda: None, idle_exit_s, DISPATCHER)


if __name__ == "__main__":
    main()
