"""Execution of a statevector plan in torch, recorded by autograd: all states of a batch.

Torch differentiates through it as often as one likes, and keeps every state for that; first
derivatives of pure states are taken in `pilotcut.backends.statevector_adjoint`, which does not.
Refuses to know of memory limits, threads and caches, which are the engine's
(`pilotcut.backends.statevector`).
"""

from __future__ import annotations

from math import prod

import torch

from pilotcut.backends.statevector_gram import GramMatrices, GramProduct
from pilotcut.backends.statevector_matrices import OperationMatrices
from pilotcut.backends.statevector_plan import StatevectorPlan, TensorOperation


class Schedule:
    """A planned fragment with its constants on a device."""

    def __init__(self, plan: StatevectorPlan, device: torch.device, dtype: torch.dtype) -> None:
        self.plan = plan
        self._eye = torch.eye(2, dtype=dtype, device=device)
        self._matrices = OperationMatrices(plan, device, dtype)
        self._grams = [
            GramMatrices(plan, group, axes, device, dtype) for group, axes in plan.axes.items()
        ]
        self._outer = GramProduct(plan.fragment, [gram.sites for gram in self._grams])

    def run(self, angles: torch.Tensor) -> torch.Tensor:
        """Return the tensor (rows, observables, *R^2) for angles (rows, angles)."""
        states = self.states(angles)
        grams = [
            gram(states[group]) for group, gram in zip(self.plan.axes, self._grams, strict=True)
        ]
        return self._outer(grams)

    def states(self, angles: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the final state of each group, (rows, *axes of the plan).

        Of a group that is a density matrix the axes stand twice, for ket and bra.
        """
        rows = len(angles)
        matrices = self._matrices(angles)
        states: dict[int, torch.Tensor] = {}
        for number, operation in enumerate(self.plan.operations):
            group = operation.group
            if operation.kind == "apply":
                states[group] = _applied(operation, matrices[number], states[group])
            elif operation.kind == "join":
                a, b = (states.pop(k) for k in operation.sources)
                states[group] = _joined(a, b, operation.mixed)
            elif operation.kind == "mix":
                states[group] = _mixed(operation, states[group])
            elif operation.kind == "trace":
                states[group] = _traced(operation, states[group])
            else:
                # A wire behind a cut has its branches |r> as states, which are the rows of the
                # identity.
                fresh = self._eye if operation.kind == "open" else self._eye[0]
                states[group] = fresh.expand(rows, *fresh.shape)
        return states


def _applied(operation: TensorOperation, matrix: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return M phi, or M rho M^dagger."""
    if not operation.mixed:
        return _product(operation, matrix, state)
    # The bras are the kets of the adjoint: one product serves both sides.
    kets = len(operation.shape)
    half = _adjoint(_product(operation, matrix, state), kets)
    return _adjoint(_product(operation, matrix, half), kets)


def _adjoint(rho: torch.Tensor, kets: int) -> torch.Tensor:
    """Return the adjoint of matrices (rows, *kets, *bras)."""
    return rho.conj().permute(0, *range(kets + 1, rho.ndim), *range(1, kets + 1))


def _product(operation: TensorOperation, matrix: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return the product with the first axes of a state, what is behind them left alone."""
    count = len(operation.order)
    behind = range(count + 1, state.ndim)
    front = state.permute(0, *(k + 1 for k in operation.order), *behind)
    flat = matrix @ front.reshape(len(state), matrix.shape[-1], -1)
    return flat.reshape(len(state), *operation.shape, *state.shape[count + 1 :])


def _joined(a: torch.Tensor, b: torch.Tensor, mixed: bool) -> torch.Tensor:
    """Return the product state of two groups."""
    rows = len(a)
    outer = a.reshape(rows, -1, 1) * b.reshape(rows, 1, -1)
    outer = outer.reshape(rows, *a.shape[1:], *b.shape[1:])
    if not mixed:
        return outer
    # Kets of both before bras of both.
    m, n = (a.ndim - 1) // 2, (b.ndim - 1) // 2
    axes = list(range(1, outer.ndim))
    order = axes[:m] + axes[2 * m : 2 * m + n] + axes[m : 2 * m] + axes[2 * m + n :]
    return outer.permute(0, *order)


def _mixed(operation: TensorOperation, state: torch.Tensor) -> torch.Tensor:
    """Return the density matrix of some of a state's axes."""
    rows, shape = len(state), operation.shape
    flat = state.permute(0, *(k + 1 for k in operation.order)).reshape(rows, prod(shape), -1)
    return (flat @ flat.mH).reshape(rows, *shape, *shape)


def _traced(operation: TensorOperation, rho: torch.Tensor) -> torch.Tensor:
    """Return a density matrix without some of its axes."""
    for gone in sorted(operation.order, reverse=True):
        half = (rho.ndim - 1) // 2
        rho = rho.diagonal(dim1=1 + gone, dim2=1 + half + gone).sum(-1)
    return rho
