"""Gates with free angles as products of Pauli rotations, whose angles are linear in the gate's own.

One table says what every parametrised gate of Qiskit is, up to a phase: a CRZ is a rotation about Z
on its target and one about ZZ, and so on. The blocks of a cut read gates through it.
"""

from __future__ import annotations

from pilotcut.circuits.program import Angle, AngleSum, Step
from pilotcut.errors import CutError

#: A rotation of a gate: Paulis on its qubits, a weight for each parameter.
_Row = tuple[str, tuple[float, ...]]

_CONTROLLED_PHASE: list[_Row] = [("ZI", (0.5,)), ("IZ", (0.5,)), ("ZZ", (-0.5,))]

# Between two CX stand RZ and RY of the target, and the CX turn these to ZZ and ZY: this is how
# Qiskit defines CU3.
_CU3: list[_Row] = [
    ("IZ", (0, -0.5, 0.5)),
    ("ZZ", (0, -0.5, -0.5)),
    ("ZY", (-0.5, 0, 0)),
    ("IY", (0.5, 0, 0)),
    ("IZ", (0, 1, 0)),
    ("ZI", (0, 0.5, 0.5)),
]

#: Gate -> its rotations, the first of which acts first.
_TURNS: dict[str, list[_Row]] = {
    "rx": [("X", (1,))],
    "ry": [("Y", (1,))],
    **{name: [("Z", (1,))] for name in ("rz", "p", "u1")},
    **{name: [("Z", (0, 0, 1)), ("Y", (1, 0, 0)), ("Z", (0, 1, 0))] for name in ("u", "u3")},
    "r": [("Z", (0, -1)), ("X", (1, 0)), ("Z", (0, 1))],
    "rxx": [("XX", (1,))],
    "ryy": [("YY", (1,))],
    "rzz": [("ZZ", (1,))],
    "rzx": [("ZX", (1,))],
    "crx": [("IX", (0.5,)), ("ZX", (-0.5,))],
    "cry": [("IY", (0.5,)), ("ZY", (-0.5,))],
    "crz": [("IZ", (0.5,)), ("ZZ", (-0.5,))],
    "cp": _CONTROLLED_PHASE,
    "cu1": _CONTROLLED_PHASE,
    "cu3": _CU3,
    "cu": [*((paulis, (*weights, 0)) for paulis, weights in _CU3), ("ZI", (0, 0, 0, 1))],
    "xx_plus_yy": [("ZI", (0, 1)), ("XX", (0.5, 0)), ("YY", (0.5, 0)), ("ZI", (0, -1))],
    "xx_minus_yy": [("IZ", (0, -1)), ("XX", (0.5, 0)), ("YY", (-0.5, 0)), ("IZ", (0, 1))],
}

#: The rotation about Y in the middle of a U2, which has no parameter.
_QUARTER = 1.5707963267948966


def has_turns(step: Step) -> bool:
    """Whether a step has no free angle, or is a product of Pauli rotations."""
    return step.name in (*_TURNS, "u2") or not step.is_free


def turns_of(step: Step) -> list[tuple[str, AngleSum]]:
    """Return the rotations of a step with a free angle: Paulis on its qubits, and angles.

    Raises
    ------
    CutError
        If it is no such product.
    """
    params = [p for p in step.params if isinstance(p, (int, float, Angle))]
    if step.name == "u2":
        phi, lam = (AngleSum.over([(p, 1.0)]) for p in params)
        return [("Z", lam), ("Y", AngleSum((), _QUARTER)), ("Z", phi)]
    if step.name not in _TURNS:
        raise CutError(
            f"gate '{step.name}' on qubits {step.qubits} has a free parameter and cannot be cut, "
            f"expected one of {', '.join(sorted(_TURNS))}; bind it, decompose it, or choose "
            f"other labels"
        )
    return [
        (paulis, AngleSum.over(zip(params, weights, strict=True)))
        for paulis, weights in _TURNS[step.name]
    ]
