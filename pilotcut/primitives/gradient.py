"""Gradients of cut circuits for Qiskit Machine Learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult

from pilotcut.circuits.binding import Binding
from pilotcut.circuits.remembered import read_again
from pilotcut.execution.pubs import Batch, batches_of, coerce_pubs
from pilotcut.primitives.derivative import SlotDerivative
from pilotcut.primitives.estimator import CutEstimator


class CutGradient(BaseEstimatorGradient):
    """Gradients of a `CutEstimator`, for ``EstimatorQNN(gradient=...)``.

    Parameters
    ----------
    estimator
        The estimator whose cuts, shots and tasks are used.

    Examples
    --------
    >>> from qiskit.circuit import Parameter, QuantumCircuit
    >>> from qiskit.quantum_info import SparsePauliOp
    >>> circuit = QuantumCircuit(2); _ = circuit.rx(Parameter("t"), 0); _ = circuit.cx(0, 1)
    >>> gradient = CutGradient(CutEstimator(labels="AB", shots=4096, seed=3))
    >>> job = gradient.run([circuit], [SparsePauliOp("IZ")], [[1.0]])
    >>> bool(abs(job.result().gradients[0][0] + 0.841) < 0.1)
    True
    """

    def __init__(self, estimator: CutEstimator) -> None:
        super().__init__(estimator)
        self._cut_estimator = estimator

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]] | np.ndarray,
        parameters: Sequence[Sequence[Parameter]],
        **options: Any,
    ) -> EstimatorGradientResult:
        pubs = coerce_pubs(zip(circuits, observables, parameter_values, strict=True), None)
        bindings = _bindings(circuits)
        wanted = [[p.name for p in some] for some in parameters]
        gradients = [np.zeros(len(names)) for names in wanted]
        slopes = [
            _slopes(b, np.asarray(values, dtype=float), w)
            for b, values, w in zip(bindings, parameter_values, wanted, strict=True)
        ]
        for batch in batches_of(pubs):
            if not batch.terms:
                continue
            # A PUB has one value here, so places of values are numbers of PUBs.
            used = [slopes[number] for number in batch.places.flat]
            # Slots that no asked parameter moves would cost circuits, and add zero.
            slots = np.flatnonzero(np.any([s.any(axis=1) for s in used], axis=0))
            derivative = self._by_slot(batch, slots)
            for (k, row), number in np.ndenumerate(batch.places):
                gradients[number] += derivative[row, k] @ slopes[number][slots]
        return EstimatorGradientResult(
            gradients=gradients,
            metadata=[{"parameters": some} for some in parameters],
            options=self._get_local_options(options) if options else self._default_options,
        )

    def _by_slot(self, batch: Batch, slots: np.ndarray) -> np.ndarray:
        """Return d observables / d slots, (rows, observables, len(slots))."""
        estimator = self._cut_estimator
        contraction = estimator.compile(batch.program, batch.binding, batch.terms)
        coefficients, _ = batch.coefficients()
        base = estimator.runner.evaluate(contraction, batch.slots, "gradient", keep=True)
        derivative = SlotDerivative(estimator.runner).of(
            base, batch.slots, coefficients, set(slots.tolist())
        )
        return derivative[:, :, slots]


def _slopes(binding: Binding, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return d slots / d parameters of these names, (slots, names)."""
    jacobian = binding.jacobian(values[None], np.isin(binding.names, names))[0]
    return jacobian[:, [binding.names.index(name) for name in names]]


def _bindings(circuits: Sequence[QuantumCircuit]) -> list[Binding]:
    seen: dict[int, Binding] = {}
    for circuit in circuits:
        if id(circuit) not in seen:
            seen[id(circuit)] = read_again(circuit)[1]
    return [seen[id(circuit)] for circuit in circuits]
