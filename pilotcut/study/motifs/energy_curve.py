"""Motif C.3: a potential energy curve, by variational problems that share what they measured.

One circuit prepares all states, and the Hamiltonians of all distances are sums of the same Pauli
strings. So what one problem has measured at its angles is an energy of each of the others too. All
optimise side by side, a set of angles each an iteration, which is one batch; between iterations
each learns from what all have measured.

References
----------
Self et al., npj Quantum Information 7, 116 (2021): Bayesian optimisers that share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from pilotcut import CutEstimator
from pilotcut.study.motifs.answer import Answer
from pilotcut.study.motifs.molecules import CHEMICAL_ACCURACY, distances, molecule
from pilotcut.study.motifs.variational import halves
from pilotcut.tasks import TaskManager

RIGHT = "with sharing, fewer circuits to chemical accuracy on the whole curve than without"
SMALL: dict[str, Any] = {"points": 5}
LARGE: dict[str, Any] = {"points": 10}

MOST_ITERATIONS = 100
#: How many standard deviations below its mean a place may be hoped to be.
HOPE = 1.0
CANDIDATES = 1000
#: Where angles are looked for, in radians.
LEAST, MOST = -1.5, 1.5
#: The excitations of H2's two electrons: both, and each with its spin.
EXCITATIONS = ("XXXY", "IXIY", "XIYI")


def excited(qubits: int) -> QuantumCircuit:
    """Return Hartree-Fock's state of H2 with rotations towards its excited ones behind it."""
    circuit = QuantumCircuit(qubits)
    circuit.x([0, 1])
    for label, angle in zip(EXCITATIONS, ParameterVector("a", len(EXCITATIONS)), strict=True):
        circuit.append(PauliEvolutionGate(SparsePauliOp(label), angle / 2), range(qubits))
    return circuit.decompose(reps=2)


class Problem:
    """A Bayesian optimiser of the energy at one distance.

    Parameters
    ----------
    weights
        (terms,), its Hamiltonian.
    accurate
        The energy that is low enough.
    """

    def __init__(self, weights: np.ndarray, accurate: float) -> None:
        self._weights = weights
        self._accurate = accurate
        self._angles: list[np.ndarray] = []
        self._energies: list[float] = []

    def learn(self, angles: np.ndarray, values: np.ndarray) -> None:
        """Take expectation values (rows, terms) that somebody has measured at (rows, angles)."""
        self._angles += list(angles)
        self._energies += (values @ self._weights).tolist()

    @property
    def best(self) -> float:
        """The lowest energy so far."""
        return min(self._energies, default=np.inf)

    @property
    def is_accurate(self) -> bool:
        """Whether that is low enough."""
        return self.best < self._accurate

    def propose(self, rng: np.random.Generator) -> np.ndarray:
        """Return the angles to measure next."""
        candidates = rng.uniform(LEAST, MOST, size=(CANDIDATES, len(EXCITATIONS)))
        if not self._energies:
            return candidates[0]
        near = self._angles[int(np.argmin(self._energies))]
        close = near + rng.normal(scale=0.1, size=candidates.shape)
        candidates = np.vstack([candidates, close]).clip(LEAST, MOST)
        model = GaussianProcessRegressor(
            ConstantKernel(1.0) * RBF(1.0), alpha=1e-8, optimizer=None, normalize_y=True
        )
        model.fit(np.array(self._angles), np.array(self._energies))
        mean, spread = model.predict(candidates, return_std=True)
        found: np.ndarray = candidates[np.argmin(mean - HOPE * spread)]
        return found


def circuits_needed(
    estimator: CutEstimator,
    terms: SparsePauliOp,
    problems: list[Problem],
    *,
    shared: bool,
    seed: int,
) -> int:
    """Optimise until all are accurate; return how many sets of angles were measured."""
    circuit = excited(terms.num_qubits)
    rng, measured = np.random.default_rng(seed), 0
    for _ in range(MOST_ITERATIONS):
        todo = [problem for problem in problems if not problem.is_accurate]
        if not todo:
            break
        angles = np.array([problem.propose(rng) for problem in todo])
        observables = [[SparsePauliOp(pauli)] for pauli in terms.paulis]
        (result,) = estimator.run([(circuit, observables, angles)]).result()
        values = result.data.evs.T
        measured += len(angles)
        for row, proposer in enumerate(todo):
            for problem in problems if shared else [proposer]:
                problem.learn(angles[row : row + 1], values[row : row + 1])
    return measured


def run(tasks: TaskManager, *, points: int, seed: int = 7) -> Answer:
    """Compute the curve of H2 at `points` distances, with and without sharing."""
    every = distances("H2")
    chosen = [every[k] for k in np.linspace(0, len(every) - 1, points).round().astype(int)]
    curve = [molecule(f"H2 {distance:g}") for distance in chosen]
    terms = curve[0].hamiltonian
    labels = terms.paulis.to_labels()
    needed, energies, worst = {}, {}, 0.0
    for shared in (True, False):
        problems = []
        for of in curve:
            weight = dict(of.hamiltonian.to_list())
            weights = np.array([weight[label].real for label in labels])
            problems.append(Problem(weights, of.exact + CHEMICAL_ACCURACY))
        estimator = CutEstimator(tasks, labels=halves(terms.num_qubits), mode="exact")
        needed[shared] = circuits_needed(estimator, terms, problems, shared=shared, seed=seed)
        above = [problem.best - of.exact for problem, of in zip(problems, curve, strict=True)]
        worst = max(worst, *above)
        energies["energies" if shared else "energies_alone"] = [p.best for p in problems]
    return Answer(
        f"{points} distances of H2: {needed[True]} circuits with sharing, {needed[False]} without, "
        f"at most {worst * 1e3:.1f} mhartree above the ground states",
        needed[True] < needed[False] and worst < CHEMICAL_ACCURACY,
        {
            "shared": needed[True],
            "alone": needed[False],
            "worst": worst,
            "distances": chosen,
            **energies,
            "exact": [[distance, molecule(f"H2 {distance:g}").exact] for distance in every],
        },
    )
