"""Steps: the instructions of a program, on numbered qubits, with angles over slots.

Refuses to know how a circuit is read into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from qiskit.circuit import Instruction

from pilotcut.circuits import controlled_gates, instructions
from pilotcut.circuits.conditions import BitCondition


@dataclass(frozen=True)
class Angle:
    """A free angle: ``scale * slots[slot] + offset``, in radians."""

    slot: int
    scale: float = 1.0
    offset: float = 0.0

    def of(self, slots: np.ndarray) -> np.ndarray:
        """Return the angle for slot values (batch, slots), as (batch,)."""
        return self.scale * slots[:, self.slot] + self.offset

    def scaled(self, factor: float, offset: float = 0.0) -> Angle:
        """Return the angle ``factor * self + offset``."""
        return Angle(self.slot, factor * self.scale, factor * self.offset + offset)


Param = float | Angle | np.ndarray


@dataclass(frozen=True)
class Shown:
    """What a part of a gate is shown as: nothing where another part shows the gate.

    Parameters
    ----------
    name, qubits
        Of the circuit's gate.
    wires
        The program's qubits, ancillas among them, that these are on; empty for themselves.
    step
        The gate's place among the circuit's steps.
    """

    name: str = ""
    qubits: tuple[int, ...] = ()
    wires: tuple[int, ...] = ()
    step: int | None = None


@dataclass(frozen=True)
class Step:
    """One instruction; `params` replaces the gate's own.

    Parameters
    ----------
    gate
        On one or two qubits, or a multi-controlled one
        (`pilotcut.circuits.controlled_gates.whole`).
    qubits
        What it acts on, controls first.
    params
        Its angles, or its matrix.
    shown
        The gate of the circuit that this is a part of, where it is shown instead.
    writes
        The number of the value that a measurement in mid-circuit finds.
    condition
        Of values, where it stands under classical control; it then is on one or two qubits.
    """

    gate: Instruction
    qubits: tuple[int, ...]
    params: tuple[Param, ...] = ()
    shown: Shown | None = field(default=None, compare=False)
    writes: int | None = None
    condition: BitCondition | None = None

    @property
    def name(self) -> str:
        """Name of the gate."""
        return self.gate.name

    def gate_with(self, params: Sequence[object]) -> Instruction:
        """Return the gate with other parameters; the step's own gate is left alone."""
        if not self.params or instructions.is_matrix(self.gate):
            return self.gate  # a matrix is its own parameter, and never free
        if len(self.qubits) > 2:
            return controlled_gates.with_params(self.gate, params)
        return self.gate.base_class(*params)  # a copy would keep a definition for old angles

    def placed(self, qubits: Sequence[int], free: Angle | None) -> Step:
        """Return a step of a gate's own qubits and free angle, slot 0, on those of a circuit."""
        params = (
            free.scaled(p.scale, p.offset) if free and isinstance(p, Angle) else p
            for p in self.params
        )
        return replace(self, qubits=tuple(qubits[q] for q in self.qubits), params=tuple(params))

    @property
    def key(self) -> tuple[object, ...]:
        """Return what decides the step's effect, independent of how parameters are called."""
        own = (self.name, self.qubits, tuple(_param_key(p) for p in self.params))
        return own if not self.is_classical else (*own, self.writes, self.condition)

    @property
    def is_classical(self) -> bool:
        """Whether it measures in mid-circuit, or stands under classical control."""
        return self.writes is not None or self.condition is not None

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that it depends on."""
        return () if self.condition is None else self.condition.values

    def with_values(self, number: Mapping[int, int]) -> Step:
        """Return the step with other numbers for its values."""
        if not self.is_classical:
            return self
        return replace(
            self,
            writes=None if self.writes is None else number[self.writes],
            condition=None if self.condition is None else self.condition.renumbered(number),
        )


def _param_key(param: Param) -> object:
    if isinstance(param, np.ndarray):
        return param.tobytes()
    return (param.slot, param.scale, param.offset) if isinstance(param, Angle) else param
