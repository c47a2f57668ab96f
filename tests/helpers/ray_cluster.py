"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

_SMALL = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head without cores, which is the app's node, and two nodes of one core each."""
    pytest.importorskip("ray", reason="Ray is an optional extra (requirements-scale.txt)")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **_SMALL})
    try:
        for _ in range(2):
            add_node(started, wait=False)
        started.wait_for_nodes(120)
        yield started
    finally:
        started.shutdown()


def add_node(cluster: Any, **options: Any) -> Any:
    """Another node of one core."""
    return cluster.add_node(**{"num_cpus": 1, **_SMALL, **options})


def raylet(node: Any) -> int:
    """Number of the process that is a node."""
    return int(node.all_processes["raylet"][0].process.pid)
