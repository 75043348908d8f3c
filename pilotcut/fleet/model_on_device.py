"""A model on a device, for those who compute its expectations: limits, places, and one product.

Refuses to know how noise is taken in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from pilotcut.backends.noise_model import Device
from pilotcut.errors import UserError
from pilotcut.fleet.shifts import Shifts
from pilotcut.fleet.transpile import Compilation
from pilotcut.options import counted
from pilotcut.training.model import Model


class ModelOnDevice(ABC):
    """Expectations of a model on a device, at its weights and at all that a gradient shifts.

    Parameters
    ----------
    model, compilation, device
        The model, its circuit on the device, and the device.
    most
        Most qubits that it may use there.
    instead
        What the limit is for, and what to use beyond it.

    Raises
    ------
    UserError
        If the model uses more.
    """

    def __init__(
        self, model: Model, compilation: Compilation, device: Device, most: int, instead: str
    ) -> None:
        self._axes = {qubit: axis for axis, qubit in enumerate(compilation.touched)}
        self._qubits = len(self._axes)
        if self._qubits > most:
            raise UserError(
                f"the model uses {counted(self._qubits, 'qubit')} of device '{device.name}', "
                f"expected at most {most} {instead}"
            )
        self._shifts = Shifts.of(model)
        self._inputs = {parameter: k for k, parameter in enumerate(model.inputs)}
        self._weights = {parameter: k for k, parameter in enumerate(model.weights)}

    @abstractmethod
    def values(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return expectations (samples,) for weights (weights,)."""

    @abstractmethod
    def shifted(self, weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return expectations (circuits, samples), in the order of `Shifts`."""


def applied(matrix: np.ndarray, states: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return states after a matrix on some of their axes.

    Parameters
    ----------
    matrix
        (d, d), or one for each sample, (samples, d, d).
    states
        (b, b, …, samples), b numbers a qubit: 2 of state vectors, 4 of Pauli vectors.
    axes
        The first is the least significant of the matrix.
    """
    wanted, front = list(reversed(axes)), list(range(len(axes)))
    moved = np.moveaxis(states, wanted, front)
    flat = moved.reshape(matrix.shape[-1], -1, states.shape[-1])
    if matrix.ndim == 2:
        turned = (matrix @ flat.reshape(len(matrix), -1)).reshape(moved.shape)
    else:
        turned = np.einsum("sij,jrs->irs", matrix, flat).reshape(moved.shape)
    return np.moveaxis(turned, front, wanted)
