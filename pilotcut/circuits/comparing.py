"""Circuits as plain values, to tell whether two processes mean the same one.

Names that Qiskit numbers, and identities that it draws at random, are left out: circuits that would
run alike are alike. What is not known to be all that an operation is made of is left to whoever
compares. Refuses to know what circuits are compared for.
"""

from __future__ import annotations

import re
from typing import Any

from qiskit.circuit import (
    CircuitInstruction,
    ControlledGate,
    Gate,
    Instruction,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.circuit import Operation as QiskitOperation

#: Modules whose operations are all in a name, parameters, a label and the state of controls.
_PLAIN = (
    "qiskit.circuit.library.standard_gates",
    "qiskit.circuit.measure",
    "qiskit.circuit.reset",
    "qiskit.circuit.barrier",
)
#: What Qiskit calls circuits without a name, and gates made of them: a number, and of a process
#: that another one started its own.
_NUMBERED = re.compile(r"circuit-\d+(-\d+)?")


def parts_of(value: Any) -> Any | None:
    """Return what a circuit, an operation or an expression is made of, None of anything else.

    Examples
    --------
    >>> circuit = QuantumCircuit(2, name="of this process alone")
    >>> _ = circuit.cx(0, 1)
    >>> parts_of(circuit)[-1]
    ((('CXGate', 'cx', 2, (), None, 1), (0, 1), ()),)
    """
    if isinstance(value, QuantumCircuit):
        return _circuit(value)
    if isinstance(value, ParameterExpression):
        names = tuple(sorted(parameter.name for parameter in value.parameters))
        return ("expression", str(value), names)
    # Of a gate without parameters Qiskit makes a class of its own, whose base is what it is.
    kind = getattr(value, "base_class", None) if isinstance(value, QiskitOperation) else None
    if kind is not None and kind.__module__.startswith(_PLAIN):
        return _operation(kind.__name__, value)
    if type(value) in (Gate, Instruction, ControlledGate):  # all of it is in its definition
        return (*_operation(type(value).__name__, value), value.definition)
    return None


def _circuit(circuit: QuantumCircuit) -> tuple[Any, ...]:
    qubits = {bit: place for place, bit in enumerate(circuit.qubits)}
    clbits = {bit: place for place, bit in enumerate(circuit.clbits)}
    layout = circuit.layout
    placed = (
        None if layout is None else (layout.initial_index_layout(), layout.final_index_layout())
    )
    variables = tuple(map(str, circuit.iter_vars()))
    return (
        (circuit.num_qubits, circuit.num_clbits, circuit.num_ancillas),
        tuple((register.name, register.size) for register in (*circuit.qregs, *circuit.cregs)),
        (circuit.global_phase, circuit.metadata or None, placed, variables),
        tuple(_step(step, qubits, clbits) for step in circuit.data),
    )


def _step(step: CircuitInstruction, qubits: dict[Any, int], clbits: dict[Any, int]) -> Any:
    operation = parts_of(step.operation)
    return (
        step.operation if operation is None else operation,
        tuple(qubits[bit] for bit in step.qubits),
        tuple(clbits[bit] for bit in step.clbits),
    )


def _operation(kind: str, operation: Any) -> tuple[Any, ...]:
    state = operation.ctrl_state if isinstance(operation, ControlledGate) else None
    name = _NUMBERED.sub("circuit", operation.name)
    found = (kind, name, operation.num_qubits, tuple(operation.params))
    return (*found, operation.label, state)
