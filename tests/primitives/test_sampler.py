"""The sampler: registers have the bits that the whole circuit's measurements have."""

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister

from pilotcut import CutSampler, UserError


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_registers_and_measured_subsets_have_the_bits_of_their_qubits(mode):
    first, second = ClassicalRegister(2, "first"), ClassicalRegister(1, "second")
    circuit = QuantumCircuit(QuantumRegister(3), first, second)
    angle = Parameter("t")
    circuit.rx(angle, 0)
    circuit.cx(0, 2)
    circuit.x(1)
    circuit.measure(2, first[0])
    circuit.measure(1, second[0])
    circuit.measure(0, first[1])
    sampler = CutSampler(cuts=1, mode=mode, seed=3)
    (found,) = sampler.run([(circuit, [[0.0], [np.pi]])], shots=50).result()
    assert found.data.shape == (2,)
    # Shots of fragments leave outcomes a little probability that have none.
    least = 50 if mode == "exact" else 45
    assert found.data.first.get_counts(0)["00"] >= least
    assert found.data.first.get_counts(1)["11"] >= least
    assert found.data.second.get_counts()["1"] >= 2 * least


def test_frequencies_are_probabilities_and_bits_without_a_measurement_are_0():
    circuit = QuantumCircuit(2, 3)
    circuit.ry(1.2, 0)
    circuit.cx(0, 1)
    circuit.measure(1, 2)
    counts = CutSampler(cuts=1, seed=5).run([circuit], shots=4000).result()[0].data.c.get_counts()
    assert set(counts) == {"000", "100"}
    assert abs(counts["100"] / 4000 - np.sin(0.6) ** 2) < 0.03


def test_what_follows_a_measurement_is_refused():
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    with pytest.raises(UserError, match="follows a measurement"):
        CutSampler(cuts=1).run([circuit])


@pytest.mark.parametrize("shots", [0, -3, 2.5])
def test_a_number_of_shots_that_is_none_is_one_line(shots):
    """Nothing stands for a number that was given: not even for 0."""
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    with pytest.raises(UserError, match="shots must be"):
        CutSampler(cuts=0).run([circuit], shots=shots)
