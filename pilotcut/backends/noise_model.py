"""Noise model of a QPU, as Aer has it, and the times of its circuits; both from a Qiskit target.

Refuses to know where the target comes from (`pilotcut.backends.qpu_target`), what runs on the
device, and where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit.library import RXGate, RZZGate, get_standard_gate_name_mapping
from qiskit.providers import QubitProperties
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError, coherent_unitary_error
from qiskit_aer.noise.device import basic_device_gate_errors

from pilotcut.backends.device_runs import DeviceRuns


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
        What runs circuits on the device itself; None where Aer plays it.
    coherent
        For one- and for two-qubit gates how much of the infidelity is a turn too far, from -1 to
        1; see `QpuDescription`.
    mid_circuit
        Whether it measures before a circuit's end.
    simulated
        What is known of the noise of one that runs circuits itself: None for nothing, "target" if
        it is a simulator with the noise of its target, else the noise model that it simulates with.
    """

    name: str
    target: Target
    reset_s: float = 0.0
    offline: tuple[tuple[int, int], ...] = ()
    direct: DeviceRuns | None = field(default=None, repr=False)
    coherent: tuple[float, float] = (0.0, 0.0)
    mid_circuit: bool = True
    simulated: NoiseModel | str | None = field(default=None, repr=False)

    @property
    def qubits(self) -> int:
        """Number of qubits."""
        return int(self.target.num_qubits)

    def is_online(self, epoch: int) -> bool:
        """Return whether it is there in an epoch."""
        return not any(first <= epoch < last for first, last in self.offline)

    def noise_on(self, qubits: Sequence[int]) -> NoiseModel:
        """Return Aer's noise of some qubits, which are numbered from 0 in their order here.

        Relaxation during gates, and depolarisation up to their infidelity. What waits while others
        work does not relax. Where relaxation alone is worse than the infidelity that the target
        gives, the gate is that much worse.
        """
        place = {qubit: k for k, qubit in enumerate(qubits)}
        return self._noise(place, place.items())

    def noise_among(self, qubits: Iterable[int]) -> NoiseModel:
        """Return the noise of some qubits by their own numbers: Aer reads it with every job.

        Numbers that the device does not have stand for copies of its qubits, q + n of n for q,
        that meet no noise but are read as wrongly.
        """
        some = sorted(set(qubits))
        # Ancillas lie beyond the device, k n above the qubit whose bit they copy: no gate error is
        # theirs, and they are read as wrongly as that one.
        own = {qubit: qubit for qubit in some if qubit < self.qubits}
        return self._noise(own, [(qubit % self.qubits, qubit) for qubit in some])

    def _noise(self, place: Mapping[int, int], read: Iterable[tuple[int, int]]) -> NoiseModel:
        """Return the noise of qubits by their new numbers, and of what is read as they are."""
        # Without a list of its own a noise model has id, rz, sx and cx, whatever the errors are of.
        noise = NoiseModel(basis_gates=sorted(self._gates()))
        for name, places in self.target.items():
            for where in places or ():
                if where is None or not place.keys() >= {*where} or name == "measure":
                    continue
                error = self.gate_noise(name, where).error
                if error is not None:
                    noise.add_quantum_error(error, name, [place[q] for q in where])
        for qubit, k in read:
            ones, zeros = self.readout_errors(qubit)
            if ones or zeros:
                flips = ReadoutError([[1 - ones, ones], [zeros, 1 - zeros]])
                noise.add_readout_error(flips, [k])
        return noise

    def gate_noise(self, name: str, qubits: tuple[int, ...]) -> GateNoise:
        """Return the noise of a gate of the device; what the target does not give is none."""
        about, times = self._about(name, qubits), self.target.qubit_properties
        is_gate = isinstance(self.target.operation_from_name(name), Gate)
        infidelity = _number(about, "error") if is_gate else 0.0
        coherent = self.coherent[len(qubits) - 1] if is_gate else 0.0
        relaxation_s = tuple(_relaxation_s(times[q] if times else None) for q in qubits)
        noise = GateNoise(_number(about, "duration"), infidelity, relaxation_s)
        return noise.turning(coherent) if coherent else noise

    @property
    def noise_known(self) -> bool:
        """Whether it is known what noise circuits meet there: on simulators alone."""
        return self.direct is None or self.simulated is not None

    def error_of(self, name: str, qubits: tuple[int, ...]) -> QuantumError | None:
        """Return the noise behind an instruction where circuits run, None if there is none."""
        assert self.noise_known
        if self.direct is not None and isinstance(self.simulated, NoiseModel):
            # Aer has no public way to ask a noise model for one error.
            local = self.simulated._local_quantum_errors.get(name, {})
            return local.get(qubits, self.simulated._default_quantum_errors.get(name))
        if name not in self.target.operation_names:
            return None
        return self.gate_noise(name, qubits).error

    def readout_errors(self, qubit: int) -> tuple[float, float]:
        """Return the probabilities that 0 is read as 1, and 1 as 0."""
        about = self._about("measure", (qubit,))
        if hasattr(about, "prob_meas1_prep0") and hasattr(about, "prob_meas0_prep1"):
            return _number(about, "prob_meas1_prep0"), _number(about, "prob_meas0_prep1")
        return (_number(about, "error"),) * 2

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
        return _number(self._about(name, qubits), "duration")

    def _about(self, name: str, qubits: tuple[int, ...]) -> object:
        """Return what the target gives of an operation, None if it gives nothing."""
        return (self.target.get(name) or {}).get(qubits)


@dataclass(frozen=True)
class GateNoise:
    """Figures that decide the noise of a gate: gates with the same ones have the same noise.

    Parameters
    ----------
    duration_s
        In seconds.
    infidelity
        Average gate infidelity, with the relaxation during the gate and without the turn.
    relaxation_s
        T1 and T2 of each qubit in seconds, T2 at most 2 T1.
    turn
        Angle θ in radians by which the gate turns too far, about X or about ZZ, before all else;
        its average infidelity is sin²(θ/2) d / (d + 1), d = 2 or 4, on top.
    """

    duration_s: float
    infidelity: float
    relaxation_s: tuple[tuple[float, float], ...]
    turn: float = 0.0

    def turning(self, coherent: float) -> GateNoise:
        """Return it with a share of what is not relaxation as a turn, from -1 to 1."""
        # Process fidelity of relaxation on each qubit; F_avg = (d F_pro + 1) / (d + 1), so that an
        # average infidelity is (1 - F_pro) d / (d + 1) (arXiv:quant-ph/0205035).
        kept = [
            (1.0 + 2.0 * math.exp(-self.duration_s / t2) + math.exp(-self.duration_s / t1)) / 4.0
            for t1, t2 in self.relaxation_s
        ]
        dim = 2.0 ** len(kept)
        beyond = max(self.infidelity - (1.0 - math.prod(kept)) * dim / (dim + 1.0), 0.0)
        angle = 2.0 * math.asin(math.sqrt(abs(coherent) * beyond * (dim + 1.0) / dim))
        return replace(
            self,
            infidelity=self.infidelity - abs(coherent) * beyond,
            turn=math.copysign(angle, coherent),
        )

    @property
    def unitary(self) -> np.ndarray:
        """The turn, (2, 2) or (4, 4)."""
        gate = RXGate(self.turn) if len(self.relaxation_s) == 1 else RZZGate(self.turn)
        return np.asarray(gate.to_matrix())

    @property
    def error(self) -> QuantumError | None:
        """It as Aer's device models have it, None if there is none."""
        return _quantum_error(self)


# Aer works an error out as a superoperator, which is slow; gates of a device often have equal ones.
@lru_cache(maxsize=1024)
def _quantum_error(noise: GateNoise) -> QuantumError | None:
    n = len(noise.relaxation_s)
    qubits = [QubitProperties(t1=t1, t2=t2) for t1, t2 in noise.relaxation_s]
    alone = Target(num_qubits=n, qubit_properties=qubits)
    about = InstructionProperties(duration=noise.duration_s, error=noise.infidelity)
    alone.add_instruction(Gate("any", n, []), {tuple(range(n)): about})
    error = next((error for _, _, error in basic_device_gate_errors(target=alone)), None)
    if not noise.turn:
        return error
    turned = coherent_unitary_error(noise.unitary)
    return turned if error is None else turned.compose(error)


def _number(about: object, name: str) -> float:
    """Return what a target says about something, 0 where it says nothing or NaN."""
    value = getattr(about, name, None)
    return 0.0 if value is None or math.isnan(value) else float(value)


def _relaxation_s(about: object) -> tuple[float, float]:
    """Return T1 and T2; a time that the target does not give is as long as the other lets it."""
    t1 = _number(about, "t1") or math.inf
    return t1, min(_number(about, "t2") or math.inf, 2 * t1)
