"""Features of a device for a model: the behavioural vector of predicted errors.

The behavioural vector is that of ArbiterQ (T. Chu et al., "ArbiterQ: Improving QNN
Convergency and Accuracy by Applying Personalized Model on Heterogeneous Quantum Devices",
DAC 2025; it has no arXiv id). Per gate of the model it holds a contextual element, from the
basis gates that the gate became, and a topological element, from the SWAPs that routing put
in for it. Devices with close vectors distort a model alike.

What the paper leaves open is settled here so:

- The error of a basis gate is ``e = 1 - exp(-t / tau) f`` with its duration t, its fidelity
  ``f = 1 - error`` as the target reports it, and tau = T1 of its qubit for a one-qubit gate
  and T2 for a two-qubit gate, the smaller one of its two qubits.
- What the target does not report counts as perfect: without a duration, a T1 or a T2 the
  exponential is 1, without an error f is 1. A virtual ``rz`` has e = 0.
- A SWAP is the basis gates that it is translated to on its coupling. Those charged to one
  gate form one element; a gate that needed none has 0.
- Errors are taken as independent: an element is ``1 - prod(1 - e_j)``.
- Idle time and read-out do not enter.
- The elements do not depend on the parameters' values, but for angles in the circuit that
  are multiples of π/2, where a gate becomes fewer basis gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from qiskit.transpiler import Target

from pilotcut.errors import UserError
from pilotcut.fleet.transpile import Compilation, CompiledGate


@dataclass(frozen=True, eq=False)
class DeviceFeatures:
    """The behavioural vector of a model on a device, by its parts.

    Parameters
    ----------
    contextual
        Predicted error of the basis gates that each gate became, (gates,), in [0, 1].
    topological
        Predicted error of the SWAPs charged to each gate, (gates,), in [0, 1].
    swaps
        How many these are, (gates,).
    """

    contextual: np.ndarray
    topological: np.ndarray
    swaps: np.ndarray

    @cached_property
    def vector(self) -> np.ndarray:
        """All contextual elements, then all topological ones, (2 * gates,)."""
        return np.concatenate([self.contextual, self.topological])


def device_features(compilation: Compilation, target: Target) -> DeviceFeatures:
    """Return the behavioural vector of a compiled model on its device.

    Element g of the contextual half is ``1 - prod_j (1 - e_j)`` over the basis gates j of
    gate g, with e of `element_error`; the topological half takes the basis gates of the
    SWAPs charged to g.

    Parameters
    ----------
    compilation
        Of the model for this device.
    target
        The device: durations, T1 and T2 in seconds, errors as probabilities.

    Raises
    ------
    UserError
        If the compilation uses a gate that the target does not have.

    References
    ----------
    ArbiterQ, DAC 2025 (no arXiv id).

    Examples
    --------
    >>> from qiskit import QuantumCircuit
    >>> from qiskit.providers.fake_provider import GenericBackendV2
    >>> from pilotcut.fleet.transpile import compile_on
    >>> device = GenericBackendV2(3, coupling_map=[[0, 1], [1, 2]], seed=1).target
    >>> ring = QuantumCircuit(3)
    >>> for k in range(3):
    ...     _ = ring.cx(k, (k + 1) % 3)
    >>> seen = device_features(compile_on(ring, device), device)
    >>> seen.vector.shape, seen.swaps.tolist()
    ((6,), [0, 1, 0])
    """
    error = _errors_on(target)
    kept = np.ones((2, compilation.gates))  # chance that nothing happens, (is_swap, gate)
    swaps = np.zeros(compilation.gates, dtype=int)
    for step in compilation.steps:
        kept[int(step.is_swap), step.gate] *= _step_success(step, error)
        swaps[step.gate] += step.is_swap
    contextual, topological = 1 - kept
    return DeviceFeatures(contextual, topological, swaps)


def success(compilation: Compilation, target: Target) -> float:
    """Return the predicted probability that no basis gate of the model fails.

    It is ``prod_j (1 - e_j)`` over all basis gates, those of the SWAPs included, with e of
    `element_error`; read-out and idle time do not enter.

    Parameters
    ----------
    compilation
        Of the model for this device.
    target
        The device: durations, T1 and T2 in seconds, errors as probabilities.
    """
    error = _errors_on(target)
    return math.prod(_step_success(step, error) for step in compilation.steps)


def element_error(target: Target, name: str, qubits: tuple[int, ...]) -> float:
    """Return the error of a basis gate, ``e = 1 - exp(-t / tau) f``, in [0, 1].

    t is the gate's duration and tau a time of its qubits, both in seconds: T1 for one qubit,
    the smaller T2 for two. f is 1 less the gate's error. A value that the target lacks
    makes its factor 1.

    Parameters
    ----------
    target
        The device.
    name, qubits
        The gate and its physical qubits in the device's direction.

    Raises
    ------
    UserError
        If the target does not have the gate there, or reports an impossible value for it.

    References
    ----------
    ArbiterQ, DAC 2025 (no arXiv id).
    """
    if not target.instruction_supported(name, qubits):
        raise UserError(
            f"target: gate '{name}' on qubits {qubits} is not supported, expected a gate of the "
            "device; compile the model for this target first"
        )
    places = target[name]
    properties = places.get(qubits, places.get(None))
    where = f"target: gate '{name}' on qubits {qubits}"
    duration_s = _known(properties, "duration", where)
    reported = _known(properties, "error", where, at_most=1.0)
    tau_s = _coherence_s(target, qubits)
    fidelity = 1.0 if reported is None else 1.0 - reported
    return 1.0 - _survival(duration_s, tau_s) * fidelity


def _errors_on(target: Target) -> Callable[[str, tuple[int, ...]], float]:
    """Return `element_error` on the target, each looked up once."""
    return cache(lambda name, qubits: element_error(target, name, qubits))


def _step_success(step: CompiledGate, error: Callable[[str, tuple[int, ...]], float]) -> float:
    return math.prod(1.0 - error(each.name, each.qubits) for each in step.operations)


def _survival(duration_s: float | None, tau_s: float | None) -> float:
    if not duration_s or tau_s is None:
        return 1.0
    return math.exp(-duration_s / tau_s) if tau_s > 0 else 0.0


def _coherence_s(target: Target, qubits: tuple[int, ...]) -> float | None:
    """Return T1 of the one qubit or the smaller T2 of two, as far as they are known."""
    if not target.qubit_properties:
        return None
    which = "t1" if len(qubits) == 1 else "t2"
    times = [_known(target.qubit_properties[q], which, f"target: qubit {q}") for q in qubits]
    return min((t for t in times if t is not None), default=None)


def _known(properties: object, name: str, where: str, at_most: float = math.inf) -> float | None:
    """Return a reported number, or None where there is none (or NaN)."""
    value = getattr(properties, name, None)
    if value is None or math.isnan(value):
        return None
    if not 0 <= value <= at_most:
        expected = "0 or more" if math.isinf(at_most) else f"0 to {at_most:g}"
        raise UserError(
            f"{where}: {name} is {value:g}, expected {expected}; correct it in the target"
        )
    return float(value)
