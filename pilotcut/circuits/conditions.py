"""Conditions: what classical bits say, as truth tables over measured values.

A bit may be written many times, a *value* only once: every measurement that a program makes has a
number, and what a bit holds at some place is a function of values. Owns how Qiskit's conditions
become such functions; refuses to know gates and qubits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr

from pilotcut.errors import CutError
from pilotcut.options import counted

#: Values that one condition may depend on: its table has 2^this rows.
MOST_VALUES = 8


@dataclass(frozen=True)
class BitCondition:
    """A function of measured values.

    Parameters
    ----------
    values
        Numbers of the values, in increasing order.
    table
        What it is for each assignment, in which ``values[k]`` is bit k.
    """

    values: tuple[int, ...]
    table: tuple[bool, ...]

    @property
    def accepted(self) -> list[tuple[bool, ...]]:
        """The assignments that fulfil it, each with a bit a value."""
        count = len(self.values)
        return [
            tuple(bool(row >> k & 1) for k in range(count))
            for row, holds in enumerate(self.table)
            if holds
        ]

    def renumbered(self, number: Mapping[int, int]) -> BitCondition:
        """Return the same function of values with other numbers."""
        named = [BitCondition((number[value],), (False, True)) for value in self.values]
        return combined(lambda *bits: self.table[sum(b << k for k, b in enumerate(bits))], named)


ALWAYS, NEVER = BitCondition((), (True,)), BitCondition((), (False,))


def value_of(number: int) -> BitCondition:
    """Return whether a measurement found 1."""
    return BitCondition((number,), (False, True))


def combined(function: Callable[..., bool], parts: Sequence[BitCondition]) -> BitCondition:
    """Return a function of some conditions, over the values that matter.

    Examples
    --------
    >>> combined(lambda a, b: a and not b, [value_of(3), value_of(1)])
    BitCondition(values=(1, 3), table=(False, False, True, False))
    >>> combined(lambda a: a or not a, [value_of(3)]) == ALWAYS
    True
    """
    values = sorted({value for part in parts for value in part.values})
    if len(values) > MOST_VALUES:
        raise CutError(
            f"a classical condition depends on {counted(len(values), 'measurement')}, expected at "
            f"most {MOST_VALUES}; divide it into conditions on fewer bits"
        )
    table = []
    for row in range(1 << len(values)):
        found = {value: row >> k & 1 for k, value in enumerate(values)}
        bits = (p.table[sum(found[v] << k for k, v in enumerate(p.values))] for p in parts)
        table.append(bool(function(*bits)))
    return _simplified(values, table)


def _simplified(values: list[int], table: list[bool]) -> BitCondition:
    for k in range(len(values) - 1, -1, -1):
        low = [row for row in range(len(table)) if not row >> k & 1]
        if all(table[row] == table[row | 1 << k] for row in low):
            values, table = values[:k] + values[k + 1 :], [table[row] for row in low]
    return BitCondition(tuple(values), tuple(table))


def both(one: BitCondition, other: BitCondition) -> BitCondition:
    """Return whether two conditions hold."""
    return combined(lambda a, b: a and b, [one, other])


def without(one: BitCondition, other: BitCondition) -> BitCondition:
    """Return whether one condition holds and another does not."""
    return combined(lambda a, b: a and not b, [one, other])


# -- Qiskit's conditions ---------------------------------------------------------------

# What a bit of the circuit holds.
Holds = Callable[[Clbit], BitCondition]


def condition_of(given: Any, holds: Holds) -> BitCondition:
    """Return a condition of Qiskit's: a bit or register with a number, or an expression.

    Raises
    ------
    CutError
        For expressions of variables, and of more bits than `MOST_VALUES`.
    """
    if isinstance(given, expr.Expr):
        return number_is(given, holds, bool)
    target, wanted = given
    return number_is(target, holds, lambda found: found == int(wanted))


def number_is(target: Any, holds: Holds, asked: Callable[[Any], bool]) -> BitCondition:
    """Return whether a bit's, register's or expression's number is as asked."""
    bits = _bits_of(target)
    if isinstance(target, Clbit | ClassicalRegister):
        target = expr.lift(target)
    return combined(
        lambda *found: asked(_evaluated(target, dict(zip(bits, found, strict=True)))),
        [holds(bit) for bit in bits],
    )


def _bits_of(target: Any) -> list[Clbit]:
    if isinstance(target, Clbit):
        return [target]
    if isinstance(target, ClassicalRegister):
        return list(target)
    bits: dict[Clbit, None] = {}  # a set in order
    for variable in expr.iter_vars(target):
        if not isinstance(variable.var, Clbit | ClassicalRegister):
            raise CutError(
                f"a classical condition is of the variable '{variable.name}', expected classical "
                f"bits and registers; measure into these"
            )
        bits |= dict.fromkeys(_bits_of(variable.var))
    return list(bits)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "BIT_AND": lambda a, b: a & b,
    "BIT_OR": lambda a, b: a | b,
    "BIT_XOR": lambda a, b: a ^ b,
    "LOGIC_AND": lambda a, b: bool(a) and bool(b),
    "LOGIC_OR": lambda a, b: bool(a) or bool(b),
    "EQUAL": lambda a, b: a == b,
    "NOT_EQUAL": lambda a, b: a != b,
    "LESS": lambda a, b: a < b,
    "LESS_EQUAL": lambda a, b: a <= b,
    "GREATER": lambda a, b: a > b,
    "GREATER_EQUAL": lambda a, b: a >= b,
    "SHIFT_LEFT": lambda a, b: a << b,
    "SHIFT_RIGHT": lambda a, b: a >> b,
}


def _evaluated(node: Any, bits: Mapping[Clbit, bool]) -> Any:
    """Return the number of an expression for some bits."""
    if isinstance(node, expr.Value):
        return node.value
    if isinstance(node, expr.Var):
        if isinstance(node.var, Clbit):
            return bits[node.var]
        return sum(int(bits[bit]) << k for k, bit in enumerate(node.var))
    if isinstance(node, expr.Cast):
        return _fitted(_evaluated(node.operand, bits), node.type)
    if isinstance(node, expr.Index):
        return bool(_evaluated(node.target, bits) >> _evaluated(node.index, bits) & 1)
    if isinstance(node, expr.Unary) and node.op.name in ("BIT_NOT", "LOGIC_NOT"):
        operand = _evaluated(node.operand, bits)
        flips = node.op.name == "LOGIC_NOT" or isinstance(operand, bool)
        return not operand if flips else _fitted(~int(operand), node.type)
    if isinstance(node, expr.Binary) and node.op.name in _BINARY:
        left, right = (_evaluated(side, bits) for side in (node.left, node.right))
        return _fitted(_BINARY[node.op.name](left, right), node.type)
    raise CutError(
        f"a classical condition has '{type(node).__name__}', expected comparisons and logic of "
        f"bits and registers; write it with these"
    )


def _fitted(number: Any, kind: Any) -> Any:
    width = getattr(kind, "width", None)  # a truth value has none
    return bool(number) if width is None else int(number) & ((1 << width) - 1)
