"""A model compiled gate by gate for a device, and the behavioural vector of it."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import CXGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import InstructionProperties, QubitProperties, Target
from support.couplings import BASES, STANDARD, assert_same, device, full, line, star

from pilotcut.errors import UserError
from pilotcut.fleet import transpile
from pilotcut.fleet.device_features import device_features, element_error, success
from pilotcut.fleet.routing import Swap
from pilotcut.fleet.transpile import compile_on

# exp(-t / T1) f of a one-qubit and exp(-t / T2) f of a two-qubit gate of `device`.
KEPT_ONE = math.exp(-50e-9 / 100e-6) * 0.999
KEPT_TWO = math.exp(-400e-9 / 80e-6) * 0.99


# Random models and devices.


@st.composite
def topologies(draw, least=2, most=5):
    """Return (qubits, couplings) of a line, a star, a ladder, all to all or a random graph."""
    n = draw(st.integers(least, most))
    kind = draw(st.sampled_from(["line", "star", "full", "grid", "random"]))
    if kind == "grid":
        rungs = [(k, k + 1) for k in range(0, n - 1, 2)]
        return n, [*rungs, *((k, k + 2) for k in range(n - 2))]
    if kind != "random":
        return n, {"line": line, "star": star, "full": full}[kind](n)
    tree = [(draw(st.integers(0, k - 1)), k) for k in range(1, n)]
    more = draw(st.lists(st.sampled_from(full(n)), max_size=3))
    turned = [pair[:: draw(st.sampled_from([1, -1]))] for pair in sorted({*tree, *more})]
    return n, turned


ONE = ("ry", "rx", "rz", "h", "s", "sx", "u", "id", "p")
TWO = ("crx", "crz", "cry", "cx", "cz", "swap", "rzz", "cp", "ecr")


@st.composite
def models(draw, qubits, most=25):
    """Return a circuit with parameters, and values for them."""
    names = ONE if qubits == 1 else (*ONE, *TWO)
    circuit = QuantumCircuit(qubits)
    free = ParameterVector("w", 4)
    angles = st.one_of(
        st.floats(-7, 7),
        st.sampled_from([k * math.pi / 2 for k in range(-4, 5)]),
        st.sampled_from([*free, 2 * free[0] + 1, free[1] * free[2]]),
    )
    for name in draw(st.lists(st.sampled_from(names), max_size=most)):
        gate = STANDARD[name]
        where = draw(st.permutations(range(qubits)))[: gate.num_qubits]
        circuit.append(gate.base_class(*(draw(angles) for _ in gate.params)), where)
    return circuit, {p: draw(st.floats(-4, 4)) for p in circuit.parameters}


@st.composite
def routed(draw, most=7):
    """Return a model of two-qubit gates and its compilation, on any topology."""
    qubits, couplings = draw(topologies(most=most))
    width = draw(st.integers(2, qubits))
    circuit, _ = draw(models(width, most=40))
    seed = draw(st.integers(0, 5))
    return circuit, compile_on(circuit, device(qubits, couplings), seed=seed)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_compiled_circuit_does_what_the_model_does(data):
    qubits, couplings = data.draw(topologies())
    circuit, values = data.draw(models(data.draw(st.integers(1, qubits))))
    basis = data.draw(st.sampled_from(sorted(BASES)))
    target = device(qubits, couplings, BASES[basis], one_way=data.draw(st.booleans()))
    compilation = compile_on(circuit, target)
    assert_same(circuit, values, compilation)
    for step in compilation.steps:
        for each in step.operations:
            assert target.instruction_supported(each.name, each.qubits)


@settings(max_examples=100, deadline=None)
@given(routed())
def test_every_gate_is_executed_once_and_on_its_own_qubits(case):
    circuit, compilation = case
    place = list(compilation.initial_layout)
    done = []
    for step in compilation.steps:
        if step.is_swap:
            a, b = step.qubits
            place = [{a: b, b: a}.get(p, p) for p in place]
        else:
            wires = [circuit.find_bit(q).index for q in circuit.data[step.gate].qubits]
            assert step.qubits == tuple(place[v] for v in wires)
            done += [(v, step.gate) for v in wires]
    assert tuple(place) == compilation.final_layout
    given_order = [
        (circuit.find_bit(q).index, k) for k, i in enumerate(circuit.data) for q in i.qubits
    ]
    assert sorted(done, key=lambda d: d[0]) == sorted(given_order)


@settings(max_examples=100, deadline=None)
@given(routed())
def test_every_swap_is_charged_once_to_the_next_two_qubit_gate_it_carries_a_qubit_to(case):
    circuit, compilation = case
    steps = compilation.steps
    wires = [{circuit.find_bit(q).index for q in i.qubits} for i in circuit.data]
    place = list(compilation.initial_layout)
    charges = [0] * compilation.gates
    for k, step in enumerate(steps):
        if not step.is_swap:
            continue
        carried = {v for v, p in enumerate(place) if p in step.qubits}
        later = (s.gate for s in steps[k:] if not s.is_swap and len(s.qubits) == 2)
        assert step.gate == next(g for g in later if wires[g] & carried)
        charges[step.gate] += 1
        a, b = step.qubits
        place = [{a: b, b: a}.get(p, p) for p in place]
    seen = device_features(compilation, device(compilation.qubits, full(compilation.qubits)))
    assert seen.swaps.tolist() == charges
    assert seen.swaps.sum() == sum(step.is_swap for step in steps)
    assert ((seen.topological > 0) == (seen.swaps > 0)).all()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_where_all_qubits_are_coupled_nothing_is_swapped(data):
    qubits = data.draw(st.integers(2, 6))
    circuit, _ = data.draw(models(qubits))
    assert not any(s.is_swap for s in compile_on(circuit, device(qubits, full(qubits))).steps)


def test_a_swap_that_no_two_qubit_gate_needs_any_more_is_not_executed(monkeypatch):
    circuit = QuantumCircuit(4)
    circuit.cz(0, 1)
    circuit.cz(2, 3)
    circuit.rx(0.2, 0)
    circuit.ry(0.3, 1)
    circuit.h(2)
    useless = Swap((0, 1))  # both find no further gate: before and at the end
    needed = [Swap((1, 2)), Swap((2, 3))]
    moves = [0, useless, *needed, 1, useless]
    monkeypatch.setattr(transpile, "route", lambda *_: ((0, 1, 2, 3), moves))
    compilation = compile_on(circuit, device(4, line(4)))
    swapped = [(step.gate, step.qubits) for step in compilation.steps if step.is_swap]
    assert swapped == [(1, (1, 2)), (1, (2, 3))]
    assert_same(circuit, {}, compilation)


# Vectors by hand.


def test_by_hand_a_ry_is_two_sx_and_a_cz_is_itself():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    circuit.rz(Parameter("b"), 1)
    circuit.cz(0, 1)
    target = device(2, [(0, 1)])
    seen = device_features(compile_on(circuit, target), target)
    np.testing.assert_allclose(seen.vector, [1 - KEPT_ONE**2, 0, 1 - KEPT_TWO, 0, 0, 0])
    # The same in figures: exp(-0.0005) 0.999 = 0.9985005, exp(-0.005) 0.99 = 0.9850624.
    np.testing.assert_allclose(seen.contextual, [0.00299650, 0, 0.01493765], atol=1e-7)


def test_by_hand_a_ring_on_a_line_takes_one_swap_of_three_cx():
    circuit = QuantumCircuit(3)
    for k in range(3):
        circuit.cx(k, (k + 1) % 3)
    target = device(3, line(3), BASES["cx"])
    compilation = compile_on(circuit, target)
    seen = device_features(compilation, target)
    (charged,) = (s.gate for s in compilation.steps if s.is_swap)
    assert charged > 0  # the first gate finds its qubits side by side
    expected = np.zeros(3)
    expected[charged] = 1 - KEPT_TWO**3
    np.testing.assert_allclose(seen.topological, expected)
    np.testing.assert_allclose(seen.contextual, [1 - KEPT_TWO] * 3)
    assert success(compilation, target) == pytest.approx(KEPT_TWO**6)


def test_by_hand_a_turned_cx_takes_four_sx_and_a_foreign_one_two():
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    circuit.cx(1, 0)
    target = device(2, [(0, 1)], BASES["cx"], one_way=True)
    seen = device_features(compile_on(circuit, target), target)
    turned = 1 - KEPT_TWO * KEPT_ONE**4
    np.testing.assert_allclose(sorted(seen.contextual), [1 - KEPT_TWO, turned])
    target = device(2, [(0, 1)], BASES["cz"])
    seen = device_features(compile_on(circuit, target), target)
    np.testing.assert_allclose(seen.contextual, [1 - KEPT_TWO * KEPT_ONE**2] * 2)


def test_by_hand_the_far_ends_of_a_star_charge_the_gate_that_brings_them_together():
    circuit = QuantumCircuit(4)  # all pairs of four, on a star: three pairs stand at once
    for a, b in full(4):
        circuit.cz(a, b)
    target = device(4, star(4))
    compilation = compile_on(circuit, target)
    seen = device_features(compilation, target)
    swap = KEPT_TWO**3 * KEPT_ONE**6  # three cz between six H, which are one sx each
    np.testing.assert_allclose(seen.contextual, [1 - KEPT_TWO] * 6)
    np.testing.assert_allclose(1 - seen.topological, swap**seen.swaps)
    assert seen.swaps.sum() == 2


@pytest.mark.parametrize("way", [1, -1])
def test_by_hand_a_swap_on_a_one_way_coupling_turns_one_of_its_three_cx(way):
    circuit = QuantumCircuit(3)
    for k in range(3):
        circuit.cx(k, (k + 1) % 3)
    target = device(3, [pair[::way] for pair in line(3)], BASES["cx"], one_way=True)
    seen = device_features(compile_on(circuit, target), target)
    assert seen.topological.max() == pytest.approx(1 - KEPT_TWO**3 * KEPT_ONE**4)


# Elements.


def test_an_element_takes_t1_for_one_qubit_and_the_smaller_t2_for_two():
    qubits = [QubitProperties(t1=1e-6, t2=2e-6), QubitProperties(t1=3e-6, t2=1.5e-6)]
    target = Target(num_qubits=2, qubit_properties=qubits)
    target.add_instruction(STANDARD["sx"], {(0,): InstructionProperties(1e-7, 0.01)})
    target.add_instruction(STANDARD["cx"], {(1, 0): InstructionProperties(3e-7, 0.02)})
    assert element_error(target, "sx", (0,)) == pytest.approx(1 - math.exp(-0.1) * 0.99)
    assert element_error(target, "cx", (1, 0)) == pytest.approx(1 - math.exp(-0.2) * 0.98)


@pytest.mark.parametrize(
    ("properties", "qubit", "expected"),
    [
        (InstructionProperties(1e-7, 0.01), QubitProperties(), 0.01),
        (InstructionProperties(1e-7, 0.01), None, 0.01),
        (InstructionProperties(None, 0.01), QubitProperties(t1=1e-6), 0.01),
        (InstructionProperties(1e-7, None), QubitProperties(t1=1e-6), 1 - math.exp(-0.1)),
        (InstructionProperties(1e-7, math.nan), QubitProperties(t1=1e-6), 1 - math.exp(-0.1)),
        (InstructionProperties(0.0, 0.0), QubitProperties(t1=0.0), 0.0),
        (InstructionProperties(1e-7, 0.0), QubitProperties(t1=0.0), 1.0),
        (None, QubitProperties(t1=1e-6), 0.0),
    ],
)
def test_what_the_target_does_not_report_counts_as_perfect(properties, qubit, expected):
    target = Target(num_qubits=1, qubit_properties=qubit and [qubit])
    target.add_instruction(STANDARD["sx"], {(0,): properties})
    assert element_error(target, "sx", (0,)) == pytest.approx(expected)


def test_one_known_t2_of_two_serves_for_both():
    qubits = [QubitProperties(t1=1e-6), QubitProperties(t2=1e-6)]
    target = Target(num_qubits=2, qubit_properties=qubits)
    target.add_instruction(STANDARD["cz"], {(0, 1): InstructionProperties(1e-7, 0.0)})
    assert element_error(target, "cz", (0, 1)) == pytest.approx(1 - math.exp(-0.1))


def test_an_impossible_or_missing_gate_is_said_in_one_line():
    target = Target(num_qubits=1, qubit_properties=[QubitProperties(t1=-1e-6)])
    target.add_instruction(STANDARD["sx"], {(0,): InstructionProperties(1e-7, 0.1)})
    with pytest.raises(UserError, match=r"^target: qubit 0: t1 is -1e-06, expected 0 or more; .*$"):
        element_error(target, "sx", (0,))
    with pytest.raises(UserError, match=r"^target: gate 'x' on qubits \(0,\) is not supported"):
        element_error(target, "x", (0,))


# Compilations.


def test_a_model_that_fits_is_laid_on_the_couplings_with_the_smallest_errors():
    target = Target(num_qubits=4)
    errors = {(0, 1): 0.05, (1, 2): 0.04, (2, 3): 0.001}
    cz = {where: InstructionProperties(error=e) for where, e in errors.items()}
    target.add_instruction(STANDARD["cz"], cz)
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    assert set(compile_on(circuit, target).initial_layout) == {2, 3}


def test_a_coupling_that_never_works_is_not_used():
    target = Target(num_qubits=3)
    errors = {(0, 1): 1.0, (1, 2): 0.3}
    cz = {where: InstructionProperties(error=e) for where, e in errors.items()}
    target.add_instruction(STANDARD["cz"], cz)
    target.add_instruction(STANDARD["cx"], {(1, 2): InstructionProperties(error=1.0)})
    target.add_instruction(STANDARD["u"])
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    compilation = compile_on(circuit, target)
    assert set(compilation.initial_layout) == {1, 2}
    assert success(compilation, target) == pytest.approx(0.7)


def test_the_vector_does_not_depend_on_the_weights():
    circuit = QuantumCircuit(3)
    free = ParameterVector("w", 6)
    for k in range(3):
        circuit.ry(free[k], k)
        circuit.crx(free[3 + k], k, (k + 1) % 3)
    target = device(3, line(3))
    vectors = [
        device_features(compile_on(model, target), target).vector
        for model in (circuit, circuit.assign_parameters(np.linspace(0.1, 2, 6)))
    ]
    np.testing.assert_array_equal(*vectors)


def test_the_parameters_of_the_model_are_those_of_the_compiled_circuit():
    circuit = QuantumCircuit(2)
    a, b = Parameter("a"), Parameter("b")
    circuit.ry(a, 0)
    circuit.u(2 * b + a, 0.3, a * b, 1)
    circuit.crx(b, 0, 1)
    assert set(compile_on(circuit, device(2, [(0, 1)])).circuit.parameters) == {a, b}


def test_gates_of_the_users_own_are_opened():
    inner = QuantumCircuit(2, name="mine")
    inner.rzz(Parameter("t"), 0, 1)
    inner.h(0)
    circuit = QuantumCircuit(3)
    circuit.append(inner.to_gate(), [2, 0])
    circuit.append(CXGate(ctrl_state=0), [0, 1])
    circuit.unitary(Operator(STANDARD["iswap"]), [1, 2])
    compilation = compile_on(circuit, device(3, line(3)))
    assert compilation.gates == 3
    assert_same(circuit, {circuit.parameters[0]: 0.7}, compilation)


def test_barriers_and_phases_are_passed_over_and_an_empty_model_is_fine():
    circuit = QuantumCircuit(2, global_phase=0.3)
    circuit.barrier()
    target = device(3, line(3))
    compilation = compile_on(circuit, target)
    assert (compilation.gates, compilation.steps) == (0, ())
    assert device_features(compilation, target).vector.shape == (0,)
    assert success(compilation, target) == 1
    circuit.x(1)
    assert [s.gate for s in compile_on(circuit, target).steps] == [0]


def test_the_same_seed_gives_the_same_compilation_and_it_can_be_sent():
    circuit = QuantumCircuit(6)
    for a, b in full(6):
        circuit.crx(Parameter(f"w{a}{b}"), a, b)
    target = device(6, line(6))
    first = compile_on(circuit, target, seed=3)
    assert first == compile_on(circuit, target, seed=3)
    assert pickle.loads(pickle.dumps(first)) == first


def test_a_device_where_every_gate_works_everywhere_needs_no_layout():
    target = Target(num_qubits=3)
    for name in ("u", "cx"):
        target.add_instruction(STANDARD[name])
    circuit = QuantumCircuit(3)
    circuit.cry(0.3, 2, 0)
    compilation = compile_on(circuit, target)
    assert compilation.final_layout == (0, 1, 2)
    assert_same(circuit, {}, compilation)
    assert element_error(target, "cx", (2, 0)) == 0


def manila():
    provider = pytest.importorskip("qiskit_ibm_runtime.fake_provider")
    return provider.FakeManilaV2()


@pytest.mark.parametrize(
    "backend",
    [
        manila,
        lambda: GenericBackendV2(5, coupling_map=line(5), seed=1),
        lambda: GenericBackendV2(6, ["id", "rz", "sx", "x", "ecr"], control_flow=True, seed=1),
    ],
)
def test_targets_of_backends_with_delays_measurements_and_control_flow_serve(backend):
    target = backend().target
    circuit = QuantumCircuit(4)
    for k in range(4):
        circuit.ry(Parameter(f"a{k}"), k)
        circuit.crx(Parameter(f"b{k}"), k, (k + 1) % 4)
    compilation = compile_on(circuit, target)
    seen = device_features(compilation, target)
    assert ((seen.contextual > 0) & (seen.contextual < 0.5)).all()
    assert success(compilation, target) == pytest.approx((1 - seen.vector).prod())
    assert_same(circuit, dict.fromkeys(circuit.parameters, 0.4), compilation)


# Mistakes.
