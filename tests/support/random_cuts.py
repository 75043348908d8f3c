"""Random circuits that are cut, whose gates share scaled and shifted angles, and their slopes."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_addon_cutting.instructions import CutWire, Move

from support.exact import without_moves


def parameter_shift(circuit, observable, values):
    """Exact derivatives of the uncut circuit by every parameter, each the angle of one gate.

    A gate's angle enters as a trigonometric polynomial of period 4 pi with frequencies 1/2
    and 1, so that five equidistant shifts fix its derivative exactly.
    """
    points = 4 * np.pi * np.arange(5) / 5
    frequency = np.fft.fftfreq(5, 1 / 5) / 2

    def slope(k):
        def value(shift):
            shifted = np.array(values, dtype=float)
            shifted[k] += shift
            state = Statevector(circuit.assign_parameters(shifted))
            return state.expectation_value(observable).real

        modes = np.fft.fft([value(point) for point in points]) / 5
        return float((1j * frequency * modes).sum().real)

    return np.array([slope(k) for k in range(len(values))])


ROTATIONS = ["rx", "ry", "rz", "p", "u"]
CUTTABLE = ["rzz", "rxx", "ryy", "rzx", "crx", "cry", "crz", "cp"]
BOUND = ["cx", "cz", "swap", "ecr", "iswap"]

# How a gate's angle depends on a parameter: scale and offset.
FORMS = [(1.0, 0.0), (2.0, 0.0), (-1.0, 0.0), (0.5, 0.3)]


@dataclass(frozen=True)
class SharedAngles:
    """A circuit whose gates share a few parameters, and the same with an angle for each gate.

    Parameters
    ----------
    circuit, values
        Angles are scaled and shifted parameters, ``slopes @ values + offsets``.
    apart, angles
        Every angle is a parameter of its own.
    slopes
        (angles, parameters).
    """

    circuit: QuantumCircuit
    values: np.ndarray
    apart: QuantumCircuit
    angles: np.ndarray
    slopes: np.ndarray

    @classmethod
    def of(cls, circuit: QuantumCircuit, rng: np.random.Generator, share: float):
        """Free a share of the circuit's angles and draw which of three parameters owns each."""
        apart, own = freed(circuit, rng, share)
        owner = rng.permutation(np.arange(len(own)) % 3)
        scale, offset = np.array(FORMS)[rng.integers(len(FORMS), size=len(own))].T
        names, values = ParameterVector("t", 3), rng.uniform(-3, 3, 3)
        forms = zip(scale.tolist(), owner, offset.tolist(), strict=True)
        shared = [s * names[k] + o for s, k, o in forms]
        slopes = scale[:, None] * (owner[:, None] == np.arange(3))
        return cls(
            circuit=apart.assign_parameters(dict(zip(own, shared, strict=True))),
            values=values,
            apart=apart,
            angles=slopes @ values + offset,
            slopes=slopes,
        )

    def exact(self, observable):
        """Value and gradient of the uncut circuit: shifts of each gate, and the chain rule."""
        plain = without_moves(self.apart)
        state = Statevector(plain.assign_parameters(self.angles))
        by_angle = parameter_shift(plain, observable, self.angles)
        return state.expectation_value(observable).real, by_angle @ self.slopes


def freed(circuit: QuantumCircuit, rng: np.random.Generator, share: float):
    """The circuit with new parameters for gates that may be cut, and a share of rotations."""
    result, own = circuit.copy_empty_like(), []
    for instruction in circuit.data:
        gate = instruction.operation
        if gate.name in CUTTABLE or (gate.name in ROTATIONS and rng.random() < share):
            fresh = [Parameter(f"a{len(own) + k:03}") for k in range(len(gate.params))]
            own += fresh
            gate = gate.base_class(*fresh)
        result.append(gate, instruction.qubits)
    return result, own


# What the cuts of a random circuit may cost together: a swap, an iswap or a wire 2, others 1.
ROOM = 6


def random_cuts(rng: np.random.Generator, qubits: int) -> tuple[QuantumCircuit, str]:
    """A random circuit and labels for two to four fragments.

    Gates lie between any two qubits while there is room for cuts, and within labels
    from then on. There are `CutWire` markers and, in half of the circuits, a `Move` onto the
    last qubit, which is fresh until then.
    """
    letters = "ABCD"[: rng.integers(2, min(4, qubits) + 1)]
    rest = rng.choice(list(letters), qubits - len(letters))
    labels = "".join(rng.permutation([*letters, *rest]))
    circuit, room, gates = QuantumCircuit(qubits), ROOM, qubits + 3
    moves = {int(rng.integers(gates))} if rng.random() < 0.5 else set()
    live = qubits - len(moves)

    def rotate(qubit: int) -> None:
        getattr(circuit, rng.choice(ROTATIONS[:4]))(rng.uniform(-3, 3), qubit)

    for qubit in range(live):
        circuit.h(qubit)
        rotate(qubit)
    for number in range(gates):
        if number in moves:
            circuit.append(Move(), [int(rng.integers(live)), live])
            live, room = live + 1, room - 2
        if room >= 2 and rng.random() < 0.15:
            circuit.append(CutWire(), [int(rng.integers(live))])
            room -= 2
        pairs = [
            (a, b) for a, b in permutations(range(live), 2) if labels[a] == labels[b] or room >= 2
        ]
        if not pairs:
            continue
        a, b = pairs[rng.integers(len(pairs))]
        kind = rng.choice(CUTTABLE if rng.random() < 0.6 else BOUND)
        angles = [rng.uniform(-3, 3)] if kind in CUTTABLE else []
        getattr(circuit, kind)(*angles, a, b)
        if labels[a] != labels[b]:
            room -= 2 if kind in ("swap", "iswap") else 1
        rotate(a)
    return circuit, labels


def random_case(seed: int, qubits: int) -> tuple[SharedAngles, SparsePauliOp, str]:
    """A random circuit with shared angles, fewer of them where states are large."""
    rng = np.random.default_rng([qubits, seed])
    circuit, labels = random_cuts(rng, qubits)
    letters = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(3)]
    observable = SparsePauliOp(letters, rng.uniform(-1, 1, 3))
    return SharedAngles.of(circuit, rng, min(1, 4 / qubits)), observable, labels
