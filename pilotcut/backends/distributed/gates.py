"""A circuit as gates with small matrices, and what each does to its qubits.

Refuses to know ranks: which qubits are global is the planner's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotcut.backends.native_gates import MatrixGate, NativeFragment, program_over_native_gates
from pilotcut.circuits.program import Program
from pilotcut.errors import CutError

_SWAP = np.eye(4)[[0, 2, 1, 3]]


@dataclass(frozen=True)
class GateList:
    """Gates of a circuit in order, and where its qubits end.

    Parameters
    ----------
    gates
        Without swaps, which only give qubits other names.
    reaches
        What each of them does to its qubits.
    linear, offset
        Angles of gates are ``slots @ linear + offset``.
    wire_of
        For each qubit of the circuit, the wire that it is on at the end.
    """

    gates: tuple[MatrixGate, ...]
    reaches: tuple[Reach, ...]
    linear: np.ndarray
    offset: np.ndarray
    wire_of: tuple[int, ...]


@dataclass(frozen=True)
class Reach:
    """What a gate does to its qubits, as bits.

    Parameters
    ----------
    qubits
        On which it acts.
    turned
        Those of them on which it is not diagonal: their amplitudes are mixed. A control is not
        turned.
    """

    qubits: int
    turned: int


def gates_of(program: Program) -> GateList:
    """Return the gates of a program without measurements in mid-circuit.

    Raises
    ------
    CutError
        For measurements in mid-circuit, classical control and resets: a state vector has none.
    """
    opened = program.opened
    for step in opened.steps:
        if step.is_classical or step.name == "reset":
            raise CutError(
                f"the circuit has '{step.name}' on qubits {step.qubits} in mid-circuit, expected "
                f"unitary gates, as one state has no measurements; CutEstimator takes them"
            )
    native = program_over_native_gates(opened)
    gates, wire_of = _without_swaps(native, program.num_qubits)
    reaches = tuple(map(reach_of, gates))
    return GateList(gates, reaches, native.linear, native.offset, wire_of)


def _without_swaps(
    native: NativeFragment, num_qubits: int
) -> tuple[tuple[MatrixGate, ...], tuple[int, ...]]:
    wire_of = list(range(num_qubits))
    gates = []
    for gate in native.steps:
        assert isinstance(gate, MatrixGate), "a circuit that is not cut has no sites"
        if gate.angle is None and gate.matrix.shape == (4, 4) and np.allclose(gate.matrix, _SWAP):
            one, two = gate.wires
            wire_of[one], wire_of[two] = wire_of[two], wire_of[one]
        else:
            gates.append(replace(gate, wires=tuple(wire_of[q] for q in gate.wires)))
    return tuple(gates), tuple(wire_of)


def reach_of(gate: MatrixGate) -> Reach:
    """Return what a gate does to its wires, whatever its angle.

    Examples
    --------
    >>> cx = MatrixGate((5, 1), np.eye(4)[[0, 1, 3, 2]])
    >>> reach_of(cx) == Reach(qubits=1 << 5 | 1 << 1, turned=1 << 1)
    True
    """
    size = len(gate.wires)
    tensor = gate.matrix.reshape(-1, *(2,) * (2 * size))
    turned = 0
    for place, wire in enumerate(gate.wires):
        mixed = np.moveaxis(tensor, (1 + place, 1 + size + place), (0, 1))
        if np.any(mixed[0, 1]) or np.any(mixed[1, 0]):
            turned |= 1 << wire
    return Reach(sum(1 << wire for wire in gate.wires), turned)


def specialised(gate: MatrixGate, bits: dict[int, int]) -> MatrixGate | None:
    """Return what a gate is where some wires, on which it is diagonal, have known bits.

    None if it then does nothing.
    """
    size = len(gate.wires)
    index: list[slice | int] = [slice(None)]
    ends = [bits.get(wire, slice(None)) for wire in gate.wires]
    tensor = gate.matrix.reshape(-1, *(2,) * (2 * size))[tuple(index + ends + ends)]
    wires = tuple(wire for wire in gate.wires if wire not in bits)
    matrix = tensor.reshape(-1, 2 ** len(wires), 2 ** len(wires))
    unit = np.eye(2 ** len(wires))
    if np.array_equal(matrix[0], unit) and not np.any(matrix[1:]):
        return None
    return MatrixGate(wires, matrix if gate.angle is not None else matrix[0], gate.angle)


def value_at(gate: MatrixGate, angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return a gate's matrix (d, d) at some angles."""
    if gate.angle is None:
        return gate.matrix
    half = angles[gate.angle] / 2
    constant, even, odd = gate.matrix
    return constant + even * np.cos(half) + odd * np.sin(half)


def slope_at(gate: MatrixGate, angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the derivative (d, d) of a gate's matrix by its angle."""
    assert gate.angle is not None, "a constant gate has no derivative"
    half = angles[gate.angle] / 2
    _, even, odd = gate.matrix
    return (odd * np.cos(half) - even * np.sin(half)) / 2
