"""Motif C.2: algorithms that follow a value downhill, one iteration after the other.

A ground state by VQE (Peruzzo et al., arXiv:1304.3061) and a cut of a graph by QAOA (Farhi et al.,
arXiv:1411.4028), with circuits that are cut and with the same ones whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutQNN, compile_plan, cut_qnn, most_probable
from pilotcut.study.motifs.answer import Answer
from pilotcut.study.motifs.molecules import CHEMICAL_ACCURACY, Molecule, molecule
from pilotcut.tasks import TaskManager

RIGHT = "chemical accuracy, and the best cut of the graph, cut and uncut alike"
SMALL: dict[str, Any] = {"name": "H2 0.735", "reps": 1, "iterations": 60, "nodes": 6}
LARGE: dict[str, Any] = {"name": "H4 1", "reps": 10, "iterations": 1500, "nodes": 12}

LAYERS = 2


def ground_state_circuit(of: Molecule, reps: int) -> QuantumCircuit:
    """Return Hartree-Fock's product of orbitals with real rotations and CX in lines behind it."""
    circuit = QuantumCircuit(of.qubits)
    circuit.x(range(of.electrons))
    return circuit.compose(real_amplitudes(of.qubits, reps=reps, entanglement="linear"))


def minimised(network: CutQNN, iterations: int) -> list[float]:
    """Follow the gradient of a network's one output by L-BFGS; return all values met."""
    steps = torch.optim.LBFGS(
        network.parameters(),
        max_iter=iterations,
        line_search_fn="strong_wolfe",
        tolerance_change=1e-9,
    )
    none = torch.zeros(1, 0, dtype=torch.float64)
    met: list[float] = []

    def closure() -> torch.Tensor:
        steps.zero_grad()
        value = network(none).sum()
        value.backward()
        met.append(float(value.detach()))
        return value

    steps.step(closure)
    return met


def halves(qubits: int) -> str:
    """Return labels of two halves.

    Examples
    --------
    >>> halves(4)
    'AABB'
    """
    return "A" * (qubits // 2) + "B" * (qubits - qubits // 2)


def energies(
    tasks: TaskManager, of: Molecule, reps: int, iterations: int, **cut: Any
) -> list[float]:
    """Return the energies that VQE meets, in hartree, of a circuit cut as said."""
    circuit = ground_state_circuit(of, reps)
    start = np.random.default_rng(7).normal(scale=0.1, size=circuit.num_parameters)
    network = cut_qnn(
        circuit, of.hamiltonian, weight_params=circuit.parameters, tasks=tasks,
        initial_weights=start, **cut,
    )  # fmt: skip
    return minimised(network, iterations)


def maxcut(nodes: int, layers: int) -> tuple[QuantumCircuit, SparsePauliOp]:
    """Return QAOA's circuit for a ring of nodes, and minus the number of edges it cuts."""
    edges = [(k, (k + 1) % nodes) for k in range(nodes)]
    circuit = QuantumCircuit(nodes)
    circuit.h(range(nodes))
    for layer in range(layers):
        gamma, beta = Parameter(f"a{layer}"), Parameter(f"b{layer}")
        for edge in edges:
            circuit.rzz(gamma, *edge)
        circuit.rx(beta, range(nodes))
    terms = [("ZZ", list(edge), 0.5) for edge in edges] + [("", [], -0.5 * nodes)]
    return circuit, SparsePauliOp.from_sparse_list(terms, num_qubits=nodes)


def best_cut(tasks: TaskManager, nodes: int, iterations: int, **cut: Any) -> tuple[float, int]:
    """Return the expected number of edges cut that QAOA reaches, and those of its likeliest cut."""
    circuit, cost = maxcut(nodes, LAYERS)
    start = [0.6, 0.9] * LAYERS
    network = cut_qnn(
        circuit, cost, weight_params=circuit.parameters, tasks=tasks, initial_weights=start, **cut
    )
    reached = -min(minimised(network, iterations))
    plan = compile_plan(circuit, **cut)
    peaks = most_probable(plan, network.weights.detach().numpy(), tasks=tasks)
    (bits,) = peaks.probabilities
    return reached, sum(bits[k] != bits[k - 1] for k in range(nodes))


def run(tasks: TaskManager, *, name: str, reps: int, iterations: int, nodes: int) -> Answer:
    """Find a molecule's ground state and a ring's best cut, with circuits in halves and whole."""
    of = molecule(name)
    above = {
        how: [one - of.exact for one in energies(tasks, of, reps, iterations, **cut)]
        for how, cut in (("cut", {"labels": halves(of.qubits)}), ("uncut", {}))
    }
    errors = {how: min(some) for how, some in above.items()}
    reached, likeliest = best_cut(tasks, nodes, iterations, labels=halves(nodes))
    whole, _ = best_cut(tasks, nodes, iterations)
    accurate = all(abs(error) < CHEMICAL_ACCURACY for error in errors.values())
    # A ring of more than 2 p + 1 nodes has (2 p + 1) / (2 p + 2) of its edges cut with p layers.
    known = nodes * (2 * LAYERS + 1) / (2 * LAYERS + 2)
    return Answer(
        f"{name}: {errors['cut']:.1e} hartree above the ground state cut, {errors['uncut']:.1e} "
        f"uncut (chemical accuracy is {CHEMICAL_ACCURACY}); a ring of {nodes}: {reached:.4f} edges "
        f"expected cut, {whole:.4f} uncut, known {known:.4f}, the likeliest cuts {likeliest}",
        accurate and max(abs(reached - known), abs(whole - known)) < 1e-3 and likeliest == nodes,
        {
            "errors": errors,
            "above": above,
            "expected_edges": reached,
            "uncut": whole,
            "likeliest": likeliest,
        },
    )
