"""Pauli strings on a state over ranks: expectations, and sums of them applied.

A string flips some bits and multiplies by signs. Those that flip the same bits share the products
of amplitudes, and what other ranks send.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.quantum_info import PauliList

from pilotcut.backends.distributed.layout import MESSAGE, Layout

#: Amplitudes whose signs are written down as a table, a row for each pattern of signs.
_TABLE = 1 << 12


@dataclass(frozen=True)
class Strings:
    """Pauli strings on wires.

    Parameters
    ----------
    flips, signs
        For each string the wires with X or Y, and with Y or Z, as bits.
    """

    flips: tuple[int, ...]
    signs: tuple[int, ...]

    @classmethod
    def of(cls, paulis: PauliList, wire_of: Sequence[int]) -> Strings:
        """Return Paulis of a circuit's qubits."""
        weights = [1 << wire for wire in wire_of]
        flips, signs = (
            tuple(sum(w for w, has in zip(weights, row, strict=True) if has) for row in table)
            for table in (paulis.x, paulis.z)
        )
        return cls(flips, signs)

    def phase(self, number: int) -> complex:
        """Return what stands before flips and signs where these are of the flipped amplitude."""
        return (-1j) ** (self.flips[number] & self.signs[number]).bit_count()


def expectations(strings: Strings, ket: np.ndarray, layout: Layout) -> np.ndarray:
    """Return this rank's part of each string's expectation (strings,)."""
    found = np.zeros(len(strings.flips))
    for group in _groups(strings, layout):
        phases = np.array([strings.phase(number) for number in group.numbers])
        total = np.zeros(len(group.numbers), dtype=complex)
        for here, other, signs in group.pieces(ket, layout):
            both = (here.conj() * other).reshape(-1, 1).view(float)
            total += signs * (group.table @ both).view(complex)[group.rows, 0]
        found[group.numbers] = (phases * total).real
    return found


def applied(
    strings: Strings, weights: np.ndarray, ket: np.ndarray, layout: Layout, out: np.ndarray
) -> None:
    """Write the conjugate of a weighted sum of strings times a state into `out`."""
    out[:] = 0
    for group in _groups(strings, layout):
        factors = np.array([strings.phase(n) * weights[n] for n in group.numbers])
        of_row = np.zeros(len(group.table), dtype=complex)
        start = 0
        for _, other, signs in group.pieces(ket, layout):
            of_row[:] = 0
            np.add.at(of_row, group.rows, factors * signs)
            here = out[start : start + len(other)]
            here += (other * (of_row @ group.table)).conj()
            start += len(other)


@dataclass(frozen=True)
class _Group:
    """Strings that flip the same bits."""

    numbers: list[int]
    flip: int
    rank_flip: int
    #: Signs of the low bits, a row for each pattern among the strings; which row each has.
    table: np.ndarray
    rows: np.ndarray
    #: Bits above, and of the rank, whose parity is a sign.
    high: list[int]
    rank_signs: np.ndarray

    def pieces(
        self, ket: np.ndarray, layout: Layout
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield amplitudes, those with bits flipped, and each string's sign of what is the same."""
        width = self.table.shape[1]
        piece = layout.partner_pieces(ket, self.flip, self.rank_flip)
        start = 0
        while start < len(ket):
            large = piece(start // min(len(ket), MESSAGE))
            for offset in range(0, len(large), width):
                index = start + offset
                parity = [(index & high).bit_count() & 1 for high in self.high]
                signs = self.rank_signs * (1 - 2 * np.array(parity))
                yield ket[index : index + width], large[offset : offset + width], signs
            start += len(large)


def _groups(strings: Strings, layout: Layout) -> Iterator[_Group]:
    """Yield groups, in an order that all ranks share."""
    alike: dict[int, list[int]] = defaultdict(list)
    for number, flips in enumerate(strings.flips):
        alike[flips].append(number)
    width = min(_TABLE, 1 << layout.num_axes)
    for flips, numbers in alike.items():
        flip, rank_flip = layout.masks(flips)
        masks = [layout.masks(strings.signs[number]) for number in numbers]
        low = [local & width - 1 for local, _ in masks]
        patterns, rows = np.unique(low, return_inverse=True)
        index = np.arange(width)
        table = np.array([1.0 - 2 * (np.bitwise_count(index & p) & 1) for p in patterns])
        ranks = [1 - 2 * ((rank & layout.rank).bit_count() & 1) for _, rank in masks]
        high = [local & ~(width - 1) for local, _ in masks]
        yield _Group(numbers, flip, rank_flip, table, rows, high, np.array(ranks))
