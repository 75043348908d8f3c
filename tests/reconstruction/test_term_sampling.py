"""Sampled terms: unbiased, with error bars that hold, where variants cannot be enumerated."""

from itertools import product

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_addon_cutting.instructions import Move
from support.circuits import halves, moved
from support.exact import exact, uncut

from pilotcut import CutEstimator, CutGradient, UserError, cut_qnn
from pilotcut.cutting.plan import compile_plan
from pilotcut.reconstruction.term_sampling import TermSample


def standardised(circuit, observables, rows, seed, **options):
    """Deviations in standard errors of independent rows, (rows, observables)."""
    estimator = CutEstimator(seed=seed, **options)
    values = np.zeros((rows, 1, 0))
    data = estimator.run([(circuit, observables, values)]).result()[0].data
    return (data.evs - exact(circuit, observables)) / data.stds


@pytest.mark.parametrize(
    ("mode", "shots", "rows"), [("sampled", 64, 60), ("sampled", 2000, 60), ("counts", 64, 30)]
)
def test_unbiased_with_an_error_bar_that_holds(mode, shots, rows):
    """Two strong cuts, a rank-4 cut and a wire cut; noise by terms and by shots.

    Means within 4 standard errors of 0; deviations of at most 3.7 above 1 and 4.9 below.
    """
    least, most = (1 + many / np.sqrt(2 * rows) for many in (-4.9, 3.7))
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.iswap(2, 3)
    circuit.rx(0.7, 2)
    z = standardised(
        circuit, ["ZZZZ", "IXII"], rows, 3, mode=mode, labels="AABC", shots=shots, num_samples=300
    )
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(rows)
    assert np.all(z.std(axis=0) < most)
    assert np.all(z.std(axis=0) > least)
    wire = standardised(
        moved(5), ["ZIX", "IIZ"], rows, 4, mode=mode, labels="AAB", shots=shots, num_samples=300
    )
    assert np.abs(wire.mean(axis=0)).max() < 4 / np.sqrt(rows)
    assert np.all(wire.std(axis=0) < most)


def test_the_error_falls_with_the_square_root_of_the_terms():
    circuit = halves(2, [0.9, 0.7, 1.1, 0.8], layers=2)  # 1,296 terms
    stds = []
    for number in (50, 200):
        estimator = CutEstimator(
            labels="AABB", mode="sampled", num_samples=number, shots=10**4, seed=1
        )
        data = estimator.run([(circuit, "ZIIZ", np.zeros((20, 0)))]).result()[0].data
        stds.append(data.stds.mean())
        assert data.evs.std() == pytest.approx(data.stds.mean(), rel=0.5)
    assert 1.7 < stds[0] / stds[1] < 3  # more than the root: more terms are exact


def test_many_weak_cuts_that_nobody_could_enumerate():
    """Twelve RZZ between two halves: 2.4e8 variants a fragment, a few hundred are run."""
    circuit = halves(4, np.full(12, 0.06), layers=3)
    plan = compile_plan(circuit, "ZIIIIIIZ", labels="AAAABBBB")
    assert plan.num_variants == 2 * 5**12
    estimator = CutEstimator(labels="AAAABBBB", shots=500, num_samples=500, seed=2)
    data = estimator.run([(circuit, "ZIIIIIIZ")]).result()[0].data
    assert data.stds < 0.3
    assert abs(data.evs - exact(circuit, ["ZIIIIIIZ"])[0]) < 4 * data.stds
    assert 0 < estimator.stages.subexperiments < 1000


def test_gradients_of_sampled_terms_are_unbiased_also_where_a_weight_vanishes():
    """At angle 0 the terms with sin x have no weight, but all of the slope."""
    free = [Parameter(f"t{k}") for k in range(2)]
    circuit = halves(2, free)
    inner = Parameter("w")
    circuit.ry(2 * inner, 3)
    observable = SparsePauliOp(["ZIIZ", "IXXI"], [1.0, 0.5])
    values = [0.0, 0.8, 0.3]

    def value(shifted):
        return Statevector(circuit.assign_parameters(shifted)).expectation_value(observable).real

    steps = 1e-5 * np.eye(3)
    expected = [(value(values + s) - value(values - s)) / 2e-5 for s in steps]
    estimator = CutEstimator(labels="AABB", mode="sampled", num_samples=400, shots=400, seed=4)
    rows = 75
    gradients = CutGradient(estimator).run([circuit] * rows, [observable] * rows, [values] * rows)
    found = np.array(gradients.result().gradients)
    deviation = (found.mean(axis=0) - expected) / (found.std(axis=0) / np.sqrt(rows))
    assert np.abs(deviation).max() < 4
    assert found.std(axis=0).max() < 1


def test_training_goes_through():
    """A torch module with sampled terms gets gradients that lower the loss."""
    import torch

    ansatz = real_amplitudes(4, reps=1)
    module = cut_qnn(
        ansatz,
        "ZZZZ",
        input_params=[],
        weight_params=list(ansatz.parameters),
        labels="AABB",
        mode="sampled",
        num_samples=500,
        shots=500,
        seed=1,
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = module(torch.zeros(1, 0)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("mode", ["sampled", "counts"])
@pytest.mark.parametrize("joint_cuts", [False, True])
@pytest.mark.parametrize("labels", [None, "AAA", "AAB", "ABC"])
def test_fragments_without_cuts(mode, joint_cuts, labels):
    """An uncut circuit, and a fragment that no gate leads to beside one cut or none."""
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
    circuit.cx(0, 1)
    options = {"mode": mode, "joint_cuts": joint_cuts, "labels": labels, "num_samples": 100}
    observables = ["ZZZ", "ZII", "IXX"]
    data = CutEstimator(seed=1, **options).run([(circuit, observables)]).result()[0].data
    assert np.isfinite(data.stds).all()
    assert np.abs((data.evs - exact(circuit, observables)) / data.stds).max() < 4


@pytest.mark.parametrize("mode", ["sampled", "counts"])
def test_a_cut_that_does_nothing_adds_no_error(mode):
    """One nonzero coefficient: a bound angle of 0, a free one at 0 and at multiples of pi."""
    observables = ["ZIIZ", "IXXI", "IIZZ"]
    bound = halves(2, [0.0, 0.0])
    options = {"labels": "AABB", "mode": mode, "seed": 1}
    few = CutEstimator(num_samples=np.int64(2), **options)
    data = few.run([(bound, observables)]).result()[0].data
    all_of_them = CutEstimator(**options).run([(bound, observables)]).result()[0].data
    np.testing.assert_allclose(data.stds, all_of_them.stds, rtol=0.5)
    assert np.abs((data.evs - exact(bound, observables)) / data.stds).max() < 4

    free = halves(2, [Parameter("s"), Parameter("t")])
    points = np.array([[0, 0], [np.pi, 0], [-np.pi, 2 * np.pi], [np.pi, np.pi]])
    data = few.run([(free, [[o] for o in observables], points)]).result()[0].data
    assert data.stds.max() < 0.05
    for k, point in enumerate(points):
        expected = exact(free.assign_parameters(point), observables)
        assert np.abs((data.evs[:, k] - expected) / data.stds[:, k]).max() < 4


def test_rows_draw_by_their_own_weights():
    """Angles of all sizes in one batch, vanishing ones among them: no row has another's terms."""
    circuit = halves(2, [Parameter("s"), Parameter("t")])
    angles = [(0.0, 0.0), (np.pi, 0.4), (0.9, -0.7), (1.5, 3.0)]
    rows = np.tile(np.array(angles), (40, 1, 1)).reshape(-1, 1, 2)
    estimator = CutEstimator(labels="AABB", mode="sampled", num_samples=200, shots=200, seed=8)
    data = estimator.run([(circuit, ["ZIIZ", "IXXI"], rows)]).result()[0].data
    evs, stds = (x.reshape(40, len(angles), 2) for x in (data.evs, data.stds))
    expected = [exact(circuit.assign_parameters(a), ["ZIIZ", "IXXI"]) for a in angles]
    z = (evs - expected) / stds
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(40)
    assert z.std(axis=0).max() < 1 + 4 / np.sqrt(80)


def test_weak_cuts_have_an_error_too():
    """Terms that no draw met count: 1.02 without an error bar is not the value 0.99995."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.rzz(0.01, 0, 1)
    estimator = CutEstimator(labels="AB", mode="sampled", num_samples=100, seed=3)
    data = estimator.run([(circuit, "IX", np.zeros((150, 0)))]).result()[0].data
    assert np.all(np.abs(data.evs - np.cos(0.01)) < 6 * data.stds)


@pytest.mark.parametrize("mode", ["sampled", "counts"])
@pytest.mark.parametrize("joint_cuts", [False, True])
def test_many_commuting_terms_and_identities(mode, joint_cuts):
    """All strings of I and Z at once, a constant, and sums of both: finite and in their bars."""
    circuit = halves(2, [0.8, 0.5])
    strings = ["".join(letters) for letters in product("IZ", repeat=4)]
    mixed = SparsePauliOp(["IIII", "ZIIZ", "IIZI"], [2.0, 0.5, -1.0])
    estimator = CutEstimator(
        labels="AABB", mode=mode, joint_cuts=joint_cuts, num_samples=300, seed=2
    )
    data = estimator.run([(circuit, [*strings, mixed])]).result()[0].data
    expected = exact(circuit, strings)
    expected = [*expected, 2 + 0.5 * expected[9] - expected[2]]
    assert (data.evs[0], data.stds[0]) == (1, 0)
    assert np.isfinite(data.stds).all()
    assert np.abs((data.evs - expected)[1:] / data.stds[1:]).max() < 4
    constant = estimator.run([(circuit, SparsePauliOp("IIII", 3.0))]).result()[0].data
    assert (constant.evs, constant.stds) == (3, 0)


@pytest.mark.parametrize("joint_cuts", [False, True])
def test_moves_and_resets_under_sampled_terms(joint_cuts):
    """A wire cut, a reset, and two parallel gates, which may be one cut."""
    circuit = QuantumCircuit(4)
    for qubit in (0, 1, 2):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
    circuit.cx(0, 2)
    circuit.rzz(0.7, 1, 3)
    circuit.reset(1)
    circuit.append(Move(), [2, 1])
    circuit.rx(0.5, 1)
    circuit.cx(0, 1)
    observables = ["IIZZ", "ZIII", "IIXI"]
    estimator = CutEstimator(
        labels="AABB", mode="sampled", joint_cuts=joint_cuts, num_samples=300, shots=200, seed=3
    )
    data = estimator.run([(circuit, observables, np.zeros((100, 1, 0)))]).result()[0].data
    z = (data.evs - uncut(circuit, observables)) / data.stds
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(100)
    assert z.std(axis=0).max() < 1.15


def test_heavy_terms_are_exact_and_light_ones_drawn_in_proportion():
    """Weights add up to all of them; what is not exact is drawn by its share."""
    circuit = halves(3, [0.7, 0.3, 0.05])
    plan = compile_plan(circuit, "ZZZZZZ", labels="AAABBB")
    bonds = [bond.matrix(np.zeros((1, 0)))[0] for bond in plan.bonds]
    table = np.einsum("ab,cd,ef->abcdef", *bonds)
    share = np.abs(table) / np.abs(table).sum()
    sample = TermSample.draw(plan, bonds, 2000, np.random.default_rng(1))
    choices = [f.listed[v] for f, v in zip(sample.plan.fragments, sample.variants, strict=True)]
    terms = tuple(choices[side][:, k] for k in range(3) for side in (0, 1))
    assert sample.exact == (share >= 1 / 2000).sum()
    exact = tuple(t[: sample.exact] for t in terms)
    np.testing.assert_allclose(sample.weights[: sample.exact], table[exact])
    assert np.abs(sample.weights).sum() == pytest.approx(np.abs(table).sum())
    light = np.where(share < 1 / 2000, share, 0.0)
    drawn = np.zeros_like(table)
    np.add.at(drawn, tuple(t[sample.exact :] for t in terms), 1)
    assert not drawn[light == 0].any()
    assert 500 < drawn.sum() <= 2000
    expected = drawn.sum() * light / light.sum()
    z = (drawn - expected)[light > 0] / np.sqrt(expected[light > 0])
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_samples": 1}, "num_samples is 1, expected a whole number from 2"),
        ({"num_samples": "many"}, "num_samples is 'many', expected a whole number from 2"),
        ({"num_samples": 100.0}, r"num_samples is 100.0, expected a whole number from 2"),
        ({"num_samples": float("nan")}, "num_samples is nan, expected a whole number from 2"),
        ({"num_samples": True}, "num_samples is True, expected a whole number from 2"),
        ({"num_samples": -5}, "num_samples is -5, expected a whole number from 2"),
        (
            {"num_samples": 100, "shot_allocation": "weighted"},
            "num_samples is 100 with shot_allocation='weighted'",
        ),
        ({"num_samples": 100, "mode": "exact"}, "num_samples is 100 with mode='exact'"),
        (
            {"num_samples": 100, "shot_allocation": "optimal"},
            "num_samples is 100 with shot_allocation='optimal'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, expected):
    with pytest.raises(UserError, match=expected):
        CutEstimator(labels="AB", **options)


@pytest.mark.parametrize("number", [10**15, 2**63])
def test_more_terms_than_memory_holds_are_refused(number):
    """As `shots` are, beyond a number that makes sense."""
    with pytest.raises(UserError, match=f"num_samples is {number}"):
        CutEstimator(labels="AB", num_samples=number).run([(halves(1, [0.3]), "ZZ")]).result()


def test_a_precision_cannot_be_promised():
    estimator = CutEstimator(labels="AB", num_samples=100)
    with pytest.raises(UserError, match=r"precision is 0.1 with num_samples=100, expected none"):
        estimator.run([(halves(1, [0.3]), "ZZ")], precision=0.1).result()
