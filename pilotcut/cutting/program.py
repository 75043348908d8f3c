"""Reading a circuit: a flat list of one- and two-qubit steps whose free angles are slots.

Every occurrence of a free angle becomes a slot of its own, and a `Binding` computes the
slots' numbers from the circuit's parameters. Two circuits that differ only in how their
angles are named or computed therefore have the same program, and one plan serves both:
this is what lets a training run compile once, although Qiskit Machine Learning's
gradients rename every parameter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from qiskit.circuit import Instruction, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError

from pilotcut.errors import CutError, ParameterValueError

if TYPE_CHECKING:  # a third of what a worker imports, and few circuits have curved angles
    import sympy

_STANDARD = {
    name: gate.base_class
    for name, gate in get_standard_gate_name_mapping().items()
    if name not in ("measure", "delay", "global_phase")
}
_MARKERS = frozenset({"cut_wire", "move", "reset"})
_SKIPPED = frozenset({"barrier", "delay", "id", "global_phase"})


@dataclass(frozen=True)
class Angle:
    """A free angle: ``scale * slots[slot] + offset``, in radians."""

    slot: int
    scale: float = 1.0
    offset: float = 0.0

    def of(self, slots: np.ndarray) -> np.ndarray:
        """Return the angle for slot values (batch, slots), as (batch,)."""
        return self.scale * slots[:, self.slot] + self.offset


Param = float | str | Angle | np.ndarray


@dataclass(frozen=True)
class Step:
    """One instruction on one or two qubits; `params` replaces the gate's own."""

    gate: Instruction
    qubits: tuple[int, ...]
    params: tuple[Param, ...] = ()

    @property
    def name(self) -> str:
        """Name of the gate."""
        return self.gate.name

    def gate_with(self, params: Sequence[object]) -> Instruction:
        """Return the gate with other parameters; the step's own gate is left alone."""
        if not self.params:
            return self.gate
        gate = self.gate.to_mutable()
        gate.params = list(params)
        return gate

    @property
    def key(self) -> tuple[object, ...]:
        """Return what identifies the step, independent of how parameters are called."""
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
    """

    num_qubits: int
    num_slots: int
    steps: tuple[Step, ...]

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Return the structure: equal for circuits that one plan can serve."""
        return (self.num_qubits, tuple(step.key for step in self.steps))


@dataclass(frozen=True)
class _Curved:
    """A slot whose angle is not linear in the parameters, and its slopes."""

    slot: int
    columns: list[int]
    value: Callable[..., np.ndarray]
    slopes: tuple[Callable[..., np.ndarray], ...]

    @classmethod
    def of(
        cls,
        slot: int,
        columns: list[int],
        parameters: Sequence[Parameter],
        expression: ParameterExpression,
    ) -> _Curved:
        import sympy

        # Real symbols, since sympy cannot evaluate the derivative of a complex abs(). Qiskit's
        # own derivatives are no way out: sympify() of one may print another (Qiskit 2.6).
        names = [p.sympify() for p in parameters]
        symbols = [sympy.Symbol(f"p{k}", real=True) for k in range(len(names))]
        formula = expression.sympify().subs(dict(zip(names, symbols, strict=True)))
        value, *slopes = _functions(formula, tuple(symbols))
        return cls(slot, columns, value, tuple(slopes))


# A feature map has one formula over many pairs of parameters, and is read for every query.
@lru_cache(maxsize=1024)
def _functions(
    formula: sympy.Expr, symbols: tuple[sympy.Symbol, ...]
) -> tuple[Callable[..., np.ndarray], ...]:
    """Return a formula and its derivatives by each symbol as functions of arrays."""
    import sympy

    wanted = (formula, *(formula.diff(symbol) for symbol in symbols))
    return tuple(sympy.lambdify(symbols, one, "numpy") for one in wanted)


class Binding:
    """How the parameters of one circuit become the slots of its program.

    Parameters
    ----------
    names
        The circuit's parameters in Qiskit's order.
    expressions
        The angle of every slot.
    """

    def __init__(self, names: Sequence[str], expressions: Sequence[ParameterExpression]) -> None:
        self.names = tuple(names)
        column = {name: k for k, name in enumerate(self.names)}
        self._matrix = np.zeros((len(self.names), len(expressions)))
        self._offset = np.zeros(len(expressions))
        self._curved: list[_Curved] = []
        for slot, expression in enumerate(expressions):
            parameters = sorted(expression.parameters, key=lambda p: column[p.name])
            used = [column[p.name] for p in parameters]
            slopes = [_constant_or_none(expression.gradient(p)) for p in parameters]
            if None in slopes:
                self._curved.append(_Curved.of(slot, used, parameters, expression))
            else:
                self._matrix[used, slot] = slopes
                self._offset[slot] = float(expression.bind(dict.fromkeys(parameters, 0.0)))

    def slots(self, values: np.ndarray) -> np.ndarray:
        """Return slot values (batch, slots) for parameter values (batch, parameters).

        Raises
        ------
        ParameterValueError
            If the number of parameters is wrong or a value is not finite.
        """
        values = np.asarray(values, dtype=float)
        self._check(values)
        slots = values @ self._matrix + self._offset
        for curved in self._curved:
            slots[:, curved.slot] = curved.value(*values[:, curved.columns].T)
        return slots

    def jacobian(self, values: np.ndarray) -> np.ndarray:
        """Return d slots / d parameters, (batch, slots, parameters)."""
        result = np.repeat(self._matrix.T[None], len(values), axis=0)
        for curved in self._curved:
            for column, slope in zip(curved.columns, curved.slopes, strict=True):
                result[:, curved.slot, column] = slope(*values[:, curved.columns].T)
        return result

    def _check(self, values: np.ndarray) -> None:
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ParameterValueError(
                f"parameter values have shape {values.shape}, expected (batch, {len(self.names)}): "
                f"the circuit has {len(self.names)} parameters ({_listed(self.names)}); "
                f"give every one a value"
            )
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise ParameterValueError(
                f"parameter '{self.names[column]}' is {values[row, column]} in row {row}, expected "
                f"a finite number; check the data set and the learning rate"
            )


def _constant_or_none(slope: ParameterExpression | float) -> float | None:
    if isinstance(slope, ParameterExpression):
        return None if slope.parameters else float(slope)
    return float(slope)


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f", … {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def read_circuit(circuit: QuantumCircuit) -> tuple[Program, Binding]:
    """Return the circuit as a program, and the binding of its parameters.

    Composite instructions are opened until one- and two-qubit gates are left; barriers and
    the global phase are dropped.

    Raises
    ------
    CutError
        For measurements, classical control and instructions without a definition.
    """
    found: list[ParameterExpression] = []
    steps, order = _canonical(_flatten(circuit, tuple(range(circuit.num_qubits)), found))
    program = Program(circuit.num_qubits, len(order), steps)
    return program, Binding([p.name for p in circuit.parameters], [found[k] for k in order])


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


def _flatten(
    circuit: QuantumCircuit, qubits: tuple[int, ...], expressions: list[ParameterExpression]
) -> Iterator[Step]:
    for instruction in circuit.data:
        gate = instruction.operation
        where = tuple(qubits[circuit.find_bit(q).index] for q in instruction.qubits)
        if gate.name in _SKIPPED:
            continue
        if instruction.clbits or getattr(gate, "blocks", None):
            raise CutError(
                f"circuit '{circuit.name}' has '{gate.name}' with classical bits, expected gates "
                f"only; remove measurements and control flow (estimators measure by themselves)"
            )
        if _is_kept(gate):
            yield Step(gate, where, tuple(_read_param(p, expressions) for p in gate.params))
        else:
            yield from _flatten(_definition(gate, where), where, expressions)


def _is_kept(gate: Instruction) -> bool:
    if gate.name in _MARKERS:
        return True
    if gate.num_qubits not in (1, 2) or not hasattr(gate, "params"):
        return False
    if gate.name in _STANDARD:  # somebody's own gate may have the name of another
        return isinstance(gate, _STANDARD[gate.name])
    free = any(isinstance(p, ParameterExpression) and p.parameters for p in gate.params)
    return hasattr(gate, "__array__") and not free


def _definition(gate: Instruction, where: tuple[int, ...]) -> QuantumCircuit:
    """Return what a gate that is not kept is made of; open controls become X gates here."""
    try:
        definition = getattr(gate, "definition", None)
    except QiskitError:  # some gates have a definition only once their parameters are bound
        definition = None
    if definition is None:
        raise CutError(
            f"instruction '{gate.name}' on qubits {where} has no definition, expected gates "
            f"of one or two qubits; bind, decompose or transpile it first"
        )
    return definition


def _read_param(
    param: float | str | ParameterExpression | np.ndarray, expressions: list[ParameterExpression]
) -> Param:
    if isinstance(param, (np.ndarray, str)):  # a matrix, or the letters of a PauliGate
        return param
    if isinstance(param, ParameterExpression):
        if param.parameters:
            expressions.append(param)
            return Angle(len(expressions) - 1)
        return float(param.numeric())
    return float(param)
