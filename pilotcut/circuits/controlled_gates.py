"""Multi-controlled gates: what a program keeps whole, as it is cut cheaper than its parts.

A kept gate is one of Qiskit's by its class: closed controls, then one target qubit with a gate of
Qiskit's own or a matrix on it, or two that a SWAP exchanges. Open controls are X around closed
ones, as Qiskit defines them. How such a gate is cut, `pilotcut.cutting.controlled` knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    ControlModifier,
    Instruction,
    Operation,
    QuantumCircuit,
)
from qiskit.circuit.library import (
    C3SXGate,
    C3XGate,
    C4XGate,
    CCXGate,
    CCZGate,
    CSwapGate,
    MCPhaseGate,
    MCU1Gate,
    MCXGate,
    SwapGate,
    UnitaryGate,
)
from qiskit.quantum_info import Operator

from pilotcut.circuits import instructions
from pilotcut.circuits.gate_matrices import at_some_values

#: Gates whose class says all: no parameters, and a number of controls.
_FIXED = frozenset({CCXGate, CCZGate, CSwapGate, C3XGate, C4XGate, C3SXGate})

#: Targets that may have a free angle: their eigenvectors do not depend on it.
FREE_TARGETS = frozenset({"rx", "ry", "rz", "p", "u1"})

#: Qubits up to which a definition is held against what the controls and the target say.
_MOST_CHECKED = 6


def without_modifiers(gate: Operation) -> Operation:
    """Return a gate of Qiskit's own under control modifiers as the controlled gate it is."""
    if not isinstance(gate, AnnotatedOperation) or not instructions.is_standard(gate.base_op):
        return gate
    if not all(isinstance(modifier, ControlModifier) for modifier in gate.modifiers):
        return gate
    result = gate.base_op
    for modifier in gate.modifiers:
        result = result.control(
            modifier.num_ctrl_qubits, ctrl_state=modifier.ctrl_state, annotated=False
        )
    return result


def whole(gate: Operation) -> Instruction | None:
    """Return the plain multi-controlled gate of the same effect; None for any other gate.

    It has no label, and angles of zero: a `Step` has those of the given gate.
    """
    if not isinstance(gate, ControlledGate) or gate.num_qubits < 3:
        return None
    controls = gate.num_ctrl_qubits
    if gate.ctrl_state != (1 << controls) - 1:
        return None  # its definition has X around a closed one
    kind = gate.base_class
    if kind in _FIXED:
        return kind()
    if gate.num_qubits == controls + 1:
        if issubclass(kind, MCXGate) and kind.__module__.startswith("qiskit."):
            return MCXGate(controls)
        if kind in (MCPhaseGate, MCU1Gate):
            return kind(0.0, controls)
    return _of_base(gate) if kind is ControlledGate else None


def target_of(gate: Instruction) -> Instruction:
    """Return what a kept gate does to its target, or targets, at angles of zero."""
    assert isinstance(gate, ControlledGate)
    return gate.base_gate


def swaps(gate: Instruction) -> bool:
    """Whether a kept gate exchanges its last two qubits."""
    return instructions.class_of(target_of(gate)) is SwapGate


def with_params(gate: Instruction, params: Sequence[object]) -> Instruction:
    """Return a kept gate with other parameters."""
    assert isinstance(gate, ControlledGate)
    controls = gate.num_ctrl_qubits
    kind = gate.base_class
    if kind in (MCPhaseGate, MCU1Gate):
        return kind(*params, controls)
    base = gate.base_gate
    if not base.params or instructions.is_matrix(base):
        return gate
    return base.base_class(*params).control(controls, annotated=False)


def _of_base(gate: ControlledGate) -> Instruction | None:
    """Return the controlled gate that a `ControlledGate` says it is, if its definition agrees."""
    base = gate.base_gate
    if instructions.class_of(base) is SwapGate:
        plain: Instruction = SwapGate()
    elif base.num_qubits != 1 or isinstance(base, ControlledGate):
        return None
    elif instructions.is_standard(base):
        if instructions.is_free(base) and base.name not in FREE_TARGETS:
            return None
        plain = base.base_class(*[0.0] * len(base.params))
    elif instructions.is_matrix(base):
        plain = UnitaryGate(base.params[0], check_input=False)
    else:
        return _of_other_base(gate)
    return plain.control(gate.num_ctrl_qubits, annotated=False) if _agrees(gate) else None


def _of_other_base(gate: ControlledGate) -> Instruction | None:
    """Return the controlled matrix that a gate of any other base comes to, None if it is none."""
    base = gate.base_gate
    if (
        instructions.is_free(base)
        or gate.num_qubits > _MOST_CHECKED
        or base.definition is None
        or base.definition.parameters
    ):
        return None
    # Qiskit controls somebody's gate by its name: what the base is, is not what is controlled.
    matrix = UnitaryGate(Operator(base.definition).data, check_input=False)
    plain: Instruction = matrix.control(gate.num_ctrl_qubits, annotated=False)
    definition = gate.definition
    same = definition is not None and Operator(definition) == Operator(plain.definition)
    return plain if same else None


def _agrees(gate: ControlledGate) -> bool:
    """Whether a gate's definition is the controlled gate that its parts make up."""
    # Anybody may make a ControlledGate whose definition and base gate differ, or give it other
    # params, which leave its definition as it was. The definition is what Qiskit runs.
    bound, values = at_some_values(gate)
    definition = gate.definition
    if definition is None or not set(definition.parameters) <= set(values):
        return False
    definition = definition.assign_parameters({p: values[p] for p in definition.parameters})
    want = bound.base_gate.control(gate.num_ctrl_qubits, annotated=False).definition
    if _same_gates(definition, want):
        return True
    return gate.num_qubits <= _MOST_CHECKED and Operator(definition) == Operator(want)


def _same_gates(one: QuantumCircuit, other: QuantumCircuit) -> bool:
    pairs = zip(one.data, other.data, strict=False)
    return len(one.data) == len(other.data) and all(
        a.operation.base_class is b.operation.base_class
        and instructions.is_standard(a.operation)
        and [one.find_bit(q).index for q in a.qubits] == [other.find_bit(q).index for q in b.qubits]
        and np.allclose(
            [float(p) for p in a.operation.params], [float(p) for p in b.operation.params]
        )
        for a, b in pairs
    )
