"""Hamiltonians beside Aer's estimator: seconds of a value, and of a gradient by all weights.

    python benchmarks/hamiltonians.py [--repeats 5] [--only tfim-20 random-12] [--shots 1024]

RealAmplitudes(reps=2, chains of CX), cut into halves at the CX between them, two in all; with
`--thirds` RealAmplitudes(reps=1) in three fragments, two cuts too. One process, one thread, medians
of `--repeats` with min-max; what is done once for a circuit (cutting, compiling) is outside the
clock, in the first call.

- "exact", "sampled" and "counts" are ours with two cuts, each subexperiment with `--shots` shots;
  "exact, states" computes the fragments' states where "exact" may join them; "exact, uncut" is ours
  without cuts.
- "Aer EstimatorV2, uncut" simulates the whole circuit, exactly (precision 0).

Values are those of one parameter set. Gradients are by all weights of one parameter set: ours by
`backward` (with shots that is the parameter shift over the fragments), Aer's by the parameter
shift, in one job of 2p parameter sets for p weights. Where that would take minutes, it is measured
for `SHIFTED` weights and scaled, and marked "est."; ours is left out then.

Every exact column must agree with Aer to 1e-8 of the norm of the coefficients, those with shots to
6 standard errors, or its line says so.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.primitives import EstimatorV2

from pilotcut import CutEstimator, cut_qnn

#: Weights of which Aer's parameter shift is measured where all would take long.
SHIFTED = 4

AER = "Aer EstimatorV2, uncut"

#: Seconds of a value above which no gradient of ours is measured: it would take minutes.
LONGEST_S = 2.0

#: Seconds of a value in Aer above which its gradient is scaled.
LONG_S = 0.5


@dataclass(frozen=True)
class Case:
    """A Hamiltonian, and how many fragments two cuts leave."""

    name: str
    hamiltonian: SparsePauliOp
    fragments: int

    @property
    def circuit(self) -> QuantumCircuit:
        """A circuit that so many labels cut twice."""
        reps = 2 // (self.fragments - 1)
        return real_amplitudes(self.hamiltonian.num_qubits, reps=reps, entanglement="linear")

    @property
    def labels(self) -> str:
        """The labels, in even pieces."""
        qubits = self.hamiltonian.num_qubits
        return "".join("ABC"[q * self.fragments // qubits] for q in range(qubits))


@dataclass(frozen=True)
class Column:
    """One way to compute: a function for the value, one for the gradient."""

    value: Callable[[], float]
    gradient: Callable[[], np.ndarray]
    scale: float = 1.0  # what the gradient's time is multiplied by
    error: Callable[[], float] = lambda: 0.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1024)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--columns", nargs="*", help="beginnings of names of columns")
    parser.add_argument("--thirds", action="store_true", help="three fragments")
    parser.add_argument("--values", action="store_true", help="no gradients")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'case':14} {'terms':>5}  {'column':26} {'value ms':>34} {'gradient ms':>34}")
    for case in cases(3 if options.thirds else 2):
        if not options.only or case.name in options.only:
            compare(case, options)


def cases(fragments: int) -> list[Case]:
    """Return the Hamiltonians."""
    return [
        Case("heisenberg-16", heisenberg(16), fragments),
        Case("tfim-20", tfim(20), fragments),
        Case("hubbard-12", hubbard(6), fragments),
        Case("random-12", random_terms(12, 500), fragments),
    ]


def heisenberg(qubits: int) -> SparsePauliOp:
    """Return sum XX + YY + ZZ over the neighbours of a chain."""
    terms = [(2 * p, [q, q + 1], 1.0) for q in range(qubits - 1) for p in "XYZ"]
    return SparsePauliOp.from_sparse_list(terms, qubits)


def tfim(qubits: int) -> SparsePauliOp:
    """Return the transverse-field Ising chain at its critical point, -sum ZZ - sum X."""
    terms = [("ZZ", [q, q + 1], -1.0) for q in range(qubits - 1)]
    terms += [("X", [q], -1.0) for q in range(qubits)]
    return SparsePauliOp.from_sparse_list(terms, qubits)


def hubbard(sites: int, hopping: float = 1.0, repulsion: float = 4.0) -> SparsePauliOp:
    """Return the Hubbard chain by Jordan-Wigner, spins up before spins down."""
    terms = []
    for spin in (0, 1):
        for site in range(sites - 1):
            q = spin * sites + site
            terms += [(2 * p, [q, q + 1], -hopping / 2) for p in "XY"]
    for site in range(sites):
        up, down = site, site + sites
        quarter = repulsion / 4
        terms += [("", [], quarter), ("ZZ", [up, down], quarter)]
        terms += [("Z", [q], -quarter) for q in (up, down)]
    return SparsePauliOp.from_sparse_list(terms, 2 * sites).simplify()


def random_terms(qubits: int, terms: int) -> SparsePauliOp:
    """Return distinct Pauli strings, each letter as likely, with normal coefficients."""
    rng = np.random.default_rng(0)
    labels: dict[str, float] = {}
    while len(labels) < terms:
        labels.setdefault("".join(rng.choice(list("IXYZ"), qubits)), float(rng.normal()))
    return SparsePauliOp(list(labels), list(labels.values()))


def compare(case: Case, options: argparse.Namespace) -> None:
    """Measure all columns of one Hamiltonian."""
    circuit = case.circuit
    values = np.random.default_rng(1).uniform(-np.pi, np.pi, circuit.num_parameters)
    makers = {
        AER: aer,
        "exact, 2 cuts": lambda *given: ours(*given, mode="exact", labels=case.labels),
        "exact, states": lambda *given: ours(
            *given, mode="exact", labels=case.labels, engine="statevector"
        ),
        "exact, uncut": lambda *given: ours(*given, mode="exact"),
        **{
            f"{mode}, 2 cuts, {options.shots:,}": lambda *given, mode=mode: ours(
                *given, mode=mode, labels=case.labels, shots=options.shots, seed=1
            )
            for mode in ("sampled", "counts")
        },
    }
    size = float(np.linalg.norm(case.hamiltonian.coeffs))
    right: float | None = None
    for name, make in makers.items():
        if options.columns and not name.startswith(tuple(options.columns)):
            continue
        column = make(circuit, case.hamiltonian, values)
        found = column.value()
        right = found if right is None else right
        agrees = abs(found - right) <= 1e-8 * size + 6 * column.error()
        value_s = timed(column.value, options.repeats)
        gradient = "-"
        if not options.values and (name == AER or min(value_s) < LONGEST_S):
            column.gradient()
            gradient_s = [column.scale * s for s in timed(column.gradient, options.repeats)]
            gradient = shown(gradient_s) + (" est." if column.scale > 1 else "")
        print(
            f"{case.name:14} {len(case.hamiltonian):5}  {name:26} {shown(value_s):>34} "
            f"{gradient:>34}{'' if agrees else f'  {found:.6f} is not {right:.6f}'}",
            flush=True,
        )


def ours(
    circuit: QuantumCircuit, hamiltonian: SparsePauliOp, values: np.ndarray, **how: object
) -> Column:
    """Return a column of ours."""
    estimator = CutEstimator(**how)
    pub = [(circuit, hamiltonian, values)]
    error = [0.0]

    def value() -> float:
        data = estimator.run(pub).result()[0].data
        error[0] = float(data.stds)
        return float(data.evs)

    network = cut_qnn(
        circuit, hamiltonian, weight_params=circuit.parameters, initial_weights=values, **how
    ).double()

    def gradient() -> np.ndarray:
        network.zero_grad()
        network().sum().backward()
        return network.weights.grad.numpy()

    return Column(value, gradient, error=lambda: error[0])


def aer(circuit: QuantumCircuit, hamiltonian: SparsePauliOp, values: np.ndarray) -> Column:
    """Return Aer's column, exact, with the parameter shift of RY."""
    # Its gates are native to Aer once the library's block is taken apart.
    circuit = circuit.decompose()
    estimator = EstimatorV2(
        options={"backend_options": {"max_parallel_threads": 1}, "run_options": {}}
    )

    def value() -> float:
        return float(
            estimator.run([(circuit, hamiltonian, values)], precision=0.0).result()[0].data.evs
        )

    started = time.perf_counter()
    value()
    value_s = time.perf_counter() - started
    weights = len(values)
    some = SHIFTED if value_s * 2 * weights > LONG_S * 2 * SHIFTED else weights
    shifts = np.pi / 2 * np.eye(weights)[:some]
    rows = np.concatenate([values + shifts, values - shifts])

    def gradient() -> np.ndarray:
        data = estimator.run([(circuit, hamiltonian, rows)], precision=0.0).result()[0].data
        return (data.evs[:some] - data.evs[some:]) / 2

    return Column(value, gradient, scale=weights / some)


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each of some calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return seconds


def shown(seconds: list[float]) -> str:
    """Return a median with least and most, in ms."""
    ms = [1e3 * s for s in seconds]
    return f"{statistics.median(ms):.1f} ({min(ms):.1f}-{max(ms):.1f})"


if __name__ == "__main__":
    main()
