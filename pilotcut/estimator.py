"""A Qiskit estimator for circuits that are too wide to run whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
)
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import PauliList

from pilotcut import allocation
from pilotcut.backends import check_backend
from pilotcut.backends.base import Shots
from pilotcut.bundles import Executor, Request, Spent
from pilotcut.cutting.fragment import Fragment, FragmentTensor
from pilotcut.cutting.plan import CutPlan, Observables, build_plan, pauli_terms
from pilotcut.cutting.program import Binding, Program, read_circuit
from pilotcut.cutting.search import choose_labels
from pilotcut.errors import CutError, UserError
from pilotcut.pubs import Batch, batches_of, coerce_pubs
from pilotcut.reconstruction.contract import Contraction, sensitivities, standard_errors
from pilotcut.tasks import TaskManager
from pilotcut.trace import JsonLines

if TYPE_CHECKING:
    from pilotcut.backends.branch import Linearised

MODES = ("counts", "sampled", "exact")

ALLOCATIONS = ("uniform", "optimal")

#: With fewer shots a pilot round says too little to deal by.
LEAST_OPTIMAL = 256

Measured = TypeVar("Measured")
Result = TypeVar("Result")

#: Shots of one subexperiment that a target precision may ask for.
MOST_SHOTS = 10**8

#: Shots of the round that measures how many shots a precision needs, and the margin on
#: its error, which is itself known to a few percent only.
PILOT_SHOTS, PILOT_MARGIN = 256, 1.1


@dataclass(frozen=True)
class Compiled:
    """A plan with its contraction, compiled once for each structure."""

    plan: CutPlan
    contraction: Contraction


@dataclass(frozen=True)
class Evaluation:
    """Everything known about a batch after its circuits have run.

    Parameters
    ----------
    values
        (rows, terms).
    tensors
        One for each fragment.
    environments
        For each fragment (rows, terms, *sites), then for each bond (rows, terms, d0, d1).
    kept
        In exact mode, where asked for and possible, the fragments' tensors with what their
        derivatives need.
    """

    values: np.ndarray
    tensors: list[FragmentTensor]
    environments: list[np.ndarray]
    kept: list[Linearised] = field(default_factory=list)


class CutEstimator(BaseEstimatorV2):
    """Estimates expectation values of cut circuits; drops in where an EstimatorV2 is wanted.

    Parameters
    ----------
    tasks
        Where to run; None runs in this process.
    cuts, labels, max_width, plan
        How to cut, at most one of them, as in `pilotcut.compile_plan`. A `plan` serves
        circuits of its own structure only. Without any, circuits are cut at their
        `CutWire` markers or not at all.
    mode
        "counts": every physical subexperiment runs as a circuit with shots. "sampled": the
        same outcomes drawn from their exact law. "exact": no shots, but statevectors of the
        fragments' branches; `stds` are 0.
    shots
        Shots of each subexperiment. A PUB's or call's `precision` wins over it. Without
        meaning in exact mode.
    seed
        The same seed gives the same numbers, wherever they are computed.
    backend
        Name of the backend that workers use in counts mode.
    shot_allocation
        "uniform", or "optimal": an eighth of the shots measures where errors come from, and
        the rest is dealt accordingly, 30 % evenly and the other 70 % in proportion to
        ``|environment| sigma`` of each subexperiment. The total is the same.
    trace
        Where records of compilations and queries go.

    Notes
    -----
    `stds` are standard errors by first-order propagation through the reconstruction. A
    `precision` is turned into shots by a small pilot round that measures the error.
    ``EstimatorQNN`` always passes its `default_precision`: set it to None to use `shots`.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> circuit = QuantumCircuit(2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> result = CutEstimator(labels="AB", seed=7).run([(circuit, "ZZ")]).result()
    >>> bool(abs(result[0].data.evs - 1) < 5 * result[0].data.stds)
    True
    """

    def __init__(
        self,
        tasks: TaskManager | None = None,
        *,
        cuts: int | None = None,
        labels: str | Sequence[str] | None = None,
        max_width: int | None = None,
        plan: CutPlan | None = None,
        mode: str = "counts",
        shots: int = 1024,
        seed: int | None = None,
        backend: str = "aer",
        shot_allocation: str = "uniform",
        trace: JsonLines | None = None,
    ) -> None:
        if sum(option is not None for option in (cuts, labels, max_width, plan)) > 1:
            raise CutError(
                "cuts, labels, max_width and plan are given together, expected at most one"
            )
        self.mode = _checked_mode(mode)
        self.shots = 0 if self.exact else checked_shots(shots)
        self.trace = trace if trace is not None else JsonLines()
        self.queries = 0
        self.subexperiments = 0
        self.stage_seconds = dict.fromkeys(("partition", "generate", "execute", "reconstruct"), 0.0)
        self._cuts, self._labels, self._max_width, self._plan = cuts, labels, max_width, plan
        if shot_allocation not in ALLOCATIONS:
            raise UserError(
                f"shot_allocation is '{shot_allocation}', expected one of {', '.join(ALLOCATIONS)}"
            )
        self._optimal = shot_allocation == "optimal"
        self._backend = "sampled" if mode == "sampled" else check_backend(backend)
        self.executor = Executor(tasks, self._backend)
        self._seed = int(np.random.SeedSequence(seed).entropy)  # type: ignore[arg-type]
        self._batches = 0
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self._lock = threading.RLock()

    @property
    def exact(self) -> bool:
        """Whether values come from statevectors and not from shots."""
        return self.mode == "exact"

    # -- the estimator interface ---------------------------------------------------

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Estimate all PUBs; mistakes in them raise here, before anything runs.

        Parameters
        ----------
        pubs
            Circuits with observables, parameter values and, optionally, a precision.
        precision
            Target standard error for PUBs that name none.

        Raises
        ------
        UserError
            For what cannot be cut, bound or measured.
        """
        coerced = coerce_pubs(pubs, precision)
        batches = batches_of(coerced)
        compiled = [
            self.compile(b.program, b.binding, b.terms) if b.terms else None for b in batches
        ]
        job: PrimitiveJob[PrimitiveResult[PubResult]] = PrimitiveJob(
            self._answer, coerced, batches, compiled
        )
        job._submit()
        return job

    def _answer(
        self,
        pubs: list[EstimatorPub],
        batches: list[Batch],
        compiled: list[Compiled | None],
    ) -> PrimitiveResult[PubResult]:
        evs = [np.empty(int(np.prod(pub.shape, dtype=int))) for pub in pubs]
        stds = [np.empty_like(e) for e in evs]
        metadata = [{"mode": self.mode, "target_precision": p.precision} for p in pubs]
        for batch, one in zip(batches, compiled, strict=True):
            values, errors, about = self._estimate(batch, one)
            for k, answers in enumerate(batch.answers):
                for row, answer in enumerate(answers):
                    evs[answer.pub][answer.position] = values[row, k]
                    stds[answer.pub][answer.position] = errors[row, k]
                    metadata[answer.pub].update(about)
        return PrimitiveResult(
            [
                PubResult(
                    DataBin(evs=e.reshape(pub.shape), stds=s.reshape(pub.shape), shape=pub.shape),
                    metadata=m | {"circuit_metadata": pub.circuit.metadata},
                )
                for pub, e, s, m in zip(pubs, evs, stds, metadata, strict=True)
            ],
            metadata={"version": 2},
        )

    def _estimate(
        self, batch: Batch, compiled: Compiled | None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
        """Return values and standard errors, (rows, observables), and what was run."""
        coefficients, constant = batch.coefficients()
        if compiled is None:  # nothing but identities
            values = np.repeat(constant[None], len(batch.slots), axis=0)
            return values, np.zeros_like(values), {"shots": 0}
        shots = self.shots
        if batch.precision is not None and not self.exact:
            shots = self._shots_for(compiled, batch.slots, coefficients, batch.precision)
        if self._optimal and not self.exact and shots >= LEAST_OPTIMAL:
            evaluation = self._evaluate_optimally(compiled, batch.slots, coefficients, shots)
        else:
            evaluation = self.evaluate(compiled, batch.slots, shots)
        values = evaluation.values @ coefficients.T + constant
        errors = errors_of(compiled, evaluation, coefficients)
        return values, errors, {"shots": shots, "plan": compiled.plan.fingerprint}

    def _evaluate_optimally(
        self, compiled: Compiled, slots: np.ndarray, coefficients: np.ndarray, shots: int
    ) -> Evaluation:
        """Spend the same shots where they lower the error most; the pilot's counts are kept."""
        first = shots // 8
        pilot = self.evaluate(compiled, slots, first, "pilot")
        dealt = allocation.deal(
            compiled.plan.fragments,
            pilot.tensors,
            sensitivities_of(compiled, pilot, coefficients),
            shots - first,
        )
        rest = self.evaluate(compiled, slots, dealt)
        fragments = zip(compiled.plan.fragments, pilot.tensors, rest.tensors, dealt, strict=True)
        merged = [allocation.merge(f, a, b, first, n) for f, a, b, n in fragments]
        return self._contracted(compiled, slots, merged)

    def _contracted(
        self, compiled: Compiled, slots: np.ndarray, tensors: list[FragmentTensor]
    ) -> Evaluation:
        bonds = compiled.plan.bonds
        matrices = [(b.coherent_matrix if self.exact else b.matrix)(slots) for b in bonds]
        operands = compiled.contraction.operands(tensors, matrices)
        values, environments = compiled.contraction.values_and_environments(operands)
        return Evaluation(values.real, tensors, environments)

    def _shots_for(
        self, compiled: Compiled, slots: np.ndarray, coefficients: np.ndarray, precision: float
    ) -> int:
        """Return shots per subexperiment for a standard error of `precision` on every row.

        A pilot round measures the error; errors fall with the square root of the shots.
        """
        pilot = self.evaluate(compiled, slots, PILOT_SHOTS, "pilot")
        error = float(errors_of(compiled, pilot, coefficients).max())
        shots = ceil(PILOT_SHOTS * (PILOT_MARGIN * error / precision) ** 2)
        if shots > MOST_SHOTS:
            raise UserError(
                f"precision {precision} needs {shots} shots a subexperiment with "
                f"{compiled.plan.num_cuts} cuts, expected at most {MOST_SHOTS}; ask for less "
                f"precision or fewer cuts"
            )
        return max(1, shots)

    # -- compile once, evaluate many -----------------------------------------------

    def compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Compiled:
        """Return the plan for a program and terms, compiled on first sight only."""
        key = (program.key, tuple(terms))
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile(program, binding, terms)
            return self._compiled[key]

    def _compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Compiled:
        started = perf_counter()
        plan = build_plan(program, binding, PauliList(list(terms)), self._labels_for(program))
        compiled = Compiled(plan, Contraction.of(plan, coherent=self.exact))
        seconds = perf_counter() - started
        self.stage_seconds["partition"] += seconds
        self.trace.write(
            {
                "kind": "compile",
                "plan": plan.fingerprint,
                "labels": "".join(plan.labels),
                "cuts": plan.num_cuts,
                "widths": plan.widths,
                "variants": plan.num_variants,
                "terms": len(plan.terms),
                "sampling_overhead": plan.sampling_overhead,
                "partition_s": seconds,
            }
        )
        return compiled

    def _labels_for(self, program: Program) -> Sequence[str] | None:
        if self._plan is not None:
            if self._plan.program.key != program.key:
                raise CutError(
                    f"the circuit ({program.num_qubits} qubits, {len(program.steps)} gates) is not "
                    f"the one the plan was compiled for ({self._plan.num_qubits} qubits, "
                    f"{len(self._plan.program.steps)} gates); compile a plan for it, or give labels"
                )
            return self._plan.requested_labels
        if self._cuts is not None or self._max_width is not None:
            return choose_labels(program, cuts=self._cuts, max_width=self._max_width)
        return self._labels

    def evaluate(
        self,
        compiled: Compiled,
        slots: np.ndarray,
        shots: int | Sequence[np.ndarray],
        source: str = "forward",
        keep: bool = False,
    ) -> Evaluation:
        """Run every subexperiment of a batch (rows, slots) and reconstruct its terms.

        `shots` are one number, or for each fragment (rows, subexperiments). With `keep`,
        what derivatives need is kept where that is possible.
        """
        plan = compiled.plan
        each: Sequence[Shots] = (
            [shots] * len(plan.fragments) if isinstance(shots, int) else list(shots)
        )
        requests = [
            Request(f, f.angle_values(slots), n) for f, n in zip(plan.fragments, each, strict=True)
        ]

        def contract(tensors: list[FragmentTensor]) -> Evaluation:
            return replace(self._contracted(compiled, slots, tensors), kept=kept)

        kept: list[Linearised] = []

        def execute(seed: np.random.SeedSequence) -> tuple[list[FragmentTensor], Spent]:
            if self.exact and keep and (found := self.executor.linearised(requests)):
                kept.extend(found[0])
                return [FragmentTensor(one.values, ()) for one in kept], found[1]
            if self.exact:
                return self.executor.exact(requests)
            return self.executor.evaluate(requests, seed)

        circuits = sum(self._circuits(r.fragment) * len(r.angles) for r in requests)
        about = {"source": source, "queries": len(slots), "subexperiments": circuits}
        sizes = [r.fragment.num_subexperiments for r in requests]
        mean = float(np.average([np.mean(n) for n in each], weights=sizes)) if any(sizes) else 0.0
        return self.run_stages(plan, execute, contract, about | {"shots": mean})

    def _circuits(self, fragment: Fragment) -> int:
        """Return how many circuits, or statevectors, one parameter set needs."""
        if self.exact:
            return prod(site.rank for site in fragment.sites)
        return fragment.num_subexperiments

    def run_stages(
        self,
        plan: CutPlan,
        execute: Callable[[np.random.SeedSequence], tuple[Measured, Spent]],
        reconstruct: Callable[[Measured], Result],
        about: dict[str, Any],
    ) -> Result:
        """Execute one batch, reconstruct, and record where the time went.

        Parameters
        ----------
        plan
            Named in the record.
        execute
            Runs the batch with a seed that is the batch's own.
        reconstruct
            Turns what was measured into the result.
        about
            Source, queries, subexperiments and shots of the batch.
        """
        started = perf_counter()
        with self._lock:
            batch = self._batches
            self._batches += 1
        measured, spent = execute(np.random.SeedSequence(self._seed, spawn_key=(batch,)))
        executed = perf_counter()
        result = reconstruct(measured)
        ended = perf_counter()
        self._record(plan, {"batch": batch} | about, spent, ended - executed, ended - started)
        return result

    def _record(
        self, plan: CutPlan, about: dict[str, Any], spent: Spent, contract_s: float, wall_s: float
    ) -> None:
        """Write one record and add to the totals.

        Turning counts into expectations happens on the workers, but it is reconstruction:
        its share of their time is moved from the execute to the reconstruct stage.
        """
        busy = spent.run_s + spent.reduce_s
        reduce_s = spent.execute_s * spent.reduce_s / busy if busy else 0.0
        stages = {
            "partition": 0.0,
            "generate": spent.generate_s,
            "execute": spent.execute_s - reduce_s,
            "reconstruct": contract_s + reduce_s + spent.fill_s,
        }
        with self._lock:
            for stage, seconds in stages.items():
                self.stage_seconds[stage] += seconds
            self.queries += about["queries"]
            self.subexperiments += about["subexperiments"]
        self.trace.write(
            {
                "kind": "query_batch",
                **about,
                "plan": plan.fingerprint,
                "labels": "".join(plan.labels),
                "cuts": plan.num_cuts,
                "mode": self.mode,
                "bundles": spent.bundles,
                "workers": self.executor.workers,
                "policy": self.executor.policy,
                "seed": [self._seed, about["batch"]],
                "stage_seconds": stages,
                "wall_s": wall_s,
                "worker_s": busy,
            }
        )

    def compile_for(self, circuit: QuantumCircuit, observables: Observables) -> Compiled:
        """Return the plan for a circuit ahead of its first query, so that mistakes show early."""
        program, binding = read_circuit(circuit)
        terms = pauli_terms(observables, circuit.num_qubits).to_labels()
        return self.compile(program, binding, sorted(t for t in terms if t.strip("I")))

    def attach(self, trace: JsonLines) -> None:
        """Write to `trace` from now on, first what was recorded so far."""
        for record in self.trace.records:
            trace.write(record)
        self.trace = trace

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on, or in this process."""
        self.executor = Executor(tasks, self._backend)

    # -- checkpoints ---------------------------------------------------------------

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run needs to draw the same numbers as an unbroken one."""
        return {"seed": self._seed, "batches": self._batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a `state_dict`."""
        self._seed, self._batches = state["seed"], state["batches"]


def _checked_mode(mode: str) -> str:
    if mode not in MODES:
        raise UserError(f"mode is '{mode}', expected one of {', '.join(MODES)}")
    return mode


def checked_shots(shots: int) -> int:
    """Return `shots` if it is a whole number from 1 to `MOST_SHOTS`."""
    whole = isinstance(shots, (int, np.integer)) and not isinstance(shots, bool)
    if not whole or not 1 <= shots <= MOST_SHOTS:
        raise UserError(
            f"shots is {shots!r}, expected a whole number from 1 to {MOST_SHOTS}; 1024 is a "
            f"usual choice"
        )
    return int(shots)


def sensitivities_of(
    compiled: Compiled, evaluation: Evaluation, coefficients: np.ndarray
) -> list[np.ndarray]:
    """Return for each fragment d observables / d tensor, (rows, observables, sub, variants)."""
    index = compiled.plan.term_index
    return [
        sensitivities(index[:, f], evaluation.environments[f], coefficients)
        for f in range(len(compiled.plan.fragments))
    ]


def errors_of(compiled: Compiled, evaluation: Evaluation, coefficients: np.ndarray) -> np.ndarray:
    """Return standard errors (rows, observables) for coefficients (observables, terms)."""
    groups = [fragment.groups for fragment in compiled.plan.fragments]
    if not any(tensor.covariances for tensor in evaluation.tensors):
        return np.zeros((len(evaluation.values), len(coefficients)))
    sensitivity = sensitivities_of(compiled, evaluation, coefficients)
    return standard_errors(groups, evaluation.tensors, sensitivity)
