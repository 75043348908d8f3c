"""Rotations: two-qubit gates as an RZZ between local gates.

Gates with a free angle are cut like that, as then the angle enters the bond matrix alone and the
fragments have none of it: no shift of that angle costs a circuit. Joint cuts need it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Instruction
from qiskit.circuit.library import (
    HGate,
    PhaseGate,
    RXGate,
    RYGate,
    RZGate,
    SdgGate,
    SGate,
    SXdgGate,
    SXGate,
    UGate,
)

from pilotcut.circuits.program import Angle, Step
from pilotcut.cutting.basis import u_angles
from pilotcut.cutting.turn_algebra import weyl_factors
from pilotcut.errors import CutError

Locals = list[tuple[int, Step]]


@dataclass(frozen=True)
class Rotation:
    """A gate as an RZZ between local gates (side, step) that stand before and after it."""

    angle: Angle | float
    before: Locals
    after: Locals

    @property
    def free_angle(self) -> Angle:
        """The angle of a gate that has a free one."""
        assert isinstance(self.angle, Angle)
        return self.angle


def free_rotation(step: Step) -> Rotation:
    """Return a gate with one free angle as an RZZ between local gates.

    ``CRZ(t) = RZZ(-t/2) RZ(t/2)`` on the target, and so on; the angle of the RZZ then enters
    the bond matrix alone.
    """
    if step.name not in RZZ_FORMS:
        raise CutError(
            f"gate '{step.name}' on qubits {step.qubits} has a free parameter and cannot be cut, "
            f"expected one of {', '.join(sorted(RZZ_FORMS))}; bind it, decompose it, or choose "
            f"other labels"
        )
    free = next(p for p in step.params if isinstance(p, Angle))
    scale, frames, rotations = RZZ_FORMS[step.name]
    before = [(s, Step(g, ())) for s in (0, 1) for g in frames[s][0]]
    after = [(s, Step(g, ())) for s in (0, 1) for g in frames[s][1]]
    # The angle 0 only makes the gate: what counts are the step's params.
    after += [(s, Step(g(0.0), (), (free.scaled(f),))) for s, g, f in rotations]
    return Rotation(free.scaled(scale), before, after)


def fixed_rotation(step: Step) -> Rotation:
    """Return a bound gate of operator-Schmidt rank two as an RZZ between local gates.

    Its Weyl decomposition has one angle: ``K1 exp(i a XX) K2``, and XX is ZZ between H.
    """
    matrix = np.asarray(step.gate_with(step.params).to_matrix())
    # Qiskit's matrix is little-endian: its first factors act on qubit 1.
    left, (angle, _, _), right = weyl_factors(matrix)
    h = HGate().to_matrix()
    before = [(side, _local(h @ right[1 - side])) for side in (0, 1)]
    after = [(side, _local(left[1 - side] @ h)) for side in (0, 1)]
    return Rotation(angle, before, after)


def _local(matrix: np.ndarray) -> Step:
    angles = u_angles(matrix)
    return Step(UGate(*angles), (), angles)


# gate -> (factor of the RZZ angle, (before, after) on each side, rotations left on a side).
# A frame maps Z to the axis of the rotation: H to X, SX to Y up to a sign that both sides share.
_NONE: tuple[list[Instruction], list[Instruction]] = ([], [])
_X = ([HGate()], [HGate()])
_Y = ([SXdgGate()], [SXGate()])
# Where one side alone is turned, as in CRY, that sign does not cancel: hence this other frame of Y.
_Y1 = ([SdgGate(), HGate()], [HGate(), SGate()])
RZZ_FORMS = {
    "rzz": (1.0, (_NONE, _NONE), []),
    "rxx": (1.0, (_X, _X), []),
    "ryy": (1.0, (_Y, _Y), []),
    "rzx": (1.0, (_NONE, _X), []),
    "crz": (-0.5, (_NONE, _NONE), [(1, RZGate, 0.5)]),
    "crx": (-0.5, (_NONE, _X), [(1, RXGate, 0.5)]),
    "cry": (-0.5, (_NONE, _Y1), [(1, RYGate, 0.5)]),
    # CP(t) = exp(i t/4) RZ(t/2) RZ(t/2) RZZ(-t/2): one P in place of an RZ carries the global
    # phase.
    "cp": (-0.5, (_NONE, _NONE), [(0, PhaseGate, 0.5), (1, RZGate, 0.5)]),
    "cu1": (-0.5, (_NONE, _NONE), [(0, PhaseGate, 0.5), (1, RZGate, 0.5)]),
}
