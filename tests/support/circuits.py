"""Circuits that several tests share: random, with a gate of each kind, with angles of each kind."""

import numpy as np
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import (
    CHGate,
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CSdgGate,
    CSGate,
    CSXGate,
    CUGate,
    CXGate,
    CYGate,
    CZGate,
    DCXGate,
    ECRGate,
    RXXGate,
    RYYGate,
    RZXGate,
    RZZGate,
    SwapGate,
    UnitaryGate,
    XXMinusYYGate,
    XXPlusYYGate,
    iSwapGate,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire, Move

# -- random circuits -------------------------------------------------------------------


def random_unitary(seed: int) -> np.ndarray:
    """Any unitary of two qubits; Qiskit's would have each rank of MPI import scipy.stats."""
    real, imaginary = np.random.default_rng(seed).normal(size=(2, 4, 4))
    return np.linalg.qr(real + 1j * imaginary)[0]


def random_rotations(circuit: QuantumCircuit, rng: np.random.Generator) -> None:
    for qubit in range(circuit.num_qubits):
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)


def rotated(circuit: QuantumCircuit, seed: int) -> QuantumCircuit:
    """The circuit itself, with a random rotation of each qubit more."""
    random_rotations(circuit, np.random.default_rng(seed))
    return circuit


def entangled(pairs, width: int, seed: int = 0) -> QuantumCircuit:
    """Random rotations before, between and after CX gates on the pairs."""
    circuit = rotated(QuantumCircuit(width), seed)
    for k, pair in enumerate(pairs):
        circuit.cx(*pair)
        rotated(circuit, seed + k + 1)
    return circuit


def parallel(size: int, gates, layers: int = 1, seed: int = 0) -> QuantumCircuit:
    """Two chains of `size` qubits, and in each layer gates (name, *angles) between partners."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(2 * size)
    for qubit in range(2 * size):
        circuit.ry(rng.uniform(0.3, 1.2), qubit)
    for qubit in range(size - 1):
        circuit.cx(qubit, qubit + 1)
        circuit.cx(size + qubit, size + qubit + 1)
    for _ in range(layers):
        for qubit, (name, *angles) in enumerate(gates):
            pair = (qubit, size + qubit) if qubit % 2 == 0 else (size + qubit, qubit)
            getattr(circuit, name)(*angles, *pair)
        for qubit in range(2 * size):
            circuit.rx(rng.uniform(0.3, 1.2), qubit)
    return circuit


def halves(size, angles, layers=1, seed=0):
    """Two chains of qubits with an RZZ between partners, other ones in each layer."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(2 * size)
    for qubit in range(2 * size):
        circuit.ry(rng.uniform(-1, 1), qubit)
    for qubit in range(size - 1):
        circuit.cx(qubit, qubit + 1)
        circuit.cx(size + qubit, size + qubit + 1)
    angles = iter(angles)
    for layer in range(layers):
        for qubit in range(size):
            circuit.rzz(next(angles), qubit, size + (qubit + layer) % size)
        for qubit in range(2 * size):
            circuit.rx(rng.uniform(-1, 1), qubit)
    return circuit


def star(leaves: int) -> QuantumCircuit:
    """Return a hub that is joined to every leaf, whose best cut is through its wire."""
    circuit = QuantumCircuit(leaves + 1)
    circuit.h(0)
    for leaf in range(1, leaves + 1):
        circuit.ry(Parameter(f"t{leaf:02}"), leaf)
        circuit.cx(0, leaf)
    return circuit


def small_circuit() -> QuantumCircuit:
    """Everything that goes into a fingerprint: gates, matrices, free angles, a wire cut."""
    circuit = entangled([(0, 1)], 3)
    circuit.unitary(random_unitary(1), [1, 2])
    circuit.rzz(Parameter("a") * 2, 1, 2)
    circuit.append(CutWire(), [0])
    circuit.ry(Parameter("b"), 0)
    return circuit


# -- a gate of each kind that is cut ---------------------------------------------------

OBSERVABLES = ["III", "IIY", "XII", "XYZ", "ZZZ", "XZI"]


# The gates of the addon's own round-trip test, and what else has a decomposition.
GATES = [
    *(CXGate(), CYGate(), CZGate(), CHGate(), ECRGate(), CSGate(), CSdgGate(), CSXGate()),
    *(SwapGate(), iSwapGate(), DCXGate(), CSXGate().inverse()),
    *(RXXGate(0.0), RYYGate(0.0), RZZGate(0.0), RXXGate(np.pi / 3), RYYGate(np.pi / 7)),
    *(RZZGate(np.pi / 11), RZXGate(0.4), RXXGate(-2.1), RYYGate(3.0), RZZGate(np.pi)),
    *(CRXGate(0.9), CRYGate(np.pi / 5), CRZGate(np.pi / 7), CPhaseGate(0.7), CPhaseGate(-2.5)),
    *(CRXGate(-1.3), CRYGate(np.pi), CRZGate(0.0)),
    *(XXPlusYYGate(7 * np.pi / 11), XXMinusYYGate(11 * np.pi / 17), XXPlusYYGate(0.4, 0.8)),
    *(CUGate(0.3, 0.6, -0.2, 1.1), UnitaryGate(random_unitary(3))),
    UnitaryGate(random_unitary(4)),
]


def around(gate, seed: int) -> QuantumCircuit:
    """A random circuit of three qubits with the gate between qubits 1 and 2."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(3)
    random_rotations(circuit, rng)
    circuit.cx(0, 1)
    circuit.append(gate, [1, 2])
    random_rotations(circuit, rng)
    circuit.cx(0, 1)
    return circuit


def moved(seed: int) -> QuantumCircuit:
    """A random circuit whose qubit 1 continues as qubit 2, a wire cut between labels."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(3)
    for qubit in (0, 1):
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
    circuit.cx(0, 1)
    circuit.append(Move(), [1, 2])
    for qubit in (0, 2):
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
    return circuit


CIRCUITS = {f"{k}-{g.name}": around(g, k) for k, g in enumerate(GATES)} | {"move": moved(77)}


# -- free angles inside a circuit ------------------------------------------------------

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")
OBSERVABLE = SparsePauliOp(["XYZ", "ZZI", "IXX"], [1, 0.5, -0.3])


def between_rotations(place) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.ry(0.4, 0)
    circuit.rx(1.1, 1)
    circuit.ry(0.7, 2)
    place(circuit)
    circuit.rx(0.3, 0)
    circuit.ry(0.8, 1)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    return circuit


# Shared, scaled and curved angles; gates of every shift rule; cut at 0-1 below as well.
PLACES = {
    "scaled": lambda c: c.ry(2 * A, 0),
    "curved": lambda c: c.rx(A * B, 1),
    "shared": lambda c: (c.ry(A, 0), c.rx(0.5 * A, 1), c.rz(A + B, 2)),
    "crx": lambda c: c.crx(B, 0, 1),
    "cry": lambda c: c.cry(0.5 * A, 1, 0),
    "crz": lambda c: c.crz(C + 1, 0, 1),
    "cp": lambda c: c.cp(A, 0, 1),
    "rzz": lambda c: c.rzz(B, 0, 1),
    "u": lambda c: c.u(A, B, C, 1),
    "r": lambda c: c.r(A, B, 0),
}


def trained() -> tuple[QuantumCircuit, np.ndarray]:
    """Two free angles in one bond, shared with a gate inside and scaled, and a second bond."""
    circuit = parallel(2, [("rzz", A), ("crx", 0.5 * A + 2 * B - 0.3)])
    circuit.ry(0.7 * A, 1)
    circuit.rxx(B, 0, 3)
    circuit.cz(0, 1)
    for qubit in range(4):
        circuit.ry(0.4 + 0.2 * qubit, qubit)
    return circuit, np.array([0.7, 0.9])


BRICK_GATES = ("cx", "rzz", "swap", "crx")


def brick(
    qubits: int,
    layers: int,
    seed: int,
    gates: tuple[str, ...] = BRICK_GATES,
    cut: int | None = None,
) -> QuantumCircuit:
    """Random rotations and two-qubit gates, with a wire cut in the middle if asked for."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
        for qubit in range(layer % 2, qubits - 1, 2):
            gate = str(rng.choice(gates))
            angles = [float(rng.uniform(-np.pi, np.pi))] if gate in ("rzz", "crx") else []
            getattr(circuit, gate)(*angles, qubit, qubit + 1)
        if cut is not None and layer == 0:
            circuit.append(CutWire(), [cut])
    return circuit


def deep_beside_wide(wide: int, marked: bool = False) -> tuple[QuantumCircuit, str | None]:
    """Return a deep cluster of five qubits and a shallow chain with a cut between, and labels."""
    deep, depth = 5, 24
    of_chain, of_cluster = ParameterVector("c", 2 * wide), ParameterVector("d", deep * depth)
    circuit, angles = QuantumCircuit(deep + wide), iter(of_cluster)
    for layer in range(depth):
        for qubit in range(deep):
            (circuit.rx if layer % 2 else circuit.ry)(next(angles), qubit)
        for qubit in range(layer % 2, deep - 1, 2):
            circuit.cz(qubit, qubit + 1)
    if marked:
        circuit.append(CutWire(), [deep - 1])
    for k in range(wide):
        circuit.ry(of_chain[2 * k], deep + k)
    circuit.cz(deep - 1, deep)
    for k in range(wide):
        circuit.rx(of_chain[2 * k + 1], deep + k)
    for first in (deep, deep + 1):
        for qubit in range(first, deep + wide - 1, 2):
            circuit.cx(qubit, qubit + 1)
    return circuit, None if marked else "A" * deep + "B" * wide


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit
