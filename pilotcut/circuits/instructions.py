"""Instructions by what they are: a gate of Qiskit's on one or two qubits, a matrix, or a circuit.

Decided by the class, and by the definition for what a file format has stripped of its class. A
name alone says nothing: anybody may call a gate "id" or "move", and a label is a remark. What a
matrix looks like is `pilotcut.circuits.gate_matrices`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    BoxOp,
    ControlledGate,
    ControlModifier,
    Delay,
    Gate,
    Instruction,
    Operation,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
    Reset,
    library,
)
from qiskit.circuit.library import (
    GlobalPhaseGate,
    HamiltonianGate,
    IGate,
    PauliEvolutionGate,
    UnitaryGate,
    get_standard_gate_name_mapping,
)
from qiskit.quantum_info import Operator, SparseObservable, SparsePauliOp
from qiskit.synthesis import MatrixExponential
from qiskit.transpiler.passes import HighLevelSynthesis

from pilotcut.circuits.gate_matrices import at_some_values, factors, has_parameters, matrix_of
from pilotcut.circuits.markers import CutWire, Move
from pilotcut.circuits.rotation_vectors import is_free_rotation
from pilotcut.errors import CutError

_NOTHING = frozenset({Barrier, Delay, IGate, GlobalPhaseGate})
_MARKERS: dict[type, Instruction] = {CutWire: CutWire(), Move: Move(), Reset: Reset()}

#: Classes of qiskit-addon-cutting, known without importing it.
_ADDON = "qiskit_addon_cutting."
_OF_ADDON: dict[str, type] = {"CutWire": CutWire, "Move": Move}

#: Qiskit's gates on one or two qubits by class, without label and at angle zero.
STANDARD: dict[type, Gate] = {
    gate.base_class: gate.base_class(*[0.0] * len(gate.params))
    for gate in get_standard_gate_name_mapping().values()
    if isinstance(gate, Gate) and gate.num_qubits in (1, 2) and gate.base_class not in _NOTHING
}

_PRODUCT = getattr(library, "PauliProductRotationGate", None)  # from Qiskit 2.4

#: Powers up to this are written out; larger ones are taken of the matrix.
_MOST_REPEATS = 64

#: Qubits up to which a definition is held against a matrix.
_MOST_CHECKED = 6


def does_nothing(gate: Operation) -> bool:
    """Whether expectation values do not notice an instruction: barriers, delays, phases."""
    return class_of(gate) in _NOTHING


def is_standard(gate: Operation) -> bool:
    """Whether a gate is Qiskit's own on one or two qubits, with closed controls."""
    closed = not isinstance(gate, ControlledGate) or gate.ctrl_state == 1
    return closed and class_of(gate) in STANDARD


def is_box(gate: Operation) -> bool:
    """Whether an instruction only holds others together."""
    return class_of(gate) is BoxOp


def is_marker(gate: Operation) -> bool:
    """Whether an instruction says where a wire is cut, or goes on."""
    return class_of(gate) in (CutWire, Move)


def is_matrix(gate: Operation) -> bool:
    """Whether a gate is given by its matrix."""
    return class_of(gate) is UnitaryGate


def native(gate: Operation) -> Instruction | None:
    """Return the plain instruction of one or two qubits that does the same; None if it is opened.

    Parameters of Qiskit's own gates are those of the given one; a `UnitaryGate` brings its matrix.

    Raises
    ------
    CutError
        If a gate's matrix is not unitary.
    """
    kind = class_of(gate)
    if kind in _MARKERS:
        return _MARKERS[kind]
    if (marker := _nameless_marker(gate)) is not None:
        return marker
    if kind in STANDARD:  # open controls are X gates around closed ones: the definition has them
        return STANDARD[kind] if is_standard(gate) else None
    _check_parent(gate, kind)
    if gate.num_qubits not in (1, 2) or is_free(gate):
        _check_definition(gate)
        return None
    matrix = matrix_of(gate)
    # What entangles nothing is opened into its two sides: no cut through it has to be paid.
    if matrix is None or (gate.num_qubits == 2 and factors(matrix) is not None):
        return None
    # `matrix_of` has checked that it is unitary.
    return UnitaryGate(matrix, check_input=False)


def definition_of(gate: Operation, where: tuple[int, ...]) -> QuantumCircuit:
    """Return what an instruction that is not native is made of.

    Raises
    ------
    CutError
        If that is not known; `where`, the qubits, are for its message.
    """
    if is_box(gate):
        return gate.blocks[0]  # type: ignore[attr-defined]
    if class_of(gate) is HamiltonianGate and is_free(gate):
        return _evolution(*gate.params)  # type: ignore[attr-defined]
    if is_free_rotation(gate):
        raise CutError(
            f"gate 'rv' on qubits {where} has free parameters under a control or a power, expected "
            f"it by itself or bound; write the rotation as RZ, RY and RZ, which can be controlled"
        )
    # Seen with Qiskit 2.6.2: findings/qiskit-pauli-product-identity-phase.sh says CHANGED once this
    # can go.
    if _turns_nothing(gate):
        return QuantumCircuit(gate.num_qubits, global_phase=-gate.params[0] / 2)  # type: ignore[attr-defined]
    if gate.num_qubits == 2 and not is_free(gate):
        matrix = matrix_of(gate)
        sides = None if matrix is None else factors(matrix)
        if sides is not None:
            return _side_by_side(*sides)
    definition = _definition(gate)  # of fewer qubits where some are left alone
    if definition is None or definition.num_qubits > gate.num_qubits:
        raise CutError(
            f"instruction '{gate.name}' on qubits {where} has no definition, expected gates "
            f"of one or two qubits; bind, decompose or transpile it first"
        )
    return definition


def plain(gate: Operation) -> Operation:
    """Return an instruction of the same effect and size whose names mean what they say.

    For those who go by names, as Qiskit's translation to a device's gates does.
    """
    # Somebody's own gate "cx" is not Qiskit's: its translation would put a CX in its place.
    found = native(gate)
    if found is not None:
        return _with_params(found, getattr(gate, "params", ()))
    inner = definition_of(gate, tuple(range(gate.num_qubits)))
    # A control turns a phase of the whole into one that matters.
    circuit = QuantumCircuit(gate.num_qubits, global_phase=inner.global_phase)
    for instruction in inner.data:
        operation = instruction.operation
        where = [inner.find_bit(q).index for q in instruction.qubits]
        circuit.append(operation if does_nothing(operation) else plain(operation), where)
    reversible = all(isinstance(instruction.operation, Gate) for instruction in circuit.data)
    return circuit.to_gate() if reversible else circuit.to_instruction()


def _with_params(found: Instruction, params: Sequence[object]) -> Instruction:
    if is_matrix(found) or not found.params:
        return found
    return found.base_class(*params)


def note_on(gate: Operation) -> str:
    """Return what a user should know about how an instruction is run, '' if nothing."""
    if isinstance(gate, AnnotatedOperation):
        inner = _definition(gate.base_op) or ()
        return note_on(gate.base_op) or next(
            (note for one in inner if (note := note_on(one.operation))), ""
        )
    if not isinstance(gate, PauliEvolutionGate) or isinstance(gate.synthesis, MatrixExponential):
        return ""
    # Hardware runs the product formula, which is not what Qiskit's StatevectorEstimator takes where
    # terms do not commute: nobody could see from values why they differ, so plans' records say so.
    operators = gate.operator if isinstance(gate.operator, list) else [gate.operator]
    if _commute(operators):
        return ""
    return (
        f"a PauliEvolutionGate of terms that do not commute runs as its product formula "
        f"({type(gate.synthesis).__name__}), as on hardware; Qiskit's StatevectorEstimator takes "
        f"the exact exponential"
    )


def _commute(operators: list[SparsePauliOp | SparseObservable]) -> bool:
    """Whether all terms commute. Projectors, as the sums of Paulis that they are."""
    paulis = [
        (SparsePauliOp.from_sparse_observable(o) if isinstance(o, SparseObservable) else o).paulis
        for o in operators
    ]
    x, z = (np.vstack([getattr(p, axis) for p in paulis]).astype(int) for axis in "xz")
    return not ((x @ z.T + z @ x.T) % 2).any()


def class_of(gate: Operation) -> type:
    """Return the class as its author wrote it; Qiskit derives singletons from it.

    Markers of qiskit-addon-cutting are ours, which do the same.
    """
    kind: type = getattr(gate, "base_class", type(gate))
    if kind.__module__.startswith(_ADDON):
        return _OF_ADDON.get(kind.__name__, kind)
    return kind


def _nameless_marker(gate: Operation) -> Instruction | None:
    """Return the marker that QPY has read back as an instruction of no class of its own."""
    if class_of(gate) not in (Gate, Instruction):
        return None
    definition = gate.definition
    if gate.name == "cut_wire" and gate.num_qubits == 1 and not (definition and definition.data):
        return _MARKERS[CutWire]
    if gate.name == "move" and definition == _MARKERS[Move].definition:
        return _MARKERS[Move]
    return None


def _turns_nothing(gate: Operation) -> bool:
    """Whether a gate is a rotation about identities: Qiskit 2.6 defines it without its phase."""
    if _PRODUCT is None or class_of(gate) is not _PRODUCT:
        return False
    pauli = gate.pauli()  # type: ignore[attr-defined]
    return not (pauli.x | pauli.z).any()


def is_free(gate: Operation) -> bool:
    """Whether an angle of a gate has parameters."""
    return any(map(has_parameters, getattr(gate, "params", ())))


def _check_parent(gate: Operation, kind: type) -> None:
    """Raise CutError if a gate's class derives from one of Qiskit's and is another gate.

    Qiskit's simulators run it as its parent, whatever its own matrix or definition.
    """
    parent = next((one for one in kind.__mro__ if one in STANDARD or one is IGate), None)
    if parent is None or isinstance(gate, ControlledGate) or not hasattr(gate, "params"):
        return
    bound, _ = at_some_values(gate)
    # A copy keeps the definition that was made for the angles before.
    bound._definition = None
    stated = [matrix_of(bound), _definition(bound)]
    want = Operator(parent(*bound.params))
    if not all(one is None or want.equiv(Operator(one)) for one in stated):
        raise CutError(
            f"gate '{gate.name}' is of a class {kind.__name__} that derives from {parent.__name__} "
            f"and is another gate, but Qiskit runs it as {parent.__name__}; derive it from Gate"
        )


def _check_definition(gate: Operation) -> None:
    """Raise CutError if somebody's gate is opened although its definition is not its matrix.

    The matrix is what the gate is where both are known, here as in Qiskit's simulators.
    """
    foreign = hasattr(gate, "__array__") and not class_of(gate).__module__.startswith("qiskit.")
    definition = getattr(gate, "definition", None) if foreign else None
    if definition is None or gate.num_qubits > _MOST_CHECKED:
        return
    bound, values = at_some_values(gate)
    own = {p: values[p] for p in definition.parameters if p in values}
    if not Operator(definition.assign_parameters(own)).equiv(matrix_of(bound)):
        raise CutError(
            f"gate '{gate.name}' has a definition that is not its matrix, expected them to agree; "
            f"mend one of the two"
        )


def _side_by_side(first: np.ndarray, second: np.ndarray) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(UnitaryGate(first, check_input=False), [0])
    circuit.append(UnitaryGate(second, check_input=False), [1])
    return circuit


def _evolution(hamiltonian: np.ndarray, time: ParameterExpression) -> QuantumCircuit:
    """Return ``exp(-i H t)`` for a free t: rotations about strings of Z in H's eigenbasis."""
    energies, basis = np.linalg.eigh(hamiltonian)
    strings = SparsePauliOp.from_operator(np.diag(energies))
    circuit = QuantumCircuit(strings.num_qubits)
    circuit.append(UnitaryGate(basis.conj().T), circuit.qubits)
    circuit.append(PauliEvolutionGate(strings, time), circuit.qubits)  # exact, since they commute
    circuit.append(UnitaryGate(basis), circuit.qubits)
    return circuit


def _definition(gate: Operation) -> QuantumCircuit | None:
    """Return the definition, or a synthesis for what has none, such as cliffords and modifiers."""
    try:
        definition = getattr(_renewed(gate), "definition", None)
    except Exception:  # some gates have a definition only once their parameters are bound
        definition = None
    return _synthesis(gate) if definition is None else definition


def _renewed(gate: Operation) -> Operation:
    """Return a library gate without the definition that it keeps, for it may have changed since."""
    own = getattr(type(gate), "_define", Instruction._define) is not Instruction._define
    controlled = isinstance(gate, ControlledGate)  # which keeps none that could be stale
    if not own or controlled or not class_of(gate).__module__.startswith("qiskit."):
        return gate
    if not getattr(gate, "mutable", True):  # Qiskit's singletons, such as RCCX, cannot change
        return gate
    fresh: Any = copy.copy(gate)
    fresh._definition = None
    return fresh


def _synthesis(gate: Operation) -> QuantumCircuit | None:
    if isinstance(gate, AnnotatedOperation):
        return _modified(gate) or _of_matrix(gate)
    try:
        found = HighLevelSynthesis()(_alone(gate))
    except Exception:  # plugins' code; what comes of it is that there is none
        return None
    # What no plugin knows is handed back as it was.
    unchanged = [class_of(i.operation) for i in found.data] == [class_of(gate)]
    return _of_matrix(gate) if unchanged else found


def _of_matrix(gate: Operation) -> QuantumCircuit | None:
    matrix = None if is_free(gate) else matrix_of(gate)
    return None if matrix is None else UnitaryGate(matrix).definition


def _modified(gate: AnnotatedOperation) -> QuantumCircuit | None:
    """Return a gate with its modifiers carried out, None for powers that are not whole, or large.

    Qiskit 2.6 controls a gate by its name: of somebody's own gate "cx" it makes a Toffoli.
    """
    # findings/qiskit-control-of-own-cx.sh says CHANGED once the base operation itself will do.
    circuit = _alone(plain(gate.base_op))
    for modifier in gate.modifiers:
        if isinstance(modifier, ControlModifier):
            controlled = circuit.to_gate().control(
                modifier.num_ctrl_qubits, ctrl_state=modifier.ctrl_state, annotated=False
            )
            circuit = _alone(controlled)
            continue
        power = modifier.power if isinstance(modifier, PowerModifier) else -1
        if power != int(power) or abs(power) > _MOST_REPEATS:
            return None
        circuit = (circuit if power >= 0 else circuit.inverse()).repeat(abs(int(power)))
    return circuit


def _alone(gate: Operation) -> QuantumCircuit:
    circuit = QuantumCircuit(gate.num_qubits)
    circuit.append(gate, range(gate.num_qubits))
    return circuit
