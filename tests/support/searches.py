"""Circuits by their pairs, and random interaction graphs, for the tests of the search."""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit

from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.search import Candidate, Cost, proxy_cost
from pilotcut.cutting.search.candidates import Evaluator
from pilotcut.cutting.search.interaction_graph import interactions_of


def circuit_of(pairs, width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for pair in pairs:
        circuit.cx(*pair)
    return circuit


def apart(pairs, width: int) -> QuantumCircuit:
    """Rotations of gamma 3 on the pairs, of which no two in a row are cheaper as one cut."""
    circuit = QuantumCircuit(width)
    for k, pair in enumerate(pairs):
        circuit.rzz(Parameter(f"z{k:02}"), *pair)
        for side, qubit in enumerate(pair):
            circuit.rx(Parameter(f"x{k:02}{side}"), qubit)
    return circuit


def crossing(pairs, labels) -> int:
    return sum(labels[a] != labels[b] for a, b in pairs)


def widths(labels) -> list[int]:
    return sorted(labels.count(label) for label in set(labels))


def partitions(width: int) -> Iterator[tuple[int, ...]]:
    """Every partition of the qubits once, as labels in order of first appearance."""
    for labels in product(*(range(k + 1) for k in range(width))):
        if all(labels[k] <= max(labels[:k], default=-1) + 1 for k in range(width)):
            yield labels


@st.composite
def graphs(draw):
    width = draw(st.integers(2, 6))
    pair = st.permutations(range(width)).map(lambda order: tuple(order[:2]))
    return width, draw(st.lists(pair, min_size=1, max_size=10))


def chain(width: int, layers: int = 1) -> list[tuple[int, int]]:
    return [(q, q + 1) for _ in range(layers) for q in range(width - 1)]


def random_gates(seed: int, width: int, gates: int) -> QuantumCircuit:
    """CX, RZZ of a fixed and of a free angle, CRX and SWAP on random pairs, rotations between."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(width)
    for k in range(gates):
        a, b = map(int, rng.choice(width, 2, replace=False))
        circuit.ry(float(rng.uniform(0, 3)), a)
        kind = rng.choice(5, p=(0.5, 0.2, 0.1, 0.1, 0.1))
        if kind == 0:
            circuit.cx(a, b)
        elif kind == 1:
            circuit.rzz(float(rng.uniform(0.2, 1.5)), a, b)
        elif kind == 2:
            circuit.rzz(Parameter(f"t{k}"), a, b)
        elif kind == 3:
            circuit.crx(Parameter(f"t{k}"), a, b)
        else:
            circuit.swap(a, b)
    return circuit


def all_candidates(
    circuit: QuantumCircuit, most_edges: int, cost: Cost = proxy_cost
) -> Iterator[Candidate]:
    """What is left of a circuit when any gate blocks and wires are cut, up to a number of them."""
    graph = interactions_of(read_circuit(circuit)[0])
    evaluator = Evaluator(graph, cost)
    edges = np.concatenate([graph.blocks, np.stack([graph.wires, graph.wires + 1], axis=1)])
    for count in range(most_edges + 1):
        for cut in combinations(range(len(edges)), count):
            labels = np.arange(graph.num_ends)
            for a, b in np.delete(edges, cut, axis=0):
                labels[labels == labels[b]] = labels[a]
            look = evaluator.look(labels)
            assert look is not None
            yield look[0]
