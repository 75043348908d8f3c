"""A cut circuit as a torch module, with the backward pass through the contraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp

from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.program import read_circuit
from pilotcut.derivative import SlotDerivative
from pilotcut.errors import ParameterValueError, UserError
from pilotcut.estimator import CutEstimator
from pilotcut.evaluation import Evaluation, RowEvaluations
from pilotcut.tasks import TaskManager


def cut_qnn(
    circuit: QuantumCircuit,
    observables: SparsePauliOp | Pauli | str | Sequence[SparsePauliOp | Pauli | str],
    *,
    input_params: Sequence[Parameter],
    weight_params: Sequence[Parameter],
    cuts: int | None = None,
    labels: str | Sequence[str] | None = None,
    max_width: int | None = None,
    plan: CutPlan | None = None,
    joint_cuts: bool = False,
    mode: str = "exact",
    shots: int | None = None,
    num_samples: int | None = None,
    tasks: TaskManager | None = None,
    seed: int | None = None,
    initial_weights: Sequence[float] | np.ndarray | None = None,
) -> CutQNN:
    """Return a torch module that evaluates a cut circuit, ready to train.

    Parameters
    ----------
    circuit
        The whole circuit, feature map and ansatz.
    observables
        One output each.
    input_params, weight_params
        All of the circuit's parameters, as inputs of the module and as trained weights.
    cuts, labels, max_width, plan, joint_cuts, mode, shots, num_samples, tasks, seed
        As in `pilotcut.CutEstimator`; `shots` defaults to 1024 where the mode has shots.
    initial_weights
        (weights,) in radians; default uniform in [-pi, pi] by `seed`.

    Returns
    -------
    CutQNN
        Inputs (batch, inputs) or (inputs,), outputs (batch, observables) or (observables,).

    Raises
    ------
    UserError
        If the circuit cannot be cut as asked, or the parameters do not match.

    Examples
    --------
    >>> angle, weight = Parameter("x"), Parameter("w")
    >>> circuit = QuantumCircuit(2); _ = circuit.rx(angle, 0); _ = circuit.cx(0, 1)
    >>> _ = circuit.ry(weight, 1)
    >>> qnn = cut_qnn(circuit, "ZI", input_params=[angle], weight_params=[weight], labels="AB",
    ...               initial_weights=[0.0])
    >>> round(float(qnn(torch.tensor([[0.0]]))), 6)
    1.0
    """
    estimator = CutEstimator(
        tasks,
        cuts=cuts,
        labels=labels,
        max_width=max_width,
        plan=plan,
        joint_cuts=joint_cuts,
        mode=mode,
        shots=1024 if shots is None else shots,
        num_samples=num_samples,
        seed=seed,
    )
    many = isinstance(observables, (list, tuple))
    sums = [SparsePauliOp(o) for o in (observables if many else [observables])]
    start = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(weight_params))
    weights = start if initial_weights is None else np.asarray(initial_weights, dtype=float)
    return CutQNN(estimator, circuit, sums, input_params, weight_params, weights)


class CutQNN(torch.nn.Module):
    """Expectation values of a cut circuit as a differentiable function; see `cut_qnn`.

    Attributes
    ----------
    weights
        The trained parameters, (weights,).
    estimator
        The estimator behind it, with its trace and stage times.
    """

    def __init__(
        self,
        estimator: CutEstimator,
        circuit: QuantumCircuit,
        observables: Sequence[SparsePauliOp],
        input_params: Sequence[Parameter],
        weight_params: Sequence[Parameter],
        initial_weights: np.ndarray,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        _, self._binding = read_circuit(circuit)
        self._compiled = estimator.compile_for(circuit, list(observables))
        self._coefficients, self._constant = _as_terms(
            observables, self._compiled.plan.terms.to_labels()
        )
        self._order = _order(self._binding.names, input_params, weight_params)
        self._inputs = len(input_params)
        if initial_weights.shape != (len(weight_params),):
            raise ParameterValueError(
                f"initial_weights have shape {initial_weights.shape}, expected "
                f"({len(weight_params)},): one number a weight"
            )
        dtype = torch.get_default_dtype()
        self.weights = torch.nn.Parameter(torch.tensor(initial_weights, dtype=dtype))

    @property
    def plan(self) -> CutPlan:
        """The compiled plan."""
        return self._compiled.plan

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return expectation values (batch, observables) for inputs (batch, inputs)."""
        batch = inputs.reshape(-1, self._inputs) if inputs.ndim == 1 else inputs
        if batch.ndim != 2 or batch.shape[1] != self._inputs:
            raise ParameterValueError(
                f"inputs have shape {tuple(inputs.shape)}, expected (batch, {self._inputs})"
            )
        values: torch.Tensor = _Evaluate.apply(batch, self.weights, self)  # type: ignore[no-untyped-call]
        return values[0] if inputs.ndim == 1 else values

    def slots(self, inputs: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return parameter values (batch, parameters) and slot values (batch, slots)."""
        both = np.hstack([inputs, np.repeat(weights[None], len(inputs), axis=0)])
        values = both[:, self._order]
        return values, self._binding.slots(values)

    def evaluate(
        self, slots: np.ndarray, keep: bool
    ) -> tuple[np.ndarray, Evaluation | RowEvaluations]:
        """Return outputs (batch, observables) and what the backward pass needs of them."""
        estimator = self.estimator
        evaluation = estimator.evaluate(self._compiled, slots, keep=keep)
        return evaluation.values @ self._coefficients.T + self._constant, evaluation

    def pull_back(
        self,
        evaluation: Evaluation | RowEvaluations,
        values: np.ndarray,
        slots: np.ndarray,
        cotangent: np.ndarray,
        inputs_too: bool,
    ) -> np.ndarray:
        """Return the vector-Jacobian product (batch, inputs + weights).

        Parameters
        ----------
        evaluation, values, slots
            Of the forward pass.
        cotangent
            (batch, observables).
        inputs_too
            Whether derivatives by the inputs are wanted; else they are zero.
        """
        jacobian = self._binding.jacobian(values)
        wanted_parameters = np.array(self._order) >= (0 if inputs_too else self._inputs)
        wanted = np.flatnonzero(jacobian[:, :, wanted_parameters].any(axis=(0, 2)))
        weights = (cotangent @ self._coefficients)[:, None, :]
        derivative = SlotDerivative(self.estimator).of(
            evaluation, slots, weights, set(wanted.tolist())
        )
        by_parameter = np.einsum("bs,bsp->bp", derivative[:, 0], jacobian)
        result = np.zeros((len(values), len(self._order)))
        result[:, self._order] = np.where(wanted_parameters, by_parameter, 0.0)
        return result

    @property
    def num_inputs(self) -> int:
        """Number of inputs of one sample."""
        return self._inputs


class _Evaluate(torch.autograd.Function):
    """Forward: evaluate the batch. Backward: environments, then each fragment's pull-back."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, inputs: torch.Tensor, weights: torch.Tensor, qnn: CutQNN
    ) -> torch.Tensor:
        values, slots = qnn.slots(_array(inputs), _array(weights))
        outputs, evaluation = qnn.evaluate(slots, keep=any(ctx.needs_input_grad))
        ctx.kept = (qnn, evaluation, values, slots)
        return torch.as_tensor(outputs, dtype=weights.dtype, device=weights.device)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        qnn, evaluation, values, slots = ctx.kept
        inputs_too = ctx.needs_input_grad[0]
        pulled = qnn.pull_back(evaluation, values, slots, _array(cotangent), inputs_too)
        back = torch.as_tensor(pulled, dtype=cotangent.dtype, device=cotangent.device)
        by_input, by_weight = back[:, : qnn.num_inputs], back[:, qnn.num_inputs :]
        return (by_input if inputs_too else None), by_weight.sum(dim=0), None


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(float)


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


def _order(
    names: Sequence[str], inputs: Sequence[Parameter], weights: Sequence[Parameter]
) -> list[int]:
    """Return for each of the circuit's parameters its place among inputs and weights."""
    given = [p.name for p in (*inputs, *weights)]
    missing = sorted(set(names) - set(given))
    unknown = sorted(set(given) - set(names))
    if missing or unknown or len(set(given)) != len(given):
        raise UserError(
            f"input_params and weight_params name {len(given)} parameters, expected each of the "
            f"circuit's {len(names)} once; missing: {', '.join(missing) or 'none'}, unknown: "
            f"{', '.join(unknown) or 'none'}"
        )
    return [given.index(name) for name in names]
