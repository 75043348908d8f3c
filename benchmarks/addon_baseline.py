"""The outside competitor: qiskit-addon-cutting's own pipeline, timed stage by stage.

This is what a user of the addon writes, with nothing in its disfavour: one simulator thread as
for ours, every subexperiment in one sampler job, no transpilation inside the clock (every gate of
`qnn_circuit` and of the cut is native to Aer), the simulator built outside it. It knows nothing
of pilotcut.

Run as a script, it checks itself against `Statevector` and prints its stage times at 1, 2 and 3
cuts of the 4-qubit test circuit.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.primitives import PrimitiveResult
from qiskit.quantum_info import Pauli, PauliList, Statevector
from qiskit_addon_cutting import (
    generate_cutting_experiments,
    partition_problem,
    reconstruct_expectation_values,
)
from qiskit_aer.primitives import SamplerV2

ONE_THREAD = {"max_parallel_threads": 1, "max_parallel_experiments": 1}


def qnn_circuit(qubits: int, *, feature_reps: int = 1, ansatz_reps: int = 1) -> QuantumCircuit:
    """Return the standard test circuit, a Z feature map under a real-amplitudes ansatz.

    Parameters
    ----------
    qubits
        Width of the circuit.
    feature_reps, ansatz_reps
        Repetitions of the feature map and of the ansatz. An ansatz of one repetition has one
        chain of ``qubits - 1`` CX gates, so that labels like ``"AABC"`` cut one CX per change.

    Returns
    -------
    QuantumCircuit
        Its inputs are named ``x[0]`` …, its weights ``θ[0]`` …; `split_parameters` lists both.
    """
    circuit = z_feature_map(qubits, reps=feature_reps, parameter_prefix="x")
    circuit.compose(real_amplitudes(qubits, reps=ansatz_reps, parameter_prefix="θ"), inplace=True)
    circuit.name = f"qnn-{qubits}"
    return circuit


def split_parameters(circuit: QuantumCircuit) -> tuple[list[Parameter], list[Parameter]]:
    """Return the input and the weight parameters of a `qnn_circuit`, each in index order."""
    inputs = [parameter for parameter in circuit.parameters if parameter.name.startswith("x")]
    weights = [parameter for parameter in circuit.parameters if parameter.name.startswith("θ")]
    return inputs, weights


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
    sampler = SamplerV2(seed=seed, options={"backend_options": ONE_THREAD})
    started = time.perf_counter()
    bound = circuit.assign_parameters(np.asarray(values, dtype=float))
    problem = partition_problem(bound, labels, PauliList(observables))
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


def _execute(
    sampler: SamplerV2, experiments: Mapping[Hashable, list[QuantumCircuit]], shots: int
) -> dict[Hashable, PrimitiveResult]:
    """Run all subexperiments as one job and hand each partition its share of the results."""
    circuits = [circuit for group in experiments.values() for circuit in group]
    results = iter(sampler.run(circuits, shots=shots).result())
    return {
        label: PrimitiveResult(list(itertools.islice(results, len(group))))
        for label, group in experiments.items()
    }


def main(shots: int = 1024, queries: int = 5) -> None:
    """Print deviation from `Statevector`, median seconds a query and shares of the stages."""
    circuit = qnn_circuit(4)
    rng = np.random.default_rng(7)
    for labels in ("AABB", "AABC", "ABCD"):
        errors, stages = [], []
        for seed in range(queries):
            values = rng.uniform(0, np.pi, circuit.num_parameters)
            estimate, seconds, subexperiments = addon_query(
                circuit, values, ["ZZZZ"], labels, shots, 1000 * seed
            )
            exact = Statevector(circuit.assign_parameters(values)).expectation_value(Pauli("ZZZZ"))
            errors.append(estimate[0] - exact.real)
            stages.append(list(seconds.values()))
        total = np.median(np.sum(stages, axis=1))
        shares = np.sum(stages, axis=0) / np.sum(stages)
        print(
            f"{labels}: {subexperiments:4d} subexperiments, {total:.3f} s a query, "
            + ", ".join(f"{name} {share:.0%}" for name, share in zip(seconds, shares, strict=True))
            + f", rms error {np.sqrt(np.mean(np.square(errors))):.3f}"
        )


if __name__ == "__main__":
    main()
