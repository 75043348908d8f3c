"""Higher derivatives of an exact plan: its outputs as one torch function of the slots.

Values and first derivatives take the fast way: fragments one by one, on workers, contracted in
numpy. Derivatives beyond the first need what no such step knows alone, how an environment changes
with the angles of other fragments. So here the whole of it, fragments, bond matrices and
contraction along the same path, is one graph, for as many rows as fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pilotcut import backends
from pilotcut.backends.exact import ExactEngine
from pilotcut.backends.statevector import threads_for
from pilotcut.circuits.program import Angle
from pilotcut.cutting.bond import Bond
from pilotcut.errors import CutError
from pilotcut.options import USUAL_ENGINE, EngineOptions
from pilotcut.reconstruction.contraction import Contraction

#: A graph of order n keeps about so many times what the values' own graph keeps, to the n-th
#: power: each derivative works on every state again, forwards and backwards.
GROWTH = 3


@dataclass(frozen=True)
class SlotExpansion:
    """Slot values around a point, as parameters move: exact up to a curvature.

    Parameters
    ----------
    values
        (rows, slots).
    jacobian
        (rows, slots, parameters).
    hessian
        (rows, slots, parameters, parameters), or None where all angles are linear.
    """

    values: np.ndarray
    jacobian: np.ndarray
    hessian: np.ndarray | None

    def at(self, step: torch.Tensor) -> torch.Tensor:
        """Return the slots (rows, slots) after a step (rows, parameters) from the point."""
        moved = torch.as_tensor(self.values) + torch.einsum(
            "bsp,bp->bs", torch.as_tensor(self.jacobian), step
        )
        if self.hessian is not None:
            curvature = torch.as_tensor(self.hessian)
            moved = moved + torch.einsum("bspq,bp,bq->bs", curvature, step, step) / 2
        return moved


@dataclass(frozen=True)
class ExactOutputs:
    """Sums of an exact plan's terms, as a function of its slots.

    Parameters
    ----------
    contraction
        Of the plan, in the coherent basis.
    coefficients
        (outputs, terms).
    engine
        How it computes.
    """

    contraction: Contraction
    coefficients: np.ndarray
    engine: EngineOptions = USUAL_ENGINE

    def __call__(self, slots: torch.Tensor) -> torch.Tensor:
        """Return outputs (rows, outputs) for slots (rows, slots)."""
        plan, engine = self.contraction.plan, backends.exact_engine(self.engine)
        tensors = [
            engine.tensor(f, _angles(f.angles, slots)).to(slots.device) for f in plan.fragments
        ]
        index = torch.as_tensor(self.contraction.term_index)
        nodes = [tensor[:, index[:, f]] for f, tensor in enumerate(tensors)]
        nodes += [_bond(bond, slots)[:, None] for bond in plan.bonds]
        if plan.bonds:  # of fragments without sites networks are real, and einsum takes one dtype
            nodes = [node.to(torch.complex128) for node in nodes]
        names = list(self.contraction.indices)
        for a, b, out in self.contraction.steps:
            nodes.append(_product(nodes[a], names[a], nodes[b], names[b], out))
            names.append(out)
        return nodes[-1].real.to(slots.dtype) @ torch.as_tensor(self.coefficients).T

    def rows_at_once(self, order: int) -> int:
        """Return of how many rows the graph of so many derivatives fits the memory limit.

        Raises
        ------
        CutError
            If that of one row does not.
        """
        engine = backends.exact_engine(self.engine)
        fragments = self.contraction.plan.fragments
        row_bytes = sum(engine.row_bytes(f, recorded=True) for f in fragments) * GROWTH**order
        if row_bytes > engine.memory_bytes:
            raise CutError(
                f"derivatives of order {order} need {row_bytes / 2**30:.3g} GiB for one parameter "
                f"set, expected at most {engine.memory_bytes / 2**30:.3g} GiB; cut the circuit "
                f"into narrower fragments, or take first derivatives only"
            )
        return int(engine.memory_bytes // max(1, row_bytes))


@dataclass(frozen=True)
class DirectionalDerivative:
    """Derivative along directions: ``sum_o c_o D^m f_o[u_1, ..., u_m]`` at a point.

    Parameters
    ----------
    slots
        The point.
    weights
        c, (rows, outputs).
    directions
        u, each (rows, parameters).
    by_parameters
        Whether its derivative by the parameters is wanted, or only that by the weights.
    """

    slots: SlotExpansion
    weights: np.ndarray
    directions: tuple[np.ndarray, ...]
    by_parameters: bool

    def run(self, outputs: ExactOutputs) -> tuple[np.ndarray, np.ndarray]:
        """Return its derivatives by the parameters (rows, parameters) and by the weights.

        The latter are ``D^m f_o[u_1, ..., u_m]`` themselves, (rows, outputs), since the weights
        enter once.
        """
        engine = backends.exact_engine(outputs.engine)
        with torch.enable_grad(), threads_for(_widest(outputs, engine) * len(self.weights)):
            step = torch.zeros(self.slots.jacobian.shape[::2], dtype=torch.float64)
            step.requires_grad_()
            weights = torch.tensor(self.weights, requires_grad=True)
            # Rows do not depend on each other: the gradient of their sum has that of each in its
            # row.
            scalar = (outputs(self.slots.at(step)) * weights).sum()
            for direction in self.directions:
                (slope,) = _gradients(scalar, (step,), graph=True)
                scalar = (slope * torch.as_tensor(direction)).sum()
            by = (weights, step) if self.by_parameters else (weights,)
            by_weights, *by_step = _gradients(scalar, by, graph=False)
        found = by_step[0] if by_step else torch.zeros_like(step)
        return found.detach().numpy(), by_weights.numpy()


def _gradients(
    scalar: torch.Tensor, by: Sequence[torch.Tensor], *, graph: bool
) -> tuple[torch.Tensor, ...]:
    """Return the derivatives of a number, zero where it does not depend on something."""
    if not scalar.requires_grad:
        return tuple(torch.zeros_like(one) for one in by)
    return torch.autograd.grad(
        scalar, by, create_graph=graph, allow_unused=True, materialize_grads=True
    )


def _widest(outputs: ExactOutputs, engine: ExactEngine) -> int:
    return max(engine.widest(fragment) for fragment in outputs.contraction.plan.fragments)


def _angles(angles: Sequence[Angle], slots: torch.Tensor) -> torch.Tensor:
    """Return a fragment's angles (rows, angles)."""
    columns = [angle.scale * slots[:, angle.slot] + angle.offset for angle in angles]
    return torch.stack(columns, dim=1) if columns else slots[:, :0]


def _bond(bond: Bond, slots: torch.Tensor) -> torch.Tensor:
    """Return `Bond.coherent_matrix` of slots (rows, slots), (rows or 1, R^2, R^2)."""
    c = torch.as_tensor(bond.amplitudes, dtype=torch.complex128)[None]
    for angle in bond.angles:
        x = torch.full_like(slots[:, 0], angle.offset)
        for slot, scale in angle.terms:
            x = x + scale * slots[:, slot]
        x = x / 2
        harmonics = torch.stack([torch.ones_like(x), torch.cos(x), torch.sin(x)], dim=1)
        rows = c.expand(len(x), *c.shape[1:]).flatten(2)
        c = torch.einsum("bh,bhx->bx", harmonics.to(c.dtype), rows).reshape(-1, *c.shape[2:])
    pairs = (c[:, :, None] * c.conj()[:, None, :]).flatten(1)
    return torch.diag_embed(pairs)


def _product(
    x: torch.Tensor, ix: Sequence[str], y: torch.Tensor, iy: Sequence[str], out: Sequence[str]
) -> torch.Tensor:
    """Contract two operands over the indices that `out` lacks."""
    number = {name: k for k, name in enumerate(dict.fromkeys((*ix, *iy)))}
    named = [[number[name] for name in some] for some in (ix, iy, out)]
    return torch.einsum(x, named[0], y, named[1], named[2])
