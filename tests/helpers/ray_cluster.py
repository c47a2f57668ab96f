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
    started = start_cluster(nodes=2)
    yield started
    started.shutdown()


def start_cluster(nodes: int) -> Any:
    """A head without cores and so many nodes of one core."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # Ray's 15 would have tests wait for whatever else the machine does
    for attempt in range(3):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False, **_SMALL)
            for _ in range(nodes):
                add_node(cluster, wait=False)
            cluster.wait_for_nodes(120)
            return cluster
        except Exception:  # Ray gives a node 30 s to start, which a busy machine may need more of
            cluster.shutdown()
            if attempt == 2:
                raise
    raise AssertionError


def add_node(cluster: Any, **options: Any) -> Any:
    """Another node of one core."""
    return cluster.add_node(**{"num_cpus": 1, **_SMALL, **options})
