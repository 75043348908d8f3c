"""Importer of OpenQASM 3: loops over constants, boxes and pragmas, beside what it inherits."""

# ruff: noqa: D102, N802 (methods are named after the nodes of the syntax tree that they visit)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import openqasm3
from openqasm3 import ast
from qiskit.circuit import QuantumCircuit, Qubit
from qiskit.circuit.library import UnitaryGate
from qiskit_qasm3_import import types
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.state import LocalScope, State

from pilotcut.circuits.files import input_parameters
from pilotcut.circuits.files.faults import MOST_STEPS, FaultError, faults, shortened
from pilotcut.circuits.files.qasm3.gates import MOST_QUBITS, Gates
from pilotcut.circuits.files.qasm3.parsing import INVALID, line_of, parsed, placed
from pilotcut.circuits.files.qasm3.survey import Survey
from pilotcut.options import counted

#: Turns of loops, all loops together.
_MOST_TURNS = MOST_STEPS


def read(text: str, tell: Callable[[str], object]) -> QuantumCircuit:
    """Return the circuit of a program without comments.

    Raises
    ------
    FaultError
        For whatever is wrong with it.
    """
    program = parsed(text)
    importer = Importer(Survey(program), tell)
    with faults(INVALID):
        circuit = importer.convert(program).circuit
    return input_parameters.in_order(circuit, importer.declared, tell)


class Importer(Gates):
    """The whole importer; each of its bases owns a part of the language."""

    def __init__(self, survey: Survey, tell: Callable[[str], object]) -> None:
        super().__init__(survey, tell)
        self._turns = 0

    def visit_Program(self, node: ast.Program, context: State) -> State:
        for statement in node.statements:
            with placed(statement):
                self.visit(statement, context)
        return context

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
                line_of(node),
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
        if matrix is None or matrix.shape != (2 ** len(qubits),) * 2 or len(qubits) > MOST_QUBITS:
            raise_from_node(
                node,
                f"a unitary on {counted(len(qubits), 'qubit')} has a matrix that is not square "
                f"and of that size",
            )
        self._steps += 1
        context.circuit.append(UnitaryGate(matrix), qubits[::-1])


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
