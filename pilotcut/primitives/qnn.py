"""A cut circuit as a torch module, differentiable through the contraction.

Owns the module's arguments: parameters, weights and inputs. Refuses to know how outputs and
derivatives are computed, see `pilotcut.primitives.circuit_function`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut.circuits.observables import Observables, pauli_sums
from pilotcut.circuits.program import check_circuit
from pilotcut.circuits.reader import load_circuit
from pilotcut.cutting.log_overhead_torch import differentiable
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import ParameterValueError, UserError
from pilotcut.options import counted
from pilotcut.primitives.circuit_function import FunctionCall, function_of
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.torch_function import outputs_of
from pilotcut.tasks import TaskManager

#: Parameters of a circuit, in the order of their values.
Parameters: TypeAlias = ParameterVector | Iterable[Parameter | str] | Parameter | str


def cut_qnn(
    circuit: QuantumCircuit | str | os.PathLike[str],
    observables: Observables | None,
    *,
    input_params: Parameters | None = None,
    weight_params: Parameters | None = None,
    tasks: TaskManager | None = None,
    mode: str = "exact",
    shots: int | None = None,
    seed: int | None = None,
    initial_weights: Sequence[float] | np.ndarray | torch.Tensor | None = None,
    **options: Any,
) -> CutQNN:
    """Return a torch module that evaluates a cut circuit, ready to train.

    Parameters
    ----------
    circuit
        The whole circuit, feature map and ansatz; or a file of it in OpenQASM or QPY, as
        ``pilotcut.circuits.reader.load_circuit`` reads them. PennyLane's tapes are made circuits by
        ``pilotcut.primitives.pennylane.tapes.from_tape``.
    observables
        One output each: Pauli strings, sums of them, or what else `CutEstimator` takes. A list or
        a `PauliList` is several outputs; None is Z on every qubit.
    input_params, weight_params
        All of the circuit's parameters, or their names, as inputs of the module and as trained
        weights. None or empty for none.
    tasks, mode, seed
        As in `pilotcut.CutEstimator`, with "exact" as the default mode.
    shots
        As there; 1024 by default where the mode has shots.
    initial_weights
        (weights,) in radians; default uniform in [-pi, pi] by `seed`.
    options
        All other options of `pilotcut.CutEstimator`: `cuts`, `labels`, `max_width`, `plan`,
        `auto`, `joint_cuts`, `wires`, `engine`, `dtype`, `backend`, `error_tolerance`,
        `mitigation`, `shot_allocation`, `num_samples`, `reconstruction`, `max_seconds`,
        `max_usage`, `store`, `trace`.

    Returns
    -------
    CutQNN
        Inputs (..., inputs), outputs (..., observables).

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
    number = 1024 if shots is None else shots
    estimator = CutEstimator(tasks, mode=mode, shots=number, seed=seed, **options)
    if isinstance(circuit, (str, os.PathLike)):
        circuit = load_circuit(Path(circuit))
    check_circuit(circuit)
    asked = "Z" * circuit.num_qubits if observables is None else observables
    inputs, weights = _names(input_params, "input_params"), _names(weight_params, "weight_params")
    start = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(weights))
    if initial_weights is not None:
        start = _initial(initial_weights, len(weights))
    sums = pauli_sums(asked, circuit.num_qubits)
    return CutQNN(estimator, circuit, sums, inputs, weights, start)


class CutQNN(torch.nn.Module):
    """Expectation values of a cut circuit as a differentiable function; see `cut_qnn`.

    Angles and outputs are float64, come back as the inputs' dtype, and on their device;
    of inputs that are whole numbers as the weights'. In exact mode derivatives of any order can
    be taken, by `torch.autograd` and by `torch.func`; of angles that are not linear in the
    parameters up to the second. Modes with shots have first derivatives.

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
        input_params: Sequence[str],
        weight_params: Sequence[str],
        initial_weights: np.ndarray,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self._function = function_of(estimator, circuit, observables, input_params, weight_params)
        self._inputs = len(input_params)
        dtype = torch.get_default_dtype()
        self.weights = torch.nn.Parameter(torch.tensor(initial_weights, dtype=dtype))

    @property
    def plan(self) -> CutPlan:
        """The compiled plan."""
        return self._function.contraction.named_plan

    @property
    def num_inputs(self) -> int:
        """Number of inputs of one sample."""
        return self._inputs

    def forward(self, inputs: torch.Tensor | None = None) -> torch.Tensor:
        """Return expectation values (..., observables) for inputs (..., inputs).

        Without inputs (none, or an empty tensor) a circuit that has none is evaluated once.

        Raises
        ------
        ParameterValueError
            If inputs have another shape, are complex or not finite.
        """
        given = self._checked(inputs)
        rows, weights = self._rows(given)
        keep = torch.is_grad_enabled() and (rows.requires_grad or weights.requires_grad)
        values = outputs_of(FunctionCall(self._function, keep), rows, weights)
        shape = (*given.shape[:-1], self._function.num_outputs)
        return values.reshape(shape).to(given.device, self._dtype(given))

    def log_overhead(self, inputs: torch.Tensor | None = None) -> torch.Tensor:
        """Return log gamma^2 of the cuts (...) for inputs (..., inputs), to be held small.

        ``loss + 0.01 * qnn.log_overhead(x).mean()`` keeps the angles of cut gates where few shots
        suffice; gamma^2 is the factor by which shots grow for the same error. It has a first
        derivative, see `CutPlan.log_overhead`.

        Raises
        ------
        ParameterValueError
            As `forward`.
        """
        given = self._checked(inputs)
        values = torch.cat(self._rows(given), dim=1)[:, self._function.order]
        found = differentiable(self.plan.bonds, self._function.binding, values)
        return found.reshape(given.shape[:-1]).to(given.device, self._dtype(given))

    def _rows(self, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and weights in float64, (rows, ...) each."""
        rows = given.reshape(prod(given.shape[:-1]), self._inputs).to("cpu", torch.float64)
        # Expanded and not shared: each row has weights of its own then, rows are independent, which
        # is all that vmap needs, and torch adds up the rows' derivatives by itself.
        return rows, self.weights.to("cpu", torch.float64).expand(len(rows), -1)

    def _dtype(self, given: torch.Tensor) -> torch.dtype:
        return given.dtype if given.dtype.is_floating_point else self.weights.dtype

    def _checked(self, inputs: torch.Tensor | None) -> torch.Tensor:
        expected = f"expected (batch, {self._inputs}), or ({self._inputs},) for one sample"
        if self.weights.is_complex():
            raise ParameterValueError(
                f"weights are {self.weights.dtype}, expected real numbers: angles are real"
            )
        number = self._function.num_parameters - self._inputs
        if self.weights.shape != (number,):
            raise ParameterValueError(
                f"weights have shape {tuple(self.weights.shape)}, expected ({number},)"
            )
        if inputs is None:
            if self._inputs:
                raise ParameterValueError(
                    f"inputs are None, {expected}: the circuit has {counted(self._inputs, 'input')}"
                )
            return self.weights.new_empty(0)
        try:
            given = torch.as_tensor(inputs)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ParameterValueError(
                f"inputs are a {type(inputs).__name__} ({error}), expected a tensor of numbers"
            ) from error
        if given.is_complex() or given.layout is not torch.strided:
            what = given.layout if given.layout is not torch.strided else given.dtype
            raise ParameterValueError(
                f"inputs are {what}, expected a dense tensor of real numbers: angles are real"
            )
        if not given.ndim or given.shape[-1] != self._inputs:
            raise ParameterValueError(f"inputs have shape {tuple(given.shape)}, {expected}")
        return given


def _initial(weights: Sequence[float] | np.ndarray | torch.Tensor, number: int) -> np.ndarray:
    """Return initial weights as an array, (weights,)."""
    try:
        if isinstance(weights, torch.Tensor):
            of_torch = weights.detach().to("cpu")
            weights = (of_torch if of_torch.is_complex() else of_torch.double()).numpy()
        start = np.asarray(weights)
        if np.iscomplexobj(start):
            raise TypeError("complex numbers")
        return _checked_weights(start.astype(float), number)
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise ParameterValueError(
            f"initial_weights are {weights!r:.60} ({error}), expected ({number},) real numbers"
        ) from error


def _checked_weights(start: np.ndarray, number: int) -> np.ndarray:
    if start.shape != (number,):
        raise ParameterValueError(
            f"initial_weights have shape {start.shape}, expected ({number},): one number a weight"
        )
    if not np.isfinite(start).all():
        raise ParameterValueError(
            f"initial_weights hold {start[~np.isfinite(start)][0]}, expected finite numbers"
        )
    return start


def _names(parameters: Parameters | None, option: str) -> list[str]:
    """Return the names of parameters, in their order."""
    if parameters is None:
        return []
    if isinstance(parameters, (Parameter, str)):
        parameters = [parameters]
    if isinstance(parameters, (set, frozenset)):
        raise UserError(f"{option} are a set, which has no order, expected a list")
    if not isinstance(parameters, Iterable):
        raise UserError(
            f"{option} are a {type(parameters).__name__}, expected a list of parameters"
        )
    names = []
    for one in parameters:
        if not isinstance(one, (Parameter, str)):
            raise UserError(
                f"{option} hold {one!r:.60}, expected parameters of the circuit or their names"
            )
        names.append(one if isinstance(one, str) else one.name)
    return names
