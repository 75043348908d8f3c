"""A cut circuit as a torch module, differentiable through the contraction."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut.circuits.observables import Observables, pauli_sums
from pilotcut.circuits.program import check_circuit, read_circuit
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import ParameterValueError, UserError
from pilotcut.execution.results import Evaluation, RowEvaluations
from pilotcut.primitives.derivative import HigherDerivative, SlotDerivative
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.tasks import TaskManager

#: Parameters of a circuit, in the order of their values.
Parameters: TypeAlias = ParameterVector | Iterable[Parameter | str] | Parameter | str


def cut_qnn(
    circuit: QuantumCircuit,
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
        The whole circuit, feature map and ansatz.
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
        `auto`, `joint_cuts`, `backend`, `error_tolerance`, `shot_allocation`, `num_samples`,
        `reconstruction`, `store`, `trace`.

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

    Everything is computed in float64 and comes back as the inputs' dtype, and on their device;
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
        program, self._binding = read_circuit(circuit)
        sums = [o.simplify(atol=0, rtol=0) for o in observables]
        measured = {p for o in sums for p in o.paulis.to_labels() if p.strip("I")}
        terms = sorted(measured) or ["I" * circuit.num_qubits]
        self._compiled = estimator.compile(program, self._binding, terms)
        self._coefficients, self._constant = _as_terms(sums, terms)
        self._order = _order(self._binding.names, input_params, weight_params)
        self._inputs = len(input_params)
        dtype = torch.get_default_dtype()
        self.weights = torch.nn.Parameter(torch.tensor(initial_weights, dtype=dtype))

    @property
    def plan(self) -> CutPlan:
        """The compiled plan."""
        return self._compiled.plan

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
        shape = given.shape[:-1]
        rows = given.reshape(prod(shape), self._inputs).to("cpu", torch.float64)
        weights = self.weights.to("cpu", torch.float64).expand(len(rows), -1)
        keep = torch.is_grad_enabled() and (rows.requires_grad or weights.requires_grad)
        values: torch.Tensor = _Values.apply(rows, weights, _Call(self, keep))  # type: ignore[no-untyped-call]
        dtype = given.dtype if given.dtype.is_floating_point else self.weights.dtype
        return values.reshape(*shape, len(self._constant)).to(given.device, dtype)

    def _checked(self, inputs: torch.Tensor | None) -> torch.Tensor:
        expected = f"expected (batch, {self._inputs}), or ({self._inputs},) for one sample"
        if self.weights.is_complex():
            raise ParameterValueError(
                f"weights are {self.weights.dtype}, expected real numbers: angles are real"
            )
        number = len(self._order) - self._inputs
        if self.weights.shape != (number,):
            raise ParameterValueError(
                f"weights have shape {tuple(self.weights.shape)}, expected ({number},)"
            )
        if inputs is None:
            if self._inputs:
                raise ParameterValueError(
                    f"inputs are None, {expected}: the circuit has {self._inputs} inputs"
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

    # -- numbers -------------------------------------------------------------------

    def slots(self, values: np.ndarray) -> np.ndarray:
        """Return slot values (rows, slots) for values (rows, inputs + weights)."""
        return self._binding.slots(values[:, self._order])

    def evaluate(
        self, slots: np.ndarray, keep: bool
    ) -> tuple[np.ndarray, Evaluation | RowEvaluations]:
        """Return outputs (rows, observables) and what the backward pass needs of them.

        With `keep`, what derivatives need is kept where that is possible.
        """
        outputs = (self._coefficients, self._constant)
        evaluation = self.estimator.runner.estimate(self._compiled, slots, outputs, keep=keep)
        return evaluation.values @ self._coefficients.T + self._constant, evaluation

    def pull_back(
        self,
        evaluation: Evaluation | RowEvaluations,
        values: np.ndarray,
        slots: np.ndarray,
        cotangents: np.ndarray,
        wanted: np.ndarray,
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
        """
        own = wanted[self._order]
        jacobian = self._binding.jacobian(values[:, self._order], own)
        used = np.flatnonzero(jacobian[:, :, own].any(axis=(0, 2)))
        weights = cotangents @ self._coefficients
        derivative = SlotDerivative(self.estimator.runner)
        by_slot = derivative.of(evaluation, slots, weights, set(used.tolist()))
        result = np.zeros((*cotangents.shape[:2], len(wanted)))
        result[:, :, self._order] = by_slot @ jacobian
        return np.where(wanted, result, 0.0)

    def differentiate(
        self,
        values: np.ndarray,
        weights: np.ndarray,
        directions: Sequence[np.ndarray],
        by_parameters: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives beyond the first in exact mode; see `HigherDerivative.of`.

        `values`, `directions` and the derivatives by them are (rows, inputs + weights).
        """
        higher = HigherDerivative(
            self.estimator.runner, self._compiled, self._binding, self._coefficients
        )
        own = [u[:, self._order] for u in directions]
        found, by_weights = higher.of(values[:, self._order], weights, own, by_parameters)
        by_values = np.zeros_like(values)
        by_values[:, self._order] = found
        return by_values, by_weights


class _Call:
    """One call of a module, in numbers: its outputs and all derivatives, row by row.

    Rows may come back several times over, as `torch.func.vmap` stacks them.
    """

    def __init__(self, qnn: CutQNN, keep: bool) -> None:
        self._qnn, self._keep = qnn, keep
        self._values = self._slots = np.empty((0, 0))
        self._evaluation: Evaluation | RowEvaluations | None = None
        self._moved: tuple[np.ndarray, ...] = ()  # where, along what, and how outputs move

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return len(self._qnn._constant)

    def value(self, values: np.ndarray) -> np.ndarray:
        """Return outputs (rows, outputs) for values (rows, parameters)."""
        if not len(values):
            return np.zeros((0, self.outputs))
        slots = self._qnn.slots(values)
        found, self._evaluation = self._qnn.evaluate(slots, self._keep)
        self._values, self._slots = values, slots
        return found

    def gradient(
        self, values: np.ndarray, weights: np.ndarray, wanted: Sequence[bool]
    ) -> np.ndarray:
        """Return d sum_o c_o f_o for weights (rows, outputs), (rows, parameters)."""
        if not len(values):
            return np.zeros_like(values)
        copies = self._copies(values)
        stacked = weights.reshape(copies, -1, self.outputs).transpose(1, 0, 2)
        found = self._pull_back(stacked, wanted)
        return found.transpose(1, 0, 2).reshape(values.shape)

    def along(self, values: np.ndarray, directions: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``D^m f_o[u_1, ..., u_m]`` of each output, (rows, outputs)."""
        if not len(values):
            return np.zeros((0, self.outputs))
        if self._moved and _same(self._moved[:-1], (values, *directions)):
            return self._moved[-1]
        if len(directions) > 1:
            self._check_exact()
            ones = np.ones((len(values), self.outputs))
            return self._qnn.differentiate(values, ones, directions, False)[1]
        copies = self._copies(values)
        rows = len(self._values)
        every = np.broadcast_to(np.eye(self.outputs), (rows, self.outputs, self.outputs))
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
        found, moved = self._qnn.differentiate(values, weights, directions, True)
        self._moved = (values, *directions, moved)  # asked for next, and known already
        return found

    def _pull_back(self, weights: np.ndarray, wanted: Sequence[bool]) -> np.ndarray:
        assert self._evaluation is not None
        known = (self._evaluation, self._values, self._slots)
        return self._qnn.pull_back(*known, weights, np.asarray(wanted))

    def _copies(self, values: np.ndarray) -> int:
        """Return how often the known rows stand in `values`, which are evaluated if they do not."""
        known = self._values
        if len(known) and len(values) % len(known) == 0:
            stacked = values.reshape(-1, *known.shape)
            if (stacked == known).all():
                return len(stacked)
        self.value(values)
        return 1

    def _check_exact(self) -> None:
        mode = self._qnn.estimator.mode
        if mode != "exact":
            raise UserError(
                f"a second derivative is asked for in mode '{mode}', expected mode='exact': shots "
                f"give first derivatives only; use exact mode, or a loss without derivatives of "
                f"outputs"
            )


# -- torch -------------------------------------------------------------------------------
#
# Two families of functions of the values v (rows, parameters) are closed under differentiation,
# forwards and backwards, to any order:
#
#     along     F(v; u_1 ... u_m)      = D^m f(v)[u_1, ..., u_m]               (rows, outputs)
#     gradient  G(v; c; u_1 ... u_m)   = d/dv sum_o c_o D^m f_o(v)[u_1 ... u_m]  (rows, parameters)
#
# Both are linear in c and each u, and each row is for itself.


class _Values(torch.autograd.Function):
    """f(v), with v in two parts: inputs and weights, (rows, ...) each."""

    @staticmethod
    def forward(inputs: torch.Tensor, weights: torch.Tensor, call: _Call) -> torch.Tensor:
        return _tensor(call.value(_array(torch.cat([inputs, weights], dim=1))))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        *parts, ctx.call = inputs
        _save(ctx, parts)

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        inputs, weights = ctx.saved_tensors
        size = (inputs.shape[1], weights.shape[1])
        needed = ctx.needs_input_grad[:2]
        wanted = [need for need, n in zip(needed, size, strict=True) for _ in range(n)]
        values = torch.cat([inputs, weights], dim=1)
        slopes = _gradient(values, cotangent, ctx.call, wanted).split(size, dim=1)
        return (*(s if need else None for s, need in zip(slopes, needed, strict=True)), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # type: ignore[override]
        _check_one_forward()
        parts = ctx.saved_tensors
        steps = [
            torch.zeros_like(part) if step is None else step
            for part, step in zip(parts, tangents, strict=False)
        ]
        return _along(torch.cat(parts, dim=1), ctx.call, torch.cat(steps, dim=1))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:  # type: ignore[override]
        return _stacked(_Values, info, in_dims, args)


class _Gradient(torch.autograd.Function):
    """G(v; c; u_1 ... u_m); `wanted` parameters only, where m is 0."""

    @staticmethod
    def forward(
        values: torch.Tensor,
        weights: torch.Tensor,
        call: _Call,
        wanted: Sequence[bool],
        *directions: torch.Tensor,
    ) -> torch.Tensor:
        v, c, u = _array(values), _array(weights), [_array(one) for one in directions]
        return _tensor(call.curvature(v, c, u) if u else call.gradient(v, c, wanted))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        values, weights, ctx.call, ctx.wanted, *directions = inputs
        _save(ctx, [values, weights, *directions])

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        values, weights, *directions = ctx.saved_tensors
        needs = ctx.needs_input_grad
        by_values = by_weights = None
        if _is_pulled_by_values(ctx):
            by_values = _gradient(values, weights, ctx.call, None, *directions, cotangent)
        if needs[1]:
            by_weights = _along(values, ctx.call, *directions, cotangent)
        others = [
            _gradient(values, weights, ctx.call, None, *_with(directions, k, cotangent))
            if needs[4 + k]
            else None
            for k in range(len(directions))
        ]
        return (by_values, by_weights, None, None, *others)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # type: ignore[override]
        _check_one_forward()
        values, weights, *directions = ctx.saved_tensors
        step, turn, _, _, *turns = tangents
        moved = []
        if step is not None:
            moved.append(_gradient(values, weights, ctx.call, None, *directions, step))
        if turn is not None:
            moved.append(_gradient(values, turn, ctx.call, ctx.wanted, *directions))
        for k, one in enumerate(turns):
            if one is not None:
                turned = _with(directions, k, one)
                moved.append(_gradient(values, weights, ctx.call, None, *turned))
        return sum(moved)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:  # type: ignore[override]
        return _stacked(_Gradient, info, in_dims, args)


class _Along(torch.autograd.Function):
    """F(v; u_1 ... u_m), m at least 1."""

    @staticmethod
    def forward(values: torch.Tensor, call: _Call, *directions: torch.Tensor) -> torch.Tensor:
        return _tensor(call.along(_array(values), [_array(one) for one in directions]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        values, ctx.call, *directions = inputs
        _save(ctx, [values, *directions])

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        values, *directions = ctx.saved_tensors
        needs = ctx.needs_input_grad
        by_values = None
        if _is_pulled_by_values(ctx):
            by_values = _gradient(values, cotangent, ctx.call, None, *directions)
        others = [
            _gradient(values, cotangent, ctx.call, None, *directions[:k], *directions[k + 1 :])
            if needs[2 + k]
            else None
            for k in range(len(directions))
        ]
        return (by_values, None, *others)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # type: ignore[override]
        _check_one_forward()
        values, *directions = ctx.saved_tensors
        step, _, *turns = tangents
        moved = []
        if step is not None:
            moved.append(_along(values, ctx.call, *directions, step))
        for k, one in enumerate(turns):
            if one is not None:
                moved.append(_along(values, ctx.call, *_with(directions, k, one)))
        return sum(moved)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:  # type: ignore[override]
        return _stacked(_Along, info, in_dims, args)


for _function in (_Values, _Gradient, _Along):  # torch asks at every call, and asking takes 0.1 ms
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[union-attr]


def _gradient(
    values: torch.Tensor,
    weights: torch.Tensor,
    call: _Call,
    wanted: Sequence[bool] | None,
    *directions: torch.Tensor,
) -> torch.Tensor:
    every = [True] * values.shape[1] if wanted is None else wanted
    return _Gradient.apply(values, weights, call, every, *directions)  # type: ignore[no-untyped-call]


def _along(values: torch.Tensor, call: _Call, *directions: torch.Tensor) -> torch.Tensor:
    return _Along.apply(values, call, *directions)  # type: ignore[no-untyped-call]


def _is_pulled_by_values(ctx: Any) -> bool:
    """Return whether the backward pass that runs goes on by a function's values, its first input.

    `needs_input_grad` knows only that they have a gradient. `torch.autograd.functional.hvp` asks
    a second derivative for its gradient by a cotangent alone, and one by the values too would be
    of third order.
    """
    if not ctx.needs_input_grad[0]:
        return False
    try:
        node = ctx.next_functions[0][0]
        return bool(torch._C._will_engine_execute_node(node))  # type: ignore[attr-defined]
    except (AttributeError, IndexError, RuntimeError, TypeError):  # leaves, and torch.func's own
        return True


def _with(directions: Sequence[torch.Tensor], k: int, one: torch.Tensor) -> list[torch.Tensor]:
    return [*directions[:k], one, *directions[k + 1 :]]


def _save(ctx: Any, tensors: Sequence[torch.Tensor]) -> None:
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _stacked(
    function: type[torch.autograd.Function],
    info: Any,
    in_dims: tuple[Any, ...],
    args: Sequence[Any],
) -> tuple[torch.Tensor, int]:
    """Apply a function of rows to batches of rows: they are more rows."""
    size = info.batch_size
    tall = []
    for arg, dim in zip(args, in_dims, strict=True):
        if isinstance(arg, torch.Tensor):
            batched = arg.expand(size, *arg.shape) if dim is None else arg.movedim(dim, 0)
            arg = batched.reshape(size * batched.shape[1], batched.shape[2])
        tall.append(arg)
    found: torch.Tensor = function.apply(*tall)  # type: ignore[no-untyped-call]
    return found.reshape(size, -1 if found.numel() else 0, found.shape[1]), 0


def _check_one_forward() -> None:
    """Raise UserError inside a forward-mode derivative of another one.

    torch (2.13) switches forward mode off while a function's own `jvp` runs, the outer one's too,
    and what that would have found is zero in silence.
    """
    stack = torch._C._functorch.get_interpreter_stack() or []
    if sum(level.key() == torch._C._functorch.TransformType.Jvp for level in stack) > 1:
        raise UserError(
            "a forward-mode derivative of a forward-mode derivative is asked for, expected one at "
            "most; take the others by torch.func.jacrev or grad: hessian is jacfwd(jacrev(f))"
        )


def _is_traced() -> bool:
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    tracer = sys.modules.get("torch.fx.experimental.proxy_tensor")  # a second's import
    return tracer is not None and tracer.get_proxy_mode() is not None


def _array(tensor: torch.Tensor) -> np.ndarray:
    if _is_traced():
        raise UserError(
            "the network is traced, expected to be called: a trace would keep this call's numbers "
            "as constants; use torch.func.jvp in place of linearize, and save weights by "
            "state_dict"
        )
    try:
        return tensor.detach().cpu().numpy().astype(float)
    except RuntimeError as error:  # of torch's first vmap, which knows no functions but its own
        raise UserError(
            f"derivatives are asked for in a way that shows no numbers ({error}), expected "
            f"torch.func (vmap, jacrev, jacfwd, hessian) or torch.autograd one by one; leave "
            f"vectorize and is_grads_batched out"
        ) from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64)


def _same(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b) for a, b in zip(some, others, strict=True)
    )


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


def _order(names: Sequence[str], inputs: Sequence[str], weights: Sequence[str]) -> list[int]:
    """Return for each of the circuit's parameters its place among inputs and weights."""
    given = [*inputs, *weights]
    missing = sorted(set(names) - set(given))
    unknown = sorted(set(given) - set(names))
    if missing or unknown or len(set(given)) != len(given):
        raise UserError(
            f"input_params and weight_params name {len(given)} parameters, expected each of the "
            f"circuit's {len(names)} once; missing: {', '.join(missing) or 'none'}, unknown: "
            f"{', '.join(unknown) or 'none'}"
        )
    return [given.index(name) for name in names]
