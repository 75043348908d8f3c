"""Measurement of a pilot: calls on one slot, batches on all of them, within a minute.

The same circuits, bundles and contractions as in a real query, of the three families of
`pilotcut.perfmodel.sample_circuits`. What is measured goes into a `Calibration`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, prod
from statistics import median
from time import perf_counter, process_time

import numpy as np
from qiskit.circuit import QuantumCircuit

from pilotcut.backends import exact_engine
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan, build_plan, check_size, compile_plan
from pilotcut.errors import CutError, UserError
from pilotcut.execution.batch_log import BatchLog
from pilotcut.execution.batch_runner import BatchRunner
from pilotcut.execution.batching import circuit_units, exact_row_s, exact_units, predicted_s
from pilotcut.execution.contractions import contraction_of
from pilotcut.execution.pubs import batches_of, coerce_pubs
from pilotcut.execution.work_units import Request, WorkUnit
from pilotcut.io.jsonl import JsonLines
from pilotcut.options import (
    AUTO,
    ERROR_TOLERANCE,
    MODES,
    NETWORK,
    SEPARATE,
    STATEVECTOR,
    USUAL_ENGINE,
    EngineOptions,
)
from pilotcut.perfmodel import resources
from pilotcut.perfmodel.calibration import (
    BatchObservation,
    Calibration,
    CallObservation,
    ModeObservations,
    key_of,
    now,
    observation,
    versions,
)
from pilotcut.perfmodel.circuit_load import CircuitCounter
from pilotcut.perfmodel.exact_load import ExactCounter
from pilotcut.perfmodel.sample_circuits import FAMILIES
from pilotcut.perfmodel.statevector_load import DrawCounter
from pilotcut.perfmodel.workload import work_of
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.tasks import TaskManager

#: What the exact mode is measured with: the way that its amounts are counted of.
STATES, NETWORKS = EngineOptions(STATEVECTOR), EngineOptions(NETWORK)


#: Seconds for each mode, calls and batches together; what is left of a minute starts the pilot.
BUDGET_S = {"counts": 28.0, "exact": 18.0, "sampled": 8.0}

#: The calls' share of the time; batches have the rest.
CALLS = 0.5

#: Calls and batches that are guessed to take longer are left out: many small ones say more.
LONGEST_S = 0.8

#: (qubits, cuts) that each family is measured with, so that a short time sees all sizes.
SIZES = {
    "counts": [
        (4, 2), (16, 0), (8, 1), (12, 2), (19, 0), (6, 3), (10, 0), (18, 2), (4, 0), (14, 0),
        (18, 0), (8, 2), (20, 4), (12, 0), (8, 3), (6, 0), (17, 0), (16, 2), (10, 4), (15, 0),
        (20, 2), (13, 2), (20, 0), (13, 0), (24, 2), (6, 2), (9, 2), (11, 0), (22, 2), (12, 4),
    ],
    "exact": [
        (4, 2), (16, 0), (10, 2), (7, 2), (20, 0), (5, 0), (14, 4), (12, 0), (11, 2),
        (18, 0), (20, 2), (8, 2), (24, 4), (10, 0), (16, 2), (28, 2), (19, 0), (30, 2), (8, 0),
        (12, 1), (17, 0), (32, 2), (18, 4), (13, 0), (15, 2), (22, 2),
        (11, 0), (20, 4), (9, 0), (26, 3), (34, 2),
    ],
}  # fmt: skip
SIZES["sampled"] = [size for size in SIZES["exact"] if size[1] > 0 or size[0] <= 18]

#: A batch that is short is repeated for so long, and so often at most.
LEAST_S, MOST_REPEATS = 0.05, 7

#: Parameter sets of a batch.
ROWS = {"counts": (1, 4, 16), "exact": (16, 1, 64), "sampled": (16, 1, 64)}

SHOTS = 1024


@dataclass
class _Clock:
    """Time limit of a measurement."""

    seconds: float
    started: float = field(default_factory=perf_counter)

    @property
    def is_over(self) -> bool:
        return perf_counter() - self.started > self.seconds


def measure(
    pilot: PilotDescription | None = None,
    modes: Sequence[str] = MODES,
    budget_s: Mapping[str, float] = BUDGET_S,
) -> Calibration:
    """Return what one pilot takes, measured on it.

    Parameters
    ----------
    pilot
        Its description; it is started, alone, and ended again. None measures this process.
    modes
        Modes of `CutEstimator` to be measured.
    budget_s
        Seconds for each mode; half of them for calls, and half for batches.
    """
    if pilot is None:
        return measure_through(None, pilot, modes, budget_s)
    with tasks_alone(pilot) as tasks:
        return measure_through(tasks, pilot, modes, budget_s)


@contextmanager
def tasks_alone(pilot: PilotDescription) -> Iterator[TaskManager]:
    """Start one pilot to be measured, for tasks of no group: whose it is makes it no faster."""
    alone = pilot.model_copy(update={"groups": ()})
    with PilotManager([alone]) as pilots, TaskManager(pilots) as tasks:
        yield tasks


def measure_through(
    tasks: TaskManager | None,
    pilot: PilotDescription | None,
    modes: Sequence[str] = MODES,
    budget_s: Mapping[str, float] = BUDGET_S,
) -> Calibration:
    """Return what is measured on pilots that are running, all as `pilot` describes them.

    Raises
    ------
    UserError
        For a pilot with a device, whose time is modelled from its description.
    """
    if pilot is not None and pilot.backend.qpu is not None:
        raise UserError(
            f"pilot '{pilot.kind}' has a backend.qpu, expected none: a device's time follows from "
            f"its description and is not measured; recommend needs no calibration of it"
        )
    seen = tasks.submit_task(resources.detect).result() if tasks else resources.detect()
    return Calibration(
        pilot="here" if pilot is None else pilot.kind,
        key=key_of(pilot),
        slots=tasks.slots if tasks else 1,
        machine=str(seen["machine"]),
        seen=seen,
        versions=versions(),
        made=now(),
        modes={mode: observe(tasks, mode, budget_s[mode]) for mode in modes},
    )


def observe(tasks: TaskManager | None, mode: str, budget_s: float) -> ModeObservations:
    """Return the observations of one mode."""
    plans = list(_plans(mode))
    compiled = [one for one in plans if one.compile_s]
    calls, slopes = _observed_calls(tasks, mode, plans, _Clock(CALLS * budget_s))
    batches, first_s = _observed_batches(tasks, mode, plans, _Clock((1 - CALLS) * budget_s))
    return ModeObservations(
        calls=tuple(calls),
        batches=tuple(batches),
        compile_step_s=median(one.compile_s / len(one.plan.program.steps) for one in compiled),
        compile_gate_s=first_s,
        slopes=tuple(slopes),
    )


@dataclass(frozen=True)
class Sample:
    """Circuit of a family, with its plan."""

    family: str
    circuit: QuantumCircuit
    plan: CutPlan
    compile_s: float = 0.0

    @classmethod
    def of(cls, family: str, circuit: QuantumCircuit, cuts: int) -> Sample:
        """Return the sample of a circuit with a number of cuts.

        Raises
        ------
        CutError
            If its neighbours cannot be parted by so many.
        """
        started, qubits = perf_counter(), circuit.num_qubits
        # Neighbours together, as the families have their gates: a search would take longer than
        # the measurement. What is fitted is one call after the other, so no fragment waits here.
        for pieces in range(1, cuts + 2):
            labels = [q * pieces // qubits for q in range(qubits)]
            plan = compile_plan(circuit, "Z" * qubits, labels=labels, wires=SEPARATE)
            if plan.num_cuts == cuts:
                return cls(family, circuit, plan, perf_counter() - started)
        raise CutError(f"{family} of {qubits} qubits has no pieces with {cuts} cuts")

    def values(self, rows: int) -> np.ndarray:
        """Return parameter values (rows, parameters), the same each time."""
        rng = np.random.default_rng(7)
        return rng.uniform(-np.pi, np.pi, (rows, self.circuit.num_parameters))


def _plans(mode: str) -> Iterator[Sample]:
    for qubits, cuts in SIZES[mode]:
        for family, build in FAMILIES.items():
            try:
                sample = Sample.of(family, build(qubits), cuts)
                check_size(sample.plan, coherent=mode != "counts")
            except CutError:  # not every number of cuts is there
                continue
            yield sample


# -- calls ---------------------------------------------------------------------------------


def _observed_calls(
    tasks: TaskManager | None, mode: str, samples: Sequence[Sample], clock: _Clock
) -> tuple[list[CallObservation], list[CallObservation]]:
    """Return calls for values, and in exact mode those for derivatives."""
    calls: list[CallObservation] = []
    slopes: list[CallObservation] = []
    for number, sample in enumerate(samples):
        if number and clock.is_over:
            break
        rows = ROWS[mode][number % 3]
        calls += observed_calls(tasks, mode, sample, rows)
        if mode == "exact":
            slopes += observed_calls(tasks, mode, sample, rows, slopes=True)
    return calls, slopes


def observed_calls(
    tasks: TaskManager | None, mode: str, sample: Sample, rows: int, *, slopes: bool = False
) -> Iterator[CallObservation]:
    """Yield what one call of each different fragment takes, by itself on one slot.

    In exact mode by each way that the fragment has; with `slopes`, of pull-backs.
    """
    _, binding = read_circuit(sample.circuit)
    slots = binding.slots(sample.values(rows))
    fragments = {f.fingerprint: f for f in (*sample.plan.fragments, *_joined(sample, mode))}
    for fragment in fragments.values():
        request = Request(fragment, fragment.angle_values(slots), 0 if mode == "exact" else SHOTS)
        found = _exact_calls(request, slopes) if mode == "exact" else _drawn_calls(mode, request)
        for call, amounts in found:
            if tasks is None:
                seconds = time_call(fragment, call)
            else:
                seconds = tasks.submit_task(time_call, fragment, call).result()
            yield CallObservation(sample.family, tuple(amounts.tolist()), seconds)


def _joined(sample: Sample, mode: str) -> Sequence[Fragment]:
    """Return the whole circuit as a fragment where it is a network of the exact engine."""
    if mode != "exact":
        return ()
    plan, engine = sample.plan, exact_engine(NETWORKS)
    whole = build_plan(plan.program, plan.binding, plan.terms, None).fragments
    return [fragment for fragment in whole if engine.network(fragment) is not None]


def _exact_calls(request: Request, slopes: bool) -> Iterator[tuple[WorkUnit, np.ndarray]]:
    """Yield a call of the request by each way, from its middle, and its amounts."""
    fragment, rows = request.fragment, len(request.angles)
    has_network = exact_engine(NETWORKS).network(fragment) is not None
    cotangents = None
    if slopes:
        shape = (rows, 1, len(fragment.observables))
        size = prod(site.rank**2 for site in fragment.sites)
        cotangents = [np.random.default_rng(7).normal(size=(*shape, size)) + 0j]
    for engine in (STATES, NETWORKS) if has_network else (STATES,):
        if exact_engine(engine).seconds(fragment, rows) > LONGEST_S:
            continue
        units = exact_units([request], cotangents, engine=engine)
        unit = units[len(units) // 2]
        yield unit, ExactCounter(fragment, engine).amounts(len(unit.angles))


def _drawn_calls(mode: str, request: Request) -> Iterator[tuple[WorkUnit, np.ndarray]]:
    """Yield a call of the request with shots, from its middle, and its amounts."""
    backend = "aer" if mode == "counts" else "sampled"
    units = circuit_units([request], np.random.SeedSequence(7), backend)
    unit = units[len(units) // 2]
    fragment = request.fragment
    counter = CircuitCounter(fragment, SHOTS) if mode == "counts" else DrawCounter(fragment)
    yield unit, counter.amounts(len(unit.angles), unit.part)


def time_call(fragment: Fragment, call: WorkUnit, least_s: float = 0.04, most: int = 5) -> float:
    """Return the seconds of a call that has run before; runs on a worker."""
    times = [_seconds_of(fragment, call)]  # the first compiles, and may load Aer
    while len(times) < 2 or (sum(times[1:]) < least_s and len(times) < most):
        times.append(_seconds_of(fragment, call))
    # Other processes only add to a time, so the least is nearest to the call's own.
    return min(times)


def _seconds_of(fragment: Fragment, call: WorkUnit) -> float:
    """Return the seconds of a call; on a CPU without those that other processes took.

    A CPU's time is that of this process: what others take meanwhile is not the call's. A
    GPU works while this process waits, so there wall time counts.
    """
    started, busy = perf_counter(), process_time()
    call.run(fragment)
    wall, own = perf_counter() - started, process_time() - busy
    waits = os.environ.get("PILOTCUT_DEVICE", "CPU") != "CPU"
    return wall if waits else min(wall, own)


# -- batches -------------------------------------------------------------------------------


def _observed_batches(
    tasks: TaskManager | None, mode: str, samples: Sequence[Sample], clock: _Clock
) -> tuple[list[BatchObservation], float]:
    """Return the batches, and the seconds that workers take to compile a gate of a template."""
    found: list[BatchObservation] = []
    compile_s: list[float] = []
    for number, sample in enumerate(samples):
        if found and clock.is_over:
            break
        # As they are run, and cut, which most are not: both are seen.
        engine = (USUAL_ENGINE, STATES)[number // 3 % 2]
        contraction = contraction_of(sample.plan, mode, engine=engine)
        rows = ROWS[mode][-1 - number % 3]
        while rows > 1 and guessed_s(mode, contraction.plan, rows, engine) > LONGEST_S:
            rows //= 4
        if guessed_s(mode, contraction.plan, rows, engine) > LONGEST_S:
            continue
        work = work_of(sample.plan, mode, rows, SHOTS, contraction, engine=engine)
        times = batch_seconds(tasks, mode, sample, rows, contraction, engine)
        # What a user waits for, with what other processes take; of calls it is left out.
        usual = median(times[1:])
        found.append(observation(sample.family, work, usual))
        compile_s.append(max(0.0, times[0] - usual) / work.template_gates)
    return found, median(compile_s)


def guessed_s(mode: str, plan: CutPlan, rows: int, engine: EngineOptions = USUAL_ENGINE) -> float:
    """Return the rough seconds of a batch, by the guesses that bundles are made with."""
    if mode == "exact":
        return rows * sum(exact_row_s(f, engine) for f in plan.fragments)
    return rows * sum(f.num_subexperiments * predicted_s(f, SHOTS) for f in plan.fragments)


def batch_seconds(
    tasks: TaskManager | None,
    mode: str,
    sample: Sample,
    rows: int,
    contraction: Contraction,
    engine: EngineOptions = USUAL_ENGINE,
) -> list[float]:
    """Return the seconds of the same batch, time after time, as an estimator runs it."""
    runner = BatchRunner(
        BatchLog(JsonLines(), seed=7),
        mode=mode,
        shots=0 if mode == "exact" else SHOTS,
        backend="sampled" if mode == "sampled" else "aer",
        error_tolerance=ERROR_TOLERANCE,
        allocation="uniform",
        num_samples=None,
        reconstruction=AUTO,
        store=None,
        max_seconds=inf,
        engine=engine,
    )
    runner.use(tasks)
    terms = len(contraction.plan.terms)
    outputs = (np.ones((1, terms)), np.zeros(1))
    pub = (sample.circuit, "Z" * sample.circuit.num_qubits, sample.values(rows))
    times: list[float] = []
    while len(times) < 3 or (sum(times[1:]) < LEAST_S and len(times) <= MOST_REPEATS):
        started = perf_counter()
        (batch,) = batches_of(coerce_pubs([pub], None))
        runner.estimate(contraction, batch.slots, outputs).errors(outputs[0])
        times.append(perf_counter() - started)
        if len(times) == 2 and times[-1] > 1.0:
            break
    return times
