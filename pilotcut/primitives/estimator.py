"""A Qiskit estimator for circuits that are too wide to run whole."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from time import perf_counter
from types import NoneType
from typing import TYPE_CHECKING, Any

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

from pilotcut.backends import check_backend
from pilotcut.backends.base import Shots
from pilotcut.circuits.binding import Binding
from pilotcut.circuits.observables import Observables, pauli_terms
from pilotcut.circuits.program import Program, read_circuit
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.plan import CutPlan, build_plan, check_overhead, check_size
from pilotcut.cutting.search import choose_labels
from pilotcut.errors import CutError, UserError
from pilotcut.execution import shot_allocation as allocation
from pilotcut.execution.batch_log import Measured, Result, Stages
from pilotcut.execution.contraction_target import choose
from pilotcut.execution.devices import fleet_of
from pilotcut.execution.executor import Executor
from pilotcut.execution.pubs import Batch, batches_of, coerce_pubs
from pilotcut.execution.query_store import Outputs, Query, write_query
from pilotcut.execution.results import Compiled, Contracting, Evaluation, RowEvaluations
from pilotcut.execution.streaming import BatchTimes
from pilotcut.execution.work_units import Request, WorkUnit
from pilotcut.io.jsonl import JsonLines
from pilotcut.options import (
    ALLOCATIONS,
    ERROR_TOLERANCE,
    MOST_SHOTS,
    RECONSTRUCTIONS,
    check_kind,
    checked_auto,
    checked_mode,
    checked_samples,
    checked_shots,
    checked_tolerance,
)
from pilotcut.reconstruction.block_store import BlockStore
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.term_sampling import TermSample
from pilotcut.tasks import TaskManager

if TYPE_CHECKING:
    from pilotcut.backends.statevector import Linearised
    from pilotcut.perfmodel.device_forecast import DeviceForecaster
    from pilotcut.perfmodel.forecast import Forecaster
    from pilotcut.perfmodel.known_pilots import Views
    from pilotcut.perfmodel.options import Options
    from pilotcut.perfmodel.recommendation import Recommendation

#: With fewer shots a pilot round says too little to deal by.
LEAST_OPTIMAL = 256

#: Shots of the round that measures how many shots a precision needs, and the margin on
#: its error, which is itself known to a few percent only.
PILOT_SHOTS, PILOT_MARGIN = 256, 1.1


class CutEstimator(BaseEstimatorV2):
    """Estimates expectation values of cut circuits; drops in where an EstimatorV2 is wanted.

    Parameters
    ----------
    tasks
        Where to run; None runs in this process.
    cuts, labels, max_width, plan
        How to cut, at most one of them, as in `pilotcut.compile_plan`. A `plan` serves
        circuits of its own structure only. Without any, circuits are cut at their
        `CutWire` markers or not at all. With ``cuts="auto"`` the number and places of cuts are
        those that `pilotcut.recommend` predicts to be fastest, in fragments of at most
        `max_width`; pilots without a calibration are measured first. The choice, and the
        prediction of each batch beside what it took, are in the trace.
    auto
        With ``cuts="auto"``, options of the recommendation (`pilotcut.perfmodel.options.Options`,
        such as ``{"max_cuts": 8, "queries": 10_000}``), and "pilots" if `tasks` come later.
        Those that the estimator has itself (`mode`, `shots`, `max_width`, `joint_cuts`) are
        given there.
    joint_cuts
        Cut parallel gates between two labels as one, as in `pilotcut.compile_plan`; a `plan`
        has its own say. The exact mode has no sampling overhead and cuts one by one.
    mode
        "counts": every physical subexperiment runs as a circuit with shots. "sampled": the
        same outcomes drawn from their exact law. "exact": no shots, but statevectors of the
        fragments' branches; `stds` are 0.
    shots
        Shots of each subexperiment. A PUB's or call's `precision` wins over it. Without
        meaning in exact mode.
    seed
        The same seed gives the same numbers, wherever they are computed; on pilots with devices
        of their own, on the same fleet, unless a device goes or has no use for a seed.
    backend
        Name of the backend that workers use in counts mode, except on pilots with a
        ``backend.qpu``: there every part of a fragment runs on a device that is chosen by
        predicted error and load, with that device's noise, and the records say where. The modes
        "sampled" and "exact" know no noise and leave such pilots alone.
    error_tolerance
        How much larger a fragment's predicted error may be on a device than on the best one,
        for the sake of load; without meaning on pilots without devices. 0 is error alone.
    shot_allocation
        "uniform", or "optimal": an eighth of the shots measures where errors come from, and
        the rest is dealt accordingly, 30 % evenly and the other 70 % in proportion to
        ``|environment| sigma`` of each subexperiment. The total is the same.
    num_samples
        Draw up to this many joint terms of all cuts for every parameter set, in proportion to
        their weights, instead of running all variants: for plans with too many of them.
        Terms of a share above 1 / `num_samples` are always there. `stds` hold what the draw
        adds; it falls with the square root of `num_samples` and grows with
        `CutPlan.sampling_overhead`.
    reconstruction
        "local": fragment tensors are contracted in this process, rows of a batch while others
        still run. "mpi": by the ranks of an MPI pilot. "auto": by the ranks if there are such
        pilots and the contraction is predicted to take long; the record says why.
    store
        A directory that keeps what workers measure of each batch, for
        ``pilotcut reconstruct`` and for a run that is resumed with the same seed; the workers
        must share it. It is for one estimator at a time, and without `num_samples`; what is
        kept are batches as they are run, with optimal allocation the pilot round and the rest.
        None keeps nothing.
    trace
        Where records of compilations and queries go: a `JsonLines`, or the path of its file.

    Attributes
    ----------
    recommendation
        With ``cuts="auto"`` that of the last circuit that was compiled.

    Notes
    -----
    `stds` are standard errors by first-order propagation through the reconstruction. A
    `precision` is turned into shots by a small pilot round that measures the error.
    ``EstimatorQNN`` always passes its `default_precision`: set it to None to use `shots`.

    A copy, by `copy` or `pickle`, has the same seed and draws on from the same place, so it
    answers what the original would answer next. It runs on the same pilots; with `tasks` it
    cannot be pickled. It keeps its records in memory, and has no store, which is for one.

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
        cuts: int | str | None = None,
        labels: str | Sequence[str] | Placement | None = None,
        max_width: int | None = None,
        plan: CutPlan | None = None,
        auto: Mapping[str, Any] | None = None,
        joint_cuts: bool = False,
        mode: str = "counts",
        shots: int = 1024,
        seed: int | None = None,
        backend: str = "aer",
        error_tolerance: float = ERROR_TOLERANCE,
        shot_allocation: str = "uniform",
        num_samples: int | None = None,
        reconstruction: str = "auto",
        store: str | os.PathLike[str] | None = None,
        trace: JsonLines | str | os.PathLike[str] | None = None,
    ) -> None:
        check_kind("plan", plan, (CutPlan, NoneType), "a CutPlan; compile one: compile_plan(...)")
        check_kind("store", store, (str, os.PathLike, NoneType), "the path of a directory")
        check_kind("joint_cuts", joint_cuts, (bool, np.bool_), "True or False")
        if isinstance(trace, (str, os.PathLike)):
            trace = JsonLines(Path(trace))
        check_kind("trace", trace, (JsonLines, NoneType), "the path of a file, or JsonLines(path)")
        automatic = checked_auto(cuts, auto)
        limit = None if automatic else max_width
        if sum(option is not None for option in (cuts, labels, limit, plan)) > 1:
            raise CutError(
                "cuts, labels, max_width and plan are given together, expected at most one"
            )
        self.mode = checked_mode(mode)
        self.shots = 0 if self.exact else checked_shots(shots)
        self.stages = Stages(trace if trace is not None else JsonLines(), seed)
        self._cuts, self._labels, self._max_width, self._plan = cuts, labels, max_width, plan
        self._auto = dict(auto or {}) if automatic else None
        self._forecasts: dict[tuple[str, int], Forecaster | DeviceForecaster] = {}
        self.recommendation: Recommendation | None = None
        self._joint_cuts = not self.exact and (joint_cuts if plan is None else plan.joint_cuts)
        if shot_allocation not in ALLOCATIONS:
            raise UserError(
                f"shot_allocation is '{shot_allocation}', expected one of {', '.join(ALLOCATIONS)}"
            )
        self._optimal = shot_allocation == "optimal"
        self._num_samples = checked_samples(num_samples, exact=self.exact, optimal=self._optimal)
        if reconstruction not in RECONSTRUCTIONS:
            raise UserError(
                f"reconstruction is '{reconstruction}', expected one of "
                f"{', '.join(RECONSTRUCTIONS)}"
            )
        self._reconstruction = reconstruction
        if store is not None and num_samples is not None:
            raise UserError(
                f"store is '{store}' with num_samples={num_samples}, expected None: samples of "
                f"terms are not kept; leave one of the two out"
            )
        if automatic and num_samples is not None:
            raise UserError(
                f"cuts is 'auto' with num_samples={num_samples}, expected None: what is predicted "
                f"is all variants; leave one of the two out"
            )
        self._store = None if store is None else Path(store)
        self._backend = "sampled" if mode == "sampled" else check_backend(backend)
        self._error_tolerance = checked_tolerance(error_tolerance)
        self.use(tasks)
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self._lock = threading.RLock()
        if automatic:
            self._options()  # mistakes in them show now and not with the first circuit

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self.__dict__ | {"_compiled": dict(self._compiled)}
        del state["_lock"]
        return state | {"stages": copy.copy(self.stages), "_store": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def exact(self) -> bool:
        """Whether values come from statevectors and not from shots."""
        return self.mode == "exact"

    @property
    def trace(self) -> JsonLines:
        """Where records go."""
        return self.stages.trace

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
        asked = next((pub.precision for pub in coerced if pub.precision is not None), None)
        if asked is not None and self._num_samples is not None:
            raise UserError(
                f"precision is {asked} with num_samples={self._num_samples}, expected none: "
                f"shots cannot lower what the choice of terms adds; leave precision out and raise "
                f"num_samples until stds suffice"
            )
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
        outputs = (coefficients, constant)
        evaluation = self.evaluate_outputs(compiled, batch.slots, outputs, shots)
        values = evaluation.values @ coefficients.T + constant
        about = {"shots": shots, "plan": compiled.plan.fingerprint}
        return values, evaluation.errors(coefficients), about

    def evaluate_outputs(
        self,
        compiled: Compiled,
        slots: np.ndarray,
        outputs: tuple[np.ndarray, np.ndarray],
        shots: int | None = None,
        keep: bool = False,
    ) -> Evaluation | RowEvaluations:
        """Run what a batch (rows, slots) takes by this estimator's options, and reconstruct it.

        Parameters
        ----------
        compiled, slots
            What to run, and for which slot values.
        outputs
            Coefficients (observables, terms) and constants (observables,) of what is wanted.
        shots
            Of each subexperiment; None for the estimator's own.
        keep
            Keep what derivatives need where that is possible.
        """
        number = self.shots if shots is None else shots
        if self._optimal and not self.exact and number >= LEAST_OPTIMAL:
            dealt = self._evaluate_optimally(compiled, slots, outputs[0], number)
            return replace(dealt, shots=number)  # of a derivative's circuits: all alike
        if self._num_samples is not None:
            return self.evaluate(compiled, slots)
        return self.evaluate_all(compiled, slots, number, keep=keep, outputs=outputs)

    def _evaluate_optimally(
        self, compiled: Compiled, slots: np.ndarray, coefficients: np.ndarray, shots: int
    ) -> Evaluation:
        """Spend the same shots where they lower the error most; the pilot's counts are kept."""
        first = shots // 8
        pilot = self.evaluate_all(compiled, slots, first, "pilot")
        dealt = allocation.deal(
            compiled.plan.fragments,
            pilot.tensors,
            pilot.sensitivities(coefficients),
            first,
            shots - first,
        )
        rest = self.evaluate_all(compiled, slots, dealt)
        fragments = zip(compiled.plan.fragments, pilot.tensors, rest.tensors, dealt, strict=True)
        merged = [allocation.merge(f, a, b, first, n) for f, a, b, n in fragments]
        return self._contracted(compiled, slots, merged)

    def _contracted(
        self, compiled: Compiled, slots: np.ndarray, tensors: list[FragmentTensor]
    ) -> Evaluation:
        contracting = Contracting(compiled, self._matrices(compiled, slots))
        contracting.add(slice(0, len(slots)), tensors)
        return contracting.evaluation(tensors)

    def _matrices(self, compiled: Compiled, slots: np.ndarray) -> list[np.ndarray]:
        """Return the bond matrices, each (rows, d0, d1) or (1, d0, d1)."""
        bonds = compiled.plan.bonds
        return [(b.coherent_matrix if self.exact else b.matrix)(slots) for b in bonds]

    def _shots_for(
        self, compiled: Compiled, slots: np.ndarray, coefficients: np.ndarray, precision: float
    ) -> int:
        """Return shots per subexperiment for a standard error of `precision` on every row.

        A pilot round measures the error; errors fall with the square root of the shots.
        """
        pilot = self.evaluate_all(compiled, slots, PILOT_SHOTS, "pilot")
        error = float(pilot.errors(coefficients).max())
        times = PILOT_MARGIN * error / precision
        shots = PILOT_SHOTS * times * times  # infinite where a power would overflow
        if not shots <= MOST_SHOTS:
            raise UserError(
                f"precision {precision} needs {shots:.3g} shots a subexperiment with "
                f"{compiled.plan.num_cuts} cuts, expected at most {MOST_SHOTS}; ask for less "
                f"precision or fewer cuts"
            )
        return max(1, ceil(shots))

    # -- compile once, evaluate many -----------------------------------------------

    def compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Compiled:
        """Return the plan for a program and terms, compiled on first sight only."""
        key = (program.key, tuple(terms))
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile(program, binding, terms)
            return self._compiled[key]

    def _compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Compiled:
        pilots = self._known_pilots() if self._auto is not None else None
        started = perf_counter()
        paulis = PauliList(list(terms))
        if pilots is not None:
            plan = self._recommended(program, binding, paulis, pilots)
        else:
            labels = self._labels_for(program)
            plan = build_plan(program, binding, paulis, labels, self._joint_cuts)
        if self._num_samples is None:
            check_size(plan, coherent=self.exact)
        else:
            check_overhead(plan)
        if self.mode == "sampled":
            check_size(plan, coherent=True)
        compiled = Compiled(plan, Contraction.of(plan, coherent=self.exact))
        self.stages.compiled(plan, perf_counter() - started)
        return compiled

    def _known_pilots(self) -> Views:
        """Return the pilots with what is known of them; those that are not are measured."""
        from pilotcut.perfmodel.auto import known_pilots

        assert self._auto is not None
        return known_pilots(self._tasks, self._auto.get("pilots"), self.mode)

    def _recommended(
        self, program: Program, binding: Binding, terms: PauliList, pilots: Views
    ) -> CutPlan:
        """Return the plan that is predicted to be fastest, and keep what predicts its batches."""
        from pilotcut.perfmodel.recommend import recommend_for

        found = recommend_for(program, binding, terms, pilots, self._options())
        self._forecasts[found.plan.fingerprint, self.shots] = found.forecaster
        self.recommendation = found
        self.stages.trace.write({"kind": "recommendation", **found.to_dict()})
        return found.plan

    def _options(self) -> Options:
        from pilotcut.perfmodel.auto import options_of

        assert self._auto is not None
        asked = self._auto | {"mode": self.mode, "max_width": self._max_width}
        asked.pop("pilots", None)
        if not self.exact:
            asked |= {"shots": self.shots, "joint_cuts": self._joint_cuts}
        return options_of(asked)

    def _forecast(self, plan: CutPlan, rows: int, shots: int) -> dict[str, Any]:
        """Return what was predicted of a batch, for the record; nothing where nobody did."""
        known = self._forecasts.get((plan.fingerprint, self.shots))
        if known is None:
            return {}
        if shots != self.shots:  # of a round that measures errors, or for a precision
            of_shots = replace(known, shots=shots, _records={})
            known = self._forecasts.setdefault((plan.fingerprint, shots), of_shots)
        return known.record(plan, rows)

    def _labels_for(self, program: Program) -> Sequence[str] | Placement | None:
        if self._plan is not None:
            if self._plan.program.key != program.key:
                raise CutError(
                    f"the circuit ({program.num_qubits} qubits, {len(program.steps)} gates) is not "
                    f"the one the plan was compiled for ({self._plan.num_qubits} qubits, "
                    f"{len(self._plan.program.steps)} gates); compile a plan for it, or give labels"
                )
            return self._plan.requested
        if self._cuts is not None or self._max_width is not None:
            assert not isinstance(self._cuts, str)
            return choose_labels(program, cuts=self._cuts, max_width=self._max_width)
        return self._labels

    def evaluate(
        self,
        compiled: Compiled,
        slots: np.ndarray,
        source: str = "forward",
        keep: bool = False,
    ) -> Evaluation | RowEvaluations:
        """Run what this estimator runs for a batch (rows, slots), and reconstruct its terms.

        Parameters
        ----------
        compiled, slots
            What to run, and for which slot values.
        source
            Why, for the record.
        keep
            Keep what derivatives need where that is possible.
        """
        if self._num_samples is not None:
            matrices = [bond.matrix(slots) for bond in compiled.plan.bonds]
            return self.evaluate_terms(compiled, slots, matrices, source)
        return self.evaluate_all(compiled, slots, self.shots, source, keep)

    def evaluate_all(
        self,
        compiled: Compiled,
        slots: np.ndarray,
        shots: int | Sequence[np.ndarray],
        source: str = "forward",
        keep: bool = False,
        outputs: Outputs | None = None,
    ) -> Evaluation:
        """Run every subexperiment of a batch; `shots` may be (rows, subexperiments) a fragment.

        `outputs` are coefficients (observables, terms) and constants, for what is kept of it.
        """
        fragments = compiled.plan.fragments
        each: Sequence[Shots] = [shots] * len(fragments) if isinstance(shots, int) else shots
        requests = [
            Request(f, f.angle_values(slots), n) for f, n in zip(fragments, each, strict=True)
        ]
        kept: list[Linearised] = []
        matrices = self._matrices(compiled, slots)
        how = choose(self._reconstruction, self._tasks, compiled, len(slots), self.exact)
        contracting = how.start(compiled, matrices)

        def execute(seed: np.random.SeedSequence) -> tuple[list[FragmentTensor], BatchTimes]:
            may_keep = self.exact and keep and self._store is None
            if may_keep and (found := self.executor.linearised(requests)):
                kept.extend(found[0])
                tensors = [FragmentTensor(one.values, ()) for one in kept]
                contracting.add(slice(0, len(slots)), tensors)
                return tensors, found[1]
            (batch,) = seed.spawn_key

            def write(units: Sequence[WorkUnit]) -> BlockStore:
                assert self._store is not None
                asked = outputs or (None, None)
                query = Query(compiled, requests, units, matrices, self.exact, *asked)
                return write_query(self._store, batch, query)

            stored = None if self._store is None else write
            if self.exact:
                return self.executor.exact(requests, contracting.add, stored)
            return self.executor.evaluate(requests, seed, contracting.add, stored)

        def contract(tensors: list[FragmentTensor]) -> Evaluation:
            number = shots if isinstance(shots, int) else 0
            return replace(contracting.evaluation(tensors), shots=number, kept=kept)

        about = self._about(requests, source) | {"reconstruction": how.reason}
        if isinstance(shots, int) and not (self.exact and keep):  # which takes more than values
            about |= self._forecast(compiled.plan, len(slots), shots)
        return self.run_stages(compiled.plan, execute, contract, about)

    def evaluate_terms(
        self,
        compiled: Compiled,
        slots: np.ndarray,
        bonds: Sequence[np.ndarray],
        source: str = "forward",
    ) -> RowEvaluations:
        """Run a fresh sample of terms for every row, drawn by `bonds` (rows or 1, d0, d1)."""
        assert self._num_samples is not None
        rng = np.random.default_rng(self.stages.next_stream())
        samples = [
            TermSample.draw(compiled.plan, [b[row % len(b)] for b in bonds], self._num_samples, rng)
            for row in range(len(slots))
        ]
        requests = [
            Request(f, f.angle_values(slots[row : row + 1]), self.shots)
            for row, sample in enumerate(samples)
            for f in sample.plan.fragments
        ]
        each = len(compiled.plan.fragments)

        def execute(seed: np.random.SeedSequence) -> tuple[list[FragmentTensor], BatchTimes]:
            return self.executor.evaluate(requests, seed)

        def contract(tensors: list[FragmentTensor]) -> RowEvaluations:
            rows = []
            for k, sample in enumerate(samples):
                own = Compiled(sample.plan, sample)
                some = tensors[k * each : (k + 1) * each]
                row = self._contracted(own, slots[k : k + 1], some)
                rows.append(replace(row, shots=self.shots))
            return RowEvaluations(rows)

        sampled = Compiled(samples[0].plan, samples[0])
        how = choose(self._reconstruction, self._tasks, sampled, 1, self.exact)
        about = self._about(requests, source) | {"queries": len(slots)}
        about["reconstruction"] = how.reason
        return self.run_stages(compiled.plan, execute, contract, about)

    def _about(self, requests: Sequence[Request], source: str) -> dict[str, Any]:
        """Return what is recorded of a batch."""
        circuits = sum(self._circuits(request) for request in requests)
        shots = sum(request.total_shots for request in requests)
        about: dict[str, Any] = {"source": source, "queries": len(requests[0].angles)}
        return about | {
            "subexperiments": circuits,
            "shots": shots / circuits if circuits else 0.0,
        }

    def _circuits(self, request: Request) -> int:
        """Return how many circuits, or statevectors, a request runs."""
        if self.exact:
            return len(request.angles) * prod(site.rank for site in request.fragment.sites)
        return request.subexperiments

    def run_stages(
        self,
        plan: CutPlan,
        execute: Callable[[np.random.SeedSequence], tuple[Measured, BatchTimes]],
        reconstruct: Callable[[Measured], Result],
        about: dict[str, Any],
    ) -> Result:
        """Run one batch as `Stages.run` does, and record also how it was run."""
        about |= {"mode": self.mode, "workers": self.executor.workers}
        return self.stages.run(plan, execute, reconstruct, about | {"policy": self.executor.policy})

    def compile_for(self, circuit: QuantumCircuit, observables: Observables) -> Compiled:
        """Return the plan for a circuit ahead of its first query, so that mistakes show early."""
        program, binding = read_circuit(circuit)
        terms = pauli_terms(observables, circuit.num_qubits).to_labels()
        measured = sorted(t for t in terms if t.strip("I"))
        return self.compile(program, binding, measured or ["I" * circuit.num_qubits])

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on, or in this process.

        Raises
        ------
        UserError
            If its pilots cannot run what this estimator runs, see `devices.fleet_among`.
        """
        check_kind("tasks", tasks, (TaskManager, NoneType), "a TaskManager; TaskManager(pilots)")
        fleet_of(tasks, self.mode)
        self._tasks = tasks
        self.executor = Executor(tasks, self._backend, self._error_tolerance)
