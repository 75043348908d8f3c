"""A state vector in one process: its values are Qiskit's, its gradients are differences."""

from unittest.mock import Mock

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from support.unlike_circuits import KINDS, by_qiskit, unlike_circuit

from pilotcut import DistributedStatevector
from pilotcut.backends.distributed import blocks
from pilotcut.errors import CutError, ParameterValueError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(4, 9, 14), (2, 3, 5), (3, 3, 3)])
def test_values_and_gradients_are_right_whatever_the_sizes_of_blocks(kind, sizes, monkeypatch):
    for name, size in zip(("BLOCK", "PASS", "PIECE"), sizes, strict=True):
        monkeypatch.setattr(blocks, name, size)
    circuit, observables, rows = unlike_circuit(kind, rows=1)
    values, slopes = DistributedStatevector(circuit).values_and_gradients(observables, rows)
    assert np.allclose(values[0], by_qiskit(circuit, observables, rows[0]), atol=1e-12)
    for number, step in enumerate(1e-5 * np.eye(rows.shape[1])):
        low, high = (by_qiskit(circuit, observables, rows[0] + k * step) for k in (-1, 1))
        assert np.allclose(slopes[0, :, number], (np.array(high) - low) / 2e-5, atol=1e-7)


def test_a_gradient_is_that_of_parameter_shifts_to_the_last_digits():
    circuit, observables, rows = unlike_circuit("layers", rows=1)
    state = DistributedStatevector(circuit)
    _, slopes = state.values_and_gradients(observables, rows)
    for number, shift in enumerate(np.pi / 2 * np.eye(rows.shape[1])):
        low, high = (state.expectations(observables, rows[0] + k * shift)[0] for k in (-1, 1))
        assert np.allclose(slopes[0, :, number], (high - low) / 2, atol=1e-13)


def test_one_row_of_values_is_a_table_of_one():
    circuit, observables, rows = unlike_circuit("layers")
    state = DistributedStatevector(circuit)
    assert np.array_equal(
        state.expectations(observables, rows[0])[0], state.expectations(observables, rows)[0]
    )


def test_mistakes_are_one_line():
    x = Parameter("x")
    circuit = QuantumCircuit(2, 1)
    circuit.rx(x, 0)
    state = DistributedStatevector(circuit)
    with pytest.raises(ParameterValueError, match=r"have shape \(1, 2\), expected \(batch, 1\)"):
        state.expectations("ZZ", [0.1, 0.2])
    with pytest.raises(ParameterValueError, match="are no table of numbers"):
        state.expectations("ZZ", "many")
    circuit.measure(0, 0)
    circuit.rx(x, 0)
    with pytest.raises(CutError, match=r"'measure' on qubits .* in mid-circuit, expected unitary"):
        DistributedStatevector(circuit)
    with pytest.raises(CutError, match="GiB on each of 1 rank, more than the"):
        DistributedStatevector(QuantumCircuit(60))


@pytest.mark.parametrize(("ranks", "qubits", "words"), [
    (3, 8, "over 3 ranks, expected a power of two.*give 2"),
    (4, 3, "has 3 qubits, expected at least 4 on 4 ranks"),
])  # fmt: skip
def test_ranks_that_do_not_fit_are_one_line(ranks, qubits, words):
    comm = Mock(Get_size=lambda: ranks)
    with pytest.raises(CutError, match=words):
        DistributedStatevector(QuantumCircuit(qubits), comm)
