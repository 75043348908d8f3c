"""Gates gathered past those that they commute with: the same effect, and fewer runs to cut."""

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit.synthesis import synth_qft_full
from qiskit_addon_cutting.instructions import CutWire
from support.circuits import rotated
from support.dynamic import dynamic
from support.exact import derivative, exact

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.circuits import program as program_module
from pilotcut.circuits.instructions import STANDARD
from pilotcut.circuits.program import Angle, Program, read_circuit

P = ParameterVector("p", 6)
STANDARD_GATES = get_standard_gate_name_mapping()


def pairs_of(circuit: QuantumCircuit) -> list[tuple[int, ...]]:
    """Qubits of the steps on several qubits, in the program's order."""
    steps = read_circuit(circuit)[0].steps
    return [tuple(sorted(step.qubits)) for step in steps if len(step.qubits) > 1]


def operator_of(program: Program, slots: np.ndarray) -> np.ndarray:
    """Matrix of a program's steps at slot values (slots,)."""
    circuit = QuantumCircuit(program.num_qubits)
    for step in program.steps:
        angles = [float(p.of(slots[None])[0]) if isinstance(p, Angle) else p for p in step.params]
        circuit.append(step.gate_with(angles), step.qubits)
    return Operator(circuit).data


def any_gates(rng: np.random.Generator, width: int = 0) -> QuantumCircuit:
    """Up to 30 of a few kinds of gates on 3 to 5 qubits, each free angle another parameter."""
    names = [name for name, gate in STANDARD_GATES.items() if gate.base_class in STANDARD]
    few = rng.choice([*names, "ccx", "ccz", "cswap"], 5)
    common = ["cx", "cz", "rzz", "rxx", "crz", "rz", "rx", "rzx"]
    kinds = [STANDARD_GATES[name] for name in [*few, *common]]
    width = width or int(rng.integers(3, 6))
    circuit = QuantumCircuit(width)
    free = iter(ParameterVector("t", 120))
    for k in rng.integers(0, len(kinds), int(rng.integers(5, 30))):
        gate = kinds[k].base_class(*(next(free) for _ in kinds[k].params))
        circuit.append(gate, rng.permutation(width)[: gate.num_qubits].tolist())
    return circuit


@pytest.mark.parametrize("seed", range(60))
def test_the_operation_stays_the_same(seed):
    """Whatever has moved: up to its phase the program is the circuit, with its own angles."""
    rng = np.random.default_rng(seed)
    circuit = any_gates(rng)
    program, binding = read_circuit(circuit)
    values = rng.uniform(-3, 3, circuit.num_parameters)
    found = operator_of(program, binding.slots(values[None])[0])
    want = Operator(circuit.assign_parameters(values)).data
    assert abs(np.vdot(found, want)) == pytest.approx(2**circuit.num_qubits)


#: Gates on qubits 0 and 1 with one of 2 between them, the overhead, and labels.
GATHERED = {
    "rzz": (lambda c: (c.rzz(P[0], 0, 1), c.rzz(P[1], 1, 2), c.rzz(P[2], 0, 1)), 9, "ABBB"),
    "control": (lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 2), c.cx(0, 1)), 9, "ABAA"),
    "target": (lambda c: (c.cx(0, 1), c.rx(P[0], 1), c.cx(2, 1), c.cx(0, 1)), 1, "ABBB"),
    "phases": (lambda c: (c.cp(P[0], 0, 1), c.crz(P[1], 1, 2), c.t(1), c.cz(1, 0)), 9, "ABBB"),
    "three": (lambda c: (c.cz(0, 1), c.rzz(P[0], 2, 1), c.ccz(1, 2, 3), c.cz(0, 1)), 1, "ABBB"),
    "x axis": (lambda c: (c.rxx(P[0], 0, 1), c.cx(2, 1), c.rxx(P[1], 0, 1)), 9, "ABBB"),
    "a run": (
        lambda c: (c.cx(0, 1), c.rz(P[0], 1), c.cx(0, 1), c.rzz(P[1], 1, 2), c.cz(1, 0)),
        9,
        "ABBB",
    ),
    "from the front": (lambda c: (c.rzz(P[0], 0, 1), c.cz(1, 2), c.rxx(P[1], 0, 1)), 49, "ABBB"),
}


@pytest.mark.parametrize("name", GATHERED)
def test_gathered_gates_are_cut_as_one(name):
    """At the price of the run that they come to; values and gradients are those of the circuit."""
    place, overhead, labels = GATHERED[name]
    circuit = rotated(QuantumCircuit(4), 1)
    place(circuit)
    circuit = rotated(circuit, 2)
    what = SparsePauliOp.from_list([("ZZZZ", 1.0), ("XYXI", 0.6), ("IIYX", 0.4)])
    assert compile_plan(circuit, what, labels=labels).sampling_overhead == pytest.approx(overhead)
    values = np.random.default_rng(0).uniform(-3, 3, circuit.num_parameters)
    estimator = CutEstimator(labels=labels, mode="exact")
    found = estimator.run([(circuit, what, values)]).result()[0].data.evs
    bound = circuit.assign_parameters(values)
    assert found == pytest.approx(exact(bound, what.paulis) @ what.coeffs.real, abs=1e-10)
    if len(values):
        slopes = CutGradient(estimator).run([circuit], [what], [values]).result().gradients[0]
        np.testing.assert_allclose(slopes, derivative(circuit, what, values), atol=1e-6)


def overhead_as_written(circuit: QuantumCircuit, labels: str, monkeypatch, **how) -> float:
    with monkeypatch.context() as patch:
        patch.setattr(program_module, "gathered", lambda steps: steps)
        return compile_plan(circuit, labels=labels, **how).sampling_overhead


def test_a_run_is_not_torn_apart(monkeypatch):
    """The first CX of the run commutes with all in front; moved alone it would leave two cuts."""
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.h(1)
    circuit.cx(2, 1)
    circuit.cx(0, 1)
    circuit.rz(0.3, 1)
    circuit.cx(0, 1)
    overhead = compile_plan(circuit, labels="ABC").sampling_overhead
    assert overhead == pytest.approx(9 * 9 * (1 + 2 * np.sin(0.3)) ** 2)
    assert overhead == pytest.approx(overhead_as_written(circuit, "ABC", monkeypatch))


def test_nothing_moves_where_nothing_is_gained():
    """A QAOA ring: RZZ RX RZZ stay two rotations, and moved they would forbid joint cuts."""
    circuit = QuantumCircuit(4)
    for layer in range(2):
        for a in range(4):
            circuit.rzz(P[layer], a, (a + 1) % 4)
        circuit.rx(P[2 + layer], range(4))
    assert pairs_of(circuit) == [(0, 1), (1, 2), (2, 3), (0, 3)] * 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("joint", [False, True])
def test_no_circuit_costs_more_than_as_it_is_written(seed, joint, monkeypatch):
    rng = np.random.default_rng(seed)
    circuit = any_gates(rng)
    labels = "".join(rng.choice(["A", "B", "C"], circuit.num_qubits))
    written = overhead_as_written(circuit, labels, monkeypatch, joint_cuts=joint)
    plan = compile_plan(circuit, labels=labels, joint_cuts=joint)
    assert plan.sampling_overhead <= written * (1 + 1e-9)


def test_a_qft_and_its_inverse_meet(monkeypatch):
    """Phases commute, so that those of one pair cancel: 36 times fewer shots."""
    circuit = synth_qft_full(4, do_swaps=False)
    circuit = circuit.compose(circuit.inverse())
    assert overhead_as_written(circuit, "AABB", monkeypatch) == pytest.approx(11969.26, rel=1e-4)
    assert compile_plan(circuit, labels="AABB").sampling_overhead < 331


@pytest.mark.parametrize("seed", range(6))
def test_moved_past_measurements_and_conditions_the_values_stay(seed):
    """Resets, measurements and controlled gates between gates that move, shared parameters."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(4, 2)
    gates = any_gates(rng, 4)
    shared = dict.fromkeys(gates.parameters, 0)
    gates = gates.assign_parameters({p: P[k % 3] for k, p in enumerate(shared)})
    for k, instruction in enumerate(gates.data[:9]):
        circuit.append(instruction.operation, [gates.find_bit(q).index for q in instruction.qubits])
        if k % 4 == 1:
            circuit.reset(int(rng.integers(4)))
            # What is measured and what it controls lie in one fragment.
            circuit.measure(int(rng.integers(2)), k // 4 % 2)
            circuit.barrier()
            with circuit.if_test((circuit.clbits[k // 4 % 2], 1)):
                circuit.rx(P[3], int(rng.integers(2)))
    circuit.ry(0.3, range(4))
    paulis = ["ZZZZ", "XYXI", "IIYX"]
    values = rng.uniform(-3, 3, circuit.num_parameters)
    estimator = CutEstimator(labels="AABB", mode="exact")
    found = estimator.run([(circuit, paulis, values)]).result()[0].data.evs
    np.testing.assert_allclose(found, dynamic(circuit, paulis, values), atol=1e-10)


def controlled(circuit: QuantumCircuit):
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rz(0.3, 1)


#: What stands on qubit 1 between two CZ of qubits 0 and 1.
IN_THE_WAY = {
    "other axis": lambda c: c.cx(2, 1),
    "behind another": lambda c: (c.cz(1, 2), c.h(1)),
    "no axis": lambda c: c.swap(1, 2),
    "reset": lambda c: (c.cz(1, 2), c.reset(1)),
    "measured": lambda c: (c.cz(1, 2), c.measure(1, 0), controlled(c)),
    "controlled": lambda c: (c.measure(2, 0), c.cz(1, 2), controlled(c)),
    "marker": lambda c: (c.cz(1, 2), c.append(CutWire(), [1])),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_does_not_commute_stays_between(name):
    """Neither gate passes it."""
    circuit = QuantumCircuit(3, 1)
    circuit.cz(0, 1)
    IN_THE_WAY[name](circuit)
    circuit.cz(0, 1)
    assert pairs_of(circuit) == [(0, 1), (1, 2), (0, 1)]


def test_a_run_goes_on_over_all_that_commutes():
    """A star of CX with one control: as many runs as targets, each CX of a run behind the other."""
    circuit = QuantumCircuit(5)
    for k in range(20):
        circuit.cx(0, 1 + k % 4)
    order = pairs_of(circuit)
    assert order == [(0, target) for target in range(1, 5) for _ in range(5)]


def test_the_order_of_gates_on_other_qubits_does_not_matter():
    """Circuits that a pass of the transpiler makes of each other have one program."""
    one, other = QuantumCircuit(4), QuantumCircuit(4)
    one.rzz(P[0], 0, 1)
    one.rzz(P[1], 2, 3)
    one.rzz(P[2], 1, 2)
    one.rzz(P[3], 2, 3)
    one.rzz(P[4], 0, 1)
    other.rzz(P[4], 2, 3)
    other.rzz(P[3], 0, 1)
    other.rzz(P[2], 1, 2)
    other.rzz(P[1], 0, 1)
    other.rzz(P[0], 2, 3)
    assert pairs_of(one) == [(0, 1), (2, 3), (0, 1), (2, 3), (1, 2)]
    assert read_circuit(one)[0].key == read_circuit(other)[0].key
