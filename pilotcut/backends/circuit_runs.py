"""Circuits of a device's gates, and how often each of them runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit

#: Outcomes as hexadecimal numbers, as Aer's own counts have them.
Counts = dict[str, int]


@dataclass(frozen=True)
class CircuitRuns:
    """A circuit of the device's gates, and how often it runs.

    Parameters
    ----------
    circuit
        With a bit at least.
    values
        (runs, parameters) in the order of `QuantumCircuit.parameters`; without parameters
        (1, 0).
    """

    circuit: QuantumCircuit
    values: np.ndarray

    @classmethod
    def of(
        cls, circuit: QuantumCircuit, columns: Mapping[Parameter, Sequence[float]]
    ) -> CircuitRuns:
        """Return the runs for columns of values, () for one without parameters."""
        if not circuit.parameters:
            return cls(circuit, np.zeros((1, 0)))
        return cls(circuit, np.stack([columns[p] for p in circuit.parameters], axis=1))

    @property
    def bound(self) -> list[QuantumCircuit]:
        """A circuit for every run."""
        if not self.circuit.parameters:
            return [self.circuit] * len(self.values)
        return [self.circuit.assign_parameters(row) for row in self.values]
