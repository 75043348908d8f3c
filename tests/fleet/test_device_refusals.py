"""Models that a device cannot run are refused in one line."""

import math

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import Measure, RXGate
from support.couplings import assert_same, device, full, line

from pilotcut.errors import UserError
from pilotcut.fleet.transpile import compile_on


def refused(circuit, target, **options):
    with pytest.raises(UserError) as caught:
        compile_on(circuit, target, **options)
    (fault,) = caught.value.faults
    assert "\n" not in fault
    return fault


def test_what_is_no_gate_on_one_or_two_qubits_is_refused():
    circuit = QuantumCircuit(3, 1)
    circuit.h(0)
    circuit.ccx(0, 1, 2)
    assert "gate 1 'ccx' acts on 3 qubits, expected one or two" in refused(
        circuit, device(3, line(3))
    )
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    assert "instruction 'measure' after gate 0 is no gate" in refused(circuit, device(2, line(2)))


def test_a_model_that_is_too_wide_is_refused():
    assert "it has 4 qubits, expected at most 3" in refused(QuantumCircuit(4), device(3, line(3)))


def test_a_device_that_cannot_express_the_model_is_refused():
    pair = QuantumCircuit(2)
    pair.cx(0, 1)
    alone = device(2, [], ("rz", "sx", "x"))
    alone.add_instruction(Measure(), {(0,): None, (1,): None})
    assert "no working two-qubit gate" in refused(pair, alone)
    assert "cannot be written in cz, rz" in refused(pair, device(2, line(2), ("rz", "cz")))
    fixed = device(2, line(2), ("cz",))
    fixed.add_instruction(RXGate(math.pi / 2), {(0,): None, (1,): None})
    assert "cannot be written in cz," in refused(pair, fixed)


def test_a_device_in_two_parts_serves_what_fits_in_one():
    target = device(6, [(0, 1), (2, 4), (4, 5)])
    circuit = QuantumCircuit(3)
    for a, b in full(3):
        circuit.cz(a, b)
    compilation = compile_on(circuit, target)
    assert set(compilation.initial_layout) == {2, 4, 5}
    assert_same(circuit, {}, compilation)
    circuit = QuantumCircuit(4)
    for a, b in full(4):
        circuit.cz(a, b)
    assert "connect at most 3 qubits, expected 4" in refused(circuit, target)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    assert f"seed is {seed}" in refused(QuantumCircuit(1), device(2, line(2)), seed=seed)
