"""Dealing shots: the budget is kept, errors fall, and error bars stay honest."""

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import random_unitary
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator, UserError
from pilotcut.backends import backend
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import compile_plan
from pilotcut.execution.shot_allocation import (
    FLOOR,
    LEAST,
    QUANTUM,
    expected,
    importance,
    merge,
    shared,
    squares_of,
)
from pilotcut.perfmodel.sample_circuits import qaoa_ring
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.training.model import classifier


@pytest.fixture(scope="module")
def model():
    return classifier(4)


@pytest.fixture(scope="module")
def values(model):
    return np.random.default_rng(0).uniform(0, 1.5, (6, model.circuit.num_parameters))


def estimated(model, values, mode, repetitions=30, **options):
    """Values and stds of many repetitions, (repetitions, rows)."""
    estimator = CutEstimator(labels="ABCD", seed=1, mode=mode, **options)
    rows = np.tile(values, (repetitions, 1, 1))
    data = estimator.run([(model.circuit, model.observable, rows)]).result()[0].data
    return data.evs, data.stds, estimator


@pytest.mark.parametrize(("mode", "repetitions"), [("sampled", 30), ("counts", 8)])
def test_optimal_allocation_needs_far_fewer_shots_for_the_same_error(
    model, values, mode, repetitions
):
    """At equal total shots, the squared error falls by more than 1.6; z-scores stay normal."""
    exact = StatevectorEstimator().run([(model.circuit, model.observable, values)]).result()
    squares, shots = {}, {}
    for allocation in ("uniform", "optimal"):
        how = {"shots": 512, "shot_allocation": allocation}
        evs, stds, estimator = estimated(model, values, mode, repetitions, **how)
        error = evs - exact[0].data.evs
        squares[allocation] = np.mean(error**2)
        # The deviation of n normal numbers is off by about 1 / sqrt(2 n).
        assert abs((error / stds).std() - 1) < 3 / np.sqrt(2 * error.size)
        batches = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        shots[allocation] = sum(r["shots"] * r["subexperiments"] for r in batches)
    assert squares["uniform"] > 1.6 * squares["optimal"]
    assert shots["optimal"] < 1.02 * shots["uniform"]


@pytest.mark.parametrize("labels", ["AABB", "ABCD"])
def test_near_one_optimal_allocation_does_not_lose(labels):
    """There a pilot round often sees one outcome only, which is no proof that it is certain."""
    rng = np.random.default_rng(3)
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(rng.uniform(0, 0.1), qubit)
    for qubit in range(3):
        circuit.rzz(0.1, qubit, qubit + 1)
    for qubit in range(4):
        circuit.ry(rng.uniform(0, 0.1), qubit)
    exact = StatevectorEstimator().run([(circuit, "ZZZZ")]).result()[0].data.evs
    assert exact > 0.95
    squares = {}
    for allocation in ("uniform", "optimal"):
        estimator = CutEstimator(
            labels=labels, seed=1, mode="sampled", shots=512, shot_allocation=allocation
        )
        data = estimator.run([(circuit, "ZZZZ", np.zeros((600, 0)))]).result()[0].data
        squares[allocation] = np.mean((data.evs - exact) ** 2)
    assert squares["optimal"] < 1.1 * squares["uniform"]


def pilot(model, values):
    plan = compile_plan(model.circuit, model.observable, labels="AABC")
    slots = plan.binding.slots(values)
    tensors = []
    for fragment in plan.fragments:
        tensor = FragmentTensor.empty(fragment, len(values))
        measured = backend("sampled").run(
            fragment, fragment.angle_values(slots), slice(0, fragment.num_subexperiments), 64, 1
        )
        for block in measured.blocks:
            tensor.fill(fragment, slice(0, len(values)), block)
        tensors.append(tensor)
    ones = [np.ones((len(values), 1, len(f.observables), f.num_variants)) for f in plan.fragments]
    return plan, tensors, ones


def of_pilot(plan, values):
    return [np.full((len(values), f.num_subexperiments), 64) for f in plan.fragments]


def test_what_is_dealt_keeps_the_budget_and_the_floor(model, values):
    plan, tensors, ones = pilot(model, values)
    rounds = of_pilot(plan, values)
    weights = list(map(importance, plan.fragments, tensors, ones, rounds))
    dealt = shared(weights, 1000)
    per_row = sum(d.sum(axis=1) for d in dealt) / plan.num_subexperiments
    np.testing.assert_allclose(per_row, 1000, rtol=0.02)
    assert min(d.min() for d in dealt) >= 1000 * FLOOR - QUANTUM
    assert all((d % QUANTUM == 0).all() for d in dealt)
    for weight, shots in zip(weights, dealt, strict=True):
        order = np.argsort(weight, axis=1)
        ranked = np.take_along_axis(shots, order, axis=1)
        assert (np.diff(ranked, axis=1) >= 0).all()


def test_merging_weighs_by_shots(model, values):
    plan, tensors, _ = pilot(model, values)
    fragment, tensor = plan.fragments[1], tensors[1]
    other = FragmentTensor(
        tensor.values + 0.3 * ~fragment.trivial, tuple(3 * c for c in tensor.covariances)
    )
    n1 = of_pilot(plan, values)[1]
    merged = merge(fragment, tensor, other, n1, 3 * n1)
    expected = tensor.values + 0.75 * 0.3 * ~fragment.trivial
    np.testing.assert_allclose(merged.values, expected, atol=1e-12)
    for mine, first in zip(merged.covariances, tensor.covariances, strict=True):
        np.testing.assert_allclose(mine, (0.25**2 + 3 * 0.75**2) * first, atol=1e-12)


def test_few_shots_are_dealt_finely_and_each_subexperiment_has_two():
    weights = [np.array([[0.0, 0.01, 5.0]]), np.array([[1.0, 0.0]])]
    for budget in (8, 20, 32, 100, 1000):
        dealt = np.concatenate(shared(weights, budget), axis=1)[0]
        assert abs(dealt.mean() / budget - 1) < 0.1
        assert dealt.min() >= max(LEAST, 0.25 * budget)
        assert dealt[2] > 2 * budget


def weak_ring():
    """A QAOA ring, cut twice at weak angles, and its observable."""
    ring = qaoa_ring(8)
    angles = np.random.default_rng(7).uniform(0, np.pi, ring.num_parameters)
    return ring.assign_parameters(angles), "IIIZZIII"


def test_weights_of_cuts_are_products_over_sites_between_two_fragments():
    """There s^2 of a subexperiment is the sum over what it may meet of the squares of weights."""
    circuit, observable = weak_ring()
    plan = compile_plan(circuit, observable, labels="AAAABBBB")
    slots = plan.binding.slots(np.zeros((1, 0)))
    found = expected(Contraction.of(plan), squares_of(plan, slots, slopes=True), np.ones((1, 1)))
    matrices = [bond.matrix(slots)[0] for bond in plan.bonds]
    for fragment, weights in zip(plan.fragments, found, strict=True):
        sites = [
            (matrices[s.bond] ** 2).sum(axis=1 - s.side)[np.concatenate(choices)]
            for s, choices in zip(
                fragment.sites,
                zip(*[t.choices.T for t in fragment.templates], strict=True),
                strict=True,
            )
        ]
        np.testing.assert_allclose(weights[0] ** 2, np.prod(sites, axis=0), atol=1e-12)


@pytest.mark.parametrize("allocation", ["weighted", "optimal"])
def test_weak_cuts_take_far_fewer_shots_from_the_first_shots_on(allocation):
    """With 48 shots a subexperiment; uniform ones need more than QPD sampling would."""
    circuit, observable = weak_ring()
    exact = StatevectorEstimator().run([(circuit, observable)]).result()[0].data.evs
    squares = {}
    for how in ("uniform", allocation):
        estimator = CutEstimator(
            labels="AAAABBBB", seed=5, mode="sampled", shots=48, shot_allocation=how
        )
        data = estimator.run([(circuit, observable, np.zeros((400, 0)))]).result()[0].data
        error = data.evs - exact
        squares[how] = np.mean(error**2)
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
        assert 0.8 < (error / data.stds).std() < 1.2
        batches = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        spent = sum(r["shots"] * r["subexperiments"] for r in batches)
        assert abs(spent / (48 * 50 * 400) - 1) < 0.03
    # Theory: 16,060, 8,500 and 1,340 shots for an error of 0.02.
    assert squares["uniform"] > {"weighted": 1.5, "optimal": 4}[allocation] * squares[allocation]


def test_a_small_angle_has_shots_for_its_derivative_where_one_is_taken():
    """At angle 0 nothing of a cut RZZ weighs but the identity; its slope has other terms."""
    circuit = QuantumCircuit(2)
    circuit.rzz(Parameter("t"), 0, 1)
    plan = compile_plan(circuit, "XX", labels="AB")
    contraction, slots = Contraction.of(plan), np.zeros((1, 1))
    both = [
        expected(contraction, squares_of(plan, slots, slopes=slopes), np.ones((1, 1)))[0][0]
        for slopes in (False, True)
    ]
    assert np.count_nonzero(both[0] > 1e-9) == 1
    assert np.count_nonzero(both[1] > 1e-9) > 1


@pytest.mark.parametrize("wires", ["separate", "randomised"])
def test_weights_of_wires_do_not_lose(wires):
    """Had all entries the mean square 1, senders' would look several times too important."""
    ratios = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        circuit = QuantumCircuit(3)
        circuit.append(UnitaryGate(random_unitary(4, seed=rng)), [0, 1])
        circuit.append(CutWire(), [1])
        circuit.append(UnitaryGate(random_unitary(4, seed=rng)), [1, 2])
        plan = compile_plan(circuit, "ZZZ", wires=wires)
        contraction, slots = Contraction.of(plan), np.zeros((1, 0))
        estimator = CutEstimator(plan=plan, mode="sampled", shots=20_000, seed=1)
        found = estimator.runner.evaluate(contraction, slots)
        rounds = [np.full((1, f.num_subexperiments), 20_000) for f in plan.fragments]
        sensitivities = found.sensitivities(np.ones((1, 1)))
        each = map(importance, plan.fragments, found.tensors, sensitivities, rounds)
        spread = np.concatenate(list(each), axis=1)
        squares = squares_of(plan, slots, slopes=False)
        weighted = shared(expected(contraction, squares, np.ones((1, 1))), 1024)
        dealt = np.concatenate(weighted, axis=1)
        ratios.append((spread**2 / dealt).sum() / (spread**2 / 1024).sum())
    assert max(ratios) < 1.1


@pytest.mark.parametrize("mode", ["sampled", "counts"])
def test_the_second_round_of_wires_follows_what_senders_found(mode):
    """With the bond of even shots it took twenty times as many; states without weight have none."""
    circuit = QuantumCircuit(4)
    circuit.h([0, 1, 2])
    circuit.x(3)
    circuit.h(3)
    circuit.cx(0, 3)
    circuit.cx(1, 3)
    circuit.append(CutWire(), [3])
    circuit.cx(2, 3)
    circuit.h([0, 1, 2])
    squares = {}
    for how in ("uniform", "optimal"):
        estimator = CutEstimator(
            wires="communication", seed=2, mode=mode, shots=256, shot_allocation=how
        )
        data = estimator.run([(circuit, "IZIZ", np.zeros((40, 0)))]).result()[0].data
        assert np.isfinite(data.stds).all()
        squares[how] = np.mean((data.evs - 1) ** 2)
    assert squares["optimal"] < 1.5 * squares["uniform"] < 1e-3


def test_unequal_shots_on_aer_are_all_run(model, values):
    """Binary digits of the numbers add up: means and covariances know their own shots."""
    plan = compile_plan(model.circuit, model.observable, labels="AABB")
    fragment = plan.fragments[0]
    angles = fragment.angle_values(plan.binding.slots(values[:2]))
    shots = np.arange(1, 11).reshape(2, 5) * 48
    measured = backend("aer").run(fragment, angles, slice(0, 5), shots, 3)
    place = {v: k for k, v in enumerate(np.concatenate([t.variants for t in fragment.templates]))}
    for block in measured.blocks:
        n = shots[:, [place[v] for v in block.variants]]
        np.testing.assert_allclose(
            block.covariances[..., 0, 0], (1 - block.means[..., 0] ** 2) / (n - 1), atol=1e-12
        )
        parity = (block.means[..., 0] + 1) / 2 * n
        np.testing.assert_allclose(parity, np.rint(parity), atol=1e-9)


def test_unknown_allocations_are_refused():
    with pytest.raises(UserError, match="shot_allocation is 'magic', expected one of uniform"):
        CutEstimator(shot_allocation="magic")
