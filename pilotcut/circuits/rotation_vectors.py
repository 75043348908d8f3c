"""Rotations about a free vector: Qiskit's RVGate as gates whose angles are smooth in the vector.

No chart of three angles covers all rotations smoothly: Euler angles have no derivative at v = 0 or
at a gimbal lock. So values and derivatives have angles of their own. ``RV(v)`` is written

    R_X(a) R_Y(b) R_Z(c), then U(theta, phi, lambda),      ``a = b = c = 0`` at all v,

with U the Euler angles of RV(v), whatever chart, held fixed under derivatives, and a, b, c the
coordinates of a neighbour: ``RV(v + d) = RV(v) R(w)`` with ``w = J d + 1/2 (D_d J) d + ...`` and
``J = I - (1 - cos t)/t^2 [v]x + (t - sin t)/t^3 [v]x^2``, t = |v|, which is smooth everywhere. The
zero angles obey the shift rules of Pauli rotations, which hold for no component of v itself.

References
----------
Right Jacobian of SO(3): Sola, Deray and Atchuthan, arXiv:1812.01537, eq. 143.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.polynomial import Polynomial
from qiskit.circuit import Instruction, Operation, ParameterExpression
from qiskit.circuit.library import RVGate, RXGate, RYGate, RZGate, UGate

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.gate_matrices import has_parameters

#: Angles of one rotation: the three at zero, then those of U.
ANGLES = 6

# Below this |v|^2 differences would lose digits, and so many terms of a series are exact.
_SMALL, _TERMS = 1.0, 10

# [e_k]x for k = x, y, z: (3, 3, 3).
_CROSS = np.array(
    [
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ],
    dtype=float,
)


@dataclass(frozen=True)
class RotationAngle:
    """One of the angles of a rotation about a free vector, in place of a formula.

    Parameters
    ----------
    vector
        Its three components.
    number
        Which of the `ANGLES` it is.
    """

    vector: tuple[ParameterExpression, ...]
    number: int


def is_free_rotation(gate: Operation) -> bool:
    """Whether an instruction is Qiskit's RVGate with a free component."""
    kind = getattr(gate, "base_class", type(gate))
    return kind is RVGate and any(map(has_parameters, gate.params))  # type: ignore[attr-defined]


def gates_of_rotation() -> tuple[tuple[Instruction, tuple[int, ...]], ...]:
    """Return the gates of a rotation in order, and which of its angles each of them has."""
    # Of the matrix product R_X R_Y R_Z the last factor acts first.
    zero = (RZGate(0.0), (2,)), (RYGate(0.0), (1,)), (RXGate(0.0), (0,))
    return (*zero, (UGate(0.0, 0.0, 0.0), (3, 4, 5)))


def vector_of(gate: Operation) -> tuple[ParameterExpression, ...]:
    """Return the components of an RVGate with a free one, those that are bound as formulas too."""
    params = gate.params  # type: ignore[attr-defined]
    nothing = 0 * next(p for p in params if has_parameters(p))
    return tuple(p if has_parameters(p) else nothing + p for p in params)


def angles_of(vectors: np.ndarray) -> np.ndarray:
    """Return the angles (batch, ANGLES) of vectors (batch, 3)."""
    t = np.linalg.norm(vectors, axis=1)
    # sin(t/2)/t is finite at t = 0.
    x, y, z = (np.sinc(t / (2 * np.pi)) / 2)[None] * vectors.T
    up, down = np.cos(t / 2) - 1j * z, y - 1j * x  # the matrix's first column
    result = np.zeros((len(vectors), ANGLES))
    result[:, 3] = 2 * np.arctan2(np.abs(down), np.abs(up))
    # U has 1 and exp(i phi) in its first column; at its poles one of the two phases is free.
    first = np.where(np.abs(up) > 0, np.angle(up), 0.0)
    second = np.where(np.abs(down) > 0, np.angle(down), 0.0)
    result[:, 4], result[:, 5] = second - first, -second - first
    return result


def slopes_of(vectors: np.ndarray) -> np.ndarray:
    """Return d angles / d components, (batch, ANGLES, 3)."""
    result = np.zeros((len(vectors), ANGLES, 3))
    result[:, :3] = _jacobian(vectors)
    return result


def bends_of(vectors: np.ndarray) -> np.ndarray:
    """Return d^2 angles / d components^2, (batch, ANGLES, 3, 3)."""
    j = _jacobian(vectors)
    moved = _jacobian_slopes(vectors)  # d J_im / d v_k
    bends = (moved + moved.transpose(0, 1, 3, 2)) / 2
    # R_X(a) R_Y(b) R_Z(c) is exp of (a + bc/2, b - ac/2, c + ab/2) to second order.
    for row, one, other, sign in ((0, 1, 2, -1), (1, 0, 2, 1), (2, 0, 1, -1)):
        pairs = np.einsum("bm,bn->bmn", j[:, one], j[:, other])
        bends[:, row] += sign * (pairs + pairs.transpose(0, 2, 1)) / 2
    result = np.zeros((len(vectors), ANGLES, 3, 3))
    result[:, :3] = bends
    return result


def _jacobian(vectors: np.ndarray) -> np.ndarray:
    cross = np.einsum("bk,kij->bij", vectors, _CROSS)
    (f, g), _ = _weights((vectors**2).sum(axis=1))
    return np.eye(3) - f[:, None, None] * cross + g[:, None, None] * (cross @ cross)


def _jacobian_slopes(vectors: np.ndarray) -> np.ndarray:
    """Return d J / d v_k, (batch, 3, 3, k)."""
    cross = np.einsum("bk,kij->bij", vectors, _CROSS)
    (f, g), (df, dg) = _weights((vectors**2).sum(axis=1))
    square = cross @ cross
    by_cross = np.einsum("kij,bjl->bilk", _CROSS, cross) + np.einsum("bij,kjl->bilk", cross, _CROSS)
    by_length = -df[:, None, None] * cross + dg[:, None, None] * square  # by |v|^2
    return (
        -np.einsum("b,kij->bijk", f, _CROSS)
        + np.einsum("b,bijk->bijk", g, by_cross)
        + 2 * np.einsum("bij,bk->bijk", by_length, vectors)
    )


def _weights(s: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return ``(1 - cos t)/s`` and ``(t - sin t)/t^3`` at s = t^2, and their derivatives by s."""
    far = np.where(s < _SMALL, 1.0, s)
    t = np.sqrt(far)
    f, g = (1 - np.cos(t)) / far, (t - np.sin(t)) / (t * far)
    slopes = ((np.sin(t) / t / 2 - f) / far, (f / 2 - 1.5 * g) / far)
    values = (_near(s, 2, f), _near(s, 3, g))
    return values, (_near(s, 2, slopes[0], 1), _near(s, 3, slopes[1], 1))


def _near(s: np.ndarray, first: int, far: np.ndarray, derivative: int = 0) -> np.ndarray:
    """Return a series ``sum_k (-s)^k / (2k + first)!`` or its derivative where s is small."""
    series = Polynomial([(-1) ** k / factorial(2 * k + first) for k in range(_TERMS)])
    return np.where(s < _SMALL, series.deriv(derivative)(np.minimum(s, _SMALL)), far)


def binding_of(
    names: Sequence[str], angles: Sequence[ParameterExpression | RotationAngle]
) -> Binding:
    """Return the binding of slots with these angles."""
    plain = [angle for angle in angles if not isinstance(angle, RotationAngle)]
    return Binding(names, plain) if len(plain) == len(angles) else RotationBinding(names, angles)


class RotationBinding(Binding):
    """Binding of a circuit with rotations about free vectors.

    Parameters
    ----------
    names
        The circuit's parameters in Qiskit's order.
    angles
        The angle of every slot; all `ANGLES` of each rotation are among them.
    """

    def __init__(
        self, names: Sequence[str], angles: Sequence[ParameterExpression | RotationAngle]
    ) -> None:
        turned = [(k, a) for k, a in enumerate(angles) if isinstance(a, RotationAngle)]
        vectors = list({id(a.vector): a.vector for _, a in turned}.values())
        row = {id(vector): k for k, vector in enumerate(vectors)}
        self._turned = np.array([k for k, _ in turned])
        self._of_vector = np.array([row[id(a.vector)] for _, a in turned])
        self._number = np.array([a.number for _, a in turned])
        self._vectors = Binding(names, [part for vector in vectors for part in vector])
        self._others = np.array([k for k in range(len(angles)) if k not in {*self._turned}], int)
        super().__init__(names, [a for a in angles if not isinstance(a, RotationAngle)])

    def slots(self, values: np.ndarray) -> np.ndarray:
        """Return slot values (batch, slots), as `Binding.slots` does."""
        own = super().slots(values)
        return self._joined(own, angles_of(self._components(values)))

    def jacobian(self, values: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return d slots / d parameters (batch, slots, parameters), as `Binding.jacobian` does."""
        own = super().jacobian(values, wanted)
        slopes = slopes_of(self._components(values))
        moved = self._vectors.jacobian(values, wanted).reshape(len(slopes), 3, -1)
        return self._joined(own, slopes @ moved)

    @property
    def constant_jacobian(self) -> None:
        """None: angles of rotations are no linear functions."""

    def hessian(self, values: np.ndarray) -> np.ndarray:
        """Return d^2 slots / d parameters^2 (batch, slots, parameters, parameters)."""
        own, size = super().hessian(values), len(self.names)
        if own is None:
            own = np.zeros((len(values), len(self._others), size, size))
        vectors = self._components(values)
        moved = self._vectors.jacobian(values).reshape(len(vectors), 3, size)
        bends = np.einsum("bamn,bmp,bnq->bapq", bends_of(vectors), moved, moved, optimize=True)
        bent = self._vectors.hessian(values)
        if bent is not None:
            bent = bent.reshape(len(vectors), 3, size, size)
            bends += np.einsum("bam,bmpq->bapq", slopes_of(vectors), bent)
        return self._joined(own, bends)

    def _components(self, values: np.ndarray) -> np.ndarray:
        """Return the vectors, (batch * rotations, 3)."""
        return self._vectors.slots(values).reshape(-1, 3)

    def _joined(self, own: np.ndarray, turned: np.ndarray) -> np.ndarray:
        """Put angles of rotations, (batch * rotations, ANGLES, ...), among the others'."""
        result = np.zeros((len(own), len(self._others) + len(self._turned), *own.shape[2:]))
        result[:, self._others] = own
        by_row = turned.reshape(len(own), -1, *turned.shape[1:])
        result[:, self._turned] = by_row[:, self._of_vector, self._number]
        return result
