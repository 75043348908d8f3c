"""A Qiskit estimator for circuits that are too wide to run whole.

Owns how circuits are cut, and PUBs in and results out. Refuses to know how a batch is run, see
`pilotcut.execution.batch_runner`.
"""

from __future__ import annotations

import contextvars
import copy
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
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
from pilotcut.circuits.binding import Binding
from pilotcut.circuits.observables import Observables, pauli_terms
from pilotcut.circuits.program import Program, read_circuit
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.plan import CutPlan, build_plan
from pilotcut.cutting.search import best_placement
from pilotcut.errors import CutError, UserError
from pilotcut.execution.batch_log import BatchLog
from pilotcut.execution.batch_runner import BatchRunner
from pilotcut.execution.contractions import contraction_of
from pilotcut.execution.devices import fleet_of
from pilotcut.execution.mitigating import check_devices
from pilotcut.execution.pubs import Batch, batches_of, coerce_pubs
from pilotcut.io.jsonl import JsonLines
from pilotcut.options import (
    AUTO,
    DOUBLE,
    ERROR_TOLERANCE,
    MAX_SECONDS,
    SEPARATE,
    EngineOptions,
    check_beside_samples,
    check_kind,
    check_one_cut,
    checked_auto,
    checked_samples,
    checked_seconds,
    checked_shots,
    checked_tolerance,
)
from pilotcut.pilots.description.mitigation import Mitigation, checked_mitigation
from pilotcut.primitives.estimator_checks import check_arguments, checked_usage
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.tasks import TaskManager

if TYPE_CHECKING:
    from pilotcut.perfmodel.recommendation import Recommendation
    from pilotcut.primitives.auto_cuts import AutoCuts


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
        Those that the estimator has itself (`mode`, `shots`, `max_width`, `joint_cuts`,
        `wires`) are given there.
    joint_cuts
        Cut parallel gates between two labels as one, as in `pilotcut.compile_plan`; a `plan`
        has its own say. The exact mode has no sampling overhead and cuts one by one.
    wires
        How wires are cut, as in `pilotcut.compile_plan`; a `plan` has its own say. With
        communication fragments run in the order of the wires, and what a wire's receiver prepares
        has shots as its sender found it; the total is the same. Sampled terms and the exact mode
        cut wires one by one.
    mode
        "counts": every physical subexperiment runs as a circuit with shots. "sampled": the
        same outcomes drawn from their exact distribution. "exact": no shots, but statevectors of
        the fragments' branches, or of the tensor network; `stds` are 0.
    engine
        How the exact mode computes: "statevector" by states of all branches, "network" by tensor
        networks, of the fragments or of the circuit as if it were not cut, and "auto" what is
        predicted to be quickest: for each fragment one of both, or the network or the state of the
        whole circuit. Records say what was taken.
    dtype
        Of the exact mode's states: "complex128", or "complex64" at half the memory, to about 1e-5.
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
    mitigation
        What is done about errors of devices: "none", "readout", "zne", "readout+zne", "pec",
        "pec+readout", or "auto", which extrapolates where that pays off; None does what their
        descriptions say. Options stand behind it or in a mapping, see `docs/qpus.md`.
    shot_allocation
        "uniform"; "weighted", 70 % of them in proportion to the weight that the cuts give each
        subexperiment; or "optimal": an eighth, dealt so, measures where errors come from, and
        of the rest 70 % go by ``|environment| sigma``. The total is the same.
    num_samples
        Draw up to this many joint terms of all cuts for every parameter set, in proportion to
        their weights, instead of running all variants: for plans with too many of them.
        Terms of a share above 1 / `num_samples` are always there. `stds` hold what the draw
        adds; it falls with the square root of `num_samples` and grows with
        `CutPlan.sampling_overhead`. Shots are then "uniform".
    reconstruction
        "local": fragment tensors are contracted in this process, rows of a batch while others
        still run. "mpi": by the ranks of an MPI pilot. "auto": by the ranks if there are such
        pilots and the contraction is predicted to take long; the record says why.
    max_seconds
        What is predicted to take longer in one call is refused; infinite for no limit. From a
        predicted minute on a `pilotcut.errors.LongCallWarning` says how long, why, and which mode
        or plan is quicker, once for each plan.
    max_usage
        Seconds of devices that run circuits themselves: a batch that is predicted to go beyond is
        not begun (`pilotcut.errors.UsageError`). None for any number.
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
        wires: str = AUTO,
        mode: str = "counts",
        engine: str = AUTO,
        dtype: str = DOUBLE,
        shots: int = 1024,
        seed: int | None = None,
        backend: str = "aer",
        error_tolerance: float = ERROR_TOLERANCE,
        mitigation: str | Mapping[str, Any] | Mitigation | None = None,
        shot_allocation: str = "uniform",
        num_samples: int | None = None,
        reconstruction: str = "auto",
        max_seconds: float = MAX_SECONDS,
        max_usage: float | None = None,
        store: str | os.PathLike[str] | None = None,
        trace: JsonLines | str | os.PathLike[str] | None = None,
    ) -> None:
        given = (plan, store, joint_cuts, trace, wires, mode, engine, dtype)
        check_arguments(*given, shot_allocation, reconstruction)
        automatic = checked_auto(cuts, auto)
        check_one_cut(cuts, labels, None if automatic else max_width, plan)
        self.mode = mode
        self.shots = 0 if self.exact else checked_shots(shots)
        log = BatchLog(trace if isinstance(trace, JsonLines) else JsonLines(trace), seed)
        self._cuts, self._labels, self._max_width, self._plan = cuts, labels, max_width, plan
        self._joint_cuts = not self.exact and (joint_cuts if plan is None else plan.joint_cuts)
        one_by_one = self.exact or num_samples is not None
        self._wires = SEPARATE if one_by_one else wires if plan is None else plan.wires
        self._num_samples = checked_samples(
            num_samples, exact=self.exact, allocation=shot_allocation
        )
        corrected = checked_mitigation(mitigation, mode)
        mitigated = corrected is not None and corrected.does
        kind = AUTO if plan else wires
        check_beside_samples(
            num_samples, store, automatic=automatic, wires=kind, mitigated=mitigated
        )
        self._engine = EngineOptions(engine, dtype)
        self.runner = BatchRunner(
            log,
            mode=mode,
            shots=self.shots,
            backend="sampled" if mode == "sampled" else check_backend(backend),
            error_tolerance=checked_tolerance(error_tolerance),
            allocation=shot_allocation,
            num_samples=self._num_samples,
            reconstruction=reconstruction,
            store=None if store is None else Path(store),
            max_seconds=checked_seconds(max_seconds),
            max_usage=checked_usage(max_usage),
            engine=self._engine,
            mitigation=corrected,
        )
        self.use(tasks)
        self._compiled: dict[tuple[object, ...], Contraction] = {}
        self._lock = threading.RLock()
        self.recommendation: Recommendation | None = None
        self._auto = self._auto_cuts(auto or {}) if automatic else None

    def _auto_cuts(self, auto: Mapping[str, Any]) -> AutoCuts:
        # Here, so that who cuts by hand does not wait for it.
        from pilotcut.primitives.auto_cuts import AutoCuts

        found = AutoCuts(
            auto,
            mode=self.mode,
            shots=self.shots,
            max_width=self._max_width,
            joint_cuts=self._joint_cuts,
            wires=self._wires,
            engine=self._engine,
        )
        self.runner.forecast = found.forecast
        return found

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self.__dict__ | {"_compiled": dict(self._compiled)}
        del state["_lock"]
        # By the runner's own rules: a copy draws on by itself, and leaves the store to the
        # original.
        return state | {"runner": copy.copy(self.runner)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def exact(self) -> bool:
        """Whether values come from statevectors and not from shots."""
        return self.mode == "exact"

    @property
    def stages(self) -> BatchLog:
        """Streams of random numbers, and totals by stage of all batches."""
        return self.runner.log

    @property
    def trace(self) -> JsonLines:
        """Where records go."""
        return self.stages.trace

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on, or in this process.

        Raises
        ------
        UserError
            If its pilots cannot run what this estimator runs, see `devices.fleet_among`.
        """
        check_kind("tasks", tasks, (TaskManager, NoneType), "a TaskManager; TaskManager(pilots)")
        if tasks is not None:
            check_devices(self.runner.mitigation, fleet_of(tasks, self.mode))
        self.runner.use(tasks)

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
            For what cannot be cut, bound or measured, or would take longer than `max_seconds`.
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
        contractions = [
            self.compile(b.program, b.binding, b.terms) if b.terms else None for b in batches
        ]
        for batch, one in zip(batches, contractions, strict=True):
            if one is not None and batch.precision is None:
                self.runner.expect_batch(one, batch.slots)
        # In a thread, which is to know what a step of a training this is part of.
        job: PrimitiveJob[PrimitiveResult[PubResult]] = PrimitiveJob(
            contextvars.copy_context().run, self._answer, coerced, batches, contractions
        )
        job._submit()
        return job

    def _answer(
        self,
        pubs: list[EstimatorPub],
        batches: list[Batch],
        contractions: list[Contraction | None],
    ) -> PrimitiveResult[PubResult]:
        sizes = [int(np.prod(pub.shape, dtype=int)) for pub in pubs]
        owner = np.repeat(np.arange(len(pubs)), sizes)
        evs, stds = np.empty(len(owner)), np.empty(len(owner))
        metadata = [{"mode": self.mode, "target_precision": p.precision} for p in pubs]
        for batch, one in zip(batches, contractions, strict=True):
            values, errors, about = self._estimate(batch, one)
            evs[batch.places], stds[batch.places] = values.T, errors.T
            for number in np.unique(owner[batch.places]):
                metadata[number].update(about)
        edges = np.cumsum(sizes)[:-1]
        data = zip(pubs, np.split(evs, edges), np.split(stds, edges), metadata, strict=True)
        return PrimitiveResult(
            [
                PubResult(
                    DataBin(evs=e.reshape(pub.shape), stds=s.reshape(pub.shape), shape=pub.shape),
                    metadata=m | {"circuit_metadata": pub.circuit.metadata},
                )
                for pub, e, s, m in data
            ],
            metadata={"version": 2},
        )

    def _estimate(
        self, batch: Batch, contraction: Contraction | None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
        """Return values and standard errors, (rows, observables), and what was run."""
        coefficients, constant = batch.coefficients()
        if contraction is None:  # nothing but identities
            values = np.repeat(constant[None], len(batch.slots), axis=0)
            return values, np.zeros_like(values), {"shots": 0}
        shots = self.shots
        if batch.precision is not None and not self.exact:
            shots = self.runner.shots_for(contraction, batch.slots, coefficients, batch.precision)
        outputs = (coefficients, constant)
        evaluation = self.runner.estimate(contraction, batch.slots, outputs, shots)
        values = evaluation.values @ coefficients.T + constant
        done = {"mitigation": evaluation.mitigation} if evaluation.mitigation else {}
        about = {"shots": shots, "plan": contraction.named_plan.fingerprint, **done}
        return values, evaluation.errors(coefficients), about

    # -- compile once, evaluate many -----------------------------------------------

    def compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Contraction:
        """Return the contraction of the plan for a program and terms, compiled on first sight."""
        key = (program.key, tuple(terms))
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile(program, binding, terms)
            return self._compiled[key]

    def _compile(self, program: Program, binding: Binding, terms: Sequence[str]) -> Contraction:
        # Pilots that are not known yet are measured, which is not part of compiling.
        pilots = None if self._auto is None else self._auto.pilots(self.runner.executor.tasks)
        started = perf_counter()
        paulis = PauliList(list(terms))
        if self._auto is not None and pilots is not None:
            found = self._auto.recommend(program, binding, paulis, pilots)
            self.recommendation, plan = found, found.plan
            self.trace.write({"kind": "recommendation", **found.to_dict()})
        else:
            labels = self._labels_for(program)
            plan = build_plan(program, binding, paulis, labels, self._joint_cuts, self._wires)
        drawn = self._num_samples is not None
        contraction = contraction_of(plan, self.mode, engine=self._engine, term_samples=drawn)
        self.stages.compiled(plan, perf_counter() - started)
        return contraction

    def _labels_for(self, program: Program) -> Sequence[str] | Placement | None:
        if self._plan is not None:
            if self._plan.program.key != program.key:
                raise CutError(
                    f"the circuit ({program.num_qubits} qubits, {len(program.steps)} gates) is not "
                    f"the one the plan was compiled for ({self._plan.num_qubits} qubits, "
                    f"{len(self._plan.program.steps)} gates); compile a plan for it, or give labels"
                )
            return self._plan.requested
        cuts, width = self._cuts, self._max_width
        if cuts is not None or width is not None:
            assert not isinstance(cuts, str)
            return best_placement(program, cuts=cuts, max_width=width, wires=self._wires)
        return self._labels

    def compile_for(self, circuit: QuantumCircuit, observables: Observables) -> Contraction:
        """Return the same for a circuit ahead of its first query, so that mistakes show early."""
        program, binding = read_circuit(circuit)
        terms = pauli_terms(observables, circuit.num_qubits).to_labels()
        measured = sorted(t for t in terms if t.strip("I"))
        return self.compile(program, binding, measured or ["I" * circuit.num_qubits])
