"""Steps: the instructions of a program, on numbered qubits, with angles over slots.

Refuses to know how a circuit is read into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class AngleSum:
    """A sum of free angles: ``sum_k scale_k * slots[slot_k] + offset``, in radians.

    Gates that are cut as one turn by such sums; a gate within a fragment has `Angle`s alone.

    Parameters
    ----------
    terms
        Pairs (slot, scale), each slot once, in the order of slots.
    offset
        What is added, in radians.
    """

    terms: tuple[tuple[int, float], ...]
    offset: float = 0.0

    @classmethod
    def over(cls, weighted: Iterable[tuple[Angle | float, float]], offset: float = 0.0) -> AngleSum:
        """Return the sum of angles, free or not, times their weights."""
        scales: dict[int, float] = {}
        for angle, weight in weighted:
            if isinstance(angle, Angle):
                scales[angle.slot] = scales.get(angle.slot, 0.0) + weight * angle.scale
                offset += weight * angle.offset
            else:
                offset += weight * angle
        # What cancels, as t/2 - t/2 does, is no angle any more.
        return cls(tuple((k, v) for k, v in sorted(scales.items()) if abs(v) > 1e-12), offset)

    def of(self, slots: np.ndarray) -> np.ndarray:
        """Return the angle for slot values (batch, slots), as (batch,)."""
        total = np.full(len(slots), self.offset)
        for slot, scale in self.terms:
            total = total + scale * slots[:, slot]
        return total

    def scaled(self, factor: float) -> AngleSum:
        """Return the angle times a factor."""
        return AngleSum(tuple((k, factor * v) for k, v in self.terms), factor * self.offset)

    def plus(self, other: AngleSum) -> AngleSum:
        """Return the sum of two."""
        both = [(Angle(slot), scale) for slot, scale in (*self.terms, *other.terms)]
        return AngleSum.over(both, self.offset + other.offset)


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
    def is_free(self) -> bool:
        """Whether one of its angles is free."""
        return any(isinstance(param, Angle) for param in self.params)

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
