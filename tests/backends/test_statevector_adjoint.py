"""Adjoint sweeps: the tensors and first derivatives that autograd gives, in fewer states."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import random_unitary
from qiskit_addon_cutting.instructions import CutWire
from support.any_circuits import circuit_of
from support.random_cuts import random_case

from pilotcut import compile_plan
from pilotcut.backends import statevector_blocks
from pilotcut.backends.statevector import RecordedStates, StatevectorEngine, SweptStates
from pilotcut.backends.statevector_blocks import BlockPlan
from pilotcut.backends.statevector_plan import StatevectorPlan


@pytest.fixture(params=["fused", "apart"])
def fusing(request, monkeypatch):
    """States of any size have their operations fused, or none do."""
    least = 0 if request.param == "fused" else 2**40
    monkeypatch.setattr(statevector_blocks, "FUSED_AMPLITUDES", least)


def assert_as_recorded(plan, seed=0, rows=3, outputs=2):
    """Compare with autograd; return how many fragments were swept."""
    rng = np.random.default_rng(seed)
    slots = rng.uniform(-3, 3, (rows, plan.program.num_slots))
    return sum(
        _fragment_as_recorded(f, f.angle_values(slots), rng, outputs) for f in plan.fragments
    )


def _fragment_as_recorded(fragment, angles, rng, outputs):
    engine = StatevectorEngine()
    found = engine.linearised(fragment, angles)
    free = torch.as_tensor(angles).requires_grad_()
    expected = RecordedStates(free, engine._schedule(fragment).run(free), 1)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-10)
    np.testing.assert_array_equal(engine.values(fragment, angles), found.values)
    rows, observables, *pairs = found.values.shape
    parts = rng.normal(size=(2, rows, outputs, observables, int(np.prod(pairs))))
    cotangents = parts[0] + 1j * parts[1]
    slopes = found.pull_back(cotangents)
    np.testing.assert_allclose(slopes, expected.pull_back(cotangents), atol=1e-8)
    # The point is as it was: a second way back gives the same bits.
    np.testing.assert_array_equal(found.pull_back(cotangents), slopes)
    for part in (0.2, 0.6):
        wanted = rng.random(angles.shape[1]) < part
        some = found.pull_back(cotangents, wanted)[..., wanted]
        np.testing.assert_allclose(some, slopes[..., wanted], atol=1e-10)
    whole = found.pull_back(cotangents, wanted, summed=True)[..., wanted]
    np.testing.assert_allclose(whole[0], slopes[..., wanted].sum(axis=0), atol=1e-10)
    return isinstance(found, SweptStates)


def brickwork(qubits, depth, cut_layers=()):
    """RY on every qubit and bricks of CZ, those across the middle in some layers only."""
    angles = iter(ParameterVector("a", qubits * depth))
    circuit = QuantumCircuit(qubits)
    for layer in range(depth):
        for qubit in range(qubits):
            circuit.ry(next(angles), qubit)
        for qubit in range(layer % 2, qubits - 1, 2):
            if qubit != qubits // 2 - 1 or layer in cut_layers:
                circuit.cz(qubit, qubit + 1)
    return circuit


def on(qubits, *where):
    """The Pauli string with Z on some qubits."""
    return "".join("Z" if q in where else "I" for q in reversed(range(qubits)))


def test_a_sweep_ends_at_the_first_wanted_angle():
    plan = compile_plan(brickwork(6, 5, (2,)), [on(6, 1, 4)])
    (fragment,) = plan.fragments
    sweep = StatevectorEngine()._sweep(fragment)
    last = np.arange(len(fragment.angles)) >= len(fragment.angles) - 3
    few, all_of_them = sweep._reached(last), sweep._reached(None)
    assert few.varied < all_of_them.varied
    assert len(few.passed) < len(all_of_them.passed) / 2
    assert all_of_them.passed == {k for k, block in enumerate(sweep.blocks) if block.free}
    assert not sweep._reached(np.zeros_like(last)).passed


@pytest.mark.parametrize("qubits", [3, 5, 7])
@pytest.mark.parametrize("seed", range(2))
def test_random_circuits_with_random_cuts(seed, qubits, fusing):
    case, observable, labels = random_case(seed, qubits)
    plan = compile_plan(case.circuit, observable, labels=labels)
    assert assert_as_recorded(plan, seed) == len(plan.fragments)


@pytest.mark.parametrize("seed", [k for k in range(30) if k != 28])  # Qiskit refuses 28
def test_any_circuit(seed, fusing):
    """Resets and gates of every kind among them."""
    circuit, _ = circuit_of(seed)
    letters = np.random.default_rng(seed).choice(list("IXYZ"), (3, circuit.num_qubits))
    plan = compile_plan(circuit, ["".join(row) for row in letters if (row != "I").any()])
    assert_as_recorded(plan, seed)


def test_wires_cut_and_measured_values(fusing):
    circuit = QuantumCircuit(4, 1)
    angles = ParameterVector("a", 6)
    for qubit in range(3):
        circuit.ry(angles[qubit], qubit)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rx(angles[3], 1)
    circuit.append(CutWire(), [1])
    circuit.crx(angles[4], 1, 2)
    circuit.rzz(angles[5], 2, 3)
    circuit.h(3)
    plan = compile_plan(circuit, ["IZII", "XIYI"])
    assert len(plan.fragments) == 2
    assert assert_as_recorded(plan) == 2


@pytest.mark.parametrize("condition", [0.0, statevector_blocks.MOST_CONDITION])
def test_sites_whose_input_is_kept_or_computed_from_their_output(condition, monkeypatch, fusing):
    """A gate of almost no angle has branches that almost project: nothing is divided by them."""
    monkeypatch.setattr(statevector_blocks, "MOST_CONDITION", condition)
    circuit = brickwork(6, 5, cut_layers=(2,))
    circuit.rzz(1e-9, 2, 3)
    circuit.rx(0.4, 2)
    circuit.cx(2, 3)
    for qubit in range(6):
        circuit.ry(0.3 * qubit, qubit)
    plan = compile_plan(circuit, ["ZIIIIZ", "IIXZII"], labels="AAABBB")
    assert plan.num_cuts == 2
    blocks = BlockPlan(StatevectorPlan(plan.fragments[0])).blocks
    assert all(block.invertible for block in blocks) == bool(condition)
    assert assert_as_recorded(plan) == 2


def test_a_matrix_that_is_unitary_to_eight_digits_only(fusing):
    """Qiskit takes it; going back by its adjoint would leave the state that it came from."""
    gate = random_unitary(4, seed=1).data + 3e-9 * np.random.default_rng(0).normal(size=(4, 4))
    circuit = QuantumCircuit(3)
    angles = iter(ParameterVector("a", 9))
    for _ in range(3):
        for qubit in range(3):
            circuit.rx(next(angles), qubit)
        circuit.append(UnitaryGate(gate), [0, 1])
        circuit.append(UnitaryGate(gate), [1, 2])
    plan = compile_plan(circuit, ["ZZZ", "IXI"])
    assert any(b.scale is None for b in BlockPlan(StatevectorPlan(plan.fragments[0])).blocks)
    assert assert_as_recorded(plan) == 1


@pytest.mark.parametrize("letters", ["ZIIIIZ", "YIIIIY", "IIIYYZ", "YYIIYX", "XYYIYY"])
def test_real_circuits_have_real_states(letters, fusing):
    """Half the bytes; a Y is imaginary all the same, and two of them real again."""
    plan = compile_plan(brickwork(6, 4, (2,)), [letters, "IIIIYZ"])
    fragment = plan.fragments[0]
    assert StatevectorPlan(fragment).real
    assert assert_as_recorded(plan) == 1
    turned = brickwork(6, 4, (2,))
    turned.rx(0.3, 5)
    turned.h(5)
    assert not StatevectorPlan(compile_plan(turned, ["Z" * 6]).fragments[0]).real


def test_gates_outside_the_light_cone_are_left_out():
    """Of the last layers only what the observable sees is done, and nothing changes."""
    circuit = brickwork(12, 6)
    plan = compile_plan(circuit, [on(12, 3)], labels="A" * 12)
    seen = StatevectorPlan(plan.fragments[0])
    gates = sum(op.kind == "apply" for op in seen.operations)
    everything = compile_plan(circuit, [on(12, *range(12))], labels="A" * 12)
    assert gates < 0.6 * sum(
        op.kind == "apply" for op in StatevectorPlan(everything.fragments[0]).operations
    )
    # A site is seen: what stands before a cut gate is done even where nothing is observed.
    cut = compile_plan(brickwork(6, 4, (0, 2)), [on(6, 5)], labels="AAABBB")
    assert assert_as_recorded(cut) == 2


def test_deep_states_are_fused_and_few_are_held():
    plan = compile_plan(brickwork(20, 24, (9,)), [on(20, 0, 5, 11)], labels="A" * 20)
    engine, fragment = StatevectorEngine(), plan.fragments[0]
    operations = StatevectorPlan.cheapest(fragment)
    gates = [op for op in operations.operations if op.kind == "apply"]
    blocks = [b for b in BlockPlan(operations).blocks if b.kind == "apply"]
    assert 2.5 * len(blocks) < len(gates)
    assert sorted(k for b in blocks for k in b.numbers) == sorted(
        n for n, op in enumerate(operations.operations) if op.kind == "apply"
    )
    assert 20 * engine.row_bytes(fragment) < engine.row_bytes(fragment, recorded=True)


def test_outputs_one_after_the_other_where_memory_lacks():
    plan = compile_plan(brickwork(8, 4), [on(8, 2), on(8, 7)], labels="A" * 8)
    fragment = plan.fragments[0]
    angles = fragment.angle_values(np.random.default_rng(0).uniform(-3, 3, (5, 32)))
    cotangents = np.random.default_rng(1).normal(size=(5, 4, 2, 1)) + 0j
    whole = StatevectorEngine()
    few = StatevectorEngine(memory_bytes=2 * whole.row_bytes(fragment))
    at = [engine.linearised(fragment, angles) for engine in (whole, few)]
    assert at[0].outputs >= 4
    assert at[1].outputs == 1
    assert len(at[1].points) == 3
    np.testing.assert_allclose(*(one.pull_back(cotangents) for one in at), atol=1e-12)
