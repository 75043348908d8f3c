"""Survey of an OpenQASM 3 program before it is read: gates, inputs, includes, and its writer."""

# ruff: noqa: D102, N802 (methods are named after the nodes of the syntax tree that they visit)

from __future__ import annotations

from openqasm3 import ast
from openqasm3.visitor import QASMVisitor

from pilotcut.circuits.files import gate_names


class Survey(QASMVisitor[None]):
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
