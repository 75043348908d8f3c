"""Crossings: what is cut between two labels, as one cut with the local gates around it.

A `Crossing` stands for one gate of the circuit, or for several that `pilotcut.cutting.blocks` has
joined. Here is a gate by itself: as it is, or, with a free angle, as an RZZ between
local gates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pilotcut.circuits.program import Angle, AngleSum, Step
from pilotcut.cutting.basis import CutBasis
from pilotcut.cutting.gate_basis import basis_of_gate, basis_of_rzz
from pilotcut.cutting.rotations import Locals, fixed_rotation, free_rotation


@dataclass(frozen=True)
class Crossing:
    """One cut between two qubits, and the local gates before and behind it.

    Parameters
    ----------
    steps
        The circuit's own steps that it stands for, in order.
    qubits
        The qubits of side 0 and side 1.
    basis
        How it is cut; None where the steps come to local gates only.
    angles
        The free angles of `basis`.
    before, after
        Steps of one qubit each.
    rzz
        The angle in radians, if `basis` is that of an RZZ.
    """

    steps: tuple[Step, ...]
    qubits: tuple[int, int]
    basis: CutBasis | None
    angles: tuple[AngleSum, ...] = ()
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    rzz: AngleSum | float | None = None

    @property
    def gates(self) -> tuple[Step, ...]:
        """The circuit's two-qubit gates that it stands for."""
        return tuple(step for step in self.steps if len(step.qubits) == 2)

    @property
    def name(self) -> str:
        """Names of these gates."""
        return "+".join(step.name for step in self.gates)

    @property
    def is_rotation(self) -> bool:
        """Whether it is an RZZ between local gates."""
        return self.rzz is not None or (self.basis is not None and self.basis.rank == 2)

    def as_rzz(self) -> Crossing:
        """Return what `is_rotation` with its angle, and all else among the local gates."""
        if self.rzz is not None:
            return self
        (gate,) = self.gates
        rotation = fixed_rotation(gate)
        assert not isinstance(rotation.angle, Angle), "that of a bound gate is a number"
        return replace(
            self,
            rzz=rotation.angle,
            before=(*self.before, *_on(rotation.before, self.qubits)),
            after=(*_on(rotation.after, self.qubits), *self.after),
        )


def crossing_of(step: Step) -> Crossing:
    """Return the cut of one gate as it stands: bound, or one of `rotations.RZZ_FORMS`.

    Raises
    ------
    CutError
        If it has no such form.
    """
    a, b = step.qubits
    if not step.is_free:
        return Crossing((step,), (a, b), basis_of_gate(step.gate_with(step.params)))
    rotation = free_rotation(step)
    angle = AngleSum.over([(rotation.free_angle, 1.0)])
    before, after = (_on(some, (a, b)) for some in (rotation.before, rotation.after))
    return Crossing((step,), (a, b), basis_of_rzz(), (angle,), before, after, angle)


def _on(some: Locals, qubits: tuple[int, int]) -> tuple[Step, ...]:
    return tuple(replace(step, qubits=(qubits[side],)) for side, step in some)
