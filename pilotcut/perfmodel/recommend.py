"""Search for the number and places of cuts that pay off: `recommend`.

Candidates from no cut upward are built and predicted, the best of each number of cuts becomes a
line, and one line is chosen. Nothing is run, and nothing is known here of how predictions are made:
see `forecast` (calibrated pilots) and `device_forecast` (modelled devices).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, isfinite, log2, sqrt
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp

from pilotcut.backends.statevector_plan import MEMORY_BYTES
from pilotcut.circuits.binding import Binding
from pilotcut.circuits.measurement_map import measured_qubits
from pilotcut.circuits.observables import Observables, pauli_sums, terms_of
from pilotcut.circuits.program import Program, read_circuit
from pilotcut.cutting.plan import CutPlan, build_plan
from pilotcut.cutting.search import Candidate, FragmentShape, search
from pilotcut.cutting.walks import MOST_VARIANTS
from pilotcut.errors import CutError, UserError
from pilotcut.execution.contractions import contraction_of
from pilotcut.execution.devices import Fleet
from pilotcut.execution.mitigating import check_devices
from pilotcut.io.large_numbers import digits
from pilotcut.options import (
    MOST_SHOTS,
    SEPARATE,
    STATEVECTOR,
    counted,
)
from pilotcut.perfmodel.device_forecast import DeviceForecaster, DeviceView
from pilotcut.perfmodel.forecast import CalibratedPilot, Forecaster
from pilotcut.perfmodel.known_pilots import Pilots, Views, described_by, views_of
from pilotcut.perfmodel.options import MOST, Options
from pilotcut.perfmodel.rank_forecast import rank_forecasts
from pilotcut.perfmodel.recommendation import (
    Recommendation,
    RecommendationLine,
    reason_of,
)
from pilotcut.perfmodel.resources import readable_bytes
from pilotcut.perfmodel.standard_error import predicted_error
from pilotcut.perfmodel.workload import work_of
from pilotcut.pilots.description.mitigation import checked_mitigation
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch

#: A plan with more cuts must be predicted to be faster by this factor.
WORTH = 0.98

#: Plans of one number of cuts that are built and predicted.
PER_CUTS = 3

#: Fragments with more qubits are not even built: their amplitudes are beyond counting.
MOST_BUILT = 500

#: Bytes that putting together one parameter set may take.
MOST_CONTRACTED = 4 * 2**30


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
    if not circuit.num_qubits:
        raise CutError("the circuit has no qubits, expected at least one; there is nothing to cut")
    program, binding = read_circuit(circuit)
    wanted = "Z" * circuit.num_qubits if observables is None else observables
    sums = pauli_sums(wanted, circuit.num_qubits)
    described = pilots if pilots is None else described_by(pilots)  # once: it may be a file
    views = views_of(described, asked.mode)
    terms = terms_of(sums)
    on_ranks = rank_forecasts(program, terms, described or (), bool(asked.gradients))
    try:
        found = recommend_for(program, binding, terms, views, asked, _norm(sums), len(sums))
    except CutError as error:
        fitting = [str(one) for one in on_ranks if one.lack is None]
        raise CutError("; ".join([str(error), *fitting])) from error
    plan = replace(found.plan, measured=measured_qubits(circuit))
    return replace(found, plan=plan, on_ranks=on_ranks)


def recommend_for(
    program: Program,
    binding: Binding,
    terms: PauliList,
    pilots: Views,
    options: Options,
    norm: float = 1.0,
    outputs: int = 1,
) -> Recommendation:
    """Return the recommendation for a circuit that is already read; see `recommend`.

    `norm` is the largest sum of the coefficients' magnitudes of an observable, by which the
    error of its terms grows at most; `outputs` is how many observables there are.
    """
    return _Recommender(program, binding, terms, pilots, options, norm, outputs).recommend()


def _norm(observables: Sequence[SparsePauliOp]) -> float:
    """Return the largest sum of coefficients' magnitudes, identities apart: these are exact."""
    measured = [(o.paulis.x | o.paulis.z).any(axis=1) for o in observables]
    sums = (np.abs(o.coeffs[some]).sum() for o, some in zip(observables, measured, strict=True))
    return float(max(sums))


class _Recommender:
    """Search for one circuit."""

    def __init__(
        self,
        program: Program,
        binding: Binding,
        terms: PauliList,
        pilots: Views,
        options: Options,
        norm: float,
        outputs: int,
    ) -> None:
        self._program, self._binding, self._terms = program, binding, terms
        self._pilots, self._options, self._norm = pilots, options, norm
        self._outputs, self._slots = outputs, _wanted_slots(binding, options.gradients)
        self._forecaster = _forecaster(pilots, options, self._slots)

    def recommend(self) -> Recommendation:
        """Return the lines and the choice."""
        # More than all gates and the wires beside them is no more to look at, only longer.
        gates = sum(len(step.qubits) == 2 for step in self._program.opened.steps)
        found = self._candidates(min(self._options.max_cuts, 3 * gates), self._options.max_width)
        lines = tuple(
            self._best([c for c in found if c.cuts == cuts])
            for cuts in sorted({c.cuts for c in found})
        )
        if not any(line.feasible for line in lines):
            raise CutError(self._nothing_feasible(lines))
        chosen = _choose(lines, self._options.objective)
        assert chosen.plan is not None, "what is feasible was built"
        noisy = isinstance(self._forecaster, DeviceForecaster)
        return Recommendation(
            lines=lines,
            chosen=chosen,
            reason=reason_of(chosen, lines, self._options.objective, noisy),
            pilots=tuple(view.name for view in self._pilots),
            plan=chosen.plan,
            options=self._options,
            forecaster=self._forecaster,
        )

    def _candidates(self, max_cuts: int | None, max_width: int | None) -> Sequence[Candidate]:
        return search(
            self._program,
            max_cuts=max_cuts,
            max_width=max_width,
            cost=self._shape_s,
            wires=self._wires,
            seed=self._options.seed,
            per_cuts=PER_CUTS,
        )

    def _shape_s(self, shape: FragmentShape) -> float:
        if shape.width > MOST_BUILT:
            return 1e300
        return self._forecaster.shape_s(shape, self._rows)

    @property
    def _wires(self) -> str:
        return SEPARATE if self._options.mode == "exact" else self._options.wires

    @property
    def _rows(self) -> int:
        return min(self._options.batch, self._options.queries)

    def _best(self, candidates: Iterable[Candidate]) -> RecommendationLine:
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

    def _line(self, candidate: Candidate) -> RecommendationLine:
        if lack := self._too_large(candidate):
            return self._unbuilt(candidate, lack)
        mode, engine = self._options.mode, self._options.of_engine
        exact = mode == "exact"
        joint = self._options.joint_cuts and not exact
        parts = (self._program, self._binding, self._terms, candidate.placement)
        plan = build_plan(*parts, joint, self._wires)
        try:
            contraction = contraction_of(plan, mode, engine=engine)
        except CutError as error:
            return self._unbuilt(candidate, f"cannot be run: {error}")
        itemsize = 16 if exact else 8
        needed = cost_of_batch(contraction, 1, environments=True, itemsize=itemsize).bytes
        if needed > MOST_CONTRACTED:
            size, most = readable_bytes(needed), readable_bytes(MOST_CONTRACTED)
            lack = f"needs {size} to be put together, more than {most} is not tried"
            return self._unbuilt(candidate, lack)
        return self._predicted(candidate, plan, contraction)

    def _too_large(self, candidate: Candidate) -> str | None:
        """Return why a candidate is not even built, None if it is."""
        options = self._options
        if options.mode == "exact" and options.engine != STATEVECTOR:
            return None  # what its branches are too many for may be a network
        entries = sum(
            s.branches**2 if options.mode == "exact" else s.variants for s in candidate.shapes
        )
        if entries > MOST_VARIANTS:
            return f"has {digits(entries)} variants, more than {MOST_VARIANTS:.0e} are not run"
        widest = max(shape.width for shape in candidate.shapes)
        if widest > MOST_BUILT:
            return f"has a fragment of {counted(widest, 'qubit')}, which nothing simulates"
        return None

    def _predicted(
        self, candidate: Candidate, plan: CutPlan, contraction: Contraction
    ) -> RecommendationLine:
        shots, error = self._shots(plan, contraction)
        work = work_of(
            plan,
            self._options.mode,
            self._rows,
            shots,
            contraction,
            engine=self._options.of_engine,
            slots=self._slots,
            outputs=self._outputs,
        )
        outlook = self._forecaster.outlook(plan, work, self._options.queries / self._rows)
        lacks = outlook.lacks
        if shots > MOST_SHOTS:
            lacks += (f"needs {shots:.3g} shots, more than {MOST_SHOTS:.0e} are not run",)
        return RecommendationLine(
            cuts=candidate.cuts,
            placement=candidate.placement,
            widths=_widths(candidate),
            variants=plan.num_variants,
            overhead=plan.sampling_overhead,
            shots=shots,
            error=error,
            memory_bytes=work.memory_bytes,
            prediction=outlook.prediction,
            plan=plan,
            work=work,
            lacks=lacks,
            noise=min(1.0, outlook.noise) * self._norm,
            shares=outlook.shares,
        )

    @staticmethod
    def _unbuilt(candidate: Candidate, lack: str) -> RecommendationLine:
        widths = _widths(candidate)
        return RecommendationLine(
            cuts=candidate.cuts,
            placement=candidate.placement,
            widths=widths,
            variants=candidate.variants,
            overhead=candidate.overhead,
            memory_bytes=16.0 * 2.0 ** min(max(widths), MOST_BUILT),
            lacks=(lack,),
        )

    def _shots(self, plan: CutPlan, contraction: Contraction) -> tuple[int, float]:
        """Return the shots of each subexperiment, and the error that they leave."""
        options = self._options
        if options.mode == "exact":
            return 0, 0.0
        one = self._norm * predicted_error(plan, 1, contraction)
        shots = options.shots if options.target_error is None else self._shots_for(one)
        if isinstance(self._forecaster, DeviceForecaster):
            growths = self._forecaster.growths(plan, shots)
            one = self._norm * predicted_error(plan, 1, contraction, growths)
            shots = options.shots if options.target_error is None else self._shots_for(one)
        return shots, one / sqrt(shots)

    def _shots_for(self, one: float) -> int:
        """Return the shots that reach the error asked for, from that of one shot."""
        assert self._options.target_error is not None
        times = min(one / self._options.target_error, MOST)  # the square of more may overflow
        return max(1, ceil(min(times**2, MOST)))

    def _nothing_feasible(self, lines: Sequence[RecommendationLine]) -> str:
        fewest = min((line.shots for line in lines if line.work), default=0)
        if fewest > MOST_SHOTS:
            return (
                f"target_error is {self._options.target_error}, which takes {fewest:.3g} shots of "
                f"each subexperiment, expected at most {MOST_SHOTS:.0e}; ask for a larger error"
            )
        least = min(lines, key=lambda line: line.memory_bytes)
        text = (
            f"max_cuts is {self._options.max_cuts}, but no plan with so few cuts is feasible: the "
            f"least, of {counted(least.cuts, 'cut')}, "
            f"{least.lacks[0] if least.lacks else 'is too large'}"
        )
        near = self._nearest()
        if near is None and (wider := self._wider()) is not None:
            return (
                f"{text}; expected a max_width that needs fewer cuts: give --max-width "
                f"{max(wider.widths)} ({counted(wider.cuts, 'cut')}), or a larger pilot"
            )
        if near is None:
            return f"{text}; expected a circuit that cuts make narrow enough, or a larger pilot"
        return (
            f"{text}; expected at least {counted(near.cuts, 'cut')} (fragments of at most "
            f"{counted(max(near.widths), 'qubit')}): give --max-cuts {near.cuts}, or a larger pilot"
        )

    def _wider(self) -> RecommendationLine | None:
        """Return a feasible candidate that `max_width` keeps out, without cuts if that is one."""
        if self._options.max_width is None:
            return None
        uncut = self._best(self._candidates(0, None))
        return uncut if uncut.feasible else self._fewest(None)

    def _nearest(self) -> RecommendationLine | None:
        """Return a feasible candidate of few cuts, whatever their number."""
        return self._fewest(self._options.max_width)

    def _fewest(self, max_width: int | None) -> RecommendationLine | None:
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


def _wanted_slots(binding: Binding, gradients: bool | Sequence[str]) -> frozenset[int]:
    """Return the slots that move with the parameters by which derivatives are wanted.

    Raises
    ------
    UserError
        For a name that is no parameter's.
    """
    if isinstance(gradients, bool):
        return binding.slots_moved_by(binding.names if gradients else [])
    if unknown := sorted(set(gradients) - set(binding.names)):
        raise UserError(
            f"gradients has '{unknown[0]}', expected some of the circuit's parameters, "
            f"{', '.join(sorted(binding.names)[:5])} ...; give True for all of them"
        )
    return binding.slots_moved_by(gradients)


def _widths(candidate: Candidate) -> tuple[int, ...]:
    return tuple(shape.width for shape in candidate.shapes)


def _forecaster(
    pilots: Views, options: Options, slots: frozenset[int]
) -> Forecaster | DeviceForecaster:
    devices = [view for view in pilots if isinstance(view, DeviceView)]
    if devices:
        asked = checked_mitigation(options.mitigation)
        return DeviceForecaster(devices, options.mode, options.shots, asked, slots)
    check_devices(checked_mitigation(options.mitigation), Fleet())
    measured = [view for view in pilots if isinstance(view, CalibratedPilot)]
    return Forecaster(measured, options.mode, options.shots, options.of_engine)


def _choose(lines: Sequence[RecommendationLine], objective: str) -> RecommendationLine:
    """Return the best line; one with more cuts must be faster by more than `WORTH`.

    Errors differ less than times: there the least is chosen, whatever the cuts.
    """
    chosen = next(line for line in lines if line.feasible)
    worth = WORTH if objective == "time" else 1.0
    for line in lines:
        if line.feasible and line.target(objective) < worth * chosen.target(objective):
            chosen = line
    return chosen
