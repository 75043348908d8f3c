"""Baseline by the outside competitor: qiskit-addon-cutting's own pipeline, a few queries of it.

Timed stage by stage: one simulator thread as for ours, every subexperiment in one sampler job,
no transpilation inside the clock, the simulator built outside it. Its column of 0 cuts is Aer's
sampler on the whole circuit, with as many shots. A whole training would take hours, so an epoch
is its queries, counted, times the seconds of one, measured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pilotcut.cutting.plan import compile_plan
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.findings import CellResult, chosen
from pilotcut.study.pilots import StudyPilots
from pilotcut.study.profiles import Profile
from pilotcut.training.model import classifier

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.primitives import PrimitiveResult
    from qiskit.quantum_info import PauliList
    from qiskit_aer.primitives import SamplerV2

NAME = "baseline"

NOTE = (
    "The addon's epochs are counted, not run: one query a test sample and 1 + 2 x weights a "
    "training sample (parameter shift), times the median seconds of a measured query."
)

#: What the simulator may use: as much as each worker of ours.
ONE_THREAD = {"max_parallel_threads": 1, "max_parallel_experiments": 1}

#: Measured queries by number of cuts; one of 3 cuts takes some 20 seconds.
QUERIES = {0: 5, 1: 5, 2: 2}


def cells(profile: Profile) -> list[Cell]:
    """Return a few queries of each number of cuts."""
    return [
        Cell(
            NAME,
            f"addon-cuts{cuts}",
            {
                "cuts": cuts,
                "qubits": profile.qubits,
                "shots": profile.shots,
                "queries": QUERIES.get(cuts, 1),
            },
        )
        for cuts in profile.cuts
    ]


def run(cell: Cell, study: StudyDirectory, pilots: StudyPilots) -> dict[str, Any]:
    """Time the addon's queries in this process."""
    settings = cell.settings
    model = classifier(settings["qubits"])
    how = {"cuts": settings["cuts"], "wires": "separate"}  # as the addon cuts them
    plan = compile_plan(model.circuit, model.observables, **how)
    # The addon is given labels of qubits; a chain's gates are narrower to cut than its wires.
    assert plan.requested is not None
    assert not plan.requested.wire_cuts
    labels = "".join(map(str, plan.labels))
    draw = np.random.default_rng(7)
    seconds, shares = [], []
    for seed in range(settings["queries"]):
        values = draw.uniform(0, np.pi / 2, model.circuit.num_parameters)
        paulis = [observable.paulis[0].to_label() for observable in model.observables]
        stages = _stages(model.circuit, values, paulis, labels, settings["shots"], seed)
        seconds.append(sum(stages.values()))
        shares.append(stages["reconstruct"] / seconds[-1])
    return {"query_s": seconds, "reconstruction_share": shares}


def _stages(circuit, values, paulis, labels, shots, seed) -> dict[str, float]:  # type: ignore[no-untyped-def]
    if len(set(labels)) == 1:
        return uncut_query(circuit, values, paulis, shots, seed)[1]
    return addon_query(circuit, values, paulis, labels, shots, seed)[1]


def query_s(addon: Sequence[CellResult], cuts: int) -> float | None:
    """Return the median seconds of a query, None where none was measured."""
    found = chosen(addon, cuts=cuts)
    return float(np.median(found[0]["query_s"])) if found else None


def reconstruction_share(addon: Sequence[CellResult], cuts: int) -> float | None:
    """Return the median share of reconstruction in a query, None where none was measured."""
    found = chosen(addon, cuts=cuts)
    return float(np.median(found[0]["reconstruction_share"])) if found else None


def epoch_s(addon: Sequence[CellResult], training: CellResult) -> float | None:
    """Return the seconds that an epoch of this training would take with the addon's queries."""
    one = query_s(addon, training["cuts"])
    if one is None:
        return None
    queries = training["training_samples"] * (1 + 2 * training["weights"])
    return one * (queries + training["test_samples"])


def addon_query(
    circuit: QuantumCircuit,
    values: ArrayLike,
    observables: Sequence[str] | PauliList,
    labels: str,
    shots: int,
    seed: int,
) -> tuple[np.ndarray, dict[str, float], int]:
    """Return the expectation values of one parameter set by the addon's pipeline.

    Parameters
    ----------
    circuit
        Parametrised circuit without measurements.
    values
        One value per parameter, in the order of ``circuit.parameters``.
    observables
        Phase-free Paulis, in Qiskit's order: the last letter acts on qubit 0.
    labels
        One letter per qubit; label 0 is qubit 0.
    shots
        Shots of each subexperiment.
    seed
        Seed of the simulator.

    Returns
    -------
    values : numpy.ndarray
        Expectation values, shape (observables,).
    seconds : dict
        Wall seconds of the stages ``generate`` (binding and partitioning included: the addon
        starts from a bound circuit at every query), ``execute`` and ``reconstruct``.
    subexperiments : int
        Number of circuits that were run.
    """
    # Lazy, for start-up: only this needs the addon.
    from qiskit.quantum_info import PauliList
    from qiskit_addon_cutting import (
        generate_cutting_experiments,
        partition_problem,
        reconstruct_expectation_values,
    )

    # Before the clock starts: our workers keep their simulator as well.
    sampler = _sampler(seed)
    started = time.perf_counter()
    bound = circuit.assign_parameters(np.asarray(values, dtype=float))
    problem = partition_problem(bound, labels, PauliList(observables))
    # Infinitely many samples are all joint terms with their exact weights, as in ours.
    experiments, coefficients = generate_cutting_experiments(
        problem.subcircuits, problem.subobservables, np.inf
    )
    generated = time.perf_counter()
    results = _execute(sampler, experiments, shots)
    executed = time.perf_counter()
    expectations = reconstruct_expectation_values(results, coefficients, problem.subobservables)
    reconstructed = time.perf_counter()
    seconds = {
        "generate": generated - started,
        "execute": executed - generated,
        "reconstruct": reconstructed - executed,
    }
    return np.asarray(expectations), seconds, sum(map(len, experiments.values()))


def uncut_query(
    circuit: QuantumCircuit, values: ArrayLike, observables: Sequence[str], shots: int, seed: int
) -> tuple[np.ndarray, dict[str, float], int]:
    """Return expectation values of products of Z from the whole circuit; see `addon_query`."""
    sampler = _sampler(seed)
    started = time.perf_counter()
    bound = circuit.assign_parameters(np.asarray(values, dtype=float))
    bound.measure_all()
    generated = time.perf_counter()
    (result,) = sampler.run([bound], shots=shots).result()
    executed = time.perf_counter()
    expectations = [result.data.meas.expectation_values(label) for label in observables]
    seconds = {
        "generate": generated - started,
        "execute": executed - generated,
        "reconstruct": time.perf_counter() - executed,
    }
    return np.asarray(expectations), seconds, 1


def _sampler(seed: int) -> SamplerV2:
    from qiskit_aer.primitives import SamplerV2

    return SamplerV2(seed=seed, options={"backend_options": ONE_THREAD})


def _execute(
    sampler: SamplerV2, experiments: Mapping[Hashable, list[QuantumCircuit]], shots: int
) -> dict[Hashable, PrimitiveResult]:
    """Run all subexperiments as one job and hand each partition its share of the results."""
    from qiskit.primitives import PrimitiveResult

    circuits = [circuit for group in experiments.values() for circuit in group]
    results = iter(sampler.run(circuits, shots=shots).result())
    return {
        label: PrimitiveResult(list(itertools.islice(results, len(group))))
        for label, group in experiments.items()
    }
