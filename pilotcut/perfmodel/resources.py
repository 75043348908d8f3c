"""Resources of a pilot: cores, memory, GPUs, ranks and Aer's devices.

Found by a task on the pilot (`detect`), or, for a dry recommendation, taken from the
pilot's description (`described`).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pilotcut.io import env_variables
from pilotcut.pilots.description import PilotDescription

#: Memory that a worker takes before it simulates anything: Python, Qiskit and torch.
WORKER_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Gpu:
    """A GPU, and its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Resources:
    """Resources that one slot of a pilot can use.

    Parameters
    ----------
    machine
        Processor and system of the node, "" where only the description is known.
    cores, threads
        Cores of the node, and threads of a worker.
    slots, slots_per_node
        Workers of the pilot, and of one node, which share its memory.
    memory_bytes
        Of the node, None where nobody says.
    gpus
        Those that a worker sees.
    ranks
        MPI ranks.
    devices
        What Aer can simulate on, () where only the description is known.
    detected
        Whether a task on the pilot found this out.
    """

    machine: str
    cores: int
    threads: int
    slots: int
    slots_per_node: int
    memory_bytes: int | None
    gpus: tuple[Gpu, ...] = ()
    ranks: int = 1
    devices: tuple[str, ...] = ()
    detected: bool = False

    @property
    def slot_bytes(self) -> float | None:
        """Memory that one slot may take for states, None where nobody says."""
        if self.memory_bytes is None:
            return None
        return max(0.0, self.memory_bytes / self.slots_per_node - WORKER_BYTES)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def described(pilot: PilotDescription) -> Resources:
    """Return what a description promises; what runs here has at most this machine's memory."""
    here = pilot.resource in ("inprocess", "local")
    memory = pilot.memory_bytes
    if here:
        memory = min(memory or psutil.virtual_memory().total, psutil.virtual_memory().total)
    return Resources(
        machine=machine() if here else "",
        cores=pilot.cores_per_node,
        threads=pilot.threads_per_worker,
        slots=pilot.slots,
        slots_per_node=pilot.processes_per_node,
        memory_bytes=memory,
        ranks=pilot.ranks,
    )


def here() -> Resources:
    """Return what this process has."""
    return Resources(
        machine=machine(),
        # Not all of the machine: those that Slurm or a container leaves to this process.
        cores=len(os.sched_getaffinity(0)),
        threads=env_variables.threads(),
        slots=1,
        slots_per_node=1,
        memory_bytes=memory_limit(),
    )


def found(pilot: PilotDescription, seen: Mapping[str, Any]) -> Resources:
    """Return a pilot's resources with what `detect` saw on it."""
    promised = pilot.memory_bytes
    total = int(seen["memory_bytes"])
    return Resources(
        machine=str(seen["machine"]),
        cores=int(seen["cores"]),
        threads=pilot.threads_per_worker,
        slots=pilot.slots,
        slots_per_node=pilot.processes_per_node,
        memory_bytes=total if promised is None else min(total, promised),
        gpus=tuple(Gpu(name, int(size)) for name, size in seen["gpus"]),
        ranks=pilot.ranks,
        devices=tuple(seen["devices"]),
        detected=True,
    )


def detect() -> dict[str, Any]:
    """Return what this process sees of its machine; runs as a task on a pilot."""
    from qiskit_aer import AerSimulator

    return {
        "machine": machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_limit(),
        "gpus": [(gpu.name, gpu.memory_bytes) for gpu in _gpus()],
        "devices": list(AerSimulator().available_devices()),
    }


def machine() -> str:
    """Return the processor's name and the system's, such as "AMD EPYC, Linux x86_64"."""
    return f"{_processor()}, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory_limit() -> int:
    """Return the bytes that this process may take: of the machine, or of its control group."""
    total = int(psutil.virtual_memory().total)
    # As version 2 of control groups says it, and version 1.
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def _gpus() -> list[Gpu]:
    """Ask nvidia-smi, which costs less than a CUDA context and needs no CUDA build of torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = [line.rsplit(",", 1) for line in lines.splitlines() if "," in line]
    return [
        Gpu(name.strip(), int(size) * 2**20) for name, size in pairs if size.strip().isdecimal()
    ]


def readable_bytes(size: float) -> str:
    """Return bytes as people write them.

    Examples
    --------
    >>> readable_bytes(2.0**40)
    '1 TiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024 or unit == "PiB":
            return f"{size:.3g} {unit}"
        size /= 1024
    return ""
