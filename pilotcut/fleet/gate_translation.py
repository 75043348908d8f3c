"""Translation of one gate to the gates of a device, by itself.

Qiskit's passes run on the gate alone. They are slow for one gate (milliseconds) and a model
has few kinds of gates, so each kind is translated once in a process, with slots for its
angles, for all devices that have the same gates there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from qiskit.circuit import Gate, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.equivalence_library import SessionEquivalenceLibrary
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.passes import (
    BasisTranslator,
    GateDirection,
    Optimize1qGatesDecomposition,
    UnrollCustomDefinitions,
)

from pilotcut.errors import UserError

#: A number or an expression of the circuit's own parameters.
Value: TypeAlias = float | ParameterExpression

#: The names of the gates on the wire (0,), or on the wires (0,), (1,), (0, 1) and (1, 0).
Basis: TypeAlias = tuple[tuple[str, ...], ...]

#: Qiskit's gates by name; its function makes them anew at every call.
STANDARD_GATES: Mapping[str, Gate] = get_standard_gate_name_mapping()

#: What stands for a gate's angles while its kind is translated once for all.
_SLOTS = tuple(Parameter(f"pilotcut.fleet slot {k}") for k in range(4))


@dataclass(frozen=True)
class BasisGate:
    """A gate of a device's basis: on the wires of the gate it came from, or on physical qubits.

    Parameters
    ----------
    name
        One of Qiskit's standard gates, as in the device's target.
    params
        Angles in radians, or expressions of the model's parameters.
    qubits
        In a direction that the device has. As `translate` returns it, wires of the translated
        gate: 0 or 1, or both.
    """

    name: str
    params: tuple[Value, ...]
    qubits: tuple[int, ...]

    def on(self, qubits: tuple[int, ...]) -> BasisGate:
        """Return the gate with its wires on these qubits."""
        return replace(self, qubits=tuple(qubits[wire] for wire in self.qubits))


def translate(gate: Gate, basis: Basis) -> tuple[BasisGate, ...]:
    """Return what the gate becomes, up to a global phase.

    Parameters
    ----------
    gate
        On one or two qubits, with or without unbound parameters.
    basis
        Names of the gates that there are where it is to run.

    Raises
    ------
    UserError
        If the basis cannot express it.
    """
    standard = STANDARD_GATES.get(gate.name)
    # The cache goes by names, so a gate of somebody's own is translated for itself.
    if standard is None or standard.base_class is not gate.base_class:
        return _run_passes(gate, basis)
    values = [_value(p) for p in gate.params]
    pattern = tuple(_quarter_turns(v) for v in values)
    kind = _translate_kind(gate.name, pattern, basis)
    slots = {s: v for s, v, k in zip(_SLOTS, values, pattern, strict=False) if k is None}
    return tuple(_fill(each, slots) for each in kind) if slots else kind


def _value(param: Value) -> Value:
    if isinstance(param, ParameterExpression) and param.parameters:
        return param
    return float(param)


def _quarter_turns(value: Value) -> int | None:
    """Return the angle in units of π/2 if it is a whole number of them.

    At these angles a gate may become a shorter sequence than at others. One translation per
    kind of gate serves all other angles and all parameters, and a model's vector does not
    depend on its weights.
    """
    if isinstance(value, ParameterExpression) or not math.isfinite(value):
        return None
    turns = round(value / (math.pi / 2))
    return turns if math.isclose(value, turns * math.pi / 2, abs_tol=1e-12) else None


@lru_cache(maxsize=4096)
def _translate_kind(
    name: str, pattern: tuple[int | None, ...], basis: Basis
) -> tuple[BasisGate, ...]:
    params = [
        slot if turns is None else turns * math.pi / 2
        for slot, turns in zip(_SLOTS, pattern, strict=False)
    ]
    gate = STANDARD_GATES[name]
    return _run_passes(gate.base_class(*params), basis)


def _run_passes(gate: Gate, basis: Basis) -> tuple[BasisGate, ...]:
    """Return the gate over the basis, runs of constant one-qubit gates merged."""
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    try:
        translated = _translator(basis).run(circuit)
    except QiskitError as error:
        raise UserError(
            f"target: gate '{gate.name}' cannot be written in {_listed(basis)}, the gates where it "
            "is to run, expected a universal set of standard gates with free angles; add what "
            "lacks to the target"
        ) from error
    index = {qubit: k for k, qubit in enumerate(translated.qubits)}
    return tuple(
        BasisGate(
            instruction.operation.name,
            tuple(_value(p) for p in instruction.operation.params),
            tuple(index[q] for q in instruction.qubits),
        )
        for instruction in translated.data
    )


def _listed(basis: Basis) -> str:
    return ", ".join(sorted({name for names in basis for name in names})) or "no gates"


def _translator(basis: Basis) -> PassManager:
    target = _little_target(basis)
    library = SessionEquivalenceLibrary
    return PassManager(
        [
            UnrollCustomDefinitions(library, target=target),
            BasisTranslator(library, target_basis=None, target=target),
            GateDirection(None, target=target),
            BasisTranslator(library, target_basis=None, target=target),  # the turned gates' H
            Optimize1qGatesDecomposition(target=target),
        ]
    )


@lru_cache(maxsize=256)
def _little_target(basis: Basis) -> Target:
    """Return the one or two qubits of a gate as a device of their own, without errors."""
    wires: list[tuple[int, ...]] = [(0,)] if len(basis) == 1 else [(0,), (1,), (0, 1), (1, 0)]
    where: dict[str, dict[tuple[int, ...], None]] = {}
    for qubits, names in zip(wires, basis, strict=True):
        for name in names:
            where.setdefault(name, {})[qubits] = None
    target = Target(num_qubits=1 if len(basis) == 1 else 2)
    for name, places in where.items():
        target.add_instruction(STANDARD_GATES[name], places)
    return target


def _fill(gate: BasisGate, slots: Mapping[Parameter, Value]) -> BasisGate:
    if not any(isinstance(p, ParameterExpression) for p in gate.params):
        return gate
    return replace(gate, params=tuple(_filled(p, slots) for p in gate.params))


def _filled(param: Value, slots: Mapping[Parameter, Value]) -> Value:
    if not isinstance(param, ParameterExpression):
        return param
    if isinstance(param, Parameter) and param in slots:
        return slots[param]
    for slot in param.parameters:
        if slot in slots:
            param = param.assign(slot, slots[slot])
    return _value(param)
