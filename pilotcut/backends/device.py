"""A QPU as Qiskit sees it: its target, the noise model of Aer built from that, and its times.

Knows descriptions and Qiskit; refuses to know what runs on the device, and where.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from qiskit.circuit import Measure, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, QubitProperties
from qiskit.transpiler import CouplingMap, InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError
from qiskit_aer.noise.device import basic_device_gate_errors, basic_device_readout_errors

from pilotcut.descriptions.faults import hint
from pilotcut.descriptions.qpu import TWO_QUBITS, VIRTUAL, QpuDescription
from pilotcut.errors import DescriptionError


@dataclass(frozen=True, eq=False)
class Device:
    """A QPU.

    Parameters
    ----------
    name
        What messages call it: the name of its pilot.
    target
        Gates, couplings, durations in seconds, errors, T1 and T2 in seconds.
    reset_s
        Seconds between a measurement and the next shot.
    offline
        Epochs, from the first up to and without the second, in which it is away.
    direct
        The backend that runs circuits itself; None where Aer plays it.
    """

    name: str
    target: Target
    reset_s: float = 0.0
    offline: tuple[tuple[int, int], ...] = ()
    direct: BackendV2 | None = field(default=None, repr=False)

    @property
    def qubits(self) -> int:
        """Number of qubits."""
        return int(self.target.num_qubits)

    def is_online(self, epoch: int) -> bool:
        """Return whether it is there in an epoch."""
        return not any(first <= epoch < last for first, last in self.offline)

    @cached_property
    def noise_model(self) -> NoiseModel:
        """The noise of Aer: relaxation during gates, and depolarisation up to their infidelity.

        What waits while others work does not relax. Where relaxation alone is worse than the
        infidelity that the target gives, the gate is that much worse.
        """
        return self.noise_on(range(self.qubits))

    def noise_on(self, qubits: Iterable[int]) -> NoiseModel:
        """Return the noise of some qubits: Aer reads the whole model with every job.

        Numbers that the device does not have stand for copies of its qubits, q + n of n for q,
        that meet no noise but are read as wrongly.
        """
        some = set(qubits)
        noise = NoiseModel(basis_gates=sorted(self._gates()))
        for name, where, error in self._gate_errors:
            if some.issuperset(where):
                noise.add_quantum_error(error, name, list(where))
        for qubit in sorted(some):
            if (error := self._readout_errors.get(qubit % self.qubits)) is not None:
                noise.add_readout_error(error, [qubit])
        return noise

    @cached_property
    def _gate_errors(self) -> list[tuple[str, tuple[int, ...], QuantumError]]:
        with warnings.catch_warnings():  # of Aer, where a device's T2 is above 2 T1
            warnings.simplefilter("ignore")
            errors = basic_device_gate_errors(target=self.target)
        return [(name, tuple(qubits), error) for name, qubits, error in errors]

    @cached_property
    def _readout_errors(self) -> dict[int, ReadoutError]:
        found = basic_device_readout_errors(target=self.target)
        return {qubit: error for (qubit,), error in found}

    def _gates(self) -> Iterator[str]:
        known = get_standard_gate_name_mapping()
        return (name for name in self.target.operation_names if name in known)

    def shot_s(self, circuit: QuantumCircuit) -> float:
        """Return the seconds of one shot of a circuit in the device's own gates.

        Gates start as early as their qubits allow; then all qubits are measured together,
        and reset.
        """
        clock = [0.0] * circuit.num_qubits
        for instruction in circuit.data:
            if instruction.operation.name in ("barrier", "measure"):
                continue
            qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
            ends = max(clock[q] for q in qubits) + self._duration_s(
                instruction.operation.name, qubits
            )
            for qubit in qubits:
                clock[qubit] = ends
        readout = max((self._duration_s("measure", (q,)) for q in range(self.qubits)), default=0.0)
        return max(clock, default=0.0) + readout + self.reset_s

    def _duration_s(self, name: str, qubits: tuple[int, ...]) -> float:
        properties = self.target[name].get(qubits) if name in self.target else None
        return (properties and properties.duration) or 0.0


def device_of(name: str, description: QpuDescription) -> Device:
    """Return the device that is described.

    Raises
    ------
    DescriptionError
        If it is said to be like a backend that there is none of.
    """
    reset_s, offline = description.reset_us * 1e-6, description.offline
    if description.like is None:
        return Device(name, target_of(description), reset_s, offline)
    backend = _known_backend(name, description.like)
    direct = None if description.simulate else backend
    return Device(name, backend.target, reset_s, offline, direct)


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
        elif gate in VIRTUAL:
            about = InstructionProperties(duration=0.0, error=0.0)
        else:
            about = InstructionProperties(duration=d.gate_1q_ns * 1e-9, error=d.infidelity_1q)
        places = pairs if gate in TWO_QUBITS else singles
        if places:
            target.add_instruction(known[gate], dict.fromkeys(places, about))
    read = InstructionProperties(duration=d.readout_us * 1e-6, error=d.readout_error)
    target.add_instruction(Measure(), dict.fromkeys(singles, read))
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


@lru_cache(maxsize=64)
def _backend_called(like: str) -> BackendV2:
    """Return the backend of that name; LookupError says why there is none."""
    module, _, attribute = like.rpartition(":")
    if not module:
        return _fake_backend(like)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"a module and what is in it ({error})") from error
    backend = found if isinstance(found, BackendV2) else _made(found)
    if not isinstance(backend, BackendV2):
        raise LookupError(f"a BackendV2 or what makes one; it is a {type(backend).__name__}")
    return backend


def _made(maker: object) -> object:
    if not callable(maker):
        return maker
    try:
        return maker()
    except Exception as error:  # it is the user's function
        raise LookupError(f"a BackendV2 or what makes one; it raised {error!r}") from error


def _fake_backend(like: str) -> BackendV2:
    try:
        provider = importlib.import_module("qiskit_ibm_runtime.fake_provider")
    except ImportError:
        raise LookupError(
            "qiskit-ibm-runtime, which has the fake backends; install it, or name module:attribute"
        ) from None
    names = [name for name in dir(provider) if name.startswith("Fake")]
    if like not in names:
        raise LookupError(f"a backend of qiskit_ibm_runtime.fake_provider{hint(like, names)}")
    return getattr(provider, like)()


def _known_backend(name: str, like: str) -> BackendV2:
    try:
        return _backend_called(like)
    except LookupError as error:
        raise DescriptionError(
            [f"pilot '{name}': backend.qpu.like is '{like}', expected {error}"]
        ) from None
