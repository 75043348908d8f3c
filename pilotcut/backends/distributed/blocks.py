"""Gates on local qubits fused into blocks, and blocks into passes over a state's memory.

A block is a matrix on at most `BLOCK` qubits, a pass some blocks on at most `PASS`. The state is
read once a pass, piece by piece: a piece fits a core's cache, and goes through all blocks there,
each one product of matrices. Nothing of the size of the state is allocated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pilotcut.backends.distributed.gates import Reach, reach_of, slope_at, value_at
from pilotcut.backends.distributed.grouping import grouped, ones
from pilotcut.backends.native_gates import MatrixGate

#: Qubits of a block, of a pass, and (as log2 of amplitudes) of a piece: measured, see
#: benchmarks/state_vector.py.
BLOCK, PASS, PIECE = 4, 9, 14


class GateBlock:
    """Gates on few qubits.

    Parameters
    ----------
    axes
        The axes of the state that it acts on, in the order of its matrix, the first the most
        significant.
    gates
        In order, on numbers of axes.
    """

    def __init__(self, axes: Sequence[int], gates: Sequence[MatrixGate]) -> None:
        self.axes, self.gates = tuple(axes), tuple(gates)

    def matrix(self, angles: np.ndarray) -> np.ndarray:
        """Return the product of its gates (d, d)."""
        whole = np.eye(2 ** len(self.axes), dtype=complex)
        for gate in self.gates:
            whole = self._applied(gate, value_at(gate, angles), whole)
        return whole

    def add_slopes(self, cross: np.ndarray, angles: np.ndarray, slopes: np.ndarray) -> None:
        """Add to `slopes` (angles,) what ``2 Re sum dU * cross`` is for each angle.

        `cross` is (d, d): the sum of bra behind the block times ket in front of it.
        """
        # What stands in front of a gate, times cross, times what stands behind it: with one matrix
        # for all gates, stepped through them.
        if all(gate.angle is None for gate in self.gates):
            return
        turned = cross.T @ self.matrix(angles)
        for gate in self.gates:
            value = value_at(gate, angles)
            # turned is now P (cross.T) (rest, this gate included)
            turned = self._applied(gate, value.conj(), turned.T).T  # times its inverse from right
            if gate.angle is not None:
                part = self._applied(gate, slope_at(gate, angles), turned)
                slopes[gate.angle] += 2 * np.trace(part).real
            turned = self._applied(gate, value, turned)

    def _applied(self, gate: MatrixGate, matrix: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Return a gate's matrix times one (d, columns)."""
        size, count = len(self.axes), len(gate.wires)
        places = [self.axes.index(axis) for axis in gate.wires]
        tensor = whole.reshape(*(2,) * size, -1)
        done = np.tensordot(
            matrix.reshape((2,) * (2 * count)), tensor, (range(count, 2 * count), places)
        )
        return np.moveaxis(done, range(count), places).reshape(whole.shape)


@dataclass(frozen=True)
class _Turn:
    """How a piece is laid out for a block: sizes of axes, and their order out of the one before."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    is_needed: bool


class MemoryPass:
    """Blocks that a state goes through piece by piece.

    Parameters
    ----------
    axes
        All that they act on.
    blocks
        Axes and gates of each.
    num_axes
        Of the state.
    """

    def __init__(
        self, axes: Sequence[int], gates: Sequence[tuple[set[int], list[MatrixGate]]], num_axes: int
    ) -> None:
        room = max(0, min(PIECE, num_axes) - len(axes))
        # Neighbours in memory come along, or each amplitude would be a cache line of its own.
        along = [axis for axis in reversed(range(num_axes)) if axis not in axes][:room][::-1]
        first = gates[0][0]
        order = [*sorted(first), *(axis for axis in sorted(axes) if axis not in first)]
        outer = [axis for axis in range(num_axes) if axis not in axes and axis not in along]
        self._loops = (2,) * len(outer)
        self._read = (*outer, *order, *along)
        self._sizes = (*(2,) * len(order), 2 ** len(along))
        self.size = 2 ** (len(order) + len(along))
        self.blocks: list[GateBlock] = []
        self._turns: list[_Turn] = []
        for own, of_block in gates:
            front = [axis for axis in order if axis in own]
            after = [*front, *(axis for axis in order if axis not in own)]
            places = (*(order.index(axis) for axis in after), len(order))
            self._turns.append(_Turn(self._sizes, places, after != order))
            self.blocks.append(GateBlock(front, of_block))
            order = after
        self._write = (*outer, *order, *along)
        self._num_axes = num_axes

    def forward(self, state: np.ndarray, matrices: Sequence[np.ndarray], room: np.ndarray) -> None:
        """Apply the blocks to a state in place; `room` is (2, size) at least."""
        one, two = room[0, : self.size], room[1, : self.size]
        for source, target in zip(
            self._views(state, self._read), self._views(state, self._write), strict=True
        ):
            np.copyto(one.reshape(source.shape), source)
            for turn, matrix in zip(self._turns, matrices, strict=True):
                if turn.is_needed:
                    np.copyto(
                        two.reshape(turn.shape), one.reshape(turn.shape).transpose(turn.order)
                    )
                    one, two = two, one
                np.matmul(matrix, one.reshape(len(matrix), -1), out=two.reshape(len(matrix), -1))
                one, two = two, one
            np.copyto(target, one.reshape(target.shape))

    def backward(
        self,
        ket: np.ndarray,
        bra: np.ndarray,
        matrices: Sequence[np.ndarray],
        crosses: Sequence[np.ndarray],
        room: np.ndarray,
    ) -> None:
        """Undo the blocks on a ket and a conjugated bra in place, and add to `crosses`.

        Those are (d, d) for each block: the bra behind it times the ket in front of it.
        """
        pairs = [room[k : k + 2, : self.size] for k in (0, 2)]
        steps = list(zip(self._turns, matrices, crosses, strict=True))[::-1]
        inverses = [np.ascontiguousarray(matrix.conj().T) for _, matrix, _ in steps]
        transposes = [np.ascontiguousarray(matrix.T) for _, matrix, _ in steps]
        undone = [tuple(np.argsort(turn.order)) for turn, _, _ in steps]
        views = [
            self._views(state, way) for way in (self._write, self._read) for state in (ket, bra)
        ]
        for ket_in, bra_in, ket_out, bra_out in zip(*views, strict=True):
            (k_one, k_two), (b_one, b_two) = pairs
            np.copyto(k_one.reshape(ket_in.shape), ket_in)
            np.copyto(b_one.reshape(bra_in.shape), bra_in)
            for (turn, matrix, cross), inverse, transpose, order in zip(
                steps, inverses, transposes, undone, strict=True
            ):
                rows = (len(matrix), -1)
                np.matmul(inverse, k_one.reshape(rows), out=k_two.reshape(rows))
                cross += b_one.reshape(rows) @ k_two.reshape(rows).T
                np.matmul(transpose, b_one.reshape(rows), out=b_two.reshape(rows))
                if turn.is_needed:
                    np.copyto(k_one.reshape(turn.shape), k_two.reshape(turn.shape).transpose(order))
                    np.copyto(b_one.reshape(turn.shape), b_two.reshape(turn.shape).transpose(order))
                else:
                    k_one, k_two, b_one, b_two = k_two, k_one, b_two, b_one
            np.copyto(ket_out, k_one.reshape(ket_out.shape))
            np.copyto(bra_out, b_one.reshape(bra_out.shape))

    def _views(self, state: np.ndarray, way: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the pieces of a state, their axes in some order."""
        whole = state.reshape((2,) * self._num_axes).transpose(way)
        return (whole[index] for index in product((0, 1), repeat=len(self._loops)))


def passes_of(gates: Sequence[MatrixGate], num_axes: int) -> list[MemoryPass]:
    """Return gates on axes of a state, in order, as passes."""
    blocks = []
    for bits, numbers in grouped([reach_of(gate) for gate in gates], min(BLOCK, num_axes)):
        blocks.append((bits, [gates[number] for number in numbers]))
    found = []
    # Blocks act on all of their axes, whatever their gates do.
    reaches = [Reach(bits, bits) for bits, _ in blocks]
    for bits, numbers in grouped(reaches, min(PASS, num_axes)):
        chosen = [(set(ones(blocks[n][0])), blocks[n][1]) for n in numbers]
        found.append(MemoryPass(ones(bits), chosen, num_axes))
    return found
