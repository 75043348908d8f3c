"""Joint cuts with shots: error bars that hold, gradients without bias."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from support.circuits import A, B, parallel, trained
from support.exact import derivative
from support.joint_cuts import SUM, SUM3, THREE, TWO, gates_of, standardised

from pilotcut import CutEstimator, CutGradient, compile_plan, cut_qnn

# -- with shots ------------------------------------------------------------------------


def assert_unit(z: np.ndarray) -> None:
    """Mean 0 and deviation 1, to four standard errors of each."""
    rows = len(z)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(rows)
    assert np.abs(z.std(axis=0) - 1).max() < 4 / np.sqrt(2 * rows)


@pytest.mark.parametrize(
    ("circuit", "observables", "labels", "rows"),
    [
        (TWO, ["ZZZZ", "IXIZ", "YIIY", SUM], "AABB", 400),
        (THREE, ["ZZZZZZ", "IIXZII", SUM3], "AAABBB", 75),
        (parallel(2, [("cx",), ("rzz", 0.8)], layers=2), ["ZZZZ", SUM], "AABB", 40),
    ],
    ids=["two", "three", "layers"],
)
def test_sampled_estimates_have_error_bars_that_hold(circuit, observables, labels, rows):
    """z-scores have mean 0 and unit spread, those of sums by the covariance of their terms."""
    z = standardised(circuit, observables, rows, mode="sampled", labels=labels, seed=1, shots=500)
    assert_unit(z)


def test_counts_estimates_have_error_bars_that_hold():
    """The circuits with their ancillas, through Aer, packed side by side."""
    z = standardised(TWO, ["ZZZZ", "IXIZ", SUM], 40, labels="AABB", seed=2, shots=500)
    assert_unit(z)
    z = standardised(THREE, ["ZZZZZZ", SUM3], 3, labels="AAABBB", seed=3, shots=500)
    assert np.abs(z).max() < 4


@pytest.mark.parametrize(("mode", "rows"), [("sampled", 300), ("counts", 30)])
def test_covariances_of_observables_that_share_their_shots(mode, rows):
    """Bits that are mostly equal: without covariances the difference has four times its error."""
    circuit = QuantumCircuit(4)
    for qubit, angle in enumerate((1.2, 0.3, 1.0, 0.4)):
        circuit.ry(angle, qubit)
    circuit.cx(0, 2)
    circuit.rzz(0.9, 3, 1)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    sums = [SparsePauliOp(["IIZI", "IIIZ"], [1, sign]) for sign in (1, -1)]
    both = SparsePauliOp(["ZIZI", "ZIIZ", "IZII", "ZIII"], [1, -1, 1, -1])
    options = {"mode": mode, "labels": "AABB", "seed": 7, "shots": 500}
    assert_unit(standardised(circuit, [*sums, both], rows, **options))


def test_shots_dealt_by_importance():
    options = {"mode": "sampled", "labels": "AABB", "shot_allocation": "optimal"}
    assert_unit(standardised(TWO, ["ZZZZ", SUM], 200, seed=4, shots=1000, **options))


def test_a_joint_cut_has_the_smaller_error():
    """Two CX with the same shots in all: 49 in place of 81."""
    circuit, errors = parallel(2, [("cx",), ("cx",)]), []
    for joint in (False, True):
        plan = compile_plan(circuit, "ZZZZ", labels="AABB", joint_cuts=joint)
        shots = 200_000 // plan.num_subexperiments
        estimator = CutEstimator(plan=plan, mode="sampled", shots=shots, seed=1)
        data = estimator.run([(circuit, "ZZZZ", np.zeros((100, 0)))]).result()[0].data
        errors.append(data.stds.mean())
    assert errors[1] < 0.95 * errors[0]


# -- gradients -------------------------------------------------------------------------


def test_gradients_are_unbiased():
    """Means over many repetitions are the exact derivatives, also at vanishing weights."""
    circuit, values = trained()
    plan = compile_plan(circuit, SUM, labels="AABB", joint_cuts=True)
    assert [len(bond.angles) for bond in plan.bonds] == [2, 1]
    estimator = CutEstimator(plan=plan, mode="sampled", shots=128, seed=3)
    rows = 40
    for point in (values, np.array([0.0, 0.15])):
        job = CutGradient(estimator).run([circuit] * rows, [SUM] * rows, [point] * rows)
        found = np.array(job.result().gradients)
        error = found.mean(axis=0) - derivative(circuit, SUM, point)
        assert np.abs(error * np.sqrt(rows) / found.std(axis=0, ddof=1)).max() < 4
        assert found.std(axis=0).max() < 1.5


def test_gradients_of_counts_lie_near_the_exact_derivative():
    circuit, values = trained()
    estimator = CutEstimator(labels="AABB", joint_cuts=True, shots=1024, seed=1)
    found = CutGradient(estimator).run([circuit], [SUM], [values]).result().gradients[0]
    np.testing.assert_allclose(found, derivative(circuit, SUM, values), atol=0.35)


def test_the_angles_of_a_joint_cut_cost_no_circuit():
    """Three free angles in one bond: the gradient runs the circuits of the value, no more."""
    angles = [Parameter(f"t{k}") for k in range(3)]
    circuit = parallel(3, [("rzz", angles[0]), ("rxx", 2 * angles[1]), ("rzx", angles[2])])
    estimator = CutEstimator(
        labels="AAABBB", joint_cuts=True, mode="sampled", shots=100_000, seed=1
    )
    observable, values = SparsePauliOp("ZZZZZZ"), np.array([0.4, 0.3, 1.2])
    found = CutGradient(estimator).run([circuit], [observable], [values]).result().gradients[0]
    np.testing.assert_allclose(found, derivative(circuit, observable, values), atol=0.05)
    plan = estimator.compile_for(circuit, observable).plan
    assert gates_of(plan) == [3]
    assert estimator.stages.subexperiments == plan.num_subexperiments
    sources = [r["source"] for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert sources == ["gradient"]


def test_a_module_with_joint_cuts_has_the_right_gradient():
    """Through torch, with inputs and weights that stand in one joint cut."""
    circuit, values = trained()
    slopes = []
    for mode in ("exact", "sampled"):
        module = cut_qnn(
            circuit,
            SUM,
            input_params=[A],
            weight_params=[B],
            labels="AABB",
            joint_cuts=True,
            mode=mode,
            shots=4000,
            seed=1,
            initial_weights=values[1:],
        ).double()
        assert gates_of(module.plan) == ([1, 1, 1] if mode == "exact" else [2, 1])
        x = torch.tensor(values[None, :1], requires_grad=True)
        module(x).sum().backward()
        slopes.append([x.grad.item(), module.weights.grad.item()])
    np.testing.assert_allclose(slopes[0], derivative(circuit, SUM, values), atol=1e-6)
    np.testing.assert_allclose(slopes[1], slopes[0], atol=0.15)
