"""What an agent is told about one node of a pilot: plain values that fit a command line."""

from __future__ import annotations

import os
from typing import Any

from pilotcut.pilots.dask_pilot import worker_resources
from pilotcut.pilots.description import PilotDescription


def node_layout(
    description: PilotDescription, key: str, *, allow_version_mismatch: bool = False
) -> dict[str, Any]:
    """Return how the workers of one node are to be started."""
    backend = description.backend
    each = range(description.workers_per_node)
    return {
        "pilot": key,
        "threads": description.threads_per_worker,
        "memory_bytes": (description.memory_bytes or 0) // description.processes_per_node,
        "resources": [worker_resources(description, key, index) for index in each],
        "nodes": description.nodes,
        "ranks": description.ranks,
        "gpus": description.gpus_per_node,
        "gpus_per_worker": description.gpus_per_worker,
        "env": {"PILOTCUT_DEVICE": backend.device, "PILOTCUT_METHOD": backend.method},
        "allow_version_mismatch": allow_version_mismatch,
    }


def gpu_environment(config: dict[str, Any], index: int) -> dict[str, str]:
    """Return which GPUs worker `index` of this node sees: its own, or its share of too few."""
    if not config["gpus"]:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = visible.split(",") if visible else [str(i) for i in range(config["gpus"])]
    each = config["gpus_per_worker"]
    mine = [ids[(index * each + i) % len(ids)] for i in range(each)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
