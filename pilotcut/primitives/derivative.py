"""Derivatives through the contraction: only the fragment that holds an angle runs again.

The value is a contraction of fragment tensors, so its derivative by a tensor is the
fragment's environment, known from one reverse sweep. What is left is the derivative of
the fragment's own tensor by its own angles: a parameter shift of that fragment alone,
``2 sum_f p_f V_f`` circuits instead of ``2 p sum_f V_f``, or in exact mode one pull-back
by autograd. An angle of a cut gate enters the bond matrix and costs no circuit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.program import Angle
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import UserError
from pilotcut.execution.batch_runner import BatchRunner
from pilotcut.execution.batching import even_rows, exact_row_s
from pilotcut.execution.results import Compiled, Evaluation, RowEvaluations
from pilotcut.execution.streaming import BatchTimes
from pilotcut.execution.work_units import Request
from pilotcut.reconstruction.contraction import Contraction

if TYPE_CHECKING:
    from pilotcut.reconstruction.differentiable import (
        DirectionalDerivative,
        ExactOutputs,
        SlotExpansion,
    )

Measured = TypeVar("Measured")

#: A shift rule: pairs (shift in radians, coefficient).
Rule = tuple[tuple[float, float], ...]

# General parameter-shift rules (arXiv:2107.12390) for expectations with these frequencies.
_ONE: Rule = ((pi / 2, 0.5), (-pi / 2, -0.5))
_PLUS, _MINUS = (sqrt(2) + 1) / (4 * sqrt(2)), (sqrt(2) - 1) / (4 * sqrt(2))
_HALF_AND_ONE: Rule = (
    (pi / 2, _PLUS),
    (-pi / 2, -_PLUS),
    (3 * pi / 2, -_MINUS),
    (-3 * pi / 2, _MINUS),
)
_ONE_AND_TWO: Rule = tuple((shift / 2, 2 * weight) for shift, weight in _HALF_AND_ONE)

# Gate -> the rule of each of its parameters.
_RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("rx", "ry", "rz", "p", "u1", "rxx", "ryy", "rzz", "rzx"), (_ONE,)),
    **dict.fromkeys(("cp", "cu1"), (_ONE,)),
    **dict.fromkeys(("u", "u3"), (_ONE, _ONE, _ONE)),
    "u2": (_ONE, _ONE),
    **dict.fromkeys(("crx", "cry", "crz"), (_HALF_AND_ONE,)),
    "cu3": (_HALF_AND_ONE, _ONE, _ONE),
    "cu": (_HALF_AND_ONE, _ONE, _ONE, _ONE),
    "r": (_ONE, _ONE_AND_TWO),
    **dict.fromkeys(("xx_plus_yy", "xx_minus_yy"), (_HALF_AND_ONE, _ONE_AND_TWO)),
}


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
        wanted: set[int],
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
        """
        tall = np.broadcast_to(weights, (len(slots), *weights.shape[-2:]))
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
        plan = parts[0].evaluation.compiled.plan
        result = np.zeros((len(slots), weights.shape[-2], plan.program.num_slots))
        if isinstance(evaluation, RowEvaluations):
            self._add_redrawn_bonds(result, parts[0].evaluation.compiled, slots, tall, wanted)
        else:
            self._add_bonds(result, parts[0])
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
                slope = bond.coherent_slope(part.slots) if exact else bond.slope(part.slots, k)
                terms = np.einsum("btij,bij->bt", environment, slope).real
                result[:, :, angle.slot] += np.einsum("bt,bot->bo", terms, part.weights)

    def _add_redrawn_bonds(
        self,
        result: np.ndarray,
        compiled: Compiled,
        slots: np.ndarray,
        weights: np.ndarray,
        wanted: set[int],
    ) -> None:
        """Add the same for samples of terms: each wanted angle draws terms by its slope.

        The terms of the value do not serve: where a weight vanishes its slope may not.
        """
        bonds = compiled.plan.bonds
        matrices = [bond.matrix(slots) for bond in bonds]
        for bond in bonds:
            for k, angle in enumerate(bond.angles):
                if angle.slot in wanted:
                    by = [*matrices]
                    by[bond.index] = bond.slope(slots, k)
                    drawn = self._runner.evaluate_terms(compiled, slots, by, "shift")
                    slope = np.einsum("bt,bot->bo", drawn.values, weights)
                    result[:, :, angle.slot] += slope

    def _add_exact(self, result: np.ndarray, part: _Part, wanted: set[int]) -> None:
        """Add the pull-back of every fragment that holds a wanted angle."""
        kept, sensitivity = part.evaluation.kept, part.sensitivity
        owners = [f for f in part.plan.fragments if any(a.slot in wanted for a in f.angles)]

        def execute(_: np.random.SeedSequence) -> tuple[list[np.ndarray], BatchTimes]:
            if kept:
                started = perf_counter()
                slopes = [kept[f.index].pull_back(sensitivity[f.index]) for f in owners]
                seconds = perf_counter() - started
                return slopes, BatchTimes(execute_s=seconds, run_s=seconds, units=len(owners))
            requests = [Request(f, f.angle_values(part.slots)) for f in owners]
            return self._runner.executor.pull_back(requests, [sensitivity[f.index] for f in owners])

        def add(slopes: list[np.ndarray]) -> None:
            for fragment, slope in zip(owners, slopes, strict=True):
                for column, angle in enumerate(fragment.angles):
                    result[:, :, angle.slot] += angle.scale * slope[:, :, column]

        if owners:
            self._run(part.plan, execute, add, 0)

    def _add_shifts(self, result: np.ndarray, parts: Sequence[_Part], wanted: set[int]) -> None:
        """Add the parameter shifts of every fragment that holds a wanted angle."""
        shifted = [
            (part, one)
            for part in parts
            for f in part.plan.fragments
            if (one := _Shifted.of(f, wanted)).terms
        ]
        requests = [one.request(part.slots, part.evaluation.shots) for part, one in shifted]

        def execute(seed: np.random.SeedSequence) -> tuple[list[FragmentTensor], BatchTimes]:
            return self._runner.executor.evaluate(requests, seed)

        def add(tensors: list[FragmentTensor]) -> None:
            for (part, one), tensor in zip(shifted, tensors, strict=True):
                rows = result[part.rows]
                one.add_to(rows, tensor, part.sensitivity[one.fragment.index])

        if shifted:
            circuits = sum(request.subexperiments for request in requests)
            self._run(parts[0].plan, execute, add, circuits)

    def _run(
        self,
        plan: CutPlan,
        execute: Callable[[np.random.SeedSequence], tuple[list[Measured], BatchTimes]],
        add: Callable[[list[Measured]], None],
        circuits: int,
    ) -> None:
        about = {"source": "shift", "queries": 0, "subexperiments": circuits}
        about["shots"] = self._runner.shots
        self._runner.run(plan, execute, add, about)


class HigherDerivative:
    """Derivatives beyond the first by the parameters of an exact plan, along directions.

    Parameters
    ----------
    runner
        What evaluates the plan, in exact mode: its tasks run rows of a batch.
    compiled, binding
        The plan, and how parameters become its slots.
    coefficients
        Outputs as sums of terms, (outputs, terms).
    """

    def __init__(
        self,
        runner: BatchRunner,
        compiled: Compiled,
        binding: Binding,
        coefficients: np.ndarray,
    ) -> None:
        assert isinstance(compiled.contraction, Contraction)
        self._runner, self._compiled, self._binding = runner, compiled, binding
        self._coefficients = coefficients

    def of(
        self,
        values: np.ndarray,
        weights: np.ndarray,
        directions: Sequence[np.ndarray],
        by_parameters: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives of ``sum_o c_o D^m f_o[u_1, ..., u_m]``, row by row.

        Parameters
        ----------
        values
            (rows, parameters).
        weights
            c, (rows, outputs).
        directions
            u, m of them, each (rows, parameters).
        by_parameters
            Whether those by the parameters are wanted; else they are zero.

        Returns
        -------
        tuple
            Those by the parameters (rows, parameters), and those by c, which are
            ``D^m f_o[u_1, ..., u_m]`` (rows, outputs).

        Raises
        ------
        UserError
            Beyond second derivatives where an angle is not linear in the parameters.
        """
        from pilotcut.reconstruction.differentiable import DirectionalDerivative, ExactOutputs

        order = len(directions) + by_parameters
        outputs = ExactOutputs(
            self._compiled.plan,
            self._compiled.contraction,  # type: ignore[arg-type]
            self._coefficients,
        )
        some = [
            DirectionalDerivative(
                self._slots(values[rows], order),
                weights[rows],
                tuple(u[rows] for u in directions),
                by_parameters,
            )
            for rows in self._rows(outputs, len(values), order)
        ]

        def execute(_: np.random.SeedSequence) -> tuple[list[tuple[np.ndarray, ...]], BatchTimes]:
            parts = (self._compiled.plan.fingerprint.encode(), self._coefficients.tobytes())
            key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
            return self._runner.executor.each(_directional, outputs, key, some)

        def join(found: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray]:
            by_values, by_weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
            return by_values, by_weights

        about = {"source": "curvature", "queries": 0, "subexperiments": 0, "shots": 0}
        return self._runner.run(self._compiled.plan, execute, join, about)

    def _rows(self, outputs: ExactOutputs, rows: int, order: int) -> list[slice]:
        from pilotcut.reconstruction.differentiable import GROWTH

        row_s = sum(exact_row_s(f) for f in self._compiled.plan.fragments) * GROWTH**order
        return even_rows(rows, row_s, outputs.rows_at_once(order))

    def _slots(self, values: np.ndarray, order: int) -> SlotExpansion:
        from pilotcut.reconstruction.differentiable import SlotExpansion

        hessian = self._binding.hessian(values)
        if hessian is not None and order > 2:
            raise UserError(
                f"derivatives of order {order} are asked for, expected at most 2: an angle of the "
                f"circuit is not linear in its parameters; third ones need linear angles, compute "
                f"the products outside of the circuit"
            )
        return SlotExpansion(self._binding.slots(values), self._binding.jacobian(values), hessian)


def _directional(
    outputs: ExactOutputs, what: DirectionalDerivative
) -> tuple[np.ndarray, np.ndarray]:
    return what.run(outputs)


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
        return self.evaluation.compiled.plan


@dataclass(frozen=True)
class _Term:
    """One shifted evaluation: which angle, by how much, and its weight in the derivative."""

    column: int
    slot: int
    shift: float
    weight: float


@dataclass(frozen=True)
class _Shifted:
    """The shifted evaluations of one fragment."""

    fragment: Fragment
    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, fragment: Fragment, slots: set[int]) -> _Shifted:
        """Collect the shifts for the fragment's angles that depend on `slots`."""
        terms = [
            _Term(column, angle.slot, shift, weight * angle.scale)
            for column, (angle, rule) in enumerate(
                zip(fragment.angles, _rules_of(fragment), strict=True)
            )
            if angle.slot in slots
            for shift, weight in rule
        ]
        return cls(fragment, tuple(terms))

    def request(self, slots: np.ndarray, shots: int) -> Request:
        """Return all rows with all shifts, shifts innermost."""
        shifts = np.zeros((len(self.terms), len(self.fragment.angles)))
        shifts[np.arange(len(self.terms)), [t.column for t in self.terms]] = [
            t.shift for t in self.terms
        ]
        angles = self.fragment.angle_values(slots)[:, None, :] + shifts
        return Request(self.fragment, angles.reshape(-1, shifts.shape[1]), shots)

    def add_to(self, result: np.ndarray, tensor: FragmentTensor, sensitivity: np.ndarray) -> None:
        """Add ``sum sensitivity * dT/dslot`` to `result` (rows, outputs, slots)."""
        rows = len(result)
        shape = (rows, len(self.terms), len(self.fragment.observables), -1)
        parts = np.einsum(
            "bomv,bkmv->bok", sensitivity, tensor.values.reshape(shape), optimize=True
        )
        for k, term in enumerate(self.terms):
            result[:, :, term.slot] += term.weight * parts[:, :, k]


def _rules_of(fragment: Fragment) -> list[Rule]:
    """Return the shift rule of each of the fragment's angles."""
    rules: dict[int, Rule] = {}
    for step in fragment.steps:
        if isinstance(step, Site):
            continue
        for position, param in enumerate(step.params):
            if isinstance(param, Angle):
                if step.name not in _RULES:
                    raise UserError(
                        f"gate '{step.name}' has a free parameter and no known shift rule, "
                        f"expected one of {', '.join(sorted(_RULES))}; decompose it first"
                    )
                rules[param.slot] = _RULES[step.name][position]
    return [rules[k] for k in range(len(fragment.angles))]
