"""Adjoint sweeps: values and first derivatives of pure states without keeping every state.

On the way back a state is computed from the one behind it, since gates are unitary, together with
its cotangent: a state phi behind a matrix M gives ``M^dagger phi``, so does its cotangent lambda,
and the cotangent of M is ``lambda phi_before^dagger`` (arXiv:2009.02823). What M is of the angles
is left to autograd, for all matrices at once: they are small. A site's branches, stacked, are no
unitary, but its input is their pseudo-inverse applied to its output, which is their adjoint where
they are an isometry times a number.

So there are a few states at a time, instead of one for each operation. They are real where all
matrices are. Refuses to know of memory limits, threads and caches, and of density matrices, whose
operations have no inverse (see `pilotcut.backends.statevector_schedule`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pilotcut.backends.cache import Cache
from pilotcut.backends.statevector_blocks import BlockPlan, StateBlock
from pilotcut.backends.statevector_gram import GramMatrices, GramProduct
from pilotcut.backends.statevector_matrices import OperationMatrices
from pilotcut.backends.statevector_plan import StatevectorPlan, TensorOperation


class Sweep:
    """A planned fragment's blocks with their constants on a device.

    Parameters
    ----------
    plan
        Without density matrices.
    device
        A torch device.
    dtype
        Complex; its real counterpart is used where the plan is real.
    """

    def __init__(self, plan: StatevectorPlan, device: torch.device, dtype: torch.dtype) -> None:
        fused = BlockPlan(plan, single=dtype == torch.complex64)
        dtype = dtype.to_real() if plan.real else dtype
        self.blocks = fused.blocks
        self._matrices = OperationMatrices(plan, device, dtype)
        self._fusions = _fusions(self.blocks)
        self._applications = {
            number: _Application(block)
            for number, block in enumerate(self.blocks)
            if block.kind == "apply"
        }
        self._depends = plan.native.linear != 0  # of native angles on the fragment's
        self._natives = [_natives(plan, operation) for operation in plan.operations]
        self._ways: Cache[bytes, _Reached] = Cache(4)
        self._eye = torch.eye(2, dtype=dtype, device=device)
        self._shapes = {group: plan.sizes(axes) for group, axes in fused.axes.items()}
        self._grams = {
            group: GramMatrices(plan, group, axes, device, dtype)
            for group, axes in fused.axes.items()
        }
        # In the plan's order of groups.
        self._outer = GramProduct(plan.fragment, [gram.sites for gram in self._grams.values()])

    def tensor(self, angles: torch.Tensor) -> torch.Tensor:
        """Return the tensor (rows, observables, *R^2) for angles (rows, angles)."""
        with torch.no_grad():
            fused = [fusion(self._matrices(angles)) for fusion in self._fusions]
            return self._tensor(self._forwards(len(angles), self._by_block(fused), {}))

    def at(self, angles: torch.Tensor) -> SweepPoint:
        """Return the tensor at some angles with what its derivatives need."""
        free = angles.detach().requires_grad_()
        with torch.enable_grad():  # this may run inside a backward pass, where it is off
            matrices = self._matrices(free)
            fused = [fusion(matrices) for fusion in self._fusions]
        kept: dict[int, tuple[torch.Tensor, ...]] = {}
        with torch.no_grad():
            states = self._forwards(len(angles), self._by_block(fused), kept)
            tensor = self._tensor(states)
        return SweepPoint(self, free, fused, states, kept, tensor)

    def _by_block(self, fused: Sequence[torch.Tensor]) -> dict[int, torch.Tensor]:
        return {
            number: matrix.detach()
            for fusion, matrices in zip(self._fusions, fused, strict=True)
            for number, matrix in zip(fusion.blocks, matrices, strict=True)
        }

    def _tensor(self, states: dict[int, torch.Tensor]) -> torch.Tensor:
        grams = [gram(self._shaped(group, states[group])) for group, gram in self._grams.items()]
        return self._outer(grams)

    def _shaped(self, group: int, state: torch.Tensor) -> torch.Tensor:
        return state.reshape(len(state), *self._shapes[group])

    def _forwards(
        self,
        rows: int,
        matrices: dict[int, torch.Tensor],
        kept: dict[int, tuple[torch.Tensor, ...]],
    ) -> dict[int, torch.Tensor]:
        """Return final states (rows, amplitudes); put into `kept` what the way back needs."""
        states: dict[int, torch.Tensor] = {}
        for number, block in enumerate(self.blocks):
            if block.kind == "apply":
                state = states.pop(block.group)
                if not block.invertible:
                    kept[number] = (state,)
                states[block.group] = self._applications[number].after(matrices[number], state)
            elif block.kind == "join":
                a, b = (states.pop(group) for group in block.sources)
                kept[number] = (a, b)
                states[block.group] = (a[:, :, None] * b[:, None, :]).flatten(1)
            else:
                # A wire behind a cut has its branches |r> as states, which are the rows of the
                # identity.
                fresh = self._eye.flatten() if block.kind == "open" else self._eye[0]
                states[block.group] = fresh.expand(rows, -1)
        return states

    def pull_back(
        self, point: SweepPoint, weights: torch.Tensor, wanted: np.ndarray | None = None
    ) -> torch.Tensor:
        """Return d outputs / d angles, (rows, outputs, angles).

        Parameters
        ----------
        weights
            (rows, outputs, *tensor), the conjugate of the outputs' derivatives by the tensor.
        wanted
            Boolean (angles,), by which angles; by others it may be anything. None for all.
        """
        with torch.no_grad():
            stacks = self._stacks(point, weights)
            slopes = self._backwards(point, stacks, self._reached(wanted))
        some = [k for k, fusion in enumerate(point.fused) if fusion.requires_grad]
        if not some:
            return weights.real.new_zeros(*weights.shape[:2], point.angles.shape[1])
        fused = [point.fused[k] for k in some]
        found: list[torch.Tensor] = []
        for output in range(weights.shape[1]):
            cotangents = [self._slopes_of(k, slopes, point.fused[k], output) for k in some]
            found += _gradients(fused, cotangents, [point.angles])
        return torch.stack(found, dim=1)

    def _slopes_of(
        self, fusion: int, slopes: dict[int, torch.Tensor], of: torch.Tensor, output: int
    ) -> torch.Tensor:
        nothing = torch.zeros_like(of[0])
        return torch.stack(
            [slopes[k][:, output] if k in slopes else nothing for k in self._fusions[fusion].blocks]
        )

    def _stacks(self, point: SweepPoint, weights: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the final states with their cotangents behind them, (rows, 1 + outputs, size)."""
        grams = [
            gram(self._shaped(group, point.states[group])) for group, gram in self._grams.items()
        ]
        with torch.enable_grad():
            free = [gram.requires_grad_() for gram in grams]
            outer = self._outer(free)
        stacks: dict[int, list[torch.Tensor]] = {g: [point.states[g]] for g in self._grams}
        for output in range(weights.shape[1]):
            of_grams = _gradients([outer], [weights[:, output]], free)
            for (group, gram), one in zip(self._grams.items(), of_grams, strict=True):
                state = self._shaped(group, point.states[group])
                stacks[group].append(gram.cotangent(state, one).flatten(1))
        return {group: torch.stack(stacks.pop(group), dim=1) for group in self._grams}

    def _reached(self, wanted: np.ndarray | None) -> _Reached:
        """Return which blocks the way back passes to the wanted angles."""
        some = np.ones(len(self._depends), dtype=bool) if wanted is None else wanted
        # A training wants the same ones at each step.
        return self._ways.get(some.tobytes(), lambda: _Reached.of(self.blocks, self._varied(some)))

    def _varied(self, wanted: np.ndarray) -> set[int]:
        """Return the blocks whose matrices depend on a wanted angle."""
        natives = self._depends[wanted].any(axis=0)
        return {
            number
            for number, block in enumerate(self.blocks)
            if any(natives[k] for operation in block.numbers for k in self._natives[operation])
        }

    def _backwards(
        self, point: SweepPoint, stacks: dict[int, torch.Tensor], reached: _Reached
    ) -> dict[int, torch.Tensor]:
        """Return the cotangents of the blocks' matrices, block -> (rows, outputs, D, d)."""
        matrices = self._by_block(point.fused)
        slopes: dict[int, torch.Tensor] = {}
        for number in range(len(self.blocks) - 1, -1, -1):
            block = self.blocks[number]
            if number not in reached.passed:
                stacks.pop(block.group, None)  # no wanted angle is before it
                continue
            if block.kind == "join":
                stacks |= _parted(block, stacks.pop(block.group), *point.kept[number])
                continue
            step, matrix = self._applications[number], matrices[number]
            stack = step.ended(stacks.pop(block.group))
            (kept,) = point.kept.get(number, (None,))
            if number in reached.varied:
                slopes[number] = step.slope(matrix, stack, kept)
            # By one name, so that what is behind the block is let go before axes are moved.
            stack = step.undone(matrix, stack, kept)
            stacks[block.group] = step.before(stack, kept)
        return slopes


@dataclass(frozen=True)
class SweepPoint:
    """A fragment's tensor at some angles, and what its derivatives need.

    Parameters
    ----------
    sweep
        Of which.
    angles
        (rows, angles).
    fused
        The blocks' matrices as functions of the angles, (blocks, rows, D, d) for each pattern.
    states
        Final states, (rows, amplitudes) of each group.
    kept
        What joins were made of, and states before what has no inverse, by block.
    tensor
        (rows, observables, *R^2 of each site).
    """

    sweep: Sweep
    angles: torch.Tensor
    fused: list[torch.Tensor]
    states: dict[int, torch.Tensor]
    kept: dict[int, tuple[torch.Tensor, ...]]
    tensor: torch.Tensor

    def pull_back(self, weights: torch.Tensor, wanted: np.ndarray | None = None) -> torch.Tensor:
        """Return d outputs / d angles; see `Sweep.pull_back`."""
        return self.sweep.pull_back(self, weights, wanted)


@dataclass(frozen=True)
class _Reached:
    """What a way back to some angles passes.

    Parameters
    ----------
    varied
        Blocks whose matrices depend on one of them.
    passed
        These, and all blocks behind them in the same state.
    """

    varied: set[int]
    passed: set[int]

    @classmethod
    def of(cls, blocks: Sequence[StateBlock], varied: set[int]) -> _Reached:
        passed: set[int] = set()
        groups: set[int] = set()
        for number, block in enumerate(blocks):
            behind = {block.group, *block.sources} & groups
            if block.kind == "apply":
                behind |= varied & {number}
            elif block.kind != "join":
                behind = set()  # a new wire, whose group may have a number that was in use
            groups -= {block.group, *block.sources}
            if behind:
                groups.add(block.group)
                passed.add(number)
        return cls(varied, passed)


def _gradients(
    outputs: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """Return the cotangents of inputs for those of outputs; the graph is kept."""
    # As the slope of one number: given cotangents as they are, torch 2.13 imports sympy, 1 s.
    with torch.enable_grad():
        pairs = zip(outputs, cotangents, strict=True)
        value = torch.stack([(some * of.conj()).real.sum() for some, of in pairs]).sum()
    return torch.autograd.grad(value, inputs, retain_graph=True)


class _Application:
    """A block's products with states, forwards and on the way back."""

    def __init__(self, block: StateBlock) -> None:
        self._block = block
        count = len(block.order)
        moves = block.order != tuple(range(count))
        self._shape = block.shape if moves else None
        self._forwards = (0, *(k + 1 for k in block.order))
        self._moved = tuple(block.shape[k] for k in block.order)
        self._back = (0, 1, *(block.order.index(k) + 2 for k in range(count)))

    def after(self, matrix: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return M phi, (rows, amplitudes), for M (rows or 1, D, d)."""
        return (matrix @ self._in_front(state)).flatten(1)

    def _in_front(self, state: torch.Tensor) -> torch.Tensor:
        """Return a state (rows, d, others), the block's wires first."""
        rows = len(state)
        if self._shape is not None:
            state = state.reshape(rows, *self._shape).permute(self._forwards)
        return state.reshape(rows, self._block.size[1], -1)

    def slope(
        self, matrix: torch.Tensor, stack: torch.Tensor, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the cotangent of the matrix, (rows, outputs, D, d).

        Parameters
        ----------
        matrix
            (rows or 1, D, d).
        stack
            The state behind it with its cotangents, (rows, 1 + outputs, D, others).
        kept
            The state before it, if that is not computed.
        """
        state, cotangents = stack[:, :1], stack[:, 1:]
        if kept is not None:
            return cotangents @ self._in_front(kept)[:, None].mH
        # By the state behind, which is at hand: the one before is the inverse of it.
        return (cotangents @ state.mH) @ self._inverse(matrix)[:, None].mH

    def _inverse(self, matrix: torch.Tensor) -> torch.Tensor:
        scale = self._block.scale
        if scale is None:
            return torch.linalg.pinv(matrix)
        return matrix.mH if scale == 1.0 else matrix.mH / scale

    def ended(self, stack: torch.Tensor) -> torch.Tensor:
        """Return states (rows, number, amplitudes) behind the block as (.., D, others)."""
        return stack.reshape(*stack.shape[:2], self._block.size[0], -1)

    def undone(
        self, matrix: torch.Tensor, stack: torch.Tensor, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the state before the block, unless it is kept, with its cotangents, in front."""
        found = matrix.mH[:, None] @ stack
        scale = self._block.scale
        if kept is None and scale is None:
            found[:, :1] = self._inverse(matrix)[:, None] @ stack[:, :1]
        elif kept is None and scale is not None and scale != 1.0:
            found[:, :1] /= scale
        return found

    def before(self, found: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """Return the same, (rows, 1 + outputs, amplitudes), with axes as they stood before."""
        if self._shape is not None:
            found = found.reshape(*found.shape[:2], *self._moved).permute(self._back)
        found = found.flatten(2)
        if kept is not None:
            found[:, 0] = kept
        return found


def _parted(
    block: StateBlock, stack: torch.Tensor, a: torch.Tensor, b: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Return both sources of a join with their cotangents."""
    cotangents = stack[:, 1:].reshape(len(stack), -1, a.shape[1], b.shape[1])
    of_a = cotangents @ b[:, None, :, None].conj()
    of_b = a[:, None, None, :].conj() @ cotangents
    first, second = block.sources
    return {
        first: torch.cat([a[:, None], of_a[..., 0]], dim=1),
        second: torch.cat([b[:, None], of_b[..., 0, :]], dim=1),
    }


def _natives(plan: StatevectorPlan, operation: TensorOperation) -> set[int]:
    """Return the native angles of an operation's matrix."""
    matrix = operation.matrix
    if matrix is None:
        return set()
    single = [factor for chain in (*matrix.before, *matrix.after) for factor in chain]
    found = {plan.angles[1][factor.index] for factor in single if factor.constant is None}
    if matrix.own is not None and matrix.own.constant is None:
        found.add(plan.angles[len(matrix.before)][matrix.own.index])
    return found


def _fusions(blocks: Sequence[StateBlock]) -> list[_Fusion]:
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, block in enumerate(blocks):
        if block.kind == "apply":
            alike.setdefault((block.places, block.size), []).append(number)
    return [_Fusion(blocks, some) for some in alike.values()]


class _Fusion:
    """Multiplies the operations of blocks of one pattern as one batch."""

    def __init__(self, all_blocks: Sequence[StateBlock], blocks: list[int]) -> None:
        self.blocks = blocks
        some = [all_blocks[k] for k in blocks]
        self._places = some[0].places
        self._size = some[0].size[1]
        self._numbers = list(zip(*(block.numbers for block in some), strict=True))

    def __call__(self, matrices: dict[int, torch.Tensor]) -> torch.Tensor:
        """Return the blocks' matrices (blocks, rows or 1, D, d)."""
        factors = [_stacked([matrices[k] for k in numbers]) for numbers in self._numbers]
        if len(factors) == 1:
            return factors[0]
        product = torch.eye(self._size, dtype=factors[0].dtype, device=factors[0].device)[None]
        wires = self._size.bit_length() - 1
        for factor, places in zip(factors, self._places, strict=True):
            product = _times(factor, places, product, wires)
        return product


def _stacked(matrices: list[torch.Tensor]) -> torch.Tensor:
    rows = max(len(matrix) for matrix in matrices)
    if any(len(matrix) < rows for matrix in matrices):
        matrices = [matrix.expand(rows, -1, -1) for matrix in matrices]
    return torch.stack(matrices)


def _times(
    factor: torch.Tensor, places: tuple[int, ...], product: torch.Tensor, wires: int
) -> torch.Tensor:
    """Return matrices (.., 2^n, 2^n) on some of their wires times a product on all of them."""
    order = [*places, *(k for k in range(wires) if k not in places), wires]
    shape = product.shape[-1]
    inner = product.reshape(*product.shape[:-2], *[2] * wires, shape)
    lead = inner.ndim - wires - 1
    inner = inner.permute(*range(lead), *(lead + k for k in order))
    inner = inner.reshape(*product.shape[:-2], factor.shape[-1], -1)
    found = factor @ inner
    found = found.reshape(*found.shape[:-2], *[2] * wires, shape)
    lead = found.ndim - wires - 1
    back = [order.index(k) for k in range(wires + 1)]
    found = found.permute(*range(lead), *(lead + k for k in back))
    return found.reshape(*found.shape[:lead], shape, shape)
