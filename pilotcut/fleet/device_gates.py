"""Gates of a device, by place: the part of a target that a model can be compiled to.

Of a target's operations those count that are Qiskit's standard gates with free angles. Knows no
circuit; see `pilotcut.fleet.transpile`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qiskit.circuit import Gate, Parameter
from qiskit.transpiler import Target

from pilotcut.backends.usable import has_angle_bounds
from pilotcut.errors import UserError
from pilotcut.fleet.gate_translation import STANDARD_GATES, Basis
from pilotcut.options import counted


@dataclass(frozen=True)
class DeviceGates:
    """Gates of a device that can be used, by place.

    Parameters
    ----------
    qubits
        How many there are.
    names
        The usable gates on (q,) or (q, r).
    everywhere
        The usable gates on any one and on any two qubits.
    couplings
        The smallest error of a gate on (q, r), 0 where none is given.
    """

    qubits: int
    names: Mapping[tuple[int, ...], tuple[str, ...]]
    everywhere: Mapping[int, tuple[str, ...]]
    couplings: Mapping[tuple[int, int], float]

    @classmethod
    def of(cls, target: Target, needed: int) -> DeviceGates:
        """Read the target, for a circuit of so many qubits."""
        qubits = needed if target.num_qubits is None else target.num_qubits
        if needed > qubits:
            raise UserError(
                f"circuit: it has {counted(needed, 'qubit')}, expected at most {qubits}, the "
                "qubits of the "
                "device; choose a larger device or cut the circuit"
            )
        names: dict[tuple[int, ...], tuple[str, ...]] = {}
        everywhere: dict[int, tuple[str, ...]] = {1: (), 2: ()}
        couplings: dict[tuple[int, int], float] = {}
        for name, width in _usable_gates(target):
            for where, properties in target[name].items():
                if where is None:
                    everywhere[width] += (name,)
                    continue
                error = (properties and properties.error) or 0.0
                if width == 2 and error >= 1:  # so calibrations mark what does not work
                    continue
                names[where] = (*names.get(where, ()), name)
                if width == 2:
                    couplings[where] = min(error, couplings.get(where, math.inf))
        return cls(qubits, names, everywhere, couplings)

    def basis(self, qubits: tuple[int, ...]) -> Basis:
        """Return the names of the gates on the one or two qubits."""
        wires = [(q,) for q in qubits]
        pairs = [qubits, qubits[::-1]] if len(qubits) == 2 else []
        return tuple(
            tuple(sorted({*self.names.get(where, ()), *self.everywhere[len(where)]}))
            for where in (*wires, *pairs)
        )


def _usable_gates(target: Target) -> Iterator[tuple[str, int]]:
    """Yield name and width of the target's standard gates whose angles are free."""
    for name in sorted(target.operation_names):
        gate = target.operation_from_name(name)
        if (
            isinstance(gate, Gate)
            and name in STANDARD_GATES
            # A target may call a gate of its own like one of Qiskit's.
            and gate.base_class is STANDARD_GATES[name].base_class
            and gate.num_qubits in (1, 2)
            and all(isinstance(p, Parameter) for p in gate.params)
            # What takes some angles only cannot serve for all that a training comes to.
            and not has_angle_bounds(target, name)
        ):
            yield name, gate.num_qubits
