"""torch.autograd functions of a cut circuit, closed under differentiation to any order.

Owns torch's rules: forward and backward mode, `torch.func` and `vmap`. Refuses to know circuits:
what is evaluated is a `FunctionCall`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from pilotcut.errors import UserError
from pilotcut.primitives.circuit_function import FunctionCall


def outputs_of(call: FunctionCall, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return outputs (rows, outputs), differentiable by inputs and weights, (rows, ...) each."""
    outputs: torch.Tensor = _Values.apply(inputs, weights, call)  # type: ignore[no-untyped-call]
    return outputs


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
    def forward(inputs: torch.Tensor, weights: torch.Tensor, call: FunctionCall) -> torch.Tensor:
        return _tensor(call.value(_array(inputs, weights)))

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
        if _is_last():
            at, along = _array(inputs, weights), _array(cotangent)
            # Of weights that are one row, expanded, torch takes the sum over rows.
            summed = weights.stride(0) == 0 and not needed[0]
            slopes = _tensor(ctx.call.gradient(at, along, wanted, summed))
        else:
            values = torch.cat([inputs, weights], dim=1)
            slopes = _gradient(values, cotangent, ctx.call, wanted)
        parts = slopes.split(size, dim=1)
        return (*(s if need else None for s, need in zip(parts, needed, strict=True)), None)

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
        call: FunctionCall,
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
    def forward(
        values: torch.Tensor, call: FunctionCall, *directions: torch.Tensor
    ) -> torch.Tensor:
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


class _AllGiven(inspect.Signature):
    """Signature of a function that is called with all of its arguments, by position.

    torch binds them at every call of a function, for its defaults, which took as long as all else
    that it does.
    """

    def bind(self, *args: Any, **_: Any) -> Any:
        return SimpleNamespace(args=args, kwargs={}, apply_defaults=lambda: None)


for _function in (_Values, _Gradient, _Along):
    _function.forward.__signature__ = _AllGiven()  # type: ignore[union-attr]


def _gradient(
    values: torch.Tensor,
    weights: torch.Tensor,
    call: FunctionCall,
    wanted: Sequence[bool] | None,
    *directions: torch.Tensor,
) -> torch.Tensor:
    every = [True] * values.shape[1] if wanted is None else wanted
    return _Gradient.apply(values, weights, call, every, *directions)  # type: ignore[no-untyped-call]


def _along(values: torch.Tensor, call: FunctionCall, *directions: torch.Tensor) -> torch.Tensor:
    return _Along.apply(values, call, *directions)  # type: ignore[no-untyped-call]


def _is_last() -> bool:
    """Return whether no derivative of what is computed now can be asked for.

    Then it need be no function of torch's, of which a call takes 40 us.
    """
    return not (
        torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0  # type: ignore[attr-defined]
    )


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
    # Issue 197867 of pytorch/pytorch is its like. findings/torch-jvp-of-jvp-is-zero.sh fails once
    # torch does it right; then this check can go.
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


def _array(*parts: torch.Tensor) -> np.ndarray:
    """Return tensors (rows, ...) side by side, as an array of its own."""
    if _is_traced():
        raise UserError(
            "the network is traced, expected to be called: a trace would keep this call's numbers "
            "as constants; use torch.func.jvp in place of linearize, and save weights by "
            "state_dict"
        )
    try:
        return np.concatenate([part.detach().cpu().numpy() for part in parts], axis=1, dtype=float)
    except RuntimeError as error:  # of torch's first vmap, which knows no functions but its own
        raise UserError(
            f"derivatives are asked for in a way that shows no numbers ({error}), expected "
            f"torch.func (vmap, jacrev, jacfwd, hessian) or torch.autograd one by one; leave "
            f"vectorize and is_grads_batched out"
        ) from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=float))
