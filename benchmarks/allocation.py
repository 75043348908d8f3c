"""How many times as many shots uniform allocation needs as optimal, for the same error.

`sampled` mode, the benchmark circuits of `query.py` first, then circuits chosen because
dealing shots by a pilot round could lose there: many terms, a wire cut, cut gates that
hardly do anything, values near +-1 where a pilot round sees one outcome only, and two
observables of different size of which one is served first.

    python benchmarks/allocation.py [--shots 256 1024] [--repetitions 150]

An error falls with the square root of the shots, so the ratio is (mean squared error x shots
spent) of uniform over that of optimal. Errors are against the statevector of the uncut
circuit, over all parameter sets (and observables, where a line names none); shots are those in
the estimator's trace, of all repetitions. In brackets the 95 % bootstrap interval over
repetitions. The last lines hold two claims against the table: uniform needs at least 1.6 times
the shots on ABCD, and optimal never more than 1.1 times those of uniform. Optimal allocation
lowers the sum over observables; lines of one of several ("no.") are outside the claims.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from addon_baseline import qnn_circuit
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator

PARAMETER_SETS = 12
RESAMPLES = 2000

#: The claims: least ratio on the benchmark circuit with three cuts, and on any circuit.
CLAIMED_ON, CLAIMED, CLAIMED_EVERYWHERE = "qnn ABCD", 1.6, 1 / 1.1

#: Times as many repetitions of the first, whose ratio is near what is claimed.
SETTLING = 4


@dataclass(frozen=True)
class Case:
    """A circuit, how it is cut (None: at its markers), and what is asked of it."""

    name: str
    circuit: QuantumCircuit
    labels: str | None
    observables: tuple[SparsePauliOp, ...]
    values: np.ndarray  # (parameter sets, parameters)


@dataclass(frozen=True)
class Spending:
    """Squared errors (repetitions, observables, parameter sets) and shots of all together."""

    squares: np.ndarray
    shots: float

    def of(self, observable: int) -> Spending:
        """Return the errors of one observable, which cost the same."""
        return Spending(self.squares[:, [observable]], self.shots)


@dataclass(frozen=True)
class Ratio:
    """A measured ratio with the ends of its 95 % interval."""

    name: str
    shots: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def against(self, claimed: float) -> str:
        """Return a sentence on whether the ratio is at least what is claimed."""
        verdict = "fails" if self.high < claimed else "is within the noise"
        if self.low >= claimed:
            verdict = "holds"
        return f"{self.name}, {self.shots} shots: {self}; at least {claimed:.2f} {verdict}"


def main() -> None:
    """Print the table and what it says about the claims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--repetitions", type=int, default=150)
    options = parser.parse_args()
    started = time.perf_counter()
    print(
        f"{PARAMETER_SETS} parameter sets, {options.repetitions} repetitions "
        f"({CLAIMED_ON} {SETTLING} times as many)"
    )
    print(
        f"{'circuit':30} {'shots':>5} {'uniform spent':>13} {'optimal spent':>13} "
        f"{'rmse uniform':>12} {'rmse optimal':>12}  uniform / optimal"
    )
    ratios = [
        measure(case, shots, options.repetitions) for shots in options.shots for case in cases()
    ]
    judge(ratios)
    print(f"{time.perf_counter() - started:.0f} s")


def judge(ratios: Sequence[Ratio]) -> None:
    """Say whether the claims hold for what was measured."""
    for ratio in ratios:
        if ratio.name == CLAIMED_ON:
            print(ratio.against(CLAIMED))
    below = [ratio for ratio in ratios if ratio.value < CLAIMED_EVERYWHERE]
    for ratio in below or [min(ratios, key=lambda ratio: ratio.value)]:
        print(ratio.against(CLAIMED_EVERYWHERE))


# -- the circuits ----------------------------------------------------------------------


def cases() -> Iterator[Case]:
    """Yield what is measured, the benchmark circuits first."""
    for labels in ("AABB", "AABC", "ABCD", "AABBCC", "ABCDEF"):
        circuit = qnn_circuit(len(labels), feature_reps=2)
        yield case(f"qnn {labels}", circuit, labels, "Z" * len(labels), anywhere(circuit))
    qnn = qnn_circuit(4, feature_reps=2)
    terms = SparsePauliOp(
        ["IIZZ", "IZZI", "ZZII", "IIIX", "IIXI", "IXII", "XIII"], 3 * [1] + 4 * [0.5]
    )
    for labels in ("AABB", "ABCD"):
        yield case(f"qnn {labels}, 7 terms", qnn, labels, terms, anywhere(qnn))
    wire = entangled("cx", cut_wires=(1, 2))
    yield case("wires cut, ZZZZ", wire, None, "ZZZZ", anywhere(wire))
    yield case("wires cut, 7 terms", wire, None, terms, anywhere(wire))
    for angle in (0.02, 0.1, 1.0):
        rzz = entangled("rzz", angle)
        for labels in ("AABB", "ABCD"):
            yield case(f"RZZ({angle}) {labels}", rzz, labels, "ZZZZ", anywhere(rzz))
    for name, circuit in (("CX", entangled("cx")), ("RZZ(0.1)", entangled("rzz", 0.1))):
        for labels in ("AABB", "ABCD"):
            for width in (0.1, 0.3):
                values = near_one(circuit, width)
                yield case(f"{name} {labels}, near 1 by {width}", circuit, labels, "ZZZZ", values)
    two = ("ZZZZ", SparsePauliOp("IIIX", 0.1))
    yield case("qnn AABB, 2 observables", qnn, "AABB", two, anywhere(qnn))


def case(
    name: str,
    circuit: QuantumCircuit,
    labels: str | None,
    observables: str | SparsePauliOp | tuple[str | SparsePauliOp, ...],
    values: np.ndarray,
) -> Case:
    """Return a case with its observables as sums of Paulis."""
    many = observables if isinstance(observables, tuple) else (observables,)
    return Case(name, circuit, labels, tuple(SparsePauliOp(o) for o in many), values)


def entangled(gate: str, *angles: float, cut_wires: Sequence[int] = ()) -> QuantumCircuit:
    """Return RY, a chain of one gate, RY on four qubits, some wires cut within the chain."""
    before, after = ParameterVector("a", 4), ParameterVector("b", 4)
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(before[qubit], qubit)
    for qubit in range(3):
        if qubit in cut_wires:
            circuit.append(CutWire(), [qubit])
        getattr(circuit, gate)(*angles, qubit, qubit + 1)
    for qubit in range(4):
        circuit.ry(after[qubit], qubit)
    return circuit


def anywhere(circuit: QuantumCircuit) -> np.ndarray:
    """Return parameter sets in [0, pi]."""
    return np.random.default_rng(7).uniform(0, np.pi, (PARAMETER_SETS, circuit.num_parameters))


def near_one(circuit: QuantumCircuit, width: float) -> np.ndarray:
    """Return rotations within `width` of 0 or pi: qubits are nearly in a basis state."""
    rng = np.random.default_rng(7)
    shape = (PARAMETER_SETS, circuit.num_parameters)
    return rng.choice([0, np.pi], shape) + rng.uniform(-width, width, shape)


# -- measuring -------------------------------------------------------------------------


def measure(case: Case, shots: int, repetitions: int) -> Ratio:
    """Print a case's line, and one for each observable where it has several."""
    exact = exact_values(case)
    repetitions *= SETTLING if case.name == CLAIMED_ON else 1
    uniform = spend(case, exact, shots, repetitions, "uniform")
    optimal = spend(case, exact, shots, repetitions, "optimal")
    ratio = report(case.name, shots, uniform, optimal)
    if len(case.observables) > 1:
        for k in range(len(case.observables)):
            report(f"    no. {k + 1}", shots, uniform.of(k), optimal.of(k))
    return ratio


def report(name: str, shots: int, uniform: Spending, optimal: Spending) -> Ratio:
    """Print one line and return its ratio."""
    a, b = (spending.squares.mean(axis=(1, 2)) for spending in (uniform, optimal))
    low, high = interval(a * uniform.shots, b * optimal.shots)
    value = a.mean() * uniform.shots / (b.mean() * optimal.shots)
    ratio = Ratio(name, shots, float(value), low, high)
    print(
        f"{name:30} {shots:5} {uniform.shots:13.0f} {optimal.shots:13.0f} "
        f"{np.sqrt(a.mean()):12.5f} {np.sqrt(b.mean()):12.5f}  {ratio}",
        flush=True,
    )
    return ratio


def exact_values(case: Case) -> np.ndarray:
    """Return the uncut circuit's values, (observables, parameter sets)."""
    uncut = case.circuit.copy_empty_like()
    for step in case.circuit.data:
        if step.operation.name != "cut_wire":
            uncut.append(step)
    pub = (uncut, [[o] for o in case.observables], case.values)
    return StatevectorEstimator().run([pub]).result()[0].data.evs


def spend(case: Case, exact: np.ndarray, shots: int, repetitions: int, allocation: str) -> Spending:
    """Return the errors of many repetitions and all that they cost."""
    estimator = CutEstimator(
        labels=case.labels, shots=shots, seed=1, mode="sampled", shot_allocation=allocation
    )
    pub = (case.circuit, [[o] for o in case.observables], case.values)
    results = estimator.run([pub] * repetitions).result()
    batches = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    return Spending(
        np.array([(r.data.evs - exact) ** 2 for r in results]),
        sum(r["shots"] * r["subexperiments"] for r in batches),
    )


def interval(uniform: np.ndarray, optimal: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of two means, each side resampled on its own."""
    n = len(uniform)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=(2, RESAMPLES))
    low, high = np.quantile((weights[0] @ uniform) / (weights[1] @ optimal), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
