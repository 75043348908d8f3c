"""Probabilities, peaks and samples of a cut circuit, by one call each.

Each function makes a `Distribution` and asks it one question; who has several questions asks one
distribution, whose fragments run once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit.result import Counts

from pilotcut.cutting.plan import CutPlan
from pilotcut.options import ERROR_TOLERANCE, MAX_SECONDS
from pilotcut.primitives.distribution import Distribution
from pilotcut.primitives.parameter_values import ParameterValues
from pilotcut.reconstruction.dynamic_definition import MostProbable
from pilotcut.tasks import TaskManager


def reconstruct_probabilities(
    plan: CutPlan,
    parameter_values: ParameterValues | None = None,
    *,
    qubits: Sequence[int] | None = None,
    mode: str = "exact",
    shots: int = 1024,
    seed: int | None = None,
    backend: str = "aer",
    tasks: TaskManager | None = None,
    error_tolerance: float = ERROR_TOLERANCE,
    max_seconds: float = MAX_SECONDS,
    max_usage: float | None = None,
) -> np.ndarray:
    """Return the probabilities of all outcomes of a cut circuit, or of some of its qubits.

    Parameters
    ----------
    plan
        From `pilotcut.compile_plan`; its observables do not matter here.
    parameter_values
        Values of the circuit's parameters in radians, in Qiskit's order, or by name, parameter or
        vector.
    qubits
        The qubits of a marginal, in the order of the outcome's bits, lowest first; None for
        all, qubit 0 lowest.
    mode, shots, seed, backend, tasks, error_tolerance, max_seconds, max_usage
        See `Distribution`.

    Returns
    -------
    np.ndarray
        (2^qubits,), in the order of `qiskit.quantum_info.Statevector.probabilities`. From shots
        they are quasi-probabilities: unbiased, and some may be negative; their errors are
        `Distribution.standard_errors`.

    Raises
    ------
    UserError
        With what was found, what was expected and the next step.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut import compile_plan
    >>> circuit = QuantumCircuit(2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> reconstruct_probabilities(compile_plan(circuit, labels="AB")).round(9).tolist()
    [0.5, 0.0, 0.0, 0.5]
    """
    distribution = Distribution(
        plan,
        parameter_values,
        mode=mode,
        shots=shots,
        seed=seed,
        backend=backend,
        tasks=tasks,
        error_tolerance=error_tolerance,
        max_seconds=max_seconds,
        max_usage=max_usage,
    )
    return distribution.probabilities(qubits)


def most_probable(
    plan: CutPlan,
    parameter_values: ParameterValues | None = None,
    *,
    count: int = 1,
    qubits: Sequence[int] | None = None,
    mode: str = "exact",
    shots: int = 1024,
    seed: int | None = None,
    backend: str = "aer",
    tasks: TaskManager | None = None,
    error_tolerance: float = ERROR_TOLERANCE,
    max_seconds: float = MAX_SECONDS,
    max_usage: float | None = None,
) -> MostProbable:
    """Return the most probable outcomes of a cut circuit, however wide it is.

    Parameters
    ----------
    plan, parameter_values
        As in `reconstruct_probabilities`.
    count
        How many outcomes to find.
    qubits
        The qubits that are looked at, the rightmost bit first; None for all.
    mode, shots, seed, backend, tasks, error_tolerance, max_seconds, max_usage
        See `Distribution`; for more control use its method.

    Raises
    ------
    UserError
        With what was found, what was expected and the next step.

    References
    ----------
    Tang et al., CutQC, arXiv:2012.02333.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut import compile_plan
    >>> ghz = QuantumCircuit(40); _ = ghz.h(0)
    >>> for k in range(39): _ = ghz.cx(k, k + 1)
    >>> peaks = most_probable(compile_plan(ghz, labels="A" * 20 + "B" * 20), count=2)
    >>> [(bits[:3], round(p, 9)) for bits, p in sorted(peaks.probabilities.items())]
    [('000', 0.5), ('111', 0.5)]
    >>> peaks.proven
    True
    """
    distribution = Distribution(
        plan,
        parameter_values,
        mode=mode,
        shots=shots,
        seed=seed,
        backend=backend,
        tasks=tasks,
        error_tolerance=error_tolerance,
        max_seconds=max_seconds,
        max_usage=max_usage,
    )
    return distribution.most_probable(count, qubits=qubits)


def sample(
    plan: CutPlan,
    shots: int,
    parameter_values: ParameterValues | None = None,
    *,
    seed: int | None = None,
    qubits: Sequence[int] | None = None,
    mode: str = "exact",
    subexperiment_shots: int = 1024,
    backend: str = "aer",
    tasks: TaskManager | None = None,
    error_tolerance: float = ERROR_TOLERANCE,
    max_seconds: float = MAX_SECONDS,
    max_usage: float | None = None,
) -> Counts:
    """Return counts as if the uncut circuit had been measured.

    Parameters
    ----------
    plan, parameter_values
        As in `reconstruct_probabilities`.
    shots
        How many outcomes to draw.
    seed
        The same seed gives the same counts.
    qubits
        The qubits that are measured, the rightmost bit first; None for all.
    mode, backend, tasks, error_tolerance, max_seconds, max_usage
        See `Distribution`.
    subexperiment_shots
        Shots of each subexperiment, without meaning in exact mode.

    Returns
    -------
    qiskit.result.Counts
        A dict of bitstrings, qubit 0 rightmost, as a sampler's `get_counts()` gives them.

    Raises
    ------
    UserError
        With what was found, what was expected and the next step.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut import compile_plan
    >>> circuit = QuantumCircuit(2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> counts = sample(compile_plan(circuit, labels="AB"), 100, seed=7)
    >>> sorted(counts), sum(counts.values())
    (['00', '11'], 100)
    """
    distribution = Distribution(
        plan,
        parameter_values,
        mode=mode,
        shots=subexperiment_shots,
        seed=seed,
        backend=backend,
        tasks=tasks,
        error_tolerance=error_tolerance,
        max_seconds=max_seconds,
        max_usage=max_usage,
    )
    return distribution.sample(shots, seed, qubits=qubits)
