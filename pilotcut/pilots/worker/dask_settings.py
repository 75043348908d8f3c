"""Settings of dask for schedulers, workers and ranks: what differs from its defaults, and why."""

from __future__ import annotations

from typing import Any

from pilotcut.pilots.worker.connection import Connection

LOOPBACK = "127.0.0.1"

#: Least seconds between two messages of a client or a scheduler.
SEND_S = 0.001

_JOIN_S = 60
_TICK = "1s"
#: How often a process looks at its CPU time, its disks and its descriptors, for a dashboard.
_MONITOR = {
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.log-length": 100,
}

SCHEDULER_CONFIG: dict[str, Any] = {
    # The ready queue is ours: dask must take what it is given at once.
    # By default (1.1 in dask 2026.8) it keeps back what workers have no thread for.
    "distributed.scheduler.worker-saturation": float("inf"),
    # Losses are counted by the task manager, which knows each task's `retries`.
    "distributed.scheduler.allowed-failures": 0,
    # It has calls of MPI pilots only, and those have one worker each.
    "distributed.scheduler.work-stealing": False,
    # It holds no copies of results either, which this would look for every two seconds.
    "distributed.scheduler.active-memory-manager.start": False,
    # Whether its loop is held up is not looked for fifty times a second.
    "distributed.admin.tick.interval": _TICK,
    **_MONITOR,
    # A node that is cut off silently is given up after this time, not after 45 s.
    "distributed.comm.timeouts.tcp": "12s",
}

WORKER_CONFIG: dict[str, Any] = {
    # dask looks at its worker a hundred times a second, which would take 2 % of a core, and at
    # loops of workers and nannies fifty times: 48 workers on two cores had little left for tasks.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": _TICK,
    **_MONITOR,
    # A daemonic process may have no children, and tasks may start some.
    "distributed.worker.daemon": False,
    # Results are fetched at once, so there is nothing to spill; and a paused worker would wait
    # for ever for memory that a task keeps on purpose.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


def worker_settings(connection: Connection, config: dict[str, Any]) -> dict[str, Any]:
    """Return what all workers of a pilot, and their nannies, are made with."""
    local = f"//{LOOPBACK}:" in connection.address
    return {
        "nthreads": 1,
        "host": LOOPBACK if local else None,
        "protocol": "tls",
        "security": connection.security(),
        "memory_limit": config["memory_bytes"],
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
        "death_timeout": _JOIN_S,
    }


def dask_settings(config: dict[str, Any], **more: Any) -> None:
    """Set what dask keeps for a whole process."""
    import dask  # only here: who wants to know a setting need not wait for dask

    dask.config.set({"temporary-directory": config["local_directory"]} | more)
