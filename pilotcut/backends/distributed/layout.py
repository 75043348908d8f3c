"""Where qubits are: as axes of a rank's part of the state, or as bits of its number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI

#: Amplitudes that travel in one message.
MESSAGE = 1 << 16


class Layout:
    """Qubits of one state over the ranks of a communicator.

    Parameters
    ----------
    global_qubits
        In the order of the bits of a rank's number, the least significant first.
    local_qubits
        In the order of axes, the most significant first.
    comm
        Whose ranks; None for this process alone.
    """

    def __init__(
        self, global_qubits: list[int], local_qubits: list[int], comm: MPI.Intracomm | None
    ) -> None:
        self.global_qubits, self.local_qubits = list(global_qubits), list(local_qubits)
        self.comm = comm
        self.rank = 0 if comm is None else comm.Get_rank()

    def copy(self) -> Layout:
        """Return the same layout, to be changed."""
        return Layout(self.global_qubits, self.local_qubits, self.comm)

    @property
    def num_axes(self) -> int:
        """How many qubits are local."""
        return len(self.local_qubits)

    def bits(self) -> dict[int, int]:
        """Return the bit of each global qubit on this rank."""
        return {qubit: self.rank >> place & 1 for place, qubit in enumerate(self.global_qubits)}

    def axes(self) -> dict[int, int]:
        """Return the axis of each local qubit."""
        return {qubit: axis for axis, qubit in enumerate(self.local_qubits)}

    def masks(self, qubits: int) -> tuple[int, int]:
        """Return some qubits (as bits) as bits of an amplitude's index here, and of a rank."""
        high = self.num_axes - 1
        local = sum(1 << high - k for k, q in enumerate(self.local_qubits) if qubits >> q & 1)
        return local, sum(1 << k for k, q in enumerate(self.global_qubits) if qubits >> q & 1)

    def exchange(self, wanted: frozenset[int], states: tuple[np.ndarray, ...]) -> None:
        """Make these qubits the global ones: parts of states change places between ranks.

        With m new ones, 2^m ranks deal their parts among each other: each keeps one of 2^m pieces,
        and what it sends another it gets back from there, into the same place.
        """
        leaving = [qubit for qubit in self.global_qubits if qubit not in wanted]
        if not leaving:
            return
        coming = [qubit for qubit in self.local_qubits if qubit in wanted]
        places = [self.global_qubits.index(qubit) for qubit in leaving]
        axes = [self.local_qubits.index(qubit) for qubit in coming]
        own = tuple(self.rank >> place & 1 for place in places)
        for step in list(product((0, 1), repeat=len(places)))[1:]:
            piece = tuple(bit ^ other for bit, other in zip(own, step, strict=True))
            partner = self.rank ^ sum(bit << p for bit, p in zip(step, places, strict=True))
            for state in states:
                index: list[Any] = [slice(None)] * self.num_axes
                for axis, bit in zip(axes, piece, strict=True):
                    index[axis] = bit
                self._swap(state.reshape((2,) * self.num_axes)[(*index, ...)], partner)
        for place, axis, old, new in zip(places, axes, leaving, coming, strict=True):
            self.global_qubits[place], self.local_qubits[axis] = new, old

    def _swap(self, part: np.ndarray, partner: int) -> None:
        """Swap a part of a state with that of another rank, message by message."""
        assert self.comm is not None, "one process has no other"
        outer = max(0, part.ndim - (MESSAGE.bit_length() - 1))
        for index in product((0, 1), repeat=outer):
            at: tuple[Any, ...] = (*index, ...)
            view = part[at]
            sent, got = np.ascontiguousarray(view), np.empty(view.shape, view.dtype)
            self.comm.Sendrecv(sent, partner, 0, got, partner, 0)
            view[...] = got

    def partner_pieces(
        self, state: np.ndarray, flip: int, rank_flip: int
    ) -> Callable[[int], np.ndarray]:
        """Return what gives a piece of the state with some bits flipped.

        Piece k holds the amplitudes u of ``k * size <= u < (k + 1) * size`` at ``u ^ flip`` on the
        rank whose number has `rank_flip` flipped. All ranks ask for the same pieces in the same
        order.
        """
        size = min(MESSAGE, len(state))
        within = np.arange(size) ^ (flip & size - 1)
        is_moved = bool(flip & size - 1)
        got = np.empty(size, state.dtype)

        def piece(number: int) -> np.ndarray:
            start = number * size ^ flip & ~(size - 1)
            here = state[start : start + size]
            if rank_flip:
                assert self.comm is not None, "one process has no global qubits"
                partner = self.rank ^ rank_flip
                # The other rank needs the same piece of this one.
                self.comm.Sendrecv(here, partner, 0, got, partner, 0)
                here = got
            return here[within] if is_moved else here

        return piece
