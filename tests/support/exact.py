"""Exact values by dense linear algebra, to compare with: of circuits, fragments and plans.

A fragment is worked out with density matrices, from its steps alone, so that plans are checked
to rounding error and without any backend.
"""

from __future__ import annotations

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, Pauli, PauliList, Statevector

from pilotcut import compile_plan
from pilotcut.circuits.program import Angle
from pilotcut.cutting.basis import BasisState, u_matrix
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.wires import state_vector
from pilotcut.reconstruction.contraction import Contraction
from support.circuits import OBSERVABLES

# -- whole circuits --------------------------------------------------------------------


def exact(circuit: QuantumCircuit, observables=OBSERVABLES) -> np.ndarray:
    # Qiskit evolves a Move by its definition, which resets the destination.
    state = Statevector(without_moves(circuit))
    return np.array([state.expectation_value(p).real for p in PauliList(observables)])


def without_moves(circuit: QuantumCircuit) -> QuantumCircuit:
    """A Move onto a fresh qubit is a swap; a CutWire is nothing."""
    plain = circuit.copy_empty_like()
    for instruction in circuit.data:
        if instruction.operation.name == "move":
            plain.swap(*instruction.qubits)
        elif instruction.operation.name != "cut_wire":
            plain.append(instruction)
    return plain


def state_of_uncut(circuit: QuantumCircuit) -> Statevector:
    """The state of a circuit without its markers."""
    plain = circuit.copy_empty_like()
    for instruction in circuit.data:
        if instruction.operation.name != "cut_wire":
            plain.append(instruction)
    return Statevector(plain)


def derivative(circuit, observable, values, step=1e-5):
    """Central differences of the exact expectation."""

    def value(v):
        return Statevector(circuit.assign_parameters(v)).expectation_value(observable).real

    shifts = step * np.eye(len(values))
    return np.array([(value(values + s) - value(values - s)) / (2 * step) for s in shifts])


def uncut(circuit: QuantumCircuit, observables, values=()) -> np.ndarray:
    """The same from Qiskit's density matrix of the whole circuit."""
    plain = circuit.copy_empty_like()
    for instruction in circuit.data:
        if instruction.operation.name not in ("cut_wire", "barrier"):
            plain.append(instruction)
    bound = plain.assign_parameters(list(values)) if plain.parameters else plain
    state = DensityMatrix(bound)
    return np.array([state.expectation_value(p).real for p in PauliList(list(observables))])


def outcome_probabilities(circuit: QuantumCircuit) -> np.ndarray:
    """Exact probabilities of the outcomes, outcome bits counted as Qiskit counts clbits."""
    state = Statevector(circuit.remove_final_measurements(inplace=False))
    order = [None] * circuit.num_clbits
    for instruction in circuit.data:
        if instruction.operation.name == "measure":
            bit = circuit.find_bit(instruction.clbits[0]).index
            order[bit] = circuit.find_bit(instruction.qubits[0]).index
    return state.probabilities(order)


def sign(mask: int, bits: int) -> np.ndarray:
    return np.array([(-1) ** (outcome & mask).bit_count() for outcome in range(2**bits)])


# -- fragments and plans ---------------------------------------------------------------


def acted(rho: np.ndarray, matrix: np.ndarray, wires: tuple[int, ...]) -> np.ndarray:
    """M rho M^dagger for every state of a stack (states, *kets, *bras), wire k on ket k."""
    width = (rho.ndim - 1) // 2
    size = len(wires)
    tensor = matrix.reshape([2] * (2 * size))
    for first, factor in ((1, tensor), (1 + width, tensor.conj())):
        axes = [first + wire for wire in reversed(wires)]  # the first qubit is the last factor
        rho = np.tensordot(factor, rho, axes=(range(size, 2 * size), axes))
        rho = np.moveaxis(rho, range(size), axes)
    return rho


def measured(rho: np.ndarray, wire: int) -> np.ndarray:
    """P0 rho P0 - P1 rho P1."""
    width = (rho.ndim - 1) // 2
    zero, one = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    assert width > wire
    return acted(rho, zero, (wire,)) - acted(rho, one, (wire,))


def found_or_prepared(state: BasisState, site: Site) -> np.ndarray:
    """|s><s| where wires end, and what makes |s> of their |0...0> where they begin."""
    vector = state_vector(state)
    first = np.eye(len(vector))[0]
    return np.outer(vector, vector.conj() if site.kind == "end" else first)


def exact_tensor(fragment: Fragment, angles: np.ndarray) -> np.ndarray:
    """The fragment's tensor (observables, *sites) for one row of its angles."""
    width = fragment.num_wires
    rho = np.zeros((1, *[2] * (2 * width)), dtype=complex)
    rho[(0,) * rho.ndim] = 1
    for step in fragment.steps:
        if isinstance(step, Site):
            branches = []
            for operation in step.operations:
                if isinstance(operation, BasisState):
                    branches.append(acted(rho, found_or_prepared(operation, step), step.wires))
                    continue
                branch = acted(rho, u_matrix(operation.before), (step.wire,))
                if operation.measured:
                    branch = measured(branch, step.wire)
                    branch = acted(branch, u_matrix(operation.after), (step.wire,))
                branches.append(branch)
            rho = np.stack(branches, axis=1).reshape(-1, *rho.shape[1:])
        else:
            gate = step.gate
            if step.params:
                gate = gate.to_mutable()
                gate.params = [
                    float(angles[p.slot]) if isinstance(p, Angle) else p for p in step.params
                ]
            rho = acted(rho, np.asarray(Operator(gate).data), step.qubits)
    matrices = rho.reshape(len(rho), 2**width, 2**width)
    # Wire 0 is the first axis here, and the last letter of a Pauli string.
    paulis = [Pauli(label[::-1]).to_matrix() for label in fragment.observables.to_labels()]
    values = np.einsum("oab,vba->ov", np.array(paulis), matrices).real
    return values.reshape(len(paulis), *fragment.site_shape)


def exact_tensors(plan: CutPlan, slots: np.ndarray) -> list[FragmentTensor]:
    return [
        FragmentTensor(
            np.array([exact_tensor(f, row) for row in f.angle_values(slots)]),
            tuple(np.zeros((len(slots), f.num_variants, len(g), len(g))) for g in f.groups),
        )
        for f in plan.fragments
    ]


def reconstructed(plan: CutPlan, values=()) -> np.ndarray:
    """The plan's terms, (terms,), without shots."""
    slots = plan.binding.slots(np.array([values], dtype=float).reshape(1, -1))
    contraction = Contraction.of(plan)
    bonds = [bond.matrix(slots) for bond in plan.bonds]
    return contraction.values(contraction.operands(exact_tensors(plan, slots), bonds))[0]


def assert_cut_equals_uncut(circuit, observables, values=(), **how) -> CutPlan:
    plan = compile_plan(circuit, observables, **how)
    np.testing.assert_allclose(
        reconstructed(plan, values), uncut(circuit, plan.terms.to_labels(), values), atol=1e-9
    )
    return plan
