"""Markers: instructions of a circuit that say where a wire is cut, or goes on.

By name and definition they are those of qiskit-addon-cutting, whose own are taken for these (see
`pilotcut.circuits.instructions.class_of`): that package need not be installed.
"""

from __future__ import annotations

from qiskit.circuit import Gate, Instruction, QuantumCircuit


class CutWire(Gate):
    """Marker on one qubit: its wire is cut here.

    Parameters
    ----------
    label
        A remark.

    Examples
    --------
    >>> from qiskit import QuantumCircuit
    >>> from pilotcut import CutWire, compile_plan
    >>> circuit = QuantumCircuit(2)
    >>> _ = circuit.h(0), circuit.append(CutWire(), [0]), circuit.cx(0, 1)
    >>> len(compile_plan(circuit, "ZZ").fragments)
    2
    """

    def __init__(self, label: str | None = None) -> None:
        super().__init__("cut_wire", 1, [], label=label)

    def _define(self) -> None:
        self.definition = QuantumCircuit(1, name=self.name)


class Move(Instruction):
    """The first qubit's state goes on in the second, which must be entangled with nothing.

    Between two labels it is a wire cut. The first qubit is in ``|0>`` afterwards.

    Parameters
    ----------
    label
        A remark.
    """

    def __init__(self, label: str | None = None) -> None:
        super().__init__("move", 2, 0, [], label=label)

    def _define(self) -> None:
        self.definition = QuantumCircuit(2, name=self.name)
        self.definition.reset(1)
        self.definition.swap(0, 1)
