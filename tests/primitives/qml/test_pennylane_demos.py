"""Circuits of PennyLane's demos: values and gradients on our device are default.qubit's."""

import numpy as np
import pennylane as qml
import pytest
import torch

from pilotcut.primitives.pennylane.device import PilotcutDevice

RNG = np.random.default_rng(23)


def qubit_rotation(p):
    """Basic tutorial: qubit rotation."""
    qml.RX(p[0], 0)
    qml.RY(p[1], 0)
    return qml.expval(qml.Z(0))


def classifier_of_bits(p):
    """Variational classifier: bits in, layers of Rot and a ring of CNOT."""
    qml.BasisState(np.array([1, 0, 1, 0]), wires=range(4))
    for layer in p.reshape(2, 4, 3):
        for wire in range(4):
            qml.Rot(*layer[wire], wires=wire)
        for pair in ([0, 1], [1, 2], [2, 3], [3, 0]):
            qml.CNOT(pair)
    return qml.expval(qml.Z(0))


def state_preparation(p):
    """Variational classifier on Iris: amplitudes in."""
    qml.StatePrep(np.array([0.1, 0.4, 0.5, 0.3]), wires=range(2), normalize=True)
    for layer in p.reshape(3, 2, 3):
        for wire in range(2):
            qml.Rot(*layer[wire], wires=wire)
        qml.CNOT([0, 1])
    return qml.expval(qml.Z(0))


def data_reuploading(p):
    """Data-reuploading classifier: fidelity with a state."""
    for x, y in p.reshape(4, 2, 3):
        qml.Rot(*x, wires=0)
        qml.Rot(*y, wires=0)
    return qml.expval(qml.Hermitian(np.array([[1, 0], [0, 0]]), wires=0))


def qaoa_maxcut(p):
    """QAOA for MaxCut: a ring of four."""
    graph = [(0, 1), (0, 3), (1, 2), (2, 3)]
    for wire in range(4):
        qml.Hadamard(wire)
    for gamma, beta in p.reshape(2, 2):
        for a, b in graph:
            qml.CNOT([a, b])
            qml.RZ(gamma, b)
            qml.CNOT([a, b])
        for wire in range(4):
            qml.RX(2 * beta, wire)
    return qml.expval(qml.sum(*(0.5 * (1 - qml.Z(a) @ qml.Z(b)) for a, b in graph)))


def vqe_of_hydrogen(p):
    """VQE: a double excitation of the Hartree-Fock state."""
    qml.BasisState(np.array([1, 1, 0, 0]), wires=range(4))
    qml.DoubleExcitation(p[0], wires=range(4))
    qml.SingleExcitation(p[1], wires=[0, 2])
    terms = [qml.Z(0), qml.Z(1) @ qml.Z(2), qml.Y(0) @ qml.X(1) @ qml.X(2) @ qml.Y(3)]
    return qml.expval(qml.Hamiltonian([0.17, -0.24, 0.045], terms))


def quanvolution(p):
    """Quanvolutional network: four pixels, random layers, a value each."""
    for wire in range(4):
        qml.RY(np.pi * p[wire], wire)
    qml.RandomLayers(p[4:].reshape(1, 4), wires=range(4), seed=3)
    return tuple(qml.expval(qml.Z(wire)) for wire in range(4))


def barren_plateau(p):
    """Barren plateaus: random rotations and a ladder of CZ."""
    for wire in range(4):
        qml.RY(np.pi / 4, wire)
    for wire, kind in enumerate((qml.RX, qml.RZ, qml.RY, qml.RX)):
        kind(p[wire], wires=wire)
    for wire in range(3):
        qml.CZ([wire, wire + 1])
    return qml.expval(qml.Hermitian(np.diag([1.0, 0]), 0))


def kernel(p):
    """Kernel-based training: an embedding and its adjoint."""
    qml.AngleEmbedding(p[:3], range(3))
    qml.CRZ(p[3], [0, 1])
    qml.adjoint(qml.AngleEmbedding)(p[4:], range(3))
    return qml.probs(wires=range(3))


def transfer_learning(p):
    """Quantum transfer learning: layers of RY between entangling layers."""
    for wire in range(4):
        qml.Hadamard(wire)
    qml.BasicEntanglerLayers(p.reshape(2, 4), wires=range(4), rotation=qml.RY)
    return [qml.expval(qml.Z(wire)) for wire in range(4)]


def local_cost(p):
    """Local cost functions: probabilities of the first wire."""
    for wire in range(4):
        qml.RX(p[wire], wire)
        qml.RY(p[4 + wire], wire)
    for wire in range(3):
        qml.CNOT([wire, wire + 1])
    return qml.probs(wires=[0])


def coherent_phase(p):
    """Phase estimation: controlled powers and an inverse Fourier transform."""
    for wire in range(3):
        qml.Hadamard(wire)
        qml.ctrl(qml.PhaseShift, control=wire)(p[0] * 2 ** (2 - wire), wires=3)
    qml.RX(p[1], 3)
    qml.adjoint(qml.QFT)(wires=range(3))
    return qml.probs(wires=range(3))


def teleportation(p):
    """Mid-circuit measurements: a state goes from wire 0 to wire 2."""
    qml.Rot(p[0], p[1], p[2], wires=0)
    qml.Hadamard(1)
    qml.CNOT([1, 2])
    qml.CNOT([0, 1])
    qml.Hadamard(0)
    first, second = qml.measure(0), qml.measure(1)
    qml.cond(second, qml.X)(2)
    qml.cond(first, qml.Z)(2)
    return qml.expval(qml.X(2)), qml.var(qml.Z(2))


DEMOS = {
    qubit_rotation: 2,
    classifier_of_bits: 24,
    state_preparation: 18,
    data_reuploading: 24,
    qaoa_maxcut: 4,
    vqe_of_hydrogen: 2,
    quanvolution: 8,
    barren_plateau: 4,
    kernel: 7,
    transfer_learning: 8,
    local_cost: 8,
    coherent_phase: 2,
    teleportation: 3,
}


def answered(function, device, method, start):
    """Return values, and the gradient of a sum of them that weighs each differently."""
    parameters = torch.tensor(start, requires_grad=True)
    results = qml.QNode(function, device, diff_method=method)(parameters)
    results = results if isinstance(results, (tuple, list)) else [results]
    values = torch.cat([torch.ravel(one) for one in results])
    loss = (values * torch.arange(1, len(values) + 1)).sum()
    return values.detach(), torch.autograd.grad(loss, parameters)[0]


@pytest.mark.parametrize("options", [{}, {"max_width": 3}], ids=str)
@pytest.mark.parametrize("demo", DEMOS, ids=lambda one: one.__name__)
def test_values_and_gradients_of_a_demos_circuit_are_default_qubits(demo, options):
    start = RNG.uniform(-2, 2, DEMOS[demo])
    theirs = answered(demo, qml.device("default.qubit"), "backprop", start)
    ours = answered(demo, PilotcutDevice(**options), "best", start)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-8)
