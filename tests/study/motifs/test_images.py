"""Images as circuits: what is prepared, by which gates, and how near."""

import numpy as np
import pytest
from qiskit.quantum_info import Statevector
from scipy.optimize import check_grad

from pilotcut.study.motifs import images

LAYERS = 2


def draws(count, rows=4, seed=3):
    return np.random.default_rng(seed).uniform(0, 1, size=(count, rows, rows))


@pytest.fixture(scope="module")
def targets():
    return images.amplitudes(draws(3))


@pytest.fixture(scope="module")
def gates(targets):
    return images.encoded(targets, LAYERS, 5)


def fidelities(gates, targets, layers=LAYERS):
    return (images.prepared(gates, layers) * targets).sum(axis=1) ** 2


def test_bits_of_rows_and_columns_take_turns():
    one = np.zeros((1, 8, 8))
    one[0, 0b110, 0b011] = 2.0
    (place,) = np.flatnonzero(images.amplitudes(one)[0])
    assert place == 0b10_11_01


def test_a_product_of_a_row_and_a_column_is_one_layer():
    row, column = np.array([3.0, 1.0, 6.0, 2.0]), np.array([1.0, 2.0, 4.0, 8.0])  # products too
    target = images.amplitudes(np.outer(row, column)[None])
    assert fidelities(images.encoded(target, 1, 4), target, 1) == pytest.approx(1.0)


def test_gates_are_rotations_and_their_circuit_prepares_what_they_prepare(gates, targets):
    assert np.linalg.det(gates) == pytest.approx(np.ones(gates.shape[:2]))
    circuit, angles = images.circuit(4, LAYERS), images.angles_of(gates).reshape(len(gates), -1)
    for some, state in zip(angles, images.prepared(gates, LAYERS), strict=True):
        found = Statevector(circuit.assign_parameters(some)).data
        assert abs(np.vdot(found, state)) == pytest.approx(1.0)


def test_more_sweeps_and_the_gradient_come_nearer(gates, targets):
    more = images.encoded(targets, LAYERS, 20)
    fine = images.refined(gates, targets, LAYERS, 50)
    assert (fidelities(more, targets) > fidelities(gates, targets)).all()
    assert (fidelities(fine, targets) > fidelities(gates, targets)).all()


def test_the_gradient_is_that_of_the_loss(targets):
    where = images.places(4, LAYERS)
    x = np.random.default_rng(5).normal(size=len(targets) * len(where) * 8)
    wrong = check_grad(
        lambda x: images._loss(x, targets, where)[0],
        lambda x: images._loss(x, targets, where)[1],
        x,
    )
    assert wrong < 1e-6
