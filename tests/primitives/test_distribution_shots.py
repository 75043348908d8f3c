"""Distributions by shots and by refinement, and samples of them."""

from functools import cache

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Statevector
from scipy.stats import chi2, chisquare
from support.circuits import brick, ghz
from support.exact import state_of_uncut

from pilotcut import (
    Distribution,
    PilotManager,
    TaskManager,
    compile_plan,
    reconstruct_probabilities,
    sample,
)
from pilotcut.backends.outcomes import CountedOutcomes
from pilotcut.pilots.description import PilotDescription
from pilotcut.reconstruction import open_network as network
from pilotcut.reconstruction.dynamic_definition import Search, sampled

# -- refinement --------------------------------------------------------------------------


@pytest.mark.parametrize("resolve", [1, 2, 3, 10])
def test_a_search_finds_the_most_probable_outcomes_in_order(resolve):
    circuit = brick(6, 3, 11)
    distribution = Distribution(compile_plan(circuit, labels="AABBBB"))
    exact = Statevector(circuit).probabilities_dict()
    best = sorted(exact, key=exact.get, reverse=True)[:7]
    found = distribution.most_probable(7, resolve=resolve)
    assert list(found.probabilities) == best
    assert np.allclose(list(found.probabilities.values()), [exact[b] for b in best], atol=1e-12)
    assert found.proven
    assert found.bound <= min(found.probabilities.values())


def test_a_search_that_is_cut_short_says_what_it_did_not_look_at():
    circuit = QuantumCircuit(8)
    circuit.h(range(8))
    circuit.cz(3, 4)
    circuit.ry(0.1, range(8))
    distribution = Distribution(compile_plan(circuit, labels="AAAABBBB"))
    found = distribution.most_probable(3, resolve=2, most_queries=2)
    assert len(found.probabilities) == 3
    assert not found.proven
    assert found.bound > min(found.probabilities.values())
    resolved = distribution.most_probable(3, resolve=2)
    assert resolved.proven
    assert max(found.probabilities.values()) <= max(resolved.probabilities.values()) + 1e-12
    exact = Statevector(circuit).probabilities_dict()
    assert all(abs(exact[bits] - p) < 1e-12 for bits, p in found.probabilities.items())
    every = distribution.most_probable(2**8, resolve=3)
    assert sum(every.probabilities.values()) + every.unresolved == pytest.approx(1)


def test_a_search_holds_only_what_its_queries_returned():
    circuit = QuantumCircuit(30)
    circuit.h(range(30))
    circuit.cz(range(29), range(1, 30))
    distribution = Distribution(compile_plan(circuit, labels="A" * 10 + "B" * 10 + "C" * 10))
    search = Search(distribution._network, list(range(30)), 4, 20)
    found = search.most_probable(2, exact=True)
    assert len(found.probabilities) == 2
    assert not found.proven
    assert sum(len(family.probabilities) for family in search._heap) <= 2**4 * 40
    assert found.unresolved == pytest.approx(1, abs=1e-6)


# -- sampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("resolve", [1, 2, 10])
def test_samples_follow_the_exact_distribution(resolve, monkeypatch):
    monkeypatch.setattr(network, "BATCH_ENTRIES", 64)  # a few bins at a time
    circuit = brick(5, 3, 2)
    distribution = Distribution(compile_plan(circuit, labels="AABBB"))
    shots = 20_000
    rng = np.random.default_rng(3)
    counts = sampled(distribution._network, [0, 1, 2, 3, 4], shots, rng, resolve)
    exact = Statevector(circuit).probabilities()
    observed = np.zeros(32)
    for bits, number in counts.items():
        observed[int(bits, 2)] = number
    assert observed.sum() == shots
    assert chisquare(observed, exact / exact.sum() * shots).pvalue > 1e-4
    wrong = exact.reshape([2] * 5).transpose().reshape(-1)  # the bits in the wrong order
    assert chisquare(observed, wrong / wrong.sum() * shots).pvalue < 1e-10


def test_the_same_seed_gives_the_same_counts_and_the_next_call_others():
    plan = compile_plan(brick(4, 2, 1), labels="AABB")
    assert sample(plan, 500, seed=5) == sample(plan, 500, seed=5)
    assert sample(plan, 500, seed=5) != sample(plan, 500, seed=6)
    distribution = Distribution(plan, seed=5)
    first, second = distribution.sample(500), distribution.sample(500)
    assert first != second
    assert distribution.sample(500, seed=7) == Distribution(plan, seed=5).sample(500, seed=7)
    again = Distribution(plan, seed=5)
    assert [first, second] == [again.sample(500), again.sample(500)]
    for mode in ("counts", "sampled"):
        one, two, other = (
            reconstruct_probabilities(plan, mode=mode, shots=50, seed=s) for s in (1, 1, 2)
        )
        assert np.array_equal(one, two)
        assert not np.array_equal(one, other)


def test_samples_of_some_qubits_are_named_by_them():
    circuit = QuantumCircuit(3)
    circuit.x(2)
    circuit.cx(2, 0)
    plan = compile_plan(circuit, labels="ABA")
    assert dict(sample(plan, 10, qubits=[1, 2])) == {"10": 10}
    assert dict(sample(plan, 10, qubits=[2, 1])) == {"01": 10}


# -- from shots --------------------------------------------------------------------------


def two_parallel_gates() -> QuantumCircuit:
    circuit = brick(4, 1, 23, ("cx",))
    circuit.ry(0.3, [0, 2])
    circuit.rx(1.1, range(4))
    return circuit


CUTS = {
    "a gate": (brick(3, 2, 21, ("cx", "rzz")), {"labels": "ABB"}),
    "a wire": (brick(3, 2, 22, ("cx",), cut=1), {}),
    "two gates jointly": (two_parallel_gates(), {"labels": "ABAB", "joint_cuts": True}),
}


@cache
def repeated(mode: str, cut: str) -> list[Distribution]:
    """The same experiment, 24 times."""
    circuit, options = CUTS[cut]
    plan = compile_plan(circuit, **options)
    assert plan.num_cuts
    return [Distribution(plan, mode=mode, shots=500, seed=seed) for seed in range(24)]


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("cut", CUTS)
def test_shots_agree_with_the_exact_distribution_within_their_errors(mode, cut):
    circuit, _ = CUTS[cut]
    runs = np.array([distribution.probabilities() for distribution in repeated(mode, cut)])
    exact = state_of_uncut(circuit).probabilities()
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    z = (runs.mean(axis=0) - exact) / error
    # Mean squares of t with 23 degrees of freedom are 23/21; outcomes are correlated.
    assert (z**2).mean() < chi2.isf(1e-6, 3) / 3 * 23 / 21
    assert error.max() < 0.02
    assert np.ptp(exact) > 10 * error.max()


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("cut", CUTS)
def test_standard_errors_are_the_spread_of_repeated_runs(mode, cut):
    distributions = repeated(mode, cut)
    for query in ((None, None), ([2, 0], None), ([0], {1: 1}), ([], {0: 0, 2: 1})):
        spread = np.var(
            [distribution.probabilities(*query) for distribution in distributions], axis=0, ddof=1
        ).sum()
        told = np.mean(
            [distribution.standard_errors(*query) ** 2 for distribution in distributions], axis=0
        ).sum()
        assert 0.45 < told / spread < 2.2  # a chi-square of 23 over 23 is there but for 1e-4
    assert not Distribution(distributions[0].plan).standard_errors([0]).any()


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_marginals_of_shots_are_sums_of_all_their_outcomes(mode):
    circuit = ghz(4)
    circuit.ry(0.1, range(4))
    distribution = Distribution(compile_plan(circuit, labels="AABB"), mode=mode, shots=200, seed=1)
    whole = distribution.probabilities().reshape([2] * 4)  # axes: qubits 3, 2, 1, 0
    assert whole.min() < 0  # quasi-probabilities stay as they are
    assert np.allclose(distribution.probabilities([1, 3]), whole.sum(axis=(1, 3)).reshape(-1))
    assert np.allclose(distribution.probabilities([0], given={2: 1}), whole[:, 1].sum(axis=(0, 1)))
    assert len(distribution.most_probable(16).probabilities) < 16
    assert min(distribution.most_probable(16).probabilities.values()) > 0
    assert sum(distribution.sample(100).values()) == 100


def test_tasks_give_the_same_numbers():
    here = PilotDescription(name="here", resource="inprocess", cores_per_node=2)
    theta = Parameter("t")
    circuit = brick(4, 2, 9, ("cx",))
    circuit.rx(theta, 1)
    plan = compile_plan(circuit, labels="AABB")
    with PilotManager([here]) as pilots, TaskManager(pilots) as tasks:
        for mode in ("exact", "counts", "sampled"):
            options = {"mode": mode, "shots": 300, "seed": 4}
            alone = reconstruct_probabilities(plan, [0.3], **options)
            assert np.array_equal(
                alone, reconstruct_probabilities(plan, [0.3], tasks=tasks, **options)
            )


def test_fragments_of_more_bits_than_a_machine_word():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (40, 90)).astype(np.uint8)
    variants, weights = rng.integers(0, 3, 40), rng.normal(size=40)
    some = CountedOutcomes(
        tuple(range(90)),
        (0,),
        (3,),
        variants,
        bits,
        weights,
        np.abs(weights),
        np.full(3, 1 / 99),
        (1,),
    )
    given = np.unique(bits[:5, 10:], axis=0)
    found = some.tensor([4, 2], list(range(10, 90)), given)
    expected = np.zeros((len(given), 4, 3))
    for variant, row, weight in zip(some.variants, bits, some.weights, strict=True):
        for k, wanted in enumerate(given):
            if (row[10:] == wanted).all():
                expected[k, row[4] + 2 * row[2], variant] += weight
    assert np.count_nonzero(expected)
    assert np.allclose(found, expected)
