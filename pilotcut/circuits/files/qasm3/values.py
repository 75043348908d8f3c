"""Values of OpenQASM 3 expressions: functions, powers, ranges, and elements of array inputs.

Beside what Qiskit's importer evaluates; where the language's value and other writers' differ, as
for a division of whole numbers, there is none.
"""

# ruff: noqa: D102, N802 (methods are named after the nodes of the syntax tree that they visit)

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from openqasm3 import ast
from qiskit.circuit import ParameterExpression
from qiskit_qasm3_import import types
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.expression import ValueResolver

from pilotcut.circuits.files.faults import check_bits
from pilotcut.circuits.files.qasm3.parsing import line_of

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


class Values(ValueResolver):
    """Values of expressions: those of Qiskit's importer, functions, powers and inputs' elements."""

    def visit_Identifier(self, node: ast.Identifier) -> tuple[Any, types.Type]:
        if re.fullmatch(r"\$\d+", node.name):
            check_bits(int(node.name[1:]) + 1, node.name, line_of(node))
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
        if not isinstance(collection, ArrayInput):
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
            if not isinstance(number, int) or not isinstance(found, ArrayInput):
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
        # qiskit-qasm3-import 0.6.0 makes a slice up to -1 + 1 of an end of -1, which is empty:
        # findings/qasm3-import-slice-to-minus-one.sh.
        start, end = (e % size for e in ends)
        return range(start, end + (1 if step > 0 else -1), step)


class ArrayInput(list[Any]):
    """Elements of an input that is an array; arrays again where it has more dimensions."""
