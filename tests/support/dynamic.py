"""Exact values of circuits with measurements and control flow: a density matrix for each outcome.

Walks a circuit as a classical computer would, with the bits that were found; nothing of it is
shared with pilotcut.
"""

from __future__ import annotations

import numpy as np
from qiskit.circuit import ClassicalRegister, Clbit, ForLoopOp, IfElseOp, QuantumCircuit
from qiskit.circuit.classical import expr
from qiskit.circuit.controlflow import CASE_DEFAULT, SwitchCaseOp
from qiskit.quantum_info import DensityMatrix, Operator, Pauli

# What was found: the bits, and the density matrix times its probability.
Branch = tuple[dict[Clbit, int], DensityMatrix]


def dynamic(circuit: QuantumCircuit, observables, values=()) -> np.ndarray:
    """Expectations of Pauli strings at the end of a circuit."""
    bound = circuit.assign_parameters(list(values)) if circuit.parameters else circuit
    start = DensityMatrix(np.diag([1.0] + [0.0] * (2**bound.num_qubits - 1)))
    branches = _run(bound, list(range(bound.num_qubits)), {}, [({}, start)])
    return np.array(
        [sum(rho.expectation_value(Pauli(p)).real for _, rho in branches) for p in observables]
    )


def _run(circuit, qubits, outer, branches: list[Branch]) -> list[Branch]:
    for instruction in circuit.data:
        where = [qubits[circuit.find_bit(q).index] for q in instruction.qubits]
        bits = [outer.get(bit, bit) for bit in instruction.clbits]
        found = []
        for held, rho in branches:
            found += _step(instruction.operation, where, bits, outer, held, rho)
        branches = found
    return branches


def _step(operation, where, bits, outer, held, rho) -> list[Branch]:
    if operation.name in ("barrier", "cut_wire"):
        return [(held, rho)]
    if operation.name == "measure":
        zero, one = (rho.evolve(Operator(np.diag(p)), where) for p in ([1, 0], [0, 1]))
        return [({**held, bits[0]: k}, part) for k, part in enumerate((zero, one))]
    if operation.name == "reset":
        return [(held, rho.reset(where))]
    if isinstance(operation, IfElseOp):
        blocks = [*operation.blocks, None]
        body = blocks[0] if _number(operation.condition, outer, held) else blocks[1]
        bodies = [] if body is None else [body]
    elif isinstance(operation, SwitchCaseOp):
        number = _number(operation.target, outer, held)
        fitting = [
            b for some, b in operation.cases_specifier() if number in some or CASE_DEFAULT in some
        ]
        bodies = fitting[:1]
    elif isinstance(operation, ForLoopOp):
        indices, parameter, body = operation.params
        bodies = [body.assign_parameters({parameter: k}) if parameter else body for k in indices]
    else:
        return [(held, rho.evolve(operation, where))]
    branches = [(held, rho)]
    for body in bodies:
        branches = _run(body, where, dict(zip(body.clbits, bits, strict=True)), branches)
    return branches


def _number(given, outer, held) -> int:
    if isinstance(given, tuple):
        return int(_number(given[0], outer, held) == given[1])
    if isinstance(given, expr.Var):
        return _number(given.var, outer, held)
    if isinstance(given, Clbit):
        return held.get(outer.get(given, given), 0)
    if isinstance(given, ClassicalRegister):
        return sum(_number(bit, outer, held) << k for k, bit in enumerate(given))
    if isinstance(given, expr.Unary):
        assert given.op is expr.Unary.Op.LOGIC_NOT
        return int(not _number(given.operand, outer, held))
    if isinstance(given, expr.Value | expr.Cast):
        return (
            int(given.value)
            if isinstance(given, expr.Value)
            else _number(given.operand, outer, held)
        )
    a, b = (_number(side, outer, held) for side in (given.left, given.right))
    return int(
        {"LOGIC_AND": a and b, "LOGIC_OR": a or b, "EQUAL": a == b, "LESS": a < b}[given.op.name]
    )
