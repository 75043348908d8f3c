"""Cut equals uncut: counts estimates against `Statevector`, with honest error bars."""

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import CIRCUITS, OBSERVABLES, random_rotations
from support.exact import exact

from pilotcut import CutEstimator, compile_plan


def scores(data, circuit: QuantumCircuit, observables=OBSERVABLES) -> np.ndarray:
    """Deviations in standard errors; exact values must be exact."""
    deviation = data.evs - exact(circuit, observables)
    certain = data.stds < 1e-9
    assert np.abs(deviation[certain]).max(initial=0) < 1e-9
    return deviation[~certain] / data.stds[~certain]


def test_the_list_is_as_long_as_promised():
    assert len(CIRCUITS) >= 34


@pytest.mark.parametrize("name", CIRCUITS)
def test_counts_of_a_cut_gate_lie_within_four_standard_errors(name):
    circuit = CIRCUITS[name]
    data = CutEstimator(labels="AAB", seed=5).run([(circuit, OBSERVABLES)]).result()[0].data
    assert data.evs[0] == 1.0
    assert data.stds[0] == 0.0
    assert np.abs(scores(data, circuit)).max() < 4


@pytest.mark.parametrize("name", ["0-cx", "17-rzz", "move"])
def test_error_bars_are_neither_too_small_nor_too_large(name):
    """Over 200 rows, 50 for each of four seeds, z-scores have mean 0 and deviation 1."""
    circuit, observables = CIRCUITS[name], OBSERVABLES[1:]
    rows = np.zeros((50, 1, 0))
    runs = [
        CutEstimator(labels="AAB", seed=seed, shots=256).run([(circuit, observables, rows)])
        for seed in range(4)
    ]
    z = np.concatenate([scores(run.result()[0].data, circuit, observables) for run in runs])
    z = z.reshape(200, len(observables))
    assert np.abs(z.mean(axis=0)).max() < 0.25
    assert z.std(axis=0).min() > 0.8
    assert z.std(axis=0).max() < 1.2


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_repeated_rows_of_one_batch_are_independent(mode):
    """The rows of one job, or of one drawing, have shots of their own."""
    angle = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    estimator = CutEstimator(labels="AB", seed=1, mode=mode, shots=256)
    data = estimator.run([(circuit, "ZZ", np.full(400, 1.1))])
    z = (data.result()[0].data.evs - 1) / data.result()[0].data.stds
    assert abs(z.mean()) < 0.2
    assert 0.85 < z.std() < 1.15
    neighbours = np.corrcoef(z[:-1], z[1:])[0, 1]
    assert abs(neighbours) < 0.2


@pytest.mark.parametrize("seed", range(6))
def test_several_cuts_through_a_random_circuit(seed):
    """Gate cuts of random kinds and angles, free and bound, over three fragments."""
    rng = np.random.default_rng(seed)
    circuit, values = QuantumCircuit(4), []

    def angle():
        values.append(rng.uniform(-3, 3))
        return Parameter(f"p{len(values):02}")

    random_rotations(circuit, rng)
    kinds = ["rzz", "rxx", "ryy", "rzx", "crx", "cry", "crz", "cp"]
    for a, b in ((0, 1), (1, 2), (2, 3), (0, 1)):
        getattr(circuit, kinds[rng.integers(8)])(angle(), *rng.permutation([a, b]))
        random_rotations(circuit, rng)
        circuit.ry(0.7 * angle() + 0.2, a)
    plan = compile_plan(circuit, ["ZZZZ"], labels="AABC")
    assert plan.num_cuts == 2
    observables = ["ZZZZ", "XIYI", "IZXI"]
    data = CutEstimator(labels="AABC", seed=seed).run([(circuit, observables, values)]).result()
    bound = circuit.assign_parameters(values)
    assert np.abs(scores(data[0].data, bound, observables)).max() < 4


def test_wire_cuts_by_markers_and_a_qubit_that_is_used_again():
    """CutWire in the middle of a wire; a Move away from a qubit that then goes on afresh."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.8, 0)
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    circuit.ry(0.3, 1)
    circuit.cx(1, 2)
    circuit.rx(0.4, 2)
    observables = ["ZZZ", "YXI", "IZZ"]
    estimator = CutEstimator(seed=3, shots=4096)
    data = estimator.run([(circuit, observables)]).result()[0].data
    assert np.abs(scores(data, circuit, observables)).max() < 4

    again = QuantumCircuit(2)
    again.ry(0.8, 0)
    again.append(Move(), [0, 1])
    again.rx(0.5, 0)  # a fresh qubit by now
    again.rx(0.6, 1)
    data = CutEstimator(labels="AB", seed=3, shots=4096).run([(again, ["ZI", "IZ"])]).result()[0]
    expected = [np.cos(0.8) * np.cos(0.6), np.cos(0.5)]
    assert np.abs((data.data.evs - expected) / data.data.stds).max() < 4


def test_more_fragments_than_a_dense_matrix_would_allow():
    """Twelve cuts in a chain cost twelve small contractions, not 6^12 terms."""
    circuit = QuantumCircuit(13)
    for qubit in range(13):
        circuit.ry(0.1 * (qubit + 1), qubit)
    for qubit in range(12):
        circuit.cz(qubit, qubit + 1)
    for qubit in range(13):
        circuit.ry(0.05 * qubit, qubit)
    observable = "Z" * 13
    estimator = CutEstimator(cuts=12, seed=2, shots=10_000)
    data = estimator.run([(circuit, observable)]).result()[0].data
    assert data.stds < 0.1
    assert abs(data.evs - exact(circuit, [observable])[0]) < 4 * data.stds
