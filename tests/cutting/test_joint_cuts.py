"""Joint cuts: parallel rotations between the same two labels cut as one, exactly and with shots.

The maps of `JointOperation` are written here once more, by Kraus operators, and fragments are
worked out with density matrices, so that plans are checked without any backend.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import RZZGate
from qiskit.quantum_info import Operator
from qiskit_addon_cutting.instructions import Move
from support.circuits import entangled, rotated
from support.exact import outcome_probabilities, sign, uncut
from support.joint_cuts import (
    TURNED,
    assert_exact,
    exact_tensor,
    gates_of,
    placed,
    random_circuit,
    reconstructed,
    signed_kraus,
)

from pilotcut import compile_plan
from pilotcut.backends.template_circuits import build
from pilotcut.circuits.program import AngleSum
from pilotcut.cutting.basis import JointOperation
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.gate_basis import basis_of_gate
from pilotcut.cutting.joint import MOST_JOINT, joint_basis
from pilotcut.cutting.plan import CutPlan

# -- the maps, written independently ---------------------------------------------------


def on_ones(operation: JointOperation, wires: int) -> np.ndarray:
    """What the map makes of the all-ones matrix.

    Its Kraus operators are diagonal, so it multiplies a density matrix by this entry by entry:
    this is the whole superoperator.
    """
    ones = np.ones((2**wires, 2**wires))
    kraus = signed_kraus(operation, wires)
    assert all(np.array_equal(k, np.diag(np.diag(k))) for _, k in kraus)
    return sum(s * k @ ones @ k.conj().T for s, k in kraus)


def summed(basis, matrix: np.ndarray, wires: int) -> np.ndarray:
    """sum_ij C_ij A_i x B_j on all ones; side 0 holds the low qubits, so the last factor."""
    a, b = (np.array([on_ones(op, wires) for op in side]) for side in basis.operations)
    total = np.einsum("ij,iac,jbd->badc", matrix, a, b)
    return total.reshape(4**wires, 4**wires)


def gates_on_ones(angles) -> np.ndarray:
    """The same for RZZ(x_j) between qubit j and qubit n + j, by Qiskit."""
    wires = len(angles)
    circuit = QuantumCircuit(2 * wires)
    for k, x in enumerate(angles):
        circuit.rzz(x, k, wires + k)
    unitary = Operator(circuit).data
    return unitary @ np.ones_like(unitary) @ unitary.conj().T


def bond_of(basis, angles: list[AngleSum]) -> Bond:
    return Bond(
        index=0,
        gate="rzz",
        ends=((0, 0), (1, 0)),
        coefficients=basis.coefficients,
        amplitudes=basis.amplitudes,
        angles=tuple(angles),
        overhead=basis.overhead,
    )


#: One to three gates: the angle of each, and whether it is free.
GATES = st.lists(st.tuples(st.floats(-7, 7), st.booleans()), min_size=1, max_size=MOST_JOINT)
HALF = np.pi / 2


@given(GATES)
@example([(0.0, True), (np.pi, True), (-np.pi, False)])
@example([(0.0, False), (0.0, False)])
@example([(HALF, False), (np.pi, False), (HALF, True)])
@settings(max_examples=25, deadline=None)
def test_the_terms_of_a_joint_cut_add_up_to_its_gates(gates):
    """sum_ij C_ij A_i x B_j is the map of all gates, bound or free, and gamma bounds |C|."""
    angles = [x for x, _ in gates]
    basis = joint_basis([None if free else x for x, free in gates])
    slots = np.array([[(x - 0.3) / 2 for x, free in gates if free]])
    matrix = bond_of(basis, [AngleSum(((k, 2.0),), 0.3) for k in range(slots.shape[1])]).matrix(
        slots
    )[0]
    found = summed(basis, matrix, len(gates))
    np.testing.assert_allclose(found, gates_on_ones(angles), atol=1e-9)
    expected = 2 * np.prod([1 + abs(np.sin(x)) for x in angles]) - 1
    assert np.abs(matrix).sum() == pytest.approx(expected, abs=1e-9)
    assert expected**2 <= basis.overhead + 1e-9
    if not slots.size:
        assert expected**2 == pytest.approx(basis.overhead)


@given(GATES, st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_slopes_are_the_derivatives_of_the_matrix(gates, seed):
    """For a batch of slots, by every free angle, scaled and shifted."""
    rng = np.random.default_rng(seed)
    gates = [*gates[:-1], (gates[-1][0], True)]
    basis = joint_basis([None if free else x for x, free in gates])
    number = sum(free for _, free in gates)
    order = rng.permutation(number)  # slots need not come in the order of the gates
    scales = rng.uniform(-2, 2, number)
    bond = bond_of(
        basis,
        [AngleSum(((int(k), s),), rng.uniform(-2, 2)) for k, s in zip(order, scales, strict=True)],
    )
    slots = rng.uniform(-4, 4, (3, number))
    for position, slot in enumerate(order):
        step = 1e-5 * np.eye(number)[slot]
        numeric = (bond.matrix(slots + step) - bond.matrix(slots - step)) / 2e-5
        slope = scales[position] * bond.slope(slots, position)
        np.testing.assert_allclose(slope, numeric, atol=1e-8)


@pytest.mark.parametrize(("gates", "gamma"), [(1, 3), (2, 7), (3, 15)])
def test_the_overhead_is_that_of_the_literature(gates, gamma):
    """7 for two CX and 15 for three, at a free angle's worst too, but not beyond it."""
    assert joint_basis([-HALF] * gates).overhead == pytest.approx(gamma**2)
    free = joint_basis([None] * gates)
    assert free.overhead == pytest.approx(gamma**2)
    bond = bond_of(free, [AngleSum(((k, 1.0),)) for k in range(gates)])
    grid = np.stack(np.meshgrid(*[np.linspace(-np.pi, np.pi, 5)] * gates), axis=-1)
    sums = np.abs(bond.matrix(grid.reshape(-1, gates))).sum(axis=(1, 2))
    assert sums.max() == pytest.approx(gamma)


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=MOST_JOINT))
@settings(deadline=None)
def test_a_joint_cut_never_costs_more_than_cuts_one_by_one(angles):
    alone = np.prod([basis_of_gate(RZZGate(x)).overhead for x in angles])
    assert joint_basis(angles).overhead <= alone * (1 + 1e-9)


@pytest.mark.parametrize(("gates", "size"), [(2, 22), (3, 92)])
def test_operations_are_distinct_and_all_are_used(gates, size):
    """No operation is kept twice, and each has a coefficient that does not vanish."""
    basis = joint_basis([0.4] * gates)
    for side in basis.operations:
        assert len(side) == size
        maps = np.array([on_ones(op, gates).ravel() for op in side])
        apart = np.abs(maps[:, None] - maps[None]).max(axis=2)
        assert apart[~np.eye(size, dtype=bool)].min() > 1e-6
    for axis in (0, 1):
        assert (np.abs(basis.coefficients).max(axis=axis) > 1e-12).all()


def test_a_gate_that_does_nothing_leaves_one_operation():
    """At angle 0, and at pi up to a Z on each side, no sampling overhead is left."""
    for angle in (0.0, np.pi):
        basis = joint_basis([angle, 0.0])
        assert basis.coefficients.shape == (1, 1)
        assert basis.overhead == pytest.approx(1)


# -- exactness -------------------------------------------------------------------------


BOUND = ["cx", "cz", "cy", "ch", "cs", "ecr", "csx"]
KINDS = [*BOUND, *TURNED, *(f"{name} free" for name in TURNED)]
OBSERVABLES = ["ZZZZ", "XIYX", "IXIZ", "YYXI"]


def layered(layers, width: int, seed: int) -> tuple[QuantumCircuit, list[float]]:
    """Layers of (kind, pair) between random rotations, and the values of free angles."""
    circuit, values = rotated(QuantumCircuit(width), seed), []
    for layer in layers:
        for kind, pair in layer:
            placed(circuit, kind, pair, values)
        rotated(circuit, seed + len(circuit.data))
    return circuit, values


@pytest.mark.parametrize("kind", KINDS)
def test_two_gates_of_one_kind_in_both_directions(kind):
    """Each in its own direction, in two layers, with gates inside the labels in between."""
    layers = [
        [(kind, (0, 2)), (kind, (3, 1))],
        [("cx", (0, 1)), ("crx", (3, 2))],
        [(kind, (2, 1)), (kind, (0, 3))],
    ]
    circuit, values = layered(layers, 4, 3)
    plan = assert_exact(circuit, values, OBSERVABLES, [2, 2], labels="AABB")
    name = kind.split()[0]
    assert [bond.gate for bond in plan.bonds] == [f"{name}+{name}"] * 2
    assert plan.num_cuts == 4


@pytest.mark.parametrize("seed", range(3))
def test_three_gates_of_mixed_kinds(seed):
    """Bound and free, in both directions, over labels that are not contiguous."""
    rng = np.random.default_rng(seed)
    kinds = [str(k) for k in rng.choice(KINDS, 6)]
    sides = [tuple(int(q) for q in rng.permutation([a, b])) for a, b in ((0, 1), (3, 2), (4, 5))]
    turned = [sides[k][::-1] for k in rng.permutation(3)]
    layers = [
        list(zip(kinds[:3], sides, strict=True)),
        [("cx", (0, 4)), ("cz", (2, 5))],
        list(zip(kinds[3:], turned, strict=True)),
    ]
    circuit, values = layered(layers, 6, seed)
    observables = ["ZZZZZZ", "XIYXIZ", "IIZXYI"]
    plan = assert_exact(circuit, values, observables, [3, 3], labels="ABBAAB")
    assert plan.fragments[0].site_shape == plan.fragments[1].site_shape


@pytest.mark.parametrize("kind", ["rzz free", "crx free", "cp", "rzz"])
@pytest.mark.parametrize("value", [0.0, np.pi, -np.pi, 2 * np.pi])
def test_angles_at_which_weights_vanish(kind, value):
    """A free angle at 0 and pi, and a bound one whose operations fall away."""
    name, _, free = kind.partition(" ")
    circuit = rotated(QuantumCircuit(4), 2)
    getattr(circuit, name)(Parameter("a") if free else value, 0, 2)
    circuit.cx(3, 1)
    rotated(circuit, 4)
    assert_exact(circuit, [value] if free else [], OBSERVABLES, labels="AABB")


@pytest.mark.parametrize(
    "angle",
    [
        *(2.0, 0.1, 1e-3),
        6e-5,
    ],
)
def test_small_bound_angles(angle):
    """What is small is still a rotation: <XX> of its qubits is minus its sine."""
    circuit = QuantumCircuit(4)
    circuit.h([0, 2])
    circuit.s(0)
    circuit.rzz(angle, 0, 2)
    circuit.cx(1, 3)
    circuit.h(2)
    assert_exact(circuit, [], ["IXIX", "IYIZ"], [2], labels="AABB")


def test_moves_resets_and_wire_cuts_beside_joint_cuts():
    """Wires begin and end between joint cuts, within labels and across them."""
    circuit = entangled([(0, 1), (2, 3)], 5)
    circuit.cx(0, 2)
    circuit.crz(0.8, 3, 1)
    circuit.append(Move(), [0, 4])  # a new wire of label A
    circuit.append(Move(), [2, 0])  # a wire cut from B to A
    circuit.reset(2)
    rotated(circuit, 9)
    circuit.cx(0, 4)
    circuit.cz(1, 2)
    circuit.rzz(0.4, 3, 0)
    rotated(circuit, 11)
    observables = ["ZZZZZ", "XIYIX", "IYIZI"]
    plan = compile_plan(circuit, observables, labels="AABBA", joint_cuts=True)
    assert sorted(bond.gate for bond in plan.bonds) == ["cx+crz", "cz+rzz", "move"]
    expected = uncut(circuit, plan.terms.to_labels())
    np.testing.assert_allclose(reconstructed(plan), expected, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
@settings(max_examples=20, deadline=None)
def test_any_labels_on_any_circuit(seed, width):
    """Random circuits with resets, moves and wire cuts: jointly cut equals uncut."""
    circuit, values, labels = random_circuit(seed, width)
    observables = ["Z" * width, "XYZXY"[:width], "IXIZI"[:width]]
    plan = compile_plan(circuit, observables, labels=labels, joint_cuts=True)
    expected = uncut(circuit, plan.terms.to_labels(), values)
    np.testing.assert_allclose(reconstructed(plan, values), expected, atol=1e-9)


# -- templates -------------------------------------------------------------------------


def joint_case() -> tuple[CutPlan, np.ndarray]:
    """A group of two and one of three with free angles, beside a single and a wire cut."""
    circuit = entangled([(0, 1), (3, 4)], 6)
    values: list[float] = []
    for kind, pair in (("crx free", (0, 3)), ("cx", (4, 1)), ("rzz free", (5, 2))):
        placed(circuit, kind, pair, values)
    circuit.cx(0, 2)
    rotated(circuit, 3)
    circuit.ecr(3, 1)
    circuit.cry(0.8, 2, 4)
    circuit.cx(4, 5)
    rotated(circuit, 5)
    circuit.cz(0, 5)
    plan = compile_plan(circuit, ["ZZZZZZ", "XIXYII", "IIIZIZ"], labels="AAABBB", joint_cuts=True)
    assert gates_of(plan) == [3, 2, 1]
    return plan, np.array(values)


def test_a_template_circuit_with_its_values_is_the_variant():
    """Parities of the exact outcomes equal the fragment's tensor, one ancilla a parity."""
    plan, values = joint_case()
    slots = plan.binding.slots(values[None])
    rng = np.random.default_rng(1)
    patterns = set()
    for fragment in plan.fragments:
        angles = fragment.angle_values(slots)
        tensor = exact_tensor(fragment, angles[0]).reshape(len(fragment.observables), -1)
        for number in rng.permutation(len(fragment.templates))[:40]:
            template = fragment.templates[number]
            patterns.update(template.measured[:2])
            built = build(fragment, template)
            ancillas = built.circuit.num_qubits - fragment.num_wires
            assert ancillas <= np.count_nonzero(template.measured)
            assert ancillas >= np.count_nonzero(template.measured[:2])
            chosen = rng.permutation(len(template.variants))[:2]
            rows = built.values(np.repeat(angles, len(chosen), axis=0), template.choices[chosen])
            for choice, numbers in zip(chosen, rows, strict=True):
                named = dict(zip(built.parameters, numbers, strict=True))
                bound = built.circuit.assign_parameters(named)
                for mask, member in zip(built.masks, fragment.groups[template.group], strict=True):
                    mean = outcome_probabilities(bound) @ sign(mask, bound.num_clbits)
                    expected = tensor[member, template.variants[choice]]
                    assert mean == pytest.approx(expected, abs=1e-9)
    assert patterns == set(range(8))


def test_a_template_for_every_pattern_of_parities():
    """Two joint gates have four patterns, and all variants of a pattern share its circuit."""
    circuit = QuantumCircuit(4)
    circuit.cx(0, 2)
    circuit.cx(1, 3)
    plan = compile_plan(circuit, ["ZZZZ"], labels="AABB", joint_cuts=True)
    for fragment in plan.fragments:
        assert [t.measured for t in fragment.templates] == [(0,), (1,), (2,), (3,)]
        assert [len(t.variants) for t in fragment.templates] == [16, 2, 2, 2]
        assert fragment.num_subexperiments == 22
        for template in fragment.templates:
            built = build(fragment, template).circuit
            assert built.num_qubits == 2 + any(template.measured)
            assert built.num_clbits == built.num_qubits
