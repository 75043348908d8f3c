"""Recommendations from made-up calibrations: where to cut, how sure, and why not."""

import json
import re

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_addon_cutting.instructions import CutWire
from support.calibrations import LARGE, SMALL, fault, install
from support.circuits import star

from pilotcut import CutEstimator
from pilotcut.circuits.measurement_map import MEASURED
from pilotcut.errors import CutError, ObservableError, UserError
from pilotcut.options import MOST_SHOTS
from pilotcut.perfmodel.recommend import _Recommender, recommend
from pilotcut.perfmodel.sample_circuits import brickwork, network, qaoa_ring
from pilotcut.pilots.description import PilotDescription, embedded

pytestmark = pytest.mark.usefixtures("known_pilots")

GIB = 2**30


def chain(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
    return circuit


# -- the choice ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
@pytest.mark.parametrize("build", [network, qaoa_ring, brickwork])
def test_small_circuits_are_not_cut(build, mode):
    """Four qubits run fastest whole, in every mode."""
    found = recommend(build(4), mode=mode)
    assert found.chosen.cuts == found.plan.num_cuts == 0
    assert found.reason.startswith("do not cut: ")


@pytest.mark.parametrize("mode", ["counts", "exact"])
def test_wide_circuits_are_cut(mode):
    """28 qubits run fastest in pieces, as states, and the reason says by how much."""
    found = recommend(network(28), mode=mode, engine="statevector", max_cuts=3)
    assert found.chosen.cuts > 0
    uncut = found.lines[0]
    assert uncut.cuts == 0
    if uncut.feasible:
        ratio = uncut.seconds / found.chosen.seconds
        assert f"{ratio:.3g} times as fast as no cut" in found.reason
    assert max(found.plan.widths) < 28


def test_exact_mode_is_predicted_as_it_runs():
    """By the way that an estimator goes: of a chain the network, which no cut makes faster."""
    found = recommend(network(28), mode="exact", max_cuts=2)
    assert [line.way for line in found.lines] == ["network", *["joined network"] * 2]
    assert found.chosen.cuts == 0
    assert found.to_dict()["chosen"]["engine"] == "network"
    assert "every other candidate would be run without its cuts, by network" in found.reason
    estimator = CutEstimator(mode="exact", cuts="auto", auto={"max_cuts": 2})
    values = np.zeros(network(28).num_parameters)
    estimator.run([(network(28), "Z" * 28, values)]).result()
    (record,) = (r for r in estimator.trace.records if r["kind"] == "query_batch")
    assert record["engine"] == "network"
    assert record["predicted_s"] > 0


def test_what_no_state_holds_is_not_cut_where_it_is_a_network():
    found = recommend(chain(80), mode="exact", max_cuts=1)
    assert (found.chosen.way, found.chosen.cuts) == ("network", 0)
    assert found.chosen.memory_bytes < 2**20


@pytest.mark.parametrize("mode", ["counts", "exact"])
def test_gradients_are_predicted_with_values(mode):
    """By all parameters, or by some: with shots each takes circuits, in exact mode one pass."""

    def seconds(gradients):
        asked = {"mode": mode, "max_cuts": 2, "max_width": 3, "engine": "statevector"}
        return recommend(network(6), gradients=gradients, **asked).chosen.seconds

    names = [parameter.name for parameter in network(6).parameters]
    values, some, every = seconds(False), seconds(names[:2]), seconds(True)
    assert values < some <= every
    if mode == "counts":
        assert every > 5 * some > 5 * values
    assert seconds(names) == every


def test_gradients_by_what_is_no_parameter_are_one_line():
    with pytest.raises(UserError, match="gradients has 'nobody', expected some of the circuit's"):
        recommend(network(3), gradients=["nobody"])
    with pytest.raises(UserError, match="gradients is 'theta', expected True, False or a list"):
        recommend(network(3), gradients="theta")


def test_the_chosen_line_is_the_fastest_and_its_plan_has_its_figures():
    """Lines go up from no cut; cuts, widths, variants and overhead are those of the plan."""
    found = recommend(network(16), max_cuts=3)
    assert [line.cuts for line in found.lines] == [0, 1, 2, 3]
    assert found.chosen.seconds == min(line.seconds for line in found.lines)
    for line in found.lines:
        p = line.prediction
        assert p.low_s < p.seconds < p.high_s
        assert p.seconds == pytest.approx(sum(p.stages.values()))
    plan, line = found.plan, found.chosen
    assert (plan.num_cuts, plan.num_variants) == (line.cuts, line.variants)
    assert sorted(plan.widths) == sorted(line.widths)
    assert plan.sampling_overhead == pytest.approx(line.overhead)


def test_a_recommended_plan_keeps_the_bits_of_a_file():
    circuit = chain(4)
    circuit.metadata = {MEASURED: [2, 0]}
    assert recommend(circuit).plan.measured == (2, 0)


def test_more_queries_take_longer_and_more_slots_less():
    few, many = (
        recommend(network(12), max_width=6, queries=n).chosen.seconds for n in (1000, 10_000)
    )
    assert few < many
    (pilot,) = embedded(workers=4)
    install(pilot)
    shared = recommend(network(12), pilots=[pilot], max_width=6, queries=1000)
    assert shared.chosen.seconds < 0.9 * few


def test_a_star_is_cut_through_its_hub():
    """One wire cut where gates alone would cost 9 each."""
    found = recommend(star(11), max_width=7, max_cuts=2)
    wires = [cut.qubit for cut in found.chosen.placement.wire_cuts]
    assert wires == [0]
    assert found.chosen.overhead == pytest.approx(9)


@pytest.mark.parametrize(
    ("circuit", "observable", "limits"),
    [
        (network(5), "ZZXZY", {"max_width": 3}),
        (brickwork(4), "XIZY", {"max_width": 2, "max_cuts": 6}),
        (star(6), "ZZZZZZZ", {"max_width": 4}),
        (qaoa_ring(5), "ZZIII", {}),
    ],
)
def test_the_recommended_plan_gives_the_uncut_value(circuit, observable, limits):
    """In exact mode to rounding, wire cuts among them."""
    found = recommend(circuit, observable, mode="exact", **limits)
    values = np.linspace(-1, 1, circuit.num_parameters)
    job = CutEstimator(plan=found.plan, mode="exact").run([(circuit, observable, values)])
    state = Statevector(circuit.assign_parameters(values))
    exact = state.expectation_value(SparsePauliOp(observable)).real
    assert job.result()[0].data.evs == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("mode", ["counts", "exact"])
def test_a_seed_decides_everything(mode):
    """Twice the same lines, to the last digit."""
    one, other = (recommend(brickwork(12), mode=mode, seed=3) for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert one.plan.fingerprint == other.plan.fingerprint


# -- feasibility -----------------------------------------------------------------------


def test_36_qubits_do_not_fit_uncut_and_fit_with_cuts():
    """The uncut line names 1 TiB, and the reason repeats it."""
    found = recommend(network(36), max_cuts=2)
    assert found.lines[0].memory_bytes == 2**40
    assert not found.lines[0].feasible
    assert found.lines[0].lacks[0].startswith("needs 1 TiB for a state, a worker of 'here' has ")
    assert found.chosen.cuts >= 1
    assert "uncut, the circuit needs 1 TiB" in found.reason


def test_no_allowed_number_of_cuts_names_the_nearest_that_works():
    """A chain of 40 on 22 qubits a worker needs 1 cut, and with that it goes."""
    with pytest.raises(CutError, match="max_cuts is 0") as error:
        recommend(chain(40), pilots=[SMALL], max_cuts=0)
    assert "needs 16 TiB for a state, a worker of 'small' has 72.2 MiB" in fault(error)
    (near,) = re.findall(r"give --max-cuts (\d+)", fault(error))
    assert int(near) == 1
    assert recommend(chain(40), pilots=[SMALL], max_cuts=int(near)).chosen.cuts == 1


@pytest.mark.parametrize(("mode", "qubits"), [("counts", 90), ("exact", 70)])
def test_the_nearest_number_of_cuts_works_for_longer_chains(mode, qubits):
    asked = {"pilots": [SMALL], "mode": mode, "engine": "statevector"}
    with pytest.raises(CutError) as error:
        recommend(chain(qubits), max_cuts=1, **asked)
    (near,) = re.findall(r"give --max-cuts (\d+)", fault(error))
    found = recommend(chain(qubits), max_cuts=int(near), **asked)
    assert 1 < found.chosen.cuts <= int(near)


def test_what_no_cuts_make_feasible_is_one_line():
    """30 qubits, all joined to all: too many variants in any pieces that fit."""
    with pytest.raises(CutError) as error:
        recommend(efficient_su2(30, reps=1, entanglement="full"), pilots=[SMALL], max_cuts=0)
    assert "expected a circuit that cuts make narrow enough, or a larger pilot" in fault(error)


def test_a_worker_without_memory_can_run_nothing():
    none = PilotDescription(name="nil", resource="slurm", memory_per_node="100 MB")
    install(none)
    with pytest.raises(CutError) as error:
        recommend(chain(6), pilots=[none])
    assert "a worker of 'nil' has 0 B" in fault(error)


def test_limits_that_no_plan_keeps_are_one_line():
    """The narrowest plan that was found is named."""
    with pytest.raises(CutError, match="max_width is 1 and max_cuts 5") as error:
        recommend(chain(12), max_width=1)
    assert "the narrowest found has" in fault(error)


def test_the_memory_of_each_pilot_decides():
    """What one of two pilots cannot hold is not feasible, and that pilot is named."""
    alone = recommend(chain(30), pilots=[LARGE], max_cuts=1)
    both = recommend(chain(30), pilots=[LARGE, SMALL], max_cuts=1)
    assert alone.lines[0].feasible
    assert len(both.lines[0].lacks) == 1
    assert "a worker of 'small' has" in both.lines[0].lacks[0]
    assert both.lines[1].feasible
    assert both.pilots == ("large", "small")


def test_a_circuit_of_a_thousand_qubits_is_refused_and_not_counted(monkeypatch):
    """Its amplitudes overflow any number; it is named too wide."""
    monkeypatch.setattr(_Recommender, "_nearest", lambda self: None)  # a search of its own
    with pytest.raises(CutError) as error:
        recommend(chain(1100), max_cuts=0, max_width=None)
    assert "1,100 qubits, which nothing simulates" in fault(error)


# -- errors ----------------------------------------------------------------------------


def test_a_target_error_takes_more_shots_with_more_cuts():
    """Shots grow with every cut and with the square of the wanted precision."""
    found = recommend(network(6), target_error=0.02, max_cuts=3)
    shots = [line.shots for line in found.lines]
    assert shots == sorted(shots)
    assert shots[-1] > 2 * shots[0] > 0
    assert all(line.error <= 0.02 for line in found.lines)
    finer = recommend(network(6), target_error=0.01, max_cuts=3)
    for rough, fine in zip(found.lines, finer.lines, strict=True):
        assert fine.shots == pytest.approx(4 * rough.shots, rel=0.01)


@pytest.mark.parametrize(
    ("circuit", "observable", "labels"),
    [
        (network(4), "ZZZZ", "AABB"),
        (network(4), "XIIZ", "ABCC"),
        (brickwork(4), "ZZII", "AABB"),
        (qaoa_ring(4), "ZZII", "AABB"),
        (network(4), SparsePauliOp(["ZZII", "IIXX", "IIII"], [2.0, -3.0, 7.0]), "AABB"),
    ],
)
def test_real_errors_stay_below_the_predicted_one(circuit, observable, labels):
    """And the prediction is no more than 20 times the largest of several parameter sets."""
    shots = 512
    cuts = CutEstimator(labels=labels, seed=1, mode="sampled", shots=shots)
    plan = cuts.compile_for(circuit, observable).plan
    found = recommend(circuit, observable, mode="sampled", shots=shots, max_cuts=plan.num_cuts)
    (line,) = [line for line in found.lines if line.cuts == plan.num_cuts]
    estimator = CutEstimator(labels=line.placement, seed=1, mode="sampled", shots=shots)
    values = np.random.default_rng(1).uniform(-3, 3, (6, circuit.num_parameters))
    stds = estimator.run([(circuit, observable, values)]).result()[0].data.stds
    assert stds.max() <= 1.1 * line.error  # whose own estimate is known to a few percent
    assert line.error <= 20 * stds.max()


@pytest.mark.parametrize("joint", [False, True])
def test_errors_of_wire_and_joint_cuts_stay_below_the_predicted_one(joint):
    """A wire of a star's hub, and two parallel rotations."""
    if joint:
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.rzz(np.pi / 2, 0, 2)
        circuit.rzz(np.pi / 2, 1, 3)
        circuit.ry(0.4, range(4))
        circuit.cx(0, 1)
        circuit.cx(2, 3)
    else:
        circuit = star(5)
    width = 2 if joint else 4
    found = recommend(circuit, mode="sampled", shots=512, max_width=width, joint_cuts=joint)
    assert found.chosen.cuts
    estimator = CutEstimator(plan=found.plan, seed=1, mode="sampled", shots=512)
    values = np.random.default_rng(1).uniform(-3, 3, (6, circuit.num_parameters))
    pub = (circuit, "Z" * circuit.num_qubits, values)
    stds = estimator.run([pub]).result()[0].data.stds
    assert stds.max() / 1.1 <= found.chosen.error <= 20 * stds.max()


def test_parts_that_nothing_joins_are_not_put_together_beyond_the_width():
    """Two pairs, of which one circuit each would be cheapest: within three qubits still uncut."""
    circuit = QuantumCircuit(4)
    circuit.rzz(np.pi / 2, 0, 2)
    circuit.rzz(np.pi / 2, 1, 3)
    found = recommend(circuit, mode="sampled", shots=512, max_width=3)
    assert (found.chosen.cuts, found.chosen.widths) == (0, (2, 2))


def test_sums_take_more_shots_by_their_coefficients():
    """The error of an observable grows with its coefficients; identities are exact."""
    one = recommend(network(4), "ZZII", target_error=0.05)
    two = recommend(network(4), SparsePauliOp(["ZZII", "IIII"], [3.0, 100.0]), target_error=0.05)
    assert two.chosen.shots == pytest.approx(9 * one.chosen.shots, rel=0.01)


def test_an_error_that_nobody_can_wait_for_is_one_line():
    with pytest.raises(CutError) as error:
        recommend(network(4), target_error=1e-9)
    assert fault(error).startswith("target_error is 1e-09, which takes ")
    assert f"at most {MOST_SHOTS:.0e}" in fault(error)


def test_exact_mode_has_neither_shots_nor_errors():
    found = recommend(network(4), mode="exact")
    assert {(line.shots, line.error) for line in found.lines} == {(0, 0.0)}


# -- observables and circuits of all kinds ---------------------------------------------


@pytest.mark.parametrize(
    "observables",
    [None, "IIII", SparsePauliOp(["ZZII", "XXYY"]), ["ZIII", SparsePauliOp("IIIZ")]],
    ids=["none", "identity", "sum", "list"],
)
@pytest.mark.parametrize("mode", ["counts", "exact"])
def test_observables_may_be_anything_that_plans_take(observables, mode):
    found = recommend(network(4), observables, mode=mode, max_cuts=2)
    assert found.chosen.cuts == 0
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("observables", "said"),
    [("ZZ", "acts on 2 qubits, expected 4"), ([], "are empty"), ("ABCD", "is not a Pauli string")],
)
def test_observables_that_do_not_fit_are_one_line(observables, said):
    with pytest.raises(ObservableError, match=said):
        recommend(network(4), observables)


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
@pytest.mark.parametrize("gates", ["none", "one-qubit", "apart"])
@pytest.mark.parametrize("qubits", [1, 5])
def test_circuits_with_nothing_to_cut_are_not_cut(qubits, gates, mode):
    """One qubit, no gates, no two-qubit gates, parts that nothing joins."""
    circuit = QuantumCircuit(qubits)
    if gates != "none":
        circuit.h(range(qubits))
    if gates == "apart" and qubits == 5:
        circuit.cx(0, 1)
        circuit.cx(3, 4)
    assert recommend(circuit, mode=mode, max_cuts=2).chosen.cuts == 0


def test_circuits_that_cannot_be_recommended_for_are_one_line():
    with pytest.raises(CutError, match="has no qubits"):
        recommend(QuantumCircuit(0))
    marked = chain(3)
    marked.append(CutWire(), [1])
    with pytest.raises(CutError, match="cut markers of its own"):
        recommend(marked)


def test_more_cuts_than_there_are_gates_are_no_more_to_look_at():
    """A limit of a million is as good as none."""
    many = recommend(chain(4), max_cuts=10**6)
    assert many.lines[-1].cuts < 20
    assert recommend(chain(4), max_cuts=0).chosen.cuts == 0


def test_joint_cuts_lower_the_overhead():
    """Two parallel RZZ between halves: 49 and not 81; exact mode cuts one by one."""
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.rzz(np.pi / 2, 0, 2)
    circuit.rzz(np.pi / 2, 1, 3)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    single, joint = (
        min(line.overhead for line in recommend(circuit, max_width=3, joint_cuts=j).lines)
        for j in (False, True)
    )
    assert joint <= single
    assert recommend(circuit, mode="exact", joint_cuts=True, max_width=2).plan.joint_cuts is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_cuts": -1}, "max_cuts is -1, expected a whole number from 0"),
        ({"max_cuts": True}, "max_cuts is True"),
        ({"max_cuts": None}, "max_cuts is None"),
        ({"max_width": 0}, "max_width is 0, expected a whole number from 1"),
        ({"mode": "count"}, "mode is 'count', expected one of counts, sampled, exact"),
        ({"shots": 0}, "shots is 0"),
        ({"shots": 2.5}, "shots is 2.5"),
        ({"queries": 10**40}, "queries is 1000"),
        ({"batch": 0}, "batch is 0"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"seed": -1}, "seed is -1"),
        ({"target_error": 0.0}, "target_error is 0.0, expected a number in"),
        ({"target_error": float("nan")}, "target_error is nan"),
        ({"target_error": "small"}, "target_error is 'small'"),
        ({"target_error": 0.1, "mode": "exact"}, "values are exact there"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_one_line(options, said):
    with pytest.raises(UserError) as error:
        recommend(network(4), **options)
    assert fault(error).startswith(said) or said in fault(error)


def test_all_faults_of_options_are_told_at_once():
    with pytest.raises(UserError) as error:
        recommend(network(4), shots=0, batch=0, mode="x", target_error=5)
    assert len(error.value.faults) == 4
