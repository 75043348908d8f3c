"""PennyLane's device: derivatives are default.qubit's in every interface."""

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError
from support.fresh_process import in_fresh_process

from pilotcut.primitives.pennylane.device import PilotcutDevice

RNG = np.random.default_rng(3)
INPUTS, WEIGHTS = RNG.uniform(-2, 2, (4, 3)), RNG.uniform(-2, 2, (2, 3, 3))


def circuit(inputs, weights):
    qml.AngleEmbedding(inputs, range(3))
    qml.StronglyEntanglingLayers(weights, range(3))
    return (
        qml.expval(qml.Z(0) @ qml.X(2)),
        qml.probs(wires=[2, 1]),
        qml.var(qml.Y(1) + 0.5 * qml.Z(0)),
    )


def expectation(inputs, weights):
    qml.AngleEmbedding(inputs, range(3))
    qml.StronglyEntanglingLayers(weights, range(3))
    return qml.expval(qml.Z(0) @ qml.Z(2))


def nodes(function, method="best", **options):
    ours = qml.QNode(function, PilotcutDevice(wires=3, **options), diff_method=method)
    return ours, qml.QNode(function, qml.device("default.qubit", wires=3), diff_method="backprop")


def loss(node, inputs, weights):
    return sum((k + 1) * (one**2).sum() for k, one in enumerate(node(inputs, weights)))


@pytest.mark.parametrize("options", [{}, {"labels": "AAB"}, {"max_width": 2}], ids=str)
@pytest.mark.parametrize("inputs", [INPUTS, INPUTS[0]], ids=["rows", "row"])
def test_torch_derivatives_by_inputs_and_weights_are_default_qubits(options, inputs):
    found = []
    for node in nodes(circuit, **options):
        args = [torch.tensor(a, requires_grad=True) for a in (inputs, WEIGHTS)]
        found.append(torch.autograd.grad(loss(node, *args), args))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_autograd_derivatives_and_jacobians_are_default_qubits():
    inputs, weights = pnp.array(INPUTS, requires_grad=False), pnp.array(WEIGHTS, requires_grad=True)
    ours, theirs = nodes(circuit, max_width=2)
    found = [qml.grad(lambda w, n=n: loss(n, inputs, w))(weights) for n in (ours, theirs)]
    assert np.allclose(*found, atol=1e-9)
    ours, theirs = nodes(expectation, max_width=2)
    found = [qml.jacobian(lambda w, n=n: n(inputs, w))(weights) for n in (ours, theirs)]
    assert np.shape(found[0]) == (4, 2, 3, 3)
    assert np.allclose(*found, atol=1e-9)


def small(x, weights):
    qml.RX(x, 0)
    qml.CRY(weights[0], [0, 1])
    qml.RX(weights[1], 1)
    return qml.expval(qml.Z(0) @ qml.Z(1)), qml.probs(wires=[1])


def _flat(library, results):
    return library.concatenate([library.ravel(one) for one in results])


def _of_jax():
    """Return Jacobians by JAX on our device, and by torch on default.qubit."""
    import jax

    jax.config.update("jax_enable_x64", True)
    ours = qml.QNode(small, PilotcutDevice(wires=2, labels="AB"))
    theirs = qml.QNode(small, qml.device("default.qubit", wires=2))
    weights, found = np.array([0.4, 1.1]), []
    of_jax = jax.jacobian(lambda *a: _flat(jax.numpy, ours(*a)), (0, 1))
    for x, jacobian in ((0.7, of_jax), (0.7, jax.jit(of_jax)), (np.array([0.7, -0.2]), of_jax)):
        args = tuple(torch.tensor(one, dtype=torch.float64) for one in (x, weights))
        of_torch = torch.autograd.functional.jacobian(lambda *a: _flat(torch, theirs(*a)), args)
        pairs = zip(jacobian(jax.numpy.array(x), jax.numpy.array(weights)), of_torch, strict=True)
        found += [(np.asarray(one), other.numpy()) for one, other in pairs]
    with pytest.raises(ValueError, match="callbacks do not support JVP"):
        jax.hessian(lambda w: ours(0.7, w)[0])(jax.numpy.array(weights))
    return found


def test_jax_jacobians_are_default_qubits_jitted_or_broadcast_and_second_ones_are_refused():
    # In a process of its own: JAX has threads, and other tests fork.
    found = in_fresh_process(_of_jax)
    assert len(found) == 6
    for ours, theirs in found:
        assert ours.shape == theirs.shape
        assert np.allclose(ours, theirs, atol=1e-9)


def test_a_trained_coefficient_of_an_observable_has_a_derivative():
    def function(coefficients, x):
        qml.RX(x, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.dot(coefficients, [qml.Z(1), qml.X(0) @ qml.X(1)]))

    found = []
    for device in (PilotcutDevice(wires=2, labels="AB"), qml.device("default.qubit", wires=2)):
        args = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in ([0.4, 2.0], 0.3)]
        found.append(torch.autograd.grad(qml.QNode(function, device)(*args), args))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other)


def test_a_trained_matrix_is_decomposed_and_a_trained_hermitian_is_refused():
    def turned(x):
        qml.QubitUnitary(
            qml.math.stack(
                [
                    qml.math.stack([qml.math.cos(x), -qml.math.sin(x)]),
                    qml.math.stack([qml.math.sin(x), qml.math.cos(x)]),
                ]
            ),
            0,
        )
        return qml.expval(qml.Z(0))

    device = PilotcutDevice(wires=1)
    x = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(qml.QNode(turned, device, interface="torch")(x), x)
    assert abs(slope + 2 * np.sin(0.8)) < 1e-9

    @qml.qnode(device)
    def measured(matrix):
        return qml.expval(qml.Hermitian(matrix, 0))

    matrix = torch.eye(2, dtype=torch.complex128, requires_grad=True)
    with pytest.raises(DeviceError, match="parameters of an observable"):
        measured(matrix).real.backward()


def test_the_backward_pass_takes_what_the_forward_pass_found():
    ours, _ = nodes(expectation, labels="AAB")
    weights = torch.tensor(WEIGHTS, requires_grad=True)
    ours(torch.tensor(INPUTS), weights).sum().backward()
    sources = [one["source"] for one in ours.device.estimator.trace.records if "source" in one]
    assert sources == ["forward", "shift"]


def test_a_second_derivative_is_refused_and_comes_by_parameter_shift_where_it_is_asked_for():
    def function(x):
        qml.RX(x, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    device = PilotcutDevice(wires=2, labels="AB")
    node = qml.QNode(function, device)
    x = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(QuantumFunctionError, match="max_diff=2"):
        torch.autograd.grad(node(x), x, create_graph=True)
    y = pnp.array(0.4, requires_grad=True)
    with pytest.raises(QuantumFunctionError, match="max_diff=2"):
        qml.grad(qml.grad(node))(y)
    twice = qml.QNode(function, device, max_diff=2)
    assert abs(qml.grad(qml.grad(twice))(y) + np.cos(0.4)) < 1e-9
    with pytest.raises(QuantumFunctionError, match="does not support device"):
        qml.QNode(function, device, diff_method="device", max_diff=2)(y)


def test_parameter_shifts_and_other_methods_of_pennylanes_work():
    weights = pnp.array(WEIGHTS[:1], requires_grad=True)
    for method in ("parameter-shift", "finite-diff"):
        ours, theirs = nodes(expectation, method, labels="AAB")
        args = pnp.array(INPUTS[0], requires_grad=False), weights
        found = [qml.grad(node, argnums=1)(*args) for node in (ours, theirs)]
        assert np.allclose(*found, atol=1e-5)
    with pytest.raises(QuantumFunctionError, match="does not support adjoint"):
        nodes(expectation, "adjoint")[0](*args)
