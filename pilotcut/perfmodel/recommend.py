"""How many cuts, where: candidates from no cut upward, predicted, and one of them chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, hypot, isfinite, log2, sqrt
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp

from pilotcut.backends.statevector import MEMORY_BYTES
from pilotcut.circuits.binding import Binding
from pilotcut.circuits.measurement_map import measured_qubits
from pilotcut.circuits.observables import Observables, pauli_sums, terms_of
from pilotcut.circuits.program import Program, read_circuit
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.plan import MOST_VARIANTS, CutPlan, build_plan
from pilotcut.cutting.search.portfolio import Candidate, FragmentShape, search
from pilotcut.errors import CutError, UserError
from pilotcut.execution.device_assignment import Share
from pilotcut.io.amounts import digits, in_json
from pilotcut.options import MOST_SHOTS, seed_fault
from pilotcut.perfmodel.costmodel import Prediction
from pilotcut.perfmodel.devices import DeviceForecaster, DeviceView
from pilotcut.perfmodel.forecast import Forecaster, PilotView, predicted_error, readable
from pilotcut.perfmodel.known import Pilots, Views, views_of
from pilotcut.perfmodel.workload import KINDS, Work, work_of
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.slicing import predicted

#: More cuts are looked at unless the user says otherwise.
MAX_CUTS = 5

#: Parameter sets of a batch, and of all batches, unless the user says otherwise.
BATCH, QUERIES = 16, 1000

#: A plan with more cuts must be predicted to be faster by this factor.
WORTH = 0.98

#: Plans of one number of cuts that are built and predicted.
PER_CUTS = 3

#: Fragments with more qubits are not even built: their amplitudes are beyond counting.
MOST_BUILT = 500

#: Bytes that putting together one parameter set may take.
MOST_CONTRACTED = 4 * 2**30

#: What a recommendation may be for.
OBJECTIVES = ("time", "error")

#: Options that are whole numbers, with the least of each, and the most of all.
_LEAST = {"max_cuts": 0, "max_width": 1, "shots": 1, "queries": 1, "batch": 1}
MOST = 10**15


@dataclass(frozen=True)
class Options:
    """What a recommendation is for.

    Parameters
    ----------
    max_cuts, max_width
        Limits of the search; `max_width` None for any.
    mode
        "counts", "sampled" or "exact".
    shots
        Of each subexperiment; without meaning in exact mode.
    target_error
        Standard error that shots must reach, in place of `shots`; an upper estimate.
    joint_cuts
        Cut parallel gates between two labels as one, as in `pilotcut.compile_plan`; without
        meaning in exact mode.
    queries, batch
        Parameter sets in all, and of one batch.
    seed
        Of the search.
    objective
        "time": the fastest is recommended; "error": the one whose values are predicted to be
        least wrong, by the noise of the pilots' devices and the standard error together.
    """

    max_cuts: int = MAX_CUTS
    max_width: int | None = None
    mode: str = "counts"
    shots: int = 1024
    target_error: float | None = None
    joint_cuts: bool = False
    queries: int = QUERIES
    batch: int = BATCH
    seed: int = 0
    objective: str = "time"

    def check(self) -> None:
        """Raise one `UserError` with every option that makes no sense."""
        faults = [
            f"{name} is {value!r}, expected a whole number from {low} to {MOST}"
            for name, low in _LEAST.items()
            if not (_is_whole(value := getattr(self, name)) and low <= value <= MOST)
            and not (name == "max_width" and value is None)
        ]
        if fault := seed_fault(self.seed):
            faults.append(fault)
        if self.mode not in KINDS:
            faults.append(f"mode is '{self.mode}', expected one of {', '.join(KINDS)}")
        if self.objective not in OBJECTIVES:
            faults.append(
                f"objective is '{self.objective}', expected one of {', '.join(OBJECTIVES)}"
            )
        if self.objective == "error" and self.mode == "exact":
            faults.append(
                "objective is error with mode exact, expected time: values are exact there; leave "
                "it out, or use --mode counts"
            )
        if self.target_error is not None and not _is_error(self.target_error):
            faults.append(f"target_error is {self.target_error!r}, expected a number in (0, 1)")
        if self.target_error is not None and self.mode == "exact":
            faults.append(
                f"target_error is {self.target_error} with mode exact, expected none: values are "
                f"exact there; leave it out, or use --mode counts"
            )
        if faults:
            raise UserError(faults)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_error(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1


@dataclass(frozen=True)
class Line:
    """One candidate of a recommendation.

    Parameters
    ----------
    cuts
        Number of cuts; 0 is the circuit as it is.
    placement
        Where they are.
    widths
        Wires of each fragment.
    variants, overhead
        Of the plan; overhead is gamma^2.
    shots
        Of each subexperiment, 0 in exact mode.
    error
        Upper estimate of the standard error, 0 in exact mode.
    memory_bytes
        Of the largest state of one worker.
    prediction
        Of all queries; None where the plan is not even built.
    work
        Of one batch, None likewise.
    lacks
        For each pilot that cannot run it, why; () if it is feasible.
    noise
        How far the noise of the pilots' devices moves a value of size 1: the probability that
        something goes wrong in a shot of all fragments, ``1 - prod(1 - error of each)``, times
        the observable's norm. Approximate: what went wrong is taken to leave a random outcome, so
        that a value shrinks by this share, and errors to come one by one. 0 without devices.
    shares
        What each device runs of a batch.
    """

    cuts: int
    placement: Placement
    widths: tuple[int, ...]
    variants: int
    overhead: float
    shots: int
    error: float
    memory_bytes: float
    prediction: Prediction | None
    work: Work | None
    lacks: tuple[str, ...] = ()
    noise: float = 0.0
    shares: tuple[Share, ...] = ()

    @property
    def value_error(self) -> float:
        """Predicted error of a value, ``sqrt(noise^2 + error^2)``; infinite if not feasible."""
        return hypot(self.noise, self.error) if self.feasible else float("inf")

    def target(self, objective: str) -> float:
        """Return what an objective wants to be small."""
        return self.value_error if objective == "error" else self.seconds

    @property
    def feasible(self) -> bool:
        """Whether all pilots can run it."""
        return not self.lacks and self.prediction is not None

    @property
    def seconds(self) -> float:
        """Predicted seconds, infinite if it is not feasible."""
        return self.prediction.seconds if self.prediction and self.feasible else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Return the line in the words of JSON."""
        prediction = self.prediction
        return {
            "cuts": self.cuts,
            "labels": list(self.placement.labels),
            "wire_cuts": [
                {"qubit": cut.qubit, "after": cut.after, "label": cut.label}
                for cut in self.placement.wire_cuts
            ],
            "widths": list(self.widths),
            "variants": in_json(self.variants),
            "sampling_overhead": in_json(self.overhead),
            "shots": self.shots,
            "standard_error": self.error,
            "noise": self.noise,
            "value_error": self.value_error if self.feasible else None,
            "devices": [asdict(share) for share in self.shares],
            "memory_bytes": self.memory_bytes,
            "seconds": prediction.seconds if prediction else None,
            "low_s": prediction.low_s if prediction else None,
            "high_s": prediction.high_s if prediction else None,
            "stage_seconds": prediction.stages if prediction else None,
            "feasible": self.feasible,
            "lacks": list(self.lacks),
        }


@dataclass(frozen=True)
class Recommendation:
    """Candidates from 0 cuts upward, and the one that is chosen.

    Parameters
    ----------
    lines
        The best candidate of each number of cuts, ascending.
    chosen
        The one of them that is recommended.
    reason
        Why, in one sentence.
    pilots
        Names of the pilots that it is for.
    plan
        The chosen plan.
    options
        What it is for.
    forecaster
        Predicts batches of the plan.
    """

    lines: tuple[Line, ...]
    chosen: Line
    reason: str
    pilots: tuple[str, ...]
    plan: CutPlan
    options: Options
    forecaster: Forecaster | DeviceForecaster

    @property
    def on_devices(self) -> bool:
        """Whether it is for pilots with devices: seconds are then those of the devices alone."""
        return isinstance(self.forecaster, DeviceForecaster)

    def to_dict(self) -> dict[str, Any]:
        """Return it in the words of JSON."""
        return {
            "mode": self.options.mode,
            "objective": self.options.objective,
            "time": "modelled device time" if self.on_devices else "predicted wall time",
            "queries": self.options.queries,
            "batch": self.options.batch,
            "pilots": [
                {"name": view.name, **view.resources.to_dict()} for view in self.forecaster.pilots
            ],
            "candidates": [line.to_dict() for line in self.lines],
            "chosen": self.chosen.to_dict(),
            "reason": self.reason,
        }


def recommend(
    circuit: QuantumCircuit,
    observables: Observables | None = None,
    pilots: Pilots = None,
    **options: Any,
) -> Recommendation:
    """Return how many cuts pay off, where, and what each number of cuts would take.

    Parameters
    ----------
    circuit
        The circuit; parameters may be free.
    observables
        As in `pilotcut.compile_plan`; None is Z on every qubit.
    pilots
        A description file, descriptions, a `PilotManager`, or None for this process. Nothing
        is started: what is known of a pilot is its calibration (``pilotcut calibrate``).
    options
        See `Options`.

    Raises
    ------
    UserError
        For options, pilots without a calibration or with a stale one, and circuits that no
        allowed number of cuts makes feasible.
    """
    asked = Options(**options)
    asked.check()
    if not circuit.num_qubits:
        raise CutError("the circuit has no qubits, expected at least one; there is nothing to cut")
    program, binding = read_circuit(circuit)
    wanted = "Z" * circuit.num_qubits if observables is None else observables
    sums = pauli_sums(wanted, circuit.num_qubits)
    views = views_of(pilots, asked.mode)
    found = recommend_for(program, binding, terms_of(sums), views, asked, _norm(sums))
    return replace(found, plan=replace(found.plan, measured=measured_qubits(circuit)))


def recommend_for(
    program: Program,
    binding: Binding,
    terms: PauliList,
    pilots: Views,
    options: Options,
    norm: float = 1.0,
) -> Recommendation:
    """Return the recommendation for a circuit that is already read; see `recommend`.

    `norm` is the largest sum of the coefficients' magnitudes of an observable, by which the
    error of its terms grows at most.
    """
    return _Recommender(program, binding, terms, pilots, options, norm).recommend()


def _norm(observables: Sequence[SparsePauliOp]) -> float:
    """Return the largest sum of coefficients' magnitudes, identities apart: these are exact."""
    measured = [(o.paulis.x | o.paulis.z).any(axis=1) for o in observables]
    sums = (np.abs(o.coeffs[some]).sum() for o, some in zip(observables, measured, strict=True))
    return float(max(sums))


class _Recommender:
    """Predicts candidates for one circuit."""

    def __init__(
        self,
        program: Program,
        binding: Binding,
        terms: PauliList,
        pilots: Views,
        options: Options,
        norm: float,
    ) -> None:
        self._program, self._binding, self._terms = program, binding, terms
        self._pilots, self._options, self._norm = pilots, options, norm
        self._forecaster = _forecaster(pilots, options)
        self._plans: dict[int, CutPlan] = {}

    def recommend(self) -> Recommendation:
        """Return the lines and the choice."""
        # More than all gates and the wires beside them is no more to look at, only longer.
        gates = sum(len(step.qubits) == 2 for step in self._program.steps)
        found = self._candidates(min(self._options.max_cuts, 3 * gates), self._options.max_width)
        lines = tuple(
            self._best([c for c in found if c.cuts == cuts])
            for cuts in sorted({c.cuts for c in found})
        )
        if not any(line.feasible for line in lines):
            raise CutError(self._nothing_feasible(lines))
        chosen = _choose(lines, self._options.objective)
        by_error = self._options.objective == "error"
        noisy = isinstance(self._forecaster, DeviceForecaster)
        return Recommendation(
            lines=lines,
            chosen=chosen,
            reason=_reason_of_error(chosen, lines, noisy) if by_error else _reason(chosen, lines),
            pilots=tuple(view.name for view in self._pilots),
            plan=self._plans[id(chosen)],
            options=self._options,
            forecaster=self._forecaster,
        )

    def _candidates(self, max_cuts: int | None, max_width: int | None) -> Sequence[Candidate]:
        return search(
            self._program,
            max_cuts=max_cuts,
            max_width=max_width,
            cost=self._shape_s,
            seed=self._options.seed,
            per_cuts=PER_CUTS,
        )

    def _shape_s(self, shape: FragmentShape) -> float:
        if shape.width > MOST_BUILT:
            return 1e300
        return self._forecaster.shape_s(shape, self._rows)

    @property
    def _rows(self) -> int:
        return min(self._options.batch, self._options.queries)

    def _best(self, candidates: Iterable[Candidate]) -> Line:
        """Return the best feasible candidate, or the one that needs least memory.

        Of those as good as the best, the one of least overhead.
        """
        lines = [self._line(candidate) for candidate in candidates]
        objective = self._options.objective
        best = min(line.target(objective) for line in lines)
        if not isfinite(best):
            return min(lines, key=lambda line: (line.memory_bytes, line.overhead))
        good = [line for line in lines if WORTH * line.target(objective) <= best]
        return min(good, key=lambda line: (line.overhead, line.seconds, line.memory_bytes))

    def _line(self, candidate: Candidate) -> Line:
        widths = tuple(shape.width for shape in candidate.shapes)
        entries = sum(
            s.branches**2 if self._options.mode == "exact" else s.variants for s in candidate.shapes
        )
        size = 16.0 * 2.0 ** min(max(widths), MOST_BUILT)
        if entries > MOST_VARIANTS:
            too_many = f"has {digits(entries)} variants, more than {MOST_VARIANTS:.0e} are not run"
            return self._unbuilt(candidate, widths, size, too_many)
        if max(widths) > MOST_BUILT:
            too_wide = f"has a fragment of {max(widths)} qubits, which nothing simulates"
            return self._unbuilt(candidate, widths, size, too_wide)
        exact = self._options.mode == "exact"
        joint = self._options.joint_cuts and not exact
        plan = build_plan(self._program, self._binding, self._terms, candidate.placement, joint)
        whole = Contraction.of(plan, coherent=exact)
        room = predicted(whole, 1, environments=True, itemsize=16 if exact else 8).bytes
        if room > MOST_CONTRACTED:
            most = readable(MOST_CONTRACTED)
            knotted = f"needs {readable(room)} to be put together, more than {most} is not tried"
            return self._unbuilt(candidate, widths, size, knotted)
        shots, error = self._shots(plan, whole)
        work = work_of(plan, self._options.mode, self._rows, shots, whole)
        batches = self._options.queries / self._rows
        outlook = self._forecaster.outlook(plan, work, batches)
        lacks = outlook.lacks
        if shots > MOST_SHOTS:
            lacks += (f"needs {shots:.3g} shots, more than {MOST_SHOTS:.0e} are not run",)
        line = Line(
            cuts=candidate.cuts,
            placement=candidate.placement,
            widths=widths,
            variants=plan.num_variants,
            overhead=plan.sampling_overhead,
            shots=shots,
            error=error,
            memory_bytes=work.memory_bytes,
            prediction=outlook.prediction,
            work=work,
            lacks=lacks,
            noise=min(1.0, outlook.noise) * self._norm,
            shares=outlook.shares,
        )
        self._plans[id(line)] = plan
        return line

    @staticmethod
    def _unbuilt(candidate: Candidate, widths: tuple[int, ...], size: float, lack: str) -> Line:
        return Line(
            cuts=candidate.cuts,
            placement=candidate.placement,
            widths=widths,
            variants=candidate.variants,
            overhead=candidate.overhead,
            shots=0,
            error=0.0,
            memory_bytes=size,
            prediction=None,
            work=None,
            lacks=(lack,),
        )

    def _shots(self, plan: CutPlan, contraction: Contraction) -> tuple[int, float]:
        """Return the shots of each subexperiment, and the error that they leave."""
        options = self._options
        if options.mode == "exact":
            return 0, 0.0
        one = self._norm * predicted_error(plan, 1, contraction)
        shots = options.shots
        if options.target_error is not None:
            times = min(one / options.target_error, MOST)  # the square of more may overflow
            shots = max(1, ceil(min(times**2, MOST)))
        return shots, one / sqrt(shots)

    def _nothing_feasible(self, lines: Sequence[Line]) -> str:
        fewest = min((line.shots for line in lines if line.work), default=0)
        if fewest > MOST_SHOTS:
            return (
                f"target_error is {self._options.target_error}, which takes {fewest:.3g} shots of "
                f"each subexperiment, expected at most {MOST_SHOTS:.0e}; ask for a larger error"
            )
        least = min(lines, key=lambda line: line.memory_bytes)
        text = (
            f"max_cuts is {self._options.max_cuts}, but no plan with so few cuts is feasible: the "
            f"least, of {least.cuts} cuts, {least.lacks[0] if least.lacks else 'is too large'}"
        )
        near = self._nearest()
        if near is None and (wider := self._wider()) is not None:
            return (
                f"{text}; expected a max_width that needs fewer cuts: give --max-width "
                f"{max(wider.widths)} ({_cuts(wider.cuts)}), or a larger pilot"
            )
        if near is None:
            return f"{text}; expected a circuit that cuts make narrow enough, or a larger pilot"
        return (
            f"{text}; expected at least {near.cuts} cuts (fragments of at most "
            f"{max(near.widths)} qubits): give --max-cuts {near.cuts}, or a larger pilot"
        )

    def _wider(self) -> Line | None:
        """Return a feasible candidate that `max_width` keeps out, without cuts if that is one."""
        if self._options.max_width is None:
            return None
        uncut = self._best(self._candidates(0, None))
        return uncut if uncut.feasible else self._fewest(None)

    def _nearest(self) -> Line | None:
        """Return a feasible candidate of few cuts, whatever their number."""
        return self._fewest(self._options.max_width)

    def _fewest(self, max_width: int | None) -> Line | None:
        width = self._widest(max_width)
        while width >= 1:
            try:
                found = self._candidates(None, width)
            except CutError:
                return None
            lines = [self._line(candidate) for candidate in found]
            fitting = [line for line in lines if line.feasible]
            if fitting:
                return min(fitting, key=lambda line: line.cuts)
            if not any(line.work for line in lines):  # narrower ones have still more cuts
                return None
            width -= 3  # branches and ancillas take their part of the memory
        return None

    def _widest(self, max_width: int | None) -> int:
        """Return the most qubits whose bare state fits all pilots, or the largest device."""
        limit = min(max_width or MOST, self._program.num_qubits - 1)
        if isinstance(self._forecaster, DeviceForecaster):
            return min(limit, self._forecaster.most_qubits)
        sizes = [view.resources.slot_bytes for view in self._pilots]
        known = [size for size in sizes if size is not None]
        exact = [] if self._options.mode == "counts" else [MEMORY_BYTES]
        room = min([*known, *exact, 16.0 * 2.0**40])
        return min(limit, int(log2(max(room, 32.0) / 16.0)))


def _forecaster(pilots: Views, options: Options) -> Forecaster | DeviceForecaster:
    devices = [view for view in pilots if isinstance(view, DeviceView)]
    if devices:
        return DeviceForecaster(devices, options.mode, options.shots)
    measured = [view for view in pilots if isinstance(view, PilotView)]
    return Forecaster(measured, options.mode, options.shots)


def _choose(lines: Sequence[Line], objective: str) -> Line:
    """Return the best line; one with more cuts must be faster by more than `WORTH`.

    Errors differ less than times: there the least is chosen, whatever the cuts.
    """
    chosen = next(line for line in lines if line.feasible)
    worth = WORTH if objective == "time" else 1.0
    for line in lines:
        if line.feasible and line.target(objective) < worth * chosen.target(objective):
            chosen = line
    return chosen


def _reason_of_error(chosen: Line, lines: Sequence[Line], noisy: bool) -> str:
    widths = "+".join(map(str, chosen.widths))
    what = f"{_cuts(chosen.cuts)} into {widths} qubits" if chosen.cuts else "do not cut"
    parts = f"noise {chosen.noise:.2g}, standard error {chosen.error:.2g}"
    if not noisy:
        parts = "the standard error alone, for no pilot has a backend.qpu that says its noise"
    text = f"{what}: values are predicted to be wrong by {chosen.value_error:.2g} ({parts})"
    others = [line for line in lines if line is not chosen and line.feasible]
    if not others:
        return f"{text}; no other candidate is feasible"
    next_best = min(others, key=lambda line: line.value_error)
    return f"{text}, with {_cuts(next_best.cuts)} by {next_best.value_error:.2g}"


def _reason(chosen: Line, lines: Sequence[Line]) -> str:
    widths = "+".join(map(str, chosen.widths))
    others = [line for line in lines if line is not chosen and line.feasible]
    uncut = lines[0] if lines[0].cuts == 0 else None
    if chosen.cuts == 0:
        if not others:
            return "do not cut: no other candidate is feasible"
        best = min(others, key=lambda line: line.seconds)
        return (
            f"do not cut: the best with cuts ({best.cuts}) is predicted to take "
            f"{best.seconds / chosen.seconds:.3g} times as long"
        )
    if uncut is not None and uncut.lacks:
        return f"{_cuts(chosen.cuts)} into {widths} qubits: uncut, the circuit {uncut.lacks[0]}"
    if uncut is None:
        return f"{_cuts(chosen.cuts)} into {widths} qubits is predicted to be fastest"
    return (
        f"{_cuts(chosen.cuts)} into {widths} qubits is predicted to be "
        f"{uncut.seconds / chosen.seconds:.3g} times as fast as no cut"
    )


def _cuts(number: int) -> str:
    return f"{number} cut{'' if number == 1 else 's'}"
