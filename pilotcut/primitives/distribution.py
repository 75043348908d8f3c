"""Distribution of a cut circuit's final bits: probabilities, marginals, peaks and samples.

All of it is one query, "the joint probability of these open and those given bits", which sums
over the rest before contracting. Wide circuits are resolved some qubits at a time: the most
probable bins first when peaks are looked for, all bins that have shots when sampling. So 2^n
numbers are never held unless they are asked for. Owns the qubits that are asked for and the seed;
refuses to know how fragments run and how a network is contracted.

References
----------
Tang et al., CutQC, arXiv:2012.02333 (dynamic definition: recursive refinement of bins).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from qiskit.quantum_info import PauliList
from qiskit.result import Counts

from pilotcut import backends
from pilotcut.backends.job_usage import NOTHING
from pilotcut.backends.outcomes import CountedOutcomes
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan, build_plan, check_size
from pilotcut.errors import UserError
from pilotcut.execution.devices import fleet_of
from pilotcut.execution.executor import Executor
from pilotcut.execution.long_calls import LongCalls
from pilotcut.execution.usage import UsageBudget
from pilotcut.execution.wire_shots import LEAST_DEALT, WireShots, stages_of
from pilotcut.execution.work_units import Request
from pilotcut.options import (
    ERROR_TOLERANCE,
    MAX_SECONDS,
    MOST_SHOTS,
    SEPARATE,
    check_number,
    check_seed,
    checked_mode,
    checked_seconds,
    checked_shots,
    checked_tolerance,
)
from pilotcut.primitives.estimator_checks import checked_usage
from pilotcut.primitives.parameter_values import ParameterValues, as_row
from pilotcut.reconstruction.dynamic_definition import (
    MOST_QUERIES,
    RESOLVE,
    MostProbable,
    Search,
    sampled,
)
from pilotcut.reconstruction.open_network import MOST_ENTRIES, Node, OpenNetwork
from pilotcut.tasks import TaskManager

# First numbers of the keys that streams of random numbers are spawned with: those of the
# fragments' runs, and of samples that are drawn from the result.
_RUN, _SAMPLE = 0, 1

#: Numbers of a sender's outcome tensor that its receivers' shots are dealt by.
MOST_DEALT_BY = 2**18


class Distribution:
    """Distribution of a cut circuit's final bits, open to any number of queries.

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
        their exact distribution.
    shots
        Shots of each subexperiment; without meaning in exact mode. Where wires communicate those
        of a receiver follow what its senders found, and the total is the same.
    seed
        The same seed gives the same numbers, wherever they are computed.
    backend
        Name of the backend that runs circuits in counts mode.
    tasks
        Where fragments run; None runs in this process. Queries are always answered here.
    error_tolerance, max_seconds, max_usage
        See `CutEstimator`.

    Attributes
    ----------
    usage
        What its circuits have taken of devices that run them themselves.

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
    >>> bits = Distribution(compile_plan(circuit, labels="ABB"))
    >>> bits.probabilities([2, 0]).round(9).tolist()
    [0.0, 0.5, 0.0, 0.5]
    >>> bits.probabilities([1], given={0: 1}).round(9).tolist()
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
        max_seconds: float = MAX_SECONDS,
        max_usage: float | None = None,
    ) -> None:
        self.mode = checked_mode(mode)
        calls = LongCalls(mode, checked_seconds(max_seconds))
        if not isinstance(plan, CutPlan):
            raise UserError(
                f"plan is a {type(plan).__name__}, expected a CutPlan; compile one: "
                f"compile_plan(circuit, max_width=20)"
            )
        exact = mode == "exact"
        self.plan = _observing_all(plan, exact=exact)
        self._bits = range(plan.num_qubits) if plan.measured is None else plan.measured
        if not exact:
            check_size(self.plan, coherent=False, drawn=False)
        self.shots = 0 if exact else checked_shots(shots)
        tolerance = checked_tolerance(error_tolerance)
        if seed is not None:
            check_seed(seed)
        self._seed = int(np.random.SeedSequence(seed).entropy)  # type: ignore[arg-type]
        self._draws = 0
        slots = self.plan.binding.slots(as_row(self.plan.binding.names, parameter_values))
        runner = "sampled" if mode == "sampled" else backends.check_backend(backend)
        matrices = [(b.coherent_matrix if exact else b.matrix)(slots) for b in self.plan.bonds]
        self.usage = NOTHING
        budget = UsageBudget(checked_usage(max_usage), self)
        executor = Executor(tasks, runner, tolerance, budget=budget)
        found = self._nodes(executor, slots, calls, matrices)
        rows = [matrix[0] for matrix in matrices]
        self._network = OpenNetwork(found, self.plan.bonds, rows, coherent=exact)

    def _nodes(
        self,
        executor: Executor,
        slots: np.ndarray,
        calls: LongCalls,
        matrices: list[np.ndarray],
    ) -> list[Node]:
        """Run all fragments and return the tensor network's nodes: what they ended in.

        Bond matrices of wires with communication are replaced by those of the shots that are dealt.
        """
        fragments = self.plan.fragments
        requests = [Request(f, f.angle_values(slots), self.shots) for f in fragments]
        if not fleet_of(executor.tasks, self.mode).devices:
            what = "a distribution"
            calls.expect(self.plan, requests, what, workers=executor.workers, outcomes=True)
        # Groups of wires that nothing entangles stay nodes of their own: a product of them would
        # multiply the branch pairs of all their sites.
        if self.mode == "exact":
            states = executor.states(requests)
            return [
                Node.of(f, one) for f, some in zip(fragments, states, strict=True) for one in some
            ]
        seed = np.random.SeedSequence(self._seed, spawn_key=(_RUN,))
        if self.shots >= LEAST_DEALT and len(stages_of(self.plan)) > 1:
            return self._in_order(executor, requests, seed, matrices)
        tallies, self.usage = executor.tallies(requests, seed)
        return [
            Node.of(f, CountedOutcomes.of(f, parts, self.shots))
            for f, parts in zip(fragments, tallies, strict=True)
        ]

    def _in_order(
        self,
        executor: Executor,
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        matrices: list[np.ndarray],
    ) -> list[Node]:
        """Run fragments in the order of wires; what a sender found deals its receiver's shots."""
        dealing = WireShots(self.plan, 1, self.shots, matrices)
        outcomes: dict[int, CountedOutcomes] = {}
        for stage in dealing.stages:
            dealt = dealing.of_stage(stage)
            asked = [replace(r, shots=some) for r, some in zip(requests, dealt, strict=True)]
            tallies, usage = executor.tallies(asked, seed)
            self.usage += usage
            for f in stage:
                fragment = self.plan.fragments[f]
                outcomes[f] = CountedOutcomes.of(fragment, tallies[f], dealt[f][0])
            dealing.learn(stage, {f: _as_tensor(outcomes[f]) for f in stage})
        return [Node.of(f, outcomes[f.index]) for f in self.plan.fragments]

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
        if seed is not None:
            check_seed(seed)
        # Draws before count only where the seed is the distribution's own.
        entropy, draw = (self._seed, self._draws) if seed is None else (seed, 0)
        self._draws += seed is None
        rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(_SAMPLE, draw)))
        return Counts(sampled(self._network, self._measured(qubits), shots, rng))

    def _measured(self, qubits: Sequence[int] | None) -> list[int]:
        """Return the qubits of a bitstring, the rightmost first."""
        if qubits is None:
            return list(self._bits)
        if not len(qubits):
            raise UserError("qubits are empty, expected at least one; leave them out for all")
        return _checked_qubits(qubits, self.num_qubits, {})


def _as_tensor(outcomes: CountedOutcomes) -> FragmentTensor:
    """Return outcomes as a tensor whose observables are the bits of its first wires."""
    room = MOST_DEALT_BY // max(1, prod(outcomes.site_shape))
    some = outcomes.wires[: max(0, room.bit_length() - 1)]
    return FragmentTensor(outcomes.tensor(some, [], np.zeros((1, 0))), ())


def _observing_all(plan: CutPlan, *, exact: bool) -> CutPlan:
    """Return the same cut with Z on every qubit: what it measures are the final bits."""
    terms = PauliList(["Z" * plan.num_qubits])
    joint_cuts, wires = (False, SEPARATE) if exact else (plan.joint_cuts, plan.wires)
    return build_plan(plan.program, plan.binding, terms, plan.requested, joint_cuts, wires)


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
