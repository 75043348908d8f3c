"""Wires that are cut where a reset ends them: for nothing, by the search and at given places."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, SparsePauliOp

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.search import search


def reused():
    """Return two pairs of qubits that share the middle one, which is reset between."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.cx(0, 1)
    circuit.ry(0.3, 1)
    circuit.reset(1)
    circuit.ry(0.7, 1)
    circuit.cx(1, 2)
    circuit.ry(0.2, 2)
    return circuit


def value(circuit, observable, mode="exact", **how):
    estimator = CutEstimator(mode=mode, **how)
    return float(estimator.run([(circuit, observable)]).result()[0].data.evs)


def expected(circuit, observable):
    return DensityMatrix(circuit).expectation_value(SparsePauliOp(observable)).real


@pytest.mark.parametrize("wires", ["auto", "separate"])
def test_the_search_lets_a_qubit_change_over_at_its_reset_for_nothing(wires):
    circuit = reused()
    plan = compile_plan(circuit, "ZZZ", max_width=2, wires=wires)
    assert (plan.num_cuts, plan.sampling_overhead, plan.widths) == (0, 1, (2, 2))
    (best, *_) = search(read_circuit(circuit)[0], max_width=2, wires=wires)
    assert (best.cuts, best.overhead) == (0, 1)
    assert value(circuit, "ZZZ", plan=plan) == pytest.approx(expected(circuit, "ZZZ"), abs=1e-10)
    for mode in ("sampled", "counts"):
        found = value(circuit, "ZZZ", mode, plan=plan, shots=20_000, seed=1)
        assert found == pytest.approx(expected(circuit, "ZZZ"), abs=0.05)


@pytest.mark.parametrize("after", [2, 3])
def test_a_wire_cut_beside_a_reset_is_none(after):
    """Step 2 of qubit 1 is the reset; behind step 3 stands a rotation more."""
    circuit = reused()
    beside = Placement(("A", "A", "B"), (WireCut(1, after, "B"),))
    assert compile_plan(circuit, "ZZZ", placement=beside).num_cuts == 0
    assert value(circuit, "ZZZ", labels=beside) == pytest.approx(expected(circuit, "ZZZ"))
    later = Placement(("A", "A", "B"), (WireCut(1, 4, "B"),))
    assert compile_plan(circuit, "ZZZ", placement=later).num_cuts == 1


def test_of_two_cuts_around_resets_the_last_says_where_the_qubit_goes_on():
    circuit = reused()
    circuit.data.insert(4, circuit.data[3])
    cuts = (WireCut(1, 2, "C"), WireCut(1, 4, "B"))
    plan = compile_plan(circuit, "ZZZ", placement=Placement(("A", "A", "B"), cuts))
    assert (plan.num_cuts, len(plan.fragments)) == (0, 2)
    assert value(circuit, "ZZZ", plan=plan) == pytest.approx(expected(circuit, "ZZZ"))


@pytest.mark.parametrize("seed", range(12))
def test_plans_of_circuits_with_many_resets_have_their_values(seed):
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(4)
    for kind in rng.choice(3, size=14, p=[0.25, 0.35, 0.4]):
        a, b = (int(q) for q in rng.permutation(4)[:2])
        if kind == 0:
            circuit.reset(a)
        elif kind == 1:
            circuit.ry(float(rng.uniform(0, 3)), a)
        else:
            circuit.cx(a, b)
    circuit.ry(0.3, range(4))
    observable = "".join(rng.choice(list("IXYZ"), 4))
    plan = compile_plan(circuit, observable, max_width=2)
    assert max(plan.widths) <= 2
    found = value(circuit, observable, plan=plan)
    assert found == pytest.approx(expected(circuit, observable), abs=1e-10)
