"""What an agent is told about one node of a pilot: plain values that fit a command line."""

from __future__ import annotations

from typing import Any

from pilotcut.descriptions import PilotDescription
from pilotcut.pilots.dask_pilot import worker_resources


def node_layout(
    description: PilotDescription, key: str, *, allow_version_mismatch: bool = False
) -> dict[str, Any]:
    """Return how the workers of one node are to be started."""
    backend = description.backend
    each = range(description.workers_per_node)
    return {
        "pilot": key,
        "threads": description.threads_per_worker,
        "memory_bytes": (description.memory_bytes or 0) // description.workers_per_node,
        "resources": [worker_resources(description, key, index) for index in each],
        "gpus": description.gpus_per_node,
        "gpus_per_worker": description.gpus_per_worker,
        "env": {"PILOTCUT_DEVICE": backend.device, "PILOTCUT_METHOD": backend.method},
        "allow_version_mismatch": allow_version_mismatch,
    }
