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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import isfinite

import numpy as np
from qiskit.circuit import (
    Instruction,
    Operation,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
)

from pilotcut.circuits import controlled_gates, instructions
from pilotcut.circuits.binding import Binding
from pilotcut.errors import CutError

#: Instructions that are opened, and steps, at most: definitions that call others twice double.
MOST_STEPS = 500_000


@dataclass(frozen=True)
class Angle:
    """A free angle: ``scale * slots[slot] + offset``, in radians."""

    slot: int
    scale: float = 1.0
    offset: float = 0.0

    def of(self, slots: np.ndarray) -> np.ndarray:
        """Return the angle for slot values (batch, slots), as (batch,)."""
        return self.scale * slots[:, self.slot] + self.offset

    def scaled(self, factor: float, offset: float = 0.0) -> Angle:
        """Return the angle ``factor * self + offset``."""
        return Angle(self.slot, factor * self.scale, factor * self.offset + offset)


Param = float | Angle | np.ndarray


@dataclass(frozen=True)
class Shown:
    """What a part of a gate is shown as: nothing where another part shows the gate.

    Parameters
    ----------
    name, qubits
        Of the circuit's gate.
    wires
        The program's qubits, ancillas among them, that these are on; empty for themselves.
    step
        The gate's place among the circuit's steps.
    """

    name: str = ""
    qubits: tuple[int, ...] = ()
    wires: tuple[int, ...] = ()
    step: int | None = None


@dataclass(frozen=True)
class Step:
    """One instruction; `params` replaces the gate's own.

    Parameters
    ----------
    gate
        On one or two qubits, or a multi-controlled one
        (`pilotcut.circuits.controlled_gates.whole`).
    qubits
        What it acts on, controls first.
    params
        Its angles, or its matrix.
    shown
        The gate of the circuit that this is a part of, where it is shown instead.
    """

    gate: Instruction
    qubits: tuple[int, ...]
    params: tuple[Param, ...] = ()
    shown: Shown | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Name of the gate."""
        return self.gate.name

    def gate_with(self, params: Sequence[object]) -> Instruction:
        """Return the gate with other parameters; the step's own gate is left alone."""
        if not self.params or instructions.is_matrix(self.gate):
            return self.gate  # a matrix is its own parameter, and never free
        if len(self.qubits) > 2:
            return controlled_gates.with_params(self.gate, params)
        return self.gate.base_class(*params)  # a copy would keep a definition for old angles

    def placed(self, qubits: Sequence[int], free: Angle | None) -> Step:
        """Return a step of a gate's own qubits and free angle, slot 0, on those of a circuit."""
        params = (
            free.scaled(p.scale, p.offset) if free and isinstance(p, Angle) else p
            for p in self.params
        )
        return replace(self, qubits=tuple(qubits[q] for q in self.qubits), params=tuple(params))

    @property
    def key(self) -> tuple[object, ...]:
        """Return what decides the step's effect, independent of how parameters are called."""
        return (self.name, self.qubits, tuple(_param_key(p) for p in self.params))


def _param_key(param: Param) -> object:
    if isinstance(param, np.ndarray):
        return param.tobytes()
    return (param.slot, param.scale, param.offset) if isinstance(param, Angle) else param


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
    left; barriers and the global phase are dropped.

    Raises
    ------
    CutError
        For measurements, classical control, instructions without a definition, angles that are
        no finite numbers, and circuits of more than `MOST_STEPS` steps.
    """
    check_circuit(circuit)
    reading = _Reading(circuit)
    steps, order = _canonical(reading.steps(circuit, tuple(range(circuit.num_qubits))))
    program = Program(circuit.num_qubits, len(order), steps, tuple(reading.notes))
    names = [p.name for p in circuit.parameters]
    return program, Binding(names, [reading.expressions[k] for k in order])


def check_circuit(circuit: object) -> None:
    """Raise CutError unless something is a circuit."""
    if not isinstance(circuit, QuantumCircuit):
        raise CutError(
            f"circuit is {circuit!r:.60} ({type(circuit).__name__}), expected a QuantumCircuit; "
            f"load_circuit reads one from a file"
        )


def _canonical(steps: Iterable[Step]) -> tuple[tuple[Step, ...], list[int]]:
    """Sort steps by (layer, qubits) and number slots in that order.

    Passes of the transpiler shuffle gates that commute because they share no qubit; a
    layer holds such gates only, so this order does not depend on theirs. Returns also
    the old number of each new slot.
    """
    layer_of: Counter[int] = Counter()
    keyed = []
    for step in steps:
        layer = max(layer_of[q] for q in step.qubits)
        # A Counter's update adds: each qubit comes to stand at layer + 1.
        layer_of.update({q: layer + 1 - layer_of[q] for q in step.qubits})
        keyed.append(((layer, step.qubits), step))
    order: list[int] = []
    sorted_steps = tuple(
        replace(step, params=tuple(_renumbered(p, order) for p in step.params))
        for _, step in sorted(keyed, key=lambda pair: pair[0])
    )
    return sorted_steps, order


def _renumbered(param: Param, order: list[int]) -> Param:
    if not isinstance(param, Angle):
        return param
    order.append(param.slot)
    return replace(param, slot=len(order) - 1)


class _Reading:
    """The instructions of one circuit while they are opened.

    Parameters
    ----------
    circuit
        The whole circuit.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self.expressions: list[ParameterExpression] = []
        self.notes: dict[str, None] = {}  # a set in order
        self._known = set(circuit.parameters)
        self._name = circuit.name
        self._opened = 0

    def steps(self, circuit: QuantumCircuit, qubits: tuple[int, ...]) -> Iterator[Step]:
        """Yield the steps of a circuit, or of a definition, on some qubits of the whole."""
        for instruction in circuit.data:
            self._count()
            gate = controlled_gates.without_modifiers(instruction.operation)
            where = tuple(qubits[circuit.find_bit(q).index] for q in instruction.qubits)
            if instructions.does_nothing(gate):
                continue
            self._check_size(gate, where)
            self._refuse_classical(gate, bool(instruction.clbits))
            if (kept := controlled_gates.whole(gate)) is not None:
                step = Step(kept, where, self._params(gate, kept, where))
                self._count(len(parts_of(step)))
                yield step
                continue
            found = instructions.native(gate)
            if found is None:
                if note := instructions.note_on(gate):
                    self.notes[note] = None
                yield from self._inner(instructions.definition_of(gate, where), where)
            else:
                yield Step(found, where, self._params(gate, found, where))

    def _inner(self, definition: QuantumCircuit, where: tuple[int, ...]) -> Iterator[Step]:
        try:
            yield from self.steps(definition, where)
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
                f"gate '{gate.name}' of {gate.num_qubits} qubits stands on qubits {where}, "
                f"expected as many; decompose it before the circuit is written to a file"
            )

    def _count(self, opened: int = 1) -> None:
        self._opened += opened
        if self._opened > MOST_STEPS:
            raise CutError(
                f"circuit '{self._name}' has more than {MOST_STEPS} instructions when its gates "
                f"are opened, expected fewer; are gates defined by others that double each time?"
            )

    def _refuse_classical(self, gate: Operation, has_clbits: bool) -> None:
        blocks = getattr(gate, "blocks", ())
        if has_clbits or (blocks and not instructions.is_box(gate)):
            raise CutError(
                f"circuit '{self._name}' has '{gate.name}' with classical bits, expected gates "
                f"only; remove measurements and control flow (estimators measure by themselves)"
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
        if isinstance(param, ParameterExpression) and param.parameters:
            if strange := sorted(p.name for p in param.parameters - self._known):
                raise CutError(
                    f"gate '{gate.name}' on qubits {where} has the parameter '{strange[0]}', which "
                    f"the circuit does not know, expected it among the gate's params; give it "
                    f"there, or bind it"
                )
            self.expressions.append(param)
            return Angle(len(self.expressions) - 1)
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
