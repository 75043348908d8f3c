"""Values of a circuit's parameters, as callers give them: in Qiskit's order, or by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import Parameter, ParameterVector

from pilotcut.errors import ParameterValueError
from pilotcut.options import counted

#: Values of a circuit's parameters: in Qiskit's order, or by parameter, vector or name.
ParameterValues: TypeAlias = (
    Sequence[float]
    | np.ndarray
    | Mapping[Parameter | ParameterVector | str, float | Sequence[float] | np.ndarray]
)


def as_row(names: Sequence[str], values: ParameterValues | None) -> np.ndarray:
    """Return values of the parameters of these names as one row (1, parameters).

    Raises
    ------
    ParameterValueError
        For what is no number, and for names that are missing, unknown or given twice.
    """
    if isinstance(values, Mapping):
        named = _by_name(values, names)
        if set(named) != set(names):
            wrong = sorted(map(str, set(named) ^ set(names)))
            raise ParameterValueError(
                f"parameter values name {counted(len(named), 'parameter')}, expected the "
                f"{len(names)} of the "
                f"circuit; missing or unknown: {', '.join(wrong[:6])}"
            )
        values = [named[name] for name in names]
    try:
        return np.asarray([] if values is None else values, dtype=float).reshape(1, -1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterValueError(
            f"parameter values are {_short(values)}, expected {len(names)} numbers in radians "
            f"({_short(error, str)})"
        ) from error


def _short(value: object, as_text: Callable[[object], str] = repr) -> str:
    """Return a value on one line, and not for ever."""
    text = " ".join(as_text(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"


def _by_name(values: Mapping[Any, Any], names: Sequence[str]) -> dict[Any, Any]:
    """Return values by the names of single parameters, vectors taken apart."""
    named: dict[Any, Any] = {}
    for key, value in values.items():
        part = _of_vector(key, value, names)
        if part is None:
            part = {getattr(key, "name", key): value}
        if twice := sorted(map(str, part.keys() & named.keys())):
            raise ParameterValueError(
                f"parameter values name {', '.join(twice[:6])} twice, expected each once; leave "
                f"out the vector or its elements"
            )
        named |= part
    return named


def _of_vector(key: object, value: object, names: Sequence[str]) -> dict[Any, Any] | None:
    """Return the values of a vector's elements that the circuit has; None if it is no vector.

    A name is a vector's where the circuit has parameters NAME[0], NAME[1], ... and none of NAME.
    """
    if isinstance(key, ParameterVector):
        elements = [parameter.name for parameter in key]
    elif isinstance(key, str) and key not in names:
        elements = [f"{key}[{k}]" for k in range(_length_of(key, names))]
    else:
        return None
    if not elements and isinstance(key, str):
        return None
    given = np.asarray(value, dtype=object)
    if given.shape != (len(elements),):
        name = key.name if isinstance(key, ParameterVector) else key
        raise ParameterValueError(
            f"parameter vector '{name}' has values of shape {given.shape}, expected "
            f"({len(elements)},): one number for each of its elements"
        )
    known = set(names) & set(elements) or elements  # of a vector that is none of its own, all
    return {name: one for name, one in zip(elements, given, strict=True) if name in known}


def _length_of(vector: str, names: Sequence[str]) -> int:
    """Return how long a vector of that name is at least, by its elements in the circuit."""
    found = (re.fullmatch(rf"{re.escape(vector)}\[(\d+)\]", name) for name in names)
    return max((int(element[1]) + 1 for element in found if element), default=0)
