"""Declarations of an OpenQASM 3 program: registers, constants and inputs, within bounds."""

# ruff: noqa: D102, N802 (methods are named after the nodes of the syntax tree that they visit)

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from openqasm3 import ast
from qiskit.circuit import Parameter, ParameterVector
from qiskit_qasm3_import import converter, types
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.state import State

from pilotcut.circuits.files import input_parameters
from pilotcut.circuits.files.faults import check_bits
from pilotcut.circuits.files.qasm3.parsing import line_of
from pilotcut.circuits.files.qasm3.survey import Survey
from pilotcut.circuits.files.qasm3.values import ArrayInput, Values
from pilotcut.options import counted

#: Bits of an angle beyond which a float has no more digits to round.
_MOST_ANGLE_BITS = 50


class Declarations(converter.ConvertVisitor):
    """Qiskit's importer with bounds on registers, typed constants, and inputs that are vectors.

    Parameters
    ----------
    survey
        Of the program.
    tell
        Called with a line about what is read in other words than the file's.
    """

    def __init__(self, survey: Survey, tell: Callable[[str], object]) -> None:
        super().__init__()
        self.declared: list[Parameter] = []
        self._tell = tell
        self._bits = 0
        arrays = {
            node.identifier.name for node in survey.inputs if isinstance(node.type, ast.ArrayType)
        }
        single = [n.identifier.name for n in survey.inputs if n.identifier.name not in arrays]
        self._elements = input_parameters.elements(single, arrays)
        if self._elements:
            tell(input_parameters.vectors_note(self._elements))

    def _resolve_generic(
        self, node: ast.Expression, context: State, strict: bool
    ) -> tuple[Any, types.Type]:
        return Values(context, strict).resolve(node)

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
        check_bits(count, f"{kind}[{count}] {name}", line_of(node))
        self._bits += count
        check_bits(self._bits, f"registers of {counted(self._bits, 'bit')}", line_of(node))

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
            raise_from_node(node, f"a number has {counted(size, 'bit')}, expected at least one")
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

    def _array(self, node: ast.IODeclaration, context: State) -> tuple[ArrayInput, list[Parameter]]:
        name, array = node.identifier.name, cast("ast.ArrayType", node.type)
        if not isinstance(array.base_type, (ast.FloatType, ast.AngleType)):
            raise_from_node(node, "only arrays of 'float' and 'angle' are supported as inputs")
        shape = [self._resolve_constant_int(size, context) for size in array.dimensions]
        check_bits(math.prod(shape), f"array {name} of {shape}", line_of(node))
        vector = ParameterVector(name, math.prod(shape))
        order = " row by row" if len(shape) > 1 else ""
        self._tell(f"input '{name}' is a vector of {counted(len(vector), 'parameter')}{order}")
        return _shaped(list(vector), shape), list(vector)


def _shaped(flat: list[Parameter], shape: Sequence[int]) -> ArrayInput:
    if len(shape) <= 1:
        return ArrayInput(flat)
    size = len(flat) // shape[0] if shape[0] else 0
    return ArrayInput(_shaped(flat[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0]))
