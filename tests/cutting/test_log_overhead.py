"""log gamma^2 at given angles: its value by formula, its slope by differences, and its kinks."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import UserError, compile_plan


def chain(angles, gate="rzz"):
    circuit = QuantumCircuit(2 * len(angles))
    circuit.h(range(circuit.num_qubits))
    for k, angle in enumerate(angles):
        getattr(circuit, gate)(angle, k, k + len(angles))
    return circuit


def test_gamma_of_free_gates_is_one_plus_two_sines_each():
    x = ParameterVector("x", 2)
    plan = compile_plan(chain([x[0], 2 * x[1] + 0.3]), labels="AABB")
    values = np.random.default_rng(5).uniform(-4, 4, (7, 2))
    angles = values * [1, 2] + [0, 0.3]
    expected = 2 * np.log(1 + 2 * np.abs(np.sin(angles))).sum(axis=1)
    np.testing.assert_allclose(plan.log_overhead(values), expected, atol=1e-9)
    assert plan.log_overhead(values[0]).shape == ()
    crz = compile_plan(chain(list(x), "crz"), labels="AABB")
    expected = 2 * np.log(1 + 2 * np.abs(np.sin(values / 2))).sum(axis=1)
    np.testing.assert_allclose(crz.log_overhead(values), expected, atol=1e-9)


def test_gamma_of_a_joint_cut_is_that_of_its_gates_together():
    x = ParameterVector("x", 2)
    plan = compile_plan(chain(list(x)), labels="AABB", joint_cuts=True)
    assert len(plan.bonds) == 1
    values = np.array([[0.4, -1.1], [np.pi / 2, np.pi / 2], [0.0, 0.0]])
    expected = 2 * np.log(2 * np.prod(1 + np.abs(np.sin(values)), axis=1) - 1)
    np.testing.assert_allclose(plan.log_overhead(values), expected, atol=1e-9)


def test_at_the_worst_angles_it_is_the_sampling_overhead():
    x = ParameterVector("x", 2)
    circuit = chain(list(x))
    circuit.swap(1, 2)
    circuit.cx(0, 3)
    plan = compile_plan(circuit, labels="AABB")
    worst = plan.log_overhead([[np.pi / 2, -np.pi / 2]])
    assert np.exp(worst[0]) == pytest.approx(plan.sampling_overhead)


def test_cuts_without_parameters_have_a_constant():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.append(CutWire(), [0])
    circuit.cx(0, 1)
    plan = compile_plan(circuit)
    assert plan.log_overhead([[0.3], [1.0]]) == pytest.approx(np.log([9, 9]))
    values = torch.tensor([[0.3]], requires_grad=True)
    plan.log_overhead(values).sum().backward()
    assert values.grad.tolist() == [[0.0]]


@pytest.mark.parametrize("wires", ["auto", "separate", "communication", "randomised"])
def test_wires_have_the_overhead_of_the_way_they_are_cut(wires):
    circuit = QuantumCircuit(3)
    circuit.rzz(Parameter("x"), 0, 1)
    circuit.append(CutWire(), [0])
    circuit.append(CutWire(), [1])
    circuit.cx(0, 2)
    circuit.cx(1, 2)
    plan = compile_plan(circuit, wires=wires)
    expected = [np.log(plan.sampling_overhead)]
    np.testing.assert_allclose(plan.log_overhead([[0.3]]), expected)


@pytest.mark.parametrize("joint", [False, True])
def test_its_gradient_is_that_of_differences(joint):
    x = ParameterVector("x", 2)
    circuit = chain([x[0] * x[1], x[1] - 0.5 * x[0]])
    circuit.crx(x[0], 0, 3)
    plan = compile_plan(circuit, labels="AABB", joint_cuts=joint)
    values = torch.tensor(np.random.default_rng(3).uniform(-2, 2, (5, 2)), requires_grad=True)
    assert torch.autograd.gradcheck(plan.log_overhead, values)


def test_at_the_kink_its_slope_is_zero():
    plan = compile_plan(chain([Parameter("x")]), labels="AB")
    values = torch.tensor([[0.0], [np.pi]], dtype=torch.float64, requires_grad=True)
    plan.log_overhead(values).sum().backward()
    assert values.grad.abs().max() < 1e-12


def test_tensors_keep_their_dtype_and_leading_dimensions():
    plan = compile_plan(chain([Parameter("x")]), labels="AB")
    values = torch.full((2, 3, 1), 0.5, requires_grad=True)
    found = plan.log_overhead(values)
    assert (found.dtype, found.shape) == (torch.float32, (2, 3))
    found.sum().backward()
    expected = 4 * np.cos(0.5) / (1 + 2 * np.sin(0.5))
    np.testing.assert_allclose(values.grad.numpy(), expected, rtol=1e-5)


def test_wrong_values_are_refused_in_one_line():
    plan = compile_plan(chain([Parameter("x")]), labels="AB")
    for wrong in ([[0.1, 0.2]], 0.1, [[np.nan]], [[1j]], torch.zeros(3, 2)):
        with pytest.raises(UserError, match="expected") as told:
            plan.log_overhead(wrong)
        assert "\n" not in str(told.value)


def test_a_second_derivative_is_refused_and_not_zero():
    plan = compile_plan(chain([Parameter("x")]), labels="AB")
    values = torch.tensor([[0.4]], requires_grad=True)
    (slope,) = torch.autograd.grad(plan.log_overhead(values).sum(), values, create_graph=True)
    with pytest.raises(UserError, match="a second derivative of log_overhead"):
        (slope**2 + values).sum().backward()
