"""Plans with gate and wire cuts together: cut equals uncut, and placements are checked."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.placement import Placement, WireCut, labels_of_steps
from pilotcut.errors import CutError
from pilotcut.primitives.probabilities import reconstruct_probabilities

GATES = ("cx", "rzz", "crx", "swap")


def random_circuit(seed: int, width: int, gates: int) -> QuantumCircuit:
    """Gates of several kinds on random pairs, rotations between, two angles free."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(width)
    for k in range(gates):
        a, b = map(int, rng.choice(width, 2, replace=False))
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), a)
        name = GATES[rng.choice(4, p=(0.5, 0.2, 0.2, 0.1))]
        angle = [Parameter(f"t{k}") if k % 3 else 0.8] if name in ("rzz", "crx") else []
        getattr(circuit, name)(*angle, a, b)
    circuit.ry(0.4, width - 1)
    return circuit


def random_placement(seed: int, circuit: QuantumCircuit, wire_cuts: int) -> Placement:
    """Two or three labels, and wire cuts anywhere, the ends of qubits included."""
    rng = np.random.default_rng(seed)
    program, _ = read_circuit(circuit)
    steps = Counter(q for step in program.steps for q in step.qubits)
    places = [(q, k) for q in range(program.num_qubits) for k in range(steps[q] + 1)]
    chosen = rng.choice(len(places), min(wire_cuts, len(places)), replace=False)
    cuts = tuple(WireCut(*places[k], "ABC"[rng.integers(3)]) for k in sorted(chosen))
    return Placement(tuple("AB"[k] for k in rng.integers(2, size=program.num_qubits)), cuts)


def bound_values(circuit: QuantumCircuit, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, circuit.num_parameters)


OBSERVABLE = SparsePauliOp(["ZZZZ", "XIYI", "IZXZ"], [1.0, 0.5, -0.7])


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 2), st.booleans())
@settings(max_examples=30, deadline=None)
def test_cut_equals_uncut_with_gate_and_wire_cuts(seed, gates, wire_cuts, joint):
    """Random circuits under random placements: the exact mode gives the statevector's value."""
    circuit = random_circuit(seed, 4, gates)
    placement = random_placement(seed + 1, circuit, wire_cuts)
    plan = compile_plan(circuit, OBSERVABLE, placement=placement, joint_cuts=joint)
    values = bound_values(circuit, seed)
    estimator = CutEstimator(plan=plan, mode="exact")
    try:
        found = estimator.run([(circuit, OBSERVABLE, values)]).result()[0].data.evs
    except CutError as error:  # seven strong cuts may be too many
        assume("branch pairs" not in str(error))
        raise
    state = Statevector(circuit.assign_parameters(values))
    assert found == pytest.approx(state.expectation_value(OBSERVABLE).real, abs=1e-8)
    assert sum(bond.gate == "cut_wire" for bond in plan.bonds) == len(placement.wire_cuts)


@pytest.mark.parametrize("joint", [False, True])
def test_shots_of_a_plan_with_wire_cuts_agree_with_the_uncut_value(joint):
    """The physical operations, jointly cut gates included, give the value within its error."""
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(0.3 + 0.4 * qubit, qubit)
    circuit.cx(0, 2)
    circuit.cx(1, 3)
    circuit.rx(0.7, 1)
    circuit.cx(0, 1)
    circuit.ry(0.5, 1)
    circuit.cx(1, 3)
    placement = Placement(("A", "A", "B", "B"), (WireCut(1, 4, "B"),))
    plan = compile_plan(circuit, OBSERVABLE, placement=placement, joint_cuts=joint)
    assert sorted(bond.gate for bond in plan.bonds) == (
        ["cut_wire", "cx+cx"] if joint else ["cut_wire", "cx", "cx"]
    )
    estimator = CutEstimator(plan=plan, mode="sampled", shots=4000, seed=5)
    data = estimator.run([(circuit, OBSERVABLE)]).result()[0].data
    exact = Statevector(circuit).expectation_value(OBSERVABLE).real
    assert abs(data.evs - exact) < 5 * data.stds


def test_a_wire_cut_is_what_a_marker_is():
    """The same fragments as from a CutWire in the circuit, and the same tensors."""
    plain, marked = QuantumCircuit(3), QuantumCircuit(3)
    for circuit in (plain, marked):
        circuit.h(0)
        circuit.cx(0, 1)
        if circuit is marked:
            circuit.append(CutWire(), [1])
        circuit.ry(0.3, 1)
        circuit.cx(1, 2)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"),))
    one = compile_plan(plain, "ZZZ", placement=placement)
    two = compile_plan(marked, "ZZZ")
    prints = [sorted(f.fingerprint for f in plan.fragments) for plan in (one, two)]
    assert prints[0] == prints[1]
    assert one.labels == ("A", "B", "B")
    assert one.requested == placement
    assert one.sampling_overhead == pytest.approx(9)


def test_a_qubit_that_returns_takes_its_old_place():
    """Two wire cuts bring a qubit back: its fragment has a wire more, but not a qubit more."""
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"), WireCut(1, 2, "A")))
    plan = compile_plan(circuit, "ZZZ", placement=placement)
    assert plan.widths == (2, 2)
    assert [fragment.num_wires for fragment in plan.fragments] == [3, 2]
    assert [bond.gate for bond in plan.bonds] == ["cut_wire", "cut_wire"]


def test_labels_of_steps_follow_the_wire_cuts():
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    circuit.rx(0.2, 1)
    circuit.cx(0, 1)
    program, _ = read_circuit(circuit)
    placement = Placement(("A", "B"), (WireCut(1, 2, "A"),))
    assert labels_of_steps(placement, program) == [("A", "B"), ("B",), ("A", "A")]


def test_distributions_keep_the_wire_cuts():
    """The final bits of a plan with a wire cut are those of the uncut circuit."""
    circuit = random_circuit(3, 4, 4).assign_parameters([], inplace=False)
    circuit = circuit.assign_parameters(bound_values(circuit, 1))
    plan = compile_plan(circuit, placement=random_placement(4, circuit, 2))
    expected = Statevector(circuit).probabilities()
    np.testing.assert_allclose(reconstruct_probabilities(plan), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        (Placement(("A",)), "'A' name 1 qubit, expected 2"),
        (Placement(("A", "B"), (WireCut(2, 0, "A"),)), "qubit 2, expected a qubit from 0 to 1"),
        (Placement(("A", "B"), (WireCut(1, 2, "A"),)), "after 2 steps, expected 0 to 1"),
        (Placement(("A", "B"), (WireCut(0, 1, "A"), WireCut(0, 1, "B"))), "cut 2 times after 1"),
    ],
)
def test_placements_that_do_not_fit_are_refused(placement, message):
    """One line: which cut, what was found and what would be right."""
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    with pytest.raises(CutError, match=message) as error:
        compile_plan(circuit, "ZZ", placement=placement)
    assert "\n" not in str(error.value)


def test_placements_are_values():
    """Equal placements are equal and hash alike, and travel by pickle."""
    one, two = (Placement(("A", "B"), (WireCut(1, 2, "A"),)) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_placement_comes_back_from_its_record():
    """As JSON, with what else a record has beside it."""
    placement = Placement(("A", "F26"), (WireCut(1, 3, "A"), WireCut(0, 0, "B")), 7)
    record = json.loads(json.dumps({"cuts": 2, **placement.to_dict()}))
    assert Placement.of_dict(record) == placement
