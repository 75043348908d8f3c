"""OpenQASM 3: Qiskit's importer, with what files of other writers need beside it.

Owns the meaning of gates without a definition (Amazon Braket includes nothing and has names of its
own), inputs that are vectors, loops over constants, functions in angles, and how large all that
may become. Parsing is openqasm3's, conversion qiskit-qasm3-import's.
"""

# ruff: noqa: N802 (names of methods are those of nodes of the syntax tree)

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, cast

import numpy as np
import openqasm3
from openqasm3 import ast
from openqasm3.visitor import QASMVisitor
from qiskit.circuit import (
    ControlledGate,
    Gate,
    Parameter,
    ParameterExpression,
    ParameterVector,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import UnitaryGate
from qiskit_qasm3_import import converter, types
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.expression import ValueResolver
from qiskit_qasm3_import.state import GateScope, LocalScope, State

from pilotcut.circuits import instructions
from pilotcut.circuits.files import defined_gates, gate_names, input_parameters
from pilotcut.circuits.files.faults import (
    MOST_STEPS,
    FaultError,
    check_bits,
    check_steps,
    faults,
    listed,
    located,
    shortened,
)

#: Brackets in brackets, and operators of a statement: the parser calls itself for each.
_MOST_DEPTH, _MOST_OPERATORS, _OPERATORS = 50, 1000, "-+*/%^&|~!<>@"
_MARKS = re.compile(rf"[()\[\]{{}};{re.escape(_OPERATORS)}]")

#: Powers that leave an angle its digits, and qubits of a gate whose power is found by its matrix.
_MOST_POWER, _MOST_QUBITS = 2**24, 8

#: Turns of loops and gates, all definitions opened; controls times gates that they are put on.
_MOST_TURNS, _MOST_CONTROLLED = MOST_STEPS, 2000

#: Bits of an angle beyond which a float has no more digits to round.
_MOST_ANGLE_BITS = 50

_INVALID = "is not valid OpenQASM 3, or more of it than Qiskit reads"

_FUNCTIONS: dict[str, tuple[Callable[[float], float], str]] = {
    "sin": (math.sin, "sin"),
    "cos": (math.cos, "cos"),
    "tan": (math.tan, "tan"),
    "arcsin": (math.asin, "arcsin"),
    "arccos": (math.acos, "arccos"),
    "arctan": (math.atan, "arctan"),
    "asin": (math.asin, "arcsin"),
    "acos": (math.acos, "arccos"),
    "atan": (math.atan, "arctan"),
    "exp": (math.exp, "exp"),
    "log": (math.log, "log"),
    "ln": (math.log, "log"),
    "abs": (abs, "abs"),
    "sqrt": (math.sqrt, ""),
}


def read(text: str, tell: Callable[[str], object]) -> QuantumCircuit:
    """Return the circuit of a program without comments.

    Raises
    ------
    FaultError
        For whatever is wrong with it.
    """
    _check_depth(text)
    program = _parsed(text)
    importer = _Importer(program, tell)
    with faults(_INVALID):
        circuit = importer.convert(program).circuit
    return input_parameters.in_order(circuit, importer.declared, tell)


def _check_depth(text: str) -> None:
    """Refuse what the parser, which calls itself, would take for ever to read, or never."""
    depth = operators = 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        depth += (mark in "([{") - (mark in ")]}")
        operators = 0 if mark in ";{}" else operators + (mark in _OPERATORS)
        if depth > _MOST_DEPTH or operators > _MOST_OPERATORS:
            raise FaultError(
                f"has more than {_MOST_DEPTH} brackets in brackets, or {_MOST_OPERATORS} operators "
                f"in a statement, expected fewer; write it shorter",
                text.count("\n", 0, match.start()) + 1,
            )


# -- parsing ---------------------------------------------------------------------------


def _parsed(text: str) -> ast.Program:
    """Return the syntax tree; ANTLR tells its complaints to stderr alone."""
    said = io.StringIO()
    try:
        with redirect_stderr(said), faults("is not valid OpenQASM 3"):
            return openqasm3.parse(text)
    except FaultError as fault:
        complaint = re.search(r"line (\d+):\d+ (.*)", said.getvalue())
        if complaint:
            raise FaultError(_no_qasm3(shortened(complaint[2], 200)), int(complaint[1])) from None
        token = _offending_token(fault.__context__)
        if token is not None:
            raise FaultError(_no_qasm3(f"unexpected {quoted(token.text)}"), token.line) from None
        raise located(fault, r"L(\d+):C\d+: ") from None


def _no_qasm3(why: str) -> str:
    return f"is not valid OpenQASM 3 ({why}); check it, or write it again"


def quoted(text: str) -> str:
    """Return the first line of a text in quotes, shortened."""
    first = text.splitlines()[0].strip() if text.strip() else ""
    return repr(first if len(first) <= 40 else first[:40] + "…") if first else "nothing"


def _offending_token(error: BaseException | None) -> Any:
    """Return the token at which ANTLR gave up: it is in the exception behind the exception."""
    for behind in (error, getattr(error, "__cause__", None)):
        for one in (behind, *getattr(behind, "args", ())):
            token = getattr(one, "offendingToken", None)
            if token is not None:
                return token
    return None


# -- values ----------------------------------------------------------------------------


class _Values(ValueResolver):
    """Values of expressions: those of Qiskit's importer, functions, powers and inputs' elements."""

    def visit_Identifier(self, node: ast.Identifier) -> tuple[Any, types.Type]:
        if re.fullmatch(r"\$\d+", node.name):
            check_bits(int(node.name[1:]) + 1, node.name, _line(node))
        return super().visit_Identifier(node)

    def visit_FunctionCall(self, node: ast.FunctionCall) -> tuple[Any, types.Type]:
        name = node.name.name
        if name == "pow" and len(node.arguments) == 2:
            base, exponent = (self.visit(argument)[0] for argument in node.arguments)
            return self._power(base, exponent, node)
        if name not in _FUNCTIONS or len(node.arguments) != 1:
            raise_from_node(node, f"function '{name}' is not known")
        value, _ = self.visit(node.arguments[0])
        number, method = _FUNCTIONS[name]
        if not isinstance(value, ParameterExpression):
            return number(value), types.Float(const=True)
        return (getattr(value, method)() if method else value**0.5), types.Float()

    def visit_BinaryExpression(self, node: ast.BinaryExpression) -> tuple[Any, types.Type]:
        if node.op.name == "**":
            return self._power(self.visit(node.lhs)[0], self.visit(node.rhs)[0], node)
        if node.op.name == "/":
            self._check_division(self.visit(node.lhs)[0], self.visit(node.rhs)[0], node)
        return super().visit_BinaryExpression(node)

    def _power(self, base: Any, exponent: Any, node: ast.QASMNode) -> tuple[Any, types.Type]:
        if isinstance(base, ParameterExpression) or isinstance(exponent, ParameterExpression):
            return base**exponent, types.Float()
        if isinstance(base, int) and isinstance(exponent, int) and 0 <= exponent <= 64:
            return base**exponent, types.Int(const=True)
        value = float(base) ** exponent
        if isinstance(value, complex):
            raise_from_node(node, "the power is not real")
        return value, types.Float(const=True)

    def _check_division(self, dividend: Any, divisor: Any, node: ast.QASMNode) -> None:
        """Refuse what is 0.5 for some writers, and 0 in the language."""
        if (
            isinstance(dividend, int)
            and isinstance(divisor, int)
            and divisor
            and dividend % divisor
        ):
            raise_from_node(
                node,
                f"{dividend}/{divisor} divides whole numbers, which leaves no fraction in "
                f"OpenQASM 3; write {dividend}.0/{divisor}",
            )

    def _index_collection(
        self, collection: Any, collection_type: types.Type, indexer: Any, base: ast.QASMNode
    ) -> tuple[Any, types.Type]:
        if not isinstance(collection, _Array):
            register = isinstance(collection_type, (types.BitArray, types.QubitArray))
            first = indexer[0] if isinstance(indexer, list) else None
            if register and isinstance(first, ast.RangeDefinition):
                bits = [collection[k] for k in self._range(first, len(collection))]
                kind = types.BitArray if isinstance(collection_type, types.BitArray) else None
                return bits, (kind or types.QubitArray)(len(bits))
            return super()._index_collection(collection, collection_type, indexer, base)
        found: Any = collection
        for index in [] if isinstance(indexer, ast.DiscreteSet) else indexer:
            number, _ = self.visit(index)
            if not isinstance(number, int) or not isinstance(found, _Array):
                break
            if not -len(found) <= number < len(found):
                raise_from_node(base, f"index {number} is out of range, of {len(found)} elements")
            found = found[number]
        else:
            return found, collection_type
        raise_from_node(base, "inputs that are arrays take one whole number for each dimension")

    def _range(self, node: ast.RangeDefinition, size: int) -> range:
        """Return the places from start to end, which is one of them; -1 is the last."""
        parts = [None if p is None else self.visit(p) for p in (node.start, node.end, node.step)]
        if any(p is not None and not isinstance(p[1], (types.Int, types.Uint)) for p in parts):
            raise_from_node(node, "ranges of places need whole numbers")
        start, end, step = (None if p is None else p[0] for p in parts)
        step = 1 if step is None else step
        ends = [0, size - 1] if step > 0 else [size - 1, 0]
        ends = [e if g is None else g for e, g in zip(ends, (start, end), strict=True)]
        if not step or not all(-size <= e < size for e in ends):
            raise_from_node(node, f"range {ends[0]}:{step}:{ends[1]} is not within {size} places")
        start, end = (e % size for e in ends)
        return range(start, end + (1 if step > 0 else -1), step)


class _Array(list[Any]):
    """Elements of an input that is an array; arrays again where it has more dimensions."""


def _line(node: ast.QASMNode) -> int | None:
    return node.span.start_line if node.span else None


@contextmanager
def _place(statement: ast.QASMNode) -> Iterator[None]:
    """Turn what the importer raises into a fault with a line; often it does not say where."""
    try:
        with faults(_INVALID):
            yield
    except FaultError as fault:
        if fault.line is not None:
            raise
        found = located(fault, r"(?<=\()(\d+),\d+: ")  # "4,0: gate 'foo' is not defined."
        raise FaultError(str(found), found.line or _line(statement)) from None


# -- conversion ------------------------------------------------------------------------


class _Importer(converter.ConvertVisitor):
    """Qiskit's importer with bounds, vectors, loops over constants, and gates of other writers."""

    def __init__(self, program: ast.Program, tell: Callable[[str], object]) -> None:
        super().__init__()
        self.declared: list[Parameter] = []
        self._tell = tell
        self._bits = self._steps = self._turns = 0
        self._steps_of: dict[str, int] = {}
        names = _Names(program)
        self._is_braket = names.is_braket
        arrays = {
            node.identifier.name for node in names.inputs if isinstance(node.type, ast.ArrayType)
        }
        single = [n.identifier.name for n in names.inputs if n.identifier.name not in arrays]
        self._elements = input_parameters.elements(single, arrays)
        if self._elements:
            tell(input_parameters.vectors_note(self._elements))
        if self._is_braket:
            tell("includes no gates; they are read as Amazon Braket's")
        elif not names.includes and names.undefined:
            tell(f"includes no gates; {listed(sorted(names.undefined))} are read as Qiskit's")

    def visit_Program(self, node: ast.Program, context: State) -> State:
        for statement in node.statements:
            with _place(statement):
                self.visit(statement, context)
        return context

    def _resolve_generic(
        self, node: ast.Expression, context: State, strict: bool
    ) -> tuple[Any, types.Type]:
        return _Values(context, strict).resolve(node)

    # declarations

    def visit_QubitDeclaration(self, node: ast.QubitDeclaration, context: State) -> State:
        self._count_bits(node.size, f"qubit {node.qubit.name}", node, context)
        return super().visit_QubitDeclaration(node, context)

    def visit_ClassicalDeclaration(self, node: ast.ClassicalDeclaration, context: State) -> State:
        if isinstance(node.type, ast.BitType):
            self._count_bits(node.type.size, f"bit {node.identifier.name}", node, context)
        return super().visit_ClassicalDeclaration(node, context)

    def _count_bits(
        self, size: ast.Expression | None, what: str, node: ast.QASMNode, context: State
    ) -> None:
        count = 1 if size is None else self._resolve_constant_int(size, context)
        kind, name = what.split()
        check_bits(count, f"{kind}[{count}] {name}", _line(node))
        self._bits += count
        check_bits(self._bits, f"registers of {self._bits} bits", _line(node))

    def visit_ConstantDeclaration(self, node: ast.ConstantDeclaration, context: State) -> State:
        if not isinstance(node.type, (ast.IntType, ast.UintType, ast.FloatType, ast.AngleType)):
            raise_from_node(node, "only constants that are numbers are supported")
        value, kind = self._resolve_generic(node.init_expression, context, True)
        if not getattr(kind, "const", False) or isinstance(value, (tuple, bool)):
            raise_from_node(node, "required a constant number")
        whole = isinstance(node.type, (ast.IntType, ast.UintType))
        if whole and value != int(value):
            raise_from_node(node, f"required a whole number, found {value}")
        number = self._fitting(int(value) if whole else float(value), node, context)
        number_type = types.Int(const=True) if whole else types.Float(const=True)
        context.symbol_table.insert(
            Symbol(node.identifier.name, number, number_type, context.scope, node)
        )
        return context

    def _fitting(
        self,
        value: float,
        node: ast.ConstantDeclaration | ast.ForInLoop,
        context: State,
    ) -> float:
        """Return a value as its declared type holds it; refuse what that does not hold."""
        declared = cast("Any", node.type)
        if isinstance(declared, ast.FloatType):
            return value
        size = None if declared.size is None else self._resolve_constant_int(declared.size, context)
        if size is not None and size < 1:
            raise_from_node(node, f"a number has {size} bits, expected at least one")
        name = node.identifier.name
        if isinstance(declared, ast.AngleType):
            return value if size is None else self._rounded(value, size, name, node)
        is_signed = isinstance(declared, ast.IntType)
        kind = ("int" if is_signed else "uint") + ("" if size is None else f"[{size}]")
        bits = math.inf if size is None else size - is_signed
        magnitude = -value - 1 if value < 0 else value
        if (value < 0 and not is_signed) or int(magnitude).bit_length() > bits:
            raise_from_node(
                node,
                f"'{kind} {name}' does not hold {value}; declare one that does, or another value",
            )
        return value

    def _rounded(self, value: float, size: int, name: str, node: ast.QASMNode) -> float:
        """Return the nearest angle of some bits, as the language converts numbers to angles."""
        if not 0 <= value < 2 * math.pi:
            raise_from_node(
                node,
                f"'angle[{size}] {name}' holds angles from 0 to below 2*pi, found {value:g}; "
                f"write one of those, or declare a float",
            )
        if size > _MOST_ANGLE_BITS:
            return value
        found = round(value / (2 * math.pi) * 2**size) % 2**size * (2 * math.pi / 2**size)
        if not math.isclose(found, value, rel_tol=1e-12, abs_tol=1e-15):
            self._tell(
                f"'angle[{size}] {name}' is {found:.6g}, the multiple of 2*pi/2**{size} that is "
                f"nearest to {value:.6g}"
            )
        return found

    def visit_IODeclaration(self, node: ast.IODeclaration, context: State) -> State:
        name = node.identifier.name
        if node.io_identifier is not ast.IOKeyword.input or not (
            name in self._elements or isinstance(node.type, ast.ArrayType)
        ):
            before = set(context.all_parameters)
            context = super().visit_IODeclaration(node, context)
            self.declared += context.all_parameters - before
            return context
        if isinstance(node.type, ast.ArrayType):
            data, found = self._array(node, context)
        else:
            data = self._elements[name]
            found = [data]
        context.symbol_table.insert(Symbol(name, data, types.Float(), Scope.GLOBAL, node))
        context.all_parameters.update(found)
        self.declared += found
        return context

    def _array(self, node: ast.IODeclaration, context: State) -> tuple[_Array, list[Parameter]]:
        name, array = node.identifier.name, cast("ast.ArrayType", node.type)
        if not isinstance(array.base_type, (ast.FloatType, ast.AngleType)):
            raise_from_node(node, "only arrays of 'float' and 'angle' are supported as inputs")
        shape = [self._resolve_constant_int(size, context) for size in array.dimensions]
        check_bits(math.prod(shape), f"array {name} of {shape}", _line(node))
        vector = ParameterVector(name, math.prod(shape))
        order = " row by row" if len(shape) > 1 else ""
        self._tell(f"input '{name}' is a vector of {len(vector)} parameters{order}")
        return _shaped(list(vector), shape), list(vector)

    # gates

    def visit_Include(self, node: ast.Include, context: State) -> State:
        if node.filename == "qelib1.inc":
            node.filename = "stdgates.inc"
        return super().visit_Include(node, context)

    def visit_QuantumGateDefinition(self, node: ast.QuantumGateDefinition, context: State) -> State:
        """Define a gate; Qiskit's importer takes its parameters in the order of their names."""
        outer, self._steps = self._steps, 0
        with GateScope(context) as inner:
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
            check_steps(steps, node.name.name, _line(node))
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
            gate = _nameless(gate)
        return super()._apply_gate_modifier(modifier, gate, context)

    def _count_steps(self, node: ast.QuantumGate) -> None:
        self._steps += self._steps_of.get(node.name.name, 1)
        if self._steps > 10 * MOST_STEPS:
            check_steps(self._steps, node.name.name, _line(node))

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
                _line(node),
            )
        return None

    def visit_QuantumPhase(self, node: ast.QuantumPhase, context: State) -> State:
        controls = self._controls(node, context)
        if controls != len(node.qubits):
            raise_from_node(
                node,
                f"gphase has {controls} controls and {len(node.qubits)} qubits, expected as many",
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
                f"'{name}' has {controls} controls on {len(node.qubits)} qubits, expected fewer",
            )
        steps = self._steps_of.get(name, 1)
        if steps * controls > _MOST_CONTROLLED:
            raise_from_node(
                node,
                f"{controls} controls on the {steps} gates of '{name}' are too many, expected at "
                f"most {_MOST_CONTROLLED} in all",
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
        if len(node.qubits) > _MOST_QUBITS:
            raise_from_node(
                node,
                f"a power of a gate on {len(node.qubits)} qubits needs its matrix, expected at "
                f"most {_MOST_QUBITS} qubits; repeat the gate",
            )

    # loops, boxes and pragmas

    def visit_ForInLoop(self, node: ast.ForInLoop, context: State) -> State:
        values = self._loop_values(node, context)
        for value in values:
            self._fitting(value, node, context)
            with LocalScope(context) as inner:
                inner.symbol_table.insert(
                    Symbol(node.identifier.name, value, types.Int(const=True), Scope.LOCAL, node)
                )
                for statement in node.block:
                    self.visit(statement, inner)
        return context

    def _loop_values(self, node: ast.ForInLoop, context: State) -> Sequence[int]:
        if not isinstance(node.type, (ast.IntType, ast.UintType)):
            raise_from_node(node, "only integer loop variables are supported")
        values, kind = self._resolve_generic(cast("Any", node.set_declaration), context, True)
        if isinstance(kind, types.Range):
            if values.start is None or values.stop is None:
                raise_from_node(node, "for-loop ranges must have a start and end")
            if values.step == 0:
                raise_from_node(node, "for-loop ranges must have a step that is not 0")
            values = range(values.start, values.stop, values.step or 1)
        elif not isinstance(kind, types.Sequence):
            raise_from_node(node, "only ranges and sets of whole numbers are supported")
        self._turns += len(values)
        if self._turns > _MOST_TURNS:
            raise FaultError(
                f"has loops of more than {_MOST_TURNS} turns, expected fewer; write a "
                f"smaller circuit",
                _line(node),
            )
        return values

    def visit_Box(self, node: ast.Box, context: State) -> State:
        """Read what is in a box, which binds compilers and not the meaning."""
        with LocalScope(context) as inner:
            for statement in node.body:
                self.visit(statement, inner)
        return context

    def visit_Pragma(self, node: ast.Pragma, context: State) -> State:
        words = node.command.split(maxsplit=2)
        if words[:2] == ["braket", "verbatim"]:
            return context
        if words[:2] == ["braket", "result"]:
            self._tell(f"'#pragma {shortened(node.command, 60)}' is left out")
            return context
        unitary = re.fullmatch(r"braket\s+unitary\s*\((.*)\)\s*([^()]*)", node.command, re.DOTALL)
        if unitary is None:
            raise_from_node(node, f"'#pragma {shortened(node.command, 60)}' is not known")
        self._append_unitary(unitary[1], unitary[2], node, context)
        return context

    def _append_unitary(
        self, numbers: str, operands: str, node: ast.Pragma, context: State
    ) -> None:
        """Append a matrix whose first qubit is the highest bit."""
        matrix = _matrix(numbers)
        parsed: Any = openqasm3.parse(f"barrier {operands};").statements[0]
        qubits: list[Qubit] = []
        for operand in parsed.qubits:
            found = self._resolve_qarg(operand, context)
            qubits += [found] if isinstance(found, Qubit) else list(found)
        if matrix is None or matrix.shape != (2 ** len(qubits),) * 2 or len(qubits) > _MOST_QUBITS:
            raise_from_node(
                node,
                f"a unitary on {len(qubits)} qubits has a matrix that is not square "
                f"and of that size",
            )
        self._steps += 1
        context.circuit.append(UnitaryGate(matrix), qubits[::-1])


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


def _shaped(flat: list[Parameter], shape: Sequence[int]) -> _Array:
    if len(shape) <= 1:
        return _Array(flat)
    size = len(flat) // shape[0] if shape[0] else 0
    return _Array(_shaped(flat[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0]))


def _matrix(text: str) -> np.ndarray | None:
    """Return a matrix as Braket writes it: rows in brackets, 0.5 + 0.5im; None if it is none."""
    number = r"[-+]?\s*(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:im)?"
    if not re.fullmatch(r"[\[\],\s\d.eEim+-]*", text):
        return None
    rows = []
    for row in re.findall(r"\[([^\[\]]*)\]", text):
        entries = []
        for entry in row.split(","):
            if not re.fullmatch(rf"\s*{number}(?:\s*[-+]\s*{number})?\s*", entry):
                return None
            entries.append(complex(re.sub(r"\s", "", entry).replace("im", "j")))
        rows.append(entries)
    return np.array(rows) if len({len(row) for row in rows}) == 1 else None


class _Names(QASMVisitor[None]):
    """Which gates a program uses, which it defines, and what it includes."""

    def __init__(self, program: ast.Program) -> None:
        self.includes: list[str] = []
        self.inputs: list[ast.IODeclaration] = []
        self.used: set[str] = set()
        self.defined = {"U"}
        self.has_pragmas = False
        self.visit(program)

    @property
    def undefined(self) -> set[str]:
        """Gates that have no definition in a program that includes none."""
        return self.used - self.defined

    @property
    def is_braket(self) -> bool:
        """Whether Amazon Braket wrote this: it includes nothing, and has names of its own."""
        return self.has_pragmas or (
            not self.includes and bool(self.undefined) and self.undefined <= set(gate_names.BRAKET)
        )

    def visit_Include(self, node: ast.Include) -> None:
        self.includes.append(node.filename)

    def visit_IODeclaration(self, node: ast.IODeclaration) -> None:
        self.inputs.append(node)

    def visit_QuantumGateDefinition(self, node: ast.QuantumGateDefinition) -> None:
        self.defined.add(node.name.name)
        self.generic_visit(node)

    def visit_QuantumGate(self, node: ast.QuantumGate) -> None:
        self.used.add(node.name.name)

    def visit_Pragma(self, node: ast.Pragma) -> None:
        self.has_pragmas |= node.command.split()[:1] == ["braket"]
