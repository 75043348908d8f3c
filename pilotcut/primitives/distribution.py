"""What a cut circuit ends in: probabilities of bitstrings, marginals, peaks, and samples.

All of it is one query, "the joint probability of these open and those given bits", which sums
over the rest before contracting. Wide circuits are resolved some qubits at a time: the most
probable bins first when peaks are looked for, all bins that have shots when sampling. So 2^n
numbers are never held unless they are asked for.

References
----------
Tang et al., CutQC, arXiv:2012.02333 (dynamic definition: recursive refinement of bins).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import PauliList
from qiskit.result import Counts

from pilotcut import backends
from pilotcut.backends.outcomes import CountedOutcomes
from pilotcut.cutting.plan import CutPlan, build_plan, check_size
from pilotcut.errors import ParameterValueError, UserError
from pilotcut.execution.executor import Executor
from pilotcut.execution.work_units import Request
from pilotcut.options import (
    ERROR_TOLERANCE,
    MOST_SHOTS,
    check_number,
    check_seed,
    checked_mode,
    checked_shots,
    checked_tolerance,
)
from pilotcut.reconstruction.dynamic_definition import (
    MOST_QUERIES,
    RESOLVE,
    MostProbable,
    Search,
    sampled,
)
from pilotcut.reconstruction.open_network import MOST_ENTRIES, Node, OpenNetwork
from pilotcut.tasks import TaskManager

#: Values of a circuit's parameters: in Qiskit's order, or by parameter, vector or name.
ParameterValues: TypeAlias = (
    Sequence[float]
    | np.ndarray
    | Mapping[Parameter | ParameterVector | str, float | Sequence[float] | np.ndarray]
)

# First numbers of the keys that streams of random numbers are spawned with: those of the
# fragments' runs, and of samples that are drawn from the result.
_RUN, _SAMPLE = 0, 1


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
    mode, shots, seed, backend, tasks, error_tolerance
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
    mode, shots, seed, backend, tasks, error_tolerance
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
    mode, backend, tasks, error_tolerance
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
    )
    return distribution.sample(shots, seed, qubits=qubits)


class Distribution:
    """The law of a cut circuit's final bits, open to any number of queries.

    Parameters
    ----------
    plan
        From `pilotcut.compile_plan`; its observables do not matter here. Where it comes from a
        file whose measurements are of some qubits, or into bits of other numbers, "all" qubits
        are those (`CutPlan.measured`), in the order of the file's bits.
    parameter_values
        Values of the circuit's parameters in radians, in Qiskit's order, or by name, parameter or
        vector.
    mode
        "exact": statevectors of the fragments' branches, no shots. "counts": every physical
        subexperiment runs as a circuit with shots. "sampled": the same outcomes drawn from
        their exact law.
    shots
        Shots of each subexperiment; without meaning in exact mode.
    seed
        The same seed gives the same numbers, wherever they are computed.
    backend
        Name of the backend that runs circuits in counts mode.
    tasks
        Where fragments run; None runs in this process. Queries are always answered here.
    error_tolerance
        See `CutEstimator`.

    Notes
    -----
    From shots, probabilities are *quasi-probabilities*: unbiased, adding up to about 1, with
    negative ones among them, and errors that grow with `CutPlan.sampling_overhead`. They stay
    as they are in `probabilities`. Searches and samples take negative ones for 0 and scale the
    rest, which is biased where errors are as large as the probabilities.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut import compile_plan
    >>> circuit = QuantumCircuit(3); _ = circuit.h(0); _ = circuit.cx(0, 1); _ = circuit.x(2)
    >>> law = Distribution(compile_plan(circuit, labels="ABB"))
    >>> law.probabilities([2, 0]).round(9).tolist()
    [0.0, 0.5, 0.0, 0.5]
    >>> law.probabilities([1], given={0: 1}).round(9).tolist()
    [0.0, 0.5]
    """

    def __init__(
        self,
        plan: CutPlan,
        parameter_values: ParameterValues | None = None,
        *,
        mode: str = "exact",
        shots: int = 1024,
        seed: int | None = None,
        backend: str = "aer",
        tasks: TaskManager | None = None,
        error_tolerance: float = ERROR_TOLERANCE,
    ) -> None:
        self.mode = checked_mode(mode)
        if not isinstance(plan, CutPlan):
            raise UserError(
                f"plan is a {type(plan).__name__}, expected a CutPlan; compile one: "
                f"compile_plan(circuit, max_width=20)"
            )
        exact = mode == "exact"
        self.plan = _observing_all(plan, joint_cuts=plan.joint_cuts and not exact)
        self._bits = range(plan.num_qubits) if plan.measured is None else plan.measured
        if not exact:
            check_size(self.plan, coherent=False, drawn=False)
        self.shots = 0 if exact else checked_shots(shots)
        tolerance = checked_tolerance(error_tolerance)
        self._seed = int(np.random.SeedSequence(_checked_seed(seed)).entropy)  # type: ignore[arg-type]
        self._draws = 0
        slots = self.plan.binding.slots(_row(self.plan, parameter_values))
        runner = "sampled" if mode == "sampled" else backends.check_backend(backend)
        found = self._nodes(Executor(tasks, runner, tolerance), slots)
        matrices = [(b.coherent_matrix if exact else b.matrix)(slots)[0] for b in self.plan.bonds]
        self._network = OpenNetwork(found, self.plan.bonds, matrices, coherent=exact)

    def _nodes(self, executor: Executor, slots: np.ndarray) -> list[Node]:
        """Run all fragments and return the tensor network's nodes: what they ended in."""
        fragments = self.plan.fragments
        requests = [Request(f, f.angle_values(slots), self.shots) for f in fragments]
        if self.mode == "exact":  # a node for each group of entangled wires
            states = executor.states(requests)
            return [
                Node.of(f, one) for f, some in zip(fragments, states, strict=True) for one in some
            ]
        seed = np.random.SeedSequence(self._seed, spawn_key=(_RUN,))
        return [
            Node.of(f, CountedOutcomes.of(f, parts, self.shots))
            for f, parts in zip(fragments, executor.tallies(requests, seed), strict=True)
        ]

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the circuit."""
        return self.plan.num_qubits

    def probabilities(
        self, qubits: Sequence[int] | None = None, given: Mapping[int, int] | None = None
    ) -> np.ndarray:
        """Return the joint probabilities of some qubits' bits and of bits that are given.

        Parameters
        ----------
        qubits
            Whose bits stay open, the lowest bit of the outcome first; None for all that are not
            given.
        given
            Qubits and their bits. Divide by the sum for conditional probabilities.

        Returns
        -------
        np.ndarray
            (2^qubits,) probabilities, summed over all qubits that are not named.

        Raises
        ------
        UserError
            For qubits that there are not, or more than fit.
        """
        return self._network.marginals(*self._query(qubits, given))[0]

    def standard_errors(
        self, qubits: Sequence[int] | None = None, given: Mapping[int, int] | None = None
    ) -> np.ndarray:
        """Return the standard errors of `probabilities`, to first order; 0 in exact mode.

        ``Var p(x) = sum_f sum_v E_f[v, x]^2 Var T_f[v, x]`` with E the environment of fragment
        f, as of an estimator's `stds`. Errors of different outcomes are correlated.

        Parameters
        ----------
        qubits, given
            As in `probabilities`.

        Returns
        -------
        np.ndarray
            (2^qubits,).
        """
        query = self._query(qubits, given)
        if self.mode == "exact":
            return np.zeros(1 << len(query[0]))
        return np.sqrt(self._network.variances(*query))

    def _query(
        self, qubits: Sequence[int] | None, given: Mapping[int, int] | None
    ) -> tuple[list[int], list[int], np.ndarray]:
        """Return the qubits that stay open, and those given with their bits as one row."""
        bits = _checked_bits(given or {}, self.num_qubits)
        open_qubits = [q for q in self._bits if q not in bits]
        keep = open_qubits if qubits is None else _checked_qubits(qubits, self.num_qubits, bits)
        if 1 << len(keep) > MOST_ENTRIES:
            raise UserError(
                f"qubits are {len(keep)}, of 2^{len(keep)} outcomes, expected at most "
                f"{MOST_ENTRIES.bit_length() - 1}; name fewer qubits for a marginal, or use "
                f"most_probable or sample, which fit any number"
            )
        values = np.array([list(bits.values())], dtype=np.uint8).reshape(1, len(bits))
        return keep, list(bits), values

    def most_probable(
        self,
        count: int = 1,
        *,
        qubits: Sequence[int] | None = None,
        resolve: int = RESOLVE,
        most_queries: int = MOST_QUERIES,
    ) -> MostProbable:
        """Return the most probable outcomes, found by refining the most probable bin first.

        Parameters
        ----------
        count
            How many outcomes to find.
        qubits
            The qubits that are looked at, the rightmost bit first; None for all.
        resolve
            Qubits that a step resolves: it splits a bin into 2^resolve smaller ones.
        most_queries
            Steps before the search stops looking for the best and follows the deepest bins to
            their ends; then `MostProbable.proven` says whether the best were found all the same.
        """
        check_number("count", count, 1, 2**20)
        check_number("resolve", resolve, 1, 20)
        check_number("most_queries", most_queries, 1, 10**9)
        search = Search(self._network, self._measured(qubits), resolve, most_queries)
        return search.most_probable(count, exact=self.mode == "exact")

    def sample(
        self, shots: int, seed: int | None = None, *, qubits: Sequence[int] | None = None
    ) -> Counts:
        """Return counts as if the uncut circuit had been measured.

        Parameters
        ----------
        shots
            How many outcomes to draw.
        seed
            The same seed gives the same counts; None draws anew at each call, from the seed
            of the distribution.
        qubits
            The qubits that are measured, the rightmost bit first; None for all.

        Returns
        -------
        qiskit.result.Counts
            A dict of bitstrings, qubit 0 rightmost.
        """
        check_number("shots", shots, 1, MOST_SHOTS)
        entropy = self._seed if seed is None else _checked_seed(seed)
        stream = np.random.SeedSequence(entropy, spawn_key=(_SAMPLE, self._draws))
        self._draws += seed is None
        rng = np.random.default_rng(stream)
        return Counts(sampled(self._network, self._measured(qubits), shots, rng))

    def _measured(self, qubits: Sequence[int] | None) -> list[int]:
        """Return the qubits of a bitstring, the rightmost first."""
        if qubits is None:
            return list(self._bits)
        if not len(qubits):
            raise UserError("qubits are empty, expected at least one; leave them out for all")
        return _checked_qubits(qubits, self.num_qubits, {})


# -- what callers give -------------------------------------------------------------------


def _observing_all(plan: CutPlan, *, joint_cuts: bool) -> CutPlan:
    """Return the same cut with Z on every qubit: what it measures are the final bits."""
    terms = PauliList(["Z" * plan.num_qubits])
    return build_plan(plan.program, plan.binding, terms, plan.requested, joint_cuts)


def _row(plan: CutPlan, values: ParameterValues | None) -> np.ndarray:
    """Return parameter values as one row (1, parameters), in Qiskit's order."""
    names = plan.binding.names
    if isinstance(values, Mapping):
        named = _by_name(values, names)
        if set(named) != set(names):
            wrong = sorted(map(str, set(named) ^ set(names)))
            raise ParameterValueError(
                f"parameter values name {len(named)} parameters, expected the {len(names)} of the "
                f"circuit; missing or unknown: {', '.join(wrong[:6])}"
            )
        values = [named[name] for name in names]
    try:
        return np.asarray([] if values is None else values, dtype=float).reshape(1, -1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterValueError(
            f"parameter values are {_short(values)}, expected {len(names)} numbers in radians "
            f"({_short(error, str)})"
        ) from error


def _short(value: object, as_text: Callable[[object], str] = repr) -> str:
    """Return a value on one line, and not for ever."""
    text = " ".join(as_text(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"


def _by_name(values: Mapping[Any, Any], names: Sequence[str]) -> dict[Any, Any]:
    """Return values by the names of single parameters, vectors taken apart."""
    named: dict[Any, Any] = {}
    for key, value in values.items():
        part = _of_vector(key, value, names)
        if part is None:
            part = {getattr(key, "name", key): value}
        if twice := sorted(map(str, part.keys() & named.keys())):
            raise ParameterValueError(
                f"parameter values name {', '.join(twice[:6])} twice, expected each once; leave "
                f"out the vector or its elements"
            )
        named |= part
    return named


def _of_vector(key: object, value: object, names: Sequence[str]) -> dict[Any, Any] | None:
    """Return the values of a vector's elements that the circuit has; None if it is no vector.

    A name is a vector's where the circuit has parameters NAME[0], NAME[1], ... and none of NAME.
    """
    if isinstance(key, ParameterVector):
        elements = [parameter.name for parameter in key]
    elif isinstance(key, str) and key not in names:
        elements = [f"{key}[{k}]" for k in range(_length_of(key, names))]
    else:
        return None
    if not elements and isinstance(key, str):
        return None
    given = np.asarray(value, dtype=object)
    if given.shape != (len(elements),):
        name = key.name if isinstance(key, ParameterVector) else key
        raise ParameterValueError(
            f"parameter vector '{name}' has values of shape {given.shape}, expected "
            f"({len(elements)},): one number for each of its elements"
        )
    known = set(names) & set(elements) or elements  # of a vector that is none of its own, all
    return {name: one for name, one in zip(elements, given, strict=True) if name in known}


def _length_of(vector: str, names: Sequence[str]) -> int:
    """Return how long a vector of that name is at least, by its elements in the circuit."""
    found = (re.fullmatch(rf"{re.escape(vector)}\[(\d+)\]", name) for name in names)
    return max((int(element[1]) + 1 for element in found if element), default=0)


def _checked_seed(seed: int | None) -> int | None:
    if seed is not None:
        check_seed(seed)
    return seed


def _checked_qubits(qubits: Sequence[int], num_qubits: int, given: Mapping[int, int]) -> list[int]:
    """Return the qubits as ints if each is in the circuit, once, and not given."""
    for qubit in qubits:
        check_number("qubit", qubit, 0, num_qubits - 1)
    found = [int(q) for q in qubits]
    for qubit in found:
        if found.count(qubit) > 1 or qubit in given:
            raise UserError(
                f"qubits are {found} with {sorted(given)} given, expected each qubit once; "
                f"leave out one {qubit}"
            )
    return found


def _checked_bits(given: Mapping[int, int], num_qubits: int) -> dict[int, int]:
    for qubit, bit in given.items():
        check_number("given qubit", qubit, 0, num_qubits - 1)
        check_number(f"bit of qubit {qubit}", bit, 0, 1)
    return {int(qubit): int(bit) for qubit, bit in given.items()}
