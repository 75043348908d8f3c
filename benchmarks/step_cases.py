"""Circuits of the training step, and of deep fragments: how they are cut, and as lists of gates.

A case is a Qiskit circuit with its parameters, a sum of Pauli strings, and what is cut. Other
simulators get it as a list of gates (`Case.gates`), so that every column builds the same circuit
from the same data, without Qiskit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from families import qft
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import n_local, real_amplitudes
from qiskit.quantum_info import SparsePauliOp

#: What a case's gates are translated to. Each has at most one angle.
BASIS = ("h", "p", "rx", "ry", "rz", "cx", "cz", "rzz")

#: Layers of brickwork whose brick lies across both halves; those of others are left out.
ACROSS = (3, 9)

#: Name, qubits, and an angle: none, a number, or (index, factor) of a parameter, inputs first.
Gate = tuple[str, list[int], "float | tuple[int, float] | None"]


@dataclass(frozen=True)
class Case:
    """A circuit to train, with what is cut."""

    circuit: QuantumCircuit
    inputs: list[Parameter]
    weights: list[Parameter]
    terms: list[tuple[str, list[int], float]]
    batch: int
    cuts: int
    cut: dict[str, Any] = field(default_factory=dict)  # options of `cut_qnn`

    @property
    def observable(self) -> SparsePauliOp:
        """The sum of the terms."""
        return SparsePauliOp.from_sparse_list(self.terms, self.circuit.num_qubits)

    @property
    def gates(self) -> list[Gate]:
        """The circuit as a list of gates."""
        place = {p: k for k, p in enumerate([*self.inputs, *self.weights])}
        plain = transpile(self.circuit, basis_gates=list(BASIS), optimization_level=0)
        found: list[Gate] = []
        for step in plain.data:
            angle = None
            for value in step.operation.params:
                angle = value if isinstance(value, float) else linear(value, place)
            name, qubits = step.operation.name, [plain.find_bit(q).index for q in step.qubits]
            found.append((name, qubits, angle))
        return found

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return inputs (batch, inputs), targets (batch, 1) and weights, the same every time."""
        rng = np.random.default_rng(0)
        # A module of torch begins in single precision: all columns have these weights.
        weights = rng.uniform(-1, 1, len(self.weights)).astype(np.float32).astype(float)
        inputs = rng.uniform(0, 1.5, (self.batch, len(self.inputs)))
        return inputs, rng.choice([-1.0, 1.0], (self.batch, 1)), weights

    def rows(self) -> np.ndarray:
        """Return values (batch, parameters) in the order of the circuit's parameters."""
        inputs, _, weights = self.data()
        whole = np.hstack([inputs, np.broadcast_to(weights, (len(inputs), len(weights)))])
        order = [*self.inputs, *self.weights]
        return whole[:, [order.index(p) for p in self.circuit.parameters]]


def linear(angle: Any, place: dict[Parameter, int]) -> float | tuple[int, float]:
    """Return an angle as a number, or as (index of a parameter, factor)."""
    if not angle.parameters:
        return float(angle)
    (parameter,) = angle.parameters
    return place[parameter], float(angle.gradient(parameter))


# -- the cases ---------------------------------------------------------------------------


def chain(qubits: int, cuts: int, batch: int) -> Case:
    """Return ZFeatureMap and RealAmplitudes(reps=1) with Z on every qubit."""
    from pilotcut.training.model import classifier

    model = classifier(qubits)
    inputs, weights = list(model.inputs), list(model.weights)
    terms = [("Z" * qubits, list(range(qubits)), 1.0)]
    return Case(model.circuit, inputs, weights, terms, batch, cuts, {"cuts": cuts})


def dense(entangler: str, batch: int) -> Case:
    """Return two clusters of eight qubits, four layers deep, with one CZ between them.

    A layer is RY and RZ on every qubit and an entangler between all pairs of a cluster: CZ, or RZZ
    with a weight. A last layer of RY stands before Z on three qubits.
    """
    half, depth = 8, 4
    pairs = [p for first in (0, half) for p in combinations(range(first, first + half), 2)]
    free = len(pairs) if entangler == "rzz" else 0
    x = ParameterVector("x", 2 * half)
    w = ParameterVector("w", depth * (4 * half + free) + 2 * half)
    circuit, angles = QuantumCircuit(2 * half), iter(w)
    rotate(circuit, ("ry",), iter(x))
    for layer in range(depth):
        rotate(circuit, ("ry", "rz"), angles)
        for pair in pairs:
            getattr(circuit, entangler)(*([next(angles)] if free else []), *pair)
        if layer == depth // 2 - 1:
            circuit.cz(half - 1, half)
    rotate(circuit, ("ry",), angles)
    labels = {"labels": "A" * half + "B" * half}
    return Case(circuit, list(x), list(w), three(2 * half), batch, 1, labels)


def brickwork(
    qubits: int, depth: int, rotations: tuple[str, ...] = ("ry",), batch: int = 1
) -> Case:
    """Return rotations on every qubit and bricks of CZ, with Z on three qubits.

    Two bricks lie across both halves, and are cut.
    """
    x, w = ParameterVector("x", qubits), ParameterVector("w", qubits * depth * len(rotations))
    circuit, angles = QuantumCircuit(qubits), iter(w)
    rotate(circuit, ("ry",), iter(x))
    for layer in range(depth):
        rotate(circuit, rotations, angles)
        for qubit in range(layer % 2, qubits - 1, 2):
            if qubit != qubits // 2 - 1 or layer in ACROSS:
                circuit.cz(qubit, qubit + 1)
    labels = {"labels": "A" * (qubits // 2) + "B" * (qubits // 2)}
    return Case(circuit, list(x), list(w), three(qubits), batch, len(ACROSS), labels)


def many(name: str, batch: int) -> Case:
    """Return one of the circuits with many cuts, behind RY of inputs, with Z on every qubit."""
    make, labels, cuts = MANY[name]
    ansatz = make()
    qubits = ansatz.num_qubits
    x, w = ParameterVector("x", qubits), list(ansatz.parameters)
    circuit = QuantumCircuit(qubits)
    rotate(circuit, ("ry",), iter(x))
    circuit = circuit.compose(ansatz)
    terms = [("Z", [qubit], 1.0) for qubit in range(qubits)]
    return Case(circuit, list(x), w, terms, batch, cuts, {"labels": labels})


def two_local(qubits: int) -> QuantumCircuit:
    """Return RY and CX between all pairs, three times."""
    return n_local(qubits, "ry", "cx", entanglement="full", reps=3)


def trotter(qubits: int, steps: int) -> QuantumCircuit:
    """Return Trotter steps of the transverse-field Ising chain, each with angles of its own."""
    circuit, angles = QuantumCircuit(qubits), ParameterVector("t", 2 * steps)
    for k in range(steps):
        for qubit in range(qubits - 1):
            circuit.rzz(angles[2 * k], qubit, qubit + 1)
        circuit.rx(angles[2 * k + 1], range(qubits))
    return circuit


def rotate(circuit: QuantumCircuit, rotations: tuple[str, ...], angles: Iterator) -> None:
    """Append rotations to every qubit."""
    for qubit in range(circuit.num_qubits):
        for rotation in rotations:
            getattr(circuit, rotation)(next(angles), qubit)


def three(qubits: int) -> list[tuple[str, list[int], float]]:
    """Return Z on a qubit near each end, and on one in the middle."""
    return [("Z", [qubit], 1.0) for qubit in (1, qubits // 2, qubits - 2)]


#: Circuits with more cuts than a state has qubits, or nearly: name -> (circuit, labels, cuts). Of
#: the Fourier transform one cut is a SWAP.
MANY: dict[str, tuple[Callable[[], QuantumCircuit], str, int]] = {
    "many-5": (lambda: real_amplitudes(5, "linear", reps=9), "AABBB", 9),
    "many-ising": (lambda: trotter(10, 10), "AAAAABBBBB", 10),
    "many-qft": (lambda: qft(12), "AAAAAAAAAAAB", 12),
    "many-two-local": (lambda: two_local(12), "AAAAAAAAAAAB", 33),
}

CASES: dict[str, Callable[[], Case]] = {
    **{
        f"chain-{qubits}": partial(chain, qubits, cuts, batch)
        for qubits, cuts, batch in ((4, 3, 16), (12, 1, 16), (20, 1, 16), (36, 2, 1), (60, 4, 16))
    },
    **{
        f"dense-{entangler}-{batch}": partial(dense, entangler, batch)
        for entangler in ("cz", "rzz")
        for batch in (1, 16)
    },
    "brick-24": partial(brickwork, 24, 20),
    "brick-32": partial(brickwork, 32, 24),
    **{f"{name}-{batch}": partial(many, name, batch) for name in MANY for batch in (1, 16)},
}
