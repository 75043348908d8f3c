"""Cotangents and derivatives in the shapes that PennyLane's interfaces have them in.

The cotangent of a measurement has the shape of its result; JAX's eager jacobian, which takes many
at once, has one axis more in front. Derivatives by a broadcast parameter are row by row, and by
another one summed over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pennylane.tape import QuantumScript

from pilotcut.primitives.pennylane.measurements import TapeMeasurement, shape_of
from pilotcut.primitives.pennylane.reader import TapeReading


@dataclass(frozen=True)
class Cotangents:
    """Cotangents of one tape.

    Parameters
    ----------
    measured
        What they are of.
    arrays
        (rows, k, size) of each measurement.
    has_axis
        Whether there are several of each, k, along an axis of their own.
    """

    measured: Sequence[TapeMeasurement]
    arrays: Sequence[np.ndarray]
    has_axis: bool

    @classmethod
    def of(
        cls, given: Any, reading: TapeReading, measured: Sequence[TapeMeasurement | None]
    ) -> Cotangents:
        """Return cotangents as PennyLane gives them: an array, or a tuple of one each."""
        own = [one for one in measured if one is not None]
        many = given if isinstance(given, (tuple, list)) and len(own) > 1 else _only(given)
        rows = (len(reading.values),) if reading.is_batched else ()
        arrays = [np.asarray(one, dtype=float) for one in many]
        shapes = [(*rows, *one.shape) for one in own]
        pairs = list(zip(arrays, shapes, strict=True))
        has_axis = any(one.ndim > len(shape) for one, shape in pairs)
        each = [
            one.reshape(-1, len(reading.values), int(np.prod(shape[len(rows) :], dtype=int)))
            for one, shape in pairs
        ]
        return cls(own, [one.transpose(1, 0, 2) for one in each], has_axis)

    def of_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Return cotangents (rows, k, all outputs) of a function's outputs (rows, outputs)."""
        k = max((one.shape[1] for one in self.arrays), default=1)
        found = np.zeros((len(outputs), k, outputs.shape[1]))
        for one, array in zip(self.measured, self.arrays, strict=True):
            found[:, :, one.columns] = one.pull_back(outputs, array)
        return found


class Slopes(tuple):  # type: ignore[type-arg]
    """Derivatives by several parameters, which need not be of one shape.

    PennyLane 0.45 asks numpy to squeeze them before it looks whether there are any, and numpy
    makes one array of a tuple for that, which there is none of if some parameters are broadcast.
    """

    def squeeze(self, axis: int | None = None) -> np.ndarray:
        """Return an array with as many entries."""
        return np.empty(len(self))


def slopes_of(reading: TapeReading, slopes: np.ndarray, has_axis: bool) -> Slopes:
    """Return derivatives by a tape's trainable parameters, for (rows, k, columns).

    Rows may have been summed before where no parameter is broadcast.
    """
    parameters = reading.tape.get_parameters(trainable_only=False)
    found = []
    for number in reading.tape.trainable_params:
        column = reading.columns[number]
        own = np.zeros(slopes.shape[:2]) if column is None else slopes[:, :, column]
        by_row = np.ndim(parameters[number]) > 0
        each = own.T if by_row else own.sum(axis=0)
        found.append(each if has_axis else each[0])
    return Slopes(found)


def every_cotangent(tape: QuantumScript) -> tuple[Any, list[tuple[int, ...]]]:
    """Return cotangents that yield a Jacobian, with an axis of their own; and results' shapes."""
    shapes = [shape_of(one) for one in tape.measurements]
    edges = np.cumsum([0, *(int(np.prod(shape, dtype=int)) for shape in shapes)])
    every = np.eye(edges[-1])
    split = np.split(every, edges[1:-1], axis=1)
    arrays = [one.reshape(-1, *shape) for one, shape in zip(split, shapes, strict=True)]
    return (tuple(arrays) if len(arrays) > 1 else arrays[0]), shapes


def jacobian_of(slopes: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> Any:
    """Return a Jacobian as PennyLane nests it, for derivatives (k,) by each parameter."""
    sizes = [int(np.prod(shape, dtype=int)) for shape in shapes]
    edges = np.cumsum(sizes)[:-1]
    split = [np.split(one, edges) for one in slopes]
    found = []
    for number, shape in enumerate(shapes):
        own = tuple(one[number].reshape(shape) for one in split)
        found.append(own[0] if len(own) == 1 else own)
    return found[0] if len(found) == 1 else tuple(found)


def _only(given: Any) -> tuple[Any, ...]:
    is_tuple = isinstance(given, (tuple, list)) and len(given) == 1
    return tuple(given) if is_tuple else (given,)
