"""Motif C.5: a small model proposes circuits, pilots tell their energies, the model learns.

References
----------
Nakaji et al., "The generative quantum eigensolver", arXiv:2401.09253. Here the model is recurrent
and learns by policy gradients (REINFORCE) with the mean of a generation as the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp

from pilotcut.study.motifs.answer import Answer
from pilotcut.study.motifs.molecules import molecule
from pilotcut.tasks import TaskManager

RIGHT = "the best circuit of the model has less energy than the best of as many random ones"
SMALL: dict[str, Any] = {"generations": 25, "size": 40, "length": 8}
LARGE: dict[str, Any] = {"generations": 100, "size": 200, "length": 16}

NAME = "H4 1"
ANGLES = (-0.4, -0.1, 0.1, 0.4)
#: Circuits of a task.
BUNDLE = 10
RATE = 0.03


@cache
def pool() -> list[tuple[str, float]]:
    """Return the gates to choose from: excitations of two electrons, each by some angles.

    An excitation moves one electron of each spin from an occupied orbital to an empty one, and is
    its first Pauli string without the Z between (Tang et al., arXiv:1911.10205).
    """
    of = molecule(NAME)
    occupied, empty = range(of.electrons), range(of.electrons, of.qubits)
    found = []
    for up, down, to_up, to_down in product(occupied, occupied, empty, empty):
        spins = [orbital % 2 for orbital in (up, down, to_up, to_down)]
        if spins == [0, 1, 0, 1]:
            label = ["I"] * of.qubits
            for orbital, pauli in ((up, "Y"), (down, "X"), (to_up, "X"), (to_down, "X")):
                label[of.qubits - 1 - orbital] = pauli
            found += [("".join(label), angle) for angle in ANGLES]
    return found


@cache
def gates(number: int) -> QuantumCircuit:
    """Return an excitation of the pool in gates that a simulator has."""
    label, angle = pool()[number]
    circuit = QuantumCircuit(len(label))
    circuit.append(PauliEvolutionGate(SparsePauliOp(label), angle), circuit.qubits)
    return transpile(circuit, basis_gates=["u", "cx"], optimization_level=1)


@cache
def _matrix() -> Any:
    return molecule(NAME).hamiltonian.to_matrix(sparse=True)


def energies_of(proposals: Sequence[Sequence[int]]) -> list[float]:
    """Return the energies of circuits, each the gates of these numbers in the pool."""
    from qiskit_aer import AerSimulator

    of, simulator = molecule(NAME), AerSimulator(method="statevector")
    circuits = []
    for proposal in proposals:
        circuit = QuantumCircuit(of.qubits)
        circuit.x(range(of.electrons))
        for number in proposal:
            circuit.compose(gates(number), inplace=True)
        circuit.save_statevector()  # of Aer
        circuits.append(circuit)
    run, matrix = simulator.run(circuits).result(), _matrix()
    states = [np.asarray(run.get_statevector(k)) for k in range(len(circuits))]
    return [float(np.vdot(state, matrix @ state).real) for state in states]


class Proposer(torch.nn.Module):
    """A recurrent network that draws sequences of gates, one after the other."""

    def __init__(self, gates: int, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(gates + 1, hidden)  # the last: nothing yet
        self.cell = torch.nn.GRUCell(hidden, hidden)
        self.head = torch.nn.Linear(hidden, gates)
        self._begin = gates

    def forward(
        self, count: int, length: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sequences (count, length) and the logarithms of their probabilities (count,)."""
        last = torch.full((count,), self._begin)
        state = torch.zeros(count, self.cell.hidden_size)
        logs, drawn = torch.zeros(count), []
        for _ in range(length):
            state = self.cell(self.embedding(last), state)
            chances = torch.log_softmax(self.head(state), dim=1)
            last = torch.multinomial(chances.exp(), 1, generator=generator)[:, 0]
            logs = logs + chances.gather(1, last[:, None])[:, 0]
            drawn.append(last)
        return torch.stack(drawn, dim=1), logs


def measured(tasks: TaskManager, proposals: np.ndarray, group: str) -> np.ndarray:
    """Return the energies of (circuits, gates), computed on pilots."""
    parts = [proposals[k : k + BUNDLE].tolist() for k in range(0, len(proposals), BUNDLE)]
    futures = [
        tasks.submit_task(energies_of, part, name=f"{group}.{number}")
        for number, part in enumerate(parts)
    ]
    return np.concatenate([future.result() for future in futures])


def run(tasks: TaskManager, *, generations: int, size: int, length: int, seed: int = 7) -> Answer:
    """Train the model for some generations of circuits, and draw as many at random."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Proposer(len(pool()))
    steps = torch.optim.Adam(model.parameters(), lr=RATE)
    best, means = np.inf, []
    for generation in range(generations):
        proposals, logs = model(size, length, generator)
        energies = measured(tasks, proposals.numpy(), f"generation-{generation}")
        best = min(best, float(energies.min()))
        means.append(float(energies.mean()))
        advantage = torch.tensor(energies - energies.mean(), dtype=torch.float32)
        loss = (advantage / (advantage.std() + 1e-9) * logs).mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
    draws = np.random.default_rng(seed).integers(len(pool()), size=(generations * size, length))
    random = float(measured(tasks, draws, "random").min())
    of = molecule(NAME)
    return Answer(
        f"{generations * size:,} circuits of {length} gates for {NAME}: the model's best has "
        f"{best:.4f} hartree, the best of as many random ones {random:.4f} (Hartree-Fock "
        f"{of.hartree_fock:.4f}, exact {of.exact:.4f}); the mean fell from {means[0]:.3f} to "
        f"{means[-1]:.3f}",
        best < random,
        {"best": best, "random": random, "means": means},
    )
