"""Control flow: which bodies of an instruction run under which condition, and what bits hold.

Loops over fixed values are written out; what depends on a number of rounds that nobody knows is
refused. Refuses to know what is in the bodies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qiskit.circuit import (
    BreakLoopOp,
    CircuitInstruction,
    Clbit,
    ContinueLoopOp,
    ControlFlowOp,
    ForLoopOp,
    IfElseOp,
    QuantumCircuit,
    Store,
    SwitchCaseOp,
)
from qiskit.circuit.controlflow import CASE_DEFAULT

from pilotcut.circuits.conditions import (
    ALWAYS,
    NEVER,
    BitCondition,
    Holds,
    both,
    combined,
    condition_of,
    number_is,
    value_of,
    without,
)
from pilotcut.circuits.instructions import is_box
from pilotcut.errors import CutError


class ClassicalBits:
    """What the bits of a circuit hold while its instructions are read.

    Attributes
    ----------
    count
        Number of values that were measured so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._held: dict[Clbit, BitCondition] = {}

    def holds(self, bit: Clbit) -> BitCondition:
        """Return what a bit holds: 0 before anything is measured into it."""
        return self._held.get(bit, NEVER)

    def measure(self, bit: Clbit | None, condition: BitCondition) -> int:
        """Measure into a bit, or into none, under a condition; return the number of the value."""
        value, self.count = self.count, self.count + 1
        if bit is not None:
            found = value_of(value)
            self._held[bit] = combined(
                lambda runs, new, old: new if runs else old, [condition, found, self.holds(bit)]
            )
        return value


def is_control_flow(operation: object) -> bool:
    """Whether an instruction chooses or repeats others; a box only holds them together."""
    kinds = (ControlFlowOp, BreakLoopOp, ContinueLoopOp, Store)
    return isinstance(operation, kinds) and not is_box(operation)


def bodies(
    instruction: CircuitInstruction,
    scope: Mapping[Clbit, Clbit],
    bits: ClassicalBits,
    where: tuple[int, ...],
) -> Iterator[tuple[QuantumCircuit, BitCondition]]:
    """Yield the bodies of a control flow instruction, each with the condition under which it runs.

    Parameters
    ----------
    instruction
        The instruction.
    scope
        The whole circuit's bit for each bit of the circuit that it stands in.
    bits
        What these hold.
    where
        The whole circuit's qubits, for messages.

    Raises
    ------
    CutError
        For while loops, jumps out of loops, and classical variables.
    """
    operation = instruction.operation

    def holds(bit: Clbit) -> BitCondition:
        return bits.holds(scope.get(bit, bit))

    if isinstance(operation, IfElseOp):
        chosen = condition_of(operation.condition, holds)
        first, *rest = operation.blocks
        yield first, chosen
        for other in rest:
            yield other, without(ALWAYS, chosen)
    elif isinstance(operation, SwitchCaseOp):
        yield from _cases(operation, holds)
    elif isinstance(operation, ForLoopOp) and not _jumps(operation.blocks):
        indices, parameter, body = operation.params
        for index in indices:
            once = body if parameter is None else body.assign_parameters({parameter: index})
            yield once, ALWAYS
    else:
        raise CutError(
            f"'{operation.name}' on qubits {where} goes on for as long as measurements say, or "
            f"needs classical variables; expected if, switch and loops over fixed values: write "
            f"it with these"
        )


def _cases(operation: SwitchCaseOp, holds: Holds) -> Iterator[tuple[QuantumCircuit, BitCondition]]:
    left = ALWAYS
    for labels, body in operation.cases_specifier():
        wanted = {label for label in labels if label is not CASE_DEFAULT}
        default = len(wanted) < len(labels)
        found = number_is(operation.target, holds, lambda n, some=wanted: int(n) in some)  # type: ignore[misc]
        yield body, left if default else both(left, found)
        left = without(left, found)


def _jumps(blocks: Iterable[QuantumCircuit]) -> bool:
    """Whether something in the blocks leaves a loop early."""
    return any(
        isinstance(i.operation, (BreakLoopOp, ContinueLoopOp))
        or _jumps(getattr(i.operation, "blocks", ()))
        for block in blocks
        for i in block.data
    )
