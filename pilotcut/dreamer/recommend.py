"""How many cuts, where: candidates from no cut upward, predicted, and one of them chosen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList

from pilotcut.backends.branch import MEMORY_BYTES
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.plan import MOST_VARIANTS, CutPlan, Observables, build_plan, pauli_terms
from pilotcut.cutting.program import Binding, Program, read_circuit
from pilotcut.cutting.search import Candidate, search
from pilotcut.descriptions import PilotDescription, load_descriptions
from pilotcut.dreamer import resources
from pilotcut.dreamer.calibration import Calibration, load, path_of
from pilotcut.dreamer.costmodel import Prediction
from pilotcut.dreamer.forecast import Forecaster, PilotView, predicted_error, readable
from pilotcut.dreamer.workload import Work, work_of
from pilotcut.errors import CutError, UserError
from pilotcut.pilots import PilotManager

#: More cuts are looked at unless the user says otherwise.
MAX_CUTS = 5

#: Parameter sets of a batch, and of all batches, unless the user says otherwise.
BATCH, QUERIES = 16, 1000

#: A plan with more cuts must be predicted to be faster by this factor.
WORTH = 0.98

#: Plans of one number of cuts that are built and predicted.
PER_CUTS = 3

#: What pilots may be given as.
Pilots = str | os.PathLike[str] | PilotManager | Iterable[PilotDescription] | None


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
    queries, batch
        Parameter sets in all, and of one batch.
    seed
        Of the search.
    """

    max_cuts: int = MAX_CUTS
    max_width: int | None = None
    mode: str = "counts"
    shots: int = 1024
    target_error: float | None = None
    queries: int = QUERIES
    batch: int = BATCH
    seed: int = 0

    def check(self) -> None:
        """Raise one `UserError` with every option that makes no sense."""
        least = {"max_cuts": 0, "shots": 1, "queries": 1, "batch": 1, "max_width": 1}
        faults = [
            f"{name} is {value!r}, expected a whole number from {low}"
            for name, low in least.items()
            if (value := getattr(self, name)) is not None
            and not (isinstance(value, int) and not isinstance(value, bool) and value >= low)
        ]
        if self.mode not in ("counts", "sampled", "exact"):
            faults.append(f"mode is '{self.mode}', expected one of counts, sampled, exact")
        if self.target_error is not None and not 0 < self.target_error < 1:
            faults.append(f"target_error is {self.target_error}, expected a number in (0, 1)")
        if self.target_error is not None and self.mode == "exact":
            faults.append(
                f"target_error is {self.target_error} with mode exact, expected none: values are "
                f"exact there; leave it out, or use --mode counts"
            )
        if faults:
            raise UserError(faults)


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
            "variants": self.variants,
            "sampling_overhead": self.overhead,
            "shots": self.shots,
            "standard_error": self.error,
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
    forecaster: Forecaster

    def to_dict(self) -> dict[str, Any]:
        """Return it in the words of JSON."""
        return {
            "mode": self.options.mode,
            "queries": self.options.queries,
            "batch": self.options.batch,
            "pilots": list(self.pilots),
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
    program, binding = read_circuit(circuit)
    wanted = "Z" * circuit.num_qubits if observables is None else observables
    terms = pauli_terms(wanted, circuit.num_qubits)
    return recommend_for(program, binding, terms, views_of(pilots), asked)


def recommend_for(
    program: Program,
    binding: Binding,
    terms: PauliList,
    pilots: Sequence[PilotView],
    options: Options,
) -> Recommendation:
    """Return the recommendation for a circuit that is already read; see `recommend`."""
    return _Recommender(program, binding, terms, pilots, options).recommend()


class _Recommender:
    """Predicts candidates for one circuit."""

    def __init__(
        self,
        program: Program,
        binding: Binding,
        terms: PauliList,
        pilots: Sequence[PilotView],
        options: Options,
    ) -> None:
        self._program, self._binding, self._terms = program, binding, terms
        self._pilots, self._options = pilots, options
        self._forecaster = Forecaster(pilots, options.mode, options.shots)
        self._plans: dict[int, CutPlan] = {}

    def recommend(self) -> Recommendation:
        """Return the lines and the choice."""
        found = self._candidates(self._options.max_cuts, self._options.max_width)
        lines = tuple(
            self._best([c for c in found if c.cuts == cuts])
            for cuts in sorted({c.cuts for c in found})
        )
        if not any(line.feasible for line in lines):
            raise CutError(self._nothing_feasible(lines))
        chosen = _choose(lines)
        return Recommendation(
            lines=lines,
            chosen=chosen,
            reason=_reason(chosen, lines),
            pilots=tuple(view.name for view in self._pilots),
            plan=self._plans[id(chosen)],
            options=self._options,
            forecaster=self._forecaster,
        )

    def _candidates(self, max_cuts: int | None, max_width: int | None) -> Sequence[Candidate]:
        rows = self._rows
        return search(
            self._program,
            max_cuts=max_cuts,
            max_width=max_width,
            cost=lambda shape: self._forecaster.shape_s(shape, rows),
            seed=self._options.seed,
            per_cuts=PER_CUTS,
        )

    @property
    def _rows(self) -> int:
        return min(self._options.batch, self._options.queries)

    def _best(self, candidates: Iterable[Candidate]) -> Line:
        """Return the fastest feasible candidate, or the one that needs least memory.

        Of those as good as the fastest, the one of least overhead.
        """
        lines = [self._line(candidate) for candidate in candidates]
        fastest = min(line.seconds for line in lines)
        good = [line for line in lines if WORTH * line.seconds <= fastest]
        return min(good, key=lambda line: (line.overhead, line.seconds, line.memory_bytes))

    def _line(self, candidate: Candidate) -> Line:
        widths = tuple(shape.width for shape in candidate.shapes)
        entries = sum(
            s.branches**2 if self._options.mode == "exact" else s.variants for s in candidate.shapes
        )
        if entries > MOST_VARIANTS:
            too_many = f"has {entries:.3g} variants, more than {MOST_VARIANTS:.0e} are not run"
            return self._unbuilt(candidate, widths, 16.0 * 2.0 ** max(widths), too_many)
        plan = build_plan(self._program, self._binding, self._terms, candidate.placement)
        work = work_of(plan, self._options.mode, self._rows, self._options.shots)
        if too_large := _contraction_lack(work):
            return self._unbuilt(candidate, widths, work.memory_bytes, too_large)
        shots, error = self._shots(plan)
        if shots not in (0, self._options.shots):
            work = work_of(plan, self._options.mode, self._rows, shots)
        lacks = tuple(lack for view in self._pilots if (lack := view.lack(work)))
        batches = self._options.queries / self._rows
        line = Line(
            cuts=candidate.cuts,
            placement=candidate.placement,
            widths=widths,
            variants=plan.num_variants,
            overhead=plan.sampling_overhead,
            shots=shots,
            error=error,
            memory_bytes=work.memory_bytes,
            prediction=self._forecaster.predict(work, batches),
            work=work,
            lacks=lacks,
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

    def _shots(self, plan: CutPlan) -> tuple[int, float]:
        """Return the shots of each subexperiment, and the error that they leave."""
        options = self._options
        if options.mode == "exact":
            return 0, 0.0
        if options.target_error is None:
            return options.shots, predicted_error(plan, options.shots)
        shots = max(1, ceil((predicted_error(plan, 1) / options.target_error) ** 2))
        return shots, predicted_error(plan, shots)

    def _nothing_feasible(self, lines: Sequence[Line]) -> str:
        least = min(lines, key=lambda line: line.memory_bytes)
        text = (
            f"max_cuts is {self._options.max_cuts}, but no plan with so few cuts is feasible: the "
            f"least, of {least.cuts} cuts, {least.lacks[0] if least.lacks else 'is too large'}"
        )
        near = self._nearest()
        if near is None:
            return f"{text}; expected a circuit that cuts make narrow enough, or a larger pilot"
        return (
            f"{text}; expected at least {near.cuts} cuts (fragments of at most "
            f"{max(near.widths)} qubits): give --max-cuts {near.cuts}, or a larger pilot"
        )

    def _nearest(self) -> Line | None:
        """Return a feasible candidate of few cuts, whatever their number."""
        width = self._widest()
        while width >= 1:
            try:
                found = self._candidates(None, width)
            except CutError:
                return None
            lines = [self._line(candidate) for candidate in found]
            fitting = [line for line in lines if line.feasible]
            if fitting:
                return min(fitting, key=lambda line: line.cuts)
            if all(line.work is None for line in lines):  # too many variants; more cuts have more
                return None
            width -= 3  # branches and ancillas take their part of the memory
        return None

    def _widest(self) -> int:
        """Return the most qubits whose bare state fits all pilots."""
        known = [v.resources.slot_bytes for v in self._pilots if v.resources.slot_bytes]
        exact = [] if self._options.mode == "counts" else [MEMORY_BYTES]
        room = min([*known, *exact, 16.0 * 2.0**40])
        limit = self._options.max_width or self._program.num_qubits
        return min(limit, self._program.num_qubits - 1, int(log2(max(room, 32.0) / 16.0)))


def _contraction_lack(work: Work) -> str | None:
    """Return why this process cannot put a batch together, None if it can."""
    room = resources.memory_limit() / 2
    if work.contraction_bytes <= room:
        return None
    return (
        f"needs {readable(work.contraction_bytes)} to put a batch of {work.rows} together, this "
        f"process has {readable(room)} for it"
    )


def _choose(lines: Sequence[Line]) -> Line:
    """Return the fastest line; one with more cuts must be faster by more than `WORTH`."""
    chosen = next(line for line in lines if line.feasible)
    for line in lines:
        if line.feasible and line.seconds < WORTH * chosen.seconds:
            chosen = line
    return chosen


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


# -- pilots ----------------------------------------------------------------------------------


def views_of(pilots: Pilots) -> list[PilotView]:
    """Return pilots with their resources and calibrations, without starting any.

    Raises
    ------
    UserError
        With a line for each kind of pilot that has no calibration, or a stale one.
    """
    faults: list[str] = []
    views = []
    for one in descriptions_of(pilots):
        promised = resources.here() if one is None else resources.described(one)
        try:
            views.append(PilotView(one, promised, known(one, promised.machine)))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(list(dict.fromkeys(faults)))
    return views


def known(pilot: PilotDescription | None, machine: str) -> Calibration:
    """Return a pilot's calibration.

    Raises
    ------
    UserError
        If there is none, or one that was made elsewhere or with other versions.
    """
    name = "this process" if pilot is None else f"pilot '{pilot.kind}'"
    path = path_of(pilot)
    if not path.exists():
        raise UserError(
            f"{name} has no calibration, expected one at {path}; run pilotcut calibrate (a minute "
            f"for each kind of pilot), or add --calibrate"
        )
    found = load(path)
    if wrong := found.differences(machine):
        raise UserError(
            f"calibration of {name} is stale: {'; '.join(wrong)}; run pilotcut calibrate again, "
            f"or add --calibrate"
        )
    return found


def descriptions_of(pilots: Pilots) -> list[PilotDescription | None]:
    """Return what is said of pilots; None stands for this process."""
    if pilots is None:
        return [None]
    if isinstance(pilots, (str, os.PathLike)):
        return list(load_descriptions(Path(pilots)))
    if isinstance(pilots, PilotManager):
        return [pilot.description for pilot in pilots.pilots if not pilot.state.final]
    return list(pilots)
