"""One cut: local operations and bond matrices that add up to the gate they replace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Gate, Instruction, Parameter
from qiskit.circuit.library import (
    CCXGate,
    CHGate,
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CSdgGate,
    CSGate,
    CSXGate,
    CUGate,
    CXGate,
    CYGate,
    CZGate,
    DCXGate,
    ECRGate,
    HGate,
    RXXGate,
    RYYGate,
    RZXGate,
    RZZGate,
    SwapGate,
    TGate,
    UGate,
    UnitaryGate,
    XGate,
    XXMinusYYGate,
    XXPlusYYGate,
    iSwapGate,
)
from qiskit.quantum_info import PTM, Operator, SuperOp, random_density_matrix, random_unitary
from qiskit_addon_cutting.instructions import Move
from qiskit_addon_cutting.qpd import QPDBasis

from pilotcut.cutting.basis import (
    LocalOperation,
    harmonics,
    transfer_matrix,
    u_matrix,
    weighted,
)
from pilotcut.cutting.gate_basis import basis_of_gate, basis_of_rzz
from pilotcut.errors import CutError


def bond_matrix(basis, angle=0.0) -> np.ndarray:
    """The bond matrix (d0, d1), with axes of the angles before them if it depends on some."""
    if basis.coefficients.ndim == 2:
        return basis.coefficients
    x = np.asarray(angle, dtype=float)
    matrix = weighted(basis.coefficients, [harmonics(x.reshape(-1))])
    return matrix.reshape(*x.shape, *matrix.shape[1:])


#: Locally equivalent to a CX: rank 4, five operations a side.
CX_CLASS = [CXGate(), CYGate(), CZGate(), CHGate(), ECRGate(), CXGate(ctrl_state=0)]

#: One interaction axis: five operations a side, whatever the angle.
ONE_AXIS = [
    *(CSGate(), CSdgGate(), CSXGate(), RZZGate(0.3), RXXGate(-2.1), RYYGate(3.0), RZXGate(0.4)),
    *(CRXGate(0.9), CRYGate(-1.3), CRZGate(0.5), CPhaseGate(2.5), CUGate(0.3, 0.6, -0.2, 1.1)),
]

#: Two or three interaction axes: twenty-two operations a side.
SWAP_CLASS = [
    *(SwapGate(), iSwapGate(), DCXGate(), XXPlusYYGate(0.4, 0.8), XXMinusYYGate(1.9)),
    *(UnitaryGate(random_unitary(4, seed=seed)) for seed in range(4)),
]

GATES = [*CX_CLASS, *ONE_AXIS, *SWAP_CLASS, RZZGate(0.0), RZZGate(np.pi)]
GATES += [UnitaryGate(np.kron(TGate().to_matrix(), HGate().to_matrix()), label="product")]

ANGLES = st.floats(-10, 10, allow_nan=False)


def named(gate: Gate) -> str:
    return f"{gate.name}-{gate.label}" if gate.label else gate.name


def channel(operation: LocalOperation) -> SuperOp:
    """The operation as a (signed, so not always positive) map, by Qiskit's means alone."""
    before = SuperOp(Operator(UGate(*operation.before)))
    if not operation.measured:
        return before
    zero, one = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    signed = SuperOp(np.kron(zero, zero) - np.kron(one, one))
    return before.compose(signed).compose(SuperOp(Operator(UGate(*operation.after))))


def joint_transfer(basis, bond: np.ndarray) -> np.ndarray:
    """sum_ij C_ij A_i x B_j as a Pauli transfer matrix; side 0 is qubit 0, the last factor."""
    a, b = ([transfer_matrix(op) for op in side] for side in basis.operations)
    return sum(bond[i, j] * np.kron(b[j], a[i]) for i, j in np.argwhere(bond))


@pytest.mark.parametrize("gate", GATES, ids=named)
def test_the_terms_of_a_cut_add_up_to_the_gate(gate):
    """sum_ij C_ij PTM(A_i) x PTM(B_j) is the Pauli transfer matrix of the gate."""
    basis = basis_of_gate(gate)
    expected = PTM(Operator(gate)).data.real
    np.testing.assert_allclose(joint_transfer(basis, bond_matrix(basis)), expected, atol=1e-9)


@pytest.mark.parametrize("gate", [*CX_CLASS, *ONE_AXIS, *SWAP_CLASS, Move()], ids=named)
def test_a_cut_costs_what_it_costs_the_addon(gate):
    """gamma, the sum of all |c|, is that of qiskit-addon-cutting's decomposition."""
    theirs = QPDBasis.from_instruction(gate).overhead
    assert basis_of_gate(gate).overhead == pytest.approx(theirs, rel=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_any_two_qubit_unitary_can_be_cut(seed):
    """The KAK basis of a Haar-random unitary adds up to it, with no operation kept twice."""
    gate = UnitaryGate(random_unitary(4, seed=seed))
    basis = basis_of_gate(gate)
    expected = PTM(Operator(gate)).data.real
    np.testing.assert_allclose(joint_transfer(basis, bond_matrix(basis)), expected, atol=1e-8)
    assert [len(side) for side in basis.operations] == [22, 22]
    for side in basis.operations:
        matrices = np.array([transfer_matrix(op).ravel() for op in side])
        apart = np.abs(matrices[:, None] - matrices[None]).max(axis=2)
        assert apart[~np.eye(len(side), dtype=bool)].min() > 1e-6


@pytest.mark.parametrize("gate", [*CX_CLASS, SwapGate(), Move(), RZXGate(0.4)], ids=named)
def test_the_transfer_matrix_is_that_of_qiskit(gate):
    """Qiskit's PTM of an operation, or of its effect and its state at a wire's two ends."""
    basis = basis_of_gate(gate)
    for kind, side in zip(basis.kinds, basis.operations, strict=True):
        for operation in side:
            whole = PTM(channel(operation)).data.real
            if kind == "end":
                whole = 2 * whole[:1]
            elif kind == "start":
                whole = whole @ np.array([[1], [0], [0], [1]])
            np.testing.assert_allclose(transfer_matrix(operation, kind), whole, atol=1e-12)


@given(ANGLES, ANGLES, ANGLES)
def test_u_matrix_is_that_of_qiskit(theta, phi, lam):
    expected = UGate(theta, phi, lam).to_matrix()
    np.testing.assert_allclose(u_matrix((theta, phi, lam)), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("gate", "sizes", "overhead"),
    [
        *((gate, (5, 5), 9) for gate in CX_CLASS),
        (RZZGate(np.pi / 2), (5, 5), 9),
        (SwapGate(), (22, 22), 49),
        (iSwapGate(), (22, 22), 49),
        (Move(), (4, 6), 16),
        (RZZGate(0.0), (1, 1), 1),
    ],
    ids=lambda value: named(value) if isinstance(value, Instruction) else None,
)
def test_distinct_operations_and_overhead(gate, sizes, overhead):
    """The number of distinct operations a side and gamma^2 are those of the literature."""
    basis = basis_of_gate(gate)
    assert tuple(map(len, basis.operations)) == sizes
    assert bond_matrix(basis).shape == sizes
    assert basis.overhead == pytest.approx(overhead)


@pytest.mark.parametrize("gate", [*ONE_AXIS, RZZGate(1e-3)], ids=named)
def test_a_gate_of_one_interaction_axis_has_five_operations(gate):
    """Four of the five are unitary, one is the signed measurement: two templates a site."""
    for side in basis_of_gate(gate).operations:
        assert sorted(operation.measured for operation in side) == [False] * 4 + [True]


@pytest.mark.parametrize("gate", SWAP_CLASS, ids=named)
def test_a_gate_of_three_interaction_axes_has_twenty_two_operations(gate):
    """The KAK basis has 58 terms of 22 distinct operations a side."""
    assert [len(side) for side in basis_of_gate(gate).operations] == [22, 22]


@given(st.floats(-20, 20, allow_nan=False))
def test_the_basis_of_rzz_is_a_function_of_its_angle(angle):
    """The free basis at an angle equals the gate, and the basis of the bound gate."""
    free, bound = basis_of_rzz(), basis_of_gate(RZZGate(angle))
    of_free = joint_transfer(free, bond_matrix(free, angle))
    np.testing.assert_allclose(of_free, joint_transfer(bound, bond_matrix(bound)), atol=1e-9)
    np.testing.assert_allclose(of_free, PTM(Operator(RZZGate(angle))).data.real, atol=1e-9)
    gamma = np.abs(bond_matrix(free, angle)).sum()
    assert gamma == pytest.approx(1 + 2 * abs(np.sin(angle)), abs=1e-9)
    assert gamma**2 <= free.overhead + 1e-9


def test_the_basis_of_rzz_takes_a_batch_of_angles():
    """A batch of angles gives the matrices of the single angles; 9 is the worst overhead."""
    basis, angles = basis_of_rzz(), np.linspace(-4, 4, 7)
    batch = bond_matrix(basis, angles)
    assert batch.shape == (7, 5, 5)
    np.testing.assert_array_equal(batch, [bond_matrix(basis, x) for x in angles])
    assert basis.coefficients.ndim > 2
    assert basis_of_gate(CXGate()).coefficients.ndim == 2
    assert basis.overhead == pytest.approx(9)


def test_gates_of_one_name_and_other_matrices_have_bases_of_their_own():
    """Bases are remembered by what they depend on."""

    def named(matrix):
        gate = UnitaryGate(matrix)
        gate.name = "mine"
        return gate

    gates = [named(random_unitary(4, seed=seed)) for seed in (1, 2, 1)]
    first, other, again = (basis_of_gate(gate) for gate in gates)
    assert again is first
    assert not np.allclose(first.coefficients, other.coefficients)
    assert basis_of_gate(CXGate(ctrl_state=0)) is not basis_of_gate(CXGate(ctrl_state=1))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_cut_wire_is_the_identity_channel(seed):
    """Measuring at the end and preparing at the start gives any state back."""
    rho = random_density_matrix(2, seed=seed)
    basis = basis_of_gate(Move())
    assert basis.kinds == ("end", "start")
    zero = np.diag([1.0, 0.0]).astype(complex)
    effects = [rho.evolve(channel(op)).data.trace() for op in basis.operations[0]]
    states = [
        (channel(op).data @ zero.reshape(-1, order="F")).reshape(2, 2, order="F")
        for op in basis.operations[1]
    ]
    again = np.einsum("ij,i,jab->ab", bond_matrix(basis), effects, states)
    np.testing.assert_allclose(again, rho.data, atol=1e-9)


@pytest.mark.parametrize(
    "gate",
    [
        CCXGate(),
        XGate(),
        RXXGate(Parameter("x")),
        Instruction("foo", 2, 0, []),
        Gate("opaque", 2, []),
    ],
    ids=named,
)
def test_a_gate_without_a_decomposition_is_refused(gate):
    """The message is one line that names the gate and what to do."""
    with pytest.raises(CutError, match=f"gate '{gate.name}' .* cannot be cut") as error:
        basis_of_gate(gate)
    assert "\n" not in str(error.value)
    assert "labels" in str(error.value)
