"""Derivatives through the contraction: only the fragment that holds an angle runs again.

The value is a contraction of fragment tensors, so its derivative by a tensor is the
fragment's environment, known from one reverse sweep. What is left is the derivative of
the fragment's own tensor by its own angles: a parameter shift of that fragment alone,
``2 sum_f p_f V_f`` circuits instead of ``2 p sum_f V_f``, or in exact mode one pull-back
by autograd. An angle of a cut gate enters the bond matrix and costs no circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from pilotcut.backends.base import Shots
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.shift_rules import rules_of
from pilotcut.execution.batch_runner import SLOPES, BatchRunner
from pilotcut.execution.results import Evaluation, RowEvaluations
from pilotcut.execution.streaming import BatchTimes
from pilotcut.execution.work_units import Request
from pilotcut.reconstruction.contraction import Contraction

Measured = TypeVar("Measured")


class SlotDerivative:
    """Derivatives of an evaluated batch by the slots of its program.

    Parameters
    ----------
    runner
        What evaluated the batch: its mode, shots and tasks are used again.
    """

    def __init__(self, runner: BatchRunner) -> None:
        self._runner = runner

    def of(
        self,
        evaluation: Evaluation | RowEvaluations,
        slots: np.ndarray,
        weights: np.ndarray,
        wanted: Set[int],
        summed: bool = False,
    ) -> np.ndarray:
        """Return d outputs / d slots, (rows, outputs, slots); zero where not wanted.

        Parameters
        ----------
        evaluation, slots
            An evaluation, and the slot values (rows, slots) of it.
        weights
            Outputs as sums of terms, (outputs, terms), or (rows, outputs, terms).
        wanted
            The slots whose derivatives are needed.
        summed
            In exact mode, whether to return their sum over rows, (1, outputs, slots).
        """
        tall = weights
        if weights.ndim == 2:
            tall = np.broadcast_to(weights, (len(slots), *weights.shape))
        parts = [
            _Part(
                rows,
                one,
                slots[rows],
                tall[rows],
                one.sensitivities(weights if weights.ndim == 2 else weights[rows]),
            )
            for rows, one in evaluation.parts
        ]
        plan = parts[0].evaluation.contraction.plan
        rows = 1 if summed else len(slots)
        result = np.zeros((rows, weights.shape[-2], plan.program.num_slots))
        if isinstance(evaluation, RowEvaluations):
            self._add_redrawn_bonds(result, plan, slots, tall, wanted)
        else:
            self._add_bonds(result, parts[0])
        # One part has all rows here: samples of terms, which have a part a row, are refused in
        # exact mode.
        if self._runner.exact:
            self._add_exact(result, parts[0], wanted)
        else:
            self._add_shifts(result, parts, wanted)
        return result

    def _add_bonds(self, result: np.ndarray, part: _Part) -> None:
        """Add what the angles of cut gates contribute: no circuit, their matrices alone."""
        plan = part.plan
        environments = part.evaluation.environments[len(plan.fragments) :]
        for bond, environment in zip(plan.bonds, environments, strict=True):
            for k, angle in enumerate(bond.angles):
                exact = self._runner.exact
                slope_of = bond.coherent_slope if exact else bond.slope
                terms = np.einsum("btij,bij->bt", environment, slope_of(part.slots, k)).real
                slope = np.einsum("bt,bot->bo", terms, part.weights)
                if len(result) < len(slope):
                    slope = slope.sum(axis=0)
                for slot, scale in angle.terms:
                    result[:, :, slot] += scale * slope

    def _add_redrawn_bonds(
        self,
        result: np.ndarray,
        plan: CutPlan,
        slots: np.ndarray,
        weights: np.ndarray,
        wanted: Set[int],
    ) -> None:
        """Add the same for samples of terms: each wanted angle draws terms by its slope.

        The terms of the value do not serve: where a weight vanishes its slope may not.
        """
        matrices = [bond.matrix(slots) for bond in plan.bonds]
        for bond in plan.bonds:
            for k, angle in enumerate(bond.angles):
                if any(slot in wanted for slot, _ in angle.terms):
                    by = [*matrices]
                    by[bond.index] = bond.slope(slots, k)
                    drawn = self._runner.evaluate_terms(plan, slots, by, "shift")
                    slope = np.einsum("bt,bot->bo", drawn.values, weights)
                    for slot, scale in angle.terms:
                        result[:, :, slot] += scale * slope

    def _add_exact(self, result: np.ndarray, part: _Part, wanted: Set[int]) -> None:
        """Add the pull-back of every fragment that holds a wanted angle."""
        kept = part.evaluation.kept
        asked = np.zeros(part.plan.program.num_slots, dtype=bool)
        asked[[*wanted]] = True
        known = [(f, asked[f.angle_arrays[0]]) for f in part.plan.fragments]
        owners, own = [f for f, some in known if some.any()], [s for _, s in known if s.any()]
        requests = [part.evaluation.requests[f.index] for f in owners]
        cotangents = [part.sensitivity[f.index] for f in owners]
        summed = len(result) < len(part.slots)

        def execute(_: int) -> tuple[list[np.ndarray], BatchTimes]:
            if kept:
                started = perf_counter()
                slopes = [
                    kept[f.index].pull_back(cotangent, some, summed)
                    for f, cotangent, some in zip(owners, cotangents, own, strict=True)
                ]
                seconds = perf_counter() - started
                return slopes, BatchTimes(execute_s=seconds, run_s=seconds, units=len(owners))
            return self._runner.executor.pull_back(requests, cotangents, own)

        def add(slopes: list[np.ndarray]) -> None:
            for fragment, slope, some in zip(owners, slopes, own, strict=True):
                places, scales, _ = fragment.angle_arrays
                scales = scales * some
                if len(result) < len(slope):
                    slope = slope.sum(axis=0, keepdims=True)
                if fragment.has_own_slots:
                    result[:, :, places] += slope * scales
                else:  # of several angles of a slot += would keep the last
                    for column, place in enumerate(places):
                        result[:, :, place] += slope[:, :, column] * scales[column]

        if owners:
            pulled = part.weights.shape[-2]
            self._runner.expect(part.plan, requests, SLOPES, pulled=pulled)
            contraction = part.evaluation.contraction
            assert isinstance(contraction, Contraction)
            self._run(contraction.named_plan, execute, add, 0)

    # Shifts of whole circuits took three to four times as many circuits in a training.
    def _add_shifts(self, result: np.ndarray, parts: Sequence[_Part], wanted: Set[int]) -> None:
        """Add the parameter shifts of every fragment that holds a wanted angle."""
        shifted = [
            (part, one)
            for part in parts
            for f in part.plan.fragments
            if len((one := _Shifted.of(f, wanted)).shifts)
        ]
        requests = [one.request(part.slots, one.shots(part.evaluation)) for part, one in shifted]

        def execute(batch: int) -> tuple[list[FragmentTensor], BatchTimes]:
            return self._runner.executor.evaluate(requests, self._runner.log.stream(batch))

        def add(tensors: list[FragmentTensor]) -> None:
            for (part, one), tensor in zip(shifted, tensors, strict=True):
                rows = result[part.rows]
                one.add_to(rows, tensor, part.sensitivity[one.fragment.index])

        if shifted:
            self._runner.expect(parts[0].plan, requests, SLOPES)
            circuits = sum(request.subexperiments for request in requests)
            self._run(parts[0].plan, execute, add, circuits)

    def _run(
        self,
        plan: CutPlan,
        execute: Callable[[int], tuple[list[Measured], BatchTimes]],
        add: Callable[[list[Measured]], None],
        circuits: int,
    ) -> None:
        about = {"source": "shift", "queries": 0, "subexperiments": circuits}
        about["shots"] = self._runner.shots
        self._runner.run(plan, execute, add, about)


def requests_of_shifts(
    plan: CutPlan, slots: np.ndarray, shots: int, wanted: Set[int]
) -> list[Request]:
    """Return what derivatives by some slots run with shots, for slot values (rows, slots)."""
    shifted = (_Shifted.of(fragment, wanted) for fragment in plan.fragments)
    return [one.request(slots, shots) for one in shifted if len(one.shifts)]


@dataclass(frozen=True)
class _Part:
    """Rows that were run alike: their evaluation, slots, weights and sensitivities."""

    rows: slice
    evaluation: Evaluation
    slots: np.ndarray
    weights: np.ndarray
    sensitivity: list[np.ndarray]

    @property
    def plan(self) -> CutPlan:
        return self.evaluation.contraction.plan


@dataclass(frozen=True)
class _Shifted:
    """Shifted evaluations of one fragment.

    Parameters
    ----------
    fragment
        The fragment.
    columns, slots
        (shifts,): which of its angles is shifted, and the slot that angle is of.
    shifts, weights
        (shifts,): by how much, and the weight of the evaluation in the derivative.
    """

    fragment: Fragment
    columns: np.ndarray
    slots: np.ndarray
    shifts: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, fragment: Fragment, slots: Set[int]) -> _Shifted:
        """Collect the shifts for the fragment's angles that depend on `slots`."""
        terms = [
            (column, angle.slot, shift, weight * angle.scale)
            for column, (angle, rule) in enumerate(
                zip(fragment.angles, rules_of(fragment), strict=True)
            )
            if angle.slot in slots
            for shift, weight in rule
        ]
        columns, owners, shifts, weights = np.array(terms).reshape(-1, 4).T
        return cls(fragment, columns.astype(int), owners.astype(int), shifts, weights)

    def shots(self, evaluation: Evaluation) -> Shots:
        """Return the shots of all rows with all shifts, as an evaluation had them."""
        if not evaluation.dealt:
            return evaluation.shots
        return np.repeat(evaluation.dealt[self.fragment.index], len(self.shifts), axis=0)

    def request(self, slots: np.ndarray, shots: Shots) -> Request:
        """Return all rows with all shifts, shifts innermost."""
        moved = np.zeros((len(self.shifts), len(self.fragment.angles)))
        moved[np.arange(len(moved)), self.columns] = self.shifts
        angles = self.fragment.angle_values(slots)[:, None, :] + moved
        return Request(self.fragment, angles.reshape(-1, moved.shape[1]), shots)

    def add_to(self, result: np.ndarray, tensor: FragmentTensor, sensitivity: np.ndarray) -> None:
        """Add ``sum sensitivity * dT/dslot`` to `result` (rows, outputs, slots)."""
        shape = (len(result), len(self.shifts), len(self.fragment.observables), -1)
        parts = np.einsum(
            "bomv,bkmv->bok", sensitivity, tensor.values.reshape(shape), optimize=True
        )
        # One by one and in order: several shifts are of one slot.
        for k, slot in enumerate(self.slots):
            result[:, :, slot] += self.weights[k] * parts[:, :, k]
