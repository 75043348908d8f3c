"""Parameter binding: the angles of a program for values of a circuit's parameters, and derivatives.

Angles that are linear or quadratic in the parameters, as those of an ansatz and of a ZZ feature
map are, are arrays: one matrix product binds a batch. All others are evaluated and
differentiated by Qiskit, so an angle is what Qiskit binds it to, and nothing else; second
derivatives come from torch (`pilotcut.circuits.expressions`). Refuses to know gates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from pilotcut.circuits.expressions import degree, second_derivatives
from pilotcut.errors import ParameterValueError, UserError
from pilotcut.options import counted

#: Where it is checked that an angle is the polynomial that its derivatives say: generic, of
#: either sign.
_PROBES = (0.731, -1.273, 2.117)

# Qiskit 2.6 takes d|f| for f f'/|f|, which holds where f is real: |x**0.5| at x = -0.3 has the
# slope 0.91 there and -0.91 in truth. Such derivatives are held against differences, until
# findings/qiskit-gradient-of-abs.sh says CHANGED.
_ABSOLUTE, _MAY_BE_COMPLEX = "abs(", ("**", "log(", "asin(", "acos(")
_STEP, _CLOSE = 1e-6, 1e-3


def moved_by(jacobian: np.ndarray, wanted: np.ndarray) -> frozenset[int]:
    """Return the slots that a wanted parameter moves: each costs circuits to derive.

    Parameters
    ----------
    jacobian
        (slots, parameters), or of several rows (rows, slots, parameters).
    wanted
        (parameters,) booleans.
    """
    moved = jacobian[..., wanted].any(axis=-1)
    return frozenset(np.flatnonzero(moved.any(axis=0) if moved.ndim == 2 else moved).tolist())


class Binding:
    """Map from the parameters of one circuit to the slots of its program.

    Parameters
    ----------
    names
        The circuit's parameters in Qiskit's order.
    expressions
        The angle of every slot.
    """

    def __init__(self, names: Sequence[str], expressions: Sequence[ParameterExpression]) -> None:
        self.names = tuple(names)
        self._expressions = tuple(expressions)
        column = {name: k for k, name in enumerate(self.names)}
        self._matrix = np.zeros((len(self.names), len(expressions)))
        self._offset = np.zeros(len(expressions))
        bends: list[tuple[int, int, int, float]] = []
        self._curved: list[tuple[int, _Curved]] = []
        # A feature map has one angle at several gates; each is read once, which is ten times faster
        # for a ZZ feature map. Not by hash: that of a negative constant is an OverflowError in
        # Qiskit 2.6 (findings/qiskit-hash-negative-expression.sh).
        seen: dict[str, tuple[ParameterExpression, _Polynomial | _Curved]] = {}
        for slot, expression in enumerate(expressions):
            known, formula = seen.get(str(expression), (None, None))
            if formula is None or known != expression:
                formula = _read(expression, column)
                seen[str(expression)] = (expression, formula)
            if isinstance(formula, _Curved):
                self._curved.append((slot, formula))
                continue
            self._matrix[formula.columns, slot] = formula.slopes
            self._offset[slot] = formula.offset
            bends += [(slot, *bend) for bend in formula.bends]
        # Second derivatives that are not zero: (slot, parameter, parameter), and their values.
        self._bends = np.array([bend[:3] for bend in bends], dtype=int).reshape(-1, 3).T
        self._curvature = np.array([bend[3] for bend in bends], dtype=float)

    def slots(self, values: np.ndarray) -> np.ndarray:
        """Return slot values (batch, slots) for parameter values (batch, parameters).

        Raises
        ------
        ParameterValueError
            If the number of parameters is wrong, or a value or an angle is not finite and real.
        """
        values = np.asarray(values, dtype=float)
        self._check(values)
        with np.errstate(over="ignore", invalid="ignore"):  # said below, with the place
            slots = values @ self._matrix + self._offset
            if len(self._curvature):
                of, one, two = self._bends
                bent = values[:, one] * values[:, two] * self._curvature / 2
                # A slot may have several bends, of which += would keep the last. (i, j) and (j, i)
                # are both there, hence the half.
                np.add.at(slots.T, of, bent.T)
        for formula, group in self._by_formula():
            slots[:, group] = formula.of(values)[:, None]
        self._check_slots(values, slots)
        return slots

    def jacobian(self, values: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return d slots / d parameters, (batch, slots, parameters).

        Parameters
        ----------
        values
            (batch, parameters).
        wanted
            (parameters,) booleans: the parameters whose derivatives are needed. Those of others
            may be zero.

        Raises
        ------
        UserError
            If a wanted derivative is none of Qiskit's, or not finite.
        """
        result = np.repeat(self._matrix.T[None], len(values), axis=0)
        of, one, two = self._bends
        # As above, not +=: a slot and a parameter may have several bends.
        np.add.at(result.transpose(1, 2, 0), (of, one), (values[:, two] * self._curvature).T)
        for formula, group in self._by_formula():
            for position, column in enumerate(formula.columns):
                if wanted is None or wanted[column]:
                    result[:, group, column] = formula.slope(position, values)[:, None]
        return result

    def slots_moved_by(self, names: Collection[str]) -> frozenset[int]:
        """Return the slots that parameters of these names move.

        Examples
        --------
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from pilotcut.circuits.program import read_circuit
        >>> x, y = Parameter("x"), Parameter("y")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx((x - y) ** 2, 0), circuit.rz(y, 0)
        >>> _, binding = read_circuit(circuit)
        >>> sorted(binding.slots_moved_by(["x"])), sorted(binding.slots_moved_by(["y"]))
        ([0], [0, 1])
        """
        wanted = np.isin(self.names, list(names))
        # Where a derivative depends on the parameters, it vanishes at few values, as at equal ones.
        values = np.random.default_rng(0).uniform(0.1, 1.0, (1, len(self.names)))
        return moved_by(self.jacobian(values, wanted), wanted)

    @property
    def constant_jacobian(self) -> np.ndarray | None:
        """D slots / d parameters (slots, parameters), None where it depends on the parameters."""
        return None if len(self._curvature) or self._curved else self._matrix.T

    def hessian(self, values: np.ndarray) -> np.ndarray | None:
        """Return d² slots / d parameters², (batch, slots, parameters, parameters).

        None where all angles are linear in the parameters.

        Raises
        ------
        UserError
            If a second derivative is none of Qiskit's, or not finite.
        """
        if not len(self._curvature) and not self._curved:
            return None
        parameters = len(self.names)
        result = np.zeros((len(values), len(self._expressions), parameters, parameters))
        result[:, *self._bends] = self._curvature
        for formula, group in self._by_formula():
            bends = formula.bends(values)
            for one, first in enumerate(formula.columns):
                for two, second in enumerate(formula.columns):
                    result[:, group, first, second] = bends[:, None, one, two]
        return result

    def _by_formula(self) -> Iterable[tuple[_Curved, list[int]]]:
        """Yield each formula with the slots that have it: they are evaluated once."""
        groups: dict[int, tuple[_Curved, list[int]]] = {}
        for slot, formula in self._curved:
            groups.setdefault(id(formula), (formula, []))[1].append(slot)
        return groups.values()

    def _check(self, values: np.ndarray) -> None:
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ParameterValueError(
                f"parameter values have shape {values.shape}, expected (batch, {len(self.names)}): "
                f"the circuit has {counted(len(self.names), 'parameter')} ({_listed(self.names)}); "
                f"give every one a value"
            )
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ParameterValueError(
                f"parameter '{self.names[column]}' is {values[row, column]} in row {row}, expected "
                f"a finite number; check the data set and the learning rate"
            )

    def _check_slots(self, values: np.ndarray, slots: np.ndarray) -> None:
        finite = np.isfinite(slots)
        if not finite.all():
            row, slot = np.argwhere(~finite)[0]
            raise ParameterValueError(
                f"the angle '{_short(self._expressions[slot])}' is no finite real number at "
                f"{self._at(slot, values[row])} in row {row}; keep the values where it is one, or "
                f"write the angle otherwise"
            )

    def _at(self, slot: int, row: np.ndarray) -> str:
        names = sorted(p.name for p in self._expressions[slot].parameters)
        return _said(names, [row[self.names.index(name)] for name in names])


@dataclass(frozen=True)
class _Polynomial:
    """An angle ``offset + slopes x + x curvature x / 2`` of the parameters in `columns`."""

    columns: np.ndarray
    offset: float
    slopes: np.ndarray
    curvature: np.ndarray

    @property
    def bends(self) -> list[tuple[int, int, float]]:
        """The second derivatives that are not zero: parameter, parameter, value."""
        return [
            (int(self.columns[one]), int(self.columns[two]), float(self.curvature[one, two]))
            for one, two in np.argwhere(self.curvature)
        ]

    def of(self, row: np.ndarray) -> float:
        """Return the angle at values (parameters of its own,)."""
        return float(self.offset + self.slopes @ row + row @ self.curvature @ row / 2)


@dataclass(frozen=True)
class _Curved:
    """An angle that Qiskit evaluates, of the parameters in `columns`."""

    columns: np.ndarray
    parameters: tuple[Parameter, ...]
    expression: ParameterExpression

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the angle (batch,) at values (batch, all parameters), nan where it is none."""
        return self._evaluated(self.expression, values[:, self.columns])

    def slope(self, position: int, values: np.ndarray) -> np.ndarray:
        """Return the derivative (batch,) by one of its parameters."""
        own = values[:, self.columns]
        found = self._evaluated(self._slopes[position], own)
        wrong = ~np.isfinite(found)
        if self._doubtful:
            wrong |= ~self._agrees(found, position, own)
        self._check(wrong, own, f"derivative by {self.parameters[position].name}")
        return found

    def bends(self, values: np.ndarray) -> np.ndarray:
        """Return the second derivatives (batch, own parameters, own parameters)."""
        own = values[:, self.columns]
        found = second_derivatives(self.expression, self.parameters, own, self.of(values))
        self._check(~np.isfinite(found).all(axis=(1, 2)), own, "second derivative")
        return found

    @cached_property
    def _slopes(self) -> list[ParameterExpression | float | None]:
        return [_derivative(self.expression, p) for p in self.parameters]

    @cached_property
    def _doubtful(self) -> bool:
        text = str(self.expression)
        return _ABSOLUTE in text and any(sign in text for sign in _MAY_BE_COMPLEX)

    def _evaluated(
        self, expression: ParameterExpression | float | None, own: np.ndarray
    ) -> np.ndarray:
        """Return an expression at values (batch, own parameters), nan where it has none."""
        if not isinstance(expression, ParameterExpression):
            return np.full(len(own), np.nan if expression is None else expression)
        places = [k for k, p in enumerate(self.parameters) if p in expression.parameters]
        used = [self.parameters[k] for k in places]
        return np.array(
            [_bound(expression, used, row) for row in own[:, places].tolist()], dtype=float
        )

    def _agrees(self, slopes: np.ndarray, position: int, own: np.ndarray) -> np.ndarray:
        """Return where a derivative is the slope on one side at least."""
        step = np.zeros(own.shape[1])
        step[position] = _STEP
        low, here, high = (self._evaluated(self.expression, own + k * step) for k in (-1, 0, 1))
        sides = np.stack([here - low, high - here, (high - low) / 2]) / _STEP
        # At a kink of abs() the slope of either side is right.
        return (np.abs(sides - slopes) <= _CLOSE * (1 + np.abs(slopes))).any(axis=0)

    def _check(self, wrong: np.ndarray, own: np.ndarray, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            at = _said([p.name for p in self.parameters], own[rows[0]])
            raise UserError(
                f"the angle '{_short(self.expression)}' has no {what} that is known and "
                f"finite at {at}; train without gradients (cobyla, spsa), or write the angle "
                f"otherwise"
            )


def _read(expression: ParameterExpression, column: dict[str, int]) -> _Polynomial | _Curved:
    """Return an angle as a polynomial if it is one of at most second degree."""
    if isinstance(expression, Parameter):
        columns = np.array([column[expression.name]])
        return _Polynomial(columns, 0.0, np.ones(1), np.zeros((1, 1)))
    parameters = tuple(sorted(expression.parameters, key=lambda p: column[p.name]))
    columns = np.array([column[p.name] for p in parameters])
    curved = _Curved(columns, parameters, expression)
    # The degree is read from the text before any derivative is asked for: those of what is no
    # polynomial may never end, as the second of 1/((x-1)(x-2)) in Qiskit 2.6.
    terms = degree(expression, parameters)
    found = _polynomial(curved) if terms is not None and terms <= 2 else None
    return found or curved


def _polynomial(curved: _Curved) -> _Polynomial | None:
    """Return a formula of at most second degree, read off derivatives that are numbers.

    Then compared with what Qiskit binds at some points, since a derivative may be wrong.
    """
    size = len(curved.parameters)
    curvature = np.zeros((size, size))
    slopes = [_derivative(curved.expression, p) for p in curved.parameters]
    for row, slope in enumerate(slopes):
        for place, other in enumerate(curved.parameters):
            second = None if slope is None else _number(_derivative(slope, other))
            if second is None:
                return None
            curvature[row, place] = second
    zero = [0.0] * size
    at_zero = [_bound(s, curved.parameters, zero) for s in (curved.expression, *slopes)]
    found = _Polynomial(curved.columns, at_zero[0], np.array(at_zero[1:]), curvature)
    for first in _PROBES:
        probe = first + 0.37 * np.arange(size)
        value = _bound(curved.expression, curved.parameters, probe.tolist())
        if not abs(found.of(probe) - value) <= 1e-9 * (1 + abs(value)):  # true of nan, too
            return None
    return found


def _derivative(
    expression: ParameterExpression | float, by: Parameter
) -> ParameterExpression | float | None:
    """Return Qiskit's derivative, None where it has none."""
    if not isinstance(expression, ParameterExpression) or by not in expression.parameters:
        return 0.0
    try:
        found = expression.gradient(by)
    except Exception:  # a RuntimeError for sign(), in Qiskit 2.6
        return None
    number = _number(found)
    return found if number is None else number


def _number(found: ParameterExpression | float | None) -> float | None:
    """Return what has no parameters as a number, None for all else."""
    if isinstance(found, ParameterExpression):
        return None if found.parameters else _bound(found, (), ())
    return None if found is None or isinstance(found, complex) else float(found)


def _bound(
    expression: ParameterExpression | float, parameters: Iterable[Parameter], row: Iterable[float]
) -> float:
    """Return an expression at some values, nan where that is no real number."""
    if not isinstance(expression, ParameterExpression):
        return float(expression)
    given = {p: v for p, v in zip(parameters, row, strict=True) if p in expression.parameters}
    try:
        found = expression.bind_all(given)
    except Exception:  # ZeroDivisionError, RuntimeError, OverflowError: there is no value
        return np.nan
    return np.nan if isinstance(found, complex) else float(found)


def _said(names: Sequence[str], values: Sequence[float] | np.ndarray) -> str:
    return _listed([f"{n} = {float(v):.6g}" for n, v in zip(names, values, strict=True)])


def _short(expression: ParameterExpression, most: int = 80) -> str:
    text = str(expression)
    return text if len(text) <= most else text[:most] + "…"


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f", … {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
