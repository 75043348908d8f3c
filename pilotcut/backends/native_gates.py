"""Native gates: a fragment over the few gates whose matrices are simple functions of one angle.

A native gate has one free angle t and the matrix ``K0 + K1 cos(t/2) + K2 sin(t/2)``, so
the matrices of all free gates of a batch are one tensor product. Other gates are replaced
by their definitions until only native and constant ones are left.

A measurement in mid-circuit becomes a CX onto a wire of its own, and what its value controls a
controlled gate: deferred measurement, which gives the same values exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping

from pilotcut.circuits.conditions import BitCondition
from pilotcut.circuits.program import Angle, Program, Step, read_circuit
from pilotcut.cutting.fragment import Fragment, Site

#: Native gates, by the gate whose matrix they have up to a global phase.
NATIVE = {
    **{name: name for name in ("rx", "ry", "rz", "rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz")},
    # Their phase exp(i t/2) cancels between ket and bra.
    "p": "rz",
    "u1": "rz",
}

# CX, whose control is the more significant.
_COPY = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=complex)

_FIT_ANGLES = (0.4, 1.9, 4.3)


@dataclass(frozen=True)
class MatrixGate:
    """A gate as a matrix.

    Parameters
    ----------
    wires
        One or two, and those of the values that control it in front; the first is the most
        significant in the matrix.
    matrix
        (d, d) if it is constant, else (3, d, d): the harmonics ``K0, K1, K2``.
    angle
        Which native angle it has, or None.
    """

    wires: tuple[int, ...]
    matrix: np.ndarray
    angle: int | None = None


@dataclass(frozen=True)
class NativeFragment:
    """A fragment over native gates.

    Parameters
    ----------
    steps
        Gates and sites in order.
    linear, offset
        Native angles are ``angles @ linear + offset``, (angles, natives) and (natives,).
    num_wires
        Number of wires: the fragment's, and behind them those of measured values.
    """

    steps: tuple[MatrixGate | Site, ...]
    linear: np.ndarray
    offset: np.ndarray
    num_wires: int


def over_native_gates(fragment: Fragment) -> NativeFragment:
    """Return the fragment over native gates."""
    rewriting = _Rewriting(len(fragment.angles))
    values, own = _ValueWires(fragment), np.eye(len(fragment.angles))
    for place, step in enumerate(fragment.steps):
        if isinstance(step, Site):
            rewriting.steps.append(step)
        elif step.writes is not None:
            rewriting.steps += values.copied(place, step)
        else:
            first = len(rewriting.steps)
            rewriting.add(step, own, np.zeros(len(fragment.angles)))
            if step.condition is not None:
                rewriting.steps[first:] = [
                    values.controlled(gate, step.condition)
                    for gate in rewriting.steps[first:]
                    if isinstance(gate, MatrixGate)
                ]
    linear = np.array(rewriting.rows).reshape(len(rewriting.rows), len(fragment.angles)).T
    offset = np.array(rewriting.offsets)
    return NativeFragment(tuple(rewriting.steps), linear, offset, values.num_wires)


def program_over_native_gates(program: Program) -> NativeFragment:
    """Return a program of one- and two-qubit gates, without measurements, over native gates."""
    rewriting = _Rewriting(program.num_slots)
    own, none = np.eye(program.num_slots), np.zeros(program.num_slots)
    for step in program.steps:
        rewriting.add(step, own, none)
    linear = np.array(rewriting.rows).reshape(len(rewriting.rows), program.num_slots).T
    return NativeFragment(
        tuple(rewriting.steps), linear, np.array(rewriting.offsets), program.num_qubits
    )


class _ValueWires:
    """The wires that hold measured values."""

    def __init__(self, fragment: Fragment) -> None:
        self.num_wires = fragment.num_wires
        self._last = fragment.lifetimes().last
        self._wire: dict[int, int] = {}

    def copied(self, place: int, step: Step) -> list[MatrixGate]:
        """Return the copy of a measured bit onto a wire of its own, none where it may stay."""
        (measured,) = step.qubits
        assert step.writes is not None
        if step.condition is None and self._last[measured] == place:
            self._wire[step.writes] = measured  # it has no more to do, and nobody observes it
            return []
        copy, self.num_wires = self.num_wires, self.num_wires + 1
        self._wire[step.writes] = copy
        gate = MatrixGate((measured, copy), _COPY)
        return [gate if step.condition is None else self.controlled(gate, step.condition)]

    def controlled(self, gate: MatrixGate, condition: BitCondition) -> MatrixGate:
        """Return a gate under a condition, as a block for each assignment of its values."""
        # A phase of the whole gate, which native gates leave out, only turns values against each
        # other, and nobody sees that: their wires do nothing but control.
        size, count = gate.matrix.shape[-1], len(condition.values)
        rows = 1 << count
        off = np.zeros_like(gate.matrix)
        constant = off if gate.matrix.ndim == 2 else off[0]
        constant += np.eye(size)
        whole = np.zeros((*gate.matrix.shape[:-2], rows * size, rows * size), dtype=complex)
        for row, holds in enumerate(condition.table):
            # In the matrix the first wire is the highest bit, in the table the first value the
            # lowest.
            high = sum((row >> k & 1) << (count - 1 - k) for k in range(count))
            here = slice(high * size, (high + 1) * size)
            whole[..., here, here] = gate.matrix if holds else off
        wires = tuple(self._wire[value] for value in condition.values)
        return MatrixGate((*wires, *gate.wires), whole, gate.angle)


class _Rewriting:
    def __init__(self, num_angles: int) -> None:
        self.steps: list[MatrixGate | Site] = []
        self.rows: list[np.ndarray] = []
        self.offsets: list[float] = []

    def add(self, step: Step, linear: np.ndarray, offset: np.ndarray) -> None:
        """Add a step whose slot k has the value ``linear[k] @ angles + offset[k]``."""
        free = [p for p in step.params if isinstance(p, Angle)]
        if not free:
            self.steps.append(MatrixGate(step.qubits, _big_endian(_bound(step))))
        elif step.name in NATIVE:
            (p,) = free
            self.rows.append(p.scale * linear[p.slot])
            self.offsets.append(p.scale * float(offset[p.slot]) + p.offset)
            self.steps.append(
                MatrixGate(step.qubits, _harmonics(NATIVE[step.name]), len(self.rows) - 1)
            )
        else:
            self._open(step, free, linear, offset)

    def _open(self, step: Step, free: list[Angle], linear: np.ndarray, offset: np.ndarray) -> None:
        """Add the gates of the step's definition instead."""
        names = [Parameter(f"t{k:03}") for k in range(len(free))]
        program, binding = read_circuit(_definition(step, names))
        used = [int(name[1:]) for name in binding.names]  # a parameter may not occur
        own = np.array([free[k].scale * linear[free[k].slot] for k in used])
        shift = np.array([free[k].scale * offset[free[k].slot] + free[k].offset for k in used])
        # Angles within Qiskit's definitions are linear in the gate's own: a value and a slope say
        # all.
        at_zero = np.zeros((1, len(used)))
        slopes, start = binding.jacobian(at_zero)[0], binding.slots(at_zero)[0]
        for inner in program.steps:
            where = tuple(step.qubits[q] for q in inner.qubits)
            self.add(Step(inner.gate, where, inner.params), slopes @ own, start + slopes @ shift)


def _definition(step: Step, names: list[Parameter]) -> QuantumCircuit:
    fresh = iter(names)
    gate = step.gate_with([next(fresh) if isinstance(p, Angle) else p for p in step.params])
    inner = QuantumCircuit(gate.num_qubits)
    if gate.definition is None:  # only U has none: a rotation about Y between two about Z
        theta, phi, lam = gate.params
        inner.rz(lam, 0)
        inner.ry(theta, 0)
        inner.rz(phi, 0)
        return inner
    # Rebuilt gate by gate: the definition's own parameter table misses what was replaced.
    for instruction in gate.definition.data:
        where = [gate.definition.find_bit(q).index for q in instruction.qubits]
        inner.append(instruction.operation, where)
    return inner


def _bound(step: Step) -> np.ndarray:
    return np.asarray(step.gate_with(step.params).to_matrix(), dtype=complex)


@cache
def _harmonics(name: str) -> np.ndarray:
    """Fit ``K0, K1, K2`` to Qiskit's own matrices at three angles, (3, d, d)."""
    gate = get_standard_gate_name_mapping()[name].to_mutable()
    samples = []
    for angle in _FIT_ANGLES:
        gate.params = [angle]
        # Three angles fix three harmonics; Qiskit's own matrices are fitted, so no convention of
        # signs is written down a second time.
        samples.append(_big_endian(np.asarray(gate.to_matrix(), dtype=complex)))
    design = [[1, np.cos(x / 2), np.sin(x / 2)] for x in _FIT_ANGLES]
    return np.tensordot(np.linalg.inv(design), np.array(samples), axes=1)


def _big_endian(matrix: np.ndarray) -> np.ndarray:
    """Turn Qiskit's order, first qubit least significant, around."""
    if len(matrix) == 2:
        return matrix
    return matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
