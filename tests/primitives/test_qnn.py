"""`cut_qnn`: a cut circuit as a torch module."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.neural_networks import EstimatorQNN

from pilotcut import CutEstimator, UserError, compile_plan, cut_qnn
from pilotcut.io.jsonl import JsonLines
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
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


def weighted(qubits=2, inputs=True):
    """Return a circuit with its inputs x and weights w."""
    x, w = ParameterVector("x", qubits if inputs else 0), ParameterVector("w", qubits)
    circuit = QuantumCircuit(qubits)
    for k in range(qubits):
        circuit.h(k)
        circuit.ry(x[k] * w[k] if inputs else w[k], k)
    circuit.cx(0, 1)
    circuit.rx(w[1], 1)
    return circuit, x, w


def small(inputs=True, **options):
    circuit, x, w = weighted(inputs=inputs)
    options = {"labels": "AB", "initial_weights": [0.4, -0.9]} | options
    return cut_qnn(circuit, ["ZZ", "IX"], input_params=x, weight_params=w, **options)


def expected(rows, weights=(0.4, -0.9)):
    """Return what Qiskit's exact estimator answers, (rows, 2)."""
    circuit, x, w = weighted(inputs=rows is not None)
    rows = np.zeros((1, 0)) if rows is None else np.asarray(rows, dtype=float)
    values = [{w: weights} | ({x: row} if len(row) else {}) for row in rows]
    pubs = [(circuit.assign_parameters(v), ["ZZ", "IX"]) for v in values]
    return np.array([r.data.evs for r in StatevectorEstimator().run(pubs).result()]).reshape(-1, 2)


ROWS = np.array([[0.1, 0.7], [1.3, -0.2], [0.0, 2.0], [0.5, 0.5], [-1.0, 0.3], [0.9, 0.8]])


def test_shapes_are_those_of_torch_and_qiskit():
    """One row, a batch, a batch of batches, none: all right, like Qiskit's own network."""
    qnn = small().double()
    weights = qnn.weights.tolist()
    circuit, x, w = weighted()
    qiskits = EstimatorQNN(
        circuit=circuit,
        observables=[SparsePauliOp("ZZ"), SparsePauliOp("IX")],
        input_params=x,
        weight_params=w,
        estimator=CutEstimator(mode="exact"),
        default_precision=None,
    )
    values = expected(ROWS, weights)
    for shape in ((2,), (1, 2), (6, 2), (2, 3, 2), (1, 2, 3, 2)):
        some = ROWS[: int(np.prod(shape)) // 2].reshape(shape)
        found = qnn(torch.tensor(some)).detach().numpy()
        assert found.shape == shape
        np.testing.assert_allclose(found.reshape(-1, 2), values[: found.size // 2], atol=1e-12)
        theirs = qiskits.forward(some, weights)
        np.testing.assert_allclose(found.reshape(theirs.shape), theirs, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (2, 3), (2, 1), (0,), (2, 2, 3), (2, 0)])
def test_other_shapes_are_one_line(shape):
    """Four numbers are not two rows of two."""
    with pytest.raises(
        UserError, match=r"have shape .*, expected \(batch, 2\), or \(2,\) for"
    ) as e:
        small()(torch.zeros(shape))
    assert str(shape) in str(e.value)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_no_rows_are_no_outputs(mode):
    qnn = small(mode=mode).double()
    for shape in ((0, 2), (0, 5, 2), (3, 0, 2)):
        inputs = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        outputs = qnn(inputs)
        assert outputs.shape == shape
        outputs.sum().backward()
        assert inputs.grad.shape == shape
        assert not qnn.weights.grad.any()
    jacobian = torch.func.jacrev(lambda x: qnn(x))(torch.zeros(0, 2, dtype=torch.float64))
    assert jacobian.shape == (0, 2, 0, 2)


def test_circuits_without_inputs_are_called_without():
    """None, an empty list and an empty tensor are one evaluation, as in Qiskit ML."""
    qnn = small(inputs=False).double()
    values = torch.tensor(expected(None)[0])
    for inputs in (None, [], torch.zeros(0, dtype=torch.float64)):
        torch.testing.assert_close(qnn(inputs).double(), values, atol=1e-6, rtol=0)
    torch.testing.assert_close(qnn(), values)
    torch.testing.assert_close(qnn(torch.zeros(3, 0).double()), values.expand(3, 2))
    qnn().sum().backward()
    assert qnn.weights.grad.all()
    with pytest.raises(UserError, match="inputs are None, expected"):
        small()()


def test_circuits_without_weights_are_functions_of_their_inputs():
    circuit, x, w = weighted()
    qnn = cut_qnn(circuit, ["ZZ", "IX"], input_params=[*x, *w], labels="AB")
    rows = np.hstack([ROWS, np.tile([0.4, -0.9], (6, 1))])
    inputs = torch.tensor(rows, requires_grad=True)
    outputs = qnn(inputs)
    np.testing.assert_allclose(outputs.detach().numpy(), expected(ROWS), atol=1e-12)
    outputs.sum().backward()
    assert inputs.grad.any()


FLOATS = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("inputs", FLOATS)
@pytest.mark.parametrize("weights", FLOATS)
def test_outputs_have_the_inputs_dtype_and_float64s_value(inputs, weights):
    """Computed in float64 from what the tensors hold, and rounded once; gradients likewise."""
    qnn, rows = small().to(weights), torch.tensor(ROWS).to(inputs).requires_grad_()
    outputs = qnn(rows)
    assert outputs.dtype == inputs
    held = expected(rows.detach().double().numpy(), qnn.weights.detach().double().numpy())
    torch.testing.assert_close(outputs.detach(), torch.tensor(held).to(inputs))
    outputs.sum().backward()
    assert rows.grad.dtype == inputs
    assert qnn.weights.grad.dtype == weights
    exact = small(initial_weights=qnn.weights.detach()).double()
    exact.weights.data = qnn.weights.detach().double()
    exact(rows.detach().double()).sum().backward()
    torch.testing.assert_close(qnn.weights.grad, exact.weights.grad.to(weights))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float64(half):
    """Behind a linear layer outputs have its dtype; by itself a network keeps its inputs'."""
    qnn, rows = small(), torch.tensor(ROWS, dtype=torch.float32)
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), qnn)
    with torch.autocast("cpu", dtype=half):
        alone, behind, hidden = qnn(rows), net(rows), net[0](rows)
        behind.float().pow(2).sum().backward()
        curvature = torch.func.hessian(
            lambda w: torch.func.functional_call(qnn, {"weights": w}, rows).sum()
        )(qnn.weights.detach())
    assert (alone.dtype, behind.dtype) == (torch.float32, half)
    weights = qnn.weights.detach().double().numpy()
    known = torch.tensor(expected(rows.double().numpy(), weights))
    torch.testing.assert_close(alone, known.float(), atol=1e-6, rtol=0)
    held = torch.tensor(expected(hidden.detach().double().numpy(), weights))
    torch.testing.assert_close(behind, held.to(half))
    again = torch.func.hessian(
        lambda w: torch.func.functional_call(qnn, {"weights": w}, rows).sum()
    )(qnn.weights.detach())
    torch.testing.assert_close(curvature, again)


def test_whole_numbers_are_numbers_and_come_back_as_the_weights_dtype():
    qnn = small()
    whole = np.array([[0, 1], [2, -1]])
    for inputs in (torch.tensor(whole), torch.tensor(whole).int(), whole, whole.tolist()):
        outputs = qnn(inputs)
        assert outputs.dtype == torch.float32
        np.testing.assert_allclose(outputs.detach().numpy(), expected(whole), atol=1e-6)
    assert qnn(whole.astype(float)).dtype == torch.float64


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.ones(1, 2) * 1j, "inputs are torch.complex64, expected a dense tensor of real"),
        (torch.ones(1, 2).to_sparse(), "inputs are torch.sparse_coo, expected a dense"),
        ("ab", "inputs are a str .*expected a tensor of numbers"),
        ([["a", "b"]], "inputs are a list .*expected a tensor of numbers"),
        ([[0.0, np.inf]], "parameter 'x.1.' is inf in row 0, expected a finite number"),
        ([[0.0, 1.0], [-np.inf, 0]], "parameter 'x.0.' is -inf in row 1"),
    ],
)
def test_inputs_that_are_no_angles_are_one_line(inputs, said):
    with pytest.raises(UserError, match=said) as caught:
        small()(inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Complex modules")
def test_complex_weights_are_one_line():
    with pytest.raises(UserError, match=r"weights are torch\.complex64, expected real"):
        small().to(torch.complex64)(torch.zeros(1, 2))


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda v: v, lambda v: [p.name for p in v]])
def test_parameters_are_vectors_lists_tuples_or_names(kind):
    circuit, x, w = weighted()
    qnn = cut_qnn(circuit, ["ZZ", "IX"], input_params=kind(x), weight_params=kind(w), labels="AB")
    qnn.weights.data = torch.tensor([0.4, -0.9], dtype=torch.float64)
    outputs = qnn(torch.tensor(ROWS)).detach().numpy()
    np.testing.assert_allclose(outputs, expected(ROWS), atol=1e-12)


def test_roles_that_do_not_fit_are_one_line():
    circuit, x, w = weighted()
    cases = [
        ({"input_params": set(x), "weight_params": w}, "a set, which has no order"),
        ({"input_params": x, "weight_params": 3}, "weight_params are a int, expected a list"),
        ({"input_params": x, "weight_params": [1, 2]}, "weight_params hold 1, expected param"),
        ({"input_params": "x", "weight_params": w}, "unknown: x"),
        ({"input_params": x}, r"missing: w\[0\], w\[1\]"),
        ({"input_params": [*x, x[0]], "weight_params": w}, "each of the circuit's 4 once"),
        ({"input_params": x, "weight_params": w, "initial_weights": "ab"}, "initial_weights are"),
        ({"input_params": x, "weight_params": w, "initial_weights": [0, 1j]}, "initial_weights"),
        ({"input_params": x, "weight_params": w, "initial_weights": [0, np.nan]}, "hold nan"),
    ]
    for options, said in cases:
        with pytest.raises(UserError, match=said):
            cut_qnn(circuit, "ZZ", **options)


def test_all_options_are_the_estimators(tmp_path):
    """What `CutEstimator` takes changes a network in the same way, and is refused alike."""
    trace = JsonLines()
    qnn = small(mode="sampled", shots=512, shot_allocation="optimal", seed=4, trace=trace).double()
    circuit, _, _ = weighted()
    own = CutEstimator(labels="AB", mode="sampled", shots=512, shot_allocation="optimal", seed=4)
    # The weights were made in single precision, and equal draws are of equal angles.
    weights = qnn.weights.detach().numpy()
    values = np.hstack([ROWS, np.tile(weights, (6, 1))])[:, [2, 3, 0, 1]]
    pub = (circuit, [["ZZ"], ["IX"]], values)
    expected_values = own.run([pub]).result()[0].data.evs.T
    found = qnn(torch.tensor(ROWS))
    np.testing.assert_array_equal(found.detach().numpy(), expected_values)
    assert next(r["source"] for r in trace.records if r["kind"] == "query_batch") == "pilot"
    found.sum().backward()
    exact = small().double()
    exact(torch.tensor(ROWS)).sum().backward()
    torch.testing.assert_close(qnn.weights.grad, exact.weights.grad, atol=1.5, rtol=0)

    small(store=tmp_path / "store", seed=1).double()(torch.tensor(ROWS))
    assert list((tmp_path / "store").iterdir())
    for options, said in (
        ({"backend": "other"}, "other"),
        ({"error_tolerance": 2}, "error_tolerance is 2"),
        ({"reconstruction": "far"}, "reconstruction is 'far'"),
        ({"auto": {"max_cuts": 2}}, "expected cuts 'auto' beside it"),
        ({"labels": None, "cuts": "many"}, "or 'auto'"),
        ({"shot_allocation": "fair"}, "shot_allocation is 'fair'"),
    ):
        with pytest.raises(UserError, match=said):
            small(**options)


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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tasks": "laptop"}, "tasks is 'laptop' (str), expected a TaskManager"),
        ({"plan": "x"}, "plan is 'x' (str), expected a CutPlan"),
        ({"trace": 3}, "trace is 3 (int), expected the path of a file"),
        ({"store": 3}, "store is 3 (int), expected the path of a directory"),
        ({"joint_cuts": "yes"}, "joint_cuts is 'yes' (str), expected True or False"),
    ],
    ids=str,
)
def test_an_option_of_another_type_is_one_line(options, line):
    with pytest.raises(UserError) as caught:
        CutEstimator(**options)
    assert line in str(caught.value)


@pytest.mark.parametrize("circuit", [b"abc", None, 3])
def test_what_is_no_circuit_is_one_line(circuit):
    for use in (
        lambda: cut_qnn(circuit, "Z", input_params=[], weight_params=[]),
        lambda: compile_plan(circuit, "Z"),
    ):
        with pytest.raises(UserError, match="expected a QuantumCircuit; load_circuit reads one"):
            use()


def test_a_trace_may_be_the_path_of_its_file(tmp_path):
    circuit = QuantumCircuit(1)
    for path in (tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")):
        CutEstimator(mode="exact", trace=path).run([(circuit, "Z")]).result()
        assert "query_batch" in (tmp_path / path).read_text()


def test_equal_terms_beyond_floats_are_refused_alike():
    sums = SparsePauliOp(["Z", "Z"], [1.7e308, 1.7e308])
    with pytest.raises(UserError, match="coefficient inf, expected finite"):
        cut_qnn(QuantumCircuit(1), sums, input_params=[], weight_params=[])


def test_log_overhead_is_that_of_the_plan_at_inputs_and_weights():
    """Inputs and weights are given in another order than Qiskit's, which is that of names."""
    x, a = Parameter("x"), Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.rzz(x + 2 * a, 0, 1)
    qnn = cut_qnn(
        circuit, "ZZ", input_params=[x], weight_params=[a], labels="AB", initial_weights=[0.2]
    )
    inputs = torch.tensor([[[0.1], [0.5]]], requires_grad=True)
    found = qnn.log_overhead(inputs)
    angles = np.array([[0.5, 0.9]])
    np.testing.assert_allclose(
        found.detach().numpy(), 2 * np.log(1 + 2 * np.sin(angles)), rtol=1e-5
    )
    found.sum().backward()
    slopes = 4 * np.cos(angles) / (1 + 2 * np.sin(angles))
    np.testing.assert_allclose(inputs.grad[..., 0].numpy(), slopes, rtol=1e-5)
    np.testing.assert_allclose(qnn.weights.grad.numpy(), [2 * slopes.sum()], rtol=1e-5)


def test_a_circuit_may_be_a_file_in_openqasm(tmp_path):
    file = tmp_path / "circuit.qasm"
    file.write_text(
        'OPENQASM 3.0; include "stdgates.inc"; input float w; qubit[2] q; rx(w) q[0]; '
        "cx q[0], q[1];"
    )
    qnn = cut_qnn(file, "ZI", weight_params=["w"], initial_weights=[0.4], cuts=1)
    assert abs(qnn().item() - np.cos(0.4)) < 1e-6
