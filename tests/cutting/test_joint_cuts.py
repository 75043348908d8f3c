"""Joint cuts: parallel rotations between the same two labels cut as one, exactly and with shots.

The maps of `JointOperation` are written here once more, by Kraus operators, and fragments are
worked out with density matrices, so that plans are checked without any backend.
"""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import RZZGate, XXPlusYYGate
from qiskit.quantum_info import Operator, Pauli, SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import A, B, entangled, parallel, rotated, trained
from support.exact import acted, derivative, exact, outcome_probabilities, sign, uncut

from pilotcut import CutEstimator, CutGradient, compile_plan, cut_qnn
from pilotcut.backends.template_circuits import build
from pilotcut.circuits.program import Angle, read_circuit
from pilotcut.cutting.basis import JointOperation, LocalOperation, basis_of_gate, u_matrix
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.joint import MOST_JOINT, joint_basis, parallel_groups
from pilotcut.cutting.plan import CutPlan
from pilotcut.reconstruction.contraction import Contraction

# -- the maps, written independently ---------------------------------------------------


def z_string(subset: int, wires: int) -> np.ndarray:
    """The diagonal of Z on a set of wires; wire k is bit k of both."""
    return np.array([(-1.0) ** (subset & basis).bit_count() for basis in range(2**wires)])


def signed_kraus(operation: JointOperation, wires: int) -> list[tuple[int, np.ndarray]]:
    """Signs and Kraus operators: the rotations, then P+ . P+ - P- . P- of the parity."""
    assert len(operation.rotations) == 2**wires - 1
    phase = sum(
        angle / 2 * z_string(subset, wires)
        for subset, angle in enumerate(operation.rotations, start=1)
    )
    rotation = np.diag(np.exp(-1j * phase))
    if not operation.measured:
        return [(1, rotation)]
    parity = np.diag(z_string(operation.measured, wires))
    identity = np.eye(2**wires)
    return [(s, (identity + s * parity) / 2 @ rotation) for s in (1, -1)]


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


def bond_of(basis, angles: list[Angle]) -> Bond:
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
    matrix = bond_of(basis, [Angle(k, 2.0, 0.3) for k in range(slots.shape[1])]).matrix(slots)[0]
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
    bond = bond_of(basis, [Angle(int(k), *rng.uniform(-2, 2, 2)) for k in order])
    slots = rng.uniform(-4, 4, (3, number))
    for position, slot in enumerate(order):
        step = 1e-5 * np.eye(number)[slot]
        numeric = (bond.matrix(slots + step) - bond.matrix(slots - step)) / 2e-5
        np.testing.assert_allclose(bond.slope(slots, position), numeric, atol=1e-8)


@pytest.mark.parametrize(("gates", "gamma"), [(1, 3), (2, 7), (3, 15)])
def test_the_overhead_is_that_of_the_literature(gates, gamma):
    """7 for two CX and 15 for three, at a free angle's worst too, but not beyond it."""
    assert joint_basis([-HALF] * gates).overhead == pytest.approx(gamma**2)
    free = joint_basis([None] * gates)
    assert free.overhead == pytest.approx(gamma**2)
    bond = bond_of(free, [Angle(k) for k in range(gates)])
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


def after(rho: np.ndarray, site: Site, operation) -> np.ndarray:
    """A site's operation on a stack of states (states, *kets, *bras)."""
    if isinstance(operation, JointOperation):
        kraus = signed_kraus(operation, len(site.wires))
        return sum(s * acted(rho, k, site.wires) for s, k in kraus)
    assert isinstance(operation, LocalOperation)
    rho = acted(rho, u_matrix(operation.before), site.wires)
    if operation.measured:
        zero, one = (acted(rho, np.diag(p), site.wires) for p in ([1.0, 0.0], [0.0, 1.0]))
        rho = acted(zero - one, u_matrix(operation.after), site.wires)
    return rho


def exact_tensor(fragment: Fragment, angles: np.ndarray) -> np.ndarray:
    """The fragment's tensor (observables, *sites) for one row of its angles."""
    width = fragment.width
    rho = np.zeros((1, *[2] * (2 * width)), dtype=complex)
    rho[(0,) * rho.ndim] = 1
    for step in fragment.steps:
        if isinstance(step, Site):
            branches = [after(rho, step, operation) for operation in step.operations]
            rho = np.stack(branches, axis=1).reshape(-1, *rho.shape[1:])
        else:
            numbers = [float(angles[p.slot]) if isinstance(p, Angle) else p for p in step.params]
            rho = acted(rho, np.asarray(Operator(step.gate_with(numbers)).data), step.qubits)
    matrices = rho.reshape(len(rho), 2**width, 2**width)
    # Wire 0 is the first axis here, and the last letter of a Pauli string.
    paulis = [Pauli(label[::-1]).to_matrix() for label in fragment.observables.to_labels()]
    values = np.einsum("oab,vba->ov", np.array(paulis), matrices).real
    return values.reshape(len(paulis), *fragment.site_shape)


def reconstructed(plan: CutPlan, values=()) -> np.ndarray:
    """The plan's terms, (terms,), without shots."""
    slots = plan.binding.slots(np.array([values], dtype=float).reshape(1, -1))
    tensors = [
        FragmentTensor(exact_tensor(f, f.angle_values(slots)[0])[None], ()) for f in plan.fragments
    ]
    contraction = Contraction.of(plan)
    bonds = [bond.matrix(slots) for bond in plan.bonds]
    return contraction.values(contraction.operands(tensors, bonds))[0]


def gates_of(plan: CutPlan) -> list[int]:
    """How many gates each bond cuts."""
    return [bond.gates for bond in plan.bonds]


BOUND = ["cx", "cz", "cy", "ch", "cs", "ecr", "csx"]
TURNED = ["rzz", "rxx", "ryy", "rzx", "crx", "cry", "crz", "cp"]
KINDS = [*BOUND, *TURNED, *(f"{name} free" for name in TURNED)]
OBSERVABLES = ["ZZZZ", "XIYX", "IXIZ", "YYXI"]


def placed(circuit: QuantumCircuit, kind: str, pair, values: list[float]) -> None:
    """Append a gate of the kind; a free angle's value is added to `values`."""
    name, _, free = kind.partition(" ")
    angle = 0.7 + 0.9 * len(circuit.data) % 5
    if not free:
        getattr(circuit, name)(*([angle] if name in TURNED else []), *pair)
        return
    getattr(circuit, name)(1.5 * Parameter(f"p{len(values):02}") - 0.2, *pair)
    values.append(angle)


def layered(layers, width: int, seed: int) -> tuple[QuantumCircuit, list[float]]:
    """Layers of (kind, pair) between random rotations, and the values of free angles."""
    circuit, values = rotated(QuantumCircuit(width), seed), []
    for layer in layers:
        for kind, pair in layer:
            placed(circuit, kind, pair, values)
        rotated(circuit, seed + len(circuit.data))
    return circuit, values


def assert_exact(circuit, values, observables, sizes=None, **how) -> CutPlan:
    plan = compile_plan(circuit, observables, joint_cuts=True, **how)
    bound = circuit.assign_parameters(values) if values else circuit
    expected = exact(bound, plan.terms.to_labels())
    np.testing.assert_allclose(reconstructed(plan, values), expected, atol=1e-9)
    if sizes is not None:
        assert gates_of(plan) == sizes
    return plan


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


CROSSING = ["cx", "rzz", "crx free", "ecr", "rxx free", "swap"]


def random_circuit(seed: int, width: int) -> tuple[QuantumCircuit, list[float], str]:
    """Gates in random places, at most four cuts; also resets, moves and wire cuts.

    Returns the circuit, the values of free angles, and labels.
    """
    rng = np.random.default_rng(seed)
    labels = "".join(rng.permutation(list(rng.choice(["AABBA", "AABBC"]))[:width]))
    circuit, values = rotated(QuantumCircuit(width), seed), []
    left = 4  # cuts, a swap counted as two of them
    spare = 2 if width < 5 else 1  # fresh wires
    for _ in range(8):
        order = [int(q) for q in rng.permutation(width)]
        for pair in zip(order[::2], order[1::2], strict=False):
            if rng.random() < 0.3:
                continue
            if labels[pair[0]] != labels[pair[1]]:
                kind = str(rng.choice(CROSSING, p=[0.3, 0.2, 0.2, 0.1, 0.15, 0.05]))
                if left >= (cost := 2 if kind == "swap" else 1):
                    placed(circuit, kind, pair, values)
                    left -= cost
                continue
            what = rng.integers(9) if spare else 9
            spare -= what < 3
            if what == 0:
                circuit.append(Move(), pair)
            elif what == 1:
                circuit.reset(pair[0])
            elif what == 2 and left:
                circuit.append(CutWire(), [pair[0]])
                left -= 1
            else:
                circuit.cx(*pair)
        circuit.u(*rng.uniform(-3, 3, 3), order[0])
    return circuit, values, labels


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
    """Parities of the exact outcome law equal the fragment's tensor, one ancilla a parity."""
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
            ancillas = built.circuit.num_qubits - fragment.width
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


# -- with shots ------------------------------------------------------------------------


TWO = parallel(2, [("cx",), ("crx", 1.1)])
THREE = parallel(3, [("cx",), ("ryy", 0.9), ("cz",)])
SUM = SparsePauliOp(["ZZII", "IZIZ", "IIZZ", "XIXI"], [1.0, -0.5, 0.8, 0.6])
SUM3 = SparsePauliOp(["ZZIIII", "IZIZIZ", "IIIZZI", "XIIXII"], [1.0, -0.5, 0.8, 0.6])


def standardised(circuit, observables, rows, values=(), **options) -> np.ndarray:
    """Deviations in standard errors of independent rows, (rows, observables)."""
    estimator = CutEstimator(joint_cuts=True, **options)
    bindings = np.tile(np.array(values, dtype=float), (rows, 1, 1))
    data = estimator.run([(circuit, observables, bindings)]).result()[0].data
    bound = circuit.assign_parameters(values) if len(values) else circuit
    expected = [exact(bound, o.paulis) @ o.coeffs.real for o in map(SparsePauliOp, observables)]
    assert np.isfinite(data.stds).all()
    return (data.evs - expected) / data.stds


def assert_unit(z: np.ndarray) -> None:
    """Mean 0 and deviation 1, to four standard errors of each."""
    rows = len(z)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(rows)
    assert np.abs(z.std(axis=0) - 1).max() < 4 / np.sqrt(2 * rows)


@pytest.mark.parametrize(
    ("circuit", "observables", "labels", "rows"),
    [
        (TWO, ["ZZZZ", "IXIZ", "YIIY", SUM], "AABB", 400),
        (THREE, ["ZZZZZZ", "IIXZII", SUM3], "AAABBB", 150),
        (parallel(2, [("cx",), ("rzz", 0.8)], layers=2), ["ZZZZ", SUM], "AABB", 40),
    ],
    ids=["two", "three", "layers"],
)
def test_sampled_estimates_have_error_bars_that_hold(circuit, observables, labels, rows):
    """z-scores have mean 0 and unit spread, those of sums by the covariance of their terms."""
    z = standardised(circuit, observables, rows, mode="sampled", labels=labels, seed=1, shots=500)
    assert_unit(z)


def test_counts_estimates_have_error_bars_that_hold():
    """The circuits with their ancillas, through Aer, packed side by side."""
    z = standardised(TWO, ["ZZZZ", "IXIZ", SUM], 40, labels="AABB", seed=2, shots=500)
    assert_unit(z)
    z = standardised(THREE, ["ZZZZZZ", SUM3], 3, labels="AAABBB", seed=3, shots=500)
    assert np.abs(z).max() < 4


@pytest.mark.parametrize(("mode", "rows"), [("sampled", 300), ("counts", 30)])
def test_covariances_of_observables_that_share_their_shots(mode, rows):
    """Bits that are mostly equal: without covariances the difference has four times its error."""
    circuit = QuantumCircuit(4)
    for qubit, angle in enumerate((1.2, 0.3, 1.0, 0.4)):
        circuit.ry(angle, qubit)
    circuit.cx(0, 2)
    circuit.rzz(0.9, 3, 1)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    sums = [SparsePauliOp(["IIZI", "IIIZ"], [1, sign]) for sign in (1, -1)]
    both = SparsePauliOp(["ZIZI", "ZIIZ", "IZII", "ZIII"], [1, -1, 1, -1])
    options = {"mode": mode, "labels": "AABB", "seed": 7, "shots": 500}
    assert_unit(standardised(circuit, [*sums, both], rows, **options))


def test_shots_dealt_by_importance():
    options = {"mode": "sampled", "labels": "AABB", "shot_allocation": "optimal"}
    assert_unit(standardised(TWO, ["ZZZZ", SUM], 200, seed=4, shots=1000, **options))


def test_a_joint_cut_has_the_smaller_error():
    """Two CX with the same shots in all: 49 in place of 81."""
    circuit, errors = parallel(2, [("cx",), ("cx",)]), []
    for joint in (False, True):
        plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=joint)
        shots = 200_000 // plan.num_subexperiments
        estimator = CutEstimator(plan=plan, mode="sampled", shots=shots, seed=1)
        data = estimator.run([(circuit, "ZZZZ", np.zeros((100, 0)))]).result()[0].data
        errors.append(data.stds.mean())
    assert errors[1] < 0.95 * errors[0]


# -- gradients -------------------------------------------------------------------------


def test_gradients_are_unbiased():
    """Means over many repetitions are the exact derivatives, also at vanishing weights."""
    circuit, values = trained()
    plan = compile_plan(circuit, SUM, labels="AABB", joint_cuts=True)
    assert [len(bond.angles) for bond in plan.bonds] == [2, 1]
    estimator = CutEstimator(plan=plan, mode="sampled", shots=128, seed=3)
    rows = 40
    for point in (values, np.array([0.0, 0.15])):
        job = CutGradient(estimator).run([circuit] * rows, [SUM] * rows, [point] * rows)
        found = np.array(job.result().gradients)
        error = found.mean(axis=0) - derivative(circuit, SUM, point)
        assert np.abs(error * np.sqrt(rows) / found.std(axis=0, ddof=1)).max() < 4
        assert found.std(axis=0).max() < 1.5


def test_gradients_of_counts_lie_near_the_exact_derivative():
    circuit, values = trained()
    estimator = CutEstimator(labels="AABB", joint_cuts=True, shots=1024, seed=1)
    found = CutGradient(estimator).run([circuit], [SUM], [values]).result().gradients[0]
    np.testing.assert_allclose(found, derivative(circuit, SUM, values), atol=0.35)


def test_the_angles_of_a_joint_cut_cost_no_circuit():
    """Three free angles in one bond: the gradient runs the circuits of the value, no more."""
    angles = [Parameter(f"t{k}") for k in range(3)]
    circuit = parallel(3, [("rzz", angles[0]), ("rxx", 2 * angles[1]), ("rzx", angles[2])])
    estimator = CutEstimator(
        labels="AAABBB", joint_cuts=True, mode="sampled", shots=100_000, seed=1
    )
    observable, values = SparsePauliOp("ZZZZZZ"), np.array([0.4, 0.3, 1.2])
    found = CutGradient(estimator).run([circuit], [observable], [values]).result().gradients[0]
    np.testing.assert_allclose(found, derivative(circuit, observable, values), atol=0.05)
    plan = estimator.compile_for(circuit, observable).plan
    assert gates_of(plan) == [3]
    assert estimator.stages.subexperiments == plan.num_subexperiments
    sources = [r["source"] for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert sources == ["gradient"]


def test_a_module_with_joint_cuts_has_the_right_gradient():
    """Through torch, with inputs and weights that stand in one joint cut."""
    circuit, values = trained()
    slopes = []
    for mode in ("exact", "sampled"):
        module = cut_qnn(
            circuit,
            SUM,
            input_params=[A],
            weight_params=[B],
            labels="AABB",
            joint_cuts=True,
            mode=mode,
            shots=4000,
            seed=1,
            initial_weights=values[1:],
        ).double()
        assert gates_of(module.plan) == ([1, 1, 1] if mode == "exact" else [2, 1])
        x = torch.tensor(values[None, :1], requires_grad=True)
        module(x).sum().backward()
        slopes.append([x.grad.item(), module.weights.grad.item()])
    np.testing.assert_allclose(slopes[0], derivative(circuit, SUM, values), atol=1e-6)
    np.testing.assert_allclose(slopes[1], slopes[0], atol=0.15)


# -- which gates are cut as one --------------------------------------------------------


def groups(pairs, labels: str, name: str = "cx") -> list[tuple[tuple[int, int], ...]]:
    """The groups that gates on these pairs form, by their qubits."""
    circuit = QuantumCircuit(len(labels))
    for pair in pairs:
        getattr(circuit, name)(*pair)
    program, _ = read_circuit(circuit)
    between = [frozenset(labels[q] for q in step.qubits) for step in program.steps]
    crossing = [k for k, some in enumerate(between) if len(some) == 2]
    found = parallel_groups(program, crossing, [between[k] for k in crossing])
    return [tuple(step.qubits for step in group) for group in found]


def test_gates_in_different_layers_are_joined_where_neither_waits_for_the_other():
    """(1, 4) stands in the second layer, behind a gate inside its label."""
    assert groups([(0, 3), (1, 2), (1, 4)], "AAABB") == [((1, 2),), ((0, 3), (1, 4))]


def test_gates_that_depend_on_each_other_are_not_joined():
    """Through a shared qubit, or through gates inside a label."""
    assert groups([(0, 2), (0, 3)], "AABB") == [((0, 2),), ((0, 3),)]
    assert groups([(0, 2), (0, 1), (1, 3)], "AABB") == [((0, 2),), ((0, 1),), ((1, 3),)]
    # By another label: 0-2, then 2-4 inside B, then 1-4.
    assert [len(g) for g in groups([(0, 2), (2, 4), (1, 4)], "AABBB")] == [1, 1, 1]


def test_groups_that_leave_no_order_are_not_formed():
    """A1 stands before B1 and B2 before A2, so that not both pairs can be one cut."""
    a1, b1, b2, a2 = (0, 2), (0, 4), (1, 5), (1, 3)
    found = groups([a1, b1, b2, a2], "AABBCC")
    assert sorted(map(len, found)) == [1, 1, 2]
    assert sorted(pair for group in found for pair in group) == sorted([a1, b1, b2, a2])
    circuit = entangled([(0, 1), (2, 3), (4, 5)], 6)
    for pair in (a1, b1, b2, a2):
        circuit.cx(*pair)
        circuit.u(0.3, 0.5, 0.8, pair[0])
    assert_exact(rotated(circuit, 9), [], ["ZZZZZZ", "XIYXIZ"], labels="AABBCC")


def test_other_labels_are_never_joined():
    assert groups([(0, 2), (1, 4), (3, 5)], "AABBCC") == [((0, 2),), ((1, 4),), ((3, 5),)]


@pytest.mark.parametrize(("size", "expected"), [(1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_more_than_three_are_split(size, expected):
    found = groups([(k, size + k) for k in range(size)], "A" * size + "B" * size)
    assert list(map(len, found)) == expected


def test_groups_reach_over_any_number_of_layers():
    """(5, 2) comes two layers after the first gates and is joined with one of the second."""
    found = groups([(0, 3), (4, 1), (1, 2), (5, 2), (0, 4)], "AAABBB")
    assert found == [((0, 3), (4, 1)), ((1, 2),), ((0, 4), (5, 2))]


@pytest.mark.parametrize(
    "place",
    [
        lambda c, pair: c.swap(*pair),
        lambda c, pair: c.iswap(*pair),
        lambda c, pair: c.append(XXPlusYYGate(0.4), pair),
        lambda c, pair: c.rzz(0.0, *pair),
        lambda c, pair: c.append(Move(), pair),
    ],
    ids=["swap", "iswap", "xx_plus_yy", "identity", "move"],
)
def test_what_is_no_rotation_is_cut_on_its_own(place):
    """Gates of rank 4 or 1 and wires stand alone, beside CX that are joined."""
    circuit = rotated(QuantumCircuit(8), 1)
    circuit.reset([6, 7])
    for pair in ((0, 4), (1, 5)):
        circuit.cx(*pair)
    for pair in ((2, 6), (3, 7)):
        place(circuit, pair)
    plan = compile_plan(circuit, "Z" * 8, labels="AAAABBBB", joint_cuts=True)
    assert sorted(gates_of(plan)) == [1, 1, 2]
    assert [len(site.wires) for site in plan.fragments[0].sites] == gates_of(plan)


def test_a_cut_wire_is_cut_on_its_own():
    circuit = entangled([(0, 2), (1, 3)], 4)
    circuit.append(CutWire(), [0])
    circuit.append(CutWire(), [1])
    plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=True)
    assert sorted(gates_of(plan)) == [1, 1, 2]


def test_nothing_to_join_gives_the_plan_of_single_cuts():
    """Without labels, without parallel gates, or without being asked."""
    chain = entangled([(0, 1), (1, 2), (2, 3)], 4)
    marked = chain.copy()
    marked.append(CutWire(), [1])
    marked.cx(1, 2)
    for circuit, how in ((chain, {"labels": "AABC"}), (chain, {"cuts": 1}), (marked, {})):
        plans = [compile_plan(circuit, "ZZZZ", joint_cuts=j, **how) for j in (False, True)]
        assert plans[0].fingerprint == plans[1].fingerprint
        assert [plan.joint_cuts for plan in plans] == [False, True]
    plain = compile_plan(TWO, "ZZZZ", labels="AABB")
    assert gates_of(plain) == [1, 1]
    assert plain.fingerprint == compile_plan(TWO, "ZZZZ", labels="AABB").fingerprint
    assert plain.sampling_overhead == pytest.approx(9 * (1 + 2 * np.sin(0.55)) ** 2)


def shuffled(circuit: QuantumCircuit, rng: np.random.Generator) -> QuantumCircuit:
    """The same gates, neighbours without a common qubit exchanged many times."""
    data = list(circuit.data)
    for _ in range(20 * len(data)):
        k = rng.integers(len(data) - 1)
        if not set(data[k].qubits) & set(data[k + 1].qubits):
            data[k], data[k + 1] = data[k + 1], data[k]
    again = circuit.copy_empty_like()
    for instruction in data:
        again.append(instruction)
    return again


@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
@settings(max_examples=25, deadline=None)
def test_plans_do_not_depend_on_the_order_of_commuting_gates(seed, width):
    circuit, _, labels = random_circuit(seed, width)
    again = shuffled(circuit, np.random.default_rng(seed))
    plans = [compile_plan(c, "Z" * width, labels=labels, joint_cuts=True) for c in (circuit, again)]
    assert plans[0].fingerprint == plans[1].fingerprint


@given(st.integers(0, 2**32 - 1), st.integers(4, 10))
@settings(max_examples=40, deadline=None)
def test_reordered_steps_keep_the_order_of_every_qubit(seed, width):
    """Each step stands exactly once; a group is parallel, of one label pair, and at most three."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(width)
    for _ in range(6 * width):
        pair = [int(q) for q in rng.permutation(width)[:2]]
        circuit.cx(*pair) if rng.random() < 0.8 else circuit.h(pair[0])
    labels = "".join(rng.choice(list("AABBC"), width))
    steps = (program := read_circuit(circuit)[0]).steps
    pairs = [frozenset(labels[q] for q in step.qubits) for step in steps]
    crossing = [k for k, pair in enumerate(pairs) if len(pair) == 2 and rng.random() < 0.9]
    found = parallel_groups(program, crossing, [pairs[k] for k in crossing])
    number = {id(step): k for k, step in enumerate(steps)}
    order = [[number[id(step)] for step in group] for group in found]
    assert sorted(k for group in order for k in group) == list(range(len(steps)))
    for qubit in range(width):
        on_qubit = [k for group in order for k in group if qubit in steps[k].qubits]
        assert on_qubit == sorted(on_qubit)
    for group in order:
        assert len(group) <= MOST_JOINT
        qubits = [q for k in group for q in steps[k].qubits]
        assert len(qubits) == len(set(qubits)) or len(group) == 1
        assert len({pairs[k] for k in group}) == 1
        assert len(group) == 1 or set(group) <= set(crossing)


# -- estimators ------------------------------------------------------------------------


def test_the_exact_mode_cuts_one_by_one_and_is_exact():
    """joint_cuts, or a plan that has them, changes nothing without shots."""
    circuit, values = trained()
    observables = ["ZZZZ", "XIYI", SUM]
    plan = compile_plan(circuit, observables, labels="AABB", joint_cuts=True)
    bound = circuit.assign_parameters(values)
    expected = [exact(bound, o.paulis) @ o.coeffs.real for o in map(SparsePauliOp, observables)]
    for how in ({"labels": "AABB", "joint_cuts": True}, {"plan": plan}):
        estimator = CutEstimator(mode="exact", **how)
        data = estimator.run([(circuit, observables, values)]).result()[0].data
        np.testing.assert_allclose(data.evs, expected, atol=1e-9)
        assert not data.stds.any()
        found = CutGradient(estimator).run([circuit], [SUM], [values]).result().gradients[0]
        np.testing.assert_allclose(found, derivative(circuit, SUM, values), atol=1e-6)


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("joint", [False, True])
def test_a_plan_has_its_own_say(mode, joint):
    """An estimator cuts as its plan does, whatever `joint_cuts` says beside it."""
    plan = compile_plan(TWO, "ZZZZ", labels="AABB", joint_cuts=joint)
    for also in (False, True):
        estimator = CutEstimator(plan=plan, joint_cuts=also, mode=mode, shots=10, seed=1)
        estimator.run([(TWO, "ZZZZ")]).result()
        used = estimator.compile_for(TWO, "ZZZZ").plan
        assert used.fingerprint == plan.fingerprint
        assert estimator.stages.subexperiments == plan.num_subexperiments


def test_the_overhead_is_in_the_plan_and_in_the_record():
    """Two CX: 49 instead of 81, in the plan, its repr and the trace."""
    circuit = parallel(2, [("cx",), ("cz",)])
    for joint, overhead, bonds in ((False, 81, 2), (True, 49, 1)):
        plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=joint)
        assert plan.sampling_overhead == pytest.approx(overhead)
        assert (len(plan.bonds), plan.num_cuts) == (bonds, 2)
        assert "2 cuts, 2 fragments of widths (2, 2)" in repr(plan)
        assert repr(plan).endswith(f"sampling overhead {overhead})")
        estimator = CutEstimator(labels="AABB", joint_cuts=joint, shots=10, seed=1)
        estimator.run([(circuit, "ZZZZ")]).result()
        (record,) = [r for r in estimator.trace.records if r["kind"] == "compile"]
        assert record["sampling_overhead"] == pytest.approx(overhead)
        assert record["cuts"] == 2
    free = parallel(3, [("rzz", A), ("cx",), ("rxx", B)])
    plan = compile_plan(free, "ZZZZZZ", labels="AAABBB", joint_cuts=True)
    assert plan.sampling_overhead == pytest.approx(15**2)


def test_sampled_terms_of_joint_cuts_are_unbiased():
    z = standardised(
        parallel(3, [("cx",), ("ryy", 0.9), ("cz",)]),
        ["ZZZZZZ", SUM3],
        200,
        mode="sampled",
        labels="AAABBB",
        seed=6,
        shots=200,
        num_samples=300,
    )
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(200)
    assert np.all(z.std(axis=0) < 1.15)
    assert np.all(z.std(axis=0) > 0.8)
