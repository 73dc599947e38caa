"""The number of workers that a cluster has room for."""

from __future__ import annotations

import ray
from ray.data import ActorPoolStrategy


def worker_pool(concurrency: int | None, num_cpus: float) -> ActorPoolStrategy:
    """Return a pool that grows from one actor to as many as asked for, or as the cluster has CPUs for.

    Args:
        concurrency: Actors at most; None for the CPUs of the cluster.
        num_cpus: CPUs of each.

    Raises:
        ValueError: Fewer than one actor, or no CPUs for it.
    """
    if num_cpus <= 0:
        raise ValueError(f"expected num_cpus above 0, found {num_cpus}")
    if concurrency is None:
        if not ray.is_initialized():
            ray.init()
        concurrency = max(1, int(ray.cluster_resources().get("CPU", 1) / num_cpus))
    if concurrency < 1:
        raise ValueError(f"expected concurrency of 1 or more, found {concurrency}")
    return ActorPoolStrategy(min_size=1, max_size=concurrency)
