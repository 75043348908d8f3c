"""Derivatives beyond the first of an exact plan, through statevectors and the contraction.

Owns how rows are divided among workers; the derivatives themselves are PyTorch's, see
`pilotcut.reconstruction.differentiable`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pilotcut.circuits.binding import Binding
from pilotcut.errors import UserError
from pilotcut.execution.batch_runner import BatchRunner
from pilotcut.execution.batching import even_rows, exact_row_s
from pilotcut.execution.streaming import BatchTimes
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.differentiable import (
    GROWTH,
    DirectionalDerivative,
    ExactOutputs,
    SlotExpansion,
)


def higher_derivative(
    runner: BatchRunner,
    contraction: Contraction,
    binding: Binding,
    coefficients: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    directions: Sequence[np.ndarray],
    by_parameters: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of ``sum_o c_o D^m f_o[u_1, ..., u_m]``, row by row.

    Parameters
    ----------
    runner
        What evaluates the plan, in exact mode: its tasks run rows of a batch.
    contraction, binding
        How the plan is put together, and how parameters become its slots.
    coefficients
        Outputs as sums of terms, (outputs, terms).
    values
        (rows, parameters).
    weights
        c, (rows, outputs).
    directions
        u, m of them, each (rows, parameters).
    by_parameters
        Whether those by the parameters are wanted; else they are zero.

    Returns
    -------
    tuple
        Those by the parameters (rows, parameters), and those by c, which are
        ``D^m f_o[u_1, ..., u_m]`` (rows, outputs).

    Raises
    ------
    UserError
        Beyond second derivatives where an angle is not linear in the parameters.
    """
    plan, order = contraction.plan, len(directions) + by_parameters
    engine = runner.executor.engine
    outputs = ExactOutputs(contraction, coefficients, engine)
    row_s = sum(exact_row_s(f, engine) for f in plan.fragments) * GROWTH**order
    some = [
        DirectionalDerivative(
            _expansion(binding, values[rows], order),
            weights[rows],
            tuple(u[rows] for u in directions),
            by_parameters,
        )
        for rows in even_rows(len(values), row_s, outputs.rows_at_once(order))
    ]

    def execute(_: int) -> tuple[list[tuple[np.ndarray, ...]], BatchTimes]:
        parts = (plan.fingerprint.encode(), coefficients.tobytes(), repr(engine).encode())
        key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
        return runner.executor.each(_directional, outputs, key, some)

    def join(found: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray]:
        by_values, by_weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return by_values, by_weights

    about = {"source": "curvature", "queries": 0, "subexperiments": 0, "shots": 0}
    return runner.run(contraction.named_plan, execute, join, about)


def _expansion(binding: Binding, values: np.ndarray, order: int) -> SlotExpansion:
    hessian = binding.hessian(values)
    if hessian is not None and order > 2:
        raise UserError(
            f"derivatives of order {order} are asked for, expected at most 2: an angle of the "
            f"circuit is not linear in its parameters; third ones need linear angles, compute "
            f"the products outside of the circuit"
        )
    return SlotExpansion(binding.slots(values), binding.jacobian(values), hessian)


def _directional(
    outputs: ExactOutputs, what: DirectionalDerivative
) -> tuple[np.ndarray, np.ndarray]:
    return what.run(outputs)
