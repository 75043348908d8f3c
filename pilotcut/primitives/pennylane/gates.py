"""Gates of PennyLane as gates of Qiskit: a table by name.

The first wire is PennyLane's most significant one and Qiskit's least: for gates this matters
only where they are given by a matrix. Global phases are dropped, as no result of the device
depends on them. What is not here PennyLane decomposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from pennylane.operation import Operator
from qiskit.circuit import Instruction, ParameterExpression, library

from pilotcut.circuits.markers import CutWire

#: A free angle, and one of its gates: an instruction and its places among the operator's wires.
Angle: TypeAlias = ParameterExpression
Placed: TypeAlias = tuple[Instruction, Sequence[int]]

#: Without parameters, on the same wires.
FIXED: dict[str, type[Instruction]] = {
    "PauliX": library.XGate,
    "PauliY": library.YGate,
    "PauliZ": library.ZGate,
    "Hadamard": library.HGate,
    "S": library.SGate,
    "T": library.TGate,
    "SX": library.SXGate,
    "Adjoint(S)": library.SdgGate,
    "Adjoint(T)": library.TdgGate,
    "Adjoint(SX)": library.SXdgGate,
    "CNOT": library.CXGate,
    "CY": library.CYGate,
    "CZ": library.CZGate,
    "CH": library.CHGate,
    "SWAP": library.SwapGate,
    "ISWAP": library.iSwapGate,
    "Toffoli": library.CCXGate,
    "CCZ": library.CCZGate,
    "CSWAP": library.CSwapGate,
}

#: Every parameter an angle of the one gate.
TURNS: dict[str, Callable[..., Instruction]] = {
    "RX": library.RXGate,
    "RY": library.RYGate,
    "RZ": library.RZGate,
    "PhaseShift": library.PhaseGate,
    "U1": library.PhaseGate,
    "U3": library.UGate,
    "CRX": library.CRXGate,
    "CRY": library.CRYGate,
    "CRZ": library.CRZGate,
    "ControlledPhaseShift": library.CPhaseGate,
    "IsingXX": library.RXXGate,
    "IsingYY": library.RYYGate,
    "IsingZZ": library.RZZGate,
    # exp(i phi/4 (XX + YY)), where Qiskit's has the other sign.
    "IsingXY": lambda angle: library.XXPlusYYGate(-angle, 0.0),
    "SingleExcitation": lambda angle: library.XXPlusYYGate(angle, -np.pi / 2),
}

_NOTHING = frozenset({"Identity", "Barrier", "GlobalPhase"})

#: Matrices up to this many wires are gates; PennyLane decomposes larger ones.
_MATRIX_WIRES = 2

NAMES = frozenset(
    {*FIXED, *TURNS, *_NOTHING, "Rot", "MultiRZ", "MultiControlledX", "QubitUnitary", "WireCut"}
)


def is_matrix(operator: Operator) -> bool:
    """Whether an operator's parameter is a matrix, which has no angle."""
    return operator.name == "QubitUnitary"


def is_mark(operator: Operator) -> bool:
    """Whether an operator says where a wire is cut."""
    return operator.name == "WireCut"


def has_angles(operator: Operator) -> bool:
    """Whether an operator's parameters are angles that results depend on."""
    return not is_matrix(operator) and operator.name not in _NOTHING


def is_gate(operator: Operator) -> bool:
    """Whether an operator is in the table, and need not be decomposed."""
    if operator.name == "MultiRZ":
        return len(operator.wires) <= 2
    if is_matrix(operator):
        return len(operator.wires) <= _MATRIX_WIRES
    return operator.name in NAMES


def extra_of(operator: Operator) -> object:
    """Return what of an operator that is not in its name, wires and angles decides its effect."""
    if operator.name == "MultiControlledX":
        return tuple(operator.hyperparameters["control_values"])
    return np.asarray(operator.data[0]).tobytes() if is_matrix(operator) else None


def gates_of(operator: Operator, angles: Sequence[Any]) -> Iterator[Placed]:
    """Yield the gates of an operator in order, at places among its own wires.

    Parameters
    ----------
    operator
        One for which `is_gate` is true.
    angles
        Its free angles, in the order of its parameters.
    """
    name, places = operator.name, range(len(operator.wires))
    if name in FIXED:
        yield FIXED[name](), places
    elif name in TURNS:
        yield TURNS[name](*angles), places
    elif name == "Rot":
        turns = (library.RZGate, library.RYGate, library.RZGate)
        yield from ((turn(angle), places) for turn, angle in zip(turns, angles, strict=True))
    elif name == "MultiRZ":
        yield (library.RZGate if len(places) == 1 else library.RZZGate)(*angles), places
    elif name == "MultiControlledX":
        yield _controlled_x(operator), places
    elif is_matrix(operator):
        yield library.UnitaryGate(np.asarray(operator.data[0])), places[::-1]
    elif is_mark(operator):
        yield from ((CutWire(), (place,)) for place in places)


def _controlled_x(operator: Operator) -> Instruction:
    values = operator.hyperparameters["control_values"]
    # Qiskit's first control is the lowest bit.
    state = "".join("1" if value else "0" for value in reversed(values))
    return library.XGate().control(len(values), ctrl_state=state)
