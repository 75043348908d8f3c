"""Cut circuit as a function of its parameters, in numbers: outputs and derivatives of any order.

Rows of parameter values in, arrays out. Owns the order of parameters, observables as sums of a
plan's terms, and what is known of rows that were evaluated. Refuses to know torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut.circuits.binding import Binding, moved_by
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import UserError
from pilotcut.execution.batch_runner import BatchRunner
from pilotcut.execution.results import Evaluation, RowEvaluations
from pilotcut.execution.usage import stepping
from pilotcut.options import counted
from pilotcut.primitives.derivative import SlotDerivative
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.higher_derivative import higher_derivative
from pilotcut.reconstruction.contraction import Contraction


class CircuitFunction:
    """Expectation values of a compiled plan, by inputs and weights.

    Parameters
    ----------
    runner
        What runs batches of the plan.
    contraction, binding
        How the plan is put together, and how the circuit's parameters become its slots.
    observables
        One output each.
    inputs, weights
        Names of the circuit's parameters, in the order of values.

    Raises
    ------
    UserError
        If inputs and weights do not name each parameter once.
    """

    def __init__(
        self,
        runner: BatchRunner,
        contraction: Contraction,
        binding: Binding,
        observables: Sequence[SparsePauliOp],
        inputs: Sequence[str],
        weights: Sequence[str],
    ) -> None:
        self.runner, self.contraction = runner, contraction
        self._binding = binding
        terms = contraction.plan.terms.to_labels()
        self._coefficients, self._constant = _as_terms(observables, terms)
        self._order = _order(binding.names, inputs, weights)
        self._places = np.argsort(self._order)
        self._weights = list(weights)
        self._moved: tuple[bytes | None, frozenset[int]] = (None, frozenset())

    @property
    def binding(self) -> Binding:
        """How the circuit's parameters become slots."""
        return self._binding

    @property
    def order(self) -> np.ndarray:
        """For each of the circuit's parameters its place among inputs and weights."""
        return self._order

    @property
    def num_outputs(self) -> int:
        """Number of outputs."""
        return len(self._constant)

    @property
    def num_parameters(self) -> int:
        """Number of inputs and weights."""
        return len(self._order)

    def slots(self, values: np.ndarray) -> np.ndarray:
        """Return slot values (rows, slots) for values (rows, inputs + weights)."""
        return self._binding.slots(values[:, self._order])

    def evaluate(
        self, slots: np.ndarray, keep: bool, shots: int | None = None
    ) -> tuple[np.ndarray, Evaluation | RowEvaluations]:
        """Return outputs (rows, observables) and what the backward pass needs of them.

        With `keep`, what derivatives need is kept where that is possible. `shots` of each
        subexperiment are the runner's own if they are None.
        """
        outputs = (self._coefficients, self._constant)
        budget = self.runner.executor.budget
        counted = keep and budget is not None and budget.most_s is not None
        with stepping(self._trained) if counted else nullcontext():
            evaluation = self.runner.estimate(self.contraction, slots, outputs, shots, keep)
        return evaluation.values @ self._coefficients.T + self._constant, evaluation

    @cached_property
    def _trained(self) -> frozenset[int]:
        """Slots that the weights move."""
        return self._binding.slots_moved_by(self._weights)

    def pull_back(
        self,
        evaluation: Evaluation | RowEvaluations,
        values: np.ndarray,
        slots: np.ndarray,
        cotangents: np.ndarray,
        wanted: np.ndarray,
        summed: bool = False,
    ) -> np.ndarray:
        """Return vector-Jacobian products (rows, k, inputs + weights).

        Parameters
        ----------
        evaluation, values, slots
            Of the forward pass.
        cotangents
            (rows, k, observables).
        wanted
            Boolean (inputs + weights,): by which parameters derivatives are wanted; others are
            zero.
        summed
            Whether their sum over rows is enough: where that is cheaper it is what is returned,
            (1, k, inputs + weights).
        """
        own = wanted[self._order]
        weights = cotangents @ self._coefficients
        derivative = SlotDerivative(self.runner)
        jacobian = self._binding.constant_jacobian
        if jacobian is None:
            jacobian = self._binding.jacobian(values[:, self._order], own)
            by_slot = derivative.of(evaluation, slots, weights, moved_by(jacobian, own))
            found = by_slot @ jacobian
        else:
            asked, moved = self._moved
            if asked != own.tobytes():  # a training asks for the same ones at each step
                moved = moved_by(jacobian, own)
                self._moved = (own.tobytes(), moved)
            summed = summed and self.runner.exact
            by_slot = derivative.of(evaluation, slots, weights, moved, summed)
            # In one product: of a stack of matrices each has a call of its own.
            rows, k, size = by_slot.shape
            flat = by_slot.reshape(rows * k, size) @ jacobian
            found = flat.reshape(rows, k, len(wanted))
        return np.where(wanted, found[:, :, self._places], 0.0)

    def differentiate(
        self,
        values: np.ndarray,
        weights: np.ndarray,
        directions: Sequence[np.ndarray],
        by_parameters: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives beyond the first in exact mode; see `higher_derivative`.

        `values`, `directions` and the derivatives by them are (rows, inputs + weights).
        """
        known = (self.runner, self.contraction, self._binding, self._coefficients)
        own = [u[:, self._order] for u in directions]
        at = values[:, self._order]
        found, by_weights = higher_derivative(*known, at, weights, own, by_parameters)
        by_values = np.zeros_like(values)
        by_values[:, self._order] = found
        return by_values, by_weights


def function_of(
    estimator: CutEstimator,
    circuit: QuantumCircuit,
    observables: Sequence[SparsePauliOp],
    inputs: Sequence[str],
    weights: Sequence[str],
) -> CircuitFunction:
    """Return a circuit as a function of its parameters, compiled by an estimator.

    Raises
    ------
    UserError
        If it cannot be cut as asked, or inputs and weights do not name each parameter once.
    """
    program, binding = read_circuit(circuit)
    # By default Qiskit leaves out what is below 1e-8, of whatever scale the others are.
    sums = [o.simplify(atol=0, rtol=0) for o in observables]
    measured = {p for o in sums for p in o.paulis.to_labels() if p.strip("I")}
    terms = sorted(measured) or ["I" * circuit.num_qubits]
    contraction = estimator.compile(program, binding, terms)
    return CircuitFunction(estimator.runner, contraction, binding, sums, inputs, weights)


class FunctionCall:
    """One call of a function: its outputs and all derivatives, row by row.

    Derivatives are asked for at the rows of the call, whose circuits have run. Rows may come back
    several times over, as `torch.func.vmap` stacks them.
    """

    def __init__(self, function: CircuitFunction, keep: bool) -> None:
        self._function, self._keep = function, keep
        self._values = self._slots = np.empty((0, 0))
        self._evaluation: Evaluation | RowEvaluations | None = None
        self._moved: tuple[np.ndarray, ...] = ()  # where, along what, and how outputs move

    def value(self, values: np.ndarray) -> np.ndarray:
        """Return outputs (rows, outputs) for values (rows, parameters)."""
        if not len(values):
            return np.zeros((0, self._function.num_outputs))
        slots = self._function.slots(values)
        found, self._evaluation = self._function.evaluate(slots, self._keep)
        self._values, self._slots = values, slots
        return found

    def gradient(
        self,
        values: np.ndarray,
        weights: np.ndarray,
        wanted: Sequence[bool],
        summed: bool = False,
    ) -> np.ndarray:
        """Return d sum_o c_o f_o for weights (rows, outputs), (rows, parameters).

        With `summed` only their sum over rows has to be right, such as where all is in one row.
        """
        if not len(values):
            return np.zeros_like(values)
        copies = self._copies(values)
        stacked = weights.reshape(copies, -1, self._function.num_outputs).transpose(1, 0, 2)
        found = self._pull_back(stacked, wanted, summed and copies == 1)
        if len(found) < len(stacked):
            result = np.zeros_like(values)
            result[0] = found[0, 0]
            return result
        return found.transpose(1, 0, 2).reshape(values.shape)

    def along(self, values: np.ndarray, directions: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``D^m f_o[u_1, ..., u_m]`` of each output, (rows, outputs)."""
        if not len(values):
            return np.zeros((0, self._function.num_outputs))
        if self._moved and _same(self._moved[:-1], (values, *directions)):
            return self._moved[-1]
        if len(directions) > 1:
            self._check_exact()
            ones = np.ones((len(values), self._function.num_outputs))
            return self._function.differentiate(values, ones, directions, False)[1]
        copies = self._copies(values)
        rows = len(self._values)
        each = np.eye(self._function.num_outputs)
        every = np.broadcast_to(each, (rows, *each.shape))
        # Parameters that no direction moves would cost circuits, and add zero.
        used = np.any(directions[0], axis=0)
        jacobian = self._pull_back(every, used.tolist())
        steps = directions[0].reshape(copies, rows, -1)
        return np.einsum("rop,krp->kro", jacobian, steps).reshape(len(values), -1)

    def curvature(
        self, values: np.ndarray, weights: np.ndarray, directions: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return d sum_o c_o D^m f_o[u_1, ..., u_m], (rows, parameters)."""
        self._check_exact()
        if not len(values):
            return np.zeros_like(values)
        found, moved = self._function.differentiate(values, weights, directions, True)
        self._moved = (values, *directions, moved)  # asked for next, and known already
        return found

    def _pull_back(
        self, weights: np.ndarray, wanted: Sequence[bool], summed: bool = False
    ) -> np.ndarray:
        assert self._evaluation is not None
        known = (self._evaluation, self._values, self._slots)
        return self._function.pull_back(*known, weights, np.asarray(wanted), summed)

    def _copies(self, values: np.ndarray) -> int:
        """Return how often the known rows stand in `values`, which are evaluated if they do not."""
        # The rows' circuits have run: copies of them, as of vmap, need none of their own.
        known = self._values
        if len(known) and len(values) % len(known) == 0:
            stacked = values.reshape(-1, *known.shape)
            if (stacked == known).all():
                return len(stacked)
        self.value(values)
        return 1

    def _check_exact(self) -> None:
        mode = self._function.runner.mode
        if mode != "exact":
            raise UserError(
                f"a second derivative is asked for in mode '{mode}', expected mode='exact': shots "
                f"give first derivatives only; use exact mode, or a loss without derivatives of "
                f"outputs"
            )


def _same(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b) for a, b in zip(some, others, strict=True)
    )


def _as_terms(
    observables: Sequence[SparsePauliOp], terms: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (observables, terms) and the identity's (observables,)."""
    column = {label: k for k, label in enumerate(terms)}
    matrix, constant = np.zeros((len(observables), len(terms))), np.zeros(len(observables))
    for row, observable in enumerate(observables):
        for label, coefficient in zip(
            observable.paulis.to_labels(), observable.coeffs.real, strict=True
        ):
            if label in column:
                matrix[row, column[label]] += coefficient
            else:
                constant[row] += coefficient
    return matrix, constant


def _order(names: Sequence[str], inputs: Sequence[str], weights: Sequence[str]) -> np.ndarray:
    """Return for each of the circuit's parameters its place among inputs and weights."""
    given = [*inputs, *weights]
    missing = sorted(set(names) - set(given))
    unknown = sorted(set(given) - set(names))
    if missing or unknown or len(set(given)) != len(given):
        raise UserError(
            f"input_params and weight_params name {counted(len(given), 'parameter')}, expected "
            "each of the "
            f"circuit's {len(names)} once; missing: {', '.join(missing) or 'none'}, unknown: "
            f"{', '.join(unknown) or 'none'}"
        )
    return np.array([given.index(name) for name in names], dtype=int)
