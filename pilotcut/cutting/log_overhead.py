"""Sampling overhead of a plan at given parameter values, as its logarithm, and its slope.

``log gamma^2 = sum over bonds of 2 log(sum_ij |C_ij(x)|)`` with C the bond matrix
(arXiv:1909.07534): of one RZZ gamma is ``1 + 2 |sin x|``. `CutPlan.sampling_overhead` has it at
the worst angles; here it is what the angles make of it, and a loss can hold it small. At the kink
of an absolute value, as at x = 0, the slope is the subgradient 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotcut.circuits.binding import Binding
from pilotcut.cutting.basis import harmonics, weighted
from pilotcut.cutting.bond import Bond
from pilotcut.errors import ParameterValueError

#: Weights below this are rounding errors of a zero, and have no sign.
_ZERO = 1e-12


def log_overhead(bonds: Sequence[Bond], binding: Binding, values: Any) -> np.ndarray:
    """Return log gamma^2 (...) for parameter values (..., parameters) in radians.

    Raises
    ------
    ParameterValueError
        If the number of parameters is wrong, or a value is not finite and real.
    """
    rows, shape = rows_of(values, binding)
    return log_overhead_of(bonds, binding.slots(rows)).reshape(shape)


def rows_of(values: Any, binding: Binding) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return values as (rows, parameters), and the shape of what is computed of them."""
    given = np.asarray(values)
    if np.iscomplexobj(given):
        raise ParameterValueError("parameter values are complex, expected real numbers, radians")
    number = len(binding.names)
    if not given.ndim or given.shape[-1] != number:
        raise ParameterValueError(
            f"parameter values have shape {given.shape}, expected (batch, {number}): one number "
            f"for each parameter of the circuit, in the order of circuit.parameters"
        )
    shape = given.shape[:-1]
    return given.reshape(int(np.prod(shape, dtype=int)), number).astype(float), shape


def log_overhead_of(bonds: Sequence[Bond], slots: np.ndarray) -> np.ndarray:
    """Return log gamma^2 (rows,) for slot values (rows, slots)."""
    total = np.zeros(len(slots))
    for bond in bonds:
        if bond.angles:
            total += 2 * np.log(np.abs(bond.matrix(slots)).sum(axis=(1, 2)))
        else:  # of wires that are cut together gamma is not the sum of the weights
            total += np.log(bond.overhead)
    return total


def slope_of(bonds: Sequence[Bond], slots: np.ndarray) -> np.ndarray:
    """Return d log gamma^2 / d slots, (rows, slots)."""
    result = np.zeros_like(slots)
    for bond in bonds:
        if not bond.angles:
            continue
        matrix = bond.matrix(slots)
        signs = np.where(np.abs(matrix) < _ZERO, 0.0, np.sign(matrix))
        gamma = np.abs(matrix).sum(axis=(1, 2))
        for position, angle in enumerate(bond.angles):
            slope = (signs * _by_angle(bond, slots, position)).sum(axis=(1, 2))
            # An angle is affine in its slots.
            size = slots.shape[1]
            steps = angle.of(np.eye(size)) - angle.of(np.zeros((size, size)))
            result += (2 * slope / gamma)[:, None] * steps
    return result


def _by_angle(bond: Bond, slots: np.ndarray, position: int) -> np.ndarray:
    """Return d matrix / d angle, (rows, d0, d1)."""
    weights = [harmonics(angle.of(slots)) for angle in bond.angles]
    _, cos, sin = weights[position].T
    weights[position] = np.stack([np.zeros_like(cos), -sin, cos], axis=1)
    return weighted(bond.coefficients, weights)
