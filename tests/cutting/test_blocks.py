"""Runs of gates on two qubits: the operation of their gates, at the price of its cheapest form."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import qasm2, qasm3
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import (
    CU3Gate,
    XXMinusYYGate,
    XXPlusYYGate,
    get_standard_gate_name_mapping,
    real_amplitudes,
    zz_feature_map,
)
from qiskit.quantum_info import SparsePauliOp
from support.circuits import rotated
from support.exact import derivative, exact

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.circuits.instructions import STANDARD
from pilotcut.circuits.program import Angle, AngleSum, Step, read_circuit
from pilotcut.cutting.basis import harmonics, transfer_matrix, weighted
from pilotcut.cutting.gate_turns import turns_of
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.product_basis import PAULIS, Turn, pauli, product_basis, turned

P = ParameterVector("p", 8)
CS = 3 + 2 * sqrt(2)  # gamma^2 of CS and of CZ**0.5: (1 + sqrt(2))^2


def between(place, width: int = 2) -> QuantumCircuit:
    """Gates between random rotations."""
    circuit = rotated(QuantumCircuit(width), 1)
    place(circuit)
    return rotated(circuit, 2)


def observable(width: int) -> SparsePauliOp:
    mixed = "X" * (width // 2) + "Y" * (width - width // 2)
    return SparsePauliOp.from_list(
        [("Z" * width, 1.0), (mixed, 0.6), ("Y" + "I" * (width - 1), 0.3)]
    )


def assert_exact(circuit: QuantumCircuit, labels: str, seed: int = 0):
    """Values and gradients of the exact mode are those of the uncut circuit; returns the plan."""
    what = observable(circuit.num_qubits)
    values = np.random.default_rng(seed).uniform(-3, 3, circuit.num_parameters)
    estimator = CutEstimator(labels=labels, mode="exact")
    found = estimator.run([(circuit, what, values)]).result()[0].data.evs
    bound = circuit.assign_parameters(values)
    assert found == pytest.approx(exact(bound, what.paulis) @ what.coeffs.real, abs=1e-10)
    if len(values):
        slopes = CutGradient(estimator).run([circuit], [what], [values]).result().gradients[0]
        np.testing.assert_allclose(slopes, derivative(circuit, what, values), atol=1e-6)
    return estimator.compile_for(circuit, what).plan


def both(place):
    """The same on the qubits the other way round."""
    return lambda circuit: circuit.compose(_pair(place), [1, 0], inplace=True)


def _pair(place) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    place(circuit)
    return circuit


#: Runs, and what they cost; None where only that they are exact is said.
RUNS = {
    "rzz": (lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 1)), 9),
    "rzz turned": (lambda c: (c.cx(0, 1), c.h(0), c.rz(P[0], 1), c.h(0), c.cx(0, 1)), 9),
    "barriers": (lambda c: (c.cx(0, 1), c.barrier(), c.rz(P[0], 1), c.barrier(), c.cx(0, 1)), 9),
    "zy": (lambda c: (c.cx(0, 1), c.ry(P[0], 1), c.cx(0, 1)), 9),
    "local": (lambda c: (c.cx(0, 1), c.rx(P[0], 1), c.u(P[1], P[0], 0.2, 0)), 9),
    "nothing": (lambda c: (c.cx(0, 1), c.rx(P[0], 1), c.cx(0, 1)), 1),
    "sum": (lambda c: (c.rzz(P[0], 0, 1), c.rz(P[2], 0), c.rzz(P[0] * P[1], 1, 0)), 9),
    "with bound": (lambda c: (c.cz(0, 1), c.rzz(P[0], 0, 1), c.cp(0.3, 0, 1)), 9),
    "difference": (lambda c: (c.rxx(P[0], 0, 1), c.rx(0.4, 0), c.rxx(-P[0], 0, 1)), 9),
    "xx+yy": (lambda c: c.append(XXPlusYYGate(P[0], P[1]), [0, 1]), 49),
    "xx-yy": (lambda c: c.append(XXMinusYYGate(2 * P[0], 0.3), [0, 1]), 49),
    "cu": (lambda c: c.cu(P[0], P[1], 0.3 - P[0], P[2], 0, 1), 36),
    "cu, one bound": (lambda c: c.cu(0.4, P[1], P[0], 0.2, 0, 1), None),
    "u between": (lambda c: (c.cx(0, 1), c.u(P[0], P[1], P[2], 1), c.cx(0, 1)), 36),
    "heisenberg": (lambda c: (c.rxx(P[0], 0, 1), c.ryy(P[0], 0, 1), c.rzz(P[1], 0, 1)), 78.744),
    "swap": (lambda c: (c.swap(0, 1), c.rzz(P[0], 0, 1)), (2 + 4 * sqrt(2) + 1) ** 2),
    "stays": (lambda c: (c.rzz(P[0], 0, 1), c.rx(P[1], 0), c.rzz(P[2], 0, 1)), 81),
    "bound": (lambda c: (c.cx(0, 1), c.rz(0.3, 1), c.cx(0, 1)), (1 + 2 * np.sin(0.3)) ** 2),
    "two iswaps": (lambda c: (c.iswap(0, 1), c.iswap(0, 1)), 1),
    "three cx": (lambda c: (c.cx(0, 1), c.ry(1, 0), c.cx(1, 0), c.ry(0.3, 1), c.cx(0, 1)), None),
    "r, u2, p": (lambda c: (c.cz(0, 1), c.r(P[0], P[1], 0), c.p(P[2], 1), c.cz(1, 0)), None),
    "crx, cu3": (lambda c: (c.crx(P[0], 0, 1), c.ry(P[1], 1), c.cry(P[2], 1, 0)), None),
}


@pytest.mark.parametrize("turn", [lambda place: place, both], ids=["01", "10"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_exact_and_has_its_price(name, turn):
    place, price = RUNS[name]
    plan = assert_exact(between(turn(place)), "AB")
    if price is not None:
        assert plan.sampling_overhead == pytest.approx(price, rel=1e-4)


def test_a_zz_feature_map_costs_a_rotation_for_each_of_its_products():
    """Its angles are 2 (pi - x)(pi - y), between two CX of the same qubits."""
    circuit = zz_feature_map(4, reps=2, entanglement="linear")
    plan = assert_exact(circuit, "AABB")
    assert plan.sampling_overhead == pytest.approx(81)
    assert plan.num_cuts == 2
    assert [bond.gate for bond in plan.bonds] == ["cx+cx"] * 2


def test_a_square_root_of_cz_as_cirq_writes_it():
    """A run of CX and rotations with bound angles."""
    text = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2];
    u3(pi*0.5,0,pi*0.25) q[0]; u3(pi*0.5,0,pi*1.25) q[1]; sx q[0]; cx q[0],q[1];
    rx(pi*0.25) q[0]; ry(pi*0.5) q[1]; cx q[1],q[0]; sxdg q[1]; s q[1]; cx q[0],q[1];
    u3(pi*0.5,pi*1.0,pi*1.0) q[0]; u3(pi*0.5,pi*0.5,pi*1.0) q[1];"""
    circuit = qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    assert compile_plan(circuit, labels="AB").sampling_overhead == pytest.approx(CS)
    assert_exact(rotated(circuit, 3), "AB")


NATIVE = ("cs", "csdg", "rzx", "ryy", "iswap", "xx_plus_yy", "xx_minus_yy", "csx", "ecr", "dcx")


def through_qasm3(circuit: QuantumCircuit) -> QuantumCircuit:
    return qasm3.loads(qasm3.dumps(circuit))


def through_qasm2(circuit: QuantumCircuit) -> QuantumCircuit:
    text = qasm2.dumps(circuit)
    return qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)


@pytest.mark.parametrize("name", [*NATIVE, "cu", "cp", "crx", "rxx", "swap"])
@pytest.mark.parametrize("load", [through_qasm2, through_qasm3])
def test_gates_that_a_loader_writes_out_cost_what_they_are(name, load):
    """Bound, and with free angles where the language has them."""
    kind = get_standard_gate_name_mapping()[name].base_class
    size = len(get_standard_gate_name_mapping()[name].params)
    for free in (False, True) if size and load is through_qasm3 else (False,):
        circuit = QuantumCircuit(2)
        angles = P[:size] if free else (0.4, 0.3, 1.1, 0.6)[:size]
        circuit.append(kind(*angles), [1, 0])
        plans = [compile_plan(one, labels="AB") for one in (circuit, load(circuit))]
        assert plans[1].sampling_overhead == pytest.approx(plans[0].sampling_overhead)
        assert plans[1].num_variants == plans[0].num_variants
        assert_exact(rotated(load(circuit), 5), "AB")


def test_a_run_is_divided_where_its_parts_are_cheaper():
    """As one product they were dearer: 146 and 441."""
    for place, overhead in (
        (lambda c: (c.cx(0, 1), c.cx(1, 0), c.crz(P[0], 1, 0)), 81),
        (lambda c: (c.rxx(P[0], 0, 1), c.append(CU3Gate(P[1], 0.4, P[2]), [1, 0])), 9 * 36),
    ):
        plan = assert_exact(between(place), "AB", 3)
        assert plan.sampling_overhead <= overhead * (1 + 1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_run_is_exact_and_no_dearer_than_its_gates(seed):
    """Random gates on two qubits, bound and free, angles repeated."""
    rng = np.random.default_rng(seed)
    circuit = rotated(QuantumCircuit(2), seed)
    price = 1.0
    for _ in range(rng.integers(1, 6)):
        name = rng.choice(["cx", "cz", "rzz", "rxx", "crz", "iswap", "ry", "rz", "h", "cp"])
        size = 1 if name in ("ry", "rz", "h") else 2
        angle = P[int(rng.integers(3))] if rng.random() < 0.5 else float(rng.uniform(-2, 2))
        one = QuantumCircuit(2)
        free = [angle] if name in ("rzz", "rxx", "crz", "cp", "ry", "rz") else []
        getattr(one, name)(*free, *rng.permutation(2)[:size].tolist())
        price *= compile_plan(one, labels="AB").sampling_overhead
        circuit.compose(one, inplace=True)
    plan = assert_exact(rotated(circuit, seed + 1), "AB", seed)
    assert plan.sampling_overhead <= price * (1 + 1e-6)


@pytest.mark.parametrize("mode", ["sampled", "counts"])
@pytest.mark.parametrize("name", ["rzz", "xx+yy", "cu", "heisenberg", "sum"])
def test_errors_with_shots_are_of_unit_spread(name, mode):
    """z-scores of values, and gradients near those of the uncut circuit."""
    circuit = between(RUNS[name][0])
    what, rng = observable(2), np.random.default_rng(3)
    rows = 40 if mode == "sampled" else 16
    values = rng.uniform(-2, 2, (rows, circuit.num_parameters))
    estimator = CutEstimator(labels="AB", mode=mode, shots=1000, seed=5)
    data = estimator.run([(circuit, what, values)]).result()[0].data
    want = [exact(circuit.assign_parameters(v), what.paulis) @ what.coeffs.real for v in values]
    z = (data.evs - np.array(want)) / data.stds
    assert abs(z.mean()) < 4 / sqrt(len(z))
    assert 0.6 < z.std() < 1.5
    slopes = CutGradient(estimator).run([circuit], [what], [values[0]]).result().gradients[0]
    np.testing.assert_allclose(slopes, derivative(circuit, what, values[0]), atol=0.5)


# -- what is a run ---------------------------------------------------------------------


def test_a_wire_cut_within_a_run_parts_it():
    """The gates before and behind it are two runs, or lie within a fragment."""
    circuit = between(lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 1)))
    parted = Placement(("A", "B"), (WireCut(1, 2, "C"),))  # rotation, cx | rz, cx, rotation
    plan = compile_plan(circuit, "ZZ", placement=parted)
    assert [bond.gate for bond in plan.bonds] == ["cx", "cut_wire", "cx"]
    same = Placement(("A", "B"), (WireCut(1, 4, "C"),))
    assert [b.gate for b in compile_plan(circuit, "ZZ", placement=same).bonds] == [
        "cx+cx",
        "cut_wire",
    ]
    values = [0.7]
    want = exact(circuit.assign_parameters(values), ["ZY"])
    for placement in (parted, same):
        estimator = CutEstimator(
            plan=compile_plan(circuit, "ZY", placement=placement), mode="exact"
        )
        found = estimator.run([(circuit, "ZY", values)]).result()[0].data.evs
        assert found == pytest.approx(want[0], abs=1e-10)


def test_a_reset_or_a_third_qubit_ends_a_run():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.reset(1)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    plan = compile_plan(circuit, "ZZZ", labels="ABB")
    assert [bond.gate for bond in plan.bonds] == ["cx"] * 3


def test_the_layout_has_every_gate_with_its_bond():
    circuit = between(lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 1), c.h(1), c.rzz(P[1], 0, 1)))
    plan = compile_plan(circuit, "ZZ", labels="AB")
    assert plan.num_cuts == len(plan.bonds)
    pairs = [item for item in plan.layout if len(item.qubits) == 2]
    assert [item.name for item in pairs] == ["cx", "cx", "rzz"]
    assert {item.bond for item in pairs} == set(range(len(plan.bonds)))
    gone = compile_plan(between(lambda c: (c.cx(0, 1), c.cx(0, 1))), "ZZ", labels="AB")
    assert [item.bond for item in gone.layout if len(item.qubits) == 2] == [None, None]
    assert (gone.num_cuts, gone.sampling_overhead) == (0, 1)


def test_gates_within_a_fragment_stay_as_they_are():
    circuit = between(lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 1), c.cx(1, 2)), 3)
    plan = compile_plan(circuit, "ZZZ", labels="AAB")
    names = [step.name for step in plan.fragments[0].steps if isinstance(step, Step)]
    assert names.count("cx") == 2


def test_runs_that_are_one_rotation_are_cut_jointly():
    """Two parallel CX RZ CX are 49 and not 81, and exact."""

    def place(c):
        for a, b in ((0, 2), (1, 3)):
            c.cx(a, b)
            c.rz(P[a], b)
            c.cx(a, b)

    circuit = between(place, 4)
    plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=True)
    assert [(bond.gate, bond.gates) for bond in plan.bonds] == [("cx+cx+cx+cx", 2)]
    assert plan.num_cuts == 2
    assert plan.sampling_overhead == pytest.approx(49)
    values = [0.4, 1.1]
    estimator = CutEstimator(plan=plan, mode="sampled", shots=200_000, seed=2)
    data = estimator.run([(circuit, "ZYXZ", values)]).result()[0].data
    want = exact(circuit.assign_parameters(values), ["ZYXZ"])[0]
    assert data.evs == pytest.approx(want, abs=5 * float(data.stds))


def test_two_qubits_with_many_free_rotations():
    """Real amplitudes of three layers: three CX and rotations between."""
    plan = assert_exact(real_amplitudes(2, reps=3), "AB")
    assert plan.sampling_overhead == pytest.approx(441)


# -- the pieces ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [g.name for g in STANDARD.values() if g.params])
def test_every_parametrised_gate_is_the_product_of_its_turns(name):
    gate = next(g for g in STANDARD.values() if g.name == name)
    values = np.array([0.7, -0.4, 1.1, 0.3][: len(gate.params)])
    qubits = tuple(range(gate.num_qubits))
    angles = tuple(Angle(k) for k in range(len(values)))
    product = np.eye(2**gate.num_qubits)
    for paulis, angle in turns_of(Step(gate, qubits, angles)):
        generator = SparsePauliOp(paulis[::-1]).to_matrix()
        product = turned(generator, float(angle.of(values[None])[0])) @ product
    want = np.asarray(gate.base_class(*values).to_matrix())
    assert abs(np.trace(want.conj().T @ product)) == pytest.approx(len(want))


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_the_basis_of_a_product_adds_up_to_its_rotations(free):
    """Both bases, any axes; gamma^2 is the worst."""
    rng = np.random.default_rng(free)
    axes = rng.normal(size=(3, 2, 3))
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    angles = rng.uniform(-3, 3, 3)
    turns = tuple(
        Turn((tuple(a), tuple(b)), None if k < free else angles[k]) for k, (a, b) in enumerate(axes)
    )
    basis = product_basis(turns)
    matrix = np.eye(4)
    for (a, b), angle in zip(axes, angles, strict=True):
        matrix = turned(np.kron(pauli(a), pauli(b)), angle) @ matrix
    weights = [harmonics(x[None]) for x in angles[:free]]
    halves = [harmonics(x[None] / 2) for x in angles[:free]]
    bond = weighted(basis.coefficients, weights)[0]
    maps = [np.array([transfer_matrix(op) for op in side]) for side in basis.operations]
    found = np.einsum("ij,iab,jcd->acbd", bond, *maps).reshape(16, 16)
    paulis = np.array([np.kron(p, q) for p in PAULIS for q in PAULIS])
    want = np.einsum("pab,bc,qcd,ad->pq", paulis, matrix, paulis, matrix.conj()).real / 4
    np.testing.assert_allclose(found, want, atol=1e-12)
    amplitudes = weighted(basis.amplitudes, halves)[0]
    coherent = np.einsum("r,rab,rcd->acbd", amplitudes, *basis.branches).reshape(4, 4)
    np.testing.assert_allclose(coherent, matrix, atol=1e-12)
    assert np.abs(bond).sum() ** 2 <= basis.overhead + 1e-9


def test_sums_of_angles_forget_what_cancels():
    angle = AngleSum.over(
        [(Angle(1, 0.5, 0.1), 2.0), (Angle(1), -1.0), (Angle(0), 3.0), (0.2, 1.0)]
    )
    assert angle == AngleSum(((0, 3.0),), 0.4)
    np.testing.assert_allclose(angle.of(np.array([[1.0, 5.0], [2.0, 6.0]])), [3.4, 6.4])


def test_steps_of_equal_runs_have_their_own_angles():
    """One form serves both, and each has its slots."""
    circuit = QuantumCircuit(4)
    for pair, angle in (((0, 2), P[0]), ((3, 1), P[1])):
        circuit.cx(*pair)
        circuit.rz(2 * angle + 0.1, pair[1])
        circuit.cx(*pair)
    program, _ = read_circuit(circuit)
    plan = compile_plan(circuit, "ZZZZ", labels="AABB")
    slots = [slot for bond in plan.bonds for angle in bond.angles for slot, _ in angle.terms]
    assert sorted(slots) == list(range(program.num_slots))
