"""Sampling overhead as a torch function of parameter values; see `log_overhead`.

Apart from it, since plans are made where torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pilotcut.circuits.binding import Binding
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.log_overhead import log_overhead_of, rows_of, slope_of
from pilotcut.errors import UserError


def differentiable(bonds: Sequence[Bond], binding: Binding, values: torch.Tensor) -> torch.Tensor:
    """Return log gamma^2 (...) for values (..., parameters), with a first derivative."""
    found: torch.Tensor = _LogOverhead.apply(values, bonds, binding)  # type: ignore[no-untyped-call]
    return found


class _LogOverhead(torch.autograd.Function):
    """Computed in float64, and returned as the values' dtype."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, bonds: Sequence[Bond], binding: Binding
    ) -> torch.Tensor:
        rows, shape = rows_of(_array(values), binding)
        ctx.bonds, ctx.binding = bonds, binding
        ctx.save_for_backward(values)
        return _like(values, log_overhead_of(bonds, binding.slots(rows)).reshape(shape))

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor) -> Any:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        return _Slope.apply(values, cotangent, ctx.bonds, ctx.binding), None, None  # type: ignore[no-untyped-call]


class _Slope(torch.autograd.Function):
    """Its first derivative times a cotangent; a function, so that a second one is refused."""

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        cotangent: torch.Tensor,
        bonds: Sequence[Bond],
        binding: Binding,
    ) -> torch.Tensor:
        rows, shape = rows_of(_array(values), binding)
        by_slots = slope_of(bonds, binding.slots(rows))
        slopes = np.einsum("bs,bsp->bp", by_slots, binding.jacobian(rows))
        slopes *= _array(cotangent).reshape(-1, 1)
        return _like(cotangent, slopes.reshape(*shape, -1))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise UserError(
            "a second derivative of log_overhead is asked for, expected the first at most: it is "
            "made of absolute values; take it out of what is differentiated twice"
        )


def _array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.is_complex():
        return tensor.detach().cpu().numpy()  # refused by `rows_of`
    return tensor.detach().to("cpu", torch.float64).numpy()


def _like(tensor: torch.Tensor, array: np.ndarray) -> torch.Tensor:
    dtype = tensor.dtype if tensor.dtype.is_floating_point else torch.get_default_dtype()
    return torch.as_tensor(array).to(tensor.device, dtype)
