"""Target of a QPU: from the numbers of its description, or of the backend that it is like.

Knows descriptions and Qiskit; the noise that follows is `pilotcut.backends.noise_model`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from qiskit.circuit import IfElseOp, Measure, Reset
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2, QubitProperties
from qiskit.transpiler import CouplingMap, InstructionProperties, Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from pilotcut.backends.device_jobs import JobRules
from pilotcut.backends.device_runs import DeviceRuns
from pilotcut.backends.device_sessions import renewed
from pilotcut.backends.known_backends import known_backend
from pilotcut.backends.noise_model import Device
from pilotcut.backends.samplers import (
    is_ibm_s,
    qrmi_backend,
    runtime_backend,
    sampler_for,
    sampler_of,
    target_behind,
)
from pilotcut.backends.usable import working
from pilotcut.backends.vendor_worker import ENDS_ONLY, has_passes
from pilotcut.backends.vendors import vendor_backend
from pilotcut.errors import DescriptionError
from pilotcut.pilots.description.qpu import TWO_QUBITS, VIRTUAL, QpuDescription


def device_of(name: str, description: QpuDescription) -> Device:
    """Return the device that is described.

    Raises
    ------
    DescriptionError
        If it is said to be like a backend that there is none of, or no gate of its works.
    """
    opener: Any = None
    opened: Any = None
    played: Any = None
    if description.runtime or description.sampler or description.qrmi:
        opener = partial(sampler_of, name, description)
        target, opened = _target_of_sampler(name, description, opener)
    elif description.vendor is not None or description.python is not None:
        opener = partial(vendor_backend, name, description)
        opened = opener()
        target = opened.target
    elif description.like is not None:
        backend = known_backend(name, description.like)
        target = backend.target
        if not description.simulate and has_passes(backend) and not is_ibm_s(backend):
            opener = partial(vendor_backend, name, description)
        elif not description.simulate:
            opener = partial(_opened, name, description.like)
            played = simulated_noise(backend)
    else:
        target = target_of(description)
    target = _working(name, description, target)
    direct = None
    if opener is not None:
        renew = partial(renewed, name, description)
        direct = DeviceRuns(name, target, opener, opened, rules_of(description), renew)
    return Device(
        name,
        target,
        description.reset_us * 1e-6,
        description.offline,
        direct,
        (description.coherent_1q, description.coherent_2q),
        _measures_anywhere(description),
        played,
    )


def simulated_noise(backend: BackendV2) -> NoiseModel | str | None:
    """Return what noise a backend simulates with, see `Device.simulated`."""
    if any(one.__name__ == "FakeBackendV2" for one in type(backend).__mro__):
        return "target"  # what its `run` makes a noise model of
    noise = getattr(backend.options, "noise_model", None)
    return noise if isinstance(backend, AerSimulator) and isinstance(noise, NoiseModel) else None


def rules_of(description: QpuDescription) -> JobRules:
    """Return how jobs of a described device are to be run."""
    dedicated, batches = description.access == "dedicated", description.way == "batch"
    return JobRules(description.limits, description.wait_s, dedicated, batches, description.job_s)


def _measures_anywhere(description: QpuDescription) -> bool:
    """Return whether a device measures before a circuit's end: what is said, or the vendor's."""
    if description.mid_circuit is not None:
        return description.mid_circuit
    return description.vendor is None or description.vendor[0] not in ENDS_ONLY


def _target_of_sampler(name: str, description: QpuDescription, opener: Any) -> tuple[Target, Any]:
    """Return the target of a device that a sampler runs, and the sampler where that is asked."""
    target = _target_beside(name, description)
    if target is not None:
        return target, None
    if description.runtime is not None:
        return runtime_backend(name, description.runtime).target, None
    if description.qrmi is not None:
        return qrmi_backend(name, description.qrmi).target, None
    opened = opener()
    return target_behind(name, description, opened), opened


def _working(name: str, description: QpuDescription, target: Target) -> Target:
    try:
        return working(target)
    except LookupError as error:
        raise DescriptionError(
            f"pilot '{name}': backend.qpu is {description}, expected {error}"
        ) from None


def _opened(name: str, like: str) -> BaseSamplerV2 | BackendV2:
    return sampler_for(name, known_backend(name, like))


def _target_beside(name: str, description: QpuDescription) -> Target | None:
    """Return the target that is described beside a sampler, None if none is."""
    if description.like is not None:
        return known_backend(name, description.like).target
    return None if description.qubits is None else target_of(description)


def target_of(description: QpuDescription) -> Target:
    """Return the Qiskit target of a QPU that is described in numbers."""
    d = description
    assert d.qubits is not None
    assert d.t1_us is not None
    assert d.t2_us is not None
    qubit = QubitProperties(t1=d.t1_us * 1e-6, t2=d.t2_us * 1e-6)
    target = Target(num_qubits=d.qubits, qubit_properties=[qubit] * d.qubits)
    known = get_standard_gate_name_mapping()
    singles = [(q,) for q in range(d.qubits)]
    pairs = couplings(d.topology, d.qubits)
    for gate in d.basis_gates:
        if gate in TWO_QUBITS:
            about = InstructionProperties(duration=d.gate_2q_ns * 1e-9, error=d.infidelity_2q)
        # A change of frame: no pulse is played, so it takes no time and makes no error.
        elif gate in VIRTUAL:
            about = InstructionProperties(duration=0.0, error=0.0)
        else:
            about = InstructionProperties(duration=d.gate_1q_ns * 1e-9, error=d.infidelity_1q)
        places = pairs if gate in TWO_QUBITS else singles
        if places:
            target.add_instruction(known[gate], dict.fromkeys(places, about))
    read = InstructionProperties(duration=d.readout_us * 1e-6, error=d.readout_error)
    target.add_instruction(Measure(), dict.fromkeys(singles, read))
    clear = InstructionProperties(duration=d.reset_us * 1e-6, error=0.0)
    target.add_instruction(Reset(), dict.fromkeys(singles, clear))
    target.add_instruction(IfElseOp, name="if_else")
    return target


def couplings(topology: str, qubits: int) -> list[tuple[int, int]]:
    """Return the pairs of coupled qubits, in both directions.

    A star has qubit 0 in its middle; a grid has rows of the root of the number of qubits,
    rounded up, the last of which may be shorter.

    Examples
    --------
    >>> couplings("star", 3)
    [(0, 1), (0, 2), (1, 0), (2, 0)]
    """
    if topology == "full":
        coupled = CouplingMap.from_full(qubits, bidirectional=False).get_edges()
    elif topology == "star":
        coupled = [(0, q) for q in range(1, qubits)]
    elif topology == "grid":
        coupled = _grid(qubits)
    else:
        coupled = [(q, q + 1) for q in range(qubits - 1)]
        if topology == "ring" and qubits > 2:
            coupled.append((0, qubits - 1))
    return sorted({(int(a), int(b)) for pair in coupled for a, b in (pair, pair[::-1])})


def _grid(qubits: int) -> list[tuple[int, int]]:
    columns = next(c for c in range(1, qubits + 1) if c * c >= qubits)
    beside = [(q, q + 1) for q in range(qubits - 1) if (q + 1) % columns]
    below = [(q, q + columns) for q in range(qubits - columns)]
    return beside + below
