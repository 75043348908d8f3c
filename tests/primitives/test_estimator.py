"""CutEstimator as a Qiskit EstimatorV2: shapes, sums, precision, placement, errors."""

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, UserError, compile_plan
from pilotcut.execution.batching import parts_of
from pilotcut.execution.work_units import Request
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager
from pilotcut.training.model import classifier


@pytest.fixture(scope="module")
def model():
    return classifier(4)


@pytest.fixture(scope="module")
def values(model):
    return np.random.default_rng(0).uniform(0, 1.5, (5, model.circuit.num_parameters))


HAMILTONIAN = SparsePauliOp(["ZZZZ", "XIIX", "IZII", "IIII"], [1.0, 0.5, -0.7, 0.25])


def test_it_is_an_estimator():
    assert isinstance(CutEstimator(), BaseEstimatorV2)


def test_broadcast_arrays_and_sums_agree_with_the_reference_estimator(model, values):
    """Every entry of a broadcast PUB lies within its own error bars."""
    pubs = [
        (model.circuit, [[HAMILTONIAN], ["ZIII"], ["IXYI"]], values),
        (model.circuit, ["XXXX", "ZZII"], values[:2]),
        (model.circuit, HAMILTONIAN, values[3]),
    ]
    ours = CutEstimator(cuts=2, seed=1, shots=4096).run(pubs).result()
    reference = StatevectorEstimator().run(pubs).result()
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine.data.evs.shape == theirs.data.evs.shape == mine.data.stds.shape
        assert (np.abs(mine.data.evs - theirs.data.evs) < 4 * mine.data.stds + 1e-9).all()


def test_error_bars_of_sums_know_that_terms_share_shots():
    """ZI + IZ on a Bell state: both terms fluctuate together, their difference not at all."""
    bell = QuantumCircuit(3)
    bell.h(0)
    bell.cx(0, 1)
    bell.rx(0.3, 2)
    bell.cz(1, 2)
    total = SparsePauliOp(["IZI", "IIZ"], [1, 1])
    difference = SparsePauliOp(["IZI", "IIZ"], [1, -1])
    data = CutEstimator(seed=1).run([(bell, [total, difference])]).result()[0].data
    assert data.stds[0] == pytest.approx(2 / np.sqrt(1024), rel=0.05)
    assert data.stds[1] == pytest.approx(0, abs=1e-9)
    repeats = CutEstimator(labels="AAB", seed=2).run([(bell, total)] * 150).result()
    z = [pub.data.evs / pub.data.stds for pub in repeats]
    assert 0.8 < np.std(z) < 1.2


def test_precision_is_met_and_wins_over_shots(model, values):
    pub = (model.circuit, "ZZZZ", values[:2])
    estimator = CutEstimator(cuts=1, seed=4, shots=16)
    result = estimator.run([pub], precision=0.02).result()[0]
    assert result.data.stds.max() < 0.02
    assert result.data.stds.max() > 0.01  # not bought with far too many shots
    assert estimator.run([pub]).result()[0].metadata["shots"] == 16


def test_asking_twice_gives_independent_answers(model, values):
    pub = (model.circuit, "ZZZZ", values[0])
    first, second = CutEstimator(cuts=1, seed=4, shots=64).run([pub, pub]).result()
    assert first.data.evs != second.data.evs


def test_one_seed_gives_one_result_on_any_pilots(model, values):
    """In this process, on one slot and on three: the same numbers to the last bit."""
    pubs = [(model.circuit, ["ZZZZ", "XIIX"], values[:, None])]

    def evaluate(tasks):
        return CutEstimator(tasks, cuts=2, seed=9, shots=128).run(pubs).result()[0].data

    here = evaluate(None)
    for workers in (1, 3):
        with PilotManager(embedded(workers)) as pilots, TaskManager(pilots) as tasks:
            there = evaluate(tasks)
        np.testing.assert_array_equal(here.evs, there.evs)
        np.testing.assert_array_equal(here.stds, there.stds)
    again = CutEstimator(cuts=2, seed=10, shots=128).run(pubs).result()[0].data
    assert (again.evs != here.evs).any()


def test_work_units_cover_every_subexperiment_of_every_row_once(model, values):
    plan = compile_plan(model.circuit, "ZZZZ", cuts=3)
    slots = plan.binding.slots(np.repeat(values, 20, axis=0))
    for fragment in plan.fragments:
        seen = np.zeros((len(slots), fragment.num_subexperiments), dtype=int)
        for rows, part, _ in parts_of(Request(fragment, fragment.angle_values(slots), 100_000)):
            seen[rows, part] += 1
        assert (seen == 1).all()


def test_a_plan_serves_its_own_structure_only(model, values):
    plan = compile_plan(model.circuit, "ZZZZ", labels="AABC")
    estimator = CutEstimator(plan=plan, seed=1)
    assert estimator.run([(model.circuit, "ZZZZ", values[0])]).result()[0].data.stds > 0
    other = QuantumCircuit(4)
    other.cx(0, 1)
    with pytest.raises(UserError, match="not the one the plan was compiled for"):
        estimator.run([(other, "ZZZZ")])


def test_an_uncut_circuit_is_a_plan_with_one_fragment(model, values):
    data = CutEstimator(seed=1).run([(model.circuit, "ZZZZ", values)]).result()[0].data
    reference = StatevectorEstimator().run([(model.circuit, "ZZZZ", values)]).result()[0].data.evs
    assert (np.abs(data.evs - reference) < 4 * data.stds).all()
    np.testing.assert_allclose(data.stds, np.sqrt((1 - data.evs**2) / 1023), rtol=1e-9)


def bad_pubs():
    angle = Parameter("theta")
    circuit = QuantumCircuit(2)
    circuit.rx(angle, 0)
    circuit.cx(0, 1)
    two = circuit.copy()
    two.ry(Parameter("phi"), 1)
    looped = QuantumCircuit(2, 1)
    looped.measure(0, 0)
    with looped.while_loop((looped.clbits[0], 1)):
        looped.measure(0, 0)
    return {
        "unbound": ([(circuit, "ZZ")], "parameter"),
        "too many values": ([(two, "ZZ", [[1.0, 2.0, 3.0]])], "parameter"),
        "nan": ([(circuit, "ZZ", [np.nan])], "'theta' is nan in row 0"),
        "inf": ([(circuit, "ZZ", [[1.0], [np.inf]])], "'theta' is inf in row 1"),
        "observable too long": ([(circuit, "ZZZ", [1.0])], "qubits"),
        "no Pauli": ([(circuit, "ZQ", [1.0])], "pub 0"),
        "complex": ([(circuit, SparsePauliOp(["ZZ"], [1j]), [1.0])], "pub 0"),
        "loop": ([(looped, "ZZ")], "while_loop"),
        "precision": ([(circuit, "ZZ", [1.0], 0.0)], "precision is 0"),
    }


@pytest.mark.parametrize("name", bad_pubs())
def test_bad_pubs_raise_one_line_before_anything_runs(name):
    pubs, words = bad_pubs()[name]
    estimator = CutEstimator(labels="AB")
    with pytest.raises(UserError, match=words) as caught:
        estimator.run(pubs)
    assert len(str(caught.value).splitlines()) == 1
    assert estimator.stages.subexperiments == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shots": 0}, "shots is 0"),
        ({"shots": 1.5}, "shots is 1.5"),
        ({"mode": "magic"}, "mode is 'magic', expected one of counts"),
        ({"backend": "abacus"}, "backend is 'abacus'"),
        ({"cuts": 1, "labels": "AB"}, "at most one"),
    ],
)
def test_bad_options_raise_one_line(options, words):
    with pytest.raises(UserError, match=words):
        CutEstimator(**options)
