"""Preprocessing of tapes: what they become before they are run, and what is refused.

What is refused is said here, in PennyLane's words, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices.execution_config import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    measurements_from_samples,
    null_postprocessing,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError
from pennylane.math import Interface
from pennylane.measurements import (
    CountsMP,
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    SampleMP,
    VarianceMP,
)
from pennylane.operation import Operator
from pennylane.tape import QuantumScript, QuantumScriptBatch
from pennylane.transforms import (
    broadcast_expand,
    defer_measurements,
    split_non_commuting,
    split_to_single_terms,
)
from pennylane.transforms.core import CompilePipeline
from pennylane.wires import Wires

from pilotcut.primitives.pennylane.gates import NAMES, is_gate, is_matrix
from pilotcut.primitives.pennylane.measurements import is_wide
from pilotcut.primitives.pennylane.sentences import MOST_MATRIX_WIRES, is_observable

NAME = "pilotcut"

#: Tapes, and what makes one result of theirs.
Transformed = tuple[QuantumScriptBatch, Callable[[Sequence[Any]], Any]]

_VALUES = (ExpectationMP, VarianceMP, ProbabilityMP)


def pipeline(
    config: ExecutionConfig, wires: Wires | None, *, mode: str, device_gradient: bool
) -> CompilePipeline:
    """Return the transforms of every tape, in order.

    Parameters
    ----------
    config
        Of the execution.
    wires
        The device's, None for any.
    mode
        "exact", "counts" or "sampled".
    device_gradient
        Whether derivatives are the device's.
    """
    found = CompilePipeline()
    found.add_transform(_checked_shots, mode)
    found.add_transform(defer_measurements, allow_postselect=False)
    found.add_transform(validate_device_wires, wires, name=NAME)
    if device_gradient and config.interface != Interface.NUMPY:
        found.add_transform(_with_constant_observables)
    if mode == "exact":
        found.add_transform(_commuting, _has_shots)
        found.add_transform(_from_samples, _has_shots)
    else:
        found.add_transform(_commuting, _asks_for_samples)
        found.add_transform(_from_samples, _asks_for_samples)
    found.add_transform(_with_diagonal_probabilities)
    found.add_transform(
        decompose,
        stopping_condition=_is_ready,
        skip_initial_state_prep=False,
        decomposer=_decomposed,
        device_wires=wires,
        target_gates=set(NAMES),
        name=NAME,
    )
    found.add_transform(device_resolve_dynamic_wires, wires=wires, allow_resets=False)
    found.add_transform(
        validate_measurements,
        analytic_measurements=_is_value,
        sample_measurements=_is_value_or_sample,
        name=NAME,
    )
    if device_gradient and config.interface == Interface.JAX_JIT:
        found.add_transform(broadcast_expand)  # whose jacobians have no axis for rows
    else:
        found.add_transform(_without_broadcast_matrices)
    return found


def has_derivatives(tape: QuantumScript, *, mode: str) -> bool:
    """Whether derivatives of a tape are the device's.

    In exact mode those of expectation values, variances and probabilities of a few wires; with
    shots in fragments those of expectation values. Whole circuits that are sampled have none.
    """
    if mode == "exact":
        return not tape.shots and all(
            isinstance(one, _VALUES) and not is_wide(one) for one in tape.measurements
        )
    is_plain = bool(tape.shots) and not tape.shots.has_partitioned_shots
    return is_plain and all(isinstance(one, ExpectationMP) for one in tape.measurements)


# -- what is accepted ------------------------------------------------------------------


def _is_ready(operator: Operator) -> bool:
    """Whether an operator need not be decomposed: a trained matrix has no angle to derive by."""
    if not is_gate(operator):
        return False
    return not (is_matrix(operator) and qml.math.requires_grad(operator.data[0]))


def _decomposed(operator: Operator) -> Sequence[Operator]:
    """Return an operator in others, or by its matrix where there is no more but that."""
    is_known = operator.has_matrix and len(operator.wires) <= MOST_MATRIX_WIRES
    is_fixed = not any(qml.math.requires_grad(one) for one in operator.data)
    if operator.has_decomposition or not (is_known and is_fixed):
        found: Sequence[Operator] = operator.decomposition()
        return found
    return [qml.QubitUnitary(qml.matrix(operator), wires=operator.wires)]


def _is_value(measurement: MeasurementProcess) -> bool:
    if not isinstance(measurement, _VALUES) or measurement.mv is not None:
        return False
    if isinstance(measurement, ProbabilityMP):
        return measurement.obs is None  # others have been turned
    return measurement.obs is not None and is_observable(measurement.obs)


def _is_value_or_sample(measurement: MeasurementProcess) -> bool:
    is_sample = isinstance(measurement, SampleMP) and measurement.obs is None
    return is_sample or _is_value(measurement)


def _has_shots(tape: QuantumScript) -> bool:
    return bool(tape.shots)


def _asks_for_samples(tape: QuantumScript) -> bool:
    return bool(tape.shots) and not all(isinstance(one, _VALUES) for one in tape.measurements)


# -- transforms ------------------------------------------------------------------------


@qml.transform
def _checked_shots(tape: QuantumScript, mode: str) -> Transformed:
    if mode != "exact" and not tape.shots:
        raise DeviceError(
            f"Analytic circuits are not supported on {NAME} in mode '{mode}', expected shots of "
            f"each subexperiment; use qml.set_shots, or mode='exact'."
        )
    return [tape], null_postprocessing


@qml.transform
def _with_constant_observables(tape: QuantumScript) -> Transformed:
    """Take sums apart whose coefficients are trained: they multiply what the device returns."""
    operators = sum(len(one.data) for one in tape.operations)
    is_fixed = all(number < operators for number in tape.trainable_params)
    # A variance is not linear in them: who asks for that derivative is told so then.
    if is_fixed or any(isinstance(one, VarianceMP) for one in tape.measurements):
        return [tape], null_postprocessing
    return split_to_single_terms(tape)


@qml.transform
def _with_diagonal_probabilities(tape: QuantumScript) -> Transformed:
    """Turn the basis of each observable's eigenvectors into that of bits, in a tape of its own."""
    turned = [k for k, one in enumerate(tape.measurements) if _is_turned(one)]
    if not turned:
        return [tape], null_postprocessing
    rest = [k for k in range(len(tape.measurements)) if k not in turned]
    tapes = [tape.copy(measurements=[tape.measurements[k] for k in rest])] if rest else []
    for k in turned:
        observable = tape.measurements[k].obs
        gates = [*tape.operations, *tape.measurements[k].diagonalizing_gates()]
        tapes.append(tape.copy(ops=gates, measurements=[qml.probs(wires=observable.wires)]))

    def whole(results: Sequence[Any]) -> Any:
        if not tape.shots.has_partitioned_shots:
            return _in_order(results, rest, turned)
        return tuple(_in_order(some, rest, turned) for some in zip(*results, strict=True))

    return tapes, whole


def _is_turned(measurement: MeasurementProcess) -> bool:
    return isinstance(measurement, ProbabilityMP) and measurement.obs is not None


def _in_order(results: Sequence[Any], rest: list[int], turned: list[int]) -> Any:
    """Return the results of all measurements in their order, from those of several tapes."""
    first = [results[0]] if len(rest) == 1 else list(results[0]) if rest else []
    found = dict(zip(rest, first, strict=True))
    found.update(zip(turned, results[bool(rest) :], strict=True))
    ordered = tuple(found[k] for k in sorted(found))
    return ordered[0] if len(ordered) == 1 else ordered


@qml.transform
def _commuting(tape: QuantumScript, applies: Callable[[QuantumScript], bool]) -> Transformed:
    """Take apart what cannot be measured at once, where it is sampled."""
    if not applies(tape):
        return [tape], null_postprocessing
    for one in tape.measurements:
        if not isinstance(one, (*_VALUES, SampleMP, CountsMP)):
            raise DeviceError(f"Measurement {one} not accepted with finite shots on {NAME}")
    return split_non_commuting(tape)


@qml.transform
def _from_samples(tape: QuantumScript, applies: Callable[[QuantumScript], bool]) -> Transformed:
    """Ask for samples, row by row of broadcast parameters, and take all results from them."""
    if not applies(tape):
        return [tape], null_postprocessing
    rows, joined = broadcast_expand(tape)
    each = [measurements_from_samples(row) for row in rows]
    tapes = [one for some, _ in each for one in some]

    def whole(results: Sequence[Any]) -> Any:
        per_row = [fn((one,)) for (_, fn), one in zip(each, results, strict=True)]
        return joined([tuple(one) if isinstance(one, list) else one for one in per_row])

    return tapes, whole


@qml.transform
def _without_broadcast_matrices(tape: QuantumScript) -> Transformed:
    """Take rows apart where they differ in matrices, which are part of a circuit's structure."""
    if not any(_matrices(tape)):
        return [tape], null_postprocessing
    return broadcast_expand(tape)


def _matrices(tape: QuantumScript) -> Iterator[bool]:
    for operator in tape.operations:
        yield is_matrix(operator) and np.ndim(operator.data[0]) > 2
