"""Node configuration: what an agent is told of one node of a pilot, as plain JSON values.

This module owns the names of the dask resources by which a task finds the workers of its pilot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription


#: The dask resource, with the pilot's key behind it, that says how many threads a worker has.
THREADS = "threads"


def node_config(
    description: PilotDescription, key: str, *, allow_version_mismatch: bool = False
) -> dict[str, Any]:
    """Return how the workers of one node are to be started."""
    backend = description.backend
    each = range(description.workers_per_node)
    return {
        "pilot": key,
        "threads": description.threads_per_worker,
        # 0 is no limit to dask.
        "memory_bytes": (description.memory_bytes or 0) // description.processes_per_node,
        "resources": [worker_resources(description, key, index) for index in each],
        "nodes": description.nodes,
        "ranks": description.ranks,
        "gpus": description.gpus_per_node,
        "gpus_per_worker": description.gpus_per_worker,
        "env": {
            "PILOTCUT_DEVICE": backend.device,
            "PILOTCUT_METHOD": backend.method,
            # They share what a pilot may have in flight on a device.
            "PILOTCUT_PILOT_WORKERS": str(description.slots),
            **description.mpi_environment,
        },
        "allow_version_mismatch": allow_version_mismatch,
    }


def remote_node_config(
    description: PilotDescription, key: str, connection_file: Path
) -> dict[str, Any]:
    """Return the same for a node whose agent reads the connection file by itself."""
    mismatch = description.allow_version_mismatch
    config = node_config(description, key, allow_version_mismatch=mismatch)
    return config | {"connection": str(connection_file), "local_directory": None}


def worker_resources(description: PilotDescription, key: str, index: int) -> dict[str, float]:
    """Return the dask resources of worker `index` of a node."""
    resources = {
        pilot_resource(key): 1.0,
        f"{THREADS}:{key}": float(description.threads_per_worker),
    }
    if index < description.gpus_per_node:
        resources[gpu_resource(key)] = float(description.gpus_per_worker)
    return resources


def pilot_resource(key: str) -> str:
    """Return the dask resource that every worker of a pilot has one of."""
    return f"pilot:{key}"


def gpu_resource(key: str) -> str:
    """Return the dask resource that stands for the GPUs of a pilot's workers."""
    return f"gpu:{key}"


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that give numerical libraries a number of threads."""
    # Two processes that each take all cores slow each other down tenfold.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    found = dict.fromkeys(names, str(threads))
    if threads > 1:
        # Threads that wait for the others spin otherwise, on cores that these need: with other
        # processes on the machine two threads took 4 to 30 times as long as one, sleeping as long.
        found["OMP_WAIT_POLICY"] = "PASSIVE"
    return found


def gpu_environment(config: dict[str, Any], index: int) -> dict[str, str]:
    """Return which GPUs worker `index` of this node sees: its own, or its share of too few."""
    if not config["gpus"]:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(i) for i in range(config["gpus"])]
    each = config["gpus_per_worker"]
    mine = [ids[(index * each + i) % len(ids)] for i in range(each)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
