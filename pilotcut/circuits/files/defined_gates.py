"""Gates that a file defines: definitions and matrices of equal gates are shared.

A file may define a gate by two of another, that by two of a third, and so on. What is asked of
such gates here costs as much as there are different ones, not as there are gates when all is
opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.qasm2 import parse
from qiskit.quantum_info import Operator

# The class is not public; a change of Qiskit's shows in every test of an own gate.
_Parsed: Any = parse._DefinedGate


class DefinitionSource(Protocol):
    """Maker of a gate's definition from its parameters."""

    def circuit(self, params: Sequence[Any]) -> QuantumCircuit:
        """Return the definition for some parameters."""


class DefinedGate(Gate):
    """A gate that is what a file says, whatever its name.

    Parameters
    ----------
    name, num_qubits, params
        As in `qiskit.circuit.Gate`.
    source
        What makes its definition.
    inverted
        Whether it is the inverse of what the source makes.
    """

    def __init__(
        self,
        name: str,
        num_qubits: int,
        params: Sequence[Any],
        source: _Shared,
        *,
        inverted: bool = False,
        label: str | None = None,
    ) -> None:
        super().__init__(name, num_qubits, list(params), label=label)
        self._source, self._inverted = source, inverted

    def _define(self) -> None:
        self._definition = self._source.definition(self.params, self._inverted)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        matrix = self._source.matrix(self.params, self._inverted)
        return matrix.astype(dtype) if dtype is not None else matrix.copy()

    def inverse(self, annotated: bool = False) -> DefinedGate:
        """Return the inverse gate, whose definition is made when somebody asks for it."""
        name = self.name[:-3] if self._inverted and self.name.endswith("_dg") else f"{self.name}_dg"
        return DefinedGate(
            name, self.num_qubits, self.params, self._source, inverted=not self._inverted
        )

    # The copy shares its source: one of its own would make every definition again, and gates that
    # double would cost what they are when all is opened.
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> DefinedGate:
        return DefinedGate(
            self.name,
            self.num_qubits,
            self.params,
            self._source,
            inverted=self._inverted,
            label=self.label,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes the gate again; of angles that are numbers its definition is enough."""
        free = _key(self.params, self._inverted) is None
        source = self._source.source if free else BoundCircuit(self.definition, [])
        state = (self.name, self.num_qubits, self.params, source, free and self._inverted)
        return _made_again, (*state, self.label)


def _made_again(
    name: str,
    num_qubits: int,
    params: Sequence[Any],
    source: DefinitionSource,
    inverted: bool,
    label: str | None,
) -> DefinedGate:
    return DefinedGate(name, num_qubits, params, _Shared(source), inverted=inverted, label=label)


class _Shared:
    """A source that remembers what it has made for angles that are numbers."""

    def __init__(self, source: DefinitionSource) -> None:
        self.source = source
        self._made: dict[object, QuantumCircuit] = {}
        self._matrices: dict[object, np.ndarray] = {}

    def definition(self, params: Sequence[Any], inverted: bool) -> QuantumCircuit:
        """Return a definition, which is shared and not to be changed."""
        key = _key(params, inverted)
        if key is None or key not in self._made:
            made = self.source.circuit(params)
            made = made.inverse() if inverted else made
            if key is None:
                return made
            self._made[key] = made
        return self._made[key]

    def matrix(self, params: Sequence[Any], inverted: bool) -> np.ndarray:
        """Return the matrix; parameters are numbers."""
        key = _key(params, inverted)
        if key is None or key not in self._matrices:
            matrix = Operator(self.definition(params, inverted)).data
            if key is None:
                return matrix
            self._matrices[key] = matrix
        return self._matrices[key]


def _key(params: Sequence[Any], inverted: bool) -> object | None:
    if all(isinstance(param, (int, float)) for param in params):
        return (inverted, *map(float, params))
    return None


def gate_maker(source: DefinitionSource) -> Callable[..., DefinedGate]:
    """Return what makes gates of a source: called with name, number of qubits, and angles."""
    memory = _Shared(source)
    return lambda name, num_qubits, *params: DefinedGate(name, num_qubits, params, memory)


class BoundCircuit:
    """A source that binds the parameters of a circuit."""

    def __init__(self, circuit: QuantumCircuit, parameters: Sequence[Parameter]) -> None:
        self._circuit, self._parameters = circuit, list(parameters)

    def circuit(self, params: Sequence[Any]) -> QuantumCircuit:
        """Return the circuit with parameters bound."""
        if not self._parameters:
            return self._circuit
        return self._circuit.assign_parameters(dict(zip(self._parameters, params, strict=True)))


class _Qasm2:
    """A source of what Qiskit's parser of OpenQASM 2 made, whose gates know each other by name."""

    def __init__(self, gate: Any, makers: dict[str, Callable[..., DefinedGate]]) -> None:
        self._gate, self._makers = gate, makers

    def circuit(self, params: Sequence[Any]) -> QuantumCircuit:
        """Return the definition with its own gates as shared ones."""
        gate = self._gate
        made = _Parsed(gate.name, gate.num_qubits, params, gate._gates, gate._bytecode)
        return _with_shared(made.definition, self._makers)


def with_shared_definitions(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit of Qiskit's parser of OpenQASM 2 whose own gates share definitions."""
    return _with_shared(circuit, {})


def _with_shared(
    circuit: QuantumCircuit, makers: dict[str, Callable[..., DefinedGate]]
) -> QuantumCircuit:
    for place, instruction in enumerate(circuit.data):
        gate = instruction.operation
        if isinstance(gate, _Parsed):
            if gate.name not in makers:
                makers[gate.name] = gate_maker(_Qasm2(gate, makers))
            own = makers[gate.name](gate.name, gate.num_qubits, *gate.params)
            circuit.data[place] = instruction.replace(operation=own)
    return circuit
