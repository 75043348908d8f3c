"""Packing: several subexperiments side by side in one circuit, which Aer runs as fast as one.

For circuits of a few qubits Aer's time goes into every shot and not into the state, and a shot of
eight qubits costs hardly twice a shot of one. Copies share no gate, so their outcomes are
independent, and each has all its shots. Measured at 1,024 shots: 1.6 times as fast as one by one.
Nothing here runs a circuit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit

from pilotcut.backends.template_circuits import TemplateCircuit


@dataclass(frozen=True)
class Pack:
    """Runs of one circuit that holds several subexperiments side by side.

    Parameters
    ----------
    copies
        Subexperiments in the circuit.
    runs
        How often it runs, each time for the next `copies` subexperiments.
    circuits, binds
        What Aer is given: one circuit with a list of values for each parameter, or, without
        parameters, a circuit for every run.
    """

    copies: int
    runs: int
    circuits: list[QuantumCircuit]
    binds: list[dict[Parameter, list[float]]]


class Packable:
    """A transpiled template, and its packed forms as they are needed."""

    def __init__(self, template: TemplateCircuit) -> None:
        self.template = template
        self._packed: dict[int, tuple[QuantumCircuit, list[list[Parameter]]]] = {}

    def most_copies(self, qubits: int) -> int:
        """Return how many copies fit side by side."""
        return max(1, qubits // self.template.circuit.num_qubits)

    def packed(self, copies: int) -> tuple[QuantumCircuit, list[list[Parameter]]]:
        """Return copies side by side, and the parameters of each copy."""
        if copies not in self._packed:
            self._packed[copies] = self._pack(copies)
        return self._packed[copies]

    def _pack(self, copies: int) -> tuple[QuantumCircuit, list[list[Parameter]]]:
        one, own = self.template.circuit, self.template.parameters
        if copies == 1:
            return one, [own]
        whole = QuantumCircuit(one.num_qubits * copies, one.num_clbits * copies)
        parameters = []
        for copy in range(copies):
            fresh = [Parameter(f"{p.name}.{copy}") for p in own]
            parameters.append(fresh)
            renamed = one.assign_parameters(dict(zip(own, fresh, strict=True)))
            qubits = range(copy * one.num_qubits, (copy + 1) * one.num_qubits)
            clbits = range(copy * one.num_clbits, (copy + 1) * one.num_clbits)
            whole.compose(renamed, qubits=qubits, clbits=clbits, inplace=True)
        return whole, parameters

    def pack(self, values: np.ndarray, copies: int) -> Pack:
        """Return the pack for values (runs * copies, parameters)."""
        circuit, parameters = self.packed(copies)
        runs = len(values) // copies
        if not self.template.parameters:
            return Pack(copies, runs, [circuit] * runs, [{}] * runs)
        bind = {
            parameter: values[copy::copies, k].tolist()
            for copy, own in enumerate(parameters)
            for k, parameter in enumerate(own)
        }
        return Pack(copies, runs, [circuit], [bind])
