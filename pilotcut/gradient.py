"""Gradients through the contraction: only the fragment that holds an angle runs again.

The value is a contraction of fragment tensors, so its derivative by a tensor is the
fragment's environment, known from one reverse sweep. What is left is the derivative of
the fragment's own tensor by its own angles, a parameter shift of that fragment alone:
``2 sum_f p_f V_f`` circuits instead of ``2 p sum_f V_f``. An angle of a cut gate enters
the bond matrix and costs no circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, TypeVar

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult

from pilotcut.bundles import Request, Spent
from pilotcut.cutting.fragment import Fragment, FragmentTensor, SiteStep
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.program import Angle, Binding, read_circuit
from pilotcut.errors import UserError
from pilotcut.estimator import Compiled, CutEstimator, Evaluation, sensitivities_of
from pilotcut.pubs import Batch, batches_of, coerce_pubs

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


class CutGradient(BaseEstimatorGradient):
    """Gradients of a `CutEstimator`, for ``EstimatorQNN(gradient=...)``.

    Parameters
    ----------
    estimator
        The estimator whose cuts, shots and tasks are used.

    Examples
    --------
    >>> from qiskit.circuit import Parameter, QuantumCircuit
    >>> from qiskit.quantum_info import SparsePauliOp
    >>> circuit = QuantumCircuit(2); _ = circuit.rx(Parameter("t"), 0); _ = circuit.cx(0, 1)
    >>> gradient = CutGradient(CutEstimator(labels="AB", shots=4096, seed=3))
    >>> job = gradient.run([circuit], [SparsePauliOp("IZ")], [[1.0]])
    >>> bool(abs(job.result().gradients[0][0] + 0.841) < 0.1)
    True
    """

    def __init__(self, estimator: CutEstimator) -> None:
        super().__init__(estimator)
        self._cut_estimator = estimator

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]] | np.ndarray,
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        pubs = coerce_pubs(zip(circuits, observables, parameter_values, strict=True), None)
        bindings = _bindings(circuits)
        wanted = [[p.name for p in some] for some in parameters]
        gradients = [np.zeros(len(names)) for names in wanted]
        slopes = [
            b.jacobian(np.asarray(values, dtype=float)[None])[0][:, [b.names.index(n) for n in w]]
            for b, values, w in zip(bindings, parameter_values, wanted, strict=True)
        ]
        for batch in batches_of(pubs):
            if not batch.terms:
                continue
            used = [slopes[a.pub] for answers in batch.answers for a in answers]
            slots = np.flatnonzero(np.any([s.any(axis=1) for s in used], axis=0))
            derivative = self._by_slot(batch, slots)
            for k, answers in enumerate(batch.answers):
                for row, answer in enumerate(answers):
                    gradients[answer.pub] += derivative[row, k] @ slopes[answer.pub][slots]
        return EstimatorGradientResult(
            gradients=gradients,
            metadata=[{"parameters": some} for some in parameters],
            options=self._get_local_options(options) if options else self._default_options,
        )

    def _by_slot(self, batch: Batch, slots: np.ndarray) -> np.ndarray:
        """Return d observables / d slots, (rows, observables, len(slots))."""
        estimator = self._cut_estimator
        compiled = estimator.compile(batch.program, batch.binding, batch.terms)
        coefficients, _ = batch.coefficients()
        shots = 0 if estimator.exact else estimator.shots
        base = estimator.evaluate(compiled, batch.slots, shots, "gradient")
        sensitivity = sensitivities_of(compiled, base, coefficients)
        result = self._bonds(compiled, base, coefficients, batch.slots)
        add = self._add_exact if estimator.exact else self._add_shifts
        add(result, compiled.plan, batch.slots, set(slots.tolist()), sensitivity)
        return result[:, :, slots]

    def _bonds(
        self, compiled: Compiled, base: Evaluation, coefficients: np.ndarray, slots: np.ndarray
    ) -> np.ndarray:
        """Return what the angles of cut gates contribute, (rows, observables, slots)."""
        plan = compiled.plan
        result = np.zeros((len(slots), len(coefficients), plan.program.num_slots))
        environments = base.environments[len(plan.fragments) :]
        for bond, environment in zip(plan.bonds, environments, strict=True):
            if bond.angle is not None:
                exact = self._cut_estimator.exact
                slope = bond.coherent_slope(slots) if exact else bond.slope(slots)
                terms = np.einsum("btij,bij->bt", environment, slope).real
                result[:, :, bond.angle.slot] += terms @ coefficients.T
        return result

    def _add_exact(
        self,
        result: np.ndarray,
        plan: CutPlan,
        slots: np.ndarray,
        wanted: set[int],
        sensitivity: Sequence[np.ndarray],
    ) -> None:
        """Add the pull-back of every fragment that holds a wanted angle."""
        owners = [f for f in plan.fragments if any(a.slot in wanted for a in f.angles)]
        requests = [Request(f, f.angle_values(slots)) for f in owners]

        def execute(_: np.random.SeedSequence) -> tuple[list[np.ndarray], Spent]:
            return self._cut_estimator.executor.pull_back(
                requests, [sensitivity[f.index] for f in owners]
            )

        def add(slopes: list[np.ndarray]) -> None:
            for fragment, slope in zip(owners, slopes, strict=True):
                for column, angle in enumerate(fragment.angles):
                    result[:, :, angle.slot] += angle.scale * slope[:, :, column]

        if owners:
            self._run_stage(plan, execute, add, 0)

    def _add_shifts(
        self,
        result: np.ndarray,
        plan: CutPlan,
        slots: np.ndarray,
        wanted: set[int],
        sensitivity: Sequence[np.ndarray],
    ) -> None:
        """Add the parameter shifts of every fragment that holds a wanted angle."""
        shifted = [s for f in plan.fragments if (s := _Shifted.of(f, wanted)).terms]
        requests = [one.request(slots) for one in shifted]

        def execute(seed: np.random.SeedSequence) -> tuple[list[FragmentTensor], Spent]:
            estimator = self._cut_estimator
            return estimator.executor.evaluate(requests, estimator.shots, seed)

        def add(tensors: list[FragmentTensor]) -> None:
            for one, tensor in zip(shifted, tensors, strict=True):
                one.add_to(result, tensor, sensitivity[one.fragment.index])

        if shifted:
            circuits = sum(r.fragment.num_subexperiments * len(r.angles) for r in requests)
            self._run_stage(plan, execute, add, circuits)

    def _run_stage(
        self,
        plan: CutPlan,
        execute: Callable[[np.random.SeedSequence], tuple[list[Measured], Spent]],
        add: Callable[[list[Measured]], None],
        circuits: int,
    ) -> None:
        shots = 0 if self._cut_estimator.exact else self._cut_estimator.shots
        about = {"source": "shift", "queries": 0, "subexperiments": circuits, "shots": shots}
        self._cut_estimator.run_stages(plan, execute, add, about)


def _bindings(circuits: Sequence[QuantumCircuit]) -> list[Binding]:
    seen: dict[int, Binding] = {}
    for circuit in circuits:
        if id(circuit) not in seen:
            seen[id(circuit)] = read_circuit(circuit)[1]
    return [seen[id(circuit)] for circuit in circuits]


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

    def request(self, slots: np.ndarray) -> Request:
        """Return all rows with all shifts, shifts innermost."""
        shifts = np.zeros((len(self.terms), len(self.fragment.angles)))
        shifts[np.arange(len(self.terms)), [t.column for t in self.terms]] = [
            t.shift for t in self.terms
        ]
        angles = self.fragment.angle_values(slots)[:, None, :] + shifts
        return Request(self.fragment, angles.reshape(-1, shifts.shape[1]))

    def add_to(self, result: np.ndarray, tensor: FragmentTensor, sensitivity: np.ndarray) -> None:
        """Add ``sum sensitivity * dT/dslot`` to `result` (rows, observables, slots)."""
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
        if isinstance(step, SiteStep):
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
