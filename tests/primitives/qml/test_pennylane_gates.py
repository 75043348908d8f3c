"""Gates of PennyLane's device: each of the table is PennyLane's own, up to a global phase."""

import numpy as np
import pennylane as qml
import pytest
from qiskit.quantum_info import Operator

from pilotcut.primitives.pennylane import gates
from pilotcut.primitives.pennylane.reader import TapeReader

RNG = np.random.default_rng(5)
UNITARY = np.linalg.qr(RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4)))[0]


def operators():
    """Yield one operator of each name in the table."""
    for name in sorted(gates.FIXED):
        bare = name.removeprefix("Adjoint(").removesuffix(")")
        kind = getattr(qml, bare)
        own = kind(wires=range(kind.num_wires))
        yield qml.adjoint(own) if bare != name else own
    for name in sorted(gates.TURNS):
        kind = getattr(qml, name)
        yield kind(*RNG.uniform(-3, 3, kind.num_params), wires=range(kind.num_wires))
    yield qml.Rot(0.3, 0.7, -1.2, 0)
    yield qml.MultiRZ(0.4, [0])
    yield qml.MultiRZ(0.4, [0, 1])
    yield qml.MultiControlledX([0, 1, 2], control_values=[True, False])
    yield qml.QubitUnitary(UNITARY, [0, 1])
    yield qml.GlobalPhase(0.3, 0)
    yield qml.Barrier([0, 1])
    yield qml.Identity(0)


@pytest.mark.parametrize(
    "operator", list(operators()), ids=lambda one: f"{one.name}{len(one.wires)}"
)
def test_a_gate_of_the_table_is_pennylanes(operator):
    reader = TapeReader(qml.wires.Wires(range(3)), use_all=True, marks=True)
    tape = qml.tape.QuantumScript([operator], [qml.expval(qml.Z(0))])
    reading = reader.read(tape)
    bound = reading.structure.circuit.assign_parameters(
        dict(zip(reading.structure.circuit.parameters, reading.values[0], strict=True))
    )
    found = Operator(bound.reverse_bits()).data
    expected = qml.matrix(qml.tape.QuantumScript([operator]), wire_order=range(3))
    overlap = np.trace(found.conj().T @ expected) / 8
    assert abs(abs(overlap) - 1) < 1e-12


def test_every_name_of_the_table_is_a_gate_here():
    names = {one.name for one in operators()} | {"WireCut"}
    assert names == gates.NAMES
