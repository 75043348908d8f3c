"""The cut finder of qiskit-addon-cutting as an engine of the search, for small circuits.

It is asked about a circuit of the same ends whose gates cost the same, so that it need not
know the gates or their angles.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import asin, exp, sqrt

import numpy as np
from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.circuit.library import RZZGate, SwapGate
from qiskit_addon_cutting.automated_cut_finding import (
    DeviceConstraints,
    OptimizationParameters,
    find_cuts,
)
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pilotcut.cutting.prices import Price
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions

#: Backjumps that the finder may make for one width; it has no limit on time.
MOST_BACKJUMPS = 2_000


def addon(graph: Interactions, goal: Goal) -> Iterator[np.ndarray]:
    """Yield what the addon finds for several widths, if it finds anything."""
    circuit = stand_in(graph)
    options = OptimizationParameters(
        seed=goal.seed, max_gamma=1e9, max_backjumps=MOST_BACKJUMPS, wire_lo=goal.wire_cuts
    )
    for width in goal.widths(graph, 5):
        if width >= graph.num_qubits:
            continue
        try:
            found, _ = find_cuts(circuit, options, DeviceConstraints(qubits_per_subcircuit=width))
        except ValueError:  # nothing so narrow, or so cheap
            continue
        yield _labels(found, graph)


def stand_in(graph: Interactions) -> QuantumCircuit:
    """Return a circuit of as many gates on the same qubits, with the same gamma."""
    circuit = QuantumCircuit(graph.num_qubits)
    for (a, b), prices in zip(graph.qubit[graph.blocks].tolist(), graph.prices, strict=True):
        for price in prices:
            circuit.append(_gate(price), [a, b])
    return circuit


def _gate(price: Price) -> Instruction:
    """Return an RZZ, whose gamma is 1 + 2 |sin x|, or a SWAP, whose gamma is 7."""
    gamma = sqrt(exp(min(price.log_overhead, 10.0)))
    return RZZGate(asin(min(1.0, (gamma - 1) / 2))) if gamma < 3.001 else SwapGate()


def _labels(circuit: QuantumCircuit, graph: Interactions) -> np.ndarray:
    """Return the parts (ends,) that the finder's cuts leave."""
    rows = [np.flatnonzero(graph.qubit == q).tolist() for q in range(graph.num_qubits)]
    turned: set[int] = set()  # ends behind a wire cut
    here = [-1] * graph.num_qubits  # place of each qubit in its row
    gates = iter([block for block, some in enumerate(graph.prices) for _ in some])
    joined: list[tuple[int, int]] = []
    last = -1
    for instruction in circuit.data:
        qubits = [circuit.find_bit(q).index for q in instruction.qubits]
        if instruction.operation.name == "cut_wire":
            turned.add(rows[qubits[0]][here[qubits[0]] + 1])
            continue
        block = next(gates)
        for qubit in qubits if block != last else ():
            here[qubit] += 1
        last = block
        if not instruction.operation.name.startswith("qpd_"):
            joined.append((int(graph.blocks[block, 0]), int(graph.blocks[block, 1])))
    joined += [(int(w), int(w) + 1) for w in graph.wires if w + 1 not in turned]
    low, high = np.array(joined, dtype=int).reshape(-1, 2).T
    size = graph.num_ends
    matrix = coo_matrix((np.ones(len(low)), (low, high)), shape=(size, size))
    return np.asarray(connected_components(matrix, directed=False)[1], dtype=int)
