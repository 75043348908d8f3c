"""The circuits that `cuts.py` measures cuts on, bound, each with a width or labels.

Those of QASMBench and MQT Bench are written in code after the collections' own circuits of the
same name, with random angles and secrets of our own. A barrier with the label "cut" on one qubit
marks a wire to be cut; every tool's own marker takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from families import ghz
from qiskit.circuit import Barrier, QuantumCircuit
from qiskit.circuit.library import QFTGate, XXPlusYYGate, efficient_su2, zz_feature_map

from pilotcut.perfmodel.sample_circuits import qaoa_ring

#: The label of barriers that mark wires to be cut.
MARK = "cut"


@dataclass(frozen=True)
class Case:
    """A circuit, a Pauli, and how it is cut: at labels, to a width, or (neither) at its marks."""

    name: str
    circuit: QuantumCircuit
    observable: str
    labels: str | None = None
    width: int | None = None

    @property
    def where(self) -> str:
        """What the cut has to heed, as a word."""
        return f"<= {self.width}" if self.width else self.labels or "marked"


def cases() -> list[Case]:
    """Return what is measured, in the order of the table."""
    return [
        Case("CCZ", ccz(), "ZZZ", labels="AAB"),
        *(Case(f"{n} wire{'s' * (n > 1)}", wires(n), "Z" * (n + 2)) for n in (1, 2, 3)),
        Case("ZZ feature map 4", zz(4), "ZZZZ", labels="AABB"),
        Case("ZZ feature map 8", zz(8), 8 * "Z", labels="AAAABBBB"),
        Case("QAOA ring 12", bound(qaoa_ring(12)), 5 * "I" + "ZZ" + 5 * "I", width=6),
        Case("EfficientSU2 12", su2(12), 12 * "Z", width=6),
        Case("EfficientSU2 12", su2(12), 12 * "Z", width=4),
        Case("addon's find-cuts", find_cuts_circuit(), "IIIZIII", width=4),
        Case("addon's find-cuts", find_cuts_circuit(), "IIIZIII", width=3),
        *qasmbench(),
        *mqt_bench(),
    ]


def qasmbench() -> list[Case]:
    """Return five circuits after those of QASMBench (arXiv:2005.13018)."""
    first = lambda n: "I" * (n - 1) + "Z"  # noqa: E731
    return [
        Case("QASM bv_n70", bernstein_vazirani(70), "IZ" + 67 * "I" + "Z", width=20),
        Case("QASM swap_test_n25", swap_test(12, "rx"), first(25), width=20),
        Case("QASM knn_n67", swap_test(33, "ry"), first(67), width=20),
        Case("QASM ising_n26", ising(26), 12 * "I" + "ZZ" + 12 * "I", width=13),
        Case("QASM adder_n10", adder(4), "Z" + 9 * "I", width=6),
    ]


def mqt_bench() -> list[Case]:
    """Return five circuits after those of MQT Bench (arXiv:2204.13719)."""
    ends = lambda n: "Z" + (n - 2) * "I" + "Z"  # noqa: E731
    return [
        Case("MQT graphstate 100", graph_state(100), 100 * "X", width=20),
        Case("MQT ghz 100", ghz(100), ends(100), width=20),
        Case("MQT dj 30", deutsch_jozsa(30), "I" + 29 * "Z", width=10),
        Case("MQT wstate 16", w_state(16), ends(16), width=6),
        Case("MQT qft 8", qft(8), 8 * "Z", width=7),
    ]


def bound(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit at random angles in [0, pi], without its boxes."""
    angles = np.random.default_rng(7).uniform(0, np.pi, circuit.num_parameters)
    return circuit.assign_parameters(angles)


def tilted(circuit: QuantumCircuit, seed: int, gate: str = "ry") -> None:
    """Append a random rotation to every qubit."""
    angles = np.random.default_rng(seed).uniform(0, np.pi, circuit.num_qubits)
    for qubit, angle in enumerate(angles):
        getattr(circuit, gate)(float(angle), qubit)


def ccz() -> QuantumCircuit:
    """Return a CCZ between random rotations."""
    circuit = QuantumCircuit(3)
    tilted(circuit, 1)
    circuit.ccz(0, 1, 2)
    tilted(circuit, 2)
    return circuit


def wires(number: int) -> QuantumCircuit:
    """Return so many marked wires between two entangling halves, `number` + 2 qubits."""
    circuit = QuantumCircuit(number + 2)
    tilted(circuit, 1)
    for qubit in range(number):
        circuit.cx(qubit, qubit + 1)
    tilted(circuit, 2)
    for qubit in range(1, number + 1):
        circuit.append(Barrier(1, label=MARK), [qubit])
    for qubit in range(1, number + 1):
        circuit.cx(qubit, qubit + 1)
    tilted(circuit, 3)
    return circuit


def zz(qubits: int) -> QuantumCircuit:
    """Return the ZZ feature map, two repetitions, linear, and a rotation of each qubit."""
    circuit = bound(zz_feature_map(qubits, reps=2, entanglement="linear"))
    tilted(circuit, 3)
    return circuit


def su2(qubits: int) -> QuantumCircuit:
    """Return EfficientSU2 of two repetitions, linear."""
    return bound(efficient_su2(qubits, reps=2, entanglement="linear"))


def find_cuts_circuit() -> QuantumCircuit:
    """Return the circuit of the addon's tutorial on finding cuts.

    Qiskit's ``random_circuit(7, 6, max_operands=2, seed=1242)`` up to version 1.1; later versions
    draw another one. The addon's own answer at width 4 is 2 cuts, gamma^2 127.06.
    """
    circuit = QuantumCircuit(7)
    steps: list[tuple[str, list[float], list[int]]] = [
        ("cx", [], [5, 1]),
        ("s", [], [2]),
        ("cry", [0.994790505908928], [3, 0]),
        ("s", [], [6]),
        ("tdg", [], [4]),
        ("rx", [4.10500232906996], [1]),
        ("cs", [], [6, 0]),
        ("tdg", [], [5]),
        ("crz", [5.2153760273282765], [2, 3]),
        ("u", [1.112299858268304, 1.6595916488339455, 0.24493830877532133], [4]),
        ("rxx", [2.1198120285972495], [3, 2]),
        ("crz", [2.4061417016452324], [0, 6]),
        ("x", [], [4]),
        ("rzz", [1.9716621086763826], [5, 1]),
        ("xx_plus_yy", [2.231187837029287, 4.261178461380662], [5, 1]),
        ("y", [], [4]),
        ("crx", [3.198881406558974], [3, 0]),
        ("cry", [3.202305038084089], [6, 2]),
        ("u", [4.00909515543405, 6.204927202978128, 0.6874813024472429], [2]),
        ("cry", [2.6729139484709887], [4, 6]),
        ("crz", [3.6178866522329547], [3, 0]),
        ("y", [], [5]),
        ("ry", [4.442659482762476], [1]),
        ("y", [], [0]),
        ("p", [5.440368763968557], [2]),
        ("sdg", [], [1]),
        ("cx", [], [6, 5]),
        ("crz", [2.2818175923666106], [4, 3]),
    ]
    for name, angles, qubits in steps:
        if name == "xx_plus_yy":
            circuit.append(XXPlusYYGate(*angles), qubits)
        else:
            getattr(circuit, name)(*angles, *qubits)
    return circuit


# -- after QASMBench ---------------------------------------------------------------------


def bernstein_vazirani(qubits: int) -> QuantumCircuit:
    """Return Bernstein-Vazirani with a secret of about half ones, first and last among them."""
    data = qubits - 1
    secret = np.random.default_rng(70).permutation(data) < data // 2 + 2
    secret[[0, data - 1]] = True
    circuit = QuantumCircuit(qubits)
    circuit.h(range(data))
    circuit.x(data)
    circuit.h(data)
    for qubit in np.flatnonzero(secret):
        circuit.cx(int(qubit), data)
    circuit.h(range(data))
    return circuit


def swap_test(pairs: int, gate: str) -> QuantumCircuit:
    """Return a swap test of two product states: CSWAP under one control for every pair."""
    circuit = QuantumCircuit(2 * pairs + 1)
    rng = np.random.default_rng(pairs)
    for qubit in range(1, pairs + 1):
        angle = rng.uniform(0, np.pi)
        getattr(circuit, gate)(float(angle), qubit)
        getattr(circuit, gate)(float(angle + rng.normal(0, 0.3)), qubit + pairs)
    circuit.h(0)
    for qubit in range(1, pairs + 1):
        circuit.cswap(0, qubit, qubit + pairs)
    circuit.h(0)
    return circuit


def ising(qubits: int) -> QuantumCircuit:
    """Return a step of the transverse-field Ising chain, its couplings as CX, RZ, CX."""
    circuit = QuantumCircuit(qubits)
    rng = np.random.default_rng(26)
    circuit.h(range(qubits))
    for first in (0, 1):
        for qubit in range(first, qubits - 1, 2):
            circuit.cx(qubit, qubit + 1)
            circuit.rz(float(rng.uniform(0.3, 1.2)), qubit + 1)
            circuit.cx(qubit, qubit + 1)
        tilted(circuit, 27 + first, "rx")
    return circuit


def adder(bits: int) -> QuantumCircuit:
    """Return Cuccaro's ripple-carry adder: carry in, pairs of (b, a), carry out."""
    circuit = QuantumCircuit(2 * bits + 2)
    b, a = [1 + 2 * k for k in range(bits)], [2 + 2 * k for k in range(bits)]
    carried = [0, *a]
    for qubit in (a[0], *b):
        circuit.x(qubit)
    for k in range(bits):
        circuit.cx(a[k], b[k])
        circuit.cx(a[k], carried[k])
        circuit.ccx(carried[k], b[k], a[k])
    circuit.cx(a[-1], 2 * bits + 1)
    for k in reversed(range(bits)):
        circuit.ccx(carried[k], b[k], a[k])
        circuit.cx(a[k], carried[k])
        circuit.cx(carried[k], b[k])
    return circuit


# -- after MQT Bench ---------------------------------------------------------------------


def graph_state(qubits: int) -> QuantumCircuit:
    """Return the graph state of a random 2-regular graph."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for a, b in nx.random_regular_graph(2, qubits, seed=10).edges():
        circuit.cz(int(a), int(b))
    return circuit


def deutsch_jozsa(qubits: int) -> QuantumCircuit:
    """Return Deutsch-Jozsa with a balanced oracle."""
    data = qubits - 1
    flips = np.flatnonzero(np.random.default_rng(10).integers(2, size=data))
    circuit = QuantumCircuit(qubits)
    circuit.x(data)
    circuit.h(range(qubits))
    circuit.x(flips.tolist())
    for qubit in range(data):
        circuit.cx(qubit, data)
    circuit.x(flips.tolist())
    circuit.h(range(data))
    return circuit


def w_state(qubits: int) -> QuantumCircuit:
    """Return a W state: rotations by CZ down the chain, then a chain of CX."""
    circuit = QuantumCircuit(qubits)
    circuit.x(qubits - 1)
    for k in range(1, qubits):
        upper, lower = qubits - k, qubits - k - 1
        theta = float(np.arccos(np.sqrt(1 / (qubits - k + 1))))
        circuit.ry(-theta, lower)
        circuit.cz(upper, lower)
        circuit.ry(theta, lower)
    for k in reversed(range(1, qubits)):
        circuit.cx(k - 1, k)
    return circuit


def qft(qubits: int) -> QuantumCircuit:
    """Return the quantum Fourier transform of a product state."""
    circuit = QuantumCircuit(qubits)
    tilted(circuit, 8)
    return circuit.compose(QFTGate(qubits).definition)
