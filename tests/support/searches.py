"""Circuits by their pairs, and random interaction graphs, for the tests of the search."""

from collections.abc import Iterator
from itertools import product

from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit


def circuit_of(pairs, width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for pair in pairs:
        circuit.cx(*pair)
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
