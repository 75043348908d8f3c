"""Gates of an OpenQASM 3 program: their definitions, applications and modifiers, within bounds."""

# ruff: noqa: D102, N802 (methods are named after the nodes of the syntax tree that they visit)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from openqasm3 import ast
from qiskit.circuit import ControlledGate, Gate, Parameter, QuantumCircuit, Qubit
from qiskit_qasm3_import import types
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.state import GateScope, State

from pilotcut.circuits import instructions
from pilotcut.circuits.files import defined_gates, gate_names
from pilotcut.circuits.files.faults import MOST_STEPS, FaultError, check_steps, listed
from pilotcut.circuits.files.qasm3.declarations import Declarations
from pilotcut.circuits.files.qasm3.parsing import line_of
from pilotcut.circuits.files.qasm3.survey import Survey
from pilotcut.options import counted

#: Powers that leave an angle its digits, and qubits of a gate whose power is found by its matrix.
_MOST_POWER, MOST_QUBITS = 2**24, 8

#: Controls times gates that they are put on.
_MOST_CONTROLLED = 2000


class Gates(Declarations):
    """The importer with gates of other writers, and with definitions that are shared."""

    def __init__(self, survey: Survey, tell: Callable[[str], object]) -> None:
        super().__init__(survey, tell)
        self._steps = 0
        self._steps_of: dict[str, int] = {}
        self._is_braket = survey.is_braket
        if survey.is_braket:
            tell("includes no gates; they are read as Amazon Braket's")
        elif not survey.includes and survey.undefined:
            tell(f"includes no gates; {listed(sorted(survey.undefined))} are read as Qiskit's")

    def visit_Include(self, node: ast.Include, context: State) -> State:
        if node.filename == "qelib1.inc":
            node.filename = "stdgates.inc"
        return super().visit_Include(node, context)

    def visit_QuantumGateDefinition(self, node: ast.QuantumGateDefinition, context: State) -> State:
        """Define a gate; Qiskit's importer takes its parameters in the order of their names."""
        outer, self._steps = self._steps, 0
        with GateScope(context) as inner:
            # Seen with qiskit-qasm3-import 0.6.0: findings/qasm3-import-parameters-by-alphabet.sh
            # says CHANGED once its own method will do.
            parameters = [Parameter(name.name) for name in node.arguments]
            for parameter in parameters:
                inner.symbol_table.insert(
                    Symbol(parameter.name, parameter, types.Float(), Scope.GATE, node)
                )
                inner.all_parameters.add(parameter)
            bits = [Qubit() for _ in node.qubits]
            inner.circuit.add_bits(bits)
            for name, bit in zip(node.qubits, bits, strict=True):
                inner.symbol_table.insert(Symbol(name.name, bit, types.Qubit(), Scope.GATE, node))
            for statement in node.body:
                self.visit(statement, inner)
        steps, self._steps = self._steps, outer
        if steps > 1:
            check_steps(steps, node.name.name, line_of(node))
        self._steps_of[node.name.name] = steps
        called, maker = (
            node.name.name,
            defined_gates.gate_maker(defined_gates.BoundCircuit(inner.circuit, parameters)),
        )

        def build(*angles: Any) -> Gate:
            if len(angles) != len(parameters):
                raise FaultError(f"'{called}' takes {len(parameters)} angles, found {len(angles)}")
            return maker(called, len(bits), *angles)

        return self._define_gate(called, build, len(parameters), len(bits), node, context)

    def visit_QuantumGate(self, node: ast.QuantumGate, context: State) -> State:
        """Apply a gate, of the file or known without it."""
        if node.duration is not None:
            raise_from_node(node, "gates with durations are not supported.")
        self._count_steps(node)
        controls = self._checked_controls(node, context)
        build = self._builder(node, len(node.qubits) - controls, context)
        gate = build(*(self._resolve_angle(argument, context) for argument in node.arguments))
        for modifier in reversed(node.modifiers):
            gate = self._apply_gate_modifier(modifier, gate, context)
        operands = [self._resolve_qarg(cast("Any", q), context) for q in node.qubits]
        for place, qubits in enumerate(self._broadcast_gate(operands, node)):
            context.circuit.append(gate.copy() if place else gate, qubits, [])
        return context

    def _apply_gate_modifier(
        self, modifier: ast.QuantumGateModifier, gate: Gate, context: State
    ) -> Gate:
        if modifier.modifier in (ast.GateModifierName.ctrl, ast.GateModifierName.negctrl):
            # Seen with Qiskit 2.6.2: findings/qiskit-control-of-own-cx.sh says CHANGED once this
            # can go.
            gate = _nameless(gate)
        return super()._apply_gate_modifier(modifier, gate, context)

    def _count_steps(self, node: ast.QuantumGate) -> None:
        self._steps += self._steps_of.get(node.name.name, 1)
        if self._steps > 10 * MOST_STEPS:
            check_steps(self._steps, node.name.name, line_of(node))

    def _builder(
        self, node: ast.QuantumGate, num_qubits: int, context: State
    ) -> Callable[..., Gate]:
        """Return what makes a gate of its angles."""
        symbol = context.symbol_table.get(node.name.name, node)
        if symbol is not None:
            if not isinstance(symbol.type, types.Gate):
                raise_from_node(node, f"'{symbol.name}' is a '{symbol.type.pretty()}', not a gate.")
            return symbol.data
        known = self._meaning(node)
        if known is None:
            raise_from_node(node, f"gate '{node.name.name}' is not defined.")
        if known.num_params not in (None, len(node.arguments)):
            raise_from_node(
                node,
                f"'{known.name}' takes {known.num_params} angles, found {len(node.arguments)}",
            )
        return lambda *angles: known.gate(num_qubits, *angles)

    def _meaning(self, node: ast.QuantumGate) -> gate_names.Known | None:
        name = node.name.name
        table = gate_names.BRAKET if self._is_braket else gate_names.COMMON
        if name in table:
            return table[name]
        if name in gate_names.AMBIGUOUS:
            raise FaultError(
                f"uses '{name}' without a definition, and writers mean different gates by it "
                f"({gate_names.AMBIGUOUS[name]}); define it in the file, as in "
                f"'gate {name} … {{ … }}', or have the writer decompose it",
                line_of(node),
            )
        return None

    def visit_QuantumPhase(self, node: ast.QuantumPhase, context: State) -> State:
        controls = self._controls(node, context)
        if controls != len(node.qubits):
            raise_from_node(
                node,
                f"gphase has {counted(controls, 'control')} and "
                f"{counted(len(node.qubits), 'qubit')}, expected as many",
            )
        return super().visit_QuantumPhase(node, context)

    def _controls(self, node: ast.QuantumGate | ast.QuantumPhase, context: State) -> int:
        """Return how many controls the modifiers of a gate put on it."""
        count = 0
        for modifier in node.modifiers:
            if modifier.modifier in (ast.GateModifierName.ctrl, ast.GateModifierName.negctrl):
                argument = modifier.argument
                number = 1 if argument is None else self._resolve_constant_int(argument, context)
                if number < 1:
                    raise_from_node(node, f"a gate has {number} controls, expected at least one")
                count += number
        return count

    def _checked_controls(self, node: ast.QuantumGate, context: State) -> int:
        """Refuse modifiers before they are carried out, where that would take for ever."""
        name, controls = node.name.name, self._controls(node, context)
        if controls >= len(node.qubits):
            raise_from_node(
                node,
                f"'{name}' has {counted(controls, 'control')} on "
                f"{counted(len(node.qubits), 'qubit')}, expected fewer",
            )
        steps = self._steps_of.get(name, 1)
        if steps * controls > _MOST_CONTROLLED:
            raise_from_node(
                node,
                f"{controls} controls on the {counted(steps, 'gate')} of '{name}' are too many, "
                f"expected at most {_MOST_CONTROLLED} in all",
            )
        for modifier in node.modifiers:
            if modifier.modifier is ast.GateModifierName.pow:
                self._check_power(modifier, node, context)
        return controls

    def _check_power(
        self, modifier: ast.QuantumGateModifier, node: ast.QuantumGate, context: State
    ) -> None:
        exponent = self._resolve_constant_float(cast("Any", modifier.argument), context)
        if not abs(exponent) <= _MOST_POWER:
            raise_from_node(
                node,
                f"power {exponent:g} leaves no digits of an angle, expected at most {_MOST_POWER}",
            )
        if len(node.qubits) > MOST_QUBITS:
            raise_from_node(
                node,
                f"a power of a gate on {counted(len(node.qubits), 'qubit')} needs its matrix, "
                f"expected at most {MOST_QUBITS} qubits; repeat the gate",
            )


def _nameless(gate: Gate) -> Gate:
    """Return a gate of the same effect, phase included, for Qiskit to control.

    Qiskit 2.6 controls a gate by its name: of the file's own "h" it makes a controlled Hadamard.
    """
    if (
        not isinstance(gate, Gate)
        or isinstance(gate, ControlledGate)
        or instructions.is_standard(gate)
    ):
        return gate
    if instructions.native(gate) is not None:
        return cast("Gate", instructions.plain(gate))
    inner = instructions.definition_of(gate, tuple(range(gate.num_qubits)))
    circuit = QuantumCircuit(
        gate.num_qubits, global_phase=inner.global_phase, name=f"own_{gate.name}"
    )
    for instruction in inner.data:
        if isinstance(instruction.operation, Gate):  # barriers and delays have no control
            where = [inner.find_bit(q).index for q in instruction.qubits]
            circuit.append(_nameless(instruction.operation), where)
    return circuit.to_gate()
