"""Programs: a circuit as a flat list of steps whose free angles are slots.

Every occurrence of a free angle becomes a slot of its own, and a `Binding` computes the
slots' numbers from the circuit's parameters. Two circuits that differ only in how their
angles are named or computed therefore have the same program, and one plan serves both:
this is what lets a training run compile once, although Qiskit Machine Learning's
gradients rename every parameter.

Steps act on one or two qubits. A multi-controlled gate alone is one step on all of its qubits,
as how it is best opened depends on where it is cut.

What an instruction is, `pilotcut.circuits.instructions` decides by its class, never by its name:
behind this module a gate's name is one of Qiskit's own, or "unitary", and means what it says.
Refuses to know cuts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import isfinite

import numpy as np
from qiskit.circuit import (
    CircuitInstruction,
    Clbit,
    Instruction,
    Measure,
    Operation,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
    Reset,
)
from qiskit.circuit.library import XGate

from pilotcut.circuits import controlled_gates, instructions
from pilotcut.circuits.binding import Binding
from pilotcut.circuits.conditions import ALWAYS, NEVER, BitCondition, both, value_of
from pilotcut.circuits.control_flow import ClassicalBits, bodies, is_control_flow
from pilotcut.circuits.gathering import gathered
from pilotcut.circuits.rotation_vectors import (
    RotationAngle,
    binding_of,
    gates_of_rotation,
    is_free_rotation,
    vector_of,
)
from pilotcut.circuits.steps import Angle, AngleSum, Param, Shown, Step
from pilotcut.errors import CutError
from pilotcut.options import counted

__all__ = [
    "MOST_STEPS",
    "Angle",
    "AngleSum",
    "Bare",
    "Param",
    "Program",
    "Shown",
    "Step",
    "check_circuit",
    "free_angle",
    "parts_of",
    "read_circuit",
]

#: Instructions that are opened, and steps, at most: definitions that call others twice double.
MOST_STEPS = 500_000


@dataclass(frozen=True)
class Program:
    """A circuit as steps over slots.

    Parameters
    ----------
    num_qubits, num_slots
        How many qubits, and how many occurrences of free angles, there are.
    steps
        The instructions in order.
    notes
        What a user should know about how the circuit was read, a line each.
    """

    num_qubits: int
    num_slots: int
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Return the structure: equal for circuits that one plan can serve."""
        return (self.num_qubits, tuple(step.key for step in self.steps))

    @cached_property
    def opened(self) -> Program:
        """The same circuit with nothing but one- and two-qubit steps."""
        if all(len(step.qubits) < 3 for step in self.steps):
            return self
        steps = [part for k, step in enumerate(self.steps) for part in parts_of(step, k)]
        return replace(self, steps=tuple(steps))


def read_circuit(circuit: QuantumCircuit) -> tuple[Program, Binding]:
    """Return the circuit as a program, and the binding of its parameters.

    Composite instructions are opened until one- and two-qubit gates and multi-controlled ones are
    left; barriers, the global phase and final measurements are dropped: those of qubits on which
    nothing follows, into bits that nothing depends on.

    Raises
    ------
    CutError
        For loops without a fixed number of rounds, instructions without a definition, angles that
        are no finite numbers, and circuits of more than `MOST_STEPS` steps.
    """
    check_circuit(circuit)
    reading = _Reading(circuit)
    steps, order = _canonical(_without_final(list(reading.read(circuit))))
    program = Program(circuit.num_qubits, len(order), steps, tuple(reading.notes))
    names = [p.name for p in circuit.parameters]
    return program, binding_of(names, [reading.angles[k] for k in order])


def check_circuit(circuit: object) -> None:
    """Raise CutError unless something is a circuit."""
    if not isinstance(circuit, QuantumCircuit):
        raise CutError(
            f"circuit is {circuit!r:.60} ({type(circuit).__name__}), expected a QuantumCircuit; "
            f"load_circuit reads one from a file"
        )


def _canonical(steps: Iterable[Step]) -> tuple[tuple[Step, ...], list[int]]:
    """Gather runs of gates, sort steps by (layer, qubits) and number slots in that order.

    Passes of the transpiler shuffle gates that commute because they share no qubit; a
    layer holds such gates only, so this order does not depend on theirs. Returns also
    the old number of each new slot.
    """
    in_layers = _by_layer(steps)
    # What is gathered may depend on the order, so that one must be canonical itself.
    runs = gathered(in_layers)
    in_order = in_layers if runs is in_layers else _by_layer(runs)
    order: list[int] = []
    written = [step.writes for step in in_order if step.writes is not None]
    number = {value: k for k, value in enumerate(written)}
    sorted_steps = tuple(
        replace(step, params=tuple(_renumbered(p, order) for p in step.params)).with_values(number)
        for step in in_order
    )
    return sorted_steps, order


def _by_layer(steps: Iterable[Step]) -> list[Step]:
    # Values are ordered like qubits: a measurement before what depends on it.
    layer_of: Counter[int] = Counter()
    known: dict[int, int] = {}  # the layer behind each measurement
    keyed = []
    for step in steps:
        layer = max(*(layer_of[q] for q in step.qubits), *(known[v] for v in step.reads), 0)
        # A Counter's update adds: each qubit comes to stand at layer + 1.
        layer_of.update({q: layer + 1 - layer_of[q] for q in step.qubits})
        if step.writes is not None:
            known[step.writes] = layer + 1
        keyed.append(((layer, step.qubits), step))
    return [step for _, step in sorted(keyed, key=lambda pair: pair[0])]


def _without_final(steps: list[Step]) -> list[Step]:
    """Leave out measurements behind which nothing happens and on which nothing depends."""
    busy: set[int] = set()
    read: set[int] = set()
    kept = []
    for step in reversed(steps):
        if step.writes is not None and step.writes not in read and not busy & set(step.qubits):
            continue
        busy.update(step.qubits)
        read.update(step.reads)
        kept.append(step)
    return kept[::-1]


def _renumbered(param: Param, order: list[int]) -> Param:
    if not isinstance(param, Angle):
        return param
    order.append(param.slot)
    return replace(param, slot=len(order) - 1)


@dataclass(frozen=True)
class _Place:
    """Where a circuit stands in the whole: its qubits, its bits, and the condition it is under."""

    qubits: tuple[int, ...]
    bits: Mapping[Clbit, Clbit]
    condition: BitCondition

    def within(
        self, inner: QuantumCircuit, where: tuple[int, ...], instruction: CircuitInstruction
    ) -> _Place:
        """Return the place of an instruction's definition or body."""
        outer = (self.bits.get(bit, bit) for bit in instruction.clbits)
        return replace(self, qubits=where, bits=dict(zip(inner.clbits, outer, strict=False)))


class _Reading:
    """The instructions of one circuit while they are opened.

    Parameters
    ----------
    circuit
        The whole circuit.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.angles: list[ParameterExpression | RotationAngle] = []  # of slots
        self.notes: dict[str, None] = {}  # a set in order
        self._known = set(circuit.parameters)
        self._name = circuit.name
        self._opened = 0

    def read(self, circuit: QuantumCircuit) -> Iterator[Step]:
        """Yield the steps of the whole circuit."""
        self._bits = ClassicalBits()
        whole = _Place(tuple(range(circuit.num_qubits)), {}, ALWAYS)
        return self.steps(circuit, whole)

    def steps(self, circuit: QuantumCircuit, place: _Place) -> Iterator[Step]:
        """Yield the steps of a circuit, a definition or a body, at a place of the whole."""
        for instruction in circuit.data:
            self._count()
            gate = controlled_gates.without_modifiers(instruction.operation)
            where = tuple(place.qubits[circuit.find_bit(q).index] for q in instruction.qubits)
            if is_control_flow(gate):
                yield from self._bodies(instruction, place, where)
            elif isinstance(gate, Measure):
                (bit,) = instruction.clbits
                yield self._measured(where, place.bits.get(bit, bit), place.condition)
            elif not instructions.does_nothing(gate):
                yield from self._gate(instruction.replace(operation=gate), place, where)

    def _gate(
        self, instruction: CircuitInstruction, place: _Place, where: tuple[int, ...]
    ) -> Iterator[Step]:
        gate = instruction.operation
        self._check_size(gate, where)
        kept = controlled_gates.whole(gate) if place.condition == ALWAYS else None
        found = instructions.native(gate) if kept is None else None
        if kept is not None:
            step = Step(kept, where, self._params(gate, kept, where))
            self._count(len(parts_of(step)))
            yield step
        elif is_free_rotation(gate):
            yield from self._rotation(gate, where, place.condition)
        elif found is None:
            if note := instructions.note_on(gate):
                self.notes[note] = None
            inner = instructions.definition_of(gate, where)
            yield from self._inner(inner, place.within(inner, where, instruction))
        elif place.condition == ALWAYS:
            yield Step(found, where, self._params(gate, found, where))
        elif isinstance(found, Reset):
            # Measured, and turned where it was 1: a reset under a condition.
            measured = self._measured(where, None, place.condition)
            yield measured
            assert measured.writes is not None
            yield Step(XGate(), where, condition=value_of(measured.writes))
        elif instructions.is_marker(found):
            raise CutError(
                f"'{found.name}' on qubits {where} is under classical control, expected markers of "
                f"cuts outside of it; move it in front of the condition"
            )
        else:
            params = self._params(gate, found, where)
            yield Step(found, where, params, condition=place.condition)

    def _rotation(
        self, gate: Operation, where: tuple[int, ...], condition: BitCondition
    ) -> Iterator[Step]:
        """Yield the gates that turn a qubit about a free vector."""
        for param in gate.params:  # type: ignore[attr-defined]
            self._checked(param, gate, where)
        vector = vector_of(gate)
        for one, numbers in gates_of_rotation():
            params = tuple(self._slot(RotationAngle(vector, number)) for number in numbers)
            yield Step(one, where, params, condition=None if condition == ALWAYS else condition)

    def _measured(self, where: tuple[int, ...], bit: Clbit | None, condition: BitCondition) -> Step:
        value = self._bits.measure(bit, condition)
        return Step(
            Measure(), where, writes=value, condition=None if condition == ALWAYS else condition
        )

    def _bodies(
        self, instruction: CircuitInstruction, place: _Place, where: tuple[int, ...]
    ) -> Iterator[Step]:
        for body, chosen in bodies(instruction, place.bits, self._bits, where):
            condition = both(place.condition, chosen)
            if condition != NEVER:
                inner = place.within(body, where, instruction)
                yield from self._inner(body, replace(inner, condition=condition))

    def _inner(self, definition: QuantumCircuit, place: _Place) -> Iterator[Step]:
        try:
            yield from self.steps(definition, place)
        except RecursionError:
            raise CutError(
                f"circuit '{self._name}' has definitions too deep in one another, expected some "
                f"that end; does a gate's definition contain the gate itself?"
            ) from None

    def _check_size(self, gate: Operation, where: tuple[int, ...]) -> None:
        # Seen with Qiskit 2.6.2: findings/qiskit-qpy-quadratic-form.sh says CHANGED once this can
        # go.
        if gate.num_qubits != len(where):  # Qiskit's QPY reads some library gates back like that
            raise CutError(
                f"gate '{gate.name}' of {counted(gate.num_qubits, 'qubit')} stands on qubits "
                f"{where}, "
                f"expected as many; decompose it before the circuit is written to a file"
            )

    def _count(self, opened: int = 1) -> None:
        self._opened += opened
        if self._opened > MOST_STEPS:
            raise CutError(
                f"circuit '{self._name}' has more than {MOST_STEPS} instructions when its gates "
                f"are opened, expected fewer; are gates defined by others that double each time?"
            )

    def _params(
        self, gate: Operation, found: Instruction, where: tuple[int, ...]
    ) -> tuple[Param, ...]:
        if instructions.is_matrix(found) or any(isinstance(p, np.ndarray) for p in found.params):
            return (found.params[0],)
        return tuple(self._param(p, gate, where) for p in getattr(gate, "params", ()))

    def _param(
        self, param: float | ParameterExpression, gate: Operation, where: tuple[int, ...]
    ) -> Param:
        checked = self._checked(param, gate, where)
        return self._slot(checked) if isinstance(checked, ParameterExpression) else checked

    def _slot(self, angle: ParameterExpression | RotationAngle) -> Angle:
        self.angles.append(angle)
        return Angle(len(self.angles) - 1)

    def _checked(
        self, param: float | ParameterExpression, gate: Operation, where: tuple[int, ...]
    ) -> float | ParameterExpression:
        """Return an angle as it is if it is free, else as a number."""
        if isinstance(param, ParameterExpression) and param.parameters:
            if strange := sorted(p.name for p in param.parameters - self._known):
                raise CutError(
                    f"gate '{gate.name}' on qubits {where} has the parameter '{strange[0]}', which "
                    f"the circuit does not know, expected it among the gate's params; give it "
                    f"there, or bind it"
                )
            return param
        try:
            # A complex value is a TypeError of float(). Taken for a number, asin(1.5) gave -1 in
            # counts mode.
            value = param.numeric() if isinstance(param, ParameterExpression) else param
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number, value = np.nan, param
        if not isfinite(number):
            raise CutError(
                f"gate '{gate.name}' on qubits {where} has the angle {value}, expected a finite "
                f"real number; check what it was computed from"
            )
        return number


# -- multi-controlled gates opened -------------------------------------------------------


def parts_of(step: Step, number: int | None = None) -> tuple[Step, ...]:
    """Return a step as steps on one and two qubits, those of Qiskit's definition of its gate.

    The last of several shows the gate, and its `number` among the circuit's steps.
    """
    if len(step.qubits) < 3:
        return (step,)
    free = free_angle(step)
    *parts, last = (part.placed(step.qubits, free) for part in _opened(Bare(step)))
    shown = Shown(step.name, step.qubits, step=number)
    return (*(replace(part, shown=Shown()) for part in parts), replace(last, shown=shown))


def free_angle(step: Step) -> Angle | None:
    """Return the first free angle of a step; a multi-controlled gate has no other."""
    return next((p for p in step.params if isinstance(p, Angle)), None)


class Bare:
    """A step's gate: equal wherever it stands, and whatever its free angle is.

    Parameters
    ----------
    step
        The given step; `Bare.step` stands on qubits from 0 on, with slot 0 as its free angle.
    """

    def __init__(self, step: Step) -> None:
        params = tuple(Angle(0) if isinstance(p, Angle) else p for p in step.params)
        self.step = Step(step.gate, tuple(range(len(step.qubits))), params)
        self._key = self.step.key

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bare) and self._key == other._key


@lru_cache(maxsize=1024)
def _opened(bare: Bare) -> tuple[Step, ...]:
    """Return the parts of a gate on its own qubits; its one free angle is their slot 0."""
    step, free = bare.step, Parameter("t")
    params = [free if isinstance(p, Angle) else p for p in step.params]
    gate = step.gate_with(params)
    program, binding = read_circuit(instructions.definition_of(gate, step.qubits))
    # Angles within Qiskit's definitions are linear in the gate's own: a value and a slope say all.
    at_zero = np.zeros((1, len(binding.names)))
    slopes, starts = binding.jacobian(at_zero)[0], binding.slots(at_zero)[0]

    def of_gate(param: Param) -> Param:
        if not isinstance(param, Angle):
            return param
        slope, start = float(slopes[param.slot, 0]), float(starts[param.slot])
        return Angle(0, slope).scaled(param.scale, param.scale * start + param.offset)

    return tuple(
        replace(part, params=tuple(map(of_gate, part.params))) for part in program.opened.steps
    )
