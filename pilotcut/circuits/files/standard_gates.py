"""Standard gates in place of the definitions that a file had to give them under their names.

Exporters define what their language lacks (rzz in OpenQASM 3, ecr in 2) by other gates, and a cut
through two CX costs far more than one through an RZZ. What means something else under a standard
name stays what the file says.
"""

from __future__ import annotations

import numpy as np
from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.quantum_info import Operator

from pilotcut.circuits.files.gate_names import STANDARD

#: Gates of a definition that is compared: those of exporters have far fewer.
_MOST_COMPARED = 300

#: Where free parameters are compared: both signs, and past a whole turn.
_POINTS = (0.4137, -1.2713, 37.191, -8.8234)


def restore(circuit: QuantumCircuit) -> None:
    """Replace gates of the file by the standard gates of their names that they equal."""
    verdicts: dict[object, Instruction | None] = {}
    steps: dict[int, int] = {}
    for place, instruction in enumerate(circuit.data):
        gate = instruction.operation
        known = STANDARD.get(gate.name)
        if known is None or isinstance(gate, known.base_class):
            continue
        if (gate.num_qubits, len(getattr(gate, "params", ()))) != (
            known.num_qubits,
            len(known.params),
        ):
            continue
        key = _key(gate)
        if key is None or key not in verdicts:
            verdict = _standard(gate, steps)
            if key is not None:
                verdicts[key] = verdict
        else:
            verdict = verdicts[key]
        if verdict is not None:
            circuit.data[place] = instruction.replace(operation=verdict)


def _key(gate: Instruction) -> object | None:
    """Return what decides about a gate that is met again; None where angles are free."""
    if not all(isinstance(param, (int, float)) for param in gate.params):
        return None
    return gate.name, tuple(gate.params), id(gate.definition)


def _standard(gate: Instruction, steps: dict[int, int]) -> Instruction | None:
    standard = STANDARD[gate.name].base_class(*gate.params)
    definition = gate.definition
    if definition is None or _steps(definition, steps) > _MOST_COMPARED:
        return None
    return standard if _same(definition, standard) else None


def _steps(circuit: QuantumCircuit, known: dict[int, int]) -> int:
    """Return how many gates a definition is made of, all of its own definitions opened."""
    if id(circuit) not in known:
        known[id(circuit)] = 0  # of a ring there is no number, and none can be built
        known[id(circuit)] = sum(_steps_of(i.operation, known) for i in circuit.data)
    return known[id(circuit)]


def _steps_of(gate: Instruction, known: dict[int, int]) -> int:
    standard = STANDARD.get(gate.name)
    if standard is not None and isinstance(gate, standard.base_class):
        return 1
    # The definition of a gate that has not been asked for may be made by each gate anew.
    definition = getattr(gate, "_definition", None) or getattr(gate, "definition", None)
    return 1 if definition is None else 1 + _steps(definition, known)


def _same(definition: QuantumCircuit, gate: Instruction) -> bool:
    """Say whether a definition is a gate up to its phase, at several values of parameters."""
    alone = QuantumCircuit(gate.num_qubits)
    alone.append(gate, range(gate.num_qubits))
    names = sorted(p.name for p in alone.parameters)
    if sorted(p.name for p in definition.parameters) != names:
        return False
    return all(
        bool(_operator(definition, values).equiv(_operator(alone, values)))
        for values in _values(names)
    )


def _values(names: list[str]) -> list[dict[str, float]]:
    if not names:
        return [{}]
    return [
        {name: float(point * np.sqrt(k + 1.0)) for k, name in enumerate(names)} for point in _POINTS
    ]


def _operator(circuit: QuantumCircuit, values: dict[str, float]) -> Operator:
    return Operator(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))
