"""What one rank does to its part of a state: stages of passes, and exchanges between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pilotcut.backends.distributed.blocks import PIECE, MemoryPass, passes_of
from pilotcut.backends.distributed.gates import GateList, slope_at, specialised, value_at
from pilotcut.backends.distributed.layout import Layout
from pilotcut.backends.distributed.stages import StagePlan

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class _RankStage:
    """The passes of a stage on this rank, and where qubits are meanwhile."""

    layout: Layout
    passes: list[MemoryPass]


class RankProgram:
    """The circuit as this rank runs it.

    Parameters
    ----------
    gates, plan
        Of the whole circuit.
    num_qubits
        Of the circuit.
    comm
        The ranks; None for one process.
    """

    def __init__(
        self, gates: GateList, plan: StagePlan, num_qubits: int, comm: MPI.Intracomm | None
    ) -> None:
        self._gates, self._plan = gates, plan
        first = plan.stages[0].global_qubits
        local = [qubit for qubit in range(num_qubits) if qubit not in first]
        self._start = Layout(sorted(first), local, comm)
        self._stages = list(self._made())
        self._room = np.empty((4, 1 << min(PIECE, self._start.num_axes)), complex)

    @property
    def amplitudes(self) -> int:
        """How many amplitudes this rank has."""
        return 1 << self._start.num_axes

    @property
    def num_blocks(self) -> int:
        """How many blocks of gates it applies."""
        return sum(len(one.blocks) for stage in self._stages for one in stage.passes)

    @property
    def num_angles(self) -> int:
        """How many angles it takes."""
        return len(self._gates.offset)

    @property
    def layout(self) -> Layout:
        """Where qubits are at the end."""
        return self._stages[-1].layout

    def _made(self) -> Iterator[_RankStage]:
        layout = self._start
        for stage in self._plan.stages:
            layout = layout.copy()
            layout.exchange(stage.global_qubits, ())
            bits, axes = layout.bits(), layout.axes()
            here = (specialised(self._gates.gates[number], bits) for number in stage.gates)
            on_axes = [
                replace(gate, wires=tuple(axes[wire] for wire in gate.wires))
                for gate in here
                if gate is not None
            ]
            yield _RankStage(layout, passes_of(on_axes, layout.num_axes))

    def forward(self, angles: np.ndarray) -> np.ndarray:
        """Return this rank's part of the state (amplitudes,) at the end."""
        ket = np.zeros(self.amplitudes, dtype=complex)
        ket[0] = np.prod([column[bit] for column, bit in self._prepared(angles).values()])
        layout = self._start.copy()
        for stage in self._stages:
            layout.exchange(frozenset(stage.layout.global_qubits), (ket,))
            for one in stage.passes:
                one.forward(ket, [block.matrix(angles) for block in one.blocks], self._room)
        return ket

    def backward(self, angles: np.ndarray, ket: np.ndarray, bra: np.ndarray) -> np.ndarray:
        """Return this rank's part of the derivatives by angles (angles,).

        Parameters
        ----------
        angles
            As of `forward`.
        ket
            What that returned; it is undone.
        bra
            The conjugate of the observable times the ket; it is undone as well.
        """
        slopes = np.zeros(len(angles))
        layout = self.layout.copy()
        for stage in reversed(self._stages):
            layout.exchange(frozenset(stage.layout.global_qubits), (ket, bra))
            for one in reversed(stage.passes):
                matrices = [block.matrix(angles) for block in one.blocks]
                crosses = [np.zeros_like(matrix) for matrix in matrices]
                one.backward(ket, bra, matrices, crosses, self._room)
                for block, cross in zip(one.blocks, crosses, strict=True):
                    block.add_slopes(cross, angles, slopes)
        self._add_prepared(angles, bra[0], slopes)
        return slopes

    def _prepared(self, angles: np.ndarray) -> dict[int, tuple[np.ndarray, int]]:
        """Return the state that each global qubit is prepared in, and its bit on this rank."""
        states = {
            qubit: (np.array([1, 0], dtype=complex), bit)
            for qubit, bit in self._start.bits().items()
        }
        for number in self._plan.prepared:
            gate = self._gates.gates[number]
            column, bit = states[gate.wires[0]]
            states[gate.wires[0]] = value_at(gate, angles) @ column, bit
        return states

    def _add_prepared(self, angles: np.ndarray, bra: complex, slopes: np.ndarray) -> None:
        states = self._prepared(angles)
        for at, number in enumerate(self._plan.prepared):
            gate = self._gates.gates[number]
            if gate.angle is None:
                continue
            (qubit,) = gate.wires
            column = np.array([1, 0], dtype=complex)
            for place, other in enumerate(self._plan.prepared):
                one = self._gates.gates[other]
                if one.wires == gate.wires:
                    matrix = slope_at(one, angles) if place == at else value_at(one, angles)
                    column = matrix @ column
            others = [state[bit] for q, (state, bit) in states.items() if q != qubit]
            part = column[states[qubit][1]] * np.prod(others)
            slopes[gate.angle] += 2 * (bra * part).real
