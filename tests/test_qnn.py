"""`cut_qnn`: a cut circuit as a torch module."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut import UserError, cut_qnn
from pilotcut.descriptions import embedded
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager
from pilotcut.training.model import classifier

OBSERVABLES = [SparsePauliOp(["ZZZZ", "IXII", "IIII"], [1.0, 0.5, 0.2]), SparsePauliOp("IIIZ")]


def network(**options):
    model = classifier(4)
    options = {"cuts": 3, "initial_weights": np.linspace(-1, 1, 8)} | options
    return cut_qnn(
        model.circuit,
        OBSERVABLES,
        input_params=model.inputs,
        weight_params=model.weights,
        **options,
    ).double()


def test_shapes_of_batches_and_of_one_sample():
    qnn = network()
    batch = torch.rand(5, 4, dtype=torch.float64)
    assert qnn(batch).shape == (5, 2)
    torch.testing.assert_close(qnn(batch[2]), qnn(batch)[2])


def test_backward_passes_gradcheck():
    """Weights and inputs, two outputs, shared and scaled parameters, against differences."""
    qnn = network()
    inputs = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)

    def outputs(x, w):
        with torch.no_grad():
            qnn.weights.copy_(w)
        return torch.func.functional_call(qnn, {"weights": w}, x)

    weights = qnn.weights.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(outputs, (inputs, weights), atol=1e-6)


def test_shot_modes_are_near_the_exact_gradient():
    x = torch.rand(3, 4, dtype=torch.float64)
    slopes = {}
    for mode in ("exact", "sampled", "counts"):
        qnn = network(mode=mode, shots=8192, seed=1, cuts=1)
        qnn(x).pow(2).sum().backward()
        slopes[mode] = qnn.weights.grad
    scale = float(slopes["exact"].abs().max())
    for mode in ("sampled", "counts"):
        assert float((slopes[mode] - slopes["exact"]).abs().max()) < 0.15 * max(scale, 1)


def test_tasks_on_pilots_give_the_same_numbers():
    x = torch.rand(6, 4, dtype=torch.float64)
    here = network()
    here(x).sum().backward()
    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        there = network(tasks=tasks)
        there(x).sum().backward()
    torch.testing.assert_close(here.weights.grad, there.weights.grad, rtol=0, atol=0)


def test_inputs_cost_nothing_where_nobody_asks():
    """Without input gradients only the weights' fragments are pulled back; grad stays None."""
    qnn = network()
    x = torch.rand(2, 4, dtype=torch.float64)
    qnn(x).sum().backward()
    assert x.grad is None
    assert qnn.weights.grad.shape == (8,)


def test_a_training_loop_learns():
    model = classifier(4)
    qnn = cut_qnn(
        model.circuit,
        model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        cuts=2,
        seed=3,
    )
    x, y = torch.rand(16, 4), torch.sign(torch.rand(16, 1) - 0.5)
    optimizer = torch.optim.Adam(qnn.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(qnn(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_mistakes_are_one_line():
    model = classifier(4)
    roles = {"input_params": model.inputs, "weight_params": model.weights[:-1]}
    with pytest.raises(UserError, match=r"missing: w\[7\]"):
        cut_qnn(model.circuit, "ZZZZ", **roles)
    with pytest.raises(UserError, match=r"shape \(2, 3\), expected \(batch, 4\)"):
        network()(torch.rand(2, 3))
    with pytest.raises(UserError, match=r"is nan in row 1"):
        network()(torch.tensor([[0.0] * 4, [np.nan] + [0.0] * 3], dtype=torch.float64))
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("t"), 0)
    with pytest.raises(UserError, match="initial_weights have shape"):
        cut_qnn(
            circuit,
            "Z",
            input_params=[],
            weight_params=circuit.parameters,
            initial_weights=[0.0, 1.0],
        )
