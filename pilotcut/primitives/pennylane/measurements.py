"""Measurements of tapes, as functions of expectation values of sums of Pauli strings.

An expectation value is one such sum. A variance is two, ``<O^2> - <O>^2``. Probabilities of a few
wires are ``2^-k sum_s (-1)^(s.x) <Z^s>``, so they have derivatives and error bars as expectation
values have; those of many wires come from the distribution, see `sampler`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    VarianceMP,
)
from qiskit.quantum_info import SparsePauliOp

from pilotcut.primitives.pennylane.sentences import key_of, operator_of, sentence_of

#: Wires whose probabilities are expectation values of 2^wires strings.
FEW_WIRES = 6


@dataclass(frozen=True)
class TapeMeasurement:
    """One measurement of a tape over the outputs of a circuit function.

    Parameters
    ----------
    columns
        Its own outputs.
    is_variance
        Whether it is the variance of two outputs, ``<O>`` and ``<O^2>``.
    shape
        Of the result of one row.
    """

    columns: slice
    is_variance: bool
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values of one row."""
        return int(np.prod(self.shape, dtype=int))

    def result(self, outputs: np.ndarray) -> np.ndarray:
        """Return results (rows, size) for outputs (rows, all outputs)."""
        own = outputs[:, self.columns]
        return own[:, 1:] - own[:, :1] ** 2 if self.is_variance else own

    def pull_back(self, outputs: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
        """Return cotangents (rows, k, own outputs) for those of results (rows, k, size)."""
        if not self.is_variance:
            return cotangents
        slope = -2 * outputs[:, None, self.columns][:, :, :1]
        return np.concatenate([slope * cotangents, cotangents], axis=2)


def is_wide(measurement: MeasurementProcess) -> bool:
    """Whether a measurement is answered by the distribution alone."""
    return isinstance(measurement, ProbabilityMP) and len(measurement.wires) > FEW_WIRES


def measurement_key(measurement: MeasurementProcess) -> object:
    """Return what tells measurements apart."""
    name, observable = type(measurement).__name__, measurement.obs
    return name, tuple(measurement.wires) if observable is None else key_of(observable)


def sums_of(
    measurement: MeasurementProcess, place: Mapping[Any, int], qubits: int
) -> list[SparsePauliOp]:
    """Return the sums of Pauli strings that a measurement asks for, one an output."""
    if isinstance(measurement, ProbabilityMP):
        return _projectors([place[wire] for wire in measurement.wires], qubits)
    assert isinstance(measurement, (ExpectationMP, VarianceMP))
    sentence = sentence_of(measurement.obs)
    own = operator_of(sentence, place, qubits)
    if isinstance(measurement, ExpectationMP):
        return [own]
    return [own, operator_of(sentence @ sentence, place, qubits)]


def shape_of(measurement: MeasurementProcess) -> tuple[int, ...]:
    """Return the shape of a measurement's result without shots and without broadcasting."""
    is_one = not isinstance(measurement, ProbabilityMP)
    return () if is_one else (1 << len(measurement.wires),)


def _projectors(places: list[int], qubits: int) -> list[SparsePauliOp]:
    """Return the projectors on outcomes of some qubits, the first of them the highest bit."""
    size = len(places)
    subsets = range(1 << size)
    strings = []
    for subset in subsets:
        own = [q for k, q in enumerate(places) if subset >> (size - 1 - k) & 1]
        strings.append(("Z" * len(own), own, 1.0))
    paulis = SparsePauliOp.from_sparse_list(strings, num_qubits=qubits).paulis
    parity = np.array([[(s & x).bit_count() & 1 for s in subsets] for x in subsets])
    return [SparsePauliOp(paulis, row) for row in (1.0 - 2.0 * parity) / (1 << size)]
