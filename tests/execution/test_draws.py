"""That whatever is alike still draws shots of its own: fragments, bundles, rows, queries.

Two things that drew the same shots would have correlation 1. Independent ones have that of
n pairs within 5 / sqrt(n) of 0, but for one time in a million; seeds are fixed.
"""

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit

from pilotcut import CutEstimator, Distribution, TaskManager, compile_plan
from pilotcut.execution import batching
from pilotcut.execution.query_store import load
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded

ROWS = 400


@pytest.fixture(scope="module")
def twins():
    """Two qubits that know nothing of each other, each a fair coin at pi/2."""
    angles = ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    return circuit


@pytest.fixture(scope="module")
def cut_twins():
    """Two such qubits with gates that are cut, from either to a third."""
    angles = ParameterVector("x", 2)
    circuit = QuantumCircuit(3)
    circuit.cz(0, 2)
    circuit.cz(1, 2)
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    return circuit


def equal_fragments(circuit):
    observables = ["I" * (circuit.num_qubits - 1) + "Z", "I" * (circuit.num_qubits - 2) + "ZI"]
    plan = compile_plan(circuit, observables, labels="ABC"[: circuit.num_qubits])
    return plan.fragments[0].fingerprint == plan.fragments[1].fingerprint


def correlation(first, second):
    assert np.std(first) > 0
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


def assert_independent(first, second):
    assert abs(correlation(first, second)) < 5 / np.sqrt(np.size(first))


def values(estimator, circuit, rows=ROWS):
    """Return the expectations of Z on either qubit, (2, rows), from few shots."""
    grid = np.full((1, rows, 2), np.pi / 2)
    idle = "I" * (circuit.num_qubits - 2)
    job = estimator.run([(circuit, [[f"{idle}IZ"], [f"{idle}ZI"]], grid)])
    return job.result()[0].data.evs


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("which", ["twins", "cut_twins"])
def test_equal_fragments_of_a_plan_draw_shots_of_their_own(mode, which, request):
    circuit = request.getfixturevalue(which)
    assert equal_fragments(circuit)
    labels = "ABC"[: circuit.num_qubits]
    estimator = CutEstimator(labels=labels, mode=mode, shots=32, seed=1)
    first, second = values(estimator, circuit)
    assert_independent(first, second)
    # ... and the spread is that of 32 shots: nothing is shared, nothing is averaged.
    if which == "twins":
        assert np.std([first, second]) == pytest.approx(1 / np.sqrt(32), rel=0.2)


def test_equal_fragments_of_drawn_terms_draw_shots_of_their_own(cut_twins):
    """Each row's terms are a request of their own."""
    estimator = CutEstimator(labels="ABC", mode="sampled", shots=32, seed=1, num_samples=500)
    first, second = values(estimator, cut_twins, rows=100)
    assert_independent(first, second)


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_equal_bundles_of_a_fragment_draw_shots_of_their_own(mode, twins, monkeypatch, tmp_path):
    """Rows of the same angles, in the same places of two bundles; also equal fragments there."""
    monkeypatch.setattr(batching, "TARGET_S", 0.006)
    estimator = CutEstimator(labels="AB", mode=mode, shots=32, seed=1, store=tmp_path)
    found = values(estimator, twins)
    units = load(tmp_path, 0).query.units
    assert len({unit.seed for unit in units}) == len(units) >= 4
    for fragment in range(2):
        rows = [unit.rows for unit in units if unit.request == fragment]
        some = min(r.stop - r.start for r in rows)
        parts = [found[fragment, r.start : r.start + some] for r in rows]
        for k in range(len(parts) - 1):
            assert_independent(parts[k], parts[k + 1])


def test_equal_queries_draw_shots_of_their_own(twins):
    """One after the other, of one seed; and another seed draws others."""
    estimator = CutEstimator(labels="AB", mode="sampled", shots=32, seed=1)
    first, second = values(estimator, twins), values(estimator, twins)
    assert_independent(first, second)
    other = CutEstimator(labels="AB", mode="sampled", shots=32, seed=2)
    assert_independent(first, values(other, twins))
    again = CutEstimator(labels="AB", mode="sampled", shots=32, seed=1)
    np.testing.assert_array_equal(first, values(again, twins))


def test_equal_fragments_on_pilots_draw_what_they_draw_here(twins):
    """Workers keep a fragment under its fingerprint; shots are each request's own."""
    here = values(CutEstimator(labels="AB", mode="sampled", shots=32, seed=1), twins)
    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        there = values(CutEstimator(tasks, labels="AB", mode="sampled", shots=32, seed=1), twins)
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_equal_fragments_of_a_distribution_draw_shots_of_their_own(mode):
    """Two times five fair coins: how often each of 32 outcomes came, over ten seeds."""
    circuit = QuantumCircuit(10)
    circuit.h(range(10))
    for k in (*range(4), *range(5, 9)):
        circuit.cz(k, k + 1)
    assert equal_fragments_of_law(circuit)
    found = []
    for seed in range(10):
        law = Distribution(
            compile_plan(circuit, labels="A" * 5 + "B" * 5), mode=mode, shots=256, seed=seed
        )
        found.append([law.probabilities(range(5)), law.probabilities(range(5, 10))])
    first, second = np.swapaxes(np.array(found), 0, 1)
    assert np.std(first) > 0.3 / np.sqrt(32 * 256)
    assert_independent(first, second)


def equal_fragments_of_law(circuit):
    plan = compile_plan(circuit, "Z" * 10, labels="A" * 5 + "B" * 5)
    first, second = plan.fragments
    return first.fingerprint == second.fingerprint
