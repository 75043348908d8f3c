"""Checks of what is installed here: Python, Aer, GPUs, TLS, proxies, calibrations."""

from __future__ import annotations

import ctypes
import platform
import shutil
import socket
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from pilotcut.cli.doctor.finding import ABSENT, UNSURE, WORKS, WRONG, Asked, Finding
from pilotcut.errors import UserError
from pilotcut.options import counted

if TYPE_CHECKING:
    from pilotcut.pilots.description import PilotDescription

#: Builds of Aer for GPUs, by their names on PyPI.
_GPU_BUILDS = ("qiskit-aer-gpu", "qiskit-aer-gpu-cu11")
_DRIVER = "libcuda.so.1"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECT_S = 2.0


def python(_: Asked) -> Finding:
    """Versions of Python and of what it runs."""
    from pilotcut.pilots.worker import versions

    found = versions.installed()
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding("Python", WORKS, f"{said} on {platform.machine()}")


def aer(_: Asked) -> Finding:
    """Whether Aer prepares a Bell pair."""
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    counts = AerSimulator(seed_simulator=1).run(circuit, shots=100).result().get_counts()
    if set(counts) != {"00", "11"}:
        return Finding("Aer", WRONG, f"a Bell pair gave {counts}", "install qiskit-aer anew")
    devices = ", ".join(AerSimulator().available_devices())
    return Finding("Aer", WORKS, f"a Bell pair is right, on {devices}")


def gpu(asked: Asked) -> Finding:
    """Whether a build of Aer for GPUs, a driver and the pilots that want them go together."""
    build = next((name for name in _GPU_BUILDS if _is_installed(name)), None)
    driver = _has_driver()
    wanted = [p.name for p in asked.pilots if p.backend.device == "GPU" and p.resource == "local"]
    if build and not driver:
        said = f"{build} is installed, and there is no NVIDIA driver ({_DRIVER}) here"
        fix = "install the driver, or qiskit-aer in its place; login nodes may have neither"
        return Finding("GPU", WRONG, said, fix)
    if wanted and not build:
        said = f"pilot {wanted[0]!r} wants backend.device GPU, and Aer here is a build for CPUs"
        fix = "pip install qiskit-aer-gpu in place of qiskit-aer"
        return Finding("GPU", WRONG, said, fix if driver else "say device: CPU; no driver is here")
    if build:
        return Finding("GPU", WORKS, f"{build} and a driver are here")
    if driver:
        fix = "pip install qiskit-aer-gpu in place of qiskit-aer, for backend.device GPU"
        return Finding("GPU", ABSENT, "a driver is here, and Aer is a build for CPUs", fix)
    return Finding("GPU", ABSENT, "no NVIDIA driver here")


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _has_driver() -> bool:
    with suppress(OSError):
        ctypes.CDLL(_DRIVER)
        return True
    return shutil.which("nvidia-smi") is not None


def tls(_: Asked) -> Finding:
    """Whether certificates of runs can be made."""
    from pilotcut.pilots.worker.connection import Connection

    Connection.fresh().security().get_connection_args("client")
    return Finding("TLS", WORKS, "a certificate for a run was made")


def proxy(asked: Asked) -> Finding:
    """Whether requests to this machine, and those of nodes, survive the proxies that are set.

    Clients of devices speak HTTP, also through tunnels that end here.
    """
    proxies = {kind: address for kind, address in getproxies_environment().items() if kind != "no"}
    if not proxies:
        return Finding("proxy", ABSENT, "none is set")
    kind, address = next(iter(proxies.items()))
    name = f"{kind}_proxy"
    if not all(proxy_bypass(host) for host in _LOOPBACK[:2]):
        return Finding(
            "proxy",
            WRONG,
            f"{name} is {address}, and requests to this machine itself go there too",
            "export no_proxy=localhost,127.0.0.1,::1 beside it, and NO_PROXY alike",
        )
    parts = urlsplit(address if "//" in address else f"//{address}")
    host = parts.hostname or ""
    if host not in _LOOPBACK:
        return Finding("proxy", WORKS, f"{name} is {address}; requests to this machine pass it by")
    said = f"{name} is {address}, on this machine"
    try:
        socket.create_connection((host, parts.port or 80), _CONNECT_S).close()
    except OSError as error:
        fix = f"start it, or unset {name}"
        return Finding("proxy", WRONG, f"{said}, where nothing answers ({error.strerror})", fix)
    if not asked.on_slurm and not shutil.which("sbatch"):
        return Finding("proxy", WORKS, f"{said}, and answers")
    fix = f"unset {name} in setup: of Slurm pilots, or name a proxy that nodes reach"
    far = [one for one in asked.on_slurm if one.backend.qpu is not None]
    return Finding("proxy", WRONG if far else UNSURE, f"{said}; nodes have another loopback", fix)


def calibration(asked: Asked) -> Finding:
    """Whether what was measured here, or on the pilots, still holds."""
    from pilotcut.perfmodel import resources
    from pilotcut.perfmodel.calibration_files import directory, path_of
    from pilotcut.perfmodel.known_pilots import calibration_of

    count = len(list(directory().glob("*.json")))
    if not count:
        fix = "pilotcut calibrate, a minute; --cuts auto and recommend then know this machine"
        return Finding("calibration", ABSENT, f"none in {directory()}", fix)
    measured: list[PilotDescription | None] = [None]
    if asked.pilots:
        measured = [one for one in asked.pilots if one.backend.qpu is None and one.ranks == 1]
    for pilot in measured:
        if not path_of(pilot).exists():
            continue
        here = resources.here() if pilot is None else resources.described(pilot)
        try:
            calibration_of(pilot, here.machine)
        except UserError as error:
            said, _, fix = str(error).rpartition("; ")
            return Finding("calibration", WRONG, said, fix)
    return Finding("calibration", WORKS, f"{counted(count, 'file')} in {directory()}")
