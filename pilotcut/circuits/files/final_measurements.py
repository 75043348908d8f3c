"""Final measurements, which are left out, and the bits that they are written into."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit.circuit import (
    Barrier,
    BoxOp,
    CircuitInstruction,
    Clbit,
    Delay,
    Measure,
    QuantumCircuit,
    Qubit,
)

from pilotcut.circuits.files.faults import FaultError, listed


@dataclass(frozen=True)
class Measured:
    """Final measurements of a circuit: how many, and what each bit is measured from.

    `qubits` are from bit 0 on, of the bits that are written; `bits` are their names.
    """

    count: int
    qubits: tuple[int, ...]
    bits: tuple[str, ...]

    def is_plain(self, num_qubits: int) -> bool:
        """Whether every qubit is measured into the bit of its number."""
        return self.qubits == tuple(range(num_qubits))

    def text(self) -> str:
        """Return in a line which qubits the bits are of."""
        return (
            f"bits of probabilities and samples are, the rightmost first, of qubits "
            f"{listed([str(q) for q in self.qubits], 20)}, as measured into "
            f"{listed(list(self.bits), 20)}; observables and 'qubits' count qubits of the file"
        )


def removed(circuit: QuantumCircuit) -> tuple[QuantumCircuit, Measured]:
    """Return the circuit without final measurements, by class and not by name, and those."""
    kept, final, count = _split(circuit)
    place = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    number = {bit: k for k, bit in enumerate(circuit.clbits)}
    written = sorted(final, key=number.__getitem__)
    measured = Measured(
        count,
        tuple(place[final[bit]] for bit in written),
        tuple(_name_of(circuit, bit) for bit in written),
    )
    if not count:
        return circuit, measured
    return _rebuilt(circuit, kept), measured


def _split(
    circuit: QuantumCircuit,
) -> tuple[list[CircuitInstruction], dict[Clbit, Qubit], int]:
    """Return what is not final, the qubit of each bit, and how many measurements are final.

    Of two measurements into a bit the last counts, and of those of a qubit too. A measurement that
    something depends on is not final, though nothing follows on its qubit.
    """
    busy: set[Qubit] = set()
    read: set[Clbit] = set()
    final: dict[Clbit, Qubit] = {}
    overwritten: set[Clbit] = set()
    kept: list[CircuitInstruction] = []
    count = 0
    # From the end: what acts on a qubit later makes a measurement of it one in mid-circuit.
    for instruction in reversed(circuit.data):
        depended_on = bool(read & set(instruction.clbits))
        if isinstance(instruction.operation, Measure):
            read -= set(instruction.clbits)
        else:
            read |= set(instruction.clbits)
        if (
            isinstance(instruction.operation, Measure)
            and not depended_on
            and not busy & set(instruction.qubits)
        ):
            (qubit,), (bit,) = instruction.qubits, instruction.clbits
            if bit not in overwritten and qubit not in final.values():
                final[bit] = qubit
            overwritten.add(bit)
            count += 1
            continue
        if isinstance(instruction.operation, Barrier) and not busy & set(instruction.qubits):
            continue
        # Behind a measurement these leave it final.
        if not isinstance(instruction.operation, (Barrier, Delay)):
            busy |= set(instruction.qubits)
        kept.append(instruction)
    return kept[::-1], final, count


def _name_of(circuit: QuantumCircuit, bit: Clbit) -> str:
    found = circuit.find_bit(bit)
    if not found.registers:
        return f"bit {found.index}"
    register, index = found.registers[0]
    return f"{register.name}[{index}]"


def _rebuilt(circuit: QuantumCircuit, kept: list[CircuitInstruction]) -> QuantumCircuit:
    """Return a circuit of other instructions, without bits where those use none."""
    if any(i.clbits or getattr(i.operation, "blocks", ()) for i in kept) or circuit.num_identifiers:
        bare = circuit.copy_empty_like()
    else:
        bare = QuantumCircuit(
            circuit.qubits,
            *circuit.qregs,
            name=circuit.name,
            global_phase=circuit.global_phase,
            metadata=circuit.metadata,
        )
    for instruction in kept:
        bare.append(instruction)
    return bare


def unboxed(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit with what is in boxes put in their place; they bind compilers alone."""
    if not any(isinstance(i.operation, BoxOp) for i in circuit.data):
        return circuit
    open_circuit = circuit.copy_empty_like()
    for instruction in circuit.data:
        if isinstance(instruction.operation, BoxOp):
            body = unboxed(instruction.operation.body)
            if body.num_identifiers:
                raise FaultError("has a box with variables, expected gates only; remove them")
            open_circuit.compose(body, instruction.qubits, instruction.clbits, inplace=True)
        else:
            open_circuit.append(instruction)
    return open_circuit
