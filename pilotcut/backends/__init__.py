"""Backends by name, one instance a process, so that what they compile is kept."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from pilotcut.backends.base import Backend
from pilotcut.errors import UserError
from pilotcut.io.extras import require
from pilotcut.options import USUAL_ENGINE, EngineOptions, check, choice_fault
from pilotcut.pilots.description.qpu import QpuDescription

# Qiskit Aer and torch are imported with the first backend that needs them: a worker that runs none
# starts without them.
if TYPE_CHECKING:
    from pilotcut.backends.device_client import QueueView
    from pilotcut.backends.device_compiler import DeviceCompiler
    from pilotcut.backends.exact import ExactEngine
    from pilotcut.backends.qpu import QpuBackend

NAMES = ("aer", "sampled")


def check_backend(name: str) -> str:
    """Return the name if there is such a backend.

    Raises
    ------
    UserError
        If there is none.
    """
    check(choice_fault("backend", name, NAMES))
    return name


@lru_cache(maxsize=8)
def backend(name: str) -> Backend:
    """Return this process's backend of that name.

    A pilot says how its workers simulate, through PILOTCUT_DEVICE and PILOTCUT_METHOD.
    """
    check_backend(name)
    if name == "sampled":
        from pilotcut.backends.sampled import SampledBackend

        return SampledBackend(exact_engine().states)
    from pilotcut.backends.aer import AerBackend

    return AerBackend(
        device=os.environ.get("PILOTCUT_DEVICE", "CPU"),
        method=os.environ.get("PILOTCUT_METHOD", "automatic"),
    )


@lru_cache(maxsize=64)
def compiler(pilot: str, qpu: QpuDescription) -> DeviceCompiler:
    """Return what this process knows of a pilot's device, and of fragments in its gates."""
    from pilotcut.backends.device_compiler import DeviceCompiler
    from pilotcut.backends.qpu_target import device_of

    return DeviceCompiler(device_of(pilot, qpu))


@lru_cache(maxsize=128)
def device_backend(
    pilot: str, qpu: QpuDescription, factor: int = 1, played: bool = False
) -> QpuBackend:
    """Return this process's backend that is, or plays, a pilot's device; see `backend`.

    `factor` is how many times its noise, an odd number; `played` has Aer play a device that runs
    circuits itself, with the noise of its target.
    """
    from pilotcut.backends.qpu import QpuBackend

    return QpuBackend(
        compiler(pilot, qpu).played if played else compiler(pilot, qpu),
        device=os.environ.get("PILOTCUT_DEVICE", "CPU"),
        method=os.environ.get("PILOTCUT_METHOD", "automatic"),
        factor=factor,
    )


def queue_of(pilot: str, qpu: QpuDescription) -> QueueView | None:
    """Return the queue of a pilot's device, None where nothing tells it, or nobody may look."""
    try:
        direct = compiler(pilot, qpu).device.direct
        return None if direct is None else direct.client.queue()
    except UserError:  # workers may have an account where this process has none
        return None


def exact_engine(options: EngineOptions = USUAL_ENGINE) -> ExactEngine:
    """Return this process's exact engine that computes as the options say.

    A pilot says on which device its workers simulate, through PILOTCUT_DEVICE.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    """
    return _exact_engine(options)  # cached by what is asked, whether it is said or not


@lru_cache(maxsize=6)
def _exact_engine(options: EngineOptions) -> ExactEngine:
    require("the exact engine (modes 'exact' and 'sampled')", "torch")
    from pilotcut.backends.exact import ExactEngine

    gpu = os.environ.get("PILOTCUT_DEVICE", "CPU") == "GPU"
    return ExactEngine("cuda" if gpu else "cpu", options)
