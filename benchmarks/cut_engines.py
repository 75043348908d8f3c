"""One tool's answers to the cases of `cuts.py`, a JSON line each; started by it, not by hand.

    python cut_engines.py ENGINE DIRECTORY BUDGET_S

Each engine runs in an interpreter of its own, with the packages of its own, so nothing outside
Qiskit and Aer is imported before it is needed. The directory holds ``cases.json`` and a QPY file
a case.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import ceil, inf, prod
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy

#: The standard error that shots are scaled to, and the label of barriers that mark cut wires.
ERROR, MARK = 0.02, "cut"

#: Seconds after which a case is given up.
PATIENCE_S = 90

#: Repetitions: of the first guess, at least, at most, and of one call.
PILOT, LEAST, MOST, CHUNK = 8, 24, 400, 100

#: Circuits of a query, and their qubits, up to which an engine is measured.
AFFORDABLE = {"now": 20_000, "before": 20_000, "addon": 8000, "qcut": 700}
WIDEST = {"now": 16, "before": 16, "addon": 12, "qcut": 12}

#: How shots are dealt; the build before knows the first and the last.
ALLOCATIONS = ("uniform", "weighted", "optimal")

#: A measurement: values of so many repetitions, and the shots of one, from shots a circuit.
Sample = Callable[[int, int], tuple[np.ndarray, float]]


@dataclass
class Answer:
    """What an engine does with a case; None where it was not measured, `lacks` says why."""

    case: int
    engine: str
    how: str = ""
    cuts: int | None = None
    overhead: float | None = None
    experiments: int | None = None
    widest: int | None = None
    shots: float | None = None
    spread: float | None = None  # relative standard error of `shots`
    mean: float | None = None
    mean_error: float | None = None
    seconds: float = 0.0
    lacks: str = ""


#: What fills in an answer's plan, and returns how it is measured, if it is.
Plan = Callable[[Answer], Sample | None]


class Patience(Exception):  # noqa: N818
    """The case took too long."""


def main() -> None:
    """Answer all cases; from a given number of answers on, where these were given before."""
    warnings.simplefilter("ignore")
    engine, directory, budget_s = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    given = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    signal.signal(signal.SIGALRM, _give_up)
    for number, (answer, plan) in enumerate(questions(engine, directory)):
        if number < given:
            continue
        late = answered(answer, plan, budget_s)
        print(json.dumps(asdict(answer)), flush=True)
        if late:
            # A job's thread runs on, beside the cases after it: begin again without it.
            os.execv(sys.executable, [sys.executable, *sys.argv[:4], str(number + 1)])


def questions(engine: str, directory: Path) -> Iterator[tuple[Answer, Plan]]:
    """Yield an empty answer and what fills it in, for every case and way."""
    for number, case in enumerate(json.loads((directory / "cases.json").read_text())):
        with (directory / f"{number}.qpy").open("rb") as file:
            (loaded,) = qpy.load(file)
        # QCut refuses qubits without a register.
        case["circuit"] = QuantumCircuit(loaded.num_qubits).compose(loaded)
        for how, plan in PLANS[engine](case):
            yield Answer(number, engine, how), plan


def _give_up(*_: object) -> None:
    raise Patience(f"not within {PATIENCE_S} s")


def answered(answer: Answer, plan: Plan, budget_s: float) -> bool:
    """Fill in the answer, or what went wrong; return whether it was late."""
    started, late = time.perf_counter(), False
    signal.alarm(PATIENCE_S)
    try:
        sample = plan(answer)
        if sample is not None:
            measure(answer, sample, budget_s)
    except Exception as error:
        late = isinstance(error, Patience)
        answer.lacks = f"{type(error).__name__}: {error}".partition("\n")[0][:160]
    signal.alarm(0)
    answer.seconds = time.perf_counter() - started
    return late


def measure(answer: Answer, sample: Sample, budget_s: float, error: float = ERROR) -> None:
    """Fill in the shots for an error: guesses, then the spread at about that many shots.

    N = spread^2 * shots / error^2, measured where the spread is near the error: estimators are
    products of measured means, whose spread falls faster than 1 / sqrt(shots) where these are
    few.
    """
    shots = 1000
    # Guessed twice: from many shots a circuit it is too low for few, of which less can be dealt.
    guess = (PILOT, CHUNK, budget_s / 6)
    for least, most, limit_s in (guess, guess, (LEAST, MOST, budget_s)):
        values, started = np.empty(0), time.perf_counter()
        while len(values) < least or (
            len(values) < most and time.perf_counter() - started < limit_s
        ):
            some, spent = sample(shots, PILOT if len(values) < least else min(len(values), CHUNK))
            values = np.concatenate([values, some])
            # After every call, as patience may end.
            needed = noted(answer, values, spent, error)
        shots = int(np.clip(shots * needed / spent, 8, 10**7)) if spent else shots


def noted(answer: Answer, values: np.ndarray, spent: float, error: float) -> float:
    """Fill in what repetitions say; return the shots."""
    needed = float(np.var(values, ddof=1) * spent / error**2)
    answer.shots, answer.spread = needed, float(np.sqrt(2 / (len(values) - 1)))
    answer.mean = float(np.mean(values))
    answer.mean_error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return needed


def affordable(answer: Answer) -> bool:
    """Return whether the plan is measured, and say in the answer if not."""
    assert answer.experiments is not None
    assert answer.widest is not None
    if answer.experiments > AFFORDABLE[answer.engine]:
        answer.lacks = f"not measured: {answer.experiments:.3g} circuits"
    elif answer.widest > WIDEST[answer.engine]:
        answer.lacks = f"not measured: {answer.widest} qubits wide"
    return not answer.lacks


def marked(circuit: QuantumCircuit, marker: Callable[[], Any], most: int = 9**9) -> QuantumCircuit:
    """Return the circuit with a tool's own markers, and no gate on more than `most` qubits."""
    out = circuit.copy_empty_like()
    for step in circuit.data:
        if step.operation.name != "barrier":
            out.append(step)
        elif step.operation.label == MARK:
            out.append(marker(), step.qubits)
    while wide := {s.operation.name for s in out.data if len(s.qubits) > most}:
        out = out.decompose(sorted(wide))
    return out


# -- pilotcut ----------------------------------------------------------------------------


def pilotcut_plans(case: dict[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Yield the plan of least gamma^2 among the options there are, with every shot allocation.

    At wires that are marked, every way to cut them.
    """
    from qiskit_addon_cutting.instructions import CutWire

    from pilotcut import compile_plan

    circuit = marked(case["circuit"], CutWire)
    where = {"labels": case["labels"], "max_width": case["width"]}
    where = {key: value for key, value in where.items() if value}
    groups: list[list[dict[str, Any]]] = [[{}]]
    if case["engine_options"]:
        from pilotcut.options import WIRES

        # The first is "auto", which at marked wires is one of the others.
        ways = WIRES[:1] if where else WIRES[1:]
        groups = [[{"wires": one}, {"wires": one, "joint_cuts": True}] for one in ways]

    def plan_of(answer: Answer, some: list[dict[str, Any]], allocation: str) -> Sample | None:
        plans = [compile_plan(circuit, case["observable"], **where, **one) for one in some]
        best = min(range(len(plans)), key=lambda k: (round(plans[k].sampling_overhead, 6), k))
        plan = plans[best]
        answer.how = " ".join([allocation, *(str(v) for v in some[best].values())])
        answer.cuts, answer.overhead = plan.num_cuts, float(plan.sampling_overhead)
        answer.experiments, answer.widest = plan.num_subexperiments, max(plan.widths)
        if not affordable(answer):
            return None
        return pilotcut_sample(circuit, case["observable"], plan, allocation)

    for some in groups:
        for allocation in ALLOCATIONS if case["engine_options"] else ALLOCATIONS[::2]:
            yield allocation, lambda a, s=some, al=allocation: plan_of(a, s, al)


def pilotcut_sample(circuit: QuantumCircuit, observable: str, plan: Any, allocation: str) -> Sample:
    """Return a sampler of estimates: `CutEstimator` in sampled mode."""
    from pilotcut import CutEstimator

    seeds = itertools.count(1)

    def sample(shots: int, repetitions: int) -> tuple[np.ndarray, float]:
        estimator = CutEstimator(
            plan=plan, mode="sampled", shots=shots, seed=next(seeds), shot_allocation=allocation
        )
        results = estimator.run([(circuit, observable)] * repetitions).result()
        records = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        spent = sum(r["shots"] * r["subexperiments"] for r in records) / repetitions
        return np.array([float(r.data.evs) for r in results]), spent

    return sample


# -- qiskit-addon-cutting ----------------------------------------------------------------


def addon_plans(case: dict[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Yield the one plan: at the labels or marks, or what `find_cuts` finds for the width."""
    yield "", lambda answer: addon_sample(answer, case)


def addon_sample(answer: Answer, case: dict[str, Any]) -> Sample | None:
    """Return a sampler of estimates from the addon's own experiments and coefficients.

    Outcomes are drawn from the exact distribution of each experiment, by the addon's own
    simulator, with the same shots each; they are put together as
    ``reconstruct_expectation_values`` does it, a sum of products of means.
    """
    from qiskit.quantum_info import PauliList
    from qiskit_addon_cutting import (
        cut_wires,
        expand_observables,
        generate_cutting_experiments,
        partition_problem,
    )
    from qiskit_addon_cutting.automated_cut_finding import (
        DeviceConstraints,
        OptimizationParameters,
        find_cuts,
    )
    from qiskit_addon_cutting.instructions import CutWire

    circuit, paulis = marked(case["circuit"], CutWire, 2), PauliList([case["observable"]])
    if case["width"]:
        limits = DeviceConstraints(qubits_per_subcircuit=case["width"])
        circuit, about = find_cuts(circuit, OptimizationParameters(seed=0, max_gamma=1e9), limits)
        answer.cuts, answer.overhead = len(about["cuts"]), float(about["sampling_overhead"])
        if not about["minimum_reached"]:
            answer.how = "search stopped"
    expanded = cut_wires(circuit)
    paulis = expand_observables(paulis, circuit, expanded)
    problem = partition_problem(expanded, case["labels"] or None, paulis)
    answer.cuts = len(problem.bases)
    answer.overhead = float(prod(basis.overhead for basis in problem.bases))
    answer.widest = max(c.num_qubits for c in problem.subcircuits.values())
    terms = prod(len(basis.coeffs) for basis in problem.bases)
    answer.experiments = terms * len(problem.subcircuits)
    if not affordable(answer):
        return None
    experiments, weights = generate_cutting_experiments(
        problem.subcircuits, problem.subobservables, inf
    )
    answer.experiments = sum(map(len, experiments.values()))
    coefficients = np.array([weight for weight, _ in weights])
    known: dict[object, float] = {}
    ups = []
    for label, some in experiments.items():
        observable = problem.subobservables[label]
        chances = [probability_of_one(c, read_of(c, observable), known) for c in some]
        ups.append(np.array(chances))
    return drawn(coefficients, ups, np.random.default_rng(0))


def read_of(circuit: QuantumCircuit, observable: Any) -> int:
    """Return which bits of an experiment count for a partition's one sub-observable.

    For an identity the addon measures a qubit all the same, since a sampler wants a bit
    (findings/addon-identity-measures-a-qubit.sh).
    """
    identity = not (observable.x.any() or observable.z.any())
    dummies = [r for r in circuit.cregs if identity and r.name == "observable_measurements"]
    skipped = {circuit.find_bit(bit).index for register in dummies for bit in register}
    return sum(1 << k for k in range(circuit.num_clbits) if k not in skipped)


def probability_of_one(circuit: QuantumCircuit, read: int, known: dict[object, float]) -> float:
    """Return how likely an experiment's bits that are read have even parity: its value is 1."""
    from qiskit_addon_cutting.utils.simulation import simulate_statevector_outcomes

    # The simulator is slow, and many joint terms have the same circuit on one side.
    find = circuit.find_bit
    steps = (
        (
            step.operation.name,
            *map(float, step.operation.params),
            *(find(bit).index for bit in (*step.qubits, *step.clbits)),
        )
        for step in circuit.data
    )
    key = (read, *steps)
    if key not in known:
        outcomes = simulate_statevector_outcomes(circuit)
        even = (p for bits, p in outcomes.items() if (bits & read).bit_count() % 2 == 0)
        known[key] = float(sum(even))
    return known[key]


def drawn(coefficients: np.ndarray, ups: list[np.ndarray], rng: np.random.Generator) -> Sample:
    """Return a sampler of sums of products of means of signs."""

    def sample(shots: int, repetitions: int) -> tuple[np.ndarray, float]:
        total = np.broadcast_to(coefficients, (repetitions, len(coefficients)))
        for up in ups:
            counts = rng.binomial(shots, np.clip(up, 0, 1), (repetitions, len(up)))
            total = total * (2 * counts / shots - 1)
        return total.sum(axis=1), float(shots * sum(map(len, ups)))

    return sample


# -- QCut --------------------------------------------------------------------------------


def qcut_plans(case: dict[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Yield the one plan: at the labels or marks, or the cheapest that its finder finds."""
    yield "", lambda answer: qcut_sample(answer, case)


def qcut_sample(answer: Answer, case: dict[str, Any]) -> Sample | None:
    """Return a sampler of estimates by QCut's own run on Aer."""
    import QCut as ck  # noqa: N813
    from qiskit_aer import AerSimulator

    split = qcut_split(answer, case)
    answer.cuts, answer.overhead = len(split.cut_locations), float(split.gamma) ** 2
    answer.widest = max(split.num_qubits)
    if answer.overhead > 1e4:
        answer.lacks = "not measured: gamma^2 above 1e4"
        return None
    experiment = ck.get_experiment_circuits(split, [case["observable"]])
    answer.experiments = experiment.num_circuits
    if not affordable(answer):
        return None
    seeds = itertools.count(1)

    def sample(shots: int, repetitions: int) -> tuple[np.ndarray, float]:
        values = []
        for _ in range(repetitions):
            # Without Aer's shot branching, with which means were 4 to 7 standard errors off.
            backend = AerSimulator(
                method="statevector", seed_simulator=next(seeds), max_parallel_threads=1
            )
            results = ck.run_experiments(experiment, shots=shots, backend=backend)
            values.append(float(np.ravel(ck.estimate_expectation_values(results))[0]))
        return np.array(values), float(ck.estimate_run(experiment, shots).shots)

    return sample


def qcut_split(answer: Answer, case: dict[str, Any]) -> Any:
    """Return QCut's split of the case, every combination of terms enumerated."""
    import QCut as ck  # noqa: N813

    options = ck.CutOptions(expansion="exact")
    circuit, width = case["circuit"], case["width"]
    if not width:
        return ck.get_locations_and_subcircuits(qcut_marked(case), options=options)
    found, parts = [], ceil(circuit.num_qubits / width)
    for number in range(max(2, parts), parts + 3):
        asked = options.replace(finder_max_qubits=[width] * number, finder_num_partitions=number)
        try:
            split = ck.find_cuts(marked(circuit, ck.cut, 2), options=asked)
        except Patience:
            raise
        except Exception as error:
            answer.lacks = f"{type(error).__name__}: {error}"[:160]
            continue
        if max(split.num_qubits) <= width:
            found.append(split)
    if not found:
        raise ValueError(answer.lacks or f"no split within {width} qubits")
    answer.lacks = ""
    return min(found, key=lambda split: split.gamma)


def qcut_marked(case: dict[str, Any]) -> QuantumCircuit:
    """Return the circuit with gates between labels, or marked wires, as QCut marks them."""
    import QCut as ck  # noqa: N813

    circuit = marked(case["circuit"], ck.cut, 2)
    if not case["labels"]:
        return circuit
    out = circuit.copy_empty_like()
    for step in circuit.data:
        places = [circuit.find_bit(q).index for q in step.qubits]
        if len({case["labels"][place] for place in places}) == 1:
            out.append(step)
        else:
            out.append(**ck.cutGate(step.operation, *places))
    return out


PLANS: dict[str, Callable[[dict[str, Any]], Iterator[tuple[str, Plan]]]] = {
    "now": pilotcut_plans,
    "before": pilotcut_plans,
    "addon": addon_plans,
    "qcut": qcut_plans,
}


if __name__ == "__main__":
    main()
