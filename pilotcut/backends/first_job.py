"""A device's first job: circuits whose outcome is known, so that its results can be believed.

The identity's law: what is only measured reads 0 with about the readout error, and what is
flipped before reads 1. A sampler that makes zeros of everything, as Qiskit's does of a backend
that returns counts without memory, or that turns the bits round, is found by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.transpiler import Target, generate_preset_pass_manager

#: Most qubits that are looked at, and how much more often than its target says a bit may be wrong:
#: devices drift, and this is about bits that say nothing.
MOST_QUBITS, SLACK = 8, 0.25


@dataclass(frozen=True)
class Probe:
    """A circuit of the first job.

    Parameters
    ----------
    circuit
        In the device's gates.
    qubits
        The device's qubit of each bit.
    flipped
        Whether each is flipped.
    errors
        How often each is expected to read wrong.
    """

    circuit: QuantumCircuit
    qubits: tuple[int, ...]
    flipped: tuple[bool, ...]
    errors: tuple[float, ...]
    #: Of each circuit.
    shots: ClassVar[int] = 200

    def fault(self, counts: Mapping[str, int]) -> str:
        """Return what is wrong with its counts, '' if nothing is."""
        total = sum(counts.values())
        for bit, (qubit, one) in enumerate(zip(self.qubits, self.flipped, strict=True)):
            ones = sum(n for outcome, n in counts.items() if int(outcome, 16) >> bit & 1)
            wrong = (total - ones if one else ones) / total
            if wrong > self.errors[bit] + SLACK:
                done = "X before it is measured" if one else "nothing done to it"
                return (
                    f"its first job is not believed: qubit {qubit} with {done} reads "
                    f"{int(not one)} in {wrong:.0%} of the shots, expected about "
                    f"{self.errors[bit]:.0%}; check its sampler (does it return the counts, in "
                    "the order of the bits?), or leave the pilot out"
                )
        return ""


def probes(circuit: QuantumCircuit, target: Target) -> list[Probe]:
    """Return the circuits that go before the first one, on qubits that it measures: one job."""
    measured = {
        circuit.find_bit(step.qubits[0]).index
        for step in circuit.data
        if step.operation.name == "measure"
    }
    qubits = tuple(sorted(measured))[:MOST_QUBITS]
    if not qubits:
        return []
    patterns = [(False,) * len(qubits), (True,) * len(qubits)]
    if len(qubits) > 1:  # the order of the bits
        patterns.append((True,) + (False,) * (len(qubits) - 1))
    errors = tuple(_errors(qubits, target))
    circuits = zip(flipping(patterns, qubits, target), patterns, strict=True)
    return [Probe(circuit, qubits, one, errors) for circuit, one in circuits]


def flipping(
    patterns: Sequence[Sequence[bool]], qubits: Sequence[int], target: Target
) -> list[QuantumCircuit]:
    """Return circuits that flip some of a device's qubits and read all, one for each pattern."""
    passes = generate_preset_pass_manager(
        0, target=target, initial_layout=list(qubits), seed_transpiler=1
    )
    return [passes.run(_flipping(one)) for one in patterns]


def _flipping(flipped: Sequence[bool]) -> QuantumCircuit:
    bits = len(flipped)
    circuit = QuantumCircuit(QuantumRegister(bits, "q"), ClassicalRegister(bits, "first"))
    for k, one in enumerate(flipped):
        if one:
            circuit.x(k)
    circuit.measure(range(bits), range(bits))
    return circuit


def _errors(qubits: Sequence[int], target: Target) -> list[float]:
    known = target["measure"] if "measure" in target.operation_names else {}
    return [float(getattr((known or {}).get((q,)), "error", None) or 0.0) for q in qubits]
