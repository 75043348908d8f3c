"""Derivatives beyond the first, against differences; where there are none, one line."""

from itertools import product
from math import pi

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire
from torch.autograd import forward_ad
from torch.autograd.functional import hessian
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, linearize, vmap

from pilotcut import UserError, backends, cut_qnn
from pilotcut.errors import CutError
from pilotcut.options import EngineOptions
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.reconstruction.differentiable import DirectionalDerivative
from pilotcut.tasks import TaskManager

X, W = ParameterVector("x", 2), ParameterVector("w", 4)
OBSERVABLES = [SparsePauliOp(["ZZI", "IXY", "III"], [1, 0.5, 0.3]), "IZX"]
START = [0.3, 0.4, 0.8, 0.5]


def gates() -> QuantumCircuit:
    """Return a circuit with inputs and weights in one angle, and free angles on every bond."""
    circuit = QuantumCircuit(3)
    circuit.ry(X[0], 0)
    circuit.rx(2 * X[1] + W[0], 1)
    circuit.ry(W[1], 2)
    circuit.rzz(W[2] - X[0], 0, 1)
    circuit.crx(W[3], 1, 2)
    circuit.rx(X[1], 0)
    circuit.ry(W[0], 1)
    circuit.cx(0, 1)
    circuit.rx(0.4, 2)
    return circuit


def wires() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ry(X[0], 0)
    circuit.cx(0, 1)
    circuit.rx(W[0], 1)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    circuit.ry(W[1] + X[1], 2)
    circuit.ry(W[2], 1)
    circuit.crz(W[3], 1, 2)
    circuit.h(2)
    return circuit


def curved() -> QuantumCircuit:
    """Return a circuit whose angles bend: a feature map's, products, and functions."""
    circuit = QuantumCircuit(3)
    circuit.h([0, 1])
    circuit.p(2 * X[0], 0)
    circuit.cx(0, 1)
    circuit.p(2 * (pi - X[0]) * (pi - X[1]), 1)
    circuit.cx(0, 1)
    circuit.ry(W[0] * X[0], 2)
    circuit.rzz(W[1].sin() + X[1] * X[1], 1, 2)
    circuit.ry(W[3].exp() * W[2], 0)
    return circuit


def network(circuit=None, **options):
    options = {"labels": None if circuit else "ABB"} | {"initial_weights": START} | options
    made = gates() if circuit is None else circuit
    return cut_qnn(made, OBSERVABLES, input_params=X, weight_params=W, **options).double()


def function(qnn):
    return lambda x, w: functional_call(qnn, {"weights": w}, x)


def point(rows=1, seed=0):
    x = np.random.default_rng(seed).uniform(0.2, 1.2, (rows, 2))
    return torch.tensor(x, requires_grad=True), torch.tensor(START, dtype=torch.float64)


def differences(of, at, step=1e-5):
    """Return the central differences of a function of a vector, the last axis by its entries."""
    shifts = step * torch.eye(len(at), dtype=at.dtype)
    return torch.stack([(of(at + s) - of(at - s)) / (2 * step) for s in shifts], dim=-1)


NETWORKS = {
    "uncut": lambda: network(labels="AAA"),
    "two fragments": lambda: network(labels="ABB"),
    "three fragments": lambda: network(labels="ABC"),
    "a wire cut": lambda: network(wires()),
    "curved": lambda: network(curved(), labels="AAB"),
    "tensor networks of fragments": lambda: network(labels="ABC", engine="network"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_second_derivatives_pass_gradgradcheck(name):
    """By inputs, by weights and mixed, backwards and forwards over backwards."""
    f = function(NETWORKS[name]())
    x, w = point()
    w.requires_grad_()
    assert torch.autograd.gradcheck(f, (x, w), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (x, w), check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["two fragments", "curved"])
def test_hessians_are_those_of_differences_in_every_way_to_take_them(name):
    f = function(NETWORKS[name]())
    x, w = point(2)

    def loss(w):
        return f(x.detach(), w).pow(2).sum()

    expected = differences(grad(loss), w)
    ways = [hessian(loss, w)]
    ways += [way(loss)(w) for way in (torch.func.hessian, lambda g: jacrev(jacrev(g)))]
    ways += [jacrev(jacfwd(loss))(w)]
    for found in ways:
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-6)


def test_a_gradient_penalty_counts():
    """y² + 10 (dy/dx)²: its gradient by the weights, against differences."""
    qnn = network()
    x, w = point(3)

    def loss(w):
        y = functional_call(qnn, {"weights": w}, x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return (y**2).sum() + 10 * (slope**2).sum()

    y = qnn(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    ((y**2).sum() + 10 * (slope**2).sum()).backward()
    expected = differences(lambda w: loss(w).detach(), w)
    torch.testing.assert_close(qnn.weights.grad, expected, atol=1e-6, rtol=1e-6)


def test_a_frozen_network_has_a_penalty_on_its_inputs():
    """Weights that need no gradient: the penalty's own gradient by the inputs."""
    qnn = network().requires_grad_(False)
    x, _ = point()

    def penalty(row):
        leaf = row[None].detach().requires_grad_()
        (slope,) = torch.autograd.grad(qnn(leaf).sum(), leaf, create_graph=True)
        return (slope**2).sum(), leaf

    value, leaf = penalty(x[0])
    value.backward()
    expected = differences(lambda row: penalty(row)[0].detach(), x[0].detach())
    torch.testing.assert_close(leaf.grad[0], expected, atol=1e-6, rtol=1e-6)


def test_third_derivatives_are_right_in_every_order_of_modes_but_forward_over_forward():
    """torch 2.13 takes the outer of two forward modes for zero: that is refused."""
    f = function(network())
    x, w = point()

    def loss(w):
        return f(x.detach(), w).pow(2).sum()

    expected = differences(jacrev(jacrev(loss)), w)
    for modes in product((jacrev, jacfwd), repeat=3):
        derived = loss
        for mode in modes:
            derived = mode(derived)
        if modes.count(jacfwd) > 1:
            with pytest.raises(UserError, match=r"forward-mode .* expected one at most"):
                derived(w)
        else:
            torch.testing.assert_close(derived(w), expected, atol=1e-7, rtol=1e-6)


def test_third_derivatives_by_angles_that_bend_are_refused():
    f = function(network(curved()))
    x, w = point()
    with pytest.raises(UserError, match="order 3 are asked for, expected at most 2"):
        jacrev(torch.func.hessian(lambda w: f(x.detach(), w).sum()))(w)


def test_rows_and_weights_are_mapped():
    """vmap over rows, weights, both, and the gradients and Hessians of single samples."""
    f = function(network())
    x, w = point(3)
    x = x.detach()
    many = torch.stack([w, w + 0.3])
    by_weights = torch.stack([f(x, one) for one in many])
    torch.testing.assert_close(vmap(lambda row: f(row, w))(x), f(x, w))
    torch.testing.assert_close(vmap(lambda one: f(x, one))(many), by_weights)
    both = vmap(lambda one: vmap(lambda row: f(row, one))(x))(many)
    torch.testing.assert_close(both, by_weights)

    def loss(w, row):
        return f(row, w).pow(2).sum()

    for derivative in (grad(loss), torch.func.hessian(loss)):
        found = vmap(derivative, in_dims=(None, 0))(w, x)
        torch.testing.assert_close(found, torch.stack([derivative(w, row) for row in x]))
    of_sum = grad(lambda w: vmap(lambda row: loss(w, row))(x).sum())(w)
    torch.testing.assert_close(of_sum, torch.stack([grad(loss)(w, row) for row in x]).sum(dim=0))


def test_many_outputs_are_pulled_back_at_once():
    """jacrev stacks outputs; the fragments are still run once, and pulled back once."""
    qnn = network()
    f, (x, w) = function(qnn), point(2)
    jacobian = jacrev(lambda w: f(x.detach(), w))(w)
    sources = [r["source"] for r in qnn.estimator.trace.records if r["kind"] == "query_batch"]
    assert sources == ["forward", "shift"]
    expected = differences(lambda w: f(x.detach(), w), w)
    torch.testing.assert_close(jacobian, expected, atol=1e-8, rtol=1e-6)


def test_forward_mode_gives_directional_derivatives():
    f = function(network())
    x, w = point(2)
    x = x.detach()
    step = torch.tensor([1.0, -0.5, 0.2, 2.0], dtype=torch.float64)
    expected = differences(lambda w: f(x, w), w) @ step
    torch.testing.assert_close(jvp(lambda w: f(x, w), (w,), (step,))[1], expected)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(f(x, forward_ad.make_dual(w, step))).tangent
        torch.testing.assert_close(found, expected)
    twice = torch.autograd.functional.jvp(lambda w: f(x, w), w, step)[1]
    torch.testing.assert_close(twice, expected)


def test_forward_mode_goes_through_a_backward_pass():
    """Of a backward pass that records nothing, too: dual numbers need no graph."""
    f = function(network())
    x, w = point(2)
    step = torch.ones_like(x)
    _, expected = torch.autograd.functional.hvp(lambda x: f(x, w).sum(), x.detach(), step)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, step)
        (slope,) = torch.autograd.grad(f(dual, w).sum(), dual)
        torch.testing.assert_close(forward_ad.unpack_dual(slope).tangent, expected)


def test_ways_that_would_see_no_numbers_are_refused():
    """torch's first vmap, and traces, which would keep numbers as constants."""
    qnn = network()
    f, (x, w) = function(qnn), point()
    x = x.detach()
    with pytest.raises(UserError, match="leave vectorize"):
        hessian(lambda w: f(x, w).sum(), w, vectorize=True)
    for way in (lambda: linearize(lambda w: f(x, w), w), lambda: torch.export.export(qnn, (x,))):
        with pytest.raises(UserError, match="the network is traced"):
            way()


@pytest.mark.parametrize("options", [{}, {"num_samples": 50}, {"shot_allocation": "optimal"}])
def test_modes_with_shots_refuse_second_derivatives_and_keep_first_ones(options):
    """A gradient with a graph is as good as one without, until it is differentiated."""
    qnn = network(mode="sampled", shots=4096, seed=1, **options)
    x, w = point()
    y = qnn(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (known,) = torch.autograd.grad(network()(x).sum(), x)
    torch.testing.assert_close(slope.detach(), known, atol=0.15, rtol=0)
    said = r"a second derivative is asked for in mode 'sampled', expected mode='exact'"
    with pytest.raises(UserError, match=said):
        (y.pow(2).sum() + 10 * slope.pow(2).sum()).backward()
    f = function(qnn)
    with pytest.raises(UserError, match=said):
        torch.func.hessian(lambda w: f(x.detach(), w).sum())(w)
    with pytest.raises(UserError, match=said):
        hessian(lambda w: f(x.detach(), w).sum(), w)
    exact = function(network())
    expected = jacrev(lambda w: exact(x.detach(), w))(w)
    for way in (jacrev, jacfwd):
        found = way(lambda w: f(x.detach(), w))(w)
        torch.testing.assert_close(found, expected, atol=0.15, rtol=0)


def test_rows_are_differentiated_in_chunks_that_fit_the_memory_limit(monkeypatch):
    """A batch in chunks of two rows has the same Hessian; a row that does not fit is one line."""
    qnn = network(labels="ABC", engine="statevector")
    f, (x, w) = function(qnn), point(5)

    def loss(w):
        return f(x.detach(), w).pow(2).sum()

    whole = hessian(loss, w)
    engine = backends.exact_engine(EngineOptions("statevector"))
    sizes, run = [], DirectionalDerivative.run
    monkeypatch.setattr(
        DirectionalDerivative,
        "run",
        lambda self, o: (sizes.append(len(self.weights)), run(self, o))[1],
    )
    row = sum(engine.row_bytes(fragment, recorded=True) for fragment in qnn.plan.fragments)
    monkeypatch.setattr(engine.states, "memory_bytes", 2 * 9 * row)
    torch.testing.assert_close(hessian(loss, w), whole)
    assert set(sizes) == {1, 2}
    monkeypatch.setattr(engine.states, "memory_bytes", 8 * row)
    with pytest.raises(CutError, match="derivatives of order 2 need"):
        hessian(loss, w)
    grad(loss)(w)  # first ones still fit


def test_workers_differentiate_rows_and_give_the_same_bits():
    x, w = point(4)
    x = x.detach()

    def second(qnn):
        f = function(qnn)
        return torch.func.hessian(lambda w: f(x, w).pow(2).sum())(w)

    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        there = second(network(tasks=tasks))
    torch.testing.assert_close(there, second(network()), rtol=0, atol=0)


def test_observables_that_nothing_moves_have_zero_derivatives():
    x, w = point()
    for observables in (["III", "IIZ"], "III"):
        qnn = cut_qnn(gates(), observables, input_params=X, weight_params=W, labels="ABB").double()
        f = function(qnn)
        found = torch.func.hessian(lambda w, f=f: f(x.detach(), w)[0, 0] ** 2)(w)
        assert float(found.abs().max()) < 1e-12


def test_weights_of_several_networks_are_mapped():
    """`stack_module_state` and vmap: an ensemble answers as its members do."""
    members = [network(initial_weights=[0.1 * k, 0.2, -0.3 * k, 1.0]) for k in range(3)]
    x = point(2)[0].detach()
    state = torch.func.stack_module_state(members)
    found = vmap(lambda *one: functional_call(members[0], one, (x,)))(*state)
    torch.testing.assert_close(found, torch.stack([member(x) for member in members]))
    with pytest.raises(UserError, match=r"weights have shape \(3,\), expected \(4,\)"):
        function(members[0])(x, torch.zeros(3))


def test_hvp_asks_for_no_third_derivative_of_curved_angles():
    """torch differentiates a second derivative by its dummy cotangent alone."""
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(2)
    circuit.rx(x * w, 0)
    circuit.cx(0, 1)
    qnn = cut_qnn(circuit, "IZ", input_params=[x], weight_params=[w], labels="AB").double()
    point = torch.tensor([0.5], dtype=torch.float64)
    given, step = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([2.0]).double()

    def s(weights):
        return functional_call(qnn, {"weights": weights}, (given,)).sum()

    found = torch.autograd.functional.hvp(s, point, step)[1]
    torch.testing.assert_close(found, -(0.3**2) * torch.cos(0.3 * point) * step)
    vector = torch.autograd.functional.vhp(s, point, step)[1]
    torch.testing.assert_close(vector, found)
    twice = torch.autograd.functional.jvp(
        lambda b: torch.autograd.functional.jacobian(s, b, create_graph=True), point, step
    )[1]
    torch.testing.assert_close(twice, found)
    b = point.clone().requires_grad_()
    second = torch.autograd.functional.hvp(s, b, step, create_graph=True)[1]
    with pytest.raises(UserError, match="order 3 are asked for, expected at most 2"):
        second.sum().backward()
